//! From the files and chunks of a table to a plan that reads them.

use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::logical_expr::{Expr, utils::conjunction};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::{ident, lit};
use storage::buffer::SortedChunk;
use storage::merge::{Layout, Mask};
use storage::model::{ColumnKind, FileRecord, RowDelete, SEQ_COLUMN, Stamp, TIME_COLUMN, TableSchema, TimeRange};
use storage::view::TableView;

use super::files::{FileReaders, store_url};
use super::named::NamedSource;
use super::overlap::{Extent, overlap_sets};
use super::prune::LeadingTag;
use super::stored::typed;
use crate::exec::{Input, MergeExec, OverlapSet, arrange};

/// One scan of one table.
pub(super) struct Scan<'a> {
    pub(super) session: &'a dyn Session,
    pub(super) table: &'a TableSchema,
    /// All columns as the user sees them.
    pub(super) schema: SchemaRef,
    /// The wanted columns, by index into `schema`.
    pub(super) columns: Vec<usize>,
    pub(super) filters: &'a [Expr],
    pub(super) readers: Arc<FileReaders>,
    /// Rows before this time are hidden.
    pub(super) expired_before: Option<i64>,
    /// What they hide of files.
    pub(super) deletes: Vec<Arc<RowDelete>>,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    File(Arc<FileRecord>),
    Chunk(SortedChunk),
}

impl Source {
    pub(super) fn file(&self) -> Option<&Arc<FileRecord>> {
        match self {
            Self::File(file) => Some(file),
            Self::Chunk(_) => None,
        }
    }

    fn extent(&self) -> Extent<'_> {
        match self {
            Self::File(f) => Extent { time: f.time, key_min: &f.key_min, key_max: &f.key_max },
            Self::Chunk(c) => Extent { time: c.time, key_min: &c.key_min, key_max: &c.key_max },
        }
    }

    fn time(&self) -> TimeRange {
        self.extent().time
    }

    fn has_versions(&self) -> bool {
        match self {
            Self::File(f) => f.has_versions,
            Self::Chunk(c) => c.has_versions,
        }
    }
}

/// Sources that need no merge, and sets that do.
#[derive(Default)]
struct Division {
    files: Vec<Arc<FileRecord>>,
    chunks: Vec<SortedChunk>,
    /// Indexes into the sources.
    sets: Vec<Vec<usize>>,
}

impl Scan<'_> {
    /// The sources that may hold a row the query can show.
    pub(super) fn sources(&self, view: &TableView, range: TimeRange) -> Vec<Source> {
        let leading = self.table.tags().next().map(|(_, tag)| LeadingTag::of(&tag.name, self.filters));
        let leading = leading.unwrap_or_else(LeadingTag::any);
        let files = view.files.iter().cloned().map(Source::File);
        let chunks = view.chunks.iter().cloned().map(Source::Chunk);
        let may_show = |source: &Source| {
            let extent = source.extent();
            let expired = self.expired_before.is_some_and(|before| extent.time.max < before);
            !expired && extent.time.overlaps(range) && leading.may_match(extent.key_min, extent.key_max)
        };
        files.chain(chunks).filter(may_show).collect()
    }

    pub(super) fn plan(&self, sources: Vec<Source>) -> Result<Arc<dyn ExecutionPlan>> {
        let (whole, cut) = self.divide(&sources);
        let mut plans = Vec::new();
        plans.extend(self.plain(&whole.files, &whole.chunks, &self.columns)?);
        plans.extend(self.cut(&cut)?);
        if !whole.sets.is_empty() {
            plans.push(self.merged(&sources, &whole.sets)?);
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&self.columns)?)))),
            1 => Ok(plans.swap_remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }

    /// The second part holds the plain sources with some expired rows; all sets are in the first.
    fn divide(&self, sources: &[Source]) -> (Division, Division) {
        let extents: Vec<Extent<'_>> = sources.iter().map(Source::extent).collect();
        let (mut whole, mut cut) = (Division::default(), Division::default());
        for set in overlap_sets(&extents) {
            let first = &sources[set[0]];
            // A file with deleted rows goes through the merge as well, which leaves them out.
            if set.len() > 1 || first.has_versions() || !self.mask(first).is_empty() {
                whole.sets.push(set);
                continue;
            }
            let has_expired = self.expired_before.is_some_and(|before| first.time().min < before);
            let side = if has_expired { &mut cut } else { &mut whole };
            match first {
                Source::File(file) => side.files.push(Arc::clone(file)),
                Source::Chunk(chunk) => side.chunks.push(chunk.clone()),
            }
        }
        (whole, cut)
    }

    /// What is deleted of a source. Chunks come without what is.
    fn mask(&self, source: &Source) -> Mask {
        source.file().map_or_else(Mask::default, |file| Mask::of_file(&self.deletes, file))
    }

    fn plain(
        &self,
        files: &[Arc<FileRecord>],
        chunks: &[SortedChunk],
        columns: &[usize],
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !files.is_empty() {
            plans.push(self.plain_files(files, columns)?);
        }
        if !chunks.is_empty() {
            plans.push(self.plain_chunks(chunks, columns)?);
        }
        Ok(plans)
    }

    fn plain_files(&self, files: &[Arc<FileRecord>], columns: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        let parts = self.target_partitions().min(files.len());
        let mut groups = vec![Vec::new(); parts];
        // Newest first: a query for the newest rows then soon knows which files it need not open.
        for (i, file) in files.iter().rev().enumerate() {
            groups[i % parts].push(self.partitioned_file(file, &self.schema));
        }
        let source = self.parquet(&self.schema);
        let config = FileScanConfigBuilder::new(store_url(), NamedSource::around(Arc::new(source)))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_statistics(file_statistics(files, &self.schema))
            .with_projection_indices(Some(columns.to_vec()))?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn plain_chunks(&self, chunks: &[SortedChunk], columns: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        let parts = self.target_partitions().min(chunks.len());
        let mut partitions = vec![Vec::new(); parts];
        for (i, chunk) in chunks.iter().enumerate() {
            partitions[i % parts].push(arrange(&chunk.batch, &self.schema)?);
        }
        let source = MemorySourceConfig::try_new(&partitions, Arc::clone(&self.schema), Some(columns.to_vec()))?;
        Ok(DataSourceExec::from_data_source(source))
    }

    /// The plain sources of which some rows are expired: read with their time, filtered, and without it again.
    fn cut(&self, cut: &Division) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let time = self.schema.index_of(TIME_COLUMN)?;
        let mut columns = self.columns.clone();
        if !columns.contains(&time) {
            columns.push(time);
        }
        let wanted = Arc::new(self.schema.project(&self.columns)?);
        let hide = |plan: Arc<dyn ExecutionPlan>| {
            let Some(alive) = self.alive() else { return Ok(plan) };
            let predicate = self.physical(alive, &plan.schema())?;
            project(Arc::new(FilterExec::try_new(predicate, plan)?), &wanted)
        };
        self.plain(&cut.files, &cut.chunks, &columns)?.into_iter().map(hide).collect()
    }

    /// Reads the sets sorted, with only predicates on tags and time below the merge, which hold for all versions of
    /// a row or for none of them.
    fn merged(&self, sources: &[Source], sets: &[Vec<usize>]) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = Arc::new(self.schema.project(&self.columns)?);
        let layout = self.layout(&wanted);
        let key_filters = self.filters.iter().filter(|f| self.is_about_keys(f)).cloned();
        let predicate = conjunction(key_filters.chain(self.alive()));
        let mut inputs = Vec::new();
        let mut partitions: Vec<Vec<OverlapSet>> = vec![Vec::new(); self.target_partitions().min(sets.len())];
        let parts = partitions.len();
        for (i, set) in sets.iter().enumerate() {
            let first = inputs.len();
            for source in set {
                inputs.push(self.sorted(&sources[*source], &layout, predicate.as_ref())?);
            }
            partitions[i % parts].push((first..inputs.len()).collect());
        }
        let predicate = predicate.map(|p| self.physical(p, &layout.schema)).transpose()?;
        project(Arc::new(MergeExec::new(layout, inputs, partitions, predicate)), &wanted)
    }

    fn sorted(&self, source: &Source, layout: &Layout, predicate: Option<&Expr>) -> Result<Input> {
        let mask = self.mask(source);
        Ok(match source {
            Source::File(file) => {
                let plan = self.sorted_file(file, layout, predicate)?;
                Input { name: format!("file {}", file.path).into(), mask, plan }
            }
            Source::Chunk(chunk) => Input { name: "buffered rows".into(), mask, plan: sorted_chunk(chunk, layout)? },
        })
    }

    /// All tags and time, since they make the key, and of the fields those that are wanted.
    fn layout(&self, wanted: &SchemaRef) -> Layout {
        let tags = self.table.tags().count();
        let stored = typed(self.table);
        let (keys, fields) = stored.split_at(tags + 1);
        let fields = fields.iter().filter(|f| wanted.index_of(f.name()).is_ok());
        let seq = Arc::new(Field::new(SEQ_COLUMN, arrow_schema::DataType::UInt64, false));
        let columns: Vec<_> = keys.iter().chain(fields).cloned().chain([seq]).collect();
        Layout { schema: Arc::new(Schema::new(columns)), tags }
    }

    fn sorted_file(
        &self,
        file: &FileRecord,
        layout: &Layout,
        predicate: Option<&Expr>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut columns: Vec<_> = layout.schema.fields().iter().cloned().collect();
        if file.stamp_max == Stamp::SETTLED {
            columns.retain(|c| c.name() != SEQ_COLUMN);
        }
        let schema = Arc::new(Schema::new(columns));
        let mut source = self.parquet(&schema).with_pushdown_filters(true);
        if let Some(predicate) = predicate {
            source = source.with_predicate(self.physical(predicate.clone(), &schema)?);
        }
        let config: FileScanConfig = FileScanConfigBuilder::new(store_url(), NamedSource::around(Arc::new(source)))
            .with_file(self.partitioned_file(file, &schema))
            .with_preserve_order(true)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn parquet(&self, schema: &SchemaRef) -> ParquetSource {
        let global = self.session.config_options().execution.parquet.clone();
        ParquetSource::new(Arc::clone(schema))
            .with_table_parquet_options(TableParquetOptions { global, ..TableParquetOptions::default() })
            .with_parquet_file_reader_factory(Arc::clone(&self.readers) as _)
    }

    fn partitioned_file(&self, file: &FileRecord, schema: &SchemaRef) -> PartitionedFile {
        let statistics = file_statistics(&[Arc::new(file.clone())], schema);
        let partitioned = PartitionedFile::new(&*file.path, file.size_bytes).with_statistics(Arc::new(statistics));
        // For the reader, which checks by it.
        file.tail.into_iter().fold(partitioned, PartitionedFile::with_extension)
    }

    /// Rows that are not expired; `None` when there is no retention.
    fn alive(&self) -> Option<Expr> {
        let before = self.expired_before?;
        Some(ident(TIME_COLUMN).gt_eq(lit(ScalarValue::TimestampNanosecond(Some(before), None))))
    }

    fn is_about_keys(&self, filter: &Expr) -> bool {
        let is_key = |name: &str| {
            name == TIME_COLUMN || self.table.find(name).is_some_and(|(_, column)| column.kind == ColumnKind::Tag)
        };
        !filter.is_volatile() && filter.column_refs().iter().all(|column| is_key(&column.name))
    }

    fn physical(&self, filter: Expr, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
        self.session.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(schema))?)
    }

    fn target_partitions(&self) -> usize {
        self.session.config_options().execution.target_partitions.max(1)
    }
}

fn sorted_chunk(chunk: &SortedChunk, layout: &Layout) -> Result<Arc<dyn ExecutionPlan>> {
    let batch = arrange(&chunk.batch, &layout.schema)?;
    let source = MemorySourceConfig::try_new(&[vec![batch]], Arc::clone(&layout.schema), None)?;
    Ok(DataSourceExec::from_data_source(source))
}

/// The columns of `wanted`, by name.
fn project(plan: Arc<dyn ExecutionPlan>, wanted: &SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let column = |field: &Arc<Field>| {
        let column = Column::new_with_schema(field.name(), &schema)?;
        Ok(ProjectionExpr { expr: Arc::new(column), alias: field.name().clone() })
    };
    let columns = wanted.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
}

/// What the records say, exactly, of rows and time. Only for files that are read without a merge, where each row
/// of a file is a row of the answer; the smallest series key is in the record too but not in a form the planner uses.
fn file_statistics(files: &[Arc<FileRecord>], schema: &SchemaRef) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let rows: u64 = files.iter().map(|f| f.rows).sum();
    let bytes: u64 = files.iter().map(|f| f.size_bytes).sum();
    statistics.num_rows = usize::try_from(rows).map_or(Precision::Absent, Precision::Exact);
    statistics.total_byte_size = usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact);
    let time = files.iter().map(|f| f.time).reduce(TimeRange::union);
    if let (Some(time), Ok(index)) = (time, schema.index_of(TIME_COLUMN)) {
        let instant = |ns: i64| Precision::Exact(ScalarValue::TimestampNanosecond(Some(ns), None));
        statistics.column_statistics[index] = ColumnStatistics {
            null_count: Precision::Exact(0),
            min_value: instant(time.min),
            max_value: instant(time.max),
            ..ColumnStatistics::new_unknown()
        };
    }
    statistics
}
