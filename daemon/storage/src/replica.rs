//! The rows of every other node that are not in files yet, read from the logs of those nodes: pushed by their processes,
//! else from the store.
//!
//! # Promises
//! - Of every node whose epoch is open the log is read by number, each object once and in order, from where the catalog
//!   says files begin. Its rows go through `apply` into a buffer of their own, and leave it only when the catalog version
//!   of this node says that they are in files: what was shown once is shown from then on.
//! - Whoever asks for the rows gets everything each node acknowledged until `late_max` ago, or an error that names the node and
//!   the reason: an answer may be that much behind a write through another node, but it is never short without a word.
//!   That holds for nodes that came since, too: a catalog that was not read for so long is such an error, unless this node
//!   knows of no other. An object that is damaged, or missing although later ones are there, is an error at once (the missing one within
//!   `BEHIND_EVERY`), until the catalog says that its rows are in files.
//! - After `start` everything that was stored before is here, or asking is such an error.
//! - A row is shown only after the stamps of this node have risen above its own: whoever has read it here and writes it
//!   again through this node wins, whatever the clocks say. Between writers who have not seen each other's rows the
//!   clocks decide.
//! - Memory: rows of all other nodes together take `bytes_max`, beside `AHEAD_MAX` objects of each of the `LOGS_AT_ONCE` logs
//!   that are being read and one pushed object of each node. At the limit nothing is dropped and nothing more is fetched
//!   until snapshots of the others make room; whoever asks meanwhile for rows that are more than `late_max` behind gets the
//!   error.
//! - Push is a hint, the store is the truth. A pushed object is applied when it is the next one of the epoch that is read,
//!   checked by the code that checks stored ones; before a gap, and when the line is quiet or cut, the store is read every
//!   interval. A process is believed that nothing was acknowledged in its epoch until some moment only if the catalog, read
//!   after that moment, still has this epoch as the newest: one that slept or was fenced cannot make this node blind.
//! - Each node is followed by a task of its own: one whose log is slow to read does not hold up the others.
//! - Cost: for each open node one GET each interval, or each `PUSHED_EVERY` while its process pushes; a fourth of either when it
//!   wrote nothing for `IDLE_AFTER`. One more GET for each object that was not pushed, and one listing for each
//!   `BEHIND_EVERY` in which nothing is pushed.
//!
//! # Not here
//! - The network: `Wire` is handed in.
//! - The rows of a dead node as files: whoever takes over its log writes them.
//!
//! # Why
//! An absent object is the end of a log, or was deleted because its rows are in files. Only the catalog tells which, if it
//! is read after the absence was seen. So the end of a log counts as seen when the absence came first, then a whole look
//! at the catalog, and the catalog still does not say that the object is in files.
//!
//! The same holds for an answer to a ping. Objects stored without an answer yet may be missing in it: they are not
//! acknowledged, and come when they are.

mod follow;
mod link;
mod metrics;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use link::{Line, Wire, WireError};
pub use metrics::Metrics;

use crate::bucket::Bucket;
use crate::buffer::{Buffer, Chunk};
use crate::catalog::{Catalog, State};
use crate::clock::Clock;
use crate::knob::Knob;
use crate::model::{ErrorKind, NodeId, Position, Stamp, TableId};
use crate::tasks::Tasks;
use crate::wal::StampFloor;
use follow::Follower;

/// How far the rows of another node may be behind what it has stored, besides a few intervals.
pub const LATE_MAX: Duration = Duration::from_secs(30);

/// A log in which nothing came for so long is read less often,
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// namely so many times.
const IDLE_TIMES: u32 = 4;

/// How often the log is read in the store while the process that writes it pushes; less often when that is idle, as above.
/// Nothing hangs on it: a line says by itself that it has brought everything.
const PUSHED_EVERY: Duration = Duration::from_secs(120);

/// How soon at the latest the log is read in the store when somebody waits for it.
const WANTED_WITHIN: Duration = Duration::from_millis(500);

/// How often it is checked that nothing stands behind the end of a log.
const BEHIND_EVERY: Duration = Duration::from_secs(60);

/// Objects of one log fetched at the same time while there are many.
const AHEAD_MAX: u64 = 8;

/// Objects of one log taken before the others have their turn.
const OBJECTS_PER_TURN: u64 = 64;

/// Logs that are read at the same time.
const LOGS_AT_ONCE: usize = 16;

#[derive(Debug, Clone)]
pub struct Config {
    /// How often the logs of the other nodes are read.
    pub interval: Duration,
    /// Memory for rows of all other nodes.
    pub bytes_max: Knob<usize>,
    /// How long a start waits until the others' rows are read. After that it goes on, and asking is an error.
    pub start_within: Duration,
}

/// What `Replica::start` needs besides its config.
#[derive(Debug, Clone)]
pub struct Parts {
    pub bucket: Bucket,
    pub catalog: Arc<Catalog>,
    pub clock: Clock,
    pub tasks: Tasks,
    /// This node, whose own rows are not read here.
    pub node: NodeId,
    /// The stamps this node gives.
    pub stamps: StampFloor,
    /// How other nodes are reached; `None` reads the store only.
    pub wire: Option<Arc<dyn Wire>>,
    pub metrics: Metrics,
}

/// The rows of the other nodes, as far as they were read.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    catalog: Arc<Catalog>,
    stamps: StampFloor,
    /// This node, which has no peer here.
    own: NodeId,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    /// Whoever is not among the peers had nothing outside files then.
    admitted_at: Mutex<Option<Instant>>,
    /// Counts what was read and what became known to be read.
    changes: watch::Sender<u64>,
    turns: Semaphore,
}

/// Rows of another node that must be shown and cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Stored bytes are lost. It ends when the node that wrote them has its rows in files.
    #[error("node {node} has rows that are not in files and cannot be read: {reason}")]
    Damaged { node: NodeId, reason: String },
    /// Ask again later.
    #[error("the catalog was last read {ago:?} ago, other nodes may have stored rows since")]
    Blind { ago: Duration },
    /// Ask again later.
    #[error("the newest rows of node {node} could not be read yet: {reason}")]
    Late { node: NodeId, reason: String },
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Blind { .. } | Self::Late { .. } => ErrorKind::Unavailable,
        }
    }
}

/// The buffered rows of one node, by table.
pub type Chunks = BTreeMap<TableId, Vec<Arc<Chunk>>>;

/// Another node whose epoch is open.
#[derive(Debug)]
struct Peer {
    node: NodeId,
    buffer: Arc<Buffer>,
    status: Mutex<Status>,
    /// Somebody waits for what is not here yet.
    wanted: Notify,
    /// Whether its log was read once, as far as it goes or as long as a turn is.
    was_read: AtomicBool,
}

/// How the log of another node is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    pub node: NodeId,
    /// The newest object whose rows are here, or were.
    pub applied: Position,
    /// That are not in files, or were not a moment ago.
    pub rows: u64,
    pub bytes: usize,
    /// Since all that the node had stored was here; `None` while that is not known of any moment.
    pub lag: Option<Duration>,
    /// Why its log is not read on.
    pub trouble: Option<Trouble>,
}

/// How well the rows of a node are known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Status {
    /// What the node had stored then is here. `None` while that is not known of any moment.
    current_at: Option<Instant>,
    trouble: Option<Trouble>,
}

/// Why a log is not read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Bytes are lost. It ends when the node that wrote them has its rows in files.
    Damaged(String),
    /// Memory for rows of other nodes is full. It ends when some of these have their rows in files.
    Full(String),
    /// It may pass.
    Waits(String),
}

impl Trouble {
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Damaged(reason) | Self::Full(reason) | Self::Waits(reason) => reason,
        }
    }
}

impl Replica {
    /// Begins to follow the other nodes, and waits until what they have stored so far is here.
    pub async fn start(config: Config, parts: Parts) -> Arc<Self> {
        let (tasks, start_within) = (parts.tasks.clone(), config.start_within);
        let (catalog, stamps, metrics) = (Arc::clone(&parts.catalog), parts.stamps.clone(), parts.metrics.clone());
        let replica = Self {
            config,
            catalog,
            stamps,
            own: parts.node.clone(),
            peers: Mutex::default(),
            admitted_at: Mutex::default(),
            changes: watch::Sender::new(0),
            turns: Semaphore::new(LOGS_AT_ONCE),
        };
        let replica = Arc::new(replica);
        metrics.watch(&replica);
        let mut changes = replica.changes.subscribe();
        tasks.start("replica", Task::new(Arc::clone(&replica), parts).run());
        let is_read = changes.wait_for(|_| replica.was_read() && replica.lacking().is_none());
        let waited = tokio::time::timeout(start_within, is_read).await.is_ok();
        if !waited && let Some(error) = replica.lacking() {
            tracing::warn!(%error, "started without rows of another node, queries fail until they are read");
        }
        replica
    }

    /// What every other node has stored and `state` does not have in files. `None` when the rows fit a newer state
    /// only, which this node knows by now.
    pub fn chunks(&self, state: &State) -> Result<Option<Vec<Chunks>>, Error> {
        // Files show rows of others as well.
        self.stamps.see(state.nodes.values().map(|node| node.persisted_stamp).max().unwrap_or(Stamp::SETTLED));
        let ago = self.catalog.followed_at().elapsed();
        if state.nodes.len() > 1 && ago > self.late_max() {
            return Err(Error::Blind { ago });
        }
        // In this order: what was true of the peers then is true of those that are read next.
        let admitted_at = *self.admitted_at.lock();
        let peers = self.peers.lock().clone();
        self.expect_followed(state, &peers, admitted_at)?;
        let mut all = Vec::with_capacity(peers.len());
        for (id, peer) in peers {
            let Some(node) = state.nodes.get(&id) else { continue };
            if !node.sealed {
                peer.check(self.late_max())?;
            }
            let cut = peer.buffer.cut_at(node.persisted);
            let (mut chunks, dropped) = peer.buffer.all_chunks();
            if cut.max(dropped) > node.persisted {
                return Ok(None);
            }
            chunks.values_mut().for_each(|chunks| chunks.retain(|chunk| !chunk.is_persisted(node.persisted)));
            all.push(chunks);
        }
        Ok(Some(all))
    }

    /// A node that has just opened its log may not be followed yet; it is no secret for longer than rows may be late.
    fn expect_followed(
        &self,
        state: &State,
        peers: &BTreeMap<NodeId, Arc<Peer>>,
        admitted_at: Option<Instant>,
    ) -> Result<(), Error> {
        if admitted_at.is_some_and(|at| at.elapsed() <= self.late_max()) {
            return Ok(());
        }
        let is_missing = |id: &NodeId| *id != self.own && !peers.contains_key(id);
        match state.nodes.iter().find(|(id, node)| !node.sealed && is_missing(id)) {
            Some((id, _)) => Err(Error::Late { node: id.clone(), reason: "its log is not followed yet".into() }),
            None => Ok(()),
        }
    }

    /// What is missing of that which other nodes had stored at a moment, if something may be; it is asked for.
    #[must_use]
    pub fn behind(&self, state: &State, moment: Instant) -> Option<Error> {
        let open = state.nodes.values().filter(|node| node.id != self.own && !node.sealed);
        let peers = self.peers.lock().clone();
        let lacking = |node: &Arc<crate::catalog::Node>| match peers.get(&node.id) {
            None => Some(Error::Late { node: node.id.clone(), reason: "its log is not followed yet".into() }),
            Some(peer) => {
                peer.wanted.notify_one();
                peer.lacks(moment)
            }
        };
        // All of them are asked at once.
        open.filter_map(lacking).collect::<Vec<_>>().into_iter().next()
    }

    /// The stamps this node gives, which are above all it has seen.
    #[must_use]
    pub fn stamps(&self) -> &StampFloor {
        &self.stamps
    }

    /// Memory that the rows of the other nodes take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.peers.lock().values().map(|peer| peer.buffer.bytes().sum()).sum()
    }

    /// What another node stored is shown after so long, or asking is an error.
    #[must_use]
    pub fn late_max(&self) -> Duration {
        LATE_MAX + self.config.interval * IDLE_TIMES
    }

    /// Sees when there is more.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The newest object of a node whose rows are here, or were; `None` for a node that is not followed.
    #[must_use]
    pub fn applied(&self, node: &NodeId) -> Option<Position> {
        self.peers.lock().get(node).map(|peer| peer.buffer.applied())
    }

    /// Has the log of a node read soon: somebody knows that there is more.
    pub fn want(&self, node: &NodeId) {
        if let Some(peer) = self.peers.lock().get(node) {
            peer.wanted.notify_one();
        }
    }

    /// Whether the rows of a node may be shown for what it has stored. A node that is not followed has none outside files.
    pub fn check(&self, node: &NodeId) -> Result<(), Error> {
        let peer = self.peers.lock().get(node).cloned();
        peer.map_or(Ok(()), |peer| peer.check(self.late_max()))
    }

    /// What is known of each node that is followed.
    #[must_use]
    pub fn followed(&self) -> Vec<Followed> {
        let peers = self.peers.lock().clone();
        let followed = peers.into_iter().map(|(node, peer)| {
            let census = peer.buffer.census();
            let Status { current_at, trouble } = peer.status.lock().clone();
            Followed {
                node,
                applied: census.applied,
                rows: census.rows,
                bytes: census.bytes.sum(),
                lag: current_at.map(|at| at.elapsed()),
                trouble,
            }
        });
        followed.collect()
    }

    /// How long ago it was that everything a node had stored was here, for each node that is followed.
    /// `None` while that is not known of any moment.
    #[must_use]
    pub fn lags(&self) -> Vec<(NodeId, Option<Duration>)> {
        let peers = self.peers.lock();
        let lag = |peer: &Peer| peer.status.lock().current_at.map(|at| at.elapsed());
        peers.iter().map(|(id, peer)| (id.clone(), lag(peer))).collect()
    }

    fn was_read(&self) -> bool {
        self.peers.lock().values().all(|peer| peer.was_read.load(Ordering::Relaxed))
    }

    /// What is still to come after a start; an object that is damaged is not.
    fn lacking(&self) -> Option<Error> {
        let is_lacking = |peer: &Arc<Peer>| match peer.check(self.late_max()) {
            Err(error @ Error::Late { .. }) => Some(error),
            Ok(()) | Err(Error::Damaged { .. } | Error::Blind { .. }) => None,
        };
        self.peers.lock().values().find_map(is_lacking)
    }
}

impl Peer {
    /// Why something may be missing that the node had stored at a moment.
    fn lacks(&self, moment: Instant) -> Option<Error> {
        let status = self.status.lock();
        if status.trouble.is_none() && status.current_at.is_some_and(|at| at > moment) {
            return None;
        }
        let node = self.node.clone();
        Some(match &status.trouble {
            Some(Trouble::Damaged(reason)) => Error::Damaged { node, reason: reason.clone() },
            Some(Trouble::Full(reason) | Trouble::Waits(reason)) => Error::Late { node, reason: reason.clone() },
            None => Error::Late { node, reason: "the end of its log was not seen yet".into() },
        })
    }

    /// Whether its rows may be shown for what the node has stored.
    fn check(&self, late_max: Duration) -> Result<(), Error> {
        let status = self.status.lock();
        let node = self.node.clone();
        match (&status.trouble, status.current_at) {
            (Some(Trouble::Damaged(reason)), _) => Err(Error::Damaged { node, reason: reason.clone() }),
            (_, Some(at)) if at.elapsed() <= late_max => Ok(()),
            (Some(Trouble::Full(reason) | Trouble::Waits(reason)), _) => {
                Err(Error::Late { node, reason: reason.clone() })
            }
            (None, Some(at)) => {
                let reason = format!("the end of its log was last seen {:?} ago", at.elapsed());
                Err(Error::Late { node, reason })
            }
            (None, None) => Err(Error::Late { node, reason: "its log is being read for the first time".into() }),
        }
    }
}

/// Starts a follower for each node that is open, and ends it with the node's epoch.
struct Task {
    replica: Arc<Replica>,
    parts: Parts,
    /// Dropping the guard ends the follower.
    followed: BTreeMap<NodeId, (Arc<Peer>, DropGuard)>,
    /// Whoever is not followed had nothing outside files then. `None` before the first look.
    closed_at: Option<Instant>,
}

impl Task {
    /// With the nodes that are open now: of those it must be known what they have stored.
    fn new(replica: Arc<Replica>, parts: Parts) -> Self {
        let mut task = Self { replica, parts, followed: BTreeMap::new(), closed_at: None };
        task.admit();
        task
    }

    async fn run(mut self) {
        let stopping = self.parts.tasks.stopping();
        let mut states = self.parts.catalog.watch();
        loop {
            tokio::select! {
                biased;
                // All are flags or timers; nothing is lost when one is dropped.
                () = stopping.cancelled() => return,
                changed = states.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = self.parts.clock.sleep(self.replica.config.interval) => {}
            }
            self.admit();
        }
    }

    /// Follows the nodes that are open, and forgets those that are not: all they wrote is in files.
    fn admit(&mut self) {
        // In this order: the state holds every entry of that moment.
        let followed_at = self.parts.catalog.followed_at();
        let state = self.parts.catalog.state();
        let open = |id: &NodeId| *id != self.parts.node && state.nodes.get(id).is_some_and(|node| !node.sealed);
        self.followed.retain(|id, _| open(id));
        for (id, node) in state.nodes.iter().filter(|(id, _)| open(id)) {
            if !self.followed.contains_key(id) {
                let follower = Follower::new(node, &self.parts, self.closed_at);
                let (peer, gone) = (follower.peer(), CancellationToken::new());
                let task = follower.run(Arc::clone(&self.replica), self.parts.clone(), gone.clone());
                self.parts.tasks.start("replica of a node", task);
                self.followed.insert(id.clone(), (peer, gone.drop_guard()));
            }
        }
        self.closed_at = Some(followed_at);
        let peers = self.followed.iter().map(|(id, (peer, _))| (id.clone(), Arc::clone(peer)));
        *self.replica.peers.lock() = peers.collect();
        *self.replica.admitted_at.lock() = Some(followed_at);
        self.replica.changes.send_modify(|changes| *changes += 1);
    }
}
