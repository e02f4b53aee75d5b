//! `weir delete` and `weir update`: what is there is dropped or changed.

use std::io::{self, IsTerminal, Write};

use clap::{ArgAction, Args, Subcommand};
use serde_json::json;

use super::caches::{self, DeleteCache};
use super::client::{Call, Connection, Payload};

#[derive(Subcommand)]
pub(crate) enum DeleteCommand {
    /// Delete a database; its files go later
    Database(DeleteDatabase),
    /// Delete a table; its files go later
    Table(DeleteTable),
    /// Delete a token
    Token(DeleteToken),
    /// Delete the definition of a cache of newest rows
    #[command(name = "last_cache")]
    LastCache(DeleteCache),
    /// Delete the definition of a cache of distinct values
    #[command(name = "distinct_cache")]
    DistinctCache(DeleteCache),
}

#[derive(Args)]
pub(crate) struct DeleteDatabase {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    how: How,
    /// Name of the database
    #[arg(env = "INFLUXDB3_DATABASE_NAME", required = true)]
    name: String,
}

#[derive(Args)]
pub(crate) struct DeleteTable {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    how: How,
    /// Database the table is in
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", required = true)]
    database: String,
    /// Name of the table
    name: String,
}

#[derive(Args)]
struct How {
    /// When the files go: now, never, default, or an instant such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", default_value = "default")]
    hard_delete: String,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Args)]
struct Consent {
    /// Do not ask
    #[arg(short, long, action = ArgAction::SetTrue)]
    yes: bool,
}

#[derive(Args)]
pub(crate) struct DeleteToken {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    consent: Consent,
    /// Name of the token
    #[arg(long)]
    token_name: String,
}

#[derive(Subcommand)]
pub(crate) enum UpdateCommand {
    /// Change how long the rows of a database are kept
    Database(UpdateDatabase),
    /// Change how long the rows of a table are kept
    Table(UpdateTable),
}

#[derive(Args)]
pub(crate) struct UpdateDatabase {
    #[command(flatten)]
    connection: Connection,
    /// How long rows are kept, such as 30d12h, or none
    #[arg(short, long, value_name = "PERIOD")]
    retention_period: String,
    /// Name of the database
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME")]
    database: Option<String>,
    /// Name of the database
    #[arg(conflicts_with = "database")]
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct UpdateTable {
    #[command(flatten)]
    connection: Connection,
    /// Database the table is in
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", required = true)]
    database: String,
    /// How long rows are kept, such as 30d12h, or none
    #[arg(short, long, value_name = "PERIOD")]
    retention_period: String,
    /// Name of the table
    name: String,
}

#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn delete(command: DeleteCommand) -> Result<(), String> {
    match command {
        DeleteCommand::Database(DeleteDatabase { connection, how, name }) => {
            how.consent.ask(&format!("database \"{name}\""))?;
            let parameters = [("db", name.as_str()), ("hard_delete_at", &how.hard_delete)];
            remove(&connection, "/api/v3/configure/database", &parameters)?;
            println!("Database \"{name}\" deleted successfully");
        }
        DeleteCommand::Table(DeleteTable { connection, how, database, name }) => {
            how.consent.ask(&format!("table \"{database}\".\"{name}\""))?;
            let parameters = [("db", database.as_str()), ("table", &name), ("hard_delete_at", &how.hard_delete)];
            remove(&connection, "/api/v3/configure/table", &parameters)?;
            println!("Table \"{database}\".\"{name}\" deleted successfully");
        }
        DeleteCommand::Token(DeleteToken { connection, consent, token_name }) => {
            consent.ask(&format!("token \"{token_name}\""))?;
            remove(&connection, "/api/v3/configure/token", &[("token_name", &token_name)])?;
            println!("Token \"{token_name}\" deleted successfully");
        }
        DeleteCommand::LastCache(command) => {
            println!("{}", caches::delete("/api/v3/configure/last_cache", &command)?);
        }
        DeleteCommand::DistinctCache(command) => {
            println!("{}", caches::delete("/api/v3/configure/distinct_cache", &command)?);
        }
    }
    Ok(())
}

fn remove(connection: &Connection, path: &str, parameters: &[(&str, &str)]) -> Result<(), String> {
    connection.open()?.text(&Call { method: "DELETE", path, parameters }, &Payload::Nothing)?;
    Ok(())
}

impl Consent {
    fn ask(&self, what: &str) -> Result<(), String> {
        if self.yes { Ok(()) } else { ask(&Act { does: "delete", done: "deleted", flag: "--yes" }, what) }
    }
}

/// What somebody is asked about, in words.
pub(super) struct Act {
    pub(super) does: &'static str,
    pub(super) done: &'static str,
    /// What answers before the question.
    pub(super) flag: &'static str,
}

/// Asks whoever sits at the terminal.
#[expect(clippy::print_stderr, reason = "this is what a command line is for")]
pub(super) fn ask(act: &Act, what: &str) -> Result<(), String> {
    let Act { does, done, flag } = act;
    if !io::stdin().is_terminal() {
        return Err(format!("{what} is not {done}: nobody is there to be asked; use {flag}"));
    }
    eprint!("Really {does} {what}? Type yes: ");
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
    read.map_err(|error| format!("read the answer: {error}"))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(format!("{what} is not {done}")) }
}

#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn update(command: UpdateCommand) -> Result<(), String> {
    match command {
        UpdateCommand::Database(UpdateDatabase { connection, retention_period, database, name }) => {
            let name = name.or(database).ok_or("the name of the database is missing")?;
            let body = json!({ "db": name, "retention_period": retention_period });
            put(&connection, "/api/v3/configure/database", &body)?;
            println!("Database \"{name}\" updated successfully");
        }
        UpdateCommand::Table(UpdateTable { connection, database, retention_period, name }) => {
            let body = json!({ "db": database, "table": name, "retention_period": retention_period });
            put(&connection, "/api/v3/configure/table", &body)?;
            println!("Table \"{database}\".\"{name}\" updated successfully");
        }
    }
    Ok(())
}

fn put(connection: &Connection, path: &str, body: &serde_json::Value) -> Result<(), String> {
    connection.open()?.text(&Call { method: "PUT", path, parameters: &[] }, &Payload::Json(body))?;
    Ok(())
}
