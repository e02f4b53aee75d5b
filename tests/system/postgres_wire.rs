//! What no library sends to a node: sessions of bytes, in an order and of a size that nobody expects.
//!
//! # Promises
//! - An error is sent at once, an answer before there is much of it; nothing a client sends takes much memory.
//! - Cursors and clients that wait keep nobody waiting. Silent peers keep nobody out.
//! - A statement ends when it is to end, also while its client does not read, and says why.

use std::io::Write;
use std::time::{Duration, Instant};

use harness::http::Request;
use harness::node::Options;
use harness::postgres::{Postgres, Said, bind, describe, execute, flush, kinds, message, opening, parse, query, sync};
use harness::wait::eventually;
use serde_json::json;

use crate::auth::resource_token;
use crate::postgres::{Served, serve, with_rows, with_rows_on};

const MANY: &str = "SELECT a.v, b.v FROM seq a CROSS JOIN seq b";
const LONG: &str = "SELECT sum(a.v * b.v + sin(a.v + b.v)) FROM seq a, seq b WHERE a.v <> b.v";

impl Served {
    pub(crate) fn session(&self) -> Postgres {
        Postgres::session(self.port, ("plant", "x"))
    }

    /// What the node took at most, more than `before`, in MiB.
    fn grown(&self, before: u64) -> u64 {
        self.node.usage().rss_peak_bytes.saturating_sub(before) >> 20
    }

    /// Queries of Postgres clients.
    fn running(&self) -> i64 {
        let running = "SELECT count(*) AS n FROM system.queries WHERE running AND door = 'pg'";
        self.node.client().number("plant", running)
    }

    fn eventually_idle(&self) {
        eventually("all queries to end", || if self.running() == 0 { Ok(()) } else { Err(self.running()) });
    }

    fn peak(&self) -> u64 {
        self.node.usage().rss_peak_bytes
    }
}

/// The codes of errors; notices have some, too.
fn codes(said: &[Said]) -> Vec<String> {
    said.iter().filter(|said| said.kind == b'E').filter_map(Said::code).collect()
}

#[test]
fn an_error_is_sent_at_once_and_what_follows_it_is_passed_over() {
    let served = with_rows();
    let mut client = served.session();
    let bad = parse("", "SELECT * FROM nope", &[]);
    client.send(&[bad.clone(), describe(b'S', ""), flush()].concat());
    assert_eq!(codes(&client.until(b'E')), ["42P01"]);
    assert_eq!(kinds(&client.ask(&sync())), "Z");
    // A query too, until the client says Sync.
    assert_eq!(kinds(&client.ask(&[bad, query("SELECT 1"), sync()].concat())), "EZ");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_message_that_makes_no_sense_ends_no_session() {
    let served = with_rows();
    let mut client = served.session();
    assert_eq!(codes(&client.ask(&message(b'Q', b"SELECT '\xff'\0"))), ["22021"]);
    assert_eq!(codes(&client.ask(&[message(b'B', b"\0"), sync()].concat())), ["08P01"]);
    assert_eq!(codes(&client.ask(&[message(b'D', b"Xs\0"), sync()].concat())), ["08P01"]);
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn answers_are_sent_before_there_is_much_of_them() {
    let served = with_rows();
    let mut client = served.session();
    let long = "x".repeat(8 << 10);
    assert_eq!(client.refused(&format!("SET a.b = '{long}'")), None);
    let before = served.peak();
    client.send(&query(&"SHOW a.b;".repeat(200_000)));
    std::thread::sleep(Duration::from_secs(2));
    // Nobody reads, and the statements are still cancelled.
    client.cancel();
    assert_eq!(codes(&client.until(b'Z')), ["57014"]);
    assert!(served.grown(before) < 100, "{} MiB", served.grown(before));

    let column = "c".repeat(100_000);
    client.ask(&[parse("wide", &format!("SELECT 1 AS \"{column}\""), &[]), sync()].concat());
    let before = served.peak();
    let mut writer = client.stream.try_clone().expect("a second handle");
    let asking = std::thread::spawn(move || {
        let _ = writer.write_all(&[describe(b'S', "wide").repeat(5_000), sync()].concat());
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(client.until(b'Z').len(), 2 * 5_000 + 1);
    asking.join().expect("it was all read");
    assert!(served.grown(before) < 100, "{} MiB", served.grown(before));
}

#[test]
fn a_text_that_is_too_long_is_refused_before_it_is_looked_at() {
    let served = with_rows();
    let mut client = served.session();
    let before = served.peak();
    for text in ["(".repeat((2 << 20) + 1), format!("SET a.b = '{}'", "x".repeat(7 << 20))] {
        assert_eq!(client.refused(&text).as_deref(), Some("54000"));
        assert_eq!(codes(&client.ask(&[parse("s", &text, &[]), sync()].concat())), ["54000"]);
    }
    assert_eq!(client.refused(&format!("SET a.b = {}", "(".repeat(2_000_000))).as_deref(), Some("42601"));
    assert_eq!(client.refused(&format!("EXECUTE p({})", "(".repeat(2_000_000))).as_deref(), Some("42601"));
    assert!(served.grown(before) < 100, "{} MiB", served.grown(before));
}

#[test]
fn what_a_session_keeps_is_counted_by_what_it_takes() {
    let served = with_rows();
    let mut client = served.session();
    let before = served.peak();
    // Names of a megabyte are kept as short ones.
    let name = |number: usize| format!("{number:05}{}", "n".repeat(1 << 20));
    for number in 0..100 {
        let said = client.ask(&[parse(&name(number), "", &[]), sync()].concat());
        assert_eq!(codes(&said), [""; 0]);
    }
    assert_eq!(client.refused("DEALLOCATE ALL"), None);
    // What is not a query is kept too.
    let mut texts = (0..20).map(|number| {
        let text = format!("PREPARE p AS SELECT '{}'", "x".repeat(2_000_000));
        codes(&client.ask(&[parse(&number.to_string(), &text, &[]), sync()].concat()))
    });
    assert_eq!(texts.position(|codes| codes == ["53400"]), Some(8));
    drop(texts);
    assert_eq!(client.refused("DEALLOCATE ALL; BEGIN"), None);
    // A value that is null takes its place as well.
    let said = client.ask(&[parse("nulls", "SELECT 1 WHERE $65535 IS NULL", &[]), sync()].concat());
    assert_eq!(codes(&said), [""; 0]);
    let mut nulls = (0..10).map(|number| {
        let portal = number.to_string();
        codes(&client.ask(&[bind((&portal, "nulls"), &vec![None; 65_535], 0), sync()].concat()))
    });
    assert!(nulls.position(|codes| codes == ["53400"]).is_some_and(|kept| (1..4).contains(&kept)));
    drop(nulls);
    // A few bytes stay a few.
    client.ask(&query("ROLLBACK; DEALLOCATE ALL"));
    client.ask(&[parse("list", "SELECT $1", &[1231]), sync()].concat());
    let items = 60_000_u32;
    let item = [&8_u32.to_be_bytes()[..], &[0, 0, 0x7f, 0xff, 0, 0, 0, 0]].concat();
    let head = [1, 0, 1700, items, 1].map(u32::to_be_bytes).concat();
    let list = [head, item.repeat(usize::try_from(items).expect("few"))].concat();
    let said = client.ask(&[bind(("", "list"), &[Some(&list)], 1), sync()].concat());
    assert_eq!(codes(&said), ["22003"]);
    assert!(served.grown(before) < 200, "{} MiB", served.grown(before));
}

#[test]
fn cursors_that_wait_keep_nobody_waiting() {
    let served = serve(Options::open().option("--max-concurrent-queries", "2"));
    let lines: Vec<String> = (0..3_000).map(|v| format!("seq v={v}i {v}")).collect();
    served.node.client().write("plant", &lines.join("\n"));
    let mut sessions: Vec<Postgres> = (0..8).map(|_| served.session()).collect();
    let mut opened = 0;
    for client in &mut sessions {
        assert_eq!(client.refused("BEGIN"), None);
        for number in 0..16 {
            assert_eq!(client.refused(&format!("DECLARE c{number} CURSOR FOR {MANY}")), None);
            assert_eq!(client.refused(&format!("FETCH 1 FROM c{number}")), None, "{opened}");
            opened += 1;
        }
    }
    // Another door, a login, and a session.
    assert_eq!(served.node.client().number("plant", "SELECT count(*) AS n FROM seq"), 3_000);
    assert_eq!(served.session().value("SELECT count(*) FROM seq"), "3000");
    // The last ones go on, the first ones have made room and say so.
    assert_eq!(sessions[7].refused("FETCH 5000 FROM c15"), None);
    let said = sessions[0].ask(&query("FETCH ALL FROM c0"));
    assert_eq!(codes(&said), ["53400"]);
    assert!(said.iter().find_map(Said::text).is_some_and(|text| text.contains("waited longest")), "{said:?}");
    // A session has so many and no more.
    let client = &mut sessions[7];
    assert_eq!(client.refused(&format!("DECLARE more CURSOR FOR {MANY}; FETCH 1 FROM more")).as_deref(), Some("53400"));
}

#[test]
fn a_login_needs_no_place_of_a_query() {
    let served = with_rows_on(Options::open().option("--max-concurrent-queries", "1"));
    let mut busy: Vec<Postgres> = (0..5).map(|_| served.session()).collect();
    for client in &mut busy {
        client.send(&query(LONG));
    }
    eventually("one to run and four to wait", || {
        let metrics = served.node.client().ask(Request::get("/metrics")).text();
        let is = |phase, count| metrics.contains(&format!("phase_current{{phase=\"{phase}\"}} {count}\n"));
        if is("permit", 1) && is("planned", 4) { Ok(()) } else { Err("they do not") }
    });
    assert_eq!(served.session().refused("SELECT 1").as_deref(), Some("53300"));
    assert_eq!(served.session().value("SHOW jit"), "off");
    for client in &mut busy {
        client.cancel();
        assert_eq!(codes(&client.until(b'Z')), ["57014"]);
    }
}

#[test]
fn silent_peers_keep_nobody_out() {
    let served = with_rows();
    let silent: Vec<Postgres> = (0..1_150).map(|_| Postgres::silent(served.port)).collect();
    let begun = Instant::now();
    assert_eq!(served.session().value("SELECT 1"), "1");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(silent);
}

#[test]
fn peers_that_are_not_logged_in_take_no_place_of_a_session() {
    let served = serve(Options::with_tokens());
    let made = served.node.client().ask(Request::post("/api/v3/configure/token/admin"));
    let operator = made.expect(201).json()["token"].as_str().expect("a token").to_owned();
    served.node.client().with_token(&operator).write("plant", "t v=1 1");
    // All have said who they are, and not shown it.
    let waiting: Vec<Postgres> = (0..1_050)
        .map(|_| {
            let mut client = Postgres::silent(served.port);
            // It may have been sent away by then.
            let _ = client.stream.write_all(&opening("plant"));
            client
        })
        .collect();
    assert_eq!(Postgres::session(served.port, ("plant", &operator)).value("SELECT v FROM t"), "1");
    drop(waiting);
}

#[test]
fn a_token_that_is_taken_away_opens_no_more_rows() {
    let served = serve(Options::with_tokens());
    let made = served.node.client().ask(Request::post("/api/v3/configure/token/admin"));
    let operator = made.expect(201).json()["token"].as_str().expect("a token").to_owned();
    let client = served.node.client().with_token(&operator);
    let lines: Vec<String> = (0..3_000).map(|v| format!("seq v={v}i {v}")).collect();
    client.write("plant", &lines.join("\n"));
    let wanted = json!({ "token_name": "reader", "permissions": [
        { "resource_type": "db", "resource_names": ["plant"], "actions": ["read"] }] });
    let made = client.ask(Request::post("/api/v3/enterprise/configure/token").json(&wanted));
    let reader = made.expect(201).json()["token"].as_str().expect("a token").to_owned();
    let mut session = Postgres::session(served.port, ("plant", &reader));
    session.ask(&query(&format!("BEGIN; DECLARE c CURSOR FOR {MANY}")));
    assert_eq!(session.refused("FETCH 1 FROM c"), None);
    client.ask(Request::new("DELETE", "/api/v3/configure/token").query("token_name", "reader")).expect(200);
    session.send(&query("FETCH 1 FROM c"));
    assert_eq!(codes(&session.until(b'E')), ["28000"]);
    assert_eq!(session.hear().expect("it ends in order"), None);
}

#[test]
fn a_client_that_does_not_read_is_still_late_and_hears_so() {
    let served = with_rows();
    let mut client = served.session();
    assert_eq!(client.refused("SET statement_timeout = '2s'"), None);
    client.send(&query(MANY));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(served.running(), 1);
    // It is over before the client reads what was sent.
    served.eventually_idle();
    let said = client.until(b'Z');
    assert_eq!(codes(&said), ["57014"]);
    assert!(said.len() > 1_000 && kinds(&said).trim_start_matches('T').trim_start_matches('D') == "EZ");
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_session_that_is_ended_goes_soon_also_when_its_client_does_not_read() {
    let served = with_rows();
    let mut client = served.session();
    client.send(&query(MANY));
    let mut other = served.session();
    let sessions = "SELECT count(*) FROM pg_stat_activity";
    eventually("it to run", || if served.running() > 0 { Ok(()) } else { Err("it does not") });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(other.value(sessions), "2");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
    assert_eq!(other.value(end), "t");
    eventually("its end", || if other.value(sessions) == "1" { Ok(()) } else { Err("it is there") });
    served.eventually_idle();
    let rest = client.rest();
    assert!(!rest.is_empty());
}

#[test]
fn rows_that_nobody_takes_are_not_kept_and_go_with_their_client() {
    let served = with_rows();
    let mut client = served.session();
    // A kilobyte for each row, 400 GB in all.
    let wide = format!("SELECT a.v, '{}' AS s FROM seq a CROSS JOIN seq b", "x".repeat(1_000));
    client.value("SELECT 1");
    let before = served.peak();
    client.send(&query(&wide));
    let mut read = 0;
    while read < 300_000 {
        read += usize::from(client.hear().expect("rows").expect("rows").kind == b'D');
    }
    std::thread::sleep(Duration::from_secs(2));
    assert!(served.grown(before) < 150, "{} MiB", served.grown(before));
    drop(client);
    served.eventually_idle();
}

#[test]
fn a_statement_that_runs_into_the_stop_is_told_so() {
    let late = "statements of Postgres clients did not end in time";
    let mut served = with_rows_on(Options::open().option("--shutdown-timeout", "1s").allow_in_log(late));
    let mut client = served.session();
    client.send(&query(LONG));
    eventually("the query to run", || if served.running() > 0 { Ok(()) } else { Err("it does not") });
    served.node.stop();
    let rest = client.rest();
    assert!(String::from_utf8_lossy(&rest).contains("57P01"), "{rest:?}");
}

#[test]
fn a_client_that_is_silent_in_a_transaction_is_sent_away() {
    let served = with_rows();
    let mut client = served.session();
    assert_eq!(client.refused("SET idle_in_transaction_session_timeout = '300ms'"), None);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(client.refused("BEGIN"), None);
    assert_eq!(codes(&client.until(b'E')), ["25P03"]);
    assert_eq!(client.hear().expect("it ends in order"), None);
}

#[test]
fn what_failed_has_set_nothing() {
    let served = with_rows();
    let mut client = served.session();
    let mut check = |text: &str, expected: &str| {
        client.ask(&query(text));
        assert_eq!(client.value("SHOW application_name"), expected, "{text}");
    };
    check("SET application_name = 'a'", "a");
    check("SET application_name = 'b'; SELECT 1/0", "a");
    check("BEGIN; SET application_name = 'c'; SAVEPOINT s; SET application_name = 'd'; ROLLBACK TO s; COMMIT", "c");
    check("BEGIN; SET LOCAL application_name = 'e'; SET application_name = 'f'; COMMIT", "f");
    check("BEGIN; SET application_name = 'g'; ROLLBACK", "f");
    check("SELECT set_config('application_name', 'h', false)", "h");
    check("BEGIN; SELECT set_config('application_name', 'i', true); COMMIT", "h");
    check("SET application_name = 'j' nonsense", "h");
}

#[test]
fn a_portal_runs_once_and_its_parts_are_counted_by_themselves() {
    let served = with_rows();
    let mut client = served.session();
    let tags = |said: &[Said]| -> Vec<String> {
        let tag = |said: &Said| String::from_utf8_lossy(&said.body).trim_end_matches('\0').to_owned();
        said.iter().filter(|said| said.kind == b'C').map(tag).collect()
    };
    client.ask(&query("BEGIN"));
    let parts = [parse("", "SELECT v FROM seq LIMIT 5", &[]), bind(("", ""), &[], 0), execute("", 3), execute("", 0)];
    let said = client.ask(&[parts.concat(), sync()].concat());
    assert_eq!((kinds(&said).as_str(), tags(&said)), ("12DDDsDDCZ", vec!["SELECT 2".to_owned()]));
    for text in ["COPY room TO STDOUT", "SHOW jit"] {
        let twice = [parse("", text, &[]), bind(("", ""), &[], 0), execute("", 0), execute("", 0), sync()].concat();
        assert_eq!(codes(&client.ask(&twice)), ["55000"], "{text}");
        client.ask(&query("ROLLBACK; BEGIN"));
    }
    // What cannot be fetched is still there afterwards.
    client.ask(&query("DECLARE c CURSOR FOR SELECT v FROM seq; SAVEPOINT s; FETCH 1 FROM c"));
    let binary = [parse("", "FETCH 1 FROM c", &[]), bind(("", ""), &[], 1), execute("", 0), sync()].concat();
    assert_eq!(codes(&client.ask(&binary)), ["0A000"]);
    client.ask(&query("ROLLBACK TO s"));
    assert_eq!(client.refused("FETCH 1 FROM c"), None);
}

#[test]
fn a_value_that_does_not_fit_is_an_error_and_no_null() {
    let served = with_rows();
    let mut client = served.session();
    let late = "SELECT to_timestamp_seconds(9223372036855)";
    for (text, format, expected) in [(late, 0, vec!["22008"]), (late, 1, vec!["22008"])] {
        let asked = [parse("", text, &[]), bind(("", ""), &[], format), execute("", 0), sync()].concat();
        assert_eq!(codes(&client.ask(&asked)), expected, "{text}");
    }
    // What has no digits, no sign and no value, in binary.
    let text = "SELECT CAST('NaN' AS DOUBLE), n, NULL FROM room";
    let said = client.ask(&[parse("", text, &[]), bind(("", ""), &[], 1), execute("", 0), sync()].concat());
    let seven = [&10_u32.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0, 0, 0, 0, 7]].concat();
    let row = [&[0, 3, 0, 0, 0, 8][..], &f64::NAN.to_be_bytes(), &seven, &[255; 4]].concat();
    assert_eq!(said.iter().find(|said| said.kind == b'D').map(|said| &said.body), Some(&row));
    // Open ends of other databases.
    for (of, value, expected) in [
        (1082, 2_921_939_i32.to_be_bytes().to_vec(), vec![]),
        (1082, i32::MAX.to_be_bytes().to_vec(), vec!["22008"]),
        (1184, i64::MAX.to_be_bytes().to_vec(), vec!["22008"]),
    ] {
        let asked =
            [parse("", "SELECT $1", &[of]), bind(("", ""), &[Some(&value)], 1), execute("", 0), sync()].concat();
        assert_eq!(codes(&client.ask(&asked)), expected, "{of} {value:?}");
    }
}

#[test]
fn a_transaction_that_failed_gives_no_more_rows_and_its_cursors_go_with_it() {
    let served = with_rows();
    let mut client = served.session();
    let hold = |name: &str| format!("DECLARE {name} CURSOR WITH HOLD FOR SELECT v FROM seq");
    client.ask(&query(&hold("kept")));
    client.ask(&query(&format!("{}; SELECT 1/0", hold("undone"))));
    client.ask(&query(&format!("BEGIN; {}; DECLARE c CURSOR FOR SELECT v FROM seq", hold("gone"))));
    assert_eq!(client.refused("FETCH 1 FROM c; SELECT 1/0").as_deref(), Some("22012"));
    assert_eq!(client.refused("FETCH 1 FROM c").as_deref(), Some("25P02"));
    let asked = [parse("", "SELECT 1", &[]), sync()].concat();
    assert_eq!(codes(&client.ask(&asked)), ["25P02"]);
    assert_eq!(client.refused("ROLLBACK"), None);
    for name in ["c", "gone", "undone"] {
        assert_eq!(client.refused(&format!("FETCH 1 FROM {name}")).as_deref(), Some("34000"), "{name}");
    }
    assert_eq!(client.value("FETCH 1 FROM kept"), "0");
}

#[test]
fn a_session_is_seen_cancelled_and_ended_by_another_of_the_same_token_or_an_admin() {
    let served = serve(Options::with_tokens().allow_in_log("a request failed"));
    let made = served.node.client().ask(Request::post("/api/v3/configure/token/admin"));
    let operator = made.expect(201).json()["token"].as_str().expect("a token").to_owned();
    let admin = served.node.client().with_token(&operator);
    let lines: Vec<String> = (0..20_000).map(|v| format!("seq v={v}i {v}")).collect();
    admin.write("plant", &lines.join("\n"));
    let reader = |name: &str| resource_token(&admin, (name, "plant"), &["read"]);
    let (ours, theirs) = (reader("ours"), reader("theirs"));
    let session = |token: &str| Postgres::session(served.port, ("plant", token));
    let mut busy = session(&ours);
    busy.send(&query(LONG));
    let (mut same, mut other, mut operator) = (session(&ours), session(&theirs), session(&operator));
    let seen = "SELECT max(pid) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT sum(%' \
                AND datname = 'plant' AND query_start <= now()";
    let pid = eventually("it to run", || {
        let pid = operator.value(seen);
        if pid.is_empty() { Err("nothing runs") } else { Ok(pid) }
    });
    assert_eq!((same.value(seen), other.value(seen)), (pid.clone(), String::new()));
    assert_eq!(other.value("SELECT count(*) FROM pg_stat_activity"), "1", "its own");
    assert_eq!(other.value(&format!("SELECT pg_terminate_backend({pid})")), "f");
    // Whoever only describes it cancels nothing.
    same.ask(&[parse("", &format!("SELECT pg_cancel_backend({pid})"), &[]), describe(b'S', ""), sync()].concat());
    assert_eq!(same.value(&format!("SELECT pg_cancel_backend({pid})")), "t");
    assert_eq!(codes(&busy.until(b'Z')), ["57014"]);
    busy.send(&query(LONG));
    eventually("it to run again", || if operator.value(seen) == pid { Ok(()) } else { Err("nothing runs") });
    let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'SELECT sum(%' AND pid <> pg_backend_pid()";
    assert_eq!(operator.value(all), "1");
    let rest = busy.rest();
    assert!(rest.windows(5).any(|bytes| bytes == b"57P01"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(operator.value("SELECT count(*) FROM pg_stat_activity"), "3");
    assert_eq!(operator.value("SELECT pg_cancel_backend(7)"), "f");
}
