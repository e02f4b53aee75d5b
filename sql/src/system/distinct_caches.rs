//! `system.distinct_caches`: the distinct value caches of the live tables of the current database; in `_internal` of all
//! databases.

use std::sync::Arc;

use arrow_array::{ArrayRef, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::catalog::Cache;

use super::last_caches::{ids, list_of, names, shown};
use super::{Definition, Place, Rows, World, full, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "distinct_caches", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("table", DataType::Utf8View),
        full("name", DataType::Utf8View),
        full("column_ids", list_of(DataType::UInt16)),
        full("column_names", list_of(DataType::Utf8View)),
        full("max_cardinality", DataType::UInt64),
        full("max_age_seconds", DataType::UInt64),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let caches: Vec<_> = shown(world)
        .into_iter()
        .filter_map(|(table, name, cache)| match cache {
            Cache::Distinct { columns, cardinality_max, age_max_seconds } => {
                Some((table, name, Some(columns.as_slice()), (*cardinality_max, *age_max_seconds)))
            }
            Cache::Last { .. } => None,
        })
        .collect();
    let columns = || caches.iter().map(|(table, _, columns, _)| (*table, *columns));
    Ok(vec![
        texts(caches.iter().map(|(table, ..)| &table.schema.name)),
        texts(caches.iter().map(|(_, name, ..)| *name)),
        ids(columns()),
        names(columns()),
        Arc::new(UInt64Array::from_iter_values(caches.iter().map(|(.., (cardinality, _))| *cardinality))),
        Arc::new(UInt64Array::from_iter_values(caches.iter().map(|(.., (_, age))| *age))),
    ])
}
