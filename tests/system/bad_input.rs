//! Bad input of any kind gets a clear answer and changes nothing.
//!
//! # Promises
//! - Every case has its status and says what is wrong.
//! - After each case the sentinel's rows, its columns, and the lists of tables and databases are what they were.
//! - The node neither stops nor complains in its log: bad input is the sender's trouble, not the operator's.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use harness::http::{Client, Request, gzip};
use harness::node::{Node, Options};
use serde_json::{Value, json};

use crate::cases::{Case, ask, bad_line, lines, query, write};

/// Small, so that what is too large is quick to send.
const BODY_BYTES_MAX: usize = 100_000;

const SENTINEL: &str = "keep,site=a,line=l1 v=1.5,n=-7i,u=7u,ok=true,note=\"still here\" 1700000000000000000\n\
                        keep,site=b,line=l1 v=2.5,n=8i,u=8u,ok=false,note=\"me too\" 1700000000000000001\n";

#[test]
fn malformed_lines_are_refused() {
    check_all(malformed_lines());
}

#[test]
fn values_of_the_wrong_type_or_range_are_refused() {
    check_all(wrong_types());
}

#[test]
fn names_the_house_does_not_allow_are_refused() {
    check_all(bad_names());
}

#[test]
fn bodies_that_cannot_be_read_are_refused() {
    check_all(bad_bodies());
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    check_all(bad_requests());
}

#[test]
fn sql_that_does_not_read_is_refused() {
    check_all(refused_sql());
}

#[test]
fn sql_that_makes_no_sense_is_refused() {
    check_all(wrong_sql());
}

#[test]
fn configuration_requests_that_make_no_sense_are_refused() {
    check_all(bad_configuration());
}

#[test]
fn what_is_larger_than_its_limit_is_refused() {
    check_all(oversized());
}

#[test]
fn a_string_over_one_mebibyte_is_refused() {
    let node = Node::start(Options::open());
    let client = node.client();
    client.write("plant", SENTINEL);
    let line = |bytes: usize| lines(&format!("keep,site=a note=\"{}\" 1", "x".repeat(bytes)));
    let refusal = client.ask(line((1 << 20) + 1)).expect(400);
    assert!(refusal.text().contains("String is greater than"), "{}", refusal.text());
    check_nothing_lost(&client, &State::of(&client), "a long string");
    client.ask(line(1 << 20)).expect(204);
    assert_eq!(client.number("plant", "SELECT max(length(note)) AS n FROM keep"), 1 << 20);
}

#[test]
fn there_are_at_least_sixty_cases() {
    let all = [
        malformed_lines(),
        wrong_types(),
        bad_names(),
        bad_bodies(),
        bad_requests(),
        refused_sql(),
        wrong_sql(),
        oversized(),
    ];
    let count = all.iter().map(Vec::len).sum::<usize>() + bad_configuration().len();
    assert!(count >= 60, "{count} cases");
}

#[test]
fn a_bad_line_among_good_ones_costs_only_itself() {
    let node = start();
    let client = node.client();
    let body = "part,site=a v=1 1\npart,site=ä v=\"txyë\" 2\npart,site=c v=3 3\n";
    let request = Request::post("/api/v3/write_lp").query("db", "partial").query("precision", "ns").body(body);
    let answer = client.ask(request).expect(400).json();
    assert_eq!(answer["error"], "partial write of line protocol occurred");
    let [error] = &answer["data"].as_array().expect("a list")[..] else { panic!("one error: {answer}") };
    assert_eq!(error["line_number"], 2);
    // The 20th byte is the first half of a character: the cut comes before it.
    assert_eq!(error["original_line"], "part,site=ä v=\"txy");
    let message = error["error_message"].as_str().expect("a message");
    assert!(
        message.contains("expected iox::column_type::field::float, got iox::column_type::field::string"),
        "{message}"
    );
    assert_eq!(client.number("partial", "SELECT count(*) AS n FROM part"), 2);
}

#[test]
fn bytes_that_are_no_http_do_not_hurt() {
    let node = start();
    let before = State::of(&node.client());
    let long = "x".repeat(1_000_000);
    let all = [
        "\0\0\0\0\0\0\0\0\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "POST /api/v3/write_lp?db=plant HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"),
    ];
    for bytes in all {
        let shown: String = bytes.chars().take(60).collect();
        let mut stream = TcpStream::connect(node.url().trim_start_matches("http://")).expect("the node listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out can be set");
        // A node that has seen enough may close before it has read all.
        let _ = stream.write_all(bytes.as_bytes());
        let mut answer = Vec::new();
        // An answer or a closed connection: both are fine, waiting for ever is not.
        let waited = stream.read_to_end(&mut answer).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!waited && (answer.is_empty() || answer.starts_with("HTTP/1.1 4")), "{shown:?}: {answer}");
    }
    check_nothing_lost(&node.client(), &before, "raw bytes");
}

fn malformed_lines() -> Vec<Case> {
    vec![
        bad_line("no fields", "keep,site=a", ""),
        bad_line("no fields but a time", "keep,site=a 1", ""),
        bad_line("only a measurement", "keep", ""),
        bad_line("no measurement", ",site=a v=1", ""),
        bad_line("measurement is a field", "=1", ""),
        bad_line("tag without a value", "keep,site v=1", ""),
        bad_line("tag with an empty value", "keep,site= v=1", ""),
        bad_line("tag without a key", "keep,=a v=1", ""),
        bad_line("comma before the fields", "keep,site=a, v=1", ""),
        bad_line("field without a value", "keep,site=a v=", ""),
        bad_line("field without a key", "keep,site=a =1", ""),
        bad_line("comma after the fields", "keep,site=a v=1, 1", ""),
        bad_line("a string that does not end", "keep,site=a note=\"abc 1", ""),
        bad_line("text after a string", "keep,site=a note=\"abc\"def 1", ""),
        bad_line("two times", "keep,site=a v=1 1 2", "Could not parse entire line. Found trailing content"),
        bad_line("text after the time", "keep,site=a v=1 1x", ""),
        bad_line("a tab between sections", "keep,site=a\tv=1", ""),
        bad_line("a tag twice", "keep,site=a,site=b v=1 1", "site"),
        bad_line("a tag value that ends with a backslash", "keep,site=a\\ v=1", ""),
        bad_line("a measurement with NUL", "ke\0ep,site=a v=1", ""),
        Case::new("good lines before a bad one", lines("keep,site=a v=9 1\nkeep,site=a v= 2"), 400)
            .says("\"line_number\":2"),
        Case::new("good lines after a bad one", lines("bad\nkeep,site=a v=9 1"), 400).says("\"line_number\":1"),
    ]
}

fn wrong_types() -> Vec<Case> {
    let precise = |precision: &str, line: &str| write().query("precision", precision).body(line);
    vec![
        bad_line(
            "a string for a float",
            "keep,site=a v=\"x\" 1",
            "expected iox::column_type::field::float, got iox::column_type::field::string",
        ),
        bad_line("an integer for a float", "keep,site=a v=1i 1", "got iox::column_type::field::integer"),
        bad_line("a float for an integer", "keep,site=a n=1 1", "expected iox::column_type::field::integer"),
        bad_line("an unsigned for an integer", "keep,site=a n=1u 1", "got iox::column_type::field::uinteger"),
        bad_line("a boolean for a string", "keep,site=a note=t 1", "got iox::column_type::field::boolean"),
        bad_line("a field named like a tag", "keep,line=l1 site=1 1", "iox::column_type::tag"),
        bad_line("a tag named like a field", "keep,site=a,note=x v=1 1", "got iox::column_type::tag"),
        bad_line("a field named time", "keep,site=a time=1 1", "time"),
        bad_line("a tag named time", "keep,time=a v=1 1", "time"),
        bad_line("no number", "keep,site=a v=1.2.3 1", ""),
        bad_line("NaN", "keep,site=a v=NaN 1", ""),
        bad_line("infinity", "keep,site=a v=inf 1", ""),
        bad_line("an integer over 64 bits", "keep,site=a n=9223372036854775808i 1", "9223372036854775808"),
        bad_line("an unsigned over 64 bits", "keep,site=a u=18446744073709551616u 1", "18446744073709551616"),
        bad_line("a negative unsigned", "keep,site=a u=-1u 1", ""),
        bad_line("half a boolean", "keep,site=a ok=tru 1", ""),
        bad_line("a time over 64 bits", "keep,site=a v=1 9223372036854775808", "9223372036854775808"),
        bad_line("a time with a fraction", "keep,site=a v=1 1.5", ""),
        Case::new("seconds that overflow", precise("second", "keep,site=a v=1 9223372036854775807"), 400)
            .says("out of range for precision"),
        Case::new("an unknown precision", precise("fortnight", "keep,site=a v=1 1"), 400),
        Case::new(
            "an unknown precision in v1",
            Request::post("/write?db=plant&precision=x").body("keep,site=a v=1 1"),
            400,
        )
        .says("\"error\""),
        Case::new(
            "an unknown precision in v2",
            Request::post("/api/v2/write?bucket=plant&precision=auto").body("keep,site=a v=1 1"),
            400,
        )
        .says("\"code\""),
    ]
}

fn bad_names() -> Vec<Case> {
    let database = |name: &str| Request::post("/api/v3/write_lp").query("db", name).body("t v=1 1");
    let long = "d".repeat(512);
    vec![
        Case::new("an empty database", database(""), 400).says("db name cannot be empty"),
        Case::new("a database with a blank", database("a b"), 400).says("invalid character in database or rp name"),
        Case::new("a database that begins with an underscore", database("_a"), 400)
            .says("did not start with a number or letter"),
        Case::new("the internal database", database("_internal"), 400),
        Case::new("a database with two slashes", database("a/b/c"), 400),
        Case::new("a database with an empty policy", database("a/"), 400).says("db name with invalid retention policy"),
        Case::new("a database that climbs", database("../a"), 400),
        Case::new("a database with NUL", database("a\0b"), 400),
        Case::new("a long database", database(&long), 400).says("db name too long: max 511"),
        bad_line("a long tag value", &format!("keep,site={} v=1 1", "x".repeat(70_000)), ""),
        bad_line("a long measurement", &format!("{} v=1 1", "m".repeat(70_000)), ""),
        bad_line("a reserved column", "keep,site=a __seq=1i 1", "__seq"),
    ]
}

fn bad_bodies() -> Vec<Case> {
    let line = "keep,site=a v=1 1";
    let zipped = gzip(line.as_bytes());
    let coded = |coding: &str, body: &[u8]| write().header("Content-Encoding", coding).body(body);
    let mut flipped = zipped.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xFF;
    let bomb = gzip(&b"keep,site=a v=1 1\n".repeat(BODY_BYTES_MAX));
    assert!(bomb.len() < BODY_BYTES_MAX, "only what is inside is too large: {}", bomb.len());
    let too_large = format!("max request size ({BODY_BYTES_MAX} bytes) exceeded");
    let too_large: &'static str = too_large.leak();
    vec![
        Case::new("an empty body", lines(""), 400),
        Case::new("a body of blanks", lines("\n\n  \n"), 400),
        Case::new("a body that is no UTF-8", write().body(&b"keep,site=\xFF v=1 1"[..]), 400),
        Case::new("half a character", write().body(&b"keep,site=a note=\"\xC3"[..]), 400),
        Case::new("an unknown coding", coded("br", line.as_bytes()), 400).says("unacceptable content-encoding: br"),
        Case::new("gzip that is none", coded("gzip", line.as_bytes()), 400).says("error decoding gzip stream"),
        Case::new("half of a gzip", coded("gzip", &zipped[..zipped.len() / 2]), 400).says("error decoding gzip stream"),
        Case::new("a damaged gzip", coded("gzip", &flipped), 400).says("error decoding gzip stream"),
        Case::new("a gzip bomb", coded("gzip", &bomb), 413).says(too_large),
        Case::new("a body that is too large", lines(&format!("{line}\n").repeat(BODY_BYTES_MAX / 18 + 10)), 413)
            .says(too_large),
        Case::new(
            "a body that is too large for v2",
            Request::post("/api/v2/write?bucket=plant").body("# x\n".repeat(BODY_BYTES_MAX / 4 + 10)),
            413,
        )
        .says("request too large"),
    ]
}

fn bad_requests() -> Vec<Case> {
    let line = "keep,site=a v=1 1";
    vec![
        Case::new("no database", Request::post("/api/v3/write_lp").body(line), 400)
            .says("missing query parameter 'db'"),
        Case::new("no bucket", Request::post("/api/v2/write").body(line), 400).says("\"code\":\"invalid\""),
        Case::new("no database in v1", Request::post("/write").body(line), 400).says("no db destination provided"),
        Case::new("a bad flag", write().query("no_sync", "perhaps").body(line), 400),
        Case::new(
            "v2 has no partial writes",
            Request::post("/api/v2/write?bucket=plant").body("keep,site=z v=1 1\nbad"),
            400,
        )
        .says("\"code\":\"invalid\""),
        Case::new("v1 has no partial writes", Request::post("/write?db=plant").body("keep,site=z v=1 1\nbad"), 400)
            .says("\"error\""),
        Case::new("an unknown path", Request::get("/api/v9/nothing"), 404).says("Not found"),
        Case::new("an unlisted method", Request::get("/api/v3/write_lp?db=plant"), 404),
        Case::new("a path that climbs", Request::get("/api/v3/../../etc/passwd"), 404),
        Case::new("a query string in pieces", Request::post("/api/v3/write_lp?db=%zz").body(line), 400),
        Case::new("a query without a database", ask().json(&json!({ "q": "SELECT 1" })), 400),
        Case::new("a query without a text", ask().json(&json!({ "db": "plant" })), 400),
        Case::new("a query of nothing", Request::get("/api/v3/query_sql"), 400)
            .says("missing query parameters 'db' and 'q'"),
        Case::new("a query that is no JSON", ask().body("{\"db\": "), 400),
        Case::new("an unknown database", ask().json(&json!({ "db": "nowhere", "q": "SELECT 1" })), 404)
            .says("database not found: nowhere"),
        Case::new("an unknown format", ask().json(&json!({ "db": "plant", "q": "SELECT 1", "format": "xml" })), 400),
        Case::new(
            "an unknown media type",
            ask().header("Accept", "image/png").json(&json!({ "db": "plant", "q": "SELECT 1" })),
            400,
        )
        .says("invalid mime type"),
        Case::new(
            "a list as a parameter",
            ask().json(&json!({ "db": "plant", "q": "SELECT $a", "params": { "a": [1] } })),
            400,
        ),
        Case::new(
            "a query that is too large",
            ask().json(&json!({ "db": "plant", "q": "x".repeat(BODY_BYTES_MAX) })),
            413,
        ),
    ]
}

fn oversized() -> Vec<Case> {
    let many = |what: &str, count: usize, value: &str| {
        (0..count).map(|n| format!("{what}{n}={value}")).collect::<Vec<_>>().join(",")
    };
    let table = |tags: usize| {
        let tags: Vec<String> = (0..tags).map(|n| format!("t{n}")).collect();
        Request::post("/api/v3/configure/table")
            .json(&json!({ "db": "plant", "table": "wide", "tags": tags, "fields": [] }))
    };
    vec![
        Case::new("a line with too many fields", lines(&format!("keep,site=a {} 1", many("f", 600, "1"))), 422)
            .says("Schema update for table 'keep' would exceed the column limit"),
        Case::new("a new table with too many fields", lines(&format!("wide {} 1", many("f", 600, "1"))), 422)
            .says("would exceed the column limit"),
        Case::new("a line with too many tags", lines(&format!("keep,{} v=1 1", many("t", 300, "x"))), 422)
            .says("would exceed the tag column limit"),
        Case::new("a table with too many tags", table(300), 422),
    ]
}

fn refused_sql() -> Vec<Case> {
    // The reference maps what SQL could say but we do not do to 405, and what cannot be planned to 400: both are refusals.
    let refused = |name, text| query(name, text, 0);
    vec![
        refused("create a table", "CREATE TABLE x (a INT)"),
        refused("create a table from a query", "CREATE TABLE x AS SELECT * FROM keep"),
        refused("create a view", "CREATE VIEW x AS SELECT 1"),
        refused("create a schema", "CREATE SCHEMA x"),
        refused("create an external table", "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'"),
        refused("drop a view", "DROP VIEW keep"),
        refused("insert", "INSERT INTO keep (site, v, time) VALUES ('z', 1, now())"),
        refused("update", "UPDATE keep SET v = 0"),
        refused("delete by a field", "DELETE FROM keep WHERE v = 0"),
        refused("copy to a file", "COPY keep TO '/tmp/weir-copied.parquet'"),
        refused("copy a query to a file", "COPY (SELECT 1) TO '/tmp/weir-copied.csv' STORED AS CSV"),
        refused("set a server-wide option", "SET datafusion.execution.batch_size = 1"),
        refused("begin", "BEGIN"),
        refused("truncate", "TRUNCATE TABLE keep"),
        refused("two statements", "SELECT 1; SELECT 2"),
        refused(
            "a statement hidden in a plan",
            "EXPLAIN ANALYZE INSERT INTO keep (site, v, time) VALUES ('z', 1, now())",
        ),
        refused("read a file as a table", "SELECT * FROM '/etc/passwd'"),
        refused("a prepared insert", "PREPARE p AS INSERT INTO keep (site, v, time) VALUES ('z', 1, now())"),
    ]
}

fn wrong_sql() -> Vec<Case> {
    vec![
        query("an empty query", "", 400),
        query("no SQL", "keep the change", 400),
        query("an unknown table", "SELECT * FROM nothing", 400).says("nothing"),
        query("an unknown column", "SELECT nothing FROM keep", 400).says("nothing"),
        query("an unknown function", "SELECT nothing(v) FROM keep", 400).says("nothing"),
        query("a sum of text", "SELECT sum(note) FROM keep", 400),
        query("a deep type", &format!("SELECT arrow_cast(1, '{}')", "List(".repeat(10_000)), 400).says("nested"),
        query("an open string", "SELECT 'abc", 400),
        query("an open bracket", "SELECT (1", 400),
        query("another database", "SELECT * FROM other.public.keep", 400),
        query("a parameter nobody gave", "SELECT * FROM keep WHERE site = $site", 400).says("site"),
        query("deep nesting", &format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)), 400),
        query("a division by zero", "SELECT n / 0 FROM keep", 500),
        query("a number that does not fit", "SELECT CAST('x' AS BIGINT) FROM keep", 500),
    ]
}

fn bad_configuration() -> Vec<Case> {
    let database = |body: Value| Request::post("/api/v3/configure/database").json(&body);
    let table = |body: Value| Request::post("/api/v3/configure/table").json(&body);
    vec![
        Case::new("a database that is there", database(json!({ "db": "plant" })), 409),
        Case::new("a database with a bad name", database(json!({ "db": "a b" })), 400),
        Case::new("a database without a name", database(json!({})), 400),
        Case::new("a retention that is none", database(json!({ "db": "late", "retention_period": "soon" })), 400),
        Case::new("a database as a form", Request::post("/api/v3/configure/database").body("db=late"), 415)
            .says("unacceptable content-type"),
        Case::new("a database in half JSON", database(json!({})).body("{\"db\":"), 400).says("serde json error"),
        Case::new("deleting an unknown database", Request::new("DELETE", "/api/v3/configure/database?db=nowhere"), 404),
        Case::new(
            "deleting the internal database",
            Request::new("DELETE", "/api/v3/configure/database?db=_internal"),
            0,
        ),
        Case::new("listing databases in no format", Request::get("/api/v3/configure/database"), 400),
        Case::new(
            "a table that is there",
            table(json!({ "db": "plant", "table": "keep", "tags": ["site"], "fields": [] })),
            409,
        ),
        Case::new(
            "a table with a column twice",
            table(json!({ "db": "plant", "table": "t", "tags": ["a", "a"], "fields": [] })),
            400,
        ),
        Case::new(
            "a table with a column named time",
            table(json!({ "db": "plant", "table": "t", "tags": ["time"], "fields": [] })),
            400,
        ),
        Case::new(
            "a table with an unknown type",
            table(json!({ "db": "plant", "table": "t", "tags": ["a"], "fields": [{ "name": "f", "type": "money" }] })),
            400,
        ),
        Case::new(
            "deleting an unknown table",
            Request::new("DELETE", "/api/v3/configure/table?db=plant&table=nothing"),
            404,
        ),
        Case::new("tokens without authentication", Request::post("/api/v3/configure/token/admin"), 405)
            .says("endpoint disabled, started without auth"),
    ]
}

fn start() -> Node {
    let node = Node::start(Options::open().option("--max-http-request-size", &format!("{BODY_BYTES_MAX}b")));
    node.client().write("plant", SENTINEL);
    node
}

#[track_caller]
fn check_all(cases: Vec<Case>) {
    let node = start();
    let client = node.client();
    let before = State::of(&client);
    let mut wrong = Vec::new();
    for Case { name, request, status, body } in cases {
        let answer = client.send(request);
        match answer {
            Err(error) => wrong.push(format!("{name}: no answer: {error}")),
            Ok(answer) => {
                let text = answer.text();
                // 0 stands for "refused, the reference leaves open how".
                let is_right = if status == 0 { (400..500).contains(&answer.status) } else { answer.status == status };
                let is_clear = body.iter().all(|part| text.contains(part)) && !text.trim().is_empty();
                if !is_right || !is_clear {
                    let beginning: String = text.chars().take(300).collect();
                    wrong.push(format!("{name}: {} {beginning}\n    expected {status} {body:?}", answer.status));
                }
            }
        }
        check_nothing_lost(&client, &before, name);
    }
    // All of them at once: a table of forty cases is mended faster when one sees the pattern.
    assert!(wrong.is_empty(), "{} cases:\n  {}", wrong.len(), wrong.join("\n  "));
}

/// Everything that a bad request must leave as it was.
#[derive(Debug, PartialEq)]
struct State {
    rows: Vec<Value>,
    columns: Vec<Value>,
    databases: Value,
}

impl State {
    fn of(client: &Client) -> Self {
        let columns = "SELECT table_name, column_name, data_type FROM information_schema.columns \
             WHERE table_schema = 'iox' ORDER BY table_name, column_name";
        Self {
            rows: client.sql("plant", "SELECT * FROM keep ORDER BY site, time"),
            columns: client.sql("plant", columns),
            databases: client.ask(Request::get("/api/v3/configure/database?format=json")).expect(200).json(),
        }
    }
}

#[track_caller]
fn check_nothing_lost(client: &Client, before: &State, name: &str) {
    assert_eq!(before.rows.len(), 2, "{before:?}");
    assert_eq!(&State::of(client), before, "after: {name}");
}
