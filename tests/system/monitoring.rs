//! The monitoring of the handbooks: its queries and shell checks, as they stand, over HTTP and with psql.
//!
//! # Promises
//! - Each of the seven queries runs unchanged in both, and shows what was done.
//! - What the shell checks look for in `/metrics` is there.

use std::time::{SystemTime, UNIX_EPOCH};

use harness::http::Request;
use harness::node::Options;
use harness::wait::eventually;
use serde_json::{Value, json};

use crate::postgres::serve;

/// What the queries are about, the query, and a column that is not null in the first row.
const QUERIES: [(&str, &str, &str); 7] = [
    (
        "files of the last five minutes",
        "SELECT table_name, count(*) AS files_created, sum(row_count) AS total_rows, sum(size_bytes) AS total_bytes \
         FROM system.parquet_files \
         WHERE max_time > extract(epoch from now() - INTERVAL '5 minutes') * 1000000000 \
         GROUP BY table_name",
        "total_bytes",
    ),
    (
        "queries that went well",
        "SELECT count(*) AS query_count, avg(execute_duration) AS avg_execute_time, max(max_memory) AS max_memory_used \
         FROM system.queries \
         WHERE issue_time > now() - INTERVAL '5 minutes' AND success = true",
        "avg_execute_time",
    ),
    (
        "compaction by kind",
        "SELECT event_type, event_status, count(*) AS event_count, avg(event_duration) AS avg_duration \
         FROM system.compaction_events \
         WHERE event_time > now() - INTERVAL '1 hour' \
         GROUP BY event_type, event_status \
         ORDER BY event_count DESC",
        "avg_duration",
    ),
    (
        "the newest queries",
        "SELECT * FROM system.queries WHERE issue_time > now() - INTERVAL '1 hour' ORDER BY issue_time DESC LIMIT 10",
        "query_text",
    ),
    (
        "queries that failed",
        "SELECT count(*) AS total_queries, sum(CASE WHEN success = true THEN 1 ELSE 0 END) AS successful_queries, \
         sum(CASE WHEN success = false THEN 1 ELSE 0 END) AS failed_queries \
         FROM system.queries \
         WHERE issue_time > now() - INTERVAL '1 hour'",
        "failed_queries",
    ),
    (
        "memory of queries",
        "SELECT avg(max_memory) AS avg_memory_bytes, max(max_memory) AS peak_memory_bytes, \
         sum(CASE WHEN success = false THEN 1 ELSE 0 END) AS failed_queries \
         FROM system.queries \
         WHERE issue_time > now() - INTERVAL '1 hour' AND query_type = 'sql'",
        "peak_memory_bytes",
    ),
    (
        "compaction that went well",
        "SELECT event_type, count(*) AS total_events, \
         sum(CASE WHEN event_status = 'success' THEN 1 ELSE 0 END) AS successful_events \
         FROM system.compaction_events \
         WHERE event_time > now() - INTERVAL '1 hour' \
         GROUP BY event_type",
        "successful_events",
    ),
];

#[test]
fn the_queries_and_checks_of_the_handbooks_run_as_they_stand() {
    let options = Options::open().option("--wal-files-per-snapshot", "1").option("--wal-flush-interval", "1ms");
    let served = serve(options.option("--compaction-check-interval", "100ms"));
    let client = served.node.client();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("past 1970").as_nanos();
    for number in 0..12 {
        client.write("sensors", &format!("room,name=a temp={number} {}\n", now + number));
        // The window of these is over, so their files are merged.
        client.write("sensors", &format!("room,name=b temp={number} {number}\n"));
    }
    assert_eq!(client.number("sensors", "SELECT count(*) AS n FROM room"), 24);
    eventually("a compaction", || {
        let rows = client.sql("sensors", "SELECT event_type FROM system.compaction_events");
        if rows.iter().any(|row| row["event_type"] == "compaction_consumed") { Ok(()) } else { Err(rows) }
    });
    for (what, text, column) in QUERIES {
        let body = json!({ "db": "sensors", "q": text, "format": "json" });
        let rows = client.ask(Request::post("/api/v3/query_sql").json(&body)).expect(200).json();
        let first = &rows[0][column];
        assert!(!first.is_null(), "{what}: {rows}");
        let said = served.psql(("sensors", "x"), text).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(!said.is_empty(), "{what}");
    }
    let metrics = client.ask(Request::get("/metrics")).expect(200).text();
    for wanted in ["cpu_usage", "memory_usage", "http_requests_total"] {
        assert!(metrics.lines().any(|line| !line.starts_with('#') && line.contains(wanted)), "{wanted}");
    }
    let counts_writes = |line: &str| line.contains("http_requests_total") && line.contains("write");
    assert!(metrics.lines().any(counts_writes), "{metrics}");
}

#[test]
fn what_tables_and_columns_are_is_told_in_sql_and_by_psql() {
    let served = serve(Options::open());
    let client = served.node.client();
    client.write("plant", "room,name=a temp=1,on=true 1\n");
    let text = "SELECT unit, description FROM system.documentation WHERE table_name = 'queries' AND column_name = 'max_memory'";
    let wanted = json!([{ "unit": "bytes", "description": "The most memory it held." }]);
    assert_eq!(Value::from(client.sql("plant", text)), wanted);
    let text = "SELECT column_name, kind, data_type FROM system.columns WHERE table_name = 'room' ORDER BY ordinal";
    let of =
        |name: &str, kind: &str, data_type: &str| json!({ "column_name": name, "kind": kind, "data_type": data_type });
    let all = [of("name", "tag", "string"), of("temp", "field", "float"), of("on", "field", "boolean")];
    assert_eq!(client.sql("plant", text)[..3], all);
    assert_eq!(client.sql("plant", text)[3], of("time", "time", "timestamp"));
    let says = |database: &str, text: &str, expected: &str| {
        let said = served.psql((database, "x"), text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(said.contains(expected), "{text}: {said}");
    };
    says("plant", "\\d+ system.queries", "The most memory it held. (bytes)");
    says("plant", "\\dv+ system.queries", "The newest queries of each node");
    says("_internal", "\\d+ system.advice", "A short name of the finding that never changes.");
    says("plant", "SELECT obj_description('system.queries'::regclass, 'pg_class')", "The newest queries of each node");
    says("plant", "SELECT col_description('system.queries'::regclass, 1)", "The id by which the query is cancelled.");
    let counted = "SELECT count(*) > 20 FROM pg_description WHERE objoid = 'system.queries'::regclass \
                   AND classoid = 'pg_class'::regclass AND objsubid > 0";
    says("plant", counted, "t");
    says("_internal", "SELECT license_type FROM system.license", "open");
    says("_internal", "SELECT duration_seconds FROM system.generation_durations WHERE level = 1", "600");
}
