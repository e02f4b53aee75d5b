//! What the heartbeats of all nodes say, as this node has seen them move by its own clock.
//!
//! # Promises
//! - A process counts as gone when its heartbeat says that it left, when this machine knows that it is not there any more,
//!   or when two looks at least `DEAD_AFTER` apart, with none between that saw it move, found the same heartbeat. A store
//!   that does not answer makes nobody look dead.
//! - A process whose heartbeat was first seen a moment ago counts as living; so does, for `DEAD_AFTER`, one on another
//!   machine that died while nobody asked.
//! - Cost: nothing while nobody asks. From a question on, for `WANTED_FOR`, one GET every `HEARTBEAT_EVERY` for each other
//!   node of the cluster whose process has not left in order.
//!
//! # Not here
//! - Whose log is adopted: that rests on `living`, which looks all the time and at nodes that may compact only.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{DEAD_AFTER, HEARTBEAT_EVERY, Heartbeat, Member, Place};
use crate::catalog::Node;
use crate::model::NodeId;
use crate::tasks::Tasks;

/// For so long after a question more are expected.
const WANTED_FOR: Duration = Duration::from_secs(60);

/// No longer is a question kept waiting.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Heartbeats that are read at the same time.
const LOOKS_AT_ONCE: usize = 16;

/// A heartbeat that is looked at again and again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    nonce: Option<u128>,
    since: Instant,
    confirmed: Instant,
}

impl Pulse {
    pub(super) fn first(nonce: Option<u128>, now: Instant) -> Self {
        Self { nonce, since: now, confirmed: now }
    }

    pub(super) fn look(&mut self, nonce: Option<u128>, now: Instant) {
        if self.nonce == nonce {
            self.confirmed = now;
        } else {
            *self = Self::first(nonce, now);
        }
    }

    /// Whether it was found unmoved for so long that its process is dead.
    pub(super) fn is_still(&self) -> bool {
        self.confirmed.duration_since(self.since) >= DEAD_AFTER
    }
}

/// What a node is doing, from the catalog and its heartbeat together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its process lives and is not ready yet.
    Joining,
    Running,
    /// Its process lives and was asked to stop.
    Stopping,
    /// Its process is gone, and all its rows are in files.
    Stopped,
    /// Its process is gone, and rows of it may be outside files.
    Lost,
    /// It is in the cluster no more.
    Removed,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
            Self::Removed => "removed",
        })
    }
}

/// The heartbeats of all nodes, this one's own among them.
#[derive(Debug, Default)]
pub struct Lives {
    seen: Mutex<BTreeMap<NodeId, Seen>>,
    /// When somebody last asked.
    wanted: Mutex<Option<Instant>>,
    /// When the heartbeats were last looked at.
    looked: Mutex<Option<Instant>>,
    /// Held during a look.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Seen {
    pulse: Pulse,
    heartbeat: Option<Heartbeat>,
    /// This machine knows that there is no such process.
    is_gone: bool,
}

impl Lives {
    #[must_use]
    pub fn condition(&self, node: &Node) -> Condition {
        if node.removed_at_ms.is_some() {
            return Condition::Removed;
        }
        let lives = self.seen.lock();
        // What another process of this node said does not count: the next look finds what the newest one says.
        let seen = lives.get(&node.id);
        let own = seen.and_then(|seen| seen.heartbeat.as_ref()).filter(|heartbeat| heartbeat.is_of(node));
        let is_away = seen.is_some_and(|seen| seen.pulse.is_still() || (own.is_some() && seen.is_gone))
            || own.is_some_and(|heartbeat| heartbeat.stopped);
        match (is_away, node.sealed) {
            (true, true) => Condition::Stopped,
            (true, false) => Condition::Lost,
            (false, _) if node.stopping => Condition::Stopping,
            (false, _) if own.is_some_and(|heartbeat| heartbeat.ready) => Condition::Running,
            (false, _) => Condition::Joining,
        }
    }

    /// Whether the process said that it stopped.
    #[must_use]
    pub fn has_left(&self, node: &Node) -> bool {
        let lives = self.seen.lock();
        let heartbeat = lives.get(&node.id).and_then(|seen| seen.heartbeat.as_ref());
        heartbeat.is_some_and(|heartbeat| heartbeat.stopped && heartbeat.is_of(node))
    }

    /// Whether the process said that it stopped, or is seen to be gone from this machine. One of which only the heartbeat
    /// stands still may go on.
    #[must_use]
    pub fn has_ended(&self, node: &Node) -> bool {
        let is_gone = |seen: &Seen| seen.is_gone && seen.heartbeat.as_ref().is_some_and(|h| h.is_of(node));
        self.has_left(node) || self.seen.lock().get(&node.id).is_some_and(is_gone)
    }

    /// How long ago the heartbeat of the node was seen to move; `None` when nobody has looked yet.
    #[must_use]
    pub fn age(&self, node: &NodeId) -> Option<Duration> {
        Some(self.seen.lock().get(node)?.pulse.since.elapsed())
    }

    pub(super) fn see(&self, node: &NodeId, found: Option<(u128, Heartbeat)>, (own, now): (&Place, Instant)) {
        let (nonce, heartbeat) = found.unzip();
        let is_gone = heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.place.is_running(own) == Some(false));
        let mut lives = self.seen.lock();
        let mut pulse = lives.get(node).map_or_else(|| Pulse::first(nonce, now), |seen| seen.pulse);
        pulse.look(nonce, now);
        lives.insert(node.clone(), Seen { pulse, heartbeat, is_gone });
    }

    fn is_fresh(&self, age_max: Duration) -> bool {
        self.looked.lock().is_some_and(|looked| looked.elapsed() < age_max)
    }
}

impl Member {
    /// How the nodes of the cluster are, as far as this one has seen.
    #[must_use]
    pub fn lives(&self) -> &Arc<Lives> {
        &self.lives
    }

    /// Looks at the heartbeats of the others, unless that was done within `age_max`. From here on it is done regularly for
    /// a while. A store that does not answer is not waited for.
    pub async fn observe(&self, age_max: Duration) {
        *self.lives.wanted.lock() = Some(self.clock.instant());
        self.look(age_max).await;
    }

    pub(super) async fn keep_observing(self, tasks: Tasks) {
        let stopping = tasks.stopping();
        loop {
            tokio::select! {
                biased;
                // A look that is dropped halfway has seen some heartbeats and not the others.
                () = stopping.cancelled() => return,
                () = async {
                    self.clock.sleep(HEARTBEAT_EVERY).await;
                    let wanted = *self.lives.wanted.lock();
                    if wanted.is_some_and(|wanted| wanted.elapsed() < WANTED_FOR) {
                        self.look(Duration::ZERO).await;
                    }
                } => {}
            }
        }
    }

    async fn look(&self, age_max: Duration) {
        // First without waiting for a look that is under way: the last one may be young enough.
        if self.lives.is_fresh(age_max) {
            return;
        }
        let _looking = self.lives.looking.lock().await;
        if self.lives.is_fresh(age_max) {
            return;
        }
        let state = self.catalog.state();
        self.lives.seen.lock().retain(|id, _| state.members().any(|node| node.id == *id));
        let mut looks: Vec<BoxFuture<'_, ()>> = Vec::new();
        for node in state.members().filter(|node| node.id != self.config.node && !self.lives.has_left(node)) {
            looks.push(self.look_at(&node.id).boxed());
        }
        let all = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect::<()>();
        if tokio::time::timeout(LOOK_TIMEOUT, all).await.is_err() {
            tracing::debug!("the heartbeats of other nodes could not be read in time");
        }
        *self.lives.looked.lock() = Some(self.clock.instant());
    }

    async fn look_at(&self, node: &NodeId) {
        match Heartbeat::find(&self.bucket, node).await {
            Ok(found) => self.lives.see(node, found, (&self.config.place, self.clock.instant())),
            Err(error) => tracing::debug!(%node, %error, "could not read a heartbeat"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::join;
    use super::*;
    use crate::bucket::{InMemory, Store};
    use crate::catalog::{Asked, Change};
    use crate::model::ErrorKind;
    use crate::tasks::Cpu;

    fn condition(own: &Member, other: &Member) -> Condition {
        own.lives.condition(&own.catalog.state().nodes[other.node()])
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_what_its_heartbeat_and_the_catalog_say_together() {
        let store: Store = Arc::new(InMemory::new());
        let tasks = Tasks::new(Cpu::Here);
        let other = join(&store, "other", 1).await;
        other.start(&tasks);
        let own = join(&store, "own", 2).await;
        let mut seen = Vec::new();
        let mut look = async |seconds: u64| {
            own.clock.sleep(Duration::from_secs(seconds)).await;
            own.catalog.refresh().await.unwrap();
            own.observe(Duration::ZERO).await;
            seen.push(condition(&own, &other));
        };
        look(0).await;
        other.ready().await;
        look(0).await;
        look(600).await;
        own.catalog.by(&Asked::default()).stop_node(other.node(), other.epoch()).await.unwrap();
        look(0).await;
        other.catalog.refresh().await.unwrap();
        other.asked_to_stop().cancelled().await;
        // It stands still, and nobody knows until it did so for long enough.
        tasks.kill();
        look(0).await;
        look(14).await;
        look(2).await;
        let epoch = other.epoch();
        let seal = Change::CloseEpoch { node: other.node().clone(), epoch };
        own.catalog.commit(|_| Ok((vec![seal.clone()], ()))).await.unwrap();
        look(0).await;
        let sealed = Arc::clone(&own.catalog.state().nodes[other.node()]);
        assert!(!own.lives.has_ended(&sealed), "its heartbeat stands still, and that is all");
        own.catalog.by(&Asked::default()).remove_node(other.node(), epoch).await.unwrap();
        look(0).await;
        use Condition::{Joining, Lost, Removed, Running, Stopped, Stopping};
        assert_eq!(seen, [Joining, Running, Running, Stopping, Stopping, Stopping, Lost, Stopped, Removed]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_started_since_is_not_stopped() {
        let store: Store = Arc::new(InMemory::new());
        let meant = join(&store, "n", 1).await;
        let since = join(&store, "n", 2).await;
        let is_stopping = || since.record().unwrap().stopping;
        let refusal = since
            .catalog
            .by(&Asked::default())
            .stop_node(meant.node(), meant.epoch())
            .await
            .expect_err("its epoch is over");
        assert_eq!(refusal.kind(), ErrorKind::Conflict);
        assert!(refusal.to_string().contains("started again") && !is_stopping(), "{refusal}");
        since.catalog.by(&Asked::default()).stop_node(since.node(), since.epoch()).await.unwrap();
        assert!(is_stopping());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_nobody_asks_about_the_others_is_not_asked() {
        let store = crate::bucket::watched::Watched::new();
        let tasks = Tasks::new(Cpu::Here);
        let shared: Store = Arc::clone(&store) as _;
        let _other = join(&shared, "other", 1).await;
        let own = join(&shared, "own", 2).await;
        own.start(&tasks);
        let looks = || store.calls("get", "nodes/other/heartbeat").len();
        own.clock.sleep(Duration::from_secs(600)).await;
        assert_eq!(looks(), 0);
        own.observe(Duration::ZERO).await;
        own.observe(HEARTBEAT_EVERY).await;
        own.clock.sleep(Duration::from_secs(600)).await;
        assert!((12..=13).contains(&looks()), "{}", looks());
    }
}
