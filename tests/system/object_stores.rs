//! A node on a store behind a network is a node like any other.
//!
//! # Promises
//! - S3, Google and Azure keep what was answered over kills and restarts, and hold files and clean-ups.
//! - Of two processes with one node id on one bucket, the second refuses to start.
//! - A start that cannot use its store, or must not, says why in one line, fails, and leaves nothing behind.
//! - No key is seen in a log at any level, in an error, or in the help.
//! - A node that tells others an address of its own machine only, on such a store, warns of it.

use std::path::Path;

use harness::command::Weir;
use harness::folder::certificate;
use harness::http::Client;
use harness::node::{Node, Options, free_port};
use harness::remote::{ACCESS_KEY_ID, BUCKET, RemoteStore, SECRET_ACCESS_KEY, Service};
use serde_json::json;

use crate::stores::{Store, chosen, on_azure, on_s3, s3_at};

#[test]
fn a_node_on_s3_keeps_what_it_answered() {
    check_life_and_files("s3");
}

#[test]
fn a_node_on_google_keeps_what_it_answered() {
    check_life_and_files("google");
}

#[test]
fn a_node_that_other_machines_cannot_reach_says_so() {
    let store = Store::named("google");
    let node = Node::start(store.options());
    assert!(node.log().contains("nodes on other machines cannot reach this one"), "{}", node.log());
}

#[test]
fn a_node_on_azure_keeps_what_it_answered() {
    check_life_and_files("azure");
}

/// The same against a server that others wrote: moto, unless `WEIR_TOPOLOGIES_STORE` names another.
#[test]
fn a_node_on_a_server_that_others_wrote_keeps_what_it_answered() {
    let store = Store::named(chosen().as_deref().unwrap_or("moto"));
    check_life(store.options());
}

#[track_caller]
fn check_life_and_files(name: &str) {
    let store = Store::named(name);
    check_life(store.options());
    check_files(store.played().expect("the harness plays it"));
}

/// Writes, kills, stops and starts with snapshots and clean-ups between.
#[track_caller]
fn check_life(options: Options) {
    let options = options.option("--wal-files-per-snapshot", "5").option("--snapshotted-wal-files-to-keep", "2");
    let mut node = Node::start(options.clone());
    let write = |client: &Client, from: i64| {
        for row in from..from + 40 {
            client.write("plant", &format!("t,host=h{} v={row}i {row}", row % 3));
        }
    };
    let check = |client: &Client, rows: i64| {
        assert_eq!(client.number("plant", "SELECT count(*) AS n FROM t"), rows);
        assert_eq!(client.number("plant", "SELECT sum(v) AS n FROM t"), rows * (rows - 1) / 2);
    };
    write(&node.client(), 0);
    check(&node.client(), 40);
    node.kill();
    node.restart();
    check(&node.client(), 40);
    write(&node.client(), 40);

    // One writes at a time, on this store as on any other.
    let mut second = node.beside(options.allow_in_log("in use"));
    second.spawn();
    assert_ne!(second.wait_for_its_end(), Some(0));
    assert!(second.log().contains("--take-over"), "{}", second.log());

    check(&node.client(), 80);
    node.stop();
    node.restart();
    check(&node.client(), 80);
    node.stop();
}

/// There are Parquet files, and of the log only its end.
#[track_caller]
fn check_files(store: &RemoteStore) {
    let objects = store.objects();
    let count = |part: &str| objects.iter().filter(|key| key.contains(part)).count();
    assert!(count("/data/") > 0 && count("/probe/") == 0, "{objects:#?}");
    assert!(store.calls().iter().any(|call| call.starts_with("GET") && call.contains(".parquet")));
}

#[test]
fn a_start_that_cannot_use_its_store_says_why_and_leaves_nothing() {
    let store = RemoteStore::start(Service::S3);
    let patient = ["--object-store-max-retries", "1"];
    let on = || on_s3(&store).option(patient[0], patient[1]);
    check_refusal(on().variable("AWS_SECRET_ACCESS_KEY", "another/secret"), "403 Forbidden: SignatureDoesNotMatch");
    check_refusal(on().variable("AWS_ACCESS_KEY_ID", "WEIROTHERKEY"), "InvalidAccessKeyId");
    check_refusal(on().variable("AWS_SESSION_TOKEN", "a-token"), "ExpiredToken");
    check_refusal(s3_at(&store.url(), "nothing").option(patient[0], patient[1]), "NoSuchBucket");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    check_refusal(s3_at(&nobody, BUCKET).option(patient[0], patient[1]), "Connection refused");
    // It may read, and not write.
    store.fail(&json!([{ "method": "PUT", "key": "", "times": -1, "status": 403 }]));
    check_refusal(on(), "403 Forbidden");
    assert_eq!(store.objects(), [""; 0]);

    let store = RemoteStore::start(Service::S3WithoutConditions);
    let reason = "cannot keep data safe: it accepted a second create of one object";
    check_refusal(on_s3(&store), &format!("s3://{BUCKET} at {} {reason}", store.url()));
    assert_eq!(store.objects(), [""; 0]);

    let store = RemoteStore::start(Service::Azure);
    let options = on_azure(&store.url()).option(patient[0], patient[1]);
    check_refusal(options.variable("AZURE_STORAGE_ACCESS_KEY", "YW5vdGhlciBrZXk="), "SignatureDoesNotMatch");
    assert_eq!(store.objects(), [""; 0]);
}

/// The S3 of rclone takes the headers of a conditional put and ignores them.
#[test]
fn a_start_on_a_server_that_ignores_preconditions_is_refused() {
    let store = Store::named("rclone");
    let reason = "accepted a second create of one object, so it ignores preconditions (If-None-Match on S3";
    check_refusal(store.options(), reason);
}

/// One line says why, whatever the log is told to hold, and no secret stands in any.
#[track_caller]
fn check_refusal(options: Options, reason: &str) {
    let mut node = Node::new(options.clone().option("--log-filter", "trace").allow_in_log("trying again"));
    node.spawn();
    assert_eq!(node.wait_for_its_end(), Some(1), "{reason}");
    let log = node.log();
    let told: Vec<_> = log.lines().filter(|line| line.starts_with("weir: ")).collect();
    let [line] = told[..] else { panic!("{reason}: one line: {told:?}\n{log}") };
    assert!(line.contains(reason), "{line}");
    assert!(line.len() < 800, "{line}");
    check_secrets(&options, &log);
}

#[track_caller]
fn check_secrets(options: &Options, text: &str) {
    for (name, value) in options.variables.iter().filter(|(name, _)| !name.starts_with("OBJECT_STORE")) {
        let line = text.lines().find(|line| line.contains(value.as_str()));
        assert_eq!(line, None, "{name} is seen");
    }
}

#[test]
fn keys_are_not_seen_while_a_node_works() {
    let store = RemoteStore::start(Service::S3);
    let token = "a-session-token-of-some-length";
    store.change_keys(ACCESS_KEY_ID, SECRET_ACCESS_KEY, Some(token));
    let options = on_s3(&store).variable("AWS_SESSION_TOKEN", token).option("--log-filter", "trace");
    let mut node = Node::start(options.clone().allow_in_log("trying again"));
    node.client().write("plant", "t v=1 1");
    // An answer that quotes what was sent, as those of some services do.
    store.fail(&json!([{ "method": "PUT", "key": "wal", "times": 4, "status": 400 }]));
    node.client().write("plant", "t v=2 2");
    let asked = node
        .client()
        .sql("_internal", "SELECT * FROM system.nodes")
        .iter()
        .map(ToString::to_string)
        .collect::<String>();
    node.kill();
    check_secrets(&options, &node.log());
    check_secrets(&options, &asked);

    let mut weir = Weir::default();
    for (name, value) in &options.variables {
        weir = weir.variable(name, value);
    }
    for flag in ["--help", "--help-all"] {
        let help = weir.run(&["serve", flag]).success();
        assert!(help.contains("AWS_SECRET_ACCESS_KEY"), "{help}");
        check_secrets(&options, &help);
    }
}

#[test]
fn keys_in_a_file_are_stronger_than_flags_and_may_change() {
    let store = RemoteStore::start(Service::S3);
    let folder = harness::folder::Folder::new("keys");
    let path = folder.path().join("keys.json");
    let put = |id: &str, secret: &str, token: &str| {
        let keys = json!({ "aws_access_key_id": id, "aws_secret_access_key": secret, "aws_session_token": token });
        std::fs::write(&path, keys.to_string()).expect("our own folder");
    };
    put("WEIRFIRST", "the first secret", "first-token");
    store.change_keys("WEIRFIRST", "the first secret", Some("first-token"));
    let options = on_s3(&store).option("--aws-credentials-file", path.to_str().expect("a plain path"));
    let node = Node::start(options.allow_in_log("trying again").allow_in_log("heartbeat"));
    node.client().write("plant", "t v=1 1");
    store.change_keys("WEIRSECOND", "the second secret", Some("second-token"));
    put("WEIRSECOND", "the second secret", "second-token");
    node.client().write("plant", "t v=2 2");
    assert_eq!(node.client().number("plant", "SELECT count(*) AS n FROM t"), 2);
}

#[test]
fn a_store_with_a_certificate_of_its_own_is_trusted_when_told_so() {
    let store = RemoteStore::start(Service::S3OverTls);
    check_refusal(on_s3(&store).option("--object-store-max-retries", "0"), "certificate");
    let ca = certificate("ca.pem");
    check_tls(on_s3(&store).option("--object-store-tls-ca", ca.to_str().expect("a plain path")));
    check_tls(on_s3(&store).variable("OBJECT_STORE_TLS_ALLOW_INSECURE", "true").allow_in_log("deprecated"));
    let missing = Path::new("/no/such/file");
    let options = on_s3(&store).option("--object-store-tls-ca", missing.to_str().expect("a plain path"));
    check_refusal(options, "read certificates /no/such/file: No such file");
}

#[track_caller]
fn check_tls(options: Options) {
    let mut node = Node::start(options);
    node.client().write("plant", "t v=1 1");
    node.stop();
}
