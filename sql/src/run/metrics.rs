use metrics::{CounterVec, DURATION_SECONDS, GaugeVec, Histogram, Registry};

use crate::system::{End, Finished};
use crate::tables::FooterUse;

const COUNTS: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1e3, 1e4];

/// What is measured of queries.
#[derive(Debug)]
pub(super) struct Metrics {
    entered: CounterVec,
    current: GaugeVec,
    plan: Histogram,
    permit: Histogram,
    execute: Histogram,
    end2end: Histogram,
    compute: Histogram,
    partitions: Histogram,
    parquet_files: Histogram,
    memory_max: Histogram,
    rows: Histogram,
    pool: GaugeVec,
    pub(super) footers: FooterMetrics,
}

/// What is measured of the footers that are kept.
#[derive(Debug, Clone)]
pub(super) struct FooterMetrics {
    bytes: GaugeVec,
    requests: CounterVec,
}

impl FooterMetrics {
    fn new(registry: &Registry) -> Self {
        Self {
            bytes: registry.gauge_vec("footer_cache_bytes", "Memory of footers of files that were read.", &["state"]),
            requests: registry.counter_vec(
                "footer_cache_requests_total",
                "Footers that queries needed: hits were kept, misses were read.",
                &["outcome"],
            ),
        }
    }

    pub(super) fn show(&self, now: FooterUse) {
        self.bytes.with(&["limit"]).set(now.bytes_max as f64);
        self.bytes.with(&["used"]).set(now.bytes as f64);
        self.requests.with(&["hit"]).raise_to(now.hits as f64);
        self.requests.with(&["miss"]).raise_to(now.misses as f64);
    }
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let seconds = |part: &str, help: &str| {
            registry.histogram(&format!("influxdb_iox_query_log_{part}_duration_seconds"), help, DURATION_SECONDS)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            registry.histogram(&format!("influxdb_iox_query_log_{name}"), help, buckets)
        };
        let rows = [0.0, 1.0, 10.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 1e5];
        let entered = registry.counter_vec(
            "influxdb_iox_query_log_phase_entered_total",
            "Queries that entered a phase.",
            &["phase"],
        );
        let current =
            registry.gauge_vec("influxdb_iox_query_log_phase_current", "Queries that are in a phase.", &["phase"]);
        let pool = registry.gauge_vec("datafusion_mem_pool_bytes", "Memory of all queries together.", &["state"]);
        Self {
            entered,
            current,
            plan: seconds("plan", "From arrival to a plan."),
            permit: seconds("permit", "From a plan to leave to run."),
            execute: seconds("execute", "From leave to run to the end."),
            end2end: seconds("end2end", "From arrival to the end."),
            compute: seconds("compute", "Processor time of the operators of a query."),
            partitions: histogram("partitions", "Time windows a query touches.", COUNTS),
            parquet_files: histogram("parquet_files", "Files a query touches.", COUNTS),
            memory_max: histogram("max_memory", "Most bytes a query reserved.", metrics::BYTES),
            rows: histogram("num_rows", "Rows of an answer.", &rows),
            pool,
            footers: FooterMetrics::new(registry),
        }
    }

    pub(super) fn pool_bytes(&self, state: &str) -> metrics::Gauge {
        self.pool.with(&[state])
    }

    pub(super) fn enter(&self, left: Option<&str>, phase: &str) {
        if let Some(left) = left {
            self.current.with(&[left]).dec();
        }
        self.entered.with(&[phase]).inc();
        self.current.with(&[phase]).inc();
    }

    pub(super) fn finish(&self, left: &str, finished: &Finished, rows: usize) {
        self.current.with(&[left]).dec();
        self.entered.with(&[phase(finished.end)]).inc();
        let durations = [
            (&self.plan, finished.plan),
            (&self.permit, finished.permit),
            (&self.execute, finished.execute),
            (&self.end2end, Some(finished.end2end)),
            (&self.compute, finished.compute),
        ];
        for (histogram, duration) in durations {
            duration.iter().for_each(|d| histogram.observe(d.as_secs_f64()));
        }
        let counts = [
            (&self.partitions, finished.partitions),
            (&self.parquet_files, finished.parquet_files),
            (&self.memory_max, finished.memory_max),
            (&self.rows, finished.execute.map(|_| rows)),
        ];
        for (histogram, count) in counts {
            count.iter().for_each(|n| histogram.observe(*n as f64));
        }
    }
}

fn phase(end: End) -> &'static str {
    match end {
        End::Success => "success",
        End::Fail => "fail",
        End::Cancel => "cancel",
    }
}
