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
mod persist;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use metrics::{Histogram, Registry};
use tokio::sync::{mpsc, oneshot, watch};

pub use persist::{Persister, Summary};
pub use windows::{GEN1_WIDTHS, LEVEL_WIDTHS};

use crate::bucket::Bucket;
use crate::buffer::{Buffer, Bytes};
use crate::catalog::{self, Catalog};
use crate::clock::Clock;
use crate::files;
use crate::ingest::Flushed;
use crate::knob::Knob;
use crate::model::{Epoch, ErrorKind, NodeId};
use crate::tasks::{About, JobKind, Tasks};
use crate::wal::StampFloor;
use floor::Floor;

/// Rows handed to the file writer at a time.
const BATCH_ROWS: usize = 8192;

/// Snapshots that may be asked for at one time.
const REQUESTS_MAX: usize = 64;

#[derive(Debug, Clone)]
pub struct Config {
    /// A snapshot is due at so many bytes of buffered rows,
    pub bytes_max: Knob<usize>,
    /// or after so many flush intervals with writes,
    pub periods_max: Knob<u64>,
    /// or when the oldest buffered row has waited so long.
    pub age_max: Knob<Duration>,
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
    #[error("node {node} was taken over by {by} before its snapshot was in the catalog")]
    Fenced { node: NodeId, by: String },
    #[error("write a file of table {table}: {source}")]
    File { table: Arc<str>, source: files::Error },
    #[error("{0}")]
    Catalog(#[from] catalog::Error),
    /// What is not in files is still in the log.
    #[error("it stops, and has not said that its rows are in files")]
    Stopping,
    /// Ask again a little later.
    #[error("too many orders wait: {0}")]
    TooMany(usize),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::File { .. } => ErrorKind::Bug,
            Self::Catalog(error) => error.kind(),
            Self::Stopping => ErrorKind::Unavailable,
            Self::TooMany(_) => ErrorKind::Busy,
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

    /// Returns once everything applied before the call is in files.
    pub async fn take(&self) -> Result<(), Error> {
        let (done, is_done) = oneshot::channel();
        self.requests.try_send(done).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Error::TooMany(REQUESTS_MAX),
            mpsc::error::TrySendError::Closed(_) => Error::Stopping,
        })?;
        is_done.await.map_err(|_| Error::Stopping)
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
            let (age_max, changed) = self.config.age_max.until_changed();
            let age = tokio::time::sleep_until(oldest + age_max);
            let waiting = tokio::select! {
                biased;
                // Each is cancel-safe: a request received is returned at once, a change stays marked unseen.
                Some(request) = asked.recv() => Some(request),
                more = flushed.changed() => {
                    if more.is_err() {
                        // The flusher is gone, so nothing can arrive any more.
                        break;
                    }
                    None
                }
                () = changed => continue,
                () = age => None,
            };
            let now = *flushed.borrow_and_update();
            let aged = oldest.elapsed() >= self.config.age_max.get();
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
            && let Err(error) = self.persister().close_epoch().await
        {
            tracing::warn!(%error, "the epoch was not closed; the next start replays nothing but has to fence it");
        }
    }

    fn is_due(&self, now: Flushed) -> bool {
        // What queries had put in order goes with the rows.
        let Bytes { open, frozen: _, sorted } = self.parts.buffer.bytes();
        open + sorted >= self.config.bytes_max.get()
            || now.periods - self.taken_at.periods >= self.config.periods_max.get()
    }

    /// `false` when the node must stop.
    async fn take_and_report(&mut self, now: Flushed) -> bool {
        let started = self.parts.clock.instant();
        let census = self.parts.buffer.census();
        let bytes = (census.bytes.open + census.bytes.frozen) as u64;
        let about = About { rows: Some(census.rows), bytes: Some(bytes), ..About::default() };
        let _job = self.parts.tasks.jobs().begin(JobKind::Snapshot, about, self.parts.clock.now_ns());
        match self.persister().persist(&self.parts.buffer, self.parts.epoch).await {
            Ok(Some(Summary { files, rows, bytes })) => {
                let seconds = started.elapsed().as_secs_f64();
                self.parts.metrics.snapshot_seconds.observe(seconds);
                tracing::info!(files, rows, bytes, seconds, "wrote a snapshot");
            }
            Ok(None) => {}
            Err(error) => {
                self.parts.tasks.fail(error.to_string());
                return false;
            }
        }
        self.taken_at = now;
        true
    }

    fn persister(&self) -> Persister {
        let Parts { bucket, catalog, buffer: _, clock, tasks, node, epoch, stamps: _, metrics: _ } = &self.parts;
        Persister {
            bucket: bucket.clone(),
            catalog: Arc::clone(catalog),
            clock: clock.clone(),
            tasks: tasks.clone(),
            node: node.clone(),
            epoch: *epoch,
            gen1: self.config.gen1,
        }
    }
}
