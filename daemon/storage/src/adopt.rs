//! The log of a node whose own process does not write it: all its rows become files, and the node is sealed.
//!
//! # Promises
//! - Afterwards nobody can append to the log, every row that was ever acknowledged by the node is in files, and nothing
//!   of the node is outside them: it need not come back.
//! - In this order: the fence, the rows, the files, their entries, the seal. Whoever dies in between leaves a node that
//!   is not sealed, and the next who opens its epoch goes on with what is not in files yet.
//! - Only while this process has the node's newest epoch. Another process that opens the next one, its own restarted or
//!   another adopter, wins: then `Error::Fenced` says who it is, and nothing more is changed.
//! - An object that is damaged or missing is an error that names it, and nothing is sealed; what stands before it may be
//!   in files by then. Only `OnDamage::Skip` leaves it out.
//! - A node that the compactor holds for dead is sealed within a minute of its death, if its log can be read; what cannot
//!   be done is said, and tried again later, less and less often.
//! - Memory: the rows of a log are put into files in parts of `part_bytes_max`, cut by position.
//!
//! # Not here
//! - Who is dead, and who compacts: `cluster`.
//! - An operator's word that damage may be left out: it counts for a node's own log only. A process that is started with
//!   the id of the node and that word goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::apply::Apply;
use crate::bucket::Bucket;
use crate::buffer::Buffer;
use crate::catalog::{self, Catalog};
use crate::clock::Clock;
use crate::cluster::{Dead, Role};
use crate::model::{Epoch, ErrorKind, NodeId};
use crate::snapshot::{self, Persister, Summary};
use crate::tasks::{About, JobKind, Tasks};
use crate::wal::{self, Ended, OnDamage};

/// A log that could not be put into files is left alone for so long, then for twice as long, up to `WAIT_MAX`: it may be
/// damaged, and somebody may mend it.
const WAIT_MIN: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The same when the store gave no answer.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What it takes to put the log of a node into files.
#[derive(Debug, Clone)]
pub struct Adopter {
    pub bucket: Bucket,
    pub catalog: Arc<Catalog>,
    pub clock: Clock,
    pub tasks: Tasks,
    /// Width of the smallest window.
    pub gen1: Duration,
    /// Bytes of rows that are held in memory before they become files.
    pub part_bytes_max: usize,
}

/// Nodes whose logs could not be put into files: until when they are left alone, and for how long that was.
type Troubled = BTreeMap<NodeId, (Instant, Duration)>;

/// What was found in the log besides what was in files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Adopted {
    pub objects: u64,
    pub rows: u64,
    pub files: usize,
}

/// Why a log is not in files. Nothing is lost, and nothing is sealed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object is damaged or missing, or the store gave no answer.
    #[error("read the log of node {node}: {source}")]
    Wal { node: NodeId, source: wal::Error },
    /// Another process has the node's epoch, or the rows could not be written.
    #[error("write the log of node {node} as files: {source}")]
    Files { node: NodeId, source: snapshot::Error },
    #[error("node {node} does not exist")]
    NoNode { node: NodeId },
    #[error("{0}")]
    Catalog(#[from] catalog::Error),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Wal { source, .. } => source.kind(),
            Self::Files { source, .. } => source.kind(),
            Self::NoNode { .. } => ErrorKind::NotFound,
            Self::Catalog(error) => error.kind(),
        }
    }
}

impl Adopter {
    /// Puts everything in the log of `id` into files and seals the node. This process has opened `epoch` of it.
    pub async fn adopt(&self, (id, epoch): (&NodeId, Epoch), on_damage: OnDamage) -> Result<Adopted, Error> {
        let about = About { adopted: Some(id.clone()), ..About::default() };
        let _job = self.tasks.jobs().begin(JobKind::Adoption, about, self.clock.now_ns());
        let state = self.catalog.refresh().await?;
        let node = state.nodes.get(id).ok_or_else(|| Error::NoNode { node: id.clone() })?;
        let files_of = |source| Error::Files { node: id.clone(), source };
        if node.epoch != epoch {
            return Err(files_of(snapshot::Error::Fenced { node: id.clone(), by: state.owner_of(id) }));
        }
        if node.sealed {
            return Ok(Adopted::default());
        }
        let hands = (self.bucket.clone(), self.clock.clone(), self.tasks.clone());
        let ended = match Ended::new(hands, &self.catalog, node, on_damage).await {
            Ok(ended) => ended,
            Err(error) => return Err(self.lost_or((id, epoch), error).await),
        };
        let persister = self.persister(id.clone(), epoch);
        let buffer = Arc::new(Buffer::new(node.persisted, node.persisted_stamp));
        let apply = Apply::new(Arc::clone(&buffer));
        let mut adopted = Adopted::default();
        let mut rows = std::pin::pin!(ended.rows());
        while let Some(committed) = rows.next().await {
            let committed = match committed {
                Ok(committed) => committed,
                Err(error) => return Err(self.lost_or((id, epoch), error).await),
            };
            let next_in = committed.epoch;
            adopted.objects += 1;
            adopted.rows += committed.row_count();
            apply.apply(committed);
            if buffer.bytes().open >= self.part_bytes_max {
                adopted.add(persister.persist(&buffer, next_in).await.map_err(files_of)?);
            }
        }
        buffer.pass(ended.last());
        adopted.add(persister.persist(&buffer, epoch).await.map_err(files_of)?);
        persister.close_epoch().await.map_err(files_of)?;
        Ok(adopted)
    }

    /// What a log that cannot be read means: once another process has adopted it, objects may be swept.
    async fn lost_or(&self, (id, epoch): (&NodeId, Epoch), source: wal::Error) -> Error {
        let node = id.clone();
        match self.catalog.refresh().await {
            Ok(state) if state.nodes.get(id).is_none_or(|known| known.epoch != epoch || known.sealed) => {
                Error::Files { source: snapshot::Error::Fenced { node: node.clone(), by: state.owner_of(id) }, node }
            }
            Ok(_) | Err(_) => Error::Wal { node, source },
        }
    }

    /// Adopts whoever is held for dead, while `role` is ours.
    pub fn start(self, role: Role, dead: watch::Receiver<Dead>) {
        let tasks = self.tasks.clone();
        tasks.start("adopt", self.watch(role, dead));
    }

    async fn watch(self, role: Role, mut dead: watch::Receiver<Dead>) {
        let stopping = self.tasks.stopping();
        let mut troubled = Troubled::new();
        loop {
            tokio::select! {
                biased;
                // A look that is missed is followed by the next one. An adoption that is dropped is gone on with by
                // whoever compacts next.
                () = stopping.cancelled() => return,
                () = async {
                    // It comes with every look, and the last one when the node stops.
                    if dead.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    self.adopt_all(&role, &mut dead, &mut troubled).await;
                } => {}
            }
        }
    }

    /// One round over the nodes that are held for dead.
    async fn adopt_all(&self, role: &Role, dead: &mut watch::Receiver<Dead>, troubled: &mut Troubled) {
        let known: Vec<NodeId> = dead.borrow_and_update().nodes.keys().cloned().collect();
        for node in known {
            if troubled.get(&node).is_some_and(|(until, _)| self.clock.instant() < *until) {
                continue;
            }
            // The newest judgement for each: the work on those before may have taken long.
            let newest = dead.borrow().clone();
            let wait = match self.adopt_dead(role, &node, &newest).await {
                Ok(()) => {
                    troubled.remove(&node);
                    continue;
                }
                Err(ErrorKind::Unavailable) => TRY_AGAIN,
                Err(_) => troubled.get(&node).map_or(WAIT_MIN, |(_, wait)| (2 * *wait).clamp(WAIT_MIN, WAIT_MAX)),
            };
            troubled.insert(node, (self.clock.instant() + wait, wait));
        }
    }

    /// Says what came of it; what is to be tried again is an error.
    async fn adopt_dead(&self, role: &Role, node: &NodeId, dead: &Dead) -> Result<(), ErrorKind> {
        let started = self.clock.instant();
        let adopted = match role.open_epoch_of(node, dead).await {
            Ok(None) => return Ok(()),
            Ok(Some(epoch)) => {
                tracing::warn!(%node, %epoch, "the process of this node counts as dead; its log is put into files");
                self.adopt((node, epoch), OnDamage::Fail).await
            }
            Err(error) => Err(error.into()),
        };
        let Err(error) = adopted.map(|Adopted { objects, rows, files }| {
            let seconds = started.elapsed().as_secs_f64();
            tracing::info!(%node, objects, rows, files, seconds, "the log of a dead node is in files");
        }) else {
            return Ok(());
        };
        match error.kind() {
            ErrorKind::Fenced => {
                tracing::info!(%error, "another process goes on with the log of a node that counted as dead");
                return Ok(());
            }
            ErrorKind::Unavailable => {
                tracing::warn!(%error, "could not put the log of a dead node into files, trying again");
            }
            _ => tracing::error!(%error, "the log of a dead node is not in files, and the node is not sealed"),
        }
        Err(error.kind())
    }

    fn persister(&self, node: NodeId, epoch: Epoch) -> Persister {
        Persister {
            bucket: self.bucket.clone(),
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            node,
            epoch,
            gen1: self.gen1,
        }
    }
}

impl Adopted {
    fn add(&mut self, part: Option<Summary>) {
        self.files += part.map_or(0, |part| part.files);
    }
}
