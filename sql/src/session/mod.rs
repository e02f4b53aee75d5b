//! One query's world: what it may name, its memory, its options.
//!
//! # Promises
//! - Users' tables are in `public.iox`, which is the default, and the system tables in `public.system`. A Postgres client
//!   sees them as `postgres` says.
//! - All tables are those of one moment, and of one database.
//! - All queries together reserve at most `memory_bytes`; what one reserves is known to its log entry.
//!
//! # Not here
//! - Whether the asker may ask: `run` decides that before it makes a session.
//!
//! # Why
//! Nothing is spilled to disk: a node keeps its data in a bucket and may have no disk worth the name. A query that
//! needs more memory than there is fails with a message that names the largest holders, and with a first-come pool,
//! since shares for each spilling operator would only waste memory that nothing can be moved out of.

mod catalog;
mod memory;

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;

use crate::exec::Yielding;
use crate::functions::BoundFunctions;
use crate::postgres::{self, Directory, PgSession};
use crate::system::World;
use crate::tables::{FileReaders, Moment, Touched, store_url};
use catalog::{Catalogs, Database};
pub(crate) use memory::QueryPool;

const CATALOG: &str = "public";
const USER_SCHEMA: &str = "iox";
const SYSTEM_SCHEMA: &str = "system";
/// The schema of a Postgres client's names without one.
pub(crate) const SEARCH_PATH: &str = "search_path";

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Sessions {
    template: SessionState,
    runtime: Arc<RuntimeEnv>,
    readers: Arc<FileReaders>,
}

/// One query's session.
pub(crate) struct Session {
    pub(crate) context: SessionContext,
    pub(crate) memory: Arc<QueryPool>,
    pub(crate) touched: Arc<Touched>,
    /// What a statement of a Postgres client is understood by.
    pub(crate) known: Option<Arc<Directory>>,
}

impl Sessions {
    /// Fails when `options` names an option the query engine does not have, or a value it does not take.
    pub(crate) fn new(
        memory_bytes: usize,
        target_partitions: usize,
        options: &[(String, String)],
        store: Arc<dyn ObjectStore>,
    ) -> Result<Self> {
        let holders_named = NonZeroUsize::new(3).expect("three is not zero");
        let pool = TrackConsumersPool::new(GreedyMemoryPool::new(memory_bytes), holders_named);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        runtime.register_object_store(store_url().as_ref(), Arc::clone(&store));
        let readers = FileReaders::new(store, runtime.cache_manager.get_file_metadata_cache());
        let template = SessionStateBuilder::new_with_default_features()
            .with_config(config(target_partitions, options)?)
            .with_runtime_env(Arc::clone(&runtime))
            .with_analyzer_rule(Arc::new(BoundFunctions))
            .with_physical_optimizer_rule(Arc::new(Yielding))
            .build();
        Ok(Self { template, runtime, readers: Arc::new(readers) })
    }

    /// The memory of all queries together.
    pub(crate) fn pool(&self) -> &Arc<dyn MemoryPool> {
        &self.runtime.memory_pool
    }

    /// With `postgres` for a client of that kind.
    pub(crate) fn open(
        &self,
        world: World,
        moment: Arc<dyn Moment>,
        postgres: Option<&Arc<PgSession>>,
    ) -> Result<Session> {
        let touched = Arc::new(Touched::default());
        let memory = Arc::new(QueryPool::new(Arc::clone(&self.runtime.memory_pool)));
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_memory_pool(Arc::clone(&memory) as Arc<dyn MemoryPool>)
            .build_arc()?;
        let database = Database::new(world.clone(), moment, Arc::clone(&self.readers), Arc::clone(&touched));
        let mut builder = SessionStateBuilder::new_from_existing(self.template.clone()).with_runtime_env(runtime);
        let known = postgres.map(|session| Arc::new(Directory::new(world, Arc::clone(session))));
        let catalogs = match (&known, postgres) {
            (Some(known), Some(session)) => {
                let config = self.template.config().clone().with_information_schema(false);
                let config = config.with_default_catalog_and_schema(&session.database, SEARCH_PATH);
                builder = postgres::with_functions(builder.with_config(config), known);
                Catalogs::of_postgres(database, known, &session.database)
            }
            _ => Catalogs::of(database),
        };
        let state = builder.with_catalog_list(Arc::new(catalogs)).build();
        Ok(Session { context: SessionContext::new_with_state(state), memory, touched, known })
    }
}

/// Our defaults, then what the operator set, then what answers would be wrong or different without.
fn config(target_partitions: usize, options: &[(String, String)]) -> Result<SessionConfig> {
    let mut all = ConfigOptions::new();
    all.execution.target_partitions = target_partitions;
    all.execution.parquet.pushdown_filters = true;
    for (name, value) in options {
        all.set(name, value)?;
    }
    all.execution.parquet.schema_force_view_types = false;
    all.sql_parser.map_string_types_to_utf8view = false;
    all.catalog.create_default_catalog_and_schema = false;
    all.catalog.default_catalog = CATALOG.to_owned();
    all.catalog.default_schema = USER_SCHEMA.to_owned();
    all.catalog.information_schema = true;
    Ok(SessionConfig::from(all))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn an_option_that_does_not_exist_is_refused_by_name() {
        check("datafusion.execution.batch_size", "1024", None);
        check("datafusion.execution.batch_sighs", "1024", Some("batch_sighs"));
        check("datafusion.execution.batch_size", "many", Some("many"));
        check("batch_size", "1024", Some("batch_size"));
    }

    #[track_caller]
    fn check(name: &str, value: &str, refused_with: Option<&str>) {
        let options = [(name.to_owned(), value.to_owned())];
        let result = Sessions::new(1 << 20, 1, &options, Arc::new(InMemory::new()));
        match (result, refused_with) {
            (Ok(_), None) => {}
            (Err(e), Some(part)) => assert!(e.to_string().contains(part), "{e}"),
            (result, _) => panic!("{name}={value}: {}", result.is_ok()),
        }
    }
}
