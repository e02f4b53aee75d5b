//! `system.parquet_files`: the live files of the current database, whoever wrote them. None in `_internal`.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use super::{Definition, Place, Rows, World, full, schema_of};

pub(super) const TABLE: Definition =
    Definition { name: "parquet_files", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("table_name", DataType::Utf8),
        full("path", DataType::Utf8),
        full("size_bytes", DataType::UInt64),
        full("row_count", DataType::UInt64),
        full("min_time", DataType::Int64),
        full("max_time", DataType::Int64),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let tables = world.database.iter().flat_map(|d| d.tables.values()).filter_map(|id| world.state.table(*id));
    let files: Vec<_> = tables.flat_map(|t| t.files.values().map(move |f| (&t.schema.name, f))).collect();
    Ok(vec![
        Arc::new(StringArray::from_iter_values(files.iter().map(|(table, _)| table))),
        Arc::new(StringArray::from_iter_values(files.iter().map(|(_, f)| &f.path))),
        Arc::new(UInt64Array::from_iter_values(files.iter().map(|(_, f)| f.size_bytes))),
        Arc::new(UInt64Array::from_iter_values(files.iter().map(|(_, f)| f.rows))),
        Arc::new(Int64Array::from_iter_values(files.iter().map(|(_, f)| f.time.min))),
        Arc::new(Int64Array::from_iter_values(files.iter().map(|(_, f)| f.time.max))),
    ])
}
