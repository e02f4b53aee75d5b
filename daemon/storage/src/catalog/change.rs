//! What one entry of the log can say. An entry is a list of changes that hold together or not at all.

use std::sync::Arc;

use super::{AuditRecord, Cache, CacheKind, Description, Dropped, Permission, Token, TokenId};
use crate::model::{
    Column, ColumnId, DatabaseId, Epoch, FileId, FileRecord, NodeId, Position, Selection, Stamp, TableId, Writer,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    CreateDatabase {
        id: DatabaseId,
        name: Arc<str>,
        retention_ns: Option<u64>,
    },
    SetDatabaseRetention {
        id: DatabaseId,
        retention_ns: Option<u64>,
    },
    /// Hides the database and its tables under a new name; said again of a dropped one, it moves the deletion.
    DropDatabase {
        id: DatabaseId,
        renamed: Arc<str>,
        dropped: Dropped,
    },
    CreateTable {
        id: TableId,
        database: DatabaseId,
        name: Arc<str>,
        columns: Vec<Column>,
        retention_ns: Option<u64>,
    },
    /// `first` is the id of the first new column, so that two writers who add columns at once cannot both be believed.
    AddColumns {
        table: TableId,
        first: ColumnId,
        columns: Vec<Column>,
    },
    SetTableRetention {
        id: TableId,
        retention_ns: Option<u64>,
    },
    DropTable {
        id: TableId,
        renamed: Arc<str>,
        dropped: Dropped,
    },
    CreateCache {
        table: TableId,
        name: Arc<str>,
        cache: Cache,
    },
    DropCache {
        table: TableId,
        kind: CacheKind,
        name: Arc<str>,
    },
    /// The files of a dropped table are gone; forgets the table.
    ForgetTable {
        id: TableId,
    },
    /// The tables of a dropped database are gone; forgets the database.
    ForgetDatabase {
        id: DatabaseId,
    },
    CreateToken {
        token: Token,
    },
    /// A new secret for a token that exists.
    ReplaceTokenHash {
        id: TokenId,
        hash: Arc<str>,
        at_ms: u64,
    },
    SetTokenPermissions {
        id: TokenId,
        permissions: Vec<Permission>,
    },
    DeleteToken {
        id: TokenId,
    },
    RegisterNode {
        node: NodeId,
        instance: u128,
        writer: Writer,
        core_count: u32,
        at_ms: u64,
    },
    /// What the process of this epoch is and where it listens.
    DescribeNode {
        node: NodeId,
        epoch: Epoch,
        description: Description,
    },
    /// The process of this epoch is to leave in order.
    StopNode {
        node: NodeId,
        epoch: Epoch,
    },
    /// A node that is sealed leaves the cluster; its id may come back as a new node.
    RemoveNode {
        node: NodeId,
        at_ms: u64,
    },
    /// From here on this process of `node`, and no other, is the compactor. `term` counts those that were.
    TakeCompactor {
        node: NodeId,
        epoch: Epoch,
        term: u64,
    },
    /// The compactor leaves its role to whoever comes first.
    LeaveCompactor {
        node: NodeId,
        term: u64,
    },
    /// `process` owns the WAL of `node` from here on; whoever held an older epoch has lost it.
    OpenEpoch {
        node: NodeId,
        epoch: Epoch,
        process: u128,
        at_ms: u64,
    },
    /// All that `node` wrote up to `persisted` is in files.
    Persist {
        node: NodeId,
        epoch: Epoch,
        persisted: Position,
        persisted_epoch: Epoch,
        stamp: Stamp,
        files: Vec<Arc<FileRecord>>,
    },
    /// Nothing of `node` is outside files, and its process is gone.
    CloseEpoch {
        node: NodeId,
        epoch: Epoch,
    },
    /// Rows with a lower stamp are hidden from this entry on.
    DeleteRows {
        table: TableId,
        stamp: Stamp,
        at_ms: u64,
        which: Selection,
    },
    /// No file has rows any more that these deletes of the table hide, and none will.
    ForgetDeletes {
        table: TableId,
        deletes: Vec<u64>,
    },
    /// Files leave the state (compaction, retention, dropped tables) and others take their place.
    ReplaceFiles {
        table: TableId,
        removed: Vec<FileId>,
        added: Vec<Arc<FileRecord>>,
        at_ms: u64,
    },
    /// From here on no entry adds a file with an id below `floor`: whoever wrote one and did not commit it writes it
    /// again under a new id.
    RaiseFileFloor {
        floor: FileId,
    },
    /// The objects of these removed files are deleted.
    ForgetFiles {
        files: Vec<FileId>,
    },
    /// A setting that holds for the life of the cluster; refused when it is fixed to another value.
    Fix {
        name: String,
        value: String,
    },
    /// A setting that operators change, of one node or of all; no value ends what was said before.
    Configure {
        name: Arc<str>,
        node: Option<NodeId>,
        value: Option<Arc<str>>,
    },
    /// Who asked for the other changes of this entry.
    Audit {
        record: AuditRecord,
    },
}
