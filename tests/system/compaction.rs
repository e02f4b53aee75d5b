//! Files become few while the node answers, and every answer stays right.
//!
//! # Promises
//! - A year of real data in random order ends in a handful of files; counts are right all along, sums at the end.
//! - Files that were merged leave the store; what is left is what the catalog names, and what a kill left half-way,
//!   which stays for a day.
//! - A node that is killed meanwhile goes on where it was.
//! - Every plan, run and publication is a row of `system.compaction_events`.

use std::collections::BTreeSet;

use harness::data::{self, Oracle};
use harness::folder::files_below;
use harness::http::Client;
use harness::node::{Node, Options};
use harness::random::{Random, seed_from};
use harness::wait::eventually;

use crate::real_data::{check_oracle, load};

fn options() -> Options {
    let options = Options::open().option("--wal-files-per-snapshot", "1").option("--compaction-cleanup-wait", "1s");
    options.option("--compaction-check-interval", "200ms")
}

#[test]
fn a_years_back_fill_in_random_order_ends_in_few_files() {
    let seed = seed_from("WEIR_COMPACTION_SEED");
    println!("WEIR_COMPACTION_SEED={seed}");
    let text = data::line_protocol("flights");
    let mut lines: Vec<&str> = text.lines().collect();
    Random::new(seed).shuffle(&mut lines);

    let mut node = Node::start(options());
    let mut oracle = Oracle::default();
    let mut stored_at_kills = BTreeSet::new();
    for (part, lines) in lines.chunks(40_000).enumerate() {
        load(&node.client(), lines, 2_000);
        lines.iter().for_each(|line| oracle.write(line));
        assert_eq!(node.client().number("nyc", "SELECT count(*) AS n FROM flights"), oracle.rows() as i64);
        if [2, 5].contains(&part) {
            node.kill();
            stored_at_kills.extend(stored(&node));
            node.restart();
        }
    }
    eventually("few files", || {
        assert_eq!(node.client().number("nyc", "SELECT count(*) AS n FROM flights"), oracle.rows() as i64);
        // A year is two windows of the widest kind; a few late files may wait for company.
        let files = live(&node.client()).len();
        if files <= 8 { Ok(()) } else { Err(files) }
    });
    check_oracle(&node.client(), &oracle);
    check_events(&node.client());
    eventually("only live files are stored", || {
        let (live, stored) = (live(&node.client()), stored(&node));
        let left: Vec<_> = stored.difference(&live).cloned().collect();
        // A snapshot writes a file for each of the two windows, a compaction one.
        let of_kills = left.len() <= 2 * 3 && left.iter().all(|path| stored_at_kills.contains(path));
        if live.is_subset(&stored) && of_kills { Ok(()) } else { Err((live, left)) }
    });
    node.stop();
    node.restart();
    check_oracle(&node.client(), &oracle);
}

#[track_caller]
fn check_events(client: &Client) {
    let text = "SELECT event_type AS kind, event_status AS status, count(*) AS n, avg(event_duration) AS d \
         FROM system.compaction_events WHERE event_time > now() - INTERVAL '1 hour' GROUP BY event_type, event_status";
    let rows = client.sql("nyc", text);
    let kinds: BTreeSet<_> = rows.iter().map(|row| (row["kind"].as_str(), row["status"].as_str())).collect();
    let kind = |name| (Some(name), Some("success"));
    let expected = ["compaction_consumed", "compaction_planned", "plan_run_completed"].map(kind);
    assert!(expected.iter().all(|kind| kinds.contains(kind)), "{rows:?}");
}

pub(crate) fn live(client: &Client) -> BTreeSet<String> {
    let rows = client.sql("nyc", "SELECT path FROM system.parquet_files");
    rows.iter().map(|row| row["path"].as_str().expect("a path").to_owned()).collect()
}

pub(crate) fn stored(node: &Node) -> BTreeSet<String> {
    let data = node.data_dir();
    let below = |path: std::path::PathBuf| path.strip_prefix(&data).expect("below").to_string_lossy().into_owned();
    files_below(&data).map(below).filter(|path| path.ends_with(".parquet")).collect()
}
