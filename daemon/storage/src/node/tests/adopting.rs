//! The log of a node that is gone becomes files.

use object_store::ObjectStoreExt;

use super::*;
use crate::adopt::{self, Adopted, Adopter};
use crate::model::{Epoch, Position, TimeRange};

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
