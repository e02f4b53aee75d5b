//! One plan: read, merge, write, and one catalog entry.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::plan::{Plan, Rules, Slice};
use super::{Compactor, Error, Parts};
use crate::bucket::Key;
use crate::catalog::{self, Change, State, Table};
use crate::files::{self, FileLayout, Origin, Reader, Stamps, WrittenFile, padded};
use crate::merge::{Cutter, Layout, Mask, Merged, Settle};
use crate::model::{ErrorKind, FileRecord, TimeRange};

/// Files that are fetched at a time.
const FETCHES_MAX: usize = 8;

type Padded = Box<dyn Iterator<Item = Result<RecordBatch, files::Error>> + Send>;

/// A file of a plan, fetched.
#[derive(Clone)]
struct Input {
    file: Arc<FileRecord>,
    bytes: Bytes,
    /// What is deleted of its rows.
    mask: Mask,
}

/// The rows of a plan on their way into files.
struct Writing {
    cutter: Cutter<Merged<Padded>>,
    layout: FileLayout,
}

impl Writing {
    fn new(
        plan: &Plan,
        (inputs, range): (Vec<Input>, TimeRange),
        layout: FileLayout,
        rules: &Rules,
    ) -> Result<Self, files::Error> {
        let columns = layout.columns.clone();
        let inputs = inputs.into_iter().map(|input| rows_of(input, &columns, range));
        let inputs: Vec<Padded> = inputs.collect::<Result<_, _>>()?;
        let merged = Merged::new(columns.clone(), inputs, Settle::UpTo(plan.settle))?;
        Ok(Self { cutter: Cutter::new(columns, plan.cuts(rules), merged), layout })
    }

    /// The next file, whole.
    fn next(&mut self) -> Result<Option<WrittenFile>, files::Error> {
        match self.cutter.piece()? {
            Some(rows) => files::write(self.layout.clone(), rows),
            None => Ok(None),
        }
    }
}

fn rows_of(Input { file, bytes, mask }: Input, columns: &Layout, range: TimeRange) -> Result<Padded, files::Error> {
    let reader = Reader::open(&file.path, bytes, file.tail)?;
    let columns = columns.clone();
    Ok(Box::new(reader.map(move |batch| {
        let rows = within(padded(&file.path, &batch?, &columns.schema)?, columns.tags, range)?;
        Ok(mask.apply(rows, &columns)?)
    })))
}

/// The rows whose time, which is in column `time`, lies in the range.
fn within(batch: RecordBatch, time: usize, range: TimeRange) -> Result<RecordBatch, files::Error> {
    if range == TimeRange::ALL {
        return Ok(batch);
    }
    let times = batch.column(time).as_primitive::<TimestampNanosecondType>();
    let kept: BooleanArray = times.values().iter().map(|time| Some(range.contains(*time))).collect();
    Ok(filter_record_batch(&batch, &kept)?)
}

impl Compactor {
    /// Returns the files that took the place of the plan's.
    pub(super) async fn run(&self, table: &Arc<Table>, plan: &Plan) -> Result<Vec<Arc<FileRecord>>, Error> {
        let fetches = plan.inputs.iter().cloned().map(|file| self.fetch(table, file));
        let inputs: Vec<_> = stream::iter(fetches).buffered(FETCHES_MAX).try_collect().await?;
        let mut added = Vec::new();
        for slice in &plan.slices {
            self.write(table, plan, (*slice, inputs.clone()), &mut added).await?;
        }
        self.publish(table, plan, &added).await?;
        Ok(added)
    }

    async fn write(
        &self,
        table: &Arc<Table>,
        plan: &Plan,
        (slice, inputs): (Slice, Vec<Input>),
        added: &mut Vec<Arc<FileRecord>>,
    ) -> Result<(), Error> {
        let Parts { bucket, catalog, node, .. } = &self.parts;
        let origin = Origin::new(catalog, table, node.clone(), slice.window);
        let columns = Layout::of(&table.schema);
        let layout = FileLayout { columns, origin: origin.clone(), stamps: Stamps::Any };
        let (plan, rules) = (plan.clone(), self.rules());
        let begin = move || Writing::new(&plan, (inputs, slice.range), layout, &rules);
        let mut writing = self.parts.tasks.cpu(begin).await?;
        loop {
            let (next, state) = self.parts.tasks.cpu(move || (writing.next(), writing)).await;
            writing = state;
            let Some(file) = next? else { return Ok(()) };
            added.push(file.store(bucket, catalog, &origin).await);
        }
    }

    async fn fetch(&self, table: &Table, file: Arc<FileRecord>) -> Result<Input, Error> {
        let mask = Mask::of_file(&table.deletes, &file);
        let bytes = self.parts.bucket.find(&Key::from(&*file.path)).await?;
        let Some(bytes) = bytes else {
            // The plan may have waited so long that the file was replaced and swept.
            let state = self.parts.catalog.refresh().await?;
            let lives = state.table(file.table).is_some_and(|table| table.files.contains_key(&file.id));
            let path = Arc::clone(&file.path);
            return Err(if lives { Error::Lost(path) } else { Error::Overtaken(format!("file {path} is gone")) });
        };
        Ok(Input { file, bytes, mask })
    }

    /// Replaces the plan's files in the catalog, if this process has the role and they all still live.
    async fn publish(&self, table: &Table, plan: &Plan, added: &[Arc<FileRecord>]) -> Result<(), Error> {
        let id = table.schema.table;
        let at_ms = self.parts.clock.now_ms();
        let decide = |state: &State| {
            let live = state.table(id).map(|table| &table.files);
            let is_added = |file: &Arc<FileRecord>| live.is_some_and(|files| files.contains_key(&file.id));
            if !added.is_empty() && added.iter().all(is_added) {
                // An earlier attempt whose answer was lost.
                return Ok((Vec::new(), ()));
            }
            self.parts.role.expect_ours(state)?;
            match plan.inputs.iter().find(|file| !live.is_some_and(|files| files.contains_key(&file.id))) {
                Some(gone) => Err(catalog::Error::refused(ErrorKind::Conflict, format!("file {} is gone", gone.path))),
                None => {
                    let removed = plan.inputs.iter().map(|file| file.id).collect();
                    let added = added.to_vec();
                    Ok((vec![Change::ReplaceFiles { table: id, removed, added, at_ms }], ()))
                }
            }
        };
        loop {
            match self.parts.catalog.commit(decide).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(%error, "publish compacted files, trying again");
                    self.parts.clock.sleep(self.parts.clock.backoff(6)).await;
                }
                Err(error) if error.kind() == ErrorKind::Conflict && self.is_any_gone(plan) => {
                    return Err(Error::Overtaken(error.to_string()));
                }
                Err(error) if error.kind() == ErrorKind::Fenced => return Err(Error::SteppedDown(error.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether a file of the plan lives no more.
    fn is_any_gone(&self, plan: &Plan) -> bool {
        let state = self.parts.catalog.state();
        let lives = |file: &FileRecord| state.table(file.table).is_some_and(|t| t.files.contains_key(&file.id));
        !plan.inputs.iter().all(|file| lives(file))
    }
}
