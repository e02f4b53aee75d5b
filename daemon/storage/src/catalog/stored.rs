//! The stored forms of the values that catalog entries and checkpoints share.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::format::file_id;
use super::{Action, AuditRecord, Cache, CacheKind, Description, Dropped, Permission, Resource, Token, TokenId};
use crate::model::{
    Column, ColumnId, ColumnKind, DatabaseId, FieldType, FileRecord, Mode, RowDelete, Selection, SeriesKey, Stamp,
    TableId, Tail, TimeRange,
};

pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(super) fn hex(number: u128) -> String {
    format!("{number:032x}")
}

pub(super) fn unhex(text: &str) -> Result<u128, String> {
    u128::from_str_radix(text, 16).map_err(|e| format!("'{text}' is not a hexadecimal number: {e}"))
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredDropped {
    at_ms: u64,
    hard_delete_at_ms: Option<u64>,
}

impl From<Dropped> for StoredDropped {
    fn from(Dropped { at_ms, hard_delete_at_ms }: Dropped) -> Self {
        Self { at_ms, hard_delete_at_ms }
    }
}

impl From<StoredDropped> for Dropped {
    fn from(StoredDropped { at_ms, hard_delete_at_ms }: StoredDropped) -> Self {
        Self { at_ms, hard_delete_at_ms }
    }
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoredCacheKind {
    Last,
    Distinct,
}

impl From<CacheKind> for StoredCacheKind {
    fn from(kind: CacheKind) -> Self {
        match kind {
            CacheKind::Last => Self::Last,
            CacheKind::Distinct => Self::Distinct,
        }
    }
}

impl From<StoredCacheKind> for CacheKind {
    fn from(kind: StoredCacheKind) -> Self {
        match kind {
            StoredCacheKind::Last => Self::Last,
            StoredCacheKind::Distinct => Self::Distinct,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StoredCache {
    Last { keys: Vec<u16>, values: Option<Vec<u16>>, count: u64, ttl_seconds: u64 },
    Distinct { columns: Vec<u16>, cardinality_max: u64, age_max_seconds: u64 },
}

impl From<&Cache> for StoredCache {
    fn from(cache: &Cache) -> Self {
        let numbers = |ids: &[ColumnId]| ids.iter().map(|id| id.0).collect();
        match cache {
            Cache::Last { keys, values, count, ttl_seconds } => Self::Last {
                keys: numbers(keys),
                values: values.as_deref().map(numbers),
                count: *count,
                ttl_seconds: *ttl_seconds,
            },
            Cache::Distinct { columns, cardinality_max, age_max_seconds } => Self::Distinct {
                columns: numbers(columns),
                cardinality_max: *cardinality_max,
                age_max_seconds: *age_max_seconds,
            },
        }
    }
}

impl From<StoredCache> for Cache {
    fn from(cache: StoredCache) -> Self {
        let ids = |numbers: Vec<u16>| numbers.into_iter().map(ColumnId).collect();
        match cache {
            StoredCache::Last { keys, values, count, ttl_seconds } => {
                Self::Last { keys: ids(keys), values: values.map(ids), count, ttl_seconds }
            }
            StoredCache::Distinct { columns, cardinality_max, age_max_seconds } => {
                Self::Distinct { columns: ids(columns), cardinality_max, age_max_seconds }
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredDescription {
    modes: Vec<String>,
    http: Option<String>,
    internode: Option<String>,
    version: String,
    options: String,
}

impl From<&Description> for StoredDescription {
    fn from(Description { modes, newer_modes, http, internode, version, options }: &Description) -> Self {
        let known = modes.iter().map(|mode| mode.name().to_owned());
        Self {
            modes: known.chain(newer_modes.iter().map(|name| name.to_string())).collect(),
            http: http.as_deref().map(str::to_owned),
            internode: internode.as_deref().map(str::to_owned),
            version: version.to_string(),
            options: options.to_string(),
        }
    }
}

/// What another node does besides is no reason to understand nothing of the catalog.
impl From<StoredDescription> for Description {
    fn from(StoredDescription { modes, http, internode, version, options }: StoredDescription) -> Self {
        let (known, newer): (Vec<_>, Vec<_>) = modes.into_iter().partition(|name| Mode::named(name).is_some());
        Self {
            modes: known.iter().filter_map(|name| Mode::named(name)).collect(),
            newer_modes: newer.into_iter().map(Into::into).collect(),
            http: http.map(Into::into),
            internode: internode.map(Into::into),
            version: version.into(),
            options: options.into(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredAuditRecord {
    at_ms: u64,
    by: Option<String>,
    node: String,
    door: String,
    statement: String,
}

impl From<&AuditRecord> for StoredAuditRecord {
    fn from(AuditRecord { at_ms, by, node, door, statement }: &AuditRecord) -> Self {
        Self {
            at_ms: *at_ms,
            by: by.as_deref().map(str::to_owned),
            node: node.to_string(),
            door: door.to_string(),
            statement: statement.to_string(),
        }
    }
}

impl From<StoredAuditRecord> for AuditRecord {
    fn from(StoredAuditRecord { at_ms, by, node, door, statement }: StoredAuditRecord) -> Self {
        Self { at_ms, by: by.map(Into::into), node: node.into(), door: door.into(), statement: statement.into() }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredColumn {
    name: String,
    kind: StoredKind,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum StoredKind {
    Tag,
    Float,
    Integer,
    Uinteger,
    Boolean,
    String,
}

impl From<&Column> for StoredColumn {
    fn from(Column { name, kind }: &Column) -> Self {
        let kind = match kind {
            ColumnKind::Tag => StoredKind::Tag,
            ColumnKind::Field(FieldType::Float) => StoredKind::Float,
            ColumnKind::Field(FieldType::Integer) => StoredKind::Integer,
            ColumnKind::Field(FieldType::UInteger) => StoredKind::Uinteger,
            ColumnKind::Field(FieldType::Boolean) => StoredKind::Boolean,
            ColumnKind::Field(FieldType::String) => StoredKind::String,
        };
        Self { name: name.to_string(), kind }
    }
}

impl From<StoredColumn> for Column {
    fn from(StoredColumn { name, kind }: StoredColumn) -> Self {
        let kind = match kind {
            StoredKind::Tag => ColumnKind::Tag,
            StoredKind::Float => ColumnKind::Field(FieldType::Float),
            StoredKind::Integer => ColumnKind::Field(FieldType::Integer),
            StoredKind::Uinteger => ColumnKind::Field(FieldType::UInteger),
            StoredKind::Boolean => ColumnKind::Field(FieldType::Boolean),
            StoredKind::String => ColumnKind::Field(FieldType::String),
        };
        Self { name: name.into(), kind }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredFile {
    id: String,
    table: u32,
    path: String,
    size_bytes: u64,
    /// Files of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tail: Option<StoredTail>,
    rows: u64,
    /// Files of before have none.
    #[serde(default)]
    string_bytes: u64,
    min_time: i64,
    max_time: i64,
    key_min: Vec<Option<String>>,
    key_max: Vec<Option<String>>,
    stamp_max: u64,
    has_versions: bool,
    level: u8,
    window_start: i64,
    window_width: i64,
    /// Absent where nothing was deleted.
    #[serde(default, skip_serializing_if = "is_zero")]
    deletes_up_to: u64,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct StoredTail {
    bytes: u64,
    crc32c: u32,
}

impl From<&FileRecord> for StoredFile {
    fn from(file: &FileRecord) -> Self {
        let key = |key: &SeriesKey| key.0.iter().map(|v| v.as_deref().map(str::to_owned)).collect();
        Self {
            id: file.id.to_string(),
            table: file.table.0,
            path: file.path.to_string(),
            size_bytes: file.size_bytes,
            tail: file.tail.map(|Tail { bytes, crc32c }| StoredTail { bytes, crc32c }),
            rows: file.rows,
            string_bytes: file.string_bytes,
            min_time: file.time.min,
            max_time: file.time.max,
            key_min: key(&file.key_min),
            key_max: key(&file.key_max),
            stamp_max: file.stamp_max.0,
            has_versions: file.has_versions,
            level: file.level,
            window_start: file.window_start,
            window_width: file.window_width,
            deletes_up_to: file.deletes_up_to,
        }
    }
}

impl StoredFile {
    pub(super) fn load(self) -> Result<FileRecord, String> {
        let key = |key: Vec<Option<String>>| SeriesKey(key.into_iter().map(|v| v.map(Arc::from)).collect());
        let time = TimeRange::new(self.min_time, self.max_time)
            .ok_or_else(|| format!("file {}: time {} is after {}", self.id, self.min_time, self.max_time))?;
        Ok(FileRecord {
            id: file_id(&self.id)?,
            table: TableId(self.table),
            path: self.path.into(),
            size_bytes: self.size_bytes,
            tail: self.tail.map(|StoredTail { bytes, crc32c }| Tail { bytes, crc32c }),
            rows: self.rows,
            string_bytes: self.string_bytes,
            time,
            key_min: key(self.key_min),
            key_max: key(self.key_max),
            stamp_max: Stamp(self.stamp_max),
            has_versions: self.has_versions,
            level: self.level,
            window_start: self.window_start,
            window_width: self.window_width,
            deletes_up_to: self.deletes_up_to,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredToken {
    id: u64,
    name: String,
    hash: String,
    permissions: Vec<StoredPermission>,
    created_at_ms: u64,
    created_by: Option<u64>,
    expires_at_ms: Option<u64>,
}

impl From<&Token> for StoredToken {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id.0,
            name: token.name.to_string(),
            hash: token.hash.to_string(),
            permissions: token.permissions.iter().map(StoredPermission::from).collect(),
            created_at_ms: token.created_at_ms,
            created_by: token.created_by.map(|id| id.0),
            expires_at_ms: token.expires_at_ms,
        }
    }
}

impl From<StoredToken> for Token {
    fn from(token: StoredToken) -> Self {
        Self {
            id: TokenId(token.id),
            name: token.name.into(),
            hash: token.hash.into(),
            permissions: token.permissions.into_iter().map(Into::into).collect(),
            created_at_ms: token.created_at_ms,
            created_by: token.created_by.map(TokenId),
            expires_at_ms: token.expires_at_ms,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredPermission {
    resource: StoredResource,
    actions: Vec<StoredAction>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredResource {
    All,
    AnyDatabase,
    Database(u32),
    AnySystem,
    System(String),
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum StoredAction {
    Read,
    Write,
    Describe,
    Create,
    Delete,
}

impl From<&Permission> for StoredPermission {
    fn from(Permission { resource, actions }: &Permission) -> Self {
        let resource = match resource {
            Resource::All => StoredResource::All,
            Resource::AnyDatabase => StoredResource::AnyDatabase,
            Resource::Database(id) => StoredResource::Database(id.0),
            Resource::AnySystem => StoredResource::AnySystem,
            Resource::System(name) => StoredResource::System(name.clone()),
        };
        let action = |action: &Action| match action {
            Action::Read => StoredAction::Read,
            Action::Write => StoredAction::Write,
            Action::Describe => StoredAction::Describe,
            Action::Create => StoredAction::Create,
            Action::Delete => StoredAction::Delete,
        };
        Self { resource, actions: actions.iter().map(action).collect() }
    }
}

impl From<StoredPermission> for Permission {
    fn from(StoredPermission { resource, actions }: StoredPermission) -> Self {
        let resource = match resource {
            StoredResource::All => Resource::All,
            StoredResource::AnyDatabase => Resource::AnyDatabase,
            StoredResource::Database(id) => Resource::Database(DatabaseId(id)),
            StoredResource::AnySystem => Resource::AnySystem,
            StoredResource::System(name) => Resource::System(name),
        };
        let action = |action| match action {
            StoredAction::Read => Action::Read,
            StoredAction::Write => Action::Write,
            StoredAction::Describe => Action::Describe,
            StoredAction::Create => Action::Create,
            StoredAction::Delete => Action::Delete,
        };
        Self { resource, actions: actions.into_iter().map(action).collect() }
    }
}

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSelection {
    min_time: i64,
    max_time: i64,
    /// By the place of the tag in the series key; in a map it would be a text, which is not read back as a number.
    tags: Vec<(u16, BTreeSet<Option<String>>)>,
}

impl From<&Selection> for StoredSelection {
    fn from(Selection { time, tags }: &Selection) -> Self {
        let texts =
            |values: &BTreeSet<Option<Arc<str>>>| values.iter().map(|v| v.as_deref().map(str::to_owned)).collect();
        let tags = tags.iter().map(|(place, values)| (*place, texts(values))).collect();
        Self { min_time: time.min, max_time: time.max, tags }
    }
}

impl StoredSelection {
    pub(super) fn load(self) -> Result<Selection, String> {
        let Self { min_time, max_time, tags } = self;
        let time = TimeRange::new(min_time, max_time).ok_or_else(|| format!("time {min_time} is after {max_time}"))?;
        let values = |values: BTreeSet<Option<String>>| values.into_iter().map(|v| v.map(Arc::from)).collect();
        Ok(Selection { time, tags: tags.into_iter().map(|(place, v)| (place, values(v))).collect() })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredDelete {
    version: u64,
    stamp: u64,
    at_ms: u64,
    which: StoredSelection,
}

impl From<&RowDelete> for StoredDelete {
    fn from(RowDelete { version, stamp, at_ms, which }: &RowDelete) -> Self {
        Self { version: *version, stamp: stamp.0, at_ms: *at_ms, which: which.into() }
    }
}

impl StoredDelete {
    pub(super) fn load(self) -> Result<RowDelete, String> {
        let Self { version, stamp, at_ms, which } = self;
        Ok(RowDelete { version, stamp: Stamp(stamp), at_ms, which: which.load()? })
    }
}
