//! Requests that this node does not serve, by its modes, go on to a node that does.
//!
//! # Promises
//! - Bodies stream both ways, and all headers pass but those of the connection; the token is checked here and there.
//! - A request that was forwarded is never forwarded again, and a node that it was not meant for refuses it.
//! - Only nodes are asked whose heartbeat moves and that say they are ready, each in its turn. One that cannot be connected
//!   to is passed over for the next. Once anything of a request may have reached a node, no other is asked: the sender is
//!   told that the outcome is not known. (Sending a write again is safe: the same rows unite.)
//! - An answer is waited for while the node that owes it lives; one that breaks off breaks the answer here too.
//! - A sender that breaks off is answered and counted as such; the node that its request went to is not blamed for it.
//! - Calls of Flight go on over HTTP/2, with what follows their bodies. A client that does not read its answer keeps
//!   nobody else waiting.
//! - When nobody can be asked, the answer says which mode is missing: 503, so that clients come back.
//!
//! # Not here
//! - Which of several nodes is the least busy: they take turns.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper_rustls::builderstates::WantsProtocols1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self as client, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use metrics::{CounterVec, Registry};
use parking_lot::Mutex;
use storage::catalog::{Catalog, Node};
use storage::cluster::{Condition, Member};
use storage::model::{Mode, Modes, NodeId};
use tokio::time::Instant;

use super::Services;
use super::body::{discard_unread, is_grpc};
use super::errors::{Refusal, Shape};
use super::server::HTTP2_STREAMS_MAX;
use super::tls::Trust;
use crate::config::Forward;

/// Says which node sent a request on.
const FORWARDED_BY: HeaderName = HeaderName::from_static("weir-forwarded-by");

/// Says which node of which cluster a request was sent on to: an address may belong to another one by now.
pub(super) const FORWARDED_TO: HeaderName = HeaderName::from_static("weir-forwarded-to");

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The system asks the other end of a silent connection for a sign of life after so long, so often, so many times.
const KEEPALIVE: (Duration, u32) = (Duration::from_secs(10), 3);
/// Shorter than a server keeps a connection on which nothing is asked.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How often it is looked whether the node that owes an answer lives.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const SEARCH_TIMEOUT: Duration = Duration::from_secs(2);
/// The shortest time between two looks at all nodes because nobody seems to be there.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// What may wait here of the answer to one call of gRPC, until its client reads it.
const CALL_BYTES_WAITING: u32 = 512 << 10;

/// Headers that are about one connection, and those that are said anew for the next one.
const NOT_FORWARDED: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::HOST,
];

/// What `Forwarder::new` is made from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) how: Forward,
    pub(super) modes: Modes,
    pub(super) cluster: NodeId,
    pub(super) catalog: Arc<Catalog>,
    pub(super) member: Member,
}

/// What requests are sent on with.
#[derive(Debug)]
pub(super) struct Forwarder {
    origin: Origin,
    client: NodeClient<Lent>,
    /// For calls of gRPC.
    http2: NodeClient<Lent>,
    turn: AtomicUsize,
    searched: tokio::sync::Mutex<Option<Instant>>,
    forwarded: CounterVec,
}

impl Forwarder {
    pub(super) fn new(origin: Origin, trust: &Trust, registry: &Registry) -> Self {
        let help = "HTTP requests that this node does not serve, by the mode that does and what became of them";
        Self {
            origin,
            client: client(trust),
            http2: connections()
                .http2_only(true)
                .http2_initial_stream_window_size(CALL_BYTES_WAITING)
                // All calls to a node share a connection, and one whose client does not read must not stop the others.
                .http2_initial_connection_window_size(CALL_BYTES_WAITING * HTTP2_STREAMS_MAX)
                .build(connector(trust).enable_http2().wrap_connector(tcp())),
            turn: AtomicUsize::new(0),
            searched: tokio::sync::Mutex::default(),
            forwarded: registry.counter_vec("http_requests_forwarded_total", help, &["mode", "outcome"]),
        }
    }

    /// Whether this node serves what takes this mode.
    pub(super) fn serves(&self, mode: Mode) -> bool {
        self.origin.modes.has(mode)
    }

    /// Refuses a request that was sent on to somebody else, who had this address before.
    pub(super) fn expect_for_us(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let us = addressee(&self.origin.catalog, self.origin.member.node());
        match headers.get(&FORWARDED_TO) {
            Some(whom) if whom.as_bytes() != us.as_bytes() => {
                let message = format!("this is {us}, and the request was sent on to another node");
                Err(Refusal::json(StatusCode::MISDIRECTED_REQUEST, message))
            }
            _ => Ok(()),
        }
    }

    async fn forward(&self, mode: Mode, request: Request) -> Result<Response, Failed> {
        let by = request.headers().get(&FORWARDED_BY).map(|by| String::from_utf8_lossy(by.as_bytes()).into_owned());
        let (parts, body) = request.into_parts();
        let whom = match (self.origin.how, by) {
            (_, Some(by)) => Err(self.twice(mode, &by)),
            (Forward::Off, None) => Err(self.off(mode).await),
            (Forward::On, None) => self.candidates(mode).await,
        };
        let candidates = match whom {
            Ok(candidates) => candidates,
            Err(refusal) => {
                discard_unread(&parts.headers, body).await;
                return Err(Failed { refusal, outcome: "refused" });
            }
        };
        let lender = Lender::new(body);
        for node in candidates {
            let Some(outgoing) = self.outgoing(&parts, &node, &lender) else { continue };
            let client = if is_grpc(&parts.headers) { &self.http2 } else { &self.client };
            let answered = tokio::select! {
                biased;
                answered = client.request(outgoing) => answered,
                // Whether anything of it was kept is not known.
                () = gone(&self.origin.member, &node) => return Err(broken(&node, &"it does not show any more that it lives")),
            };
            match answered {
                Ok(answer) if answer.status() == StatusCode::MISDIRECTED_REQUEST => {
                    tracing::warn!(node = %node.id, "another node answers at the address of this one");
                    if !lender.is_whole() {
                        return Err(broken(&node, &"another one answers at its address"));
                    }
                }
                Ok(answer) => return Ok(incoming(answer)),
                Err(error) if error.is_connect() && lender.is_whole() => {
                    tracing::info!(node = %node.id, ?error, "a node that should serve cannot be reached");
                }
                Err(error) => return Err(lender.broke_off().unwrap_or_else(|| broken(&node, &error))),
            }
        }
        discard_unread(&parts.headers, lender.take_back()).await;
        Err(Failed { refusal: self.nobody(mode), outcome: "refused" })
    }

    /// The nodes that may be asked, in the order in which they should be.
    async fn candidates(&self, mode: Mode) -> Result<Vec<Arc<Node>>, Refusal> {
        self.origin.member.observe(LOOK_EVERY * 2).await;
        let mut found = self.serving(mode);
        if found.is_empty() {
            self.search().await;
            found = self.serving(mode);
        }
        if found.is_empty() {
            return Err(self.nobody(mode));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % found.len();
        found.rotate_left(turn);
        Ok(found)
    }

    fn serving(&self, mode: Mode) -> Vec<Arc<Node>> {
        let state = self.origin.catalog.state();
        let others = state.members().filter(|node| node.id != *self.origin.member.node());
        let serving = others.filter(|node| node.description.modes.has(mode) && node.description.http.is_some());
        serving.filter(|node| self.origin.member.lives().condition(node) == Condition::Running).cloned().collect()
    }

    /// A node may have come, or become ready, a moment ago.
    async fn search(&self) {
        let mut searched = self.searched.lock().await;
        if searched.is_some_and(|at| at.elapsed() < SEARCH_EVERY) {
            return;
        }
        // Without an answer what was known last must do.
        if let Ok(Err(error)) = tokio::time::timeout(SEARCH_TIMEOUT, self.origin.catalog.refresh()).await {
            tracing::warn!(%error, "could not read the catalog to find a node that serves a request");
        }
        self.origin.member.observe(Duration::ZERO).await;
        *searched = Some(Instant::now());
    }

    fn outgoing(&self, parts: &Parts, node: &Node, lender: &Lender) -> Option<Request<Lent>> {
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let uri: Uri = url(node.description.http.as_ref()?, target).parse().ok()?;
        let mut request = Request::builder().method(parts.method.clone()).uri(uri).version(Version::HTTP_11);
        let headers = request.headers_mut()?;
        *headers = end_to_end(&parts.headers);
        headers.insert(FORWARDED_TO, HeaderValue::from_str(&addressee(&self.origin.catalog, &node.id)).ok()?);
        if is_grpc(&parts.headers) {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        headers.insert(FORWARDED_BY, HeaderValue::from_str(self.origin.member.node().as_str()).ok()?);
        request.body(lender.lend()).ok()
    }

    fn nobody(&self, mode: Mode) -> Refusal {
        let message = format!("no live node with mode '{mode}' in cluster '{}'", self.origin.cluster);
        Refusal::json(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    fn twice(&self, mode: Mode, by: &str) -> Refusal {
        let by: String = by.escape_debug().take(60).collect();
        let message = format!("{}, and the request was forwarded by '{by}' already", self.does_not_serve(mode));
        Refusal::json(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    async fn off(&self, mode: Mode) -> Refusal {
        self.origin.member.observe(LOOK_EVERY).await;
        let tell = |node: Arc<Node>| match &node.description.http {
            Some(address) => format!("{} at {address}", node.id),
            None => node.id.to_string(),
        };
        let others: Vec<String> = self.serving(mode).into_iter().map(tell).collect();
        let others = if others.is_empty() { "none that lives".to_owned() } else { others.join(", ") };
        let message = format!("{}; nodes with mode '{mode}': {others}", self.does_not_serve(mode));
        Refusal::json(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    fn does_not_serve(&self, mode: Mode) -> String {
        let what = if mode == Mode::Ingest { "writes" } else { "queries" };
        format!("this node (mode: {}) does not serve {what}", self.origin.modes)
    }
}

/// Returns once the node is known to be gone.
pub(super) async fn gone(member: &Member, node: &Node) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        member.observe(LOOK_EVERY).await;
        if matches!(member.lives().condition(node), Condition::Lost | Condition::Stopped) {
            return;
        }
    }
}

/// Who a request is meant for.
pub(super) fn addressee(catalog: &Catalog, node: &NodeId) -> String {
    format!("{:032x}/{node}", catalog.cluster())
}

/// Connections to other nodes, with TLS where their addresses say so.
pub(super) type NodeClient<B> = Client<HttpsConnector<HttpConnector>, B>;

pub(super) fn client<B>(trust: &Trust) -> NodeClient<B>
where
    B: HttpBody<Data: Send> + Send,
{
    connections().build(connector(trust).enable_http1().wrap_connector(tcp()))
}

fn connector(trust: &Trust) -> HttpsConnectorBuilder<WantsProtocols1> {
    HttpsConnectorBuilder::new().with_tls_config(trust.0.clone()).https_or_http()
}

/// Where a node is reached, by the address it tells: with a scheme, unless it has no TLS.
pub(super) fn url(address: &str, target: &str) -> String {
    let scheme = if address.contains("://") { "" } else { "http://" };
    format!("{scheme}{address}{target}")
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    let (every, times) = KEEPALIVE;
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    connector.set_keepalive(Some(every));
    connector.set_keepalive_interval(Some(every));
    connector.set_keepalive_retries(Some(times));
    connector.set_tcp_user_timeout(Some(every * times));
    connector
}

fn connections() -> client::Builder {
    let mut connections = Client::builder(TokioExecutor::new());
    connections
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
    connections
}

/// What is said instead of an answer, and how that is counted.
struct Failed {
    refusal: Refusal,
    outcome: &'static str,
}

fn broken(node: &Node, error: &dyn std::fmt::Display) -> Failed {
    let message = format!(
        "node '{}' took the request and gave no answer: {error}; it may or may not have done what was asked (sending the \
         same rows again is safe)",
        node.id
    );
    tracing::warn!(node = %node.id, %error, "a forwarded request was not answered");
    Failed { refusal: Refusal::json(StatusCode::SERVICE_UNAVAILABLE, message), outcome: "failed" }
}

/// Stands in the place of the handler of a route that takes `mode`.
pub(super) async fn forward(services: Arc<Services>, mode: Mode, request: Request) -> Response {
    let shape = Shape::on(request.uri().path(), request.headers());
    let result = services.forwarder.forward(mode, request).await;
    let outcome = result.as_ref().map_or_else(|failed| failed.outcome, |_| "answered");
    services.forwarder.forwarded.with(&[mode.name(), outcome]).inc();
    result.unwrap_or_else(|failed| failed.refusal.shaped(shape).into_response())
}

fn incoming(answer: Response<hyper::body::Incoming>) -> Response {
    let (mut parts, body) = answer.into_parts();
    parts.headers = end_to_end(&parts.headers);
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, Body::new(body))
}

/// The headers that are for the other end, not for the next connection.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let said = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let of_connection: Vec<String> =
        said.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let is_forwarded = |name: &HeaderName| {
        !NOT_FORWARDED.contains(name) && !of_connection.iter().any(|listed| listed == name.as_str())
    };
    headers.iter().filter(|(name, _)| is_forwarded(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Keeps the body of a request while nothing of it was asked for, so that it can be offered to another node.
#[derive(Debug)]
struct Lender(Arc<Mutex<Shelf>>);

#[derive(Debug)]
struct Shelf {
    body: Body,
    is_whole: bool,
    /// Why the sender did not send all of it.
    broke_off: Option<String>,
}

impl Lender {
    fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Shelf { body, is_whole: true, broke_off: None })))
    }

    fn lend(&self) -> Lent {
        Lent(Arc::clone(&self.0))
    }

    /// Whether nothing of the body has been asked for yet.
    fn is_whole(&self) -> bool {
        self.0.lock().is_whole
    }

    /// What is to be said when the body did not end as its sender had announced.
    fn broke_off(&self) -> Option<Failed> {
        let reason = self.0.lock().broke_off.clone()?;
        let refusal = Refusal::json(StatusCode::BAD_REQUEST, format!("read request body: {reason}"));
        Some(Failed { refusal, outcome: "broken_off" })
    }

    fn take_back(self) -> Body {
        std::mem::take(&mut self.0.lock().body)
    }
}

/// The body of a request on its way to a node.
#[derive(Debug)]
struct Lent(Arc<Mutex<Shelf>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut shelf = self.0.lock();
        shelf.is_whole = false;
        let polled = Pin::new(&mut shelf.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &polled {
            shelf.broke_off = Some(error.to_string());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_connection_stay_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer t"),
            ("content-encoding", "gzip"),
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("host", "a"),
            ("expect", "100-continue"),
            ("x-yours", "2"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let kept = end_to_end(&headers);
        let mut kept: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["authorization", "content-encoding", "x-yours"]);
    }

    #[test]
    fn an_address_says_whether_it_wants_tls() {
        assert_eq!(url("a:1", "/x?y"), "http://a:1/x?y");
        assert_eq!(url("https://a:1", "/x?y"), "https://a:1/x?y");
    }

    #[tokio::test]
    async fn a_body_that_nobody_asked_for_is_whole_for_the_next() {
        let lender = Lender::new(Body::from("rows"));
        drop(lender.lend());
        assert!(lender.is_whole());
        let bytes = http_body_util::BodyExt::collect(lender.lend()).await.expect("it is in memory").to_bytes();
        assert_eq!((&bytes[..], lender.is_whole()), (&b"rows"[..], false));
    }
}
