//! Asking: SQL text in, record batches out, over stored tables and the system tables.
//!
//! This package knows the bucket only as files to read and keeps the query engine to itself.
//!
//! The order of the rooms below is the order of dependence: a room uses only rooms declared above it.

mod functions;
mod exec;
mod tables;
mod system;
mod postgres;
mod session;
mod run;

pub use postgres::{PgSession, PgType, SERVER_VERSION, Scalar, array_items};
pub use run::{Answer, Description, Engine, EngineConfig, Error, Param, Query, QueryErrorKind};
pub use system::{Facts, Heard, Peers};
pub use tables::{Moment, Moments};
