//! Functions that users call.
//!
//! # Promises
//! - No call of a function makes a result that is much larger than what it was given without being asked: a call whose
//!   result for one batch would pass 256 MiB, or 16 MiB when it is a constant, is refused before the memory is taken.
//!
//! # Not here
//! - Operators, literals and aggregates. What `||` makes of one batch ends at the 2 GiB that a column of text can address;
//!   aggregates reserve what they hold in the pool of the query.
//!
//! # Why
//! `repeat('x', 2000000000)` is thirty bytes of text and two gigabytes of memory, which the engine takes outside the
//! memory pool; a few at once end the process. A plan is rewritten, rather than the list of functions, because the planner
//! makes calls of its own accord (`[1, 2] || [3]`).

mod bounded;
mod growth;

#[cfg(test)]
mod tests;

pub(crate) use bounded::BoundFunctions;
