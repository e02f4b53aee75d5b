//! Of two processes with one node id, one writes.
//!
//! # Promises
//! - The second refuses to start while the first lives, says so and changes nothing.
//! - A second that insists wins; the first ends loudly at its next write. No answered row is lost on the way.
//! - After a kill nobody waits: a restart on the same host knows that the process is gone.

use std::time::Duration;

use harness::http::write_request;
use harness::node::{Node, Options};

#[test]
fn a_second_process_refuses_to_start_while_the_first_lives() {
    let first = Node::start(Options::open());
    first.client().write("plant", "t v=1 1");
    let mut second = first.beside(Options::open().allow_in_log("in use"));
    second.spawn();
    assert_ne!(second.wait_for_its_end(), Some(0));
    assert!(second.log().contains("--take-over"), "it says what to do: {}", second.log());
    first.client().write("plant", "t v=2 2");
    assert_eq!(first.client().number("plant", "SELECT count(*) AS n FROM t"), 2);
}

#[test]
fn a_second_process_that_insists_wins_and_the_first_ends() {
    // What the first says when it is shut out is an error in the log, and shall be one.
    let mut first = Node::start(Options::open().allow_in_log(""));
    first.client().write("plant", "t v=1 1");
    let mut second = first.beside(Options::open().flag("--take-over").allow_in_log(""));
    second.restart();

    // The first may learn of its loss by itself, or at this write. It must not answer that the row is kept, unless it is.
    let late = first.client().send(write_request("plant", "t v=2 2"));
    let is_kept = late.is_ok_and(|answer| answer.status == 204);
    assert_ne!(first.wait_for_its_end(), Some(0), "a node that lost its id ends with an error");
    let rows = second.client().number("plant", "SELECT count(*) AS n FROM t");
    assert_eq!(rows, if is_kept { 2 } else { 1 });

    second.client().write("plant", "t v=3 3");
    second.kill();
    second.set_options(Options::open().allow_in_log(""));
    second.restart();
    assert_eq!(second.client().number("plant", "SELECT count(*) AS n FROM t"), rows + 1);
}

#[test]
fn a_restart_after_a_kill_waits_for_nothing() {
    let mut node = Node::start(Options::open());
    node.client().write("plant", "t v=1 1");
    let first = node.ready_after;
    node.kill();
    node.restart();
    // A heartbeat is believed dead after 15 s; whoever looks for the process need not wait for that.
    let bound = first + Duration::from_secs(8);
    assert!(node.ready_after < bound, "{:?}, the first start took {first:?}", node.ready_after);
}
