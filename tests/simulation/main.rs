//! The storage rooms under a store that fails in every way it may, in virtual time, from a seed.
//!
//! A run is a sequence of processes with one node id over one store; in three of four runs a node with another id lives
//! beside them. Two clients write through whichever process of the first node lives, a third one through the second
//! node, each to rows of its own, waiting for every outcome; a fourth one overwrites its rows through both, and reads
//! through a node what it has written before it writes through that node. Processes die at a random call to the store, are
//! killed, stop in order, or are pushed aside by a second one while they live.
//!
//! In half of those runs a third node lives beside them, with a client of its own, until its machine is gone for good.
//! Every node may compact, also because somebody orders it while others write, and puts the logs of nodes that are dead,
//! or slept for long, into files.
//!
//! Rows of all clients are deleted, in runs with several nodes through any of them, by tags that they have, have not, or
//! that came later. In answer every other living process must have read of it; what the clients write from then on stays.
//!
//! Every answer of every process is compared with maps: it shows all that was acknowledged by its node; of what went
//! through the other node it shows what came first, never less than it showed before, than was acknowledged before it
//! started, and than was acknowledged `LATE_MAX` ago.
//!
//! In half of the runs the processes push what they store to each other, over lines that lose, delay, repeat, reorder and
//! damage it.
//!
//! # Promises
//! - A run depends on its seed alone: no machine clock, no thread, no network.
//! - Every seed ends with healed faults, a complete read, a snapshot and a restart: safety and liveness both count.
//! - At that end every node shows every row within seconds, and the settled stamp reaches what every node has persisted,
//!   although some of them are idle.
//! - A view that is held meanwhile reads the same as before, although all its files were replaced by others.
//! - At that end the node that never came back is sealed within a minute, and so is every node that was killed for good.
//! - Where the log of the catalog is kept, every publication of a compaction is by the node that had the role by the
//!   entries before it.
//! - In a fourth of the runs with two nodes entries of the catalog log are deleted before processes that sleep wake up.
//!   Such a process does not know for a while that it is behind; so there it is only checked that nothing goes backwards.
//!
//! `WEIR_SEEDS=n` sets how many seeds run (default 150), `WEIR_SEED=s` runs one and tells its story.

#![allow(clippy::print_stdout, reason = "a test program without a harness tells its result itself")]

mod store;
mod wire;
mod told;
mod series;
mod oracle;
mod node;
mod journal;
mod deleting;
mod ordering;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use object_store::memory::InMemory;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::cluster::TakeOver;
use storage::compaction::EventKind;
use storage::model::NodeId;
use storage::view::View;
use storage::wal::Mark;
use tokio::time::Instant;

use journal::Worker;
use node::{LATE_MAX, Process, Start};
use oracle::{Cells, Oracle, Outcome, Wish};
use told::Told;
use wire::Exchange;

pub(crate) const CLIENTS: usize = 5;
/// The clients that write through the first node only, through the second, and through the third.
const FIRST_CLIENTS: Range<usize> = 0..2;
const SECOND_CLIENTS: Range<usize> = 2..3;
const THIRD_CLIENTS: Range<usize> = 4..5;
/// The client that writes through the first two.
const SHARED: usize = 3;
const FIRST: &str = "n";
const SECOND: &str = "m";
const THIRD: &str = "x";
/// A node that is dead is sealed after so long, if others live.
const SEALED_WITHIN: Duration = Duration::from_secs(60);
/// Longer than any run.
const LONG: Duration = Duration::from_secs(100 * 3600);
const START_MICROS: u64 = 1_760_000_000_000_000;

fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("WEIR_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("WEIR_SEEDS").unwrap_or(150)).collect(),
    };
    let told = Mutex::new(Told::default());
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    // Each run has one thread; the runs share nothing but this list.
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match std::panic::catch_unwind(AssertUnwindSafe(|| simulate(*seed))) {
                        Ok(Ok(run)) => told.lock().add(run),
                        Ok(Err(reason)) => fail(*seed, &reason),
                        Err(_) => fail(*seed, "panicked, see above"),
                    }
                }
            });
        }
    });
    told.into_inner().tell(seeds.len());
    println!("{} passed, 0 failed", seeds.len());
}

fn fail(seed: u64, reason: &str) -> ! {
    println!("simulation: seed {seed} failed: {reason}\nreplay it with WEIR_SEED={seed}");
    std::process::exit(1);
}

fn simulate(seed: u64) -> Result<Told, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O always builds");
    runtime.block_on(async {
        let mut run = Run::new(seed);
        // Virtual hours; a run that hangs is a failure of liveness.
        match tokio::time::timeout(LONG, Box::pin(run.whole())).await {
            Ok(result) => result.map(|()| run.all_told()),
            Err(_) => Err("made no progress for a hundred hours".into()),
        }
    })
}

/// The clients whose rows a node sees whole: those that write through it and through no other.
fn clients_of(id: &str) -> Range<usize> {
    match id {
        FIRST => FIRST_CLIENTS,
        SECOND => SECOND_CLIENTS,
        _ => THIRD_CLIENTS,
    }
}

fn of_client(found: &Cells, client: usize) -> Cells {
    let own = format!("{client}-");
    let of_client = found.iter().filter(|((series, ..), _)| series.starts_with(&own));
    of_client.map(|(cell, value)| (cell.clone(), *value)).collect()
}

/// A view that is held while files go, and what it showed.
struct Held {
    view: View,
    cells: Cells,
}

impl Held {
    async fn open(process: &Process) -> Result<Self, String> {
        let view = process.views().open().map_err(|error| error.to_string())?;
        let cells = process.read_view(&view).await.ok_or("a file is gone although all is well")?;
        Ok(Self { view, cells })
    }

    async fn check(self, process: &Process) -> Result<(), String> {
        match process.read_view(&self.view).await {
            Some(cells) if cells == self.cells => Ok(()),
            Some(cells) => Err(format!("a view changed from {:?} to {cells:?}", self.cells)),
            None => Err(format!("a file went while a view of node {} held it", process.id)),
        }
    }
}

struct Run {
    seed: u64,
    chance: StdRng,
    shared: Arc<InMemory>,
    oracles: Vec<Oracle>,
    next_value: i64,
    next_process: u32,
    /// Older processes that were pushed aside while they lived.
    aside: Vec<Process>,
    /// The second node, when this run has one and it lives.
    second: Option<Process>,
    has_second: bool,
    /// The third node, while it lives; it may live at most until its machine is gone.
    third: Option<Process>,
    has_third: bool,
    catalog_kept: Duration,
    /// A client goes on with other rows after a request at another node than its own whose outcome is open: it might still
    /// be stored, later than what the client writes next.
    generations: [usize; CLIENTS],
    /// The lines between processes, when this run has them.
    exchange: Option<Arc<Exchange>>,
    /// Every process that began to answer.
    workers: Vec<Worker>,
    /// The newest acknowledged object of each node.
    marks: BTreeMap<NodeId, Mark>,
    told: Told,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            chance: StdRng::seed_from_u64(seed),
            shared: Arc::new(InMemory::new()),
            oracles: (0..CLIENTS).map(|_| Oracle::default()).collect(),
            next_value: 0,
            next_process: 0,
            aside: Vec::new(),
            second: None,
            has_second: !seed.is_multiple_of(4),
            third: None,
            has_third: !seed.is_multiple_of(4) && (seed / 4).is_multiple_of(2),
            catalog_kept: if seed % 4 >= 2 { LONG } else { Duration::from_secs(1) },
            generations: [0; CLIENTS],
            exchange: (seed / 8).is_multiple_of(2).then(Arc::default),
            workers: Vec::new(),
            marks: BTreeMap::new(),
            told: Told::default(),
        }
    }

    fn all_told(mut self) -> Told {
        self.told.pushed = self.exchange.iter().map(|lines| lines.pushed.load(Ordering::Relaxed)).sum();
        let events = self.workers.iter().flat_map(|worker| worker.events.all());
        self.told.merges = events.filter(|event| event.kind == EventKind::Consumed).count() as u64;
        self.told
    }

    async fn whole(&mut self) -> Result<(), String> {
        let lives = self.chance.random_range(3..9);
        let mut living = None;
        for _ in 0..lives {
            let take_over = if living.is_some() { TakeOver::Insist } else { TakeOver::Refuse };
            let next = self.start_faulty(FIRST, take_over).await;
            if let Some(old) = living.take() {
                self.aside.push(old);
            }
            if let Ok(process) = next {
                self.compare(&process).await?;
                self.live(&process).await?;
                living = self.end(process).await;
            }
        }
        living.iter().chain(&self.aside).chain(&self.second).chain(&self.third).for_each(Process::kill);
        self.end_well().await?;
        self.check_journal().await
    }

    /// By the log of the catalog, if all of it is kept.
    async fn check_journal(&mut self) -> Result<(), String> {
        if self.catalog_kept == LONG {
            let found = journal::check(&self.shared, &self.workers).await?;
            (self.told.terms, self.told.adoptions, self.told.published) = found;
        }
        Ok(())
    }

    /// Without faults every promise holds at once.
    async fn end_well(&mut self) -> Result<(), String> {
        let mut nodes = vec![self.start_healed(FIRST).await?];
        if self.has_second {
            nodes.push(self.start_healed(SECOND).await?);
        }
        let mut held = Vec::new();
        for node in &nodes {
            if !self.compare(node).await? {
                return Err("no answer although all is well".into());
            }
            self.write(node, clients_of(node.id).start).await;
            held.push(Held::open(node).await?);
        }
        if self.is_shared() {
            tokio::time::sleep(Duration::from_secs(8)).await;
            for node in &nodes {
                self.compare_all(node).await?;
            }
        }
        for node in &nodes {
            if !node.take_snapshot().await {
                return Err("no snapshot although all is well".into());
            }
        }
        // Time for every node to read what the others did, for those that hold others back to see it, and for the logs of
        // the dead to be adopted.
        tokio::time::sleep(SEALED_WITHIN).await;
        let lives: Vec<&str> = nodes.iter().map(|node| node.id).collect();
        for (node, held) in nodes.iter().zip(held) {
            held.check(node).await?;
            self.compare_all(node).await?;
            let state = node.node.catalog.state();
            let is_left = |n: &&Arc<storage::catalog::Node>| !n.sealed && !lives.contains(&n.id.as_str());
            if let Some(left) = state.nodes.values().find(is_left) {
                return Err(format!("node {} is dead and nobody sealed it: {left:?}", left.id));
            }
            let newest = state.nodes.values().map(|n| n.persisted_stamp).max();
            if newest.is_some_and(|newest| state.settled() < newest) {
                return Err(format!("the settled stamp stays behind what is persisted: {:?}", state.nodes));
            }
        }
        for node in nodes {
            node.node.stop().await;
        }
        let again = self.start_healed(FIRST).await?;
        self.compare_all(&again).await?;
        again.kill();
        Ok(())
    }

    /// Nothing is missing, whichever node it went through.
    async fn compare_all(&mut self, node: &Process) -> Result<(), String> {
        let now = Instant::now();
        for (oracle, floor) in self.oracles.iter().zip(node.floors.lock().iter_mut()) {
            *floor = oracle.acked_until(now);
        }
        match self.compare(node).await? {
            true => Ok(()),
            false => Err("no answer although all is well".into()),
        }
    }

    async fn start_faulty(&mut self, id: &'static str, take_over: TakeOver) -> Result<Process, String> {
        let faults_percent = *[0, 5, 15].get(self.chance.random_range(0..3usize)).expect("three of them");
        let dies_at = self.chance.random_range(0..600);
        self.start(id, take_over, (faults_percent, dies_at)).await
    }

    /// A start over a store without faults. Requests of the dead that are still on their way may move a heartbeat, so
    /// an operator may have to try again.
    async fn start_healed(&mut self, id: &'static str) -> Result<Process, String> {
        for _ in 0..5 {
            match self.start(id, TakeOver::Refuse, (0, u64::MAX)).await {
                Err(reason) if reason.contains("is in use") => {}
                started => return started,
            }
        }
        Err("the node id stays in use although every process is dead".into())
    }

    async fn start(
        &mut self,
        id: &'static str,
        take_over: TakeOver,
        (faults_percent, dies_at): (u32, u64),
    ) -> Result<Process, String> {
        self.next_process += 1;
        self.told.processes += 1;
        // Machines disagree about the time by minutes.
        let clock_micros = START_MICROS + self.chance.random_range(0..600_000_000);
        let (seed, number) = (self.seed, self.next_process);
        let now = Instant::now();
        let mut floors = [0; CLIENTS];
        if self.is_shared() {
            self.oracles.iter().zip(&mut floors).for_each(|(oracle, floor)| *floor = oracle.acked_until(now));
        }
        let catalog_kept = self.catalog_kept;
        let start = Start { id, seed, number, faults_percent, dies_at, take_over, clock_micros, catalog_kept, floors };
        let process = Process::start((&self.shared, self.exchange.as_ref()), start).await;
        self.workers.extend(process.iter().map(Worker::of));
        self.tell(|| format!("{start:?}: {}", process.as_ref().map_or_else(|reason| reason.as_str(), |_| "ready")));
        process
    }

    /// Clients write, snapshots and comparisons come in between.
    async fn live(&mut self, process: &Process) -> Result<(), String> {
        for _ in 0..self.chance.random_range(1..40) {
            let goes_on = match self.chance.random_range(0..14) {
                0 => {
                    tokio::select! {
                        biased;
                        () = process.store.died() => {}
                        _ = process.tasks.failed() => {}
                        _ = process.take_snapshot() => {}
                    }
                    true
                }
                1 => self.compare(process).await.map(|_| true)?,
                12 => self.delete(process).await,
                13 => self.write_beside_an_order(process).await,
                2 => {
                    tokio::time::sleep(Duration::from_secs(self.chance.random_range(1..30))).await;
                    true
                }
                3 => {
                    self.write_aside().await;
                    true
                }
                4 | 5 if self.has_second => self.live_beside().await.map(|()| true)?,
                7 if self.has_third => self.live_afar().await.map(|()| true)?,
                6 if self.is_shared() => self.write_shared(process).await?,
                _ => {
                    let client = self.chance.random_range(FIRST_CLIENTS);
                    self.write(process, client).await
                }
            };
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One step of the second node, which starts again when it is dead.
    async fn live_beside(&mut self) -> Result<(), String> {
        let Some(second) = self.second.take() else {
            self.second = self.start_faulty(SECOND, TakeOver::Refuse).await.ok();
            return Ok(());
        };
        match self.chance.random_range(0..8) {
            0 => {
                second.kill();
                return Ok(());
            }
            1 => {
                self.compare(&second).await?;
            }
            2 => {
                tokio::select! {
                    biased;
                    () = second.store.died() => {}
                    _ = second.tasks.failed() => {}
                    _ = second.take_snapshot() => {}
                }
            }
            choice => {
                let acked = if choice < 5 && self.is_shared() {
                    self.write_shared(&second).await?
                } else {
                    self.write(&second, clients_of(SECOND).start).await
                };
                if !acked {
                    second.kill();
                    return Ok(());
                }
            }
        }
        self.second = Some(second);
        Ok(())
    }

    /// One step of the third node. Once its machine is gone, it is gone for good.
    async fn live_afar(&mut self) -> Result<(), String> {
        let Some(third) = self.third.take() else {
            self.third = self.start_faulty(THIRD, TakeOver::Refuse).await.ok();
            return Ok(());
        };
        let mut lives = true;
        for _ in 0..self.chance.random_range(1..4) {
            lives = lives && self.write(&third, THIRD_CLIENTS.start).await;
        }
        let answers = lives && self.compare(&third).await?;
        if answers && self.chance.random_range(0..6) > 0 {
            self.third = Some(third);
        } else {
            third.kill();
            self.has_third = self.chance.random_range(0..2) == 0;
        }
        Ok(())
    }

    /// Somebody still believes in a process that was pushed aside.
    async fn write_aside(&mut self) {
        if let Some(old) = self.aside.pop() {
            let client = self.chance.random_range(FIRST_CLIENTS);
            if self.write(&old, client).await {
                self.aside.push(old);
            } else {
                old.kill();
            }
        }
    }

    /// One request of one client. Returns whether it was acknowledged.
    async fn write(&mut self, process: &Process, client: usize) -> bool {
        let mut cells = Cells::new();
        let mut rows: BTreeMap<(String, i64), Vec<String>> = BTreeMap::new();
        for _ in 0..self.chance.random_range(1..4) {
            let series = self.any_series(client);
            let time = self.chance.random_range(0..3);
            let field = ["a", "b", "c"][self.chance.random_range(0..3usize)];
            self.next_value += 1;
            let value = self.next_value;
            if cells.insert((series.clone(), time, field.to_owned()), value).is_none() {
                rows.entry((series, time)).or_default().push(format!("{field}={}i", value));
            } else if let Some(fields) = rows.get_mut(&(series, time)) {
                fields.retain(|f| !f.starts_with(field));
                fields.push(format!("{field}={value}i"));
            }
        }
        let line = |((series, time), fields): (&(String, i64), &Vec<String>)| {
            format!("t,{} {} {time}\n", series::tags(series), fields.join(","))
        };
        let body: String = rows.iter().map(line).collect();
        let mark = process.write(&body).await;
        let acked = mark.is_some();
        self.marks.extend(mark.map(|mark| (mark.node.clone(), mark)));
        self.tell(|| format!("{} {}", if acked { "acked" } else { "open " }, body.replace('\n', "; ")));
        self.oracles[client].record(Wish::Write(cells), if acked { Outcome::Acked } else { Outcome::Open });
        *(if acked { &mut self.told.acked } else { &mut self.told.open }) += 1;
        acked
    }

    fn any_name(&mut self, client: usize) -> String {
        let first = 3 * self.generations[client];
        format!("{client}-{}", self.chance.random_range(first..first + 3))
    }

    fn any_series(&mut self, client: usize) -> String {
        let name = self.any_name(client);
        series::named(&name, self.chance.random_range(0..5))
    }

    /// Whether rows that went through another node must be shown in time, so that a client can write through both.
    fn is_shared(&self) -> bool {
        self.has_second && self.catalog_kept == LONG
    }

    /// One request of the client that writes through both nodes, if this one shows all it has written so far. Returns
    /// whether the process can go on.
    async fn write_shared(&mut self, process: &Process) -> Result<bool, String> {
        let asked = Instant::now();
        let Some(found) = process.read().await else { return Ok(true) };
        self.check(process, &found, asked)?;
        if self.oracles[SHARED].check(&of_client(&found, SHARED)).is_err() {
            return Ok(true);
        }
        let acked = self.write(process, SHARED).await;
        if acked {
            process.floors.lock()[SHARED] = self.oracles[SHARED].len();
        } else {
            self.generations[SHARED] += 1;
        }
        Ok(acked)
    }

    /// Whether the process answered; an answer that is wrong for one of the clients is an error.
    async fn compare(&mut self, process: &Process) -> Result<bool, String> {
        let asked = Instant::now();
        if self.chance.random_range(0..4) == 0 {
            self.reach(process).await;
        }
        let Some(found) = process.read().await else { return Ok(false) };
        self.check(process, &found, asked).map(|()| true)
    }

    /// A process that says it shows everything must do so from then on, however late it is otherwise.
    async fn reach(&mut self, process: &Process) {
        let marks: Vec<Mark> = self.marks.values().cloned().collect();
        if process.reaches(&marks).await {
            self.told.reached += 1;
            let mut floors = process.floors.lock();
            floors.iter_mut().zip(&self.oracles).for_each(|(floor, oracle)| *floor = oracle.len());
        }
    }

    fn check(&mut self, process: &Process, found: &Cells, asked: Instant) -> Result<(), String> {
        self.told.reads += 1;
        let late = asked.checked_sub(LATE_MAX).filter(|_| self.is_shared());
        let mut floors = process.floors.lock();
        for (client, oracle) in self.oracles.iter().enumerate() {
            let found = of_client(found, client);
            if clients_of(process.id).contains(&client) {
                oracle.check(&found)?;
            } else {
                let floor = floors[client].max(late.map_or(0, |late| oracle.acked_until(late)));
                let behind = oracle.check_behind(&found, floor);
                floors[client] =
                    behind.map_err(|reason| format!("client {client} at node {}: {reason}", process.id))?;
            }
        }
        Ok(())
    }

    /// How a process comes to its end; one that goes on living is pushed aside by the next.
    async fn end(&mut self, process: Process) -> Option<Process> {
        match self.chance.random_range(0..4) {
            0 => {
                let store = Arc::clone(&process.store);
                let tasks = process.tasks.clone();
                tokio::select! {
                    biased;
                    () = store.died() => {}
                    () = process.node.stop() => {}
                }
                store.kill();
                tasks.kill();
                None
            }
            1 => Some(process),
            _ => {
                process.kill();
                None
            }
        }
    }

    fn tell(&self, story: impl FnOnce() -> String) {
        if std::env::var_os("WEIR_SEED").is_some() {
            println!("{}", story());
        }
    }
}
