//! Every key of the object store is built here and nowhere else.
//!
//! ```text
//! {cluster}/catalog/log/{seq:020}
//! {cluster}/catalog/checkpoint/{seq:020}
//! {cluster}/catalog/part/{table:010}/{seq:020}-{hash}
//! {cluster}/catalog/mark/{seq:020}
//! {cluster}/nodes/{node}/heartbeat
//! {cluster}/wal/{node}/{epoch:010}/{pos:020}.wal
//! {cluster}/data/{database}/{table}/{window}/{ulid}.parquet
//! {cluster}/probe/{ulid}
//! ```

use object_store::path::Path;

use crate::model::{DatabaseId, Epoch, FileId, NodeId, Position, TableId};

/// Builds the keys of one cluster.
#[derive(Debug, Clone)]
pub struct Keys {
    cluster: NodeId,
}

impl Keys {
    /// A cluster is named by the same rule as a node.
    #[must_use]
    pub fn new(cluster: NodeId) -> Self {
        Self { cluster }
    }

    /// Everything of this cluster stands below it.
    #[must_use]
    pub fn root(&self) -> Path {
        Path::from(self.cluster.as_str())
    }

    #[must_use]
    pub fn catalog_log(&self) -> Path {
        Path::from(format!("{}/catalog/log", self.cluster))
    }

    #[must_use]
    pub fn catalog_entry(&self, number: u64) -> Path {
        Path::from(format!("{}/catalog/log/{number:020}", self.cluster))
    }

    #[must_use]
    pub fn catalog_checkpoints(&self) -> Path {
        Path::from(format!("{}/catalog/checkpoint", self.cluster))
    }

    #[must_use]
    pub fn catalog_checkpoint(&self, number: u64) -> Path {
        Path::from(format!("{}/catalog/checkpoint/{number:020}", self.cluster))
    }

    #[must_use]
    pub fn catalog_parts(&self) -> Path {
        Path::from(format!("{}/catalog/part", self.cluster))
    }

    /// `name` comes from `part_name`, or from a checkpoint.
    #[must_use]
    pub fn catalog_part(&self, table: TableId, name: &str) -> Path {
        Path::from(format!("{}/catalog/part/{:010}/{name}", self.cluster, table.0))
    }

    #[must_use]
    pub fn catalog_marks(&self) -> Path {
        Path::from(format!("{}/catalog/mark", self.cluster))
    }

    #[must_use]
    pub fn catalog_mark(&self, number: u64) -> Path {
        Path::from(format!("{}/catalog/mark/{number:020}", self.cluster))
    }

    #[must_use]
    pub fn heartbeat(&self, node: &NodeId) -> Path {
        Path::from(format!("{}/nodes/{node}/heartbeat", self.cluster))
    }

    /// The heartbeats of all nodes stand below it.
    #[must_use]
    pub fn heartbeats(&self) -> Path {
        Path::from(format!("{}/nodes", self.cluster))
    }

    #[must_use]
    pub fn wal(&self, node: &NodeId) -> Path {
        Path::from(format!("{}/wal/{node}", self.cluster))
    }

    #[must_use]
    pub fn wal_epoch(&self, node: &NodeId, epoch: Epoch) -> Path {
        Path::from(format!("{}/wal/{node}/{:010}", self.cluster, epoch.0))
    }

    #[must_use]
    pub fn wal_object(&self, node: &NodeId, epoch: Epoch, position: Position) -> Path {
        Path::from(format!("{}/wal/{node}/{:010}/{:020}.wal", self.cluster, epoch.0, position.0))
    }

    #[must_use]
    pub fn data(&self) -> Path {
        Path::from(format!("{}/data", self.cluster))
    }

    /// The window is named by its start in UTC seconds, so that a folder holds the files of one window.
    #[must_use]
    pub fn data_file(&self, (database, table): (DatabaseId, TableId), window_start_ns: i64, file: FileId) -> Path {
        let window = window_start_ns.div_euclid(1_000_000_000);
        Path::from(format!("{}/data/{database}/{table}/{window}/{file}.parquet", self.cluster))
    }

    #[must_use]
    pub fn probes(&self) -> Path {
        Path::from(format!("{}/probe", self.cluster))
    }

    #[must_use]
    pub fn probe(&self, id: u128) -> Path {
        Path::from(format!("{}/probe/{}", self.cluster, ulid::Ulid(id)))
    }
}

/// Whether a key or a prefix belongs to what must not wait: heartbeats, and the log where roles change hands.
#[must_use]
pub(super) fn is_urgent(key: &Path) -> bool {
    let mut parts = key.parts().skip(1);
    let (room, part) = (parts.next(), parts.next());
    match (room.as_ref().map(AsRef::as_ref), part.as_ref().map(AsRef::as_ref)) {
        (Some("nodes"), _) => true,
        (Some("catalog"), part) => matches!(part, Some("log" | "mark")),
        _ => false,
    }
}

/// The number at the end of a key such as `…/{seq:020}` or `…/{pos:020}.wal`; `None` for a foreign key.
#[must_use]
pub fn number_of(key: &Path) -> Option<u64> {
    let name = key.filename()?;
    let digits = name.strip_suffix(".wal").unwrap_or(name);
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The name of a checkpoint part that was written from the state after entry `number`.
#[must_use]
pub fn part_name(number: u64, hash: &str) -> String {
    format!("{number:020}-{hash}")
}

/// The number in the name of a checkpoint part; `None` for parts of the first format, whose name is a hash alone.
#[must_use]
pub fn part_number_of(name: &str) -> Option<u64> {
    let (digits, _) = name.split_once('-')?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// The id in the name of a data file or a probe; `None` for a foreign key.
#[must_use]
pub fn id_of(key: &Path) -> Option<FileId> {
    let name = key.filename()?;
    let text = name.strip_suffix(".parquet").unwrap_or(name);
    ulid::Ulid::from_string(text).ok().map(|id| FileId(id.0))
}

/// The epoch and position of a WAL object; `None` for a foreign key.
#[must_use]
pub fn wal_number_of(key: &Path) -> Option<(Epoch, Position)> {
    let position = number_of(key)?;
    let parts: Vec<_> = key.parts().collect();
    let epoch = parts.get(parts.len().checked_sub(2)?)?.as_ref().parse().ok()?;
    Some((Epoch(epoch), Position(position)))
}
