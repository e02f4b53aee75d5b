//! Tables of the Postgres catalogs, written down as text: columns with their types and what most rows have in them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use super::emptiness::absent;
use super::types::oid_field;

/// One table: `name:type` or `name:type=value`, where the value is that of rows which say nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
}

/// What a row says; all else is as the spec has it.
pub(super) type Row = Vec<(&'static str, Cell)>;

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

struct Column {
    name: &'static str,
    kind: &'static str,
    default: Cell,
}

impl Column {
    fn parse(text: &'static str) -> Self {
        let (name, rest) = text.split_once(':').expect("every column has a type");
        let (kind, default) = match rest.split_once('=') {
            Some((kind, value)) => (kind, default(kind, value)),
            None => (rest, Cell::Null),
        };
        Self { name, kind, default }
    }

    fn field(&self) -> Field {
        let data_type = match self.kind {
            "oid" => return oid_field(self.name),
            "bool" => DataType::Boolean,
            "int2" => DataType::Int16,
            "int4" => DataType::Int32,
            "int8" => DataType::Int64,
            "float4" => DataType::Float32,
            "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "text" => DataType::Utf8,
            "regproc" => return function_field(self.name),
            "text[]" => return self.list(DataType::Utf8),
            "int2[]" => return self.list(DataType::Int16),
            "oid[]" => return self.list(DataType::Int64),
            other => unreachable!("{}: {other} is no type of a spec", self.name),
        };
        Field::new(self.name, data_type, true)
    }

    /// Of a list nothing is ever said.
    fn list(&self, of: DataType) -> Field {
        absent(Field::new(self.name, DataType::new_list(of, true), true))
    }

    fn array(&self, rows: &[Row]) -> ArrayRef {
        let said = |row: &Row| row.iter().position(|(name, _)| *name == self.name);
        let cells = rows.iter().map(|row| said(row).map_or(&self.default, |at| &row[at].1));
        let cells: Vec<&Cell> = cells.collect();
        array(self.field().data_type(), &cells)
    }
}

/// The values as a column of this type; a value of another type is absent.
pub(super) fn array(of: &DataType, cells: &[&Cell]) -> ArrayRef {
    let cells = || cells.iter().copied();
    let ints = || cells().map(|cell| if let Cell::Int(v) = cell { Some(*v) } else { None });
    match of {
        DataType::Boolean => {
            Arc::new(cells().map(|c| if let Cell::Bool(v) = c { Some(*v) } else { None }).collect::<BooleanArray>())
        }
        DataType::Int16 => Arc::new(ints().map(|v| v.and_then(|v| v.try_into().ok())).collect::<Int16Array>()),
        DataType::Int32 => Arc::new(ints().map(|v| v.and_then(|v| v.try_into().ok())).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(ints().collect::<Int64Array>()),
        #[expect(clippy::cast_precision_loss, reason = "an estimate needs no exact number")]
        DataType::Float32 => Arc::new(ints().map(|v| v.map(|v| v as f32)).collect::<Float32Array>()),
        DataType::Timestamp(..) => Arc::new(ints().collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        DataType::Utf8 => {
            let text = |c: &Cell| if let Cell::Text(v) = c { Some(v.clone()) } else { None };
            Arc::new(cells().map(text).collect::<StringArray>())
        }
        other => new_null_array(other, cells().len()),
    }
}

/// The name under which a field says that its texts are names of functions.
const FUNCTION_MARK: &str = "postgres.function";

fn function_field(name: &str) -> Field {
    let mark = HashMap::from([(FUNCTION_MARK.to_owned(), String::new())]);
    Field::new(name, DataType::Utf8, true).with_metadata(mark)
}

/// Whether what it has are names of functions.
pub(super) fn is_function(field: &Field) -> bool {
    field.metadata().contains_key(FUNCTION_MARK)
}

fn default(kind: &str, value: &str) -> Cell {
    match kind {
        "bool" => Cell::Bool(value == "t"),
        "text" | "regproc" => Cell::Text(value.to_owned()),
        _ => Cell::Int(value.parse().expect("a number in a spec")),
    }
}

impl Spec {
    fn parsed(&self) -> Vec<Column> {
        self.columns.split_whitespace().map(Column::parse).collect()
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.parsed().iter().map(Column::field).collect::<Vec<_>>()))
    }

    pub(super) fn batch(&self, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
        let columns = self.parsed();
        debug_assert!(
            rows.iter().flatten().all(|(name, _)| columns.iter().any(|c| c.name == *name)),
            "{}: a row has a column that the table has not",
            self.name
        );
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let arrays = columns.iter().map(|column| column.array(rows)).collect();
        RecordBatch::try_new_with_options(self.schema(), arrays, &options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_does_not_say_is_what_the_table_says() {
        let spec = Spec { name: "t", columns: "oid:oid name:text=x flag:bool=t count:int4 list:text[]" };
        let rows = vec![vec![("oid", Cell::Int(7))], vec![("name", "y".into()), ("count", Cell::Int(2))]];
        let batch = spec.batch(&rows).expect("the rows fit");
        let json = format!("{batch:?}");
        assert_eq!(batch.num_rows(), 2, "{json}");
        let names: &StringArray = batch.column(1).as_any().downcast_ref().expect("text");
        assert_eq!(names.iter().collect::<Vec<_>>(), [Some("x"), Some("y")]);
    }
}
