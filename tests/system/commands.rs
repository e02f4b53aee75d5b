//! What operators change through SQL, over HTTP; `postgres` has the same over its own door.
//!
//! # Promises
//! - A command does what its HTTP route does, on every node at once, and is recorded with who asked.
//! - A query is cancelled from any node, and ends within a second.
//! - Only an admin changes anything.

use std::thread;
use std::time::{Duration, Instant};

use harness::http::{Answer, Client, Request, sql_request};
use harness::node::{Node, Options};
use harness::wait::eventually;
use serde_json::{Value, json};

use crate::auth::resource_token;

fn ask(client: &Client, database: &str, text: &str) -> Answer {
    client.ask(sql_request(database, text, "json"))
}

#[track_caller]
fn done(client: &Client, text: &str) -> Value {
    ask(client, "_internal", text).expect(200).json()
}

/// Rows that nobody finishes counting: all pairs of three copies of a table.
const LONG: &str = "SELECT count(*) FROM t a, t b, t c WHERE a.v + b.v + c.v = -1";

#[test]
fn what_is_created_altered_and_dropped_is_so_for_all_routes_and_recorded() {
    let node = Node::start(Options::open());
    let client = node.client();
    assert_eq!(
        done(&client, "CREATE DATABASE plant WITH (retention = '30d')"),
        json!([{ "result": "CREATE DATABASE" }])
    );
    let table = "CREATE TABLE plant.public.room (room TAG, temp DOUBLE, n BIGINT, ok BOOLEAN) WITH (retention = '7d')";
    done(&client, table);
    done(&client, &table.replace("TABLE", "TABLE IF NOT EXISTS"));
    assert_eq!(ask(&client, "_internal", table).status, 409);
    client.ask(Request::post("/api/v3/configure/database").json(&json!({ "db": "office" }))).expect(200);
    done(&client, "ALTER DATABASE office SET (retention = '1d')");
    let shown = client.sql("_internal", "SELECT database_name, retention_period_ns FROM system.databases ORDER BY 1");
    let day = 86_400_000_000_000_i64;
    assert_eq!(
        shown,
        [
            json!({ "database_name": "office", "retention_period_ns": day }),
            json!({ "database_name": "plant", "retention_period_ns": 30 * day }),
        ]
    );
    done(&client, "ALTER DATABASE office RESET (retention)");
    done(&client, "DROP TABLE plant.iox.room");
    done(&client, "DROP TABLE IF EXISTS plant.iox.room");
    assert_eq!(ask(&client, "_internal", "DROP TABLE plant.iox.room").status, 404);
    done(&client, "DROP DATABASE office WITH (hard_delete = 'now')");
    let statements: Vec<Value> = client
        .sql("_internal", "SELECT statement, door, node_id FROM system.changes ORDER BY catalog_version")
        .iter()
        .inspect(|row| assert_eq!((&row["door"], &row["node_id"]), (&json!("http"), &json!("node-1")), "{row}"))
        .map(|row| row["statement"].clone())
        .collect();
    let room = r#"CREATE TABLE "plant".public."room" ("room" TAG, "temp" DOUBLE, "n" BIGINT, "ok" BOOLEAN)"#;
    assert_eq!(
        statements,
        [
            json!(r#"CREATE DATABASE "plant" WITH (retention = '30d')"#),
            json!(format!("{room} WITH (retention = '7d')")),
            json!(r#"CREATE DATABASE "office""#),
            json!(r#"ALTER DATABASE "office" SET (retention = '1d')"#),
            json!(r#"ALTER DATABASE "office" SET (retention = 'none')"#),
            json!(r#"DROP TABLE "plant".public."room""#),
            json!(r#"DROP DATABASE "office" WITH (hard_delete = 'now')"#),
        ]
    );
}

#[test]
fn what_is_wrong_with_a_command_is_told_and_nothing_is_changed() {
    let node = Node::start(Options::open());
    let client = node.client();
    for (text, status, part) in [
        ("CREATE DATABASE", 400, "expected the name of a database"),
        ("CREATE DATABASE _x", 400, "did not start with"),
        ("CREATE DATABASE x WITH (retention = '0d')", 400, "longer than zero"),
        ("ALTER DATABASE nope SET (retention = '1d')", 404, "nope"),
        ("DROP DATABASE nope", 404, "nope"),
        ("DROP TOKEN nope", 403, "needs a token"),
        ("CREATE ADMIN TOKEN nope", 403, "needs a token"),
        ("DRAIN NODE 'nope'", 404, "nope"),
        ("REMOVE NODE 'node-1'", 409, "not fully stopped"),
        ("CANCEL QUERY '67e55044-10b1-426f-9247-bb680e5fe0c8'", 404, "no query 67e55044"),
        ("INSERT INTO t VALUES (1)", 400, "INSERT is not supported"),
    ] {
        let answer = ask(&client, "_internal", text);
        assert_eq!(answer.status, status, "{text}: {}", answer.text());
        assert!(answer.text().contains(part), "{text}: {}", answer.text());
    }
    let link = Request::get("/api/v3/query_sql").query("db", "_internal").query("q", "CREATE DATABASE linked");
    assert_eq!(client.ask(link).status, 405);
    assert_eq!(client.number("_internal", "SELECT count(*) AS n FROM system.changes"), 0);
    assert_eq!(
        ask(&client, "nope", "CREATE DATABASE x").status,
        404,
        "a database that is not there is no place to ask"
    );
}

#[test]
fn tokens_are_made_and_ended_and_whoever_is_no_admin_changes_nothing() {
    let node = Node::start(Options::with_tokens());
    let admin = node.client().ask(Request::post("/api/v3/configure/token/admin")).expect(201).json();
    let admin = node.client().with_token(admin["token"].as_str().expect("a token"));
    done(&admin, "CREATE DATABASE plant");
    admin.write("plant", "t v=1i 1\n");
    let made = done(&admin, "CREATE TOKEN grafana WITH (permissions = 'db:plant:read', expires_in = '1d')");
    let reader = node.client().with_token(made[0]["token"].as_str().expect("a token"));
    assert_eq!(reader.number("plant", "SELECT v AS n FROM t"), 1);
    for text in
        ["CREATE DATABASE x", "DROP TABLE t", "CREATE TOKEN x WITH (permissions = 'db:*:read')", "DRAIN NODE 'node-1'"]
    {
        let answer = ask(&reader, "plant", text);
        assert_eq!(answer.status, 403, "{text}: {}", answer.text());
    }
    assert_eq!(ask(&reader, "_internal", "SELECT 1").status, 403);
    let ops = done(&admin, "CREATE ADMIN TOKEN ops");
    let ops = node.client().with_token(ops[0]["token"].as_str().expect("a token"));
    done(&ops, "DROP TOKEN grafana");
    assert_eq!(ask(&reader, "plant", "SELECT 1").status, 401);
    let shown = ops.sql("_internal", "SELECT user_name, statement FROM system.changes ORDER BY catalog_version");
    let last = json!({ "user_name": "ops", "statement": "DROP TOKEN \"grafana\"" });
    assert_eq!((shown.last(), shown[0]["statement"].as_str()), (Some(&last), Some("CREATE OPERATOR TOKEN")));
    assert!(shown.iter().all(|row| !row["statement"].to_string().contains("apiv3_")), "{shown:?}");
}

#[test]
fn a_query_is_cancelled_from_another_node_by_its_owner_or_an_admin_within_a_second() {
    let named = |id: &str| {
        let mut options = Options::with_tokens().allow_in_log("a request failed");
        options.node_id = id.to_owned();
        options
    };
    let first = Node::start(named("a"));
    let mut second = first.beside(named("b"));
    second.restart();
    let admin = first.client().ask(Request::post("/api/v3/configure/token/admin")).expect(201).json();
    let admin = admin["token"].as_str().expect("a token");
    let lines: String = (0..3000).map(|number| format!("t v={number}i {number}\n")).collect();
    first.client().with_token(admin).write("plant", &lines);
    let on = |node: &Node, token: &str| node.client().with_token(token);
    let owner = resource_token(&on(&first, admin), ("owner", "plant"), &["read"]);
    let other = resource_token(&on(&first, admin), ("other", "plant"), &["read"]);
    eventually("the rows on the other node", || {
        let answer = ask(&on(&second, &other), "plant", "SELECT count(*) AS n FROM t");
        if answer.status == 200 && answer.json()[0]["n"] == 3000 { Ok(()) } else { Err(answer.text()) }
    });
    for canceller in [admin, &owner] {
        thread::scope(|scope| {
            let slow = scope.spawn(|| ask(&on(&second, &owner), "plant", LONG));
            let id = eventually("the query", || {
                let text = "SELECT id, user_name, database_name FROM system.queries \
                            WHERE running AND node_id = 'b' AND query_text LIKE '%t a, t b%'";
                match on(&first, &owner).sql("plant", text).as_slice() {
                    [row] => {
                        assert_eq!((&row["user_name"], &row["database_name"]), (&json!("owner"), &json!("plant")));
                        Ok(row["id"].as_str().expect("it has an id").to_owned())
                    }
                    rows => Err(rows.to_vec()),
                }
            });
            let cancel = format!("CANCEL QUERY '{id}'");
            assert_eq!(ask(&on(&first, &other), "plant", &cancel).status, 404, "it is not another's to cancel");
            let asked = Instant::now();
            let told = ask(&on(&first, canceller), "plant", &cancel).expect(200).json();
            assert_eq!(told, json!([{ "query_id": id, "node_id": "b", "result": "cancelled" }]));
            let answer = slow.join().expect("the client lives");
            assert!(asked.elapsed() < Duration::from_secs(1), "after {:?}", asked.elapsed());
            assert_eq!(
                (answer.status, answer.text()),
                (499, "the query was cancelled".to_owned()),
                "{}",
                answer.text()
            );
            let ended = format!("SELECT phase, error FROM system.queries WHERE id = '{id}'");
            let shown = on(&second, &owner).sql("plant", &ended);
            assert_eq!(shown, [json!({ "phase": "cancel", "error": "the query was cancelled" })]);
            assert_eq!(ask(&on(&first, canceller), "plant", &cancel).status, 404, "it has ended");
        });
    }
}

#[test]
fn a_setting_takes_effect_on_every_node_at_once_and_survives_a_restart() {
    let first = Node::start(Options::of("a", "all"));
    let [mut second, mut stubborn] =
        [Options::of("b", "all"), Options::of("c", "query").option("--query-timeout", "40s")].map(|options| {
            let mut node = first.beside(options.allow_in_log("a request failed"));
            node.restart();
            node
        });
    let client = first.client();
    // Node, value and source.
    let shown = || -> Vec<String> {
        let text = "SELECT node_id, value, source FROM system.settings WHERE name = 'query_timeout' ORDER BY node_id";
        let text_of = |value: &Value| value.as_str().expect("a text").to_owned();
        let rows = client.sql("_internal", text);
        rows.iter().map(|row| ["node_id", "value", "source"].map(|name| text_of(&row[name])).join(" ")).collect()
    };
    let soon = |expected: [&str; 3]| {
        eventually("the setting", || if shown() == expected { Ok(()) } else { Err(shown()) });
    };
    soon(["a none default", "b none default", "c 40s flag"]);
    done(&client, "ALTER SYSTEM SET query_timeout = '1s'");
    soon(["a 1s cluster", "b 1s cluster", "c 40s flag"]);
    let lines: String = (0..3000).map(|number| format!("t v={number}i {number}\n")).collect();
    client.write("plant", &lines);
    eventually("the rows on the other node", || {
        let answer = ask(&second.client(), "plant", "SELECT count(*) AS n FROM t");
        if answer.status == 200 && answer.json()[0]["n"] == 3000 { Ok(()) } else { Err(answer.text()) }
    });
    let answer = ask(&second.client(), "plant", LONG);
    assert_eq!(answer.status, 504, "{}", answer.text());
    done(&client, "ALTER SYSTEM SET query_timeout = none FOR NODE 'b'");
    soon(["a 1s cluster", "b none node", "c 40s flag"]);
    second.stop();
    second.restart();
    soon(["a 1s cluster", "b none node", "c 40s flag"]);
    done(&client, "ALTER SYSTEM RESET query_timeout FOR NODE 'b'");
    soon(["a 1s cluster", "b 1s cluster", "c 40s flag"]);
    done(&client, "ALTER SYSTEM RESET query_timeout");
    soon(["a none default", "b none default", "c 40s flag"]);
    for (text, status, part) in [
        ("ALTER SYSTEM SET query_timeout = '1ms'", 400, "it is a duration from 1s to 1day"),
        ("ALTER SYSTEM SET query_timeuot = '1s'", 400, "there is no setting query_timeuot; there is query_timeout"),
        ("ALTER SYSTEM SET object_store = 's3'", 400, "is said at the start of a node, as --object-store"),
        ("ALTER SYSTEM SET query_timeout = '1s' FOR NODE 'z'", 404, "z"),
        ("ALTER SYSTEM RESET query_timeout", 200, "ALTER SYSTEM"),
    ] {
        let answer = ask(&client, "_internal", text);
        assert_eq!(answer.status, status, "{text}: {}", answer.text());
        assert!(answer.text().contains(part), "{text}: {}", answer.text());
    }
    stubborn.stop();
}
