//! A node that is asked to stop leaves in order; asked again, at once.
//!
//! # Promises
//! - Two signals that come together are one: what was in memory is in files afterwards.
//! - A second signal ends the process although a request is still under way; nothing that was answered is lost.

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::folder::files_below;
use harness::node::{Node, Options};

#[test]
fn two_signals_at_once_are_one() {
    let mut node = Node::start(Options::open());
    node.client().write("plant", "t v=1 1");
    node.ask_to_stop();
    node.ask_to_stop();
    node.stop();
    let data = node.data_dir();
    let files = files_below(&data).filter(|path| path.extension().is_some_and(|end| end == "parquet"));
    assert_eq!(files.count(), 1);
}

#[test]
fn a_second_signal_leaves_at_once() {
    let mut node = Node::start(Options::open().allow_in_log("left at once"));
    node.client().write("plant", "t v=1 1");
    // A body that never comes keeps the node from leaving in order.
    let mut open = TcpStream::connect(node.url().strip_prefix("http://").expect("a URL")).expect("it listens");
    open.write_all(b"POST /api/v3/write_lp?db=plant HTTP/1.1\r\nHost: n\r\nContent-Length: 10\r\n\r\n").expect("sent");
    sleep(Duration::from_millis(200));
    node.ask_to_stop();
    sleep(Duration::from_secs(1));
    let asked_again = Instant::now();
    node.stop();
    assert!(asked_again.elapsed() < Duration::from_secs(5), "{:?}", asked_again.elapsed());
    assert!(node.log().contains("left at once"));
    node.restart();
    assert_eq!(node.client().number("plant", "SELECT count(*) AS n FROM t"), 1);
}
