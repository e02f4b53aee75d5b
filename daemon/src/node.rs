//! Start in order, stop in reverse.
//!
//! # Promises
//! - The port is bound before the bucket is touched; the bucket is checked before anything is written.
//! - Every step of the start is logged with how long it took; a step that fails gives one line that names the cause.
//! - A first SIGTERM or SIGINT ends requests, stores what waits, writes a snapshot and closes the epoch. A second one,
//!   unless it came with the first, leaves at once: what is acknowledged is in the log. A stop that the catalog asks for
//!   (`weir stop node`) is like a first signal.
//!
//! # Not here
//! - What the rooms do: `storage::node` starts those that keep rows, `sql` answers, `api` speaks.
//! - Which of them a node needs: `modes` knows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use metrics::Registry;
use metrics::vitals::{SAMPLE_EVERY, Vitals};
use storage::bucket::{LocalFiles, Store};
use storage::catalog::{Adopted, Catalog};
use storage::clock::Clock;
use storage::model::{Mode, NodeId};
use storage::node::{Node, World};
use storage::tasks::{Cpu, Tasks};
use storage::{catalog, cluster, snapshot, sweep};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::auth::Auth;
use crate::api::http::{self, HTTP_PROTOCOLS, Readiness, Server, ServerLimits, Trust, VERSION};
use crate::api::pg;
use crate::config::{self, CompactConfig, GivenResources, NodeConfig, PgBind, TokenFiles, TurnLog, WalConfig};
use crate::internode::Internode;
use crate::modes::{self, Knobs};

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
    /// A certificate or key cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The file that was to tell the address cannot be written.
    #[error("write the address to {path}: {source}")]
    AddressFile { path: String, source: std::io::Error },
    /// The tokens of a file cannot be made.
    #[error("token file {path}: {source}")]
    Tokens { path: String, source: catalog::Error },
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
pub(crate) async fn run((config, turn_log): (NodeConfig, TurnLog), datafusion: Handle) -> Result<(), Error> {
    // Ports first: a node that cannot listen must not touch the bucket.
    let (server, trust) = bind(&config).await?;
    let postgres = bind_postgres(&config).await?;
    let internode = Internode::bind(config.internode.as_ref()).await.map_err(Error::Bind)?;
    let registry = registry(&datafusion);
    let tasks = Tasks::new(Cpu::pool(datafusion.clone(), Handle::current(), config.threads.datafusion));
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let clock = Clock::system();
    let world = World {
        store: open_store(&config.store)?,
        clock: clock.clone(),
        tasks: tasks.clone(),
        registry: registry.clone(),
        wire: internode.as_ref().map(|internode| internode.wire(&config.identity.node, &clock, &tasks)),
    };
    let (store, knobs) = (Arc::clone(&world.store), Knobs::of(&config));
    let node = tokio::select! {
        biased;
        // A start that is cut off leaves no more behind than a crash does.
        () = signals.next() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
        node = start((&config, &knobs), (server.address(), internode.as_ref()), world) => node?,
    };

    if let Some(internode) = internode {
        internode.serve(node.feed.clone(), clock, &tasks);
    }
    let readiness = Arc::new(Readiness::starting());
    let operator = operator((&config, &knobs), &node, (&trust, turn_log), &tasks);
    let engine = modes::engine(&config, &node, (Arc::clone(&operator), &knobs), (registry.clone(), datafusion.clone()))
        .map_err(Error::Query)?;
    let postgres =
        postgres.zip(engine.clone().map(|engine| postgres_parts(&config, &node, engine, (&registry, &datafusion))));
    let router = router(&config, &node, (engine, operator, trust), (registry, datafusion, Arc::clone(&readiness)));
    let limits =
        ServerLimits { connections_max: config.http.connections_max, shutdown_timeout: config.http.shutdown_timeout };
    readiness.serve();
    tracing::info!(address = %server.address(), %store, node = %config.identity.node, modes = %config.modes, "ready");

    let (mut failure, asked, stopping) = (None, Notify::new(), CancellationToken::new());
    let asked_by_the_catalog = node.member.asked_to_stop().clone();
    let end = async {
        tokio::select! {
            biased;
            // They only say that the end has come.
            reason = tasks.failed() => failure = Some(reason),
            () = asked.notified() => tracing::info!("stopping; a second signal leaves at once"),
            () = asked_by_the_catalog.cancelled() => tracing::info!("stopping, as an operator asked this node to"),
        }
        readiness.refuse("this node is stopping");
        stopping.cancel();
    };
    let serving = async {
        let postgres = pg::serve(postgres, limits.shutdown_timeout, stopping.cancelled());
        tokio::join!(server.serve(router, limits, end), postgres);
        leave(node, &tasks).await
    };
    let second_signal = signals.second(&asked);
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

/// What operators have done on this node, and what they set takes effect on it from now on.
fn operator(
    (config, knobs): (&NodeConfig, &Knobs),
    node: &Node,
    (trust, turn_log): (&Trust, TurnLog),
    tasks: &Tasks,
) -> Arc<sql::Operator> {
    let (catalog, member) = (Arc::clone(&node.catalog), node.member.clone());
    let facts = modes::facts(config, node, knobs, vitals(tasks));
    let settings =
        follow_settings(Arc::clone(&facts), (catalog.watch(), member.node().clone()), (knobs.clone(), turn_log));
    tasks.start("settings", tasks.stopping().run_until_cancelled_owned(settings).map(drop));
    let peers = Arc::new(http::Peers::new(Arc::clone(&catalog), member.clone(), trust));
    let hands =
        sql::Hands { snapshot: node.snapshot.clone(), compaction: node.orders.clone(), deleter: node.deleter.clone() };
    Arc::new(sql::Operator { catalog, member, facts, peers, hands })
}

/// How this process does, looked at from now on. The I/O threads are those that call.
fn vitals(tasks: &Tasks) -> Arc<Vitals> {
    let vitals = Arc::new(Vitals::new(Handle::current()));
    let sampled = Arc::clone(&vitals);
    let samples = async move {
        loop {
            tokio::time::sleep(SAMPLE_EVERY).await;
            sampled.sample();
        }
    };
    tasks.start("vitals", tasks.stopping().run_until_cancelled_owned(samples).map(drop));
    vitals
}

/// The HTTP API over what this node has.
fn router(
    config: &NodeConfig,
    node: &Node,
    (engine, operator, trust): (Option<sql::Engine>, Arc<sql::Operator>, Trust),
    (registry, datafusion, readiness): (Registry, Handle, Arc<Readiness>),
) -> Router {
    let parts = http::Parts {
        catalog: Arc::clone(&node.catalog),
        ingest: node.ingest.clone(),
        engine,
        operator,
        views: node.views.clone(),
        member: node.member.clone(),
        modes: config.modes,
        cluster: config.identity.cluster.clone(),
        registry,
        readiness,
        datafusion,
        trust,
        cluster_uuid: Uuid::from_u128(node.catalog.cluster()),
    };
    http::router(parts, &config.http)
}

/// What operators set takes effect on this node as soon as it hears of it.
async fn follow_settings(
    facts: Arc<sql::Facts>,
    (mut states, node): (watch::Receiver<Arc<catalog::State>>, NodeId),
    (knobs, turn_log): (Knobs, TurnLog),
) {
    let mut filter = knobs.log_filter.get();
    loop {
        facts.settings.follow(&states.borrow_and_update().clone(), &node);
        knobs.settle();
        let wanted = knobs.log_filter.get();
        if wanted != filter {
            // Said before, or nobody would read it, and after.
            tracing::info!(filter = %wanted, "what is logged changes");
            if let Err(error) = turn_log(&wanted) {
                tracing::warn!(error, "what is logged does not change");
            }
            tracing::info!(filter = %wanted, "what is logged has changed");
            filter = wanted;
        }
        if states.changed().await.is_err() {
            return;
        }
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

/// Starts the rooms that keep rows, and takes the tokens of files.
async fn start(
    (config, knobs): (&NodeConfig, &Knobs),
    doors: (SocketAddr, Option<&Internode>),
    world: World,
) -> Result<Node, Error> {
    let storage = storage_config((config, knobs), doors);
    if let Some(address) = &storage.member.description.http
        && config.store.is_for_many_machines()
        && config::is_loopback(address)
    {
        tracing::warn!(%address, "nodes on other machines cannot reach this one; --http-advertise-addr says where they can");
    }
    let node = Node::start(storage, world).await?;
    match adopt_tokens(&node.catalog, &config.tokens).await {
        Ok(()) => Ok(node),
        Err(error) => {
            node.stop().await;
            Err(error)
        }
    }
}

async fn adopt_tokens(catalog: &Catalog, files: &TokenFiles) -> Result<(), Error> {
    let TokenFiles { admin, resources } = files;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| Error::Tokens { path, source }
    };
    if let Some((path, token)) = admin {
        tell_adopted(path, catalog.adopt_admin_token(token).await.map_err(failed(path))?);
    }
    if let Some((path, GivenResources { databases, tokens })) = resources {
        tell_adopted(path, catalog.adopt_resource_tokens(databases, tokens).await.map_err(failed(path))?);
    }
    Ok(())
}

fn tell_adopted(path: &Path, adopted: Adopted) {
    let path = path.display();
    match adopted {
        Adopted::Now => tracing::info!(%path, "the cluster has the tokens of this file from now on"),
        Adopted::Before => tracing::debug!(%path, "the cluster has the tokens of this file"),
        Adopted::Never => tracing::warn!(%path, "this token file is not used: the cluster has other tokens already"),
    }
}

async fn bind(config: &NodeConfig) -> Result<(Server, Trust), Error> {
    let trust = Trust::of(&config.http).map_err(Error::Tls)?;
    let server = Server::bind(&config.http.bind).await.map_err(Error::Bind)?;
    let server = server.with_tls(config.http.tls.as_ref(), &HTTP_PROTOCOLS).map_err(Error::Tls)?;
    if let Some(path) = &config.address_file {
        let failed = |source| Error::AddressFile { path: path.display().to_string(), source };
        std::fs::write(path, server.address().to_string()).map_err(failed)?;
    }
    Ok((server, trust))
}

/// What Postgres clients are served with.
fn postgres_parts(
    config: &NodeConfig,
    node: &Node,
    engine: sql::Engine,
    (registry, datafusion): (&Registry, &Handle),
) -> pg::Parts {
    let auth = Auth::new(config.http.auth.clone(), Arc::clone(&node.catalog));
    pg::Parts { engine, auth, registry: registry.clone(), datafusion: datafusion.clone() }
}

/// The port for Postgres clients, on a node that answers queries.
async fn bind_postgres(config: &NodeConfig) -> Result<Option<Server>, Error> {
    let server = match &config.pg {
        _ if !config.modes.has(Mode::Query) => return Ok(None),
        PgBind::Nowhere => return Ok(None),
        PgBind::Said(address) => Server::bind(address).await.map_err(Error::Bind)?,
        PgBind::IfFree(address) => match Server::bind(address).await {
            Ok(server) => server,
            Err(error) => {
                tracing::warn!(%error, "no Postgres client is served; --pg-bind names another address, or none");
                return Ok(None);
            }
        },
    };
    let server = server.with_tls(config.http.tls.as_ref(), &pg::PROTOCOLS).map_err(Error::Tls)?;
    tracing::info!(address = %server.address(), "listens for Postgres clients");
    Ok(Some(server))
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

/// What the catalog is told of this process.
fn description(config: &NodeConfig, (bound, internode): (SocketAddr, Option<&Internode>)) -> catalog::Description {
    let http = &config.http;
    let advertised = http.advertise.clone().unwrap_or_else(|| config::advertised(&http.bind, bound));
    let scheme = if http.tls.is_some() { "https://" } else { "" };
    catalog::Description {
        modes: config.modes,
        newer_modes: Vec::new(),
        http: Some(format!("{scheme}{advertised}").into()),
        internode: internode.map(|internode| internode.address().into()),
        version: VERSION.into(),
        options: config.options.as_str().into(),
    }
}

/// The parts of the config that belong to `storage`.
fn storage_config(
    (config, knobs): (&NodeConfig, &Knobs),
    doors: (SocketAddr, Option<&Internode>),
) -> storage::node::Config {
    let description = description(config, doors);
    let modes::Parts { ingest, compaction, replica } = modes::Parts::of(config, knobs);
    // Taken apart by name: a new part does not compile until it is used here.
    let NodeConfig {
        identity,
        modes: _,
        options: _,
        flags: _,
        store: _,
        http: _,
        pg: _,
        internode: _,
        tokens: _,
        address_file: _,
        threads,
        memory_bytes: _,
        log: _,
        wal,
        snapshot,
        peers,
        compact,
        query: _,
        limits,
        retention_check_interval,
    } = config.clone();
    storage::node::Config {
        cluster: identity.cluster,
        member: cluster::Config {
            node: identity.node,
            core_count: u32::try_from(threads.io + threads.datafusion).unwrap_or(u32::MAX),
            description,
            place: cluster::Place::here(),
            take_over: match identity.take_over {
                config::TakeOver::Refuse => cluster::TakeOver::Refuse,
                config::TakeOver::Insist => cluster::TakeOver::Insist,
            },
            follow_every: peers.catalog_sync_interval,
            checkpoint_every: 100,
        },
        limits: catalog::Limits {
            databases: limits.databases,
            tables: limits.tables,
            columns_per_table: limits.columns_per_table,
            ..catalog::Limits::default()
        },
        on_damage: wal.on_damage,
        ingest,
        snapshot: snapshot::Config {
            bytes_max: knobs.snapshot_bytes_max.clone(),
            periods_max: knobs.wal_files_per_snapshot.clone(),
            age_max: knobs.snapshot_age_max.clone(),
            gen1: snapshot.gen1_duration,
        },
        compaction,
        sweep: sweep_config(&compact, &wal, retention_check_interval),
        replica,
    }
}

fn sweep_config(compact: &CompactConfig, wal: &WalConfig, retention_every: Duration) -> sweep::Config {
    sweep::Config {
        every: Duration::from_secs(10),
        file_wait: compact.cleanup_wait,
        wal_objects_kept: wal.files_to_keep as u64,
        retention_every,
        catalog_kept: Duration::from_secs(24 * 60 * 60),
        garbage_every: Duration::from_secs(3600),
        orphan_age: Duration::from_secs(24 * 60 * 60),
        clock_trusted_after: Duration::from_secs(60 * 60),
    }
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

    /// Tells `asked` of the first one, and returns with the second.
    async fn second(&mut self, asked: &Notify) {
        self.next().await;
        asked.notify_one();
        tokio::time::sleep(SAME_SIGNAL).await;
        self.forget();
        self.next().await;
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
