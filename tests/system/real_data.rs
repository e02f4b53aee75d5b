//! Real data goes in and the answers worked out from the original tables come out.
//!
//! # Promises
//! - Whatever the size of the batches, the answers are the same right after the write, after a replay of the log, from
//!   files, and after an orderly restart.
//! - In any order of the lines the number of rows is the same, and the values are those of the lines that came last.
//! - Lines that are written again change nothing.

use std::collections::BTreeMap;
use std::fs;

use harness::command::Weir;
use harness::data::{self, Oracle, Sum};
use harness::http::{Client, Request};
use harness::node::{Node, Options};
use harness::random::Random;
use harness::wait::eventually;
use serde_json::Value;

const BY_CARRIER: &str = "SELECT carrier AS tag, count(*) AS n, count(arr_delay) AS c, sum(arr_delay) AS s, \
     CAST(min(time) AS BIGINT) AS first, CAST(max(time) AS BIGINT) AS last FROM flights GROUP BY carrier";

#[test]
fn batches_of_500_lines_survive_every_restart() {
    check_every_restart(500);
}

#[test]
fn batches_of_10_000_lines_survive_every_restart() {
    check_every_restart(10_000);
}

#[test]
fn lines_written_one_by_one_are_all_there() {
    let text = data::line_protocol("flights");
    let sample: Vec<&str> = text.lines().step_by(1_000).collect();
    let mut node = Node::start(Options::open());
    load(&node.client(), &sample, 1);
    check_oracle(&node.client(), &oracle_of(&sample));
    node.kill();
    node.restart();
    check_oracle(&node.client(), &oracle_of(&sample));
}

#[test]
fn first_shuffled_order_gives_the_rows_of_the_oracle() {
    check_shuffled(1);
}

#[test]
fn second_shuffled_order_gives_the_rows_of_the_oracle() {
    check_shuffled(2);
}

#[test]
fn third_shuffled_order_gives_the_rows_of_the_oracle() {
    check_shuffled(3);
}

#[test]
fn the_write_command_loads_both_files() {
    let node = Node::start(Options::open());
    for name in ["weather", "flights"] {
        let file = node.folder().path().join(format!("{name}.lp"));
        fs::write(&file, data::line_protocol(name)).expect("the folder of the node takes a file");
        let file = file.to_str().expect("the path is text");
        Weir::at(&node.url()).run(&["write", "--database", "nyc", "--precision", "s", "--file", file]).success();
    }
    check_expected(&node.client());
}

fn check_every_restart(batch: usize) {
    let mut node = Node::start(Options::open());
    for name in ["weather", "flights"] {
        let text = data::line_protocol(name);
        load(&node.client(), &text.lines().collect::<Vec<_>>(), batch);
    }
    check_expected(&node.client());

    // From the log.
    node.kill();
    node.restart();
    check_expected(&node.client());

    // From files, with a log that is cut after every few of its own: forced by a small snapshot size.
    node.kill();
    node.set_options(Options::open().option("--wal-files-per-snapshot", "1"));
    node.restart();
    eventually("everything is in files", || {
        node.client().write("nyc", "nudge v=1i 1");
        in_files(&node.client(), 336_682 + 26_115)
    });
    check_expected(&node.client());

    node.stop();
    node.set_options(Options::open());
    node.restart();
    check_expected(&node.client());

    // The same lines over the files: overwritten by themselves.
    load(&node.client(), &data::line_protocol("weather").lines().collect::<Vec<_>>(), batch);
    check_expected(&node.client());
    node.kill();
    node.restart();
    check_expected(&node.client());
}

fn check_shuffled(seed: u64) {
    let text = data::line_protocol("flights");
    let mut lines: Vec<&str> = text.lines().collect();
    Random::new(seed).shuffle(&mut lines);
    let oracle = oracle_of(&lines);
    assert_eq!(oracle.rows(), 336_682, "the order does not change what a row is");

    let mut node = Node::start(Options::open());
    load(&node.client(), &lines, 10_000);
    check_oracle(&node.client(), &oracle);
    node.stop();
    node.restart();
    check_oracle(&node.client(), &oracle);
}

pub(crate) fn load(client: &Client, lines: &[&str], batch: usize) {
    for lines in lines.chunks(batch) {
        let request = Request::post("/api/v3/write_lp").query("db", "nyc").query("precision", "second");
        client.ask(request.query("accept_partial", "false").body(lines.join("\n"))).expect(204);
    }
}

fn oracle_of(lines: &[&str]) -> Oracle {
    let mut oracle = Oracle::default();
    lines.iter().for_each(|line| oracle.write(line));
    oracle
}

#[track_caller]
pub(crate) fn check_oracle(client: &Client, oracle: &Oracle) {
    assert_eq!(client.number("nyc", "SELECT count(*) AS n FROM flights"), oracle.rows() as i64);
    for field in ["dep_delay", "arr_delay", "air_time", "distance"] {
        let text =
            format!("SELECT carrier AS tag, count({field}) AS c, sum({field}) AS s FROM flights GROUP BY carrier");
        let answer: BTreeMap<String, Sum> = by_tag(client, &text)
            .into_iter()
            .map(|(tag, row)| (tag, Sum { count: integer(&row, "c"), sum: integer(&row, "s") }))
            .collect();
        assert_eq!(answer, oracle.sums("carrier", field), "{field}");
    }
}

#[track_caller]
fn check_expected(client: &Client) {
    let expected = data::expected();
    check_flights(client, &expected["flights"]);
    check_weather(client, &expected["weather"]);
}

#[track_caller]
fn check_flights(client: &Client, expected: &Value) {
    let rows = by_tag(client, BY_CARRIER);
    let carriers = expected["by_carrier"].as_object().expect("carriers");
    assert_eq!(rows.keys().collect::<Vec<_>>(), carriers.keys().collect::<Vec<_>>());
    for (carrier, answer) in carriers {
        let row = &rows[carrier];
        let found = (integer(row, "n"), integer(row, "c"), integer(row, "s"));
        let wanted = (integer(answer, "rows"), integer(answer, "with_arr_delay"), integer(answer, "sum_arr_delay"));
        assert_eq!(found, wanted, "{carrier}");
    }
    let total = client.number("nyc", "SELECT count(*) AS n FROM flights");
    assert_eq!(total, integer(expected, "rows"), "the count may come from statistics, and must agree");
    let first = rows.values().map(|row| integer(row, "first")).min();
    let last = rows.values().map(|row| integer(row, "last")).max();
    assert_eq!([first, last].map(Option::unwrap_or_default), time_range(expected));
}

#[track_caller]
fn check_weather(client: &Client, expected: &Value) {
    let text = "SELECT origin AS tag, count(*) AS n, avg(temp) AS t, max(wind_gust) AS g, \
         CAST(min(time) AS BIGINT) AS first, CAST(max(time) AS BIGINT) AS last FROM weather GROUP BY origin";
    let rows = by_tag(client, text);
    for (origin, average) in expected["avg_temp_by_origin"].as_object().expect("origins") {
        let found = rows[origin]["t"].as_f64().expect("an average");
        let wanted = average.as_f64().expect("a number");
        assert!((found - wanted).abs() < 1e-5, "{origin}: {found}, expected {wanted}");
    }
    assert_eq!(rows.values().map(|row| integer(row, "n")).sum::<i64>(), integer(expected, "rows"));
    let gust = rows.values().filter_map(|row| row["g"].as_f64()).fold(0.0, f64::max);
    let wanted = expected["max_wind_gust"].as_f64().expect("a number");
    assert!((gust - wanted).abs() < 1e-5, "{gust}, expected {wanted}");
    let first = rows.values().map(|row| integer(row, "first")).min();
    let last = rows.values().map(|row| integer(row, "last")).max();
    assert_eq!([first, last].map(Option::unwrap_or_default), time_range(expected));
}

/// `Ok` once the files of both tables together hold at least so many rows.
fn in_files(client: &Client, rows: i64) -> Result<(), i64> {
    let text = "SELECT sum(row_count) AS n FROM system.parquet_files WHERE table_name IN ('flights', 'weather')";
    let found = client.sql("nyc", text).first().and_then(|row| row["n"].as_i64()).unwrap_or_default();
    if found >= rows { Ok(()) } else { Err(found) }
}

#[track_caller]
fn by_tag(client: &Client, text: &str) -> BTreeMap<String, Value> {
    let rows = client.sql("nyc", text);
    let named = rows.into_iter().map(|row| (row["tag"].as_str().unwrap_or_default().to_owned(), row));
    named.collect()
}

#[track_caller]
fn integer(value: &Value, name: &str) -> i64 {
    // A sum over rows that are all null is null, which JSON leaves out: the oracle says 0.
    value.get(name).map_or(0, |number| number.as_i64().unwrap_or_else(|| panic!("{name} is no integer in {value}")))
}

/// In nanoseconds.
fn time_range(expected: &Value) -> [i64; 2] {
    [0, 1].map(|index| expected["time_range_s"][index].as_i64().expect("a time") * 1_000_000_000)
}
