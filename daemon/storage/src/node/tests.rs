mod adopting;
mod deleting;
mod lines;
mod orders;
mod reaching;
mod roles;
mod sweeping;

use bytes::Bytes;

use super::*;
use crate::bucket::watched::Watched;
use crate::bucket::{Key, keys};
use crate::catalog::Description;
use crate::ingest::{Answer, BadLines, Precision, Write};
use crate::model::{FileId, TableId};
use crate::tasks::Cpu;

const START_MICROS: u64 = 1_760_000_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn files_that_no_entry_names_go_after_a_day_and_no_others() {
    let store = Watched::new();
    let (node, _) = start(&store, "n", 1).await;
    write(&node, "t,h=a v=1i 1\n").await;
    assert!(take_snapshot(&node).await);
    let table = (crate::model::DatabaseId(1), TableId(1));
    let key = |ms: u64| node.bucket.keys().data_file(table, 0, FileId::first_of(ms));
    let now = node.catalog.now_ms();
    let (old, future) = (key(now), key(now + 30 * 24 * 3_600_000));
    let foreign = Key::from("c/data/1/1/0/notes.txt");
    let probe = node.bucket.keys().probe(FileId::first_of(now).0);
    for key in [&old, &future, &foreign, &probe] {
        node.bucket.put_file(key, Bytes::from_static(b"x")).await;
    }
    tokio::time::sleep(DAY / 2).await;
    assert!(exists(&node, &old).await && exists(&node, &probe).await, "it may still be committed");
    tokio::time::sleep(DAY).await;
    assert!(!exists(&node, &old).await && !exists(&node, &probe).await);
    assert!(exists(&node, &future).await && exists(&node, &foreign).await, "in doubt it stays");
    check_named_files(&node).await;
    let version = node.catalog.state().version;
    tokio::time::sleep(2 * DAY).await;
    assert_eq!(node.catalog.state().version, version, "without orphans there is nothing to say");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_slept_writes_its_files_again() {
    let store = Watched::new();
    let (sleeper, _) = start(&store, "n", 1).await;
    let (other, _) = start(&store, "m", 2).await;
    write(&sleeper, "t,h=a v=1i 1\n").await;
    store.hold_puts("/data/");
    let (taken, ()) = tokio::join!(take_snapshot(&sleeper), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.calls("put", "/data/").len(), 1, "the file is there, and its writer does not know");
        tokio::time::sleep(2 * DAY).await;
        assert!(other.catalog.state().file_floor > FileId(0), "sweep of the other node has seen it");
        store.release_puts();
    });
    assert!(taken);
    assert_eq!(store.calls("put", "/data/").len(), 2);
    check_named_files(&sleeper).await;
}

#[tokio::test(start_paused = true)]
async fn rows_beyond_the_memory_for_other_nodes_are_an_error_until_they_are_in_files() {
    let store = Watched::new();
    let (writer, _) = start(&store, "n", 1).await;
    let mut small = config("m", Duration::from_secs(1));
    small.replica = small.replica.map(|replica| replica::Config { bytes_max: 1000.into(), ..replica });
    let (reader, _) = start_with(&store, small, 2).await;
    for row in 0..100 {
        write(&writer, &format!("t,h=a v={row}i {row}\n")).await;
    }
    assert!(reader.views.as_ref().unwrap().open().is_ok(), "it may be behind for a while");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let refusal = reader.views.as_ref().unwrap().open().expect_err("there are more rows than it can hold").to_string();
    assert!(refusal.contains("node n") && refusal.contains("1000"), "{refusal}");
    assert!(take_snapshot(&writer).await);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let view = reader.views.as_ref().unwrap().open().expect("all of them are in files");
    let table = view.table(TableId(1), crate::model::TimeRange::ALL).expect("it is there");
    assert_eq!(table.files.iter().map(|file| file.rows).sum::<u64>(), 100);
    assert!(table.chunks.is_empty(), "what is in files is not held");
}

#[tokio::test(start_paused = true)]
async fn a_row_of_a_new_column_is_shown_with_that_column() {
    let store = Watched::new();
    let (writer, _) = start(&store, "n", 1).await;
    let (reader, _) = start_with(&store, config("m", Duration::from_millis(20)), 2).await;
    for column in 0..50 {
        write(&writer, &format!("t,h=a v{column}=1i {column}\n")).await;
        // Sooner than the reader looks at the catalog by itself.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let view = reader.views.as_ref().unwrap().open().expect("all is well");
        let table = view.table(TableId(1), crate::model::TimeRange::ALL).expect("it is there");
        let rows: usize = table.chunks.iter().map(|chunk| chunk.batch.num_rows()).sum();
        assert_eq!(rows, column + 1);
        assert!(table.schema.find(&format!("v{column}")).is_some(), "column {column}");
    }
}

async fn check_named_files(node: &Node) {
    let state = node.catalog.state();
    let named: Vec<Key> = state.tables[&TableId(1)].files.values().map(|file| Key::from(&*file.path)).collect();
    assert!(!named.is_empty());
    for key in named {
        assert!(keys::id_of(&key).is_some() && exists(node, &key).await, "{key} is named and gone");
    }
}

async fn exists(node: &Node, key: &Key) -> bool {
    node.bucket.find(key).await.expect("the store answers").is_some()
}

async fn write(node: &Node, body: &str) {
    let write = Write {
        database: "db",
        body,
        precision: Precision::Nanosecond,
        bad_lines: BadLines::Refuse,
        answer: Answer::WhenStored,
    };
    node.ingest.as_ref().unwrap().write(write).await.expect("the write is taken");
}

async fn take_snapshot(node: &Node) -> bool {
    node.snapshot.as_ref().expect("it takes writes").take().await.is_ok()
}

async fn start(store: &Arc<Watched>, id: &str, seed: u64) -> (Node, Tasks) {
    // Days pass in these tests.
    start_with(store, config(id, Duration::from_secs(60)), seed).await
}

async fn start_with(store: &Arc<Watched>, config: Config, seed: u64) -> (Node, Tasks) {
    try_start(store, config, seed).await.expect("the node starts")
}

async fn try_start(store: &Arc<Watched>, config: Config, seed: u64) -> Result<(Node, Tasks), Error> {
    let tasks = Tasks::new(Cpu::Here);
    let clock = Clock::simulated(START_MICROS, seed);
    let registry = Registry::new();
    let world = World { store: Arc::clone(store) as _, clock, tasks: tasks.clone(), registry, wire: None };
    Ok((Node::start(config, world).await?, tasks))
}

fn config(id: &str, replication_interval: Duration) -> Config {
    Config {
        cluster: NodeId::new("c").unwrap(),
        member: cluster::Config {
            node: NodeId::new(id).unwrap(),
            core_count: 1,
            description: Description::default(),
            place: cluster::Place { boot: id.into(), pid_namespace: "p".into(), pid: 1, started: 1 },
            take_over: cluster::TakeOver::Refuse,
            follow_every: Duration::from_secs(1),
            checkpoint_every: 2,
        },
        limits: Limits::default(),
        on_damage: OnDamage::Fail,
        ingest: Some(ingest::Config {
            flush_interval: Duration::from_secs(1).into(),
            group_bytes_max: 4 << 20,
            waiting_writes_max: 100,
            waiting_bytes_max: 64 << 20,
            buffer_bytes_max: (1 << 30).into(),
            answer_within: Duration::from_secs(30),
        }),
        snapshot: snapshot::Config {
            bytes_max: (256 << 20).into(),
            periods_max: 600.into(),
            age_max: Duration::from_secs(900).into(),
            gen1: Duration::from_secs(600),
        },
        compaction: Some(compaction::Config {
            check_every: Duration::from_secs(10).into(),
            widths: vec![Duration::from_secs(1_200)],
            files_max: 100.into(),
            rows_max: 1_000_000.into(),
            input_bytes_max: 64 << 20,
        }),
        sweep: sweep::Config {
            every: Duration::from_secs(10),
            file_wait: Duration::from_secs(60),
            wal_objects_kept: 0,
            retention_every: Duration::from_secs(600),
            catalog_kept: DAY,
            garbage_every: Duration::from_secs(3600),
            orphan_age: DAY,
            clock_trusted_after: Duration::from_secs(3600),
        },
        replica: Some(replica::Config {
            interval: replication_interval,
            bytes_max: (1 << 30).into(),
            start_within: Duration::from_secs(10),
        }),
    }
}
