use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool};
use metrics::vitals::{Figures, Vitals};
use storage::catalog::Access;
use storage::knob::Knob;
use storage::node::Insight;
use uuid::Uuid;

use super::{Cancelled, Place, QueryLog, Rows, TABLES, full, optional};
use crate::settings::Settings;
use crate::tables::{FooterUse, Footers};

/// What this node keeps in memory for system tables, until its process ends.
#[derive(Debug)]
pub struct Facts {
    pub(super) node_id: String,
    pub(crate) log: Arc<QueryLog>,
    pub(super) insight: Insight,
    vitals: Option<Arc<Vitals>>,
    /// Set by the engine, on a node that has one.
    pool: OnceLock<Arc<dyn MemoryPool>>,
    footers: OnceLock<Arc<Footers>>,
    pub settings: Arc<Settings>,
}

/// The memory of all queries together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PoolUse {
    pub(super) reserved_bytes: usize,
    pub(super) limit_bytes: Option<usize>,
}

impl Facts {
    /// `query_log_entries` is how many of the newest queries are remembered.
    #[must_use]
    pub fn new(node_id: String, query_log_entries: Knob<u64>, insight: Insight, settings: Arc<Settings>) -> Self {
        let log = Arc::new(QueryLog::new(query_log_entries));
        Self { node_id, log, insight, vitals: None, pool: OnceLock::new(), footers: OnceLock::new(), settings }
    }

    /// With figures of the process.
    #[must_use]
    pub fn with_vitals(self, vitals: Arc<Vitals>) -> Self {
        Self { vitals: Some(vitals), ..self }
    }

    /// Has the memory of queries shown; the first pool stays.
    pub(crate) fn watch_pool(&self, pool: Arc<dyn MemoryPool>) {
        let _ = self.pool.set(pool);
    }

    /// Has the use of footers shown; the first ones stay.
    pub(crate) fn watch_footers(&self, footers: Arc<Footers>) {
        let _ = self.footers.set(footers);
    }

    pub(super) fn footers(&self) -> Option<FooterUse> {
        self.footers.get().map(|footers| footers.figures())
    }

    pub(super) fn pool(&self) -> Option<PoolUse> {
        let pool = self.pool.get()?;
        let limit_bytes = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => Some(bytes),
            MemoryLimit::Infinite | MemoryLimit::Unknown => None,
        };
        Some(PoolUse { reserved_bytes: pool.reserved(), limit_bytes })
    }

    pub(super) fn vitals(&self) -> Option<Figures> {
        self.vitals.as_ref().map(|vitals| vitals.now())
    }

    /// Cancels a query that runs on this node, if `access` may.
    #[must_use]
    pub fn cancel(&self, query: Uuid, access: &Access) -> Cancelled {
        self.log.cancel(query, access)
    }

    /// What of a table this node keeps and `access` may read. `None` when nodes keep no such table.
    #[must_use]
    pub fn rows(&self, table: &str, access: &Access) -> Option<Result<RecordBatch, ArrowError>> {
        let definition = TABLES.iter().find(|definition| definition.name == table)?;
        let rows = match definition.rows {
            Rows::OfEachNode { rows, .. } | Rows::OfEachNodeAndCluster { rows, .. } => rows,
            Rows::OfCluster(_) | Rows::Joined { .. } => return None,
        };
        let schema = of_nodes(&(definition.schema)());
        // Whatever database the asker named on the way here.
        if definition.place == Place::InternalOnly && !access.is_admin() {
            return Some(Ok(RecordBatch::new_empty(schema)));
        }
        let batch = || {
            let mut columns = rows(self, access)?;
            let count = columns.first().map_or(0, |column| column.len());
            columns.push(Arc::new(StringArray::from(vec![self.node_id.as_str(); count])));
            columns.push(new_null_array(&DataType::Utf8, count));
            RecordBatch::try_new(schema, columns)
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
