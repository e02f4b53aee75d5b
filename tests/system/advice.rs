//! What `system.advice` says, and the tables it rests on, on nodes to which these things happen.
//!
//! # Promises
//! - A row of advice comes with its cause and goes with it.
//! - Figures of all nodes are shown by any that answers queries; one that is gone has nulls and a reason.

use std::time::{Duration, Instant};

use harness::http::{Client, Request, sql_request, write_request};
use harness::node::{Node, Options};
use harness::remote::{RemoteStore, Service};
use harness::wait::eventually;
use serde_json::{Value, json};

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
