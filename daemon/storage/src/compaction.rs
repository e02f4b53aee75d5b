//! Files become fewer, larger and settled.
//!
//! # Promises
//! - Rows before and after are the same, for every query, at every moment: files go and come in one catalog entry.
//! - An entry is made only while this process has the role of the compactor, and only if every file it replaces still
//!   lives, both by the newest state. So a run that was overtaken, by another compactor, by retention or by a drop, changes
//!   nothing, and its files are nobody's.
//! - Versions of a row up to the settled stamp become one row without a stamp; newer ones stay.
//! - Memory: the files of one plan, compressed, and a batch of each, together bounded by `input_bytes_max`; and one file
//!   that is being written.
//! - Rows that are deleted are left out before versions are united. A file that holds such rows is written again soon,
//!   also when nothing else is due; one of which no row is left goes. A delete is forgotten once no file has rows that it
//!   hides and none can come.
//! - A file that cannot be read keeps nothing from being merged but what overlaps it.
//! - Every plan, run, publication and failure is an event.
//! - What an operator orders is merged before the next plan, without waiting for company or for the end of a window; see
//!   `orders`.
//!
//! # Not here
//! - Deleting what was replaced: `sweep`. Which node compacts: `cluster`.

mod deletes;
mod events;
mod orders;
mod plan;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::{CounterVec, Histogram, Registry};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use events::{Event, EventKind, Events, Status};
pub use orders::{Merged, Orders, Wanted};

use self::orders::Order;
use self::plan::{Begun, Moment, Plan, Rules};
use crate::bucket::Bucket;
use crate::catalog::{self, Catalog, State, Table};
use crate::clock::Clock;
use crate::cluster::Role;
use crate::files;
use crate::knob::Knob;
use crate::model::{ErrorKind, FileId, FileRecord, NodeId, Stamp, TableId};
use crate::tasks::{self, JobKind, Tasks};

#[derive(Debug, Clone)]
pub struct Config {
    /// How often work is looked for.
    pub check_every: Knob<Duration>,
    /// Widths of the windows of level 2 and up, each a multiple of the one before.
    pub widths: Vec<Duration>,
    /// Files a plan takes at most.
    pub files_max: Knob<u64>,
    /// Rows after which a file ends, with the series in work.
    pub rows_max: Knob<u64>,
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
    pub role: Role,
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
    /// Another node compacts.
    #[error("{0}")]
    SteppedDown(String),
    /// Nothing was begun; the same order may be given a little later.
    #[error("too many orders wait: {0}")]
    TooMany(usize),
    /// There is no such table any more.
    #[error("table {0} was dropped")]
    Dropped(TableId),
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
    /// The file that cannot be read.
    fn file(&self) -> Option<&Arc<str>> {
        match self {
            Self::Lost(file) | Self::File(files::Error::Damaged { file, .. } | files::Error::Newer { file, .. }) => {
                Some(file)
            }
            Self::Overtaken(_)
            | Self::SteppedDown(_)
            | Self::TooMany(_)
            | Self::Dropped(_)
            | Self::File(_)
            | Self::Catalog(_)
            | Self::Bucket(_) => None,
        }
    }

    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Overtaken(_) => ErrorKind::Conflict,
            Self::SteppedDown(_) => ErrorKind::Fenced,
            Self::TooMany(_) => ErrorKind::Busy,
            Self::Dropped(_) => ErrorKind::NotFound,
            Self::File(error) => error.kind(),
            Self::Lost(_) => ErrorKind::Corrupt,
            Self::Catalog(error) => error.kind(),
            Self::Bucket(error) => error.kind(),
        }
    }
}

/// Bytes of strings and tag values after which a file ends, with the series in work.
const STRING_BYTES_MAX: u64 = 256 << 20;

/// Time alone makes plans ready: windows end, unsettled files grow old.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// After a failure a table is left alone for so long, then for twice as long, up to `TROUBLE_MAX`.
const TROUBLE_MIN: Duration = Duration::from_secs(10);
const TROUBLE_MAX: Duration = Duration::from_secs(3600);

/// Looks for work, and does it.
#[derive(Debug)]
pub struct Compactor {
    config: Config,
    parts: Parts,
    events: Arc<Events>,
    orders: Orders,
    ordered: mpsc::Receiver<Order>,
    /// By what was planned last.
    planned_by: Option<Rules>,
    /// Tables in which nothing was to be done, as they were then.
    quiet: BTreeMap<TableId, Quiet>,
    /// Tables of which a plan failed: until when they are left alone, and for how long that was.
    troubled: BTreeMap<TableId, (Instant, Duration)>,
    /// Files that could not be read.
    unreadable: BTreeSet<FileId>,
}

/// Nothing is to be done for a table until it or the settled stamp changes, or time has passed.
#[derive(Debug)]
struct Quiet {
    table: Arc<Table>,
    settled: Stamp,
    until: Instant,
}

impl Compactor {
    #[must_use]
    pub fn new(config: Config, parts: Parts) -> Self {
        let (orders, ordered) = Orders::new();
        Self {
            config,
            parts,
            events: Arc::default(),
            orders,
            ordered,
            planned_by: None,
            quiet: BTreeMap::new(),
            troubled: BTreeMap::new(),
            unreadable: BTreeSet::new(),
        }
    }

    /// Begins to look for work, and to take orders. What comes of it is told in the events.
    #[must_use]
    pub fn start(self) -> (Arc<Events>, Orders) {
        let (events, orders) = (Arc::clone(&self.events), self.orders.clone());
        let tasks = self.parts.tasks.clone();
        tasks.start("compact", self.work());
        (events, orders)
    }

    async fn work(mut self) {
        let stopping = self.parts.tasks.stopping();
        loop {
            tokio::select! {
                biased;
                // Timers and flags lose nothing when dropped. A run that is dropped leaves files that nobody names.
                () = stopping.cancelled() => return,
                () = async {
                    let (check_every, changed) = self.config.check_every.until_changed();
                    // A long sleep ends when it is to be a short one, or is broken.
                    let order = tokio::select! {
                        biased;
                        // Cancel-safe.
                        order = self.ordered.recv() => order,
                        () = self.parts.clock.sleep(check_every) => None,
                        () = changed => return,
                    };
                    if let Some(order) = order {
                        self.obey(order).await;
                    }
                    while self.look().await {}
                } => {}
            }
        }
    }

    /// Runs every plan there is now, while this node has the role. Returns whether one of them bettered something, so that
    /// there may be more.
    pub async fn look(&mut self) -> bool {
        let (state, rules) = (self.parts.catalog.state(), self.rules());
        if self.planned_by.replace(rules.clone()) != Some(rules) {
            self.quiet.clear();
        }
        self.quiet.retain(|id, _| state.tables.contains_key(id));
        self.troubled.retain(|id, _| state.tables.contains_key(id));
        let mut bettered = false;
        for id in state.tables.keys() {
            self.obey_waiting().await;
            // The newest state for each table: the work on those before may have taken long.
            let state = self.parts.catalog.state();
            if self.parts.role.expect_ours(&state).is_err() {
                return false;
            }
            let Some(table) = state.table(*id).filter(|table| is_alive(&state, table)) else { continue };
            self.forget_deletes(&state, table).await;
            if self.is_left_alone(*id, table, state.settled()) {
                continue;
            }
            let plans = self.plans(table, (state.settled(), None)).await;
            let mut worth = false;
            for (number, plan) in plans.into_iter().enumerate() {
                if number > 0 && self.obey_waiting().await {
                    // The plans that are left are of before.
                    worth = true;
                    break;
                }
                let result = self.run_and_report(&state, table, &plan).await;
                worth |= result.is_ok_and(|added| plan.is_worth(added.len(), &table.deletes));
            }
            if !worth {
                let until = self.parts.clock.instant() + LOOK_AGAIN;
                let quiet = Quiet { table: Arc::clone(table), settled: state.settled(), until };
                self.quiet.insert(*id, quiet);
            }
            bettered |= worth;
        }
        bettered
    }

    /// By what is set now.
    fn rules(&self) -> Rules {
        let width = |width: &Duration| i64::try_from(width.as_nanos()).unwrap_or(i64::MAX);
        let Config { check_every: _, widths, files_max, rows_max, input_bytes_max } = &self.config;
        Rules {
            widths: widths.iter().map(width).collect(),
            files_max: usize::try_from(files_max.get()).unwrap_or(usize::MAX),
            rows_max: rows_max.get(),
            string_bytes_max: STRING_BYTES_MAX,
            bytes_max: *input_bytes_max,
        }
    }

    fn is_left_alone(&self, id: TableId, table: &Arc<Table>, settled: Stamp) -> bool {
        let now = self.parts.clock.instant();
        let is_quiet = |q: &Quiet| Arc::ptr_eq(&q.table, table) && q.settled == settled && now < q.until;
        self.quiet.get(&id).is_some_and(is_quiet) || self.troubled.get(&id).is_some_and(|(until, _)| now < *until)
    }

    async fn plans(&self, table: &Arc<Table>, (settled, wanted): (Stamp, Option<Begun>)) -> Vec<Plan> {
        let moment = Moment {
            settled,
            now: self.parts.clock.now_ns(),
            columns: table.schema.columns.len(),
            unreadable: self.unreadable.clone(),
            wanted,
        };
        let (table, rules) = (Arc::clone(table), self.rules());
        // Compares each file with those of its time, which is no work for an I/O thread.
        let plans = move || {
            let mut plans = plan::plans(table.files.values(), &moment, &rules);
            plans.extend(deletes::rewrites(&table, &plans, &moment));
            plans
        };
        self.parts.tasks.cpu(plans).await
    }

    /// Returns the files that took the place of the plan's. An error is logged already.
    async fn run_and_report(
        &mut self,
        state: &State,
        table: &Arc<Table>,
        plan: &Plan,
    ) -> Result<Vec<Arc<FileRecord>>, Error> {
        let started = self.parts.clock.instant();
        let about = events::About::of(state, table, plan);
        self.events.push(about.planned(self.parts.clock.now_ns()));
        let job = tasks::About {
            table: Some((Arc::clone(&about.database), Arc::clone(&table.schema.name))),
            adopted: None,
            files: Some(about.inputs.len() as u64),
            rows: Some(about.rows),
            bytes: Some(about.bytes),
        };
        let _job = self.parts.tasks.jobs().begin(JobKind::Compaction, job, self.parts.clock.now_ns());
        let result = self.run(table, plan).await;
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
                let (name, files_in, files) = (&table.schema.name, about.inputs.len(), added.len());
                tracing::info!(table = %name, files_in, files, rows, bytes, seconds = took.as_secs_f64(), "compacted");
                self.events.push(about.consumed(self.parts.clock.now_ns(), &added));
                self.troubled.remove(&table.schema.table);
                Ok(added)
            }
            Err(error) => {
                self.report(table, plan, &error);
                Err(error)
            }
        }
    }

    fn report(&mut self, table: &Table, plan: &Plan, error: &Error) {
        let name = &table.schema.name;
        match error {
            Error::Overtaken(_) => tracing::info!(%error, table = %name, "a compaction came to nothing"),
            Error::SteppedDown(_) => tracing::warn!(%error, table = %name, "a compaction came to nothing"),
            error => match self.trouble(table.schema.table, plan, error) {
                Some(wait) => tracing::warn!(%error, table = %name, ?wait, "compaction failed, trying again later"),
                None => tracing::warn!(%error, table = %name, "compaction failed, and goes on without that file"),
            },
        }
    }

    /// Remembers a failure; returns how long the table is left alone, if that is more than a file of it.
    fn trouble(&mut self, table: TableId, plan: &Plan, error: &Error) -> Option<Duration> {
        let known = self.unreadable.len();
        if let Some(path) = error.file() {
            self.unreadable.extend(plan.inputs.iter().filter(|file| file.path == *path).map(|file| file.id));
        }
        if self.unreadable.len() > known {
            return None;
        }
        let before = self.troubled.get(&table).map(|(_, wait)| *wait);
        let wait = before.map_or(TROUBLE_MIN, |wait| (2 * wait).min(TROUBLE_MAX));
        self.troubled.insert(table, (self.parts.clock.instant() + wait, wait));
        Some(wait)
    }
}

fn is_alive(state: &State, table: &Table) -> bool {
    table.dropped.is_none() && state.databases.get(&table.database).is_some_and(|database| database.dropped.is_none())
}
