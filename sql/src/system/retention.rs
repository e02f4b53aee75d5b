//! `system.retention`: how long the rows of the live tables of the current database are kept; in `_internal` of all
//! databases. The original has no such table and shows this through its command line only.

use std::sync::Arc;

use arrow_array::{ArrayRef, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use super::{Definition, Place, Rows, World, full, optional, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "retention", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("database_name", DataType::Utf8View),
        full("table_name", DataType::Utf8View),
        optional("retention_period_ns", DataType::UInt64),
        full("source", DataType::Utf8View),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let tables: Vec<_> = world
        .live_tables()
        .map(|(database, table)| {
            let (period, source) = match (table.retention_ns, database.retention_ns) {
                (Some(period), _) => (Some(period), "table"),
                (None, Some(period)) => (Some(period), "database"),
                (None, None) => (None, "infinite"),
            };
            (&database.name, &table.schema.name, period, source)
        })
        .collect();
    Ok(vec![
        texts(tables.iter().map(|(database, ..)| database)),
        texts(tables.iter().map(|(_, table, ..)| table)),
        Arc::new(tables.iter().map(|(.., period, _)| *period).collect::<UInt64Array>()),
        texts(tables.iter().map(|(.., source)| source)),
    ])
}
