//! Two nodes over one store answer alike, and alone when the other dies.
//!
//! # Promises
//! - Rows written through one node are seen through the other within seconds, before any file is made of them.
//! - A row overwritten through the other node has the newer values at both.
//! - Counts are right at both all along: while one makes files and both merge them, after a kill, after a restart.
//! - Rows that one node cannot read of another's log are never left out: the answer is an error that names the node.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::folder::files_below;
use harness::http::{Client, sql_request};
use harness::node::{Node, Options};
use harness::wait::eventually;

fn options(id: &str) -> Options {
    let mut options = Options::open().option("--compaction-check-interval", "200ms");
    options.node_id = id.to_owned();
    // Both merge files, and whoever comes second says so.
    // On a slow machine a node is down for long enough to be given up.
    options.option("--compaction-cleanup-wait", "1s").allow_in_log("counts as dead")
}

/// Two nodes that answer.
fn two(first: &str, second: &str) -> (Node, Node) {
    let first = Node::start(options(first));
    let mut second = first.beside(options(second));
    second.restart();
    (first, second)
}

fn lines(from: u64, to: u64, value: u64) -> String {
    (from..to).map(|row| format!("t,host=h{} v={value}i {}\n", row % 7, row + 1)).collect()
}

/// How many rows there are, and the sum of their values.
#[track_caller]
fn found(client: &Client) -> (i64, i64) {
    let sum = "SELECT coalesce(sum(v), 0) AS n FROM t";
    (client.number("plant", "SELECT count(*) AS n FROM t"), client.number("plant", sum))
}

#[track_caller]
fn eventually_found(node: &Node, expected: (i64, i64)) {
    eventually("what the other node took", || match found(&node.client()) {
        now if now == expected => Ok(()),
        now => Err(now),
    });
}

#[test]
fn rows_written_through_one_node_are_seen_through_the_other() {
    let (first, second) = two("a", "b");
    first.client().write("plant", &lines(0, 100, 1));
    let started = Instant::now();
    eventually("the table", || {
        let answer = second.client().ask(sql_request("plant", "SELECT count(*) AS n FROM t", "json"));
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    eventually_found(&second, (100, 100));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(files_below(&first.data_dir()).filter(|path| is_parquet(path)).count(), 0, "it came through the log");

    // What a node has shown, it overwrites, whatever the clocks say; and the first one sees that.
    second.client().write("plant", &lines(0, 50, 3));
    assert_eq!(found(&second.client()), (100, 200));
    eventually_found(&first, (100, 200));
    first.client().write("plant", &lines(0, 10, 5));
    assert_eq!(found(&first.client()), (100, 220));
    eventually_found(&second, (100, 220));
}

#[test]
fn counts_stay_right_while_files_are_made_and_nodes_die() {
    let (mut first, mut second) = two("a", "b");
    let snapshots = |id: &str| options(id).option("--wal-files-per-snapshot", "1");
    let mut rows = 0;
    let mut check = |first: &Node, second: &Node| {
        for node in [first, second] {
            node.client().write("plant", &lines(rows, rows + 200, 1));
            rows += 200;
            let own = found(&node.client()).0;
            assert!(own <= rows as i64 && own >= 200, "{own} of {rows} rows");
        }
        let expected = (rows as i64, rows as i64);
        eventually_found(first, expected);
        eventually_found(second, expected);
        // Once seen, always seen: files take the place of what was in memory.
        for _ in 0..10 {
            assert_eq!((found(&first.client()), found(&second.client())), (expected, expected));
        }
    };
    check(&first, &second);
    // From here on one of them makes a file of every write.
    second.stop();
    second.set_options(snapshots("b"));
    second.restart();
    (0..3).for_each(|_| check(&first, &second));
    assert!(files_below(&first.data_dir()).any(|path| is_parquet(&path)), "one of them makes files");
    first.kill();
    let left = second.client();
    let before = found(&left);
    left.write("plant", &lines(1_000_000, 1_000_100, 1));
    assert_eq!(found(&left), (before.0 + 100, before.1 + 100), "rows of a node that died stay");
    first.set_options(snapshots("a"));
    first.restart();
    assert_eq!(found(&first.client()), (before.0 + 100, before.1 + 100), "a start waits for rows of the others");
    second.kill();
    second.restart();
    assert_eq!(found(&second.client()), (before.0 + 100, before.1 + 100));
    first.stop();
    assert_eq!(found(&second.client()), (before.0 + 100, before.1 + 100));
}

#[test]
fn rows_that_cannot_be_read_are_not_left_out() {
    let mut first = Node::start(options("a"));
    (0..3).for_each(|row| first.client().write("plant", &lines(row, row + 1, 1)));
    first.kill();
    let damaged = log_object(&first, 2);
    let whole = fs::read(&damaged).expect("it is there");
    fs::write(&damaged, b"noise").expect("the folder is ours");
    let mut second = first.beside(options("b").allow_in_log("node=a").allow_in_log("node a"));
    second.restart();
    check_refused(&second, "00000000000000000002.wal");
    second.stop();
    fs::remove_file(&damaged).expect("the folder is ours");
    second.restart();
    check_refused(&second, "missing");
    fs::write(&damaged, whole).expect("the folder is ours");
    eventually("what was repaired", || {
        let answer = second.client().ask(sql_request("plant", "SELECT count(*) AS n FROM t", "json"));
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    assert_eq!(found(&second.client()), (3, 3));
}

/// The query fails, and says which node and which object it is about.
#[track_caller]
fn check_refused(node: &Node, reason: &str) {
    let answer = node.client().ask(sql_request("plant", "SELECT count(*) AS n FROM t", "json"));
    let text = answer.text();
    assert!(answer.status >= 500, "{}: {text}", answer.status);
    assert!(text.contains("node a ") && text.contains(reason), "{text}");
}

fn log_object(node: &Node, position: u64) -> PathBuf {
    let name = format!("{position:020}.wal");
    files_below(&node.data_dir()).find(|path| path.ends_with(&name)).expect("an object of the log")
}

fn is_parquet(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}
