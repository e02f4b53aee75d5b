//! The port for other nodes: what this node stores is pushed to those that follow it, over gRPC.
//!
//! # Promises
//! - Without `--internode-bind-addr` nobody is called and nobody listens: everything goes by the store.
//! - A call is served only with a token that is signed with one of the two secrets, when there are secrets, and only from
//!   a client whose certificate the authority has signed, when there are certificates. A call that is refused, and a
//!   certificate, is told why; a connection that is one too many, or makes no call that is served within a few seconds, is
//!   closed. The trouble is logged once for each address and reason, and by the caller too. Secrets are never logged.
//! - What is sent are the bytes that were stored. Who is slow slows nobody down: see `storage::wal::Feed`.
//! - The number of connections, the size of a message and what waits for a slow follower are bounded.
//! - A node that takes no writes listens too, and says so to whoever calls.
//!
//! # Not here
//! - When to call whom, and whether to believe what is heard: `storage::replica`.
//!
//! # Why
//! A node on a port that only its own machine reaches may go without a secret, for tests and trials. On any other address
//! it starts too, as the original does, and warns: the rows that are being written are open to whoever reaches the port.
//! Certificates come in threes and always count for both sides, so that there is no half-secured cluster.
//!
//! A secret alone keeps strangers out, and no more: whoever can read the network reads the rows, and can use a token that
//! it saw for a few minutes, at the node that it was made for; and a caller does not know who answers. That takes
//! certificates. Both are read at the start: lines that are open go on until a node at one of their ends starts again.

mod client;
mod executor;
mod message;
mod refusals;
mod server;
mod tls;
mod token;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use storage::clock::Clock;
use storage::model::NodeId;
use storage::node::FEED_BYTES_MAX;
use storage::replica::Wire;
use storage::tasks::Tasks;
use storage::wal::Feed;
use tokio::net::TcpListener;

use crate::config::InternodeConfig;
use client::Client;
use server::Server;
use tls::Tls;
use token::Secrets;

/// The name of the one call there is.
const PATH: &str = "/weir.internode.v1.Log/Follow";

/// Objects larger than the feed keeps are not sent; this leaves room for what is wrapped around one.
const MESSAGE_BYTES_MAX: usize = 2 * FEED_BYTES_MAX;

/// A port that is taken, and what it takes to speak on it.
#[derive(Debug)]
pub(crate) struct Internode {
    listener: TcpListener,
    address: String,
    secrets: Arc<Secrets>,
    tls: Option<Tls>,
}

impl Internode {
    /// Takes the port and reads the certificates, when there is to be a port.
    pub(crate) async fn bind(config: Option<&InternodeConfig>) -> Result<Option<Self>, io::Error> {
        let Some(config) = config else { return Ok(None) };
        let InternodeConfig { bind, host, advertised, secrets, tls } = config;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("listen for nodes on {bind}: {error}"));
        let tls = tls.as_ref().map(Tls::read).transpose().map_err(io::Error::other)?;
        let listener = TcpListener::bind(bind).await.map_err(named)?;
        let port = listener.local_addr()?.port();
        let address = advertised.clone().unwrap_or_else(|| format!("{host}:{port}"));
        Ok(Some(Self { listener, address, secrets: Arc::new(Secrets::new(secrets)), tls }))
    }

    /// Where other nodes reach this one.
    #[must_use]
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The way to the others.
    #[must_use]
    pub(crate) fn wire(&self, node: &NodeId, clock: &Clock, tasks: &Tasks) -> Arc<dyn Wire> {
        let connector = self.tls.as_ref().map(|tls| tls.connector.clone());
        let (secrets, clock, tasks) = (Arc::clone(&self.secrets), clock.clone(), tasks.clone());
        Arc::new(Client::new(client::Parts { node: node.clone(), secrets, connector, clock, tasks }))
    }

    /// Serves what the feed has, if the node has one, until it stops.
    pub(crate) fn serve(self, feed: Option<Arc<Feed>>, clock: Clock, tasks: &Tasks) {
        let Self { listener, address, secrets, tls } = self;
        tracing::info!(%address, "listens for other nodes");
        let acceptor = tls.map(|tls| tls.acceptor);
        let server = Server::new(server::Parts { feed, secrets, acceptor, clock, tasks: tasks.clone() });
        tasks.start("internode", server.run(listener));
    }
}
