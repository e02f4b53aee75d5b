//! The storage rooms under a store that fails in every way it may, in virtual time, from a seed.
//!
//! A run is a sequence of processes with one node id over one store; in half of the runs a node with another id lives
//! beside them. Two clients write through whichever process of the first node lives, a third one through the second
//! node, each to rows of its own, waiting for every outcome. Processes die at a random call to the store, are killed, stop
//! in order, or are pushed aside by a second one while they live. After each start every cell written through the node
//! is compared with a map, and at the end, with all faults healed and all rows in files, every cell there is.
//!
//! # Promises
//! - A run depends on its seed alone: no machine clock, no thread, no network.
//! - Every seed ends with healed faults, a complete read, a snapshot and a restart: safety and liveness both count.
//! - At that end the settled stamp reaches what every node has persisted, although some of them are idle.
//!
//! `WEIR_SEEDS=n` sets how many seeds run (default 150), `WEIR_SEED=s` runs one and tells its story.

#![allow(clippy::print_stdout, reason = "a test program without a harness tells its result itself")]

mod store;
mod oracle;
mod node;

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
use storage::compaction::{EventKind, Events};

use node::{Process, Start};
use oracle::{Cells, Oracle, Outcome};

const CLIENTS: usize = 3;
/// The clients of the first node; the others write through the second.
const FIRST_CLIENTS: Range<usize> = 0..2;
const SECOND_CLIENTS: Range<usize> = 2..CLIENTS;
const FIRST: &str = "n";
const SECOND: &str = "m";
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
    let Told { processes, acked, open, reads, merges } = told.into_inner();
    println!(
        "simulation: {} seeds, {processes} processes, {acked} writes acknowledged, {open} open, {reads} reads compared, {merges} compactions",
        seeds.len()
    );
    println!("{} passed, 0 failed", seeds.len());
}

fn fail(seed: u64, reason: &str) -> ! {
    println!("simulation: seed {seed} failed: {reason}\nreplay it with WEIR_SEED={seed}");
    std::process::exit(1);
}

/// What happened, in numbers.
#[derive(Debug, Default)]
struct Told {
    processes: u64,
    acked: u64,
    open: u64,
    reads: u64,
    /// Compaction plans that were run to their end.
    merges: u64,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.acked += other.acked;
        self.open += other.open;
        self.reads += other.reads;
        self.merges += other.merges;
    }
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
        match tokio::time::timeout(Duration::from_secs(100 * 3600), run.whole()).await {
            Ok(result) => result.map(|()| run.all_told()),
            Err(_) => Err("made no progress for a hundred hours".into()),
        }
    })
}

/// The clients whose rows a node sees whole: those that write through it. Others' rows it sees once they are in files.
fn clients_of(id: &str) -> Range<usize> {
    if id == FIRST { FIRST_CLIENTS } else { SECOND_CLIENTS }
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
    /// What compaction did in each process.
    events: Vec<Arc<Events>>,
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
            has_second: seed % 2 == 1,
            events: Vec::new(),
            told: Told::default(),
        }
    }

    fn all_told(mut self) -> Told {
        let events = self.events.iter().flat_map(|events| events.all());
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
                self.compare(&process, clients_of(FIRST)).await?;
                self.live(&process).await?;
                living = self.end(process).await;
            }
        }
        living.iter().chain(&self.aside).chain(&self.second).for_each(Process::kill);
        self.end_well().await
    }

    /// Without faults every promise holds at once.
    async fn end_well(&mut self) -> Result<(), String> {
        let mut nodes = vec![self.start_healed(FIRST).await?];
        if self.has_second {
            nodes.push(self.start_healed(SECOND).await?);
        }
        for node in &nodes {
            if !self.compare(node, clients_of(node.id)).await? {
                return Err("no answer although all is well".into());
            }
            self.write(node, clients_of(node.id).start).await;
        }
        for node in &nodes {
            if !node.node.snapshot.take().await {
                return Err("no snapshot although all is well".into());
            }
        }
        // Time for every node to read what the others did, and for those that hold others back to see it.
        tokio::time::sleep(Duration::from_secs(30)).await;
        for node in &nodes {
            self.compare(node, 0..CLIENTS).await?;
            let state = node.node.catalog.state();
            let newest = state.nodes.values().map(|n| n.persisted_stamp).max();
            if newest.is_some_and(|newest| state.settled() < newest) {
                return Err(format!("the settled stamp stays behind what is persisted: {:?}", state.nodes));
            }
        }
        for node in nodes {
            node.node.stop().await;
        }
        let again = self.start_healed(FIRST).await?;
        self.compare(&again, 0..CLIENTS).await?;
        again.kill();
        Ok(())
    }

    async fn start_faulty(&mut self, id: &'static str, take_over: TakeOver) -> Result<Process, String> {
        let faults_percent = *[0, 5, 15].get(self.chance.random_range(0..3usize)).expect("three of them");
        let dies_at = self.chance.random_range(0..400);
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
        let start = Start { id, seed, number, faults_percent, dies_at, take_over, clock_micros };
        let process = Process::start(&self.shared, start).await;
        self.events.extend(process.iter().map(|process| Arc::clone(&process.node.events)));
        self.tell(|| format!("{start:?}: {}", process.as_ref().map_or_else(|reason| reason.as_str(), |_| "ready")));
        process
    }

    /// Clients write, snapshots and comparisons come in between.
    async fn live(&mut self, process: &Process) -> Result<(), String> {
        for _ in 0..self.chance.random_range(1..40) {
            match self.chance.random_range(0..12) {
                0 => {
                    tokio::select! {
                        biased;
                        () = process.store.died() => {}
                        _ = process.tasks.failed() => {}
                        _ = process.node.snapshot.take() => {}
                    }
                }
                1 => {
                    self.compare(process, clients_of(process.id)).await?;
                }
                2 => tokio::time::sleep(Duration::from_secs(self.chance.random_range(1..30))).await,
                3 => self.write_aside().await,
                4 if self.has_second => self.live_beside().await?,
                _ => {
                    let client = self.chance.random_range(FIRST_CLIENTS);
                    if !self.write(process, client).await {
                        return Ok(());
                    }
                }
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
                self.compare(&second, clients_of(SECOND)).await?;
            }
            2 => {
                tokio::select! {
                    biased;
                    () = second.store.died() => {}
                    _ = second.tasks.failed() => {}
                    _ = second.node.snapshot.take() => {}
                }
            }
            _ => {
                if !self.write(&second, clients_of(SECOND).start).await {
                    second.kill();
                    return Ok(());
                }
            }
        }
        self.second = Some(second);
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
            let series = format!("{client}-{}", self.chance.random_range(0..3));
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
            format!("t,s={series} {} {time}\n", fields.join(","))
        };
        let body: String = rows.iter().map(line).collect();
        let acked = process.write(&body).await;
        self.tell(|| format!("{} {}", if acked { "acked" } else { "open " }, body.replace('\n', "; ")));
        self.oracles[client].record(cells, if acked { Outcome::Acked } else { Outcome::Open });
        *(if acked { &mut self.told.acked } else { &mut self.told.open }) += 1;
        acked
    }

    /// Whether the process answered; an answer that is wrong for one of the clients is an error.
    async fn compare(&mut self, process: &Process, clients: Range<usize>) -> Result<bool, String> {
        let Some(found) = process.read().await else { return Ok(false) };
        self.told.reads += 1;
        for client in clients {
            let oracle = &self.oracles[client];
            let own = format!("{client}-");
            let of_client = found.iter().filter(|((series, ..), _)| series.starts_with(&own));
            oracle.check(&of_client.map(|(cell, value)| (cell.clone(), *value)).collect())?;
        }
        Ok(true)
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
