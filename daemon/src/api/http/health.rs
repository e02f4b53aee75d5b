//! What the server says about itself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

use super::Services;
use super::errors::json_answer;

/// Clients look for a release of the original whose API this is; our own follows the plus sign.
pub(crate) const VERSION: &str = concat!("3.12.0+weir.", env!("CARGO_PKG_VERSION"));
const REVISION: &str = match option_env!("WEIR_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Why this node does not want requests now; nothing when it does.
#[derive(Debug)]
pub(crate) struct Readiness {
    reason: Mutex<Option<&'static str>>,
}

impl Readiness {
    /// Not ready yet.
    #[must_use]
    pub(crate) fn starting() -> Self {
        Self { reason: Mutex::new(Some("this node is starting")) }
    }

    pub(crate) fn serve(&self) {
        *self.reason.lock() = None;
    }

    pub(crate) fn refuse(&self, reason: &'static str) {
        *self.reason.lock() = Some(reason);
    }
}

/// The process lives; nothing else is looked at.
pub(super) async fn health() -> &'static str {
    "OK"
}

pub(super) async fn ping(State(services): State<Arc<Services>>) -> Response {
    let request_id = HeaderValue::from_str(&Uuid::now_v7().to_string()).expect("a uuid is hexadecimal digits");
    let headers = [
        (HeaderName::from_static("x-influxdb-version"), HeaderValue::from_static(VERSION)),
        (HeaderName::from_static("x-influxdb-build"), HeaderValue::from_static("Enterprise")),
        (HeaderName::from_static("request-id"), request_id.clone()),
        (HeaderName::from_static("x-request-id"), request_id),
    ];
    let body = json!({
        "product_name": "Weir",
        "version": VERSION,
        "revision": REVISION,
        "process_id": services.process_id.to_string(),
    });
    (headers, json_answer(StatusCode::OK, &body)).into_response()
}

/// A store that does not answer within this time counts as away.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether this node wants requests and its store answers.
pub(super) async fn ready(State(services): State<Arc<Services>>) -> Response {
    let answer =
        |status, reason: Option<String>| json_answer(status, &json!({ "ready": reason.is_none(), "reason": reason }));
    let unready = |reason: String| answer(StatusCode::SERVICE_UNAVAILABLE, Some(reason));
    let reason = *services.readiness.reason.lock();
    if let Some(reason) = reason {
        return unready(reason.to_owned());
    }
    match tokio::time::timeout(STORE_TIMEOUT, services.catalog.refresh()).await {
        Ok(Ok(_)) => answer(StatusCode::OK, None),
        Ok(Err(error)) => unready(format!("the object store does not answer: {error}")),
        Err(_) => unready(format!("the object store does not answer within {STORE_TIMEOUT:?}")),
    }
}

pub(super) async fn metrics(State(services): State<Arc<Services>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::text::CONTENT_TYPE)], services.registry.text()).into_response()
}
