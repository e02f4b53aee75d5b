//! Rows that somebody deletes: gone for every query that knows the entry of the catalog that says so.
//!
//! # Promises
//! - Every row that any node had stored before `delete` was called and that is meant is hidden from that entry on, in
//!   files and in memory, on every node that has read it. A write that is answered before it is stored (`no_sync`) may be
//!   later, and stay. A view has one version of the catalog, so a query sees all of it or nothing.
//! - A row that is written by a node after it has read the entry stays. Rows that are written meanwhile are hidden or
//!   stay, each write as a whole.
//! - When a log cannot be read to its end within `CATCH_UP_WITHIN`, nothing is deleted, and the error names the node.
//! - A process that lost its node id to another one deletes nothing: it does not know the rows of the other.
//!
//! # Not here
//! - Having the other nodes read the entry: whoever asks for the delete does, over the network.
//! - Taking the rows out of files, and forgetting the delete afterwards: `compaction`.
//!
//! # Why
//! A row is older than the delete if its stamp is. So a stamp is chosen above every stamp that was given until now: this
//! node has read each log to its end after it was asked, and sees then in the catalog what is in files. Nodes give only
//! stamps above those of all deletes they know (`wal`). What is settled has no stamp any more; it was settled by a
//! stamp below that of the delete, since both are entries of the same log, and a file says which deletes its rows were
//! without when it was planned.

use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{Access, Asked, Catalog, Deletion, Error, State};
use crate::clock::Clock;
use crate::model::{Epoch, ErrorKind, NodeId, Stamp};
use crate::replica::Replica;

/// How long the logs of other nodes may take to be read to their end.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Deletes rows. A node has one that shows rows, since it knows those of all nodes.
#[derive(Debug)]
pub struct Deleter {
    catalog: Arc<Catalog>,
    clock: Clock,
    replica: Arc<Replica>,
    /// This process. Of its own rows it knows all, as long as it owns them.
    own: (NodeId, Epoch),
}

impl Deleter {
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, clock: Clock, replica: Arc<Replica>, own: (NodeId, Epoch)) -> Self {
        Self { catalog, clock, replica, own }
    }

    /// Returns the entry from which on the rows are hidden; `None` when no row can be meant.
    pub async fn delete(&self, deletion: &Deletion, access: &Access, asked: &Asked) -> Result<Option<u64>, Error> {
        let operator = self.catalog.by(asked);
        self.catch_up(|| operator.check_deletion(deletion, access)).await?;
        operator.delete_rows((deletion, access), |state| self.stamp(state)).await
    }

    /// Waits until every row is here that was stored before the call. What `check` finds wrong needs no waiting.
    async fn catch_up(&self, check: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        let asked = self.clock.instant();
        loop {
            let state = self.catalog.refresh().await?;
            check()?;
            // Whoever opened a log after the call has stored nothing before it.
            let Some(behind) = self.replica.behind(&state, asked) else { return Ok(()) };
            if asked.elapsed() > CATCH_UP_WITHIN {
                let message =
                    format!("nothing was deleted, since rows may be missing that were written before: {behind}");
                return Err(Error::Unavailable(message));
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Above every stamp of a row that was stored until now, and below all that this node gives from now on.
    fn stamp(&self, state: &State) -> Result<Stamp, Error> {
        let (node, epoch) = &self.own;
        if state.nodes.get(node).is_none_or(|own| own.epoch != *epoch) {
            let message = format!("nothing was deleted: node {node} was taken over by {}", state.owner_of(node));
            return Err(Error::refused(ErrorKind::Fenced, message));
        }
        let in_files = state.nodes.values().map(|node| node.persisted_stamp).max().unwrap_or(Stamp::SETTLED);
        Ok(self.replica.stamps().pass(in_files.max(state.deleted_stamp)))
    }
}
