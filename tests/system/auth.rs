//! Who may do what: the life of tokens over HTTP.
//!
//! # Promises
//! - Without a token nothing but the creation of the first one is answered; with one, what it was given, and no more.
//! - A token that was deleted, replaced or has expired opens nothing, also after a restart.
//! - No token ever stands in the log or in the store.

use std::fs;

use harness::folder::files_below;
use harness::http::{Answer, Client, Request, sql_request, write_request};
use harness::node::{Node, Options};
use harness::wait::eventually;
use serde_json::{Value, json};

const NOT_AUTHENTICATED: &str = "the request was not authenticated";
const MALFORMED: &str = "Authorization header was malformed, the request was not in the form of \
     'Authorization: <auth-scheme> <token>', supported auth-schemes are Bearer, Token and Basic";

#[test]
fn without_a_token_every_door_is_shut() {
    let node = Node::start(Options::with_tokens());
    let client = node.client();
    let doors = [
        Request::get("/health"),
        Request::get("/ping"),
        Request::get("/metrics"),
        Request::get("/api/v3/configure/database?format=json"),
        Request::post("/api/v3/configure/database").json(&json!({ "db": "a" })),
        write_request("a", "t v=1 1"),
        Request::post("/api/v2/write?bucket=a").body("t v=1 1"),
        Request::post("/write?db=a").body("t v=1 1"),
        sql_request("a", "SELECT 1", "json"),
        Request::new("DELETE", "/api/v3/configure/token?token_name=x"),
    ];
    for door in doors {
        let target = door.target.clone();
        assert_eq!(client.ask(door).status, 401, "{target}");
    }
    let answer = client.ask(sql_request("a", "SELECT 1", "json")).json();
    assert_eq!(answer["error"], NOT_AUTHENTICATED);
    // Who asks what may be asked needs no token.
    client.ask(Request::new("OPTIONS", "/api/v3/write_lp")).expect(204);
}

#[test]
fn doors_may_be_left_open() {
    let node = Node::start(Options::with_tokens().option("--disable-authz", "health,metrics"));
    node.client().ask(Request::get("/health")).expect(200);
    node.client().ask(Request::get("/metrics")).expect(200);
    node.client().ask(Request::get("/ping")).expect(401);
}

#[test]
fn the_operator_token_is_made_once_and_can_be_replaced() {
    let node = Node::start(Options::with_tokens());
    let first = created(node.client().ask(Request::post("/api/v3/configure/token/admin")));
    node.client().ask(Request::post("/api/v3/configure/token/admin")).expect(409);
    check_opens(&node.client().with_token(&first), 204);

    let regenerate = || Request::post("/api/v3/configure/token/admin/regenerate");
    node.client().ask(regenerate()).expect(401);
    let second = created(node.client().with_token(&first).ask(regenerate()));
    assert_ne!(first, second);
    check_opens(&node.client().with_token(&first), 401);
    check_opens(&node.client().with_token(&second), 204);

    let delete = Request::new("DELETE", "/api/v3/configure/token?token_name=_admin");
    let refusal = node.client().with_token(&second).ask(delete).expect(405);
    assert!(refusal.text().contains("cannot delete operator token"), "{}", refusal.text());
}

#[test]
fn a_token_can_be_shown_in_every_documented_way() {
    let (node, token) = node_with_operator();
    let basic = |text: &str| format!("Basic {}", base64(text.as_bytes()));
    let good = [
        format!("Bearer {token}"),
        format!("Token {token}"),
        basic(&format!("anyone:{token}")),
        basic(&format!(":{token}")),
    ];
    for header in good {
        node.client().ask(Request::get("/health").header("Authorization", &header)).expect(200);
    }
    let malformed = [
        format!("bearer {token}"),
        format!("Bearer  {token}"),
        "Bearer".to_owned(),
        "Digest x".to_owned(),
        "Basic %%%".to_owned(),
    ];
    for header in malformed {
        let answer = node.client().ask(Request::get("/health").header("Authorization", &header));
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some(MALFORMED)), "{header}");
    }
    let v1 = |parameters: &str| Request::post(&format!("/write?db=a&{parameters}")).body("t v=1 1");
    node.client().ask(v1(&format!("u=anyone&p={token}"))).expect(204);
    node.client().ask(v1("u=anyone&p=wrong").header("Authorization", &format!("Bearer {token}"))).expect(401);
    // Only the two v1 doors read the address for tokens.
    node.client().ask(Request::get(&format!("/health?p={token}"))).expect(401);
}

#[test]
fn a_resource_token_opens_its_database_only() {
    let (node, operator) = node_with_operator();
    let admin = node.client().with_token(&operator);
    admin.write("open", "t v=1 1");
    admin.write("shut", "t v=1 1");
    let reader = node.client().with_token(&resource_token(&admin, ("reader", "open"), &["read"]));
    let writer = node.client().with_token(&resource_token(&admin, ("writer", "open"), &["write"]));

    let read = |database| sql_request(database, "SELECT * FROM t", "json");
    reader.ask(read("open")).expect(200);
    let refusal = reader.ask(read("shut")).expect(403);
    assert_eq!(refusal.json()["error"], "unauthorized to perform requested action with the token");
    reader.ask(write_request("open", "t v=2 2")).expect(403);
    writer.ask(write_request("open", "t v=2 2")).expect(204);
    writer.ask(write_request("shut", "t v=2 2")).expect(403);
    writer.ask(read("open")).expect(403);
    for client in [&reader, &writer] {
        client.ask(Request::post("/api/v3/configure/database").json(&json!({ "db": "new" }))).expect(403);
        client.ask(Request::new("DELETE", "/api/v3/configure/database?db=open")).expect(403);
        client
            .ask(Request::post("/api/v3/configure/token/named_admin").json(&json!({ "token_name": "x" })))
            .expect(403);
        client.ask(write_request("unheard_of", "t v=1 1")).expect(403);
    }
    assert_eq!(admin.number("shut", "SELECT count(*) AS n FROM t"), 1, "nothing came in through a shut door");
}

#[test]
fn tokens_end_when_they_are_deleted_or_too_old() {
    let (mut node, operator) = node_with_operator();
    let named = |name: &str, body: Value| {
        let admin = node.client().with_token(&operator);
        let request = Request::post("/api/v3/configure/token/named_admin").json(&body);
        let token = created(admin.ask(request.clone()));
        assert_eq!(admin.ask(request).status, 409, "{name} is taken");
        token
    };
    let lasting = named("lasting", json!({ "token_name": "lasting" }));
    let deleted = named("deleted", json!({ "token_name": "deleted" }));
    let short = named("short", json!({ "token_name": "short", "expiry_secs": 1 }));
    check_opens(&node.client().with_token(&deleted), 204);

    let delete = || Request::new("DELETE", "/api/v3/configure/token?token_name=deleted");
    node.client().with_token(&operator).ask(delete()).expect(200);
    node.client().with_token(&operator).ask(delete()).expect(404);
    eventually("the short token expires", || {
        let status = node.client().with_token(&short).ask(Request::get("/health")).status;
        if status == 401 { Ok(()) } else { Err(status) }
    });
    for restarts in 0..2 {
        check_opens(&node.client().with_token(&lasting), 204);
        check_opens(&node.client().with_token(&deleted), 401);
        check_opens(&node.client().with_token(&short), 401);
        if restarts == 0 {
            node.kill();
            node.restart();
        }
    }
}

#[test]
fn no_token_stands_in_the_log_or_in_the_store() {
    let (mut node, token) = node_with_operator();
    check_opens(&node.client().with_token(&token), 204);
    node.client().ask(Request::post(&format!("/write?db=a&p={token}")).body("t v=")).expect(400);
    node.stop();
    assert!(!node.log().contains(&token), "the log names the token");
    for file in files_below(&node.data_dir()) {
        let bytes = fs::read(&file).expect("the node is down, its files stay");
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{}", file.display());
    }
}

fn node_with_operator() -> (Node, String) {
    let node = Node::start(Options::with_tokens());
    let token = created(node.client().ask(Request::post("/api/v3/configure/token/admin")));
    (node, token)
}

/// The token of a 201, in the form the documentation gives it.
#[track_caller]
fn created(answer: Answer) -> String {
    let answer = answer.expect(201).json();
    let token = answer["token"].as_str().expect("a token").to_owned();
    let secret = token.strip_prefix("apiv3_").expect("the prefix of tokens");
    assert_eq!(secret.len(), 86, "64 bytes in base64 without padding");
    assert!(answer["id"].is_u64() && answer["name"].is_string() && answer["hash"].is_string(), "{answer}");
    token
}

#[track_caller]
pub(crate) fn resource_token(admin: &Client, (name, database): (&str, &str), actions: &[&str]) -> String {
    let permissions = json!([{ "resource_type": "db", "resource_names": [database], "actions": actions }]);
    let body = json!({ "token_name": name, "permissions": permissions });
    created(admin.ask(Request::post("/api/v3/enterprise/configure/token").json(&body)))
}

#[track_caller]
fn check_opens(client: &Client, expected: u16) {
    assert_eq!(client.ask(write_request("a", "t v=1 1")).status, expected);
}

/// With padding, as the header wants it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * position) & 63) as usize];
            text.push(if position <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[test]
fn the_base64_of_these_tests_is_right() {
    assert_eq!(
        ["a", "ab", "abc", "anyone:x"].map(|text| base64(text.as_bytes())),
        ["YQ==", "YWI=", "YWJj", "YW55b25lOng="]
    );
}
