//! The settings that change while a node runs, whatever its modes: names are those of their flags.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use sql::{Dial, Live, ReadSize, Settings};
use storage::knob::Knob;

use crate::config::{self, NodeConfig};

/// Each is handed to the room that looks at it.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    pub(crate) flush_interval: Knob<Duration>,
    pub(crate) wal_files_per_snapshot: Knob<u64>,
    pub(crate) snapshot_age_max: Knob<Duration>,
    pub(crate) compaction_interval: Knob<Duration>,
    pub(crate) compaction_files_max: Knob<u64>,
    pub(crate) compaction_rows_max: Knob<u64>,
    pub(crate) query_timeout: Knob<Option<Duration>>,
    pub(crate) query_memory: Knob<u64>,
    pub(crate) footer_bytes: Knob<u64>,
    pub(crate) queries_max: Knob<u64>,
    pub(crate) query_log_entries: Knob<u64>,
    pub(crate) engine_options: Knob<Arc<str>>,
    pub(crate) log_filter: Knob<Arc<str>>,
    /// Memory for rows that are not in files, on which the next two rest.
    buffered_bytes: Knob<u64>,
    /// Buffered rows at which a snapshot is made.
    pub(crate) snapshot_bytes_max: Knob<usize>,
    /// Buffered rows at which writes are refused.
    pub(crate) buffer_bytes_max: Knob<usize>,
}

/// A snapshot is due at so many bytes of rows, however large the machine is: more would only lengthen a restart.
const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

/// Rows may wait for files up to here at least, so that a small threshold does not refuse one large request.
const BUFFER_BYTES_MIN: usize = 128 << 20;

/// Bytes at which a snapshot is made, and at which writes are refused: twice as many, so that writes go on while it is
/// written.
fn buffer_bytes(said: u64) -> (usize, usize) {
    let said = usize::try_from(said).unwrap_or(usize::MAX);
    let snapshot = said.min(SNAPSHOT_BYTES_MAX);
    (snapshot, said.max(BUFFER_BYTES_MIN).max(2 * snapshot))
}

const fn ms(from: u64, to: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(from)..=Duration::from_millis(to)
}

const HOUR_MS: u64 = 3_600_000;

/// Each takes up to 18 KiB, most of that for its text.
const LOGGED_QUERIES_MAX: u64 = 10_000;

impl Knobs {
    #[must_use]
    pub(crate) fn of(config: &NodeConfig) -> Self {
        let options: Vec<String> = config.query.options.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        let buffered = config.snapshot.memory_bytes_max;
        let (snapshot_bytes_max, buffer_bytes_max) = buffer_bytes(buffered);
        Self {
            query_memory: config.query.memory_bytes.into(),
            footer_bytes: config.query.footer_bytes.into(),
            queries_max: (config.query.concurrent_max as u64).into(),
            query_log_entries: (config.query.log_entries as u64).into(),
            engine_options: Arc::<str>::from(options.join(",")).into(),
            log_filter: Arc::<str>::from(config.log.filter.as_str()).into(),
            buffered_bytes: buffered.into(),
            snapshot_bytes_max: snapshot_bytes_max.into(),
            buffer_bytes_max: buffer_bytes_max.into(),
            flush_interval: config.wal.flush_interval.into(),
            wal_files_per_snapshot: (config.snapshot.wal_files as u64).into(),
            snapshot_age_max: config.snapshot.age_max.into(),
            compaction_interval: config.compact.check_every.into(),
            compaction_files_max: (config.compact.files_max as u64).into(),
            compaction_rows_max: config.compact.rows_max.into(),
            query_timeout: config.query.timeout.into(),
        }
    }

    /// Turns those that rest on others.
    pub(crate) fn settle(&self) {
        let (snapshot, buffer) = buffer_bytes(self.buffered_bytes.get());
        self.snapshot_bytes_max.set(snapshot);
        self.buffer_bytes_max.set(buffer);
    }

    /// What the node was started with, and these.
    #[must_use]
    pub(crate) fn settings(&self, config: &NodeConfig) -> Settings {
        let live = self.of_writing().into_iter().chain(self.of_compacting()).chain(self.of_asking()).chain([
            Live {
                name: "force-snapshot-mem-size",
                about: "Buffered rows that force a snapshot; twice as many, and at least 128mb, refuse writes",
                dial: size(&self.buffered_bytes, config),
            },
            Live {
                name: "exec-mem-pool-size",
                about: "Memory of all queries together; those that run keep what they have",
                dial: size(&self.query_memory, config),
            },
            Live {
                name: "footer-cache-size",
                about: "Memory for the footers of files that queries have read",
                dial: size(&self.footer_bytes, config),
            },
            Live {
                name: "log-filter",
                about: "What is logged",
                dial: Dial::Text { knob: self.log_filter.clone(), judge: config.log.judge },
            },
        ]);
        Settings::new(config.flags.clone(), live.collect())
    }

    fn of_writing(&self) -> [Live; 3] {
        [
            Live {
                name: "wal-flush-interval",
                about: "The longest a write that nobody waits for stays out of the log",
                dial: interval(&self.flush_interval, ms(1, 60_000)),
            },
            Live {
                name: "wal-files-per-snapshot",
                about: "Flush intervals with writes after which rows are put into files",
                dial: count(&self.wal_files_per_snapshot, 1..=100_000),
            },
            Live {
                name: "force-snapshot-max-age",
                about: "How long a row waits for a file at most",
                dial: interval(&self.snapshot_age_max, ms(1_000, 24 * HOUR_MS)),
            },
        ]
    }

    fn of_compacting(&self) -> [Live; 3] {
        [
            Live {
                name: "compaction-check-interval",
                about: "How often the compactor looks for files to merge",
                dial: interval(&self.compaction_interval, ms(10, HOUR_MS)),
            },
            Live {
                name: "compaction-max-num-files-per-plan",
                about: "Files that one compaction merges at most",
                dial: count(&self.compaction_files_max, 2..=10_000),
            },
            Live {
                name: "compaction-row-limit",
                about: "Rows of a merged file, about",
                dial: count(&self.compaction_rows_max, 1_000..=1_000_000_000),
            },
        ]
    }

    fn of_asking(&self) -> [Live; 4] {
        [
            Live {
                name: "query-timeout",
                about: "How long a query may take that does not say so itself",
                dial: Dial::Timeout { knob: self.query_timeout.clone(), range: ms(1_000, 24 * HOUR_MS) },
            },
            Live {
                name: "max-concurrent-queries",
                about: "Queries that run at one time; four times as many may wait",
                dial: count(&self.queries_max, 1..=100_000),
            },
            Live {
                name: "query-log-max-entries",
                about: "Queries that system.queries remembers",
                dial: count(&self.query_log_entries, 0..=LOGGED_QUERIES_MAX),
            },
            Live {
                name: "datafusion-config",
                about: "Options of the query engine for queries that start from now on, as name:value,name:value",
                dial: Dial::Text { knob: self.engine_options.clone(), judge: sql::judged_options },
            },
        ]
    }
}

fn interval(knob: &Knob<Duration>, range: RangeInclusive<Duration>) -> Dial {
    Dial::Interval { knob: knob.clone(), range }
}

fn count(knob: &Knob<u64>, range: RangeInclusive<u64>) -> Dial {
    Dial::Count { knob: knob.clone(), range }
}

/// The largest is what any machine may have; of each machine no more is taken than it has.
fn size(knob: &Knob<u64>, config: &NodeConfig) -> Dial {
    let bytes = |text: &str, whole| config::parse_memory(text).map(|memory| memory.resolve(whole));
    Dial::Size { knob: knob.clone(), range: 1 << 20..=64 << 40, read: ReadSize { whole: config.memory_bytes, bytes } }
}
