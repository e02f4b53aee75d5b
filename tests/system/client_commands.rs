//! The client commands do what the HTTP API does, and say so.
//!
//! # Promises
//! - What a command created, another shows and a third deletes; a command that failed says why and ends with another code
//!   than 0.
//! - `query` gives the same rows in every format; `write` takes arguments, files and standard input.
//! - A retention period hides older rows at once, from queries too.

use std::fs;
use std::time::UNIX_EPOCH;

use harness::command::Weir;
use harness::node::{Node, Options};

#[test]
fn a_life_from_the_first_token_to_the_last_table() {
    let node = Node::start(Options::with_tokens());
    let nobody = Weir::at(&node.url());
    let token = token_in(&nobody.run(&["create", "token", "--admin"]).success());
    assert!(nobody.run(&["create", "token", "--admin"]).failure().contains("exist"), "there is one already");
    assert!(!nobody.run(&["create", "database", "plant"]).failure().is_empty());

    let weir = nobody.with_token(&token);
    let said = weir.run(&["create", "database", "plant"]).success();
    assert_eq!(said.trim(), "Database \"plant\" created successfully");
    assert!(weir.run(&["create", "database", "plant"]).failure().contains("already exists"));
    weir.run(&[
        "create",
        "table",
        "boilers",
        "--database",
        "plant",
        "--tags",
        "site,line",
        "--fields",
        "temp:float64,on:bool",
    ])
    .success();
    weir.run(&["write", "--database", "plant", "boilers,site=a,line=1 temp=80.5,on=true 1700000000000000000"])
        .success();
    let table = weir.run(&["query", "--database", "plant", "SELECT site, temp, \"on\" FROM boilers"]).success();
    assert!(table.contains("80.5") && table.contains("| site"), "{table}");

    assert!(weir.run(&["show", "databases"]).success().contains("plant"));
    let tokens = weir.run(&["show", "tokens"]).success();
    assert!(tokens.contains("_admin") && !tokens.contains(&token), "{tokens}");

    weir.run(&["delete", "table", "boilers", "--database", "plant", "--yes"]).success();
    assert!(weir.run(&["query", "--database", "plant", "SELECT * FROM boilers"]).failure().contains("boilers"));
    weir.run(&["delete", "database", "plant", "--yes"]).success();
    assert!(weir.run(&["query", "--database", "plant", "SELECT 1"]).failure().contains("plant"));
    assert!(!weir.run(&["show", "databases"]).success().lines().any(|line| line.contains("| plant ")));
}

#[test]
fn named_and_resource_tokens_come_and_go() {
    let node = Node::start(Options::with_tokens());
    let nobody = Weir::at(&node.url());
    let weir = nobody.with_token(&token_in(&nobody.run(&["create", "token", "--admin"]).success()));
    weir.run(&["create", "database", "plant"]).success();
    let second =
        weir.run(&["create", "token", "--admin", "--name", "second", "--expiry", "1d", "--format", "json"]).success();
    let second: serde_json::Value = serde_json::from_str(&second).expect("JSON was asked for");
    let second = nobody.with_token(second["token"].as_str().expect("a token"));
    second.run(&["write", "--database", "plant", "t v=1 1"]).success();

    let reader = weir.run(&["create", "token", "--permission", "db:plant:read", "--name", "reader"]).success();
    let reader = nobody.with_token(&token_in(&reader));
    reader.run(&["query", "--database", "plant", "SELECT * FROM t"]).success();
    reader.run(&["write", "--database", "plant", "t v=2 2"]).failure();
    assert!(weir.run(&["show", "tokens", "--format", "csv"]).success().contains("db:plant:read"));

    weir.run(&["delete", "token", "--token-name", "reader", "--yes"]).success();
    reader.run(&["query", "--database", "plant", "SELECT * FROM t"]).failure();
    weir.run(&["delete", "token", "--token-name", "reader", "--yes"]).failure();
}

#[test]
fn a_query_gives_the_same_rows_in_every_format() {
    let node = Node::start(Options::open());
    let weir = Weir::at(&node.url()).variable("INFLUXDB3_DATABASE_NAME", "plant");
    weir.run_with_input(
        &["write"],
        b"t,site=a v=1.5,note=\"x, y\" 1700000000000000000\nt,site=b v=2 1700000000500000000\n",
    )
    .success();
    let query = |format: &str| weir.run(&["query", "--format", format, "SELECT * FROM t ORDER BY time"]).success();

    let rows: serde_json::Value = serde_json::from_str(&query("json")).expect("JSON was asked for");
    assert_eq!(rows[0], serde_json::json!({ "site": "a", "v": 1.5, "note": "x, y", "time": "2023-11-14T22:13:20" }));
    assert_eq!(
        rows[1],
        serde_json::json!({ "site": "b", "v": 2.0, "time": "2023-11-14T22:13:20.500" }),
        "null is left out"
    );
    let lines: Vec<serde_json::Value> =
        query("jsonl").lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    assert_eq!(rows, serde_json::Value::Array(lines));
    let csv = query("csv");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.contains("\"x, y\"") && csv.contains("2023-11-14T22:13:20.500"), "{csv}");
    let pretty = query("pretty");
    assert!(pretty.starts_with('+') && pretty.contains("2023-11-14T22:13:20"), "{pretty}");

    let file = node.folder().path().join("rows.parquet");
    let file = file.to_str().expect("the path is text");
    weir.run(&["query", "--format", "parquet", "--output", file, "SELECT * FROM t"]).success();
    let bytes = fs::read(file).expect("the file was written");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

#[test]
fn queries_and_lines_come_from_files_and_standard_input() {
    let node = Node::start(Options::open());
    let weir = Weir::at(&node.url());
    let file = |name: &str, text: &str| {
        let path = node.folder().path().join(name);
        fs::write(&path, text).expect("the folder takes a file");
        path.to_str().expect("the path is text").to_owned()
    };
    let lines: String = (0..20_000).map(|number| format!("t,site=s{} v={number}i {number}\n", number % 7)).collect();
    weir.run(&["write", "-d", "plant", "--precision", "s", "--file", &file("lines.lp", &lines)]).success();
    weir.run_with_input(&["write", "-d", "plant", "--precision", "s"], b"t,site=s0 v=1i 20000\n").success();
    let count = "SELECT count(*) AS n FROM t";
    for output in [
        weir.run(&["query", "-d", "plant", "--format", "csv", "--file", &file("count.sql", count)]),
        weir.run_with_input(&["query", "-d", "plant", "--format", "csv"], count.as_bytes()),
        weir.run(&["q", "-d", "plant", "--format", "csv", count]),
    ] {
        assert_eq!(output.success().trim(), "n\n20001");
    }
}

#[test]
fn a_bad_line_fails_the_write_command_and_names_the_line() {
    let node = Node::start(Options::open());
    let weir = Weir::at(&node.url());
    let refusal = weir.run(&["write", "-d", "plant", "t v=1 1\nt v= 2"]).failure();
    assert!(refusal.contains('2') && refusal.to_lowercase().contains("line"), "{refusal}");
    weir.run(&["write", "-d", "plant", "--accept-partial", "t v=1 1\nt v= 2"]).failure();
    let rows = weir.run(&["query", "-d", "plant", "--format", "csv", "SELECT v FROM t"]).success();
    assert_eq!(rows.trim(), "v\n1.0", "only the second command kept its good line");
}

#[test]
fn a_retention_period_hides_older_rows() {
    let node = Node::start(Options::open());
    let weir = Weir::at(&node.url());
    let now = UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs();
    let day = 24 * 3_600;
    let lines = format!("t v=1i {}\nt v=2i {}\nt v=3i {}\n", now - 10 * day, now - 2 * day, now - 60);
    weir.run_with_input(&["write", "-d", "plant", "--precision", "s"], lines.as_bytes()).success();
    let values = || weir.run(&["query", "-d", "plant", "--format", "csv", "SELECT v FROM t ORDER BY time"]).success();
    assert_eq!(values().trim(), "v\n1\n2\n3");
    weir.run(&["update", "database", "plant", "--retention-period", "7d"]).success();
    assert_eq!(values().trim(), "v\n2\n3");
    assert!(weir.run(&["show", "retention", "--format", "csv"]).success().contains("7d"));
    weir.run(&["update", "database", "plant", "--retention-period", "1d"]).success();
    assert_eq!(values().trim(), "v\n3");
    let count = weir.run(&["query", "-d", "plant", "--format", "csv", "SELECT count(*) AS n FROM t"]).success();
    assert_eq!(count.trim(), "n\n1", "a count from statistics knows the retention too");
}

#[test]
fn the_retention_of_a_table_overrides_that_of_its_database() {
    let node = Node::start(Options::open());
    let weir = Weir::at(&node.url());
    let now = UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs();
    let lines = |table: &str| format!("{table} v=1i {}\n{table} v=2i {}\n", now - 48 * 3_600, now - 60);
    let all = lines("t") + &lines("u");
    weir.run_with_input(&["write", "-d", "plant", "--precision", "s"], all.as_bytes()).success();
    weir.run(&["create", "database", "empty"]).success();
    weir.run(&["write", "-d", "lab", "x v=1"]).success();
    let count = |table: &str| node.client().number("plant", &format!("SELECT count(*) AS n FROM {table}"));
    let shown = |flags: &[&str]| {
        let shown = weir.run(&[&["show", "retention", "--format", "csv"], flags].concat()).success();
        shown.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let update = |arguments: &[&str]| weir.run(&[&["update"], arguments].concat()).success();
    let head = "Database,Table,Retention,Source";
    let rest = "lab,x,infinite,infinite";
    assert_eq!(shown(&[]), [head, rest, "plant,t,infinite,infinite", "plant,u,infinite,infinite"]);

    update(&["table", "t", "-d", "plant", "--retention-period", "25h"]);
    assert_eq!((count("t"), count("u")), (1, 2));
    assert_eq!(shown(&[]), [head, rest, "plant,t,25h,table", "plant,u,infinite,infinite"]);
    update(&["database", "plant", "-r", "1d"]);
    update(&["table", "t", "-d", "plant", "-r", "99999999y"]);
    assert_eq!((count("t"), count("u")), (2, 1));
    let shown_now = shown(&["-d", "plant"]);
    assert!(shown_now[1].starts_with("plant,t,") && shown_now[1].ends_with("ns,table"), "{shown_now:?}");
    assert_eq!(shown_now[2..], ["plant,u,1d,database"]);
    update(&["table", "t", "-d", "plant", "-r", "none"]);
    assert_eq!(shown(&["-d", "plant"])[1..], ["plant,t,1d,database", "plant,u,1d,database"]);
    assert_eq!(count("t"), 1);
    assert!(weir.run(&["update", "table", "t", "-d", "plant", "-r", "5"]).failure().contains("retention period '5'"));
    assert!(weir.run(&["update", "table", "v", "-d", "plant", "-r", "5d"]).failure().contains("not found: v"));
    weir.run(&["delete", "table", "t", "-d", "plant", "--yes"]).success();
    assert_eq!(shown(&["-d", "plant"])[1..], ["plant,u,1d,database"]);
}

#[test]
fn system_tables_are_shown_one_by_one_and_all_together() {
    let node = Node::start(Options::open());
    let weir = Weir::at(&node.url());
    weir.run(&["write", "-d", "plant", "b,site=x v=1\na v=1\nc v=1"]).success();
    let show = |arguments: &[&str]| weir.run(&[&["show", "system", "-d", "plant"], arguments].concat());
    let names = show(&["table-list", "--format", "csv"]).success();
    assert!(names.lines().any(|name| name == "queries") && !names.contains("tokens"), "{names}");

    let table = |more: &[&str]| show(&[&["table", "tables", "--format", "csv"], more].concat());
    let columns = ["-s", "table_name,column_count", "-o", "column_count desc,table_name"];
    assert_eq!(table(&columns).success().trim(), "table_name,column_count\nb,3\na,2\nc,2");
    assert_eq!(table(&["-s", "table_name", "-o", "table_name desc", "-l", "1"]).success().trim(), "table_name\nc");
    assert!(table(&["-s", "nothing"]).failure().contains("nothing"));
    assert!(table(&["-o", "table_name; x"]).failure().contains("--order-by"));
    assert!(show(&["table", "tables", "--format", "parquet"]).failure().contains("--output"));

    let summary = show(&["summary", "-l", "2", "--format", "csv"]).success();
    for name in names.lines().skip(1) {
        assert!(summary.lines().any(|line| line == format!("{name}:")), "{name}: {summary}");
    }
    let listed = summary.lines().filter(|line| line.starts_with("plant,") && line.ends_with(",false,"));
    assert_eq!(listed.filter(|line| line.contains(",0,0,")).count(), 2, "two of three tables: {summary}");
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    let weir = Weir::default();
    let unknown = weir.run(&["serve", "--node-idd", "n"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.failure().contains("--node-id"), "the nearest flag is suggested");
    let nobody = Weir::at("http://127.0.0.1:1").run(&["query", "-d", "plant", "SELECT 1"]).failure();
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
}

/// The token in the output of `create token`, wherever it stands.
#[track_caller]
fn token_in(output: &str) -> String {
    let words = output.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
    let token = words.into_iter().find(|word| word.starts_with("apiv3_"));
    token.unwrap_or_else(|| panic!("no token in: {output}")).to_owned()
}

#[test]
fn a_long_load_shows_its_progress_on_a_terminal_and_nowhere_else() {
    let node = Node::start(Options::open());
    let weir = Weir::at(&node.url());
    let lines: String = (0..200_000).map(|time| format!("t,h=a v={time} {time}\n")).collect();
    let path = node.folder().path().join("long.lp");
    fs::write(&path, &lines).expect("the folder can be written to");
    let load = ["write", "--database", "plant", "--file", path.to_str().expect("a plain path")];

    let shown = weir.run_before_a_terminal(&load);
    let frames = shown.stderr.matches("MiB/s").count();
    assert!(frames >= 2, "{frames} frames: {:?}", shown.stderr);
    assert!(!shown.stderr.contains("wrote"), "the answer stands elsewhere: {:?}", shown.stderr);
    check_answer(&shown.success());

    let piped = weir.run(&load);
    assert_eq!(piped.stderr, "");
    check_answer(&piped.success());

    let quiet: Vec<_> = load.iter().copied().chain(["--quiet"]).collect();
    let quiet = weir.run_before_a_terminal(&quiet);
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.success(), "");
}

/// One line of plain text.
#[track_caller]
fn check_answer(text: &str) {
    assert!(text.starts_with("wrote 200000 lines (") && text.ends_with("/s\n"), "{text:?}");
    assert!(text.lines().count() == 1 && !text.contains('\u{1b}'), "{text:?}");
}
