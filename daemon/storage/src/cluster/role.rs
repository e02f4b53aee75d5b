//! Which node compacts: one holds the role, the others that may have it stand by.
//!
//! # Promises
//! - The catalog decides: whoever commits the next term holds the role, until another one does or its own epoch is over.
//!   Heartbeats only suggest when to try.
//! - What the role allows is decided on the newest state, by `expect_ours`, in the entry that does it: a holder that was
//!   paused and has lost the role changes nothing any more, and hears who has it.
//! - A holder that stops in order leaves the role, and a standby has it at its next look at the catalog. One that is dead
//!   or paused loses it within 30 s.
//!
//! # Not here
//! - What the holder does: `adopt`, `compaction` and `sweep`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Gauge, Registry};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Member;
use super::living::{Beats, Living, Look};
use crate::bucket::Bucket;
use crate::catalog::{self, Catalog, Change, Node, State};
use crate::clock::Clock;
use crate::model::{Epoch, ErrorKind, NodeId};
use crate::tasks::Tasks;

/// How long to wait after the catalog or the heartbeats could not be read or written.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Nodes that are held for dead.
#[derive(Debug, Clone)]
pub struct Dead {
    /// Each with its newest epoch then.
    pub nodes: BTreeMap<NodeId, Epoch>,
    /// Later it is not known any more.
    until: Instant,
}

impl Dead {
    /// Nobody is.
    fn none(now: Instant) -> Self {
        Self { nodes: BTreeMap::new(), until: now }
    }

    /// Whether the node still counts as dead, with this epoch.
    fn has(&self, id: &NodeId, epoch: Epoch, now: Instant) -> bool {
        now <= self.until && self.nodes.get(id) == Some(&epoch)
    }
}

/// The role of the compactor, as this process may hold it.
#[derive(Debug, Clone)]
pub struct Role {
    catalog: Arc<Catalog>,
    node: NodeId,
    epoch: Epoch,
    process: u128,
    clock: Clock,
    beats: Beats,
}

/// Another node compacts, or none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node} is not the compactor (any more): {by} is, in term {term}")]
pub struct NotOurs {
    pub node: NodeId,
    pub by: String,
    pub term: u64,
}

impl From<NotOurs> for catalog::Error {
    fn from(lost: NotOurs) -> Self {
        Self::refused(ErrorKind::Fenced, lost.to_string())
    }
}

impl Role {
    #[must_use]
    pub fn of(member: &Member) -> Self {
        let (catalog, node) = (Arc::clone(&member.catalog), member.node().clone());
        let (epoch, process, clock) = (member.epoch, member.process, member.clock.clone());
        Self { catalog, node, epoch, process, clock, beats: member.beats.clone() }
    }

    /// Whether this process may do what only the compactor does, by this state.
    pub fn expect_ours(&self, state: &State) -> Result<(), NotOurs> {
        match state.compactor_node() {
            Some(holder) if holder.id == self.node && holder.epoch == self.epoch => Ok(()),
            Some(holder) => Err(self.not_ours(state, format!("node {}", holder.id))),
            None => Err(self.not_ours(state, "nobody".into())),
        }
    }

    /// Whether this process compacts, as far as this node knows.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.expect_ours(&self.catalog.state()).is_ok()
    }

    /// Opens the next epoch of a node that is held for dead, for this process, if that is still right: this process
    /// compacts, the node has had no other epoch since, and the judgement is fresh. Returns the epoch that is ours; `None` when there is nothing
    /// to be done for the node.
    pub async fn open_epoch_of(&self, id: &NodeId, dead: &Dead) -> Result<Option<Epoch>, catalog::Error> {
        let at_ms = self.catalog.now_ms();
        let decide = |state: &State| {
            let node = state.nodes.get(id).filter(|node| !node.sealed && node.removed_at_ms.is_none());
            let Some(node) = node.filter(|_| self.expect_ours(state).is_ok()) else { return Ok((Vec::new(), None)) };
            if node.process == self.process {
                // Ours since an earlier attempt.
                return Ok((Vec::new(), Some(node.epoch)));
            }
            if !dead.has(id, node.epoch, self.clock.instant()) {
                return Ok((Vec::new(), None));
            }
            let epoch = Epoch(node.epoch.0 + 1);
            let open = Change::OpenEpoch { node: id.clone(), epoch, process: self.process, at_ms };
            Ok((vec![open], Some(epoch)))
        };
        self.catalog.commit(decide).await
    }

    fn not_ours(&self, state: &State, by: String) -> NotOurs {
        NotOurs { node: self.node.clone(), by, term: state.compactor.term }
    }

    /// Takes the role, unless somebody else has it who is not `dead`. An empty entry when it is ours already.
    async fn take(&self, dead: &Dead) -> Result<(), catalog::Error> {
        let decide = |state: &State| {
            let now = self.clock.instant();
            let is_free = |holder: &Arc<Node>| dead.has(&holder.id, holder.epoch, now);
            let term = state.compactor.term + 1;
            let take = Change::TakeCompactor { node: self.node.clone(), epoch: self.epoch, term };
            let take = state.compactor_node().is_none_or(is_free).then_some(take);
            Ok((take.into_iter().collect(), ()))
        };
        self.catalog.commit(decide).await
    }

    async fn leave(&self) -> Result<(), catalog::Error> {
        let decide = |state: &State| {
            let leave = Change::LeaveCompactor { node: self.node.clone(), term: state.compactor.term };
            let leave = self.expect_ours(state).is_ok().then_some(leave);
            Ok((leave.into_iter().collect(), ()))
        };
        self.catalog.commit(decide).await
    }
}

/// Holds the role, or stands by for it.
#[derive(Debug)]
pub struct Standby {
    role: Role,
    living: Living,
    clock: Clock,
    dead: watch::Sender<Dead>,
    is_compactor: Gauge,
    /// Whether this process has said that the role is its own.
    said: bool,
}

impl Standby {
    #[must_use]
    pub fn new(role: Role, (bucket, clock): (Bucket, Clock), registry: &Registry) -> Self {
        let help = "1 while this node is the one that compacts, 0 while it stands by.";
        let is_compactor = registry.gauge("influxdb3_compactor_is_active", help);
        let own = (role.node.clone(), role.process);
        let dead = watch::Sender::new(Dead::none(clock.instant()));
        let living = Living::new((bucket, clock.clone()), role.beats.clone(), own);
        Self { role, living, clock, dead, is_compactor, said: false }
    }

    /// Stands by from now on. Returns the nodes that are held for dead, as they become known while the role is ours.
    #[must_use]
    pub fn start(self, tasks: &Tasks) -> watch::Receiver<Dead> {
        let dead = self.dead.subscribe();
        tasks.start("compactor role", self.run(tasks.clone()));
        dead
    }

    async fn run(mut self, tasks: Tasks) {
        let stopping = tasks.stopping();
        let mut states = self.role.catalog.watch();
        let mut due = self.clock.instant();
        loop {
            let states_before = states.borrow_and_update().compactor.clone();
            self.say();
            let wait = self.step(&mut due).await;
            let changed = async {
                // Other changes are none of its business; the watch ends with the catalog, which outlives this task.
                let _ = states.wait_for(|state| state.compactor != states_before).await;
            };
            tokio::select! {
                biased;
                // Timers, flags and changes; nothing is lost when one is dropped.
                () = stopping.cancelled() => break,
                () = changed => {}
                () = self.clock.sleep(wait) => {}
            }
        }
        if self.role.is_ours()
            && let Err(error) = self.role.leave().await
        {
            tracing::warn!(%error, "could not leave the role of the compactor; others wait until this node is dead");
        }
    }

    /// Looks, and takes the role when it is to be had. Returns how long to wait.
    async fn step(&mut self, due: &mut Instant) -> Duration {
        let state = self.role.catalog.state();
        let holder = state.compactor_node().map(|node| node.id.clone());
        if holder.is_some() && self.clock.instant() < *due {
            return due.saturating_duration_since(self.clock.instant());
        }
        let is_ours = self.role.expect_ours(&state).is_ok();
        // Besides the compactor those whose logs it must put into files when they are dead: whoever takes the role knows
        // of them already.
        let watched = |node: &Node| !node.sealed || Some(&node.id) == holder.as_ref();
        let Look { dead, next, until } = match self.living.look(&state, watched).await {
            Ok(look) => look,
            Err(error) => {
                tracing::warn!(%error, "could not look at the heartbeats of the other nodes");
                self.dead.send_replace(Dead::none(self.clock.instant()));
                return TRY_AGAIN;
            }
        };
        let epoch_of = |id: NodeId| state.nodes.get(&id).map(|node| (id, node.epoch));
        let dead = Dead { nodes: dead.into_iter().filter_map(epoch_of).collect(), until };
        let may_take = !is_ours && holder.is_none_or(|holder| dead.nodes.contains_key(&holder));
        if may_take && let Err(error) = self.role.take(&dead).await {
            tracing::warn!(%error, "could not take the role of the compactor, trying again");
            return TRY_AGAIN;
        }
        *due = self.clock.instant() + next;
        // Only the compactor does something for the dead.
        self.dead.send_replace(if self.role.is_ours() { dead } else { Dead::none(until) });
        if may_take { Duration::ZERO } else { next }
    }

    /// Says once when the role comes and goes.
    fn say(&mut self) {
        let ours = self.role.expect_ours(&self.role.catalog.state());
        self.is_compactor.set(f64::from(u8::from(ours.is_ok())));
        match ours {
            Ok(()) if !self.said => tracing::info!(node = %self.role.node, "this node is the compactor now"),
            Err(not_ours) if self.said => tracing::warn!(%not_ours, "this node has lost the role of the compactor"),
            Ok(()) | Err(_) => return,
        }
        self.said = !self.said;
    }
}
