//! Start in order, stop in reverse.
//!
//! # Promises
//! - The port is bound before the bucket is touched; the bucket is checked before anything is written.
//! - Every step of the start is logged with how long it took; a step that fails gives one line that names the cause.
//! - A first SIGTERM or SIGINT ends requests, stores what waits, writes a snapshot and closes the epoch. A second one,
//!   unless it came with the first, leaves at once: what is acknowledged is in the log.
//!
//! # Not here
//! - What the rooms do: `storage::node` starts those that keep rows, `sql` answers, `api` speaks.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use metrics::Registry;
use storage::bucket::{LocalFiles, Store};
use storage::clock::Clock;
use storage::node::{Node, World};
use storage::tasks::{Cpu, Tasks};
use storage::wal::OnDamage;
use storage::{catalog, cluster, compaction, ingest, replica, snapshot, sweep};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::api::http::{self, Readiness, Server, ServerLimits};
use crate::config::{self, NodeConfig};
use crate::internode::Internode;

/// A snapshot is due at so many bytes of rows, however large the machine is: more would only lengthen a restart.
const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

/// Rows may wait for files up to here at least, so that a small threshold does not refuse one large request.
const BUFFER_BYTES_MIN: usize = 128 << 20;

/// A WAL object holds about so many bytes of line protocol.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// The files of one compaction plan, which are held in memory.
const COMPACT_INPUT_BYTES_MAX: u64 = 256 << 20;

/// How often the logs of other nodes are read.
const REPLICATION_INTERVAL: Duration = Duration::from_millis(250);

/// How long a start waits for the newest rows of other nodes.
const START_WITHIN: Duration = Duration::from_secs(10);

/// How long a write waits for the object store.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a last snapshot may take before the node leaves it to the next start.
const STOP_WITHIN: Duration = Duration::from_secs(120);

/// How long a node that cannot go on tries to leave in order.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Signals that come so soon after the first belong to it: some senders reach a process both by its id and by its group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Why a node did not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The port is taken or the address is not ours.
    #[error("{0}")]
    Bind(std::io::Error),
    /// The data folder cannot be used.
    #[error("data folder {folder}: {source}")]
    Folder { folder: String, source: std::io::Error },
    /// The options of the object store do not make a client.
    #[error("{0}")]
    Store(#[from] storage::bucket::OpenError),
    #[error("{0}")]
    Storage(#[from] storage::node::Error),
    #[error("query engine: {0}")]
    Query(sql::Error),
    #[error("listen for signals: {0}")]
    Signals(std::io::Error),
    /// The node ran and could not go on.
    #[error("stopped: {0}")]
    Failed(String),
}

/// Runs a node until a signal or an error ends it. `datafusion` is the pool for queries and other long work.
pub(crate) async fn run(config: NodeConfig, datafusion: Handle) -> Result<(), Error> {
    // Ports first: a node that cannot listen must not touch the bucket.
    let server = Server::bind(&config.http.bind).await.map_err(Error::Bind)?;
    let internode = Internode::bind(config.internode.as_ref()).await.map_err(Error::Bind)?;
    let registry = registry(&datafusion);
    let tasks = Tasks::new(Cpu::pool(datafusion.clone(), config.threads.datafusion));
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let clock = Clock::system();
    let world = World {
        store: open_store(&config.store)?,
        clock: clock.clone(),
        tasks: tasks.clone(),
        registry: registry.clone(),
        wire: internode.as_ref().map(|internode| internode.wire(&config.identity.node, &clock, &tasks)),
    };
    let store = Arc::clone(&world.store);
    let node = tokio::select! {
        biased;
        // A start that is cut off leaves no more behind than a crash does.
        () = signals.next() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
        node = Node::start(storage_config(&config, internode.as_ref()), world) => node?,
    };

    if let Some(internode) = internode {
        internode.serve(Arc::clone(&node.feed), clock, &tasks);
    }
    let engine = engine(&config, &node, (registry.clone(), datafusion.clone()))?;
    let readiness = Arc::new(Readiness::starting());
    let router = router(&config, &node, (engine, registry, Arc::clone(&readiness)), datafusion);
    let limits =
        ServerLimits { connections_max: config.http.connections_max, shutdown_timeout: config.http.shutdown_timeout };
    readiness.serve();
    tracing::info!(address = %server.address(), %store, node = %config.identity.node, "ready");

    let (mut failure, asked) = (None, Notify::new());
    let end = async {
        tokio::select! {
            biased;
            // Both only say that the end has come.
            reason = tasks.failed() => failure = Some(reason),
            () = asked.notified() => tracing::info!("stopping; a second signal leaves at once"),
        }
        readiness.refuse("this node is stopping");
    };
    let serving = async {
        server.serve(router, limits, end).await;
        leave(node, &tasks).await
    };
    let second_signal = async {
        signals.next().await;
        asked.notify_one();
        tokio::time::sleep(SAME_SIGNAL).await;
        signals.forget();
        signals.next().await;
    };
    let left = tokio::select! {
        biased;
        left = serving => left,
        // Everything that is dropped here may be cut off anywhere: the next start replays the log.
        () = second_signal => {
            tracing::warn!("left at once; the next start replays the log");
            return Ok(());
        }
    };
    match failure.or(left) {
        Some(reason) => Err(Error::Failed(reason)),
        None => Ok(()),
    }
}

/// Stops the rooms that keep rows. A node that failed is given little time: its store may be what failed.
async fn leave(node: Node, tasks: &Tasks) -> Option<String> {
    let within = if tasks.failure().is_some() { LEAVE_WITHIN } else { STOP_WITHIN };
    if tokio::time::timeout(within, node.stop()).await.is_err() {
        tracing::warn!(?within, "left without closing the epoch; the next start replays the log");
    }
    // A failure may have come while it stopped, and then the stop was no stop in order.
    tasks.failure()
}

fn registry(datafusion: &Handle) -> Registry {
    let registry = Registry::new();
    metrics::process::register(&registry);
    metrics::host::register(&registry);
    metrics::runtime::register(&registry, "io_worker", Handle::current());
    metrics::runtime::register(&registry, "datafusion", datafusion.clone());
    registry
}

fn open_store(store: &config::Store) -> Result<Store, Error> {
    match store {
        config::Store::Memory => Ok(Arc::new(storage::bucket::InMemory::new())),
        config::Store::ThrottledMemory => Ok(storage::bucket::throttled_memory()),
        config::Store::Remote(remote) => Ok(remote.open()?),
        config::Store::File { root } => {
            let folder = || root.display().to_string();
            let files = LocalFiles::open(root).map_err(|source| Error::Folder { folder: folder(), source })?;
            Ok(files)
        }
    }
}

fn engine(config: &NodeConfig, node: &Node, hands: (Registry, Handle)) -> Result<sql::Engine, Error> {
    let (registry, runtime) = hands;
    let query = &config.query;
    let engine = sql::EngineConfig {
        memory_bytes: usize::try_from(query.memory_bytes).unwrap_or(usize::MAX),
        target_partitions: config.threads.datafusion,
        options: query.options.clone(),
        query_log_entries: query.log_entries,
        concurrent_queries_max: query.concurrent_max,
        default_timeout: query.timeout,
        runtime,
        registry,
        node_id: config.identity.node.to_string(),
        compactions: Arc::clone(&node.events),
    };
    sql::Engine::new(engine, Arc::clone(&node.views) as _, node.bucket.reader()).map_err(Error::Query)
}

fn router(
    config: &NodeConfig,
    node: &Node,
    (engine, registry, readiness): (sql::Engine, Registry, Arc<Readiness>),
    datafusion: Handle,
) -> Router {
    let parts = http::Parts {
        catalog: Arc::clone(&node.catalog),
        ingest: Arc::new(node.ingest.clone()),
        views: Arc::clone(&node.views),
        query_timeout: config.query.timeout,
        engine: Arc::new(engine),
        registry,
        readiness,
        datafusion,
        cluster_uuid: Uuid::from_u128(node.catalog.cluster()),
    };
    http::router(parts, &config.http)
}

/// The parts of the config that belong to `storage`.
fn storage_config(config: &NodeConfig, internode: Option<&Internode>) -> storage::node::Config {
    // Taken apart by name: a new part does not compile until it is used here.
    let NodeConfig {
        identity,
        store: _,
        http,
        internode: _,
        threads,
        wal,
        snapshot,
        compact,
        query: _,
        limits,
        retention_check_interval,
    } = config.clone();
    let force_bytes = usize::try_from(snapshot.memory_bytes_max).unwrap_or(usize::MAX);
    // Twice what a snapshot waits for, so that writes go on while it is written.
    let buffer_bytes_max = force_bytes.max(BUFFER_BYTES_MIN).max(2 * force_bytes.min(SNAPSHOT_BYTES_MAX));
    storage::node::Config {
        cluster: identity.cluster,
        member: cluster::Config {
            node: identity.node,
            core_count: u32::try_from(threads.io + threads.datafusion).unwrap_or(u32::MAX),
            description: description(internode),
            place: cluster::Place::here(),
            take_over: take_over(identity.take_over),
            follow_every: Duration::from_secs(1),
            checkpoint_every: 100,
        },
        limits: catalog::Limits {
            databases: limits.databases,
            tables: limits.tables,
            columns_per_table: limits.columns_per_table,
            ..catalog::Limits::default()
        },
        on_damage: OnDamage::Fail,
        ingest: ingest::Config {
            flush_interval: wal.flush_interval,
            group_bytes_max: GROUP_BYTES_MAX,
            waiting_writes_max: wal.waiting_writes_max,
            waiting_bytes_max: http.in_flight_bytes_max,
            buffer_bytes_max,
            answer_within: ANSWER_WITHIN,
        },
        snapshot: snapshot::Config {
            bytes_max: force_bytes.min(SNAPSHOT_BYTES_MAX),
            periods_max: snapshot.wal_files as u64,
            age_max: snapshot.age_max,
            gen1: snapshot.gen1_duration,
        },
        compaction: compaction::Config {
            check_every: compact.check_every,
            widths: compact.widths,
            files_max: compact.files_max,
            rows_max: compact.rows_max,
            input_bytes_max: COMPACT_INPUT_BYTES_MAX,
        },
        sweep: sweep::Config {
            every: Duration::from_secs(10),
            file_wait: compact.cleanup_wait,
            wal_objects_kept: wal.files_to_keep as u64,
            retention_every: retention_check_interval,
            catalog_kept: Duration::from_secs(24 * 60 * 60),
            garbage_every: Duration::from_secs(3600),
            orphan_age: Duration::from_secs(24 * 60 * 60),
            clock_trusted_after: Duration::from_secs(60 * 60),
        },
        // Another node may hold as much as this one.
        replica: replica_config(buffer_bytes_max),
    }
}

fn take_over(wish: config::TakeOver) -> cluster::TakeOver {
    match wish {
        config::TakeOver::Refuse => cluster::TakeOver::Refuse,
        config::TakeOver::Insist => cluster::TakeOver::Insist,
    }
}

/// What the process says of itself.
fn description(internode: Option<&Internode>) -> catalog::Description {
    let internode = internode.map(|internode| internode.address().into());
    catalog::Description { internode, ..catalog::Description::default() }
}

fn replica_config(bytes_max: usize) -> replica::Config {
    replica::Config { interval: REPLICATION_INTERVAL, bytes_max, start_within: START_WITHIN }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Takes those that came since the last call as one with the last.
    fn forget(&mut self) {
        while self.terminate.recv().now_or_never().is_some() || self.interrupt.recv().now_or_never().is_some() {}
    }

    /// The next signal; one that came since the last call counts.
    async fn next(&mut self) {
        tokio::select! {
            biased;
            // Both are cancel-safe.
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
