//! The port: connections come in, and end when the node stops.
//!
//! # Promises
//! - A connection is accepted while there is room for a session or a stranger; a stranger that is displaced makes room.
//! - A peer that vanished without a word is noticed within two minutes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::strangers::STRANGERS_MAX;
use super::{Parts, SESSIONS_MAX, Services, startup};
use crate::api::http::{Server, ServerLimits};

/// Connections beyond the sessions. Those that are being sent away count as well.
const BESIDE_SESSIONS_MAX: usize = 2 * STRANGERS_MAX;
/// A silent peer is asked for a sign of life after so long, then so often, so many times.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// Serves until `stop` is done, then returns when the last statement has ended or the time for that is over. A node that
/// listens for no Postgres client returns at once.
pub(crate) async fn serve(
    listening: Option<(Server, Parts)>,
    shutdown_timeout: Duration,
    stop: impl Future<Output = ()>,
) {
    let Some((server, parts)) = listening else { return };
    let services = Arc::new(Services::new(parts, server.tls()));
    let limits = ServerLimits { connections_max: SESSIONS_MAX + BESIDE_SESSIONS_MAX, shutdown_timeout };
    let each = |stream: TcpStream, ends| {
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_TRIES)) {
            tracing::debug!(%error, "a peer that vanishes will not be noticed");
        }
        let services = Arc::clone(&services);
        // Who is gone already has no address, and displaces nobody.
        let come = stream.peer_addr().ok().map(|peer| (peer, services.strangers.enter()));
        async move {
            let Some((peer, stranger)) = come else { return };
            let mut counted = services.meter.begin();
            counted.outcome = startup::serve((stream, peer), stranger, Arc::clone(&services), ends).await;
        }
    };
    server.serve_each(limits, "statements of Postgres clients", each, stop).await;
}
