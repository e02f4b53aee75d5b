//! Nodes: how one is, asking it to stop, taking it out of the cluster.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use sql::{Asker, Command, Done};
use storage::catalog::Node;
use storage::cluster::Condition;

use super::Services;
use super::errors::{Refusal, json_answer};
use super::write::parameters;

pub(super) const PATH: &str = "/api/v3/enterprise/configure/node";
pub(super) const STOP_PATH: &str = "/api/v3/enterprise/configure/node/stop";
pub(super) const REMOVE_PATH: &str = "/api/v3/enterprise/configure/node/remove";

#[derive(Debug, Deserialize)]
struct Which {
    node_id: String,
}

/// The state of one node.
pub(super) async fn show(State(services): State<Arc<Services>>, uri: Uri) -> Result<Response, Refusal> {
    let which: Which = parameters(&uri)?;
    let (node, condition) = services.operator.node(&which.node_id).await?;
    Ok(answer(&services, &node, condition))
}

pub(super) async fn stop(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Which { node_id: node } = services.admission.declared_json(&headers, body).await?;
    change(&services, &asker, Command::DrainNode { node }).await
}

pub(super) async fn remove(
    State(services): State<Arc<Services>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Which { node_id: node } = services.admission.declared_json(&headers, body).await?;
    change(&services, &asker, Command::RemoveNode { node }).await
}

async fn change(services: &Services, asker: &Asker, command: Command) -> Result<Response, Refusal> {
    match services.operator.perform(&command, asker).await? {
        Done::Node(node, condition) => Ok(answer(services, &node, condition)),
        other => Err(Refusal::bug(format!("{command} came to {other:?}"))),
    }
}

fn answer(services: &Services, node: &Node, condition: Condition) -> Response {
    let body = json!({
        "node_id": node.id.as_str(),
        "epoch": node.epoch.0,
        "state": condition.to_string(),
        "answered_by": services.member.node().as_str(),
    });
    json_answer(StatusCode::OK, &body)
}
