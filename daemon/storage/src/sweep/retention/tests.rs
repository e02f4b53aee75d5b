use super::*;
use crate::catalog::Dropped;
use crate::model::{DatabaseId, SeriesKey, TableId, TimeRange};

const ID: TableId = TableId(1);
const NOW_MS: u64 = 1_000;

/// Series, first and last time, stamp (0 is settled).
type Given = (&'static str, (i64, i64), u64);

#[test]
fn a_file_goes_when_it_ends_before_the_floor() {
    check_expired(&[("a", (0, 99), 1), ("a", (100, 199), 2)], 100, &[1]);
    check_expired(&[("a", (0, 100), 1)], 100, &[]);
}

#[test]
fn a_newer_version_stays_as_long_as_the_older_one() {
    // The late file 2 lies within the extent of file 1, which is not expired.
    check_expired(&[("a", (0, 150), 1), ("a", (10, 20), 2)], 100, &[]);
    check_expired(&[("a", (0, 150), 0), ("a", (10, 20), 2)], 100, &[]);
    check_expired(&[("a", (0, 150), 1), ("a", (10, 20), 2)], 151, &[1, 2]);
}

#[test]
fn what_is_kept_beside_a_file_keeps_others_in_turn() {
    check_expired(&[("a", (50, 150), 1), ("a", (20, 60), 2), ("a", (0, 30), 3), ("a", (0, 10), 4)], 100, &[]);
    check_expired(&[("a", (50, 150), 1), ("a", (0, 30), 3), ("a", (0, 10), 4)], 100, &[2, 3]);
}

#[test]
fn files_without_a_row_in_common_do_not_keep_each_other() {
    check_expired(&[("a", (0, 150), 1), ("b", (10, 20), 2)], 100, &[2]);
    check_expired(&[("a", (0, 150), 0), ("a", (10, 20), 0)], 100, &[2]);
}

#[track_caller]
fn check_expired(files: &[Given], floor: i64, expected: &[u128]) {
    let gone = expired(&table(files), floor);
    let expected: Vec<FileId> = expected.iter().copied().map(FileId).collect();
    assert_eq!(gone, expected, "{files:?} before {floor}");
}

#[test]
fn what_changed_after_it_was_planned_is_left_to_the_next_round() {
    let retained = state(Some(1), None);
    check_plan(&retained, &retained, 1);
    check_plan(&retained, &state(Some(1), None), 0);

    let mut longer = retained.clone();
    longer.apply(retained.version + 1, &[set_retention(u64::MAX)]).unwrap();
    check_plan(&retained, &longer, 0);

    let mut late = retained.clone();
    let added = vec![Arc::new(file(9, ("a", (0, 1_000_000_000), 0)))];
    let replace = Change::ReplaceFiles { table: ID, removed: Vec::new(), added, at_ms: 0 };
    late.apply(retained.version + 1, &[replace]).unwrap();
    check_plan(&retained, &late, 0);
}

#[track_caller]
fn check_plan(planned: &State, said: &State, changes: usize) {
    assert_eq!(Plan::new(planned, NOW_MS).changes(said).len(), changes, "{said:?}");
}

#[test]
fn a_dropped_database_loses_its_files_then_its_tables_then_itself() {
    let mut state = state(None, Some(NOW_MS));
    for expected in ["ReplaceFiles", "ForgetTable", "ForgetDatabase"] {
        let changes = Plan::new(&state, NOW_MS).changes(&state);
        assert!(changes.len() == 1 && format!("{changes:?}").contains(expected), "{changes:?}, not {expected}");
        state.apply(state.version + 1, &changes).unwrap();
    }
    assert!(state.databases.is_empty() && Plan::new(&state, NOW_MS).is_empty());
}

#[test]
fn what_is_dropped_stays_until_its_time_has_come() {
    for time in [None, Some(NOW_MS + 1)] {
        assert!(Plan::new(&state_dropped(time), NOW_MS).is_empty(), "{time:?}");
    }
}

fn state_dropped(hard_delete_at_ms: Option<u64>) -> State {
    let mut state = state(None, None);
    let dropped = Dropped { at_ms: 0, hard_delete_at_ms };
    let drop = Change::DropTable { id: ID, renamed: "t-gone".into(), dropped };
    state.apply(state.version + 1, &[drop]).unwrap();
    state
}

/// One table with one file, whose rows are a second old at most.
fn state(retention_ns: Option<u64>, hard_delete_at_ms: Option<u64>) -> State {
    let mut state = State::default();
    let database = DatabaseId(1);
    let added = vec![Arc::new(file(1, ("a", (0, 1), 0)))];
    let mut changes = vec![
        Change::CreateDatabase { id: database, name: "db".into(), retention_ns },
        Change::CreateTable { id: ID, database, name: "t".into(), columns: Vec::new(), retention_ns: None },
        Change::ReplaceFiles { table: ID, removed: Vec::new(), added, at_ms: 0 },
    ];
    if hard_delete_at_ms.is_some() {
        let dropped = Dropped { at_ms: 0, hard_delete_at_ms };
        changes.push(Change::DropDatabase { id: database, renamed: "db-gone".into(), dropped });
    }
    state.apply(1, &changes).unwrap();
    state
}

fn set_retention(ns: u64) -> Change {
    Change::SetDatabaseRetention { id: DatabaseId(1), retention_ns: Some(ns) }
}

/// A table whose files are numbered from 1.
fn table(files: &[Given]) -> Table {
    let mut table = Table::clone(&state(None, None).tables[&ID]);
    let numbered = (1..).zip(files);
    table.files = numbered.map(|(id, given)| (FileId(id), Arc::new(file(id, *given)))).collect();
    table
}

fn file(id: u128, (series, (min, max), stamp): Given) -> FileRecord {
    let key = SeriesKey(vec![Some(series.into())]);
    FileRecord {
        id: FileId(id),
        table: ID,
        path: format!("{id}").into(),
        size_bytes: 1,
        tail: None,
        rows: 1,
        string_bytes: 0,
        time: TimeRange::new(min, max).unwrap(),
        key_min: key.clone(),
        key_max: key,
        stamp_max: Stamp(stamp),
        has_versions: false,
        level: 1,
        window_start: 0,
        window_width: 1_000,
        deletes_up_to: 0,
    }
}
