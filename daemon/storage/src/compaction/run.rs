//! One plan: read, merge, write, and one catalog entry.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::plan::Plan;
use super::{Compactor, Error};
use crate::bucket::Key;
use crate::catalog::{self, Change, State, Table};
use crate::files::{self, FileLayout, Origin, Reader, Stamps, WrittenFile, padded};
use crate::merge::{Cutter, Layout, Merged, Settle};
use crate::model::{ErrorKind, FileRecord};

/// Files that are fetched at a time.
const FETCHES_MAX: usize = 8;

type Padded = Box<dyn Iterator<Item = Result<arrow_array::RecordBatch, files::Error>> + Send>;

/// A file of a plan, fetched.
struct Input {
    file: Arc<FileRecord>,
    bytes: Bytes,
}

/// The rows of a plan on their way into files.
struct Writing {
    cutter: Cutter<Merged<Padded>>,
    layout: FileLayout,
}

impl Writing {
    fn new(plan: &Plan, inputs: Vec<Input>, layout: FileLayout, rows_max: u64) -> Result<Self, files::Error> {
        let columns = layout.columns.clone();
        let inputs = inputs.into_iter().map(|input| rows_of(input, &columns));
        let inputs: Vec<Padded> = inputs.collect::<Result<_, _>>()?;
        let merged = Merged::new(columns.clone(), inputs, Settle::UpTo(plan.settle))?;
        Ok(Self { cutter: Cutter::new(columns, plan.cuts(rows_max), merged), layout })
    }

    /// The next file, whole.
    fn next(&mut self) -> Result<Option<WrittenFile>, files::Error> {
        match self.cutter.piece()? {
            Some(rows) => files::write(self.layout.clone(), rows),
            None => Ok(None),
        }
    }
}

fn rows_of(Input { file, bytes }: Input, columns: &Layout) -> Result<Padded, files::Error> {
    let reader = Reader::open(&file.path, bytes, file.tail)?;
    let schema = Arc::clone(&columns.schema);
    Ok(Box::new(reader.map(move |batch| padded(&file.path, &batch?, &schema))))
}

impl Compactor {
    /// Returns the files that took the place of the plan's.
    pub(super) async fn run(&self, table: &Arc<Table>, plan: &Plan) -> Result<Vec<Arc<FileRecord>>, Error> {
        let fetches = plan.inputs.iter().cloned().map(|file| self.fetch(file));
        let inputs: Vec<_> = stream::iter(fetches).buffered(FETCHES_MAX).try_collect().await?;
        let origin = self.origin(table, plan);
        let columns = Layout::of(&table.schema);
        let layout = FileLayout { columns, origin: origin.clone(), stamps: Stamps::Any };
        let rows_max = self.config.rows_max;
        let begun = plan.clone();
        let mut writing = self.parts.tasks.cpu(move || Writing::new(&begun, inputs, layout, rows_max)).await?;
        let mut added = Vec::new();
        loop {
            let (next, state) = self.parts.tasks.cpu(move || (writing.next(), writing)).await;
            writing = state;
            let Some(file) = next? else { break };
            added.push(self.put(&origin, file).await);
        }
        self.publish(table, plan, &added).await?;
        Ok(added)
    }

    async fn fetch(&self, file: Arc<FileRecord>) -> Result<Input, Error> {
        let bytes = self.parts.bucket.find(&Key::from(&*file.path)).await?;
        let bytes = bytes.ok_or_else(|| Error::Lost(Arc::clone(&file.path)))?;
        Ok(Input { file, bytes })
    }

    async fn put(&self, origin: &Origin, file: WrittenFile) -> Arc<FileRecord> {
        let id = self.parts.catalog.new_file_id();
        let path = self.parts.bucket.keys().data_file((origin.database, origin.table), origin.window_start, id);
        self.parts.bucket.put_file(&path, file.bytes.clone()).await;
        Arc::new(file.record(id, path.to_string().into(), origin))
    }

    /// Replaces the plan's files in the catalog, if they all still live.
    async fn publish(&self, table: &Table, plan: &Plan, added: &[Arc<FileRecord>]) -> Result<(), Error> {
        let id = table.schema.table;
        let at_ms = self.parts.clock.now_ms();
        let decide = |state: &State| {
            let live = state.table(id).map(|table| &table.files);
            if live.is_some_and(|files| added.iter().all(|file| files.contains_key(&file.id))) {
                // An earlier attempt whose answer was lost.
                return Ok((Vec::new(), ()));
            }
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
                Err(error) if error.kind() == ErrorKind::Conflict => return Err(Error::Overtaken(error.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn origin(&self, table: &Table, plan: &Plan) -> Origin {
        let state = self.parts.catalog.state();
        let database = state.databases.get(&table.database).map_or_else(|| "".into(), |d| Arc::clone(&d.name));
        Origin {
            cluster: self.parts.catalog.cluster(),
            database: table.database,
            database_name: database,
            table: table.schema.table,
            table_name: Arc::clone(&table.schema.name),
            node: self.parts.node.clone(),
            level: plan.level,
            window_start: plan.window_start,
            window_width: plan.window_width,
        }
    }
}
