//! One node over a store in memory: what is acknowledged is there, before and after snapshots, stops and crashes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod one_node;

use std::sync::Arc;

use one_node::{read, start, write};
use storage::bucket::{InMemory, Store};

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_survives_snapshot_stop_and_crash() {
    let store: Store = Arc::new(InMemory::new());
    let (node, _) = start(&store, 1).await;
    write(&node, "t,h=a v=1i,w=1.5 1\nt,h=b v=2i 1\n").await;
    write(&node, "t,h=a v=3i 1\nt,h=a,z=q s=\"x\" 2\n").await;
    let expected = [
        "a||1970-01-01T00:00:00.000000001|3|1.5|",
        "a|q|1970-01-01T00:00:00.000000002|||x",
        "b||1970-01-01T00:00:00.000000001|2||",
    ];
    assert_eq!(read(&node).await, expected, "right after the write");
    node.snapshot.as_ref().unwrap().take().await.unwrap();
    assert_eq!(read(&node).await, expected, "after a snapshot");
    write(&node, "t,h=b v=9i 1\n").await;
    let expected = [expected[0], expected[1], "b||1970-01-01T00:00:00.000000001|9||"];
    assert_eq!(read(&node).await, expected, "file and buffer unite");
    node.stop().await;

    let (node, tasks) = start(&store, 2).await;
    assert_eq!(read(&node).await, expected, "after a stop in order");
    write(&node, "t,h=b w=4 1\n").await;
    let expected = [expected[0], expected[1], "b||1970-01-01T00:00:00.000000001|9|4.0|"];
    assert_eq!(read(&node).await, expected);
    tasks.kill();

    let (node, _) = start(&store, 3).await;
    assert_eq!(read(&node).await, expected, "after a crash");
    node.stop().await;
    let (node, _) = start(&store, 4).await;
    assert_eq!(read(&node).await, expected, "after replay, snapshot and stop");
}
