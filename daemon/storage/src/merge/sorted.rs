use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::types::{Int32Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, cast::AsArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, Schema};

use super::{Error, Layout};
use crate::model::{SeriesKey, Stamp, TimeRange};

/// A batch of one input: known to be sorted, and cut into its series.
#[derive(Debug)]
pub(super) struct Sorted {
    batch: RecordBatch,
    tags: Vec<Tag>,
    times: ScalarBuffer<i64>,
    stamps: ScalarBuffer<u64>,
    /// For each field, which rows set it.
    set: Vec<Option<NullBuffer>>,
    /// Where each series begins, and the number of rows.
    starts: Vec<usize>,
    /// The rows with the key of the row before them.
    repeats: Vec<usize>,
    /// For each row the bytes of strings and tag values that stand before it, and the sum.
    bytes: Vec<u64>,
    /// What the batch and what is known of it take.
    memory_bytes: usize,
}

/// One row of a batch.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) batch: Arc<Sorted>,
    pub(super) row: usize,
}

/// A tag column. A key below zero is an absent tag.
#[derive(Debug)]
struct Tag {
    keys: ScalarBuffer<i32>,
    values: StringArray,
}

impl Tag {
    fn new(column: &dyn Array) -> Self {
        let column = column.as_dictionary::<Int32Type>();
        let values: StringArray = column.values().as_string::<i32>().clone();
        // A slot that is null may hold any key, and a key may point to a null value. Both become one thing.
        let keys = match column.logical_nulls() {
            None => column.keys().values().clone(),
            Some(nulls) => {
                column.keys().values().iter().zip(&nulls).map(|(k, set)| if set { *k } else { -1 }).collect()
            }
        };
        Self { keys, values }
    }

    fn value(&self, row: usize) -> Option<&str> {
        let key = usize::try_from(self.keys[row]).ok()?;
        Some(self.values.value(key))
    }
}

impl Sorted {
    /// `None` when the batch has no rows.
    pub(super) fn of_input(input: usize, batch: RecordBatch, layout: &Layout) -> Result<Option<Self>, Error> {
        if !same_columns(&batch.schema(), &layout.schema) {
            return Err(Error::Columns { input, schema: batch.schema() });
        }
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        let seq = layout.seq();
        for column in [layout.tags, seq] {
            let nulls = batch.column(column).nulls();
            if let Some(row) = nulls.and_then(|n| (0..n.len()).find(|row| n.is_null(*row))) {
                return Err(Error::Missing { input, row });
            }
        }
        let mut sorted = Self {
            tags: batch.columns()[..layout.tags].iter().map(|c| Tag::new(c)).collect(),
            times: batch.column(layout.tags).as_primitive::<TimestampNanosecondType>().values().clone(),
            stamps: batch.column(seq).as_primitive::<UInt64Type>().values().clone(),
            set: batch.columns()[layout.tags + 1..seq].iter().map(|c| c.logical_nulls()).collect(),
            starts: Vec::new(),
            repeats: Vec::new(),
            bytes: Vec::new(),
            memory_bytes: 0,
            batch,
        };
        sorted.starts = sorted.find_series().map_err(|row| Error::Unsorted { input, row })?;
        sorted.repeats = sorted.find_repeats().map_err(|row| Error::Unsorted { input, row })?;
        sorted.bytes = sorted.count_bytes();
        let indexes = sorted.starts.len() + sorted.repeats.len() + sorted.bytes.len();
        sorted.memory_bytes = slice_bytes(&sorted.batch) + indexes * size_of::<u64>();
        Ok(Some(sorted))
    }

    /// Where series begin, or the row whose tags belong before those of the row it follows.
    fn find_series(&self) -> Result<Vec<usize>, usize> {
        let rows = self.rows();
        // Equal keys of one dictionary are equal tags, so only rows where a key changes are compared by value.
        let mut changes = vec![false; rows];
        for tag in &self.tags {
            let pairs = tag.keys.iter().zip(&tag.keys[1..]);
            changes[1..].iter_mut().zip(pairs).for_each(|(change, (a, b))| *change |= a != b);
        }
        let mut starts = vec![0];
        for row in (1..rows).filter(|row| changes[*row]) {
            match self.series_order(row - 1, self, row) {
                Ordering::Less => starts.push(row),
                Ordering::Equal => {}
                Ordering::Greater => return Err(row),
            }
        }
        starts.push(rows);
        Ok(starts)
    }

    /// The rows with the key of the row before them, or the row that belongs before the row it follows.
    fn find_repeats(&self) -> Result<Vec<usize>, usize> {
        let mut repeats = Vec::new();
        for series in self.starts.windows(2) {
            for row in series[0] + 1..series[1] {
                match self.times[row - 1].cmp(&self.times[row]) {
                    Ordering::Less => {}
                    Ordering::Equal if self.stamps[row - 1] <= self.stamps[row] => repeats.push(row),
                    Ordering::Equal | Ordering::Greater => return Err(row),
                }
            }
        }
        Ok(repeats)
    }

    fn count_bytes(&self) -> Vec<u64> {
        let mut bytes = vec![0; self.rows() + 1];
        for start in &self.starts[..self.series_len()] {
            // A series costs its tags once: rows after the first share them.
            bytes[start + 1] = self.tags.iter().filter_map(|t| t.value(*start)).map(|v| v.len() as u64).sum();
        }
        let mut sum = 0;
        for b in &mut bytes {
            sum += *b;
            *b = sum;
        }
        for strings in self.batch.columns().iter().filter(|c| *c.data_type() == DataType::Utf8) {
            let offsets = strings.as_string::<i32>().value_offsets();
            let lengths = offsets.iter().map(|o| u64::from(o.abs_diff(offsets[0])));
            bytes.iter_mut().zip(lengths).for_each(|(b, length)| *b += length);
        }
        bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    pub(super) fn rows(&self) -> usize {
        self.times.len()
    }

    pub(super) fn time(&self, row: usize) -> i64 {
        self.times[row]
    }

    pub(super) fn stamp(&self, row: usize) -> u64 {
        self.stamps[row]
    }

    pub(super) fn tag(&self, tag: usize, row: usize) -> Option<&str> {
        self.tags[tag].value(row)
    }

    /// Equal keys of one tag column of one batch are equal tags. Negative when absent.
    pub(super) fn tag_key(&self, tag: usize, row: usize) -> i32 {
        self.tags[tag].keys[row]
    }

    pub(super) fn sets(&self, field: usize, row: usize) -> bool {
        self.set[field].as_ref().is_none_or(|set| set.is_valid(row))
    }

    pub(super) fn series_len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn series_start(&self, series: usize) -> usize {
        self.starts[series]
    }

    pub(super) fn series_end(&self, series: usize) -> usize {
        self.starts[series + 1]
    }

    /// Where series begin, and the number of rows.
    pub(super) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The rows of `from..to` with the key of the row before them.
    pub(super) fn repeats(&self, from: usize, to: usize) -> &[usize] {
        let start = self.repeats.partition_point(|row| *row < from);
        let end = self.repeats.partition_point(|row| *row < to);
        &self.repeats[start..end]
    }

    pub(super) fn has_repeats(&self) -> bool {
        !self.repeats.is_empty()
    }

    pub(super) fn key(&self, row: usize) -> SeriesKey {
        SeriesKey(self.tags.iter().map(|tag| tag.value(row).map(Arc::from)).collect())
    }

    pub(super) fn time_range(&self) -> TimeRange {
        TimeRange::of(&self.times).expect("a batch has rows")
    }

    /// The smallest and the largest stamp.
    pub(super) fn stamp_range(&self) -> (Stamp, Stamp) {
        let first = self.stamps[0];
        let (min, max) = self.stamps.iter().fold((first, first), |(min, max), s| (min.min(*s), max.max(*s)));
        (Stamp(min), Stamp(max))
    }

    /// Bytes of strings and tag values in rows `from..to`.
    pub(super) fn bytes(&self, from: usize, to: usize) -> u64 {
        self.bytes[to] - self.bytes[from]
    }

    /// How many rows from `from` on have at most so many `bytes` together.
    pub(super) fn rows_within(&self, from: usize, bytes: u64) -> usize {
        let limit = self.bytes[from].saturating_add(bytes);
        self.bytes[from + 1..].partition_point(|b| *b <= limit)
    }

    pub(super) fn place(self: &Arc<Self>, row: usize) -> Place {
        Place { batch: Arc::clone(self), row }
    }

    /// The order of the tags of a row and a row of another batch.
    pub(super) fn series_order(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        let mut tags = self.tags.iter().zip(&other.tags);
        tags.find_map(|(a, b)| Some(a.value(row).cmp(&b.value(other_row))).filter(|o| o.is_ne()))
            .unwrap_or(Ordering::Equal)
    }
}

impl Place {
    /// The order of the tags.
    pub(super) fn series_order(&self, other: &Self) -> Ordering {
        let same = Arc::ptr_eq(&self.batch, &other.batch) && self.row == other.row;
        if same { Ordering::Equal } else { self.batch.series_order(self.row, &other.batch, other.row) }
    }

    /// The order of rows in a stream.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let stamp = |p: &Self| (p.batch.time(p.row), p.batch.stamp(p.row));
        self.series_order(other).then_with(|| stamp(self).cmp(&stamp(other)))
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp(self.batch.stamp(self.row))
    }

    /// Whether both are versions of one row.
    pub(super) fn same_key(&self, batch: &Sorted, row: usize) -> bool {
        self.batch.time(self.row) == batch.time(row) && self.batch.series_order(self.row, batch, row).is_eq()
    }
}

/// Memory of the rows themselves: a batch may be cut from a larger one, which is accounted for elsewhere.
pub fn slice_bytes(batch: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_default();
    batch.columns().iter().map(bytes).sum()
}

/// Whether names and types agree; metadata and nullability may differ.
fn same_columns(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields().iter().zip(b.fields()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}
