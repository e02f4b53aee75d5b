//! What a node finds about itself. Each rule is a function over the facts.

use std::time::Duration;

use metrics::recent::WINDOW;
use metrics::vitals;
use storage::bucket::{RecentUse, Transfers};
use storage::ingest::RecentLines;
use storage::node::LogStanding;
use storage::replica::{Followed, LATE_MAX, Trouble};

use super::super::facts::PoolUse;
use super::super::log::{End, Row, now_ns};
use super::{Facts, Finding, Severity};
use crate::tables::FooterUse;

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

/// Queries have a fifth of memory by default,
const POOL_PART: u64 = 5;

/// and no advice gives them more than half.
const POOL_PART_MAX: u64 = 2;

/// Tenths of memory that queries and rows together may be promised; the rest is for all else.
const PROMISED_MAX: u64 = 9;

/// Rows that take a tenth of memory make room when they are in files.
const ROWS_PART: u64 = 10;

/// More queries at one time only take more memory.
const QUERIES_ENOUGH: u64 = 1_000;

/// With so many of its cores busy a node has no use for more queries.
const CORES_BUSY: f64 = 0.9;

/// So few footers are read whatever memory they have.
const FOOTERS_MIN: u64 = 100;

/// Of the footers that queries need; each that is read costs a request.
const FOOTERS_MISSED: f64 = 0.2;

/// Of their memory; the next footer puts out another.
const FOOTERS_FULL: f64 = 0.8;

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

/// With fewer puts or gets one large file makes a store look slow.
const TRANSFERS_MIN: u64 = 5;

/// A snapshot is forced at the age that is set; at twice that it did not come.
const LOG_AGE_TIMES: u32 = 2;

/// What a node knows of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeFacts {
    pub(super) node: String,
    pub(super) vitals: Option<vitals::Figures>,
    pub(super) lines: Option<RecentLines>,
    pub(super) store: RecentUse,
    pub(super) last_store_error: Option<String>,
    pub(super) log: Option<LogStanding>,
    pub(super) followed: Vec<Followed>,
    pub(super) queries: RecentQueries,
    pub(super) pool: Option<PoolUse>,
    pub(super) footers: Option<FooterUse>,
    pub(super) set: Set,
}

/// Settings that findings rest on.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    /// When a snapshot is forced.
    pub(super) snapshot_age_max: Option<Duration>,
    /// Memory for rows that are not in files.
    pub(super) rows_bytes: Option<u64>,
    pub(super) queries_max: Option<u64>,
    /// Those that change while a node runs, but not here, since they were said at the start.
    pub(super) said: Vec<&'static str>,
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
        let settings = &facts.settings;
        Self {
            node: facts.node_id.clone(),
            vitals: facts.vitals(),
            lines: facts.insight.recent_lines(),
            store: facts.insight.store.recent(),
            last_store_error: last_store_error.map(|(said, _)| said),
            log: facts.insight.log(),
            followed: facts.insight.followed(),
            queries: RecentQueries::of(&facts.log.rows(), now_ns()),
            pool: facts.pool(),
            footers: facts.footers(),
            set: Set {
                snapshot_age_max: settings.interval("force-snapshot-max-age"),
                rows_bytes: settings.number("force-snapshot-mem-size"),
                queries_max: settings.number(QUERIES_MAX),
                said: settings.said(),
            },
        }
    }
}

impl RecentQueries {
    pub(super) fn of(rows: &[Row], now_ns: i64) -> Self {
        let age = |row: &Row| Duration::from_nanos(u64::try_from(now_ns.saturating_sub(row.issued_ns)).unwrap_or(0));
        let is_recent = |row: &Row, after: Duration| age(row).saturating_sub(after) <= WINDOW;
        let ended: Vec<(&Row, Duration)> = rows
            .iter()
            .filter_map(|row| Some((row, row.end2end.filter(|_| row.end.is_some())?)))
            .filter(|(row, took)| is_recent(row, *took))
            .collect();
        let failed = || ended.iter().filter(|(row, _)| row.end == Some(End::Fail));
        let waited = |row: &&Row| {
            let planned = row.plan.unwrap_or_default();
            match row.permit {
                Some(permit) => permit >= WAIT_MIN && is_recent(row, planned + permit),
                None => row.end.is_none() && row.plan.is_some() && age(row).saturating_sub(planned) >= WAIT_MIN,
            }
        };
        let last = failed().min_by_key(|(row, took)| age(row).saturating_sub(*took)).map(|(row, _)| row);
        Self {
            ended: ended.len(),
            failed: failed().count(),
            lacked_memory: failed().filter(|(row, _)| row.lacked_memory).count(),
            waited: rows.iter().filter(waited).count(),
            last_error: last.and_then(|row| row.error.as_deref().map(str::to_owned)),
        }
    }
}

pub(super) fn findings(facts: &NodeFacts) -> Vec<Finding> {
    let rules: [fn(&NodeFacts) -> Option<Finding>; 12] = [
        io_threads,
        lines_refused,
        process_memory,
        query_memory,
        memory_promised,
        footers_read_again,
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

const QUERY_MEMORY: &str = "exec-mem-pool-size";
const FOOTERS: &str = "footer-cache-size";
const QUERIES_MAX: &str = "max-concurrent-queries";

/// What gives a setting of this node another value.
fn set(facts: &NodeFacts, setting: &str, value: &str) -> String {
    if facts.set.said.contains(&setting) {
        return format!("weir serve --{setting} {value}    # that flag was said, and wins over ALTER SYSTEM");
    }
    format!("ALTER SYSTEM SET {} = '{value}' FOR NODE '{}'", setting.replace('-', "_"), facts.node)
}

fn set_memory(facts: &NodeFacts, setting: &str, bytes: u64) -> String {
    set(facts, setting, &format!("{}mb", (bytes >> 20).max(1)))
}

fn snapshot(node: &str) -> String {
    format!("SNAPSHOT NODE '{node}'")
}

fn io_threads(facts: &NodeFacts) -> Option<Finding> {
    let vitals = facts.vitals.as_ref()?;
    let (busy, threads) = (vitals.io_busy_ratio?, vitals.io_threads);
    let better = (vitals.cpus / 2).max(threads + 1);
    (threads <= IO_THREADS_FEW && vitals.cpus > threads && busy >= IO_BUSY_MIN).then(|| Finding {
        severity: Severity::Warning,
        code: "io_threads_few",
        finding: "All I/O threads are busy and the machine has more cores: requests wait to be read.".into(),
        evidence: format!("{threads} I/O threads, busy {} of their time; {} cores", percent(busy), vitals.cpus),
        query: "SELECT node_id, io_threads, io_busy_ratio, cpu_count, cpu_ratio FROM system.processes".into(),
        statement: Some(format!("weir serve --num-io-threads {better}")),
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
        statement: Some("weir write --database DATABASE --accept-partial --file LINES    # names each bad line".into()),
    })
}

/// Of the memory that the process may use, and how much that is.
fn memory_use(facts: &NodeFacts) -> Option<(f64, u64)> {
    let vitals = facts.vitals.as_ref()?;
    let limit = vitals.memory_limit_bytes;
    Some((share(vitals.memory_bytes?, limit), limit))
}

fn process_memory(facts: &NodeFacts) -> Option<Finding> {
    let (share, limit) = memory_use(facts)?;
    (share >= MEMORY_MIN).then(|| Finding {
        severity: Severity::critical_from(MEMORY_CRITICAL, share),
        code: "memory_short",
        finding: "The process has nearly all the memory it may use; the system may end it.".into(),
        evidence: format!("{} of {limit} bytes", percent(share)),
        query: "SELECT node_id, memory_bytes, memory_limit_bytes, query_memory_bytes FROM system.processes".into(),
        statement: relief(facts, limit),
    })
}

/// What takes memory from whatever has most of it.
fn relief(facts: &NodeFacts, limit: u64) -> Option<String> {
    let own = facts.log.as_ref().map_or(0, |log| log.bytes + log.sorted_bytes);
    let others: usize = facts.followed.iter().map(|followed| followed.bytes).sum();
    let (queries, queries_max) =
        facts.pool.map_or((0, None), |pool| (pool.reserved_bytes, pool.limit_bytes.map(|bytes| bytes as u64)));
    if own + others >= queries && (own + others) as u64 >= limit / ROWS_PART {
        return Some(if own >= others { snapshot(&facts.node) } else { "SNAPSHOT".to_owned() });
    }
    // With less than a quarter of what is usual queries fail instead.
    let less = queries_max? / 2;
    (less >= limit / POOL_PART / 4).then(|| set_memory(facts, QUERY_MEMORY, less))
}

fn query_memory(facts: &NodeFacts) -> Option<Finding> {
    let lacked = facts.queries.lacked_memory;
    let PoolUse { reserved_bytes, limit_bytes } = facts.pool?;
    let limit = limit_bytes?;
    let held = share(reserved_bytes as u64, limit as u64);
    (lacked > 0 || held >= POOL_MIN).then(|| Finding {
        severity: Severity::Warning,
        code: "query_memory_short",
        finding: "The memory of queries is used up: queries fail, or the next one will.".into(),
        evidence: format!(
            "{lacked} queries failed for memory in {WINDOW:?}; {reserved_bytes} of {limit} bytes are held now"
        ),
        query: "SELECT node_id, issue_time, max_memory, error, query_text FROM system.queries \
                ORDER BY max_memory DESC NULLS LAST LIMIT 10"
            .into(),
        statement: more_for_queries(facts, limit as u64),
    })
}

/// Nothing when there is no more to give.
fn more_for_queries(facts: &NodeFacts, limit: u64) -> Option<String> {
    let (used, whole) = memory_use(facts)?;
    // As many rows of others may be here as own ones.
    let rows = facts.set.rows_bytes.unwrap_or_default() * if facts.followed.is_empty() { 1 } else { 2 };
    let left = (whole / 10 * PROMISED_MAX).saturating_sub(rows);
    let more = limit.saturating_mul(2).max(whole / POOL_PART).min(whole / POOL_PART_MAX).min(left);
    (more > limit && used < MEMORY_MIN).then(|| set_memory(facts, QUERY_MEMORY, more))
}

/// Nothing is short yet, but all that was promised may be asked for.
fn memory_promised(facts: &NodeFacts) -> Option<Finding> {
    let (queries, rows) = (facts.pool?.limit_bytes? as u64, facts.set.rows_bytes?);
    let whole = facts.vitals.as_ref()?.memory_limit_bytes;
    let promised = queries.saturating_add(rows);
    (promised > whole / 10 * PROMISED_MAX).then(|| Finding {
        severity: Severity::Warning,
        code: "memory_promised",
        finding: "Queries and own buffered rows may together take nearly all memory; the system may end the process."
            .into(),
        evidence: format!(
            "{queries} bytes for queries and {rows} for rows, {} of {whole}",
            percent(share(promised, whole))
        ),
        query: "SELECT node_id, name, value, source, trouble FROM system.settings \
                WHERE name IN ('exec_mem_pool_size', 'force_snapshot_mem_size')"
            .into(),
        // What is further above that of a new node, which has 20% and 50%.
        statement: Some(if queries.saturating_mul(5) > rows.saturating_mul(2) {
            set(facts, QUERY_MEMORY, "20%")
        } else {
            set(facts, "force-snapshot-mem-size", "50%")
        }),
    })
}

/// A new file is read once; that alone does not fill the memory of footers.
fn footers_read_again(facts: &NodeFacts) -> Option<Finding> {
    let FooterUse { files, bytes, bytes_max, recent_hits, recent_misses, .. } = facts.footers?;
    let misses = share(recent_misses, recent_hits + recent_misses);
    let is_full = files == 0 || share(bytes, bytes_max) >= FOOTERS_FULL;
    (recent_misses >= FOOTERS_MIN && misses >= FOOTERS_MISSED && is_full).then(|| Finding {
        severity: Severity::Warning,
        code: "footers_read_again",
        finding: "The footers of files do not fit into their memory; queries read them from the store each time."
            .into(),
        evidence: format!(
            "{recent_misses} of {} footers were read in {WINDOW:?}; {files} are kept in {bytes} of {bytes_max} bytes",
            recent_hits + recent_misses
        ),
        query: "SELECT node_id, footer_cache_bytes, footer_cache_limit_bytes, footer_cache_hits, footer_cache_misses \
                FROM system.processes"
            .into(),
        statement: more_for_footers(facts, bytes_max),
    })
}

fn more_for_footers(facts: &NodeFacts, bytes_max: u64) -> Option<String> {
    let (used, whole) = memory_use(facts)?;
    let more = bytes_max.saturating_mul(2).max(whole / 50).min(whole / 10);
    (more > bytes_max && used < MEMORY_MIN).then(|| set_memory(facts, FOOTERS, more))
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
        query: "SELECT node_id, application_name, user_name, error, count(*) AS queries, max(issue_time) AS latest, \
                min(query_text) AS one_of_them FROM system.queries WHERE phase = 'fail' GROUP BY ALL ORDER BY queries DESC"
            .into(),
        statement: None,
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
        statement: fewer_waits(facts),
    })
}

/// Nothing where more queries at one time would only lack cores, or memory.
fn fewer_waits(facts: &NodeFacts) -> Option<String> {
    let lacks_cores =
        facts.vitals.as_ref().is_some_and(|v| v.cpu_ratio.unwrap_or_default() >= CORES_BUSY * v.cpus as f64);
    if lacks_cores || query_memory(facts).is_some() || process_memory(facts).is_some() {
        return None;
    }
    let more = facts.set.queries_max.filter(|running| *running < QUERIES_ENOUGH)? * 2;
    Some(set(facts, QUERIES_MAX, &more.to_string()))
}

fn store_errors(facts: &NodeFacts) -> Option<Finding> {
    let RecentUse { requests, errors, puts: _, gets: _ } = facts.store;
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
        statement: Some("curl -i http://NODE:8181/ready    # whether the store answers now".into()),
    })
}

fn store_slow(facts: &NodeFacts) -> Option<Finding> {
    let RecentUse { requests: _, errors: _, puts, gets } = facts.store;
    let slow = |calls: Transfers| calls.mean.filter(|mean| *mean >= STORE_SLOW && calls.count >= TRANSFERS_MIN);
    let finding = match (slow(puts), slow(gets)) {
        (Some(_), _) => "The object store is slow to put; every write waits for it.",
        (None, Some(_)) => "The object store is slow to read from; queries wait for it.",
        (None, None) => return None,
    };
    let said = |calls: Transfers| format!("{} of {:?}", calls.count, calls.mean.unwrap_or_default());
    Some(Finding {
        severity: Severity::Warning,
        code: "store_slow",
        finding: finding.into(),
        evidence: format!("in {WINDOW:?} puts: {} on average; gets: {}", said(puts), said(gets)),
        query: "SELECT node_id, op, requests, avg_latency, p99_latency, max_latency FROM system.object_store".into(),
        statement: Some("weir serve --object-store-connection-limit N    # if requests wait for each other".into()),
    })
}

fn replica_lag(facts: &NodeFacts) -> Option<Finding> {
    let lag = |followed: &Followed| followed.lag.unwrap_or(Duration::MAX);
    let worst = facts.followed.iter().max_by_key(|followed| (followed.trouble.is_some(), lag(followed)))?;
    (worst.trouble.is_some() || lag(worst) >= LATE_MAX / 2).then(|| {
        let is_late = lag(worst) >= LATE_MAX;
        let behind =
            worst.lag.map_or_else(|| "it was never read to its end".to_owned(), |lag| format!("{lag:.1?} behind"));
        let trouble = worst.trouble.as_ref().map(|trouble| format!("; {}", trouble.reason())).unwrap_or_default();
        Finding {
            severity: if is_late { Severity::Critical } else { Severity::Warning },
            code: "replica_lag",
            finding: "The newest rows of another node are not visible here; later than a while queries fail instead."
                .into(),
            evidence: format!("log of node {}: {behind}{trouble}", worst.node),
            query: "SELECT node_id, source_node, applied_position, lag, trouble FROM system.replicas".into(),
            statement: Some(followed_again(worst, &facts.followed)),
        }
    })
}

/// Rows that are in files need not come by the log.
fn followed_again(worst: &Followed, all: &[Followed]) -> String {
    match worst.trouble {
        Some(Trouble::Damaged(_)) => snapshot(worst.node.as_str()),
        Some(Trouble::Full(_)) => {
            let largest = all.iter().max_by_key(|followed| followed.bytes).unwrap_or(worst);
            snapshot(largest.node.as_str())
        }
        Some(Trouble::Waits(_)) | None => {
            format!("curl -i http://NODE:8181/ready    # of node {}, and of this one", worst.node)
        }
    }
}

fn log_not_in_files(facts: &NodeFacts) -> Option<Finding> {
    let log = facts.log.as_ref()?;
    let ((_, age), age_max) = (log.oldest?, facts.set.snapshot_age_max?);
    (age >= age_max * LOG_AGE_TIMES).then(|| Finding {
        severity: Severity::Warning,
        code: "log_not_in_files",
        finding: "Rows have waited for a file for much longer than they should; a restart has to replay them.".into(),
        evidence: format!("{} rows wait, the oldest for {age:.0?}; a snapshot is due after {age_max:?}", log.rows),
        query: "SELECT w.node_id, rows_waiting, bytes_waiting, oldest_age, j.kind, j.running_for FROM system.wal w \
                LEFT JOIN system.jobs j ON j.node_id = w.node_id"
            .into(),
        statement: Some(snapshot(&facts.node)),
    })
}
