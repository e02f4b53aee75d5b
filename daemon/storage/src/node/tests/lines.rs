//! Nodes with lines to each other, and what an idle cluster costs.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::catalog::Asked;
use crate::replica::{Line, WireError};
use crate::wal::Call;

const HOURS: u64 = 2;

/// Lines between the nodes of a test, each known by its id.
#[derive(Debug, Default)]
struct Lines(Mutex<BTreeMap<String, Arc<Feed>>>);

#[derive(Debug)]
struct Caller(Arc<Lines>);

impl Wire for Caller {
    fn call(&self, call: Call, address: Arc<str>) -> BoxFuture<'static, Result<Line, WireError>> {
        let feed = self.0.0.lock().get(&*address).cloned();
        async move {
            let feed = feed.ok_or_else(|| WireError::Broken("nobody answers".into()))?;
            let (pings, received) = mpsc::channel(16);
            let received = stream::unfold(received, |mut pings| async move { Some((pings.recv().await?, pings)) });
            let told = feed.serve(&call, received.boxed()).map_err(WireError::Refused)?;
            Ok(Line { pings, told: told.map(Ok).boxed() })
        }
        .boxed()
    }
}

async fn start_on(lines: &Arc<Lines>, store: &Arc<Watched>, (id, seed): (&str, u64)) -> Node {
    let mut config = config(id, Duration::from_millis(250));
    config.member.description.internode = Some(id.into());
    let (tasks, clock) = (Tasks::new(Cpu::Here), Clock::simulated(START_MICROS, seed));
    let wire = Some(Arc::new(Caller(Arc::clone(lines))) as _);
    let world = World { store: Arc::clone(store) as _, clock, tasks, registry: Registry::new(), wire };
    let node = Node::start(config, world).await.expect("the node starts");
    lines.0.lock().extend(node.feed.clone().map(|feed| (id.to_owned(), feed)));
    node
}

/// Six nodes after five minutes in which nobody asked for anything.
async fn six_idle(lines: Option<&Arc<Lines>>, store: &Arc<Watched>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (seed, id) in (1..).zip(["n", "m", "o", "p", "q", "r"]) {
        nodes.push(match lines {
            Some(lines) => start_on(lines, store, (id, seed)).await,
            None => start_with(store, config(id, Duration::from_millis(250)), seed).await.0,
        });
    }
    for node in &nodes {
        write(node, "t,h=a v=1i 1\n").await;
        assert!(take_snapshot(node).await);
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    store.forget_calls();
    nodes
}

#[tokio::test(start_paused = true)]
async fn six_idle_nodes_with_lines_ask_the_store_less_than_three_times_a_second() {
    let (store, lines) = (Watched::new(), Arc::default());
    let _nodes = six_idle(Some(&lines), &store).await;
    tokio::time::sleep(Duration::from_secs(HOURS * 3600)).await;
    let calls = store.calls("", "").len();
    assert!(calls < 3 * 3600 * usize::try_from(HOURS).unwrap(), "{calls} calls in {HOURS} h");
}

#[tokio::test(start_paused = true)]
async fn six_idle_nodes_without_lines_ask_for_each_log_once_a_second_and_little_else() {
    const SECONDS: usize = 7200;
    let store = Watched::new();
    let nodes = six_idle(None, &store).await;
    tokio::time::sleep(Duration::from_secs(SECONDS as u64)).await;
    let logs = nodes.len() * (nodes.len() - 1);
    let (gets, lists) = (store.calls("get", "/wal/").len(), store.calls("list", "/wal/").len());
    let bound = logs * (SECONDS + 100);
    assert!(gets < bound && lists < bound / 58, "{gets} looks at {logs} logs, {lists} behind them, in {SECONDS} s");
    let calls = store.calls("", "").len() - gets - lists;
    assert!(calls < 3 * SECONDS, "{calls} other calls in {SECONDS} s");
    let known = ["catalog/log/", "heartbeat", "list c/nodes", "c/wal/"];
    let others = |call: &&String| !known.iter().any(|known| call.contains(known));
    let others = store.calls("", "").iter().filter(others).count();
    assert!(others < 50 * nodes.len(), "{others} calls besides heartbeats and looks at the log");
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_every_idle_node_that_lines_lead_to_at_once() {
    let (store, lines) = (Watched::new(), Arc::default());
    let nodes = six_idle(Some(&lines), &store).await;
    for (number, node) in nodes.iter().enumerate() {
        tokio::time::sleep(Duration::from_secs(120)).await;
        let name = format!("db{number}");
        node.catalog.by(&Asked::default()).create_database(&name, None).await.expect("the name is free");
        let made = Instant::now();
        for other in &nodes {
            let mut states = other.catalog.watch();
            states.wait_for(|state| state.database(&name).is_some()).await.expect("the catalog is there");
        }
        assert!(made.elapsed() < Duration::from_millis(500), "{name} after {:?}", made.elapsed());
    }
}
