//! Who may do what: every door, every kind of statement, every kind of token.
//!
//! # Promises
//! - What a token may do does not depend on the door: HTTP, both protocols of Postgres, a ticket of Flight, FlightSQL.
//! - What is refused has changed nothing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use harness::folder::package;
use harness::http::{Client, Request, sql_request, write_request};
use harness::node::Options;
use harness::packages::python_clients;
use harness::postgres::{Postgres, Said, bind, execute, message, opening, parse, query, sync};
use harness::wait::eventually;
use serde_json::{Value, json};

use crate::auth::resource_token;
use crate::flight::port;
use crate::postgres::{Served, serve};

/// The columns of the table below.
const TOKENS: [&str; 11] = [
    "operator",
    "named admin",
    "reads plant",
    "writes plant",
    "reads and writes plant",
    "reads office",
    "reads all databases",
    "system",
    "deleted",
    "expired",
    "of nobody",
];

/// Database, statement, and what comes of it for each token: `y` done, `m` what it names is missing, `n` not allowed, `?`
/// the token is not known. `{}` is another number each time.
const STATEMENTS: &[(&str, &str, &str)] = &[
    ("plant", "SELECT v FROM t", "yyynynyn???"),
    ("plant", "SELECT 1", "yyynynyn???"),
    ("plant", "EXPLAIN SELECT v FROM t", "yyynynyn???"),
    ("plant", "SHOW TABLES", "yyynynyn???"),
    ("plant", "SELECT * FROM information_schema.columns", "yyynynyn???"),
    ("plant", "SELECT * FROM system.parquet_files", "yyynynyn???"),
    ("plant", "SELECT * FROM system.tables", "yyynynyn???"),
    ("office", "SELECT v FROM t", "yynnnyyn???"),
    ("_internal", "SELECT 1", "yynnnnnn???"),
    ("_internal", "SELECT * FROM system.tokens", "yynnnnnn???"),
    ("_internal", "SELECT * FROM system.settings", "yynnnnnn???"),
    // What databases there are is no secret among those who have a token.
    ("nowhere", "SELECT 1", "mmmmmmmm???"),
    ("plant", "CREATE DATABASE IF NOT EXISTS plant", "yynnnnnn???"),
    ("plant", "CREATE DATABASE made_{}", "yynnnnnn???"),
    ("plant", "ALTER DATABASE plant SET (retention = '900d')", "yynnnnnn???"),
    ("plant", "ALTER DATABASE plant RESET (retention)", "yynnnnnn???"),
    ("plant", "DROP DATABASE nowhere", "mmnnnnnn???"),
    ("plant", "CREATE TABLE made_{} (k TAG, v DOUBLE)", "yynnnnnn???"),
    ("plant", "ALTER TABLE t SET (retention = '900d')", "yynnnnnn???"),
    ("plant", "DROP TABLE nothing", "mmnnnnnn???"),
    ("plant", "DROP TABLE IF EXISTS nothing", "yynnnnnn???"),
    ("plant", "CREATE TOKEN made_{} WITH (permissions = 'db:plant:read')", "yynnnnnn???"),
    ("plant", "CREATE ADMIN TOKEN admin_{}", "yynnnnnn???"),
    ("plant", "DROP TOKEN nobody", "mmnnnnnn???"),
    ("plant", "ALTER SYSTEM SET wal_files_per_snapshot = 600", "yynnnnnn???"),
    ("plant", "ALTER SYSTEM RESET wal_files_per_snapshot", "yynnnnnn???"),
    ("plant", "ALTER SYSTEM RESET ALL FOR NODE 'nobody'", "mmnnnnnn???"),
    ("plant", "DELETE FROM t WHERE time < 0", "yynnnnnn???"),
    ("plant", "SNAPSHOT", "yynnnnnn???"),
    ("plant", "COMPACT TABLE t", "yynnnnnn???"),
    ("plant", "CREATE LAST CACHE kept_{} ON t", "yynnnnnn???"),
    ("plant", "DROP DISTINCT CACHE nothing ON t", "mmnnnnnn???"),
    ("_internal", "SELECT * FROM system.advice", "yynnnnnn???"),
    ("plant", "DRAIN NODE 'nobody'", "mmnnnnnn???"),
    ("plant", "REMOVE NODE 'nobody'", "mmnnnnnn???"),
    // Whose query it is would be the answer, and nobody has it.
    ("plant", "CANCEL QUERY '67e55044-10b1-426f-9247-bb680e5fe0c8'", "mmmnmnmn???"),
];

const DOORS: [&str; 5] = ["http", "pg simple", "pg extended", "ticket", "flightsql"];

/// What is done at most by those whom no database is open to, over the routes that are no SQL.
type Route = (&'static str, fn() -> Request, &'static str);
const ROUTES: &[Route] = &[
    ("write", || write_request("plant", "t v=1i 1"), "yynyynnn???"),
    ("write what is not there", || write_request("made", "t v=1i 1"), "yynnnnnn???"),
    ("health", || Request::get("/health"), "yynnnnny???"),
    ("metrics", || Request::get("/metrics"), "yynnnnny???"),
];

struct Tokens {
    served: Served,
    secrets: Vec<String>,
}

fn tokens() -> Tokens {
    let served = serve(Options::with_tokens().allow_in_log("a request failed"));
    let client = served.node.client();
    let secret = |made: Value| made["token"].as_str().expect("a token").to_owned();
    let operator = secret(client.ask(Request::post("/api/v3/configure/token/admin")).expect(201).json());
    let admin = client.with_token(&operator);
    admin.write("plant", "t v=1i 1");
    admin.write("office", "t v=1i 1");
    let named = |name: &str, more: Value| {
        let mut body = json!({ "token_name": name });
        body.as_object_mut().expect("it is one").extend(more.as_object().expect("it is one").clone());
        let request = Request::post("/api/v3/configure/token/named_admin").json(&body);
        secret(admin.ask(request).expect(201).json())
    };
    let made = [
        operator.clone(),
        named("ops", json!({})),
        resource_token(&admin, ("reader", "plant"), &["read"]),
        resource_token(&admin, ("writer", "plant"), &["write"]),
        resource_token(&admin, ("both", "plant"), &["read", "write"]),
        resource_token(&admin, ("office", "office"), &["read"]),
        resource_token(&admin, ("all", "*"), &["read"]),
        of_sql(&admin, "CREATE TOKEN watcher WITH (permissions = 'system:*:read')"),
        named("deleted", json!({})),
        named("expired", json!({ "expiry_secs": 1 })),
        "apiv3_of_nobody".to_owned(),
    ];
    of_sql(&admin, "DROP TOKEN deleted");
    eventually("a token to expire", || {
        let status = client.with_token(&made[9]).ask(sql_request("plant", "SELECT 1", "json")).status;
        if status == 401 { Ok(()) } else { Err(status) }
    });
    assert_eq!(made.len(), TOKENS.len());
    Tokens { served, secrets: made.into() }
}

/// The token a statement made, if it makes one.
fn of_sql(admin: &Client, text: &str) -> String {
    let said = admin.ask(sql_request("_internal", text, "json")).expect(200).json();
    said[0]["token"].as_str().unwrap_or_default().to_owned()
}

fn of_status(status: u16) -> String {
    let known = [(200, "y"), (201, "y"), (204, "y"), (401, "?"), (403, "n"), (404, "m")];
    known.iter().find(|(code, _)| *code == status).map_or(status.to_string(), |(_, letter)| (*letter).to_owned())
}

/// What came of it over Postgres: the first error decides.
fn of_messages(said: &[Said]) -> String {
    let Some(code) = said.iter().filter(|said| said.kind == b'E').find_map(Said::code) else { return "y".to_owned() };
    match code.as_str() {
        "28P01" => "?".to_owned(),
        "42501" => "n".to_owned(),
        "3D000" | "42704" | "42P01" => "m".to_owned(),
        _ => code,
    }
}

fn over_postgres(port: u16, (token, database): (&str, &str), statement: &[u8]) -> String {
    let mut client = Postgres::silent(port);
    client.send(&opening(database));
    client.send(&message(b'p', &[token.as_bytes(), b"\0"].concat()));
    let mut said = Vec::new();
    while let Ok(Some(next)) = client.hear() {
        let is_ready = next.kind == b'Z';
        said.push(next);
        if is_ready {
            said.extend(client.ask(statement));
            break;
        }
    }
    of_messages(&said)
}

impl Tokens {
    fn ask(&self, door: &str, token: &str, (database, statement): (&str, &str)) -> String {
        let post = || {
            let client = self.served.node.client().with_token(token);
            of_status(client.ask(sql_request(database, statement, "json")).status)
        };
        let extended = || [parse("", statement, &[]), bind(("", ""), &[], 0), execute("", 0), sync()].concat();
        match door {
            "http" => post(),
            "pg simple" => over_postgres(self.served.port, (token, database), &query(statement)),
            "pg extended" => over_postgres(self.served.port, (token, database), &extended()),
            other => panic!("{other} is not asked one by one"),
        }
    }

    /// All at once, since a library takes longer to start than to ask.
    fn ask_over_flight(&self, asked: &[Value]) -> Vec<String> {
        let mut command = Command::new(python_clients());
        command.arg(package().join("clients/matrix.py")).arg(port(&self.served.node));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python is there");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(Value::from(asked).to_string().as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        serde_json::from_slice(&output.stdout).expect("a list of letters")
    }
}

/// One cell of the table, at one door.
struct Case {
    door: &'static str,
    token: usize,
    database: &'static str,
    statement: String,
    expected: char,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (database, text, row) in STATEMENTS {
        assert_eq!(row.len(), TOKENS.len(), "{text}");
        for (token, expected) in row.chars().enumerate() {
            for door in DOORS {
                let statement = text.replace("{}", &cases.len().to_string());
                cases.push(Case { door, token, database, statement, expected });
            }
        }
    }
    cases
}

#[test]
fn what_a_token_may_do_is_the_same_at_every_door() {
    let (tokens, cases) = (tokens(), cases());
    let over_flight = |case: &&Case| ["ticket", "flightsql"].contains(&case.door);
    let mut wrong = String::new();
    let mut tell = |case: &Case, found: &str| {
        let Case { door, token, database, statement, expected } = case;
        if found != expected.to_string() {
            let _ =
                writeln!(wrong, "{door}, {}: {statement} in {database}: {found} and not {expected}", TOKENS[*token]);
        }
    };
    let own = |token: usize| cases.iter().filter(move |case| case.token == token && !over_flight(case));
    let ask = |case: &Case| tokens.ask(case.door, &tokens.secrets[case.token], (case.database, &case.statement));
    // Whoever guesses tokens waits after each, so all are asked for at the same time.
    thread::scope(|scope| {
        let asked: Vec<_> =
            (0..TOKENS.len()).map(|token| scope.spawn(move || own(token).map(ask).collect::<Vec<_>>())).collect();
        for (token, asked) in asked.into_iter().enumerate() {
            let found = asked.join().expect("each is answered");
            own(token).zip(found).for_each(|(case, found)| tell(case, &found));
        }
    });
    let far: Vec<&Case> = cases.iter().filter(over_flight).collect();
    let asked: Vec<Value> =
        far.iter().map(|case| json!([tokens.secrets[case.token], case.database, case.statement, case.door])).collect();
    far.iter().zip(tokens.ask_over_flight(&asked)).for_each(|(case, found)| tell(case, &found));
    assert_eq!(wrong, "");
    let admin = tokens.served.node.client().with_token(&tokens.secrets[0]);
    let by =
        admin.sql("_internal", "SELECT DISTINCT user_name FROM system.changes WHERE user_name IS NOT NULL ORDER BY 1");
    assert_eq!(by, [json!({ "user_name": "_admin" }), json!({ "user_name": "ops" })]);
}

#[test]
fn what_is_no_sql_asks_for_the_same_tokens() {
    let tokens = tokens();
    let mut wrong = String::new();
    for (name, request, expected) in ROUTES {
        for ((token, of), expected) in tokens.secrets.iter().zip(TOKENS).zip(expected.chars()) {
            let found = of_status(tokens.served.node.client().with_token(token).ask(request()).status);
            if found != expected.to_string() {
                let _ = writeln!(wrong, "{name}, {of}: {found} and not {expected}");
            }
        }
    }
    assert_eq!(wrong, "");
}
