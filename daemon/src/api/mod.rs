//! The ways in: HTTP, Flight on the port of HTTP, Postgres on a port of its own. What crosses a protocol is written down
//! beside that protocol.
//!
//! # Promises
//! - Every way in turns a token into an `Access` through `auth`, and maps errors to answers in one table.
//!
//! # Not here
//! - What a write or a query does: `storage::ingest` and `sql`.

pub(crate) mod auth;
mod params;
mod position;
mod flight;
pub(crate) mod http;
pub(crate) mod pg;
