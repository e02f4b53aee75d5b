//! Keeping rows: from line protocol to Parquet files in one object store, and back as views a query can read.
//!
//! A node is a log in a bucket and what can be derived from it. This package knows no query engine, no protocol and no
//! mode; it builds and is simulated without them.
//!
//! The order of the rooms below is the order of dependence: a room uses only rooms declared above it.

#[cfg(test)]
mod fuzz;
pub mod model;
pub mod clock;
pub mod tasks;
pub mod knob;
pub mod merge;
pub mod bucket;
pub mod catalog;
pub mod wal;
pub mod buffer;
pub mod apply;
pub mod ingest;
pub mod files;
pub mod snapshot;
pub mod cluster;
pub mod adopt;
pub mod compaction;
pub mod sweep;
pub mod replica;
pub mod deletes;
pub mod view;
pub mod node;
