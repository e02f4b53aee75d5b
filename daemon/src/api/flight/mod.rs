//! Arrow Flight and FlightSQL: what the clients of InfluxDB 3 and drivers of ADBC and JDBC ask with.
//!
//! # Promises
//! - Tickets are those of the original: JSON, `ReadInfo`, and commands of FlightSQL; the last need the database as
//!   metadata.
//! - Rows go out as they come, with dictionaries taken apart, in messages that clients with the usual limit of 4 MiB take,
//!   unless one row alone is larger. A client that reads slowly slows its query down; one that goes away, or whose
//!   deadline passes, ends it.
//! - The server remembers nothing between calls: a prepared statement and its parameters are in its handle, so any node
//!   can go on with it.
//! - Columns of tables say in their metadata what they are, by which clients tell tags from fields.
//! - Errors have the codes of `errors`. An answer that is not whole never looks like one.
//!
//! # Not here
//! - Who may call: `http` looks at the token, counts, and hands calls on to other nodes, as it does with requests.
//! - Writing: rows come as line protocol over HTTP.
//! - InfluxQL, transactions, and calls over HTTP/1.1 as browsers make them.

mod describe;
mod errors;
mod handle;
mod info;
mod metadata;
mod rows;
mod service;
mod ticket;

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use storage::bucket::Secret;
use storage::catalog::Access;
use storage::view::Views;
use tokio::runtime::Handle;
use tonic::codegen::Service as _;

use service::Service;

/// The paths of all calls of Flight.
pub(super) const PATHS: [&str; 10] = [
    "/arrow.flight.protocol.FlightService/Handshake",
    "/arrow.flight.protocol.FlightService/ListFlights",
    "/arrow.flight.protocol.FlightService/GetFlightInfo",
    "/arrow.flight.protocol.FlightService/PollFlightInfo",
    "/arrow.flight.protocol.FlightService/GetSchema",
    "/arrow.flight.protocol.FlightService/DoGet",
    "/arrow.flight.protocol.FlightService/DoPut",
    "/arrow.flight.protocol.FlightService/DoExchange",
    "/arrow.flight.protocol.FlightService/DoAction",
    "/arrow.flight.protocol.FlightService/ListActions",
];

/// The largest message of a client: a statement, or the parameters of one.
const ASKED_BYTES_MAX: usize = 4 << 20;

/// What calls are answered with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) engine: sql::Engine,
    pub(super) views: Arc<Views>,
    /// The threads for work that takes longer than a millisecond.
    pub(super) datafusion: Handle,
}

/// Who calls.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) access: Access,
    /// For other nodes, which judge it themselves.
    pub(super) token: Option<Secret>,
}

#[derive(Debug, Clone)]
pub(super) struct Flight(FlightServiceServer<Service>);

impl Flight {
    #[must_use]
    pub(super) fn new(parts: Parts) -> Self {
        Self(FlightServiceServer::new(Service::new(parts)).max_decoding_message_size(ASKED_BYTES_MAX))
    }

    pub(super) async fn answer(&self, asker: Asker, mut request: Request) -> Response {
        request.extensions_mut().insert(asker);
        let Ok(response) = self.0.clone().call(request).await;
        response.map(Body::new)
    }
}
