//! What the runs did, in numbers.
//!
//! # Promises
//! - Runs that do nothing of what they are for fail: nothing is written, merged, pushed or waited for.

/// What happened, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) processes: u64,
    pub(crate) acked: u64,
    pub(crate) open: u64,
    pub(crate) reads: u64,
    /// Deletes that every living process has read of.
    pub(crate) deletes: u64,
    /// Compaction plans that were run to their end.
    pub(crate) merges: u64,
    /// Orders to merge that were carried out.
    pub(crate) orders: u64,
    /// Objects that came over lines.
    pub(crate) pushed: u64,
    /// How often a process said that it shows everything that was acknowledged.
    pub(crate) reached: u64,
    /// Where the log of the catalog is kept: how often the role of the compactor was taken, how often a process opened an
    /// epoch of another node, and publications of compactions whose author is known.
    pub(crate) terms: u64,
    pub(crate) adoptions: u64,
    pub(crate) published: u64,
}

impl Told {
    pub(crate) fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.acked += other.acked;
        self.open += other.open;
        self.reads += other.reads;
        self.deletes += other.deletes;
        self.merges += other.merges;
        self.orders += other.orders;
        self.pushed += other.pushed;
        self.reached += other.reached;
        self.terms += other.terms;
        self.adoptions += other.adoptions;
        self.published += other.published;
    }

    pub(crate) fn tell(&self, seeds: usize) {
        let Self {
            processes,
            acked,
            open,
            reads,
            deletes,
            merges,
            orders,
            pushed,
            reached,
            terms,
            adoptions,
            published,
        } = self;
        println!(
            "simulation: {seeds} seeds, {processes} processes, {acked} writes acknowledged, {open} open, {deletes} deletes, \
             {reads} reads compared, {merges} compactions, {orders} orders to merge carried out, {pushed} objects pushed, \
             {reached} times all that was acknowledged reached; in kept logs \
             {terms} times another compactor, {adoptions} logs of dead nodes adopted, {published} publications by whoever \
             had the role"
        );
        // A few seeds may have none by chance.
        assert!(
            seeds < 100 || [pushed, reached, merges, orders, acked, deletes].iter().all(|count| **count > 0),
            "the runs do not do what they are for"
        );
    }
}
