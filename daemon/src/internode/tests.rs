//! A caller and the port it calls, in one process. No line comes of it: the port is that of a node that takes no writes.

use std::path::Path;

use storage::bucket::Secret;
use storage::model::{Epoch, Position};
use storage::replica::WireError;
use storage::tasks::Cpu;
use storage::wal::Call;

use super::*;
use crate::config::InternodeTls;

/// What is said to a caller that was let in.
const LET_IN: &str = "FailedPrecondition: this node takes no writes";

/// A port with these secrets and this certificate.
async fn port(secrets: &[&str], certificate: Option<&str>) -> Internode {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tls").join(name);
    let tls = certificate.map(|name| InternodeTls { cert: file(name), key: file(name), ca: file("nodes-ca.pem") });
    let config = InternodeConfig {
        bind: "127.0.0.1:0".into(),
        host: "127.0.0.1".into(),
        advertised: None,
        secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
        tls,
    };
    Internode::bind(Some(&config)).await.expect("the files are good").expect("a port was asked for")
}

/// What a caller hears.
async fn answer(called: Internode, caller: Internode) -> WireError {
    let (tasks, clock) = (Tasks::new(Cpu::Here), Clock::system());
    let node = |id| NodeId::new(id).expect("an id");
    let wire = caller.wire(&node("a"), &clock, &tasks);
    let address = called.address().into();
    called.serve(None, clock, &tasks);
    let call = Call { cluster: 7, node: node("b"), epoch: Epoch(1), from: Position(1) };
    let answer = wire.call(call, address).await.map(drop).expect_err("there is nothing to follow");
    tasks.stop().await;
    assert_eq!(tasks.failure(), None);
    answer
}

async fn check_secrets(called: &[&str], caller: &[&str], expected: Result<(), &str>) {
    let expected = match expected {
        Ok(()) => WireError::Broken(LET_IN.into()),
        Err(reason) => WireError::Refused(reason.into()),
    };
    assert_eq!(answer(port(called, None).await, port(caller, None).await).await, expected);
}

#[tokio::test]
async fn whoever_has_a_secret_of_the_node_that_is_called_is_let_in() {
    check_secrets(&[], &[], Ok(())).await;
    check_secrets(&[], &["one"], Ok(())).await;
    check_secrets(&["one", "two"], &["two", "three"], Ok(())).await;
    check_secrets(&["one"], &["two", "one"], Err("the token is signed with another secret")).await;
    check_secrets(&["one"], &[], Err("the call has no token, and this node was given a secret for calls")).await;
}

#[track_caller]
fn check(answer: &WireError, is_for_a_person: bool, expected: &str) {
    assert_eq!(matches!(answer, WireError::Refused(_)), is_for_a_person, "{answer}");
    assert!(answer.to_string().contains(expected), "{answer}");
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_for_a_person_to_look_at_and_a_broken_line_is_not() {
    let with = |name| port(&[], Some(name));
    check(&answer(with("node.pem").await, with("node.pem").await).await, false, LET_IN);
    check(&answer(with("node.pem").await, with("node-stranger.pem").await).await, true, "our certificate: UnknownCA");
    check(&answer(with("node-stranger.pem").await, with("node.pem").await).await, true, "UnknownIssuer");
    check(&answer(with("node-elsewhere.pem").await, with("node.pem").await).await, true, "elsewhere.test");
    check(&answer(port(&[], None).await, with("node.pem").await).await, false, "connect to");
    check(&answer(with("node.pem").await, port(&[], None).await).await, false, "");
}
