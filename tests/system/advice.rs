//! What `system.advice` says, and the tables it rests on, on nodes to which these things happen.
//!
//! # Promises
//! - A row of advice comes with its cause and goes with it; what it says mends it does.
//! - A node that crashed has a row in every table to which nodes give theirs, until it is back or removed.
//! - Figures of all nodes are shown by any that answers queries; one that is gone has nulls and a reason.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::http::{Client, Request, sql_request, write_request};
use harness::node::{Node, Options};
use harness::remote::{RemoteStore, Service};
use harness::wait::eventually;
use serde_json::{Value, json};

use crate::damaged_log::log_files;
use crate::live_settings::{LONG, fill};
use crate::orders::idle;
use crate::peers::{beside, rows};
use crate::stores::on_s3;

/// The findings that are told now: code, node, severity.
#[track_caller]
fn told(client: &Client) -> Vec<(String, String, String)> {
    let found = rows(client, "_internal", "SELECT code, node_id, severity, evidence, warning FROM system.advice");
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    found.iter().map(|row| (text(row, "code"), text(row, "node_id"), text(row, "severity"))).collect()
}

#[track_caller]
fn comes(client: &Client, (code, node, severity): (&str, &str, &str)) {
    let wanted = (code.to_owned(), node.to_owned(), severity.to_owned());
    eventually("advice", || if told(client).contains(&wanted) { Ok(()) } else { Err(told(client)) });
}

#[track_caller]
fn goes(client: &Client, code: &str) {
    eventually("no advice", || {
        if told(client).iter().all(|(told, ..)| told != code) { Ok(()) } else { Err(told(client)) }
    });
}

fn admin(client: &Client, statement: &str) {
    client.ask(sql_request("_internal", statement, "json")).expect(200);
}

/// Does what is told to mend a finding.
#[track_caller]
fn mend(client: &Client, code: &str) -> String {
    let text = format!("SELECT statement FROM system.advice WHERE code = '{code}'");
    let statement = rows(client, "_internal", &text)[0]["statement"].as_str().expect("a statement").to_owned();
    admin(client, &statement);
    statement
}

#[test]
fn bad_lines_and_queries_that_fail_are_told_of_the_node_where_they_came() {
    let options = Options::of("w", "all").option("--exec-mem-pool-size", "1MB");
    let first = Node::start(options);
    let [ask] = beside(&first, [Options::of("ask", "query,compact")]);
    let (writer, asker) = (first.client(), ask.client());
    writer.write("plant", "t,h=a v=1 1\n");
    eventually("no advice", || if told(&asker).is_empty() { Ok(()) } else { Err(told(&asker)) });
    let refused = writer.send(write_request("plant", "t,h=a v=1 2\nt,h=a v=\n")).expect("an answer");
    assert_eq!(refused.status, 400, "{}", refused.text());
    comes(&asker, ("lines_refused", "w", "critical"));
    for _ in 0..10 {
        writer.ask(sql_request("plant", "SELECT nothing FROM t", "json")).expect(400);
    }
    comes(&asker, ("queries_fail", "w", "critical"));
    let hungry = "SELECT v, count(*) FROM (SELECT unnest(range(0, 1000000)) AS v) GROUP BY v ORDER BY v";
    let failed = writer.ask(sql_request("plant", hungry, "json"));
    assert_ne!(failed.status, 200, "it has one megabyte");
    comes(&asker, ("query_memory_short", "w", "warning"));
    check_evidence(&asker);
}

/// Every query that stands beside a finding runs.
#[track_caller]
fn check_evidence(client: &Client) {
    let found = rows(client, "_internal", "SELECT code, query FROM system.advice");
    assert!(found.len() >= 3, "{found:?}");
    for row in found {
        let query = row["query"].as_str().expect("a query");
        let answer = client.ask(sql_request("_internal", query, "json"));
        assert_eq!(answer.status, 200, "{row}: {}", answer.text());
    }
}

/// A file for each write.
fn fast(options: Options) -> Options {
    options.option("--wal-files-per-snapshot", "1").option("--wal-flush-interval", "1ms")
}

#[test]
fn a_compactor_without_standby_and_compaction_that_is_paused_are_told() {
    let first = Node::start(fast(Options::of("w", "ingest,query")));
    let client = first.client();
    comes(&client, ("no_compactor", "*", "critical"));
    let [mut one, mut two] = beside(&first, [Options::of("c1", "compact"), Options::of("c2", "compact")]);
    goes(&client, "no_compactor");
    goes(&client, "no_standby");
    two.stop();
    comes(&client, ("no_standby", "c1", "warning"));
    admin(&client, "ALTER SYSTEM SET compaction_check_interval = '1h'");
    for number in 0.. {
        client.write("plant", &format!("t v={number}i {number}\n"));
        if number >= 34 && client.number("plant", "SELECT count(*) AS n FROM system.parquet_files") >= 34 {
            break;
        }
    }
    comes(&client, ("compaction_behind", "c1", "warning"));
    admin(&client, "ALTER SYSTEM SET compaction_check_interval = '100ms'");
    goes(&client, "compaction_behind");
    one.stop();
    comes(&client, ("no_compactor", "*", "critical"));
}

#[test]
fn a_store_that_fails_is_told_with_its_words() {
    let store = RemoteStore::start(Service::S3);
    let options = on_s3(&store).option("--object-store-max-retries", "0");
    let options = options.allow_in_log("trying again").allow_in_log("heartbeat").allow_in_log("SlowDown");
    let node = Node::start(options);
    let client = node.client();
    client.write("plant", "t v=1 1\n");
    store.fail(&json!([{ "times": 4, "status": 503, "method": "PUT", "key": "/wal/" }]));
    client.write("plant", "t v=2 2\n");
    let text = "SELECT op, errors, requests, bytes, last_error, avg_latency IS NOT NULL AS timed \
                FROM system.object_store WHERE op = 'put'";
    let shown = rows(&client, "_internal", text);
    assert!(shown[0]["errors"].as_u64().expect("a number") >= 4, "{shown:?}");
    assert!(shown[0]["bytes"].as_u64().expect("a number") > 0 && shown[0]["timed"] == true, "{shown:?}");
    assert!(!shown[0]["last_error"].as_str().expect("its words").is_empty(), "{shown:?}");
    let found = rows(&client, "_internal", "SELECT severity, evidence FROM system.advice WHERE code = 'store_errors'");
    assert_eq!(found.len(), 1, "{found:?}");
    let text = client.ask(Request::get("/metrics")).expect(200).text();
    for wanted in [
        "object_store_op_duration_seconds_count{op=\"put\",result=\"error\"}",
        "object_store_op_duration_seconds_count{op=\"put\",result=\"success\"}",
        "object_store_transfer_bytes_total{op=\"put\"}",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[test]
fn a_snapshot_that_takes_its_time_is_a_job_until_it_is_done() {
    let store = RemoteStore::start(Service::S3);
    let node = Node::start(on_s3(&store).option("--wal-files-per-snapshot", "1").allow_in_log("trying again"));
    let client = node.client();
    store.fail(&json!([{ "times": 1, "delay": 4, "method": "PUT", "key": "/data/" }]));
    client.write("plant", "t v=1 1\nt v=2 2\n");
    let text = "SELECT node_id, rows, bytes > 0 AS sized, table_name FROM system.jobs WHERE kind = 'snapshot'";
    let shown = || rows(&client, "_internal", text);
    let wanted = [json!({ "node_id": "node-1", "rows": 2, "sized": true })];
    eventually("the job", || if shown() == wanted { Ok(()) } else { Err(shown()) });
    eventually("its end", || if shown().is_empty() { Ok(()) } else { Err(shown()) });
    assert_eq!(client.number("plant", "SELECT count(*) AS n FROM system.parquet_files"), 1);
}

#[test]
fn every_node_tells_of_its_log_its_process_and_its_store_and_a_dead_one_is_named() {
    let first = Node::start(Options::of("w", "ingest"));
    let mut others =
        beside(&first, [Options::of("ask", "query"), Options::of("gone", "query,compact").allow_in_log("")]);
    let client = others[0].client();
    first.client().write("plant", "t,h=a v=1 1\nt,h=a v=2 2\n");
    eventually("the log", || {
        let shown = rows(
            &client,
            "_internal",
            "SELECT node_id, objects_waiting, rows_waiting, bytes_waiting > 0 AS bytes, \
            next_position - persisted_position AS ahead, oldest_unpersisted IS NOT NULL AS dated FROM system.wal",
        );
        let wanted = json!([{ "node_id": "w", "objects_waiting": 1, "rows_waiting": 2, "bytes": true, "ahead": 2, "dated": true }]);
        if json!(shown) == wanted { Ok(()) } else { Err(shown) }
    });
    let text = "SELECT source_node, node_id, rows_waiting, trouble FROM system.replicas WHERE source_node = 'w' ORDER BY node_id";
    eventually("the replicas", || {
        let shown = rows(&client, "_internal", text);
        let of = |node: &str| json!({ "source_node": "w", "node_id": node, "rows_waiting": 2 });
        if json!(shown) == json!([of("ask"), of("gone")]) { Ok(()) } else { Err(shown) }
    });
    rows(&client, "_internal", "SELECT kind, since, running_for FROM system.jobs");
    let text = "SELECT node_id, memory_bytes > 0 AND memory_limit_bytes > 0 AND uptime IS NOT NULL AS told, \
                last_heartbeat IS NOT NULL AS beats, warning FROM system.nodes ORDER BY node_id";
    let told = |node: &str| json!({ "node_id": node, "told": true, "beats": true });
    eventually("all nodes", || {
        let shown = rows(&client, "_internal", text);
        let all = ["ask", "gone", "w"].map(told);
        if json!(shown) == json!(all) { Ok(()) } else { Err(shown) }
    });
    others[1].pause();
    let shown = rows(&client, "_internal", text);
    assert_eq!((&shown[1]["told"], &shown[1]["warning"]), (&json!(false), &json!("no answer within 3s")), "{shown:?}");
    let untold = "SELECT node_id, state FROM system.nodes ORDER BY node_id";
    let asked = Instant::now();
    assert_eq!(rows(&client, "_internal", untold).len(), 3);
    assert!(asked.elapsed() < Duration::from_secs(2), "nobody is asked for what all know");
    others[1].kill();
    let stale = "SELECT heartbeat_age > INTERVAL '0 seconds' AS stale, uptime IS NULL AS silent FROM system.nodes \
                 WHERE node_id = 'gone'";
    assert_eq!(rows(&client, "_internal", stale), [json!({ "stale": true, "silent": true })]);
}

const SILENT: &str = "its heartbeat stands still, and it has not said that it stopped; REMOVE NODE if it is gone";

/// Who is named in a table for telling nothing.
fn silent(client: &Client, table: &str) -> Vec<Value> {
    rows(client, "_internal", &format!("SELECT node_id, warning FROM system.{table} WHERE warning IS NOT NULL"))
}

#[test]
fn a_node_that_was_killed_is_told_of_in_every_table_until_it_is_back_or_removed() {
    let first = Node::start(Options::of("a", "all"));
    let asks = |id: &str| Options::of(id, "query,compact");
    let [mut dead, mut left, mut writer] = beside(&first, [asks("dead"), asks("left"), Options::of("w", "ingest")]);
    let client = first.client();
    left.stop();
    dead.kill();
    comes(&client, ("node_lost", "dead", "warning"));
    let tables = [
        "advice",
        "compaction_events",
        "jobs",
        "nodes",
        "object_store",
        "processes",
        "queries",
        "replicas",
        "settings",
    ];
    for table in tables {
        assert_eq!(silent(&client, table), [json!({ "node_id": "dead", "warning": SILENT })], "{table}");
    }
    dead.restart();
    goes(&client, "node_lost");
    dead.kill();
    comes(&client, ("node_lost", "dead", "warning"));
    admin(&client, "REMOVE NODE 'dead'");
    goes(&client, "node_lost");
    assert_eq!(tables.map(|table| silent(&client, table)).concat(), Vec::<Value>::new());

    writer.kill();
    comes(&client, ("node_lost", "w", "critical"));
    assert_eq!(silent(&client, "wal")[0]["node_id"], "w");
    writer.restart();
    goes(&client, "node_lost");
}

#[test]
fn many_small_files_are_told_until_they_are_merged() {
    let node = Node::start(idle("a", "all"));
    let client = node.client();
    // A file for each ten minutes.
    // One snapshot makes six files of ten minutes each, and not more.
    for first in (0..1_010).step_by(6) {
        let time = |number: i64| 1_600_000_000_000_000_000 + number * 600_000_000_000;
        let lines: String = (first..first + 6).map(|number| format!("t v={number}i {}\n", time(number))).collect();
        client.write("plant", &lines);
        admin(&client, "SNAPSHOT");
    }
    comes(&client, ("small_files", "a", "info"));
    assert_eq!(mend(&client, "small_files"), "COMPACT TABLE \"plant\".public.\"t\"");
    goes(&client, "small_files");
    goes(&client, "compaction_behind");
    assert_eq!(client.number("plant", "SELECT count(*) AS n FROM t"), 1_014);
}

#[test]
fn queries_that_wait_for_a_long_one_are_told_and_helped() {
    let first = Node::start(Options::of("w", "all").allow_in_log("a request failed"));
    let [ask] = beside(&first, [Options::of("ask", "query,compact")]);
    let (writer, asker) = (first.client(), ask.client());
    fill(&writer);
    admin(&writer, "ALTER SYSTEM SET max_concurrent_queries = 1 FOR NODE 'w'");
    thread::scope(|scope| {
        let long = scope.spawn(|| writer.ask(sql_request("plant", LONG, "json")));
        let text =
            format!("SELECT id FROM system.queries WHERE running AND phase = 'permit' AND query_text = '{LONG}'");
        let running = || rows(&asker, "_internal", &text);
        eventually("the long one", || if running().len() == 1 { Ok(()) } else { Err(running()) });
        let waiting = scope.spawn(|| writer.ask(sql_request("plant", "SELECT count(*) AS n FROM t", "json")));
        comes(&asker, ("queries_wait", "w", "warning"));
        assert!(!waiting.is_finished());
        // More of them do not help where all cores are busy.
        let statement = "SELECT statement FROM system.advice WHERE code = 'queries_wait'";
        let more = "ALTER SYSTEM SET max_concurrent_queries = '2' FOR NODE 'w'";
        if let Some(told) = rows(&asker, "_internal", statement)[0]["statement"].as_str() {
            assert_eq!(told, more);
        }
        admin(&asker, more);
        assert_eq!(waiting.join().expect("it is answered").expect(200).json()[0]["n"], 3_000);
        running()
            .iter()
            .for_each(|row| admin(&asker, &format!("CANCEL QUERY {}", row["id"].to_string().replace('"', "'"))));
        assert_eq!(long.join().expect("it is answered").status, 499);
    });
}

#[test]
fn memory_that_is_promised_twice_is_told_until_it_is_not() {
    let node = Node::start(Options::of("a", "all"));
    let client = node.client();
    goes(&client, "memory_promised");
    admin(&client, "ALTER SYSTEM SET exec_mem_pool_size = '60%'");
    comes(&client, ("memory_promised", "a", "warning"));
    assert_eq!(mend(&client, "memory_promised"), "ALTER SYSTEM SET exec_mem_pool_size = '20%' FOR NODE 'a'");
    goes(&client, "memory_promised");
}

#[test]
fn io_threads_that_are_all_busy_are_told_until_they_are_not() {
    let node = Node::start(Options::of("a", "all").option("--num-io-threads", "1"));
    let client = node.client();
    let lines: String =
        (0..5_000).map(|number| format!("t,h=h{} v={number}i,w=1.5,s=\"text\" {number}\n", number % 50)).collect();
    let is_enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_enough.load(Ordering::Relaxed) {
                    node.client().write("plant", &lines);
                }
            });
        }
        let wanted = ("io_threads_few".to_owned(), "a".to_owned(), "warning".to_owned());
        let began = Instant::now();
        let mut found = told(&client);
        while !found.contains(&wanted) && began.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(250));
            found = told(&client);
        }
        is_enough.store(true, Ordering::Relaxed);
        assert!(found.contains(&wanted), "{found:?}");
    });
    goes(&client, "io_threads_few");
}

#[test]
fn a_store_that_is_slow_to_put_is_told_however_quick_its_other_answers_are() {
    let store = RemoteStore::start(Service::S3);
    let node = Node::start(on_s3(&store));
    let client = node.client();
    client.write("plant", "t v=1 1\n");
    goes(&client, "store_slow");
    store.fail(&json!([{ "times": -1, "delay": 2, "method": "PUT", "key": "/wal/" }]));
    for number in 0..6 {
        client.write("plant", &format!("t v=2 {number}\n"));
    }
    comes(&client, ("store_slow", "node-1", "warning"));
    store.heal();
}

#[test]
fn rows_that_wait_too_long_for_a_file_are_told_until_they_are_in_one() {
    let store = RemoteStore::start(Service::S3);
    let node = Node::start(on_s3(&store).allow_in_log("trying again"));
    let client = node.client();
    store.fail(&json!([{ "times": 1, "delay": 10, "method": "PUT", "key": "/data/" }]));
    client.write("plant", "t v=1 1\n");
    goes(&client, "log_not_in_files");
    admin(&client, "ALTER SYSTEM SET force_snapshot_max_age = '1s'");
    comes(&client, ("log_not_in_files", "node-1", "warning"));
    assert_eq!(mend(&client, "log_not_in_files"), "SNAPSHOT NODE 'node-1'");
    goes(&client, "log_not_in_files");
    assert_eq!(client.number("plant", "SELECT count(*) AS n FROM system.parquet_files"), 1);
}

#[test]
fn a_log_of_another_node_that_cannot_be_read_is_told_until_its_rows_are_in_files() {
    let first = Node::start(idle("w", "all"));
    first.client().write("plant", "t v=1i 1\n");
    let files = log_files(&first);
    fs::write(&files[0], "noise").expect("the file can be replaced");
    let [other] = beside(&first, [Options::of("ask", "query,compact").allow_in_log("")]);
    // It tells how the nodes are all the same.
    let client = other.client();
    let count = || client.ask(sql_request("plant", "SELECT count(*) AS n FROM t", "json"));
    comes(&client, ("replica_lag", "ask", "critical"));
    assert_eq!((count().status, count().text().contains("cannot be read")), (503, true), "{}", count().text());
    assert_eq!(mend(&client, "replica_lag"), "SNAPSHOT NODE 'w'");
    goes(&client, "replica_lag");
    eventually("the row", || {
        let answer = count();
        if answer.status == 200 && answer.json()[0]["n"] == 1 { Ok(()) } else { Err(answer.text()) }
    });
}

#[test]
fn footers_that_do_not_fit_into_their_memory_are_told_until_they_do() {
    const TABLES: u64 = 150;
    let node = Node::start(idle("a", "all"));
    let client = node.client();
    let fields: Vec<String> = (0..20).map(|field| format!("f{field}={field}i")).collect();
    let lines: String = (0..TABLES).map(|table| format!("t{table},host=h {} 1\n", fields.join(","))).collect();
    client.write("plant", &lines);
    admin(&client, "SNAPSHOT");
    admin(&client, "ALTER SYSTEM SET footer_cache_size = '1mb'");
    let ask_all = || (0..TABLES).for_each(|table| drop(client.sql("plant", &format!("SELECT f3 FROM t{table}"))));
    let text = "SELECT footer_cache_misses AS n FROM system.processes";
    let missed = || client.number("_internal", text);
    eventually("the limit", || {
        match client.number("_internal", "SELECT footer_cache_limit_bytes AS n FROM system.processes") {
            1_048_576 => Ok(()),
            bytes => Err(bytes),
        }
    });
    ask_all();
    let once = missed();
    assert!(once >= TABLES as i64, "{once}");
    ask_all();
    assert!(missed() > once, "they were all kept");
    comes(&client, ("footers_read_again", "a", "warning"));
    let statement = mend(&client, "footers_read_again");
    assert!(statement.starts_with("ALTER SYSTEM SET footer_cache_size = '"), "{statement}");
    goes(&client, "footers_read_again");
    ask_all();
    let all = missed();
    ask_all();
    assert_eq!(missed(), all, "each is read once and kept");
}
