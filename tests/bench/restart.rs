//! How long a node that was killed takes until it answers again, with writes that are in its log only.
//!
//! # Promises
//! - Nothing is snapshotted before the kill: the node is started with a snapshot size that is never reached.
//! - The time runs from the start of the process to the first good answer of `/ready`.

use std::time::{Duration, Instant};

use harness::http::{Request, sql_request};
use harness::node::Node;
use harness::tsbs::Rows;

use crate::options::Options;

/// At full speed this is what five minutes of one busy writer leave behind, or the whole load when it is smaller.
const WRITE_FOR: Duration = Duration::from_secs(300);

pub(crate) fn with_unsnapshotted_writes(node: &mut Node, options: &Options) -> String {
    node.stop();
    let never = options.node_options().option("--wal-files-per-snapshot", "1000000");
    node.set_options(never.option("--force-snapshot-mem-size", "90%"));
    node.restart();
    let empty = node.ready_after;

    let client = node.client();
    let mut rows = Rows::share(options.scale, 0, 1);
    let mut body = Vec::new();
    let mut written = 0;
    let start = Instant::now();
    while start.elapsed() < WRITE_FOR {
        let count = rows.fill(&mut body, options.batch);
        if count == 0 {
            break;
        }
        let request = Request::post("/api/v3/write_lp").query("db", "restart").query("precision", "nanosecond");
        client.ask(request.body(std::mem::take(&mut body))).expect(204);
        written += count as u64;
    }
    let wal = node.folder().bytes_of(".wal") >> 20;
    node.kill();
    node.restart();
    let full = node.ready_after;
    let answer = node.client().ask(sql_request("restart", "SELECT count(*) AS n FROM cpu", "json")).expect(200).json();
    let found = answer[0]["n"].as_u64().unwrap_or_default();
    assert_eq!(found, written, "every answered row is there");

    node.stop();
    node.set_options(options.node_options());
    node.restart();
    let [empty, full] = [empty, full].map(|time| time.as_secs_f64() * 1e3);
    format!(
        "nothing to replay: ready after {empty:.0} ms\n{written} rows in {wal} MiB of log: ready after {full:.0} ms"
    )
}
