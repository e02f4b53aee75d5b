use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::TableType;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use storage::catalog::Table;
use storage::model::{TIME_COLUMN, TableSchema};

use super::files::FileReaders;
use super::scan::Scan;
use super::source::Moment;
use super::times::time_range;

/// One table of one moment.
#[derive(Debug)]
pub(crate) struct StoredTable {
    table: Arc<Table>,
    schema: SchemaRef,
    moment: Arc<dyn Moment>,
    readers: Arc<FileReaders>,
    touched: Arc<Touched>,
}

/// What the scans of one query touch, known once it is planned.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) partitions: AtomicUsize,
    pub(crate) parquet_files: AtomicUsize,
}

impl StoredTable {
    pub(crate) fn new(
        table: Arc<Table>,
        moment: Arc<dyn Moment>,
        readers: Arc<FileReaders>,
        touched: Arc<Touched>,
    ) -> Self {
        let schema = user_schema(&table.schema);
        Self { table, schema, moment, readers, touched }
    }
}

/// The name under which the metadata of a column says what it is, as clients of InfluxDB 3 look for it.
const COLUMN_TYPE: &str = "iox::column::type";

/// The columns as they are stored, and what each is.
pub(super) fn typed(schema: &TableSchema) -> Vec<Arc<Field>> {
    let typed = |field: &Arc<Field>| {
        let kind =
            schema.find(field.name()).map_or("iox::column_type::timestamp", |(_, column)| column.kind.full_name());
        let metadata = HashMap::from([(COLUMN_TYPE.to_owned(), kind.to_owned())]);
        Arc::new(field.as_ref().clone().with_metadata(metadata))
    };
    schema.stored().fields().iter().map(typed).collect()
}

/// The columns as users see them: in order of their names, `time` among them.
pub(crate) fn user_schema(schema: &TableSchema) -> SchemaRef {
    let mut fields = typed(schema);
    fields.sort_by(|a, b| a.name().cmp(b.name()));
    debug_assert!(fields.iter().any(|f| f.name() == TIME_COLUMN), "every table has a time column");
    Arc::new(Schema::new(fields))
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters choose files and row groups and are then asked again of every row: whether a scan answers one wholly
    /// depends on the overlap of the files, which the planner learns from the plan.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    /// `limit` is not used: the planner puts it above the plan and pushes it down where the plan allows.
    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let Some(range) = time_range(filters) else {
            return Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&columns)?))));
        };
        let view =
            self.moment.table(self.table.schema.table, range).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let scan = Scan {
            session,
            table: &self.table.schema,
            schema: Arc::clone(&self.schema),
            columns,
            filters,
            readers: Arc::clone(&self.readers),
            expired_before: view.expired_before,
            deletes: view.deletes.clone(),
        };
        let sources = scan.sources(&view, range);
        let files = sources.iter().filter_map(|s| s.file());
        let mut windows: Vec<i64> = files.clone().map(|f| f.window_start).collect();
        windows.sort_unstable();
        windows.dedup();
        self.touched.partitions.fetch_add(windows.len(), Ordering::Relaxed);
        self.touched.parquet_files.fetch_add(files.count(), Ordering::Relaxed);
        scan.plan(sources)
    }
}
