//! Rows made durable, one object a flush, read back in order.
//!
//! # Promises
//! - `append` returns `Ok` only when the object stands in the store under the next position of our epoch.
//! - Positions of one node rise without gaps over all its epochs. An epoch ends with a fence object, which is never
//!   deleted; the next epoch goes on with the position after it.
//! - A process that lost its epoch cannot append at or past the fence: it learns so from the store, not from a clock.
//! - Reading back is complete or fails: a damaged object is named, never skipped in silence. One whose rows the catalog
//!   does not know, or knows as another type, is damaged.
//!
//! # Not here
//! - Gathering requests into groups: `ingest` does.
//! - Deleting: `sweep` does, behind the persisted position.

mod cursor;
mod feed;
mod floor;
mod format;
mod known;
mod read;
mod reader;
mod write;

pub use feed::{Call, Feed, Ping, Told};
pub use floor::StampFloor;
pub use read::{Ended, OnDamage, Recovered, recover};
pub use reader::{Found, Reader};
pub use write::Writer;

use crate::bucket;
use crate::catalog;
use crate::model::{Epoch, ErrorKind, NodeId, Position, Rows, Stamp};

/// The rows of one WAL object, durable.
#[derive(Debug)]
pub struct Committed {
    pub epoch: Epoch,
    pub position: Position,
    pub stamp: Stamp,
    /// At most once for each table.
    pub tables: Vec<Rows>,
}

/// One object of the log of a node. It stays the same when the node leaves: positions are never used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub node: NodeId,
    pub epoch: Epoch,
    pub position: Position,
}

impl Committed {
    /// How many rows there are.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.tables.iter().map(|rows| rows.len() as u64).sum()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process writes the WAL of this node, so this one must stop.
    #[error(
        "WAL object {position} of node {node}, epoch {epoch}, belongs to another process: this node id was taken over"
    )]
    Fenced { node: NodeId, epoch: Epoch, position: Position },
    /// Nothing was stored. Groups are limited far below this, so it is our own mistake.
    #[error("WAL object {position}: {reason}")]
    TooLarge { position: Position, reason: String },
    /// An object is damaged or missing, or the store gave no answer.
    #[error("{0}")]
    Bucket(#[from] bucket::Error),
    /// The catalog, which says what rows may name, could not be read.
    #[error("{0}")]
    Catalog(#[from] catalog::Error),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::TooLarge { .. } => ErrorKind::Bug,
            Self::Bucket(error) => error.kind(),
            Self::Catalog(error) => error.kind(),
        }
    }
}
