//! A node that is killed at any moment loses nothing it has answered.
//!
//! # Promises
//! - After every kill each answered row is there, once, with the values written last; a batch that was not answered is
//!   there as a whole or not at all.
//! - Also when the kill hits a start, a replay, a snapshot or a clean-up: some nodes are killed while they start, and the
//!   sizes of snapshots change from start to start.
//!
//! # Not here
//! - A machine that loses power: a killed process leaves its un-synced bytes to the system. The simulation drops them.

use std::fmt::Write;
use std::thread::{self, sleep};
use std::time::Duration;

use harness::http::{Client, write_request};
use harness::node::{Node, Options};
use harness::random::{Random, seed_from};

use crate::ledger::{Ledger, Unanswered};

const WRITERS: usize = 4;

/// More than a node takes before it is killed, but bounded: after 200 rounds a query must still compare all rows.
const BATCHES_PER_ROUND_MAX: usize = 200;

/// One line of the table that is printed at the end.
#[derive(Debug)]
struct Round {
    killed_after: Duration,
    starts_killed: usize,
    ready_after: Duration,
    batches: usize,
    kept: usize,
    absent: usize,
    rows: usize,
}

#[test]
fn a_killed_node_keeps_what_it_answered() {
    let rounds: usize = std::env::var("WEIR_KILL_ROUNDS").map_or(6, |text| text.parse().expect("WEIR_KILL_ROUNDS"));
    let seed = seed_from("WEIR_KILL_SEED");
    println!("WEIR_KILL_SEED={seed} WEIR_KILL_ROUNDS={rounds}");

    let mut random = Random::new(seed);
    let mut ledgers: Vec<Ledger> = (0..WRITERS).map(|writer| Ledger::new(writer, seed)).collect();
    let mut node = Node::start(options(&mut random));
    // So that the table and its columns are there however early the first kill comes.
    node.client().write("ledger", "kill,writer=none,series=s0 version=0i,odd=0i,even=0i 0");
    let mut table = Vec::new();
    for number in 0..rounds {
        let round = round(&mut node, &mut ledgers, &mut random);
        let round =
            round.unwrap_or_else(|lost| panic!("WEIR_KILL_SEED={seed}, round {number}: {lost}\n{}", text(&table)));
        table.push(round);
    }
    println!("{}", text(&table));

    // An orderly stop at the end of a rough life.
    node.stop();
    node.restart();
    compare(&node.client(), &mut ledgers).expect("an orderly stop loses nothing");
}

fn round(node: &mut Node, ledgers: &mut [Ledger], random: &mut Random) -> Result<Round, String> {
    let killed_after = Duration::from_millis(5 + random.below(400));
    let client = node.client();
    let batches = thread::scope(|scope| {
        let writers: Vec<_> =
            ledgers.iter_mut().map(|ledger| scope.spawn(|| write_until_killed(&client, ledger))).collect();
        sleep(killed_after);
        node.kill();
        writers.into_iter().map(|writer| writer.join().expect("a writer does not panic")).sum::<Result<usize, String>>()
    })?;

    let mut starts_killed = 0;
    while random.below(4) == 0 {
        node.set_options(options(random));
        node.spawn();
        sleep(Duration::from_millis(random.below(400)));
        node.kill();
        starts_killed += 1;
    }
    node.set_options(options(random));
    node.restart();

    let settled = compare(&node.client(), ledgers)?;
    let count = |what| settled.iter().filter(|unanswered| **unanswered == what).count();
    Ok(Round {
        killed_after,
        starts_killed,
        ready_after: node.ready_after,
        batches,
        kept: count(Unanswered::Kept),
        absent: count(Unanswered::Absent),
        rows: ledgers.iter().map(Ledger::rows).sum(),
    })
}

/// Snapshots from after every log file to hardly ever, so that kills meet them in every state.
fn options(random: &mut Random) -> Options {
    let sizes = ["1", "3", "20", "600"];
    let size = sizes[random.below(sizes.len() as u64) as usize];
    Options::open().option("--wal-files-per-snapshot", size).option("--wal-flush-interval", "10ms")
}

/// Writes batch after batch; returns how many were answered before the node was gone.
fn write_until_killed(client: &Client, ledger: &mut Ledger) -> Result<usize, String> {
    for answered in 0..BATCHES_PER_ROUND_MAX {
        let batch = ledger.next_batch();
        match client.send(write_request("ledger", &batch)) {
            Ok(answer) if answer.status == 204 => ledger.answered(),
            Ok(answer) => return Err(format!("a good batch was answered {}: {}", answer.status, answer.text())),
            Err(_) => return Ok(answered),
        }
    }
    Ok(BATCHES_PER_ROUND_MAX)
}

fn compare(client: &Client, ledgers: &mut [Ledger]) -> Result<Vec<Unanswered>, String> {
    let mut settled = Vec::new();
    for (writer, ledger) in ledgers.iter_mut().enumerate() {
        let text = format!(
            "SELECT series, CAST(time AS BIGINT) AS t, version, odd, even FROM kill WHERE writer = 'w{writer}'"
        );
        let rows = client.sql("ledger", &text);
        settled.push(ledger.settle(&rows).map_err(|lost| format!("writer {writer}: {lost}"))?);
    }
    Ok(settled)
}

fn text(table: &[Round]) -> String {
    let mut text = String::from(" round  killed ms  starts killed  ready ms  batches  kept  absent     rows\n");
    for (number, round) in table.iter().enumerate() {
        let Round { killed_after, starts_killed, ready_after, batches, kept, absent, rows } = round;
        let (killed, ready) = (killed_after.as_millis(), ready_after.as_millis());
        writeln!(
            text,
            "{number:6}  {killed:9}  {starts_killed:13}  {ready:8}  {batches:7}  {kept:4}  {absent:6}  {rows:7}"
        )
        .expect("a string takes every byte");
    }
    text
}
