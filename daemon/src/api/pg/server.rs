//! The port: connections come in, and end when the node stops.
//!
//! # Promises
//! - A connection is accepted while there is room for a session or a stranger; a stranger that is displaced makes room.
//! - A peer that vanished without a word is noticed within two minutes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::strangers::STRANGERS_MAX;
use super::{Ends, Parts, SESSIONS_MAX, Services, startup};
use crate::api::http::Server;

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
    let services = Arc::new(Services::new(parts));
    let room = Arc::new(Semaphore::new(SESSIONS_MAX + BESIDE_SESSIONS_MAX));
    let connections = TaskTracker::new();
    let ends = Ends { finish: CancellationToken::new(), close: CancellationToken::new() };
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            // Dropped only at the stop: a connection that was accepted and not served is closed like a late one.
            accepted = server.accept(Arc::clone(&room)) => accepted,
        };
        let Some((stream, permit)) = accepted else { break };
        let Ok(peer) = stream.peer_addr() else { continue };
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_TRIES)) {
            tracing::debug!(%error, "a peer that vanishes will not be noticed");
        }
        let stranger = services.strangers.enter();
        let (services, ends) = (Arc::clone(&services), ends.clone());
        connections.spawn(async move {
            let mut counted = services.meter.begin();
            counted.outcome = startup::serve((stream, peer), stranger, Arc::clone(&services), ends).await;
            drop(permit);
        });
    }
    drop(server);
    ends.finish.cancel();
    connections.close();
    if tokio::time::timeout(shutdown_timeout, connections.wait()).await.is_err() {
        tracing::warn!(
            sessions = connections.len(),
            "statements of Postgres clients did not end in time and are cut off"
        );
    }
    ends.close.cancel();
    connections.wait().await;
}
