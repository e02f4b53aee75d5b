use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{FileRecord, Stamp, TimeRange};

/// Which rows of a table are meant: those within the time that have one of the values in each of the tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub time: TimeRange,
    /// By the place of the tag in the series key, which stays the same when tags are added. `None` is an absent tag.
    pub tags: BTreeMap<u16, BTreeSet<Option<Arc<str>>>>,
}

/// Versions of rows that are shown to nobody from one entry of the catalog on: those that are meant and have an older
/// stamp. What is written later stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDelete {
    /// The entry, which is also the name of the delete within its table.
    pub version: u64,
    /// Above that of every row stored before it was asked for.
    pub stamp: Stamp,
    pub at_ms: u64,
    pub which: Selection,
}

impl RowDelete {
    /// Whether the file may hold rows that are hidden by this. A file that was planned after the delete never had them.
    #[must_use]
    pub fn touches(&self, file: &FileRecord) -> bool {
        self.version > file.deletes_up_to && self.which.time.overlaps(file.time) && self.which.may_lead(file)
    }
}

impl Selection {
    /// How much the values take as text. An absent tag is counted as a sign.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.tags.values().flatten().map(|value| value.as_ref().map_or(1, |text| text.len())).sum()
    }

    /// Whether the first tag of some series of the file can be one that is meant. Of the others the ends of a file tell
    /// nothing.
    fn may_lead(&self, file: &FileRecord) -> bool {
        let Some(values) = self.tags.get(&0) else { return true };
        let first = |key: &super::SeriesKey| key.0.first().cloned().flatten();
        let (min, max) = (first(&file.key_min), first(&file.key_max));
        // A record whose ends are exchanged says nothing.
        min > max || values.range(min..=max).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FileId, SeriesKey, TableId};

    #[test]
    fn a_delete_touches_files_that_were_planned_before_it_and_may_hold_rows_it_means() {
        let key = |tag: Option<&str>| SeriesKey(vec![tag.map(Arc::from)]);
        let file = |deletes_up_to, keys: (Option<&str>, Option<&str>)| FileRecord {
            id: FileId(1),
            table: TableId(1),
            path: "f".into(),
            size_bytes: 1,
            tail: None,
            rows: 1,
            string_bytes: 0,
            time: TimeRange { min: 10, max: 20 },
            key_min: key(keys.0),
            key_max: key(keys.1),
            stamp_max: Stamp::SETTLED,
            has_versions: false,
            level: 1,
            window_start: 0,
            window_width: 100,
            deletes_up_to,
        };
        let delete = |(min, max): (i64, i64), tags: &[Option<&str>]| {
            let values: BTreeSet<_> = tags.iter().map(|v| v.map(Arc::from)).collect();
            let tags = if values.is_empty() { BTreeMap::new() } else { [(0, values)].into() };
            let which = Selection { time: TimeRange { min, max }, tags };
            RowDelete { version: 7, stamp: Stamp(1), at_ms: 0, which }
        };
        let whole = (Some("b"), Some("d"));
        for (delete, file, expected) in [
            (delete((20, 30), &[]), file(0, whole), true),
            (delete((20, 30), &[]), file(6, whole), true),
            (delete((20, 30), &[]), file(7, whole), false),
            (delete((21, 30), &[]), file(0, whole), false),
            (delete((0, 30), &[Some("c")]), file(0, whole), true),
            (delete((0, 30), &[Some("a"), Some("e")]), file(0, whole), false),
            (delete((0, 30), &[None]), file(0, whole), false),
            (delete((0, 30), &[None]), file(0, (None, Some("d"))), true),
            (delete((0, 30), &[Some("x")]), file(0, (Some("d"), Some("b"))), true),
        ] {
            assert_eq!(delete.touches(&file), expected, "{delete:?} {file:?}");
        }
    }
}
