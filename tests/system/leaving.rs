//! Nodes are shown, stopped and removed by commands through any other node.
//!
//! # Promises
//! - `show nodes` tells what each node is and how it is; a node that was killed is not shown as running.
//! - `stop node` ends the process in order, with exit code 0 and everything in files; a dead node cannot be asked.
//! - `remove node` takes out only what has stopped; its rows stay, and its id may come back.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use harness::command::{Outcome, Weir};
use harness::http::Request;
use harness::node::{Node, Options};
use harness::wait::eventually;
use serde_json::json;

const STATES: &str = "SELECT node_id, array_to_string(mode, ',') AS mode, state FROM system.nodes ORDER BY node_id";

/// Whether the nodes are eventually shown so: name, modes, state.
#[track_caller]
fn eventually_shown(through: &Node, expected: &[[&str; 3]]) {
    let expected: Vec<_> =
        expected.iter().map(|[id, mode, state]| json!({ "node_id": id, "mode": mode, "state": state })).collect();
    eventually("the nodes", || match through.client().sql("_internal", STATES) {
        found if found == expected => Ok(()),
        found => Err(found),
    });
}

#[test]
fn a_node_is_stopped_and_removed_through_another_one() {
    let first = Node::start(Options::of("a", "all"));
    let mut second = first.beside(Options::of("b", "ingest,query"));
    second.restart();
    second.client().write("plant", "t v=1i 1\n");
    eventually_shown(&first, &[["a", "ingest,query,compact", "running"], ["b", "ingest,query", "running"]]);

    let weir = Weir::at(&first.url());
    let early = weir.run(&["remove", "node", "--node-id", "b", "--no-confirm"]).failure();
    assert!(early.contains("node 'b' is not fully stopped (current state: running)"), "{early}");
    let asked = weir.run(&["stop", "node", "--node-id", "b"]).failure();
    assert!(asked.contains("--no-confirm"), "nobody is there to be asked: {asked}");
    let told = weir.run(&["stop", "node", "--node-id", "b", "--no-confirm"]).success();
    assert!(told.contains("has stopped"), "{told}");
    assert_eq!(second.wait_for_its_end(), Some(0));
    eventually_shown(&first, &[["a", "ingest,query,compact", "running"], ["b", "ingest,query", "stopped"]]);
    let again = weir.run(&["stop", "node", "--node-id", "b", "--no-confirm"]).failure();
    assert!(again.contains("400") && again.contains("already stopped"), "{again}");

    weir.run(&["remove", "node", "--node-id", "b", "--no-confirm"]).success();
    eventually_shown(&first, &[["a", "ingest,query,compact", "running"], ["b", "ingest,query", "removed"]]);
    assert_eq!(first.client().number("plant", "SELECT count(*) AS n FROM t"), 1);
    let gone = weir.run(&["stop", "node", "--node-id", "b", "--no-confirm"]).failure();
    assert!(gone.contains("404"), "{gone}");

    second.set_options(Options::of("b", "query"));
    second.restart();
    eventually_shown(&first, &[["a", "ingest,query,compact", "running"], ["b", "query", "running"]]);
    assert_eq!(second.client().number("plant", "SELECT count(*) AS n FROM t"), 1);
}

#[test]
fn a_node_stops_itself_when_it_is_asked_alone() {
    let mut node = Node::start(Options::of("a", "all"));
    node.client().write("plant", "t v=1i 1\n");
    let told = Weir::at(&node.url()).run(&["stop", "node", "--node-id", "a", "--no-confirm"]).success();
    assert!(told.contains("was asked to stop"), "{told}");
    assert!(told.contains("has stopped") || told.contains("takes no requests any more"), "{told}");
    assert_eq!(node.wait_for_its_end(), Some(0));
    node.restart();
    assert_eq!(node.client().number("plant", "SELECT count(*) AS n FROM t"), 1);
}

/// What `stop node` says when these are the answers that a server gives, one for each connection; then it is gone.
fn told_by(answers: &'static [&'static str]) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            // A request of this size comes at once.
            let _ = stream.read(&mut [0; 4096]).expect("a request");
            let status = if answer.starts_with('{') { "200 OK" } else { "401 Unauthorized" };
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", answer.len());
            if !answer.is_empty() {
                stream.write_all(format!("{head}{answer}").as_bytes()).expect("it is read");
            }
        }
    });
    let outcome = Weir::at(&url).run(&["stop", "node", "--node-id", "a", "--no-confirm"]);
    server.join().expect("every answer was asked for");
    outcome
}

#[test]
fn a_node_is_said_to_be_told_only_when_it_answered_and_to_have_stopped_only_when_it_has() {
    const STOPPING: &str = r#"{"node_id":"a","epoch":3,"state":"stopping","answered_by":"a"}"#;
    let lost = told_by(&[""]).failure();
    assert!(lost.contains("may or may not have been asked to stop"), "{lost}");
    let refused = told_by(&["no"]).failure();
    assert!(refused.contains("401") && !refused.contains("asked to stop"), "{refused}");
    let gone = told_by(&[STOPPING, STOPPING, ""]).success();
    assert!(gone.contains("was asked to stop") && gone.contains("takes no requests any more"), "{gone}");
    assert!(!gone.contains("has stopped"), "{gone}");
    let shut_out = told_by(&[STOPPING, "no"]).failure();
    assert!(shut_out.contains("was asked to stop") && shut_out.contains("401"), "{shut_out}");
    let died = told_by(&[STOPPING, r#"{"node_id":"a","epoch":3,"state":"lost","answered_by":"a"}"#]).failure();
    assert!(died.contains("died before"), "{died}");
    let again = told_by(&[STOPPING, r#"{"node_id":"a","epoch":4,"state":"running","answered_by":"a"}"#]).success();
    assert!(again.contains("is another process by now"), "{again}");
}

#[test]
fn a_dead_node_is_shown_as_lost_and_cannot_be_asked_to_stop() {
    let first = Node::start(Options::of("a", "ingest,query"));
    let mut second = first.beside(Options::of("b", "ingest"));
    second.restart();
    second.client().write("plant", "t v=1i 1\n");
    second.kill();
    eventually_shown(&first, &[["a", "ingest,query", "running"], ["b", "ingest", "lost"]]);
    let refused = Weir::at(&first.url()).run(&["stop", "node", "--node-id", "b", "--no-confirm"]).failure();
    assert!(refused.contains("409") && refused.contains("is dead"), "{refused}");
    let refused = Weir::at(&first.url()).run(&["remove", "node", "--node-id", "b", "--no-confirm"]).failure();
    assert!(refused.contains("current state: lost"), "{refused}");

    // A compactor under its id puts its rows into files. Killed again, it leaves nothing that could be lost.
    second.set_options(Options::of("b", "compact"));
    second.restart();
    eventually_shown(&first, &[["a", "ingest,query", "running"], ["b", "compact", "running"]]);
    second.kill();
    eventually_shown(&first, &[["a", "ingest,query", "running"], ["b", "compact", "stopped"]]);
    Weir::at(&first.url()).run(&["remove", "node", "--node-id", "b", "--no-confirm"]).success();
    assert_eq!(first.client().number("plant", "SELECT count(*) AS n FROM t"), 1);
}

#[test]
fn a_node_tells_what_it_was_started_with_and_where_it_listens() {
    let options = Options::of("a", "ingest,query").option("--http-advertise-addr", "db.example:8181");
    let node = Node::start(options.variable("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"));
    let text = "SELECT cli_params, http_address, version, sealed, epoch FROM system.nodes";
    let shown = node.client().sql("_internal", text);
    let said: serde_json::Value =
        serde_json::from_str(shown[0]["cli_params"].as_str().expect("a text")).expect("an object");
    assert_eq!((&said["mode"], &said["without-auth"]), (&json!("ingest,query"), &json!("true")));
    assert_eq!(said["aws-secret-access-key"], json!("***"));
    assert_eq!((&shown[0]["http_address"], &shown[0]["epoch"]), (&json!("db.example:8181"), &json!(1)));
    assert_eq!(node.client().ask(Request::get("/health")).status, 200);
    let table = Weir::at(&node.url()).run(&["show", "nodes"]).success();
    assert!(table.contains("node_catalog_id") && table.contains("[ingest, query]"), "{table}");
}
