use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use datafusion::common::{Result, ScalarValue};
use futures::stream::BoxStream;
use storage::bucket::Secret;
use storage::catalog::Access;

use super::Error;
use crate::admin::Tag;
use crate::postgres::PgSession;

/// One question.
#[derive(Debug, Clone)]
pub struct Query {
    pub text: String,
    pub database: String,
    /// The values of `$name` in the text.
    pub params: Vec<(String, Param)>,
    pub access: Access,
    /// What the asker showed, for other nodes to judge when they are asked in turn.
    pub token: Option<Secret>,
    /// The way in it took: `http`, `pg`.
    pub door: &'static str,
    /// Its client speaks the SQL of Postgres, and this is its session.
    pub postgres: Option<Arc<PgSession>>,
    /// The longest the query may take, waiting included; `None` is the engine's default.
    pub timeout: Option<Duration>,
    /// How long its client may take to ask for more rows; `None` is the engine's default.
    pub patience: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    String(String),
    Bytes(Vec<u8>),
    /// Nanoseconds since 1970.
    Time(i64),
    /// A value of this type.
    Cast(Box<Param>, DataType),
    /// A list of values of this type.
    List(Vec<Param>, DataType),
}

impl Param {
    /// The value as the query engine has it. Fails when a text is no value of its type.
    pub(super) fn value(self) -> Result<ScalarValue> {
        Ok(match self {
            Self::Null => ScalarValue::Null,
            Self::Bool(v) => ScalarValue::Boolean(Some(v)),
            Self::Int(v) => ScalarValue::Int64(Some(v)),
            Self::UInt(v) => ScalarValue::UInt64(Some(v)),
            Self::Float(v) => ScalarValue::Float64(Some(v)),
            Self::String(v) => ScalarValue::Utf8(Some(v)),
            Self::Bytes(v) => ScalarValue::Binary(Some(v)),
            Self::Time(v) => ScalarValue::TimestampNanosecond(Some(v), None),
            Self::Cast(v, to) => v.value()?.cast_to(&to)?,
            Self::List(items, of) => {
                let cast = |item: Self| item.value()?.cast_to(&of);
                let items: Vec<ScalarValue> = items.into_iter().map(cast).collect::<Result<_>>()?;
                ScalarValue::List(ScalarValue::new_list_nullable(&items, &of))
            }
        })
    }
}

/// What a statement would answer, and what it wants to know before.
#[derive(Debug, Clone)]
pub struct Description {
    /// Types of `$1`, `$2` and so on.
    pub params: Vec<DataType>,
    pub schema: SchemaRef,
    /// For a command.
    pub tag: Option<Tag>,
}

/// The rows of an answer, as they come. Dropping it cancels the query.
pub struct Answer {
    pub schema: SchemaRef,
    /// For a command.
    pub tag: Option<Tag>,
    /// Ends after the first error.
    pub rows: BoxStream<'static, Result<RecordBatch, Error>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}
