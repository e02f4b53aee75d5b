//! How catalog entries and checkpoints are written down: JSON, so that an operator can read them with any tool.
//!
//! Names and meanings are kept for ever. A change that this program does not know is refused, never skipped; whoever adds
//! one, or a field, raises the feature level of the catalog's kinds (`bucket/frame.rs`) and adds a sample
//! (`tests/formats`), so that an older program says which level it lacks. Only names of modes need no level: one that is
//! not known is kept as it is.
//! 128-bit numbers are hexadecimal text, file ids are ULID text.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::stored::{
    StoredAuditRecord, StoredCache, StoredCacheKind, StoredColumn, StoredDescription, StoredDropped, StoredFile,
    StoredPermission, StoredSelection, StoredToken, hex, unhex,
};
use super::{Change, TokenId};
use crate::model::{ColumnId, DatabaseId, Epoch, FileId, NodeId, Position, Stamp, TableId, Writer};

/// One entry of the log.
#[derive(Serialize, Deserialize)]
struct StoredEntry {
    at_ms: u64,
    changes: Vec<StoredChange>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
enum StoredChange {
    CreateDatabase { id: u32, name: String, retention_ns: Option<u64> },
    SetDatabaseRetention { id: u32, retention_ns: Option<u64> },
    DropDatabase { id: u32, renamed: String, dropped: StoredDropped },
    CreateTable { id: u32, database: u32, name: String, columns: Vec<StoredColumn>, retention_ns: Option<u64> },
    AddColumns { table: u32, first: u16, columns: Vec<StoredColumn> },
    SetTableRetention { id: u32, retention_ns: Option<u64> },
    DropTable { id: u32, renamed: String, dropped: StoredDropped },
    CreateCache { table: u32, name: String, cache: StoredCache },
    DropCache { table: u32, kind: StoredCacheKind, name: String },
    ForgetTable { id: u32 },
    ForgetDatabase { id: u32 },
    CreateToken { token: StoredToken },
    ReplaceTokenHash { id: u64, hash: String, at_ms: u64 },
    SetTokenPermissions { id: u64, permissions: Vec<StoredPermission> },
    DeleteToken { id: u64 },
    RegisterNode { node: String, instance: String, writer: u16, core_count: u32, at_ms: u64 },
    OpenEpoch { node: String, epoch: u32, process: String, at_ms: u64 },
    Persist { node: String, epoch: u32, persisted: u64, persisted_epoch: u32, stamp: u64, files: Vec<StoredFile> },
    CloseEpoch { node: String, epoch: u32 },
    DescribeNode { node: String, epoch: u32, description: StoredDescription },
    StopNode { node: String, epoch: u32 },
    RemoveNode { node: String, at_ms: u64 },
    TakeCompactor { node: String, epoch: u32, term: u64 },
    LeaveCompactor { node: String, term: u64 },
    DeleteRows { table: u32, stamp: u64, at_ms: u64, which: StoredSelection },
    ForgetDeletes { table: u32, deletes: Vec<u64> },
    ReplaceFiles { table: u32, removed: Vec<String>, added: Vec<StoredFile>, at_ms: u64 },
    RaiseFileFloor { floor: String },
    ForgetFiles { files: Vec<String> },
    Fix { name: String, value: String },
    Configure { name: String, node: Option<String>, value: Option<String> },
    Audit { record: StoredAuditRecord },
}

/// The payload of one log entry.
pub(super) fn encode_entry(changes: &[Change], at_ms: u64) -> Bytes {
    let entry = StoredEntry { at_ms, changes: changes.iter().map(store).collect() };
    to_json(&entry)
}

/// The changes of one log entry.
pub(super) fn decode_entry(payload: &[u8]) -> Result<Vec<Change>, String> {
    let entry: StoredEntry = serde_json::from_slice(payload).map_err(|e| e.to_string())?;
    entry.changes.into_iter().map(load).collect()
}

/// When one log entry was made.
pub(super) fn made_at_ms(payload: &[u8]) -> Result<u64, String> {
    serde_json::from_slice(payload).map(|entry: StoredEntry| entry.at_ms).map_err(|e| e.to_string())
}

pub(super) fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("plain structs with text keys always have a JSON form").into()
}

fn store(change: &Change) -> StoredChange {
    use StoredChange as S;
    match change {
        Change::CreateDatabase { id, name, retention_ns } => {
            S::CreateDatabase { id: id.0, name: name.to_string(), retention_ns: *retention_ns }
        }
        Change::SetDatabaseRetention { id, retention_ns } => {
            S::SetDatabaseRetention { id: id.0, retention_ns: *retention_ns }
        }
        Change::DropDatabase { id, renamed, dropped } => {
            S::DropDatabase { id: id.0, renamed: renamed.to_string(), dropped: (*dropped).into() }
        }
        Change::CreateTable { id, database, name, columns, retention_ns } => S::CreateTable {
            id: id.0,
            database: database.0,
            name: name.to_string(),
            columns: columns.iter().map(StoredColumn::from).collect(),
            retention_ns: *retention_ns,
        },
        Change::AddColumns { table, first, columns } => {
            S::AddColumns { table: table.0, first: first.0, columns: columns.iter().map(StoredColumn::from).collect() }
        }
        Change::SetTableRetention { id, retention_ns } => {
            S::SetTableRetention { id: id.0, retention_ns: *retention_ns }
        }
        Change::DropTable { id, renamed, dropped } => {
            S::DropTable { id: id.0, renamed: renamed.to_string(), dropped: (*dropped).into() }
        }
        Change::CreateCache { table, name, cache } => {
            S::CreateCache { table: table.0, name: name.to_string(), cache: cache.into() }
        }
        Change::DropCache { table, kind, name } => {
            S::DropCache { table: table.0, kind: (*kind).into(), name: name.to_string() }
        }
        Change::ForgetTable { id } => S::ForgetTable { id: id.0 },
        Change::ForgetDatabase { id } => S::ForgetDatabase { id: id.0 },
        Change::CreateToken { token } => S::CreateToken { token: token.into() },
        Change::ReplaceTokenHash { id, hash, at_ms } => {
            S::ReplaceTokenHash { id: id.0, hash: hash.to_string(), at_ms: *at_ms }
        }
        Change::SetTokenPermissions { id, permissions } => {
            S::SetTokenPermissions { id: id.0, permissions: permissions.iter().map(StoredPermission::from).collect() }
        }
        Change::DeleteToken { id } => S::DeleteToken { id: id.0 },
        other => store_nodes_and_files(other),
    }
}

/// The second half of `store`: what nodes say of themselves and of files.
fn store_nodes_and_files(change: &Change) -> StoredChange {
    use StoredChange as S;
    match change {
        Change::RegisterNode { node, instance, writer, core_count, at_ms } => S::RegisterNode {
            node: node.to_string(),
            instance: hex(*instance),
            writer: writer.slot(),
            core_count: *core_count,
            at_ms: *at_ms,
        },
        Change::DescribeNode { node, epoch, description } => {
            S::DescribeNode { node: node.to_string(), epoch: epoch.0, description: description.into() }
        }
        Change::StopNode { node, epoch } => S::StopNode { node: node.to_string(), epoch: epoch.0 },
        Change::RemoveNode { node, at_ms } => S::RemoveNode { node: node.to_string(), at_ms: *at_ms },
        Change::TakeCompactor { node, epoch, term } => {
            S::TakeCompactor { node: node.to_string(), epoch: epoch.0, term: *term }
        }
        Change::LeaveCompactor { node, term } => S::LeaveCompactor { node: node.to_string(), term: *term },
        Change::OpenEpoch { node, epoch, process, at_ms } => {
            S::OpenEpoch { node: node.to_string(), epoch: epoch.0, process: hex(*process), at_ms: *at_ms }
        }
        Change::Persist { node, epoch, persisted, persisted_epoch, stamp, files } => S::Persist {
            node: node.to_string(),
            epoch: epoch.0,
            persisted: persisted.0,
            persisted_epoch: persisted_epoch.0,
            stamp: stamp.0,
            files: files.iter().map(|f| StoredFile::from(&**f)).collect(),
        },
        Change::CloseEpoch { node, epoch } => S::CloseEpoch { node: node.to_string(), epoch: epoch.0 },
        Change::DeleteRows { table, stamp, at_ms, which } => {
            S::DeleteRows { table: table.0, stamp: stamp.0, at_ms: *at_ms, which: which.into() }
        }
        Change::ForgetDeletes { table, deletes } => S::ForgetDeletes { table: table.0, deletes: deletes.clone() },
        Change::ReplaceFiles { table, removed, added, at_ms } => S::ReplaceFiles {
            table: table.0,
            removed: removed.iter().map(FileId::to_string).collect(),
            added: added.iter().map(|f| StoredFile::from(&**f)).collect(),
            at_ms: *at_ms,
        },
        Change::RaiseFileFloor { floor } => S::RaiseFileFloor { floor: floor.to_string() },
        Change::ForgetFiles { files } => S::ForgetFiles { files: files.iter().map(FileId::to_string).collect() },
        Change::Fix { name, value } => S::Fix { name: name.clone(), value: value.clone() },
        Change::Configure { name, node, value } => S::Configure {
            name: name.to_string(),
            node: node.as_ref().map(NodeId::to_string),
            value: value.as_deref().map(str::to_owned),
        },
        Change::Audit { record } => S::Audit { record: record.into() },
        _ => unreachable!("store() takes every other change"),
    }
}

fn load(change: StoredChange) -> Result<Change, String> {
    use StoredChange as S;
    Ok(match change {
        S::CreateDatabase { id, name, retention_ns } => {
            Change::CreateDatabase { id: DatabaseId(id), name: name.into(), retention_ns }
        }
        S::SetDatabaseRetention { id, retention_ns } => {
            Change::SetDatabaseRetention { id: DatabaseId(id), retention_ns }
        }
        S::DropDatabase { id, renamed, dropped } => {
            Change::DropDatabase { id: DatabaseId(id), renamed: renamed.into(), dropped: dropped.into() }
        }
        S::CreateTable { id, database, name, columns, retention_ns } => Change::CreateTable {
            id: TableId(id),
            database: DatabaseId(database),
            name: name.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            retention_ns,
        },
        S::AddColumns { table, first, columns } => Change::AddColumns {
            table: TableId(table),
            first: ColumnId(first),
            columns: columns.into_iter().map(Into::into).collect(),
        },
        S::SetTableRetention { id, retention_ns } => Change::SetTableRetention { id: TableId(id), retention_ns },
        S::DropTable { id, renamed, dropped } => {
            Change::DropTable { id: TableId(id), renamed: renamed.into(), dropped: dropped.into() }
        }
        S::CreateCache { table, name, cache } => {
            Change::CreateCache { table: TableId(table), name: name.into(), cache: cache.into() }
        }
        S::DropCache { table, kind, name } => {
            Change::DropCache { table: TableId(table), kind: kind.into(), name: name.into() }
        }
        S::ForgetTable { id } => Change::ForgetTable { id: TableId(id) },
        S::ForgetDatabase { id } => Change::ForgetDatabase { id: DatabaseId(id) },
        S::CreateToken { token } => Change::CreateToken { token: token.into() },
        S::ReplaceTokenHash { id, hash, at_ms } => {
            Change::ReplaceTokenHash { id: TokenId(id), hash: hash.into(), at_ms }
        }
        S::SetTokenPermissions { id, permissions } => Change::SetTokenPermissions {
            id: TokenId(id),
            permissions: permissions.into_iter().map(Into::into).collect(),
        },
        S::DeleteToken { id } => Change::DeleteToken { id: TokenId(id) },
        other => return load_nodes_and_files(other),
    })
}

/// The second half of `load`.
fn load_nodes_and_files(change: StoredChange) -> Result<Change, String> {
    use StoredChange as S;
    let files =
        |files: Vec<StoredFile>| files.into_iter().map(|f| f.load().map(Arc::new)).collect::<Result<Vec<_>, _>>();
    let ids = |ids: Vec<String>| ids.iter().map(|id| file_id(id)).collect::<Result<Vec<_>, _>>();
    Ok(match change {
        S::RegisterNode { node, instance, writer, core_count, at_ms } => Change::RegisterNode {
            node: NodeId::new(&node)?,
            instance: unhex(&instance)?,
            writer: Writer::new(writer).ok_or_else(|| format!("writer slot {writer} is out of range"))?,
            core_count,
            at_ms,
        },
        S::DescribeNode { node, epoch, description } => {
            Change::DescribeNode { node: NodeId::new(&node)?, epoch: Epoch(epoch), description: description.into() }
        }
        S::StopNode { node, epoch } => Change::StopNode { node: NodeId::new(&node)?, epoch: Epoch(epoch) },
        S::RemoveNode { node, at_ms } => Change::RemoveNode { node: NodeId::new(&node)?, at_ms },
        S::TakeCompactor { node, epoch, term } => {
            Change::TakeCompactor { node: NodeId::new(&node)?, epoch: Epoch(epoch), term }
        }
        S::LeaveCompactor { node, term } => Change::LeaveCompactor { node: NodeId::new(&node)?, term },
        S::OpenEpoch { node, epoch, process, at_ms } => {
            Change::OpenEpoch { node: NodeId::new(&node)?, epoch: Epoch(epoch), process: unhex(&process)?, at_ms }
        }
        S::Persist { node, epoch, persisted, persisted_epoch, stamp, files: stored } => Change::Persist {
            node: NodeId::new(&node)?,
            epoch: Epoch(epoch),
            persisted: Position(persisted),
            persisted_epoch: Epoch(persisted_epoch),
            stamp: Stamp(stamp),
            files: files(stored)?,
        },
        S::CloseEpoch { node, epoch } => Change::CloseEpoch { node: NodeId::new(&node)?, epoch: Epoch(epoch) },
        S::DeleteRows { table, stamp, at_ms, which } => {
            Change::DeleteRows { table: TableId(table), stamp: Stamp(stamp), at_ms, which: which.load()? }
        }
        S::ForgetDeletes { table, deletes } => Change::ForgetDeletes { table: TableId(table), deletes },
        S::ReplaceFiles { table, removed, added, at_ms } => {
            Change::ReplaceFiles { table: TableId(table), removed: ids(removed)?, added: files(added)?, at_ms }
        }
        S::RaiseFileFloor { floor } => Change::RaiseFileFloor { floor: file_id(&floor)? },
        S::ForgetFiles { files } => Change::ForgetFiles { files: ids(files)? },
        S::Fix { name, value } => Change::Fix { name, value },
        S::Configure { name, node, value } => Change::Configure {
            name: name.into(),
            node: node.map(|node| NodeId::new(&node)).transpose()?,
            value: value.map(Into::into),
        },
        S::Audit { record } => Change::Audit { record: record.into() },
        _ => unreachable!("load() takes every other change"),
    })
}

pub(super) fn file_id(text: &str) -> Result<FileId, String> {
    ulid::Ulid::from_string(text).map(|id| FileId(id.0)).map_err(|e| format!("file id '{text}': {e}"))
}

/// The names of checkpoint parts by table, in a checkpoint root.
pub(super) type Parts = BTreeMap<u32, String>;
