//! The ways in: HTTP here, later Flight on the same port and Postgres on its own. What crosses a protocol is written
//! down beside that protocol.
//!
//! # Promises
//! - Every way in turns a token into an `Access` through `auth`, and maps errors to answers in one table.
//!
//! # Not here
//! - What a write or a query does: `storage::ingest` and `sql`.

pub(crate) mod auth;
pub(crate) mod http;
