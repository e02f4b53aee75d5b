//! `system.deletes`: deletes of rows that are not carried out in all files yet, in the current database; in `_internal` of
//! all databases. What they delete is hidden all the same.

use std::sync::Arc;

use arrow_array::{ArrayRef, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use storage::catalog::Table;
use storage::model::RowDelete;

use super::{Definition, Place, Rows, World, full, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "deletes", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("database_name", DataType::Utf8View),
        full("table_name", DataType::Utf8View),
        full("catalog_version", DataType::UInt64),
        full("delete_time", DataType::Timestamp(TimeUnit::Millisecond, None)),
        full("predicate", DataType::Utf8View),
        full("files_left", DataType::UInt64),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let deletes: Vec<_> = world
        .live_tables()
        .flat_map(|(database, table)| table.deletes.iter().map(move |delete| (database, table, delete)))
        .collect();
    let ms = |delete: &RowDelete| i64::try_from(delete.at_ms).unwrap_or(i64::MAX);
    let left = |table: &Table, delete: &RowDelete| table.files.values().filter(|file| delete.touches(file)).count();
    Ok(vec![
        texts(deletes.iter().map(|(database, ..)| &database.name)),
        texts(deletes.iter().map(|(_, table, _)| &table.schema.name)),
        Arc::new(UInt64Array::from_iter_values(deletes.iter().map(|(.., delete)| delete.version))),
        Arc::new(TimestampMillisecondArray::from_iter_values(deletes.iter().map(|(.., delete)| ms(delete)))),
        texts(deletes.iter().map(|(_, table, delete)| predicate(table, delete))),
        Arc::new(UInt64Array::from_iter_values(deletes.iter().map(|(_, table, delete)| left(table, delete) as u64))),
    ])
}

fn predicate(table: &Table, delete: &RowDelete) -> String {
    let names: Vec<&str> = table.schema.tags().map(|(_, column)| &*column.name).collect();
    let tags = delete.which.tags.iter().map(|(place, values)| {
        let values = values.iter().map(|value| value.as_deref()).collect();
        (names[usize::from(*place)], values)
    });
    conditions((delete.which.time.min, delete.which.time.max), tags)
}

/// The rows that are meant as conditions, as a statement that deletes them has them; empty when all are.
pub(crate) fn conditions<'a>(
    (first_ns, last_ns): (i64, i64),
    tags: impl Iterator<Item = (&'a str, Vec<Option<&'a str>>)>,
) -> String {
    let first = (first_ns != i64::MIN).then(|| format!("time >= '{}'", instant(first_ns)));
    let last = (last_ns != i64::MAX).then(|| format!("time <= '{}'", instant(last_ns)));
    let conditions = first.into_iter().chain(last).chain(tags.map(|(tag, values)| one_of(tag, &values)));
    conditions.collect::<Vec<_>>().join(" AND ")
}

fn one_of(tag: &str, values: &[Option<&str>]) -> String {
    let tag = format!("\"{}\"", tag.replace('"', "\"\""));
    let text = |value: &&str| format!("'{}'", value.replace('\'', "''"));
    let texts: Vec<String> = values.iter().flatten().map(text).collect();
    match (values.contains(&None), texts.as_slice()) {
        (true, _) => format!("{tag} IS NULL"),
        (false, [text]) => format!("{tag} = {text}"),
        // No row has a tag that is absent and is not.
        (false, []) => format!("{tag} IS NULL AND {tag} = ''"),
        (false, texts) => format!("{tag} IN ({})", texts.join(", ")),
    }
}

/// `2026-01-02T03:04:05.000000006Z`.
pub(crate) fn instant(ns: i64) -> String {
    let array = TimestampNanosecondArray::from(vec![ns]).with_timezone("UTC");
    array_value_to_string(&array, 0).unwrap_or_else(|_| ns.to_string())
}
