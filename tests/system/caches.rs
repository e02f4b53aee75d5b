//! Definitions of caches: by statement, by route and by the client; the same thing, shown by all nodes.
//!
//! # Promises
//! - A definition is judged against its table: columns, their types, limits; what is not said is by default.
//! - It outlives a restart and goes with its table.
//! - Only an admin makes or drops one, and it is recorded.

use harness::command::Weir;
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

const COUNTS: &str = "SELECT last_cache_count, distinct_cache_count FROM system.tables WHERE table_name = 'cpu'";

fn fill(client: &Client) {
    client.write("plant", "cpu,host=a,region=x usage=1.5,n=1i,s=\"t\" 1\n");
}

#[test]
fn a_cache_is_the_same_by_statement_route_and_client_and_shown_on_every_node() {
    let mut node = Node::start(Options::open());
    let mut other = node.beside(Options::of("b", "query").allow_in_log("a request failed"));
    other.restart();
    let client = node.client();
    fill(&client);
    done(&client, "CREATE LAST CACHE newest ON cpu KEY (host) VALUES (usage, time) WITH (count = 3, ttl = '90m')");
    let made = client
        .ask(Request::post("/api/v3/configure/last_cache").json(&json!({ "db": "plant", "table": "cpu" })))
        .expect(201)
        .json();
    let by_default = json!({
        "db": "plant", "table": "cpu", "name": "cpu_host_region_last_cache", "key_columns": ["host", "region"],
        "value_columns": null, "count": 1, "ttl": 14400,
    });
    assert_eq!(made, by_default);
    let distinct = json!({ "db": "plant", "table": "cpu", "columns": ["region", "s"], "max_age": 60 });
    let made = client.ask(Request::post("/api/v3/configure/distinct_cache").json(&distinct)).expect(201).json();
    let by_default = json!({
        "db": "plant", "table": "cpu", "name": "cpu_region_s_distinct_cache", "columns": ["region", "s"],
        "max_cardinality": 100_000, "max_age": 60,
    });
    assert_eq!(made, by_default);
    done(&client, "CREATE DISTINCT CACHE IF NOT EXISTS cpu_region_s_distinct_cache ON cpu (region)");

    let last = "SELECT * FROM system.last_caches ORDER BY name";
    let expected = [
        json!({
            "table": "cpu", "name": "cpu_host_region_last_cache", "key_column_ids": [0, 1],
            "key_column_names": ["host", "region"], "count": 1, "ttl": 14400,
        }),
        json!({
            "table": "cpu", "name": "newest", "key_column_ids": [0], "key_column_names": ["host"],
            "value_column_ids": [2], "value_column_names": ["usage"], "count": 3, "ttl": 5400,
        }),
    ];
    let shown = |node: &Node, text: &str| {
        let answer = node.client().ask(sql_request("plant", text, "json"));
        if answer.status == 200 { answer.json() } else { Value::Null }
    };
    let usage =
        client.number("plant", "SELECT count(*) AS n FROM system.last_caches WHERE value_column_names[1] = 'usage'");
    assert_eq!(usage, 1);
    let names =
        "SELECT \"table\", name, key_column_ids, key_column_names, count, ttl FROM system.last_caches ORDER BY name";
    let of = |row: &Value| {
        let mut row = row.clone();
        row.as_object_mut().expect("a row").retain(|name, _| !name.starts_with("value"));
        row
    };
    assert_eq!(shown(&node, names), json!(expected.each_ref().map(of)));
    eventually("the caches on the other node", || {
        if shown(&other, last) == shown(&node, last) { Ok(()) } else { Err(shown(&other, last)) }
    });
    assert_eq!(shown(&node, COUNTS), json!([{ "last_cache_count": 2, "distinct_cache_count": 1 }]));

    let before = shown(&node, last);
    node.stop();
    node.restart();
    assert_eq!(shown(&node, last), before);
    check_drops(&node);
}

#[track_caller]
fn check_drops(node: &Node) {
    let client = node.client();
    let drop = "/api/v3/configure/last_cache?db=plant&table=cpu&name=newest";
    client.ask(Request::new("DELETE", drop)).expect(200);
    client.ask(Request::new("DELETE", drop)).expect(404);
    done(&client, "DROP LAST CACHE IF EXISTS newest ON cpu");
    done(&client, "DROP DISTINCT CACHE cpu_region_s_distinct_cache ON cpu");
    assert_eq!(done(&client, COUNTS), json!([{ "last_cache_count": 1, "distinct_cache_count": 0 }]));
    done(&client, "DROP TABLE cpu");
    assert_eq!(client.number("plant", "SELECT count(*) AS n FROM system.last_caches"), 0);
    let recorded = "SELECT count(*) AS n FROM system.changes WHERE statement LIKE '%CACHE%'";
    assert_eq!(client.number("_internal", recorded), 5);
}

#[test]
fn what_is_wrong_with_a_cache_is_told() {
    let node = Node::start(Options::open());
    let client = node.client();
    fill(&client);
    for (text, status, part) in [
        ("CREATE LAST CACHE ON nope", 404, "nope"),
        ("CREATE LAST CACHE ON cpu KEY (nope)", 400, "table 'cpu' has no column 'nope'"),
        ("CREATE LAST CACHE ON cpu KEY (usage)", 400, "a tag or a field that is no float is needed here"),
        ("CREATE LAST CACHE ON cpu KEY (host, host)", 400, "column 'host' is named twice"),
        ("CREATE LAST CACHE ON cpu KEY (host) VALUES (host)", 400, "both a key and a value"),
        ("CREATE LAST CACHE ON cpu WITH (count = 11)", 400, "count is 11: a last value cache keeps from 1 to 10 rows"),
        ("CREATE LAST CACHE ON cpu WITH (ttl = '0s')", 400, "ttl"),
        ("CREATE DISTINCT CACHE ON cpu (n)", 400, "a tag or a text is needed here"),
        (
            "CREATE DISTINCT CACHE ON cpu (host) WITH (max_cardinality = 0)",
            400,
            "max_cardinality must be more than zero",
        ),
        ("DROP LAST CACHE nope ON cpu", 404, "nope"),
    ] {
        let answer = ask(&client, text);
        assert_eq!((answer.status, answer.text().contains(part)), (status, true), "{text}: {}", answer.text());
    }
    done(&client, "CREATE LAST CACHE c ON cpu");
    assert_eq!(ask(&client, "CREATE LAST CACHE c ON cpu").status, 409);
    done(&client, "CREATE DISTINCT CACHE c ON cpu (host)");
    let elsewhere = json!({ "db": "plant", "table": "cpu", "node_spec": "nodes:a" });
    client.ask(Request::post("/api/v3/configure/last_cache").json(&elsewhere)).expect(400);
}

#[test]
fn the_client_makes_and_deletes_caches_with_the_token_of_an_admin() {
    let node = Node::start(Options::with_tokens());
    let admin = node.client().ask(Request::post("/api/v3/configure/token/admin")).expect(201).json();
    let token = admin["token"].as_str().expect("a token");
    let admin = node.client().with_token(token);
    fill(&admin);
    let reader = node.client().with_token(&resource_token(&admin, ("reader", "plant"), &["read"]));
    assert_eq!(ask(&reader, "CREATE LAST CACHE ON cpu").status, 403);
    let route = Request::post("/api/v3/configure/last_cache").json(&json!({ "db": "plant", "table": "cpu" }));
    assert_eq!(reader.ask(route).status, 403);
    let weir = Weir::at(&node.url()).with_token(token);
    let run = |arguments: &[&str]| weir.run(&[arguments, &["-d", "plant", "-t", "cpu"]].concat()).success();
    let said = run(&["create", "last_cache", "--key-columns", "host", "--count", "2", "--ttl", "1h"]);
    assert!(said.contains("cpu_host_last_cache"), "{said}");
    run(&["create", "distinct_cache", "hosts", "--columns", "region,host", "--max-age", "1d"]);
    assert_eq!(admin.number("plant", "SELECT ttl AS n FROM system.last_caches"), 3600);
    assert_eq!(admin.number("plant", "SELECT max_age_seconds AS n FROM system.distinct_caches"), 86_400);
    run(&["delete", "distinct_cache", "hosts"]);
    run(&["delete", "last_cache", "cpu_host_last_cache"]);
    assert_eq!(admin.number("plant", "SELECT count(*) AS n FROM system.last_caches"), 0);
}
