//! The rooms of this package, started in order as one node that keeps rows.
//!
//! # Promises
//! - What a node does is what its config has: to take writes, to show rows, to compact. After `start` returns it does.
//! - Every row ever acknowledged by this node id is visible then, here or wherever rows are shown, and so is every row
//!   other nodes acknowledged before, or a view is an error that names the node.
//! - A node that takes no writes owns its id as others do, and has no rows outside files: what an earlier process of the id
//!   left in the log is in files, and the epoch is closed, before `start` returns.
//! - `stop` stores what waits, writes a last snapshot, closes the epoch and says so; a node that failed leaves the same
//!   things to the next start.
//!
//! # Not here
//! - Ports, protocols and queries: the daemon adds them, and knows why a node does what it does.

mod insight;

use std::sync::Arc;
use std::time::Duration;

use metrics::Registry;

use crate::adopt::{self, Adopted, Adopter};
use crate::apply::Apply;
use crate::bucket::{Bucket, Keys, Measured, Store, Usage};
use crate::buffer::Buffer;
use crate::catalog::{self, Catalog, Change, Limits, Pins, State};
use crate::clock::Clock;
use crate::cluster::{self, InUse, Member, Role, Standby};
use crate::compaction::{self, Compactor, Events, Orders};
use crate::deletes::Deleter;
use crate::ingest::{self, Ingest};
use crate::model::{Epoch, ErrorKind, NodeId};
use crate::replica::{self, Replica, Wire};
use crate::snapshot::{self, Snapshot};
use crate::sweep::{self, Sweep};
use crate::tasks::Tasks;
use crate::view::{Origin, Views};
use crate::wal::{self, Feed, OnDamage, Recovered, StampFloor};

use insight::Rooms;
pub use insight::{CatalogStanding, Insight, LogStanding};

/// Memory for the newest objects of the log, for nodes that follow it.
pub const FEED_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Clone)]
pub struct Config {
    pub cluster: NodeId,
    pub member: cluster::Config,
    pub limits: Limits,
    pub on_damage: OnDamage,
    /// `None` takes no writes.
    pub ingest: Option<ingest::Config>,
    pub snapshot: snapshot::Config,
    /// `None` never compacts.
    pub compaction: Option<compaction::Config>,
    pub sweep: sweep::Config,
    /// `None` shows no rows, so it need not know those of other nodes.
    pub replica: Option<replica::Config>,
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
    /// What a node has that takes writes.
    pub ingest: Option<Ingest>,
    pub snapshot: Option<Snapshot>,
    /// What there is to show of it.
    pub insight: Insight,
    /// What a node has that may compact.
    pub orders: Option<Orders>,
    /// What a node has that shows rows.
    pub views: Option<Arc<Views>>,
    /// Likewise.
    pub deleter: Option<Arc<Deleter>>,
    /// What a node stores that takes writes and has a wire, for others that follow it.
    pub feed: Option<Arc<Feed>>,
    pub member: Member,
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
    #[error("seal WAL: {0}")]
    Seal(#[from] Box<adopt::Error>),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Catalog(error) => error.kind(),
            Self::Join(error) => error.kind(),
            Self::Wal(error) => error.kind(),
            Self::Seal(error) => error.kind(),
        }
    }
}

impl Node {
    pub async fn start(config: Config, world: World) -> Result<Self, Error> {
        // Taken apart by name: a new part does not compile until it is used here.
        let Config { cluster, member, limits, on_damage, ingest, snapshot, compaction, sweep, replica } = config;
        let World { store, clock, tasks, registry, wire } = world;
        let steps = Steps { clock: clock.clone() };
        let usage = Arc::new(Usage::new(&registry, clock.clone()));
        let store = Arc::new(Measured::new(store, Arc::clone(&usage)));
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
        let (node, epoch) = (member.node().clone(), member.epoch());
        let (role, part_bytes_max) = (Role::of(&member), snapshot.bytes_max.get());
        let ground = Ground { bucket, catalog, clock, tasks, node, epoch, role, registry };
        let adopter = ground.adopter((snapshot.gen1, part_bytes_max));
        let mut feed = None;
        let (ingest, buffer, stamps) = match ingest {
            Some(ingest) => {
                let mut replayed = steps.time("replay WAL", ground.replay(&record, on_damage)).await?;
                let (buffer, stamps) = (Arc::clone(&replayed.buffer), replayed.writer.stamps());
                feed = wire.is_some().then(|| replayed.writer.feed(Arc::clone(&ground.catalog), FEED_BYTES_MAX));
                (Some(ground.start_ingest((ingest, snapshot), replayed)), buffer, stamps)
            }
            None => {
                steps.time("seal WAL", ground.seal(&adopter, on_damage)).await?;
                (None, Arc::new(Buffer::new(record.persisted, record.persisted_stamp)), StampFloor::of_no_writer())
            }
        };
        let (ingest, snapshot) = ingest.unzip();
        let (events, orders) = compaction.map(|config| ground.start_compaction(config, adopter)).unzip();
        let events = events.unwrap_or_default();
        ground.start_sweep(sweep, Arc::clone(&pins));
        let (views, deleter) = match replica {
            Some(replica) => Some(ground.start_views((replica, wire), pins, (buffer, stamps)).await).unzip(),
            None => (None, None),
        };
        member.ready().await;
        let Ground { bucket, catalog, clock, tasks, node, .. } = ground;
        let rooms = Rooms { catalog: Arc::clone(&catalog), clock, node, ingest: ingest.clone(), views: views.clone() };
        let insight = Insight { events, store: usage, jobs: tasks.jobs().clone(), rooms: Some(rooms) };
        Ok(Self { bucket, catalog, ingest, snapshot, insight, orders, views, deleter, feed, member, tasks })
    }

    /// The order is that of `start`, backwards.
    pub async fn stop(self) {
        self.tasks.stop().await;
        self.member.leave().await;
    }
}

/// What the rooms stand on.
struct Ground {
    bucket: Bucket,
    catalog: Arc<Catalog>,
    clock: Clock,
    tasks: Tasks,
    node: NodeId,
    epoch: Epoch,
    role: Role,
    registry: Registry,
}

/// The log of this node, ready to be written on, and what of it is not in files.
struct Replayed {
    writer: wal::Writer,
    buffer: Arc<Buffer>,
}

impl Ground {
    async fn replay(&self, record: &catalog::Node, on_damage: OnDamage) -> Result<Replayed, wal::Error> {
        let buffer = Arc::new(Buffer::new(record.persisted, record.persisted_stamp));
        let apply = Apply::new(Arc::clone(&buffer));
        let hands = (self.bucket.clone(), self.clock.clone(), self.tasks.clone());
        let replay = wal::recover(hands, &self.catalog, record, (on_damage, |committed| apply.apply(committed)));
        let Recovered { writer, objects, rows } = replay.await?;
        buffer.pass(writer.last_position());
        tracing::info!(objects, rows, epoch = self.epoch.0, "the log is replayed");
        Ok(Replayed { writer, buffer })
    }

    fn adopter(&self, (gen1, part_bytes_max): (Duration, usize)) -> Adopter {
        Adopter {
            bucket: self.bucket.clone(),
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            gen1,
            part_bytes_max,
        }
    }

    /// Whatever an earlier process of this node left in the log becomes files, and the epoch is closed.
    async fn seal(&self, adopter: &Adopter, on_damage: OnDamage) -> Result<(), Box<adopt::Error>> {
        let Adopted { objects, rows, files } =
            adopter.adopt((&self.node, self.epoch), on_damage).await.map_err(Box::new)?;
        tracing::info!(
            objects,
            rows,
            files,
            epoch = self.epoch.0,
            "this node takes no writes, and its log is in files"
        );
        Ok(())
    }

    fn start_ingest(
        &self,
        (ingest, snapshot): (ingest::Config, snapshot::Config),
        replayed: Replayed,
    ) -> (Ingest, Snapshot) {
        let Replayed { writer, buffer } = replayed;
        let parts = snapshot::Parts {
            bucket: self.bucket.clone(),
            catalog: Arc::clone(&self.catalog),
            buffer: Arc::clone(&buffer),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            node: self.node.clone(),
            epoch: self.epoch,
            stamps: writer.stamps(),
            metrics: snapshot::Metrics::register(&self.registry),
        };
        let ingest_parts = ingest::Parts {
            catalog: Arc::clone(&self.catalog),
            buffer,
            writer,
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            metrics: ingest::Metrics::register(&self.registry),
        };
        let (ingest, flushed) = Ingest::start(ingest, ingest_parts);
        (ingest, Snapshot::start(snapshot, parts, flushed))
    }

    /// Compacts whenever it has the role of the compactor, who adopts the logs of dead nodes as well.
    fn start_compaction(&self, config: compaction::Config, adopter: Adopter) -> (Arc<Events>, Orders) {
        let parts = compaction::Parts {
            bucket: self.bucket.clone(),
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            node: self.node.clone(),
            role: self.role.clone(),
            metrics: compaction::Metrics::register(&self.registry),
        };
        let started = Compactor::new(config, parts).start();
        let standby = Standby::new(self.role.clone(), (self.bucket.clone(), self.clock.clone()), &self.registry);
        adopter.start(self.role.clone(), standby.start(&self.tasks));
        started
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
            role: self.role.clone(),
        };
        sweep.start(&self.tasks);
    }

    /// Rows of others that cannot be read now do not keep a node from starting: asking for them is the error.
    async fn start_views(
        &self,
        (config, wire): (replica::Config, Option<Arc<dyn Wire>>),
        pins: Arc<Pins>,
        (buffer, stamps): (Arc<Buffer>, StampFloor),
    ) -> (Arc<Views>, Arc<Deleter>) {
        let parts = replica::Parts {
            bucket: self.bucket.clone(),
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            node: self.node.clone(),
            stamps,
            wire,
            metrics: replica::Metrics::register(&self.registry),
        };
        let replica = Replica::start(config, parts).await;
        let origin = Origin { node: self.node.clone(), epoch: self.epoch, buffer };
        let deleter = Deleter::new(
            Arc::clone(&self.catalog),
            self.clock.clone(),
            Arc::clone(&replica),
            (self.node.clone(), self.epoch),
        );
        let views = Views::new((Arc::clone(&self.catalog), pins), self.clock.clone(), origin, replica);
        (Arc::new(views), Arc::new(deleter))
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
