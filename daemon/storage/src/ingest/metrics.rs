use metrics::{CounterVec, DURATION_SECONDS, Histogram, Registry};

/// What ingest measures.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) write_seconds: Histogram,
    pub(super) wal_put_seconds: Histogram,
    lines: CounterVec,
    lines_rejected: CounterVec,
}

impl Metrics {
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        Self {
            write_seconds: registry.histogram(
                "influxdb3_write_duration_seconds",
                "Time from the arrival of a write to its answer.",
                DURATION_SECONDS,
            ),
            wal_put_seconds: registry.histogram(
                "influxdb3_wal_flush_duration_seconds",
                "Time to store one WAL object.",
                DURATION_SECONDS,
            ),
            lines: registry.counter_vec("influxdb3_write_lines_total", "Lines kept.", &["db"]),
            lines_rejected: registry.counter_vec(
                "influxdb3_write_lines_rejected_total",
                "Lines refused in requests whose good lines were kept.",
                &["db"],
            ),
        }
    }

    pub(super) fn lines(&self, database: &str, kept: usize, rejected: usize) {
        self.lines.with(&[database]).inc_by(kept as u64);
        if rejected > 0 {
            self.lines_rejected.with(&[database]).inc_by(rejected as u64);
        }
    }
}
