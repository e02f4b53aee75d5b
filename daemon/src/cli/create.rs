//! `weir create`: databases, tables, tokens, caches.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use storage::catalog::{GivenToken, OPERATOR_TOKEN, PermissionText, Secret, check_database_name};
use storage::clock::Clock;

use super::caches::{self, CreateDistinctCache, CreateLastCache};
use super::client::{Call, Connection, Payload};
use crate::config;

#[derive(Subcommand)]
pub(crate) enum CreateCommand {
    /// Make a database
    Database(CreateDatabase),
    /// Make a table
    Table(CreateTable),
    /// Make a token
    Token(CreateToken),
    /// Define a cache of the newest rows of a table
    #[command(name = "last_cache")]
    LastCache(Box<CreateLastCache>),
    /// Define a cache of the distinct values of a table
    #[command(name = "distinct_cache")]
    DistinctCache(Box<CreateDistinctCache>),
}

#[derive(Args)]
pub(crate) struct CreateDatabase {
    #[command(flatten)]
    connection: Connection,
    /// How long rows are kept, such as 30d12h, or none
    #[arg(long, value_name = "PERIOD")]
    retention_period: Option<String>,
    /// Name of the database
    #[arg(env = "INFLUXDB3_DATABASE_NAME", required = true)]
    name: String,
}

#[derive(Args)]
pub(crate) struct CreateTable {
    #[command(flatten)]
    connection: Connection,
    /// Database the table is in
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", required = true)]
    database: String,
    /// Tags, in the order rows are sorted by
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
    /// Fields, as name:type; types are utf8, int64, uint64, float64, bool
    #[arg(long, value_delimiter = ',', value_parser = sql::parse_option)]
    fields: Vec<(String, String)>,
    /// How long rows are kept, such as 30d12h, or none
    #[arg(long, value_name = "PERIOD")]
    retention_period: Option<String>,
    /// Name of the table
    name: String,
}

#[derive(Args)]
pub(crate) struct CreateToken {
    #[command(flatten)]
    connection: Connection,
    /// A token that may do everything; the first one needs no token to be made
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "permission")]
    admin: bool,
    /// Replace the secret of the operator token
    #[arg(long, action = ArgAction::SetTrue, requires = "admin", conflicts_with = "name")]
    regenerate: bool,
    /// Name of the token
    #[arg(long)]
    name: Option<String>,
    /// How long the token is valid
    #[arg(long, value_name = "DURATION", value_parser = config::parse_interval)]
    expiry: Option<Duration>,
    /// What the token may do, such as db:a,b:read,write; may be repeated
    #[arg(long, value_name = "GRANT", required_unless_present = "admin", requires = "name")]
    permission: Vec<String>,
    /// Write a token file instead, without a server; `serve --admin-token-file` or `--permission-tokens-file` takes it
    #[arg(long, action = ArgAction::SetTrue, requires = "output_file", conflicts_with = "regenerate")]
    offline: bool,
    /// The token file. One with permissions is added to, one with an admin token must be new
    #[arg(long, value_name = "PATH", requires = "offline")]
    output_file: Option<PathBuf>,
    /// Databases that are made along with the tokens of the file
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "offline", conflicts_with = "admin",
          value_parser = database_name)]
    create_databases: Vec<String>,
    /// How the token is shown
    #[arg(long, default_value = "text")]
    format: TokenFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TokenFormat {
    Text,
    Json,
}

#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn run(command: CreateCommand) -> Result<(), String> {
    match command {
        CreateCommand::Database(command) => {
            let CreateDatabase { connection, retention_period, name } = command;
            let body = json!({ "db": name, "retention_period": retention_period });
            post(&connection, "/api/v3/configure/database", &body)?;
            println!("Database \"{name}\" created successfully");
        }
        CreateCommand::Table(command) => {
            let CreateTable { connection, database, tags, fields, retention_period, name } = command;
            let fields: Vec<Value> = fields.iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
            let body = json!({ "db": database, "table": name, "tags": tags, "fields": fields, "retention_period": retention_period });
            post(&connection, "/api/v3/configure/table", &body)?;
            println!("Table \"{database}\".\"{name}\" created successfully");
        }
        CreateCommand::Token(command) => println!("{}", token(&command)?),
        CreateCommand::LastCache(command) => println!("{}", caches::create_last(*command)?),
        CreateCommand::DistinctCache(command) => println!("{}", caches::create_distinct(*command)?),
    }
    Ok(())
}

fn post(connection: &Connection, path: &str, body: &Value) -> Result<String, String> {
    let call = Call { method: "POST", path, parameters: &[] };
    Ok(connection.open()?.text(&call, &Payload::Json(body))?)
}

/// Makes the token and returns what is to be shown.
fn token(command: &CreateToken) -> Result<String, String> {
    let CreateToken { connection, admin, regenerate, name, expiry, permission, format, output_file, .. } = command;
    if *admin && name.is_none() && expiry.is_some() {
        return Err("--expiry needs --name: the operator token has no end".to_owned());
    }
    if let Some(path) = output_file {
        return offline(command, path);
    }
    let expiry_secs = expiry.map(|expiry| expiry.as_secs());
    let answer = match (admin, regenerate, name) {
        (true, true, _) => post(connection, "/api/v3/configure/token/admin/regenerate", &Value::Null)?,
        (true, false, None) => post(connection, "/api/v3/configure/token/admin", &Value::Null)?,
        (true, false, Some(name)) => {
            let body = json!({ "token_name": name, "expiry_secs": expiry_secs });
            post(connection, "/api/v3/configure/token/named_admin", &body)?
        }
        (false, _, _) => {
            let permissions: Vec<Value> = permission.iter().map(|text| grant(text)).collect::<Result<_, _>>()?;
            let body = json!({ "token_name": name, "permissions": permissions, "expiry_secs": expiry_secs });
            post(connection, "/api/v3/enterprise/configure/token", &body)?
        }
    };
    match format {
        TokenFormat::Json => Ok(answer),
        TokenFormat::Text => in_words(&answer),
    }
}

/// Writes a token file and returns what is to be shown: where it is, not what is in it.
fn offline(command: &CreateToken, path: &Path) -> Result<String, String> {
    let clock = Clock::system();
    let end = |expiry: Duration| clock.now_ms().saturating_add(u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX));
    let name = command.name.as_deref().unwrap_or(OPERATOR_TOKEN);
    let token = GivenToken::new(name, Secret::new(&clock.random_bytes()), command.expiry.map(end));
    let token = token.map_err(|error| error.to_string())?;
    if command.admin {
        config::write_admin_token(path, &token)?;
    } else {
        let permissions: Result<Vec<_>, _> =
            command.permission.iter().map(|text| PermissionText::parse(text)).collect();
        permissions.map_err(|error| error.to_string())?;
        config::add_permission_token(path, (&token, &command.permission), &command.create_databases)?;
    }
    Ok(format!("Token \"{name}\" written to {}", path.display()))
}

fn database_name(text: &str) -> Result<String, String> {
    check_database_name(text).map(|()| text.to_owned())
}

fn in_words(answer: &str) -> Result<String, String> {
    let parsed: Value = serde_json::from_str(answer).map_err(|error| format!("read the answer: {error}"))?;
    let token = parsed.get("token").and_then(Value::as_str).ok_or("the answer of the server has no token")?;
    Ok(format!("New token created successfully!\n\nToken: {token}\n\nKeep it now: it cannot be shown again."))
}

/// `TYPE:NAMES:ACTIONS` in the words of the API.
fn grant(text: &str) -> Result<Value, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let list = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
    match parts.as_slice() {
        [kind, names, actions] if parts.iter().all(|part| !part.is_empty()) => {
            Ok(json!({ "resource_type": kind, "resource_names": list(names), "actions": list(actions) }))
        }
        _ => Err(format!("permission '{text}' is not of the form TYPE:NAMES:ACTIONS, such as db:a,b:read,write")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_type_names_and_actions() {
        let expected = json!({ "resource_type": "db", "resource_names": ["a", "b"], "actions": ["read", "write"] });
        assert_eq!(grant("db:a,b:read,write"), Ok(expected));
        for wrong in ["db", "db:a", "db::read", "db:a:read:x"] {
            assert!(grant(wrong).is_err(), "{wrong}");
        }
    }
}
