//! The only entry: query text in, record batches out.
//!
//! # Promises
//! - Every query has an entry in `system.queries` from its arrival to its end, also one that cannot be parsed.
//! - One statement, which reads, or is a command of an operator: anything else that would change something is refused
//!   before it runs.
//! - Rows are streamed as they come; dropping the answer, or the call that waits for it, cancels the query.
//! - What a query holds goes when it ends; a client that stops reading ends its query. Few enough queries wait to run.
//! - A query whose rows nobody takes lets others run meanwhile. Few enough queries sleep so; further ones keep what they
//!   hold.
//! - While all places or permits are taken, a few queries about the nodes alone are described and answered beside the others,
//!   each for a short time; a part of that room is kept for admins.
//! - A command that is an order to nodes (`SNAPSHOT`, `COMPACT TABLE`) is waited for no more once it is cancelled.
//! - Planning and execution run on the threads they were given, never on the caller's.
//! - A panic in a query is an error of that query.
//!
//! # Not here
//! - How rows are encoded: that is each protocol's.

mod describe;
mod engine;
mod error;
mod limits;
mod lists;
mod metrics;
mod query;
mod seats;
mod statement;
mod work;

#[cfg(test)]
mod tests;

pub use engine::{Engine, EngineConfig};
pub use error::{Error, QueryErrorKind};
pub use query::{Answer, Description, Param, Query};
