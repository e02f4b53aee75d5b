//! The schemas of the catalogs, as the query engine sees them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::MemTable;

use super::{PgSession, catalog, information};
use crate::system::World;

/// `pg_catalog` or `information_schema`.
pub(crate) struct CatalogTables {
    kind: Kind,
    world: World,
    session: Arc<PgSession>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    PgCatalog,
    Information,
}

impl CatalogTables {
    pub(crate) fn pg_catalog(world: World, session: Arc<PgSession>) -> Self {
        Self { kind: Kind::PgCatalog, world, session }
    }

    pub(crate) fn information(world: World, session: Arc<PgSession>) -> Self {
        Self { kind: Kind::Information, world, session }
    }

    fn names(&self) -> Vec<&'static str> {
        match self.kind {
            Kind::PgCatalog => catalog::specs().map(|spec| spec.name).collect(),
            Kind::Information => information::specs().map(|spec| spec.name).collect(),
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
        self.names().into_iter().map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let rows = match self.kind {
            Kind::PgCatalog => catalog::rows(name, &self.world, &self.session),
            Kind::Information => information::rows(name, &self.world, &self.session),
        };
        let Some(rows) = rows.transpose()? else { return Ok(None) };
        Ok(Some(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names().contains(&name)
    }
}

/// What a name without schema can mean: a table of the first schema of the search path, else one of `pg_catalog`.
#[derive(Debug)]
pub(crate) struct Visible {
    pub(crate) first: Arc<dyn SchemaProvider>,
    pub(crate) catalog: Arc<CatalogTables>,
}

#[async_trait]
impl SchemaProvider for Visible {
    fn table_names(&self) -> Vec<String> {
        self.first.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        match self.first.table(name).await? {
            Some(table) => Ok(Some(table)),
            None => self.catalog.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.first.table_exist(name) || self.catalog.table_exist(name)
    }
}
