//! What a node leaves behind when it dies or stands still is taken over by the others.
//!
//! # Promises
//! - The rows of a node that never returns stay readable from the moment of its death, and are in files within a minute;
//!   then the node is sealed.
//! - Of several nodes one compacts. When it stands still another one does within half a minute; the first, once it goes
//!   on, changes nothing any more and says who took over. No row is lost or doubled, and it may start again at once.

use std::time::{Duration, Instant};

use harness::http::{Client, Request, sql_request};
use harness::node::{Node, Options, eventually_file};
use harness::wait::eventually;

fn options(id: &str) -> Options {
    let mut options = Options::open().option("--compaction-check-interval", "200ms").allow_in_log("counts as dead");
    options.node_id = id.to_owned();
    options
}

fn lines(from: u64, to: u64) -> String {
    (from..to).map(|row| format!("t,host=h{} v=1i {}\n", row % 7, row + 1)).collect()
}

#[track_caller]
fn rows(client: &Client) -> i64 {
    let found = client.sql("plant", "SELECT count(*) AS rows, coalesce(sum(v), 0) AS sum FROM t");
    let [rows, sum] = ["rows", "sum"].map(|name| found[0][name].as_i64().expect("a number"));
    assert_eq!(sum, rows, "a row stands there twice, or lost its field");
    rows
}

#[track_caller]
fn eventually_rows(node: &Node, expected: i64) {
    eventually("the table", || {
        match node.client().ask(sql_request("plant", "SELECT v FROM t LIMIT 1", "json")).status {
            200 => Ok(()),
            // It has not read the catalog yet.
            status => Err(status),
        }
    });
    eventually("rows of the other nodes", || match rows(&node.client()) {
        now if now == expected => Ok(()),
        now => Err(now),
    });
}

fn is_compactor(node: &Node) -> bool {
    let metrics = node.client().ask(Request::get("/metrics")).expect(200).text();
    let line = metrics.lines().find(|line| line.starts_with("influxdb3_compactor_is_active"));
    line.expect("every node that may compact says so").ends_with(" 1")
}

/// How many nodes of this id and state there are.
#[track_caller]
fn count(client: &Client, id: &str, state: &str) -> i64 {
    let query = format!("SELECT count(*) AS n FROM system.nodes WHERE node_id = '{id}' AND state = '{state}'");
    client.number("_internal", &query)
}

#[test]
fn rows_of_a_node_that_never_returns_are_in_files_within_a_minute() {
    let mut lost = Node::start(options("lost"));
    let mut others = ["b", "c"].map(|id| lost.beside(options(id)));
    others.iter_mut().for_each(Node::restart);
    lost.client().write("plant", &lines(0, 300));
    others[0].client().write("plant", &lines(300, 400));
    others.iter().for_each(|node| eventually_rows(node, 400));
    assert!(is_compactor(&lost), "it came first");

    lost.kill();
    let died = Instant::now();
    while count(&others[1].client(), "lost", "stopped") == 0 {
        for node in &others {
            assert_eq!(rows(&node.client()), 400, "{:?} after the death", died.elapsed());
        }
        assert!(died.elapsed() < Duration::from_secs(60), "it is not sealed");
        std::thread::sleep(Duration::from_millis(300));
    }
    println!("sealed {:?} after its death", died.elapsed());
    eventually_file(&lost.data_dir(), "/data/");
    assert_eq!(others.iter().filter(|node| is_compactor(node)).count(), 1);
    others.iter().for_each(|node| assert_eq!(rows(&node.client()), 400));
    // What it had in memory is in files, so they do without its log.
    others.iter_mut().for_each(Node::stop);
    others[0].restart();
    assert_eq!(rows(&others[0].client()), 400);
}

#[test]
fn a_compactor_that_stood_still_finds_another_in_its_place() {
    let snapshots = |id: &str| options(id).option("--wal-files-per-snapshot", "1");
    let mut first = Node::start(snapshots("a").allow_in_log(""));
    let mut second = first.beside(snapshots("b").allow_in_log(""));
    second.restart();
    let mut stored = 0;
    let mut write = |node: &Node| {
        node.client().write("plant", &lines(stored, stored + 50));
        stored += 50;
        stored as i64
    };
    for _ in 0..5 {
        write(&first);
        eventually_rows(&second, write(&second));
    }
    assert!(is_compactor(&first) && !is_compactor(&second));

    first.pause();
    let paused = Instant::now();
    while !is_compactor(&second) {
        let expected = write(&second);
        assert_eq!(rows(&second.client()), expected);
        assert!(paused.elapsed() < Duration::from_secs(30), "nobody took over");
        std::thread::sleep(Duration::from_millis(300));
    }
    println!("another one compacts {:?} after the first stood still", paused.elapsed());
    eventually("the log of the first is in files", || match count(&second.client(), "a", "stopped") {
        1 => Ok(()),
        now => Err(now),
    });
    first.resume();
    assert_ne!(first.wait_for_its_end(), Some(0), "a node that lost its id ends with an error");
    assert!(first.log().contains("of node b"), "it says who took over: {}", first.log());
    for _ in 0..3 {
        let expected = write(&second);
        assert_eq!(rows(&second.client()), expected);
    }
    first.restart();
    assert!(first.ready_after < Duration::from_secs(12), "nothing is to be waited for: {:?}", first.ready_after);
    eventually_rows(&second, write(&first));
    eventually_rows(&first, write(&second));
    assert!(is_compactor(&second) && !is_compactor(&first));
}
