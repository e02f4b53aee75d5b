//! What the way in costs: the same small queries over HTTP and over the port for Postgres clients, one after the other on
//! one connection that stays open.
//!
//! # Promises
//! - The doors take turns, query by query, so that whatever else the machine does falls on all of them.
//! - Every answer is read to its end and must hold a row.

use std::fmt::Write as _;
use std::time::Instant;

use harness::http::{Client, sql_request};
use harness::node::Node;
use harness::postgres::{Postgres, bind, execute, parse, query, sync};

use crate::options::Options;
use crate::times::Times;

pub(crate) const HEADER: &str = "statement   door             p50 ms   p99 ms   p50 to HTTP's";

/// The second one finds one row by its key.
const STATEMENTS: [(&str, &str); 2] = [
    ("SELECT 1", "SELECT 1"),
    ("point", "SELECT usage_user FROM cpu WHERE hostname = 'host_7' AND time = TIMESTAMP '2016-01-01T00:30:00Z'"),
];

const DOORS: [&str; 3] = ["HTTP", "pg simple", "pg prepared"];
/// Nothing is counted before connections and caches are warm.
const WARM_UP: usize = 50;

pub(crate) fn compared(node: &Node, options: &Options) -> String {
    let mut asking = Asking { http: node.client(), pg: Postgres::session(options.pg_port, ("bench", "x")) };
    let mut table = String::new();
    for (name, text) in STATEMENTS {
        asking.pg.ask(&[parse("kept", text, &[]), sync()].concat());
        let mut times = [const { Vec::new() }; DOORS.len()];
        for round in 0..WARM_UP + options.asked {
            for (door, times) in DOORS.iter().zip(&mut times) {
                let start = Instant::now();
                asking.ask(door, text);
                if round >= WARM_UP {
                    times.push(start.elapsed());
                }
            }
        }
        asking.pg.ask(&[harness::postgres::message(b'C', b"Skept\0"), sync()].concat());
        let mut over_http = None;
        for (door, measured) in DOORS.iter().zip(times) {
            let mut times = Times::default();
            measured.into_iter().for_each(|time| times.push(time));
            let [p50, p99] = [50, 99].map(|percent| times.percentile_ms(percent));
            let ratio = p50 / *over_http.get_or_insert(p50);
            writeln!(table, "{name:10}  {door:13}  {p50:8.2} {p99:8.2}  {ratio:14.2}")
                .expect("memory takes every byte");
        }
    }
    table
}

struct Asking {
    http: Client,
    pg: Postgres,
}

impl Asking {
    fn ask(&mut self, door: &str, text: &str) {
        let said = match door {
            "HTTP" => {
                let answer = self.http.ask(sql_request("bench", text, "jsonl")).expect(200);
                assert!(!answer.body.is_empty(), "no row: {text}");
                return;
            }
            "pg simple" => self.pg.ask(&query(text)),
            _ => self.pg.ask(&[bind(("", "kept"), &[], 0), execute("", 0), sync()].concat()),
        };
        assert!(said.iter().any(|said| said.kind == b'D'), "no row: {text}: {said:?}");
    }
}
