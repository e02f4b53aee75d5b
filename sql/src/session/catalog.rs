//! The names a query can use.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};

use super::{CATALOG, SEARCH_PATH, SYSTEM_SCHEMA, USER_SCHEMA};
use crate::postgres::{CatalogTables, Directory, Visible};
use crate::system::{self, World};
use crate::tables::{FileReaders, Moment, StoredTable, Touched};

/// The one catalog of a query.
#[derive(Debug)]
pub(super) struct Catalogs {
    database: Arc<dyn CatalogProvider>,
    /// What it is called; also found as `public`.
    name: String,
}

/// One database as Postgres clients see it.
#[derive(Debug)]
struct PostgresDatabase {
    database: Database,
    catalog: Arc<CatalogTables>,
    information: Arc<CatalogTables>,
    visible: Arc<Visible>,
}

const PUBLIC_SCHEMA: &str = "public";
const PG_CATALOG_SCHEMA: &str = "pg_catalog";
const INFORMATION_SCHEMA: &str = "information_schema";

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
        Self { database: Arc::new(database), name: CATALOG.to_owned() }
    }

    /// For a Postgres client.
    pub(super) fn of_postgres(database: Database, known: &Arc<Directory>, name: &str) -> Self {
        let catalog = Arc::new(CatalogTables::pg_catalog(Arc::clone(known)));
        let information = Arc::new(CatalogTables::information(Arc::clone(known)));
        let mut database = PostgresDatabase { database, catalog, information, visible: Arc::default() };
        let path = known.path().into_iter().filter_map(|schema| database.schema(schema)).collect();
        database.visible = Arc::new(Visible { path });
        Self { database: Arc::new(database), name: name.to_owned() }
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
        vec![self.name.clone()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.name || name == CATALOG).then(|| Arc::clone(&self.database))
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

impl CatalogProvider for PostgresDatabase {
    fn schema_names(&self) -> Vec<String> {
        [PUBLIC_SCHEMA, SYSTEM_SCHEMA, PG_CATALOG_SCHEMA, INFORMATION_SCHEMA].map(str::to_owned).to_vec()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            PUBLIC_SCHEMA | USER_SCHEMA => Some(Arc::clone(&self.database.users) as _),
            SYSTEM_SCHEMA => Some(Arc::clone(&self.database.system) as _),
            SEARCH_PATH => Some(Arc::clone(&self.visible) as _),
            PG_CATALOG_SCHEMA => Some(Arc::clone(&self.catalog) as _),
            INFORMATION_SCHEMA => Some(Arc::clone(&self.information) as _),
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
