//! Definitions of caches: made and dropped.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use sql::{Asker, Command, Named, TableRef};
use storage::catalog::{Cache, CacheKind, NewCache, ResolvedCache, WantedCache};
use storage::model::ColumnId;

use super::Services;
use super::errors::{Refusal, json_answer};
use super::write::parameters;

pub(super) const LAST_PATH: &str = "/api/v3/configure/last_cache";
pub(super) const DISTINCT_PATH: &str = "/api/v3/configure/distinct_cache";

#[derive(Debug, Deserialize)]
struct CreateLast {
    db: String,
    table: String,
    name: Option<String>,
    key_columns: Option<Vec<String>>,
    value_columns: Option<Vec<String>>,
    count: Option<u64>,
    /// Seconds.
    ttl: Option<u64>,
    node_spec: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct CreateDistinct {
    db: String,
    table: String,
    name: Option<String>,
    columns: Vec<String>,
    max_cardinality: Option<u64>,
    /// Seconds.
    max_age: Option<u64>,
    node_spec: Option<Value>,
}

pub(super) async fn create_last(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let CreateLast { db, table, name, key_columns, value_columns, count, ttl, node_spec } =
        services.admission.declared_json(&headers, body).await?;
    expect_all_nodes(node_spec.as_ref())?;
    let wanted = WantedCache::Last { keys: key_columns, values: value_columns, count, ttl_seconds: ttl };
    create(&services, &asker, NewCache { database: db, table, name, wanted }).await
}

pub(super) async fn create_distinct(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let CreateDistinct { db, table, name, columns, max_cardinality, max_age, node_spec } =
        services.admission.declared_json(&headers, body).await?;
    expect_all_nodes(node_spec.as_ref())?;
    let wanted = WantedCache::Distinct { columns, cardinality_max: max_cardinality, age_max_seconds: max_age };
    create(&services, &asker, NewCache { database: db, table, name, wanted }).await
}

fn expect_all_nodes(node_spec: Option<&Value>) -> Result<(), Refusal> {
    match node_spec {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if text == "all" => Ok(()),
        Some(_) => Err(Refusal::bad_request("node_spec can only be 'all': a cache is defined for the whole cluster")),
    }
}

/// Answers with what is defined, defaults and all.
async fn create(services: &Services, asker: &Asker, cache: NewCache) -> Result<Response, Refusal> {
    let command = Command::CreateCache { cache: cache.clone(), tolerant: false };
    services.operator.perform(&command, asker).await?;
    let ResolvedCache { table, name, cache: defined } = cache.resolved(&services.catalog.state())?;
    let names = |ids: &[ColumnId]| ids.iter().map(|id| table.schema.column(*id).name.to_string()).collect::<Vec<_>>();
    let mut answer = match &defined {
        Cache::Last { keys, values, count, ttl_seconds } => json!({
            "key_columns": names(keys), "value_columns": values.as_deref().map(names), "count": count,
            "ttl": ttl_seconds,
        }),
        Cache::Distinct { columns, cardinality_max, age_max_seconds } => json!({
            "columns": names(columns), "max_cardinality": cardinality_max, "max_age": age_max_seconds,
        }),
    };
    answer["db"] = cache.database.into();
    answer["table"] = cache.table.into();
    answer["name"] = name.to_string().into();
    Ok(json_answer(StatusCode::CREATED, &answer))
}

#[derive(Debug, Deserialize)]
struct Drop {
    db: String,
    table: String,
    name: String,
}

pub(super) async fn drop_last(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    drop(&services, (CacheKind::Last, &asker), request).await
}

pub(super) async fn drop_distinct(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    drop(&services, (CacheKind::Distinct, &asker), request).await
}

/// Which one is said in parameters or, without any, in the body.
async fn drop(
    services: &Services,
    (kind, asker): (CacheKind, &Asker),
    request: Request,
) -> Result<StatusCode, Refusal> {
    let (parts, body) = request.into_parts();
    let Drop { db, table, name } = match parts.uri.query() {
        Some(_) => parameters(&parts.uri)?,
        None => services.admission.declared_json(&parts.headers, body).await?,
    };
    let command = Command::DropCache { kind, table: TableRef { database: db, table }, cache: Named::strictly(name) };
    services.operator.perform(&command, asker).await?;
    Ok(StatusCode::OK)
}
