//! The storage rooms under a store that fails in every way it may, in virtual time, from a seed.
//!
//! A run is a sequence of processes with one node id over one store. Two clients write through whichever process lives,
//! each to rows of its own, waiting for every outcome. Processes die at a random call to the store, are killed, stop in
//! order, or are pushed aside by a second one while they live. After each start, and at the end with all faults healed,
//! every cell is compared with a map.
//!
//! # Promises
//! - A run depends on its seed alone: no machine clock, no thread, no network.
//! - Every seed ends with healed faults, a complete read, a snapshot and a restart: safety and liveness both count.
//!
//! `WEIR_SEEDS=n` sets how many seeds run (default 150), `WEIR_SEED=s` runs one and tells its story.

#![allow(clippy::print_stdout, reason = "a test program without a harness tells its result itself")]

mod store;
mod oracle;
mod node;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use object_store::memory::InMemory;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::cluster::TakeOver;

use node::{Process, Start};
use oracle::{Cells, Oracle, Outcome};

const CLIENTS: usize = 2;
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
    let Told { processes, acked, open, reads } = told.into_inner();
    println!(
        "simulation: {} seeds, {processes} processes, {acked} writes acknowledged, {open} open, {reads} reads compared",
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
}

impl Told {
    fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.acked += other.acked;
        self.open += other.open;
        self.reads += other.reads;
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
            Ok(result) => result.map(|()| run.told),
            Err(_) => Err("made no progress for a hundred hours".into()),
        }
    })
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
            told: Told::default(),
        }
    }

    async fn whole(&mut self) -> Result<(), String> {
        let lives = self.chance.random_range(3..9);
        let mut living = None;
        for _ in 0..lives {
            let take_over = if living.is_some() { TakeOver::Insist } else { TakeOver::Refuse };
            let faults_percent = *[0, 5, 15].get(self.chance.random_range(0..3usize)).expect("three of them");
            let dies_at = self.chance.random_range(0..400);
            let next = self.start(take_over, (faults_percent, dies_at)).await;
            if let Some(old) = living.take() {
                self.aside.push(old);
            }
            if let Ok(process) = next {
                self.compare(&process).await?;
                self.live(&process).await?;
                living = self.end(process).await;
            }
        }
        if let Some(process) = living {
            process.kill();
        }
        self.aside.iter().for_each(Process::kill);
        let healed = self.start_healed().await?;
        if !self.compare(&healed).await? {
            return Err("no answer although all is well".into());
        }
        self.write(&healed, 0).await;
        if !healed.node.snapshot.take().await {
            return Err("no snapshot although all is well".into());
        }
        self.compare(&healed).await?;
        healed.node.stop().await;
        let again = self.start_healed().await?;
        self.compare(&again).await?;
        again.kill();
        Ok(())
    }

    /// A start over a store without faults. Requests of the dead that are still on their way may move a heartbeat, so
    /// an operator may have to try again.
    async fn start_healed(&mut self) -> Result<Process, String> {
        for _ in 0..5 {
            match self.start(TakeOver::Refuse, (0, u64::MAX)).await {
                Err(reason) if reason.contains("is in use") => {}
                started => return started,
            }
        }
        Err("the node id stays in use although every process is dead".into())
    }

    async fn start(&mut self, take_over: TakeOver, (faults_percent, dies_at): (u32, u64)) -> Result<Process, String> {
        self.next_process += 1;
        self.told.processes += 1;
        // Machines disagree about the time by minutes.
        let clock_micros = START_MICROS + self.chance.random_range(0..600_000_000);
        let (seed, number) = (self.seed, self.next_process);
        let start = Start { seed, number, faults_percent, dies_at, take_over, clock_micros };
        let process = Process::start(&self.shared, start).await;
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
                    self.compare(process).await?;
                }
                2 => tokio::time::sleep(Duration::from_secs(self.chance.random_range(1..30))).await,
                3 => self.write_aside().await,
                _ => {
                    let client = self.chance.random_range(0..CLIENTS);
                    if !self.write(process, client).await {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Somebody still believes in a process that was pushed aside.
    async fn write_aside(&mut self) {
        if let Some(old) = self.aside.pop() {
            let client = self.chance.random_range(0..CLIENTS);
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

    /// Whether the process answered; an answer that is wrong is an error.
    async fn compare(&mut self, process: &Process) -> Result<bool, String> {
        let Some(found) = process.read().await else { return Ok(false) };
        self.told.reads += 1;
        for (client, oracle) in self.oracles.iter().enumerate() {
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
