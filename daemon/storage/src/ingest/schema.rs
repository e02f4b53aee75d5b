//! Text to rows against one catalog version, and a catalog entry for what is new in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::TableBatch;
use super::lines::{self, Schemas};
use super::{Error, Report, Write};
use crate::catalog::{self, Catalog, Change, State, check_database_name};
use crate::model::{ColumnId, DatabaseId, ErrorKind, Rows, TableId, TableSchema};

/// The tables of one database in one catalog version.
struct Known<'a> {
    state: &'a State,
    database: Option<&'a catalog::Database>,
}

impl Schemas for Known<'_> {
    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        let table = self.state.table_named(self.database?, name)?;
        Some(Arc::clone(&table.schema))
    }
}

/// What the catalog said to the schema a request needs.
enum Schema {
    /// It holds; these are the ids of the request's tables, in their order.
    Holds(Vec<TableId>),
    /// Somebody changed a table meanwhile, so the request must be read again.
    Moved,
}

/// The rows of a request, every table and column of which is in the catalog.
pub(super) async fn parse(catalog: &Catalog, now_ns: i64, write: &Write<'_>) -> Result<(Vec<Rows>, Report), Error> {
    check_database_name(write.database).map_err(Error::DatabaseName)?;
    loop {
        let state = catalog.state();
        let database = state.database(write.database).cloned();
        let limits = catalog.limits();
        let options = lines::Options {
            precision: write.precision,
            bad_lines: write.bad_lines,
            now_ns,
            limits: lines::Limits {
                tables_now: live_tables(&state),
                tables: limits.tables,
                columns_per_table: limits.columns_per_table,
                tags_per_table: limits.tags_per_table,
                ..lines::Limits::default()
            },
        };
        let known = Known { state: &state, database: database.as_deref() };
        let parsed = lines::parse(write.body, &options, &known).map_err(Error::Line)?;
        let report = Report { lines_kept: parsed.lines_kept, rejected: parsed.rejected, stored: None };
        let mut tables = parsed.tables;
        let is_known = |t: &TableBatch| t.new_columns.is_empty() && t.known.is_some();
        if tables.iter().all(is_known) {
            return Ok((tables.into_iter().map(|t| t.rows).collect(), report));
        }
        let decide = |state: &State| decide(state, write.database, (&tables, limits.databases));
        match catalog.commit(decide).await? {
            Schema::Moved => {}
            Schema::Holds(ids) => {
                for (table, id) in tables.iter_mut().zip(ids) {
                    table.rows.table = id;
                }
                return Ok((tables.into_iter().map(|t| t.rows).collect(), report));
            }
        }
    }
}

fn live_tables(state: &State) -> usize {
    state.databases.values().filter(|d| d.dropped.is_none()).map(|d| d.tables.len()).sum()
}

/// One entry for everything that is new in a request.
fn decide(
    state: &State,
    name: &str,
    (tables, databases_max): (&[TableBatch], usize),
) -> Result<(Vec<Change>, Schema), catalog::Error> {
    let mut changes = Vec::new();
    let database = state.database(name);
    let id = match database {
        Some(database) => database.id,
        None => {
            let live = state.databases.values().filter(|d| d.dropped.is_none()).count();
            if live >= databases_max {
                let message = format!("Adding a new database would exceed limit of {databases_max} databases");
                return Err(catalog::Error::refused(ErrorKind::Limit, message));
            }
            let id = DatabaseId(state.next_database);
            changes.push(Change::CreateDatabase { id, name: name.into(), retention_ns: None });
            id
        }
    };
    let existing: BTreeMap<&str, &Arc<TableSchema>> = database
        .into_iter()
        .flat_map(|d| d.tables.values())
        .filter_map(|id| state.table(*id))
        .map(|table| (&*table.schema.name, &table.schema))
        .collect();
    let mut next_table = state.next_table;
    let mut ids = Vec::with_capacity(tables.len());
    for batch in tables {
        let columns = batch.new_columns.clone();
        match (&batch.known, existing.get(&*batch.name)) {
            (None, None) => {
                let table = TableId(next_table);
                next_table += 1;
                ids.push(table);
                let name = Arc::clone(&batch.name);
                changes.push(Change::CreateTable { id: table, database: id, name, columns, retention_ns: None });
            }
            (Some(known), Some(now)) if known.table == now.table && known.columns.len() == now.columns.len() => {
                ids.push(known.table);
                if !columns.is_empty() {
                    let first = u16::try_from(known.columns.len()).expect("columns are limited to 16 bits");
                    changes.push(Change::AddColumns { table: known.table, first: ColumnId(first), columns });
                }
            }
            _ => return Ok((Vec::new(), Schema::Moved)),
        }
    }
    Ok((changes, Schema::Holds(ids)))
}
