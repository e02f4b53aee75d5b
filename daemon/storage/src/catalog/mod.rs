//! All that the cluster agrees on, as one shared log of changes that every node follows.
//!
//! # Promises
//! - The state is a pure function of the log: every node that applied entry n has the same state.
//! - An entry holds together or not at all. Whoever creates entry n+1 has read 1 to n.
//! - After `commit` returns `Ok` the changes are in the log and in `state()`. After `Unavailable`, or when the caller
//!   stopped waiting, they may or may not be: once begun, an entry is settled and published before this node makes or
//!   reads another one.
//! - Nothing read from the store is believed that may be the late work of a process that slept; see `mark`.
//! - An idle node asks the store for the next entry and for nothing else.
//!
//! # Not here
//! - Deleting old entries, checkpoints and parts: `sweep` does, after it raised the mark.

mod access;
mod apply;
mod caches;
mod change;
mod checkpoint;
mod checkpointer;
mod commit;
#[cfg(test)]
mod decoding;
mod format;
mod log;
mod mark;
mod names;
mod operations;
mod pins;
mod resume;
mod state;
mod stored;
mod tokens;

pub use access::{Access, Action, Permission, Resource, TokenId};
pub use apply::Conflict;
pub use caches::{Cache, CacheKind, CacheName};
pub use change::Change;
pub use commit::Catalog;
pub use names::{DATABASE_NAME_BYTES_MAX, NAME_BYTES_MAX, check_column_name, check_database_name, check_table_name};
pub use operations::{Asked, Deletion, HardDelete, Limits, NewCache, NewTable, Operator, ResolvedCache, WantedCache};
pub use pins::{Pin, Pins};
pub use state::{AuditRecord, Compactor, Database, Description, Dropped, Node, Removed, State, Table, Token};
pub use tokens::{Adopted, CreatedToken, GivenToken, OPERATOR_TOKEN, PermissionText, Secret, permissions_text};

use crate::bucket;
use crate::model::ErrorKind;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state does not allow the change; the same change will fail again.
    #[error("{message}")]
    Refused { kind: ErrorKind, message: String },
    /// No answer from the store; the change may have been made.
    #[error("{0}")]
    Unavailable(String),
    /// An entry is damaged, missing, of another cluster, or needs a newer version of this program.
    #[error("{0}")]
    Corrupt(String),
}

impl Error {
    #[must_use]
    pub fn refused(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Refused { kind, message: message.into() }
    }

    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Corrupt(_) => ErrorKind::Corrupt,
        }
    }
}

impl From<bucket::Error> for Error {
    fn from(error: bucket::Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => Self::Unavailable(error.to_string()),
            _ => Self::Corrupt(error.to_string()),
        }
    }
}

impl From<String> for Error {
    fn from(reason: String) -> Self {
        Self::Corrupt(reason)
    }
}

#[cfg(test)]
mod tests;
