//! `system.last_caches`: the last value caches of the live tables of the current database; in `_internal` of all databases.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringViewBuilder, UInt16Builder};
use arrow_array::{ArrayRef, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use storage::catalog::{Cache, Table};
use storage::model::ColumnId;

use super::{Definition, Place, Rows, World, full, optional, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "last_caches", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("table", DataType::Utf8View),
        full("name", DataType::Utf8View),
        full("key_column_ids", list_of(DataType::UInt16)),
        full("key_column_names", list_of(DataType::Utf8View)),
        optional("value_column_ids", list_of(DataType::UInt16)),
        optional("value_column_names", list_of(DataType::Utf8View)),
        full("count", DataType::UInt64),
        full("ttl", DataType::UInt64),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let caches: Vec<_> = shown(world)
        .into_iter()
        .filter_map(|(table, name, cache)| match cache {
            Cache::Last { keys, values, count, ttl_seconds } => {
                Some((table, name, Some(keys.as_slice()), values.as_deref(), (*count, *ttl_seconds)))
            }
            Cache::Distinct { .. } => None,
        })
        .collect();
    let keys = || caches.iter().map(|(table, _, keys, ..)| (*table, *keys));
    let values = || caches.iter().map(|(table, _, _, values, _)| (*table, *values));
    Ok(vec![
        texts(caches.iter().map(|(table, ..)| &table.schema.name)),
        texts(caches.iter().map(|(_, name, ..)| *name)),
        ids(keys()),
        names(keys()),
        ids(values()),
        names(values()),
        Arc::new(UInt64Array::from_iter_values(caches.iter().map(|(.., (count, _))| *count))),
        Arc::new(UInt64Array::from_iter_values(caches.iter().map(|(.., (_, ttl))| *ttl))),
    ])
}

pub(super) fn list_of(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(of, true)))
}

/// The caches of `world`, with their tables.
pub(super) fn shown(world: &World) -> Vec<(&Table, &str, &Cache)> {
    let tables = world.live_tables().map(|(_, table)| table);
    tables.flat_map(|table| table.caches.iter().map(move |((_, name), cache)| (table, &**name, cache))).collect()
}

/// The numbers of columns.
pub(super) fn ids<'a>(columns: impl Iterator<Item = (&'a Table, Option<&'a [ColumnId]>)>) -> ArrayRef {
    let mut lists = ListBuilder::new(UInt16Builder::new());
    for (_, columns) in columns {
        columns.unwrap_or_default().iter().for_each(|id| lists.values().append_value(id.0));
        lists.append(columns.is_some());
    }
    Arc::new(lists.finish())
}

/// The names of columns.
pub(super) fn names<'a>(columns: impl Iterator<Item = (&'a Table, Option<&'a [ColumnId]>)>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    for (table, columns) in columns {
        columns.unwrap_or_default().iter().for_each(|id| lists.values().append_value(&*table.schema.column(*id).name));
        lists.append(columns.is_some());
    }
    Arc::new(lists.finish())
}
