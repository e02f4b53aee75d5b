//! Counts sessions and statements.

use metrics::{CounterVec, DURATION_SECONDS, Gauge, HistogramVec, Registry};
use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(super) struct Meter {
    sessions: Gauge,
    ended: CounterVec,
    statements: CounterVec,
    seconds: HistogramVec,
}

/// A session that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    meter: Meter,
    /// Why it ended.
    pub(super) outcome: &'static str,
}

impl Meter {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            sessions: registry.gauge("pg_sessions", "Connections of Postgres clients that are open"),
            ended: registry.counter_vec(
                "pg_sessions_ended_total",
                "Connections of Postgres clients that have ended, by how they ended",
                &["outcome"],
            ),
            statements: registry.counter_vec(
                "pg_statements_total",
                "Statements of Postgres clients that were answered, by kind and by the class of the error",
                &["command", "status"],
            ),
            seconds: registry.histogram_vec(
                "pg_statement_duration_seconds",
                "Time from a statement of a Postgres client to the end of its answer",
                DURATION_SECONDS,
                &["command"],
            ),
        }
    }

    pub(super) fn begin(&self) -> Counted {
        self.sessions.inc();
        Counted { meter: self.clone(), outcome: "aborted" }
    }

    pub(super) fn statement(&self, command: &str, begun: Instant, status: &str) {
        self.statements.with(&[command, status]).inc();
        self.seconds.with(&[command]).observe(begun.elapsed().as_secs_f64());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.sessions.dec();
        self.meter.ended.with(&[self.outcome]).inc();
    }
}
