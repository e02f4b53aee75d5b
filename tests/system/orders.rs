//! What nodes do because an operator says so: put rows into files, merge files.
//!
//! # Promises
//! - `SNAPSHOT` answers when all rows that any node holds are in files, and else names the nodes that did not write theirs.
//! - `COMPACT TABLE` merges what would wait for hours, on whichever node compacts, also when another one takes the role
//!   meanwhile; it answers when the catalog shows it, or that it goes on. It ends however fast others write the table.
//! - Only an admin says so, and it is recorded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::http::{Answer, Client, Request, sql_request};
use harness::node::{Node, Options};
use harness::wait::eventually;
use serde_json::{Value, json};

use crate::auth::resource_token;

fn ask(client: &Client, text: &str) -> Answer {
    client.ask(sql_request("plant", text, "json"))
}

#[track_caller]
fn done(client: &Client, text: &str) -> Value {
    ask(client, text).expect(200).json()
}

/// A node that makes no files and merges none by itself for hours.
pub(crate) fn idle(id: &str, modes: &str) -> Options {
    let options = Options::of(id, modes).option("--compaction-check-interval", "1h");
    options.option("--force-snapshot-max-age", "1day").option("--wal-files-per-snapshot", "100000")
}

/// Files, and rows in them.
pub(crate) fn files(client: &Client) -> (i64, i64) {
    let text = "SELECT count(*) AS files, coalesce(sum(row_count), 0) AS rows FROM system.parquet_files \
                WHERE table_name = 't'";
    let shown = client.ask(sql_request("plant", text, "json"));
    if shown.status != 200 {
        return (-1, -1);
    }
    let row = &shown.json()[0];
    (row["files"].as_i64().expect("a number"), row["rows"].as_i64().expect("a number"))
}

fn write(node: &Node, row: u64) {
    // In the year 2100, in a window that is not over.
    node.client().write("plant", &format!("t,host=h{row} v={row}i 4102444800000000000\n"));
}

#[test]
fn a_snapshot_puts_the_rows_of_all_nodes_into_files_and_names_those_that_did_not() {
    let first = Node::start(idle("a", "all").allow_in_log("a request failed"));
    let mut second = first.beside(idle("b", "ingest"));
    second.restart();
    let client = first.client();
    write(&first, 1);
    write(&second, 2);
    assert_eq!(done(&client, "SNAPSHOT NODE 'b'"), json!([{ "node_id": "b", "result": "written" }]));
    eventually("the file of b", || if files(&client) == (1, 1) { Ok(()) } else { Err(files(&client)) });
    let both = json!([{ "node_id": "a", "result": "written" }, { "node_id": "b", "result": "written" }]);
    assert_eq!(done(&client, "SNAPSHOT"), both);
    assert_eq!(files(&client), (2, 2));
    assert_eq!(done(&client, "SNAPSHOT"), both, "there is nothing to write, and all is written");

    write(&first, 3);
    write(&second, 4);
    second.pause();
    done(&client, "ALTER SYSTEM SET query_timeout = '2s'");
    let answer = ask(&client, "SNAPSHOT");
    let text = answer.text();
    assert_eq!(answer.status, 503, "{text}");
    assert!(text.contains("b (it has not written its rows within 2s") && text.contains("wrote theirs: a"), "{text}");
    second.resume();
    eventually("what b was told goes on", || if files(&client) == (4, 4) { Ok(()) } else { Err(files(&client)) });
    for (text, status, part) in [
        ("SNAPSHOT NODE 'z'", 404, "z"),
        ("SNAPSHOT NODE z", 400, "expected the id of a node in single quotes"),
        ("COMPACT TABLE nope", 404, "table 'nope' of database 'plant'"),
    ] {
        let answer = ask(&client, text);
        assert_eq!((answer.status, answer.text().contains(part)), (status, true), "{text}: {}", answer.text());
    }
    let statements: Vec<_> = client
        .sql(
            "_internal",
            "SELECT statement FROM system.changes WHERE statement LIKE 'SNAPSHOT%' ORDER BY catalog_version",
        )
        .iter()
        .map(|row| row["statement"].clone())
        .collect();
    assert_eq!(statements, ["SNAPSHOT NODE 'b'", "SNAPSHOT", "SNAPSHOT", "SNAPSHOT"]);
}

#[test]
fn a_table_is_compacted_by_whoever_has_the_role_also_when_that_moves_meanwhile() {
    let logged = |options: Options| options.allow_in_log("counts as dead").allow_in_log("a request failed");
    let asked = Node::start(logged(idle("a", "ingest,query")));
    let [mut first, mut second] = ["c", "d"].map(|id| {
        let mut node = asked.beside(logged(idle(id, "compact")));
        node.restart();
        node
    });
    let client = asked.client();
    let fill = |from: u64| {
        for row in from..from + 3 {
            write(&asked, row);
            done(&client, "SNAPSHOT");
        }
    };
    fill(0);
    assert_eq!(files(&client), (3, 3));
    let compacted = |node: &str, before: i64| {
        json!([{
            "table_name": "t", "node_id": node, "result": "merged", "files_before": before, "files_after": 1
        }])
    };
    let elsewhen = "COMPACT TABLE t WINDOW '2001-01-01' TO '2001-01-02'";
    assert_eq!(done(&client, elsewhen)[0]["files_before"], 0, "nothing of that day is there");
    assert_eq!(files(&client), (3, 3));
    assert_eq!(done(&client, "COMPACT TABLE t"), compacted("c", 3));
    assert_eq!(files(&client), (1, 3), "the catalog of the node that was asked has it, too");
    assert_eq!(done(&client, "COMPACT TABLE t"), compacted("c", 1));

    fill(3);
    // It has the order and stands still, is killed, and its successor does it.
    first.pause();
    thread::scope(|scope| {
        let answer = scope.spawn(|| done(&client.with_timeout(Duration::from_secs(90)), "COMPACT TABLE t"));
        thread::sleep(Duration::from_secs(1));
        first.kill();
        assert_eq!(answer.join().expect("it is answered"), compacted("d", 4));
    });
    assert_eq!(files(&client), (1, 6));
    assert_eq!(client.number("plant", "SELECT count(*) AS n FROM t"), 6);

    fill(6);
    second.pause();
    done(&client, "ALTER SYSTEM SET query_timeout = '2s'");
    let told = done(&client, "COMPACT TABLE t");
    assert_eq!((&told[0]["result"], &told[0]["node_id"]), (&json!("goes on"), &json!("d")), "{told}");
    second.resume();
    eventually("it goes on", || if files(&client) == (1, 9) { Ok(()) } else { Err(files(&client)) });
    second.kill();
    let answer = ask(&client, "COMPACT TABLE t");
    assert_eq!(answer.status, 503, "{}", answer.text());
}

#[test]
fn a_table_that_others_write_without_pause_is_compacted_in_the_end() {
    let node = Node::start(idle("a", "ingest,query"));
    let mut compactor = node.beside(idle("c", "compact"));
    compactor.restart();
    let client = node.client();
    let written = |row: u64| {
        write(&node, row);
        done(&node.client(), "SNAPSHOT");
    };
    // So many that to merge them lasts longer than to write another file.
    for part in 0..3 {
        let line = |row: u64| format!("t,host=h{part}-{row} v=1i 4102444800000000000\n");
        client.write("plant", &(0..100_000).map(line).collect::<String>());
        done(&client, "SNAPSHOT");
    }
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 1..4 {
            let (has_ended, written) = (&has_ended, &written);
            scope.spawn(move || {
                let rows = (1_000 * writer..).take_while(|_| !has_ended.load(Ordering::Relaxed));
                rows.for_each(written);
            });
        }
        let order = scope.spawn(|| done(&client.with_timeout(Duration::from_secs(20)), "COMPACT TABLE t"));
        let answer = order.join();
        has_ended.store(true, Ordering::Relaxed);
        assert_eq!(answer.expect("it ends")[0]["result"], "merged");
    });
    done(&client, "COMPACT TABLE t");
    assert_eq!(files(&client).0, 1, "what came meanwhile is merged by the next one");
}

#[test]
fn who_waits_for_an_order_is_made_to_wait_no_longer_and_the_order_goes_on() {
    let first = Node::start(idle("a", "ingest,query"));
    let [second, third] = [("b", "ingest"), ("c", "compact")].map(|(id, modes)| {
        let mut node = first.beside(idle(id, modes));
        node.restart();
        node
    });
    let client = first.client();
    for row in 0..2 {
        write(&first, row);
        done(&client, "SNAPSHOT");
    }
    write(&second, 2);
    // What is waited for, cancelled, and told to whoever waited.
    let cancelled = |text: &'static str, (status, result): (u16, &str)| -> Answer {
        thread::scope(|scope| {
            let waits = scope.spawn(|| ask(&client.with_timeout(Duration::from_secs(60)), text));
            let id = eventually("the command", || {
                let running = "SELECT id FROM system.queries WHERE running AND query_text = ";
                let found = client.sql("plant", &format!("{running}'{}'", text.replace('\'', "''")));
                found.first().and_then(|row| row["id"].as_str().map(str::to_owned)).ok_or("it does not run")
            });
            // It is told to the other node.
            thread::sleep(Duration::from_millis(500));
            let answer = ask(&client, &format!("CANCEL QUERY '{id}'"));
            assert_eq!((answer.status, answer.text().contains(result)), (status, true), "{}", answer.text());
            waits.join().expect("it is answered")
        })
    };
    second.pause();
    let answer = cancelled("SNAPSHOT NODE 'b'", (200, "no longer waited for; what was ordered by then goes on"));
    assert_eq!(answer.status, 499, "{}", answer.text());
    let expected = "the wait was cancelled: not all rows are in files: b (it has not written its rows until the wait was \
                    cancelled, and goes on); nodes that wrote theirs: none";
    assert_eq!(answer.text(), expected);
    let answer = cancelled("DELETE FROM t WHERE host = 'h9'", (400, "is a command that cannot be cancelled"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    second.resume();
    eventually("what b was told goes on", || if files(&client) == (3, 3) { Ok(()) } else { Err(files(&client)) });
    third.pause();
    let told = cancelled("COMPACT TABLE t", (200, "no longer waited for; what was ordered by then goes on"))
        .expect(200)
        .json();
    assert_eq!((&told[0]["result"], &told[0]["node_id"]), (&json!("goes on"), &json!("c")), "{told}");
    third.resume();
    eventually("it goes on", || if files(&client).0 < 3 { Ok(()) } else { Err(files(&client)) });
}

#[test]
fn only_an_admin_tells_nodes_what_to_do() {
    let node = Node::start(Options::with_tokens());
    let admin = node.client().ask(Request::post("/api/v3/configure/token/admin")).expect(201).json();
    let admin = node.client().with_token(admin["token"].as_str().expect("a token"));
    admin.write("plant", "t v=1i 1\n");
    let reader = node.client().with_token(&resource_token(&admin, ("reader", "plant"), &["read"]));
    for text in ["SNAPSHOT", "SNAPSHOT NODE 'node-1'", "COMPACT TABLE t"] {
        let answer = ask(&reader, text);
        assert_eq!(answer.status, 403, "{text}: {}", answer.text());
        done(&admin, text);
    }
    for what in ["snapshot", "compact&table=1"] {
        let request = || Request::post(&format!("/api/v3/weir/order?what={what}"));
        assert_eq!(reader.ask(request()).status, 403, "{what}");
        assert_eq!(node.client().ask(request()).status, 401, "{what}");
        admin.ask(request()).expect(200);
    }
    for what in ["dance", "compact", "snapshot&table=1", "compact&table=1&from=2&to=1"] {
        let answer = admin.ask(Request::post(&format!("/api/v3/weir/order?what={what}")));
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
}
