//! Why a line is refused, in the words clients know.
//!
//! # Promises
//! - A message names the column, table, number or text that is wrong.
//!
//! # Not here
//! - Where the line stands: `lines`.

use crate::ingest::Precision;

/// Why one line was refused. The texts are part of the protocol: clients search answers for them, so they keep the
/// product's capitals and punctuation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("Invalid measurement was provided")]
    Measurement,
    #[error("Expected tag key, got {0}")]
    ExpectedTagKey(String),
    #[error("Tag set malformed")]
    TagSet,
    #[error("Expected at least one space character, got {0}")]
    ExpectedSpace(String),
    #[error("No fields were provided")]
    NoFields,
    #[error("Could not parse entire line. Found trailing content: {0}")]
    Trailing(String),
    #[error("Unable to parse integer value `{0}`")]
    Integer(String),
    #[error("Unable to parse unsigned integer value `{0}`")]
    UInteger(String),
    #[error("Unable to parse floating-point value `{0}`")]
    Float(String),
    #[error("Unable to parse timestamp value `{0}`")]
    Timestamp(String),
    #[error("timestamp, {time}, out of range for precision: {precision:?}")]
    TimestampRange { time: i64, precision: Precision },
    #[error("Measurements, tag keys and values, and field keys may not end with a backslash")]
    EndsWithBackslash,
    #[error("String is greater than {}", size(*.0))]
    TooLong(usize),
    #[error("invalid line protocol - multiple instances of '{0}' tag found")]
    DuplicateTag(String),
    #[error("'{0}' is a reserved column")]
    Reserved(String),
    #[error("invalid column type for column '{column}', expected {expected}, got {got}")]
    ColumnType { column: String, expected: &'static str, got: &'static str },
    #[error(
        "Schema update for table '{table}' would exceed the column limit: \
         proposed schema update would have {columns} columns, but the limit is {limit}"
    )]
    ColumnLimit { table: String, columns: usize, limit: usize },
    #[error(
        "Schema update for table '{table}' would exceed the tag column limit: \
         proposed schema would have {tags} tag columns, but the limit is {limit}"
    )]
    TagLimit { table: String, tags: usize, limit: usize },
    #[error(
        "Update to schema would exceed number of tables limit: \
         attempted to create table but already have {tables} table(s) (limit: {limit})"
    )]
    TableLimit { tables: usize, limit: usize },
    #[error(
        "the rows of this request would take {cells} values with those that lines do not set, but the limit is {limit}: \
         send lines that name so many different columns in smaller requests"
    )]
    Cells { cells: usize, limit: usize },
    #[error("the body has {bytes} bytes, but a body is at most {limit} bytes")]
    Body { bytes: usize, limit: usize },
}

/// What stands at the beginning of `rest`, as the messages show it: ten characters, or that there is nothing.
pub(super) fn excerpt(rest: &str) -> String {
    if rest.is_empty() {
        return "`end of input`".to_owned();
    }
    let end = rest.char_indices().nth(10).map_or(rest.len(), |(at, _)| at);
    format!("`{}`", &rest[..end])
}

fn size(bytes: usize) -> String {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    match bytes {
        b if b >= MIB && b % MIB == 0 => format!("{}MB", b / MIB),
        b if b >= KIB && b % KIB == 0 => format!("{}KB", b / KIB),
        b => format!("{b} bytes"),
    }
}
