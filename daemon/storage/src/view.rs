//! What a query may see, fixed at one moment.
//!
//! # Promises
//! - A view is one catalog version and the rows above the position that this same version says is in files: no row
//!   twice, none missing.
//! - It never changes, and while it lives no file it names is deleted by this node.
//!
//! # Not here
//! - Reading files, and uniting versions of a row: whoever asks does, with `merge`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::buffer::{Buffer, Chunk, SortedChunk};
use crate::catalog::{Catalog, Pin, Pins, State, Table};
use crate::clock::Clock;
use crate::model::{Epoch, ErrorKind, FileRecord, NodeId, TableId, TableSchema, TimeRange};

/// Opens views. One for each node.
#[derive(Debug)]
pub struct Views {
    catalog: Arc<Catalog>,
    clock: Clock,
    origin: Origin,
    pins: Arc<Pins>,
}

/// Whose rows the buffer holds.
#[derive(Debug)]
pub struct Origin {
    pub node: NodeId,
    pub epoch: Epoch,
    pub buffer: Arc<Buffer>,
}

/// One moment. See the head of the room.
#[derive(Debug)]
pub struct View {
    state: Arc<State>,
    chunks: BTreeMap<TableId, Vec<Arc<Chunk>>>,
    now_ns: i64,
    _pin: Pin,
}

/// One table as a query sees it.
#[derive(Debug, Clone)]
pub struct TableView {
    pub schema: Arc<TableSchema>,
    /// Files whose time range overlaps the one asked for.
    pub files: Vec<Arc<FileRecord>>,
    /// Rows that are not in files yet, in sorted runs.
    pub chunks: Vec<SortedChunk>,
    /// Rows before this time are expired and must not be shown.
    pub expired_before: Option<i64>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table was dropped.
    #[error("table {0} does not exist")]
    NoTable(TableId),
    /// Another process took over the rows this node holds, so it cannot answer completely.
    #[error("node {0} was taken over by another process")]
    Fenced(NodeId),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTable(_) => ErrorKind::NotFound,
            Self::Fenced(_) => ErrorKind::Fenced,
        }
    }
}

impl Views {
    #[must_use]
    pub fn new((catalog, pins): (Arc<Catalog>, Arc<Pins>), clock: Clock, origin: Origin) -> Self {
        Self { catalog, clock, origin, pins }
    }

    pub fn open(&self) -> Result<View, Error> {
        loop {
            let state = self.catalog.state();
            let node = state.nodes.get(&self.origin.node).filter(|n| n.epoch == self.origin.epoch);
            let persisted = node.ok_or_else(|| Error::Fenced(self.origin.node.clone()))?.persisted;
            // Pinned before the chunks are read: from here on the files of this version stay.
            let pin = self.pins.pin(state.version);
            let (mut chunks, dropped) = self.origin.buffer.all_chunks();
            let now_ns = self.clock.now_ns();
            chunks.values_mut().for_each(|c| c.retain(|chunk| !chunk.is_persisted(persisted)));
            let view = View { state, chunks, now_ns, _pin: pin };
            // Rows are dropped only after the catalog said they are in files: if some are gone that this version still
            // wants from memory, a newer version is there by now. A newer version may also know columns of the rows
            // that were just read.
            if dropped <= persisted && self.catalog.state().version == view.state.version {
                return Ok(view);
            }
        }
    }
}

impl View {
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The table with only the files and chunks whose time range overlaps `range`. Sorting buffered rows costs CPU:
    /// call it where milliseconds are allowed.
    pub fn table(&self, table: TableId, range: TimeRange) -> Result<TableView, Error> {
        let found = self.state.table(table).ok_or(Error::NoTable(table))?;
        let schema = Arc::clone(&found.schema);
        let expired_before = self.expired_before(found);
        let floor = range.min.max(expired_before.unwrap_or(i64::MIN));
        let Some(range) = TimeRange::new(floor, range.max) else {
            return Ok(TableView { schema, files: Vec::new(), chunks: Vec::new(), expired_before });
        };
        let files = found.files.values().filter(|f| f.time.overlaps(range)).cloned().collect();
        let chunks = self.chunks.get(&table).into_iter().flatten();
        let chunks = chunks.filter(|c| c.time().overlaps(range)).map(|c| c.sorted(&schema)).collect();
        Ok(TableView { schema, files, chunks, expired_before })
    }

    fn expired_before(&self, table: &Table) -> Option<i64> {
        let of_database = || self.state.databases.get(&table.database)?.retention_ns;
        let retention = table.retention_ns.or_else(of_database)?;
        Some(self.now_ns.saturating_sub(i64::try_from(retention).unwrap_or(i64::MAX)))
    }
}
