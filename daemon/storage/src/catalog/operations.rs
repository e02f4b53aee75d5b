//! What an operator does to databases and tables: create, drop, and say how long rows are kept; to nodes (`nodes`), to
//! settings (`settings`) and to caches (`caches`); and which rows are deleted (`rows`).
//!
//! # Promises
//! - What is changed and the record of who asked for it hold together or not at all.
//! - Each operation is decided against the state it is made on, all of it or nothing.
//! - Doing nothing (the same retention again) makes no entry.
//! - Message texts that clients look for are kept word for word, and come first.
//!
//! # Not here
//! - Who may ask: that is checked at the door, by `Access`.
//! - Removing the files of what was dropped: see `sweep`.

mod caches;
mod nodes;
mod rows;
mod settings;

use std::sync::Arc;
use std::time::Duration;

pub use caches::{NewCache, ResolvedCache, WantedCache};
pub use rows::Deletion;

use super::names::{check_column_name, check_database_name, check_table_name, dropped_name};
use super::{AuditRecord, Catalog, Change, Database, Dropped, Error, State, Table};
use crate::model::{Column, ColumnKind, DatabaseId, ErrorKind, FieldType, TableId};

/// How long the files of something dropped are kept when nobody says otherwise.
const HARD_DELETE_AFTER: Duration = Duration::from_hours(72);

/// When the files of something dropped are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HardDelete {
    Now,
    /// 72 hours after the drop.
    Default,
    Never,
    /// At this time, milliseconds since the Unix epoch; a time that has passed is now.
    At(u64),
}

impl HardDelete {
    fn dropped(self, now_ms: u64) -> Dropped {
        let hard_delete_at_ms = match self {
            Self::Now => Some(now_ms),
            Self::Default => Some(now_ms.saturating_add(millis(HARD_DELETE_AFTER))),
            Self::Never => None,
            Self::At(ms) => Some(ms.max(now_ms)),
        };
        Dropped { at_ms: now_ms, hard_delete_at_ms }
    }
}

/// How much the cluster may hold. What is dropped does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub databases: usize,
    /// In all databases together.
    pub tables: usize,
    /// Tags and `time` included.
    pub columns_per_table: usize,
    pub tags_per_table: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { databases: 100, tables: 10_000, columns_per_table: 500, tags_per_table: 250 }
    }
}

impl Limits {
    /// Whether one more database fits.
    pub fn check_databases(&self, state: &State) -> Result<(), Error> {
        let (limit, count) = (self.databases, state.databases.values().filter(|d| d.dropped.is_none()).count());
        if count < limit {
            return Ok(());
        }
        Err(Error::refused(ErrorKind::Limit, format!("Adding a new database would exceed limit of {limit} databases")))
    }

    /// Whether one more table fits.
    pub fn check_tables(&self, state: &State) -> Result<(), Error> {
        let live = state.databases.values().filter(|d| d.dropped.is_none());
        let (limit, count) = (self.tables, live.map(|d| d.tables.len()).sum::<usize>());
        if count < limit {
            return Ok(());
        }
        Err(Error::refused(
            ErrorKind::Limit,
            format!(
                "Update to schema would exceed number of tables limit: attempted to create table but already have \
                 {count} table(s) (limit: {limit})"
            ),
        ))
    }

    /// Whether `table` may have these columns, all of them, old and new.
    pub fn check_columns(&self, table: &str, columns: &[Column]) -> Result<(), Error> {
        // Every table has `time`, which is not listed.
        let (count, limit) = (columns.len() + 1, self.columns_per_table);
        let tags = columns.iter().filter(|c| c.kind == ColumnKind::Tag).count();
        let text = if count > limit {
            format!("column limit: proposed schema update would have {count} columns, but the limit is {limit}")
        } else if tags > self.tags_per_table {
            let limit = self.tags_per_table;
            format!("tag column limit: proposed schema would have {tags} tag columns, but the limit is {limit}")
        } else {
            return Ok(());
        };
        Err(Error::refused(ErrorKind::Limit, format!("Schema update for table '{table}' would exceed the {text}")))
    }
}

/// A table as somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTable {
    pub database: String,
    pub name: String,
    /// In the order of the series key.
    pub tags: Vec<String>,
    pub fields: Vec<(String, FieldType)>,
    pub retention_ns: Option<u64>,
}

/// Somebody's wish to change something, as it is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The name of a token; `None` without authentication.
    pub by: Option<Arc<str>>,
    /// The node that was asked.
    pub node: Arc<str>,
    pub door: &'static str,
    /// Without secrets. A long one is cut.
    pub statement: String,
}

/// How much of a statement is recorded. Every node keeps it, and every checkpoint.
const STATEMENT_BYTES_MAX: usize = 2 << 10;

impl Asked {
    fn record(&self, at_ms: u64) -> AuditRecord {
        let Self { by, node, door, statement } = self;
        let statement = &statement[..statement.floor_char_boundary(STATEMENT_BYTES_MAX)];
        AuditRecord { at_ms, by: by.clone(), node: Arc::clone(node), door: (*door).into(), statement: statement.into() }
    }
}

/// The catalog in the hands of somebody who asks for changes.
#[derive(Debug, Clone, Copy)]
pub struct Operator<'a> {
    pub(super) catalog: &'a Catalog,
    asked: &'a Asked,
}

impl Catalog {
    /// For what `asked` tells.
    #[must_use]
    pub fn by<'a>(&'a self, asked: &'a Asked) -> Operator<'a> {
        Operator { catalog: self, asked }
    }
}

impl Operator<'_> {
    /// Makes the changes that `decide` finds right, and the record of who asked for them.
    pub(super) async fn commit<T>(&self, mut decide: impl FnMut(&State) -> Decision<T>) -> Result<T, Error> {
        let recorded = |state: &State| {
            let (mut changes, value) = decide(state)?;
            if !changes.is_empty() {
                changes.push(Change::Audit { record: self.asked.record(self.now_ms()) });
            }
            Ok((changes, value))
        };
        self.catalog.commit(recorded).await
    }

    /// Keeps the record of something that changes nothing in the catalog by itself.
    pub async fn record(&self) -> Result<(), Error> {
        let record = |_: &State| Ok((vec![Change::Audit { record: self.asked.record(self.now_ms()) }], ()));
        self.catalog.commit(record).await
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.catalog.now_ms()
    }

    fn limits(&self) -> &Limits {
        self.catalog.limits()
    }

    /// Makes a database.
    pub async fn create_database(&self, name: &str, retention_ns: Option<u64>) -> Result<DatabaseId, Error> {
        self.commit(|state| decide_create_database(state, self.limits(), name, retention_ns)).await
    }

    /// Hides a database under another name, or moves the deletion of one that is hidden and named so.
    pub async fn drop_database(&self, name: &str, hard_delete: HardDelete) -> Result<(), Error> {
        self.commit(|state| decide_drop_database(state, name, hard_delete, self.now_ms())).await
    }

    /// `None` keeps rows for ever.
    pub async fn set_database_retention(&self, name: &str, retention_ns: Option<u64>) -> Result<(), Error> {
        self.commit(|state| decide_set_database_retention(state, name, retention_ns)).await
    }

    /// Makes a table, and its database when there is none of this name.
    pub async fn create_table(&self, new: NewTable) -> Result<TableId, Error> {
        self.commit(|state| decide_create_table(state, self.limits(), &new)).await
    }

    /// Hides a table under another name, or moves the deletion of one that is hidden and named so.
    pub async fn drop_table(&self, database: &str, table: &str, hard_delete: HardDelete) -> Result<(), Error> {
        let name = TableName { database, table };
        self.commit(|state| decide_drop_table(state, name, hard_delete, self.now_ms())).await
    }

    /// `None` leaves it to the database how long rows are kept.
    pub async fn set_table_retention(
        &self,
        database: &str,
        table: &str,
        retention_ns: Option<u64>,
    ) -> Result<(), Error> {
        let name = TableName { database, table };
        self.commit(|state| decide_set_table_retention(state, name, retention_ns)).await
    }
}

/// What a decision comes to: changes to make, and the answer for whoever asked.
pub(super) type Decision<T> = Result<(Vec<Change>, T), Error>;

#[derive(Debug, Clone, Copy)]
struct TableName<'a> {
    database: &'a str,
    table: &'a str,
}

fn decide_create_database(
    state: &State,
    limits: &Limits,
    name: &str,
    retention_ns: Option<u64>,
) -> Decision<DatabaseId> {
    check_database_name(name).map_err(invalid)?;
    check_retention(name, retention_ns)?;
    if state.database(name).is_some() {
        return Err(exists(name));
    }
    limits.check_databases(state)?;
    let id = DatabaseId(state.next_database);
    Ok((vec![Change::CreateDatabase { id, name: name.into(), retention_ns }], id))
}

fn decide_drop_database(state: &State, name: &str, hard_delete: HardDelete, now_ms: u64) -> Decision<()> {
    let database = database_or_dropped(state, name)?;
    let names: Vec<&str> = state.databases.values().map(|d| &*d.name).collect();
    let (renamed, dropped) = drop_of(database.dropped, &database.name, &names, hard_delete.dropped(now_ms));
    if database.dropped == Some(dropped) {
        return Ok((Vec::new(), ()));
    }
    Ok((vec![Change::DropDatabase { id: database.id, renamed, dropped }], ()))
}

fn decide_set_database_retention(state: &State, name: &str, retention_ns: Option<u64>) -> Decision<()> {
    check_retention(name, retention_ns)?;
    let database = live_database(state, name)?;
    if database.retention_ns == retention_ns {
        return Ok((Vec::new(), ()));
    }
    Ok((vec![Change::SetDatabaseRetention { id: database.id, retention_ns }], ()))
}

fn decide_create_table(state: &State, limits: &Limits, new: &NewTable) -> Decision<TableId> {
    let NewTable { database, name, tags, fields, retention_ns } = new;
    check_table_name(name).map_err(invalid)?;
    check_retention(name, *retention_ns)?;
    let columns = new_columns(name, tags, fields)?;
    limits.check_columns(name, &columns)?;
    let (mut changes, database) = match state.database(database) {
        Some(known) if known.tables.contains_key(name.as_str()) => return Err(exists(name)),
        Some(known) => (Vec::new(), known.id),
        None => decide_create_database(state, limits, database, None)?,
    };
    limits.check_tables(state)?;
    let id = TableId(state.next_table);
    let (name, retention_ns) = (name.as_str().into(), *retention_ns);
    changes.push(Change::CreateTable { id, database, name, columns, retention_ns });
    Ok((changes, id))
}

fn new_columns(table: &str, tags: &[String], fields: &[(String, FieldType)]) -> Result<Vec<Column>, Error> {
    let tags = tags.iter().map(|name| (name, ColumnKind::Tag));
    let fields = fields.iter().map(|(name, field)| (name, ColumnKind::Field(*field)));
    let mut columns: Vec<Column> = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for (name, kind) in tags.chain(fields) {
        check_column_name(name).map_err(invalid)?;
        if !names.insert(name) {
            return Err(invalid(format!("column '{}' of table '{table}' is declared twice", name.escape_debug())));
        }
        columns.push(Column { name: name.as_str().into(), kind });
    }
    Ok(columns)
}

fn decide_drop_table(state: &State, name: TableName<'_>, hard_delete: HardDelete, now_ms: u64) -> Decision<()> {
    let database = live_database(state, name.database)?;
    let (id, table) = table_or_dropped(state, database, name.table)?;
    let siblings = state.tables.values().filter(|t| t.database == database.id);
    let names: Vec<&str> = siblings.map(|t| &*t.schema.name).collect();
    let (renamed, dropped) = drop_of(table.dropped, &table.schema.name, &names, hard_delete.dropped(now_ms));
    if table.dropped == Some(dropped) {
        return Ok((Vec::new(), ()));
    }
    Ok((vec![Change::DropTable { id, renamed, dropped }], ()))
}

fn decide_set_table_retention(state: &State, name: TableName<'_>, retention_ns: Option<u64>) -> Decision<()> {
    check_retention(name.table, retention_ns)?;
    let (id, table) = table_or_dropped(state, live_database(state, name.database)?, name.table)?;
    if table.dropped.is_some() {
        return Err(deleted(name.table));
    }
    if table.retention_ns == retention_ns {
        return Ok((Vec::new(), ()));
    }
    Ok((vec![Change::SetTableRetention { id, retention_ns }], ()))
}

/// The live database of this name, else the dropped one that is called so now.
fn database_or_dropped<'a>(state: &'a State, name: &str) -> Result<&'a Arc<Database>, Error> {
    let dropped = || state.databases.values().find(|d| &*d.name == name);
    state.database(name).or_else(dropped).ok_or_else(|| not_found(name))
}

fn live_database<'a>(state: &'a State, name: &str) -> Result<&'a Arc<Database>, Error> {
    let database = database_or_dropped(state, name)?;
    if database.dropped.is_some() { Err(deleted(name)) } else { Ok(database) }
}

/// The live table of this name, else the dropped one that is called so now.
fn table_or_dropped<'a>(state: &'a State, database: &Database, name: &str) -> Result<(TableId, &'a Arc<Table>), Error> {
    let live = state.table_named(database, name);
    let dropped = || state.tables.values().find(|t| t.database == database.id && &*t.schema.name == name);
    let table = live.or_else(dropped).ok_or_else(|| not_found(name))?;
    Ok((table.schema.table, table))
}

/// The name and the times of something that is dropped now, or was before. A second drop only moves the deletion.
fn drop_of(before: Option<Dropped>, name: &str, taken: &[&str], now: Dropped) -> (Arc<str>, Dropped) {
    if let Some(before) = before {
        return (name.into(), Dropped { at_ms: before.at_ms, hard_delete_at_ms: now.hard_delete_at_ms });
    }
    let first = dropped_name(name, now.at_ms);
    // Two things of one name can be dropped within one second.
    let others = (2..).map(|number| format!("{first}-{number}"));
    let renamed = std::iter::once(first.clone()).chain(others).find(|name| !taken.contains(&name.as_str()));
    (renamed.unwrap_or(first).into(), now)
}

fn check_retention(name: &str, retention_ns: Option<u64>) -> Result<(), Error> {
    match retention_ns {
        Some(0) => Err(invalid(format!("the retention of '{}' must be longer than zero", name.escape_debug()))),
        _ => Ok(()),
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn invalid(message: String) -> Error {
    Error::refused(ErrorKind::Invalid, message)
}

pub(super) fn not_found(name: &str) -> Error {
    Error::refused(ErrorKind::NotFound, format!("the requested resource was not found: {name}"))
}

fn exists(name: &str) -> Error {
    Error::refused(ErrorKind::Conflict, format!("attempted to create a resource that already exists: {name}"))
}

fn deleted(name: &str) -> Error {
    Error::refused(ErrorKind::Conflict, format!("attempted to modify resource that was already deleted: {name}"))
}

#[cfg(test)]
mod tests;
