//! One of several nodes compacts and adopts, whatever happens to it.

use super::*;
use crate::compaction::{Merged, Wanted};
use crate::model::{Epoch, TimeRange};

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn compactor(node: &Node) -> Option<String> {
    node.catalog.state().compactor_node().map(|holder| holder.id.to_string())
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_compactor_that_stops_in_order_leaves_the_role_to_another() {
    let store = Watched::new();
    let (first, _) = start(&store, "n", 1).await;
    let (second, _) = start(&store, "m", 2).await;
    seconds(120).await;
    assert_eq!(compactor(&second).as_deref(), Some("n"), "who came first");
    first.stop().await;
    seconds(6).await;
    assert_eq!(compactor(&second).as_deref(), Some("m"));
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_dead_compactor_is_in_files_within_a_minute_and_swept() {
    // Killed at any moment between two looks and two heartbeats.
    for tenths in [1, 30, 60, 90, 119] {
        let store = Watched::new();
        let (first, tasks) = start(&store, "n", 1).await;
        let (second, _) = start(&store, "m", 2).await;
        for row in 0..10 {
            write(&first, &format!("t,h=a v=1i {row}\n")).await;
        }
        seconds(120).await;
        tokio::time::sleep(Duration::from_millis(tenths * 100)).await;
        tasks.kill();
        seconds(30).await;
        assert_eq!(compactor(&second).as_deref(), Some("m"), "killed after {tenths} tenths of a second");
        seconds(10).await;
        let state = second.catalog.state();
        assert!(state.nodes[&id("n")].sealed, "{:?}", state.nodes[&id("n")]);
        assert_eq!(state.tables[&TableId(1)].files.values().map(|file| file.rows).sum::<u64>(), 10);
        seconds(20).await;
        let left = second.bucket.list(&second.bucket.keys().wal(&id("n")), None).await.unwrap();
        assert_eq!(
            left,
            [second.bucket.keys().wal_object(&id("n"), Epoch(1), crate::model::Position(11))],
            "the fence"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_given_up_because_all_slept() {
    let store = Watched::new();
    let (first, first_tasks) = start(&store, "n", 1).await;
    let (_second, second_tasks) = start(&store, "m", 2).await;
    seconds(100).await;
    for pause in [14, 20, 60, 3600] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        seconds(40).await;
        assert_eq!((first_tasks.failure(), second_tasks.failure()), (None, None), "after {pause} s");
    }
    assert_eq!(first.catalog.state().compactor.term, 1, "the role stayed where it was");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_goes_on_with_its_own_log() {
    let store = Watched::new();
    let (first, _) = start(&store, "n", 1).await;
    let (second, tasks) = start(&store, "m", 2).await;
    write(&second, "t,h=a v=1i 1\n").await;
    tasks.kill();
    seconds(60).await;
    assert!(first.catalog.state().nodes[&id("m")].sealed);
    let before = tokio::time::Instant::now();
    let (second, tasks) = start(&store, "m", 3).await;
    assert!(before.elapsed() < Duration::from_secs(1), "it waited for a heartbeat that nobody moves");
    write(&second, "t,h=a v=1i 2\n").await;
    seconds(120).await;
    assert_eq!(tasks.failure(), None);
    let record = Arc::clone(&first.catalog.state().nodes[&id("m")]);
    assert_eq!((record.epoch, record.sealed), (Epoch(3), false));
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_wants_merged_is_merged_at_once_by_whoever_compacts() {
    let store = Watched::new();
    let (first, _) = start(&store, "n", 1).await;
    let (second, _) = start(&store, "m", 2).await;
    for row in 0..3 {
        write(&first, &format!("t,h=a v=1i {}\n", START_MICROS * 1000 + row)).await;
        assert!(take_snapshot(&first).await);
    }
    // The other one has to say that it has nothing older.
    seconds(15).await;
    let give = async |node: &Node, table| {
        let wanted = Wanted { table: TableId(table), range: TimeRange::ALL };
        node.orders.as_ref().unwrap().give(wanted).await
    };
    assert_eq!(first.catalog.state().tables[&TableId(1)].files.len(), 3, "they wait for the end of their window");
    let refused = give(&second, 1).await.expect_err("it does not compact");
    assert!(matches!(refused, compaction::Error::SteppedDown(_)), "{refused}");
    assert_eq!(give(&first, 1).await.unwrap(), Merged { files_before: 3, files_after: 1 });
    assert_eq!(give(&first, 1).await.unwrap(), Merged { files_before: 1, files_after: 1 });
    let refused = give(&first, 7).await.expect_err("there is none");
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    let orders = first.orders.clone().unwrap();
    first.stop().await;
    let refused = orders.give(Wanted { table: TableId(1), range: TimeRange::ALL }).await.expect_err("it stopped");
    assert!(matches!(refused, compaction::Error::SteppedDown(_)), "{refused}");
}
