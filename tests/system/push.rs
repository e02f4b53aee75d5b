//! Nodes that push what they store to each other, and queries that ask for what was written a moment ago.
//!
//! # Promises
//! - A query that carries the position of a write shows its rows, on every node, with push and without, after a restart
//!   of the writer, and after its node was taken over while its old process slept.
//! - One that names what is not there is refused after a while, and one that is malformed at once.
//! - A line that is cut, falls silent or stalls, a writer that sleeps and a secret that is wrong make answers slower, not
//!   wrong, and hold up no writer.
//! - Who connects and makes no call that is served keeps no place on the port for long.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::command::Weir;
use harness::folder::certificate;
use harness::http::{Answer, Client, Request, sql_request, write_request};
use harness::node::{Node, Options, free_port};
use harness::random::Random;
use harness::wait::eventually;
use harness::wire::Wire;

const POSITION: &str = "x-weir-position";
const COUNT: &str = "SELECT count(*) AS n FROM t";
const PUSHED: (&str, &str) = ("influxdb3_replica_objects_total", "source=\"push\"");
const LOST: (&str, &str) = ("influxdb3_replica_lines_lost_total", "");
const LAG_OF_A: (&str, &str) = ("influxdb3_replica_lag_seconds", "node=\"a\"");

/// A node that listens for others.
fn options(id: &str) -> Options {
    let mut options = Options::open();
    options.node_id = id.to_owned();
    options.option("--internode-bind-addr", &format!("127.0.0.1:{}", free_port()))
}

fn two(first: Options, second: Options) -> (Node, Node) {
    let first = Node::start(first);
    let mut second = first.beside(second);
    second.restart();
    (first, second)
}

fn row(number: i64) -> String {
    format!("t,host=a v={number}i {}", number + 1)
}

/// Writes a row and returns where it stands.
#[track_caller]
fn write(client: &Client, number: i64) -> String {
    let answer = client.ask(write_request("plant", &row(number))).expect(204);
    answer.header(POSITION).expect("a write that is stored says where").to_owned()
}

fn ask_after(client: &Client, position: &str) -> Answer {
    client.ask(sql_request("plant", COUNT, "json").header(POSITION, position))
}

#[track_caller]
fn count_after(client: &Client, position: &str) -> i64 {
    let answer = ask_after(client, position).expect(200);
    answer.json()[0]["n"].as_i64().expect("a number")
}

/// All series of a metric that contain some labels.
fn series(node: &Node, (name, labels): (&str, &str)) -> Vec<f64> {
    let text = node.client().ask(Request::get("/metrics")).expect(200).text();
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(labels));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect()
}

/// What was counted. A counter has no series before it counts.
fn metric(node: &Node, of: (&str, &str)) -> f64 {
    series(node, of).iter().sum()
}

fn pushed(node: &Node) -> f64 {
    metric(node, PUSHED)
}

#[track_caller]
fn eventually_logged(node: &Node, parts: &[&str]) {
    eventually("a word in the log", || {
        let log = node.log();
        let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        if found { Ok(()) } else { Err(log) }
    });
}

/// Writes until rows come by push, and returns the number of rows then.
#[track_caller]
fn until_pushed(writer: &Node, reader: &Node, mut rows: i64) -> i64 {
    let before = pushed(reader);
    eventually("a pushed row", || {
        let position = write(&writer.client(), rows);
        rows += 1;
        assert_eq!(count_after(&reader.client(), &position), rows);
        if pushed(reader) > before { Ok(()) } else { Err(pushed(reader)) }
    });
    rows
}

#[test]
fn a_query_after_a_write_shows_its_rows_on_every_node() {
    let (first, second) = two(options("a"), options("b"));
    let mut rows = until_pushed(&first, &second, 0);
    for _ in 0..30 {
        let (writer, reader) = if rows % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let position = write(&writer.client(), rows);
        rows += 1;
        assert_eq!(count_after(&reader.client(), &position), rows);
        assert_eq!(count_after(&writer.client(), &position), rows);
    }
    let two = format!("{}, {}", write(&first.client(), rows), write(&second.client(), rows + 1));
    let by_parameter = Request::get("/api/v3/query_sql").query("db", "plant").query("q", COUNT);
    let by_parameter = second.client().ask(by_parameter.query("after_position", &two)).expect(200);
    assert_eq!(by_parameter.json()[0]["n"], rows + 2);
    let lag = series(&second, LAG_OF_A);
    assert!(matches!(lag[..], [lag] if (0.0..60.0).contains(&lag)), "{lag:?}");
}

#[test]
fn a_query_after_what_is_not_there_is_refused() {
    let first = Node::start(options("a"));
    let position = write(&first.client(), 0);
    let (head, last) = position.rsplit_once(':').expect("three parts");
    let later = format!("{head}:{}", last.parse::<u64>().expect("a number") + 5);
    for nowhere in [later.as_str(), "nobody:1:1"] {
        let started = Instant::now();
        let answer = ask_after(&first.client(), nowhere);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
        assert!(answer.text().contains(nowhere.split(':').next().expect("a node")), "{}", answer.text());
        assert!(started.elapsed() > Duration::from_secs(9), "it gave up after {:?}", started.elapsed());
    }
    let answer = ask_after(&first.client(), "a:1");
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(count_after(&first.client(), &position), 1);
    let unsynced = first.client().ask(write_request("plant", &row(1)).query("no_sync", "true")).expect(204);
    assert_eq!(unsynced.header(POSITION), None, "it is not stored yet");
}

/// A node that pushes, another one, and the wire between them.
fn through_a_wire() -> (Wire, Node, Node) {
    let port = free_port();
    let wire = Wire::to(port);
    let mut first = Options::open();
    first.node_id = "a".into();
    let bind = format!("127.0.0.1:{port}");
    let first = first.option("--internode-bind-addr", &bind).option("--conn-info", wire.address());
    let (first, second) = two(first, options("b"));
    (wire, first, second)
}

#[test]
fn a_line_that_is_cut_leaves_the_store() {
    let (wire, first, second) = through_a_wire();
    let mut rows = until_pushed(&first, &second, 0);
    wire.cut();
    eventually("the line is down", || {
        let before = pushed(&second);
        let position = write(&first.client(), rows);
        rows += 1;
        assert_eq!(count_after(&second.client(), &position), rows);
        if pushed(&second) > before { Err("still pushed") } else { Ok(()) }
    });
    for _ in 0..5 {
        let position = write(&first.client(), rows);
        rows += 1;
        assert_eq!(count_after(&second.client(), &position), rows);
    }
    wire.mend();
    until_pushed(&first, &second, rows);
    assert!(metric(&second, LOST) >= 1.0);
}

#[test]
fn a_line_that_falls_silent_leaves_the_store() {
    let (wire, first, second) = through_a_wire();
    let mut rows = until_pushed(&first, &second, 0);
    let lost = metric(&second, LOST);
    wire.hold();
    // The first silence is that of an open line, the next ones are those of calls.
    eventually("the line is given up, and a call after it", || {
        let position = write(&first.client(), rows);
        rows += 1;
        assert_eq!(count_after(&second.client(), &position), rows);
        let lost = metric(&second, LOST) - lost;
        if lost >= 2.0 { Ok(()) } else { Err(lost) }
    });
    let position = write(&first.client(), rows);
    rows += 1;
    let before = pushed(&second);
    assert_eq!(count_after(&second.client(), &position), rows);
    assert_eq!(pushed(&second), before, "nothing comes over a wire that is held");
    wire.mend();
    until_pushed(&first, &second, rows);
}

#[test]
fn a_receiver_that_stalls_holds_up_nobody() {
    const BATCHES: i64 = 24;
    const ROWS: i64 = 32;
    let (wire, first, second) = through_a_wire();
    let mut rows = until_pushed(&first, &second, 0);
    wire.hold();
    let (mut random, mut position) = (Random::new(7), String::new());
    // More than may be on its way, with all that the system puts by: the sender has to wait.
    for batch in 0..BATCHES {
        let mut text = || (0..1 << 11).map(|_| format!("{:016x}", random.next_u64())).collect::<String>();
        let lines: String =
            (0..ROWS).map(|row| format!("big text=\"{}\" {}\n", text(), batch * ROWS + row + 1)).collect();
        let started = Instant::now();
        let answer = first.client().ask(write_request("plant", &lines)).expect(204);
        answer.header(POSITION).expect("a write that is stored says where").clone_into(&mut position);
        assert!(started.elapsed() < Duration::from_secs(5), "a write waited for {:?}", started.elapsed());
    }
    let big = |position: &str| {
        let request = sql_request("plant", "SELECT count(*) AS n FROM big", "json").header(POSITION, position);
        second.client().ask(request).expect(200).json()[0]["n"].as_i64()
    };
    assert_eq!(big(&position), Some(BATCHES * ROWS));
    wire.mend();
    rows = until_pushed(&first, &second, rows);
    assert_eq!((big(&position), count_after(&second.client(), &position)), (Some(BATCHES * ROWS), rows));
}

/// The beginning of every connection of HTTP/2: the client's preface, and settings without a setting.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// A setting of HTTP/2: one call at a time.
const ONE_STREAM: [u8; 6] = [0, 3, 0, 0, 0, 1];

#[test]
fn who_connects_and_makes_no_call_keeps_no_place() {
    let port = free_port();
    let mut first = Options::open().option("--internode-bind-addr", &format!("127.0.0.1:{port}"));
    first.node_id = "a".into();
    let first = Node::start(first.allow_in_log("no connection is left"));
    let call = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it can be set");
        stream
    };
    let mut idle = call();
    idle.write_all(HELLO).expect("somebody reads");
    let mut all: Vec<TcpStream> = [idle].into_iter().chain((0..300).map(|_| call())).collect();
    let mut second = first.beside(options("b"));
    second.restart();
    let mut rows = until_pushed(&first, &second, 0);
    for (number, stream) in all.iter_mut().enumerate() {
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard).map_err(|error| error.kind());
        assert!(!matches!(end, Err(std::io::ErrorKind::WouldBlock)), "connection {number} is still open");
        if number == 0 {
            assert!(heard.windows(6).any(|bytes| bytes == ONE_STREAM), "a follower needs one line: {heard:?}");
        }
    }
    eventually_logged(&first, &["refused a call", "no connection is left"]);
    // Whoever made a call stays.
    let (lost, started) = (metric(&second, LOST), Instant::now());
    while started.elapsed() < Duration::from_secs(7) {
        let position = write(&first.client(), rows);
        rows += 1;
        assert_eq!(count_after(&second.client(), &position), rows);
    }
    assert_eq!(metric(&second, LOST), lost);
}

#[test]
fn a_wrong_secret_is_told_on_both_sides_and_the_store_is_left() {
    let with = |id: &str, secret: &str| {
        let options = options(id).variable("INFLUXDB3_INTERNODE_JWT_PRIMARY", secret);
        options.allow_in_log("another secret")
    };
    let (mut first, mut second) = two(with("a", "the-first-river-of-all"), with("b", "the-second-river-of-all"));
    let position = write(&first.client(), 0);
    assert_eq!(count_after(&second.client(), &position), 1);
    for (node, text) in [(&first, "refused a call"), (&second, "refuses to send")] {
        eventually_logged(node, &[text, "another secret"]);
    }
    assert_eq!(pushed(&second), 0.0);
    for node in [&first, &second] {
        assert!(!node.log().contains("river"), "a secret stands in the log");
    }
    // A change of the secret, one node after the other.
    second.stop();
    second.set_options(with("b", "the-first-river-of-all"));
    second.restart();
    let rows = until_pushed(&first, &second, 1);
    first.stop();
    first.set_options(
        with("a", "a-new-secret-for-nodes")
            .variable("INFLUXDB3_ENTERPRISE_INTERNODE_JWT_SECONDARY", "the-first-river-of-all")
            .allow_in_log("deprecated"),
    );
    first.restart();
    until_pushed(&first, &second, rows);
}

#[test]
fn positions_and_push_outlive_a_restart_of_the_writer() {
    let (mut first, second) = two(options("a"), options("b"));
    let mut rows = until_pushed(&first, &second, 0);
    for round in 0..2 {
        let position = write(&first.client(), rows);
        rows += 1;
        // In order the rows are in files afterwards; after a kill they are replayed.
        if round == 0 {
            first.stop();
        } else {
            first.kill();
        }
        assert_eq!(count_after(&second.client(), &position), rows);
        first.restart();
        assert_eq!(count_after(&first.client(), &position), rows);
        rows = until_pushed(&first, &second, rows);
    }
}

#[test]
fn a_process_that_slept_through_a_take_over_blinds_nobody() {
    let allowed = |options: Options| options.allow_in_log("");
    let (mut first, reader) = two(allowed(options("a")), allowed(options("b")));
    let mut rows = until_pushed(&first, &reader, 0);
    first.pause();
    let mut heir = first.beside(allowed(options("a")).flag("--take-over"));
    heir.restart();
    let position = write(&heir.client(), rows);
    rows += 1;
    assert_eq!(count_after(&reader.client(), &position), rows);
    first.resume();
    // It claims to be at the end of its log for as long as it does not know.
    for _ in 0..20 {
        let position = write(&heir.client(), rows);
        rows += 1;
        assert_eq!(count_after(&reader.client(), &position), rows);
    }
    assert_ne!(first.wait_for_its_end(), Some(0), "the old one ends");
    until_pushed(&heir, &reader, rows);
}

/// A node with a certificate, which trusts those of the nodes' authority.
fn certified(id: &str, name: &str) -> Options {
    let file = |name: &str| certificate(name).display().to_string();
    let options = options(id).option("--internode-tls-cert", &file(name)).option("--internode-tls-key", &file(name));
    options
        .option("--internode-tls-ca", &file("nodes-ca.pem"))
        .allow_in_log("certificate")
        .allow_in_log("refused a call")
}

#[test]
fn with_certificates_both_sides_must_have_one() {
    let (first, mut second) = two(certified("a", "node.pem"), certified("b", "node.pem"));
    let mut rows = until_pushed(&first, &second, 0);
    rows = until_pushed(&second, &first, rows);
    for other in [options("b").allow_in_log("refused a call"), certified("b", "node-stranger.pem")] {
        second.stop();
        second.set_options(other);
        second.restart();
        let before = pushed(&first);
        for (writer, reader) in [(&first, &second), (&second, &first)] {
            let position = write(&writer.client(), rows);
            rows += 1;
            assert_eq!(count_after(&reader.client(), &position), rows);
        }
        eventually_logged(&first, &["refused a call", "no secure connection"]);
        assert_eq!((pushed(&first), pushed(&second)), (before, 0.0));
    }
    // Each side tells whose certificate it is.
    eventually_logged(&first, &["refuses to send", "UnknownIssuer"]);
    eventually_logged(&second, &["refuses to send", "does not accept our certificate"]);
}

#[test]
fn a_certificate_of_another_name_is_not_the_one_that_was_called() {
    let (first, second) = two(certified("a", "node.pem"), certified("b", "node-elsewhere.pem"));
    let rows = until_pushed(&first, &second, 0);
    let position = write(&second.client(), rows);
    assert_eq!(count_after(&first.client(), &position), rows + 1);
    eventually_logged(&first, &["refuses to send", "elsewhere.test"]);
    assert_eq!(pushed(&first), 0.0);
}

#[test]
fn flags_that_do_not_fit_together_are_refused_by_name() {
    let serve = ["serve", "--node-id", "a", "--cluster-id", "c", "--object-store", "memory", "--without-auth"];
    let bind = ["--internode-bind-addr", "127.0.0.1:0"];
    for (flags, message) in [
        (vec!["--internode-tls-cert", "x"], "all three or none"),
        (vec!["--internode-jwt-secondary", "x"], "--internode-jwt-primary"),
        (vec!["--internode-jwt-primary", "x"], "--internode-bind-addr"),
        (vec!["--internode-conn-addr", "a:1"], "--internode-bind-addr"),
        (vec!["--internode-bind-addr", "8083"], "--internode-bind-addr '8083' must be a host and a port"),
        ([&bind[..], &["--internode-jwt-primary", ""]].concat(), "--internode-jwt-primary has 0 bytes"),
        ([&bind[..], &["--conn-info", "http://a:1"]].concat(), "--conn-info 'http://a:1'"),
        (
            [&bind[..], &["--internode-tls-cert", "/no", "--internode-tls-key", "/no", "--internode-tls-ca", "/no"]]
                .concat(),
            "certificates between nodes: /no",
        ),
    ] {
        let refusal = Weir::default().run(&[&serve[..], &flags].concat()).failure();
        assert!(refusal.contains(message), "{flags:?}: {refusal}");
    }
}
