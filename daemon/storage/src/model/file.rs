use std::sync::Arc;

use super::{FileId, Stamp, TableId, TimeRange};

/// The tag values of one series in key order. `None` is an absent tag and sorts before every value; a key that is
/// shorter than another one counts as absent from there on, since tags are only ever added at the end.
#[derive(Debug, Clone, Default)]
pub struct SeriesKey(pub Vec<Option<Arc<str>>>);

impl Ord for SeriesKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let len = self.0.len().max(other.0.len());
        let at = |key: &Self, i: usize| key.0.get(i).cloned().flatten();
        (0..len).map(|i| at(self, i).cmp(&at(other, i))).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    }
}

// A tag that was added later is absent in older keys, which are still the same keys.
impl PartialEq for SeriesKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SeriesKey {}

impl PartialOrd for SeriesKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The end of a data file: page indexes and footer, which holds the checksums of all that stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    pub bytes: u64,
    pub crc32c: u32,
}

/// What the catalog knows of one Parquet file. The file exists for the cluster because this record does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    pub id: FileId,
    pub table: TableId,
    /// Key in the object store.
    pub path: Arc<str>,
    pub size_bytes: u64,
    /// `None` for files of before, which have no checksums.
    pub tail: Option<Tail>,
    pub rows: u64,
    /// About what its strings and tag values take in memory; 0 for files of before this was counted.
    pub string_bytes: u64,
    pub time: TimeRange,
    /// Smallest and largest series key in the file.
    pub key_min: SeriesKey,
    pub key_max: SeriesKey,
    /// Largest stamp in the file; `SETTLED` when the file has no `__seq` column.
    pub stamp_max: Stamp,
    /// Whether some row stands in more than one version in this file.
    pub has_versions: bool,
    /// Of its window: 1 for the smallest windows, which only snapshots write.
    pub level: u8,
    /// Start of the aligned window and its width, nanoseconds.
    pub window_start: i64,
    pub window_width: i64,
    /// Deletes of the table up to this entry of the catalog were carried out when the file was planned.
    pub deletes_up_to: u64,
}

impl FileRecord {
    /// Whether a row of one file could have the key of a row of the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.time.overlaps(other.time) && self.key_min <= other.key_max && other.key_min <= self.key_max
    }
}
