//! The system tables, one file each: schema and rows.
//!
//! # Promises
//! - Names, types and nullability of columns are as users of the original know them.
//! - A table shows only what the asker may read.
//! - Secrets are never in a row: of a token's hash the first nine digits are shown.
//! - What each node keeps for itself (`queries`, `compaction_events`, `settings`) is shown for all nodes of the cluster,
//!   with `node_id`.
//!   A node that does not answer has a row of its own, in which `warning` tells why and all else is absent: it is never
//!   missing in silence.
//!
//! # Not here
//! - The way to the other nodes: `Peers` is handed in.

mod changes;
mod compaction_events;
mod databases;
mod distinct_caches;
mod facts;
mod influxdb_schema;
mod last_caches;
mod log;
mod nodes;
mod parquet_files;
mod peers;
mod queries;
mod retention;
mod settings;
mod tables;
mod tokens;

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringViewArray, TimestampSecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use storage::bucket::Secret;
use storage::catalog::{Access, Database, Dropped, State};
use storage::cluster::Lives;
use storage::model::Mode;

pub use facts::Facts;
pub(crate) use log::{Arrival, End, Entry, Finished, QueryLog};
pub use peers::{Heard, Obeyed, Order, Peers, Told};

/// The database whose tables show the whole cluster; it exists without being created and only admins may ask it.
pub(crate) const INTERNAL_DATABASE: &str = "_internal";

/// What system tables are made from.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) state: Arc<State>,
    /// `None` is `_internal`.
    pub(crate) database: Option<Arc<Database>>,
    pub(crate) access: Access,
    /// What the asker showed, for other nodes to judge.
    pub(crate) token: Option<Secret>,
    pub(crate) facts: Arc<Facts>,
    /// `None` in a cluster of one.
    pub(crate) peers: Option<Arc<dyn Peers>>,
    pub(crate) lives: Arc<Lives>,
}

/// One system table.
struct Definition {
    name: &'static str,
    place: Place,
    schema: fn() -> SchemaRef,
    rows: Rows,
}

type Columns = Result<Vec<ArrayRef>, ArrowError>;

/// Where the rows of a table come from.
#[derive(Clone, Copy)]
enum Rows {
    /// From what every node knows.
    OfCluster(fn(&World) -> Columns),
    /// From what each node with the mode, or each node, keeps in memory.
    OfEachNode { mode: Option<Mode>, rows: fn(&Facts, &Access) -> Columns },
}

/// Where a table can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Everywhere,
    InternalOnly,
}

const TABLES: &[Definition] = &[
    changes::TABLE,
    compaction_events::TABLE,
    databases::TABLE,
    distinct_caches::TABLE,
    influxdb_schema::TABLE,
    last_caches::TABLE,
    nodes::TABLE,
    parquet_files::TABLE,
    queries::TABLE,
    retention::TABLE,
    settings::TABLE,
    tables::TABLE,
    tokens::TABLE,
];

/// The names of the tables of `world`.
pub(crate) fn names(world: &World) -> Vec<String> {
    definitions(world).map(|d| d.name.to_owned()).collect()
}

/// The names of all system tables, wherever they are shown.
#[cfg(test)]
pub(crate) fn all_names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|definition| definition.name)
}

/// The table `name` of `world`.
pub(crate) fn table(world: &World, name: &str) -> Option<Arc<dyn TableProvider>> {
    let definition = definitions(world).find(|d| d.name == name)?;
    let schema = match definition.rows {
        Rows::OfCluster(_) => (definition.schema)(),
        Rows::OfEachNode { .. } => facts::of_nodes(&(definition.schema)()),
    };
    Some(Arc::new(SystemTable { definition, schema, world: world.clone() }))
}

fn definitions(world: &World) -> impl Iterator<Item = &'static Definition> {
    let is_internal = world.database.is_none();
    TABLES.iter().filter(move |d| is_internal || d.place == Place::Everywhere)
}

struct SystemTable {
    definition: &'static Definition,
    schema: SchemaRef,
    world: World,
}

impl SystemTable {
    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let Definition { name, rows, .. } = self.definition;
        let mode = match rows {
            Rows::OfCluster(rows) => {
                return Ok(vec![RecordBatch::try_new(Arc::clone(&self.schema), rows(&self.world)?)?]);
            }
            Rows::OfEachNode { mode, .. } => *mode,
        };
        let own = self.world.facts.rows(name, &self.world.access).expect("it is a table of nodes")?;
        let mut batches = vec![own];
        let heard = match &self.world.peers {
            Some(peers) => peers.ask(name, mode, self.world.token.clone()).await,
            None => Vec::new(),
        };
        for Heard { node_id, rows } in heard {
            match rows {
                Ok(rows) if rows.iter().all(|rows| rows.schema() == self.schema) => batches.extend(rows),
                Ok(_) => batches.push(facts::warning(
                    &self.schema,
                    &node_id,
                    "it has other columns: another version runs there",
                )?),
                Err(reason) => batches.push(facts::warning(&self.schema, &node_id, &reason)?),
            }
        }
        Ok(batches)
    }
}

impl Debug for SystemTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "system.{}", self.definition.name)
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(MemorySourceConfig::try_new_exec(&[self.rows().await?], Arc::clone(&self.schema), projection.cloned())?)
    }
}

/// A column that every row has.
fn full(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// A column that may be absent.
fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn schema_of(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn seconds_utc() -> DataType {
    DataType::Timestamp(TimeUnit::Second, Some("UTC".into()))
}

/// When each of the things is deleted for good.
fn hard_deletions<'a>(dropped: impl Iterator<Item = &'a Option<Dropped>>) -> ArrayRef {
    let at = |d: &Option<Dropped>| i64::try_from(d.as_ref()?.hard_delete_at_ms? / 1000).ok();
    Arc::new(dropped.map(at).collect::<TimestampSecondArray>().with_timezone("UTC"))
}

fn texts<S: AsRef<str>>(values: impl Iterator<Item = S>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(values))
}
