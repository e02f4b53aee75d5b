//! What every request passes: preflight, token, permission; and what every answer gets: headers, a count, and an answer
//! even when its handler panics.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use sql::Asker;
use storage::bucket::Secret;
use storage::catalog::Access;
use tokio_util::sync::CancellationToken;

use super::Services;
use super::body::discard_unread;
use super::errors::{Refusal, Shape};
use crate::api::auth::{self, token_in};
use crate::config::OpenEndpoint;

/// What a route asks of the token of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Not even a token.
    Nothing,
    /// A valid one; the handler asks for the permission once it knows the database.
    Token,
    Admin,
    /// Reading this endpoint, unless the node was told to open it.
    System(OpenEndpoint),
}

pub(super) type NeedsByRoute = HashMap<(Method, &'static str), Needs>;

const CLUSTER_UUID: HeaderName = HeaderName::from_static("cluster-uuid");

/// The token a request came with, for a handler that waits so long for its body that it must ask again.
#[derive(Clone)]
pub(super) struct Presented(Option<String>);

impl Presented {
    /// What the bearer may do by now.
    pub(super) async fn access(&self, services: &Services) -> Result<Access, auth::Error> {
        services.auth.access(self.0.as_deref()).await
    }

    /// For other nodes, which judge it themselves.
    pub(super) fn token(&self) -> Option<Secret> {
        self.0.as_deref().map(Secret::new)
    }
}

pub(super) async fn pass(State(services): State<Arc<Services>>, mut request: Request, next: Next) -> Response {
    let template = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let measured = services.meter.begin(request.method(), template.as_deref());
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else {
        let visitor = visitor(&services, &request, template.as_deref());
        let token = match &visitor {
            Ok(Visitor::Bearer { token, .. }) => token.clone(),
            Ok(Visitor::Anyone) | Err(_) => None,
        };
        let meant = services.forwarder.expect_for_us(request.headers());
        let admitted = match meant.and(visitor) {
            Ok(visitor) => admit(&services, visitor).await,
            Err(refusal) => Err(refusal),
        };
        match admitted {
            Ok(access) => {
                let presented = Presented(token);
                request.extensions_mut().insert(Asker {
                    access: access.clone(),
                    token: presented.token(),
                    door: "http",
                    within: None,
                    cancelled: CancellationToken::new(),
                });
                request.extensions_mut().insert(access);
                request.extensions_mut().insert(presented);
                answer(next, request).await
            }
            Err(refusal) => {
                let (parts, body) = request.into_parts();
                discard_unread(&parts.headers, body).await;
                refusal.into_response()
            }
        }
    };
    let success = response.status().is_success();
    let headers = response.headers_mut();
    let uuid = HeaderValue::from_str(&services.cluster_uuid.to_string()).expect("a uuid is hexadecimal digits");
    headers.insert(CLUSTER_UUID, uuid);
    if success {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    measured.follow(response)
}

fn preflight() -> Response {
    let all = HeaderValue::from_static("*");
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, all.clone()),
        (header::ACCESS_CONTROL_ALLOW_METHODS, all.clone()),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, all),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// The tasks of a request die with it, and what it held is released by drops, so nothing half-done stays behind. The
/// panic is in the log by then.
pub(super) async fn answer(next: Next, request: Request) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Refusal::bug("the handler of this request panicked").into_response(),
    }
}

/// What a request shows and what its route asks, before anything is looked up.
#[derive(Debug)]
enum Visitor {
    /// Passes without a look at its token.
    Anyone,
    Bearer {
        token: Option<String>,
        /// `None` when there is no such route.
        needs: Option<Needs>,
        /// How a refusal looks on this path.
        shape: Shape,
    },
}

fn visitor(services: &Services, request: &Request, template: Option<&str>) -> Result<Visitor, Refusal> {
    let path = request.uri().path();
    if services.auth.is_off() && is_token_path(path) {
        let message = "endpoint disabled, started without auth";
        return Err(Refusal::plain(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    let needs = template.and_then(|template| needs(&services.needs, request.method(), template));
    match needs {
        Some(Needs::Nothing) => return Ok(Visitor::Anyone),
        Some(Needs::System(endpoint)) if services.auth.is_open(endpoint) => return Ok(Visitor::Anyone),
        _ => {}
    }
    let shape = Shape::on(path, request.headers());
    // Without authentication not even the form of a token is looked at.
    let token = if services.auth.is_off() { Ok(None) } else { presented(request) };
    match token {
        Ok(token) => Ok(Visitor::Bearer { token, needs, shape }),
        Err(error) => Err(Refusal::of_auth(error, shape)),
    }
}

/// Checks the token first and the route second: who has no token does not learn which paths there are.
async fn admit(services: &Services, visitor: Visitor) -> Result<Access, Refusal> {
    let (token, needs, shape) = match visitor {
        Visitor::Anyone => return Ok(nobody()),
        Visitor::Bearer { token, needs, shape } => (token, needs, shape),
    };
    let refuse = |error: auth::Error| Refusal::of_auth(error, shape.clone());
    let access = services.auth.access(token.as_deref()).await.map_err(refuse)?;
    let granted = match needs {
        Some(Needs::Admin) => access.is_admin(),
        Some(Needs::System(endpoint)) => access.allows_system(endpoint.name()),
        Some(Needs::Token | Needs::Nothing) | None => true,
    };
    if granted { Ok(access) } else { Err(refuse(auth::Error::Forbidden)) }
}

/// Grants nothing.
fn nobody() -> Access {
    Access { token: None, permissions: Vec::new() }
}

fn is_token_path(path: &str) -> bool {
    path.starts_with("/api/v3/configure/token") || path.starts_with("/api/v3/enterprise/configure/token")
}

fn needs(needs: &NeedsByRoute, method: &Method, template: &str) -> Option<Needs> {
    // A HEAD request is served as a GET without its body.
    let method = if method == Method::HEAD { Method::GET } else { method.clone() };
    needs.iter().find(|((m, path), _)| *m == method && *path == template).map(|(_, needs)| *needs)
}

/// The token of the request: on the v1 paths the parameter `p` comes before the header.
fn presented(request: &Request) -> Result<Option<String>, auth::Error> {
    if matches!(request.uri().path(), "/write" | "/query")
        && let Some(token) = parameter_p(request.uri().query().unwrap_or_default())
    {
        return Ok(Some(token));
    }
    token_of(request.headers())
}

fn parameter_p(query: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    pairs.into_iter().find(|(name, _)| name == "p").map(|(_, value)| value)
}

fn token_of(headers: &HeaderMap) -> Result<Option<String>, auth::Error> {
    headers.get(header::AUTHORIZATION).map(|value| token_in(value.as_bytes())).transpose()
}
