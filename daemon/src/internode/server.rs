//! Answers other nodes that follow the log of this one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use storage::clock::Clock;
use storage::tasks::Tasks;
use storage::wal::{Feed, Told};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Request, Response, Status, Streaming};

use super::executor::NodeTasks;
use super::message::{Asked, Messages};
use super::refusals::Refusals;
use super::token::{Disbelief, Secrets};
use super::{MESSAGE_BYTES_MAX, PATH, tls};

/// More nodes than this do not follow one.
const CONNECTIONS_MAX: usize = 256;
/// A connection has one line; so has its memory.
const LINES_MAX: u32 = 1;
/// A connection without a line is closed after so long, whatever its caller does instead.
const LINE_WITHIN: Duration = Duration::from_secs(5);
/// Whoever is connected is asked for a sign of life so often, or is taken for gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait when the system gives no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The largest message of a follower: a call, with its node id.
const ASKED_BYTES_MAX: usize = 1 << 10;

pub(super) struct Parts {
    /// What is pushed; a node that takes no writes has nothing.
    pub(super) feed: Option<Arc<Feed>>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
}

#[derive(Clone)]
pub(super) struct Server(Arc<Inner>);

struct Inner {
    parts: Parts,
    streams: NodeTasks,
    refusals: Refusals,
}

impl Server {
    pub(super) fn new(parts: Parts) -> Self {
        let streams = NodeTasks::new("line of another node", parts.tasks.clone());
        Self(Arc::new(Inner { parts, streams, refusals: Refusals::default() }))
    }

    pub(super) async fn run(self, listener: TcpListener) {
        let (places, stopping) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), self.0.parts.tasks.stopping());
        let connections = NodeTasks::new("connection of another node", self.0.parts.tasks.clone());
        loop {
            let (stream, from) = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                // Dropped only at the stop.
                accepted = accept(&listener) => accepted,
            };
            // Whoever is hung up on goes on with the store; one that waits would not know that it should.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                self.0.refusals.tell(from, "no connection is left", format_args!("there are {CONNECTIONS_MAX}"));
                continue;
            };
            let caller = Caller { server: self.clone(), from, follows: watch::Sender::new(false) };
            connections.execute(async move {
                let _place = place;
                tokio::select! {
                    biased;
                    // No warning: so does a call look of which the network has lost a part.
                    () = caller.silent() => tracing::debug!(%from, "a connection has no line for too long"),
                    () = caller.serve(stream) => {}
                }
            });
        }
    }
}

/// Whoever is at the other end of a connection.
#[derive(Clone)]
struct Caller {
    server: Server,
    from: SocketAddr,
    /// Whether it has a line.
    follows: watch::Sender<bool>,
}

impl Caller {
    /// Ends when it has had no line for too long.
    async fn silent(&self) {
        let mut follows = self.follows.subscribe();
        while tokio::time::timeout(LINE_WITHIN, follows.wait_for(|follows| *follows)).await.is_ok() {
            follows.wait_for(|follows| !follows).await.expect("this caller holds the sender");
        }
    }

    async fn serve(&self, stream: TcpStream) {
        // A sign of life should not wait for company.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps waiting to fill packets");
        }
        let Some(tls) = &self.server.0.parts.acceptor else { return self.speak(stream).await };
        match tls.accept(stream).await {
            Ok(stream) => self.speak(stream).await,
            Err(error) if tls::is_of_tls(&error) => self.refuse("no secure connection", error),
            Err(error) => tracing::debug!(from = %self.from, %error, "the connection of another node broke"),
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut http = http2::Builder::new(self.server.0.streams.clone());
        http.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_INTERVAL);
        http.max_concurrent_streams(LINES_MAX);
        let service = service_fn(|request| self.clone().answer(request).map(Ok::<_, Infallible>));
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(from = %self.from, %error, "a connection of another node broke");
        }
    }

    async fn answer(self, request: http::Request<Incoming>) -> http::Response<Body> {
        if request.uri().path() != PATH {
            return Status::unimplemented(format!("there is only {PATH}")).into_http();
        }
        let grpc = tonic::server::Grpc::new(Messages::new());
        let mut grpc = grpc.max_decoding_message_size(ASKED_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
        grpc.streaming(Follow(self), request).await
    }

    async fn follow(self, request: Request<Streaming<Asked>>) -> Result<Line, Status> {
        let Inner { parts, refusals, .. } = &*self.server.0;
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let claims = match parts.secrets.check(token, parts.clock.now_ms()) {
            Ok(claims) => claims,
            Err(Disbelief { reason, detail }) => return Err(self.unauthenticated(reason, &detail)),
        };
        let mut said = request.into_inner();
        let Some(Asked::Call(call)) = said.message().await? else {
            return Err(Status::invalid_argument("the first message must be a call"));
        };
        if let Some(claims) = claims.filter(|claims| !claims.are_for(&call)) {
            return Err(self.unauthenticated("the token is for another node or cluster", &claims.sub));
        }
        let pings = stream::unfold(said, |mut said| async move {
            match said.message().await {
                Ok(Some(Asked::Ping(number))) => Some((number, said)),
                _ => None,
            }
        });
        let feed = parts.feed.as_ref().ok_or_else(|| Status::failed_precondition("this node takes no writes"))?;
        let told = feed.serve(&call, pings.boxed()).map_err(Status::failed_precondition)?;
        refusals.forget(self.from);
        let following = Following::begin(self.follows.clone());
        let told = told.map(move |told| {
            let _until_the_line_is_dropped = &following;
            Ok(told)
        });
        Ok(told.boxed())
    }

    fn unauthenticated(&self, reason: &'static str, detail: &str) -> Status {
        self.refuse(reason, detail);
        Status::unauthenticated(reason)
    }

    fn refuse(&self, reason: &'static str, detail: impl std::fmt::Display) {
        self.server.0.refusals.tell(self.from, reason, detail);
    }
}

/// Says that a caller follows, until it is dropped.
struct Following(watch::Sender<bool>);

impl Following {
    fn begin(follows: watch::Sender<bool>) -> Self {
        follows.send_replace(true);
        Self(follows)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::debug!(%error, "no connection of another node can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

type Line = BoxStream<'static, Result<Told, Status>>;

/// The one call, as the library wants it.
struct Follow(Caller);

impl Service<Request<Streaming<Asked>>> for Follow {
    type Response = Response<Line>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Status>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Asked>>) -> Self::Future {
        let caller = self.0.clone();
        Box::pin(async move { caller.follow(request).await.map(Response::new) })
    }
}
