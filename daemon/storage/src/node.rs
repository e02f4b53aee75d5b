//! The rooms of this package, started in order as one node that keeps rows.
//!
//! # Promises
//! - After `start` returns, every row ever acknowledged by this node id is visible, and writes are taken. So is every row
//!   other nodes acknowledged before, or a view is an error that names the node.
//! - `stop` stores what waits, writes a last snapshot, closes the epoch and says so; a node that failed leaves the same
//!   things to the next start.
//!
//! # Not here
//! - Ports, protocols and queries: the daemon adds them.

use std::sync::Arc;
use std::time::Duration;

use metrics::Registry;

use crate::bucket::{Bucket, Keys, Store};
use crate::buffer::Buffer;
use crate::catalog::{self, Catalog, Change, Limits, Pins, State};
use crate::clock::Clock;
use crate::cluster::{self, InUse, Member};
use crate::compaction::{self, Compactor, Events};
use crate::ingest::{self, Ingest};
use crate::model::{ErrorKind, NodeId};
use crate::replica::{self, Replica, Wire};
use crate::snapshot::{self, Snapshot};
use crate::sweep::{self, Sweep};
use crate::tasks::Tasks;
use crate::view::{Origin, Views};
use crate::wal::{self, Feed, OnDamage, Recovered, StampFloor};

/// Memory for the newest objects of the log, for nodes that follow it.
const FEED_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Clone)]
pub struct Config {
    pub cluster: NodeId,
    pub member: cluster::Config,
    pub limits: Limits,
    pub on_damage: OnDamage,
    pub ingest: ingest::Config,
    pub snapshot: snapshot::Config,
    pub compaction: compaction::Config,
    pub sweep: sweep::Config,
    pub replica: replica::Config,
}

/// The outside world of a node.
#[derive(Debug, Clone)]
pub struct World {
    pub store: Store,
    pub clock: Clock,
    pub tasks: Tasks,
    pub registry: Registry,
    /// How the processes of other nodes are reached; `None` when all goes by the store.
    pub wire: Option<Arc<dyn Wire>>,
}

/// A node that keeps rows.
#[derive(Debug)]
pub struct Node {
    pub bucket: Bucket,
    pub catalog: Arc<Catalog>,
    pub ingest: Ingest,
    pub snapshot: Snapshot,
    /// What compaction did on this node.
    pub events: Arc<Events>,
    pub views: Arc<Views>,
    /// What this node stores, for others that follow it.
    pub feed: Arc<Feed>,
    member: Member,
    tasks: Tasks,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open catalog: {0}")]
    Catalog(#[from] catalog::Error),
    #[error("{0}")]
    Join(#[from] cluster::Error),
    #[error("replay WAL: {0}")]
    Wal(#[from] wal::Error),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Catalog(error) => error.kind(),
            Self::Join(error) => error.kind(),
            Self::Wal(error) => error.kind(),
        }
    }
}

impl Node {
    pub async fn start(config: Config, world: World) -> Result<Self, Error> {
        // Taken apart by name: a new part does not compile until it is used here.
        let Config { cluster, member, limits, on_damage, ingest, snapshot, compaction, sweep, replica } = config;
        let World { store, clock, tasks, registry, wire } = world;
        let steps = Steps { clock: clock.clone() };
        let bucket = Bucket::new(store, Keys::new(cluster), clock.clone());

        let open = Catalog::open(bucket.clone(), clock.clone(), tasks.clone(), limits);
        let catalog = Arc::new(steps.time("open catalog", open).await?);
        fix(&catalog, "gen1-duration", snapshot.gen1).await?;

        let pins: Arc<Pins> = Arc::default();
        let known = (Arc::clone(&catalog), Arc::clone(&pins));
        let join = Member::join(bucket.clone(), known, clock.clone(), member);
        let member = steps.time("join cluster", join).await?;
        // From here on, also during a long replay, others can see that this process lives.
        member.start(&tasks);
        let record = member.record().expect("join put it there");
        let state = catalog.state();

        let buffer = Arc::new(Buffer::new(record.persisted, record.persisted_stamp));
        let hands = (bucket.clone(), clock.clone(), tasks.clone());
        let apply = crate::apply::Apply::new(Arc::clone(&buffer));
        let replay = wal::recover(
            hands,
            catalog.cluster(),
            (&record, state.settled()),
            (on_damage, |committed| apply.apply(committed)),
        );
        let Recovered { mut writer, objects, rows } = steps.time("replay WAL", replay).await?;
        buffer.pass(writer.last_position());
        tracing::info!(objects, rows, epoch = member.epoch().0, "the log is replayed");

        let feed = writer.feed(if wire.is_some() { FEED_BYTES_MAX } else { 0 });
        let (node, epoch, stamps) = (member.node().clone(), member.epoch(), writer.stamps());
        let parts = ingest::Parts {
            catalog: Arc::clone(&catalog),
            buffer: Arc::clone(&buffer),
            writer,
            clock: clock.clone(),
            tasks: tasks.clone(),
            metrics: ingest::Metrics::register(&registry),
        };
        let (ingest, flushed) = Ingest::start(ingest, parts);
        let parts = snapshot::Parts {
            bucket: bucket.clone(),
            catalog: Arc::clone(&catalog),
            buffer: Arc::clone(&buffer),
            clock: clock.clone(),
            tasks: tasks.clone(),
            node: node.clone(),
            epoch,
            stamps: stamps.clone(),
            metrics: snapshot::Metrics::register(&registry),
        };
        let snapshot = Snapshot::start(snapshot, parts, flushed);
        let ground = Ground { bucket, catalog, clock, tasks, node };
        let events = ground.start_compaction(compaction, &registry);
        ground.start_sweep(sweep, Arc::clone(&pins));
        let line = (wire, replica::Metrics::register(&registry));
        let replica = ground.start_replica(replica, stamps, line).await;
        let Ground { bucket, catalog, clock, tasks, node } = ground;
        let origin = Origin { node, epoch, buffer };
        let views = Arc::new(Views::new((Arc::clone(&catalog), pins), clock, origin, replica));
        Ok(Self { bucket, catalog, ingest, snapshot, events, views, feed, member, tasks })
    }

    /// The order is that of `start`, backwards.
    pub async fn stop(self) {
        self.tasks.stop().await;
        self.member.leave().await;
    }
}

/// What the rooms that work in the background stand on.
struct Ground {
    bucket: Bucket,
    catalog: Arc<Catalog>,
    clock: Clock,
    tasks: Tasks,
    node: NodeId,
}

impl Ground {
    fn start_compaction(&self, config: compaction::Config, registry: &Registry) -> Arc<Events> {
        let parts = compaction::Parts {
            bucket: self.bucket.clone(),
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            node: self.node.clone(),
            metrics: compaction::Metrics::register(registry),
        };
        Compactor::new(config, parts).start()
    }

    fn start_sweep(&self, config: sweep::Config, pins: Arc<Pins>) {
        let sweep = Sweep {
            config,
            bucket: self.bucket.clone(),
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            node: self.node.clone(),
            pins,
            others: InUse::new(self.bucket.clone(), self.clock.clone(), self.node.clone()),
        };
        sweep.start(&self.tasks);
    }

    /// Rows of others that cannot be read now do not keep a node from starting: asking for them is the error.
    async fn start_replica(
        &self,
        config: replica::Config,
        stamps: StampFloor,
        (wire, metrics): (Option<Arc<dyn Wire>>, replica::Metrics),
    ) -> Arc<Replica> {
        let parts = replica::Parts {
            bucket: self.bucket.clone(),
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            node: self.node.clone(),
            stamps,
            wire,
            metrics,
        };
        Replica::start(config, parts).await
    }
}

/// Settles a setting for the life of the cluster, or refuses one that differs from what was settled.
async fn fix(catalog: &Catalog, name: &str, duration: Duration) -> Result<(), catalog::Error> {
    let value = format!("{}s", duration.as_secs());
    let decide = |state: &State| match state.fixed.get(name) {
        None => Ok((vec![Change::Fix { name: name.into(), value: value.clone() }], ())),
        Some(fixed) if *fixed == value => Ok((Vec::new(), ())),
        Some(fixed) => {
            let message = format!("--{name} {value}: this cluster was made with {fixed}, which cannot change");
            Err(catalog::Error::refused(ErrorKind::Invalid, message))
        }
    };
    catalog.commit(decide).await
}

/// Tells how long each step of the start took.
struct Steps {
    clock: Clock,
}

impl Steps {
    async fn time<T, E>(&self, step: &'static str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let started = self.clock.instant();
        let result = work.await;
        if result.is_ok() {
            tracing::info!(step, seconds = started.elapsed().as_secs_f64(), "started");
        }
        result
    }
}

#[cfg(test)]
mod tests;
