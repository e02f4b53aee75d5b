//! What operators look at: the figures of `/metrics`, the names of threads, and the monitoring query of the handbook.
//!
//! # Promises
//! - The text of `/metrics` is accepted by `promtool check metrics` without a finding, also under load.
//! - The series and the thread names that monitoring scripts look for are there.

use std::io::Write;
use std::process::{Command, Stdio};

use harness::http::Request;
use harness::node::{Node, Options};

#[test]
fn the_metrics_have_what_monitoring_looks_for_and_no_finding() {
    let node = Node::start(Options::open());
    let client = node.client();
    client.write("plant", "t,h=a v=1 1");
    assert_eq!(client.number("plant", "SELECT count(*) AS n FROM t"), 1);
    client.ask(Request::get("/no/such/path/7")).expect(404);
    let text = client.ask(Request::get("/metrics")).expect(200).text();
    for wanted in [
        "http_requests_total{method=\"POST\",path=\"/api/v3/write_lp\",status=\"ok\"} 1",
        "cpu_usage",
        "memory_usage",
        "jemalloc_memstats_bytes",
        "tokio_runtime_num_workers{runtime=\"io_worker\"}",
        "tokio_runtime_num_workers{runtime=\"datafusion\"}",
        "influxdb3_write_duration_seconds_count 1",
        "influxdb3_wal_flush_duration_seconds_count 1",
        "influxdb3_snapshot_duration_seconds",
        "influxdb_iox_query_log_execute_duration_seconds",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(!text.contains("/no/such/path"), "a path that is no route is no label");
    check_with_promtool(&text);
}

fn check_with_promtool(text: &str) {
    let started = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).output_of(text);
    match started {
        None => eprintln!("promtool is not installed; its check is left out"),
        Some((said, good)) => assert!(good && said.is_empty(), "promtool: {said}"),
    }
}

/// Runs a command over a text; `None` when there is no such command.
trait OutputOf {
    fn output_of(&mut self, text: &str) -> Option<(String, bool)>;
}

impl OutputOf for Command {
    fn output_of(&mut self, text: &str) -> Option<(String, bool)> {
        let mut child = self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
        child.stdin.take().expect("it was piped").write_all(text.as_bytes()).expect("promtool reads it all");
        let output = child.wait_with_output().expect("promtool ends");
        let said = [output.stdout, output.stderr].concat();
        Some((String::from_utf8_lossy(&said).into_owned(), output.status.success()))
    }
}

#[test]
fn threads_carry_the_names_that_operators_look_for() {
    let node = Node::start(Options::open());
    node.client().write("plant", "t v=1 1");
    assert_eq!(node.client().number("plant", "SELECT count(*) AS n FROM t"), 1);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.id())).expect("the process runs");
    let names: Vec<String> =
        tasks.filter_map(|task| std::fs::read_to_string(task.expect("a thread").path().join("comm")).ok()).collect();
    for wanted in ["io_worker", "datafusion"] {
        assert!(names.iter().any(|name| name.contains(wanted)), "{wanted} is not among {names:?}");
    }
}

#[test]
fn the_monitoring_query_of_files_runs_as_it_stands() {
    let mut node = Node::start(Options::open());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("past 1970").as_nanos();
    node.client().write("plant", &format!("t,h=a v=1 {now}\nt,h=b v=2 {now}\n"));
    node.stop();
    node.restart();
    let rows = node.client().sql(
        "plant",
        "SELECT table_name, count(*) AS files_created, sum(row_count) AS total_rows, sum(size_bytes) AS total_bytes \
         FROM system.parquet_files WHERE max_time > extract(epoch from now() - INTERVAL '5 minutes') * 1000000000 \
         GROUP BY table_name",
    );
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["table_name"], &rows[0]["total_rows"]), (&"t".into(), &2.into()), "{rows:?}");
}
