//! A store behind a network that fails, is slow, or loses its answers.
//!
//! # Promises
//! - What was answered is there, once; what was not sent is not. Nobody needs to restart anything.
//! - A write waits for a store that comes back soon, and is answered 503 when it does not.
//! - Bulk traffic that is stuck does not hold back heartbeats.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use harness::http::{Client, write_request};
use harness::node::{Node, Options};
use harness::remote::{RemoteStore, Service};
use harness::wait::eventually;
use serde_json::{Value, json};

use crate::stores::on_s3;

/// Rows by number: those that were answered, and all that were sent.
#[derive(Debug, Default)]
struct Sent {
    answered: BTreeSet<i64>,
    all: BTreeSet<i64>,
}

impl Sent {
    /// Writes the next row; the status of the answer.
    fn write(&mut self, client: &Client) -> u16 {
        let row = i64::try_from(self.all.len()).expect("few rows");
        self.all.insert(row);
        let answer = client.send(write_request("plant", &format!("t v={row}i {row}"))).expect("the node answers");
        match answer.status {
            204 => drop(self.answered.insert(row)),
            503 => {}
            status => panic!("{status} {}", answer.text()),
        }
        answer.status
    }

    #[track_caller]
    fn check(&self, client: &Client) {
        let rows = client.sql("plant", "SELECT v FROM t ORDER BY v");
        let found: Vec<i64> = rows.iter().map(|row| row["v"].as_i64().expect("a number")).collect();
        let once: BTreeSet<i64> = found.iter().copied().collect();
        assert_eq!(once.len(), found.len(), "a row is there twice: {found:?}");
        assert!(once.is_superset(&self.answered), "lost: {:?}", self.answered.difference(&once));
        assert!(once.is_subset(&self.all), "invented: {:?}", once.difference(&self.all));
    }
}

fn options(store: &RemoteStore) -> Options {
    on_s3(store)
        .option("--wal-files-per-snapshot", "5")
        .option("--object-store-request-timeout", "1s")
        .option("--object-store-max-retries", "2")
        // What a node says of its store while that fails, and of writes it could not settle in time.
        .allow_in_log("trying again")
        .allow_in_log("heartbeat")
        .allow_in_log("SlowDown")
        .allow_in_log("no answer")
}

#[test]
fn a_store_that_fails_for_a_while_loses_nothing() {
    let store = RemoteStore::start(Service::S3);
    let mut node = Node::start(options(&store));
    let mut sent = Sent::default();
    let faults = [
        json!({ "times": 6, "status": 503 }),
        json!({ "times": 6, "status": 500, "after": true }),
        json!({ "times": 6, "drop": true }),
        json!({ "times": 6, "drop": true, "after": true }),
        json!({ "times": 2, "delay": 2, "after": true }),
        json!({ "times": 6, "status": 409 }),
    ];
    for fault in faults {
        for key in ["/wal/", "/catalog/", "/data/", ""] {
            let mut fault = fault.clone();
            fault["method"] = if key.is_empty() { json!("") } else { json!("PUT") };
            fault["key"] = json!(key);
            store.fail(&Value::Array(vec![fault]));
            for _ in 0..6 {
                assert_eq!(sent.write(&node.client()), 204, "a store that comes back soon is waited for");
            }
            store.heal();
            sent.check(&node.client());
        }
    }
    node.kill();
    node.restart();
    sent.check(&node.client());
    assert_eq!(sent.write(&node.client()), 204);
    node.stop();
}

#[test]
fn writes_are_answered_503_when_the_store_stays_away() {
    let store = RemoteStore::start(Service::S3);
    let mut node = Node::start(options(&store));
    let mut sent = Sent::default();
    assert_eq!(sent.write(&node.client()), 204);
    store.fail(&json!([{ "method": "", "key": "", "times": -1, "status": 503 }]));
    let began = Instant::now();
    assert_eq!(sent.write(&node.client()), 503);
    assert!(began.elapsed() < Duration::from_secs(50), "bounded: {:?}", began.elapsed());
    assert_eq!(node.client().send(harness::http::Request::get("/health")).expect("it lives").status, 200);
    store.heal();
    let client = node.client();
    eventually("writes are taken again", || match sent.write(&client) {
        204 => Ok(()),
        status => Err(status),
    });
    sent.check(&node.client());
    node.kill();
    node.restart();
    sent.check(&node.client());
}

#[test]
fn heartbeats_pass_stuck_bulk_traffic() {
    let store = RemoteStore::start(Service::S3);
    let limit = on_s3(&store).option("--object-store-connection-limit", "1").allow_in_log("trying again");
    let mut node = Node::start(limit.option("--object-store-request-timeout", "60s"));
    node.client().write("plant", "t v=1 1");
    store.fail(&json!([{ "method": "PUT", "key": "/wal/", "times": 1, "delay": 12 }]));
    let client = node.client();
    let writer = thread::spawn(move || client.write("plant", "t v=2 2"));
    eventually("the write is stuck", || {
        let puts = store.calls().iter().filter(|call| call.starts_with("PUT") && call.contains("/wal/")).count();
        if puts >= 2 { Ok(()) } else { Err(puts) }
    });
    let beats = || store.calls().iter().filter(|call| call.starts_with("PUT") && call.ends_with("/heartbeat")).count();
    let before = beats();
    eventually("heartbeats go on", || if beats() > before { Ok(()) } else { Err(beats()) });
    assert!(!writer.is_finished(), "they came while the write was stuck");
    writer.join().expect("it is answered in the end");
    node.stop();
}
