//! Buffered rows of one log become files and one catalog entry.
//!
//! # Promises
//! - Only while the epoch is the newest of the node: whoever lost it gets `Error::Fenced` and has changed nothing.
//! - Said twice, or again after an answer that was lost, it does once what it says.
//!
//! # Not here
//! - Whose rows they are: of this node, or of a dead one whose epoch this process has opened.

use std::sync::Arc;
use std::time::Duration;

use super::{BATCH_ROWS, Error, windows};
use crate::bucket::Bucket;
use crate::buffer::{Buffer, Frozen, Piece, Sorted};
use crate::catalog::{self, Catalog, Change, State, Table};
use crate::clock::Clock;
use crate::files::{self, FileLayout, Stamps, WrittenFile};
use crate::merge::{self, Layout, Mask, Merged, Settle};
use crate::model::{Epoch, ErrorKind, FileRecord, NodeId, Stamp, TableSchema, TimeRange};
use crate::tasks::Tasks;

/// Puts rows of one node's log into files, for the process that opened the node's newest epoch.
#[derive(Debug, Clone)]
pub struct Persister {
    pub bucket: Bucket,
    pub catalog: Arc<Catalog>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub node: NodeId,
    pub epoch: Epoch,
    /// Width of the smallest window.
    pub gen1: Duration,
}

/// What went into files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub files: usize,
    pub rows: u64,
    pub bytes: u64,
}

impl Persister {
    /// Puts everything that `buffer` holds into files and forgets it there. The next object of the log is, or will be,
    /// in the folder of `next_in`. Tries for as long as the store gives no answer. `None` when there was nothing.
    pub async fn persist(&self, buffer: &Buffer, next_in: Epoch) -> Result<Option<Summary>, Error> {
        loop {
            match self.try_persist(buffer, next_in).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(%error, "snapshot failed, trying again");
                    self.clock.sleep(self.clock.backoff(6)).await;
                }
                result => return result,
            }
        }
    }

    async fn try_persist(&self, buffer: &Buffer, next_in: Epoch) -> Result<Option<Summary>, Error> {
        let Self { catalog, node, epoch, .. } = self;
        // An earlier attempt whose answer was lost may be in the catalog: what it persisted is dropped first.
        let state = catalog.refresh().await?;
        let before = state.nodes.get(node).ok_or_else(|| self.fenced(&state))?.persisted;
        buffer.drop_through(before);
        let Frozen { through, stamp, tables } = buffer.freeze();
        if before >= through {
            return Ok(None);
        }
        let mut written = Vec::new();
        for (id, pieces) in tables {
            let state = catalog.state();
            let Some(table) = state.table(id).cloned() else {
                assert!(id.0 < state.next_table, "rows of table {id}, which never existed, were not refused");
                // A table that was dropped for good meanwhile takes its rows with it.
                continue;
            };
            self.write_table(&table, pieces, &mut written).await?;
        }
        let persist = |state: &State| {
            self.expect_ours(state)?;
            // Only our own lost attempt can have moved it; its files hold these rows already.
            if state.nodes.get(node).is_some_and(|n| n.persisted != before) {
                return Err(catalog::Error::Unavailable("the entry of an earlier attempt appeared".into()));
            }
            if written.iter().any(|file| file.id < state.file_floor) {
                let message = "the files were written too long ago, sweep may have deleted them";
                return Err(catalog::Error::Unavailable(message.into()));
            }
            let (node, epoch, files) = (node.clone(), *epoch, written.clone());
            Ok((vec![Change::Persist { node, epoch, persisted: through, persisted_epoch: next_in, stamp, files }], ()))
        };
        catalog.commit(persist).await.map_err(|error| self.fenced_or(error))?;
        buffer.drop_through(through);
        Ok(Some(Summary {
            files: written.len(),
            rows: written.iter().map(|f| f.rows).sum(),
            bytes: written.iter().map(|f| f.size_bytes).sum(),
        }))
    }

    async fn write_table(
        &self,
        table: &Arc<Table>,
        pieces: Vec<Arc<Piece>>,
        written: &mut Vec<Arc<FileRecord>>,
    ) -> Result<(), Error> {
        let (cut, gen1) = (pieces.clone(), self.gen1);
        // Reads the time of every row, which is no work for an I/O thread.
        for window in self.tasks.cpu(move || windows::cut(&cut, gen1)).await {
            let schema = Arc::clone(&table.schema);
            let pieces = pieces.clone();
            let origin = files::Origin::new(&self.catalog, table, self.node.clone(), window);
            let about = About { origin: origin.clone(), range: window.range(), mask: Mask::of_log(&table.deletes) };
            let file = self.tasks.cpu(move || encode(pieces, &schema, about)).await;
            let file = file.map_err(|source| Error::File { table: Arc::clone(&table.schema.name), source })?;
            if let Some(file) = file {
                written.push(file.store(&self.bucket, &self.catalog, &origin).await);
            }
        }
        Ok(())
    }

    /// Says that nothing of the node is outside files.
    pub async fn close_epoch(&self) -> Result<(), Error> {
        let close = |state: &State| {
            self.expect_ours(state)?;
            let is_open = state.nodes.get(&self.node).is_some_and(|node| !node.sealed);
            let close = is_open.then(|| Change::CloseEpoch { node: self.node.clone(), epoch: self.epoch });
            Ok((close.into_iter().collect(), ()))
        };
        self.catalog.commit(close).await.map_err(|error| self.fenced_or(error))
    }

    fn expect_ours(&self, state: &State) -> Result<(), catalog::Error> {
        let ours = state.nodes.get(&self.node).is_some_and(|n| n.epoch == self.epoch);
        let lost = || catalog::Error::refused(ErrorKind::Fenced, format!("node {} was taken over", self.node));
        if ours { Ok(()) } else { Err(lost()) }
    }

    fn fenced_or(&self, error: catalog::Error) -> Error {
        match error.kind() {
            ErrorKind::Fenced => self.fenced(&self.catalog.state()),
            _ => Error::Catalog(error),
        }
    }

    fn fenced(&self, state: &State) -> Error {
        Error::Fenced { node: self.node.clone(), by: state.owner_of(&self.node) }
    }
}

/// What a file says of where it belongs, and which rows it takes.
struct About {
    origin: files::Origin,
    range: TimeRange,
    mask: Mask,
}

/// The rows of one window as a file in memory.
fn encode(pieces: Vec<Arc<Piece>>, schema: &TableSchema, about: About) -> Result<Option<WrittenFile>, files::Error> {
    let sorted = Sorted::new(pieces, schema, about.range);
    let columns = Layout::of(schema);
    let batches = sorted.batches(BATCH_ROWS).map(|batch| about.mask.apply(batch, &columns).map_err(merge::Error::from));
    // Nothing is settled by a snapshot: only versions that a newer one covers whole are left out.
    let kept = Merged::new(columns.clone(), vec![batches], Settle::UpTo(Stamp::SETTLED))?;
    files::write(FileLayout { columns: columns.clone(), origin: about.origin, stamps: Stamps::Any }, kept)
}
