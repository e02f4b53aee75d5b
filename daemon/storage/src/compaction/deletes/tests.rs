use std::collections::BTreeMap;

use super::*;
use crate::compaction::plan::Begun;
use crate::model::{DatabaseId, FileId, Selection, SeriesKey, TableId, TableSchema};

/// A settled file of the time from `at` to `at + 9`.
fn file(number: u128, at: i64) -> Arc<FileRecord> {
    Arc::new(FileRecord {
        id: FileId(number),
        table: TableId(1),
        path: format!("{number}").into(),
        size_bytes: 1,
        tail: None,
        rows: 1,
        string_bytes: 0,
        time: TimeRange { min: at, max: at + 9 },
        key_min: SeriesKey(vec![]),
        key_max: SeriesKey(vec![]),
        stamp_max: Stamp::SETTLED,
        has_versions: false,
        level: 1,
        window_start: at,
        window_width: 10,
        deletes_up_to: 0,
    })
}

fn delete(version: u64, time: TimeRange) -> Arc<RowDelete> {
    Arc::new(RowDelete { version, stamp: Stamp(version), at_ms: 0, which: Selection { time, tags: BTreeMap::new() } })
}

fn table(files: &[Arc<FileRecord>], deletes: &[Arc<RowDelete>]) -> Arc<Table> {
    Arc::new(Table {
        database: DatabaseId(1),
        schema: Arc::new(TableSchema { table: TableId(1), name: "t".into(), columns: Vec::new() }),
        retention_ns: None,
        files: files.iter().map(|file| (file.id, Arc::clone(file))).collect(),
        deletes: deletes.to_vec(),
        last_delete: deletes.last().map_or(0, |delete| delete.version),
        caches: BTreeMap::new(),
        dropped: None,
    })
}

#[test]
fn an_order_writes_files_of_its_time_again_for_deletes_there_were_when_it_began() {
    let files = [file(1, 0), file(2, 10), file(3, 20)];
    let now = table(&files, &[delete(5, TimeRange { min: 0, max: 12 }), delete(6, TimeRange::ALL)]);
    let rewritten = |wanted| {
        let moment = Moment { settled: Stamp(1), now: 0, columns: 1, unreadable: BTreeSet::new(), wanted };
        let plans = rewrites(&now, &[], &moment);
        plans.iter().map(|plan| plan.inputs[0].id.0).collect::<Vec<_>>()
    };
    let begun = |(min, max), files: &[u128]| {
        let files = Arc::new(files.iter().map(|id| FileId(*id)).collect());
        Some(Begun { range: TimeRange { min, max }, files, deletes: now.deletes[..1].to_vec() })
    };
    assert_eq!(rewritten(None), [1, 2, 3]);
    assert_eq!(rewritten(begun((0, 29), &[1, 2, 3])), [1, 2]);
    assert_eq!(rewritten(begun((10, 29), &[1, 2, 3])), [2]);
    assert_eq!(rewritten(begun((0, 29), &[1, 3])), [1]);
}

#[test]
fn a_new_file_is_written_again_for_deletes_later_unless_somebody_orders_it() {
    let new = Arc::new(FileRecord { stamp_max: Stamp(9), ..(*file(1, 0)).clone() });
    let now = table(&[new], &[delete(5, TimeRange::ALL)]);
    let rewritten = |wanted| {
        let moment = Moment { settled: Stamp(1), now: 0, columns: 1, unreadable: BTreeSet::new(), wanted };
        rewrites(&now, &[], &moment).len()
    };
    let files = Arc::new([FileId(1)].into());
    assert_eq!(rewritten(None), 0);
    assert_eq!(rewritten(Some(Begun { range: TimeRange::ALL, files, deletes: now.deletes.clone() })), 1);
}

#[test]
fn what_was_found_carried_out_is_forgotten_unless_a_file_came_that_it_touches() {
    let found = [delete(5, TimeRange::ALL), delete(6, TimeRange::ALL)];
    let seen = table(&[], &found);
    let with = |table: &Arc<Table>| State { tables: [(TableId(1), Arc::clone(table))].into(), ..State::default() };
    assert_eq!(carried_out(&with(&seen), &seen), found);
    assert_eq!(still_carried_out(&with(&seen), &seen, &found), [5, 6]);
    assert!(still_carried_out(&with(&table(&[file(1, 0)], &found)), &seen, &found).is_empty());
    let later = Arc::new(FileRecord { deletes_up_to: 5, ..(*file(1, 0)).clone() });
    assert_eq!(still_carried_out(&with(&table(&[later], &found)), &seen, &found), [5]);
    assert_eq!(still_carried_out(&with(&table(&[], &found[1..])), &seen, &found), [6]);
    assert!(still_carried_out(&State::default(), &seen, &found).is_empty());
}
