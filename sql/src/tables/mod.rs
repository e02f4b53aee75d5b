//! A stored table as the planner sees it.
//!
//! # Promises
//! - Every scan of one query reads the same moment.
//! - A row that was written in several versions appears once, with the newest value of each field, whatever filters,
//!   limits or orders stand above: only predicates on tags and time are answered below the merge.
//! - Row counts and time ranges are reported as exact only where no two sources can hold the same row.
//! - A file that is missing or damaged fails the query with an error that names it.
//!
//! # Not here
//! - Which files and rows exist: that is the view's.
//! - The law of duplicates: that is `storage::merge`, driven by `exec::MergeExec`.

mod footers;
mod files;
mod named;
mod overlap;
mod prune;
mod scan;
mod source;
mod stored;
mod times;

#[cfg(test)]
pub(crate) mod fixture;

pub(crate) use files::{FileError, FileReaders, store_url};
pub(crate) use footers::{FooterUse, Footers};
pub use source::{Moment, Moments};
pub(crate) use stored::{StoredTable, Touched, user_schema};
