use std::fmt;
use std::sync::Arc;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A database; minted by the catalog, never used again after a drop.
    DatabaseId(u32)
);
number!(
    /// A table; unique over the whole cluster, never used again after a drop.
    TableId(u32)
);
number!(
    /// A column of one table; its index in `TableSchema::columns`.
    ColumnId(u16)
);
number!(
    /// The number of one WAL object. Positions of one node rise without gaps over all its epochs.
    Position(u64)
);
number!(
    /// Counts the processes that have owned a node's WAL.
    Epoch(u32)
);

impl Position {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The name a node was given by its operator (`--node-id`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Accepts what can stand in a key of the object store: 1 to 64 of ASCII letters, digits, `-`, `_` and `.`,
    /// beginning with a letter or digit.
    pub fn new(name: &str) -> Result<Self, String> {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if first && rest && name.len() <= 64 {
            Ok(Self(name.into()))
        } else {
            Err(format!(
                "id '{}' must be 1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit",
                name.escape_debug()
            ))
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A data file; a ULID, so that ids sort by the time they were minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u128);

impl FileId {
    /// The lowest id that is minted at this time or later, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn first_of(ms: u64) -> Self {
        Self(ulid::Ulid::from_parts(ms, 0).0)
    }

    /// When it was minted, in milliseconds since the Unix epoch, by the clock of whoever did.
    #[must_use]
    pub fn made_at_ms(self) -> u64 {
        ulid::Ulid(self.0).timestamp_ms()
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ulid::Ulid(self.0).fmt(f)
    }
}
