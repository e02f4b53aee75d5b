//! The system tables, one file each: schema and rows.
//!
//! # Promises
//! - Names, types and nullability of columns are as users of the original know them.
//! - A table shows only what the asker may read.
//! - Secrets are never in a row: of a token's hash the first nine digits are shown.
//! - What each node keeps for itself (`queries`, `object_store`, `wal` and others) is shown for all nodes of the cluster, with
//!   `node_id`. What only `_internal` has of it is told to admins alone.
//!   A node that does not answer has a row of its own, in which `warning` tells why and all else is absent: it is never
//!   missing in silence.
//! - They are shown also while rows of other nodes that must be shown cannot be; in `_internal` also while the catalog
//!   cannot be read.
//! - `documentation` has a sentence for every table and every column.
//!
//! # Not here
//! - The way to the other nodes: `Peers` is handed in.

mod advice;
mod changes;
mod columns;
mod compaction_events;
mod databases;
mod deletes;
mod distinct_caches;
mod documentation;
mod facts;
mod generation_durations;
mod influxdb_schema;
mod jobs;
mod last_caches;
mod license;
mod log;
mod nodes;
mod object_store;
mod parquet_files;
mod peers;
mod processes;
mod queries;
mod replicas;
mod retention;
mod settings;
mod tables;
mod tokens;
mod wal;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, ArrayRef, RecordBatch, StringViewArray, TimestampSecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use storage::bucket::Secret;
use storage::catalog::{Access, Database, Dropped, State, Table};
use storage::cluster::Lives;
use storage::model::Mode;

pub(crate) use deletes::{conditions, instant};
pub(crate) use documentation::{column_words, table_words};
pub use facts::Facts;
pub use log::Cancelled;
pub(crate) use log::{Arrival, Cause, End, Entry, Finished, Nature, QueryLog};
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
    /// From what each node keeps in memory, and what is true of all of them together: that with `node_id` and `warning`.
    OfEachNodeAndCluster { rows: fn(&Facts, &Access) -> Columns, cluster: fn(&World) -> Columns },
    /// From what every node knows, and what each node keeps of the table `with`. Nobody is asked for the columns before
    /// the one that is `first` of the others.
    Joined { with: &'static str, first: &'static str, rows: fn(&World, &[RecordBatch]) -> Columns },
}

/// Where a table can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Everywhere,
    InternalOnly,
}

const TABLES: &[Definition] = &[
    advice::TABLE,
    changes::TABLE,
    columns::TABLE,
    compaction_events::TABLE,
    databases::TABLE,
    deletes::TABLE,
    distinct_caches::TABLE,
    documentation::TABLE,
    generation_durations::TABLE,
    influxdb_schema::TABLE,
    jobs::TABLE,
    last_caches::TABLE,
    license::TABLE,
    nodes::TABLE,
    object_store::TABLE,
    parquet_files::TABLE,
    processes::TABLE,
    queries::TABLE,
    replicas::TABLE,
    retention::TABLE,
    settings::TABLE,
    tables::TABLE,
    tokens::TABLE,
    wal::TABLE,
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
    Some(Arc::new(SystemTable { definition, schema: definition.shown(), world: world.clone() }))
}

impl Definition {
    /// The columns as whoever asks sees them.
    fn shown(&self) -> SchemaRef {
        let schema = (self.schema)();
        match self.rows {
            Rows::OfCluster(_) | Rows::Joined { .. } => schema,
            Rows::OfEachNode { .. } | Rows::OfEachNodeAndCluster { .. } => facts::of_nodes(&schema),
        }
    }
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
    /// All columns, of which those of `projection` are looked at.
    async fn rows(&self, projection: Option<&Vec<usize>>) -> Result<Vec<RecordBatch>> {
        let Definition { name, rows, .. } = self.definition;
        let (world, batch) = (&self.world, |columns| RecordBatch::try_new(Arc::clone(&self.schema), columns));
        match rows {
            Rows::OfCluster(rows) => Ok(vec![batch(rows(world)?)?]),
            Rows::OfEachNode { mode, .. } => world.of_each_node((*name, &self.schema), *mode).await,
            Rows::OfEachNodeAndCluster { cluster, .. } => {
                let mut batches = world.of_each_node((*name, &self.schema), None).await?;
                batches.push(batch(cluster(world)?)?);
                Ok(batches)
            }
            Rows::Joined { with, first, rows } => {
                let first = self.schema.index_of(first)?;
                if projection.is_some_and(|columns| columns.iter().all(|column| *column < first)) {
                    return Ok(vec![batch(rows(world, &[])?)?]);
                }
                let other = TABLES.iter().find(|definition| definition.name == *with).expect("it is a table");
                let others = world.of_each_node((*with, &other.shown()), None).await?;
                Ok(vec![batch(rows(world, &others)?)?])
            }
        }
    }
}

impl World {
    /// The live tables of the current database, or of all in `_internal`, each with its database.
    fn live_tables(&self) -> impl Iterator<Item = (&Database, &Table)> {
        let live = self.state.databases.values().filter(|database| database.dropped.is_none());
        let shown = live.filter(|database| self.database.as_ref().is_none_or(|asked| asked.id == database.id));
        shown.flat_map(|database| {
            let tables = database.tables.values().filter_map(|id| self.state.table(*id));
            tables.map(move |table| (&**database, &**table))
        })
    }

    /// What all nodes with the mode, or all nodes, keep of a table.
    async fn of_each_node(
        &self,
        (name, schema): (&'static str, &SchemaRef),
        mode: Option<Mode>,
    ) -> Result<Vec<RecordBatch>> {
        let own = self.facts.rows(name, &self.access).expect("it is a table of nodes")?;
        let mut batches = vec![own];
        let heard = match &self.peers {
            Some(peers) => peers.ask(name, mode, self.token.clone()).await,
            None => Vec::new(),
        };
        for Heard { node_id, rows } in heard {
            match rows {
                Ok(rows) if rows.iter().all(|rows| rows.schema() == *schema) => batches.extend(rows),
                Ok(_) => {
                    let reason = "it has other columns: another version runs there";
                    batches.push(facts::warning(schema, &node_id, reason)?);
                }
                Err(reason) => batches.push(facts::warning(schema, &node_id, &reason)?),
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
        let rows = self.rows(projection).await?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], Arc::clone(&self.schema), projection.cloned())?)
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

/// A time that something took.
fn duration() -> DataType {
    DataType::Duration(TimeUnit::Nanosecond)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn nanoseconds_of(seconds: f64) -> i64 {
    nanoseconds(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// One column of all rows.
fn column<A: Array + FromIterator<Option<T>> + 'static, R, T>(rows: &[R], of: impl Fn(&R) -> Option<T>) -> ArrayRef {
    Arc::new(rows.iter().map(of).collect::<A>())
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
