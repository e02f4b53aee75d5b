//! What leaves the catalog because of its age: files beyond retention, and what was dropped and is due.
//!
//! # Promises
//! - A file goes only when all its rows are beyond retention, and so are all rows of every file that could hold other
//!   versions of them: an older version never comes to light because a newer one went first, also when the retention is
//!   made longer afterwards. Such files lie in one window, so none is kept for longer than its window is wide.
//! - What was planned from one state is said only of what is the same in the state it is said to.

use std::sync::Arc;

use crate::catalog::{Change, Database, State, Table};
use crate::model::{FileId, FileRecord, Stamp};

/// What is to leave, as one state has it.
#[derive(Debug)]
pub(super) struct Plan(Vec<Step>);

#[derive(Debug)]
struct Step {
    /// What the change was planned from.
    database: Arc<Database>,
    table: Option<Arc<Table>>,
    change: Change,
}

impl Plan {
    /// Walks through all files: call it where CPU time may be spent.
    pub(super) fn new(state: &State, now_ms: u64) -> Self {
        let of_tables = state.tables.values().filter_map(|table| {
            let database = state.databases.get(&table.database)?;
            let change = change_of(database, table, now_ms)?;
            Some(Step { database: Arc::clone(database), table: Some(Arc::clone(table)), change })
        });
        // Tables that are forgotten now take their database along in the next round.
        let has_tables = |id| state.tables.values().any(|table| table.database == id);
        let forgotten = state.databases.values().filter(|d| is_due(d, None, now_ms) && !has_tables(d.id));
        let of_databases = forgotten.map(|database| Step {
            database: Arc::clone(database),
            table: None,
            change: Change::ForgetDatabase { id: database.id },
        });
        Self(of_tables.chain(of_databases).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changes that still hold in `state`. What has changed since is left to the next plan.
    pub(super) fn changes(&self, state: &State) -> Vec<Change> {
        self.0.iter().filter(|step| step.holds(state)).map(|step| step.change.clone()).collect()
    }
}

impl Step {
    fn holds(&self, state: &State) -> bool {
        let same_table =
            |table: &Arc<Table>| state.tables.get(&table.schema.table).is_some_and(|found| Arc::ptr_eq(found, table));
        let database = state.databases.get(&self.database.id);
        database.is_some_and(|found| Arc::ptr_eq(found, &self.database)) && self.table.as_ref().is_none_or(same_table)
    }
}

/// What leaves of one table, if anything does.
fn change_of(database: &Database, table: &Table, now_ms: u64) -> Option<Change> {
    let id = table.schema.table;
    let gone: Vec<FileId> = if !is_due(database, Some(table), now_ms) {
        expired(table, expired_before(database, table, now_ms)?)
    } else if table.files.is_empty() {
        return Some(Change::ForgetTable { id });
    } else {
        table.files.keys().copied().collect()
    };
    (!gone.is_empty()).then(|| Change::ReplaceFiles { table: id, removed: gone, added: Vec::new(), at_ms: now_ms })
}

/// Whether a dropped database, or a table that is dropped by itself or with it, is to lose its files now.
fn is_due(database: &Database, table: Option<&Table>, now_ms: u64) -> bool {
    let dropped = [database.dropped, table.and_then(|table| table.dropped)];
    dropped.into_iter().flatten().any(|d| d.hard_delete_at_ms.is_some_and(|at| at <= now_ms))
}

/// The time before which rows are beyond retention, if there is one.
fn expired_before(database: &Database, table: &Table, now_ms: u64) -> Option<i64> {
    let retention = table.retention_ns.or(database.retention_ns)?;
    let now_ns = i64::try_from(u128::from(now_ms) * 1_000_000).unwrap_or(i64::MAX);
    Some(now_ns.saturating_sub(i64::try_from(retention).unwrap_or(i64::MAX)))
}

/// The files that end before `floor`, without those that are needed beside one that does not.
fn expired(table: &Table, floor: i64) -> Vec<FileId> {
    let (mut gone, kept): (Vec<_>, Vec<_>) = table.files.values().partition(|file| file.time.max < floor);
    // A kept file that begins at the floor or later shares no row with one that ends before it.
    let mut keepers: Vec<_> = kept.into_iter().filter(|file| file.time.min < floor).collect();
    while let Some(keeper) = keepers.pop() {
        let (needed, rest): (Vec<_>, Vec<_>) = gone.into_iter().partition(|file| may_share_versions(file, keeper));
        // What is needed beside a kept file keeps others in turn.
        keepers.extend(needed);
        gone = rest;
    }
    gone.into_iter().map(|file| file.id).collect()
}

/// Whether both files could hold a version of one row.
fn may_share_versions(a: &FileRecord, b: &FileRecord) -> bool {
    (a.stamp_max != Stamp::SETTLED || b.stamp_max != Stamp::SETTLED) && a.overlaps(b)
}

#[cfg(test)]
mod tests;
