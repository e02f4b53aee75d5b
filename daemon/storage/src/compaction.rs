//! Files become fewer, larger and settled.
//!
//! # Promises
//! - Rows before and after are the same, for every query, at every moment: files go and come in one catalog entry.
//! - An entry is made only if every file it replaces still lives. So a run that was overtaken, by another compactor, by
//!   retention or by a drop, changes nothing, and its files are nobody's.
//! - Versions of a row up to the settled stamp become one row without a stamp; newer ones stay.
//! - Memory: the files of one plan, compressed, bounded by `input_bytes_max`, and one file that is being written.
//! - Every plan, run, publication and failure is an event.
//!
//! # Not here
//! - Deleting what was replaced: `sweep`. Which node compacts: `node`.

mod events;
mod plan;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{CounterVec, Histogram, Registry};

pub use events::{Event, EventKind, Events, Status};

use self::plan::{Plan, Rules};
use crate::bucket::Bucket;
use crate::catalog::{self, Catalog, State, Table};
use crate::clock::Clock;
use crate::files;
use crate::model::{ErrorKind, NodeId, Stamp, TableId};
use crate::tasks::Tasks;

#[derive(Debug, Clone)]
pub struct Config {
    /// How often work is looked for.
    pub check_every: Duration,
    /// Widths of the windows of level 2 and up, each a multiple of the one before.
    pub widths: Vec<Duration>,
    /// Files a plan takes at most.
    pub files_max: usize,
    /// Rows after which a file ends, with the series in work.
    pub rows_max: u64,
    /// Bytes of all files a plan takes at most.
    pub input_bytes_max: u64,
}

/// What `Compactor::start` needs besides its config.
#[derive(Debug)]
pub struct Parts {
    pub bucket: Bucket,
    pub catalog: Arc<Catalog>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub node: NodeId,
    pub metrics: Metrics,
}

#[derive(Debug, Clone)]
pub struct Metrics {
    runs: CounterVec,
    rows: CounterVec,
    bytes: CounterVec,
    seconds: Histogram,
}

impl Metrics {
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let buckets = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
        let counter = |name: &str, help: &str, label: &str| registry.counter_vec(name, help, &[label]);
        Self {
            runs: counter("influxdb3_compaction_runs_total", "Compaction plans that were run.", "status"),
            rows: counter("influxdb3_compaction_rows_total", "Rows that compaction read and wrote.", "direction"),
            bytes: counter(
                "influxdb3_compaction_bytes_total",
                "Bytes of files that were read and written.",
                "direction",
            ),
            seconds: registry.histogram("influxdb3_compaction_run_duration_seconds", "Time to run one plan.", &buckets),
        }
    }
}

/// Why a plan came to nothing. What it would have replaced is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else replaced or dropped a file of the plan; the next look makes other plans.
    #[error("the files of the plan changed meanwhile: {0}")]
    Overtaken(String),
    /// A file cannot be read or written.
    #[error("{0}")]
    File(#[from] files::Error),
    /// A file that the catalog names is not in the store.
    #[error("file {0} is in the catalog and not in the store")]
    Lost(Arc<str>),
    #[error("{0}")]
    Catalog(#[from] catalog::Error),
    #[error("{0}")]
    Bucket(#[from] crate::bucket::Error),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Overtaken(_) => ErrorKind::Conflict,
            Self::File(error) => error.kind(),
            Self::Lost(_) => ErrorKind::Corrupt,
            Self::Catalog(error) => error.kind(),
            Self::Bucket(error) => error.kind(),
        }
    }
}

/// Looks for work, and does it.
#[derive(Debug)]
pub struct Compactor {
    config: Config,
    rules: Rules,
    parts: Parts,
    events: Arc<Events>,
    /// Tables in which nothing was to be done, as they were then.
    quiet: BTreeMap<TableId, Quiet>,
}

/// Nothing is to be done for a table until it, the settled stamp or the window of the time changes.
#[derive(Debug)]
struct Quiet {
    table: Arc<Table>,
    settled: Stamp,
    until: i64,
}

impl Compactor {
    #[must_use]
    pub fn new(config: Config, parts: Parts) -> Self {
        let width = |width: &Duration| i64::try_from(width.as_nanos()).unwrap_or(i64::MAX);
        let Config { widths, files_max, rows_max, input_bytes_max, .. } = &config;
        let widths = widths.iter().map(width).collect();
        let rules = Rules { widths, files_max: *files_max, rows_max: *rows_max, bytes_max: *input_bytes_max };
        Self { config, rules, parts, events: Arc::default(), quiet: BTreeMap::new() }
    }

    /// Begins to look for work. What comes of it is told in the events.
    #[must_use]
    pub fn start(self) -> Arc<Events> {
        let events = Arc::clone(&self.events);
        let tasks = self.parts.tasks.clone();
        tasks.start("compact", self.work());
        events
    }

    async fn work(mut self) {
        let stopping = self.parts.tasks.stopping();
        loop {
            tokio::select! {
                biased;
                // Timers and flags lose nothing when dropped. A run that is dropped leaves files that nobody names.
                () = stopping.cancelled() => return,
                () = async {
                    self.parts.clock.sleep(self.config.check_every).await;
                    while self.look().await {}
                } => {}
            }
        }
    }

    /// Runs every plan there is now. Returns whether one of them changed something, so that there may be more.
    pub async fn look(&mut self) -> bool {
        let state = self.parts.catalog.state();
        self.quiet.retain(|id, _| state.tables.contains_key(id));
        let mut changed = false;
        for (id, table) in &state.tables {
            if table.dropped.is_some() || self.is_quiet(*id, table, state.settled()) {
                continue;
            }
            let plans = self.plans(table, state.settled()).await;
            if plans.is_empty() {
                let until = self.parts.clock.now_ns().saturating_add(plan::LOOK_AGAIN_NS);
                let quiet = Quiet { table: Arc::clone(table), settled: state.settled(), until };
                self.quiet.insert(*id, quiet);
            }
            for plan in plans {
                changed |= self.run_and_report(&state, table, plan).await;
            }
        }
        changed
    }

    fn is_quiet(&self, id: TableId, table: &Arc<Table>, settled: Stamp) -> bool {
        let now = self.parts.clock.now_ns();
        self.quiet.get(&id).is_some_and(|q| Arc::ptr_eq(&q.table, table) && q.settled == settled && now < q.until)
    }

    async fn plans(&self, table: &Arc<Table>, settled: Stamp) -> Vec<Plan> {
        let (table, rules, now) = (Arc::clone(table), self.rules.clone(), self.parts.clock.now_ns());
        // Compares each file with those of its time, which is no work for an I/O thread.
        self.parts.tasks.cpu(move || plan::plans(table.files.values(), settled, now, &rules)).await
    }

    async fn run_and_report(&self, state: &State, table: &Arc<Table>, plan: Plan) -> bool {
        let started = self.parts.clock.instant();
        let about = events::About::of(state, table, &plan);
        self.events.push(about.planned(self.parts.clock.now_ns()));
        let result = self.run(table, &plan).await;
        let took = started.elapsed();
        let event = about.ran(self.parts.clock.now_ns(), took, &result);
        let metrics = &self.parts.metrics;
        metrics.runs.with(&[event.status.text()]).inc();
        metrics.seconds.observe(took.as_secs_f64());
        self.events.push(event);
        match result {
            Ok(added) => {
                let rows: u64 = added.iter().map(|file| file.rows).sum();
                let bytes: u64 = added.iter().map(|file| file.size_bytes).sum();
                for (direction, rows, bytes) in [("in", about.rows, about.bytes), ("out", rows, bytes)] {
                    metrics.rows.with(&[direction]).inc_by(rows);
                    metrics.bytes.with(&[direction]).inc_by(bytes);
                }
                let (table, files_in, files) = (&table.schema.name, about.inputs.len(), added.len());
                tracing::info!(%table, files_in, files, rows, bytes, seconds = took.as_secs_f64(), "compacted");
                self.events.push(about.consumed(self.parts.clock.now_ns(), &added));
                true
            }
            Err(error @ Error::Overtaken(_)) => {
                tracing::info!(%error, table = %table.schema.name, "a compaction came to nothing");
                false
            }
            Err(error) => {
                tracing::warn!(%error, table = %table.schema.name, "compaction failed, trying again later");
                false
            }
        }
    }
}
