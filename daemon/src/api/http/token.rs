//! Tokens: create, regenerate, delete. The secret is in the answer to its creation and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use sql::{Asker, Command, Done, Grant, Named};
use storage::catalog::{CreatedToken, PermissionText};

use super::Services;
use super::errors::{Refusal, json_answer};
use super::write::parameters;

pub(super) const PATH: &str = "/api/v3/configure/token";
pub(super) const OPERATOR_PATH: &str = "/api/v3/configure/token/admin";
pub(super) const ENTERPRISE_OPERATOR_PATH: &str = "/api/v3/enterprise/configure/token/admin";
pub(super) const REGENERATE_PATH: &str = "/api/v3/configure/token/admin/regenerate";
pub(super) const NAMED_PATH: &str = "/api/v3/configure/token/named_admin";
pub(super) const RESOURCE_PATH: &str = "/api/v3/enterprise/configure/token";

/// Works without a token, but only while there is no operator token.
pub(super) async fn create_operator(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
) -> Result<Response, Refusal> {
    let asked = services.operator.asked(&asker, "CREATE OPERATOR TOKEN".to_owned());
    Ok(created(&services.catalog.by(&asked).create_admin_token().await?))
}

pub(super) async fn regenerate(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
) -> Result<Response, Refusal> {
    let asked = services.operator.asked(&asker, "ALTER OPERATOR TOKEN REGENERATE".to_owned());
    Ok(created(&services.catalog.by(&asked).regenerate_admin_token().await?))
}

async fn create(services: &Services, asker: &Asker, command: Command) -> Result<Response, Refusal> {
    match services.operator.perform(&command, asker).await? {
        Done::Token(token) => Ok(created(&token)),
        other => Err(Refusal::bug(format!("{command} came to {other:?}"))),
    }
}

#[derive(Debug, Deserialize)]
struct CreateNamed {
    token_name: String,
    expiry_secs: Option<u64>,
}

pub(super) async fn create_named(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let CreateNamed { token_name, expiry_secs } = services.admission.declared_json(&headers, body).await?;
    let expiry = expiry_secs.map(Duration::from_secs);
    create(&services, &asker, Command::CreateToken { name: token_name, grant: Grant::Everything, expiry }).await
}

#[derive(Debug, Deserialize)]
struct ForResources {
    token_name: String,
    permissions: Vec<GrantBody>,
    expiry_secs: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct GrantBody {
    resource_type: String,
    /// The guides of the original have the second name, its API document the first.
    #[serde(alias = "resource_identifier")]
    resource_names: Vec<String>,
    actions: Vec<String>,
}

pub(super) async fn create_resource(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let ForResources { token_name, permissions, expiry_secs } =
        services.admission.declared_json(&headers, body).await?;
    let text = |grant: GrantBody| {
        let GrantBody { resource_type, resource_names, actions } = grant;
        PermissionText { resource_type, resource_names, actions }
    };
    let grant = Grant::Permissions(permissions.into_iter().map(text).collect());
    let expiry = expiry_secs.map(Duration::from_secs);
    create(&services, &asker, Command::CreateToken { name: token_name, grant, expiry }).await
}

#[derive(Debug, Deserialize)]
struct Drop {
    token_name: String,
}

pub(super) async fn drop(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    let Drop { token_name } = parameters(&uri)?;
    services.operator.perform(&Command::DropToken(Named::strictly(token_name)), &asker).await?;
    Ok(StatusCode::OK)
}

fn created(created: &CreatedToken) -> Response {
    let CreatedToken { token, secret } = created;
    let body = json!({
        "id": token.id.0,
        "name": token.name,
        "token": secret.reveal(),
        "hash": token.hash,
        "created_at": sql::instant_text(token.created_at_ms),
        "expiry": token.expires_at_ms.map(sql::instant_text),
    });
    json_answer(StatusCode::CREATED, &body)
}
