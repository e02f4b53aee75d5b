use std::fmt;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::ScalarValue;
use futures::stream::BoxStream;
use storage::bucket::Secret;
use storage::catalog::Access;

use super::Error;

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
    /// The way in it took: `http`.
    pub door: &'static str,
    /// The longest the query may take, waiting included; `None` is the engine's default.
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    String(String),
}

impl From<Param> for ScalarValue {
    fn from(param: Param) -> Self {
        match param {
            Param::Null => Self::Null,
            Param::Bool(v) => Self::Boolean(Some(v)),
            Param::Int(v) => Self::Int64(Some(v)),
            Param::UInt(v) => Self::UInt64(Some(v)),
            Param::Float(v) => Self::Float64(Some(v)),
            Param::String(v) => Self::Utf8(Some(v)),
        }
    }
}

/// The rows of an answer, as they come. Dropping it cancels the query.
pub struct Answer {
    pub schema: SchemaRef,
    /// Ends after the first error.
    pub rows: BoxStream<'static, Result<RecordBatch, Error>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}
