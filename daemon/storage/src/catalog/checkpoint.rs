//! The state after one entry, written down so that a start need not read the log from its beginning.
//!
//! A checkpoint is a small root and one part for each table. Both are zstd-compressed JSON. A part is named by the entry
//! whose state it was written from and by the hash of its content; a table that did not change since is not written
//! again, the next root names the same part. So a checkpoint rests on the lowest number among its root and its parts:
//! while the mark is below that, all of it is there.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::format::{Parts, file_id, to_json};
use super::stored::{
    StoredAuditRecord, StoredCache, StoredColumn, StoredDelete, StoredDescription, StoredDropped, StoredFile,
    StoredToken, hex, is_zero, unhex,
};
use super::{Cache, Compactor, Database, Node, Removed, State, Table, TokenId};
use crate::bucket::keys;
use crate::model::{DatabaseId, Epoch, FileId, NodeId, Position, Stamp, TableId, TableSchema, Writer};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRoot {
    version: u64,
    databases: Vec<StoredDatabase>,
    tokens: Vec<StoredToken>,
    nodes: Vec<StoredNode>,
    removed: BTreeMap<String, StoredRemoved>,
    fixed: BTreeMap<String, String>,
    /// Absent in the first checkpoints there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_floor: Option<String>,
    #[serde(default)]
    compactor: StoredCompactor,
    /// Absent, as the next, in checkpoints of before level 3.
    #[serde(default)]
    settings: Vec<StoredSetting>,
    #[serde(default)]
    audit: Vec<(u64, StoredAuditRecord)>,
    /// Absent where nothing was ever deleted.
    #[serde(default, skip_serializing_if = "is_zero")]
    deleted_stamp: u64,
    next_database: u32,
    next_table: u32,
    next_token: u64,
    parts: Parts,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredDatabase {
    id: u32,
    name: String,
    tables: BTreeMap<String, u32>,
    retention_ns: Option<u64>,
    dropped: Option<StoredDropped>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredNode {
    id: String,
    instance: String,
    writer: u16,
    epoch: u32,
    process: String,
    persisted: u64,
    persisted_epoch: u32,
    persisted_stamp: u64,
    sealed: bool,
    registered_at_ms: u64,
    core_count: u32,
    /// Absent, as all that follows, in checkpoints of before nodes had modes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<StoredDescription>,
    #[serde(default)]
    stopping: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removed_at_ms: Option<u64>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct StoredCompactor {
    term: u64,
    node: Option<String>,
    epoch: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSetting {
    name: String,
    node: Option<String>,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRemoved {
    path: String,
    version: u64,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTable {
    id: u32,
    database: u32,
    name: String,
    columns: Vec<StoredColumn>,
    retention_ns: Option<u64>,
    dropped: Option<StoredDropped>,
    files: Vec<StoredFile>,
    /// Absent, as the next, where nothing was ever deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deletes: Vec<StoredDelete>,
    #[serde(default, skip_serializing_if = "is_zero")]
    last_delete: u64,
    /// Absent in checkpoints of before level 4, and when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    caches: Vec<(String, StoredCache)>,
}

/// The root of a checkpoint, read.
pub(super) struct Root(StoredRoot);

/// The payload of a root that names `parts`.
pub(super) fn encode_root(state: &State, parts: Parts) -> Bytes {
    let root = StoredRoot {
        version: state.version,
        databases: state.databases.values().map(|d| store_database(d)).collect(),
        tokens: state.tokens.values().map(|t| StoredToken::from(&**t)).collect(),
        nodes: state.nodes.values().map(|n| store_node(n)).collect(),
        removed: state.removed.iter().map(|(id, r)| (id.to_string(), store_removed(r))).collect(),
        fixed: state.fixed.clone(),
        file_floor: Some(state.file_floor.to_string()),
        compactor: store_compactor(&state.compactor),
        settings: state.settings.iter().map(store_setting).collect(),
        audit: state.audit.iter().map(|(version, record)| (*version, (&**record).into())).collect(),
        deleted_stamp: state.deleted_stamp.0,
        next_database: state.next_database,
        next_table: state.next_table,
        next_token: state.next_token,
        parts,
    };
    compress(&to_json(&root))
}

impl Root {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, String> {
        from_compressed(payload).map(Self)
    }

    /// The names of the parts, by table.
    pub(super) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// The lowest number among the root and its parts. Parts of the first format carry none: they are never deleted.
    pub(super) fn rests_on(&self) -> u64 {
        let parts = self.0.parts.values().filter_map(|name| keys::part_number_of(name));
        parts.fold(self.0.version, u64::min)
    }

    /// The state the root stands for. `part` fetches the payload of one part.
    pub(super) async fn load<E, F>(self, part: impl Fn(TableId, String) -> F) -> Result<State, E>
    where
        E: From<String>,
        F: Future<Output = Result<Bytes, E>>,
    {
        let Self(root) = self;
        let fetch = |(table, name): (u32, String)| {
            let payload = part(TableId(table), name);
            async move { Ok::<_, E>((TableId(table), Arc::new(decode_part(&payload.await?)?))) }
        };
        // Sixteen at a time: a start is bound by round trips, not by bytes.
        let tables = stream::iter(root.parts).map(fetch).buffer_unordered(16).try_collect().await?;
        Ok(State {
            version: root.version,
            databases: root.databases.into_iter().map(|d| (DatabaseId(d.id), Arc::new(load_database(d)))).collect(),
            tables,
            tokens: root.tokens.into_iter().map(super::Token::from).map(|t| (t.id, Arc::new(t))).collect(),
            nodes: root.nodes.into_iter().map(load_node).collect::<Result<_, String>>()?,
            removed: root.removed.into_iter().map(load_removed).collect::<Result<_, String>>()?,
            fixed: root.fixed,
            compactor: load_compactor(root.compactor)?,
            settings: root.settings.into_iter().map(load_setting).collect::<Result<_, _>>()?,
            audit: Arc::new(root.audit.into_iter().map(|(version, r)| (version, Arc::new(r.into()))).collect()),
            deleted_stamp: Stamp(root.deleted_stamp),
            file_floor: root.file_floor.map_or(Ok(FileId(0)), |floor| file_id(&floor))?,
            next_database: root.next_database,
            next_table: root.next_table,
            next_token: TokenId(root.next_token).0,
        })
    }
}

/// The payload of the part of one table, and the hash of its content.
pub(super) fn encode_part(table: &Table) -> (String, Bytes) {
    let stored = StoredTable {
        id: table.schema.table.0,
        database: table.database.0,
        name: table.schema.name.to_string(),
        columns: table.schema.columns.iter().map(StoredColumn::from).collect(),
        retention_ns: table.retention_ns,
        dropped: table.dropped.map(Into::into),
        files: table.files.values().map(|f| StoredFile::from(&**f)).collect(),
        deletes: table.deletes.iter().map(|delete| (&**delete).into()).collect(),
        last_delete: table.last_delete,
        caches: table.caches.iter().map(|((_, name), cache)| (name.to_string(), cache.into())).collect(),
    };
    let json = to_json(&stored);
    let hash = Sha256::digest(&json);
    let hash = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    (hash, compress(&json))
}

fn decode_part(payload: &[u8]) -> Result<Table, String> {
    let stored: StoredTable = from_compressed(payload)?;
    let files = stored.files.into_iter().map(StoredFile::load);
    let deletes = stored.deletes.into_iter().map(|delete| delete.load().map(Arc::new));
    let cache = |(name, cache): (String, StoredCache)| {
        let cache = Cache::from(cache);
        ((cache.kind(), name.into()), cache)
    };
    Ok(Table {
        database: DatabaseId(stored.database),
        schema: Arc::new(TableSchema {
            table: TableId(stored.id),
            name: stored.name.into(),
            columns: stored.columns.into_iter().map(Into::into).collect(),
        }),
        retention_ns: stored.retention_ns,
        files: files.map(|f| f.map(|f| (f.id, Arc::new(f)))).collect::<Result<_, _>>()?,
        deletes: deletes.collect::<Result<_, _>>()?,
        last_delete: stored.last_delete,
        caches: stored.caches.into_iter().map(cache).collect(),
        dropped: stored.dropped.map(Into::into),
    })
}

fn store_database(database: &Database) -> StoredDatabase {
    StoredDatabase {
        id: database.id.0,
        name: database.name.to_string(),
        tables: database.tables.iter().map(|(name, id)| (name.to_string(), id.0)).collect(),
        retention_ns: database.retention_ns,
        dropped: database.dropped.map(Into::into),
    }
}

fn load_database(stored: StoredDatabase) -> Database {
    Database {
        id: DatabaseId(stored.id),
        name: stored.name.into(),
        tables: stored.tables.into_iter().map(|(name, id)| (name.into(), TableId(id))).collect(),
        retention_ns: stored.retention_ns,
        dropped: stored.dropped.map(Into::into),
    }
}

fn store_node(node: &Node) -> StoredNode {
    StoredNode {
        id: node.id.to_string(),
        instance: hex(node.instance),
        writer: node.writer.slot(),
        epoch: node.epoch.0,
        process: hex(node.process),
        persisted: node.persisted.0,
        persisted_epoch: node.persisted_epoch.0,
        persisted_stamp: node.persisted_stamp.0,
        sealed: node.sealed,
        registered_at_ms: node.registered_at_ms,
        core_count: node.core_count,
        description: Some((&node.description).into()),
        stopping: node.stopping,
        removed_at_ms: node.removed_at_ms,
    }
}

fn load_node(stored: StoredNode) -> Result<(NodeId, Arc<Node>), String> {
    let id = NodeId::new(&stored.id)?;
    let writer = Writer::new(stored.writer).ok_or_else(|| format!("writer slot {} is out of range", stored.writer))?;
    let node = Node {
        id: id.clone(),
        instance: unhex(&stored.instance)?,
        writer,
        epoch: Epoch(stored.epoch),
        process: unhex(&stored.process)?,
        persisted: Position(stored.persisted),
        persisted_epoch: Epoch(stored.persisted_epoch),
        persisted_stamp: Stamp(stored.persisted_stamp),
        sealed: stored.sealed,
        registered_at_ms: stored.registered_at_ms,
        core_count: stored.core_count,
        description: stored.description.map(Into::into).unwrap_or_default(),
        stopping: stored.stopping,
        removed_at_ms: stored.removed_at_ms,
    };
    Ok((id, Arc::new(node)))
}

fn store_compactor(compactor: &Compactor) -> StoredCompactor {
    let (node, epoch) = compactor.holder.as_ref().map(|(node, epoch)| (node.to_string(), epoch.0)).unzip();
    StoredCompactor { term: compactor.term, node, epoch }
}

fn load_compactor(stored: StoredCompactor) -> Result<Compactor, String> {
    let node = stored.node.map(|node| NodeId::new(&node)).transpose()?;
    Ok(Compactor { term: stored.term, holder: node.zip(stored.epoch.map(Epoch)) })
}

type Setting = ((Arc<str>, Option<NodeId>), Arc<str>);

fn store_setting(((name, node), value): (&(Arc<str>, Option<NodeId>), &Arc<str>)) -> StoredSetting {
    let node = node.as_ref().map(NodeId::to_string);
    StoredSetting { name: name.to_string(), node, value: value.to_string() }
}

fn load_setting(StoredSetting { name, node, value }: StoredSetting) -> Result<Setting, String> {
    let node = node.map(|node| NodeId::new(&node)).transpose()?;
    Ok(((name.into(), node), value.into()))
}

fn store_removed(removed: &Removed) -> StoredRemoved {
    StoredRemoved { path: removed.path.to_string(), version: removed.version, at_ms: removed.at_ms }
}

fn load_removed((id, stored): (String, StoredRemoved)) -> Result<(crate::model::FileId, Arc<Removed>), String> {
    let removed = Removed { path: stored.path.into(), version: stored.version, at_ms: stored.at_ms };
    Ok((file_id(&id)?, Arc::new(removed)))
}

pub(super) fn compress(json: &[u8]) -> Bytes {
    zstd::bulk::compress(json, 1).expect("compressing into memory does not fail").into()
}

/// A root or part never inflates beyond this: the part of a table with a million files takes a third of it.
const INFLATED_BYTES_MAX: u64 = 1 << 30;

/// A power of two above what `compress` looks back; a header that claims more is damaged and gets no memory.
const WINDOW_LOG_MAX: u32 = 23;

fn from_compressed<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    let mut reader = zstd::stream::read::Decoder::new(payload).map_err(|e| e.to_string())?;
    reader.window_log_max(WINDOW_LOG_MAX).map_err(|e| e.to_string())?;
    let json = std::io::BufReader::new(reader.take(INFLATED_BYTES_MAX));
    serde_json::from_reader(json).map_err(|e| e.to_string())
}
