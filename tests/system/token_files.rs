//! Tokens that were made without a server, and taken at a start.
//!
//! # Promises
//! - A new cluster has the tokens of the files from its first start on; later starts change nothing.
//! - With an admin token from a file, nobody makes the operator token without one.
//! - A file that cannot be used ends the start before anything else, and no token is ever shown or logged.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness::command::Weir;
use harness::folder::{Folder, files_below};
use harness::http::{Client, Request, sql_request, write_request};
use harness::node::{Node, Options};
use serde_json::Value;

/// Runs `weir create token --offline`; it says where the token is and not what it is.
#[track_caller]
fn make(path: &Path, arguments: &str) {
    let path = path.to_str().expect("the path is text");
    let start = ["create", "token", "--offline", "--output-file", path];
    let said = Weir::default().run(&start.into_iter().chain(arguments.split(' ')).collect::<Vec<_>>()).success();
    assert!(said.contains(path) && !said.contains("apiv3_"), "{said}");
    let mode = fs::metadata(path).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[track_caller]
fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("it can be read")).expect("it is JSON")
}

#[track_caller]
fn token(value: &Value) -> &str {
    value["token"].as_str().expect("it is text")
}

fn option(options: Options, name: &str, path: &Path) -> Options {
    options.option(name, path.to_str().expect("the path is text"))
}

#[track_caller]
fn check_admin(client: &Client) {
    client.ask(Request::get("/api/v3/configure/database?format=json&show_deleted=true")).expect(200);
    client.ask(sql_request("_internal", "SELECT name FROM system.tokens", "json")).expect(200);
}

#[test]
fn an_admin_token_of_a_file_opens_a_new_cluster() {
    for arguments in ["--admin", "--admin --name ops --expiry 30d"] {
        let folder = Folder::new("token-file");
        let file = folder.path().join("admin.json");
        make(&file, arguments);
        let given = json(&file);
        assert_eq!(given["name"], if arguments.contains("ops") { "ops" } else { "_admin" });
        assert_eq!(given["expiry_millis"].is_u64(), arguments.contains("expiry"), "{}", given["expiry_millis"]);

        let options = option(Options::with_tokens(), "--admin-token-file", &file);
        let mut node = Node::start(options.clone());
        for start in 1..=3 {
            node.client().ask(Request::post("/api/v3/configure/token/admin")).expect(409);
            node.client().ask(Request::get("/api/v3/configure/database?format=json")).expect(401);
            check_admin(&node.client().with_token(token(&given)));
            match start {
                1 => node.kill(),
                _ => node.stop(),
            }
            if start < 3 {
                node.restart();
            }
        }
        let stored =
            files_below(&node.data_dir()).map(|path| fs::read(path).expect("it can be read")).collect::<Vec<_>>();
        let secret = token(&given).as_bytes();
        assert!(!stored.iter().any(|bytes| bytes.windows(secret.len()).any(|window| window == secret)));
        assert!(!node.log().contains("apiv3_"), "{}", node.log());

        // Another file is for another cluster; that it is not used is said.
        let other = folder.path().join("other.json");
        make(&other, "--admin --name other");
        node.set_options(option(Options::with_tokens(), "--admin-token-file", &other).allow_in_log("is not used"));
        node.restart();
        assert!(node.log().contains("other.json"), "{}", node.log());
        node.client().with_token(token(&json(&other))).ask(Request::get("/health")).expect(401);
        check_admin(&node.client().with_token(token(&given)));
        node.stop();
    }
}

#[test]
fn tokens_with_permissions_come_with_their_databases() {
    let folder = Folder::new("token-file");
    let (admin, file) = (folder.path().join("admin.json"), folder.path().join("tokens.json"));
    make(&admin, "--admin");
    make(&file, "--name reader --permission db:plant:read --create-databases plant,lab");
    make(&file, "--name writer --permission db:plant,lab:write --permission system:health:read --expiry 1d");
    let given = json(&file);
    assert_eq!(given["create_databases"], serde_json::json!(["plant", "lab"]));
    assert_eq!(given["tokens"][1]["permissions"], serde_json::json!(["db:plant,lab:write", "system:health:read"]));

    let options = option(Options::with_tokens(), "--admin-token-file", &admin);
    let mut node = Node::start(option(options, "--permission-tokens-file", &file));
    for _ in 0..2 {
        let [reader, writer] = [0, 1].map(|index| node.client().with_token(token(&given["tokens"][index])));
        writer.ask(write_request("plant", "t v=1 1")).expect(204);
        writer.ask(write_request("lab", "t v=1 1")).expect(204);
        writer.ask(Request::get("/health")).expect(200);
        writer.ask(sql_request("plant", "SELECT v FROM t", "json")).expect(403);
        reader.ask(sql_request("plant", "SELECT v FROM t", "json")).expect(200);
        reader.ask(write_request("plant", "t v=1 1")).expect(403);
        reader.ask(Request::get("/health")).expect(403);
        node.stop();
        node.restart();
    }
    node.stop();
    assert!(!node.log().contains("apiv3_"), "{}", node.log());
}

#[test]
fn a_token_for_a_database_that_is_not_there_ends_the_start_and_is_named() {
    let folder = Folder::new("token-file");
    let file = folder.path().join("tokens.json");
    make(&file, "--name reader --permission db:nowhere:read");
    let mut node = Node::new(option(Options::with_tokens(), "--permission-tokens-file", &file));
    node.spawn();
    assert_eq!(node.wait_for_its_end(), Some(1));
    assert!(node.log().contains("tokens.json") && node.log().contains("nowhere"), "{}", node.log());
}

#[test]
fn a_file_that_cannot_be_used_is_named_and_nothing_of_it_is_shown() {
    let folder = Folder::new("token-file");
    let secret = format!("apiv3_{}", "s".repeat(40));
    let entry = |rest: &str| format!("{{\"token\": \"{secret}\"{rest}}}");
    let tokens = |entries: &str| format!("{{\"tokens\": [{entries}]}}");
    let reader = entry(r#", "name": "r", "permissions": ["db:a:read"]"#);
    for (flag, text, mode, expected) in [
        ("--admin-token-file", secret.clone(), 0o600, "not JSON"),
        ("--admin-token-file", String::new(), 0o600, "not JSON"),
        ("--admin-token-file", entry(r#", "expiry_millis": "soon""#), 0o600, "not JSON"),
        ("--admin-token-file", format!("{{\"token\": 1, \"expiry_millis\": \"{secret}\"}}"), 0o600, "not JSON"),
        ("--admin-token-file", entry(r#", "name": """#), 0o600, "token name"),
        ("--admin-token-file", entry("").replace("apiv3_", "apiv2_"), 0o600, "does not begin with apiv3_"),
        ("--admin-token-file", r#"{"token": "apiv3_short"}"#.to_owned(), 0o600, "at least 32 characters"),
        ("--admin-token-file", entry(""), 0o602, "anybody on this machine may write to it"),
        ("--permission-tokens-file", entry(""), 0o600, "not JSON"),
        ("--permission-tokens-file", tokens(&format!("{reader}, {reader}")), 0o600, "'r' is there twice"),
        ("--permission-tokens-file", tokens(&reader.replace("db:a:read", "db:a")), 0o600, "TYPE:NAMES:ACTIONS"),
        ("--permission-tokens-file", tokens(&reader).replace('}', r#"}, "x""#), 0o600, "not JSON"),
    ] {
        let file = folder.path().join("token.json");
        fs::write(&file, &text).expect("the folder takes a file");
        fs::set_permissions(&file, Permissions::from_mode(mode)).expect("it is ours");
        let told = refusal(flag, &file);
        assert!(told.contains(expected) && told.contains("token.json"), "{text}: {told}");
        assert!(!told.contains(&secret[6..]) && !told.contains("short"), "{text}: {told}");
    }
    assert!(refusal("--admin-token-file", &folder.path().join("missing")).contains("missing"));
    assert!(refusal("--admin-token-file", folder.path()).contains("not a file"));
}

#[track_caller]
fn refusal(flag: &str, path: &Path) -> String {
    let path = path.to_str().expect("the path is text");
    let node = ["serve", "--node-id", "n", "--cluster-id", "c", "--object-store", "memory", flag, path];
    let outcome = Weir::default().run(&node);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    let told = outcome.failure();
    assert!(told.contains(flag), "{told}");
    told
}

#[test]
fn making_a_token_file_never_destroys_one() {
    let folder = Folder::new("token-file");
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    make(&path("admin.json"), "--admin");
    make(&path("tokens.json"), "--name reader --permission db:*:read");
    for (file, arguments, expected) in [
        ("admin.json", "--admin", "exists"),
        ("admin.json", "--name reader --permission db:*:read", "not JSON"),
        ("tokens.json", "--name reader --permission db:*:read", "already"),
        ("tokens.json", "--name other --permission db:*", "TYPE:NAMES:ACTIONS"),
        ("tokens.json", "--name other --permission db:*:read --create-databases a!b", "invalid character"),
        ("new.json", "--admin --expiry 1d", "--expiry needs --name"),
        ("new.json", "--admin --regenerate", "--regenerate"),
    ] {
        let before = fs::read(path(file)).ok();
        let file_path = path(file);
        let start = ["create", "token", "--offline", "--output-file", file_path.to_str().expect("the path is text")];
        let told = Weir::default().run(&start.into_iter().chain(arguments.split(' ')).collect::<Vec<_>>()).failure();
        assert!(told.contains(expected), "{arguments}: {told}");
        assert_eq!(fs::read(path(file)).ok(), before, "{arguments}");
    }
    assert!(Weir::default().run(&["create", "token", "--admin", "--offline"]).failure().contains("--output-file"));
}
