//! Nodes of several modes over one store are one database.
//!
//! # Promises
//! - In every layout the guides of the original know, a write through any node is seen by a query through any node, from
//!   its log and from its files, on a shared folder and on S3; two nodes are tried on Azure and Google too.
//! - A request that a node does not serve goes on with its token and its body, and its answer is the other node's. Told not
//!   to, the node refuses it and names who serves it; when nobody does, it says so.
//! - A node that becomes a compactor under its old id brings every row with it that it answered, after a kill too.
//!
//! `WEIR_TOPOLOGIES_STORE` names the one store that all of this is tried on instead: see `stores`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use harness::http::{Client, Request, gzip, sql_request, write_request};
use harness::node::{Node, Options};
use harness::wait::eventually;
use serde_json::json;

use crate::stores::{Store, chosen};

/// The layout of two nodes, on whatever store.
const TWO_NODES: [(&str, &str); 2] = [("host01", "ingest,query,compact"), ("host02", "ingest,query")];

/// Nodes over one store, each of its name and modes, all of which answer.
fn cluster(store: &Store, nodes: &[(&str, &str)]) -> Vec<Node> {
    started(nodes.iter().map(|(id, modes)| store.options_of(id, modes)))
}

/// The same, with a file of every write, and compaction at once.
fn hasty_cluster(store: &Store, nodes: &[(&str, &str)]) -> Vec<Node> {
    started(nodes.iter().map(|(id, modes)| {
        store
            .options_of(id, modes)
            .option("--wal-files-per-snapshot", "1")
            .option("--compaction-check-interval", "200ms")
            .option("--compaction-cleanup-wait", "1s")
    }))
}

/// The store of a promise that has nothing to do with it.
fn any_store() -> Store {
    Store::named(chosen().as_deref().unwrap_or("folder"))
}

/// The stores of every layout: a folder that is shared, and S3 as others wrote it.
fn each_store() -> impl Iterator<Item = Store> {
    let names = chosen().map_or_else(|| vec!["folder".to_owned(), "moto".to_owned()], |name| vec![name]);
    names.into_iter().map(|name| {
        eprintln!("on {name}");
        Store::named(&name)
    })
}

/// The nodes of a layout are one database, on each store.
#[track_caller]
fn check_layout(nodes: &[(&str, &str)]) {
    each_store().for_each(|store| drop(check_as_one(&store, nodes)));
}

fn started(options: impl IntoIterator<Item = Options>) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for options in options {
        let mut node = match nodes.first() {
            Some(first) => first.beside(options),
            None => Node::new(options),
        };
        node.restart();
        nodes.push(node);
    }
    nodes
}

/// Writes through each node of a layout, and asks each until it has the rows of all.
#[track_caller]
fn check_as_one(store: &Store, layout: &[(&str, &str)]) -> Vec<Node> {
    let nodes = hasty_cluster(store, layout);
    for (number, node) in nodes.iter().enumerate() {
        node.client().write("plant", &format!("t,node=n{number} v={number}i {}\n", number + 1));
    }
    for node in &nodes {
        eventually_counted(&node.client(), nodes.len() as i64);
    }
    // Once all is seen, a newer value of a row is too.
    nodes[nodes.len() - 1].client().write("plant", "t,node=n0 v=100i 1\n");
    for node in &nodes {
        eventually("the newer value", || match count_of(&node.client(), "SELECT max(v) AS n FROM t") {
            Ok(100) => Ok(()),
            other => Err(other),
        });
        eventually("a file", || match count_of(&node.client(), "SELECT count(*) AS n FROM system.parquet_files") {
            Ok(1..) => Ok(()),
            other => Err(other),
        });
        eventually_counted(&node.client(), nodes.len() as i64);
    }
    nodes
}

#[track_caller]
fn eventually_counted(client: &Client, expected: i64) {
    eventually("the rows of all nodes", || match count_of(client, "SELECT count(*) AS n FROM t") {
        Ok(found) if found == expected => Ok(()),
        other => Err(other),
    });
}

fn count_of(client: &Client, text: &str) -> Result<i64, String> {
    let answer = client.ask(sql_request("plant", text, "json"));
    // A table that another node made a moment ago may not be known yet.
    if answer.status != 200 {
        return Err(answer.text());
    }
    answer.json()[0]["n"].as_i64().ok_or_else(|| answer.text())
}

#[test]
fn a_node_for_everything_and_one_that_does_not_compact_are_one_database() {
    check_layout(&TWO_NODES);
}

#[test]
fn two_nodes_over_azure_are_one_database() {
    check_as_one(&Store::named("azurite"), &TWO_NODES);
}

#[test]
fn two_nodes_over_google_are_one_database() {
    check_as_one(&Store::named("google"), &TWO_NODES);
}

#[test]
fn two_nodes_and_a_compactor_are_one_database() {
    check_layout(&[("host01", "ingest,query"), ("host02", "ingest,query"), ("host03", "compact")]);
}

#[test]
fn three_nodes_that_each_do_one_thing_are_one_database() {
    check_layout(&[("in", "ingest"), ("compactor", "compact"), ("ask", "query")]);
}

#[test]
fn several_nodes_that_each_do_everything_are_one_database() {
    check_layout(&[("a", "all"), ("b", "all"), ("c", "all")]);
}

#[test]
fn five_nodes_that_each_do_one_thing_are_one_database() {
    each_store().for_each(|store| check_five(&store));
}

#[track_caller]
fn check_five(store: &Store) {
    let nodes =
        [("in-1", "ingest"), ("in-2", "ingest"), ("compactor", "compact"), ("ask-1", "query"), ("ask-2", "query")];
    let nodes = check_as_one(store, &nodes);
    // What one of two of a kind does not serve any more, the other does.
    let [mut in_1, in_2, compactor, mut ask_1, ask_2]: [Node; 5] = nodes.try_into().expect("five of them");
    in_1.stop();
    ask_1.kill();
    compactor.client().write("plant", "t,node=late v=1i 1\n");
    for node in [&in_2, &compactor, &ask_2] {
        eventually_counted(&node.client(), 6);
    }
    let metrics = compactor.client().ask(Request::get("/metrics")).expect(200).text();
    let counted = |line: &&str| line.starts_with("http_requests_forwarded_total") && line.contains("answered");
    assert!(metrics.lines().filter(counted).count() == 2, "writes and queries: {metrics}");
}

#[test]
fn a_request_that_was_sent_on_to_another_node_is_refused() {
    let store = any_store();
    let node = &cluster(&store, &[("a", "all")])[0];
    let write = write_request("plant", "t v=1i 1\n").header("weir-forwarded-to", "0123/b");
    let answer = node.client().ask(write);
    assert_eq!(answer.status, 421, "{}", answer.text());
    assert!(answer.text().contains("was sent on to another node"), "{}", answer.text());
    assert_eq!(node.client().ask(sql_request("plant", "SELECT * FROM t", "json")).status, 404, "nothing was written");
}

#[test]
fn a_sender_that_breaks_off_is_no_fault_of_the_node_that_serves() {
    let nodes = cluster(&Store::Folder, &[("in", "ingest"), ("ask", "query")]);
    let between = &nodes[1];
    // Once it has found the other.
    between.client().write("plant", "t v=1i 1\n");
    let mut stream = TcpStream::connect(between.url().trim_start_matches("http://")).expect("it listens");
    let head = "POST /api/v3/write_lp?db=plant HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(format!("{head}t v=2i 2\n").as_bytes()).expect("it is sent");
    stream.shutdown(Shutdown::Write).expect("nothing more comes");
    let mut answer = String::new();
    // The connection may end without an answer: nobody may be there to read one.
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    eventually("the request in the metrics", || {
        let metrics = between.client().ask(Request::get("/metrics")).expect(200).text();
        let of_forwards = metrics.lines().filter(|line| line.starts_with("http_requests_forwarded_total"));
        let counted: Vec<String> = of_forwards.map(str::to_owned).collect();
        assert!(!counted.iter().any(|line| line.contains("failed")), "{counted:?}");
        if counted.iter().any(|line| line.contains("broken_off")) { Ok(()) } else { Err(counted) }
    });
    eventually_counted(&between.client(), 1);
}

#[test]
fn large_bodies_and_answers_pass_through_a_node_that_serves_neither() {
    let store = any_store();
    let nodes = cluster(&store, &[("in", "ingest"), ("ask", "query"), ("compactor", "compact")]);
    let between = nodes[2].client();
    let rows = 40_000;
    let lines: String = (0..rows).map(|row| format!("t,host=h{} v={row}i {}\n", row % 100, row + 1)).collect();
    let write = Request { body: gzip(lines.as_bytes()), ..write_request("plant", "") };
    between.ask(write.header("Content-Encoding", "gzip")).expect(204);
    eventually_counted(&between, rows);
    let answer = between.ask(sql_request("plant", "SELECT * FROM t ORDER BY time", "csv")).expect(200);
    assert_eq!(answer.text().lines().count() as i64, rows + 1);
    let get = Request::get("/api/v3/query_sql").query("db", "plant").query("q", "SELECT count(*) AS n FROM t");
    assert_eq!(between.ask(get).expect(200).json()[0]["n"], rows);
    // Errors of the other node come as they are.
    let wrong = between.ask(Request { body: b"t v=".to_vec(), ..write_request("plant", "") });
    assert_eq!((wrong.status, wrong.json()["data"]["line_number"].as_i64()), (400, Some(1)), "{}", wrong.text());
    assert_eq!(between.ask(sql_request("nowhere", "SELECT 1", "json")).status, 404);
}

#[test]
fn a_token_counts_on_both_sides_of_a_forward() {
    let store = any_store();
    let of = |id: &str, modes: &str| {
        let mut options = store.options_of(id, modes);
        options.flags.retain(|flag| flag != "--without-auth");
        options
    };
    let nodes = started([of("in", "ingest"), of("ask", "query")]);
    let created = nodes[0].client().ask(Request::post("/api/v3/configure/token/admin")).expect(201).json();
    let token = created["token"].as_str().expect("a token");
    for node in &nodes {
        let client = node.client().with_token(token);
        client.write("plant", "t v=1 1\n");
        eventually_counted(&client, 1);
        assert_eq!(node.client().ask(write_request("plant", "t v=1 1\n")).status, 401);
        assert_eq!(node.client().with_token("apiv3_no").ask(sql_request("plant", "SELECT 1", "json")).status, 401);
    }
}

#[test]
fn a_request_that_nobody_serves_is_refused_with_the_reason() {
    let store = any_store();
    let lone = Node::start(store.options_of("compactor", "compact"));
    let answer = lone.client().ask(write_request("plant", "t v=1 1\n"));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.json(), json!({ "error": "no live node with mode 'ingest' in cluster 'test'" }));
    let asked = lone.client().ask(sql_request("plant", "SELECT 1", "json"));
    assert_eq!(asked.json(), json!({ "error": "no live node with mode 'query' in cluster 'test'" }));

    let mut shut = lone.beside(store.options_of("ask", "query").option("--forward", "off"));
    shut.restart();
    let refused = shut.client().ask(write_request("plant", "t v=1 1\n"));
    let text = "this node (mode: query) does not serve writes; nodes with mode 'ingest': none that lives";
    assert_eq!((refused.status, refused.json()), (405, json!({ "error": text })));

    let mut other = lone.beside(store.options_of("in", "ingest"));
    other.restart();
    eventually("a write through the node that was alone", || {
        let answer = lone.client().ask(write_request("plant", "t v=1 1\n"));
        if answer.status == 204 { Ok(()) } else { Err(answer.text()) }
    });
    eventually("the node that takes writes", || {
        let refused = shut.client().ask(write_request("plant", "t v=1 1\n"));
        let told = refused.json()["error"].as_str().expect("a sentence").to_owned();
        let address = other.url().replace("http://", "");
        if told.ends_with(&format!("'ingest': in at {address}")) { Ok(refused.expect(405)) } else { Err(told) }
    });
    // A request that came so far by a forward goes no further.
    let twice = lone.client().ask(write_request("plant", "t v=1 1\n").header("weir-forwarded-by", "x"));
    assert_eq!(twice.status, 503);
    assert!(twice.text().contains("forwarded by 'x' already"), "{}", twice.text());
    eventually_counted(&other.client(), 1);
}

#[test]
fn a_node_that_becomes_a_compactor_under_its_id_loses_nothing() {
    each_store().for_each(|store| check_growth(&store));
}

#[track_caller]
fn check_growth(store: &Store) {
    let mut node0 = Node::start(store.options_of("node0", "all"));
    let rows = 500;
    for row in 0..rows {
        node0.client().write("plant", &format!("t,host=h{} v={row}i {}\n", row % 7, row + 1));
    }
    node0.kill();
    node0.set_options(store.options_of("node0", "compact"));
    node0.restart();
    let mut node1 = node0.beside(store.options_of("node1", "ingest,query"));
    node1.restart();
    let files = "SELECT count(*) AS n FROM system.parquet_files";
    assert_eq!(node1.client().number("plant", files), 1, "what was in its log only is in a file");
    for node in [&node0, &node1] {
        eventually_counted(&node.client(), rows);
    }
    // And on to the last step of the guide: one that takes writes, one that answers.
    node1.stop();
    node1.set_options(store.options_of("node1", "ingest"));
    node1.restart();
    let mut node2 = node0.beside(store.options_of("node2", "query"));
    node2.restart();
    node2.client().write("plant", "t,host=new v=1i 1\n");
    for node in [&node0, &node1, &node2] {
        eventually_counted(&node.client(), rows + 1);
    }
    node0.kill();
    node0.restart();
    assert!(node0.ready_after < Duration::from_secs(20), "{:?}", node0.ready_after);
    eventually_counted(&node0.client(), rows + 1);
}
