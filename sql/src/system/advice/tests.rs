//! Each finding from the facts that cause it, and none without.

use std::time::Duration;

use metrics::vitals::Figures;
use storage::bucket::{RecentUse, Transfers};
use storage::catalog::{Change, Node, State};
use storage::cluster::{Condition, Lives};
use storage::ingest::RecentLines;
use storage::model::{Epoch, Mode, Modes, NodeId, Position, Writer};
use storage::node::LogStanding;
use storage::replica::{Followed, Trouble};

use super::super::facts::PoolUse;
use super::super::log::{Arrival, End, QueryLog, Row, now_ns};
use super::cluster::{awake, compactors, lost};
use super::node::{NodeFacts, RecentQueries, Set, findings};
use super::*;
use crate::tables::FooterUse;

const GB: u64 = 1 << 30;

/// A node that does well.
fn well() -> NodeFacts {
    NodeFacts {
        node: "n".into(),
        vitals: Some(vitals((2, 0.3), 50)),
        lines: Some(RecentLines { kept: 1_000, refused: 0, last_refused: None }),
        store: store((1_000, 2), (100, 80), (100, 80)),
        last_store_error: Some("it was slow once".into()),
        log: Some(log(Duration::from_secs(600))),
        followed: vec![followed(Some(1), None)],
        queries: RecentQueries { ended: 100, failed: 1, ..RecentQueries::default() },
        pool: pool(10, 20),
        footers: footers((99, 2_000), (900, 1_000)),
        set: Set {
            snapshot_age_max: Some(Duration::from_secs(3_600)),
            rows_bytes: Some(50 * GB),
            queries_max: Some(50),
            said: Vec::new(),
        },
    }
}

/// Of 100 GB.
fn vitals((io_threads, busy): (usize, f64), memory_gb: u64) -> Figures {
    Figures {
        cpus: 8,
        memory_bytes: Some(memory_gb * GB),
        memory_limit_bytes: 100 * GB,
        io_threads,
        io_busy_ratio: Some(busy),
        ..Figures::default()
    }
}

fn pool(reserved_gb: usize, limit_gb: usize) -> Option<PoolUse> {
    Some(PoolUse { reserved_bytes: reserved_gb << 30, limit_bytes: Some(limit_gb << 30) })
}

/// Bytes that are kept and may be, and footers that were needed: how many were there, and how many were read.
fn footers((bytes, bytes_max): (u64, u64), (recent_hits, recent_misses): (u64, u64)) -> Option<FooterUse> {
    Some(FooterUse {
        files: 9,
        bytes: bytes << 20,
        bytes_max: bytes_max << 20,
        recent_hits,
        recent_misses,
        ..FooterUse::default()
    })
}

/// Puts and gets: how many, and their mean in milliseconds.
fn store((requests, errors): (u64, u64), puts: (u64, u64), gets: (u64, u64)) -> RecentUse {
    let transfers = |(count, ms)| Transfers { count, mean: Some(Duration::from_millis(ms)) };
    RecentUse { requests, errors, puts: transfers(puts), gets: transfers(gets) }
}

fn log(oldest: Duration) -> LogStanding {
    LogStanding {
        epoch: Epoch(1),
        next: Position(9),
        persisted: Position(4),
        persisted_stamp: None,
        rows: 7,
        bytes: 70,
        sorted_bytes: 0,
        oldest: Some((1, oldest)),
        flush_seconds: (None, None),
    }
}

fn followed(lag: Option<u64>, trouble: Option<Trouble>) -> Followed {
    Followed {
        node: NodeId::new("other").unwrap(),
        applied: Position(3),
        rows: 1,
        bytes: 10,
        lag: lag.map(Duration::from_secs),
        trouble,
    }
}

#[track_caller]
fn check(facts: NodeFacts, expected: &[(&str, Severity)]) {
    let found = findings(&facts);
    let codes: Vec<_> = found.iter().map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(codes, expected, "{facts:?}");
    for Finding { finding, evidence, query, statement, .. } in found {
        assert!(finding.ends_with('.') && !evidence.is_empty() && !query.is_empty());
        assert!(statement.is_none_or(|statement| !statement.is_empty()));
    }
}

/// What mends the one finding.
#[track_caller]
fn check_statement(facts: NodeFacts, expected: Option<&str>) {
    let found = findings(&facts);
    let [Finding { statement, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(statement.as_deref(), expected, "{facts:?}");
}

#[test]
fn a_node_that_does_well_or_tells_nothing_gets_no_advice() {
    check(well(), &[]);
    check(NodeFacts::default(), &[]);
}

#[test]
fn two_busy_io_threads_are_too_few_where_there_are_more_cores() {
    let with = |threads: (usize, f64)| NodeFacts { vitals: Some(vitals(threads, 50)), ..well() };
    check(with((2, 0.9)), &[("io_threads_few", Severity::Warning)]);
    check(with((2, 0.7)), &[]);
    check(with((3, 0.9)), &[]);
    let small = Figures { cpus: 2, ..vitals((2, 0.9), 50) };
    check(NodeFacts { vitals: Some(small), ..well() }, &[]);
}

#[test]
fn refused_lines_weigh_as_much_as_they_are_many() {
    let with = |kept, refused| {
        let lines = RecentLines { kept, refused, last_refused: Some("line 3: no field".into()) };
        NodeFacts { lines: Some(lines), ..well() }
    };
    check(with(1_000, 1), &[("lines_refused", Severity::Info)]);
    check(with(90, 10), &[("lines_refused", Severity::Warning)]);
    check(with(10, 10), &[("lines_refused", Severity::Critical)]);
    // What was wrong some time ago is no news.
    check(with(1_000, 0), &[]);
}

#[test]
fn memory_that_is_nearly_used_up_is_told() {
    let with = |bytes| NodeFacts { vitals: Some(vitals((2, 0.3), bytes)), ..well() };
    check(with(84), &[]);
    check(with(85), &[("memory_short", Severity::Warning)]);
    check(with(96), &[("memory_short", Severity::Critical)]);
    check(NodeFacts { pool: pool(17, 20), ..well() }, &[]);
    check(NodeFacts { pool: pool(18, 20), ..well() }, &[("query_memory_short", Severity::Warning)]);
    let queries = RecentQueries { ended: 100, failed: 1, lacked_memory: 1, ..RecentQueries::default() };
    check(NodeFacts { queries, ..well() }, &[("query_memory_short", Severity::Warning)]);
    check(NodeFacts { pool: pool(10, 40), ..well() }, &[]);
    check(NodeFacts { pool: pool(10, 41), ..well() }, &[("memory_promised", Severity::Warning)]);
}

#[test]
fn memory_is_given_and_taken_from_what_is_set_now() {
    let sets = |mb: u64| format!("ALTER SYSTEM SET exec_mem_pool_size = '{mb}mb' FOR NODE 'n'");
    let lacks = |limit_gb: usize| NodeFacts { pool: pool(limit_gb, limit_gb), followed: Vec::new(), ..well() };
    check_statement(lacks(1), Some(&sets(20 << 10)));
    check_statement(lacks(20), Some(&sets(40 << 10)));
    check_statement(lacks(30), Some(&sets(40 << 10)));
    check_statement(lacks(40), None);
    // Rows of another node may take as much as its own.
    let beside = |rows_gb: u64| NodeFacts {
        set: Set { rows_bytes: Some(rows_gb * GB), ..well().set },
        followed: well().followed,
        ..lacks(20)
    };
    check_statement(beside(50), None);
    check_statement(beside(30), Some(&sets(30 << 10)));
    let said = |limit_gb| {
        let set = Set { said: vec!["exec-mem-pool-size"], rows_bytes: Some(GB), ..well().set };
        NodeFacts { set, ..lacks(limit_gb) }
    };
    let serve = "weir serve --exec-mem-pool-size 20480mb    # that flag was said, and wins over ALTER SYSTEM";
    check_statement(said(1), Some(serve));
    check_statement(said(50), None);
    check_statement(said(80), None);

    let full = |pool| NodeFacts { pool, vitals: Some(vitals((2, 0.3), 90)), ..well() };
    check_statement(full(pool(10, 20)), Some(&sets(10 << 10)));
    check_statement(full(pool(1, 9)), None);
    check_statement(full(None), None);
    let rows = |own, others| {
        let log = LogStanding { bytes: own, ..log(Duration::from_secs(600)) };
        let followed = vec![Followed { bytes: others, ..followed(Some(1), None) }];
        NodeFacts { log: Some(log), followed, ..full(pool(10, 20)) }
    };
    check_statement(rows(20 << 30, 0), Some("SNAPSHOT NODE 'n'"));
    check_statement(rows(1 << 30, 20 << 30), Some("SNAPSHOT"));
    check_statement(rows(4 << 30, 4 << 30), Some(&sets(10 << 10)));
    let both = findings(&full(pool(20, 20)));
    let statements: Vec<_> = both.iter().map(|finding| (finding.code, finding.statement.as_deref())).collect();
    assert_eq!(statements, [("memory_short", Some(&*sets(10 << 10))), ("query_memory_short", None)]);

    let promised = |queries_gb, rows_gb: u64| {
        let set = Set { rows_bytes: Some(rows_gb * GB), ..well().set };
        NodeFacts { set, pool: pool(1, queries_gb), ..well() }
    };
    check_statement(promised(45, 50), Some("ALTER SYSTEM SET exec_mem_pool_size = '20%' FOR NODE 'n'"));
    check_statement(promised(20, 80), Some("ALTER SYSTEM SET force_snapshot_mem_size = '50%' FOR NODE 'n'"));
}

#[test]
fn queries_that_fail_or_wait_are_told() {
    let with = |ended, failed, waited| {
        let queries = RecentQueries { ended, failed, waited, ..RecentQueries::default() };
        NodeFacts { queries, ..well() }
    };
    check(with(9, 9, 0), &[]);
    check(with(100, 5, 0), &[("queries_fail", Severity::Warning)]);
    check(with(100, 50, 0), &[("queries_fail", Severity::Critical)]);
    check(with(100, 0, 1), &[("queries_wait", Severity::Warning)]);
    let more = "ALTER SYSTEM SET max_concurrent_queries = '100' FOR NODE 'n'";
    check_statement(with(100, 0, 1), Some(more));
    let busy = Figures { cpu_ratio: Some(7.9), ..vitals((2, 0.3), 50) };
    check_statement(NodeFacts { vitals: Some(busy), ..with(100, 0, 1) }, None);
    let short = findings(&NodeFacts { pool: pool(19, 20), ..with(100, 0, 1) });
    let statement = short.iter().find(|finding| finding.code == "queries_wait").map(|finding| &finding.statement);
    assert_eq!(statement, Some(&None), "more of them would lack more memory");
}

#[test]
fn a_query_counts_for_five_minutes_from_its_end_or_for_as_long_as_it_runs() {
    let log = QueryLog::new(10.into());
    log.open(Arrival { text: "SELECT 1", door: "http", application: None, database: "d", by: None });
    let came = log.rows().remove(0);
    let (now, seconds) = (now_ns(), Duration::from_secs);
    let row = |ago: u64| Row { issued_ns: now - i64::try_from(ago).unwrap() * 1_000_000_000, ..came.clone() };
    let failed = |ago, took| {
        let error = Some(format!("after {took} s").into());
        Row { end: Some(End::Fail), end2end: Some(seconds(took)), lacked_memory: true, error, ..row(ago) }
    };
    let of = |rows: &[Row]| RecentQueries::of(rows, now);
    let judged = of(&[failed(600, 310), failed(600, 200), failed(100, 1)]);
    assert_eq!((judged.ended, judged.failed, judged.lacked_memory), (2, 2, 2));
    assert_eq!(judged.last_error.as_deref(), Some("after 1 s"));
    let last = of(&[failed(600, 599), failed(100, 1)]).last_error;
    assert_eq!(last.as_deref(), Some("after 599 s"), "it ended a second ago");

    let planned = |ago| Row { plan: Some(seconds(1)), ..row(ago) };
    let ran = |ago, waited| Row { permit: Some(seconds(waited)), ..planned(ago) };
    for (row, waited) in [
        (row(900), 0),
        (planned(900), 1),
        (ran(900, 2), 0),
        (ran(900, 700), 1),
        (ran(100, 2), 1),
        (ran(100, 0), 0),
        (Row { end: Some(End::Cancel), end2end: Some(seconds(700)), ..ran(900, 699) }, 1),
    ] {
        assert_eq!(of(std::slice::from_ref(&row)).waited, waited, "{row:?}");
    }
}

#[test]
fn a_store_that_fails_or_is_slow_is_told() {
    let with = |calls, puts, gets| NodeFacts { store: store(calls, puts, gets), ..well() };
    let quick = (100, 80);
    check(with((100, 3), quick, quick), &[("store_errors", Severity::Warning)]);
    check(with((1_000, 3), quick, quick), &[]);
    check(with((10, 3), quick, quick), &[("store_errors", Severity::Critical)]);
    check(with((100, 0), (5, 500), (1_200, 20)), &[("store_slow", Severity::Warning)]);
    check(with((100, 0), quick, (5, 500)), &[("store_slow", Severity::Warning)]);
    check(with((100, 0), (4, 5_000), (4, 5_000)), &[]);
}

#[test]
fn a_log_that_is_not_followed_and_one_that_is_not_in_files_are_told() {
    let with = |of| NodeFacts { followed: vec![followed(Some(1), None), of], ..well() };
    check(with(followed(Some(14), None)), &[]);
    check(with(followed(Some(15), None)), &[("replica_lag", Severity::Warning)]);
    check(with(followed(Some(30), None)), &[("replica_lag", Severity::Critical)]);
    check(with(followed(None, None)), &[("replica_lag", Severity::Critical)]);
    let damaged = Trouble::Damaged("object 4 is damaged".into());
    check(with(followed(Some(1), Some(damaged.clone()))), &[("replica_lag", Severity::Warning)]);
    check_statement(with(followed(Some(1), Some(damaged))), Some("SNAPSHOT NODE 'other'"));
    let full = followed(Some(1), Some(Trouble::Full("the limit is 7".into())));
    let large = Followed { node: NodeId::new("large").unwrap(), bytes: 99, ..followed(Some(1), None) };
    check_statement(NodeFacts { followed: vec![full, large], ..well() }, Some("SNAPSHOT NODE 'large'"));
    let curl = "curl -i http://NODE:8181/ready    # of node other, and of this one";
    check_statement(with(followed(Some(15), None)), Some(curl));
    let with = |hours: u64| NodeFacts { log: Some(log(Duration::from_secs(hours * 3_600))), ..well() };
    check(with(1), &[]);
    check(with(2), &[("log_not_in_files", Severity::Warning)]);
    check_statement(with(2), Some("SNAPSHOT NODE 'n'"));
}

#[test]
fn somebody_compacts_and_somebody_else_could() {
    let node = |id: &str, modes: Modes| (NodeId::new(id).unwrap(), modes);
    let only = |mode| [mode].into_iter().collect::<Modes>();
    let (all, compact, ingest) = (node("a", Modes::ALL), node("c", only(Mode::Compact)), node("i", only(Mode::Ingest)));
    let check = |nodes: &[(&(NodeId, Modes), Condition)], expected: Option<(&str, &str)>| {
        let nodes: Vec<_> = nodes.iter().map(|((node, modes), condition)| (node, *modes, *condition)).collect();
        let found = compactors(&nodes).map(|(node, finding)| (node, finding.code));
        assert_eq!(found, expected.map(|(node, code)| (node.to_owned(), code)));
    };
    use Condition::{Lost, Running, Stopped};
    check(&[], None);
    check(&[(&all, Running)], None);
    check(&[(&ingest, Running)], Some(("*", "no_compactor")));
    check(&[(&ingest, Running), (&compact, Running)], Some(("c", "no_standby")));
    check(&[(&ingest, Running), (&compact, Lost), (&all, Stopped)], Some(("*", "no_compactor")));
    check(&[(&ingest, Running), (&compact, Running), (&all, Running)], None);
}

#[test]
fn a_node_that_is_gone_without_a_word_is_told_as_bad_as_its_rows_are() {
    let node = Node { sealed: true, ..member() };
    let found = |condition| lost(&node, condition, &Lives::default()).map(|finding| (finding.code, finding.severity));
    use Condition::{Joining, Lost, Removed, Running, Stopped, Stopping};
    assert_eq!(found(Lost), Some(("node_lost", Severity::Critical)));
    assert_eq!(found(Stopped), Some(("node_lost", Severity::Warning)));
    assert_eq!([Joining, Running, Stopping, Removed].map(found), [None; 4]);
}

#[test]
fn a_compactor_is_told_to_look_more_often_where_somebody_told_it_not_to() {
    let check = |set: &[(Option<&str>, &str)], options: &str, expected: Option<&str>| {
        let mut node = member();
        node.description.options = options.into();
        let configure = |(of, value): &(Option<&str>, &str)| Change::Configure {
            name: "compaction_check_interval".into(),
            node: of.map(|id| NodeId::new(id).unwrap()),
            value: Some((*value).into()),
        };
        let mut state = state();
        state.apply(2, &set.iter().map(configure).collect::<Vec<_>>()).unwrap();
        assert_eq!(awake(&state, &node).as_deref(), expected, "{set:?} {options}");
    };
    check(&[], "{}", None);
    check(&[(None, "1s")], "{}", None);
    check(&[(None, "1h")], "{}", Some("ALTER SYSTEM SET compaction_check_interval = '1s'"));
    let of_node = Some("ALTER SYSTEM SET compaction_check_interval = '1s' FOR NODE 'n'");
    check(&[(None, "1s"), (Some("n"), "1h")], "{}", of_node);
    check(&[(None, "1h"), (Some("n"), "1s")], "{}", None);
    check(&[(None, "1h")], r#"{"compaction-check-interval":"2h"}"#, None);
}

fn state() -> State {
    let register = Change::RegisterNode {
        node: NodeId::new("n").unwrap(),
        instance: 1,
        writer: Writer::new(0).unwrap(),
        core_count: 1,
        at_ms: 1,
    };
    let mut state = State::default();
    state.apply(1, &[register]).unwrap();
    state
}

fn member() -> Node {
    Node::clone(state().members().next().unwrap())
}

#[test]
fn footers_that_are_read_again_and_again_are_given_memory_that_there_is() {
    let with = |kept, asked| NodeFacts { footers: footers(kept, asked), ..well() };
    check(with((900, 1_000), (300, 100)), &[("footers_read_again", Severity::Warning)]);
    // There is room, most were there, or few were needed.
    check(with((700, 1_000), (300, 100)), &[]);
    check(with((900, 1_000), (500, 100)), &[]);
    check(with((900, 1_000), (0, 99)), &[]);
    let more = |bytes_max: u64| with((bytes_max, bytes_max), (0, 100));
    let sets = |mb: u64| format!("ALTER SYSTEM SET footer_cache_size = '{mb}mb' FOR NODE 'n'");
    check_statement(more(100), Some(&sets(2_048)));
    check_statement(more(3_000), Some(&sets(6_000)));
    check_statement(more(9_000), Some(&sets(10_240)));
    check_statement(more(10_240), None);
}
