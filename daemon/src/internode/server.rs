//! Answers other nodes that follow the log of this one.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use storage::clock::Clock;
use storage::wal::Feed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::{Request, Response, Status, Streaming};

use super::message::{self, Raw};
use super::token::Secrets;
use super::{MESSAGE_BYTES_MAX, PATH};

/// More nodes than this do not follow one.
const CONNECTIONS_MAX: usize = 256;
/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Whoever is connected is asked for a sign of life so often, or is taken for gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait when the system gives no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(super) struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    feed: Arc<Feed>,
    secrets: Arc<Secrets>,
    clock: Clock,
    /// The last call that was refused: one that is tried again is logged once.
    refused: Mutex<Option<String>>,
}

impl Server {
    pub(super) fn new(feed: Arc<Feed>, secrets: Arc<Secrets>, clock: Clock) -> Self {
        Self(Arc::new(Inner { feed, secrets, clock, refused: Mutex::new(None) }))
    }

    pub(super) async fn run(self, listener: TcpListener, tls: Option<TlsAcceptor>, stopping: CancellationToken) {
        let (room, connections) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), TaskTracker::new());
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                // Dropped only at the stop.
                accepted = accept(&listener, &room) => accepted,
            };
            let Some((stream, from, permit)) = accepted else { break };
            let serving = self.clone().serve(stream, from, tls.clone());
            let stopping = stopping.clone();
            connections.spawn(async move {
                let _permit = permit;
                tokio::select! {
                    biased;
                    // Whoever follows goes on with the store.
                    () = stopping.cancelled() => {}
                    () = serving => {}
                }
            });
        }
        connections.close();
        connections.wait().await;
    }

    async fn serve(self, stream: TcpStream, from: SocketAddr, tls: Option<TlsAcceptor>) {
        // A sign of life should not wait for company.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps waiting to fill packets");
        }
        let Some(tls) = tls else { return self.speak(stream, from).await };
        match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, from).await,
            Ok(Err(error)) => self.warn_of(from, &format!("no secure connection: {error}")),
            Err(_) => self.warn_of(from, "no secure connection in time"),
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, from: SocketAddr) {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_INTERVAL);
        http.max_concurrent_streams(16);
        let service = service_fn(|request| self.answer(request, from).map(Ok::<_, Infallible>));
        if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%from, %error, "a connection of another node broke");
        }
    }

    fn answer(
        &self,
        request: http::Request<Incoming>,
        from: SocketAddr,
    ) -> impl Future<Output = http::Response<Body>> + use<> {
        let follow = Follow { server: self.clone(), from };
        async move {
            if request.uri().path() != PATH {
                return Status::unimplemented(format!("there is only {PATH}")).into_http();
            }
            let grpc = tonic::server::Grpc::new(Raw);
            let mut grpc = grpc.max_decoding_message_size(64 << 10).max_encoding_message_size(MESSAGE_BYTES_MAX);
            grpc.streaming(follow, request).await
        }
    }

    async fn follow(&self, request: Request<Streaming<Bytes>>) -> Result<BoxStream<'static, Bytes>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let claims = self.0.secrets.check(token, self.0.clock.now_ms()).map_err(Status::unauthenticated)?;
        let mut said = request.into_inner();
        let first = said.message().await?.ok_or_else(|| Status::invalid_argument("nothing was asked"))?;
        let call = message::call(first).map_err(Status::invalid_argument)?;
        if claims.is_some_and(|claims| claims.aud != format!("{:032x}", call.cluster)) {
            return Err(Status::unauthenticated("the token is for another cluster"));
        }
        let pings = stream::unfold(said, |mut said| async move {
            let ping = said.message().await.ok()??;
            Some((message::ping(ping).ok()?, said))
        });
        let told = self.0.feed.serve(&call, pings.boxed()).map_err(Status::failed_precondition)?;
        Ok(told.map(message::of_told).boxed())
    }

    /// A call that the other side tries again and again is logged once.
    fn warn_of(&self, from: SocketAddr, reason: &str) {
        let mut refused = self.0.refused.lock();
        if refused.as_deref() != Some(reason) {
            tracing::warn!(%from, reason, "refused a call of another node");
            *refused = Some(reason.to_owned());
        }
    }
}

/// The next connection, once there is room for it. `None` when there never will be.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return Some((stream, from, permit)),
            Err(error) => {
                tracing::debug!(%error, "no connection of another node can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The one call, as the library wants it.
struct Follow {
    server: Server,
    from: SocketAddr,
}

impl Service<Request<Streaming<Bytes>>> for Follow {
    type Response = Response<BoxStream<'static, Result<Bytes, Status>>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Status>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (server, from) = (self.server.clone(), self.from);
        Box::pin(async move {
            match server.follow(request).await {
                Ok(told) => Ok(Response::new(told.map(Ok).boxed())),
                Err(status) => {
                    if status.code() == tonic::Code::Unauthenticated {
                        server.warn_of(from, status.message());
                    }
                    Err(status)
                }
            }
        })
    }
}
