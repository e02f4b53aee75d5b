//! One node over any store, on a simulated clock, and its rows as text.
//!
//! # Promises
//! - What a test reads here went through a view and the merge, as a query's rows do.

use std::sync::Arc;
use std::time::Duration;

use metrics::Registry;
use storage::bucket::{Key, Store};
use storage::catalog::{Description, Limits};
use storage::clock::Clock;
use storage::ingest::{Answer, BadLines, Precision, Write};
use storage::merge::{Layout, Mask, Settle, merge_all};
use storage::model::{NodeId, TimeRange};
use storage::node::{Config, Node, World};
use storage::tasks::{Cpu, Tasks};
use storage::wal::OnDamage;
use storage::{cluster, compaction, files, ingest, replica, snapshot, sweep};

/// 9 October 2025.
const START_MICROS: u64 = 1_760_000_000_000_000;
const DAY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

fn config(node: &str, pid: u32) -> Config {
    Config {
        cluster: NodeId::new("c1").unwrap(),
        member: cluster::Config {
            node: NodeId::new(node).unwrap(),
            core_count: 1,
            description: Description::default(),
            place: cluster::Place { boot: "b".into(), pid_namespace: "p".into(), pid, started: 1 },
            take_over: cluster::TakeOver::Refuse,
            follow_every: Duration::from_secs(1),
            checkpoint_every: 4,
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
            age_max: Duration::from_secs(3600).into(),
            gen1: Duration::from_secs(600),
        },
        compaction: Some(compaction::Config {
            check_every: Duration::from_secs(10).into(),
            widths: [1_200, 3_600, 14_400, 86_400, 432_000].map(Duration::from_secs).to_vec(),
            files_max: 100.into(),
            rows_max: 1_000_000.into(),
            input_bytes_max: 64 << 20,
        }),
        sweep: sweep::Config {
            every: Duration::from_secs(10),
            file_wait: Duration::from_secs(60),
            wal_objects_kept: 0,
            retention_every: Duration::from_secs(60),
            catalog_kept: Duration::from_secs(24 * 60 * 60),
            garbage_every: Duration::from_secs(3600),
            orphan_age: Duration::from_secs(24 * 60 * 60),
            clock_trusted_after: Duration::from_secs(60 * 60),
        },
        replica: Some(replica::Config {
            interval: Duration::from_secs(1),
            bytes_max: (64 << 20).into(),
            start_within: Duration::from_secs(10),
        }),
    }
}

/// Starts node `n1`; each seed is another process on another day.
pub(crate) async fn start(store: &Store, seed: u64) -> (Node, Tasks) {
    start_as("n1", store, seed).await
}

pub(crate) async fn start_as(node: &str, store: &Store, seed: u64) -> (Node, Tasks) {
    let tasks = Tasks::new(Cpu::Here);
    let world = World {
        store: Arc::clone(store),
        clock: Clock::simulated(START_MICROS + seed * DAY_MICROS, seed),
        tasks: tasks.clone(),
        registry: Registry::new(),
        wire: None,
    };
    // A process id that never runs, so that a crash is recognised at once.
    (Node::start(config(node, 0x7fff_ff00), world).await.expect("the node starts"), tasks)
}

pub(crate) async fn write(node: &Node, body: &str) {
    let write = Write {
        database: "db",
        body,
        precision: Precision::Nanosecond,
        bad_lines: BadLines::Refuse,
        answer: Answer::WhenStored,
    };
    node.ingest.as_ref().expect("it takes writes").write(write).await.expect("the write is taken");
}

/// All rows of table `t` as text, in key order.
pub(crate) async fn read(node: &Node) -> Vec<String> {
    let view = node.views.as_ref().expect("it shows rows").open().expect("nobody took over");
    let state = Arc::clone(view.state());
    let database = state.database("db").expect("the database is there");
    let table = state.table_named(database, "t").expect("the table is there").schema.table;
    let view = view.table(table, TimeRange::ALL).expect("the table is there");
    let layout = Layout::of(&view.schema);
    let mut inputs: Vec<Vec<_>> = view.chunks.iter().map(|c| vec![c.batch.clone()]).collect();
    for file in &view.files {
        let bytes = node.bucket.find(&Key::from(&*file.path)).await.unwrap().expect("the file is there");
        let batches = files::Reader::open(&file.path, bytes, file.tail)
            .unwrap()
            .map(|b| files::padded(&file.path, &b.unwrap(), &layout.schema).unwrap())
            .map(|b| Mask::of_file(&view.deletes, file).apply(b, &layout).unwrap());
        inputs.push(batches.collect());
    }
    let merged = merge_all(layout, inputs, Settle::All).expect("the inputs are sorted");
    let mut rows = Vec::new();
    for batch in merged {
        let text: Vec<_> = batch
            .columns()
            .iter()
            .map(|c| arrow_cast::display::ArrayFormatter::try_new(c, &Default::default()).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(text.iter().map(|t| t.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}
