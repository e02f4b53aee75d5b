//! Each finding from the facts that cause it, and none without.

use std::time::Duration;

use metrics::vitals::Figures;
use storage::bucket::RecentUse;
use storage::cluster::Condition;
use storage::ingest::RecentLines;
use storage::model::{Epoch, Mode, Modes, NodeId, Position};
use storage::node::LogStanding;
use storage::replica::Followed;

use super::super::facts::PoolUse;
use super::cluster::compactors;
use super::node::{NodeFacts, RecentQueries, findings};
use super::*;

/// A node that does well.
fn well() -> NodeFacts {
    NodeFacts {
        vitals: Some(vitals((2, 0.3), 50)),
        lines: Some(RecentLines { kept: 1_000, refused: 0, last_refused: None }),
        store: RecentUse { requests: 1_000, errors: 2, mean: Some(Duration::from_millis(80)) },
        last_store_error: Some("it was slow once".into()),
        log: Some(log(Duration::from_secs(600))),
        snapshot_age_max: Some(Duration::from_secs(3_600)),
        followed: vec![followed(Some(1), None)],
        queries: RecentQueries { ended: 100, failed: 1, ..RecentQueries::default() },
        pool: Some(PoolUse { reserved_bytes: 10, limit_bytes: Some(100) }),
    }
}

fn vitals((io_threads, busy): (usize, f64), memory_bytes: u64) -> Figures {
    Figures {
        cpus: 8,
        memory_bytes: Some(memory_bytes),
        memory_limit_bytes: 100,
        io_threads,
        io_busy_ratio: Some(busy),
        ..Figures::default()
    }
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

fn followed(lag: Option<u64>, trouble: Option<&str>) -> Followed {
    Followed {
        node: NodeId::new("other").unwrap(),
        applied: Position(3),
        rows: 1,
        bytes: 10,
        lag: lag.map(Duration::from_secs),
        trouble: trouble.map(str::to_owned),
    }
}

#[track_caller]
fn check(facts: NodeFacts, expected: &[(&str, Severity)]) {
    let found = findings(&facts);
    let codes: Vec<_> = found.iter().map(|finding| (finding.code, finding.severity)).collect();
    assert_eq!(codes, expected, "{facts:?}");
    for Finding { finding, evidence, query, statement, .. } in found {
        assert!(finding.ends_with('.') && !evidence.is_empty() && !query.is_empty() && !statement.is_empty());
    }
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
    let pool = |reserved_bytes| Some(PoolUse { reserved_bytes, limit_bytes: Some(100) });
    check(NodeFacts { pool: pool(89), ..well() }, &[]);
    check(NodeFacts { pool: pool(90), ..well() }, &[("query_memory_short", Severity::Warning)]);
    let queries = RecentQueries { ended: 100, failed: 1, lacked_memory: 1, ..RecentQueries::default() };
    check(NodeFacts { queries, ..well() }, &[("query_memory_short", Severity::Warning)]);
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
}

#[test]
fn a_store_that_fails_or_is_slow_is_told() {
    let with = |requests, errors, ms| {
        let mean = Some(Duration::from_millis(ms));
        NodeFacts { store: RecentUse { requests, errors, mean }, ..well() }
    };
    check(with(100, 3, 80), &[("store_errors", Severity::Warning)]);
    check(with(1_000, 3, 80), &[]);
    check(with(10, 3, 80), &[("store_errors", Severity::Critical)]);
    check(with(100, 0, 500), &[("store_slow", Severity::Warning)]);
    check(with(4, 0, 500), &[]);
}

#[test]
fn a_log_that_is_not_followed_and_one_that_is_not_in_files_are_told() {
    let with = |of| NodeFacts { followed: vec![followed(Some(1), None), of], ..well() };
    check(with(followed(Some(14), None)), &[]);
    check(with(followed(Some(15), None)), &[("replica_lag", Severity::Warning)]);
    check(with(followed(Some(30), None)), &[("replica_lag", Severity::Critical)]);
    check(with(followed(None, None)), &[("replica_lag", Severity::Critical)]);
    check(with(followed(Some(1), Some("object 4 is damaged"))), &[("replica_lag", Severity::Warning)]);
    let with = |hours: u64| NodeFacts { log: Some(log(Duration::from_secs(hours * 3_600))), ..well() };
    check(with(1), &[]);
    check(with(2), &[("log_not_in_files", Severity::Warning)]);
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
