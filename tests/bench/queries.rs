//! The query types: how long an answer takes, and what it costs the server.
//!
//! # Promises
//! - One query at a time, each with other hosts and another time range; the first of a type is not counted.
//! - An answer is read to its end. Its rows are counted and printed: a fast answer without rows is no answer.

use std::time::Instant;

use harness::http::sql_request;
use harness::node::Node;
use harness::random::Random;
use harness::tsbs::Query;

use crate::options::Options;
use crate::times::Times;

pub(crate) const HEADER: &str = "type                     queries   p50 ms   p99 ms  CPU ms/query  rows/query";

pub(crate) fn run(node: &Node, query: Query, options: &Options) -> String {
    let client = node.client();
    let mut random = Random::new(options.scale.seed);
    let ask = |random: &mut Random| {
        let answer = client.ask(sql_request("bench", &query.text(options.scale, random), "jsonl"));
        answer.expect(200).body.iter().filter(|byte| **byte == b'\n').count()
    };
    ask(&mut random);
    let mut times = Times::default();
    let mut rows = 0;
    let before = node.usage().cpu;
    for _ in 0..options.queries {
        let start = Instant::now();
        rows += ask(&mut random);
        times.push(start.elapsed());
    }
    let count = times.len().max(1);
    let cpu = (node.usage().cpu - before).as_secs_f64() * 1e3 / count as f64;
    let (name, p50, p99) = (query.name, times.percentile_ms(50), times.percentile_ms(99));
    format!("{name:23}  {count:7}  {p50:7.1}  {p99:7.1}  {cpu:12.1}  {:10}", rows / count)
}
