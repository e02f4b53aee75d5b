//! A node that is killed at any moment loses nothing it has answered.
//!
//! # Promises
//! - After every kill each answered row is there, once, with the values written last; a batch that was not answered is
//!   there as a whole or not at all.
//! - Also when the kill hits a start, a replay, a snapshot or a clean-up: some nodes are killed while they start, and the
//!   sizes of snapshots change from start to start.
//! - Also when the machine loses its power with the node, and what was not synced goes.

use std::fmt::Write;
use std::thread::{self, sleep};
use std::time::Duration;

use harness::http::{Client, sql_request, write_request};
use harness::node::{Node, Options};
use harness::power::Disk;
use harness::random::{Random, seed_from};
use serde_json::Value;

use crate::ledger::{Ledger, Unanswered};

const WRITERS: usize = 4;

/// More than a node takes before it is killed, but bounded: after 200 rounds a query must still compare all rows.
const BATCHES_PER_ROUND_MAX: usize = 200;

/// One line of the table that is printed at the end.
#[derive(Debug)]
struct Round {
    killed_after: Duration,
    /// Names and contents that went with the power; `None` for a kill alone.
    lost: Option<usize>,
    starts_killed: usize,
    ready_after: Duration,
    batches: usize,
    kept: usize,
    absent: usize,
    rows: usize,
}

#[test]
fn a_killed_node_keeps_what_it_answered() {
    let rounds: usize = std::env::var("WEIR_KILL_ROUNDS").map_or(8, |text| text.parse().expect("WEIR_KILL_ROUNDS"));
    let seed = seed_from("WEIR_KILL_SEED");
    println!("WEIR_KILL_SEED={seed} WEIR_KILL_ROUNDS={rounds}");
    let mut run = Run::begin(Disk::Honest, seed);
    let lost = run.rounds(rounds);
    println!("{}", text(&run.table));
    lost.unwrap_or_else(|lost| panic!("WEIR_KILL_SEED={seed}, round {}: {lost}", run.table.len()));

    // An orderly stop at the end of a rough life.
    run.node.stop();
    run.node.restart();
    compare(&run.node.client(), &mut run.ledgers).expect("an orderly stop loses nothing");
}

#[test]
fn a_disk_that_ignores_syncs_is_found_out() {
    for disk in [Disk::WITHOUT_FILE_SYNCS, Disk::WITHOUT_FOLDER_SYNCS] {
        let mut run = Run::begin(disk, 1);
        let lost = run.rounds(20).expect_err("a node cannot keep what its disk forgets");
        println!("{disk:?}, round {}: {}", run.table.len(), lost.lines().next().unwrap_or_default());
    }
}

#[derive(Debug)]
struct Run {
    disk: Disk,
    node: Node,
    ledgers: Vec<Ledger>,
    random: Random,
    table: Vec<Round>,
}

impl Run {
    fn begin(disk: Disk, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let node = Node::start_on(disk, options(disk, &mut random));
        // So that the table and its columns are there however early the first kill comes.
        node.client().write("ledger", "kill,writer=none,series=s0 version=0i,odd=0i,even=0i 0");
        let ledgers = (0..WRITERS).map(|writer| Ledger::new(writer, seed)).collect();
        Self { disk, node, ledgers, random, table: Vec::new() }
    }

    fn rounds(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let round = self.round()?;
            self.table.push(round);
        }
        Ok(())
    }

    fn round(&mut self) -> Result<Round, String> {
        let killed_after = Duration::from_millis(5 + self.random.below(400));
        let client = self.node.client();
        let mut lost = None;
        let batches = thread::scope(|scope| {
            let writers: Vec<_> =
                self.ledgers.iter_mut().map(|ledger| scope.spawn(|| write_until_killed(&client, ledger))).collect();
            sleep(killed_after);
            lost = kill(&mut self.node, &mut self.random);
            writers
                .into_iter()
                .map(|writer| writer.join().expect("a writer does not panic"))
                .sum::<Result<usize, String>>()
        })?;

        let mut starts_killed = 0;
        while self.random.below(4) == 0 {
            self.node.set_options(options(self.disk, &mut self.random));
            self.node.spawn();
            sleep(Duration::from_millis(self.random.below(400)));
            kill(&mut self.node, &mut self.random);
            starts_killed += 1;
        }
        self.node.set_options(options(self.disk, &mut self.random));
        self.node.try_restart()?;

        let settled = compare(&self.node.client(), &mut self.ledgers)?;
        let count = |what| settled.iter().filter(|unanswered| **unanswered == what).count();
        Ok(Round {
            killed_after,
            lost,
            starts_killed,
            ready_after: self.node.ready_after,
            batches,
            kept: count(Unanswered::Kept),
            absent: count(Unanswered::Absent),
            rows: self.ledgers.iter().map(Ledger::rows).sum(),
        })
    }
}

/// Two of three times the machine goes with the process.
fn kill(node: &mut Node, random: &mut Random) -> Option<usize> {
    if random.below(3) == 0 {
        node.kill();
        return None;
    }
    let lost = node.lose_power(random);
    Some(lost.names + lost.contents)
}

/// Snapshots from after every log file to hardly ever, so that kills meet them in every state.
fn options(disk: Disk, random: &mut Random) -> Options {
    let sizes = ["1", "3", "20", "600"];
    let size = sizes[random.below(sizes.len() as u64) as usize];
    let options = Options::open().option("--wal-files-per-snapshot", size).option("--wal-flush-interval", "10ms");
    // Whatever a node says on a disk that forgets, it says it rightly.
    if disk == Disk::Honest { options } else { options.allow_in_log("") }
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
        let rows = rows_of(client, &text)?;
        settled.push(ledger.settle(&rows).map_err(|lost| format!("writer {writer}: {lost}"))?);
    }
    Ok(settled)
}

fn rows_of(client: &Client, text: &str) -> Result<Vec<Value>, String> {
    let answer = client.send(sql_request("ledger", text, "json")).map_err(|error| format!("{text}: {error}"))?;
    if answer.status != 200 {
        return Err(format!("{text}: {} {}", answer.status, answer.text()));
    }
    let Value::Array(rows) = answer.json() else { panic!("{text}: not an array") };
    Ok(rows)
}

fn text(table: &[Round]) -> String {
    let mut text =
        String::from(" round  killed ms  lost with power  starts killed  ready ms  batches  kept  absent     rows\n");
    for (number, round) in table.iter().enumerate() {
        let Round { killed_after, lost, starts_killed, ready_after, batches, kept, absent, rows } = round;
        let (killed, ready) = (killed_after.as_millis(), ready_after.as_millis());
        let lost = lost.map_or("-".to_owned(), |lost| lost.to_string());
        writeln!(
            text,
            "{number:6}  {killed:9}  {lost:>15}  {starts_killed:13}  {ready:8}  {batches:7}  {kept:4}  {absent:6}  {rows:7}"
        )
        .expect("a string takes every byte");
    }
    text
}
