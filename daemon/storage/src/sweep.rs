//! The only room that deletes.
//!
//! # Promises
//! - A data file goes only after it left the catalog, after the waiting time, and after no view of any living node reads
//!   it: those of this node say so themselves, the others by their heartbeats. A node that stood still for so long that
//!   it counts as dead may find a file gone; it says so, and its answer is an error.
//! - A WAL object goes only behind the persisted position; the last object of an epoch, which may be its fence, never.
//!   Each node sweeps its own log, and the compactor those of sealed nodes, whose processes may be gone.
//!   Whoever follows the log from another node and comes late finds in the catalog that the rows are in files.
//! - Catalog entries, checkpoints and their parts go only at or below the mark, which is raised first, and not before
//!   an entry above it is `catalog_kept` old. What carries a number above the mark stays.
//! - What goes because of its age (files beyond retention, what was dropped for good, files that nobody names) goes only
//!   while the time of day is trusted: it ran evenly for an hour, or for a day when it began a month beyond all that the
//!   catalog knows. So a clock that is wrong at a start, or jumps, and is mended within the hour costs nothing. How that
//!   is told, and what it cannot tell, see `trust`.
//! - A data file that no state names goes only after an entry raised the floor of file ids above it: from there on no
//!   entry can name it, however long its writer slept, whatever anybody's clock says. Clocks only tell when that is worth
//!   an entry: when the file is `orphan_age` old, and the process as well. When these files are many, and a large part of
//!   all there are, it is rather the catalog that is not the right one: then none goes, and an operator is asked.
//! - A store in which nothing changes is not asked: rounds without work cost no request.
//! - In doubt an object stays: what leaks can be found later, what is deleted cannot.
//!
//! # Not here
//! - What is not ours: a key of another form stays.

mod retention;
mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::bucket::{self, Bucket, Key, keys};
use crate::catalog::{self, Catalog, Change, Node, Pins, State};
use crate::clock::Clock;
use crate::cluster::{InUse, Role};
use crate::model::{Epoch, ErrorKind, FileId, NodeId, Position};
use crate::tasks::{About, JobKind, Tasks};
use retention::Plan;
use trust::Trust;

/// So many data files may be unknown to the catalog whatever their part: as many as snapshots and compactions that
/// died leave behind.
const ORPHANS_FEW: usize = 100;

/// Beyond that one of so many: more means that the catalog is older than the files.
const ORPHANS_ONE_IN: usize = 10;

#[derive(Debug, Clone)]
pub struct Config {
    pub every: Duration,
    /// How long a file stays after it left the catalog.
    pub file_wait: Duration,
    /// WAL objects kept behind the persisted position.
    pub wal_objects_kept: u64,
    /// How often files beyond their retention are looked for.
    pub retention_every: Duration,
    /// Entries of the catalog log are kept at least this long; a day, so that whoever is slow need not begin again.
    pub catalog_kept: Duration,
    /// How often objects that nobody needs any more are looked for.
    pub garbage_every: Duration,
    /// A data file or probe that nobody names is left alone for so long, by its own age and by that of the process;
    /// looking for them lists every data file, so it is done four times within that time. A day, so that no snapshot
    /// that is merely slow is written twice.
    pub orphan_age: Duration,
    /// The time of day may have something deleted once it ran evenly for so long.
    pub clock_trusted_after: Duration,
}

#[derive(Debug)]
pub struct Sweep {
    pub config: Config,
    pub bucket: Bucket,
    pub catalog: Arc<Catalog>,
    pub clock: Clock,
    pub node: NodeId,
    pub pins: Arc<Pins>,
    /// What the queries of other nodes read.
    pub others: InUse,
    pub role: Role,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Catalog(#[from] catalog::Error),
    #[error("{0}")]
    Bucket(#[from] bucket::Error),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Catalog(error) => error.kind(),
            Self::Bucket(error) => error.kind(),
        }
    }
}

impl Sweep {
    pub fn start(self, tasks: &Tasks) {
        // Before this process has put a time of its own into the catalog.
        let trust = Trust::new(self.clock.clone(), self.config.clock_trusted_after, &self.catalog.state());
        tasks.start("sweep", self.run(tasks.clone(), trust));
    }

    async fn run(mut self, tasks: Tasks, mut trust: Trust) {
        let stopping = tasks.stopping();
        let mut retention_due = self.clock.instant();
        let mut garbage_due = self.clock.instant();
        let mut orphans_due = self.clock.instant() + self.config.orphan_age;
        let mut swept = Swept::default();
        loop {
            tokio::select! {
                biased;
                // Both are timers or flags; nothing is lost when one is dropped.
                () = stopping.cancelled() => return,
                () = self.clock.sleep(self.config.every) => {}
            }
            let _job = tasks.jobs().begin(JobKind::Sweep, About::default(), self.clock.now_ns());
            let trusted_ms = trust.look();
            if let Some(now_ms) = trusted_ms.filter(|_| self.clock.instant() >= retention_due) {
                retention_due = self.clock.instant() + self.config.retention_every;
                warn_of("expire", self.expire(&tasks, now_ms).await);
            }
            warn_of("sweep", self.sweep(&mut swept).await);
            if self.clock.instant() >= garbage_due {
                garbage_due = self.clock.instant() + self.config.garbage_every;
                warn_of("sweep of the catalog log", self.sweep_catalog().await);
            }
            if let Some(now_ms) = trusted_ms.filter(|_| self.clock.instant() >= orphans_due) {
                orphans_due = self.clock.instant() + self.config.orphan_age / 4;
                warn_of("sweep of orphans", self.sweep_orphans(&tasks, now_ms).await);
            }
        }
    }

    /// Deletes what left the state since the last round.
    async fn sweep(&mut self, swept: &mut Swept) -> Result<(), Error> {
        self.sweep_wal(swept).await?;
        self.sweep_files().await
    }

    /// Takes files out of the catalog whose rows are all beyond retention, and those of tables dropped for good.
    async fn expire(&self, tasks: &Tasks, now_ms: u64) -> Result<(), Error> {
        let state = self.catalog.state();
        // Millions of files are more than an I/O thread should walk through, and nobody else could commit meanwhile.
        let plan = tasks.cpu(move || Plan::new(&state, now_ms)).await;
        if plan.is_empty() {
            return Ok(());
        }
        Ok(self.catalog.commit(|state| Ok((plan.changes(state), ()))).await?)
    }

    async fn sweep_wal(&self, swept: &mut Swept) -> Result<(), Error> {
        let state = self.catalog.state();
        let is_compactor = self.role.expect_ours(&state).is_ok();
        swept.wal.retain(|id, _| state.nodes.contains_key(id));
        for node in state.nodes.values() {
            if node.id == self.node || (is_compactor && node.sealed) {
                self.sweep_wal_of(node, swept).await?;
            }
        }
        Ok(())
    }

    async fn sweep_wal_of(&self, node: &Node, swept: &mut Swept) -> Result<(), Error> {
        let now = (node.epoch, node.persisted);
        if swept.wal.get(&node.id) == Some(&now) {
            return Ok(());
        }
        let listed = self.bucket.list(&self.bucket.keys().wal(&node.id), None).await?;
        let numbered: Vec<(Key, Epoch, Position)> = listed
            .into_iter()
            .filter_map(|key| keys::wal_number_of(&key).map(|(epoch, position)| (key, epoch, position)))
            .collect();
        let mut last_of: BTreeMap<Epoch, Position> = BTreeMap::new();
        for (_, epoch, position) in &numbered {
            let last = last_of.entry(*epoch).or_default();
            *last = (*last).max(*position);
        }
        let kept_above = Position(node.persisted.0.saturating_sub(self.config.wal_objects_kept));
        let may_go = |epoch: &Epoch, position: &Position| *position <= kept_above && last_of[epoch] != *position;
        let gone: Vec<Key> =
            numbered.into_iter().filter(|(_, epoch, position)| may_go(epoch, position)).map(|(key, ..)| key).collect();
        let count = gone.len();
        if self.bucket.delete(gone).await.len() == count {
            swept.wal.insert(node.id.clone(), now);
        }
        Ok(())
    }

    async fn sweep_files(&mut self) -> Result<(), Error> {
        let state = self.catalog.state();
        let wait_ms = u64::try_from(self.config.file_wait.as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.clock.now_ms();
        let oldest = self.pins.oldest().unwrap_or(u64::MAX);
        // A view of version v reads what was removed by entry v+1 or later.
        let gone: Vec<_> = state
            .removed
            .iter()
            .filter(|(_, r)| r.at_ms.saturating_add(wait_ms) <= now_ms && r.version <= oldest)
            .map(|(id, removed)| (*id, Arc::clone(removed)))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let others = self.others.oldest(&state).await?;
        let gone = gone.into_iter().filter(|(_, removed)| removed.version <= others);
        let gone: Vec<_> = gone.map(|(id, removed)| (id, Key::from(&*removed.path))).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let deleted = self.bucket.delete(gone.iter().map(|(_, path)| path.clone()).collect()).await;
        // One that cannot be deleted is tried again; the others are forgotten without it.
        let ids: Vec<FileId> = gone.into_iter().filter(|(_, path)| deleted.contains(path)).map(|(id, _)| id).collect();
        let decide = |state: &State| {
            let files: Vec<_> = ids.iter().filter(|id| state.removed.contains_key(id)).copied().collect();
            let changes = if files.is_empty() { Vec::new() } else { vec![Change::ForgetFiles { files }] };
            Ok((changes, ()))
        };
        Ok(self.catalog.commit(decide).await?)
    }

    /// Deletes what the mark has passed: log entries, checkpoints, their parts, and old marks.
    async fn sweep_catalog(&self) -> Result<(), Error> {
        let mark = self.catalog.raise_mark(self.config.catalog_kept).await?;
        let keys = self.bucket.keys();
        let mut gone: Vec<Key> =
            self.catalog.old_marks().await?.into_iter().map(|old| keys.catalog_mark(old)).collect();
        for (prefix, number_of) in [
            (keys.catalog_log(), keys::number_of as fn(&Key) -> Option<u64>),
            (keys.catalog_checkpoints(), keys::number_of),
            (keys.catalog_parts(), |key| keys::part_number_of(key.filename()?)),
        ] {
            let listed = self.bucket.list(&prefix, None).await?;
            gone.extend(listed.into_iter().filter(|key| number_of(key).is_some_and(|number| number <= mark)));
        }
        self.bucket.delete(gone).await;
        Ok(())
    }

    /// Deletes data files that no entry named and none can name any more, and probes of starts that died.
    async fn sweep_orphans(&self, tasks: &Tasks, now_ms: u64) -> Result<(), Error> {
        let age_ms = u64::try_from(self.config.orphan_age.as_millis()).unwrap_or(u64::MAX);
        let floor = FileId::first_of(now_ms.saturating_sub(age_ms));
        let probes = self.bucket.list(&self.bucket.keys().probes(), None).await?;
        // A start that is still at its probe is refused when it goes, and tried again by whoever wanted it.
        let old = |key: &Key| keys::id_of(key).is_some_and(|id| id < floor);
        self.bucket.delete(probes.into_iter().filter(old).collect()).await;

        let listed = self.bucket.list(&self.bucket.keys().data(), None).await?;
        let listed_count = listed.len();
        let with_id = move |key: Key| keys::id_of(&key).filter(|id| *id < floor).map(|id| (id, key));
        let state = self.catalog.refresh().await?;
        // Millions of files are more than an I/O thread should walk through.
        let orphans = tasks.cpu(move || unnamed(listed.into_iter().filter_map(with_id).collect(), &state)).await;
        let Some((newest, example)) = orphans.last_key_value() else { return Ok(()) };
        if orphans.len() > ORPHANS_FEW.max(listed_count / ORPHANS_ONE_IN) {
            tracing::error!(
                unknown = orphans.len(), of = listed_count, %example,
                "the catalog knows nothing of a large part of the data files, so none of them is deleted; if catalog/ was \
                 restored from an older copy, stop all nodes and restore the newest one; if these files are nobody's, \
                 delete them by hand"
            );
            return Ok(());
        }
        let decide = |state: &State| {
            let raise = (*newest >= state.file_floor).then_some(Change::RaiseFileFloor { floor });
            Ok((raise.into_iter().collect(), ()))
        };
        self.catalog.commit(decide).await?;
        // Looked at again after the entry: until it was made, somebody may have named one of them.
        let state = self.catalog.state();
        let gone = tasks.cpu(move || unnamed(orphans, &state)).await;
        for key in gone.values() {
            tracing::info!(%key, "deleting a data file that no entry names");
        }
        self.bucket.delete(gone.into_values().collect()).await;
        Ok(())
    }
}

/// Those of the files that `state` does not name, live or removed.
fn unnamed(mut files: BTreeMap<FileId, Key>, state: &State) -> BTreeMap<FileId, Key> {
    let live = state.tables.values().flat_map(|table| table.files.keys());
    for id in live.chain(state.removed.keys()) {
        files.remove(id);
    }
    files
}

/// What the rounds before have done, so that a round without work asks the store nothing.
#[derive(Debug, Default)]
struct Swept {
    /// Of each log the epoch and persisted position up to which its objects are gone.
    wal: BTreeMap<NodeId, (Epoch, Position)>,
}

fn warn_of(what: &'static str, result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what} failed, the next one tries again");
    }
}
