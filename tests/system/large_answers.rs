//! Answers that are larger than the memory of anybody.
//!
//! # Promises
//! - Over HTTP and over both protocols of Postgres a node grows by less than 200 MiB, however many rows an answer has and
//!   however slowly they are taken.
//!
//! `WEIR_ANSWER_ROWS=50000000` has each answer hold as many rows.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::thread;
use std::time::Duration;

use harness::http::{Request, sql_request};
use harness::postgres::{bind, execute, parse, query, sync};

use crate::postgres::{Served, with_rows};

/// Rows of the table that is multiplied.
const ROWS: u64 = 20_000;
const GROWTH_MAX_MIB: u64 = 200;

fn wanted() -> u64 {
    let said = env::var("WEIR_ANSWER_ROWS").ok().map(|text| text.parse().expect("WEIR_ANSWER_ROWS is a number"));
    // Whole copies of the table.
    said.unwrap_or(2_000_000_u64).div_ceil(ROWS) * ROWS
}

fn text() -> String {
    let copies = wanted() / ROWS;
    format!("SELECT a.v AS v, b.v AS w, a.time AS time FROM seq a CROSS JOIN (SELECT v FROM seq WHERE v < {copies}) b")
}

/// Lines of an answer over HTTP.
fn lines(served: &Served, format: &str) -> u64 {
    let request = sql_request("plant", &text(), format);
    let client = served.node.client().with_timeout(Duration::from_secs(3_600));
    let mut answer = BufReader::with_capacity(1 << 20, client.stream(request).expect("it is answered"));
    let mut count = 0;
    loop {
        let bytes = answer.fill_buf().expect("it goes on");
        if bytes.is_empty() {
            return count;
        }
        count += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let taken = bytes.len();
        answer.consume(taken);
    }
}

/// Messages with rows, until the node is ready for more; `pause` now and then.
fn rows(served: &Served, asked: &[u8], pause: Duration) -> u64 {
    let mut client = served.session();
    client.send(asked);
    let mut said = BufReader::with_capacity(1 << 20, &client.stream);
    let (mut count, mut body) = (0, Vec::new());
    loop {
        let mut head = [0; 5];
        said.read_exact(&mut head).expect("the node goes on");
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) - 4;
        body.resize(usize::try_from(len).expect("a message is short"), 0);
        said.read_exact(&mut body).expect("a message is whole");
        match head[0] {
            b'D' | b'd' => count += 1,
            b'E' => panic!("{}", String::from_utf8_lossy(&body)),
            b'Z' => return count,
            _ => {}
        }
        if count % 250_000 == 0 {
            thread::sleep(pause);
        }
    }
}

#[test]
fn a_node_does_not_grow_with_its_answers() {
    let served = with_rows();
    // What one answer takes once is not what it keeps: threads, plans, buffers.
    served.node.client().ask(Request::get("/health"));
    let (few, slow) = (Duration::ZERO, Duration::from_millis(200));
    let extended = [parse("", &text(), &[]), bind(("", ""), &[], 1), execute("", 0), sync()].concat();
    let copied = format!("COPY ({}) TO STDOUT (FORMAT binary)", text());
    let before = served.node.usage().rss_peak_bytes;
    let answers: [(&str, &dyn Fn() -> u64, u64); 5] = [
        ("jsonl", &|| lines(&served, "jsonl"), 0),
        ("csv", &|| lines(&served, "csv"), 1),
        ("pg simple, slowly", &|| rows(&served, &query(&text()), slow), 0),
        ("pg extended, binary", &|| rows(&served, &extended, few), 0),
        // The head of a copy and its end are messages of their own, or begin and end others.
        ("pg copy, binary", &|| rows(&served, &query(&copied), few), 2),
    ];
    for (name, count, beside_at_most) in answers {
        let found = count();
        let grown = served.node.usage().rss_peak_bytes.saturating_sub(before) >> 20;
        println!("{name}: {found} rows, {grown} MiB more at most so far");
        assert!((wanted()..=wanted() + beside_at_most).contains(&found), "{name}: {found}");
        assert!(grown < GROWTH_MAX_MIB, "{name}: {grown} MiB");
    }
}
