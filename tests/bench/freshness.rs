//! How long after the answer of a write on one node a query on another one shows the row: with push, and with the line
//! between the two cut, so that the store is all there is.
//!
//! # Promises
//! - The reader is asked without a position, again and again: what is measured is when rows come by themselves.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::http::{Client, sql_request, write_request};
use harness::node::{Node, Options, free_port};
use harness::random::Random;
use harness::wire::Wire;

use crate::times::Times;

pub(crate) const HEADER: &str = "   line  writes   p50 ms   p99 ms   max ms";

/// Writes come at any moment between two looks at the store.
const PAUSE_MAX_MS: u64 = 300;

/// Rows that are written before anything is measured: the table is known then, and the line is up.
const WARM_UP: usize = 20;

pub(crate) fn between_two_nodes(writes: usize) -> String {
    let port = free_port();
    let wire = Wire::to(port);
    let options = |id: &str, port: u16| {
        let mut options = Options::open().option("--internode-bind-addr", &format!("127.0.0.1:{port}"));
        options.node_id = id.to_owned();
        options
    };
    let first = Node::start(options("a", port).option("--conn-info", wire.address()));
    let mut second = first.beside(options("b", free_port()));
    second.restart();
    let mut measured = Measured { writer: first.client(), reader: second.client(), next: 0, random: Random::new(1) };
    let mut table = String::new();
    for (line, is_cut) in [("up", Wire::mend as fn(&Wire)), ("cut", Wire::cut)] {
        is_cut(&wire);
        measured.times(WARM_UP);
        let mut times = measured.times(writes);
        let [p50, p99, max] = [50, 99, 100].map(|percent| times.percentile_ms(percent));
        writeln!(table, "{line:>7}  {writes:6}  {p50:7.1}  {p99:7.1}  {max:7.1}").expect("memory takes every byte");
    }
    table
}

struct Measured {
    writer: Client,
    reader: Client,
    next: usize,
    random: Random,
}

impl Measured {
    fn times(&mut self, writes: usize) -> Times {
        let mut times = Times::default();
        for _ in 0..writes {
            sleep(Duration::from_millis(self.random.below(PAUSE_MAX_MS)));
            times.push(self.one());
        }
        times
    }

    fn one(&mut self) -> Duration {
        let Self { writer, reader, next, .. } = self;
        *next += 1;
        writer.ask(write_request("fresh", &format!("t v={next}i {next}"))).expect(204);
        let start = Instant::now();
        let text = format!("SELECT v FROM t WHERE time = arrow_cast({next}, 'Timestamp(Nanosecond, None)')");
        loop {
            let answer = reader.ask(sql_request("fresh", &text, "jsonl"));
            if answer.status == 200 && !answer.body.is_empty() {
                return start.elapsed();
            }
            // Until it has heard of it, the reader does not know the table.
            assert!(
                [200, 400, 404].contains(&answer.status) && start.elapsed() < Duration::from_secs(60),
                "{answer:?}"
            );
        }
    }
}
