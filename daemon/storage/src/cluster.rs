//! Which process owns a node id, and how it shows that it lives.
//!
//! # Promises
//! - The catalog decides: whoever commits the next epoch of a node owns its WAL. Heartbeats only keep a second process
//!   from trying by mistake.
//! - A process that finds the heartbeat of its id moving refuses to start, unless it was told to take over. On the same
//!   host it looks for the process instead, so a restart after a crash waits for nothing.
//! - A process that lost its epoch learns so at its next look at the catalog at the latest, and stops the node.
//! - A heartbeat says which catalog version the oldest query of its process reads, and no later one reads an older; and
//!   whether the process is ready.
//! - A process that the catalog asks to stop hears of it as soon as it has read so (`asked_to_stop`).
//! - Of the nodes that may compact one does, see `role`; it opens the next epoch of nodes that are dead, see `living`. A
//!   node whose log was ended so starts again at once.
//!
//! # Not here
//! - Fencing the WAL: `wal` does, at its next object. Putting it into files: `adopt`.

mod in_use;
mod lives;
mod living;
mod role;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use in_use::InUse;
pub use lives::{Condition, Lives};
use living::Beats;
pub use role::{Dead, NotOurs, Role, Standby};

use crate::bucket::{self, Bucket, Frame, Kind};
use crate::catalog::{self, Catalog, Change, Description, Node, Pins, State};
use crate::clock::Clock;
use crate::model::{Epoch, ErrorKind, NodeId, Stamp, Writer};
use crate::tasks::Tasks;

/// How often a heartbeat is written.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// A heartbeat that has not changed for so long, by the observer's own clock, is that of a dead process.
pub const DEAD_AFTER: Duration = Duration::from_secs(15);

/// How long a heartbeat waits for a look at the catalog, and for its own answer.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
const BEAT_WITHIN: Duration = Duration::from_secs(3);

/// How often a starting process looks at the heartbeat of its id, and how soon one that was not written is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A catalog in which nobody changed anything for so long is read less often,
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// namely so many times: then each heartbeat's look at it is enough. Six idle nodes ask the store less than three times a
/// second so. The first change after such a rest reaches nodes that no line tells of it that much later.
const IDLE_TIMES: u32 = 5;

/// Whether a living holder of the node id may be pushed aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOver {
    Refuse,
    Insist,
}

/// Where a process runs, as far as another one on the same machine can check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Changes with every boot of the machine.
    pub boot: String,
    /// Process ids mean something only within one namespace of them.
    pub pid_namespace: String,
    pub pid: u32,
    /// When the process started, in ticks since boot: process ids are used again.
    pub started: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Heartbeat {
    process: String,
    place: Place,
    count: u64,
    /// The process left in order.
    stopped: bool,
    /// No query of the process reads an older version of the catalog. `None` from a program that did not say it yet.
    #[serde(default)]
    in_use: Option<u64>,
    /// The process takes requests. A program that did not say it yet is taken to.
    #[serde(default = "yes")]
    ready: bool,
}

fn yes() -> bool {
    true
}

impl Heartbeat {
    /// The heartbeat of a node, with the nonce that tells it from the next one.
    async fn find(bucket: &Bucket, node: &NodeId) -> Result<Option<(u128, Self)>, bucket::Error> {
        let key = bucket.keys().heartbeat(node);
        match bucket.find_frame(&key).await {
            Ok(None) => Ok(None),
            Ok(Some(frame)) => Ok(serde_json::from_slice(&frame.payload).ok().map(|h| (frame.nonce, h))),
            // Heartbeats are advisory: a damaged one says nothing.
            Err(bucket::Error::Damaged { key, reason }) => {
                tracing::warn!(%key, %reason, "heartbeat is damaged");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the process is the one that the catalog knows: a process that was pushed aside may have written last.
    fn is_of(&self, node: &Node) -> bool {
        self.process == process_text(node.process)
    }
}

fn process_text(process: u128) -> String {
    format!("{process:032x}")
}

#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeId,
    pub core_count: u32,
    /// What this process is and where it listens.
    pub description: Description,
    pub place: Place,
    pub take_over: TakeOver,
    /// How often the catalog is read while it changes.
    pub follow_every: Duration,
    /// After how many entries the catalog gets a checkpoint.
    pub checkpoint_every: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the node id and lives.
    #[error("node id '{node}' is in use by a running process ({holder}); stop it, or start with --take-over")]
    InUse { node: NodeId, holder: String },
    /// Every writer slot belongs to a node.
    #[error("the cluster has {0} nodes, which is as many as it can number; remove some first")]
    NoSlot(usize),
    #[error("{0}")]
    Catalog(#[from] catalog::Error),
    #[error("{0}")]
    Bucket(#[from] bucket::Error),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::NoSlot(_) => ErrorKind::Limit,
            Self::Catalog(error) => error.kind(),
            Self::Bucket(error) => error.kind(),
        }
    }
}

/// This process as the holder of a node id.
#[derive(Debug, Clone)]
pub struct Member {
    bucket: Bucket,
    catalog: Arc<Catalog>,
    /// What the queries of this process read.
    pins: Arc<Pins>,
    clock: Clock,
    config: Config,
    process: u128,
    epoch: Epoch,
    lives: Arc<Lives>,
    is_ready: Arc<AtomicBool>,
    asked_to_stop: CancellationToken,
    beats: Beats,
}

impl Member {
    /// Opens the next epoch of the node id for this process.
    pub async fn join(
        bucket: Bucket,
        (catalog, pins): (Arc<Catalog>, Arc<Pins>),
        clock: Clock,
        config: Config,
    ) -> Result<Self, Error> {
        let member = Self {
            process: clock.random(),
            epoch: Epoch(0),
            bucket,
            catalog,
            pins,
            clock,
            config,
            lives: Arc::default(),
            is_ready: Arc::default(),
            asked_to_stop: CancellationToken::new(),
            beats: Beats::default(),
        };
        if member.config.take_over == TakeOver::Refuse {
            member.expect_free().await?;
        }
        let node = member.config.node.clone();
        let at_ms = member.clock.now_ms();
        let (instance, process, core_count) = (member.clock.random(), member.process, member.config.core_count);
        let description = &member.config.description;
        let decide = |state: &State| {
            let mut changes = Vec::new();
            let epoch = match state.nodes.get(&node) {
                Some(known) if known.removed_at_ms.is_none() => Epoch(known.epoch.0 + 1),
                known => {
                    let writer = free_slot(state)?;
                    changes.push(Change::RegisterNode { node: node.clone(), instance, writer, core_count, at_ms });
                    Epoch(known.map_or(0, |known| known.epoch.0) + 1)
                }
            };
            changes.push(Change::OpenEpoch { node: node.clone(), epoch, process, at_ms });
            changes.push(Change::DescribeNode { node: node.clone(), epoch, description: description.clone() });
            Ok((changes, epoch))
        };
        let epoch = member.catalog.commit(decide).await?;
        let member = Self { epoch, ..member };
        // Advisory, like every heartbeat; the epoch is ours already.
        if let Err(error) = member.beat(0, Alive::Running).await {
            tracing::warn!(%error, "heartbeat was not written");
        }
        Ok(member)
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Cancelled once the catalog says that this process should leave.
    #[must_use]
    pub fn asked_to_stop(&self) -> &CancellationToken {
        &self.asked_to_stop
    }

    /// Says that the process takes requests from here on.
    pub async fn ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
        // The next one says the same.
        if let Err(error) = self.beat(0, Alive::Running).await {
            tracing::warn!(%error, "heartbeat was not written");
        }
    }

    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.config.node
    }

    /// The catalog's record of this node.
    #[must_use]
    pub fn record(&self) -> Option<Arc<Node>> {
        self.node_in(&self.catalog.state()).cloned()
    }

    /// Keeps the heartbeat moving, the catalog read and its checkpoints written, and stops the node when its epoch went to another process.
    pub fn start(&self, tasks: &Tasks) {
        tasks.start("heartbeat", self.clone().keep_beating(tasks.clone()));
        tasks.start("heartbeats of others", self.clone().keep_observing(tasks.clone()));
        tasks.start("catalog follow", self.clone().follow(tasks.clone()));
        tasks.start("stop by the catalog", self.clone().hear_of_stop(tasks.clone()));
        self.catalog.start_checkpoints(self.config.checkpoint_every);
    }

    /// Says that the process left in order, so that the next one waits for nothing.
    pub async fn leave(&self) {
        // The heartbeat of whoever took over is not ours to end.
        if !self.holds_epoch(&self.catalog.state()) {
            return;
        }
        if let Err(error) = self.beat(u64::MAX, Alive::Stopped).await {
            tracing::warn!(%error, "could not say that this node left; the next start may wait");
        }
    }

    async fn keep_beating(self, tasks: Tasks) {
        let stopping = tasks.stopping();
        let mut wait = HEARTBEAT_EVERY;
        for count in 1.. {
            tokio::select! {
                biased;
                // Both are timers or flags; nothing is lost when one is dropped.
                () = stopping.cancelled() => return,
                () = self.clock.sleep(wait) => {}
            }
            // A process that was pushed aside may live on for a while; the heartbeat is its successor's by then. Without
            // an answer in time what was known last must do: others count the seconds.
            let looked = tokio::time::timeout(LOOK_WITHIN, self.catalog.refresh()).await;
            let state = looked.ok().and_then(Result::ok).unwrap_or_else(|| self.catalog.state());
            if !self.holds_epoch(&state) {
                return;
            }
            wait = LOOK_EVERY;
            match tokio::time::timeout(BEAT_WITHIN, self.beat(count, Alive::Running)).await {
                Ok(Ok(())) => wait = HEARTBEAT_EVERY,
                Ok(Err(error)) => tracing::warn!(%error, "heartbeat was not written, trying again"),
                Err(_) => tracing::warn!("heartbeat was not written within {BEAT_WITHIN:?}, trying again"),
            }
        }
    }

    async fn hear_of_stop(self, tasks: Tasks) {
        let stopping = tasks.stopping();
        let mut states = self.catalog.watch();
        let is_asked = |state: &Arc<State>| self.holds_epoch(state) && self.node_in(state).is_some_and(|n| n.stopping);
        tokio::select! {
            biased;
            // Both only say that something came to an end.
            () = stopping.cancelled() => {}
            asked = states.wait_for(is_asked) => {
                if asked.is_ok() {
                    self.asked_to_stop.cancel();
                }
            }
        }
    }

    async fn follow(self, tasks: Tasks) {
        let stopping = tasks.stopping();
        let (mut version, mut changed) = (self.catalog.state().version, self.clock.instant());
        loop {
            let now = self.catalog.state().version;
            if now != version {
                (version, changed) = (now, self.clock.instant());
            }
            let times = if changed.elapsed() >= IDLE_AFTER { IDLE_TIMES } else { 1 };
            let told = tokio::select! {
                biased;
                // All are timers or flags; nothing is lost when one is dropped.
                _ = tasks.failed() => return self.explain().await,
                () = stopping.cancelled() => return,
                () = self.catalog.news() => true,
                () = self.clock.sleep(self.config.follow_every * times) => false,
            };
            let is_fresh =
                !told && times > 1 && self.catalog.followed_at().elapsed() < self.config.follow_every * times;
            let looked = if is_fresh { Ok(self.catalog.state()) } else { self.catalog.refresh().await };
            match looked {
                Ok(state) if self.holds_epoch(&state) => {
                    if self.node_in(&state).is_some_and(|node| node.removed_at_ms.is_some()) {
                        tasks.fail(format!("node '{}' was removed from the cluster", self.config.node));
                        return;
                    }
                }
                Ok(state) => {
                    tasks.fail(self.taken_over(&state));
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tasks.fail(error.to_string());
                    return;
                }
                Err(error) => tracing::warn!(%error, "could not read the catalog"),
            }
        }
    }

    /// Says who has the node id, when another room noticed first that it is lost: a log tells only that it ended.
    async fn explain(&self) {
        match self.catalog.refresh().await {
            Ok(state) if !self.holds_epoch(&state) => tracing::error!("{}", self.taken_over(&state)),
            Ok(_) | Err(_) => {}
        }
    }

    fn taken_over(&self, state: &State) -> String {
        let node = &self.config.node;
        format!("node id '{node}' was taken over by {}", state.owner_of(node))
    }

    fn holds_epoch(&self, state: &State) -> bool {
        self.node_in(state).is_some_and(|n| n.epoch == self.epoch && n.process == self.process)
    }

    fn node_in<'a>(&self, state: &'a State) -> Option<&'a Arc<Node>> {
        state.nodes.get(&self.config.node)
    }

    async fn beat(&self, count: u64, alive: Alive) -> Result<(), bucket::Error> {
        // In this order: a view that is not pinned yet finds, after it is, that the version it took is not the newest.
        let version = self.catalog.state().version;
        let oldest = self.pins.oldest().unwrap_or(version);
        let heartbeat = Heartbeat {
            process: process_text(self.process),
            place: self.config.place.clone(),
            count,
            stopped: alive == Alive::Stopped,
            in_use: Some(oldest.min(version)),
            ready: self.is_ready.load(Ordering::Relaxed),
        };
        let payload = serde_json::to_vec(&heartbeat).expect("a plain struct always has a JSON form");
        let frame = Frame {
            kind: Kind::Heartbeat,
            cluster: self.catalog.cluster(),
            epoch: self.epoch,
            number: count,
            nonce: self.clock.random(),
            stamp: Stamp::SETTLED,
            payload: payload.into(),
        };
        let nonce = frame.nonce;
        self.bucket.overwrite(&self.bucket.keys().heartbeat(&self.config.node), &frame).await?;
        let now = self.clock.instant();
        self.beats.stored(now);
        self.lives.see(&self.config.node, Some((nonce, heartbeat)), (&self.config.place, now));
        Ok(())
    }

    /// Watches the heartbeat of whoever held the id last, until it is certain enough whether that process lives.
    async fn expect_free(&self) -> Result<(), Error> {
        let Some((nonce, heartbeat)) = self.heartbeat().await? else { return Ok(()) };
        // What it says of its process counts only if that process is the one the catalog knows.
        let owner = self.record();
        let is_of_owner = |heartbeat: &Heartbeat| owner.as_ref().is_some_and(|owner| heartbeat.is_of(owner));
        let is_owner = is_of_owner(&heartbeat);
        if heartbeat.stopped && is_owner {
            return Ok(());
        }
        // Its process counted as dead, and its log has ended: nobody is pushed aside by going on behind it.
        let has_ended = |owner: &Arc<Node>| self.catalog.state().is_adopted(owner) || (owner.sealed && !is_owner);
        if owner.as_ref().is_some_and(has_ended) {
            return Ok(());
        }
        let holder = format!("process {} of boot {}", heartbeat.place.pid, heartbeat.place.boot);
        let in_use = || Error::InUse { node: self.config.node.clone(), holder: holder.clone() };
        match heartbeat.place.is_running(&self.config.place) {
            Some(true) => return Err(in_use()),
            Some(false) if is_owner => return Ok(()),
            _ => {}
        }
        tracing::info!(node = %self.config.node, %holder, "another host held this node id; waiting to see whether it lives");
        let began = self.clock.instant();
        while began.elapsed() < DEAD_AFTER {
            self.clock.sleep(LOOK_EVERY).await;
            match self.heartbeat().await? {
                Some((newer, now)) if newer != nonce && !now.stopped => return Err(in_use()),
                Some((_, now)) if now.stopped && is_of_owner(&now) => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }

    async fn heartbeat(&self) -> Result<Option<(u128, Heartbeat)>, Error> {
        Ok(Heartbeat::find(&self.bucket, &self.config.node).await?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alive {
    Running,
    Stopped,
}

impl Place {
    /// This process on this machine.
    #[must_use]
    pub fn here() -> Self {
        let pid = std::process::id();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            boot: read("/proc/sys/kernel/random/boot_id"),
            pid_namespace: namespace.to_string_lossy().into_owned(),
            pid,
            started: start_of(pid).unwrap_or(0),
        }
    }

    /// Whether the process lives, if somebody at `observer` can know.
    fn is_running(&self, observer: &Self) -> Option<bool> {
        let same_machine = !self.boot.is_empty() && self.boot == observer.boot;
        (same_machine && self.pid_namespace == observer.pid_namespace).then(|| start_of(self.pid) == Some(self.started))
    }
}

/// When a process started, in ticks since boot; `None` when there is no such process.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; the fields are counted after it.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace();
    // A zombie holds nothing any more.
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn free_slot(state: &State) -> Result<Writer, catalog::Error> {
    let free = (0..=Writer::MAX).filter_map(Writer::new).find(|slot| state.is_free(*slot));
    free.ok_or_else(|| catalog::Error::refused(ErrorKind::Limit, Error::NoSlot(state.nodes.len()).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::{InMemory, Keys, Store};
    use crate::catalog::Limits;
    use crate::tasks::Cpu;

    const START_MICROS: u64 = 1_760_000_000_000_000;

    pub(super) async fn join(store: &Store, node: &str, number: u32) -> Member {
        let clock = Clock::simulated(START_MICROS, u64::from(number));
        let bucket = Bucket::new(Arc::clone(store), Keys::new(NodeId::new("c").unwrap()), clock.clone());
        let tasks = Tasks::new(Cpu::Here);
        let catalog = Catalog::open(bucket.clone(), clock.clone(), tasks, Limits::default()).await.unwrap();
        let config = Config {
            node: NodeId::new(node).unwrap(),
            core_count: 1,
            description: Description::default(),
            place: Place { boot: format!("machine {number}"), pid_namespace: String::new(), pid: number, started: 0 },
            take_over: TakeOver::Insist,
            follow_every: Duration::from_secs(1),
            checkpoint_every: 100,
        };
        Member::join(bucket, (Arc::new(catalog), Arc::default()), clock, config).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_pushed_aside_leaves_the_heartbeat_to_its_successor() {
        // Before, at and after the moments at which the first looks at the catalog and writes its heartbeat.
        for tenths in [1, 49, 50, 51, 98, 99, 100, 101] {
            let store: Store = Arc::new(InMemory::new());
            let tasks = Tasks::new(Cpu::Here);
            let first = join(&store, "n", 1).await;
            first.start(&tasks);
            first.clock.sleep(Duration::from_millis(tenths * 100)).await;
            // It shows itself once, and then not again.
            let second = join(&store, "n", 2).await;
            second.clock.sleep(Duration::from_secs(60)).await;
            let (_, heartbeat) = second.heartbeat().await.unwrap().expect("both wrote one");
            assert_eq!(heartbeat.place.pid, 2, "pushed aside after {tenths} tenths of a second");
            assert!(tasks.failure().is_some(), "the first does not know");
            first.leave().await;
            tasks.stop().await;
            let (_, heartbeat) = second.heartbeat().await.unwrap().expect("both wrote one");
            assert_eq!((heartbeat.place.pid, heartbeat.stopped), (2, false), "after the first has left");
        }
    }
}
