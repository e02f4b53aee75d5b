use std::collections::VecDeque;
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Int32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt64Array, cast::AsArray};
use arrow_buffer::NullBuffer;
use arrow_schema::SchemaRef;
use arrow_select::interleave::interleave;
use hashbrown::HashMap;

use super::sorted::{Sorted, slice_bytes};
use super::versions::Version;
use super::{Error, Layout, Settle};

/// Rows of one output batch: what query engines like best.
pub(super) const ROWS_MAX: usize = 8192;

/// Strings and tag values of one output batch, far below the 2 GiB that the offsets of one column can address. A
/// single row may be larger.
pub(super) const BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: u64,
}

/// Collects which rows come out, and copies them when a batch is full. A long stretch of one input batch becomes a
/// batch of its own, which shares its memory with the input.
#[derive(Debug)]
pub(super) struct Output {
    schema: SchemaRef,
    tags: usize,
    settle: Settle,
    limits: Limits,
    /// The batches that `segments` and `overrides` refer to, by slot.
    batches: Vec<Arc<Sorted>>,
    /// Slots by the address of the batch, which `batches` keeps alive.
    slots: HashMap<usize, usize>,
    segments: Vec<Segment>,
    /// For each field the rows of the output that take it from another place: (output row, (slot, row)).
    overrides: Vec<Vec<(usize, (usize, usize))>>,
    rows: usize,
    bytes: u64,
    ready: VecDeque<RecordBatch>,
}

/// Rows of one batch that stand together.
#[derive(Debug, Clone, Copy)]
struct Segment {
    slot: usize,
    start: usize,
    len: usize,
}

impl Output {
    pub(super) fn new(layout: &Layout, settle: Settle, limits: Limits) -> Self {
        let seq = layout.seq();
        let schema = match settle {
            Settle::UpTo(_) => Arc::clone(&layout.schema),
            Settle::All => {
                let kept: Vec<usize> = (0..seq).collect();
                Arc::new(layout.schema.project(&kept).expect("the first columns of a schema are columns of it"))
            }
        };
        Self {
            schema,
            tags: layout.tags,
            settle,
            limits,
            batches: Vec::new(),
            slots: HashMap::new(),
            segments: Vec::new(),
            overrides: vec![Vec::new(); seq - layout.tags - 1],
            rows: 0,
            bytes: 0,
            ready: VecDeque::new(),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next batch that is full or was flushed.
    pub(super) fn take(&mut self) -> Option<RecordBatch> {
        self.ready.pop_front()
    }

    pub(super) fn refers_to(&self, batch: &Arc<Sorted>) -> bool {
        self.slots.contains_key(&Arc::as_ptr(batch).addr())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let referred: usize = self.batches.iter().map(|batch| batch.memory_bytes()).sum();
        referred + self.ready.iter().map(slice_bytes).sum::<usize>()
    }

    /// Adds rows as they are.
    pub(super) fn rows(&mut self, batch: &Arc<Sorted>, mut rows: Range<usize>) -> Result<(), Error> {
        while !rows.is_empty() {
            let follows = self.segments.last().is_some_and(|last| {
                last.start + last.len == rows.start && Arc::ptr_eq(&self.batches[last.slot], batch)
            });
            let is_long = |len: usize| len >= self.limits.rows / 8;
            let stands_alone = is_long(rows.len()) || self.segments.last().is_some_and(|last| is_long(last.len));
            let is_full = self.rows >= self.limits.rows || self.bytes >= self.limits.bytes;
            if is_full || (stands_alone && !follows) {
                self.flush()?;
            }
            let within = batch.rows_within(rows.start, self.limits.bytes - self.bytes);
            if within == 0 && self.rows > 0 {
                self.flush()?;
                continue;
            }
            let len = within.max(1).min(rows.len()).min(self.limits.rows - self.rows);
            self.append(batch, rows.start, len);
            rows.start += len;
        }
        Ok(())
    }

    /// Adds one version of a row.
    pub(super) fn version(&mut self, version: &Version) -> Result<(), Error> {
        let row = version.row.row;
        self.rows(&version.row.batch, row..row + 1)?;
        for (field, older) in &version.older {
            let slot = self.slot(&older.batch);
            self.overrides[*field].push((self.rows - 1, (slot, older.row)));
            // A little too much, since the older row has other strings too.
            self.bytes += older.batch.bytes(older.row, older.row + 1);
        }
        Ok(())
    }

    fn append(&mut self, batch: &Arc<Sorted>, start: usize, len: usize) {
        let slot = self.slot(batch);
        self.rows += len;
        self.bytes += batch.bytes(start, start + len);
        match self.segments.last_mut() {
            Some(last) if last.slot == slot && last.start + last.len == start => last.len += len,
            _ => self.segments.push(Segment { slot, start, len }),
        }
    }

    fn slot(&mut self, batch: &Arc<Sorted>) -> usize {
        let batches = &mut self.batches;
        *self.slots.entry(Arc::as_ptr(batch).addr()).or_insert_with(|| {
            batches.push(Arc::clone(batch));
            batches.len() - 1
        })
    }

    /// Makes a batch of what was added.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let columns = match self.segments.as_slice() {
            [] => return Ok(()),
            [one] if self.overrides.iter().all(Vec::is_empty) => {
                self.batches[one.slot].batch().slice(one.start, one.len).columns().to_vec()
            }
            _ => self.gather()?,
        };
        let batch = RecordBatch::try_new(self.schema(), self.settled(columns))?;
        self.ready.push_back(batch);
        self.batches.clear();
        self.slots.clear();
        self.segments.clear();
        self.overrides.iter_mut().for_each(Vec::clear);
        self.rows = 0;
        self.bytes = 0;
        Ok(())
    }

    /// Settles the last column, `__seq`.
    fn settled(&self, mut columns: Vec<ArrayRef>) -> Vec<ArrayRef> {
        let seq = columns.pop().expect("a layout has at least time and __seq");
        if let Settle::UpTo(settled) = self.settle {
            let seq = seq.as_primitive::<UInt64Type>();
            let seq: UInt64Array = seq.unary(|stamp| if stamp <= settled.0 { 0 } else { stamp });
            columns.push(Arc::new(seq));
        }
        columns
    }

    fn gather(&self) -> Result<Vec<ArrayRef>, Error> {
        let stretches = self.stretches();
        let mut rows = Vec::with_capacity(self.rows);
        for segment in &self.segments {
            rows.extend((segment.start..segment.start + segment.len).map(|row| (segment.slot, row)));
        }
        let columns = self.batches[0].batch().num_columns();
        let mut gathered = Vec::with_capacity(columns);
        for column in 0..columns {
            if column < self.tags {
                gathered.push(self.gather_tag(column, &stretches)?);
                continue;
            }
            let arrays: Vec<&dyn Array> = self.batches.iter().map(|b| b.batch().column(column).as_ref()).collect();
            // `time` comes before the fields and `__seq` after them: neither is ever taken from another place.
            let field = column.checked_sub(self.tags + 1).and_then(|field| self.overrides.get(field));
            gathered.push(match field {
                Some(overrides) if !overrides.is_empty() => {
                    let mut rows = rows.clone();
                    overrides.iter().for_each(|(row, from)| rows[*row] = *from);
                    interleave(&arrays, &rows)?
                }
                _ => interleave(&arrays, &rows)?,
            });
        }
        Ok(gathered)
    }

    /// The series of the output: for each the place of a row, and how many rows it has.
    fn stretches(&self) -> Vec<Segment> {
        let mut stretches: Vec<Segment> = Vec::new();
        // For each slot where the series of its latest row ends, and which stretch that series is.
        let mut latest = vec![(0, 0); self.batches.len()];
        for &Segment { slot, mut start, len } in &self.segments {
            let batch = &self.batches[slot];
            let end = start + len;
            while start < end {
                let (mut series_end, stretch) = latest[slot];
                // Rows of one slot rise, so this is still the same series before its end.
                let is_latest = start < series_end && stretch + 1 == stretches.len();
                if start >= series_end {
                    series_end = batch.starts()[batch.starts().partition_point(|s| *s <= start)];
                }
                let stop = end.min(series_end);
                let belongs = |last: &Segment| {
                    is_latest || self.batches[last.slot].series_order(last.start, batch, start).is_eq()
                };
                match stretches.last_mut() {
                    Some(last) if belongs(last) => last.len += stop - start,
                    _ => stretches.push(Segment { slot, start, len: stop - start }),
                }
                latest[slot] = (series_end, stretches.len() - 1);
                start = stop;
            }
        }
        stretches
    }

    /// A tag column with a dictionary of the values it uses, each once.
    fn gather_tag(&self, tag: usize, stretches: &[Segment]) -> Result<ArrayRef, Error> {
        const ABSENT: i32 = -1;
        let mut keys: Vec<i32> = Vec::with_capacity(self.rows);
        let mut values: Vec<&str> = Vec::new();
        let mut known: HashMap<&str, i32> = HashMap::new();
        // For each slot its latest key and what became of it: mostly the next one is the same.
        let mut latest = vec![(ABSENT, ABSENT); self.batches.len()];
        for stretch in stretches {
            let batch = &self.batches[stretch.slot];
            let from = batch.tag_key(tag, stretch.start);
            let (latest_from, latest_key) = latest[stretch.slot];
            let key = match batch.tag(tag, stretch.start) {
                _ if from == latest_from => latest_key,
                None => ABSENT,
                Some(value) => *known.entry(value).or_insert_with(|| {
                    values.push(value);
                    i32::try_from(values.len() - 1).expect("an output batch has fewer rows")
                }),
            };
            latest[stretch.slot] = (from, key);
            keys.extend(repeat_n(key, stretch.len));
        }
        let set = keys.contains(&ABSENT).then(|| NullBuffer::from_iter(keys.iter().map(|key| *key != ABSENT)));
        let keys = Int32Array::new(keys.into(), set);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(StringArray::from(values)))?))
    }
}
