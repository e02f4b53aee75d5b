//! Our physical operators.
//!
//! # Promises
//! - `MergeExec` gives one row for each key, settled by `storage::merge`, and lets nothing through to its inputs: no
//!   filter, no limit and no order is pushed below it.
//! - A query whose joins make many rows can be stopped as soon as they have made a batch of them.
//!
//! # Not here
//! - Which inputs have to be merged: that is decided in `tables`.

mod merge;
mod yielding;

pub(crate) use merge::{Input, MergeExec, OverlapSet, arrange};
pub(crate) use yielding::YieldingJoins;
