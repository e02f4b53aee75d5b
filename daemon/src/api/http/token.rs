//! Tokens: create, regenerate, delete. The secret is in the answer to its creation and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use storage::catalog::{CreatedToken, PermissionText};

use super::errors::{Refusal, json_answer};
use super::write::parameters;
use super::{Services, instant};

pub(super) const PATH: &str = "/api/v3/configure/token";
pub(super) const OPERATOR_PATH: &str = "/api/v3/configure/token/admin";
pub(super) const ENTERPRISE_OPERATOR_PATH: &str = "/api/v3/enterprise/configure/token/admin";
pub(super) const REGENERATE_PATH: &str = "/api/v3/configure/token/admin/regenerate";
pub(super) const NAMED_PATH: &str = "/api/v3/configure/token/named_admin";
pub(super) const RESOURCE_PATH: &str = "/api/v3/enterprise/configure/token";

/// Works without a token, but only while there is no operator token.
pub(super) async fn create_operator(State(services): State<Arc<Services>>) -> Result<Response, Refusal> {
    Ok(created(&services.catalog.create_admin_token().await?))
}

pub(super) async fn regenerate(State(services): State<Arc<Services>>) -> Result<Response, Refusal> {
    Ok(created(&services.catalog.regenerate_admin_token().await?))
}

#[derive(Debug, Deserialize)]
struct Named {
    token_name: String,
    expiry_secs: Option<u64>,
}

pub(super) async fn create_named(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Named { token_name, expiry_secs } = services.admission.declared_json(&headers, body).await?;
    let expires_in = expiry_secs.map(Duration::from_secs);
    Ok(created(&services.catalog.create_named_admin_token(&token_name, expires_in).await?))
}

#[derive(Debug, Deserialize)]
struct ForResources {
    token_name: String,
    permissions: Vec<Grant>,
    expiry_secs: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Grant {
    resource_type: String,
    /// The guides of the original have the second name, its API document the first.
    #[serde(alias = "resource_identifier")]
    resource_names: Vec<String>,
    actions: Vec<String>,
}

pub(super) async fn create_resource(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let ForResources { token_name, permissions, expiry_secs } =
        services.admission.declared_json(&headers, body).await?;
    let text = |grant: Grant| {
        let Grant { resource_type, resource_names, actions } = grant;
        PermissionText { resource_type, resource_names, actions }
    };
    let permissions: Vec<_> = permissions.into_iter().map(text).collect();
    let expires_in = expiry_secs.map(Duration::from_secs);
    Ok(created(&services.catalog.create_resource_token(&token_name, &permissions, expires_in).await?))
}

#[derive(Debug, Deserialize)]
struct Drop {
    token_name: String,
}

pub(super) async fn drop(State(services): State<Arc<Services>>, uri: Uri) -> Result<StatusCode, Refusal> {
    let Drop { token_name } = parameters(&uri)?;
    services.catalog.delete_token(&token_name).await?;
    Ok(StatusCode::OK)
}

fn created(created: &CreatedToken) -> Response {
    let CreatedToken { token, secret } = created;
    let body = json!({
        "id": token.id.0,
        "name": token.name,
        "token": secret.reveal(),
        "hash": token.hash,
        "created_at": instant::to_text(token.created_at_ms),
        "expiry": token.expires_at_ms.map(instant::to_text),
    });
    json_answer(StatusCode::CREATED, &body)
}
