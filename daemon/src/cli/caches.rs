//! `weir create` and `weir delete` for definitions of caches.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Call, Connection, Payload};
use crate::config;

#[derive(Args)]
pub(crate) struct OfTable {
    #[command(flatten)]
    connection: Connection,
    /// Database the table is in
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME", required = true)]
    database: String,
    /// Table the cache is for
    #[arg(short, long)]
    table: String,
}

#[derive(Args)]
pub(crate) struct CreateLastCache {
    #[command(flatten)]
    of: OfTable,
    /// Columns whose combinations have newest rows of their own [default: the tags]
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    key_columns: Option<Vec<String>>,
    /// Columns that are kept [default: all others, also later ones]
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    value_columns: Option<Vec<String>>,
    /// Rows that are kept for each key, from 1 to 10
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// How long a row is kept
    #[arg(long, value_name = "DURATION", value_parser = config::parse_interval)]
    ttl: Option<Duration>,
    /// Name of the cache
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct CreateDistinctCache {
    #[command(flatten)]
    of: OfTable,
    /// Columns whose combinations are kept, the widest first
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', required = true)]
    columns: Vec<String>,
    /// Combinations that are kept at most
    #[arg(long, value_name = "N")]
    max_cardinality: Option<u64>,
    /// How long a combination is kept
    #[arg(long, value_name = "DURATION", value_parser = config::parse_interval)]
    max_age: Option<Duration>,
    /// Name of the cache
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct DeleteCache {
    #[command(flatten)]
    of: OfTable,
    /// Name of the cache
    name: String,
}

/// Returns what is to be shown.
pub(super) fn create_last(command: CreateLastCache) -> Result<String, String> {
    let CreateLastCache { of, key_columns, value_columns, count, ttl, name } = command;
    let body = json!({
        "db": of.database, "table": of.table, "name": name, "key_columns": key_columns,
        "value_columns": value_columns, "count": count, "ttl": ttl.map(|ttl| ttl.as_secs()),
    });
    create(&of, "/api/v3/configure/last_cache", &body)
}

/// Returns what is to be shown.
pub(super) fn create_distinct(command: CreateDistinctCache) -> Result<String, String> {
    let CreateDistinctCache { of, columns, max_cardinality, max_age, name } = command;
    let body = json!({
        "db": of.database, "table": of.table, "name": name, "columns": columns, "max_cardinality": max_cardinality,
        "max_age": max_age.map(|age| age.as_secs()),
    });
    create(&of, "/api/v3/configure/distinct_cache", &body)
}

fn create(of: &OfTable, path: &str, body: &Value) -> Result<String, String> {
    let call = Call { method: "POST", path, parameters: &[] };
    let answer = of.connection.open()?.text(&call, &Payload::Json(body))?;
    let made: Value = serde_json::from_str(&answer).map_err(|error| format!("read the answer: {error}"))?;
    let name = made["name"].as_str().ok_or("the answer of the server has no name")?;
    Ok(format!("Cache \"{name}\" of table \"{}\".\"{}\" created successfully", of.database, of.table))
}

/// Returns what is to be shown.
pub(super) fn delete(path: &str, DeleteCache { of, name }: &DeleteCache) -> Result<String, String> {
    let parameters = [("db", of.database.as_str()), ("table", &of.table), ("name", name)];
    of.connection.open()?.text(&Call { method: "DELETE", path, parameters: &parameters }, &Payload::Nothing)?;
    Ok(format!("Cache \"{name}\" of table \"{}\".\"{}\" deleted successfully", of.database, of.table))
}
