//! The log of a node that is gone becomes files.

use object_store::ObjectStoreExt;

use super::*;
use crate::adopt::{self, Adopted, Adopter};
use crate::model::{ColumnId, Epoch, FieldColumn, Position, Rows, SeriesSet, Strings, TimeRange, Values};
use crate::wal::Recovered;

/// A store with ten rows of node `n`, each in an object of its own, and their columns from time to time; the node was
/// killed.
async fn left_behind() -> Arc<Watched> {
    let store = Watched::new();
    let (node, tasks) = start(&store, "n", 1).await;
    for row in 0..10 {
        write(&node, &format!("t,h=a v{}=1i {row}\n", row / 4)).await;
    }
    tasks.kill();
    store
}

/// Another process, with an adopter that holds one row in memory.
async fn adopter(store: &Arc<Watched>, seed: u64) -> Adopter {
    let clock = Clock::simulated(START_MICROS, seed);
    let bucket = Bucket::new(Arc::clone(store) as _, Keys::new(NodeId::new("c").unwrap()), clock.clone());
    let tasks = Tasks::new(Cpu::Here);
    let catalog = Catalog::open(bucket.clone(), clock.clone(), tasks.clone(), Limits::default()).await.unwrap();
    let (catalog, gen1) = (Arc::new(catalog), Duration::from_secs(600));
    Adopter { bucket, catalog, clock, tasks, gen1, part_bytes_max: 1 }
}

/// Opens the next epoch of node `n` for the adopter's process.
async fn open(adopter: &Adopter) -> (NodeId, Epoch) {
    let node = NodeId::new("n").unwrap();
    let process = adopter.clock.random();
    let decide = |state: &State| {
        let epoch = Epoch(state.nodes[&node].epoch.0 + 1);
        Ok((vec![Change::OpenEpoch { node: node.clone(), epoch, process, at_ms: 0 }], epoch))
    };
    let epoch = adopter.catalog.commit(decide).await.unwrap();
    (node, epoch)
}

async fn adopt(adopter: &Adopter, on_damage: OnDamage) -> Result<Adopted, adopt::Error> {
    let (node, epoch) = open(adopter).await;
    adopter.adopt((&node, epoch), on_damage).await
}

#[track_caller]
fn check_in_files(state: &State, rows: u64) {
    assert!(state.nodes[&NodeId::new("n").unwrap()].sealed);
    assert_eq!(state.tables[&TableId(1)].files.values().map(|file| file.rows).sum::<u64>(), rows);
}

#[tokio::test(start_paused = true)]
async fn a_log_larger_than_memory_becomes_files_part_by_part_and_the_node_goes_on_behind_it() {
    let store = left_behind().await;
    let adopter = adopter(&store, 2).await;
    let adopted = adopt(&adopter, OnDamage::Fail).await.unwrap();
    assert_eq!(adopted, Adopted { objects: 10, rows: 10, files: 10 });
    check_in_files(&adopter.catalog.state(), 10);

    let mut config = config("n", Duration::from_secs(60));
    config.member.take_over = cluster::TakeOver::Insist;
    let (node, _) = start_with(&store, config, 3).await;
    let record = node.member.record().unwrap();
    assert_eq!((record.epoch, record.persisted, record.sealed), (Epoch(3), Position(11), false));
    write(&node, "t,h=a v0=1i 100\n").await;
    let view = node.views.as_ref().unwrap().open().unwrap().table(TableId(1), TimeRange::ALL).unwrap();
    let in_memory: usize = view.chunks.iter().map(|chunk| chunk.batch.num_rows()).sum();
    assert_eq!((in_memory, view.files.iter().map(|file| file.rows).sum::<u64>()), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn an_adopter_goes_on_where_another_one_ended() {
    let store = left_behind().await;
    let first = adopter(&store, 2).await;
    let (node, epoch) = open(&first).await;
    // Its third file is there, its entry never will be.
    let work = first.adopt((&node, epoch), OnDamage::Fail);
    let third_file = async {
        while store.calls("put", "/data/").len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = third_file => {}
        result = work => panic!("{result:?}"),
    }
    let second = adopter(&store, 3).await;
    let adopted = adopt(&second, OnDamage::Fail).await.unwrap();
    assert!(adopted.rows >= 7 && adopted.rows < 10, "{adopted:?}");
    check_in_files(&second.catalog.state(), 10);
    let refusal = first.adopt((&node, epoch), OnDamage::Fail).await.expect_err("its epoch is over");
    assert_eq!(refusal.kind(), ErrorKind::Fenced);
    assert!(refusal.to_string().contains("epoch 3"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_log_is_not_sealed_unless_somebody_insists() {
    let store = left_behind().await;
    let adopter = adopter(&store, 2).await;
    let key = adopter.bucket.keys().wal_object(&NodeId::new("n").unwrap(), Epoch(1), Position(5));
    let damaged: &dyn object_store::ObjectStore = &*store;
    damaged.put(&key, Bytes::from_static(b"noise").into()).await.unwrap();
    let (node, epoch) = open(&adopter).await;
    for _ in 0..2 {
        let refusal = adopter.adopt((&node, epoch), OnDamage::Fail).await.expect_err("an object is damaged");
        assert_eq!(refusal.kind(), ErrorKind::Corrupt);
        assert!(refusal.to_string().contains("node n") && refusal.to_string().contains(key.as_ref()), "{refusal}");
        assert!(!adopter.catalog.state().nodes[&node].sealed);
    }
    adopter.adopt((&node, epoch), OnDamage::Skip).await.unwrap();
    check_in_files(&adopter.catalog.state(), 9);
}

/// Rows whose only field is column `field`, in a series with the tag of column `tag`.
fn rows((table, tag, field): (u32, u16, u16), values: Values) -> Rows {
    let mut tag_values = Strings::default();
    tag_values.push("a");
    let series = SeriesSet { tags: vec![ColumnId(tag)], values: tag_values, len: 1 };
    let fields = vec![FieldColumn { column: ColumnId(field), values, set: None }];
    Rows { table: TableId(table), series, row_series: vec![0], times: vec![1], fields }
}

#[tokio::test(start_paused = true)]
async fn rows_that_name_what_the_catalog_does_not_know_are_an_error_that_names_the_object() {
    let integer = || Values::Integer(vec![1]);
    check_refused(rows((7, 0, 1), integer()), "names table 7, which the catalog does not know").await;
    check_refused(rows((1, 0, 9), integer()), "names column 9 of table 1, which the catalog does not know").await;
    check_refused(rows((1, 9, 1), integer()), "names column 9 of table 1, which the catalog does not know").await;
    check_refused(rows((1, 0, 1), Values::Float(vec![1.0])), "column 1 of table 1 is iox::column_type::field::float")
        .await;
    let mut strings = Strings::default();
    strings.push("x");
    check_refused(rows((1, 0, 1), Values::String(strings)), "column 1 of table 1 is iox::column_type::field::string")
        .await;
    check_refused(rows((1, 1, 1), integer()), "column 1 of table 1 is iox::column_type::tag").await;
    check_refused(rows((1, 0, 0), integer()), "column 0 of table 1 is iox::column_type::field::integer").await;
}

/// Neither an adopter nor the node itself takes such rows, unless somebody insists that they are left out.
async fn check_refused(rows: Rows, reason: &str) {
    let store = left_behind().await;
    let careless = adopter(&store, 2).await;
    let (node, epoch) = open(&careless).await;
    let record = Arc::clone(&careless.catalog.state().nodes[&node]);
    let hands = (careless.bucket.clone(), careless.clock.clone(), careless.tasks.clone());
    let recovered = wal::recover(hands, &careless.catalog, &record, (OnDamage::Fail, |_| ())).await.unwrap();
    let Recovered { mut writer, .. } = recovered;
    let position = writer.append(vec![rows]).await.unwrap().position;
    let key = careless.bucket.keys().wal_object(&node, epoch, position).to_string();

    let adopter = adopter(&store, 3).await;
    let refusal = adopt(&adopter, OnDamage::Fail).await.expect_err("nobody knows such rows");
    check_named((refusal.kind(), refusal.to_string()), (&key, reason));
    let mut own = config("n", Duration::from_secs(60));
    own.member.take_over = cluster::TakeOver::Insist;
    let refusal = try_start(&store, own, 4).await.expect_err("nobody knows such rows");
    check_named((refusal.kind(), refusal.to_string()), (&key, reason));
    adopt(&adopter, OnDamage::Skip).await.expect("they are left out");
    check_in_files(&adopter.catalog.state(), 10);
}

#[track_caller]
fn check_named((kind, refusal): (ErrorKind, String), (key, reason): (&str, &str)) {
    assert_eq!(kind, ErrorKind::Corrupt, "{refusal}");
    assert!(refusal.contains(key) && refusal.contains(reason), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_only_slept_learns_at_its_next_write_that_its_log_has_ended() {
    let store = Watched::new();
    let (node, tasks) = start(&store, "n", 1).await;
    write(&node, "t,h=a v=1i 1\n").await;
    let adopter = adopter(&store, 2).await;
    adopt(&adopter, OnDamage::Fail).await.unwrap();
    let late = Write {
        database: "db",
        body: "t,h=a v=2i 2\n",
        precision: Precision::Nanosecond,
        bad_lines: BadLines::Refuse,
        answer: Answer::WhenStored,
    };
    assert!(node.ingest.as_ref().unwrap().write(late).await.is_err());
    assert!(tasks.failure().is_some(), "it stops");
    check_in_files(&adopter.catalog.refresh().await.unwrap(), 1);
}
