//! What a node finds about itself. Each rule is a function over the facts.

use std::time::Duration;

use metrics::recent::WINDOW;
use metrics::vitals;
use storage::bucket::RecentUse;
use storage::ingest::RecentLines;
use storage::node::LogStanding;
use storage::replica::{Followed, LATE_MAX};

use super::super::facts::PoolUse;
use super::super::log::{End, Row, now_ns};
use super::{Facts, Finding, Severity};

/// The start guides of the original give two I/O threads, which is what is found too few on larger machines.
const IO_THREADS_FEW: usize = 2;

/// Above this share of their time, requests begin to wait for the threads that read them.
const IO_BUSY_MIN: f64 = 0.8;

/// Of the memory limit; what is left is less than one large snapshot takes.
const MEMORY_MIN: f64 = 0.85;

/// Here the system may end the process at any moment.
const MEMORY_CRITICAL: f64 = 0.95;

/// Of the memory of queries; the next large one fails.
const POOL_MIN: f64 = 0.9;

/// One line in a hundred is a sender with a fault, not a typing error.
const REFUSED_MIN: f64 = 0.01;

/// Half of all lines: most of what is sent is lost.
const REFUSED_CRITICAL: f64 = 0.5;

/// With fewer queries a share says nothing.
const QUERIES_MIN: usize = 10;

const FAILED_MIN: f64 = 0.05;
const FAILED_CRITICAL: f64 = 0.5;

/// Somebody notices a query that waits so long before it begins.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// Fewer errors of a store are what its clients expect of it.
const STORE_ERRORS_MIN: u64 = 3;
const STORE_ERRORS_SHARE_MIN: f64 = 0.01;
const STORE_ERRORS_CRITICAL: f64 = 0.2;

/// A put to a cloud's store takes 50 to 150 ms; every write waits for one.
const STORE_SLOW: Duration = Duration::from_millis(500);

/// With fewer transfers one large file makes a store look slow.
const TRANSFERS_MIN: u64 = 5;

/// A snapshot is forced at the age that is set; at twice that it did not come.
const LOG_AGE_TIMES: u32 = 2;

/// What a node knows of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeFacts {
    pub(super) vitals: Option<vitals::Figures>,
    pub(super) lines: Option<RecentLines>,
    pub(super) store: RecentUse,
    pub(super) last_store_error: Option<String>,
    pub(super) log: Option<LogStanding>,
    /// When a snapshot is forced.
    pub(super) snapshot_age_max: Option<Duration>,
    pub(super) followed: Vec<Followed>,
    pub(super) queries: RecentQueries,
    pub(super) pool: Option<PoolUse>,
}

/// Queries of the last minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RecentQueries {
    pub(super) ended: usize,
    pub(super) failed: usize,
    /// Since there was not enough memory.
    pub(super) lacked_memory: usize,
    /// That waited long for others to end, or still do.
    pub(super) waited: usize,
    pub(super) last_error: Option<String>,
}

impl NodeFacts {
    pub(super) fn of(facts: &Facts) -> Self {
        let calls = facts.insight.store.figures();
        let last_store_error =
            calls.into_iter().filter_map(|figures| figures.tally.last_error).max_by_key(|(_, at)| *at);
        Self {
            vitals: facts.vitals(),
            lines: facts.insight.recent_lines(),
            store: facts.insight.store.recent(),
            last_store_error: last_store_error.map(|(said, _)| said),
            log: facts.insight.log(),
            snapshot_age_max: facts.settings.interval("force-snapshot-max-age"),
            followed: facts.insight.followed(),
            queries: RecentQueries::of(&facts.log.rows(), now_ns()),
            pool: facts.pool(),
        }
    }
}

impl RecentQueries {
    pub(super) fn of(rows: &[Row], now_ns: i64) -> Self {
        let age = |row: &Row| Duration::from_nanos(u64::try_from(now_ns.saturating_sub(row.issued_ns)).unwrap_or(0));
        let recent: Vec<&Row> = rows.iter().filter(|row| age(row) <= WINDOW).collect();
        let failed = || recent.iter().filter(|row| row.end == Some(End::Fail));
        let waited = |row: &Row| match row.permit {
            Some(permit) => permit,
            None if row.end.is_none() => row.plan.map_or(Duration::ZERO, |plan| age(row).saturating_sub(plan)),
            None => Duration::ZERO,
        };
        Self {
            ended: recent.iter().filter(|row| row.end.is_some()).count(),
            failed: failed().count(),
            lacked_memory: failed().filter(|row| row.lacked_memory).count(),
            waited: recent.iter().filter(|row| waited(row) >= WAIT_MIN).count(),
            last_error: failed().next_back().and_then(|row| row.error.as_deref().map(str::to_owned)),
        }
    }
}

pub(super) fn findings(facts: &NodeFacts) -> Vec<Finding> {
    let rules: [fn(&NodeFacts) -> Option<Finding>; 10] = [
        io_threads,
        lines_refused,
        process_memory,
        query_memory,
        queries_fail,
        queries_wait,
        store_errors,
        store_slow,
        replica_lag,
        log_not_in_files,
    ];
    rules.iter().filter_map(|rule| rule(facts)).collect()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn io_threads(facts: &NodeFacts) -> Option<Finding> {
    let vitals = facts.vitals.as_ref()?;
    let (busy, threads) = (vitals.io_busy_ratio?, vitals.io_threads);
    let better = (vitals.cpus / 2).max(IO_THREADS_FEW + 1);
    (threads <= IO_THREADS_FEW && vitals.cpus > threads && busy >= IO_BUSY_MIN).then(|| Finding {
        severity: Severity::Warning,
        code: "io_threads_few",
        finding: "All I/O threads are busy and the machine has more cores: requests wait to be read.".into(),
        evidence: format!("{threads} I/O threads, busy {} of their time; {} cores", percent(busy), vitals.cpus),
        query: "SELECT node_id, io_threads, io_busy_ratio, cpu_count, cpu_ratio FROM system.processes".into(),
        statement: format!("weir serve --num-io-threads {better}"),
    })
}

fn lines_refused(facts: &NodeFacts) -> Option<Finding> {
    let RecentLines { kept, refused, last_refused } = facts.lines.clone()?;
    if refused == 0 {
        return None;
    }
    let share = share(refused, refused + kept);
    let severity = if share < REFUSED_MIN { Severity::Info } else { Severity::critical_from(REFUSED_CRITICAL, share) };
    Some(Finding {
        severity,
        code: "lines_refused",
        finding: "Senders write lines that cannot be read, or do not fit their tables; these rows are not kept.".into(),
        evidence: format!(
            "{refused} lines refused and {kept} kept in {WINDOW:?}; the last one: {}",
            last_refused.unwrap_or_default()
        ),
        query: "SELECT database_name, table_name, column_name, kind, data_type FROM system.columns".into(),
        statement: "weir write --database DATABASE --accept-partial --file LINES    # names each bad line".into(),
    })
}

fn process_memory(facts: &NodeFacts) -> Option<Finding> {
    let vitals = facts.vitals.as_ref()?;
    let (bytes, limit) = (vitals.memory_bytes?, vitals.memory_limit_bytes);
    let share = share(bytes, limit);
    (share >= MEMORY_MIN).then(|| Finding {
        severity: Severity::critical_from(MEMORY_CRITICAL, share),
        code: "memory_short",
        finding: "The process has nearly all the memory it may use; the system may end it.".into(),
        evidence: format!("{bytes} of {limit} bytes, {}", percent(share)),
        query: "SELECT node_id, memory_bytes, memory_limit_bytes, query_memory_bytes FROM system.processes".into(),
        statement: "weir serve --exec-mem-pool-size 10%".into(),
    })
}

fn query_memory(facts: &NodeFacts) -> Option<Finding> {
    let lacked = facts.queries.lacked_memory;
    let PoolUse { reserved_bytes, limit_bytes } = facts.pool?;
    let limit = limit_bytes?;
    let share = share(reserved_bytes as u64, limit as u64);
    (lacked > 0 || share >= POOL_MIN).then(|| Finding {
        severity: Severity::Warning,
        code: "query_memory_short",
        finding: "The memory of queries is used up: queries fail, or the next one will.".into(),
        evidence: format!(
            "{lacked} queries failed for memory in {WINDOW:?}; {reserved_bytes} of {limit} bytes are held now"
        ),
        query: "SELECT node_id, issue_time, max_memory, error, query_text FROM system.queries \
                ORDER BY max_memory DESC NULLS LAST LIMIT 10"
            .into(),
        statement: "weir serve --exec-mem-pool-size 40%".into(),
    })
}

fn queries_fail(facts: &NodeFacts) -> Option<Finding> {
    let RecentQueries { ended, failed, last_error, .. } = facts.queries.clone();
    let share = share(failed as u64, ended as u64);
    (ended >= QUERIES_MIN && share >= FAILED_MIN).then(|| Finding {
        severity: Severity::critical_from(FAILED_CRITICAL, share),
        code: "queries_fail",
        finding: "Many queries fail.".into(),
        evidence: format!(
            "{failed} of {ended} queries in {WINDOW:?}, {}; the last one: {}",
            percent(share),
            last_error.unwrap_or_default()
        ),
        query: "SELECT node_id, error, count(*) AS queries, max(issue_time) AS latest FROM system.queries \
                WHERE phase = 'fail' GROUP BY node_id, error ORDER BY queries DESC"
            .into(),
        statement: "SELECT application_name, user_name, query_text, error FROM system.queries WHERE phase = 'fail'"
            .into(),
    })
}

fn queries_wait(facts: &NodeFacts) -> Option<Finding> {
    let waited = facts.queries.waited;
    (waited > 0).then(|| Finding {
        severity: Severity::Warning,
        code: "queries_wait",
        finding: "Queries wait because as many run as may run at one time.".into(),
        evidence: format!("{waited} queries of the last {WINDOW:?} waited for {WAIT_MIN:?} or longer"),
        query: "SELECT node_id, id, phase, permit_duration, execute_duration, query_text FROM system.queries \
                WHERE running OR permit_duration > INTERVAL '1 second'"
            .into(),
        statement: "CANCEL QUERY 'the id of a long one'; or weir serve --max-concurrent-queries N".into(),
    })
}

fn store_errors(facts: &NodeFacts) -> Option<Finding> {
    let RecentUse { requests, errors, mean: _ } = facts.store;
    let share = share(errors, requests);
    (errors >= STORE_ERRORS_MIN && share >= STORE_ERRORS_SHARE_MIN).then(|| Finding {
        severity: Severity::critical_from(STORE_ERRORS_CRITICAL, share),
        code: "store_errors",
        finding: "The object store fails; writes and queries wait until it answers.".into(),
        evidence: format!(
            "{errors} of {requests} calls failed in {WINDOW:?}, {}; the last one: {}",
            percent(share),
            facts.last_store_error.as_deref().unwrap_or_default()
        ),
        query: "SELECT node_id, op, requests, errors, last_error, last_error_time FROM system.object_store \
                WHERE errors > 0"
            .into(),
        statement: "curl -i http://NODE:8181/ready    # whether the store answers now".into(),
    })
}

fn store_slow(facts: &NodeFacts) -> Option<Finding> {
    let RecentUse { requests, errors: _, mean } = facts.store;
    let mean = mean.filter(|mean| *mean >= STORE_SLOW && requests >= TRANSFERS_MIN)?;
    Some(Finding {
        severity: Severity::Warning,
        code: "store_slow",
        finding: "The object store is slow; every write waits for it.".into(),
        evidence: format!("{mean:?} for a put or get on average, {requests} calls in {WINDOW:?}"),
        query: "SELECT node_id, op, requests, avg_latency, p99_latency, max_latency FROM system.object_store".into(),
        statement: "weir serve --object-store-connection-limit N    # if requests wait for each other".into(),
    })
}

fn replica_lag(facts: &NodeFacts) -> Option<Finding> {
    let lag = |followed: &Followed| followed.lag.unwrap_or(Duration::MAX);
    let worst = facts.followed.iter().max_by_key(|followed| (followed.trouble.is_some(), lag(followed)))?;
    (worst.trouble.is_some() || lag(worst) >= LATE_MAX / 2).then(|| {
        let is_late = lag(worst) >= LATE_MAX;
        let behind =
            worst.lag.map_or_else(|| "it was never read to its end".to_owned(), |lag| format!("{lag:.1?} behind"));
        Finding {
            severity: if is_late { Severity::Critical } else { Severity::Warning },
            code: "replica_lag",
            finding: "The newest rows of another node are not visible here; later than a while queries fail instead."
                .into(),
            evidence: format!(
                "log of node {}: {behind}{}",
                worst.node,
                worst.trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default()
            ),
            query: "SELECT node_id, source_node, applied_position, lag, trouble FROM system.replicas".into(),
            statement: "weir serve --replication-interval 250ms".into(),
        }
    })
}

fn log_not_in_files(facts: &NodeFacts) -> Option<Finding> {
    let log = facts.log.as_ref()?;
    let ((_, age), age_max) = (log.oldest?, facts.snapshot_age_max?);
    (age >= age_max * LOG_AGE_TIMES).then(|| Finding {
        severity: Severity::Warning,
        code: "log_not_in_files",
        finding: "Rows have waited for a file for much longer than they should; a restart has to replay them.".into(),
        evidence: format!("{} rows wait, the oldest for {age:.0?}; a snapshot is due after {age_max:?}", log.rows),
        query: "SELECT w.node_id, rows_waiting, bytes_waiting, oldest_age, j.kind, j.running_for FROM system.wal w \
                LEFT JOIN system.jobs j ON j.node_id = w.node_id"
            .into(),
        statement: "ALTER SYSTEM SET force_snapshot_max_age = '10m'".into(),
    })
}
