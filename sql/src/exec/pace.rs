//! The two sides of a join, so that what is done between two rests is bounded.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalExprRef};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};

/// How many pairs of rows are compared before others have their turn: some milliseconds.
const PAIRS_MAX: usize = 1 << 18;
/// How many numbers the keys of the first side are counted under.
const BUCKETS: usize = 1 << 13;

/// What the second side of a join learns of the first: how many rows there are for each of its own.
#[derive(Debug)]
pub(super) struct Tally {
    parts: Vec<Part>,
    /// One part of the first side for all of the second.
    is_shared: bool,
}

#[derive(Debug, Default)]
struct Part {
    rows: AtomicUsize,
    /// Rows by the hash of their keys; there are none of a join without keys, nor before the first row.
    buckets: OnceLock<Vec<AtomicU32>>,
}

/// By what rows find each other.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    /// Each row meets each.
    None,
    Of(Vec<PhysicalExprRef>),
}

impl Tally {
    pub(super) fn new(parts: usize) -> Self {
        Self { parts: (0..parts.max(1)).map(|_| Part::default()).collect(), is_shared: parts <= 1 }
    }

    fn part(&self, partition: usize) -> &Part {
        &self.parts[if self.is_shared { 0 } else { partition % self.parts.len() }]
    }
}

impl Part {
    fn forget(&self) {
        self.rows.store(0, Ordering::Relaxed);
        self.buckets.get().into_iter().flatten().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }

    fn count(&self, keys: &Keys, batch: &RecordBatch) -> Result<()> {
        self.rows.fetch_add(batch.num_rows(), Ordering::Relaxed);
        let found = buckets(keys, batch)?;
        if found.is_empty() {
            return Ok(());
        }
        let counts = self.buckets.get_or_init(|| (0..BUCKETS).map(|_| AtomicU32::new(0)).collect());
        for bucket in found.into_iter().flatten() {
            counts[bucket].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// How many rows each row of `batch` meets, or more.
    fn pairs(&self, keys: &Keys, batch: &RecordBatch) -> Result<Vec<usize>> {
        if let Keys::None = keys {
            return Ok(vec![self.rows.load(Ordering::Relaxed); batch.num_rows()]);
        }
        let met = |bucket: Option<usize>| match (bucket, self.buckets.get()) {
            (Some(bucket), Some(counts)) => counts[bucket].load(Ordering::Relaxed) as usize,
            _ => 0,
        };
        Ok(buckets(keys, batch)?.into_iter().map(met).collect())
    }
}

/// The number each row's keys are counted under; what is null meets nothing.
fn buckets(keys: &Keys, batch: &RecordBatch) -> Result<Vec<Option<usize>>> {
    let Keys::Of(keys) = keys else { return Ok(Vec::new()) };
    let rows = batch.num_rows();
    let values = keys.iter().map(|key| key.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
    let mut hashes = vec![0; rows];
    create_hashes(&values, &RandomState::with_seed(0), &mut hashes)?;
    let nulls: Vec<_> = values.iter().filter_map(|values| values.logical_nulls()).collect();
    let bucket = |(row, hash): (usize, u64)| {
        let is_null = nulls.iter().any(|nulls| nulls.is_null(row));
        (!is_null).then(|| usize::try_from(hash % BUCKETS as u64).expect("there are few"))
    };
    Ok(hashes.into_iter().enumerate().map(bucket).collect())
}

/// One side of a join.
#[derive(Debug)]
pub(super) struct Side {
    input: Arc<dyn ExecutionPlan>,
    place: Place,
    keys: Keys,
    tally: Arc<Tally>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Is read first and kept whole.
    First,
    /// Is compared with the first as it comes.
    Second,
}

impl Side {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, place: Place, keys: Keys, tally: Arc<Tally>) -> Self {
        Self { input, place, keys, tally }
    }
}

impl DisplayAs for Side {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PacedExec: {}", if self.place == Place::First { "first" } else { "second" })
    }
}

impl ExecutionPlan for Side {
    fn name(&self) -> &'static str {
        "PacedExec"
    }

    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else { return internal_err!("a side of a join has one input") };
        Ok(Arc::new(Self::new(input, self.place, self.keys.clone(), Arc::clone(&self.tally))))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.place == Place::First {
            // A part of a recursion is run again.
            self.tally.part(partition).forget();
        }
        let input = self.input.execute(partition, context)?;
        let (place, keys, tally) = (self.place, self.keys.clone(), Arc::clone(&self.tally));
        Ok(Box::pin(Paced { input, place, keys, tally, partition, rest: None, pairs: 0, pause: None }))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }
}

struct Paced {
    input: SendableRecordBatchStream,
    place: Place,
    keys: Keys,
    tally: Arc<Tally>,
    partition: usize,
    /// What was read and not yet given, and how many rows each row of it meets.
    rest: Option<(RecordBatch, Vec<usize>)>,
    /// How many pairs were given to the join since it last rested.
    pairs: usize,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Paced {
    /// As many rows as meet few enough others.
    fn slice(&mut self) -> Option<RecordBatch> {
        let (batch, met) = self.rest.take()?;
        let mut pairs = 0_usize;
        let fits = |met: &&usize| {
            pairs = pairs.saturating_add(**met);
            pairs <= PAIRS_MAX
        };
        // One row cannot be cut.
        let rows = met.iter().take_while(fits).count().clamp(1, met.len().max(1)).min(batch.num_rows());
        self.pairs = self.pairs.saturating_add(met[..rows].iter().fold(0, |sum: usize, met| sum.saturating_add(*met)));
        if rows == batch.num_rows() {
            return Some(batch);
        }
        let rest = batch.slice(rows, batch.num_rows() - rows);
        self.rest = Some((rest, met[rows..].to_vec()));
        Some(batch.slice(0, rows))
    }
}

impl Stream for Paced {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.pairs >= PAIRS_MAX {
            this.pairs = 0;
            this.pause = Some(Box::pin(tokio::task::yield_now()));
        }
        if let Some(pause) = &mut this.pause {
            // Whoever waits for this thread has it first, and timers are looked at: who wakes itself is run again before.
            ready!(pause.as_mut().poll(context));
            this.pause = None;
        }
        if this.rest.is_none() {
            let batch = match ready!(this.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                other => return Poll::Ready(other),
            };
            let part = this.tally.part(this.partition);
            if this.place == Place::First {
                let counted = part.count(&this.keys, &batch);
                return Poll::Ready(Some(counted.map(|()| batch)));
            }
            match part.pairs(&this.keys, &batch) {
                Ok(pairs) => this.rest = Some((batch, pairs)),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(this.slice().map(Ok))
    }
}

impl RecordBatchStream for Paced {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
