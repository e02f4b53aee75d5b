//! What each node keeps in memory is shown by every node that answers queries.
//!
//! # Promises
//! - `system.queries` and `system.compaction_events` have the rows of all nodes, each with the name of its node.
//! - A token sees of another node what it sees of its own.
//! - A node that does not answer is named in `warning`, and keeps nobody waiting for long.

use std::time::{Duration, Instant};

use harness::http::{Client, Request, sql_request};
use harness::node::{Node, Options};
use harness::wait::eventually;
use serde_json::{Value, json};

use crate::auth::resource_token;

#[track_caller]
pub(crate) fn rows(client: &Client, database: &str, text: &str) -> Vec<Value> {
    client.ask(sql_request(database, text, "json")).expect(200).json().as_array().expect("rows").clone()
}

fn options(id: &str, modes: &str) -> Options {
    let options = Options::of(id, modes).option("--wal-files-per-snapshot", "1");
    options.option("--compaction-check-interval", "200ms")
}

/// Nodes beside a first one.
pub(crate) fn beside<const N: usize>(first: &Node, others: [Options; N]) -> [Node; N] {
    others.map(|options| {
        let mut node = first.beside(options);
        node.restart();
        node
    })
}

#[test]
fn a_query_node_shows_what_others_ran_and_compacted() {
    let first = Node::start(options("in", "ingest"));
    let slow = options("other", "query").allow_in_log("");
    let [ask, mut other, compact] = beside(&first, [options("ask", "query"), slow, options("compact", "compact")]);
    for number in 0..8 {
        first.client().write("plant", &format!("t v={number}i {number}\n"));
    }
    // This node knows the database by then.
    eventually("a query", || {
        let answer = ask.client().ask(sql_request("plant", "SELECT 1", "json"));
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    eventually("the rows on the other node", || {
        let answer = other.client().ask(sql_request("plant", "SELECT count(*) AS n FROM t", "json"));
        if answer.status == 200 && answer.json()[0]["n"] == 8 { Ok(()) } else { Err(answer.text()) }
    });
    let text = "SELECT node_id, count(*) AS n FROM system.queries WHERE query_text LIKE '%FROM t' AND success \
                GROUP BY node_id";
    let shown = rows(&ask.client(), "plant", text);
    assert_eq!((shown.len(), &shown[0]["node_id"]), (1, &json!("other")), "{shown:?}");

    let text = "SELECT node_id, event_type, event_status, warning FROM system.compaction_events";
    eventually("a compaction of the other node", || {
        let shown = rows(&ask.client(), "plant", text);
        let all_there = shown.iter().all(|row| row["node_id"] == "compact" && row["warning"].is_null());
        let merged =
            shown.iter().any(|row| row["event_type"] == "compaction_consumed" && row["event_status"] == "success");
        if all_there && merged { Ok(()) } else { Err(shown) }
    });
    check_silence(&ask, &mut other);
    drop(compact);
}

/// `other` says nothing, and then is gone for good.
#[track_caller]
fn check_silence(ask: &Node, other: &mut Node) {
    let warnings = "SELECT node_id, warning, running FROM system.queries WHERE warning IS NOT NULL";
    assert_eq!(rows(&ask.client(), "plant", warnings), Vec::<Value>::new());
    other.pause();
    let asked = Instant::now();
    let told = rows(&ask.client(), "plant", warnings);
    assert!(asked.elapsed() < Duration::from_secs(6), "after {:?}", asked.elapsed());
    assert_eq!((told.len(), &told[0]["node_id"], &told[0]["running"]), (1, &json!("other"), &Value::Null));
    assert_eq!(told[0]["warning"], "no answer within 3s");
    other.resume();
    other.stop();
    eventually("nothing is expected of a node that left", || match rows(&ask.client(), "plant", warnings) {
        told if told.is_empty() => Ok(()),
        told => Err(told),
    });
}

#[test]
fn a_token_sees_of_another_node_what_it_sees_of_its_own() {
    let options = |id: &str| {
        let mut options = Options::with_tokens();
        options.node_id = id.to_owned();
        options
    };
    let first = Node::start(options("a"));
    let [second] = beside(&first, [options("b")]);
    let admin = first.client().ask(Request::post("/api/v3/configure/token/admin")).expect(201).json();
    let admin = admin["token"].as_str().expect("a token").to_owned();
    let client = |node: &Node| node.client().with_token(&admin);
    for database in ["plant", "office"] {
        client(&first).write(database, "t v=1 1\n");
        eventually("the table on the other node", || {
            let answer = client(&second).ask(sql_request(database, "SELECT v FROM t", "json"));
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
    }
    let reader = resource_token(&client(&first), ("reader", "plant"), &["read"]);
    let text = "SELECT DISTINCT query_text FROM system.queries WHERE node_id = 'b' AND success";
    assert_eq!(rows(&client(&first), "plant", text), [json!({ "query_text": "SELECT v FROM t" })]);
    let count = "SELECT count(*) AS n FROM system.queries WHERE node_id = 'b' AND success";
    let all = rows(&client(&first), "plant", count)[0]["n"].as_i64().expect("a number");
    // The other node hears of the token a moment later.
    eventually("some of them", || {
        let own = rows(&first.client().with_token(&reader), "plant", count)[0]["n"].as_i64().expect("a number");
        if own > 0 && own < all { Ok(()) } else { Err((own, all)) }
    });
    let direct = second.client().ask(Request::get("/api/v3/weir/system?table=queries"));
    assert_eq!(direct.status, 401, "nobody is told without a token");
}
