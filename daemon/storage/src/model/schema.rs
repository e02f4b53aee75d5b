use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::{ColumnId, TableId};

/// The name of the time column, which every table has.
pub const TIME_COLUMN: &str = "time";

/// The hidden column of unsettled rows: their stamp (`UInt64`). Users never see it, and cannot name a column so.
pub const SEQ_COLUMN: &str = "__seq";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    Float,
    Integer,
    UInteger,
    Boolean,
    String,
}

impl FieldType {
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Float => DataType::Float64,
            Self::Integer => DataType::Int64,
            Self::UInteger => DataType::UInt64,
            Self::Boolean => DataType::Boolean,
            Self::String => DataType::Utf8,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    Tag,
    Field(FieldType),
}

impl ColumnKind {
    /// The name error messages and `system.influxdb_schema` use.
    #[must_use]
    pub fn full_name(self) -> &'static str {
        match self {
            Self::Tag => "iox::column_type::tag",
            Self::Field(FieldType::Float) => "iox::column_type::field::float",
            Self::Field(FieldType::Integer) => "iox::column_type::field::integer",
            Self::Field(FieldType::UInteger) => "iox::column_type::field::uinteger",
            Self::Field(FieldType::Boolean) => "iox::column_type::field::boolean",
            Self::Field(FieldType::String) => "iox::column_type::field::string",
        }
    }

    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Tag => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::Field(field) => field.arrow(),
        }
    }
}

/// One tag or field. The time column is not listed: every table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: Arc<str>,
    pub kind: ColumnKind,
}

/// The columns of one table at one moment. Columns are only ever added, so an older schema is a prefix of a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    pub table: TableId,
    pub name: Arc<str>,
    /// Indexed by `ColumnId`.
    pub columns: Vec<Column>,
}

impl TableSchema {
    #[must_use]
    pub fn column(&self, id: ColumnId) -> &Column {
        &self.columns[usize::from(id.0)]
    }

    #[must_use]
    pub fn find(&self, name: &str) -> Option<(ColumnId, &Column)> {
        let index = self.columns.iter().position(|c| &*c.name == name)?;
        Some((ColumnId(u16::try_from(index).ok()?), &self.columns[index]))
    }

    /// The tags in the order of the series key: the order in which they first appeared.
    pub fn tags(&self) -> impl Iterator<Item = (ColumnId, &Column)> {
        self.numbered().filter(|(_, c)| c.kind == ColumnKind::Tag)
    }

    pub fn fields(&self) -> impl Iterator<Item = (ColumnId, &Column)> {
        self.numbered().filter(|(_, c)| c.kind != ColumnKind::Tag)
    }

    fn numbered(&self) -> impl Iterator<Item = (ColumnId, &Column)> {
        (0u16..).map(ColumnId).zip(&self.columns)
    }

    /// How rows are laid out in chunks and files: tags in key order, `time`, fields in order of their ids.
    /// A file or chunk with unsettled rows has `__seq` (`UInt64`, not null) after them.
    #[must_use]
    pub fn stored(&self) -> SchemaRef {
        let tags = self.tags().map(|(_, c)| Field::new(&*c.name, c.kind.arrow(), true));
        let time = Field::new(TIME_COLUMN, DataType::Timestamp(TimeUnit::Nanosecond, None), false);
        let fields = self.fields().map(|(_, c)| Field::new(&*c.name, c.kind.arrow(), true));
        Arc::new(Schema::new(tags.chain([time]).chain(fields).collect::<Vec<_>>()))
    }
}
