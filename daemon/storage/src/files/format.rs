//! What the metadata of a file says, as stored. Names and meaning never change; a new meaning is a new name.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parquet::file::metadata::KeyValue;

use super::Error;
use crate::catalog::{Catalog, Table};
use crate::merge::Found;
use crate::model::{DatabaseId, NodeId, Stamp, TableId, Window};

const VERSION: u32 = 1;

/// The CRC-32C of each 64 KiB of what stands before page indexes and footer, as base64 of four little-endian bytes
/// each. The name says algorithm and block size: with others it would be another entry.
const CHECKSUMS: &str = "crc32c_64k";

/// Where a file belongs and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub cluster: u128,
    pub database: DatabaseId,
    pub database_name: Arc<str>,
    pub table: TableId,
    pub table_name: Arc<str>,
    pub node: NodeId,
    /// Of its window: 1 for the smallest windows, which only snapshots write.
    pub level: u8,
    /// Start of the aligned window and its width, nanoseconds.
    pub window_start: i64,
    pub window_width: i64,
    /// The newest delete of the table that its rows were without when it was planned.
    pub deletes_up_to: u64,
}

impl Origin {
    /// That of a file of `table` which `node` makes now.
    #[must_use]
    pub fn new(catalog: &Catalog, table: &Table, node: NodeId, window: Window) -> Self {
        let state = catalog.state();
        let database = state.databases.get(&table.database);
        Self {
            cluster: catalog.cluster(),
            database: table.database,
            database_name: database.map_or_else(|| "".into(), |database| Arc::clone(&database.name)),
            table: table.schema.table,
            table_name: Arc::clone(&table.schema.name),
            node,
            level: window.level,
            window_start: window.start,
            window_width: window.width,
            deletes_up_to: table.last_delete,
        }
    }
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMetadata {
    pub origin: Origin,
    pub rows: u64,
    pub stamp_min: Stamp,
    pub stamp_max: Stamp,
    pub has_versions: bool,
    /// Tag columns in the order of the series key.
    pub tags: Vec<String>,
}

/// The entries of a new file.
pub(super) fn entries(origin: &Origin, tags: Vec<&str>, found: &Found) -> Vec<KeyValue> {
    let Origin {
        cluster,
        database,
        database_name,
        table,
        table_name,
        node,
        level,
        window_start,
        window_width,
        deletes_up_to,
    } = origin;
    let entry = |name: &str, value: &dyn Display| KeyValue::new(format!("weir.{name}"), value.to_string());
    vec![
        entry("format_version", &VERSION),
        entry("cluster_id", &format_args!("{cluster:032x}")),
        entry("database_id", database),
        entry("database", database_name),
        entry("table_id", table),
        entry("table", table_name),
        entry("node", node),
        entry("level", level),
        entry("window_start", window_start),
        entry("window_width", window_width),
        entry("deletes_up_to", deletes_up_to),
        entry("rows", &found.rows),
        entry("stamp_min", &found.stamp_min),
        entry("stamp_max", &found.stamp_max),
        entry("has_seq", &(found.stamp_max > Stamp::SETTLED)),
        entry("has_versions", &found.has_versions),
        entry("tags", &serde_json::json!(tags)),
    ]
}

/// The entry with the checksums of a new file.
pub(super) fn checksums_entry(sums: impl Iterator<Item = u32>) -> KeyValue {
    let sums: Vec<u8> = sums.flat_map(u32::to_le_bytes).collect();
    KeyValue::new(format!("weir.{CHECKSUMS}"), STANDARD.encode(sums))
}

/// Reads the checksums of a file back.
pub(super) fn parse_checksums(file: &Arc<str>, entries: Option<&Vec<KeyValue>>) -> Result<Vec<u32>, Error> {
    let entries = Entries::of(file, entries);
    let sums = STANDARD.decode(entries.text(CHECKSUMS)?).map_err(|e| entries.wrong(CHECKSUMS, &e))?;
    match sums.as_chunks::<4>() {
        (sums, []) => Ok(sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect()),
        (_, rest) => Err(entries.wrong(CHECKSUMS, &format_args!("{} bytes are left over", rest.len()))),
    }
}

/// Reads the entries of a file back.
pub(super) fn parse(file: &Arc<str>, entries: Option<&Vec<KeyValue>>) -> Result<FileMetadata, Error> {
    let entries = Entries::of(file, entries);
    let version = entries.number("format_version")?;
    if version > VERSION {
        return Err(Error::Newer { file: Arc::clone(file), version, newest: VERSION });
    }
    let origin = Origin {
        cluster: u128::from_str_radix(entries.text("cluster_id")?, 16).map_err(|e| entries.wrong("cluster_id", &e))?,
        database: DatabaseId(entries.number("database_id")?),
        database_name: entries.text("database")?.into(),
        table: TableId(entries.number("table_id")?),
        table_name: entries.text("table")?.into(),
        node: NodeId::new(entries.text("node")?).map_err(|e| entries.wrong("node", &e))?,
        level: entries.number("level")?,
        window_start: entries.number("window_start")?,
        window_width: entries.number("window_width")?,
        // Files of before say nothing of deletes: there were none.
        deletes_up_to: entries.values.get("deletes_up_to").map_or(Ok(0), |_| entries.number("deletes_up_to"))?,
    };
    Ok(FileMetadata {
        origin,
        rows: entries.number("rows")?,
        stamp_min: Stamp(entries.number("stamp_min")?),
        stamp_max: Stamp(entries.number("stamp_max")?),
        has_versions: entries.number("has_versions")?,
        tags: serde_json::from_str(entries.text("tags")?).map_err(|e| entries.wrong("tags", &e))?,
    })
}

struct Entries<'a> {
    file: &'a Arc<str>,
    values: HashMap<&'a str, &'a str>,
}

impl<'a> Entries<'a> {
    fn of(file: &'a Arc<str>, entries: Option<&'a Vec<KeyValue>>) -> Self {
        let entries = entries.into_iter().flatten();
        let values = entries.filter_map(|e| Some((e.key.strip_prefix("weir.")?, e.value.as_deref()?)));
        Self { file, values: values.collect() }
    }

    fn text(&self, name: &str) -> Result<&'a str, Error> {
        self.values.get(name).copied().ok_or_else(|| self.wrong(name, &"missing"))
    }

    fn number<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Error> {
        self.text(name)?.parse().map_err(|e: T::Err| self.wrong(name, &e))
    }

    fn wrong(&self, name: &str, reason: &dyn Display) -> Error {
        Error::Damaged { file: Arc::clone(self.file), reason: format!("metadata weir.{name}: {reason}") }
    }
}
