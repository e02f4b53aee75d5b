//! What the log of changes adds up to: a pure function of its entries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Cache, CacheName, Permission, TokenId};
use crate::model::{
    DatabaseId, Epoch, FileId, FileRecord, Modes, NodeId, Position, RowDelete, Stamp, TableId, TableSchema, Writer,
};

/// Everything the cluster agrees on after entry `version` of the log. Cheap to clone: its parts are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub version: u64,
    pub databases: BTreeMap<DatabaseId, Arc<Database>>,
    pub tables: BTreeMap<TableId, Arc<Table>>,
    pub tokens: BTreeMap<TokenId, Arc<Token>>,
    pub nodes: BTreeMap<NodeId, Arc<Node>>,
    /// Files that left the state and may be deleted once no running query reads them.
    pub removed: BTreeMap<FileId, Arc<Removed>>,
    pub compactor: Compactor,
    /// Settings that hold for the life of the cluster, by name.
    pub fixed: BTreeMap<String, String>,
    /// What operators set, by the name of the setting and the node it is for; `None` is for all nodes.
    pub settings: BTreeMap<(Arc<str>, Option<NodeId>), Arc<str>>,
    /// The newest changes that somebody asked for, oldest first, with the entries that made them.
    pub audit: Arc<VecDeque<(u64, Arc<AuditRecord>)>>,
    /// The stamp of the newest delete of rows: no node that knows of it gives one below.
    pub deleted_stamp: Stamp,
    /// No entry can add a file whose id is below; an object of such an id that no state names is nobody's.
    pub file_floor: FileId,
    pub next_database: u32,
    pub next_table: u32,
    pub next_token: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    pub id: DatabaseId,
    pub name: Arc<str>,
    /// Live tables by name; dropped ones are in `State::tables` only.
    pub tables: BTreeMap<Arc<str>, TableId>,
    /// Rows older than this are hidden and their files go; `None` keeps rows for ever.
    pub retention_ns: Option<u64>,
    pub dropped: Option<Dropped>,
}

/// A dropped database or table: hidden from users, its files kept until `hard_delete_at_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    pub at_ms: u64,
    /// `None` keeps the files for ever.
    pub hard_delete_at_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub database: DatabaseId,
    pub schema: Arc<TableSchema>,
    /// Overrides the retention of the database.
    pub retention_ns: Option<u64>,
    /// The live files.
    pub files: BTreeMap<FileId, Arc<FileRecord>>,
    /// Deletes of rows that are not carried out in all files yet, oldest first.
    pub deletes: Vec<Arc<RowDelete>>,
    /// The entry of the newest delete there ever was.
    pub last_delete: u64,
    /// What is to be kept at hand of it.
    pub caches: BTreeMap<CacheName, Cache>,
    pub dropped: Option<Dropped>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub name: Arc<str>,
    /// SHA-512 of the whole token string, lower-case hexadecimal.
    pub hash: Arc<str>,
    pub permissions: Vec<Permission>,
    pub created_at_ms: u64,
    pub created_by: Option<TokenId>,
    /// `None` never expires.
    pub expires_at_ms: Option<u64>,
}

/// A node that has been in the cluster, and how far its WAL is in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    /// Kept for the life of the node id.
    pub instance: u128,
    pub writer: Writer,
    /// Who opened the newest epoch of this node's WAL.
    pub epoch: Epoch,
    pub process: u128,
    /// Every WAL object up to here is in files.
    pub persisted: Position,
    /// The epoch whose folder holds the object after `persisted`.
    pub persisted_epoch: Epoch,
    /// The largest stamp among what is persisted; the node never stamps at or below it again.
    pub persisted_stamp: Stamp,
    /// Whether the newest epoch was closed in order: nothing of this node is outside files.
    pub sealed: bool,
    pub registered_at_ms: u64,
    pub core_count: u32,
    /// What its newest process said of itself.
    pub description: Description,
    /// Its process was asked to leave.
    pub stopping: bool,
    /// The node is in the cluster no more. It is kept because the numbers of its log are never used again.
    pub removed_at_ms: Option<u64>,
}

/// What a process says of itself when it opens an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub modes: Modes,
    /// Names of modes that only a newer program knows. They are kept for those that do.
    pub newer_modes: Vec<Arc<str>>,
    /// Where other nodes reach its HTTP port, `host:port`; `None` when they cannot.
    pub http: Option<Arc<str>>,
    /// Where other nodes reach its port for themselves, `host:port`.
    pub internode: Option<Arc<str>>,
    pub version: Arc<str>,
    /// The options it was started with, as a JSON object, without secrets.
    pub options: Arc<str>,
}

/// What is known of a process that said nothing of itself: of before nodes had modes, or not yet.
impl Default for Description {
    fn default() -> Self {
        Self {
            modes: Modes::ALL,
            newer_modes: Vec::new(),
            http: None,
            internode: None,
            version: "".into(),
            options: "{}".into(),
        }
    }
}

/// Who may publish compactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compactor {
    /// Counts the holders of the role.
    pub term: u64,
    /// The node, and the epoch of the process that took the role.
    pub holder: Option<(NodeId, Epoch)>,
}

/// Who asked for a change, when, and in which words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub at_ms: u64,
    /// The name of a token; `None` without authentication.
    pub by: Option<Arc<str>>,
    /// The node that was asked.
    pub node: Arc<str>,
    /// The way in: `http`, `pg`.
    pub door: Arc<str>,
    /// Without secrets.
    pub statement: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub path: Arc<str>,
    /// The entry that removed the file.
    pub version: u64,
    pub at_ms: u64,
}

impl State {
    /// The live database of this name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.databases.values().find(|d| d.dropped.is_none() && &*d.name == name)
    }

    #[must_use]
    pub fn table(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// The live table `name` of `database`.
    #[must_use]
    pub fn table_named(&self, database: &Database, name: &str) -> Option<&Arc<Table>> {
        database.tables.get(name).and_then(|id| self.tables.get(id))
    }

    /// The nodes that are in the cluster.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values().filter(|node| node.removed_at_ms.is_none())
    }

    /// The node that may publish compactions, while the process that took the role still has its epoch.
    #[must_use]
    pub fn compactor_node(&self) -> Option<&Arc<Node>> {
        let (node, epoch) = self.compactor.holder.as_ref()?;
        self.nodes.get(node).filter(|node| node.epoch == *epoch && node.removed_at_ms.is_none())
    }

    /// Which process opened the newest epoch of a node, in words: one of its own, or that of another node, which put the
    /// rows of a dead one into files.
    #[must_use]
    pub fn owner_of(&self, id: &NodeId) -> String {
        let Some(node) = self.nodes.get(id) else { return "nobody".into() };
        let (process, epoch) = (node.process, node.epoch);
        let other = self.nodes.values().find(|other| other.id != *id && other.process == process);
        let of = other.map_or(id, |other| &other.id);
        format!("process {process:032x} of node {of}, with epoch {epoch}")
    }

    /// Whether the newest epoch of a node was opened by the process of another node, since its own was dead.
    #[must_use]
    pub fn is_adopted(&self, node: &Node) -> bool {
        self.nodes.values().any(|other| other.id != node.id && other.process == node.process)
    }

    /// Whether this writer slot may be given to a new node: nobody has it, and all rows stamped with it have settled.
    #[must_use]
    pub fn is_free(&self, writer: Writer) -> bool {
        let settled = self.settled();
        let is_done = |node: &Node| node.removed_at_ms.is_some() && node.persisted_stamp <= settled;
        self.nodes.values().filter(|node| node.writer == writer).all(|node| is_done(node))
    }

    /// Whether a delete is carried out for good: no file of its table has rows that it hides, and none will, since every
    /// row with a stamp below its own is in files.
    #[must_use]
    pub fn is_carried_out(&self, table: &Table, delete: &RowDelete) -> bool {
        self.is_in_files(delete.stamp) && !table.files.values().any(|file| delete.touches(file))
    }

    /// Whether no row with a stamp up to this one is outside files, or will be.
    #[must_use]
    pub fn is_in_files(&self, stamp: Stamp) -> bool {
        self.nodes.values().filter(|node| !node.sealed).all(|node| node.persisted_stamp >= stamp)
    }

    /// The stamp up to which every writer that is not sealed has persisted its rows.
    #[must_use]
    pub fn settled(&self) -> Stamp {
        let open = self.nodes.values().filter(|n| !n.sealed).map(|n| n.persisted_stamp).min();
        open.or_else(|| self.nodes.values().map(|n| n.persisted_stamp).max()).unwrap_or(Stamp::SETTLED)
    }
}
