//! Line protocol to valid rows, to the log, through the door, to an answer.
//!
//! # Promises
//! - A request is decided completely before anything of it is kept: what is accepted can always be replayed, what is
//!   rejected leaves nothing behind, neither row nor column.
//! - `WhenStored` answers only after the rows are in the object store and visible to every view opened later.
//! - There is one flusher, so the order of the log and the order in which rows become visible are the same.
//! - Memory is bounded: what waits for the log and what waits for files each have a limit, and beyond it a write is
//!   refused at once.
//!
//! # Not here
//! - Who may write: whoever calls has decided.

mod flush;
mod group;
mod metrics;
mod lines_seen;
mod schema;
#[cfg(test)]
mod tests;

pub mod batch;
pub mod lines;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use lines_seen::LinesSeen;

pub use flush::Flushed;
pub use lines_seen::RecentLines;
pub use metrics::Metrics;

use crate::apply::Apply;
use crate::buffer::{Buffer, Census};
use crate::catalog::{self, Catalog};
use crate::clock::Clock;
use crate::knob::Knob;
use crate::model::{ErrorKind, Rows};
use crate::tasks::Tasks;
use crate::wal::{self, Mark};

/// The unit of the timestamps in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Guessed line by line from the size of the number.
    #[default]
    Auto,
    Nanosecond,
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
}

/// What happens to the good lines of a request that also has bad ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLines {
    /// Good lines are kept, bad ones reported.
    Skip,
    /// The first bad line refuses the whole request.
    Refuse,
}

/// When a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Once the rows are in the object store.
    WhenStored,
    /// Once they are valid and waiting for the log; a crash in the next moments loses them.
    WhenValid,
}

#[derive(Debug)]
pub struct Write<'a> {
    pub database: &'a str,
    pub body: &'a str,
    pub precision: Precision,
    pub bad_lines: BadLines,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// Begins at 1.
    pub line_number: usize,
    /// At most 20 bytes of the line, cut at a character boundary.
    pub original_line: String,
    pub message: String,
}

/// What became of a write that was not refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub lines_kept: usize,
    /// Only with `BadLines::Skip`.
    pub rejected: Vec<LineError>,
    /// Where the rows stand. `None` when there are none, or with `Answer::WhenValid`.
    pub stored: Option<Mark>,
}

/// Why rows were not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nothing was kept: the body has no lines.
    #[error("the request body has no lines")]
    Empty,
    /// Nothing was kept: the name cannot be a database.
    #[error("{0}")]
    DatabaseName(String),
    /// Nothing was kept (`BadLines::Refuse`).
    #[error("line {}: {}", .0.line_number, .0.message)]
    Line(LineError),
    /// Nothing was kept; a limit on databases, tables or columns.
    #[error("{0}")]
    Limit(String),
    /// Nothing was kept. Send the same rows again a little later.
    #[error("{waiting_bytes} bytes wait for the log, the limit is {waiting_bytes_max}")]
    Full { waiting_bytes: usize, waiting_bytes_max: usize },
    /// Nothing was kept. Send the same rows again a little later.
    #[error("{waiting_writes_max} writes wait for the log, which is the limit")]
    FullOfWrites { waiting_writes_max: usize },
    /// Nothing was kept: files are written more slowly than rows arrive. Send the same rows again a little later.
    #[error("{buffer_bytes} bytes of rows wait for files, the limit is {buffer_bytes_max}")]
    BufferFull { buffer_bytes: usize, buffer_bytes_max: usize },
    /// Nothing was kept: the rows are more than one object of the log holds. Send them in smaller requests.
    #[error("{0}; send fewer rows at once")]
    TooLarge(String),
    /// Nothing was kept: this node is stopping.
    #[error("this node is stopping")]
    Stopping,
    /// No answer from the store: the rows may or may not be kept. Sending them again is safe.
    #[error("{0}")]
    Unknown(String),
    /// Another process writes the log of this node, so this one must stop.
    #[error("{0}")]
    Fenced(String),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Empty | Self::DatabaseName(_) | Self::Line(_) => ErrorKind::Invalid,
            Self::Limit(_) | Self::TooLarge(_) => ErrorKind::Limit,
            Self::Full { .. } | Self::FullOfWrites { .. } | Self::BufferFull { .. } | Self::Stopping => ErrorKind::Busy,
            Self::Unknown(_) => ErrorKind::Unavailable,
            Self::Fenced(_) => ErrorKind::Fenced,
        }
    }
}

/// Limits and times, resolved and checked by the daemon.
#[derive(Debug, Clone)]
pub struct Config {
    /// The longest a write that nobody waits for stays out of the log.
    pub flush_interval: Knob<Duration>,
    /// A group is closed at so many bytes of rows.
    pub group_bytes_max: usize,
    /// Writes that may wait for the log.
    pub waiting_writes_max: usize,
    /// Bytes of line protocol that may wait for the log.
    pub waiting_bytes_max: usize,
    /// Bytes of rows that may wait for files.
    pub buffer_bytes_max: Knob<usize>,
    /// How long a write waits for the store before it is told that its outcome is open.
    pub answer_within: Duration,
}

/// The largest body: with the limit on its cells, what is not larger always fits into one object of the log, so it is
/// not refused after the catalog learned of its columns.
const BODY_BYTES_MAX: usize = 512 << 20;

/// The way in for rows. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Ingest {
    config: Arc<Config>,
    catalog: Arc<Catalog>,
    buffer: Arc<Buffer>,
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
    lines: Arc<LinesSeen>,
    queue: mpsc::Sender<Waiting>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// One request on its way to the log.
#[derive(Debug)]
struct Waiting {
    tables: Vec<Rows>,
    held: Held,
    /// `None` when the writer was answered already.
    answer: Option<oneshot::Sender<Result<Mark, Error>>>,
}

/// Bytes counted as waiting for as long as this lives.
#[derive(Debug)]
struct Held {
    bytes: usize,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What `Ingest::start` needs besides its config.
#[derive(Debug)]
pub struct Parts {
    pub catalog: Arc<Catalog>,
    pub buffer: Arc<Buffer>,
    pub writer: wal::Writer,
    pub clock: Clock,
    pub tasks: Tasks,
    pub metrics: Metrics,
}

impl Ingest {
    /// Starts the flusher. The receiver tells what has been flushed.
    #[must_use]
    pub fn start(config: Config, parts: Parts) -> (Self, watch::Receiver<Flushed>) {
        let Parts { catalog, buffer, writer, clock, tasks, metrics } = parts;
        let (queue, waiting) = mpsc::channel(config.waiting_writes_max.clamp(1, Semaphore::MAX_PERMITS));
        let flushed = watch::Sender::new(Flushed::nothing_yet(&writer));
        let told = flushed.subscribe();
        let config = Arc::new(config);
        let flusher = flush::Flusher {
            config: Arc::clone(&config),
            writer,
            apply: Apply::new(Arc::clone(&buffer)),
            clock: clock.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            flushed,
            put_off: None,
        };
        tasks.start("ingest flush", flusher.run(waiting));
        let (waiting_bytes, lines) = (Arc::default(), Arc::new(LinesSeen::new(&clock)));
        (Self { config, catalog, buffer, clock, tasks, metrics, lines, queue, waiting_bytes }, told)
    }

    /// Keeps the rows of one request, all of them or (with `BadLines::Skip`) all good ones, in the order of the lines.
    /// Dropped halfway, the rows may or may not be kept.
    pub async fn write(&self, write: Write<'_>) -> Result<Report, Error> {
        let started = self.clock.instant();
        let late = |_| {
            Error::Unknown(format!(
                "no answer from the object store within {:?}; the rows may or may not be kept, and sending them again is safe",
                self.config.answer_within
            ))
        };
        let report = tokio::time::timeout(self.config.answer_within, self.write_whole(write)).await;
        let report = report.map_err(late).flatten();
        self.metrics.write_seconds.observe(started.elapsed().as_secs_f64());
        report
    }

    async fn write_whole(&self, write: Write<'_>) -> Result<Report, Error> {
        if write.body.trim_ascii().is_empty() {
            return Err(Error::Empty);
        }
        check_size(write.body.len())?;
        // Rows in columns are smaller than their text, so the text is a safe measure.
        let held = self.admit(write.body.len())?;
        // A place in the queue before the catalog learns of new columns: a write that is refused leaves none behind.
        let place = self.queue.try_reserve().map_err(|refused| match refused {
            TrySendError::Full(()) => Error::FullOfWrites { waiting_writes_max: self.config.waiting_writes_max },
            TrySendError::Closed(()) => Error::Stopping,
        })?;
        let parsed = schema::parse(&self.catalog, self.clock.now_ns(), &write).await;
        self.lines.see(write.database, parsed.as_ref().map(|(_, report)| report));
        let (tables, mut report) = parsed?;
        self.metrics.lines(write.database, report.lines_kept, report.rejected.len());
        if tables.is_empty() {
            return Ok(report);
        }
        let (answer, answered) = oneshot::channel();
        let answer = match write.answer {
            Answer::WhenStored => Some(answer),
            Answer::WhenValid => None,
        };
        let waits = answer.is_some();
        place.send(Waiting { tables, held, answer });
        if waits {
            // Without an answer the flusher is gone: the node is stopping hard.
            let gone = |_| Error::Unknown("the node stopped before the outcome of the write was known".into());
            report.stored = Some(answered.await.map_err(gone)??);
        }
        Ok(report)
    }

    /// How much waits for files.
    #[must_use]
    pub fn census(&self) -> Census {
        self.buffer.census()
    }

    #[must_use]
    pub fn recent_lines(&self) -> RecentLines {
        self.lines.recent()
    }

    /// This share of all objects of the log was stored within so many seconds.
    #[must_use]
    pub fn flush_seconds(&self, share: f64) -> Option<f64> {
        self.metrics.wal_put_seconds.quantile(share)
    }

    fn admit(&self, bytes: usize) -> Result<Held, Error> {
        if self.tasks.stopping().is_cancelled() || self.queue.is_closed() {
            return Err(Error::Stopping);
        }
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { bytes, waiting: Arc::clone(&self.waiting_bytes) };
        // A request larger than the whole limit may pass when it is alone, or it never could.
        if before > 0 && before + bytes > self.config.waiting_bytes_max {
            return Err(Error::Full { waiting_bytes: before, waiting_bytes_max: self.config.waiting_bytes_max });
        }
        let buffer_bytes = self.buffer.bytes().sum();
        let buffer_bytes_max = self.config.buffer_bytes_max.get();
        if buffer_bytes > buffer_bytes_max {
            return Err(Error::BufferFull { buffer_bytes, buffer_bytes_max });
        }
        Ok(held)
    }
}

fn check_size(body_bytes: usize) -> Result<(), Error> {
    if body_bytes <= BODY_BYTES_MAX {
        Ok(())
    } else {
        Err(Error::TooLarge(format!("{body_bytes} bytes of lines, the limit is {BODY_BYTES_MAX}")))
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        match error.kind() {
            ErrorKind::Invalid => Self::DatabaseName(error.to_string()),
            ErrorKind::Limit => Self::Limit(error.to_string()),
            _ => Self::Unknown(error.to_string()),
        }
    }
}
