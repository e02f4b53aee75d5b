//! The schemas of the catalogs, as the query engine sees them.
//!
//! # Promises
//! - A table is made when it is first read in a statement, once, and counts among the memory of its query.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{MemTable, TableType};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use super::catalog::{self, Content};
use super::directory::Directory;
use super::information;
use super::spec::{Row, Spec};

/// `pg_catalog` or `information_schema`.
pub(crate) struct CatalogTables {
    kind: Kind,
    known: Arc<Directory>,
    /// Those that were asked for, by their names.
    tables: Mutex<Vec<(&'static str, Arc<dyn TableProvider>)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PgCatalog,
    Information,
}

impl CatalogTables {
    pub(crate) fn pg_catalog(known: Arc<Directory>) -> Self {
        Self { kind: Kind::PgCatalog, known, tables: Mutex::default() }
    }

    pub(crate) fn information(known: Arc<Directory>) -> Self {
        Self { kind: Kind::Information, known, tables: Mutex::default() }
    }

    fn content(&self, name: &str) -> Option<Content> {
        match self.kind {
            Kind::PgCatalog => catalog::content(name),
            Kind::Information => information::content(name),
        }
    }
}

impl fmt::Debug for CatalogTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

#[async_trait]
impl SchemaProvider for CatalogTables {
    fn table_names(&self) -> Vec<String> {
        let specs: Vec<&Spec> = match self.kind {
            Kind::PgCatalog => catalog::specs().collect(),
            Kind::Information => information::specs().collect(),
        };
        specs.into_iter().map(|spec| spec.name.to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some((spec, rows)) = self.content(name) else { return Ok(None) };
        let mut tables = self.tables.lock();
        if let Some((_, table)) = tables.iter().find(|(made, _)| *made == spec.name) {
            return Ok(Some(Arc::clone(table)));
        }
        let table: Arc<dyn TableProvider> = match rows {
            Some(rows) => {
                let known = Arc::clone(&self.known);
                Arc::new(CatalogTable { spec, schema: spec.schema(), rows, known, made: Mutex::default() })
            }
            None => Arc::new(EmptyTable::new(spec.schema())),
        };
        tables.push((spec.name, Arc::clone(&table)));
        Ok(Some(table))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.content(name).is_some()
    }
}

/// A table of a catalog that has rows.
struct CatalogTable {
    spec: &'static Spec,
    schema: SchemaRef,
    rows: fn(&Directory) -> Vec<Row>,
    known: Arc<Directory>,
    made: Mutex<Option<(RecordBatch, MemoryReservation)>>,
}

impl fmt::Debug for CatalogTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogTable({})", self.spec.name)
    }
}

impl CatalogTable {
    fn batch(&self, state: &dyn Session) -> Result<RecordBatch> {
        let mut made = self.made.lock();
        if let Some((batch, _)) = &*made {
            return Ok(batch.clone());
        }
        let batch = self.spec.batch(&(self.rows)(&self.known))?;
        let reservation = MemoryConsumer::new(self.spec.name).register(&state.runtime_env().memory_pool);
        reservation.try_grow(batch.get_array_memory_size())?;
        *made = Some((batch.clone(), reservation));
        Ok(batch)
    }
}

#[async_trait]
impl TableProvider for CatalogTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batch = self.batch(state)?;
        MemTable::try_new(Arc::clone(&self.schema), vec![vec![batch]])?.scan(state, projection, filters, limit).await
    }
}

/// What a name without schema can mean: a table of the first schema of the search path that has it.
#[derive(Debug, Default)]
pub(crate) struct Visible {
    pub(crate) path: Vec<Arc<dyn SchemaProvider>>,
}

#[async_trait]
impl SchemaProvider for Visible {
    fn table_names(&self) -> Vec<String> {
        self.path.iter().flat_map(|schema| schema.table_names()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        for schema in &self.path {
            if let Some(table) = schema.table(name).await? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.path.iter().any(|schema| schema.table_exist(name))
    }
}
