//! Our physical operators.
//!
//! # Promises
//! - `MergeExec` gives one row for each key, settled by `storage::merge`, and lets nothing through to its inputs: no
//!   filter, no limit and no order is pushed below it.
//! - A query can be stopped within a second, whatever its joins compare and its sorts keep.
//!
//! # Not here
//! - Which inputs have to be merged: that is decided in `tables`.

mod merge;
mod pace;
mod yielding;

pub(crate) use merge::{Input, MergeExec, OverlapSet, arrange};
pub(crate) use yielding::Yielding;
