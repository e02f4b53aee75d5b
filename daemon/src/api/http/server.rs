//! The listener: HTTP/1.1 and HTTP/2 on one port, with TLS if there is a certificate. The port for Postgres clients is
//! listened on by the same code.
//!
//! # Promises
//! - `bind` takes the port and nothing else, so a node that cannot listen has touched nothing.
//! - Connections are limited in number, in the size of their headers, and in how long they may take to send them, with
//!   all that comes before.
//! - A stop lets requests that have begun end, for as long as it was told; then it closes their connections.

use std::fmt;
use std::future::Future;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::BufMut;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls;
use crate::config::HttpTls;

/// A port that is taken.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerLimits {
    pub(crate) connections_max: usize,
    /// How long requests may take to end after a stop.
    pub(crate) shutdown_timeout: Duration,
}

const HEADER_BYTES_MAX: u32 = 64 * 1024;
const HEADER_COUNT_MAX: usize = 128;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is offered inside TLS, best first.
pub(crate) const HTTP_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait for the rest of the first bytes when only a few have come.
const PEEK_PAUSE: Duration = Duration::from_millis(10);
pub(super) const HTTP2_STREAMS_MAX: u32 = 256;
/// HTTP/2 connections are asked for a sign of life so often.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long to wait when the system gives no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Server {
    /// Takes the port of `address`, which is `host:port`; the host may be a name.
    pub(crate) async fn bind(address: &str) -> Result<Self, io::Error> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("listen on {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(named)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, tls: None })
    }

    /// The same port with TLS, if there are files for it. Inside it `protocols` are offered, best first.
    pub(crate) fn with_tls(self, files: Option<&HttpTls>, protocols: &[&[u8]]) -> Result<Self, String> {
        let tls = files.map(|files| tls::acceptor(files, protocols)).transpose()?;
        Ok(Self { tls, ..self })
    }

    /// What a connection is encrypted with, if there are files for it.
    pub(crate) fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.clone()
    }

    /// Where it listens; tells the port when port 0 was asked for.
    #[must_use]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, once there is room for it. `None` when there never will be.
    async fn accept(&self, room: Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let permit = room.acquire_owned().await.ok()?;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // An answer is written at once; waiting to fill a packet would only delay it.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection keeps waiting to fill packets");
                    }
                    return Some((stream, permit));
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves until `stop` is done, then returns when the last request has ended or the time for that is over.
    pub(crate) async fn serve(self, router: Router, limits: ServerLimits, stop: impl Future<Output = ()>) {
        let tls = self.tls();
        let each = move |stream, ends| serve_speaker((stream, tls.clone()), router.clone(), ends);
        self.serve_each(limits, "requests", each, stop).await;
    }

    /// Has each connection served until `stop` is done, then returns when the last has ended or the time for that is over.
    /// `what` is cut off then is said in the log.
    pub(crate) async fn serve_each<F: Future<Output = ()> + Send + 'static>(
        self,
        ServerLimits { connections_max, shutdown_timeout }: ServerLimits,
        what: &str,
        mut each: impl FnMut(TcpStream, Ends) -> F,
        stop: impl Future<Output = ()>,
    ) {
        let room = Arc::new(Semaphore::new(connections_max));
        let connections = TaskTracker::new();
        let ends = Ends { finish: CancellationToken::new(), close: CancellationToken::new() };
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                // Dropped only at the stop: a connection that was accepted and not served is closed like a late one.
                accepted = self.accept(Arc::clone(&room)) => accepted,
            };
            let Some((stream, permit)) = accepted else { break };
            let served = each(stream, ends.clone());
            connections.spawn(async move {
                served.await;
                drop(permit);
            });
        }
        drop(self.listener);
        ends.finish.cancel();
        connections.close();
        if tokio::time::timeout(shutdown_timeout, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "{what} did not end in time and are cut off");
        }
        ends.close.cancel();
        connections.wait().await;
    }
}

/// How a connection ends before its client closes it.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    /// No further request or statement is read.
    pub(crate) finish: CancellationToken,
    /// Nothing further at all.
    pub(crate) close: CancellationToken,
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves a connection once its client has said something: which version it speaks is found out without a timer.
async fn serve_speaker((stream, tls): (TcpStream, Option<TlsAcceptor>), router: Router, ends: Ends) {
    let ended = async {
        tokio::select! {
            biased;
            () = ends.close.cancelled() => {}
            () = ends.finish.cancelled() => {}
        }
    };
    let Some(tls) = tls else {
        let speaks = tokio::select! {
            biased;
            () = ended => false,
            speaks = begins(&stream, HEADER_TIMEOUT) => speaks,
        };
        return if speaks {
            serve_connection(stream, router, ends).await
        };
    };
    let begun = tokio::select! {
        biased;
        () = ended => None,
        // A connection that is dropped in its handshake is closed like one that broke there.
        begun = tokio::time::timeout(HEADER_TIMEOUT, begun(&tls, stream)) => begun.ok().flatten(),
    };
    if let Some(stream) = begun {
        serve_connection(stream, router, ends).await;
    }
}

/// The connection inside TLS, once enough has come to tell the version from. That cannot be looked at without taking it,
/// so it is put before the rest again.
async fn begun(tls: &TlsAcceptor, stream: TcpStream) -> Option<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
    let accepted = tls.accept(stream).await;
    let mut stream =
        accepted.inspect_err(|error| tracing::debug!(%error, "a client does not speak TLS as it must")).ok()?;
    let mut first = Vec::with_capacity(HTTP2_PREFACE.len());
    while first.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&first) {
        let room = HTTP2_PREFACE.len() - first.len();
        if stream.read_buf(&mut (&mut first).limit(room)).await.ok()? == 0 {
            return None;
        }
    }
    let (rest, answers) = tokio::io::split(stream);
    Some(tokio::io::join(Cursor::new(first).chain(rest), answers))
}

/// Whether enough has come within `time` to tell the version from: all of what an HTTP/2 client says first, or another
/// byte than that has.
async fn begins(stream: &TcpStream, time: Duration) -> bool {
    let told = async {
        let mut first = [0; HTTP2_PREFACE.len()];
        loop {
            let seen = match stream.peek(&mut first).await {
                Ok(0) | Err(_) => return false,
                Ok(seen) => seen,
            };
            if seen == first.len() || !HTTP2_PREFACE.starts_with(&first[..seen]) {
                return true;
            }
            // What has come stays, so waiting for it to become readable would not wait.
            tokio::time::sleep(PEEK_PAUSE).await;
        }
    };
    tokio::time::timeout(time, told).await.unwrap_or(false)
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, ends: Ends) {
    let builder = builder();
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut finishing = false;
    loop {
        tokio::select! {
            biased;
            // Both are signals that stay set; dropping the wait for them loses nothing.
            () = ends.close.cancelled() => return,
            () = ends.finish.cancelled(), if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error, "a connection broke");
                }
                return;
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADER_COUNT_MAX)
        .half_close(false)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_INTERVAL)
        // Large writes over one connection should not wait for window updates.
        .adaptive_window(true);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    const REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";

    /// A server with one slow request on its way, stopped while that runs.
    async fn stopped_during_a_request(shutdown_timeout: Duration, let_end: Arc<Notify>) -> String {
        let begun = Arc::new(Notify::new());
        let (tell, wait) = (Arc::clone(&begun), let_end);
        let slow = move || async move {
            tell.notify_one();
            wait.notified().await;
            "done"
        };
        let server = Server::bind("127.0.0.1:0").await.expect("a free port");
        let mut stream = TcpStream::connect(server.address()).await.expect("it listens");
        let limits = ServerLimits { connections_max: 4, shutdown_timeout };
        let stop = async move { begun.notified().await };
        let client = async {
            stream.write_all(REQUEST).await.expect("the request is sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("the connection is closed in order");
            answer
        };
        tokio::join!(server.serve(Router::new().route("/slow", get(slow)), limits, stop), client).1
    }

    #[tokio::test]
    async fn a_request_that_has_begun_is_answered_after_a_stop() {
        let let_end = Arc::new(Notify::new());
        let_end.notify_one();
        let answer = stopped_during_a_request(Duration::from_secs(60), let_end).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_in_time_is_cut_off() {
        let answer = stopped_during_a_request(Duration::ZERO, Arc::new(Notify::new())).await;
        assert_eq!(answer, "");
    }

    #[tokio::test]
    async fn a_client_that_does_not_say_what_it_speaks_in_time_is_not_waited_for() {
        for (said, expected) in [
            (&b""[..], false),
            (b"P", false),
            (&HTTP2_PREFACE[..23], false),
            (&HTTP2_PREFACE[..], true),
            (b"PO", true),
            (b"G", true),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
            let (stream, _) = listener.accept().await.expect("the client came");
            client.write_all(said).await.expect("said");
            assert_eq!(begins(&stream, Duration::from_millis(200)).await, expected, "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = Server::bind("127.0.0.1:0").await.expect("a free port");
        let address = first.address().to_string();
        let error = Server::bind(&address).await.expect_err("the port is taken");
        assert!(error.to_string().starts_with(&format!("listen on {address}: ")), "{error}");
    }
}
