//! More is asked than a node can do.
//!
//! # Promises
//! - As many queries run and wait as may; a further one is refused at once, in the words of its door, and nobody else is.
//! - Whoever needs more memory than there is, is late, or is cancelled, is told so; the others go on.
//! - Meanwhile rows are written, clients log in, and operators see what runs, and end it.
//! - Afterwards the node is as it was.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use harness::http::{Client, Request, sql_request};
use harness::node::Options;
use harness::postgres::{Postgres, Said, describe, parse, query, sync};
use harness::wait::eventually;
use serde_json::json;

use crate::postgres::{Served, with_rows_on};

/// Nobody waits for its end.
const LONG: &str = "SELECT sum(a.v * b.v + sin(a.v + b.v)) FROM seq a, seq b WHERE a.v <> b.v";
/// It keeps each of four hundred million numbers.
const HUNGRY: &str = "SELECT count(DISTINCT a.v * 20000 + b.v) FROM seq a, seq b";
const SESSIONS: usize = 200;
const RUNNING: usize = 50;
/// What may run or wait, less the sessions.
const OVER_HTTP: usize = 50;

fn in_phase(client: &Client, phase: &str) -> usize {
    let metrics = client.ask(Request::get("/metrics")).text();
    let series = format!("phase_current{{phase=\"{phase}\"}} ");
    let line = metrics.lines().find(|line| line.contains(&series)).unwrap_or("0");
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

fn code(said: &[Said]) -> String {
    said.iter().filter(|said| said.kind == b'E').find_map(Said::code).unwrap_or_default()
}

/// Fills every place of the node, and asks for more.
fn fill(served: &Served, sessions: &mut [Postgres]) {
    for client in sessions.iter_mut() {
        client.send(&query(LONG));
    }
    let client = served.node.client();
    eventually("all to run or wait", || {
        let found = (in_phase(&client, "permit"), in_phase(&client, "planned"));
        if found == (RUNNING, SESSIONS + OVER_HTTP - RUNNING) { Ok(()) } else { Err(found) }
    });
    let mut further = Postgres::session(served.port, ("plant", "x"));
    assert_eq!(further.refused("SELECT 1").as_deref(), Some("53300"));
    let refusal = client.ask(sql_request("plant", "SELECT 1", "json")).expect(429);
    assert!(refusal.header("retry-after").is_some(), "{}", refusal.text());
    assert_eq!(further.value("SHOW jit"), "off");
    let running = "SELECT count(*) AS n FROM system.queries WHERE running AND query_text LIKE 'SELECT sum%'";
    assert_eq!(further.value(running), (SESSIONS + OVER_HTTP).to_string());
    // As clients do that are told of the columns before.
    let described = [parse("", running, &[]), describe(b'S', ""), sync()].concat();
    assert_eq!(code(&further.ask(&described)), "");
    assert_eq!(further.refused("CREATE DATABASE IF NOT EXISTS office"), None);
}

/// Ends all that runs or waits: some by their clients, those over HTTP by an operator.
fn empty(served: &Served, sessions: &mut [Postgres]) {
    sessions.iter().for_each(Postgres::cancel);
    for client in sessions {
        assert_eq!(code(&client.until(b'Z')), "57014");
    }
    let client = served.node.client();
    let ids = client.sql(
        "plant",
        "SELECT id FROM system.queries WHERE running AND door = 'http' AND query_text LIKE 'SELECT sum%'",
    );
    assert_eq!(ids.len(), OVER_HTTP);
    for id in ids {
        let cancel = format!("CANCEL QUERY '{}'", id["id"].as_str().expect("an id"));
        client.ask(sql_request("plant", &cancel, "json")).expect(200);
    }
}

/// Has the writer end, also where this test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn too_many_sessions_and_queries_are_refused_and_all_else_goes_on() {
    let options = Options::open().option("--max-concurrent-queries", "50").option("--exec-mem-pool-size", "100MB");
    let served = with_rows_on(options.allow_in_log("a request failed"));
    let mut sessions: Vec<Postgres> = (0..SESSIONS).map(|_| Postgres::session(served.port, ("plant", "x"))).collect();
    let (done, written) = (AtomicBool::new(false), AtomicI64::new(0));
    let client = served.node.client();
    // Until an operator ends what they ask, however busy the machine is besides.
    let patient = client.with_timeout(Duration::from_secs(600));
    thread::scope(|scope| {
        let end = End(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                client.write("plant", &format!("beside v=1i {}", written.fetch_add(1, Ordering::Relaxed)));
                thread::sleep(Duration::from_millis(10));
            }
        });
        let over_http: Vec<_> =
            (0..OVER_HTTP).map(|_| scope.spawn(|| patient.ask(sql_request("plant", LONG, "json")).status)).collect();
        fill(&served, &mut sessions);
        empty(&served, &mut sessions);
        for asked in over_http {
            assert_eq!(asked.join().expect("it is told"), 499);
        }
        for client in &mut sessions[..RUNNING] {
            client.send(&query(&format!("SET statement_timeout = '2s'; {LONG}")));
        }
        for client in &mut sessions[..RUNNING] {
            let said = client.until(b'Z');
            assert!(said.iter().any(|said| said.text().is_some_and(|text| text.contains("timeout"))), "{said:?}");
            assert_eq!(code(&said), "57014");
        }
        for client in &mut sessions[..RUNNING] {
            client.send(&query(&format!("SET statement_timeout = 0; {HUNGRY}")));
        }
        let codes: Vec<String> = sessions[..RUNNING].iter_mut().map(|client| code(&client.until(b'Z'))).collect();
        assert!(codes.iter().all(|code| code == "53200"), "{codes:?}");
        client.ask(sql_request("plant", HUNGRY, "json")).expect(429);
        drop(end);
    });
    let counted = client.sql("plant", "SELECT count(*) AS n FROM beside");
    assert_eq!(counted, [json!({ "n": written.into_inner() })]);
    eventually("nothing to be left", || {
        let metrics = client.ask(Request::get("/metrics")).text();
        let empty = "datafusion_mem_pool_bytes{state=\"reserved\"} 0\n";
        let found = (in_phase(&client, "permit"), in_phase(&client, "planned"), metrics.contains(empty));
        if found == (0, 0, true) { Ok(()) } else { Err(found) }
    });
    for client in &mut sessions {
        assert_eq!(client.value("SELECT count(*) FROM room"), "1");
    }
}
