//! One simulated process: a node of `storage` over its faulty connection, small limits, and reads through a view.
//!
//! # Promises
//! - A process that died answers nothing any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, RecordBatch};
use metrics::Registry;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use storage::bucket::{Bucket, Key};
use storage::catalog::{Access, Asked, Catalog, Deletion, Description, Limits, State};
use storage::clock::Clock;
use storage::cluster::{self, TakeOver};
use storage::compaction::Wanted;
use storage::files;
use storage::ingest::{self, Answer, BadLines, Precision, Write};
use storage::merge::{Layout, Mask, Settle, merge_all};
use storage::model::{NodeId, TimeRange};
use storage::node::{Config, Node, World};
use storage::tasks::{Cpu, Tasks};
use storage::view::{View, Views};
use storage::wal::{Mark, OnDamage};
use storage::{compaction, replica, snapshot, sweep};

use crate::CLIENTS;
use crate::oracle::{Cells, Scope};
use crate::series;
use crate::store::Faulty;
use crate::wire::{Exchange, Lines};

pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) tasks: Tasks,
    pub(crate) store: Arc<Faulty>,
    pub(crate) id: &'static str,
    /// Of each client's requests, how many this process must show: it has shown them, or promises so.
    pub(crate) floors: Mutex<[usize; CLIENTS]>,
    shared: Arc<InMemory>,
}

/// What a node shows is behind what others have stored by less than this.
pub(crate) const LATE_MAX: Duration = replica::LATE_MAX.saturating_add(Duration::from_secs(2));
const REPLICATION_INTERVAL: Duration = Duration::from_millis(500);

/// How one process is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// The node id.
    pub(crate) id: &'static str,
    pub(crate) seed: u64,
    /// Tells the processes of a run apart.
    pub(crate) number: u32,
    pub(crate) faults_percent: u32,
    pub(crate) dies_at: u64,
    pub(crate) take_over: TakeOver,
    pub(crate) clock_micros: u64,
    /// How long entries of the catalog log are kept. When that is less than processes sleep, one that wakes may not know
    /// for a while that the log went on.
    pub(crate) catalog_kept: Duration,
    /// Of each client's requests, how many were acknowledged before the start.
    pub(crate) floors: [usize; CLIENTS],
}

impl Process {
    /// Says why when it died, or gave up, before it was ready.
    pub(crate) async fn start(
        (shared, exchange): (&Arc<InMemory>, Option<&Arc<Exchange>>),
        start: Start,
    ) -> Result<Self, String> {
        let Start { id, seed, number, faults_percent, dies_at, take_over: _, clock_micros, catalog_kept: _, floors } =
            start;
        let seed = seed ^ (u64::from(number) << 32);
        let store = Faulty::new(Arc::clone(shared), seed, faults_percent, dies_at);
        let tasks = Tasks::new(Cpu::Here);
        let world = World {
            store: Arc::clone(&store) as _,
            clock: Clock::simulated(clock_micros, seed),
            tasks: tasks.clone(),
            registry: Registry::new(),
            wire: exchange.map(|exchange| {
                let (exchange, calls) = (Arc::clone(exchange), AtomicU64::new(0));
                Arc::new(Lines { exchange, seed, faults_percent, calls }) as _
            }),
        };
        let started = tokio::select! {
            biased;
            () = store.died() => Err("it died".to_owned()),
            started = Node::start(config(start), world) => started.map_err(|e| e.to_string()),
        };
        match started {
            Ok(node) => {
                if let (Some(exchange), Some(feed)) = (exchange, &node.feed) {
                    exchange.answer(address(number), feed, &store);
                }
                Ok(Self { node, tasks, store, id, floors: Mutex::new(floors), shared: Arc::clone(shared) })
            }
            Err(reason) => {
                store.kill();
                tasks.kill();
                Err(reason)
            }
        }
    }

    pub(crate) fn views(&self) -> &Views {
        self.node.views.as_ref().expect("it shows rows")
    }

    pub(crate) async fn take_snapshot(&self) -> bool {
        self.node.snapshot.as_ref().expect("it takes writes").take().await.is_ok()
    }

    /// Whether files of table `t` were merged by this process, since somebody ordered it.
    pub(crate) async fn compact(&self) -> bool {
        let state = self.node.catalog.state();
        let Some(table) = state.database("db").and_then(|db| state.table_named(db, "t")) else { return false };
        let wanted = Wanted { table: table.schema.table, range: TimeRange::ALL };
        tokio::select! {
            biased;
            () = self.store.died() => false,
            _ = self.tasks.failed() => false,
            merged = self.node.orders.as_ref().expect("it compacts").give(wanted) => merged.is_ok_and(|merged| merged.files_after < merged.files_before),
        }
    }

    /// Ends the process where it stands.
    pub(crate) fn kill(&self) {
        self.store.kill();
        self.tasks.kill();
    }

    /// Where the rows stand that were acknowledged. A process that dies meanwhile answers nothing.
    pub(crate) async fn write(&self, body: &str) -> Option<Mark> {
        let write = Write {
            database: "db",
            body,
            precision: Precision::Nanosecond,
            bad_lines: BadLines::Refuse,
            answer: Answer::WhenStored,
        };
        tokio::select! {
            biased;
            () = self.store.died() => None,
            _ = self.tasks.failed() => None,
            result = self.node.ingest.as_ref().expect("it takes writes").write(write) => result.ok()?.stored,
        }
    }

    /// The entry of the catalog from which on the rows are gone. A process that dies meanwhile answers nothing.
    pub(crate) async fn delete(&self, Scope { tags, times, .. }: &Scope) -> Option<u64> {
        let (database, table) = ("db".to_owned(), "t".to_owned());
        let (first_ns, last_ns) = *times;
        let deletion = Deletion { database, table, first_ns, last_ns, tags: tags.clone() };
        let (access, asked) = (Access::unrestricted(), Asked::default());
        let deleter = self.node.deleter.as_ref().expect("it shows rows");
        tokio::select! {
            biased;
            () = self.store.died() => None,
            _ = self.tasks.failed() => None,
            result = deleter.delete(&deletion, &access, &asked) => result.ok()?,
        }
    }

    /// Whether it knows an entry of the catalog by now.
    pub(crate) async fn follows(&self, version: u64) -> bool {
        tokio::select! {
            biased;
            () = self.store.died() => false,
            _ = self.tasks.failed() => false,
            state = self.node.catalog.refresh() => state.is_ok_and(|state| state.version >= version),
        }
    }

    /// Whether it says that it shows all of these.
    pub(crate) async fn reaches(&self, marks: &[Mark]) -> bool {
        tokio::select! {
            biased;
            () = self.store.died() => false,
            _ = self.tasks.failed() => false,
            reached = self.views().reach(marks, Duration::from_secs(1)) => reached.is_ok(),
        }
    }

    /// Every cell of table `t`, or `None` when the process cannot answer.
    pub(crate) async fn read(&self) -> Option<Cells> {
        tokio::select! {
            biased;
            () = self.store.died() => None,
            _ = self.tasks.failed() => None,
            cells = async { self.read_view(&self.views().open().ok()?).await } => cells,
        }
    }

    /// What the log says, read by somebody who was never asleep.
    async fn newest_state(&self) -> Arc<State> {
        let clock = Clock::simulated(0, 0);
        let bucket = Bucket::new(Arc::clone(&self.shared) as _, self.node.bucket.keys().clone(), clock.clone());
        let catalog = Catalog::open(bucket, clock, Tasks::new(Cpu::Here), Limits::default());
        catalog.await.expect("the store is well").state()
    }

    /// Every cell of table `t` that a view holds. `None` when a file cannot be read, or went while this process slept.
    pub(crate) async fn read_view(&self, view: &View) -> Option<Cells> {
        let state = Arc::clone(view.state());
        let Some(table) = state.database("db").and_then(|db| state.table_named(db, "t")) else {
            return Some(Cells::new());
        };
        let view = view.table(table.schema.table, TimeRange::ALL).ok()?;
        let layout = Layout::of(&view.schema);
        let mut inputs: Vec<Vec<RecordBatch>> = view.chunks.iter().map(|c| vec![c.batch.clone()]).collect();
        for file in &view.files {
            let bytes = self.node.bucket.find(&Key::from(&*file.path)).await.ok()?;
            let Some(bytes) = bytes else {
                // A process that slept goes by what it knew: then it gives no answer. A wrong one it never gives.
                let newest = self.newest_state().await;
                let lives = newest.tables.values().any(|table| table.files.contains_key(&file.id));
                assert!(!lives, "file {} is in the catalog and not in the store", file.path);
                return None;
            };
            let reader = files::Reader::open(&file.path, bytes, file.tail).expect("a whole file");
            let padded = |batch| files::padded(&file.path, &batch, &layout.schema).expect("columns of the table");
            let mask = Mask::of_file(&view.deletes, file);
            let seen = |batch| mask.apply(padded(batch), &layout).expect("columns of the table");
            inputs.push(reader.map(|batch| seen(batch.expect("a whole batch"))).collect());
        }
        let merged = merge_all(layout, inputs, Settle::All).expect("sorted inputs");
        Some(cells(&merged))
    }
}

/// The cells of merged rows. Panics when a row stands there twice.
fn cells(batches: &[RecordBatch]) -> Cells {
    let mut cells = BTreeMap::new();
    let mut rows = std::collections::BTreeSet::new();
    for batch in batches {
        let times = batch.column_by_name("time").expect("the time").as_primitive::<TimestampNanosecondType>();
        for row in 0..batch.num_rows() {
            let series = series::of(["s", "k", "n"].map(|tag| tag_of(batch, (tag, row))));
            let time = times.value(row);
            assert!(rows.insert((series.clone(), time)), "row {series} {time} stands there twice");
            for field in ["a", "b", "c"] {
                let Some(values) = batch.column_by_name(field) else { continue };
                if values.is_valid(row) {
                    let value = values.as_primitive::<Int64Type>().value(row);
                    cells.insert((series.clone(), time, field.to_owned()), value);
                }
            }
        }
    }
    cells
}

fn tag_of<'a>(batch: &'a RecordBatch, (tag, row): (&str, usize)) -> Option<&'a str> {
    let tags = batch.column_by_name(tag)?.as_dictionary::<Int32Type>();
    Some(tags.values().as_string::<i32>().value(tags.key(row)?))
}

/// Where a process is called.
fn address(number: u32) -> String {
    format!("process {number}")
}

fn config(start: Start) -> Config {
    let Start { id, number, take_over, catalog_kept, .. } = start;
    // Every process runs on another machine, so that only the heartbeat tells of it.
    let place =
        cluster::Place { boot: format!("machine {number}"), pid_namespace: String::new(), pid: number, started: 0 };
    Config {
        cluster: NodeId::new("c").expect("a good name"),
        member: cluster::Config {
            node: NodeId::new(id).expect("a good name"),
            core_count: 1,
            description: Description { internode: Some(address(number).into()), ..Description::default() },
            place,
            take_over,
            follow_every: Duration::from_secs(1),
            checkpoint_every: 4,
        },
        limits: Limits::default(),
        on_damage: OnDamage::Fail,
        ingest: Some(ingest::Config {
            flush_interval: Duration::from_millis(100).into(),
            group_bytes_max: 1 << 20,
            waiting_writes_max: 100,
            waiting_bytes_max: 1 << 20,
            buffer_bytes_max: (1 << 20).into(),
            answer_within: Duration::from_secs(30),
        }),
        snapshot: snapshot::Config {
            bytes_max: 400.into(),
            periods_max: 10.into(),
            age_max: Duration::from_secs(60).into(),
            gen1: Duration::from_secs(600),
        },
        compaction: Some(compaction::Config {
            check_every: Duration::from_secs(2).into(),
            widths: [1_200, 3_600, 14_400].map(Duration::from_secs).to_vec(),
            files_max: 4.into(),
            rows_max: 4.into(),
            input_bytes_max: 20_000,
        }),
        sweep: sweep::Config {
            every: Duration::from_secs(3),
            file_wait: Duration::from_secs(5),
            wal_objects_kept: 0,
            retention_every: Duration::from_secs(5),
            catalog_kept,
            garbage_every: Duration::from_secs(2),
            orphan_age: Duration::from_secs(8),
            clock_trusted_after: Duration::from_secs(4),
        },
        replica: Some(replica::Config {
            interval: REPLICATION_INTERVAL,
            bytes_max: (1 << 20).into(),
            start_within: Duration::from_secs(10),
        }),
    }
}
