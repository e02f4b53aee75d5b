//! Postgres clients: real ones.
//!
//! # Promises
//! - psql, psycopg, asyncpg, pg8000, ADBC and SQLAlchemy ask, cancel, fetch and copy, see the tables there are, and go on
//!   after a restart.
//! - A password is a token, and opens what the token may read.
//! - A node that stops says so to sessions that wait.
//!
//! The libraries are those of `tests/clients/requirements.txt`, as `harness::packages` brings them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::folder::package;
use harness::http::Request;
use harness::node::{Node, Options, free_port};
use harness::packages::python_clients;
use harness::postgres::Postgres;
use harness::wait::eventually;
use serde_json::json;

pub(crate) struct Served {
    pub(crate) node: Node,
    pub(crate) port: u16,
}

pub(crate) fn serve(options: Options) -> Served {
    let port = free_port();
    Served { node: Node::start(options.option("--pg-bind", &format!("127.0.0.1:{port}"))), port }
}

/// What `clients/plant.py` describes, without `million`.
pub(crate) fn with_rows() -> Served {
    with_rows_on(Options::open())
}

pub(crate) fn with_rows_on(options: Options) -> Served {
    let served = serve(options);
    let client = served.node.client();
    client.write("plant", "room,name=a temp=20.5,hum=40i,n=7u,on=true,s=\"x \\\"y\\\"\" 1737392500690067123");
    client.write(
        "plant",
        "gaps,k=a v=1i 1000000000\ngaps w=2.5 2000000000\ngaps,k=b v=3i,n=18446744073709551615u 3000000000",
    );
    let lines: Vec<String> =
        (0..20_000).map(|v| format!("seq,k=a v={v}i {}", 1_700_000_000_000_000_000_i64 + v * 1_000_000_000)).collect();
    client.write("plant", &lines.join("\n"));
    served
}

/// Runs a function of a script, and restarts the node whenever it asks for that.
#[track_caller]
pub(crate) fn drive(mut command: Command, (served, function): (&mut Served, &str)) {
    command.args([&served.port.to_string(), function]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut tell = client.stdin.take().expect("it is piped");
    for line in BufReader::new(client.stdout.take().expect("it is piped")).lines() {
        if line.expect("it writes text") == "restart" {
            served.node.stop();
            served.node.restart();
            writeln!(tell, "go on").expect("it reads");
        }
    }
    let status = client.wait().expect("it ends");
    assert!(status.success(), "{function}: {status}; what it said stands above");
}

#[track_caller]
fn check_client(name: &str) {
    drive(python("postgres.py"), (&mut with_rows(), name));
}

/// A script of `clients`.
pub(crate) fn python(name: &str) -> Command {
    let mut command = Command::new(python_clients());
    // Its modules lie in the checkout, where nothing is to be written.
    command.arg(package().join("clients").join(name)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
fn psycopg_3_asks_copies_fetches_and_cancels() {
    check_client("psycopg3");
}

#[test]
fn psycopg_2_asks_and_fetches() {
    check_client("psycopg2");
}

#[test]
fn asyncpg_asks_in_binary_and_gives_sessions_back_to_its_pool() {
    check_client("asyncpg");
}

#[test]
fn pg8000_asks() {
    check_client("pg8000");
}

#[test]
fn operators_give_commands_in_both_protocols() {
    check_client("commands");
}

#[test]
fn adbc_copies_in_binary_and_finds_tables() {
    check_client("adbc");
}

#[test]
fn sqlalchemy_finds_tables_and_columns() {
    check_client("sqlalchemy");
}

impl Served {
    /// What psql says to `text`.
    pub(crate) fn psql(&self, (database, password): (&str, &str), text: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-w", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "me"]);
        psql.args(["-d", database, "-v", "VERBOSITY=verbose", "-c", text]).env("PGPASSWORD", password);
        let output = psql.output().expect("psql is installed (package postgresql-client)");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn says(&self, text: &str, expected: &str) {
        let said = self.psql(("plant", "x"), text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn psql_shows_what_there_is() {
    let served = with_rows();
    served.says("SELECT * FROM room", "40|7|a|t|x \"y\"|20.5|2025-01-20 17:01:40.690067+00");
    served.says("SELECT time::bigint FROM iox.room", "1737392500690067123");
    served.says("\\d", "public|room|table|me\npublic|seq|table|me");
    served.says("\\dt+", "public|seq|table|me");
    served.says("\\d room", "time|timestamp with time zone||not null|");
    served.says("\\d+ room", "temp|double precision|||");
    served.says("\\d system.queries", "application_name|text|||");
    served.says("\\dn", "public|me\nsystem|me");
    served.says("\\dv system.*", "system|queries|view|me");
    served.says("\\l", "plant|me|UTF8");
    served.says("\\l+", "plant|me|UTF8");
    served.says("\\du", "me|");
    served.says("\\dp", "public|room|table");
    for nothing in ["\\df", "\\di", "\\dT", "\\ds", "\\dx", "\\ddp", "\\dRp"] {
        assert_eq!(served.psql(("plant", "x"), nothing).as_deref(), Ok(""), "{nothing}");
    }
    served.says("COPY room (name, temp) TO STDOUT WITH CSV HEADER", "name,temp\na,20.5");
    served.says("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'", "room\nseq");
    served.says("SELECT 'public.seq'::regclass::oid = (SELECT oid FROM pg_class WHERE relname = 'seq')", "t");
    served.says("SET timezone = 'Europe/Berlin'; SELECT time FROM room", "2025-01-20 18:01:40.690067+01");
    served.says("BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT; SELECT 1", "1");
    served.says("PREPARE p (int) AS SELECT $1 + 1; EXECUTE p(41)", "42");
    let error = served.psql(("plant", "x"), "BEGIN; SELECT 1/0; SELECT 1").expect_err("it divides by nothing");
    assert!(error.contains("22012"), "{error}");
}

#[test]
fn numbers_of_tables_stay_the_same_over_a_restart() {
    let mut served = with_rows();
    let numbers =
        "SELECT relname, oid FROM pg_class WHERE relname IN ('room', 'seq', 'queries', 'pg_class') ORDER BY 1";
    let before = served.psql(("plant", "x"), numbers).expect("numbers");
    assert_eq!(before.lines().count(), 4, "{before}");
    served.node.stop();
    served.node.restart();
    served.says(numbers, &before);
}

#[test]
fn a_password_is_a_token_and_opens_what_it_may_read() {
    let served = serve(Options::with_tokens());
    let made = served.node.client().ask(Request::post("/api/v3/configure/token/admin"));
    let operator = made.expect(201).json()["token"].as_str().expect("a token").to_owned();
    let client = served.node.client().with_token(&operator);
    client.write("mine", "t v=1 1");
    client.write("other", "t v=2 1");
    let wanted = json!({ "token_name": "reader", "permissions": [
        { "resource_type": "db", "resource_names": ["mine"], "actions": ["read"] }] });
    let made = client.ask(Request::post("/api/v3/enterprise/configure/token").json(&wanted));
    let reader = made.expect(201).json()["token"].as_str().expect("a token").to_owned();

    assert_eq!(served.psql(("mine", &reader), "SELECT v FROM t"), Ok("1".to_owned()));
    assert_eq!(served.psql(("other", &operator), "SELECT v FROM t"), Ok("2".to_owned()));
    assert_eq!(served.psql(("mine", &reader), "SELECT datname FROM pg_database"), Ok("mine".to_owned()));
    for (database, password, expected) in [
        ("mine", "wrong", "password authentication failed for user \"me\""),
        ("other", reader.as_str(), "not allowed to read database 'other'"),
        ("nowhere", operator.as_str(), "database \"nowhere\" does not exist"),
    ] {
        let error = served.psql((database, password), "SELECT 1").expect_err("it is refused");
        assert!(error.contains(expected), "{error}");
    }
    let log = served.node.log();
    assert!(!log.contains(&reader) && !log.contains(&operator), "a token stands in the log");
}

#[test]
fn a_session_that_waits_is_told_of_the_stop() {
    let mut served = with_rows();
    let mut client = Postgres::session(served.port, ("plant", "x"));
    served.node.stop();
    assert_eq!(client.until(b'E').pop().and_then(|said| said.code()).as_deref(), Some("57P01"));
    assert_eq!(client.hear().expect("the connection is closed in order"), None);
}

#[test]
fn psql_lists_every_kind_of_thing() {
    let served = with_rows();
    for list in [
        "\\dA",
        "\\dAc",
        "\\db+",
        "\\dc",
        "\\dC",
        "\\dconfig",
        "\\dd",
        "\\dD",
        "\\des",
        "\\det",
        "\\deu",
        "\\dew",
        "\\df+",
        "\\dF",
        "\\dl",
        "\\dL",
        "\\dm",
        "\\do",
        "\\dO",
        "\\drds",
        "\\dRs",
        "\\dT+",
        "\\dv+",
        "\\dX",
        "\\dy",
        "\\conninfo",
    ] {
        served.says(list, "");
    }
    served.says("\\dP", "");
    served.says("\\dn+", "public|me");
    served.says("\\du+", "me|");
    served.says("\\d s*", "k|text|");
    served.says("\\dTS", "pg_catalog|timestamp without time zone|");
    let shown = served.psql(("plant", "x"), "SELECT time AT TIME ZONE 'Europe/Berlin' FROM room");
    assert_eq!(shown, Ok("2025-01-20 18:01:40.690067".to_owned()));
}

#[test]
fn a_statement_that_takes_too_long_ends_its_work_though_it_finds_nothing() {
    let served = with_rows();
    for text in [
        "SELECT count(*) FROM seq a, seq b, seq c WHERE a.v * b.v * c.v = -1",
        "SELECT count(*) FROM seq a JOIN seq b ON a.k = b.k JOIN seq c ON b.k = c.k AND a.v + b.v + c.v < 0",
        "SELECT count(*) FROM seq a WHERE NOT EXISTS (SELECT 1 FROM seq b, seq c WHERE a.v * b.v * c.v = -1)",
    ] {
        let asked = format!("SET statement_timeout = 300; {text}");
        let error = served.psql(("plant", "x"), &asked).expect_err("it takes hours");
        assert!(error.contains("57014"), "{text}: {error}");
        let told = Instant::now();
        eventually("its work to end", || {
            let running = served.psql(("plant", "x"), "SELECT count(*) FROM system.queries WHERE running");
            if running.as_deref() == Ok("1") { Ok(()) } else { Err(running) }
        });
        // With a second for the program that asks, and a machine that is busy.
        assert!(told.elapsed() < Duration::from_secs(3), "{text}: {:?}", told.elapsed());
    }
}
