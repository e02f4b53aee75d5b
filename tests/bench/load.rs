//! Loading: several writers send batch after batch, each waiting for its answer.
//!
//! # Promises
//! - Every row is answered 204 or the run ends; there are no retries that would hide a refusal.
//! - The CPU of a load includes everything the server does until it has used less than a hundredth of a core for three
//!   seconds on end.

use std::fmt;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use harness::http::{Client, Request, write_request};
use harness::node::Node;
use harness::tsbs::Rows;

use crate::options::{AnswerWhen, Options};
use crate::times::Times;

pub(crate) const HEADER: &str = "workers     rows  rows/s  batch p50 ms  p99 ms  CPU-s/M rows  (when answered)  peak RSS MiB  parquet B/row  wal B/row  other B/row";

/// How long a server must be quiet, and how long it may take to become so.
const QUIET: Duration = Duration::from_secs(3);
const QUIET_WITHIN: Duration = Duration::from_secs(300);

/// Who takes the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server<'a> {
    Null,
    Node(&'a Node),
}

/// What a load has shown; prints itself as one line under `HEADER`.
#[derive(Debug)]
pub(crate) struct Loaded {
    workers: usize,
    rows: u64,
    wall: Duration,
    batches: Times,
    cost: Option<Cost>,
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_settled: Duration,
    cpu_answered: Duration,
    rss_peak_bytes: u64,
    parquet_bytes: u64,
    wal_bytes: u64,
    other_bytes: u64,
}

pub(crate) fn into_node(node: &mut Node, options: &Options, workers: usize) -> Loaded {
    run(&node.client(), options, workers, Server::Node(node))
}

pub(crate) fn run(client: &Client, options: &Options, workers: usize, server: Server<'_>) -> Loaded {
    let cpu = || match server {
        Server::Null => Duration::ZERO,
        Server::Node(node) => node.usage().cpu,
    };
    let cpu_before = cpu();
    let start = Instant::now();
    let (rows, batches) = thread::scope(|scope| {
        let writers: Vec<_> = (0..workers)
            .map(|writer| {
                let rows = Rows::share(options.scale, writer, workers);
                scope.spawn(move || write_all(client, rows, options))
            })
            .collect();
        let mut all = (0, Times::default());
        for writer in writers {
            let (rows, times) = writer.join().expect("a writer does not panic");
            all.0 += rows;
            all.1.extend(times);
        }
        all
    });
    let wall = start.elapsed();
    let cpu_answered = cpu() - cpu_before;
    let cost = match server {
        Server::Null => None,
        Server::Node(node) => {
            wait_until_quiet(node);
            let parquet_bytes = node.folder().bytes_of(".parquet");
            let wal_bytes = node.folder().bytes_of(".wal");
            let other_bytes = node.folder().bytes_of("/data/").saturating_sub(parquet_bytes + wal_bytes);
            let usage = node.usage();
            let cpu_settled = usage.cpu - cpu_before;
            let rss_peak_bytes = usage.rss_peak_bytes;
            Some(Cost { cpu_settled, cpu_answered, rss_peak_bytes, parquet_bytes, wal_bytes, other_bytes })
        }
    };
    Loaded { workers, rows, wall, batches, cost }
}

fn write_all(client: &Client, mut rows: Rows, options: &Options) -> (u64, Times) {
    let mut body = Vec::new();
    let mut times = Times::default();
    let mut written = 0;
    loop {
        let count = rows.fill(&mut body, options.batch);
        if count == 0 {
            return (written, times);
        }
        let start = Instant::now();
        client.ask(request(std::mem::take(&mut body), options.sync)).expect(204);
        times.push(start.elapsed());
        written += count as u64;
    }
}

fn request(body: Vec<u8>, sync: AnswerWhen) -> Request {
    let request = Request::post("/api/v3/write_lp").query("db", "bench").query("precision", "nanosecond");
    let request = if sync == AnswerWhen::Valid { request.query("no_sync", "true") } else { request };
    request.query("accept_partial", "false").body(body)
}

pub(crate) fn wait_until_quiet(node: &Node) {
    let start = Instant::now();
    let mut quiet_since = Instant::now();
    let mut before = node.usage().cpu;
    while quiet_since.elapsed() < QUIET {
        sleep(Duration::from_millis(500));
        let now = node.usage().cpu;
        // One tick of 10 ms in half a second is the noise of timers.
        if now - before > Duration::from_millis(10) {
            quiet_since = Instant::now();
        }
        before = now;
        if start.elapsed() > QUIET_WITHIN {
            println!("(not quiet within {QUIET_WITHIN:?})");
            return;
        }
    }
}

/// One row at a time on one connection, on a server that has nothing else to do.
pub(crate) fn lone_writes(node: &Node, count: usize) -> String {
    let client = node.client();
    let mut times = Times::default();
    for number in 0..count {
        let start = Instant::now();
        client.ask(write_request("lone", &format!("small,tag=a v={number} {number}"))).expect(204);
        times.push(start.elapsed());
    }
    format!("{count} writes: p50 {:.2} ms, p99 {:.2} ms", times.percentile_ms(50), times.percentile_ms(99))
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, rows, wall, batches, cost } = self;
        let mut batches = batches.clone();
        let (p50, p99) = (batches.percentile_ms(50), batches.percentile_ms(99));
        let per_second = *rows as f64 / wall.as_secs_f64();
        write!(f, "{workers:7}  {rows:7}  {per_second:6.0}  {p50:12.1}  {p99:6.1}")?;
        let Some(cost) = cost else { return Ok(()) };
        let millions = *rows as f64 / 1e6;
        let [settled, answered] = [cost.cpu_settled, cost.cpu_answered].map(|cpu| cpu.as_secs_f64() / millions);
        let mebibytes = cost.rss_peak_bytes as f64 / f64::from(1 << 20);
        let [parquet, wal, other] =
            [cost.parquet_bytes, cost.wal_bytes, cost.other_bytes].map(|bytes| bytes as f64 / *rows as f64);
        write!(f, "  {settled:12.2}  {answered:15.2}  {mebibytes:12.0}  {parquet:13.2}  {wal:9.2}  {other:11.2}")
    }
}
