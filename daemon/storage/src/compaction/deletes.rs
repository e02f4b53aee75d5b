//! Deletes of rows become physical: files that hold hidden rows are written again without them, and a delete that is
//! carried out in all files is forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::plan::{IDLE_NS, Moment, Plan, Slice, is_unsettled, made_at_ns};
use super::{Compactor, Error};
use crate::catalog::{Change, State, Table};
use crate::model::{ErrorKind, FileRecord, RowDelete, Stamp, TimeRange, Window};

/// Files that one look writes again for nothing else but deletes.
const REWRITES_MAX: usize = 16;

/// Plans for files with hidden rows that no other plan takes: each is written again where it stands, and nothing is
/// settled, so that it need not be taken with those it overlaps. Those that wait to be merged soon do so first, but for an order.
pub(super) fn rewrites(table: &Table, others: &[Plan], moment: &Moment) -> Vec<Plan> {
    let deletes = moment.wanted.as_ref().map_or(&table.deletes, |begun| &begun.deletes);
    if deletes.is_empty() {
        return Vec::new();
    }
    let taken: BTreeSet<_> = others.iter().flat_map(|plan| &plan.inputs).map(|file| file.id).collect();
    let is_meant = |file: &&Arc<FileRecord>| moment.is_about(file) && moment.wants(file.time);
    let is_free = |file: &&Arc<FileRecord>| !taken.contains(&file.id) && !moment.unreadable.contains(&file.id);
    let is_young = |file: &FileRecord| made_at_ns(file).saturating_add(IDLE_NS) > moment.now;
    let may_wait = |file: &FileRecord| moment.wanted.is_none() && is_unsettled(file) && is_young(file);
    let due = |file: &&Arc<FileRecord>| !may_wait(file) && deletes.iter().any(|delete| delete.touches(file));
    table.files.values().filter(is_meant).filter(is_free).filter(due).take(REWRITES_MAX).map(rewrite).collect()
}

fn rewrite(file: &Arc<FileRecord>) -> Plan {
    let window = Window { level: file.level, start: file.window_start, width: file.window_width };
    let slices = vec![Slice { range: TimeRange::ALL, window }];
    Plan { inputs: vec![Arc::clone(file)], settle: Stamp::SETTLED, slices, borders: Vec::new() }
}

impl Compactor {
    /// Forgets the deletes of a table that are carried out for good.
    pub(super) async fn forget_deletes(&self, state: &Arc<State>, table: &Arc<Table>) {
        if table.deletes.is_empty() {
            return;
        }
        let (of, seen) = (Arc::clone(state), Arc::clone(table));
        // Many deletes times many files.
        let found = self.parts.tasks.cpu(move || carried_out(&of, &seen)).await;
        if found.is_empty() {
            return;
        }
        let name = &table.schema.name;
        match self.try_forget(table, &found).await {
            Ok(0) => {}
            Ok(deletes) => tracing::info!(table = %name, deletes, "deletes of rows are carried out"),
            Err(error) => tracing::warn!(%error, table = %name, "could not forget deletes of rows, trying again"),
        }
    }

    async fn try_forget(&self, seen: &Arc<Table>, found: &[Arc<RowDelete>]) -> Result<usize, Error> {
        let decide = |state: &State| {
            self.parts.role.expect_ours(state)?;
            let deletes = still_carried_out(state, seen, found);
            let count = deletes.len();
            let change = (count > 0).then_some(Change::ForgetDeletes { table: seen.schema.table, deletes });
            Ok((change.into_iter().collect(), count))
        };
        self.parts.catalog.commit(decide).await.map_err(|error| match error.kind() {
            ErrorKind::Fenced => Error::SteppedDown(error.to_string()),
            _ => error.into(),
        })
    }
}

fn carried_out(state: &State, table: &Table) -> Vec<Arc<RowDelete>> {
    table.deletes.iter().filter(|delete| state.is_carried_out(table, delete)).cloned().collect()
}

/// Those of `found` for which it holds on this state too. All commits of the node wait for the answer, so only files that
/// were not seen are compared.
fn still_carried_out(state: &State, seen: &Table, found: &[Arc<RowDelete>]) -> Vec<u64> {
    let Some(table) = state.table(seen.schema.table) else { return Vec::new() };
    let is_new = |file: &&Arc<FileRecord>| !seen.files.contains_key(&file.id);
    let new: Vec<&Arc<FileRecord>> = table.files.values().filter(is_new).collect();
    let known: BTreeSet<u64> = table.deletes.iter().map(|delete| delete.version).collect();
    let holds = |delete: &&Arc<RowDelete>| {
        let is_carried_out = state.is_in_files(delete.stamp) && !new.iter().any(|file| delete.touches(file));
        is_carried_out && known.contains(&delete.version)
    };
    found.iter().filter(holds).map(|delete| delete.version).collect()
}

#[cfg(test)]
mod tests;
