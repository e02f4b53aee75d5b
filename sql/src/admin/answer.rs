//! What a command answers, as rows.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use storage::catalog::CreatedToken;
use storage::compaction::Merged;

use super::{Command, Compacted, Done};
use crate::system::Cancelled;

/// How a command is told to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its words, as a Postgres client expects them.
    pub words: &'static str,
    /// Whether its rows say more than the words do.
    pub has_rows: bool,
    /// What somebody should know besides, once it is done.
    pub notice: Option<String>,
}

impl Command {
    #[must_use]
    pub fn tag(&self) -> Tag {
        let has_rows = matches!(
            self,
            Self::CreateToken { .. }
                | Self::DrainNode { .. }
                | Self::RemoveNode { .. }
                | Self::CancelQuery { .. }
                | Self::Snapshot { .. }
                | Self::CompactTable { .. }
                | Self::Show { .. }
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
            Self::CancelQuery { .. } => vec![text("query_id"), text("node_id"), text("result")],
            Self::Show { .. } => vec![text("name"), Field::new("value", DataType::Utf8, true)],
            Self::Snapshot { .. } => vec![text("node_id"), text("result")],
            Self::CompactTable { .. } => vec![
                text("table_name"),
                text("node_id"),
                text("result"),
                Field::new("files_before", DataType::UInt64, true),
                Field::new("files_after", DataType::UInt64, true),
            ],
            _ => vec![text("result")],
        }))
    }

    /// The answer.
    pub(crate) fn rows(&self, done: &Done) -> Result<RecordBatch, ArrowError> {
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let columns = match done {
            Done::Changed | Done::Deleted { .. } => {
                let notice = done.notice().map(|notice| format!("; {notice}")).unwrap_or_default();
                vec![text(&format!("{}{notice}", self.words()))]
            }
            Done::Node(node, condition) => vec![text(node.id.as_str()), text(&condition.to_string())],
            Done::Cancelled { id, node, how } => {
                let result = if *how == Cancelled::Wait {
                    "no longer waited for; what was ordered by then goes on"
                } else {
                    "cancelled"
                };
                vec![text(&id.to_string()), text(node), text(result)]
            }
            Done::Shown { name, value } => {
                vec![text(name), Arc::new(StringArray::from(vec![value.as_deref()])) as ArrayRef]
            }
            Done::Written(nodes) => {
                let written = vec!["written"; nodes.len()];
                let nodes: ArrayRef = Arc::new(StringArray::from_iter_values(nodes));
                vec![nodes, Arc::new(StringArray::from(written))]
            }
            Done::Compacted(Compacted { table, node, merged }) => {
                let result = if merged.is_some() { "merged" } else { "goes on" };
                let count = |of: fn(&Merged) -> usize| {
                    Arc::new(UInt64Array::from(vec![merged.as_ref().map(|merged| of(merged) as u64)])) as ArrayRef
                };
                let (before, after) = (count(|merged| merged.files_before), count(|merged| merged.files_after));
                vec![text(&table.table), text(node), text(result), before, after]
            }
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
        let notice = "not every node has said that it knows of this: such a node may still show the rows, and rows newly \
                      written through it may be hidden";
        (!silent.is_empty()).then(|| format!("{notice}: {who}"))
    }
}
