//! A small cluster in memory for tests: one database, one table, and any way to cut its rows into files and chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
    UInt64Array,
};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use storage::buffer::SortedChunk;
use storage::catalog::{Database, State, Table};
use storage::files::{self, FileLayout, Origin, Stamps};
use storage::merge::{Layout, Mask};
use storage::model::{
    Column, ColumnKind, DatabaseId, FieldType, FileId, FileRecord, NodeId, RowDelete, SEQ_COLUMN, SeriesKey, Stamp,
    TableId, TableSchema, Tail, TimeRange,
};
use storage::view::{Error, TableView};

use super::{Moment, Moments};

pub(crate) const TABLE: TableId = TableId(7);

/// A version of a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Row {
    pub(crate) host: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) time: i64,
    pub(crate) stamp: u64,
    pub(crate) usage: Option<f64>,
    pub(crate) count: Option<i64>,
    pub(crate) note: Option<String>,
}

impl Row {
    fn key(&self) -> (Option<String>, Option<String>, i64) {
        (self.host.clone(), self.region.clone(), self.time)
    }

    fn series(&self) -> SeriesKey {
        SeriesKey(vec![self.host.as_deref().map(Into::into), self.region.as_deref().map(Into::into)])
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.below(3) > 0).then_some(value)
    }

    /// Versions of rows with few keys, so that many share one. Stamps are distinct.
    pub(crate) fn rows(&mut self, len: u64) -> Vec<Row> {
        (1..=len)
            .map(|stamp| Row {
                host: (self.below(8) > 0).then(|| format!("h{}", self.below(4))),
                region: (self.below(4) == 0).then(|| format!("r{}", self.below(2))),
                time: self.below(60) as i64 * 1_000_000_000,
                stamp,
                usage: {
                    let value = self.below(100) as f64 / 4.0;
                    self.maybe(value)
                },
                count: {
                    let value = self.below(50) as i64;
                    self.maybe(value)
                },
                note: {
                    let value = format!("n{}", self.below(5));
                    self.maybe(value)
                },
            })
            .collect()
    }
}

/// What the versions add up to.
pub(crate) fn united(rows: &[Row]) -> Vec<Row> {
    let mut by_key: BTreeMap<_, Row> = BTreeMap::new();
    let mut rows = rows.to_vec();
    rows.sort_by_key(|r| r.stamp);
    for row in rows {
        let settled = by_key.entry(row.key()).or_insert_with(|| Row { stamp: 0, ..row.clone() });
        settled.usage = row.usage.or(settled.usage);
        settled.count = row.count.or(settled.count);
        settled.note = row.note.or(settled.note.take());
    }
    by_key.into_values().collect()
}

pub(crate) fn schema() -> TableSchema {
    let column = |name: &str, kind| Column { name: name.into(), kind };
    TableSchema {
        table: TABLE,
        name: "cpu".into(),
        columns: vec![
            column("host", ColumnKind::Tag),
            column("usage", ColumnKind::Field(FieldType::Float)),
            column("count", ColumnKind::Field(FieldType::Integer)),
            column("region", ColumnKind::Tag),
            column("note", ColumnKind::Field(FieldType::String)),
        ],
    }
}

/// The rows as storage lays them out: sorted, `__seq` last.
fn stored(rows: &[Row]) -> RecordBatch {
    let layout = schema().stored();
    let fields = layout.fields().iter().cloned().chain([Arc::new(Field::new(SEQ_COLUMN, DataType::UInt64, false))]);
    let tag = |of: fn(&Row) -> Option<&str>| {
        Arc::new(rows.iter().map(of).collect::<DictionaryArray<Int32Type>>()) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        tag(|r| r.host.as_deref()),
        tag(|r| r.region.as_deref()),
        Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|r| r.time))),
        Arc::new(rows.iter().map(|r| r.usage).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.count).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.note.as_deref()).collect::<StringArray>()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.stamp))),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).unwrap()
}

/// The table at one moment, and the store its files are in.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) store: Arc<InMemory>,
    pub(crate) files: Vec<Arc<FileRecord>>,
    pub(crate) chunks: Vec<SortedChunk>,
    pub(crate) expired_before: Option<i64>,
    pub(crate) deletes: Vec<Arc<RowDelete>>,
    /// What the table is called.
    name: &'static str,
}

fn sorted(mut rows: Vec<Row>) -> (Vec<Row>, TimeRange, bool) {
    rows.sort_by_key(|r| (r.key(), r.stamp));
    let times: Vec<i64> = rows.iter().map(|r| r.time).collect();
    let has_versions = rows.windows(2).any(|pair| pair[0].key() == pair[1].key());
    (rows, TimeRange::of(&times).unwrap(), has_versions)
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let (files, chunks, deletes) = Default::default();
        Self { store: Arc::new(InMemory::new()), files, chunks, expired_before: None, deletes, name: "cpu" }
    }

    /// With another name of its table.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn chunk(mut self, rows: Vec<Row>) -> Self {
        let (rows, time, has_versions) = sorted(rows);
        let (key_min, key_max) = keys(&rows);
        self.chunks.push(SortedChunk { batch: stored(&rows), time, key_min, key_max, has_versions });
        self
    }

    /// Writes the rows as a file of the oldest schema that holds them: without the columns no row sets.
    pub(crate) async fn file(mut self, rows: Vec<Row>) -> Self {
        let (rows, ..) = sorted(rows);
        let batch = stored(&rows);
        let stamp_max = Stamp(rows.iter().map(|r| r.stamp).max().unwrap());
        let is_kept = |i: &usize| match batch.schema().field(*i).name().as_str() {
            SEQ_COLUMN => stamp_max != Stamp::SETTLED,
            "time" | "host" => true,
            _ => batch.column(*i).null_count() < rows.len(),
        };
        let kept: Vec<usize> = (0..batch.num_columns()).filter(is_kept).collect();
        let batch = batch.project(&kept).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(16)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        self.publish(bytes.into(), None, rows).await;
        self
    }

    /// Writes the rows as a node does, with checksums.
    pub(crate) async fn checked_file(mut self, rows: Vec<Row>) -> Self {
        let (rows, ..) = sorted(rows);
        let origin = Origin {
            cluster: 1,
            database: DatabaseId(1),
            database_name: "plant".into(),
            table: TABLE,
            table_name: "cpu".into(),
            node: NodeId::new("node0").unwrap(),
            level: 1,
            window_start: 0,
            window_width: 600_000_000_000,
            deletes_up_to: 0,
        };
        let layout = FileLayout { columns: Layout::of(&schema()), origin, stamps: Stamps::Any };
        let batches = [Ok::<_, files::Error>(stored(&rows))].into_iter();
        let written = files::write(layout, batches).unwrap().unwrap();
        self.publish(written.bytes, Some(written.tail), rows).await;
        self
    }

    async fn publish(&mut self, bytes: Bytes, tail: Option<Tail>, rows: Vec<Row>) {
        let (rows, time, has_versions) = sorted(rows);
        let path = format!("data/file{}.parquet", self.files.len());
        let size_bytes = bytes.len() as u64;
        self.store.put(&Path::from(path.as_str()), bytes.into()).await.unwrap();
        let (key_min, key_max) = keys(&rows);
        self.files.push(Arc::new(FileRecord {
            id: FileId(self.files.len() as u128),
            table: TABLE,
            path: path.into(),
            size_bytes,
            tail,
            rows: rows.len() as u64,
            string_bytes: 0,
            time,
            key_min,
            key_max,
            stamp_max: Stamp(rows.iter().map(|r| r.stamp).max().unwrap()),
            has_versions,
            level: 1,
            window_start: 0,
            window_width: 600_000_000_000,
            deletes_up_to: 0,
        }));
    }

    pub(crate) fn expired_before(mut self, time: i64) -> Self {
        self.expired_before = Some(time);
        self
    }

    /// Hides what it means.
    pub(crate) fn delete(mut self, delete: RowDelete) -> Self {
        self.deletes.push(Arc::new(delete));
        self
    }

    /// Deals the rows out to sources at random.
    pub(crate) async fn dealt(rows: &[Row], random: &mut Random) -> Self {
        let sources = 1 + random.below(9);
        let mut hands = vec![Vec::new(); sources as usize];
        for row in rows {
            hands[random.below(sources) as usize].push(row.clone());
        }
        let mut cluster = Self::new();
        for hand in hands.into_iter().filter(|h| !h.is_empty()) {
            cluster = match random.below(3) {
                0 => cluster.chunk(hand),
                1 => cluster.file(hand).await,
                _ => cluster.checked_file(hand).await,
            };
        }
        cluster
    }

    /// Damages the store: the object is there and has no bytes.
    pub(crate) async fn lose(&self, path: &str) {
        self.store.put(&Path::from(path), Vec::new().into()).await.unwrap();
    }

    /// Damages the first pages of a file and leaves its footer.
    pub(crate) async fn damage(&self, path: &str) {
        let mut bytes = self.store.get(&Path::from(path)).await.unwrap().bytes().await.unwrap().to_vec();
        bytes[4..200].fill(0xff);
        self.store.put(&Path::from(path), bytes.into()).await.unwrap();
    }

    pub(crate) async fn bytes(&self, path: &str) -> Vec<u8> {
        self.store.get(&Path::from(path)).await.unwrap().bytes().await.unwrap().to_vec()
    }

    /// Puts other bytes where a file was.
    pub(crate) async fn overwrite(&self, path: &str, bytes: Vec<u8>) {
        self.store.put(&Path::from(path), bytes.into()).await.unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "what sweep must never do is what the test is about")]
    pub(crate) async fn remove(&self, path: &str) {
        self.store.delete(&Path::from(path)).await.unwrap();
    }

    pub(crate) fn dyn_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as _
    }

    fn state(&self) -> State {
        let id = DatabaseId(1);
        let files = self.files.iter().map(|f| (f.id, Arc::clone(f))).collect();
        let schema = TableSchema { name: self.name.into(), ..schema() };
        let (schema, deletes) = (Arc::new(schema), self.deletes.clone());
        let last_delete = deletes.last().map_or(0, |delete| delete.version);
        let (retention_ns, caches, dropped) = Default::default();
        let table = Table { database: id, schema, retention_ns, files, deletes, last_delete, caches, dropped };
        let database = Database {
            id,
            name: "plant".into(),
            tables: [(self.name.into(), TABLE)].into(),
            retention_ns: None,
            dropped: None,
        };
        State {
            databases: [(id, Arc::new(database))].into(),
            tables: [(TABLE, Arc::new(table))].into(),
            ..State::default()
        }
    }
}

fn keys(rows: &[Row]) -> (SeriesKey, SeriesKey) {
    let keys: Vec<_> = rows.iter().map(Row::series).collect();
    (keys.iter().min().unwrap().clone(), keys.iter().max().unwrap().clone())
}

#[derive(Debug)]
struct Fixed {
    state: Arc<State>,
    cluster: Cluster,
}

impl Moments for Cluster {
    fn open(&self) -> Result<Arc<dyn Moment>, Error> {
        Ok(Arc::new(Fixed { state: Arc::new(self.state()), cluster: self.clone() }))
    }
}

impl Moment for Fixed {
    fn state(&self) -> &Arc<State> {
        &self.state
    }

    fn table(&self, table: TableId, range: TimeRange) -> Result<TableView, Error> {
        assert_eq!(table, TABLE);
        Ok(TableView {
            schema: Arc::new(schema()),
            files: self.cluster.files.iter().filter(|f| f.time.overlaps(range)).cloned().collect(),
            deletes: self.cluster.deletes.clone(),
            chunks: {
                let mask = Mask::of_log(&self.cluster.deletes);
                let chunks = self.cluster.chunks.iter().filter(|c| c.time.overlaps(range)).cloned();
                chunks.filter_map(|c| c.masked(&mask, &schema()).unwrap()).collect()
            },
            expired_before: self.cluster.expired_before,
        })
    }
}
