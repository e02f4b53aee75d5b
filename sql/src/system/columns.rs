//! `system.columns`: the columns of the tables of the current database, in their order; in `_internal` of all databases.

use arrow_array::{ArrayRef, StringViewArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::model::{ColumnKind, TIME_COLUMN};

use super::influxdb_schema::word;
use super::{Definition, Place, Rows, World, column, full, schema_of};

pub(super) const TABLE: Definition =
    Definition { name: "columns", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("database_name", DataType::Utf8View),
        full("table_name", DataType::Utf8View),
        full("column_name", DataType::Utf8View),
        full("kind", DataType::Utf8View),
        full("data_type", DataType::Utf8View),
        full("ordinal", DataType::UInt64),
    ])
}

struct Shown<'a> {
    database: &'a str,
    table: &'a str,
    column: &'a str,
    kind: &'static str,
    data_type: &'static str,
    ordinal: u64,
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut columns = Vec::new();
    for (database, table) in world.live_tables() {
        let kinds = table.schema.columns.iter().map(|column| match column.kind {
            ColumnKind::Tag => (&*column.name, "tag", "string"),
            ColumnKind::Field(_) => (&*column.name, "field", word(column.kind)),
        });
        let all = kinds.chain([(TIME_COLUMN, "time", "timestamp")]);
        columns.extend((1..).zip(all).map(|(ordinal, (column, kind, data_type))| Shown {
            database: &database.name,
            table: &table.schema.name,
            column,
            kind,
            data_type,
            ordinal,
        }));
    }
    let text = |of: fn(&Shown<'_>) -> String| column::<StringViewArray, _, _>(&columns, |shown| Some(of(shown)));
    Ok(vec![
        text(|shown| shown.database.to_owned()),
        text(|shown| shown.table.to_owned()),
        text(|shown| shown.column.to_owned()),
        text(|shown| shown.kind.to_owned()),
        text(|shown| shown.data_type.to_owned()),
        column::<UInt64Array, _, _>(&columns, |shown| Some(shown.ordinal)),
    ])
}
