//! Clients of InfluxDB 3 and drivers of FlightSQL, unmodified.
//!
//! # Promises
//! - The clients for Python and JavaScript write and ask; the driver of ADBC asks, prepares and finds tables.
//! - A token opens what it may read; errors say what is wrong.
//! - Answers are streamed in bounded memory; a client that goes away, or whose time is over, ends its query within a
//!   second.
//! - Clients go on after a restart, and may call any node of a cluster.
//!
//! The libraries are those of `tests/clients/requirements.txt`, as `harness::packages` brings them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use harness::folder::package;
use harness::http::{Client, Request, write_request};
use harness::node::{Node, Options};
use harness::packages::{node_client, python_clients};
use harness::wait::eventually;
use serde_json::json;

/// One row of every kind of column, and many rows of one number.
fn write_rows(client: &Client) {
    client.write("plant", "room,name=a temp=20.5,hum=40i,n=7u,on=true,s=\"x \\\"y\\\"\" 1737392500690067123");
    let lines: Vec<String> =
        (0..20_000).map(|v| format!("seq,k=a v={v}i {}", 1_700_000_000_000_000_000_i64 + v * 1_000_000_000)).collect();
    client.write("plant", &lines.join("\n"));
}

fn with_rows() -> Node {
    let node = Node::start(Options::open());
    write_rows(&node.client());
    node
}

pub(crate) fn port(node: &Node) -> String {
    node.url().rsplit(':').next().expect("a URL ends with its port").to_owned()
}

/// A call of `clients/flight.py`.
pub(crate) fn python(node: &Node, token: &str, call: &[&str]) -> Command {
    let mut command = Command::new(python_clients());
    command.arg(package().join("clients/flight.py")).args([&port(node), token]).args(call);
    command
}

#[track_caller]
pub(crate) fn check(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].join("\n");
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

#[test]
fn the_client_for_python_writes_and_asks() {
    let node = with_rows();
    check(python(&node, "x", &["influxdb3"]));
    let metrics = node.client().ask(Request::get("/metrics")).text();
    let path = "path=\"/arrow.flight.protocol.FlightService/DoGet\"";
    for status in ["ok", "client_error"] {
        let series = format!("grpc_requests_total{{{path},status=\"{status}\"}}");
        assert!(metrics.contains(&series), "{series} is missing");
    }
}

#[test]
fn the_driver_of_adbc_asks_prepares_and_finds_tables() {
    check(python(&with_rows(), "x", &["flightsql"]));
}

#[test]
fn the_client_for_javascript_writes_and_asks() {
    let node = with_rows();
    let [program, packages] = node_client();
    let mut command = Command::new(program);
    command.arg(package().join("clients/flight.cjs")).args([&port(&node), "x"]).env("NODE_PATH", packages);
    check(command);
}

#[test]
fn a_token_opens_what_it_may_read() {
    let node = Node::start(Options::with_tokens());
    let made = node.client().ask(Request::post("/api/v3/configure/token/admin"));
    let operator = made.expect(201).json()["token"].as_str().expect("a token").to_owned();
    let client = node.client().with_token(&operator);
    write_rows(&client);
    client.write("secret", "t v=1 1");
    let wanted = json!({ "token_name": "reader", "permissions": [
        { "resource_type": "db", "resource_names": ["plant"], "actions": ["read"] }] });
    let made = client.ask(Request::post("/api/v3/enterprise/configure/token").json(&wanted));
    let reader = made.expect(201).json()["token"].as_str().expect("a token").to_owned();
    check(python(&node, &reader, &["tokens", "apiv3_nobody"]));
    let log = node.log();
    assert!(!log.contains(&reader) && !log.contains("apiv3_nobody"), "a token stands in the log");
}

/// Five million rows by way of `node`, whose memory does not grow with them.
#[track_caller]
fn check_streamed(node: &Node) {
    check(python(node, "x", &["one", "SELECT count(*) AS n FROM seq", "20000"]));
    let before = node.usage().rss_peak_bytes;
    check(python(node, "x", &["many"]));
    let grown = node.usage().rss_peak_bytes.saturating_sub(before);
    assert!(grown < 80 << 20, "{} MiB", grown >> 20);
}

#[test]
fn rows_are_streamed_and_not_kept_while_nobody_reads() {
    check_streamed(&with_rows());
}

#[test]
fn a_client_that_goes_away_or_waits_no_longer_ends_its_query() {
    check(python(&with_rows(), "x", &["leave"]));
}

#[test]
fn clients_go_on_after_a_restart() {
    let mut node = with_rows();
    let mut command = python(&node, "x", &["restart"]);
    let mut client: Child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python is there");
    let mut said = BufReader::new(client.stdout.take().expect("it is piped")).lines();
    let mut tell = client.stdin.take().expect("it is piped");
    let mut next = || said.next().and_then(Result::ok).unwrap_or_default();
    assert_eq!(next(), "asked");
    node.stop();
    node.restart();
    writeln!(tell, "go on").expect("it reads");
    assert_eq!(next(), "asked");
    writeln!(tell, "leave").expect("it reads");
    assert!(client.wait().expect("it ends").success());
}

#[test]
fn a_call_that_carries_a_position_sees_the_rows_there() {
    let first = Node::start(Options::of("first", "all"));
    let mut second = first.beside(Options::of("second", "all"));
    second.restart();
    for value in 0..3 {
        let placed = first.client().ask(write_request("plant", &format!("placed v={value}i 1"))).expect(204);
        let position = placed.header("x-weir-position").expect("a write tells it");
        check(python(&second, "x", &["position", position, &value.to_string()]));
    }
    check(python(&second, "x", &["malformed"]));
}

#[test]
fn calls_go_on_to_a_node_that_answers_queries() {
    let writer = Node::start(Options::of("writer", "ingest"));
    let none = "no live node with mode 'query' in cluster 'test'";
    check(python(&writer, "x", &["unavailable", none]));
    let mut alone = writer.beside(Options::of("alone", "ingest").option("--forward", "off"));
    alone.restart();
    check(python(&alone, "x", &["unavailable", "does not serve queries; nodes with mode 'query': none that lives"]));
    alone.stop();
    let mut reader = writer.beside(Options::of("reader", "query"));
    reader.restart();
    write_rows(&writer.client());
    eventually("the writer to know the reader, and the reader the rows", || {
        let answer = writer.client().ask(harness::http::sql_request("plant", "SELECT count(*) AS n FROM seq", "json"));
        if answer.text().contains("20000") { Ok(()) } else { Err(answer.text()) }
    });
    check_streamed(&writer);
    check(python(&writer, "x", &["leave"]));
}
