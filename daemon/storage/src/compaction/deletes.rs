//! Deletes of rows become physical: files that hold hidden rows are written again without them, and a delete that is
//! carried out in all files is forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::plan::{IDLE_NS, Moment, Plan, Slice, is_unsettled, made_at_ns};
use super::{Compactor, Error};
use crate::catalog::{Change, State, Table};
use crate::model::{ErrorKind, FileRecord, Stamp, TableId, TimeRange, Window};

/// Files that one look writes again for nothing else but deletes.
const REWRITES_MAX: usize = 16;

/// Plans for files with hidden rows that no other plan takes: each is written again where it stands, and nothing is
/// settled, so that it need not be taken with those it overlaps. Those that wait to be merged soon do so first.
pub(super) fn rewrites(table: &Table, others: &[Plan], moment: &Moment) -> Vec<Plan> {
    if table.deletes.is_empty() {
        return Vec::new();
    }
    let taken: BTreeSet<_> = others.iter().flat_map(|plan| &plan.inputs).map(|file| file.id).collect();
    let is_free = |file: &&Arc<FileRecord>| !taken.contains(&file.id) && !moment.unreadable.contains(&file.id);
    let may_wait = |file: &FileRecord| is_unsettled(file) && made_at_ns(file).saturating_add(IDLE_NS) > moment.now;
    let due = |file: &&Arc<FileRecord>| !may_wait(file) && table.deletes.iter().any(|delete| delete.touches(file));
    table.files.values().filter(is_free).filter(due).take(REWRITES_MAX).map(rewrite).collect()
}

fn rewrite(file: &Arc<FileRecord>) -> Plan {
    let window = Window { level: file.level, start: file.window_start, width: file.window_width };
    let slices = vec![Slice { range: TimeRange::ALL, window }];
    Plan { inputs: vec![Arc::clone(file)], settle: Stamp::SETTLED, slices, borders: Vec::new() }
}

impl Compactor {
    /// Forgets the deletes of a table that are carried out for good.
    pub(super) async fn forget_deletes(&self, state: &Arc<State>, table: &Table) {
        if table.deletes.is_empty() {
            return;
        }
        let (name, id, of) = (&table.schema.name, table.schema.table, Arc::clone(state));
        // Many deletes times many files.
        let found = self.parts.tasks.cpu(move || of.table(id).map(|table| carried_out(&of, table)).unwrap_or_default());
        let found = found.await;
        if found.is_empty() {
            return;
        }
        match self.try_forget(id, &found).await {
            Ok(deletes) => tracing::info!(table = %name, deletes, "deletes of rows are carried out"),
            Err(error) => tracing::warn!(%error, table = %name, "could not forget deletes of rows, trying again"),
        }
    }

    async fn try_forget(&self, id: TableId, found: &[u64]) -> Result<usize, Error> {
        let decide = |state: &State| {
            self.parts.role.expect_ours(state)?;
            let deletes = state.table(id).map(|table| still_carried_out(state, table, found)).unwrap_or_default();
            let count = deletes.len();
            let change = (count > 0).then_some(Change::ForgetDeletes { table: id, deletes });
            Ok((change.into_iter().collect(), count))
        };
        self.parts.catalog.commit(decide).await.map_err(|error| match error.kind() {
            ErrorKind::Fenced => Error::SteppedDown(error.to_string()),
            _ => error.into(),
        })
    }
}

/// Those of `found` for which it holds on this state too.
fn still_carried_out(state: &State, table: &Table, found: &[u64]) -> Vec<u64> {
    let among = table.deletes.iter().filter(|delete| found.contains(&delete.version));
    among.filter(|delete| state.is_carried_out(table, delete)).map(|delete| delete.version).collect()
}

fn carried_out(state: &State, table: &Table) -> Vec<u64> {
    let done = table.deletes.iter().filter(|delete| state.is_carried_out(table, delete));
    done.map(|delete| delete.version).collect()
}
