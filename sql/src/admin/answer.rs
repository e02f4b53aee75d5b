//! What a command answers, as rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use storage::catalog::CreatedToken;

use super::{Command, Done};

/// How a command is told to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its words, as a Postgres client expects them.
    pub words: &'static str,
    /// Whether its row says more than the words do.
    pub has_rows: bool,
    /// What somebody should know besides, once it is done.
    pub notice: Option<String>,
}

impl Command {
    #[must_use]
    pub fn tag(&self) -> Tag {
        let has_rows = matches!(
            self,
            Self::CreateToken { .. } | Self::DrainNode { .. } | Self::RemoveNode { .. } | Self::CancelQuery { .. }
        );
        Tag { words: self.words(), has_rows, notice: None }
    }

    /// The tag, once it is known what came of it.
    pub(crate) fn done_tag(&self, done: &Done) -> Tag {
        Tag { notice: done.notice(), ..self.tag() }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        Arc::new(Schema::new(match self {
            Self::CreateToken { .. } => vec![
                Field::new("token_id", DataType::UInt64, false),
                text("name"),
                text("token"),
                Field::new("expiry", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            ],
            Self::DrainNode { .. } | Self::RemoveNode { .. } => vec![text("node_id"), text("state")],
            Self::CancelQuery { .. } => vec![text("query_id"), text("node_id")],
            _ => vec![text("result")],
        }))
    }

    /// The one row of the answer.
    pub(crate) fn row(&self, done: &Done) -> Result<RecordBatch, ArrowError> {
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let columns = match done {
            Done::Changed | Done::Deleted { .. } => {
                let notice = done.notice().map(|notice| format!("; {notice}")).unwrap_or_default();
                vec![text(&format!("{}{notice}", self.words()))]
            }
            Done::Node(node, condition) => vec![text(node.id.as_str()), text(&condition.to_string())],
            Done::Cancelled { id, node } => vec![text(&id.to_string()), text(node)],
            Done::Token(created) => {
                let CreatedToken { token, secret } = &**created;
                let expiry = token.expires_at_ms.and_then(|ms| i64::try_from(ms).ok());
                vec![
                    Arc::new(UInt64Array::from(vec![token.id.0])) as ArrayRef,
                    text(&token.name),
                    text(secret.reveal()),
                    Arc::new(TimestampMillisecondArray::from(vec![expiry])),
                ]
            }
        };
        RecordBatch::try_new(self.schema(), columns)
    }
}

impl Done {
    fn notice(&self) -> Option<String> {
        let Self::Deleted { silent } = self else { return None };
        let who = silent.join("; ");
        let notice =
            "not every node has said that it knows of this, and rows written through such a node may be hidden";
        (!silent.is_empty()).then(|| format!("{notice}: {who}"))
    }
}
