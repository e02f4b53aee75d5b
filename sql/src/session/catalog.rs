//! The names a query can use.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};

use super::{CATALOG, SYSTEM_SCHEMA, USER_SCHEMA};
use crate::system::{self, World};
use crate::tables::{FileReaders, Moment, StoredTable, Touched};

/// The one catalog of a query.
#[derive(Debug)]
pub(super) struct Catalogs {
    database: Arc<Database>,
}

/// One database at one moment.
#[derive(Debug)]
pub(super) struct Database {
    users: Arc<UserSchema>,
    system: Arc<SystemSchema>,
}

#[derive(Debug)]
struct UserSchema {
    world: World,
    moment: Arc<dyn Moment>,
    readers: Arc<FileReaders>,
    touched: Arc<Touched>,
}

#[derive(Debug)]
struct SystemSchema {
    world: World,
}

impl Catalogs {
    pub(super) fn of(database: Database) -> Self {
        Self { database: Arc::new(database) }
    }
}

impl Database {
    pub(super) fn new(world: World, moment: Arc<dyn Moment>, readers: Arc<FileReaders>, touched: Arc<Touched>) -> Self {
        let system = Arc::new(SystemSchema { world: world.clone() });
        Self { users: Arc::new(UserSchema { world, moment, readers, touched }), system }
    }
}

impl CatalogProviderList for Catalogs {
    /// A query brings no catalogs of its own.
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::clone(&self.database) as _)
    }
}

impl CatalogProvider for Database {
    fn schema_names(&self) -> Vec<String> {
        vec![USER_SCHEMA.to_owned(), SYSTEM_SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            USER_SCHEMA => Some(Arc::clone(&self.users) as _),
            SYSTEM_SCHEMA => Some(Arc::clone(&self.system) as _),
            _ => None,
        }
    }
}

#[async_trait]
impl SchemaProvider for UserSchema {
    fn table_names(&self) -> Vec<String> {
        self.world.database.iter().flat_map(|d| d.tables.keys()).map(|name| name.to_string()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let table = self.world.database.as_ref().and_then(|d| self.world.state.table_named(d, name));
        Ok(table.map(|table| {
            let (moment, readers) = (Arc::clone(&self.moment), Arc::clone(&self.readers));
            Arc::new(StoredTable::new(Arc::clone(table), moment, readers, Arc::clone(&self.touched))) as _
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.world.database.as_ref().is_some_and(|d| d.tables.contains_key(name))
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        system::names(&self.world)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(system::table(&self.world, name))
    }

    fn table_exist(&self, name: &str) -> bool {
        system::table(&self.world, name).is_some()
    }
}
