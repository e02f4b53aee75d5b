//! Tables: create, retention, drop.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use sql::{Asker, Command, TableRef};
use storage::catalog::NewTable;
use storage::model::FieldType;

use super::Services;
use super::database::{hard_delete, retention};
use super::errors::Refusal;
use super::write::parameters;

pub(super) const PATH: &str = "/api/v3/configure/table";
pub(super) const RETENTION_PATH: &str = "/api/v3/enterprise/configure/table/retention_period";

#[derive(Debug, Deserialize)]
struct Create {
    db: String,
    table: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    fields: Vec<NamedField>,
    retention_period: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NamedField {
    name: String,
    r#type: String,
}

pub(super) async fn create(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let Create { db, table, tags, fields, retention_period } = services.admission.declared_json(&headers, body).await?;
    let fields: Result<_, Refusal> =
        fields.into_iter().map(|field| Ok((field.name, field_type(&field.r#type)?))).collect();
    let retention_ns = retention(retention_period.as_deref())?;
    let table = NewTable { database: db, name: table, tags, fields: fields?, retention_ns };
    services.operator.perform(&Command::CreateTable { table, tolerant: false }, &asker).await?;
    Ok(StatusCode::OK)
}

fn field_type(text: &str) -> Result<FieldType, Refusal> {
    match text {
        "utf8" => Ok(FieldType::String),
        "int64" => Ok(FieldType::Integer),
        "uint64" => Ok(FieldType::UInteger),
        "float64" => Ok(FieldType::Float),
        "bool" => Ok(FieldType::Boolean),
        other => {
            let shown: String = other.escape_debug().take(40).collect();
            Err(Refusal::bad_request(format!("field type '{shown}' is none of utf8, int64, uint64, float64 and bool")))
        }
    }
}

#[derive(Debug, Deserialize)]
struct Update {
    db: String,
    table: String,
    retention_period: Option<String>,
}

pub(super) async fn update(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let Update { db, table, retention_period } = services.admission.declared_json(&headers, body).await?;
    let retention_ns = retention(retention_period.as_deref())?;
    let table = TableRef { database: db, table };
    services.operator.perform(&Command::SetTableRetention { table, retention_ns }, &asker).await?;
    Ok(StatusCode::OK)
}

#[derive(Debug, Deserialize)]
struct SetRetention {
    db: String,
    table: String,
    duration: Option<String>,
}

pub(super) async fn set_retention(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let SetRetention { db, table, duration } = parameters(&uri)?;
    let duration = duration.ok_or_else(|| Refusal::bad_request("missing query parameter 'duration'"))?;
    let retention_ns = retention(Some(&duration))?;
    let table = TableRef { database: db, table };
    services.operator.perform(&Command::SetTableRetention { table, retention_ns }, &asker).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn clear_retention(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let SetRetention { db, table, duration: _ } = parameters(&uri)?;
    let table = TableRef { database: db, table };
    services.operator.perform(&Command::SetTableRetention { table, retention_ns: None }, &asker).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct Drop {
    db: String,
    table: String,
    hard_delete_at: Option<String>,
    #[serde(default)]
    data_only: bool,
}

pub(super) async fn drop(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let Drop { db, table, hard_delete_at, data_only } = parameters(&uri)?;
    if data_only {
        return Err(Refusal::bad_request("data_only is not supported yet"));
    }
    let (table, hard_delete) = (TableRef { database: db, table }, hard_delete(hard_delete_at.as_deref())?);
    services.operator.perform(&Command::DropTable { table, tolerant: false, hard_delete }, &asker).await?;
    Ok(StatusCode::OK)
}
