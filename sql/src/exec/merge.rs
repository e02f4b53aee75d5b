use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt, TryStreamExt};
use storage::merge::{Layout, Mask, Merger, Settle, Step, slice_bytes};
use storage::model::SEQ_COLUMN;

/// Unites the versions of rows that stand in several sorted inputs.
///
/// Each input has one partition, sorted by tags, time and `__seq`. It may lack `__seq`, which stands for zero
/// (settled), and columns its rows do not set.
///
/// The inputs of one overlap set are merged at the same time, the sets of one partition one after the other. One batch
/// of each input under merge is open, so memory grows with the size of a set: about 8 192 rows for each input, and for
/// a file also what its reader holds. A set of more than some hundred files is work for the compactor first.
#[derive(Debug)]
pub(crate) struct MergeExec {
    layout: Layout,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    /// What to call each input in errors.
    names: Vec<Arc<str>>,
    /// What is deleted of each input.
    masks: Vec<Mask>,
    partitions: Vec<Vec<OverlapSet>>,
    /// Only about tags and time, so that it holds for all versions of a row or for none. Rows it does not hold for
    /// do not take part.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// Indexes of the inputs that may share rows.
pub(crate) type OverlapSet = Vec<usize>;

/// One sorted stream of rows, and what to call it in errors.
pub(crate) struct Input {
    pub(crate) name: Arc<str>,
    /// What is deleted of it: it takes no part, whatever it would lend to newer versions.
    pub(crate) mask: Mask,
    pub(crate) plan: Arc<dyn ExecutionPlan>,
}

impl MergeExec {
    /// The sets of each output partition, which together hold every input once. `predicate` is over `layout.schema`.
    pub(crate) fn new(
        layout: Layout,
        inputs: Vec<Input>,
        partitions: Vec<Vec<OverlapSet>>,
        predicate: Option<Arc<dyn PhysicalExpr>>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(settled_schema(&layout.schema)),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let (properties, metrics) = (Arc::new(properties), ExecutionPlanMetricsSet::new());
        let masks = inputs.iter().map(|input| input.mask.clone()).collect();
        let (names, inputs) = inputs.into_iter().map(|input| (input.name, input.plan)).unzip();
        Self { layout, inputs, names, masks, partitions, predicate, properties, metrics }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        let known = self.names.iter().cloned().zip(self.masks.iter().cloned());
        let inputs = known.zip(inputs).map(|((name, mask), plan)| Input { name, mask, plan }).collect();
        Self::new(self.layout.clone(), inputs, self.partitions.clone(), self.predicate.clone())
    }

    fn start(&self, set: &OverlapSet, context: &Arc<TaskContext>, metrics: BaselineMetrics) -> Result<Running> {
        let streams = set.iter().map(|input| self.inputs[*input].execute(0, Arc::clone(context)));
        Ok(Running {
            merger: Merger::new(self.layout.clone(), set.len(), Settle::All).map_err(|e| unmerged(&e))?,
            layout: self.layout.clone(),
            masks: set.iter().map(|input| self.masks[*input].clone()).collect(),
            predicate: self.predicate.clone(),
            first: Vec::new(),
            streams: streams.collect::<Result<_>>()?,
            names: set.iter().map(|input| Arc::clone(&self.names[*input])).collect(),
            first_bytes: 0,
            reservation: MemoryConsumer::new("merge").register(context.memory_pool()),
            metrics,
        })
    }
}

/// The schema of settled rows: without `__seq`, which is last.
fn settled_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().filter(|f| f.name() != SEQ_COLUMN).cloned().collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

impl DisplayAs for MergeExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets: usize = self.partitions.iter().map(Vec::len).sum();
        write!(f, "MergeExec: inputs={}, sets={sets}", self.inputs.len())?;
        match &self.predicate {
            Some(predicate) => write!(f, ", predicate={predicate}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for MergeExec {
    fn name(&self) -> &'static str {
        "MergeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    /// A second partition of an input would be brought back together in any order.
    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition; self.inputs.len()])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.predicate.iter().try_fold(TreeNodeRecursion::Continue, |_, predicate| f(predicate))
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.with_inputs(children)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.with_inputs(children)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if let Some(input) = self.inputs.iter().find(|i| i.properties().partitioning.partition_count() != 1) {
            return internal_err!("an input of a merge has more than one partition: {}", input.name());
        }
        // Opened one after the other: a set that is not running holds no batch and no file.
        let this = self.with_inputs(self.inputs.clone());
        let sets = futures::stream::iter(self.partitions[partition].clone());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = sets
            .map(move |set| Ok::<_, DataFusionError>(this.start(&set, &context, metrics.clone())?.batches()))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// A merge under way.
struct Running {
    merger: Merger,
    layout: Layout,
    masks: Vec<Mask>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    streams: Vec<SendableRecordBatchStream>,
    names: Vec<Arc<str>>,
    /// The first batch of each input that has not been asked for.
    first: Vec<Option<Option<RecordBatch>>>,
    /// Bytes of those.
    first_bytes: usize,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
}

impl Running {
    fn batches(self) -> impl Stream<Item = Result<RecordBatch>> {
        futures::stream::try_unfold(self, |mut running| async move {
            let batch = running.next().await?;
            Ok(batch.map(|batch| (batch, running)))
        })
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.first.is_empty() {
            self.open().await?;
        }
        loop {
            let step = {
                let _timer = self.metrics.elapsed_compute().timer();
                self.merger.step().map_err(|e| unmerged(&e))?
            };
            match step {
                Step::Need(input) => self.feed(input).await?,
                Step::Output(batch) => {
                    self.reserve(slice_bytes(&batch))?;
                    self.metrics.record_output(batch.num_rows());
                    return Ok(Some(batch));
                }
                Step::Done => return Ok(None),
            }
        }
    }

    /// Asks all inputs for their first batch at once: the merge needs one of each before it can begin, and each may
    /// wait for the store.
    async fn open(&mut self) -> Result<()> {
        let firsts = self.streams.iter_mut().map(|stream| async { stream.next().await.transpose() });
        self.first = futures::future::try_join_all(firsts).await?.into_iter().map(Some).collect();
        self.first_bytes = self.first.iter().flatten().flatten().map(slice_bytes).sum();
        self.reserve(0)
    }

    async fn feed(&mut self, input: usize) -> Result<()> {
        loop {
            let batch = match self.first[input].take() {
                Some(first) => {
                    self.first_bytes -= first.as_ref().map_or(0, slice_bytes);
                    first
                }
                None => self.streams[input].next().await.transpose()?,
            };
            self.reserve(batch.as_ref().map_or(0, slice_bytes))?;
            let Some(batch) = batch else {
                self.merger.end(input);
                return Ok(());
            };
            let batch = self.prepare(input, &batch)?;
            if batch.num_rows() > 0 {
                return self.merger.give(input, batch).map_err(|e| damaged(&self.names[input], &e));
            }
        }
    }

    fn prepare(&self, input: usize, batch: &RecordBatch) -> Result<RecordBatch> {
        let _timer = self.metrics.elapsed_compute().timer();
        let batch = arrange(batch, &self.layout.schema)?;
        let batch = self.masks[input].apply(batch, &self.layout)?;
        let Some(predicate) = &self.predicate else { return Ok(batch) };
        let kept = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
        match kept.as_boolean_opt() {
            Some(kept) => Ok(datafusion::arrow::compute::filter_record_batch(&batch, kept)?),
            None => exec_err!("the predicate of a merge is not a boolean: {predicate}"),
        }
    }

    /// For all that is held here, and a batch that is on its way in or out.
    fn reserve(&mut self, batch_bytes: usize) -> Result<()> {
        self.reservation.try_resize(self.first_bytes + self.merger.memory_bytes() + batch_bytes)
    }
}

fn unmerged(error: &storage::merge::Error) -> DataFusionError {
    DataFusionError::Execution(format!("merge rows: {error}"))
}

fn damaged(name: &str, error: &dyn fmt::Display) -> DataFusionError {
    DataFusionError::Execution(format!("read {name}: {error}"))
}

/// The columns of `schema`, by name: what the batch lacks is absent, and its `__seq` is zero.
pub(crate) fn arrange(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let column = |field: &Arc<arrow_schema::Field>| match batch.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None if field.name() == SEQ_COLUMN => Arc::new(UInt64Array::from_value(0, rows)) as ArrayRef,
        None => new_null_array(field.data_type(), rows),
    };
    let columns = schema.fields().iter().map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}
