//! A query that takes long goes on with the files it began with, though they were replaced meanwhile.
//!
//! # Promises
//! - Files that a query of any node reads stay in the store, long after the waiting time of the clean-up.
//! - The query ends with every row it began with; after that the files go.
//!
//! `WEIR_LONG_QUERY_SECONDS` says how long the query takes (20): a clean-up and several heartbeats lie within.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::data::{self, Oracle};
use harness::http::sql_request;
use harness::node::{Node, Options};
use harness::wait::{DEADLINE, eventually};

use crate::compaction::{live, stored};
use crate::real_data::load;

/// Their rows fill many times what server, network and client hold of an answer that is not read.
const LINES: usize = 150_000;

fn options(id: &str) -> Options {
    let mut options = Options::open().option("--wal-files-per-snapshot", "1").option("--compaction-cleanup-wait", "1s");
    options.node_id = id.to_owned();
    options.option("--compaction-check-interval", "200ms")
}

#[test]
fn a_long_query_ends_with_the_files_it_began_with() {
    let seconds = std::env::var("WEIR_LONG_QUERY_SECONDS").map_or(20, |s| s.parse().expect("WEIR_LONG_QUERY_SECONDS"));
    let text = data::line_protocol("flights");
    let lines: Vec<&str> = text.lines().take(LINES).collect();
    let mut oracle = Oracle::default();
    lines.iter().for_each(|line| oracle.write(line));

    let mut writer = Node::start(options("a"));
    load(&writer.client(), &lines, 5_000);
    // So that all rows are in files, and the query has none from memory.
    writer.stop();
    writer.restart();
    let mut reader = writer.beside(options("b"));
    reader.restart();
    let query = sql_request("nyc", "SELECT * FROM flights", "jsonl");
    let client = reader.client().with_timeout(Duration::from_secs(seconds) + DEADLINE);
    let mut answer = BufReader::new(client.stream(query).expect("the query begins"));
    let began = Instant::now();
    let mut line = String::new();
    answer.read_line(&mut line).expect("a row");
    let files = live(&reader.client());
    assert!(!files.is_empty());

    // The same rows once more: files that are merged with them are replaced. The newest may wait for more.
    load(&writer.client(), &lines, 5_000);
    let replaced = eventually("other files take the place of some", || {
        let gone: BTreeSet<_> = files.difference(&live(&writer.client())).cloned().collect();
        if gone.is_empty() { Err(files.len()) } else { Ok(gone) }
    });
    // Slowly: a query whose client reads nothing at all is cancelled after a while.
    let mut lines_read = 1;
    while began.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..LINES / 4 / seconds as usize {
            lines_read += answer.read_line(&mut line).expect("a row").min(1);
        }
        line.clear();
        sleep(Duration::from_millis(500));
    }
    assert!(files.is_subset(&stored(&writer)), "a file of a query that is not at its end has gone");

    let mut rest = String::new();
    answer.read_to_string(&mut rest).expect("the query ends");
    assert_eq!(lines_read + rest.lines().count(), oracle.rows());
    drop(answer);
    eventually("the files go", || {
        let left = stored(&writer).intersection(&replaced).count();
        if left == 0 { Ok(()) } else { Err(left) }
    });
    assert_eq!(reader.client().number("nyc", "SELECT count(*) AS n FROM flights"), oracle.rows() as i64);
}
