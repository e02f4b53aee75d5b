/// What kind of trouble an error is. Each protocol maps kinds to its answers in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong; the same request will fail again.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already, or somebody else was first.
    Conflict,
    /// The caller may not do this.
    Denied,
    /// A limit of the cluster would be passed (tables, columns, databases).
    Limit,
    /// Try again a little later; nothing was kept.
    Busy,
    /// The object store gave no answer; the outcome is open and repeating is safe.
    Unavailable,
    /// This process lost its role or its node id and must stop.
    Fenced,
    /// Stored bytes are damaged or missing.
    Corrupt,
    /// Our own mistake.
    Bug,
}
