//! `weir stop` and `weir remove`: nodes leave.

use std::time::{Duration, Instant};

use clap::{ArgAction, Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Call, Client, Connection, Payload};
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
    let answer = post(&client, STOP_PATH, &node_id)?;
    println!("Node \"{node_id}\" was asked to stop");
    if no_wait {
        return Ok(());
    }
    let asks_itself = answer.get("answered_by").and_then(Value::as_str) == Some(node_id.as_str());
    match wait_until_stopped(&client, &node_id, timeout) {
        Ok(()) => println!("Node \"{node_id}\" has stopped"),
        // Nobody is left at this address to be asked.
        Err(_) if asks_itself => println!("Node \"{node_id}\" takes no requests any more"),
        Err(error) => return Err(error),
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a command has no clock but that of the machine")]
fn wait_until_stopped(client: &Client<'_>, node: &str, timeout: Duration) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let answer =
            client.text(&Call { method: "GET", path: PATH, parameters: &[("node_id", node)] }, &Payload::Nothing)?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("read the answer: {error}"))?;
        match answer.get("state").and_then(Value::as_str).unwrap_or("in no state") {
            "stopped" | "removed" => return Ok(()),
            "lost" => {
                return Err(format!(
                    "node \"{node}\" died before it had stored all it held; what it answered is in its log"
                ));
            }
            state if began.elapsed() >= timeout => {
                return Err(format!(
                    "node \"{node}\" is {state} after {timeout:?}; it goes on stopping, and `weir show nodes` tells when it has"
                ));
            }
            _ => std::thread::sleep(LOOK_EVERY),
        }
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

fn post(client: &Client<'_>, path: &str, node: &str) -> Result<Value, String> {
    let body = json!({ "node_id": node });
    let answer = client.text(&Call { method: "POST", path, parameters: &[] }, &Payload::Json(&body))?;
    serde_json::from_str(&answer).map_err(|error| format!("read the answer: {error}"))
}
