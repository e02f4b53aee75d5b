//! What comes over a line, one object at a time: which is applied, which is not, and who is believed.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::sync::atomic::AtomicUsize;

use tokio::sync::mpsc;

use super::*;
use crate::bucket::watched::Watched;
use crate::bucket::{Frame, Keys};
use crate::catalog::{self, Asked, Change, Description, Limits};
use crate::clock::Clock;
use crate::model::{
    self, Column, ColumnId, ColumnKind, Epoch, FieldColumn, FieldType, Rows, SeriesSet, Strings, Values,
};
use crate::tasks::Cpu;
use crate::wal::{self, Call, Committed, Feed, OnDamage, Ping, Recovered, Told};

/// So long that whatever is applied before came over the line, and less than a line without a sign of life is kept.
const INTERVAL: Duration = Duration::from_secs(4);

/// The other end of a line.
struct End {
    call: Call,
    pings: mpsc::Receiver<Ping>,
    told: mpsc::Sender<Told>,
}

/// Hands every line to the test.
#[derive(Debug)]
struct Ends(mpsc::Sender<End>);

impl Wire for Ends {
    fn call(&self, call: Call, address: Arc<str>) -> BoxFuture<'static, Result<Line, WireError>> {
        assert_eq!(&*address, "a:1");
        let (ping, pings) = mpsc::channel(64);
        let (told, received) = mpsc::channel(64);
        let sent = self.0.try_send(End { call, pings, told });
        let told = futures::stream::unfold(received, |mut told| async move { Some((Ok(told.recv().await?), told)) });
        let line = Line { pings: ping, told: told.boxed() };
        async move { sent.map(|()| line).map_err(|_| WireError::Broken("nobody is there".into())) }.boxed()
    }
}

/// Takes calls and never answers.
#[derive(Debug, Default)]
struct Silence(AtomicUsize);

impl Wire for Silence {
    fn call(&self, _: Call, _: Arc<str>) -> BoxFuture<'static, Result<Line, WireError>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        futures::future::pending().boxed()
    }
}

/// Node `b` follows node `a`.
struct Pair {
    store: Arc<Watched>,
    feed: Arc<Feed>,
    bucket: Bucket,
    catalog: Arc<Catalog>,
    tasks: Tasks,
    replica: Arc<Replica>,
    writer: wal::Writer,
    table: TableId,
    ends: mpsc::Receiver<End>,
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn open_epoch(epoch: u32) -> Vec<Change> {
    let (node, epoch) = (id("a"), Epoch(epoch));
    let description = Description { internode: Some("a:1".into()), ..Description::default() };
    let open = Change::OpenEpoch { node: node.clone(), epoch, process: u128::from(epoch.0), at_ms: 1 };
    vec![open, Change::DescribeNode { node, epoch, description }]
}

impl Pair {
    async fn start() -> Self {
        let (send, ends) = mpsc::channel(8);
        Self::with((Arc::new(Ends(send)), ends), INTERVAL).await
    }

    async fn with((wire, ends): (Arc<dyn Wire>, mpsc::Receiver<End>), interval: Duration) -> Self {
        let store = Watched::new();
        let clock = Clock::simulated(1_760_000_000_000_000, 1);
        let bucket = Bucket::new(Arc::clone(&store) as _, Keys::new(id("c")), clock.clone());
        let tasks = Tasks::new(Cpu::Here);
        let catalog = Catalog::open(bucket.clone(), clock.clone(), tasks.clone(), Limits::default()).await.unwrap();
        let catalog = Arc::new(catalog);
        let slot = model::Writer::new(0).unwrap();
        let register = Change::RegisterNode { node: id("a"), instance: 1, writer: slot, core_count: 1, at_ms: 1 };
        let join = [vec![register], open_epoch(1)].concat();
        catalog.commit(|_| Ok::<_, catalog::Error>((join.clone(), ()))).await.unwrap();
        catalog.by(&Asked::default()).create_database("db", None).await.unwrap();
        let columns = vec![Column { name: "f".into(), kind: ColumnKind::Field(FieldType::Integer) }];
        let table = new_table(&catalog, columns).await;
        let node = Arc::clone(&catalog.state().nodes[&id("a")]);
        let hands = (bucket.clone(), clock.clone(), tasks.clone());
        let recovered = wal::recover(hands, &catalog, &node, (OnDamage::Fail, |_| ())).await.unwrap();
        let Recovered { mut writer, .. } = recovered;
        let feed = writer.feed(Arc::clone(&catalog), 1 << 20);
        let parts = Parts {
            bucket: bucket.clone(),
            catalog: Arc::clone(&catalog),
            clock,
            tasks: tasks.clone(),
            node: id("b"),
            stamps: writer.stamps(),
            wire: Some(wire),
            metrics: Metrics::register(&::metrics::Registry::new()),
        };
        let config = Config { interval, bytes_max: (1 << 20).into(), start_within: Duration::from_secs(1) };
        let replica = Replica::start(config, parts).await;
        Self { store, feed, bucket, catalog, tasks, replica, writer, table, ends }
    }

    /// Stores an object and returns its bytes.
    async fn store(&mut self, value: i64) -> Told {
        let field = FieldColumn { column: ColumnId(0), values: Values::Integer(vec![value]), set: None };
        let series = SeriesSet { tags: Vec::new(), values: Strings::default(), len: 1 };
        let rows = Rows { table: self.table, series, row_series: vec![0], times: vec![value], fields: vec![field] };
        let Committed { epoch, position, .. } = self.writer.append(vec![rows]).await.unwrap();
        let call = Call { cluster: self.catalog.cluster(), node: id("a"), epoch, from: position };
        let mut told = self.feed.serve(&call, futures::stream::pending().boxed()).unwrap();
        told.next().now_or_never().flatten().expect("it was stored")
    }

    async fn line(&mut self) -> End {
        self.ends.recv().await.expect("the replica calls")
    }

    /// Sends something and waits until it was looked at; returns up to where the log is applied.
    async fn tell(&self, end: &End, told: Told) -> u64 {
        // A line that was hung up takes nothing more.
        let _ = end.told.send(told).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.replica.applied(&id("a")).unwrap().0
    }

    fn current_at(&self) -> Option<Instant> {
        self.replica.peers.lock()[&id("a")].status.lock().current_at
    }
}

fn alive(ping: Ping, last: u64) -> Told {
    Told::Alive { ping: ping.number, last: Position(last), version: ping.version }
}

async fn new_table(catalog: &Catalog, columns: Vec<Column>) -> TableId {
    let database = catalog.state().database("db").expect("it was made").id;
    let id = TableId(catalog.state().next_table);
    let create = Change::CreateTable { id, database, name: "t".into(), columns, retention_ns: None };
    catalog.commit(|_| Ok::<_, catalog::Error>((vec![create.clone()], ()))).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn a_pushed_object_is_applied_once_and_in_order_and_the_store_fills_gaps() {
    let mut pair = Pair::start().await;
    let end = pair.line().await;
    assert_eq!((end.call.epoch, end.call.from.0), (Epoch(1), 1));
    let mut objects = Vec::new();
    for value in 1..=4 {
        objects.push(pair.store(value).await);
    }
    for (index, applied) in [(0, 1), (0, 1), (2, 1), (1, 2), (0, 2), (3, 2)] {
        assert_eq!(pair.tell(&end, objects[index].clone()).await, applied, "after object {}", index + 1);
    }
    tokio::time::sleep(INTERVAL).await;
    assert_eq!(pair.tell(&end, objects[0].clone()).await, 4, "the store filled the gap");
    let next = pair.store(5).await;
    assert_eq!(pair.tell(&end, next).await, 5, "and push goes on behind it");
    pair.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_object_of_the_log_ends_the_line() {
    let mut pair = Pair::start().await;
    let Told::Object(bytes) = pair.store(1).await else { unreachable!("an object was stored") };
    let mut damaged = bytes.to_vec();
    damaged[130] ^= 1;
    let mut foreign = Frame::decode(&bytes).unwrap();
    foreign.cluster = 7;
    for bad in [damaged.into(), foreign.encode(), bytes.slice(..20)] {
        let end = pair.line().await;
        assert_eq!(pair.tell(&end, Told::Object(bad)).await, 0);
        assert!(end.told.is_closed(), "the line is still up");
    }
    let end = pair.line().await;
    assert_eq!(pair.tell(&end, Told::Object(bytes)).await, 1);
    pair.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_counts_for_the_moment_it_was_asked_for_and_by_the_catalogs_word() {
    let mut pair = Pair::start().await;
    let mut end = pair.line().await;
    let first = end.pings.recv().await.unwrap();
    let object = pair.store(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = pair.current_at();

    let behind = alive(first, 1);
    pair.tell(&end, behind).await;
    pair.catalog.refresh().await.unwrap();
    assert_eq!(pair.tell(&end, object).await, 1);
    assert_eq!(pair.current_at(), before, "what was not here then is no proof");
    while end.pings.try_recv().is_ok() {}
    let second = end.pings.recv().await.unwrap();
    let asked = Instant::now();

    pair.tell(&end, alive(second, 1)).await;
    assert_eq!(pair.current_at(), before, "the catalog was not read since");
    pair.catalog.refresh().await.unwrap();
    // Any news: it makes the follower look.
    pair.tell(&end, alive(second, 1)).await;
    pair.replica.want(&id("a"));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(pair.current_at(), Some(asked));
    pair.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_lost_its_epoch_is_not_believed() {
    let mut pair = Pair::start().await;
    let mut end = pair.line().await;
    end.pings.recv().await.unwrap();
    let before = pair.current_at();
    // Another process takes the node over; this one does not know yet.
    let clock = Clock::simulated(1_760_000_000_000_000, 2);
    let other = Catalog::open(pair.bucket.clone(), clock, Tasks::new(Cpu::Here), Limits::default()).await.unwrap();
    other.commit(|_| Ok::<_, catalog::Error>((open_epoch(2), ()))).await.unwrap();
    let ping = end.pings.recv().await.unwrap();
    pair.tell(&end, alive(ping, 0)).await;
    assert_eq!(pair.current_at(), before);
    pair.catalog.refresh().await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    pair.replica.want(&id("a"));
    let next = pair.line().await;
    assert_eq!(next.call.epoch, Epoch(2), "the new process is called");
    assert!(end.told.is_closed(), "and the old one not heard any more");
    let claimed = pair.current_at();
    assert_eq!(claimed, before, "nobody knows what the new process has stored");
    pair.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_answers_is_given_up_and_made_again() {
    let silence = Arc::new(Silence::default());
    let (_send, ends) = mpsc::channel(1);
    let pair = Pair::with((Arc::clone(&silence) as _, ends), Duration::from_millis(250)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = silence.0.load(Ordering::Relaxed);
    assert!((8..=13).contains(&calls), "{calls} calls in a minute");
    pair.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pushed_objects_are_applied_while_the_store_does_not_answer() {
    let mut pair = Pair::start().await;
    let end = pair.line().await;
    pair.store.hang_gets("/wal/");
    pair.replica.want(&id("a"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(pair.store.calls("get", "/wal/").len(), 2, "the second is not answered");
    for value in 1..=3 {
        let object = pair.store(value).await;
        assert_eq!(pair.tell(&end, object).await, u64::try_from(value).unwrap());
    }
    pair.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_line_is_given_up_when_nothing_comes_and_not_while_objects_do() {
    let mut pair = Pair::start().await;
    let end = pair.line().await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let object = pair.store(1).await;
        pair.tell(&end, object).await;
    }
    assert!(!end.told.is_closed(), "objects are a sign of life");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(end.told.is_closed(), "nothing came for long");
    pair.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_cannot_make_stored_rows_look_damaged() {
    let mut pair = Pair::start().await;
    let end = pair.line().await;
    let mut other = Pair::start().await;
    // A table that nobody has made.
    other.table = TableId(other.table.0 + 7);
    let Told::Object(bytes) = other.store(1).await else { unreachable!("an object was stored") };
    let mut frame = Frame::decode(&bytes).unwrap();
    frame.cluster = pair.catalog.cluster();
    pair.tell(&end, Told::Object(frame.encode())).await;
    assert!(end.told.is_closed(), "whoever sends that is not heard any more");
    assert_eq!(pair.replica.check(&id("a")), Ok(()));
    pair.tasks.stop().await;
}
