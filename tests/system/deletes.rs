//! Rows that are deleted through one node are gone from all, for ever.
//!
//! # Promises
//! - Once a DELETE is answered, no node shows what it deleted, in memory or in files, also after a restart.
//! - A node that does not say that it knows of a DELETE is named in the answer. Who hangs up has deleted all the same.
//! - Rows that are written from then on stay, whichever node takes them.
//! - Files are written again without the rows, and nothing is left of the delete but its record.
//! - psql deletes, and whoever may `delete` and `read` in a database does without being an admin.

use std::time::Duration;

use harness::http::{Answer, Client, Request, sql_request};
use harness::node::{Node, Options, free_port};
use harness::wait::eventually;
use serde_json::json;

use crate::auth::resource_token;

fn options(id: &str) -> Options {
    let mut options = Options::open().option("--compaction-check-interval", "200ms");
    options.node_id = id.to_owned();
    options.option("--compaction-cleanup-wait", "1s").option("--wal-files-per-snapshot", "3")
}

fn ask(client: &Client, text: &str) -> Answer {
    client.ask(sql_request("plant", text, "json"))
}

#[track_caller]
fn delete(client: &Client, text: &str) {
    assert_eq!(ask(client, text).expect(200).json(), json!([{ "result": "DELETE" }]), "{text}");
}

fn count(node: &Node) -> i64 {
    node.client().number("plant", "SELECT count(*) AS n FROM t")
}

#[track_caller]
fn eventually_count(node: &Node, expected: i64) {
    eventually("rows", || {
        let answer = ask(&node.client(), "SELECT count(*) AS n FROM t");
        if answer.status == 200 && answer.json()[0]["n"] == expected { Ok(()) } else { Err(answer.text()) }
    });
}

/// What it prints, and what it complains of.
fn psql(port: u16, password: &str, text: &str) -> [String; 2] {
    let mut psql = std::process::Command::new("psql");
    psql.args(["-X", "-A", "-t", "-w", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "me", "-d", "plant"]);
    let output = psql.args(["-c", text]).env("PGPASSWORD", password).output().expect("psql is installed");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn lines(from: u64, to: u64) -> String {
    (from..to).map(|row| format!("t,host=h{} v={row}i {}\n", row % 10, row + 1)).collect()
}

#[test]
fn what_is_deleted_through_one_node_is_gone_from_all_and_what_comes_later_stays() {
    let mut first = Node::start(options("a"));
    let mut second = first.beside(options("b"));
    second.restart();
    first.client().write("plant", &lines(0, 1000));
    eventually_count(&second, 1000);
    // The second one has not heard of these yet.
    first.client().write("plant", &lines(1000, 1100));
    delete(&second.client(), "DELETE FROM t WHERE host IN ('h1', 'h2') AND time <= 550");
    let left = 1100 - 110;
    assert_eq!((count(&first), count(&second)), (left, left));
    for _ in 0..3 {
        delete(&second.client(), "DELETE FROM t WHERE time = 6");
        first.client().write("plant", "t,host=h1 v=7i 2\nt,host=h5 v=8i 6\n");
        second.client().write("plant", "t,host=h2 v=9i 3\n");
        assert!(count(&first) > left);
        eventually_count(&first, left + 2);
        eventually_count(&second, left + 2);
    }
    first.kill();
    first.restart();
    second.stop();
    second.restart();
    assert_eq!((count(&first), count(&second)), (left + 2, left + 2));
    let physical = "SELECT coalesce(sum(row_count), 0) AS n FROM system.parquet_files WHERE table_name = 't'";
    second.stop();
    first.stop();
    first.restart();
    eventually("files without the rows", || {
        let pending = first.client().sql("plant", "SELECT * FROM system.deletes");
        let rows = first.client().number("plant", physical);
        if pending.is_empty() && rows == left + 2 { Ok(()) } else { Err((pending, rows)) }
    });
    assert_eq!(count(&first), left + 2);
    delete(&first.client(), "DELETE FROM t");
    eventually("no files", || match first.client().number("plant", physical) {
        0 => Ok(()),
        rows => Err(rows),
    });
    first.client().write("plant", "t,host=h1 v=7i 2\n");
    assert_eq!(count(&first), 1);
}

#[test]
fn who_does_not_confirm_a_delete_is_named_and_who_hangs_up_has_deleted_all_the_same() {
    let port = free_port();
    let first = Node::start(options("a").option("--pg-bind", &format!("127.0.0.1:{port}")));
    let mut second = first.beside(options("b"));
    second.restart();
    first.client().write("plant", &lines(0, 100));
    eventually_count(&second, 100);
    second.pause();
    let [answer, warning] = psql(port, "x", "DELETE FROM t WHERE host = 'h1'");
    assert_eq!(answer, "DELETE");
    assert!(warning.contains("not every node has said that it knows of this"), "{warning}");
    assert!(warning.ends_with(": b: no answer within 3s"), "{warning}");
    assert_eq!(count(&first), 90);
    // It hangs up while the node is asked that does not answer.
    let hasty = first.client().with_timeout(Duration::from_millis(500));
    hasty.send(sql_request("plant", "DELETE FROM t WHERE host = 'h2'", "json")).expect_err("nobody waits so short");
    eventually_count(&first, 80);
    second.resume();
    eventually_count(&second, 80);
    second.client().write("plant", "t,host=h1 v=7i 2\nt,host=h2 v=8i 3\n");
    eventually_count(&first, 82);
    assert_eq!(count(&second), 82);
}

#[test]
fn psql_deletes_and_so_does_whoever_may_and_nobody_else() {
    let port = free_port();
    let node = Node::start(Options::with_tokens().option("--pg-bind", &format!("127.0.0.1:{port}")));
    let admin = node.client().ask(Request::post("/api/v3/configure/token/admin")).expect(201).json();
    let admin = node.client().with_token(admin["token"].as_str().expect("a token"));
    admin.write("plant", &lines(0, 100));
    let writer = resource_token(&admin, ("writer", "plant"), &["read", "write"]);
    let deleter = resource_token(&admin, ("deleter", "plant"), &["delete", "read"]);
    let answer = ask(&node.client().with_token(&writer), "DELETE FROM t");
    assert_eq!(answer.status, 403, "{}", answer.text());
    let alone = resource_token(&admin, ("alone", "plant"), &["delete"]);
    let answer = ask(&node.client().with_token(&alone), "DELETE FROM t WHERE host = 'h4'");
    assert_eq!(answer.status, 403, "whoever asks anything in a database may read it: {}", answer.text());
    let psql = |text: &str| psql(port, &deleter, text);
    assert_eq!(psql("DELETE FROM t WHERE host = 'h3'"), ["DELETE", ""]);
    assert_eq!(psql("SELECT count(*) FROM t"), ["90", ""]);
    let [_, refusal] = psql("DELETE FROM t WHERE v = 3");
    assert!(refusal.contains("v = 3 cannot be asked here"), "{refusal}");
    let [_, refusal] = psql("BEGIN; DELETE FROM t");
    assert!(refusal.contains("transaction"), "{refusal}");
    let shown =
        admin.sql("_internal", "SELECT user_name, door, statement FROM system.changes ORDER BY catalog_version");
    let statement = r#"DELETE FROM "plant".public."t" WHERE "host" = 'h3'"#;
    assert_eq!(shown.last(), Some(&json!({ "user_name": "deleter", "door": "pg", "statement": statement })));
    let pending = admin.sql("plant", "SELECT table_name, predicate, files_left FROM system.deletes");
    assert_eq!(pending, [json!({ "table_name": "t", "predicate": "\"host\" = 'h3'", "files_left": 0 })]);
}
