//! What sweep does while a node runs, and what it does not.

use super::*;
use crate::catalog::{Asked, HardDelete};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A store whose only row was written an hour ago and is kept for two days, and its file; the node has stopped.
async fn with_a_file(store: &Arc<Watched>) -> Key {
    let (node, _) = start(store, "n", 1).await;
    write(&node, &format!("t,h=a v=1i {}\n", START_MICROS * 1_000)).await;
    node.catalog.by(&Asked::default()).set_database_retention("db", Some(2 * 24 * 3600 * 1_000_000_000)).await.unwrap();
    assert!(take_snapshot(&node).await);
    // Time for the file to be compacted.
    tokio::time::sleep(HOUR).await;
    let state = node.catalog.state();
    let file = state.tables[&TableId(1)].files.values().next().expect("the snapshot wrote one");
    let key = Key::from(&*file.path);
    node.stop().await;
    key
}

/// Starts the node on a machine whose clock is ahead by so much.
async fn start_ahead(store: &Arc<Watched>, ahead: Duration) -> (Node, Clock) {
    let micros = u64::try_from((HOUR + ahead).as_micros()).unwrap();
    let clock = Clock::simulated(START_MICROS + micros, 2);
    let (tasks, registry) = (Tasks::new(Cpu::Here), Registry::new());
    let world = World { store: Arc::clone(store) as _, clock: clock.clone(), tasks, registry, wire: None };
    (Node::start(config("n", Duration::from_secs(60)), world).await.expect("the node starts"), clock)
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_years_ahead_and_mended_within_an_hour_costs_nothing() {
    let store = Watched::new();
    let file = with_a_file(&store).await;
    let (node, clock) = start_ahead(&store, 10 * YEAR).await;
    tokio::time::sleep(HOUR - Duration::from_secs(60)).await;
    clock.set_back(10 * YEAR);
    tokio::time::sleep(DAY).await;
    assert!(exists(&node, &file).await);
    check_named_files(&node).await;
    assert_eq!(node.catalog.state().file_floor, FileId(0));
    tokio::time::sleep(DAY).await;
    assert!(!exists(&node, &file).await, "after two days it is beyond its retention");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_while_the_node_runs_costs_nothing_for_an_hour() {
    let store = Watched::new();
    let file = with_a_file(&store).await;
    let (node, clock) = start_ahead(&store, Duration::ZERO).await;
    tokio::time::sleep(DAY / 2).await;
    clock.set_ahead(10 * YEAR);
    tokio::time::sleep(HOUR - Duration::from_secs(60)).await;
    clock.set_back(10 * YEAR);
    tokio::time::sleep(DAY / 2).await;
    assert!(exists(&node, &file).await);
    check_named_files(&node).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_was_off_for_a_year_loses_its_old_files_after_a_day() {
    let store = Watched::new();
    let file = with_a_file(&store).await;
    let (node, _) = start_ahead(&store, YEAR).await;
    tokio::time::sleep(DAY - HOUR).await;
    assert!(exists(&node, &file).await, "an operator has a day to see the warning");
    tokio::time::sleep(2 * HOUR).await;
    assert!(!exists(&node, &file).await);
}

#[tokio::test(start_paused = true)]
async fn what_was_dropped_for_good_waits_for_a_clock_that_can_be_trusted() {
    let store = Watched::new();
    let file = with_a_file(&store).await;
    let (node, _) = start_ahead(&store, Duration::ZERO).await;
    node.catalog.by(&Asked::default()).drop_database("db", HardDelete::Now).await.unwrap();
    tokio::time::sleep(HOUR - Duration::from_secs(60)).await;
    assert!(exists(&node, &file).await);
    tokio::time::sleep(HOUR).await;
    assert!(!exists(&node, &file).await);
    assert!(node.catalog.state().databases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn old_files_that_nobody_names_stay_for_the_first_day_of_a_process() {
    let store = Watched::new();
    with_a_file(&store).await;
    let (node, _) = start_ahead(&store, 20 * DAY).await;
    let orphan = node.bucket.keys().data_file((crate::model::DatabaseId(1), TableId(1)), 0, FileId::first_of(1));
    node.bucket.put_file(&orphan, Bytes::from_static(b"x")).await;
    tokio::time::sleep(DAY - HOUR).await;
    assert!(exists(&node, &orphan).await);
    tokio::time::sleep(2 * HOUR).await;
    assert!(!exists(&node, &orphan).await);
}

#[tokio::test(start_paused = true)]
async fn no_file_goes_when_the_catalog_does_not_know_a_large_part_of_them() {
    let store = Watched::new();
    let (node, _) = start(&store, "n", 1).await;
    write(&node, "t,h=a v=1i 1\n").await;
    assert!(take_snapshot(&node).await);
    let table = (crate::model::DatabaseId(1), TableId(1));
    for ms in 1..=101 {
        let key = node.bucket.keys().data_file(table, 0, FileId::first_of(ms));
        node.bucket.put_file(&key, Bytes::from_static(b"x")).await;
    }
    tokio::time::sleep(3 * DAY).await;
    assert_eq!(node.bucket.list(&node.bucket.keys().data(), None).await.unwrap().len(), 102);
    assert_eq!(node.catalog.state().file_floor, FileId(0));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_deleted_keeps_no_other_one() {
    let store = Watched::new();
    let (node, _) = start(&store, "n", 1).await;
    write(&node, "t,h=a v=1i 1\nu,h=a v=1i 1\n").await;
    assert!(take_snapshot(&node).await);
    store.refuse_deletes("data/1/1/");
    node.catalog.by(&Asked::default()).drop_database("db", HardDelete::Now).await.unwrap();
    tokio::time::sleep(3 * HOUR).await;
    let removed: Vec<_> = node.catalog.state().removed.values().map(|removed| removed.path.to_string()).collect();
    assert!(!removed.is_empty() && removed.iter().all(|path| path.contains("data/1/1/")), "{removed:?}");
    let listed = node.bucket.list(&node.bucket.keys().data(), None).await.unwrap();
    assert_eq!(listed.iter().map(|key| key.to_string()).collect::<Vec<_>>(), removed);
}
