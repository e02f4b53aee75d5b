//! Settings that change while nodes run have their effect at once, on every node.
//!
//! # Promises
//! - Memory, number and log of queries, options of the query engine, buffered rows and what is logged follow what is set, and
//!   are as at the start again after a reset.
//! - A wrong value is told what it must be, with unit and range. A size may be more than a machine has: that one takes what
//!   it has, and shows that.
//! - `SHOW` tells an admin what the settings of the node are that is asked, over HTTP and to Postgres clients.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use harness::http::{Answer, Client, Request, sql_request};
use harness::node::{Node, Options};
use harness::postgres::{Postgres, query};
use harness::wait::eventually;
use serde_json::Value;

use crate::auth::resource_token;
use crate::orders::{files, idle};
use crate::postgres::serve;

fn ask(client: &Client, text: &str) -> Answer {
    client.ask(sql_request("plant", text, "json"))
}

#[track_caller]
fn done(client: &Client, text: &str) -> Value {
    ask(client, text).expect(200).json()
}

/// All pairs of three copies of a table of 3000 rows: nobody finishes counting them.
pub(crate) const LONG: &str = "SELECT count(*) FROM t a, t b, t c WHERE a.v + b.v + c.v = -1";

pub(crate) fn fill(client: &Client) {
    let lines: String = (0..3000).map(|number| format!("t,host=h{} v={number}i {number}\n", number % 7)).collect();
    client.write("plant", &lines);
}

#[track_caller]
fn eventually_true(what: &str, is_true: impl Fn() -> bool) {
    eventually(what, || if is_true() { Ok(()) } else { Err(()) });
}

#[test]
fn memory_and_options_of_queries_follow_what_is_set_on_every_node() {
    let first = Node::start(Options::of("a", "all"));
    let mut second = first.beside(Options::of("b", "query").allow_in_log("a request failed"));
    second.restart();
    fill(&first.client());
    let client = second.client();
    eventually_true("the rows", || {
        let answer = ask(&client, "SELECT count(*) AS n FROM t");
        answer.status == 200 && answer.json()[0]["n"] == 3000
    });
    let large = "SELECT count(*) AS n FROM (SELECT DISTINCT repeat('x', 1000) || a.v FROM t a, t b WHERE b.v < 10)";
    assert_eq!(done(&client, large)[0]["n"], 3000);
    done(&first.client(), "ALTER SYSTEM SET exec_mem_pool_size = '1mb'");
    let refused = |text: &str| {
        let answer = ask(&client, large);
        answer.status != 200 && answer.text().contains(text)
    };
    eventually_true("the limit", || refused("of the 1048576 bytes they may (exec_mem_pool_size)"));
    done(&first.client(), "ALTER SYSTEM SET exec_mem_pool_size = '50%' FOR NODE 'b'");
    eventually_true("the limit of the node", || ask(&client, large).status == 200);
    done(&first.client(), "ALTER SYSTEM RESET exec_mem_pool_size FOR NODE 'b'");
    eventually_true("the limit again", || refused("exec_mem_pool_size"));
    done(&first.client(), "ALTER SYSTEM RESET exec_mem_pool_size");
    eventually_true("what it was at the start", || ask(&client, large).status == 200);

    let is_explained = || done(&client, "EXPLAIN SELECT host FROM t").to_string().contains("physical_plan");
    assert!(is_explained());
    done(&first.client(), "ALTER SYSTEM SET datafusion_config = 'datafusion.explain.logical_plan_only:true'");
    eventually_true("the option", || !is_explained());
    done(&first.client(), "ALTER SYSTEM RESET datafusion_config");
    eventually_true("no option", is_explained);
    for (text, part) in [
        (
            "exec_mem_pool_size = '8'",
            "it is a size from 1mb to 64tb, such as '1mb', or a share of memory, such as '20%'",
        ),
        ("exec_mem_pool_size = '101%'", "it is a size from 1mb to 64tb"),
        ("force_snapshot_mem_size = '1kb'", "it is a size from 1mb to 64tb"),
        ("query_log_max_entries = 1000000", "it is a whole number from 0 to 10000"),
        ("max_concurrent_queries = 0", "it is a whole number from 1 to 100000"),
        ("log_filter = 'loud'", "it is a level (off, error, warn, info, debug, trace), or level,component=level,..."),
        ("datafusion_config = 'datafusion.execution.batch_sighs:1'", "there is datafusion.execution.batch_size"),
        (
            "datafusion_config = 'datafusion.execution.batch_size:x'",
            "option datafusion.execution.batch_size cannot be 'x'",
        ),
    ] {
        let answer = ask(&client, &format!("ALTER SYSTEM SET {text}"));
        assert_eq!((answer.status, answer.text().contains(part)), (400, true), "{text}: {}", answer.text());
    }
}

#[test]
fn a_size_that_is_more_than_a_machine_has_is_taken_as_far_as_it_goes_and_that_is_shown() {
    let first = Node::start(Options::of("a", "all").allow_in_log("a setting is not what was set"));
    let mut second = first.beside(Options::of("b", "query").allow_in_log("a setting is not what was set"));
    second.restart();
    let client = first.client();
    fill(&client);
    let shown = || {
        let text = "SELECT node_id, value, max_value, source, trouble FROM system.settings \
                    WHERE name = 'exec_mem_pool_size' ORDER BY node_id";
        client.sql("_internal", text)
    };
    let limit = "SELECT max(query_memory_limit_bytes) <= min(memory_limit_bytes) AS fits FROM system.processes";
    let are = |trouble: [Option<&str>; 2]| {
        let shown = shown();
        shown.len() == 2 && shown.iter().zip(trouble).all(|(row, trouble)| row["trouble"].as_str() == trouble)
    };
    eventually_true("both nodes", || are([None, None]));
    done(&client, "ALTER SYSTEM SET exec_mem_pool_size = '60tb'");
    eventually_true("trouble on both", || {
        shown().iter().all(|row| {
            let trouble = row["trouble"].as_str().unwrap_or_default();
            trouble.starts_with("'60tb' was set: ") && trouble.ends_with("is the most that this machine has for it")
        })
    });
    let less = shown()[0]["trouble"].as_str().map(str::to_owned);
    assert!(shown().iter().all(|row| row["value"] == row["max_value"] && row["source"] == "cluster"), "{:?}", shown());
    assert_eq!(client.sql("_internal", limit)[0]["fits"], true);
    // What it is there is for that node to say.
    done(&client, "ALTER SYSTEM SET exec_mem_pool_size = '0.00001%' FOR NODE 'b'");
    eventually_true("the least", || shown()[1]["value"] == "1mb");
    assert!(shown()[1]["trouble"].as_str().is_some_and(|text| text.contains("less than the least")), "{:?}", shown());
    done(&client, "ALTER SYSTEM SET exec_mem_pool_size = '30%' FOR NODE 'b'");
    eventually_true("none on one", || are([less.as_deref(), None]));
    done(&client, "ALTER SYSTEM RESET ALL");
    eventually_true("none", || are([None, None]));
}

#[test]
fn the_number_of_queries_that_run_and_that_are_remembered_follows_what_is_set() {
    let node = Node::start(Options::open().allow_in_log("a request failed"));
    let client = node.client();
    fill(&client);
    let running = "SELECT id FROM system.queries WHERE running AND phase = 'permit' AND query_text LIKE 'SELECT count(*) FROM t a%'";
    thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&client, LONG));
        eventually_true("the slow one", || client.sql("_internal", running).len() == 1);
        let id = client.sql("_internal", running)[0]["id"].as_str().expect("an id").to_owned();
        done(&client, "ALTER SYSTEM SET max_concurrent_queries = 1");
        // Only the slow one may run, so nobody else can look either.
        thread::sleep(Duration::from_secs(1));
        let waiting = scope.spawn(|| ask(&client, "SELECT 1 + 1 AS two"));
        thread::sleep(Duration::from_secs(2));
        assert!(!waiting.is_finished(), "one runs, and it takes longer");
        done(&client, "ALTER SYSTEM SET max_concurrent_queries = 3");
        assert_eq!(waiting.join().expect("it is answered").expect(200).json()[0]["two"], 2);
        done(&client, &format!("CANCEL QUERY '{id}'"));
        assert_eq!(slow.join().expect("it is answered").status, 499);
    });
    let remembered = || client.number("_internal", "SELECT count(*) AS n FROM system.queries");
    for _ in 0..10 {
        done(&client, "SELECT 1");
    }
    assert!(remembered() > 10);
    done(&client, "ALTER SYSTEM SET query_log_max_entries = 3");
    eventually_true("fewer entries", || remembered() == 3);
    done(&client, "ALTER SYSTEM RESET query_log_max_entries");
    eventually_true("more entries", || remembered() > 4);
}

#[test]
fn what_is_logged_and_how_many_rows_wait_for_files_follows_what_is_set() {
    let node = Node::start(idle("a", "all"));
    let client = node.client();
    let lines: String = (0..150_000).map(|number| format!("t,host=h{number} v={number}i\n")).collect();
    client.write("plant", &lines);
    client.write("plant", "t,host=x v=1i\n");
    assert_eq!(files(&client).0, 0, "they wait for company");
    done(&client, "ALTER SYSTEM SET force_snapshot_mem_size = '1mb'");
    eventually_true("a file", || {
        client.write("plant", "t,host=x v=1i\n");
        files(&client).0 > 0
    });

    // A connection that breaks is told of in level debug alone.
    let broken = || {
        let address = node.url().replace("http://", "");
        TcpStream::connect(address).expect("it listens").write_all(b"no request\r\n\r\n").expect("it is sent");
        thread::sleep(Duration::from_millis(100));
        node.log().lines().filter(|line| line.contains("a connection broke")).count()
    };
    assert_eq!(broken(), 0);
    done(&client, "ALTER SYSTEM SET log_filter = 'debug'");
    eventually_true("lines of level debug", || broken() > 0);
    done(&client, "ALTER SYSTEM SET log_filter = 'off'");
    eventually_true("silence", || broken() == broken());
    done(&client, "ALTER SYSTEM RESET log_filter");
    eventually_true("info again", || node.log().contains("what is logged has changed filter=info"));
}

#[test]
fn settings_of_the_node_are_shown_beside_those_of_a_session_and_all_that_was_set_ends_at_once() {
    let served = serve(Options::open());
    let client = served.node.client();
    let mut session = Postgres::session(served.port, ("_internal", ""));
    for text in ["SHOW query_timeout", "SHOW query-timeout", "SHOW \"query-timeout\"", "show QUERY_TIMEOUT"] {
        assert_eq!(session.value(text), "none", "{text}");
    }
    session.ask(&query("ALTER SYSTEM SET query-timeout = '7s'; ALTER SYSTEM SET compaction_check_interval = '3s'"));
    session.ask(&query("ALTER SYSTEM SET compaction_check_interval = '4s' FOR NODE 'node-1'"));
    let shown = |name: &str| client.sql("_internal", &format!("SHOW {name}"))[0].clone();
    eventually_true("the settings", || shown("query_timeout")["value"] == "7s");
    assert_eq!(session.value("SHOW query_timeout"), "7s");
    assert_eq!(shown("compaction-check-interval")["name"], "compaction_check_interval");
    assert_eq!(shown("object_store")["value"], "file");
    assert_eq!(session.value("SHOW statement_timeout"), "0", "one of the session");
    assert_eq!(session.refused("SHOW nonsense").as_deref(), Some("42704"));
    let all = session
        .ask(&query("SHOW ALL"))
        .iter()
        .map(|said| String::from_utf8_lossy(&said.body).into_owned())
        .collect::<String>();
    assert!(["statement_timeout", "query_timeout", "object_store"].iter().all(|name| all.contains(name)), "{all}");
    client.write("plant", "t v=1i 1\n");
    let engine = client.sql("plant", "SHOW datafusion.execution.batch_size");
    assert_eq!(engine[0]["value"], "8192", "what is no setting of a node is one of the query engine");

    session.ask(&query("ALTER SYSTEM RESET ALL"));
    eventually_true("what was set for all is reset", || shown("query_timeout")["value"] == "none");
    assert_eq!(shown("compaction_check_interval")["value"], "4s");
    session.ask(&query("ALTER SYSTEM RESET ALL FOR NODE 'node-1'"));
    eventually_true("what was set for the node, too", || shown("compaction_check_interval")["value"] != "4s");
    assert_eq!(client.ask(sql_request("_internal", "ALTER SYSTEM RESET ALL FOR NODE 'z'", "json")).status, 404);
}

#[test]
fn settings_are_shown_to_admins_alone() {
    let served = serve(Options::with_tokens());
    let admin = served.node.client().ask(Request::post("/api/v3/configure/token/admin")).expect(201).json();
    let admin_token = admin["token"].as_str().expect("a token");
    let admin = served.node.client().with_token(admin_token);
    admin.write("plant", "t v=1i 1\n");
    let reader = resource_token(&admin, ("reader", "plant"), &["read"]);
    assert_eq!(ask(&admin, "SHOW query_timeout").status, 200);
    assert_eq!(ask(&served.node.client().with_token(&reader), "SHOW query_timeout").status, 403);
    assert_eq!(Postgres::session(served.port, ("plant", admin_token)).value("SHOW query_timeout"), "none");
    let mut session = Postgres::session(served.port, ("plant", &reader));
    assert_eq!(session.refused("SHOW query-timeout").as_deref(), Some("42501"));
    assert_eq!(session.refused("SHOW nonsense").as_deref(), Some("42704"));
    assert_eq!(session.value("SHOW statement_timeout"), "0");
    let all = |session: &mut Postgres| session.ask(&query("SHOW ALL")).iter().filter(|said| said.kind == b'D').count();
    assert!(all(&mut session) > 5, "those of the session");

    // Whoever was logged in is asked again who it is.
    let made = ask(&admin, "CREATE ADMIN TOKEN leaver").expect(200).json();
    let leaver = made[0]["token"].as_str().expect("a token");
    let [mut one, mut every] = [(); 2].map(|()| Postgres::session(served.port, ("plant", leaver)));
    assert_eq!(one.value("SHOW query_timeout"), "none");
    assert!(all(&mut every) > all(&mut session));
    ask(&admin, "DROP TOKEN leaver").expect(200);
    assert_eq!(one.value("SHOW statement_timeout"), "0");
    for (mut gone, text) in [(one, "SHOW query_timeout"), (every, "SHOW ALL")] {
        gone.send(&query(text));
        let said = gone.until(b'E');
        let kinds: Vec<u8> = said.iter().map(|said| said.kind).collect();
        assert_eq!((kinds, said[0].code().as_deref()), (vec![b'E'], Some("28000")), "{text}");
    }
}
