//! Rows that are durable but not yet in Parquet, by table.
//!
//! # Promises
//! - Rows stay as they came, one piece for each WAL object and table; nothing is copied when they arrive.
//! - A chunk never straddles a rotation: all of it is above or at the position a snapshot persists up to. Where another
//!   node's snapshot rotated is known only afterwards: `cut_at` cuts the chunks of its rows there.
//! - `all_chunks` and the position up to which rows were dropped are read together, so a view can tell whether the
//!   catalog version it holds fits.
//!
//! # Not here
//! - Deciding when to rotate: `snapshot` does.

mod sort;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray};
use parking_lot::Mutex;

pub use sort::Sorted;

use crate::merge::{self, Layout, Mask};
use crate::model::{Position, RowDelete, Rows, SeriesKey, Stamp, TableId, TableSchema, TimeRange};
use crate::wal::Committed;

/// A chunk is closed at so many rows, so that sorting the open one again after each write stays cheap.
const CHUNK_ROWS_MAX: usize = 1 << 16;

/// Or at so many bytes, when rows are large.
const CHUNK_BYTES_MAX: usize = 64 << 20;

/// The rows of one table in one WAL object.
#[derive(Debug)]
pub struct Piece {
    pub position: Position,
    pub stamp: Stamp,
    pub rows: Rows,
    /// Of the rows, found once, before anybody waits for the lock of the buffer.
    time: TimeRange,
    bytes: usize,
}

/// Some pieces of one table, in the order of their positions.
#[derive(Debug)]
pub struct Chunk {
    pieces: Vec<Arc<Piece>>,
    time: TimeRange,
    /// Of the rows as they came.
    bytes: usize,
    /// With the number of columns it was sorted for: a table that got a column since is sorted again.
    sorted: Mutex<Option<(usize, SortedChunk, Counted)>>,
    /// What deletes leave of that.
    shown: Mutex<Option<Shown>>,
    /// Of all chunks of the buffer.
    sorted_bytes: Arc<AtomicUsize>,
}

/// Sorted rows without those that deletes hide.
#[derive(Debug)]
struct Shown {
    /// The number of columns it was sorted for, and the newest delete that was looked at. Older ones of the chunk are
    /// looked at too: one that was forgotten hides only rows that are in files.
    of: (usize, u64),
    /// `None` when no row is left.
    rows: Option<SortedChunk>,
    _counted: Counted,
}

/// Memory that is counted for as long as this lives.
#[derive(Debug)]
struct Counted {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Counted {
    fn new(bytes: usize, total: &Arc<AtomicUsize>) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes, total: Arc::clone(total) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A run of rows in memory: `schema.stored()` with `__seq` (`UInt64`, not null) at the end, sorted by tags (absent
/// first), time, and `__seq` rising. At most one row for each key and stamp.
#[derive(Debug, Clone)]
pub struct SortedChunk {
    pub batch: RecordBatch,
    pub time: TimeRange,
    pub key_min: SeriesKey,
    pub key_max: SeriesKey,
    /// Whether some row stands in more than one version.
    pub has_versions: bool,
}

impl SortedChunk {
    /// Without the rows that are hidden; `None` when none is left. What is said of the chunk holds for fewer rows as well.
    pub fn masked(self, mask: &Mask, schema: &TableSchema) -> Result<Option<Self>, merge::Error> {
        let batch = mask.apply(self.batch, &Layout::of(schema))?;
        Ok((batch.num_rows() > 0).then_some(Self { batch, ..self }))
    }
}

/// The rows of one origin that are not in files.
#[derive(Debug, Default)]
pub struct Buffer {
    inner: Mutex<Inner>,
    sorted_bytes: Arc<AtomicUsize>,
}

/// Memory of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// Of rows that arrived after the last rotation.
    pub open: usize,
    /// Of rows that a snapshot is writing.
    pub frozen: usize,
    /// Of rows that were put in order for queries, and of those that deletes leave of them: both are kept beside those
    /// that came.
    pub sorted: usize,
}

impl Bytes {
    #[must_use]
    pub fn sum(self) -> usize {
        self.open + self.frozen + self.sorted
    }
}

/// What a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// The newest object applied.
    pub applied: Position,
    pub rows: u64,
    pub bytes: Bytes,
    /// The lowest stamp of a row.
    pub oldest: Option<Stamp>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: BTreeMap<TableId, TableBuffer>,
    /// The newest object applied.
    applied: Position,
    /// The largest stamp applied.
    stamp: Stamp,
    /// Rows up to here were dropped, since the catalog says they are in files.
    dropped: Position,
    /// No chunk straddles this position, and the rows up to it are counted as frozen.
    cut: Position,
    /// Bytes of rows that arrived after the last rotation, and of those a snapshot is writing.
    bytes_open: usize,
    bytes_frozen: usize,
    /// The objects that still have rows here, in their order.
    objects: VecDeque<Object>,
    /// All rows of them.
    rows: u64,
}

/// What is counted of one WAL object.
#[derive(Debug)]
struct Object {
    position: Position,
    stamp: Stamp,
    rows: u64,
}

#[derive(Debug, Default)]
struct TableBuffer {
    closed: Vec<Arc<Chunk>>,
    open: Vec<Arc<Piece>>,
    open_rows: usize,
    open_bytes: usize,
    /// The open pieces as a chunk, until the next write.
    open_chunk: OnceLock<Arc<Chunk>>,
    sorted_bytes: Arc<AtomicUsize>,
}

/// What one snapshot persists: everything up to a position.
#[derive(Debug)]
pub struct Frozen {
    pub through: Position,
    pub stamp: Stamp,
    pub tables: BTreeMap<TableId, Vec<Arc<Piece>>>,
}

impl Buffer {
    /// A buffer whose origin has everything up to `persisted` in files.
    #[must_use]
    pub fn new(persisted: Position, stamp: Stamp) -> Self {
        let inner = Inner { applied: persisted, dropped: persisted, stamp, ..Inner::default() };
        Self { inner: Mutex::new(inner), sorted_bytes: Arc::default() }
    }

    /// Takes the rows of one WAL object. Objects come in order, each once.
    pub fn apply(&self, committed: Committed) {
        let Committed { epoch: _, position, stamp, tables } = committed;
        // Reads the time of every row: nobody should wait for that.
        let pieces: Vec<Piece> = tables.into_iter().map(|rows| Piece::new(position, stamp, rows)).collect();
        let mut inner = self.inner.lock();
        assert!(position > inner.applied, "position {position} was applied after {}", inner.applied);
        inner.applied = position;
        inner.stamp = inner.stamp.max(stamp);
        if position <= inner.cut {
            // Another node's rows, which came after the catalog version that has them in files.
            return;
        }
        let rows = pieces.iter().map(|piece| piece.rows.len() as u64).sum();
        if rows > 0 {
            inner.rows += rows;
            inner.objects.push_back(Object { position, stamp, rows });
        }
        for piece in pieces {
            inner.bytes_open += piece.bytes;
            let new = || TableBuffer { sorted_bytes: Arc::clone(&self.sorted_bytes), ..TableBuffer::default() };
            inner.tables.entry(piece.rows.table).or_insert_with(new).push(piece);
        }
    }

    /// Says that nothing up to `position` is still to come: an epoch ended there with a fence, which holds no rows.
    pub fn pass(&self, position: Position) {
        let mut inner = self.inner.lock();
        inner.applied = inner.applied.max(position);
    }

    /// The newest object whose rows are here, or were.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.inner.lock().applied
    }

    /// The chunks of every table, and the position up to which rows were dropped.
    #[must_use]
    pub fn all_chunks(&self) -> (BTreeMap<TableId, Vec<Arc<Chunk>>>, Position) {
        let inner = self.inner.lock();
        (inner.tables.iter().map(|(id, table)| (*id, table.chunks())).collect(), inner.dropped)
    }

    /// How much is here. Nobody waits for it: all of it is counted as it comes and goes.
    #[must_use]
    pub fn census(&self) -> Census {
        let inner = self.inner.lock();
        let oldest = inner.objects.front().map(|object| object.stamp);
        Census { applied: inner.applied, rows: inner.rows, bytes: self.bytes_of(&inner), oldest }
    }

    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes_of(&self.inner.lock())
    }

    fn bytes_of(&self, inner: &Inner) -> Bytes {
        let sorted = self.sorted_bytes.load(Ordering::Relaxed);
        Bytes { open: inner.bytes_open, frozen: inner.bytes_frozen, sorted }
    }

    /// Everything that arrived so far, to be written as files. The rows stay visible here until `drop_through`.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let mut inner = self.inner.lock();
        inner.bytes_frozen += std::mem::take(&mut inner.bytes_open);
        let close = |(id, table): (&TableId, &mut TableBuffer)| {
            table.close();
            (*id, table.closed.iter().flat_map(|c| c.pieces.iter().cloned()).collect())
        };
        let tables = inner.tables.iter_mut().map(close).collect();
        Frozen { through: inner.applied, stamp: inner.stamp, tables }
    }

    /// Cuts the chunks at the position up to which their writer, another node, has its rows in files. Returns the
    /// newest such position: there may be one above this.
    pub fn cut_at(&self, persisted: Position) -> Position {
        let mut inner = self.inner.lock();
        if persisted <= inner.cut {
            return inner.cut;
        }
        let from = std::mem::replace(&mut inner.cut, persisted);
        let bytes: usize = inner.tables.values_mut().map(|table| table.cut(from, persisted)).sum();
        inner.bytes_open -= bytes;
        inner.bytes_frozen += bytes;
        persisted
    }

    /// Forgets what the catalog says is in files.
    pub fn drop_through(&self, persisted: Position) {
        let mut inner = self.inner.lock();
        inner.dropped = inner.dropped.max(persisted);
        let mut bytes_gone = 0;
        for table in inner.tables.values_mut() {
            for chunk in table.closed.extract_if(.., |chunk| chunk.is_persisted(persisted)) {
                bytes_gone += chunk.bytes;
            }
        }
        // What is in files was frozen before.
        inner.bytes_frozen = inner.bytes_frozen.saturating_sub(bytes_gone);
        while let Some(gone) = inner.objects.pop_front_if(|object| object.position <= persisted) {
            inner.rows -= gone.rows;
        }
        inner.tables.retain(|_, table| !table.closed.is_empty() || !table.open.is_empty());
    }
}

impl TableBuffer {
    fn push(&mut self, piece: Piece) {
        self.open_rows += piece.rows.len();
        self.open_bytes += piece.bytes;
        self.open.push(Arc::new(piece));
        self.open_chunk = OnceLock::new();
        if self.open_rows >= CHUNK_ROWS_MAX || self.open_bytes >= CHUNK_BYTES_MAX {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let chunk = Arc::clone(self.open_chunk());
            self.closed.push(chunk);
            let (closed, sorted_bytes) = (std::mem::take(&mut self.closed), Arc::clone(&self.sorted_bytes));
            *self = Self { closed, sorted_bytes, ..Self::default() };
        }
    }

    /// Closes the newest chunk, and makes two of the one that straddles `at`. Returns the bytes between `from` and `at`.
    fn cut(&mut self, from: Position, at: Position) -> usize {
        self.close();
        let straddles = |chunk: &Arc<Chunk>| chunk.pieces.iter().any(|p| p.position <= at) && !chunk.is_at_or_below(at);
        // Pieces come in order, so there is one such chunk at most.
        if let Some(index) = self.closed.iter().position(straddles) {
            let (below, above) = self.closed[index].pieces.iter().cloned().partition(|p| p.position <= at);
            let part = |pieces| Arc::new(Chunk::new(pieces, Arc::clone(&self.sorted_bytes)));
            let parts = [below, above].map(part);
            self.closed.splice(index..=index, parts);
        }
        let pieces = self.closed.iter().flat_map(|chunk| &chunk.pieces);
        pieces.filter(|p| p.position > from && p.position <= at).map(|p| p.bytes).sum()
    }

    fn open_chunk(&self) -> &Arc<Chunk> {
        self.open_chunk.get_or_init(|| Arc::new(Chunk::new(self.open.clone(), Arc::clone(&self.sorted_bytes))))
    }

    fn chunks(&self) -> Vec<Arc<Chunk>> {
        let open = (!self.open.is_empty()).then(|| self.open_chunk());
        self.closed.iter().chain(open).cloned().collect()
    }
}

impl Piece {
    fn new(position: Position, stamp: Stamp, rows: Rows) -> Self {
        let time = rows.time_range().expect("a piece has rows");
        Self { position, stamp, time, bytes: rows.bytes(), rows }
    }
}

impl Chunk {
    fn new(pieces: Vec<Arc<Piece>>, sorted_bytes: Arc<AtomicUsize>) -> Self {
        let time = pieces.iter().map(|p| p.time).reduce(TimeRange::union).expect("a chunk has pieces");
        let bytes = pieces.iter().map(|p| p.bytes).sum();
        Self { pieces, time, bytes, sorted: Mutex::new(None), shown: Mutex::new(None), sorted_bytes }
    }

    #[must_use]
    pub fn time(&self) -> TimeRange {
        self.time
    }

    /// Whether all of the chunk is in files by the catalog's word. It is all or nothing: a rotation closes chunks.
    #[must_use]
    pub fn is_persisted(&self, persisted: Position) -> bool {
        let first = self.pieces.first().map(|p| p.position);
        let last = self.pieces.last().map(|p| p.position);
        let inside = self.is_at_or_below(persisted);
        assert!(inside || first > Some(persisted), "a chunk straddles position {persisted}: {first:?} to {last:?}");
        inside
    }

    fn is_at_or_below(&self, position: Position) -> bool {
        self.pieces.last().is_none_or(|piece| piece.position <= position)
    }

    /// The oldest stamp of its rows.
    fn stamp_min(&self) -> Stamp {
        self.pieces.first().map_or(Stamp::SETTLED, |piece| piece.stamp)
    }

    /// What the deletes of its table leave of `sorted`; `None` when that is nothing. Kept, so that queries share it.
    pub fn shown(&self, schema: &TableSchema, deletes: &[Arc<RowDelete>]) -> Result<Option<SortedChunk>, merge::Error> {
        let hides = |d: &&Arc<RowDelete>| self.stamp_min() < d.stamp && d.which.time.overlaps(self.time);
        let hide: Vec<_> = deletes.iter().filter(hides).cloned().collect();
        let Some(newest) = hide.last() else { return Ok(Some(self.sorted(schema))) };
        let of = (schema.columns.len(), newest.version);
        let mut cached = self.shown.lock();
        if let Some(shown) = cached.as_ref().filter(|shown| shown.of == of) {
            return Ok(shown.rows.clone());
        }
        let sorted = self.sorted(schema);
        let all = sorted.batch.num_rows();
        let rows = sorted.masked(&Mask::of_log(&hide), schema)?;
        // Where nothing was hidden the memory is that of the sorted rows.
        let copied = rows.as_ref().filter(|rows| rows.batch.num_rows() < all);
        let bytes = copied.map_or(0, |rows| bytes_of_copy(&rows.batch));
        let counted = Counted::new(bytes, &self.sorted_bytes);
        *cached = Some(Shown { of, rows: rows.clone(), _counted: counted });
        Ok(rows)
    }

    /// The rows of the chunk in the layout of `schema`. Sorts on the first call: milliseconds for a full chunk.
    #[must_use]
    pub fn sorted(&self, schema: &TableSchema) -> SortedChunk {
        let mut cached = self.sorted.lock();
        match &*cached {
            Some((columns, sorted, _)) if *columns == schema.columns.len() => sorted.clone(),
            _ => {
                let sorted = Sorted::new(self.pieces.clone(), schema, TimeRange::ALL).chunk();
                let counted = Counted::new(sorted.batch.get_array_memory_size(), &self.sorted_bytes);
                *cached = Some((schema.columns.len(), sorted.clone(), counted));
                sorted
            }
        }
    }
}

/// What some rows of a batch take beside it: they share the texts of the tags with it.
fn bytes_of_copy(rows: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| match column.as_any_dictionary_opt() {
        Some(tag) => tag.keys().get_array_memory_size(),
        None => column.get_array_memory_size(),
    };
    rows.columns().iter().map(bytes).sum()
}
