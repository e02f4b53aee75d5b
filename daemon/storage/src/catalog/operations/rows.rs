//! Deleting rows by time and tags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{Access, Action, Change, Error, Node, State, Table};
use super::{Decision, Operator, deleted, invalid, live_database, table_or_dropped};
use crate::model::{ErrorKind, RowDelete, Selection, Stamp, TIME_COLUMN, TableId, TableSchema, TimeRange};

/// Deletes that a table may have outside files. Every query looks at each of them.
const DELETES_MAX: usize = 1000;

/// Values of tags that a delete may name.
const VALUES_MAX: usize = 10_000;

/// Bytes of those values.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Bytes of the values of all deletes that a table has outside files.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// Rows that somebody wants deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub database: String,
    pub table: String,
    /// Both included; when the first is above the last no row is meant.
    pub first_ns: i64,
    pub last_ns: i64,
    /// The values each tag may have. `None` is an absent tag.
    pub tags: BTreeMap<String, BTreeSet<Option<String>>>,
}

impl Deletion {
    /// `None` when no row can be meant.
    fn selection(&self, schema: &TableSchema) -> Result<Option<Selection>, Error> {
        let places: Vec<&str> = schema.tags().map(|(_, column)| &*column.name).collect();
        let mut tags = BTreeMap::new();
        for (name, values) in &self.tags {
            let place = places.iter().position(|tag| tag == name).and_then(|place| u16::try_from(place).ok());
            let place = place.ok_or_else(|| invalid(no_tag(schema, name)))?;
            let values = values.iter().map(|value| value.as_deref().map(Arc::from));
            tags.insert(place, values.collect::<BTreeSet<Option<Arc<str>>>>());
        }
        let time = TimeRange::new(self.first_ns, self.last_ns).filter(|_| tags.values().all(|v| !v.is_empty()));
        Ok(time.map(|time| Selection { time, tags }))
    }
}

fn no_tag(schema: &TableSchema, name: &str) -> String {
    let (table, shown) = (&schema.name, name.escape_debug());
    match schema.find(name) {
        Some(_) => format!("'{shown}' is a field of table '{table}': rows are deleted by {TIME_COLUMN} and tags alone"),
        None => format!("table '{table}' has no tag '{shown}'"),
    }
}

impl Operator<'_> {
    /// Whether somebody with this access may delete the rows as things stand.
    pub fn check_deletion(&self, deletion: &Deletion, access: &Access) -> Result<(), Error> {
        wanted(&self.catalog.state(), deletion, access).map(drop)
    }

    /// Hides the rows that are meant and have a stamp below the one that `stamp` finds for the newest state. Returns the
    /// entry from which on they are hidden; `None` when no row can be meant.
    pub async fn delete_rows(
        &self,
        (deletion, access): (&Deletion, &Access),
        stamp: impl Fn(&State) -> Result<Stamp, Error>,
    ) -> Result<Option<u64>, Error> {
        self.commit(|state| {
            let which = wanted(state, deletion, access)?;
            decide_delete_rows(state, which, (stamp(state)?, self.now_ms()))
        })
        .await
    }
}

type Wanted = (TableId, Option<Selection>);

fn decide_delete_rows(state: &State, wanted: Wanted, (stamp, at_ms): (Stamp, u64)) -> Decision<Option<u64>> {
    let (table, Some(which)) = wanted else { return Ok((Vec::new(), None)) };
    Ok((vec![Change::DeleteRows { table, stamp, at_ms, which }], Some(state.version + 1)))
}

/// A permission is for one database, whatever the name stands for by now: so it is judged on the state that decides.
fn wanted(state: &State, deletion: &Deletion, access: &Access) -> Result<Wanted, Error> {
    let (name, database) = (&deletion.table, &deletion.database);
    if !access.allows(state.database(database).map(|database| database.id), Action::Delete) {
        let message = format!("DELETE needs an admin token, or one with permission db:{database}:delete");
        return Err(Error::refused(ErrorKind::Denied, message));
    }
    let (id, table) = table_or_dropped(state, live_database(state, database)?, name)?;
    if table.dropped.is_some() {
        return Err(deleted(name));
    }
    let which = deletion.selection(&table.schema)?;
    if let Some(which) = &which {
        check_size(which)?;
        check_room(state, table, which)?;
    }
    Ok((id, which))
}

fn check_size(which: &Selection) -> Result<(), Error> {
    let values: usize = which.tags.values().map(BTreeSet::len).sum();
    let bytes = which.value_bytes();
    if values > VALUES_MAX || bytes > VALUE_BYTES_MAX {
        return Err(limit(format!(
            "a delete names at most {VALUES_MAX} values of tags, with {VALUE_BYTES_MAX} bytes together; this one names \
             {values} with {bytes} bytes"
        )));
    }
    Ok(())
}

/// Whether the table may have one more.
fn check_room(state: &State, table: &Table, which: &Selection) -> Result<(), Error> {
    let (count, name) = (table.deletes.len(), &table.schema.name);
    let bytes: usize = table.deletes.iter().map(|delete| delete.which.value_bytes()).sum();
    let full = if count >= DELETES_MAX {
        format!("table '{name}' has {count} deletes that are not carried out in all files yet (system.deletes)")
    } else if bytes + which.value_bytes() > PENDING_BYTES_MAX {
        format!(
            "the deletes of table '{name}' that are not carried out in all files yet (system.deletes) name values of \
             {bytes} bytes, of at most {PENDING_BYTES_MAX}"
        )
    } else {
        return Ok(());
    };
    let held_by = table.deletes.first().map(|oldest| held_by(state, table, oldest)).unwrap_or_default();
    Err(limit(format!("{full}, which is the limit; the oldest waits for {held_by}")))
}

/// Why a delete is not forgotten yet.
fn held_by(state: &State, table: &Table, delete: &RowDelete) -> String {
    let behind = |node: &&Arc<Node>| !node.sealed && node.persisted_stamp < delete.stamp;
    let nodes: Vec<&str> = state.nodes.values().filter(behind).map(|node| node.id.as_str()).collect();
    let files = table.files.values().filter(|file| delete.touches(file)).count();
    match (nodes.as_slice(), files) {
        ([], 0) => "the compactor to forget it".to_owned(),
        ([], files) => format!("compaction to write {files} files again"),
        (nodes, 0) => format!("a snapshot of {}", nodes.join(", ")),
        (nodes, files) => format!("a snapshot of {}, and compaction to write {files} files again", nodes.join(", ")),
    }
}

fn limit(message: String) -> Error {
    Error::refused(ErrorKind::Limit, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Permission, Resource};
    use crate::model::{Column, ColumnKind, DatabaseId};

    fn plant() -> State {
        let mut state = State::default();
        let columns = vec![Column { name: "h".into(), kind: ColumnKind::Tag }];
        let changes = [
            Change::CreateDatabase { id: DatabaseId(1), name: "d".into(), retention_ns: None },
            Change::CreateTable {
                id: TableId(1),
                database: DatabaseId(1),
                name: "t".into(),
                columns,
                retention_ns: None,
            },
        ];
        state.apply(1, &changes).expect("it holds");
        state
    }

    fn of(values: impl IntoIterator<Item = String>) -> Deletion {
        let tags = [("h".to_owned(), values.into_iter().map(Some).collect())].into();
        Deletion { database: "d".into(), table: "t".into(), first_ns: 0, last_ns: 9, tags }
    }

    /// Says what is wrong with one more; makes it, if nothing is.
    fn delete(state: &mut State, deletion: &Deletion) -> Result<(), String> {
        let stamp = Stamp(state.deleted_stamp.0 + 1);
        let which = wanted(state, deletion, &Access::unrestricted()).map_err(|error| error.to_string())?;
        let (changes, _) = decide_delete_rows(state, which, (stamp, 7)).map_err(|error| error.to_string())?;
        state.apply(state.version + 1, &changes).map_err(|error| format!("{error:?}"))
    }

    #[track_caller]
    fn check(state: &mut State, deletion: &Deletion, expected: &str) {
        let error = delete(state, deletion).expect_err("it is too much");
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_permission_is_for_the_database_it_was_given_for_and_not_for_one_made_anew_with_its_name() {
        let of_database =
            |id| Permission { resource: Resource::Database(DatabaseId(id)), actions: vec![Action::Delete] };
        let access = |id| Access { token: None, permissions: vec![of_database(id)] };
        let (state, deletion) = (plant(), of(["a".to_owned()]));
        wanted(&state, &deletion, &access(1)).expect("it may");
        let error = wanted(&state, &deletion, &access(2)).expect_err("it was for another");
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.to_string(), "DELETE needs an admin token, or one with permission db:d:delete");
        let unknown = Deletion { database: "unknown".into(), ..deletion };
        let error = wanted(&state, &unknown, &access(1)).expect_err("it may not know whether there is one");
        assert_eq!(error.kind(), ErrorKind::Denied);
    }

    #[test]
    fn a_delete_names_no_more_values_than_a_query_can_look_at() {
        let mut state = plant();
        delete(&mut state, &of((0..10_000).map(|n| n.to_string()))).expect("so many are allowed");
        check(&mut state, &of((0..10_001).map(|n| n.to_string())), "this one names 10001 with");
        delete(&mut state, &of(["x".repeat(64 << 10)])).expect("so long may it be");
        check(&mut state, &of(["x".repeat((64 << 10) + 1)]), "this one names 1 with 65537 bytes");
    }

    #[test]
    fn who_has_too_many_deletes_is_told_what_they_wait_for() {
        let mut state = plant();
        let long = of(["x".repeat(64 << 10)]);
        (0..16).for_each(|_| delete(&mut state, &long).expect("there is room"));
        check(
            &mut state,
            &of(["a".to_owned()]),
            "name values of 1048576 bytes, of at most 1048576, which is the limit",
        );
        let mut state = plant();
        (0..1000).for_each(|_| delete(&mut state, &of(["a".to_owned()])).expect("there is room"));
        check(
            &mut state,
            &of(["a".to_owned()]),
            "table 't' has 1000 deletes that are not carried out in all files yet (system.deletes), which is the limit; \
             the oldest waits for the compactor to forget it",
        );
    }
}
