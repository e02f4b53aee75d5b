//! One query's world: what it may name, its memory, its options.
//!
//! # Promises
//! - Users' tables are in `public.iox`, which is the default, and the system tables in `public.system`. A Postgres client
//!   sees them as `postgres` says.
//! - All tables are those of one moment, and of one database.
//! - All queries together reserve at most `memory_bytes`; what one reserves is known to its log entry. A limit that is moved
//!   takes nothing away from queries that run.
//! - Options of the engine that are set hold for queries that start afterwards.
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
mod options;

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use object_store::ObjectStore;
use parking_lot::Mutex;
use storage::knob::Knob;

use crate::exec::Yielding;
use crate::functions::BoundFunctions;
use crate::postgres::{self, Directory, PgSession};
use crate::system::World;
use crate::tables::{FileReaders, Footers, Moment, Touched, store_url};
use catalog::{Catalogs, Database};
use memory::AllQueries;
pub(crate) use memory::QueryPool;
pub use options::{judged_options, parse_option};

const CATALOG: &str = "public";
const USER_SCHEMA: &str = "iox";
const SYSTEM_SCHEMA: &str = "system";
/// The schema of a Postgres client's names without one.
pub(crate) const SEARCH_PATH: &str = "search_path";

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Sessions {
    template: Mutex<Template>,
    options: Knob<Arc<str>>,
    target_partitions: usize,
    runtime: Arc<RuntimeEnv>,
    readers: Arc<FileReaders>,
}

/// What sessions are made from, by these options.
#[derive(Debug)]
struct Template {
    options: Arc<str>,
    state: Arc<SessionState>,
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
        memory_bytes: Knob<u64>,
        target_partitions: usize,
        options: Knob<Arc<str>>,
        (store, footers): (Arc<dyn ObjectStore>, Arc<Footers>),
    ) -> Result<Self> {
        let holders_named = NonZeroUsize::new(3).expect("three is not zero");
        let pool = TrackConsumersPool::new(AllQueries::new(memory_bytes), holders_named);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        runtime.register_object_store(store_url().as_ref(), Arc::clone(&store));
        let readers = FileReaders::new(store, footers);
        let said = options.get();
        let state = SessionStateBuilder::new_with_default_features()
            .with_config(options::config(target_partitions, &said)?)
            .with_runtime_env(Arc::clone(&runtime))
            .with_analyzer_rule(Arc::new(BoundFunctions))
            .with_physical_optimizer_rule(Arc::new(Yielding))
            .build();
        let template = Mutex::new(Template { options: said, state: Arc::new(state) });
        Ok(Self { template, options, target_partitions, runtime, readers: Arc::new(readers) })
    }

    /// By the options that are set now.
    fn template(&self) -> Result<Arc<SessionState>> {
        let (mut template, said) = (self.template.lock(), self.options.get());
        if template.options != said {
            let config = options::config(self.target_partitions, &said)?;
            let state = SessionStateBuilder::new_from_existing((*template.state).clone()).with_config(config).build();
            *template = Template { options: said, state: Arc::new(state) };
        }
        Ok(Arc::clone(&template.state))
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
        let template = self.template()?;
        let mut builder = SessionStateBuilder::new_from_existing((*template).clone()).with_runtime_env(runtime);
        let known = postgres.map(|session| Arc::new(Directory::new(world, Arc::clone(session))));
        let catalogs = match (&known, postgres) {
            (Some(known), Some(session)) => {
                let config = template.config().clone().with_information_schema(false);
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
