//! Buffered rows become files and one catalog entry; the log behind them may go.
//!
//! # Promises
//! - The cut is by WAL position, never by row time: after the entry everything up to the position is in files, and
//!   nothing above it.
//! - Files first, each durable, then the one entry that names them all; a crash in between leaves objects nobody names,
//!   and `sweep` deletes them later. A snapshot that was paused in between for so long that its files may be deleted
//!   cannot be committed: the catalog refuses ids below its floor, and the files are written again under new ids.
//! - Files are cut at aligned windows. When rows of one table span many windows, as in a back-fill, the windows are
//!   widened until few files result.
//! - A writer without rows does not hold back the settled stamp: an empty snapshot raises its own.
//!
//! # Not here
//! - Uniting versions of a row beyond what every later row leaves true: that takes the settled stamp, and compaction.

mod floor;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use metrics::{Histogram, Registry};
use tokio::sync::{mpsc, oneshot, watch};

pub use windows::{GEN1_WIDTHS, LEVEL_WIDTHS};

use crate::bucket::Bucket;
use crate::buffer::{Buffer, Bytes, Frozen, Piece, Sorted};
use crate::catalog::{self, Catalog, Change, State, Table};
use crate::clock::Clock;
use crate::files::{self, FileLayout, Stamps, WrittenFile};
use crate::ingest::Flushed;
use crate::merge::{self, Layout, Merged, Settle};
use crate::model::{Epoch, ErrorKind, FileRecord, NodeId, Stamp, TableSchema, TimeRange};
use crate::tasks::Tasks;
use crate::wal::StampFloor;
use floor::Floor;

/// Rows handed to the file writer at a time.
const BATCH_ROWS: usize = 8192;

/// Snapshots that may be asked for at one time.
const REQUESTS_MAX: usize = 64;

#[derive(Debug, Clone)]
pub struct Config {
    /// A snapshot is due at so many bytes of buffered rows,
    pub bytes_max: usize,
    /// or after so many flush intervals with writes,
    pub periods_max: u64,
    /// or when the oldest buffered row has waited so long.
    pub age_max: Duration,
    /// Width of the smallest window.
    pub gen1: Duration,
}

/// What `Snapshot::start` needs besides its config.
#[derive(Debug)]
pub struct Parts {
    pub bucket: Bucket,
    pub catalog: Arc<Catalog>,
    pub buffer: Arc<Buffer>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub node: NodeId,
    pub epoch: Epoch,
    pub stamps: StampFloor,
    pub metrics: Metrics,
}

#[derive(Debug, Clone)]
pub struct Metrics {
    snapshot_seconds: Histogram,
}

impl Metrics {
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let help = "Time to write one snapshot: files and catalog entry.";
        let buckets = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        Self { snapshot_seconds: registry.histogram("influxdb3_snapshot_duration_seconds", help, &buckets) }
    }
}

/// Asks the snapshot task for a snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    requests: mpsc::Sender<oneshot::Sender<()>>,
}

/// Why a snapshot was not made. The rows stay in the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This process lost the node's epoch and must stop.
    #[error("node {node} was taken over by another process before its snapshot was in the catalog")]
    Fenced { node: NodeId },
    #[error("write a file of table {table}: {source}")]
    File { table: Arc<str>, source: files::Error },
    #[error("{0}")]
    Catalog(#[from] catalog::Error),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::File { .. } => ErrorKind::Bug,
            Self::Catalog(error) => error.kind(),
        }
    }
}

impl Snapshot {
    /// Starts the task. It ends after the flusher has: then it writes a last snapshot and closes the epoch.
    #[must_use]
    pub fn start(config: Config, parts: Parts, flushed: watch::Receiver<Flushed>) -> Self {
        Floor::start(&parts);
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let tasks = parts.tasks.clone();
        let task = Task { taken_at: *flushed.borrow(), config, parts };
        tasks.start("snapshot", task.run(flushed, asked));
        Self { requests }
    }

    /// Returns once everything applied before the call is in files; `false` when the node stops before.
    pub async fn take(&self) -> bool {
        let (done, is_done) = oneshot::channel();
        self.requests.send(done).await.is_ok() && is_done.await.is_ok()
    }
}

struct Task {
    config: Config,
    parts: Parts,
    /// How far the log was at the last snapshot.
    taken_at: Flushed,
}

impl Task {
    async fn run(mut self, mut flushed: watch::Receiver<Flushed>, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut oldest = self.parts.clock.instant();
        loop {
            let age = tokio::time::sleep_until(oldest + self.config.age_max);
            let waiting = tokio::select! {
                biased;
                // Each is cancel-safe: a request received is returned at once, a change stays marked unseen.
                Some(request) = asked.recv() => Some(request),
                changed = flushed.changed() => {
                    if changed.is_err() {
                        // The flusher is gone, so nothing can arrive any more.
                        break;
                    }
                    None
                }
                () = age => None,
            };
            let now = *flushed.borrow_and_update();
            let aged = oldest.elapsed() >= self.config.age_max;
            if waiting.is_none() && !aged && !self.is_due(now) {
                continue;
            }
            if !self.take_and_report(now).await {
                return;
            }
            oldest = self.parts.clock.instant();
            if let Some(done) = waiting {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
        let last = *flushed.borrow();
        if !last.is_complete {
            // It died: an object may be stored that was never applied. Only a replay can tell.
            return;
        }
        if self.take_and_report(last).await
            && let Err(error) = self.close_epoch().await
        {
            tracing::warn!(%error, "the epoch was not closed; the next start replays nothing but has to fence it");
        }
    }

    fn is_due(&self, now: Flushed) -> bool {
        // What queries had put in order goes with the rows.
        let Bytes { open, frozen: _, sorted } = self.parts.buffer.bytes();
        open + sorted >= self.config.bytes_max || now.periods - self.taken_at.periods >= self.config.periods_max
    }

    /// `false` when the node must stop.
    async fn take_and_report(&mut self, now: Flushed) -> bool {
        let started = self.parts.clock.instant();
        loop {
            match self.take().await {
                Ok(Some(summary)) => {
                    let seconds = started.elapsed().as_secs_f64();
                    self.parts.metrics.snapshot_seconds.observe(seconds);
                    let Summary { files, rows, bytes } = summary;
                    tracing::info!(files, rows, bytes, seconds, "wrote a snapshot");
                    self.taken_at = now;
                    return true;
                }
                Ok(None) => {
                    self.taken_at = now;
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(%error, "snapshot failed, trying again");
                    self.parts.clock.sleep(self.parts.clock.backoff(6)).await;
                }
                Err(error) => {
                    self.parts.tasks.fail(error.to_string());
                    return false;
                }
            }
        }
    }

    /// `None` when there was nothing to write.
    async fn take(&self) -> Result<Option<Summary>, Error> {
        let Parts { catalog, buffer, node, .. } = &self.parts;
        // An earlier attempt whose answer was lost may be in the catalog: what it persisted is dropped first.
        let record = catalog.refresh().await?.nodes.get(node).cloned();
        let before = record.ok_or_else(|| Error::Fenced { node: node.clone() })?.persisted;
        buffer.drop_through(before);
        let Frozen { through, stamp, tables } = buffer.freeze();
        if before >= through {
            return Ok(None);
        }
        let mut written = Vec::new();
        for (id, pieces) in tables {
            // A table that was dropped for good meanwhile takes its rows with it.
            let Some(table) = catalog.state().table(id).cloned() else { continue };
            self.write_table(&table, pieces, &mut written).await?;
        }
        let epoch = self.parts.epoch;
        let persist = |state: &State| {
            self.expect_ours(state)?;
            // Only our own lost attempt can have moved it; its files hold these rows already.
            if state.nodes.get(node).is_some_and(|n| n.persisted != before) {
                return Err(catalog::Error::Unavailable("the entry of an earlier attempt appeared".into()));
            }
            if written.iter().any(|file| file.id < state.file_floor) {
                let message = "the files were written too long ago, sweep may have deleted them";
                return Err(catalog::Error::Unavailable(message.into()));
            }
            let files = written.clone();
            let change =
                Change::Persist { node: node.clone(), epoch, persisted: through, persisted_epoch: epoch, stamp, files };
            Ok((vec![change], ()))
        };
        catalog.commit(persist).await.map_err(|error| self.fenced_or(error))?;
        buffer.drop_through(through);
        Ok(Some(Summary {
            files: written.len(),
            rows: written.iter().map(|f| f.rows).sum(),
            bytes: written.iter().map(|f| f.size_bytes).sum(),
        }))
    }

    async fn write_table(
        &self,
        table: &Arc<Table>,
        pieces: Vec<Arc<Piece>>,
        written: &mut Vec<Arc<FileRecord>>,
    ) -> Result<(), Error> {
        let Parts { bucket, catalog, .. } = &self.parts;
        let (cut, gen1) = (pieces.clone(), self.config.gen1);
        // Reads the time of every row, which is no work for an I/O thread.
        for window in self.parts.tasks.cpu(move || windows::cut(&cut, gen1)).await {
            let schema = Arc::clone(&table.schema);
            let pieces = pieces.clone();
            let origin = files::Origin::new(catalog, table, self.parts.node.clone(), window);
            let about = About { origin: origin.clone(), range: window.range() };
            let file = self.parts.tasks.cpu(move || encode(pieces, &schema, about)).await;
            let file = file.map_err(|source| Error::File { table: Arc::clone(&table.schema.name), source })?;
            if let Some(file) = file {
                written.push(file.store(bucket, catalog, &origin).await);
            }
        }
        Ok(())
    }

    async fn close_epoch(&self) -> Result<(), catalog::Error> {
        let Parts { catalog, node, epoch, .. } = &self.parts;
        let close = |state: &State| {
            self.expect_ours(state)?;
            Ok((vec![Change::CloseEpoch { node: node.clone(), epoch: *epoch }], ()))
        };
        catalog.commit(close).await
    }

    fn expect_ours(&self, state: &State) -> Result<(), catalog::Error> {
        let ours = state.nodes.get(&self.parts.node).is_some_and(|n| n.epoch == self.parts.epoch);
        let lost = || catalog::Error::refused(ErrorKind::Fenced, format!("node {} was taken over", self.parts.node));
        if ours { Ok(()) } else { Err(lost()) }
    }

    fn fenced_or(&self, error: catalog::Error) -> Error {
        match error.kind() {
            ErrorKind::Fenced => Error::Fenced { node: self.parts.node.clone() },
            _ => Error::Catalog(error),
        }
    }
}

struct Summary {
    files: usize,
    rows: u64,
    bytes: u64,
}

/// What a file says of where it belongs, and which rows it takes.
struct About {
    origin: files::Origin,
    range: TimeRange,
}

/// The rows of one window as a file in memory.
fn encode(pieces: Vec<Arc<Piece>>, schema: &TableSchema, about: About) -> Result<Option<WrittenFile>, files::Error> {
    let sorted = Sorted::new(pieces, schema, about.range);
    let columns = Layout::of(schema);
    let batches = sorted.batches(BATCH_ROWS).map(Ok::<_, merge::Error>);
    // Nothing is settled by a snapshot: only versions that a newer one covers whole are left out.
    let kept = Merged::new(columns.clone(), vec![batches], Settle::UpTo(Stamp::SETTLED))?;
    files::write(FileLayout { columns, origin: about.origin, stamps: Stamps::Any }, kept)
}
