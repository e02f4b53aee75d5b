//! `system.tables`: the tables of the current database, dropped ones among them; in `_internal` of all databases.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::catalog::{CacheKind, Table};

use super::{Definition, Place, Rows, World, full, hard_deletions, optional, schema_of, seconds_utc, texts};

pub(super) const TABLE: Definition =
    Definition { name: "tables", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("database_name", DataType::Utf8View),
        full("table_name", DataType::Utf8View),
        full("column_count", DataType::UInt64),
        full("series_key_columns", DataType::Utf8View),
        full("last_cache_count", DataType::UInt64),
        full("distinct_cache_count", DataType::UInt64),
        full("deleted", DataType::Boolean),
        optional("hard_deletion_time", seconds_utc()),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let is_shown = |table: &Table| world.database.as_ref().is_none_or(|d| d.id == table.database);
    let tables: Vec<_> = world
        .state
        .tables
        .values()
        .filter(|t| is_shown(t))
        .filter_map(|t| Some((world.state.databases.get(&t.database)?, t)))
        .collect();
    let series_key = |table: &Table| table.schema.tags().map(|(_, tag)| &*tag.name).collect::<Vec<_>>().join(", ");
    // The time column is not listed in the schema.
    let columns = tables.iter().map(|(_, t)| t.schema.columns.len() as u64 + 1);
    let caches = |kind: CacheKind| {
        let count = |table: &Table| table.caches.keys().filter(|(of, _)| *of == kind).count() as u64;
        Arc::new(UInt64Array::from_iter_values(tables.iter().map(|(_, table)| count(table))))
    };
    Ok(vec![
        texts(tables.iter().map(|(database, _)| &database.name)),
        texts(tables.iter().map(|(_, t)| &t.schema.name)),
        Arc::new(UInt64Array::from_iter_values(columns)),
        texts(tables.iter().map(|(_, t)| series_key(t))),
        caches(CacheKind::Last),
        caches(CacheKind::Distinct),
        Arc::new(tables.iter().map(|(_, t)| Some(t.dropped.is_some())).collect::<BooleanArray>()),
        hard_deletions(tables.iter().map(|(_, t)| &t.dropped)),
    ])
}
