//! The rows of every other node that are not in files yet, read from the logs of those nodes in the store.
//!
//! # Promises
//! - Of every node whose epoch is open the log is read by number, each object once and in order, from where the catalog
//!   says files begin. Its rows go through `apply` into a buffer of their own, and leave it only when the catalog version
//!   of this node says that they are in files: what was shown once is shown from then on.
//! - Whoever asks for the rows gets everything each node stored until `late_max` ago, or an error that names the node and
//!   the reason: an answer may be that much behind a write through another node, but it is never short without a word.
//!   That holds for nodes that came since, too: a catalog that was not read for so long is such an error, unless this node
//!   knows of no other. An object that is damaged, or missing although later ones are there, is an error at once (the missing one within
//!   `BEHIND_EVERY`), until the catalog says that its rows are in files.
//! - After `start` everything that was stored before is here, or asking is such an error.
//! - A row is shown only after the stamps of this node have risen above its own: whoever has read it here and writes it
//!   again through this node wins, whatever the clocks say. Between writers who have not seen each other's rows the
//!   clocks decide.
//! - Memory: rows of all other nodes together take `bytes_max`, and what `AHEAD_MAX` objects hold beside. At the limit
//!   nothing is dropped and nothing more is fetched until snapshots of the others make room; whoever asks meanwhile for
//!   rows that are more than `late_max` behind gets the error.
//! - Cost: one GET for each open node and interval, a fourth of that for a node that wrote nothing for `IDLE_AFTER`, one
//!   more GET for each object there is, and one listing for each node and `BEHIND_EVERY`.
//!
//! # Not here
//! - Hints of other nodes that there is something new: they would only make it faster.
//! - The rows of a dead node as files: whoever takes over its log writes them.
//!
//! # Why
//! An absent object is the end of a log, or was deleted because its rows are in files. Only the catalog tells which, if it
//! is read after the absence was seen. So the end of a log counts as seen when the absence came first, then a whole look
//! at the catalog, and the catalog still does not say that the object is in files.

mod follow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bucket::Bucket;
use crate::buffer::{Buffer, Chunk};
use crate::catalog::{Catalog, State};
use crate::clock::Clock;
use crate::model::{ErrorKind, NodeId, Stamp, TableId};
use crate::tasks::Tasks;
use crate::wal::StampFloor;
use follow::Follower;

/// How far the rows of another node may be behind what it has stored, besides a few intervals.
pub const LATE_MAX: Duration = Duration::from_secs(30);

/// A log in which nothing came for so long is read less often,
const IDLE_AFTER: Duration = Duration::from_secs(60);

/// namely so many times.
const IDLE_TIMES: u32 = 4;

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
    pub bytes_max: usize,
    /// How long a start waits until the others' rows are read. After that it goes on, and asking is an error.
    pub start_within: Duration,
}

/// What `Replica::start` needs besides its config.
#[derive(Debug)]
pub struct Parts {
    pub bucket: Bucket,
    pub catalog: Arc<Catalog>,
    pub clock: Clock,
    pub tasks: Tasks,
    /// This node, whose own rows are not read here.
    pub node: NodeId,
    /// The stamps this node gives.
    pub stamps: StampFloor,
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
    /// Counts rounds over the logs.
    rounds: watch::Sender<u64>,
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
}

/// How well the rows of a node are known.
#[derive(Debug)]
struct Status {
    /// What the node had stored then is here. `None` while that is not known of any moment.
    current_at: Option<Instant>,
    trouble: Option<Trouble>,
}

/// Why a log is not read on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// Bytes are lost.
    Damaged(String),
    /// It may pass.
    Waits(String),
}

impl Replica {
    /// Begins to follow the other nodes, and waits until what they have stored so far is here.
    pub async fn start(config: Config, parts: Parts) -> Arc<Self> {
        let (tasks, start_within) = (parts.tasks.clone(), config.start_within);
        let (catalog, stamps) = (Arc::clone(&parts.catalog), parts.stamps.clone());
        let replica = Self {
            config,
            catalog,
            stamps,
            own: parts.node.clone(),
            peers: Mutex::default(),
            admitted_at: Mutex::default(),
            rounds: watch::Sender::new(0),
        };
        let replica = Arc::new(replica);
        let mut rounds = replica.rounds.subscribe();
        tasks.start("replica", Task::new(Arc::clone(&replica), parts).run());
        let is_read = rounds.wait_for(|rounds| *rounds > 0 && replica.lacking().is_none());
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
    /// Whether its rows may be shown for what the node has stored.
    fn check(&self, late_max: Duration) -> Result<(), Error> {
        let status = self.status.lock();
        let node = self.node.clone();
        match (&status.trouble, status.current_at) {
            (Some(Trouble::Damaged(reason)), _) => Err(Error::Damaged { node, reason: reason.clone() }),
            (_, Some(at)) if at.elapsed() <= late_max => Ok(()),
            (Some(Trouble::Waits(reason)), _) => Err(Error::Late { node, reason: reason.clone() }),
            (None, Some(at)) => {
                let reason = format!("the end of its log was last seen {:?} ago", at.elapsed());
                Err(Error::Late { node, reason })
            }
            (None, None) => Err(Error::Late { node, reason: "its log is being read for the first time".into() }),
        }
    }
}

/// Goes over the logs, round after round.
struct Task {
    replica: Arc<Replica>,
    parts: Parts,
    followers: BTreeMap<NodeId, Follower>,
    /// Whoever is not followed had nothing outside files then. `None` before the first look.
    closed_at: Option<Instant>,
}

impl Task {
    /// With the nodes that are open now: of those it must be known what they have stored.
    fn new(replica: Arc<Replica>, parts: Parts) -> Self {
        let mut task = Self { replica, parts, followers: BTreeMap::new(), closed_at: None };
        task.admit();
        task
    }

    async fn run(mut self) {
        let stopping = self.parts.tasks.stopping();
        loop {
            tokio::select! {
                biased;
                // A round that is dropped leaves what it read; nothing is read after it.
                () = stopping.cancelled() => return,
                () = self.round() => {}
            }
        }
    }

    async fn round(&mut self) {
        self.admit();
        self.followers.values_mut().for_each(|follower| follower.settle(&self.parts.catalog));
        let now = self.parts.clock.instant();
        let mut turns: Vec<BoxFuture<'_, ()>> = Vec::new();
        for follower in self.followers.values_mut() {
            if follower.due <= now {
                turns.push(follower.turn(&self.replica, &self.parts).boxed());
            }
        }
        stream::iter(turns).buffer_unordered(LOGS_AT_ONCE).collect::<()>().await;
        if self.followers.values().any(Follower::waits_for_catalog) {
            // Nobody should wait for the next regular look at the catalog to hear that a new follower is at the end.
            match self.parts.catalog.refresh().await {
                Ok(_) => self.followers.values_mut().for_each(|follower| follower.settle(&self.parts.catalog)),
                Err(error) => tracing::debug!(%error, "could not read the catalog"),
            }
        }
        self.replica.rounds.send_modify(|rounds| *rounds += 1);
        let now = self.parts.clock.instant();
        let has_more = self.followers.values().any(|follower| follower.due <= now);
        if !has_more {
            self.parts.clock.sleep(self.replica.config.interval).await;
        }
    }

    /// Follows the nodes that are open, and forgets those that are not: all they wrote is in files.
    fn admit(&mut self) {
        // In this order: the state holds every entry of that moment.
        let followed_at = self.parts.catalog.followed_at();
        let state = self.parts.catalog.state();
        let open = |id: &NodeId| *id != self.parts.node && state.nodes.get(id).is_some_and(|node| !node.sealed);
        self.followers.retain(|id, _| open(id));
        for (id, node) in state.nodes.iter().filter(|(id, _)| open(id)) {
            if !self.followers.contains_key(id) {
                self.followers.insert(id.clone(), Follower::new(node, &self.parts, self.closed_at));
            }
        }
        self.closed_at = Some(followed_at);
        let peers = self.followers.iter().map(|(id, follower)| (id.clone(), follower.peer()));
        *self.replica.peers.lock() = peers.collect();
        *self.replica.admitted_at.lock() = Some(followed_at);
    }
}
