//! Changes of which rows are hidden, since somebody deleted them.

use std::sync::Arc;

use super::Outcome;
use crate::catalog::{Change, State, Table};
use crate::model::{RowDelete, Selection, TableId};

impl State {
    pub(super) fn delete_rows(&mut self, change: &Change) -> Outcome {
        let Change::DeleteRows { table: id, stamp, at_ms, which } = change else {
            return Err("not a delete of rows".into());
        };
        // What is settled has no stamp any more, so it must be older than every delete that could mean it.
        let floor = self.settled().max(self.deleted_stamp);
        if *stamp <= floor {
            return Err(format!("a delete with stamp {stamp} must be above {floor}"));
        }
        let version = self.version;
        let table = self.live_table_mut(*id)?;
        check_places(table, which)?;
        if version <= table.last_delete {
            return Err(format!("table {id} has a delete of entry {version} already"));
        }
        table.last_delete = version;
        let which = which.clone();
        table.deletes.push(Arc::new(RowDelete { version, stamp: *stamp, at_ms: *at_ms, which }));
        self.deleted_stamp = *stamp;
        Ok(())
    }

    pub(super) fn forget_deletes(&mut self, id: TableId, versions: &[u64]) -> Outcome {
        let table = self.tables.get_mut(&id).map(Arc::make_mut).ok_or_else(|| super::tables::no_table(id))?;
        versions.iter().try_for_each(|version| {
            let place = table.deletes.iter().position(|delete| delete.version == *version);
            table.deletes.remove(place.ok_or_else(|| format!("table {id} has no delete of entry {version}"))?);
            Ok(())
        })
    }

    pub(super) fn check_deletes(&self) -> Outcome {
        for (id, table) in &self.tables {
            let versions: Vec<u64> = table.deletes.iter().map(|delete| delete.version).collect();
            let is_in_order = versions.is_sorted_by(|a, b| a < b) && versions.iter().all(|v| *v <= table.last_delete);
            let is_below = table.deletes.iter().all(|delete| delete.stamp <= self.deleted_stamp);
            if !is_in_order || !is_below || table.last_delete > self.version {
                return Err(format!("the deletes of table {id} are not where they belong"));
            }
            table.deletes.iter().try_for_each(|delete| check_places(table, &delete.which))?;
        }
        Ok(())
    }
}

fn check_places(table: &Table, which: &Selection) -> Outcome {
    let tags = table.schema.tags().count();
    match which.tags.keys().find(|place| usize::from(**place) >= tags) {
        Some(place) => Err(format!("table {} has {tags} tags, none at place {place}", table.schema.table)),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{HIDDEN, check, drop_table, open, persist, plant, register, replace};
    use super::*;
    use crate::model::{Column, ColumnId, ColumnKind, Epoch, NodeId, Stamp, TimeRange};

    /// Of the rows whose tags at these places are `a`.
    pub(in crate::catalog::apply) fn delete(table: u32, stamp: u64, places: &[u16]) -> Change {
        let tags = places.iter().map(|place| (*place, [Some("a".into())].into())).collect();
        let which = Selection { time: TimeRange { min: 0, max: 9 }, tags };
        Change::DeleteRows { table: TableId(table), stamp: Stamp(stamp), at_ms: 60, which }
    }

    /// A table with one tag.
    fn tagged() -> Vec<Change> {
        let columns = vec![Column { name: "h".into(), kind: ColumnKind::Tag }];
        [plant(), vec![Change::AddColumns { table: TableId(1), first: ColumnId(2), columns }]].concat()
    }

    #[test]
    fn a_delete_is_above_what_is_settled_and_names_tags_that_are_there() {
        let with_rows = [tagged(), vec![register("n", 1, 1), open("n", 1), persist(1, 5, 40, &[(1, 9, 40)])]].concat();
        check(&with_rows, delete(1, 41, &[0]), Ok(()));
        check(&with_rows, delete(1, 40, &[0]), Err("a delete with stamp 40 must be above 40"));
        check(&with_rows, delete(1, 41, &[1]), Err("table 1 has 1 tags, none at place 1"));
        check(&with_rows, delete(2, 41, &[0]), Err("table 2 does not exist"));
        check(&[&with_rows[..], &[delete(1, 50, &[0])]].concat(), delete(1, 50, &[0]), Err("must be above 50"));
        let dropped = [&with_rows[..], &[drop_table(1, "t-old", HIDDEN)]].concat();
        check(&dropped, delete(1, 41, &[0]), Err("table 1 is dropped"));
        let forget = |versions: &[u64]| Change::ForgetDeletes { table: TableId(1), deletes: versions.to_vec() };
        check(&with_rows, forget(&[3]), Err("table 1 has no delete of entry 3"));
    }

    #[test]
    fn a_state_with_a_delete_by_a_tag_that_is_not_there_is_refused() {
        let mut state = State::default();
        state.apply(1, &tagged()).expect("it holds");
        state.apply(2, &[delete(1, 9, &[0])]).expect("it holds");
        assert_eq!(state.check(), Ok(()));
        let table = Arc::make_mut(state.tables.get_mut(&TableId(1)).expect("it was made"));
        let delete = Arc::make_mut(&mut table.deletes[0]);
        delete.which.tags = [(1, [None].into())].into();
        assert_eq!(state.check(), Err("table 1 has 1 tags, none at place 1".into()));
    }

    #[test]
    fn a_delete_is_carried_out_when_all_older_rows_are_in_files_that_are_without_it() {
        let mut state = State::default();
        let mut make = |changes: &[Change]| {
            state.apply(state.version + 1, changes).expect("it holds");
            let table = &state.tables[&TableId(1)];
            table.deletes.first().map(|delete| state.is_carried_out(table, delete))
        };
        make(&tagged());
        make(&[register("n", 1, 1), open("n", 1), persist(1, 5, 40, &[(1, 9, 40)])]);
        assert_eq!(
            make(&[delete(1, 50, &[0])]),
            Some(false),
            "a file was planned before it, and rows may be in the log"
        );
        assert_eq!(make(&[replace(&[9], &[])]), Some(false), "rows may be in the log");
        assert_eq!(make(&[persist(1, 6, 50, &[])]), Some(true));
        let deletes = vec![3];
        assert_eq!(make(&[Change::ForgetDeletes { table: TableId(1), deletes }]), None);
        // Nobody who opens a log afterwards stamps below it.
        make(&[Change::CloseEpoch { node: NodeId::new("n").expect("a name"), epoch: Epoch(1) }, delete(1, 90, &[0])]);
        make(&[open("n", 2)]);
        assert_eq!(state.nodes[&NodeId::new("n").expect("a name")].persisted_stamp, Stamp(90));
    }
}
