//! `weir stop` and `weir remove`: nodes leave.
//!
//! # Promises
//! - A node is said to have been asked to stop only when a server has answered that it was; an answer that got lost is
//!   an error that says so. It is said to have stopped only when a server says that everything it held is in files.

use std::time::{Duration, Instant};

use clap::{ArgAction, Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::client::{Call, Client, Connection, Failure, Payload};
use super::delete::{Act, ask};
use crate::config;

const PATH: &str = "/api/v3/enterprise/configure/node";
const STOP_PATH: &str = "/api/v3/enterprise/configure/node/stop";
const REMOVE_PATH: &str = "/api/v3/enterprise/configure/node/remove";

#[derive(Subcommand)]
pub(crate) enum StopCommand {
    /// Ask a node to store what it holds and end
    Node(StopNode),
}

#[derive(Subcommand)]
pub(crate) enum RemoveCommand {
    /// Take a node out of the cluster that has stopped; its rows stay
    Node(RemoveNode),
}

#[derive(Args)]
pub(crate) struct StopNode {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    which: Which,
    /// How long to wait until it has stopped
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = config::parse_interval)]
    timeout: Duration,
    /// Return as soon as it is asked
    #[arg(long, action = ArgAction::SetTrue)]
    no_wait: bool,
}

#[derive(Args)]
pub(crate) struct RemoveNode {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct Which {
    /// Name of the node
    #[arg(long, value_name = "ID")]
    node_id: String,
    /// Do not ask
    #[arg(long, alias = "force", action = ArgAction::SetTrue)]
    no_confirm: bool,
}

/// How often it is looked whether a node has stopped.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn stop(StopCommand::Node(command): StopCommand) -> Result<(), String> {
    let StopNode { connection, which, timeout, no_wait } = command;
    let Which { node_id, no_confirm } = which;
    if !no_confirm {
        let act = Act { does: "stop", done: "stopped", flag: "--no-confirm" };
        ask(&act, &format!("node \"{node_id}\""))?;
    }
    let client = connection.open()?;
    let asked = post(&client, STOP_PATH, &node_id).map_err(|failure| match failure {
        Failure::NoAnswer(reason) => {
            format!("{reason}; node \"{node_id}\" may or may not have been asked to stop, `weir show nodes` tells")
        }
        failure => failure.into(),
    })?;
    println!("Node \"{node_id}\" was asked to stop");
    if no_wait {
        return Ok(());
    }
    match wait_until_left((&client, &node_id), &asked, timeout)? {
        Left::Stopped => println!("Node \"{node_id}\" has stopped"),
        Left::Replaced => println!("Node \"{node_id}\" is another process by now, which was not asked to stop"),
        Left::Unreachable(reason) => println!(
            "Node \"{node_id}\" takes no requests any more ({reason}); `weir show nodes` of another node tells whether it \
             has stored all it held"
        ),
    }
    Ok(())
}

/// What a server says of a node.
#[derive(Debug, Deserialize)]
struct Shown {
    state: String,
    /// Counts the processes of the node.
    epoch: Option<u32>,
    answered_by: Option<String>,
}

/// What became of a process that was asked to stop.
#[derive(Debug)]
enum Left {
    Stopped,
    /// The node was started again.
    Replaced,
    /// It was asked through itself, and nobody is left at its address.
    Unreachable(String),
}

#[expect(clippy::disallowed_methods, reason = "a command has no clock but that of the machine")]
fn wait_until_left((client, node): (&Client<'_>, &str), asked: &Shown, timeout: Duration) -> Result<Left, String> {
    let began = Instant::now();
    let asks_itself = asked.answered_by.as_deref() == Some(node);
    let call = Call { method: "GET", path: PATH, parameters: &[("node_id", node)] };
    loop {
        let is_over = began.elapsed() >= timeout;
        match client.text(&call, &Payload::Nothing).and_then(|answer| shown(&answer)) {
            Ok(Shown { state, .. }) if state == "stopped" || state == "removed" => return Ok(Left::Stopped),
            Ok(Shown { state, .. }) if state == "lost" => {
                return Err(format!(
                    "node \"{node}\" died before it had stored all it held; what it answered is in its log"
                ));
            }
            Ok(Shown { epoch, .. }) if epoch != asked.epoch => return Ok(Left::Replaced),
            Ok(Shown { state, .. }) if is_over => {
                return Err(format!(
                    "node \"{node}\" is {state} after {timeout:?}; it goes on stopping, and `weir show nodes` tells when it has"
                ));
            }
            Err(Failure::Unreached(reason)) if asks_itself => return Ok(Left::Unreachable(reason)),
            // A server that ends breaks off what it has not answered; the next look tells more.
            Err(Failure::NoAnswer(_)) if !is_over => {}
            Err(failure) => return Err(failure.into()),
            Ok(_) => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn remove(RemoveCommand::Node(command): RemoveCommand) -> Result<(), String> {
    let RemoveNode { connection, which: Which { node_id, no_confirm } } = command;
    if !no_confirm {
        let act = Act { does: "remove", done: "removed", flag: "--no-confirm" };
        ask(&act, &format!("node \"{node_id}\""))?;
    }
    post(&connection.open()?, REMOVE_PATH, &node_id)?;
    println!("Node \"{node_id}\" is removed");
    Ok(())
}

fn post(client: &Client<'_>, path: &str, node: &str) -> Result<Shown, Failure> {
    let body = json!({ "node_id": node });
    shown(&client.text(&Call { method: "POST", path, parameters: &[] }, &Payload::Json(&body))?)
}

fn shown(answer: &str) -> Result<Shown, Failure> {
    serde_json::from_str(answer).map_err(|error| Failure::NoAnswer(format!("read the answer: {error}")))
}
