//! Calls other nodes to follow their logs.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use storage::clock::Clock;
use storage::model::NodeId;
use storage::replica::{Line, Wire, WireError};
use storage::tasks::Tasks;
use storage::wal::{Call, Ping, Told};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Request, Status};

use super::executor::NodeTasks;
use super::message::{Asked, Messages};
use super::token::Secrets;
use super::{MESSAGE_BYTES_MAX, PATH, tls};

/// Whoever is called is asked for a sign of life so often, or is taken for gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes that may be on their way before the sender waits.
const WINDOW_BYTES: u32 = 4 << 20;
const PINGS_WAITING_MAX: usize = 8;

#[derive(Clone)]
pub(super) struct Parts {
    /// This node.
    pub(super) node: NodeId,
    pub(super) secrets: Arc<Secrets>,
    pub(super) connector: Option<TlsConnector>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
}

pub(super) struct Client(Parts);

impl Client {
    pub(super) fn new(parts: Parts) -> Self {
        Self(parts)
    }
}

impl Wire for Client {
    fn call(&self, call: Call, address: Arc<str>) -> BoxFuture<'static, Result<Line, WireError>> {
        let parts = self.0.clone();
        async move { parts.call(call, &address).await }.boxed()
    }
}

impl Parts {
    async fn call(self, call: Call, address: &str) -> Result<Line, WireError> {
        let sender = self.connect(address).await?;
        let uri = format!("http://{address}").parse().map_err(|error| broken(address, &error))?;
        let mut grpc = tonic::client::Grpc::with_origin(Sender(sender), uri);
        grpc = grpc.max_decoding_message_size(MESSAGE_BYTES_MAX);
        let token = self.secrets.sign(&self.node, &call, self.clock.now_ms());
        let (pings, waiting) = mpsc::channel(PINGS_WAITING_MAX);
        let pinged = stream::unfold(waiting, |mut pings: mpsc::Receiver<Ping>| async move {
            Some((Asked::Ping(pings.recv().await?), pings))
        });
        let first = Asked::Call(call);
        let mut request = Request::new(stream::once(async move { first }).chain(pinged));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a token is letters, digits and dots");
            request.metadata_mut().insert("authorization", value);
        }
        let path = http::uri::PathAndQuery::from_static(PATH);
        let answer = grpc.streaming(request, path, Messages::new()).await.map_err(refusal)?;
        let told = answer.into_inner().map(|told: Result<Told, Status>| told.map_err(refusal));
        Ok(Line { pings, told: told.boxed() })
    }

    async fn connect(&self, address: &str) -> Result<SendRequest<Body>, WireError> {
        let stream = TcpStream::connect(address).await.map_err(|error| broken(address, &error))?;
        stream.set_nodelay(true).map_err(|error| broken(address, &error))?;
        let Some(tls) = &self.connector else { return self.speak(stream).await };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        match tls::connect(tls, host, stream).await {
            Ok(stream) => self.speak(stream).await,
            Err(error) => Err(match tls::trouble_with_certificates(&error) {
                Some(trouble) => WireError::Refused(format!("connect to {address}: {trouble}")),
                None => broken(address, &error),
            }),
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<SendRequest<Body>, WireError> {
        let tasks = NodeTasks::new("line to another node", self.tasks.clone());
        let mut http = http2::Builder::new(tasks.clone());
        http.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_INTERVAL);
        http.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let shaken = http.handshake::<_, Body>(TokioIo::new(stream)).await;
        let (sender, requests) = shaken.map_err(|error| WireError::Broken(error.to_string()))?;
        // Takes the request to the connection, which the library has started beside it and whose errors the line tells.
        tasks.execute(requests);
        Ok(sender)
    }
}

fn broken(address: &str, error: &dyn Display) -> WireError {
    WireError::Broken(format!("connect to {address}: {error}"))
}

fn refusal(status: Status) -> WireError {
    match status.code() {
        Code::Unauthenticated => WireError::Refused(status.message().to_owned()),
        code => WireError::Broken(format!("{code:?}: {}", status.message())),
    }
}

/// A connection, as the library wants it.
struct Sender(SendRequest<Body>);

impl Service<http::Request<Body>> for Sender {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.send_request(request).boxed()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("node", &self.0.node).finish_non_exhaustive()
    }
}
