//! Six nodes over one store, all of which fail, by turns and by chance, for minutes.
//!
//! # Promises
//! - Every answer of every query node, all the time, holds each row that was answered before, once, with its last value;
//!   what a node has shown, it goes on showing. An error is an answer, a short result is none.
//! - A table that was dropped is gone at every node, and stays gone.
//! - Once the faults have ended, all nodes give the same rows within a minute.
//!
//! `WEIR_CHAOS_SECONDS` says how long (180), `WEIR_CHAOS_STORE` on what (`s3`, with faults, or any other name of `stores`).

mod books;
mod faults;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use harness::http::{Client, Request, sql_request, write_request};
use harness::node::{Node, free_port};
use harness::random::{Random, seed_from};
use harness::wait::eventually;
use serde_json::Value;

use crate::stores::Store;
use books::{Book, Seen, VISIBLE_WITHIN};
use faults::{Faults, Machine};

const WRITERS: usize = 4;

/// Where a write stands, and what a query is to show.
const POSITION: &str = "x-weir-position";

const ROLES: [&str; 6] = ["ingest", "ingest", "query", "query", "compact", "compact"];

/// What the threads of a run share.
struct Shared {
    ends: AtomicBool,
    wrong: Mutex<Option<String>>,
    counts: Mutex<BTreeMap<String, usize>>,
    books: Vec<Mutex<Book>>,
    /// The nodes of the role `ingest`: where they are, and how many of their processes have had a successor.
    ingest: Vec<(String, Arc<AtomicU64>)>,
    query: Vec<String>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.ends.load(Ordering::SeqCst)
    }

    fn count(&self, what: String) {
        *self.counts.lock().expect("nobody panics with it").entry(what).or_default() += 1;
    }

    /// The first thing that is wrong ends the run.
    fn check(&self, result: Result<(), String>) {
        if let Err(wrong) = result {
            self.wrong.lock().expect("nobody panics with it").get_or_insert(wrong);
            self.ends.store(true, Ordering::SeqCst);
        }
    }
}

#[test]
fn no_answer_is_wrong_while_nodes_and_store_fail() {
    let seconds = std::env::var("WEIR_CHAOS_SECONDS").map_or(180, |text| text.parse().expect("WEIR_CHAOS_SECONDS"));
    let store = std::env::var("WEIR_CHAOS_STORE").unwrap_or_else(|_| "s3".to_owned());
    let seed = seed_from("WEIR_CHAOS_SEED");
    println!("WEIR_CHAOS_SEED={seed} WEIR_CHAOS_SECONDS={seconds} WEIR_CHAOS_STORE={store}");
    let store = Store::named(&store);
    let machines = start(&store);
    let of_role = |role| machines.iter().filter(move |machine: &&Machine| machine.role == role);
    let shared = Shared {
        ends: AtomicBool::new(false),
        wrong: Mutex::default(),
        counts: Mutex::default(),
        books: (0..WRITERS).map(|writer| Mutex::new(Book::new(writer, seed))).collect(),
        ingest: of_role("ingest").map(|machine| (machine.node.url(), Arc::clone(&machine.replaced))).collect(),
        query: of_role("query").map(|machine| machine.node.url()).collect(),
    };
    // A pause long enough that others take the node for dead, several times in a run.
    let mut faults = Faults::new(machines, store, seed, Duration::from_secs((seconds / 4).clamp(5, 60)));
    thread::scope(|scope| {
        (0..WRITERS).for_each(|writer| {
            drop(scope.spawn({
                let shared = &shared;
                move || write(shared, writer)
            }))
        });
        for url in &shared.query {
            scope.spawn(|| read(&shared, url));
        }
        scope.spawn(|| drop_tables(&shared));
        let began = Instant::now();
        while shared.goes_on() && began.elapsed() < Duration::from_secs(seconds) {
            faults.step();
            sleep(Duration::from_millis(300));
        }
        shared.ends.store(true, Ordering::SeqCst);
        // Whoever waits for a node that is paused is answered.
        if shared.wrong.lock().expect("nobody panics with it").is_none() {
            faults.end();
        }
    });
    println!("{:?}\n{:?}", faults.counts, shared.counts.lock().expect("nobody panics with it"));
    let wrong = shared.wrong.lock().expect("nobody panics with it").take();
    assert_eq!(wrong, None, "WEIR_CHAOS_SEED={seed}");
    check_end(&shared);
    println!("{} points", check_progress(&shared));
}

fn start(store: &Store) -> Vec<Machine> {
    let mut machines: Vec<Machine> = Vec::new();
    for (number, role) in ROLES.into_iter().enumerate() {
        let options = store
            .options_of(&format!("{role}-{number}"), role)
            .option("--internode-bind-addr", &format!("127.0.0.1:{}", free_port()))
            .option("--wal-files-per-snapshot", "20")
            .option("--compaction-check-interval", "1s")
            .option("--compaction-cleanup-wait", "2s")
            .option("--object-store-request-timeout", "2s")
            // Whatever a node says while its world fails.
            .allow_in_log("");
        let mut node = machines.first().map_or_else(|| Node::new(options.clone()), |m| m.node.beside(options.clone()));
        node.restart();
        machines.push(Machine::new(node, role));
    }
    machines
}

/// Writes batch after batch, by turns through both ingest nodes, each until one of them has answered.
fn write(shared: &Shared, writer: usize) {
    let clients: Vec<Client> = shared.ingest.iter().map(|(url, _)| impatient(url)).collect();
    let mut turn = writer;
    while shared.goes_on() {
        let batch = shared.books[writer].lock().expect("nobody panics with it").next_batch();
        loop {
            turn += 1;
            let node = turn % clients.len();
            let sent_at = Instant::now();
            let answer = clients[node].send(write_request("chaos", &batch));
            let mut book = shared.books[writer].lock().expect("nobody panics with it");
            let replaced = |number: usize| shared.ingest[number].1.load(Ordering::SeqCst);
            match answer {
                Ok(answer) if answer.status == 204 => {
                    book.answered(sent_at, |(number, process)| replaced(number) > process);
                    book.stored(node, answer.header(POSITION).expect("it is stored somewhere"));
                    shared.count("batches answered".to_owned());
                    break;
                }
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    return shared.check(Err(format!("a good batch: {} {}", answer.status, answer.text())));
                }
                other => {
                    book.unanswered((node, replaced(node)));
                    let why = other.map_or("no answer".to_owned(), |answer| answer.status.to_string());
                    shared.count(format!("batches not answered: {why}"));
                }
            }
            drop(book);
            if !shared.goes_on() {
                return;
            }
            sleep(Duration::from_millis(300));
        }
        sleep(Duration::from_millis(20));
    }
}

/// Reads all rows of one writer after the other from one node.
fn read(shared: &Shared, url: &str) {
    let client = impatient(url);
    let (mut seen, mut turn) = (vec![Seen::new(); WRITERS], 0);
    while shared.goes_on() {
        for (book, seen) in shared.books.iter().zip(&mut seen) {
            // Every second query asks for all that was answered so far.
            turn += 1;
            let began = Instant::now();
            let (writer, places) = {
                let book = book.lock().expect("nobody panics with it");
                (book.writer, book.places().filter(|_| turn % 2 == 0))
            };
            match rows_of(&client, writer, places.as_deref()) {
                Ok(rows) => {
                    let due = if places.is_some() { began + VISIBLE_WITHIN } else { began };
                    let checked = book.lock().expect("nobody panics with it").check(&rows, due, seen);
                    shared.check(checked.map_err(|wrong| format!("{url}, after {places:?}: {wrong}")));
                    let what = if places.is_some() { "queries answered, after writes" } else { "queries answered" };
                    shared.count(what.to_owned());
                }
                Err(Refused::Wrong(reason)) => shared.check(Err(format!("{url}: {reason}"))),
                Err(Refused::For(why)) => {
                    shared.count(format!("queries not answered: {why}"));
                    sleep(Duration::from_millis(300));
                }
                Err(Refused::Yet(status, _)) => {
                    shared.count(format!("queries not answered: {status}"));
                    sleep(Duration::from_millis(300));
                }
            }
            sleep(Duration::from_millis(50));
        }
    }
}

/// Makes tables, drops them, and looks for them long after.
fn drop_tables(shared: &Shared) {
    let mut random = Random::new(7);
    let mut dropped: Vec<(String, Instant)> = Vec::new();
    for number in 0.. {
        if !shared.goes_on() {
            return;
        }
        let name = format!("short_{number}");
        let pick = |nodes: usize, random: &mut Random| random.below(nodes as u64) as usize;
        let (url, _) = &shared.ingest[pick(shared.ingest.len(), &mut random)];
        let made = impatient(url).send(write_request("chaos", &format!("{name} v=1i 1\n")));
        if made.is_ok_and(|answer| answer.status == 204) {
            let request = Request::new("DELETE", "/api/v3/configure/table").query("db", "chaos").query("table", &name);
            if impatient(url).send(request).is_ok_and(|answer| answer.status == 200) {
                dropped.push((name, Instant::now()));
                shared.count("tables dropped".to_owned());
            }
        }
        let reader = impatient(&shared.query[pick(shared.query.len(), &mut random)]);
        for (name, _) in dropped.iter().filter(|(_, at)| at.elapsed() > VISIBLE_WITHIN) {
            let answer = reader.send(sql_request("chaos", &format!("SELECT * FROM {name}"), "json"));
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                shared.check(Err(format!("table {name} was dropped and is there")));
            }
        }
        sleep(Duration::from_secs(2));
    }
}

/// Why a query gave no rows.
enum Refused {
    For(String),
    /// It may be answered later: the status, and what was said.
    Yet(u16, String),
    Wrong(String),
}

/// All rows of a writer; with `places`, those it was told to be there at least.
fn rows_of(client: &Client, writer: usize, places: Option<&str>) -> Result<Vec<Value>, Refused> {
    let text = format!("SELECT CAST(time AS BIGINT) AS t, version, odd, even FROM chaos WHERE writer = 'w{writer}'");
    let request = sql_request("chaos", &text, "json");
    let answer = client.send(match places {
        Some(places) => request.header(POSITION, places),
        None => request,
    });
    let answer = answer.map_err(|_| Refused::For("no answer".to_owned()))?;
    let reason = answer.text();
    match answer.status {
        200 => answer.json().as_array().cloned().ok_or(Refused::Wrong(reason)),
        // Before the first rows have come there is no table, and before the second no field of the third.
        404 | 400 if reason.contains("not found") || reason.contains("No field named") => {
            Err(Refused::For("no table yet".to_owned()))
        }
        status @ (500.. | 408 | 429) => Err(Refused::Yet(status, reason)),
        status => Err(Refused::Wrong(format!("{status} {reason}"))),
    }
}

fn impatient(url: &str) -> Client {
    Client::new(url).with_timeout(Duration::from_secs(15))
}

/// Every query node has the same rows in the end, and they are right.
fn check_end(shared: &Shared) {
    for book in &shared.books {
        let book = book.lock().expect("nobody panics with it");
        let ask = |url: &String| match rows_of(&impatient(url), book.writer, None) {
            Ok(rows) => book.check_end(&rows).map(|()| sorted(&rows)),
            Err(Refused::For(reason) | Refused::Wrong(reason) | Refused::Yet(_, reason)) => {
                Err(format!("{url}: {reason}"))
            }
        };
        eventually("the same rows everywhere", || {
            let answers: Vec<_> = shared.query.iter().map(ask).collect::<Result<_, String>>()?;
            if answers.windows(2).all(|pair| pair[0] == pair[1]) { Ok(()) } else { Err("they differ".to_owned()) }
        });
    }
}

fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort_unstable();
    rows
}

/// A cluster that answers nothing is never wrong; this one was of use.
fn check_progress(shared: &Shared) -> usize {
    let counts = shared.counts.lock().expect("nobody panics with it");
    let count = |what: &str| counts.iter().filter(|(name, _)| name.starts_with(what)).map(|(_, n)| n).sum::<usize>();
    let points: usize = shared.books.iter().map(|book| book.lock().expect("nobody panics with it").points()).sum();
    for what in ["batches", "queries"] {
        let (answered, not) = (count(&format!("{what} answered")), count(&format!("{what} not answered")));
        assert!(answered > not, "{what}: {answered} answered, {not} not");
    }
    points
}
