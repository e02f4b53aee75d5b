//! What a cluster of six nodes costs that nobody uses, with default settings but for a quicker settling.
//!
//! # Promises
//! - Less than three requests to the store each second, of all nodes together, when they have lines to each other.
//! - The store holds no more than 1.1 times the bytes of live files, beside the newest objects of each log, which are kept.
//!
//! `WEIR_IDLE_SECONDS` says how long is measured (60).

use std::thread::sleep;
use std::time::Duration;

use harness::data;
use harness::http::sql_request;
use harness::node::{Node, free_port};
use harness::wait::eventually;

use crate::stores::Store;

/// Nobody changes anything for so long before it is measured: nodes take a minute to find that out.
const REST: Duration = Duration::from_secs(75);

/// Each does everything, so that each follows the logs of all others.
const NODES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

#[test]
fn six_idle_nodes_ask_the_store_little_and_keep_little() {
    let seconds = std::env::var("WEIR_IDLE_SECONDS").map_or(60, |text| text.parse().expect("WEIR_IDLE_SECONDS"));
    let store = Store::named("s3");
    let nodes = six(&store);
    let text = data::line_protocol("flights");
    let lines: Vec<&str> = text.lines().collect();
    for (number, lines) in lines.chunks(5_000).enumerate() {
        nodes[number % NODES.len()].client().write("nyc", &lines.join("\n"));
    }
    // The newest objects of each log stay; they are small here, as the whole load is.
    for number in 0..3 * NODES.len() {
        nodes[number % NODES.len()].client().write("nyc", &format!("last v={number}i {number}"));
    }
    let served = store.played().expect("the harness plays it");
    eventually("everything in few files", || {
        let live = live_bytes(&nodes[0]);
        let (stored, unsaved) = (served.bytes_of(""), rows_beside_files(&nodes[0]));
        if unsaved == 0 && stored * 10 <= live * 11 { Ok(()) } else { Err((live, stored, unsaved)) }
    });
    sleep(REST);
    let before = served.calls().len();
    sleep(Duration::from_secs(seconds));
    let calls = served.calls();
    let rate = (calls.len() - before) as f64 / seconds as f64;
    let (live, stored) = (live_bytes(&nodes[0]), served.bytes_of(""));
    println!("{rate:.2} requests a second; {live} bytes of live files, {stored} bytes stored");
    // Heartbeats at both edges of the time count in full.
    let calls_max = 3 * usize::try_from(seconds).expect("a few") + 2 * NODES.len();
    assert!(calls.len() - before <= calls_max, "{rate} a second: {:?}", &calls[before..]);
    assert!(stored * 10 <= live * 11, "{stored} bytes are stored, {live} of them in live files");
}

fn six(store: &Store) -> Vec<Node> {
    let started = NODES.iter().map(|id| {
        let options = store
            .options_of(id, "all")
            .option("--internode-bind-addr", &format!("127.0.0.1:{}", free_port()))
            .option("--wal-files-per-snapshot", "1")
            .option("--snapshotted-wal-files-to-keep", "1")
            .option("--compaction-check-interval", "1s")
            .option("--compaction-cleanup-wait", "2s");
        let mut node = Node::new(options);
        node.restart();
        node
    });
    started.collect()
}

#[track_caller]
fn live_bytes(node: &Node) -> u64 {
    let text = "SELECT coalesce(sum(size_bytes), 0) AS n FROM system.parquet_files WHERE table_name = 'flights'";
    let answer = node.client().ask(sql_request("nyc", text, "json")).expect(200).json();
    answer[0]["n"].as_u64().expect("a number")
}

/// Not zero while rows are outside files, or in several.
#[track_caller]
fn rows_beside_files(node: &Node) -> i64 {
    let text = "SELECT coalesce(sum(row_count), 0) AS n FROM system.parquet_files WHERE table_name = 'flights'";
    node.client().number("nyc", "SELECT count(*) AS n FROM flights") - node.client().number("nyc", text)
}
