//! The law of duplicates, over sorted streams of rows.
//!
//! A row is identified by its tags and its time. Versions of one row unite: per field, the value written last that is
//! set wins. Snapshots, compaction and queries all settle rows here, so that however the same writes were cut into
//! files, the same rows come out.
//!
//! # Promises
//! - Input: each stream sorted by tags (absent first, then by bytes), time and stamp. A stream that is not is an error,
//!   found before a row of the offending batch is used.
//! - Output: sorted likewise, in batches of at most `ROWS_MAX` rows and about `BYTES_MAX` bytes of strings.
//! - Rows that are deleted are taken away by one `Mask`, before versions unite, wherever streams are read.
//! - Rows of equal key and equal stamp unite under every `Settle`, a later input and a later row counting as later.
//! - Memory: one batch for each input, and those that the next output batch refers to.
//! - Tags are compared by value; dictionaries may differ between batches and hold duplicates or values nobody uses.
//!
//! # Not here
//! - Reading the streams: `Merger` asks for batches and hands batches out, so a loop, an iterator (`Merged`) and an
//!   asynchronous stream can all drive it.
//! - Padding files of older schemas (`files::padded`), and choosing which files to merge.
//!
//! # Why
//! Rows of one series stand together in every stream. So streams are compared by tags once for each series, and within
//! a series by time and stamp alone, which are integers. Long stretches that meet no other stream are passed on as
//! slices; only rows that interleave are copied.

mod cutter;
mod mask;
mod merged;
mod output;
#[cfg(test)]
mod property;
mod sorted;
mod survey;
#[cfg(test)]
mod tests;
mod versions;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

pub use cutter::{Border, Cuts, Cutter, LongSeries, Piece};
pub use mask::Mask;
pub use merged::{Merged, merge_all};
pub use sorted::slice_bytes;
pub use survey::{Found, Survey};

use self::output::{BYTES_MAX, Limits, Output, ROWS_MAX};
use self::sorted::{Place, Sorted};
use self::versions::Versions;
use crate::model::{ErrorKind, SEQ_COLUMN, Stamp, TableSchema};

/// Which versions of a row are united.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// All of them, for a query: one row for each key, no `__seq` in the output.
    All,
    /// Those with a stamp up to this one, for compaction: their `__seq` becomes 0. Newer ones stay as they are, except
    /// that a version goes when a newer one sets every field it sets. A snapshot settles up to `Stamp::SETTLED`.
    UpTo(Stamp),
}

/// The columns of every input, in order: `tags` dictionary columns, `time`, fields, and `__seq` last.
#[derive(Debug, Clone)]
pub struct Layout {
    pub schema: SchemaRef,
    /// How many tag columns stand before `time`.
    pub tags: usize,
}

impl Layout {
    /// All columns of a table and `__seq`.
    #[must_use]
    pub fn of(table: &TableSchema) -> Self {
        let seq = Arc::new(Field::new(SEQ_COLUMN, DataType::UInt64, false));
        let fields: Vec<_> = table.stored().fields().iter().cloned().chain([seq]).collect();
        Self { schema: Arc::new(Schema::new(fields)), tags: table.tags().count() }
    }

    /// The place of `__seq`, which is also where the fields end.
    fn seq(&self) -> usize {
        self.schema.fields().len() - 1
    }

    fn check(&self) -> Result<(), Error> {
        let types: Vec<_> = self.schema.fields().iter().map(|f| f.data_type()).collect();
        let tag = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let time = |t: &DataType| matches!(t, DataType::Timestamp(TimeUnit::Nanosecond, _));
        let whole = types.len() >= self.tags + 2
            && types[..self.tags].iter().all(|t| **t == tag)
            && time(types[self.tags])
            && *types[types.len() - 1] == DataType::UInt64
            && self.schema.field(types.len() - 1).name() == SEQ_COLUMN;
        if whole { Ok(()) } else { Err(Error::Layout { tags: self.tags, schema: Arc::clone(&self.schema) }) }
    }
}

/// What a `Merger` wants or has.
#[derive(Debug)]
pub enum Step {
    /// Give input number i its next batch, or end it.
    Need(usize),
    Output(RecordBatch),
    Done,
}

/// Why streams could not be merged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's mistake.
    #[error("the layout is not {tags} tags, time, fields and __seq: {schema}")]
    Layout { tags: usize, schema: SchemaRef },
    /// The caller's mistake: streams of other columns must be padded first.
    #[error("input {input}: its columns are not those of the layout: {schema}")]
    Columns { input: usize, schema: SchemaRef },
    /// What is stored or buffered is damaged; its rows cannot be merged.
    #[error("input {input}: row {row} of a batch has no time or no __seq")]
    Missing { input: usize, row: usize },
    /// What is stored or buffered is damaged; its rows cannot be merged.
    #[error("input {input}: row {row} of a batch belongs before the row it follows")]
    Unsorted { input: usize, row: usize },
    #[error("build merged rows: {0}")]
    Arrow(#[from] ArrowError),
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Layout { .. } | Self::Columns { .. } | Self::Arrow(_) => ErrorKind::Bug,
            Self::Missing { .. } | Self::Unsorted { .. } => ErrorKind::Corrupt,
        }
    }
}

/// One stream: where its next row is.
#[derive(Debug)]
struct Input {
    /// The batch in work or, while the next one is awaited, the one before it.
    batch: Option<Arc<Sorted>>,
    row: usize,
    /// The series in `batch` that `row` belongs to.
    series: usize,
}

/// Merges `inputs` streams. Call `step` until it says `Done`, and give it what it needs.
///
/// After an error the merger is of no more use.
#[derive(Debug)]
pub struct Merger {
    layout: Layout,
    inputs: Vec<Input>,
    /// Inputs whose next batch is awaited; the last is asked for first.
    needs: Vec<usize>,
    /// Inputs whose next row is of the series in work, by (time, stamp, input).
    active: Vec<usize>,
    /// All other inputs with rows, by (series, input).
    waiting: Vec<usize>,
    /// A row of the series in work.
    current: Option<Place>,
    versions: Versions,
    output: Output,
}

impl Merger {
    pub fn new(layout: Layout, inputs: usize, settle: Settle) -> Result<Self, Error> {
        Self::limited(layout, inputs, settle, Limits { rows: ROWS_MAX, bytes: BYTES_MAX })
    }

    fn limited(layout: Layout, inputs: usize, settle: Settle, limits: Limits) -> Result<Self, Error> {
        layout.check()?;
        Ok(Self {
            inputs: (0..inputs).map(|_| Input { batch: None, row: 0, series: 0 }).collect(),
            needs: (0..inputs).rev().collect(),
            active: Vec::new(),
            waiting: Vec::new(),
            current: None,
            versions: Versions::new(&layout, settle),
            output: Output::new(&layout, settle, limits),
            layout,
        })
    }

    /// The columns of what comes out: those of the layout, without `__seq` when all is settled.
    #[must_use]
    pub fn output_schema(&self) -> SchemaRef {
        self.output.schema()
    }

    /// Memory of all that is held: batches in work, those the next output refers to, and what waits to be taken.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let inputs = self.inputs.iter().filter_map(|input| input.batch.as_ref());
        let others = inputs.filter(|batch| !self.output.refers_to(batch)).map(|batch| batch.memory_bytes());
        others.sum::<usize>() + self.output.memory_bytes()
    }

    /// The next batch of `input`, which `step` has asked for. An empty batch is welcome and changes nothing.
    ///
    /// # Panics
    /// When the input was not asked for: its rows would be lost.
    pub fn give(&mut self, input: usize, batch: RecordBatch) -> Result<(), Error> {
        assert!(self.needs.contains(&input), "input {input} was not asked for");
        let Some(batch) = Sorted::of_input(input, batch, &self.layout)? else { return Ok(()) };
        let batch = Arc::new(batch);
        if let Some(before) = &self.inputs[input].batch {
            let last = before.place(before.rows() - 1);
            if last.order(&batch.place(0)) == Ordering::Greater {
                return Err(Error::Unsorted { input, row: 0 });
            }
        }
        self.needs.retain(|need| *need != input);
        self.inputs[input] = Input { batch: Some(batch), row: 0, series: 0 };
        let head = self.head(input);
        if self.current.as_ref().is_some_and(|current| current.series_order(&head).is_eq()) {
            self.activate(input);
        } else {
            self.wait(input);
        }
        Ok(())
    }

    /// There are no more batches of `input`, which `step` has asked for.
    ///
    /// # Panics
    /// When the input was not asked for: its rows would be lost.
    pub fn end(&mut self, input: usize) {
        assert!(self.needs.contains(&input), "input {input} was not asked for");
        self.needs.retain(|need| *need != input);
        self.inputs[input].batch = None;
    }

    /// Works until there is a batch, or an input must be given or ended, or nothing is left.
    pub fn step(&mut self) -> Result<Step, Error> {
        loop {
            if let Some(batch) = self.output.take() {
                return Ok(Step::Output(batch));
            }
            if let Some(input) = self.needs.last() {
                return Ok(Step::Need(*input));
            }
            if self.active.is_empty() && !self.next_series() {
                self.versions.finish(&mut self.output)?;
                self.output.flush()?;
                return Ok(self.output.take().map_or(Step::Done, Step::Output));
            }
            self.advance()?;
        }
    }

    /// Makes the inputs with the smallest series the active ones. `false` when no input has rows.
    fn next_series(&mut self) -> bool {
        let Some(first) = self.waiting.first().copied() else { return false };
        let same = self.waiting.partition_point(|i| self.head(*i).series_order(&self.head(first)) == Ordering::Equal);
        let mut active: Vec<usize> = self.waiting.drain(..same).collect();
        active.sort_by_key(|i| self.rank(*i));
        self.active = active;
        self.current = Some(self.head(first));
        true
    }

    /// Takes from the first of the active inputs all rows that come before those of every other input.
    fn advance(&mut self) -> Result<(), Error> {
        let winner = self.active.remove(0);
        let (end, series) = match self.active.first() {
            Some(next) => self.end_within_series(winner, *next),
            None => self.end_alone(winner),
        };
        let input = &mut self.inputs[winner];
        let batch = input.batch.as_ref().expect("an active input has a batch");
        self.versions.take(batch, input.row..end, &mut self.output)?;
        if series > input.series {
            self.current = Some(batch.place(end - 1));
        }
        let (batch_ends, series_ends) = (end == batch.rows(), end == batch.series_end(series));
        input.row = end;
        input.series = if series_ends { series + 1 } else { series };
        if batch_ends {
            self.needs.push(winner);
        } else if series_ends {
            self.wait(winner);
        } else {
            self.activate(winner);
        }
        Ok(())
    }

    /// Where the rows of `winner` end that come before those of `next`, which has the same series, and their series.
    fn end_within_series(&self, winner: usize, next: usize) -> (usize, usize) {
        let Input { batch, row, series } = &self.inputs[winner];
        let batch = batch.as_ref().expect("an active input has a batch");
        let bound = self.rank(next);
        let before = |row: usize| (batch.time(row), batch.stamp(row), winner) < bound;
        (first_not(*row, batch.series_end(*series), before), *series)
    }

    /// Where the rows of `winner` end when no other input has its series: whole series may follow before those of the
    /// next input. Also the last series taken.
    fn end_alone(&self, winner: usize) -> (usize, usize) {
        let Input { batch, series, .. } = &self.inputs[winner];
        let batch = batch.as_ref().expect("an active input has a batch");
        let end = match self.waiting.first() {
            None => batch.series_len(),
            Some(next) => {
                let bound = self.head(*next);
                let before = |s: usize| batch.place(batch.series_start(s)).series_order(&bound) == Ordering::Less;
                first_not(*series, batch.series_len(), before)
            }
        };
        (batch.series_end(end - 1), end - 1)
    }

    /// An input whose next row is of the series in work.
    fn activate(&mut self, input: usize) {
        let rank = self.rank(input);
        let at = self.active.partition_point(|i| self.rank(*i) < rank);
        self.active.insert(at, input);
    }

    /// An input whose next row is of a later series.
    fn wait(&mut self, input: usize) {
        let head = self.head(input);
        let at = self.waiting.partition_point(|i| self.head(*i).series_order(&head).then(i.cmp(&input)).is_lt());
        self.waiting.insert(at, input);
    }

    fn head(&self, input: usize) -> Place {
        let input = &self.inputs[input];
        input.batch.as_ref().expect("only inputs with rows are in a queue").place(input.row)
    }

    /// The order of inputs within one series.
    fn rank(&self, input: usize) -> (i64, u64, usize) {
        let Input { batch, row, .. } = &self.inputs[input];
        let batch = batch.as_ref().expect("only inputs with rows are in a queue");
        (batch.time(*row), batch.stamp(*row), input)
    }
}

/// The first of `start + 1..end` for which `before` no longer holds; it holds for `start`, and once it fails it fails
/// for all that follow. Looks near `start` first: mostly the answer is close, or `end`.
fn first_not(start: usize, end: usize, before: impl Fn(usize) -> bool) -> usize {
    let mut low = start;
    let mut step = 1;
    while low + step < end && before(low + step) {
        low += step;
        step *= 2;
    }
    let mut high = end.min(low + step);
    low += 1;
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    high
}
