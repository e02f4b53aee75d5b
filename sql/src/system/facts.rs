use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use storage::catalog::Access;
use storage::compaction::Events;
use storage::knob::Knob;
use uuid::Uuid;

use super::{QueryLog, Rows, TABLES, full, optional};
use crate::settings::Settings;

/// What this node keeps in memory for system tables, until its process ends.
#[derive(Debug)]
pub struct Facts {
    node_id: String,
    pub(crate) log: Arc<QueryLog>,
    pub(super) compactions: Arc<Events>,
    pub settings: Arc<Settings>,
}

impl Facts {
    /// `query_log_entries` is how many of the newest queries are remembered.
    #[must_use]
    pub fn new(
        node_id: String,
        query_log_entries: Knob<u64>,
        compactions: Arc<Events>,
        settings: Arc<Settings>,
    ) -> Self {
        Self { node_id, log: Arc::new(QueryLog::new(query_log_entries)), compactions, settings }
    }

    /// Cancels a query that runs on this node, if `access` may; tells whether there was one.
    #[must_use]
    pub fn cancel(&self, query: Uuid, access: &Access) -> bool {
        self.log.cancel(query, access)
    }

    /// What of a table this node keeps and `access` may read. `None` when nodes keep no such table.
    #[must_use]
    pub fn rows(&self, table: &str, access: &Access) -> Option<Result<RecordBatch, ArrowError>> {
        let definition = TABLES.iter().find(|definition| definition.name == table)?;
        let Rows::OfEachNode { rows, .. } = definition.rows else { return None };
        let batch = || {
            let mut columns = rows(self, access)?;
            let count = columns.first().map_or(0, |column| column.len());
            columns.push(Arc::new(StringArray::from(vec![self.node_id.as_str(); count])));
            columns.push(new_null_array(&DataType::Utf8, count));
            RecordBatch::try_new(of_nodes(&(definition.schema)()), columns)
        };
        Some(batch())
    }
}

/// The columns of a table to which each node gives its rows. A node that gives none has one row, which tells why.
pub(super) fn of_nodes(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    fields.push(full("node_id", DataType::Utf8));
    fields.push(optional("warning", DataType::Utf8));
    Arc::new(Schema::new(fields))
}

/// The row of a node that gave none.
pub(super) fn warning(schema: &SchemaRef, node_id: &str, reason: &str) -> Result<RecordBatch, ArrowError> {
    let last = schema.fields().len() - 2;
    let mut columns: Vec<ArrayRef> =
        schema.fields()[..last].iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    columns.push(Arc::new(StringArray::from(vec![node_id])));
    columns.push(Arc::new(StringArray::from(vec![reason])));
    RecordBatch::try_new(Arc::clone(schema), columns)
}
