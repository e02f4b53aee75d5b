//! Deleting rows by time and tags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{Change, Error, State};
use super::{Decision, Operator, deleted, invalid, live_database, table_or_dropped};
use crate::model::{ErrorKind, Selection, Stamp, TIME_COLUMN, TableId, TableSchema, TimeRange};

/// Deletes that a table may have outside files. Every query looks at each of them.
const DELETES_MAX: usize = 1000;

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
    /// Whether the rows may be deleted as things stand.
    pub fn check_deletion(&self, deletion: &Deletion) -> Result<(), Error> {
        wanted(&self.catalog.state(), deletion).map(drop)
    }

    /// Hides the rows that are meant and have a stamp below the one that `stamp` finds for the newest state. Returns the
    /// entry from which on they are hidden; `None` when no row can be meant.
    pub async fn delete_rows(
        &self,
        deletion: &Deletion,
        stamp: impl Fn(&State) -> Result<Stamp, Error>,
    ) -> Result<Option<u64>, Error> {
        self.commit(|state| decide_delete_rows(state, deletion, (stamp(state)?, self.now_ms()))).await
    }
}

fn decide_delete_rows(state: &State, deletion: &Deletion, (stamp, at_ms): (Stamp, u64)) -> Decision<Option<u64>> {
    let (table, Some(which)) = wanted(state, deletion)? else { return Ok((Vec::new(), None)) };
    Ok((vec![Change::DeleteRows { table, stamp, at_ms, which }], Some(state.version + 1)))
}

fn wanted(state: &State, deletion: &Deletion) -> Result<(TableId, Option<Selection>), Error> {
    let name = &deletion.table;
    let (id, table) = table_or_dropped(state, live_database(state, &deletion.database)?, name)?;
    if table.dropped.is_some() {
        return Err(deleted(name));
    }
    if table.deletes.len() >= DELETES_MAX {
        let message = format!(
            "table '{name}' has {DELETES_MAX} deletes that compaction has not carried out yet (system.deletes); that is \
             the limit"
        );
        return Err(Error::refused(ErrorKind::Limit, message));
    }
    Ok((id, deletion.selection(&table.schema)?))
}
