//! `system.deletes`: deletes of rows that are not carried out in all files yet, in the current database; in `_internal` of
//! all databases. What they delete is hidden all the same.

use std::sync::Arc;

use arrow_array::{ArrayRef, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use storage::catalog::Table;
use storage::model::RowDelete;

use super::{Definition, Place, Rows, World, full, optional, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "deletes", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

/// Files that one look compares with deletes, a few hundred milliseconds of work: nobody can stop it.
const COMPARED_MAX: usize = 5_000_000;

fn schema() -> SchemaRef {
    schema_of(vec![
        full("database_name", DataType::Utf8View),
        full("table_name", DataType::Utf8View),
        full("catalog_version", DataType::UInt64),
        full("delete_time", DataType::Timestamp(TimeUnit::Millisecond, None)),
        full("predicate", DataType::Utf8View),
        optional("files_left", DataType::UInt64),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let deletes: Vec<_> = world
        .live_tables()
        .flat_map(|(database, table)| table.deletes.iter().map(move |delete| (database, table, delete)))
        .collect();
    let ms = |delete: &RowDelete| i64::try_from(delete.at_ms).unwrap_or(i64::MAX);
    let mut budget = COMPARED_MAX;
    let left = deletes.iter().map(|(_, table, delete)| files_left(table, delete, &mut budget));
    let left: UInt64Array = left.collect();
    Ok(vec![
        texts(deletes.iter().map(|(database, ..)| &database.name)),
        texts(deletes.iter().map(|(_, table, _)| &table.schema.name)),
        Arc::new(UInt64Array::from_iter_values(deletes.iter().map(|(.., delete)| delete.version))),
        Arc::new(TimestampMillisecondArray::from_iter_values(deletes.iter().map(|(.., delete)| ms(delete)))),
        texts(deletes.iter().map(|(_, table, delete)| predicate(table, delete))),
        Arc::new(left),
    ])
}

/// How many files the delete may still mean rows of; `None` when to look at them all would pass what may be compared.
fn files_left(table: &Table, delete: &RowDelete, budget: &mut usize) -> Option<u64> {
    *budget = budget.checked_sub(table.files.len())?;
    Some(table.files.values().filter(|file| delete.touches(file)).count() as u64)
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

#[cfg(test)]
mod tests {
    use storage::model::{DatabaseId, Selection, Stamp, TableSchema, TimeRange};

    use super::*;
    use crate::tables::fixture::{Cluster, Random, TABLE};

    #[tokio::test]
    async fn files_are_counted_while_they_are_not_too_many() {
        let mut cluster = Cluster::new();
        for _ in 0..3 {
            cluster = cluster.file(Random(1).rows(9)).await;
        }
        let table = Table {
            database: DatabaseId(1),
            schema: Arc::new(TableSchema { table: TABLE, name: "cpu".into(), columns: Vec::new() }),
            retention_ns: None,
            files: cluster.files.iter().map(|file| (file.id, Arc::clone(file))).collect(),
            deletes: Vec::new(),
            last_delete: 7,
            caches: [].into(),
            dropped: None,
        };
        let which = Selection { time: TimeRange::ALL, tags: [].into() };
        let delete = RowDelete { version: 7, stamp: Stamp(500), at_ms: 0, which };
        let mut budget = 7;
        let mut left = || files_left(&table, &delete, &mut budget);
        assert_eq!([left(), left(), left(), left()], [Some(3), Some(3), None, None]);
    }
}
