//! What a query may see, fixed at one moment.
//!
//! # Promises
//! - A view is one catalog version, and of every writer the buffered rows above the position that this same version says
//!   is in files: half-open intervals of one counter for each writer, so no row twice, none missing.
//! - It holds every row this node acknowledged, every row an earlier view of this node held, and every row the other
//!   nodes stored until a while ago (see `replica`); when it cannot, there is no view but an error that names the node.
//! - After `reach` returned, every view opened later holds the objects it was asked for, in memory or in files.
//! - What that version says is deleted is not in it: buffered rows are left out, and files come with what to hide of them.
//! - It never changes. While it lives no node deletes a file it names; see `sweep` for what that rests on.
//!
//! # Not here
//! - Reading files, and uniting versions of a row: whoever asks does, with `merge`.

use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{Buffer, Chunk, SortedChunk};
use crate::catalog::{Catalog, Pin, Pins, State, Table};
use crate::clock::Clock;
use crate::merge;
use crate::model::{Epoch, ErrorKind, FileRecord, NodeId, Position, RowDelete, TableId, TableSchema, TimeRange};
use crate::replica::{self, Chunks, Followed, Replica};
use crate::wal::Mark;

/// Whoever waits for an object looks again after so long at the latest, and reads the catalog.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Opens views. One for each node.
#[derive(Debug)]
pub struct Views {
    catalog: Arc<Catalog>,
    clock: Clock,
    origin: Origin,
    replica: Arc<Replica>,
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
    /// Of every writer.
    chunks: Vec<Chunks>,
    now_ns: i64,
    _pin: Pin,
}

/// One table as a query sees it.
#[derive(Debug, Clone)]
pub struct TableView {
    pub schema: Arc<TableSchema>,
    /// Files whose time range overlaps the one asked for.
    pub files: Vec<Arc<FileRecord>>,
    /// What is hidden of the files: see `merge::Mask::of_file`.
    pub deletes: Vec<Arc<RowDelete>>,
    /// Rows that are not in files yet and not deleted, in sorted runs.
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
    /// Rows of another node that must be shown cannot be.
    #[error("{0}")]
    Replica(#[from] replica::Error),
    /// Our own mistake: buffered rows are not of the columns of their table.
    #[error("hide deleted rows: {0}")]
    Merge(#[from] merge::Error),
    /// Rows that were asked for are not visible here yet. Ask again later.
    #[error("after {within:?} object {} of node {} (epoch {}) is not visible here: {shown}", mark.position, mark.node, mark.epoch)]
    Behind { mark: Mark, within: Duration, shown: String },
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTable(_) => ErrorKind::NotFound,
            Self::Fenced(_) => ErrorKind::Fenced,
            Self::Replica(error) => error.kind(),
            Self::Merge(error) => error.kind(),
            Self::Behind { .. } => ErrorKind::Unavailable,
        }
    }
}

impl Views {
    #[must_use]
    pub fn new(
        (catalog, pins): (Arc<Catalog>, Arc<Pins>),
        clock: Clock,
        origin: Origin,
        replica: Arc<Replica>,
    ) -> Self {
        Self { catalog, clock, origin, replica, pins }
    }

    /// Waits until every one of these objects is visible, or one of them cannot be.
    pub async fn reach(&self, marks: &[Mark], within: Duration) -> Result<(), Error> {
        let all = async {
            for mark in marks {
                self.reach_one(mark).await?;
            }
            Ok(())
        };
        match tokio::time::timeout(within, all).await {
            Ok(reached) => reached,
            Err(_) => match marks.iter().find(|mark| !self.shows(mark)) {
                None => Ok(()),
                Some(mark) => Err(Error::Behind { mark: mark.clone(), within, shown: self.what_is_shown(mark) }),
            },
        }
    }

    fn what_is_shown(&self, mark: &Mark) -> String {
        let shown = match self.shown(mark) {
            Some((_, Position(last))) if last > 0 => format!("rows up to object {last} are"),
            Some(_) => "nothing of this node is".into(),
            None => "no such node is known here".into(),
        };
        match self.replica.check(&mark.node) {
            Ok(()) => shown,
            Err(error) => format!("{shown}, and {error}"),
        }
    }

    /// The error is one that waiting does not mend soon.
    async fn reach_one(&self, mark: &Mark) -> Result<(), Error> {
        let mut changes = self.replica.watch();
        let mut look_due = self.clock.instant();
        while !self.shows(mark) {
            if let Err(error @ replica::Error::Damaged { .. }) = self.replica.check(&mark.node) {
                return Err(error.into());
            }
            if self.clock.instant() >= look_due {
                look_due = self.clock.instant() + LOOK_EVERY;
                self.look_for(mark).await;
                continue;
            }
            tokio::select! {
                biased;
                // Both only say that it is time to look again; the replica lives as long as this.
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(look_due) => {}
            }
        }
        Ok(())
    }

    /// Has the log read that the object is in, or the catalog while that does not know of such a log. However many wait,
    /// the catalog is read no more often than by one.
    async fn look_for(&self, mark: &Mark) {
        if self.shown(mark).is_some_and(|(epoch, _)| epoch >= mark.epoch) {
            self.replica.want(&mark.node);
        } else if self.catalog.followed_at().elapsed() >= LOOK_EVERY
            && let Err(error) = self.catalog.refresh().await
        {
            tracing::debug!(%error, "could not read the catalog");
        }
    }

    fn shows(&self, mark: &Mark) -> bool {
        self.shown(mark).is_some_and(|(epoch, last)| epoch >= mark.epoch && last >= mark.position)
    }

    /// The other nodes whose logs are followed.
    #[must_use]
    pub fn followed(&self) -> Vec<Followed> {
        self.replica.followed()
    }

    /// How far behind each of them was last known not to be; `None` while that is not known.
    #[must_use]
    pub fn lags(&self) -> Vec<Option<Duration>> {
        self.replica.lags().into_iter().map(|(_, lag)| lag).collect()
    }

    /// The newest epoch of the node that this one knows, and up to where its log is visible: in files, or in memory.
    fn shown(&self, mark: &Mark) -> Option<(Epoch, Position)> {
        // In this order: a node that is followed no more is in files by a state that is there by then.
        let own = (mark.node == self.origin.node).then(|| self.origin.buffer.applied());
        let applied = own.or_else(|| self.replica.applied(&mark.node));
        let state = self.catalog.state();
        let node = state.nodes.get(&mark.node)?;
        Some((node.epoch, node.persisted.max(applied.unwrap_or_default())))
    }

    /// What the catalog says, for whoever needs no rows.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.catalog.state()
    }

    pub fn open(&self) -> Result<View, Error> {
        loop {
            let state = self.catalog.state();
            let node = state.nodes.get(&self.origin.node).filter(|n| n.epoch == self.origin.epoch);
            let persisted = node.ok_or_else(|| Error::Fenced(self.origin.node.clone()))?.persisted;
            // Pinned before the chunks are read: from here on the files of this version stay.
            let pin = self.pins.pin(state.version);
            let (mut own, dropped) = self.origin.buffer.all_chunks();
            let others = self.replica.chunks(&state);
            let now_ns = self.clock.now_ns();
            // Rows are dropped only after the catalog said they are in files: if some are gone that this version still
            // wants from memory, a newer version is there by now. A newer version may also know columns of the rows
            // that were just read, or have all rows of a node in files that is therefore not followed any more.
            if dropped > persisted || self.catalog.state().version != state.version {
                continue;
            }
            let Some(mut chunks) = others? else { continue };
            own.values_mut().for_each(|c| c.retain(|chunk| !chunk.is_persisted(persisted)));
            chunks.push(own);
            return Ok(View { state, chunks, now_ns, _pin: pin });
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
            let (files, chunks, deletes) = Default::default();
            return Ok(TableView { schema, files, deletes, chunks, expired_before });
        };
        let files = found.files.values().filter(|f| f.time.overlaps(range)).cloned().collect();
        let chunks = self.chunks.iter().filter_map(|chunks| chunks.get(&table)).flatten();
        let shown = |chunk: &Arc<Chunk>| chunk.shown(&schema, &found.deletes).transpose();
        let chunks = chunks.filter(|c| c.time().overlaps(range)).filter_map(shown).collect::<Result<_, _>>()?;
        let deletes = found.deletes.clone();
        Ok(TableView { schema, files, deletes, chunks, expired_before })
    }

    fn expired_before(&self, table: &Table) -> Option<i64> {
        let of_database = || self.state.databases.get(&table.database)?.retention_ns;
        let retention = table.retention_ns.or_else(of_database)?;
        Some(self.now_ns.saturating_sub(i64::try_from(retention).unwrap_or(i64::MAX)))
    }
}
