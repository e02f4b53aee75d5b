//! TLS of the HTTP port, and of the port for Postgres clients.
//!
//! # Promises
//! - HTTP/1.1 and HTTP/2 are spoken inside TLS, and nothing is outside; an older version than was allowed is refused.
//! - Clients that know the authority write and ask; others hang up before they tell their token.
//! - Postgres clients ask for it, check who answers, and are served as without; what comes before it is never taken for what
//!   is said inside.
//! - A certificate or key that cannot be used keeps a node from starting, and the error names the file.
//! - Nodes find each other by https and ask only those for which their authority vouches.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use harness::command::Weir;
use harness::folder::certificate;
use harness::http::{Request, sql_request, write_request};
use harness::node::{Node, Options};
use harness::postgres::{Postgres, opening};
use harness::wait::eventually;

use crate::flight::{check, port, python};
use crate::postgres::{Served, drive, python as script, serve, with_rows_on};

fn path(name: &str) -> String {
    certificate(name).to_str().expect("a plain path").to_owned()
}

fn secured(options: Options) -> Options {
    let options = options.option("--tls-cert", &path("server.pem")).option("--tls-key", &path("server.pem"));
    options.option("--http-tls-ca", &path("ca.pem"))
}

#[test]
fn clients_that_know_the_authority_write_and_ask() {
    let node = Node::start(secured(Options::open()));
    node.client().write("plant", "t v=1 1");
    let weir = Weir::at(&node.url()).variable("INFLUXDB3_TLS_CA", &path("ca.pem"));
    let said = weir.run(&["query", "--database", "plant", "SELECT v FROM t"]).success();
    assert!(said.contains("1.0"), "{said}");
    check(python(&node, "x", &["secured", &path("ca.pem")]));
}

/// What a node says in the open to `text`.
fn in_the_open(node: &Node, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port(node).parse().expect("a port"))).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(text).expect("it is read");
    let mut said = Vec::new();
    // Whether it hangs up or breaks off is the same.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// The version that a client comes to that speaks none newer than `newest`.
const HANDSHAKE: &str = "
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[3])
context.set_alpn_protocols(sys.argv[4].split(','))
with context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='127.0.0.1') as tls:
    print(tls.version(), tls.selected_alpn_protocol())
";

fn handshake(node: &Node, newest: &str, protocols: &str) -> Result<String, String> {
    let mut python = Command::new("python3");
    python.args(["-c", HANDSHAKE, &port(node), &path("ca.pem"), newest, protocols]);
    let output = python.output().expect("python3 is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn nothing_is_said_in_the_open_nor_in_an_older_version_than_was_allowed() {
    let node = Node::start(secured(Options::open()));
    for text in [&b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\0\0"] {
        let said = in_the_open(&node, text);
        assert!(!said.contains("HTTP") && !said.contains("pass"), "{said}");
    }
    assert_eq!(handshake(&node, "TLSv1_2", "h2,http/1.1").as_deref(), Ok("TLSv1.2 h2"));
    assert_eq!(handshake(&node, "TLSv1_3", "http/1.1").as_deref(), Ok("TLSv1.3 http/1.1"));
    drop(node);
    let node = Node::start(secured(Options::open()).option("--tls-minimum-version", "tls-1.3"));
    assert_eq!(handshake(&node, "TLSv1_3", "h2").as_deref(), Ok("TLSv1.3 h2"));
    let refusal = handshake(&node, "TLSv1_2", "h2").expect_err("it is too old");
    assert!(refusal.contains("PROTOCOL_VERSION"), "{refusal}");
    node.client().ask(Request::get("/health")).expect(200);
}

/// What psql says with these words about the connection, in a database that is always there.
fn psql(served: &Served, words: &str) -> Result<String, String> {
    let mut psql = Command::new("psql");
    psql.arg(format!("host=127.0.0.1 port={} user=me dbname=_internal {words}", served.port));
    let output = psql.args(["-XAtc", "\\conninfo", "-c", "SELECT 6 * 7"]).output().expect("psql is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn postgres_clients_ask_cancel_and_copy_inside_tls() {
    for function in ["psycopg3", "asyncpg"] {
        let mut command = script("postgres.py");
        command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", path("ca.pem"));
        drive(command, (&mut with_rows_on(secured(Options::open())), function));
    }
}

#[test]
fn postgres_clients_check_who_answers_and_may_do_without_tls_on_this_machine() {
    let served = serve(secured(Options::open()));
    let known = format!("sslmode=verify-full sslrootcert={}", path("ca.pem"));
    let said = psql(&served, &known).expect("it vouches for the node");
    assert!(said.contains("SSL connection (protocol: TLSv1.3") && said.ends_with("42\n"), "{said}");
    let said = psql(&served, &format!("{known} ssl_max_protocol_version=TLSv1.2")).expect("it is new enough");
    assert!(said.contains("protocol: TLSv1.2"), "{said}");
    let said = psql(&served, "sslmode=disable").expect("nobody else can hear");
    assert!(!said.contains("SSL") && said.ends_with("42\n"), "{said}");
    let stranger = format!("sslmode=verify-ca sslrootcert={}", path("node.pem"));
    let refusal = psql(&served, &stranger).expect_err("nobody vouches for the node");
    assert!(refusal.contains("certificate verify failed"), "{refusal}");
    drop(served);

    let served = serve(secured(Options::open()).option("--tls-minimum-version", "tls-1.3"));
    let refusal = psql(&served, &format!("{known} ssl_max_protocol_version=TLSv1.2")).expect_err("it is too old");
    assert!(refusal.contains("alert protocol version"), "{refusal}");
    psql(&served, &known).expect("this one is new enough");
    drop(served);

    let served = serve(Options::open());
    let refusal = psql(&served, "sslmode=require").expect_err("there is no certificate");
    assert!(refusal.contains("server does not support SSL"), "{refusal}");
    psql(&served, "sslmode=prefer").expect("it does without");
}

#[test]
fn what_a_client_says_before_its_tls_is_not_taken_for_what_it_says_inside() {
    const QUESTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let served = serve(secured(Options::open()));
    let mut client = Postgres::silent(served.port);
    client.send(&[&QUESTION[..], &opening("_internal")].concat());
    let mut said = Vec::new();
    // It hangs up or breaks off.
    let _ = client.stream.read_to_end(&mut said);
    assert_eq!(said[0], b'S');
    // What follows is a record of TLS that says why: an alert, in a version.
    assert!(said[1..].first().is_none_or(|kind| *kind == 21), "{said:?}");
    psql(&served, "sslmode=require").expect("others go on");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let readme = path("../README.md");
    for (cert, key, named) in [
        ("/no/such/file", path("server.pem"), "--tls-cert /no/such/file: "),
        (&readme, path("server.pem"), "README.md: there is no certificate in it"),
        (&path("server.pem"), path("ca.pem"), "--tls-key"),
        (&path("node.pem"), path("server.pem"), "node.pem: "),
    ] {
        let options = Options::open().option("--tls-cert", cert).option("--tls-key", &key).allow_in_log("");
        let mut node = Node::new(options);
        node.spawn();
        assert_eq!(node.wait_for_its_end(), Some(1), "{named}");
        assert!(node.log().contains(named), "{named}: {}", node.log());
    }
}

#[test]
fn nodes_ask_only_those_for_which_their_authority_vouches() {
    let writer = Node::start(secured(Options::of("writer", "ingest")));
    let mut reader = writer.beside(secured(Options::of("reader", "query")));
    reader.restart();
    writer.client().ask(write_request("plant", "t v=1i 1")).expect(204);
    eventually("the row through the other node", || {
        let answer = writer.client().ask(sql_request("plant", "SELECT v FROM t", "json"));
        if answer.text() == "[{\"v\":1}]" { Ok(()) } else { Err(answer.text()) }
    });
    reader.client().ask(write_request("plant", "t v=2i 2")).expect(204);
    let nodes = reader.client().sql("_internal", "SELECT http_address FROM system.nodes");
    assert!(nodes.iter().all(|node| node.to_string().contains("https://127.0.0.1:")), "{nodes:?}");

    check(python(&writer, "x", &["secured", &path("ca.pem")]));

    // One that knows another authority keeps its requests, and their tokens, to itself.
    let mut options = secured(Options::of("stranger", "query"));
    let last = options.flags.len() - 1;
    options.flags[last] = path("nodes-ca.pem");
    let mut stranger = writer.beside(options);
    stranger.restart();
    let refusal = stranger.client().ask(write_request("plant", "t v=3i 3")).expect(503).text();
    assert!(refusal.contains("no live node with mode 'ingest'"), "{refusal}");
    assert!(stranger.log().contains("UnknownIssuer"), "{}", stranger.log());
    let warnings = "SELECT DISTINCT node_id, warning FROM system.queries WHERE warning IS NOT NULL";
    let warned = stranger.client().sql("_internal", warnings);
    assert!(warned.len() == 1 && warned[0]["node_id"] == "reader", "{warned:?}");
    assert_eq!(reader.client().sql("_internal", warnings), Vec::<serde_json::Value>::new());
}
