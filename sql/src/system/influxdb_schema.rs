//! `system.influxdb_schema`: the columns of the current database in the words of line protocol.

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::model::{ColumnKind, FieldType, TIME_COLUMN};

use super::{Definition, Place, Rows, World, full, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "influxdb_schema", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("measurement", DataType::Utf8View),
        full("key", DataType::Utf8View),
        full("data_type", DataType::Utf8View),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let tables = world.database.iter().flat_map(|d| d.tables.values()).filter_map(|id| world.state.table(*id));
    let columns: Vec<(&str, &str, &str)> = tables
        .flat_map(|t| {
            let columns = t.schema.columns.iter().map(|c| (&*t.schema.name, &*c.name, word(c.kind)));
            columns.chain([(&*t.schema.name, TIME_COLUMN, "time")])
        })
        .collect();
    Ok(vec![texts(columns.iter().map(|c| c.0)), texts(columns.iter().map(|c| c.1)), texts(columns.iter().map(|c| c.2))])
}

pub(super) fn word(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Tag => "tag",
        ColumnKind::Field(FieldType::Float) => "float",
        ColumnKind::Field(FieldType::Integer) => "integer",
        ColumnKind::Field(FieldType::UInteger) => "uinteger",
        ColumnKind::Field(FieldType::Boolean) => "boolean",
        ColumnKind::Field(FieldType::String) => "string",
    }
}
