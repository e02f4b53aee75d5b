//! The settings that change while a node runs, whatever its modes: names are those of their flags.

use std::ops::RangeInclusive;
use std::time::Duration;

use sql::{Dial, Live, Settings};
use storage::knob::Knob;

use crate::config::NodeConfig;

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
}

const fn ms(from: u64, to: u64) -> RangeInclusive<Duration> {
    Duration::from_millis(from)..=Duration::from_millis(to)
}

const HOUR_MS: u64 = 3_600_000;

impl Knobs {
    #[must_use]
    pub(crate) fn of(config: &NodeConfig) -> Self {
        Self {
            flush_interval: config.wal.flush_interval.into(),
            wal_files_per_snapshot: (config.snapshot.wal_files as u64).into(),
            snapshot_age_max: config.snapshot.age_max.into(),
            compaction_interval: config.compact.check_every.into(),
            compaction_files_max: (config.compact.files_max as u64).into(),
            compaction_rows_max: config.compact.rows_max.into(),
            query_timeout: config.query.timeout.into(),
        }
    }

    /// What the node was started with, and these.
    #[must_use]
    pub(crate) fn settings(&self, config: &NodeConfig) -> Settings {
        let interval = |name, about, knob: &Knob<Duration>, range| {
            let dial = Dial::Interval { knob: knob.clone(), range };
            Live { name, about, dial }
        };
        let count = |name, about, knob: &Knob<u64>, range| {
            let dial = Dial::Count { knob: knob.clone(), range };
            Live { name, about, dial }
        };
        let timeout = Dial::Timeout { knob: self.query_timeout.clone(), range: ms(1_000, 24 * HOUR_MS) };
        let live = vec![
            interval(
                "wal-flush-interval",
                "The longest a write that nobody waits for stays out of the log",
                &self.flush_interval,
                ms(1, 60_000),
            ),
            count(
                "wal-files-per-snapshot",
                "Flush intervals with writes after which rows are put into files",
                &self.wal_files_per_snapshot,
                1..=100_000,
            ),
            interval(
                "force-snapshot-max-age",
                "How long a row waits for a file at most",
                &self.snapshot_age_max,
                ms(1_000, 24 * HOUR_MS),
            ),
            interval(
                "compaction-check-interval",
                "How often the compactor looks for files to merge",
                &self.compaction_interval,
                ms(10, HOUR_MS),
            ),
            count(
                "compaction-max-num-files-per-plan",
                "Files that one compaction merges at most",
                &self.compaction_files_max,
                2..=10_000,
            ),
            count(
                "compaction-row-limit",
                "Rows of a merged file, about",
                &self.compaction_rows_max,
                1_000..=1_000_000_000,
            ),
            Live {
                name: "query-timeout",
                about: "How long a query may take that does not say so itself",
                dial: timeout,
            },
        ];
        Settings::new(config.flags.clone(), live)
    }
}
