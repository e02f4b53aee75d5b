//! Nodes: how one is, asking it to stop, taking it out of the cluster.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
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
    let (node, condition) = found(&services, &which).await?;
    Ok(answer(&services, &node, condition))
}

pub(super) async fn stop(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (node, condition) = asked_for(&services, &headers, body).await?;
    let id = &node.id;
    match condition {
        Condition::Stopped => {
            return Err(Refusal::bad_request(format!("tried to stop a node ({id}) that is already stopped")));
        }
        Condition::Lost => {
            let message = format!(
                "node '{id}' is dead and cannot be asked to stop; what it answered is in its log, and is shown by every \
                 node that answers queries"
            );
            return Err(Refusal::plain(StatusCode::CONFLICT, message));
        }
        Condition::Joining | Condition::Running | Condition::Stopping | Condition::Removed => {}
    }
    // A process that was started since this look is not the one that was meant.
    services.catalog.stop_node(id, node.epoch).await?;
    Ok(answer(&services, &node, Condition::Stopping))
}

pub(super) async fn remove(
    State(services): State<Arc<Services>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (node, condition) = asked_for(&services, &headers, body).await?;
    if condition != Condition::Stopped {
        let id = &node.id;
        let message = format!("node '{id}' is not fully stopped (current state: {condition}); run \"stop node\" first");
        return Err(Refusal::plain(StatusCode::CONFLICT, message));
    }
    services.catalog.remove_node(&node.id, node.epoch).await?;
    Ok(answer(&services, &node, Condition::Removed))
}

/// The node that a JSON body names.
async fn asked_for(services: &Services, headers: &HeaderMap, body: Body) -> Result<(Arc<Node>, Condition), Refusal> {
    let which: Which = services.admission.declared_json(headers, body).await?;
    found(services, &which).await
}

/// A node of the cluster, as the catalog and its heartbeat have it now.
async fn found(services: &Services, which: &Which) -> Result<(Arc<Node>, Condition), Refusal> {
    let state = services.catalog.refresh().await?;
    services.member.observe(Duration::ZERO).await;
    let node = state.members().find(|node| node.id.as_str() == which.node_id).cloned().ok_or_else(|| {
        let shown: String = which.node_id.escape_debug().take(60).collect();
        Refusal::plain(StatusCode::NOT_FOUND, format!("the requested resource was not found: {shown}"))
    })?;
    let condition = services.member.lives().condition(&node);
    Ok((node, condition))
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
