use super::*;
use crate::catalog::{Action, Description, Dropped, Permission, Resource};
use crate::model::{
    Column, ColumnId, ColumnKind, DatabaseId, Epoch, FieldType, FileId, FileRecord, NodeId, Position, SeriesKey, Stamp,
    TableId, TimeRange, Writer,
};

pub(super) const HIDDEN: Dropped = Dropped { at_ms: 5, hard_delete_at_ms: Some(9) };

#[test]
fn databases_are_numbered_named_once_and_never_numbered_again() {
    check(&[], create_database(1, "a"), Ok(()));
    check(&[], create_database(2, "a"), Err("database id 2 is not the next one, which is 1"));
    check(&[], create_database(0, "a"), Err("database id 0 is not the next one"));
    check(&[], create_database(1, ""), Err("taken or empty"));
    check(&[create_database(1, "a")], create_database(2, "a"), Err("'a' is taken"));
    check(&[create_database(1, "a"), create_database(2, "b")], drop_database(1, "b", HIDDEN), Err("taken"));
    let dropped = [create_database(1, "a"), drop_database(1, "a-old", HIDDEN)];
    check(&dropped, create_database(2, "a"), Ok(()));
    check(&dropped, create_database(1, "a"), Err("not the next one"));
    let forgotten = [&dropped[..], &[Change::ForgetDatabase { id: DatabaseId(1) }]].concat();
    check(&forgotten, create_database(1, "a"), Err("not the next one"));
    check(&forgotten, create_database(2, "a"), Ok(()));
    check(&forgotten, drop_database(1, "b", HIDDEN), Err("database 1 does not exist"));
}

#[test]
fn a_dropped_database_can_only_have_its_deletion_moved() {
    let dropped = [create_database(1, "a"), drop_database(1, "a-old", HIDDEN)];
    let later = Dropped { hard_delete_at_ms: None, ..HIDDEN };
    check(&dropped, drop_database(1, "a-old", later), Ok(()));
    check(&dropped, drop_database(1, "other", later), Err("only the time of its deletion can change"));
    check(&dropped, drop_database(1, "a-old", Dropped { at_ms: 6, ..later }), Err("only the time of its deletion"));
    check(&dropped, Change::SetDatabaseRetention { id: DatabaseId(1), retention_ns: None }, Err("1 is dropped"));
    check(&dropped, create_table(1, "t", &[]), Err("database 1 is dropped"));
    let reused = [&dropped[..], &[create_database(2, "a-old")]].concat();
    check(&reused, drop_database(1, "a-old", later), Ok(()));
    check(&[create_database(1, "a")], drop_database(1, "a", HIDDEN), Err("taken or empty"));
    check(&[create_database(1, "a")], drop_database(1, "", HIDDEN), Err("taken or empty"));
    check(&[create_database(1, "a")], Change::ForgetDatabase { id: DatabaseId(1) }, Err("is not dropped"));
    let with_table = [plant(), vec![drop_database(1, "a-old", HIDDEN)]].concat();
    check(&with_table, Change::ForgetDatabase { id: DatabaseId(1) }, Err("still has table 1"));
    check(&with_table, Change::ForgetTable { id: TableId(1) }, Ok(()));
}

#[test]
fn tables_are_numbered_and_named_once_in_their_database() {
    check(&plant(), create_table(2, "u", &["x", "y"]), Ok(()));
    check(&plant(), create_table(1, "u", &[]), Err("table id 1 is not the next one, which is 2"));
    check(&plant(), create_table(2, "t", &[]), Err("'t' is taken"));
    check(&plant(), create_table(2, "", &[]), Err("taken or empty"));
    check(&plant(), create_table(2, "u", &["x", "x"]), Err("column 'x' stands twice"));
    check(&plant(), create_table(2, "u", &["time"]), Err("cannot be named 'time'"));
    check(&plant(), create_table(2, "u", &["__seq"]), Err("cannot be named '__seq'"));
    check(&plant(), create_table(2, "u", &[""]), Err("cannot be named ''"));
    check(&[], create_table(1, "t", &[]), Err("database 1 does not exist"));
    let renamed = [plant(), vec![drop_table(1, "t-old", HIDDEN), create_table(2, "t", &[])]].concat();
    check(&renamed, create_table(3, "t-old", &[]), Ok(()));
    check(&renamed, drop_table(2, "t-old", HIDDEN), Err("taken"));
}

#[test]
fn columns_are_added_behind_those_that_are_there() {
    let add = |first, names: &[&str]| Change::AddColumns {
        table: TableId(1),
        first: ColumnId(first),
        columns: columns(names),
    };
    check(&plant(), add(2, &["p", "q"]), Ok(()));
    check(&plant(), add(1, &["p"]), Err("column id 1 is not the next one, which is 2"));
    check(&plant(), add(3, &["p"]), Err("not the next one"));
    check(&plant(), add(2, &[]), Err("no columns are added"));
    check(&plant(), add(2, &["x"]), Err("column 'x' stands twice"));
    check(&plant(), add(2, &["time"]), Err("cannot be named"));
    check(&[], add(0, &["p"]), Err("table 1 does not exist"));
    check(&[plant(), vec![drop_table(1, "t-old", HIDDEN)]].concat(), add(2, &["p"]), Err("table 1 is dropped"));
    check(&[plant(), vec![drop_database(1, "old", HIDDEN)]].concat(), add(2, &["p"]), Err("table 1 is dropped"));
}

#[test]
fn a_table_is_forgotten_once_it_is_dropped_and_has_no_files() {
    let forget = Change::ForgetTable { id: TableId(1) };
    let retention = Change::SetTableRetention { id: TableId(1), retention_ns: Some(7) };
    check(&plant(), retention.clone(), Ok(()));
    check(&plant(), forget.clone(), Err("table 1 is not dropped"));
    let dropped = [plant(), vec![replace(&[], &[7]), drop_table(1, "t-old", HIDDEN)]].concat();
    check(&dropped, retention, Err("table 1 is dropped"));
    check(&dropped, drop_table(1, "t-old", Dropped { hard_delete_at_ms: None, ..HIDDEN }), Ok(()));
    check(&dropped, drop_table(1, "t-older", HIDDEN), Err("only the time of its deletion"));
    check(&dropped, forget.clone(), Err("table 1 still has 1 files"));
    let emptied = [dropped, vec![replace(&[7], &[])]].concat();
    check(&emptied, forget.clone(), Ok(()));
    check(&[emptied, vec![forget]].concat(), create_table(1, "t", &[]), Err("not the next one, which is 2"));
}

#[test]
fn tokens_differ_in_name_and_secret() {
    let made = [create_token(0, "a", "h0")];
    check(&[], create_token(0, "a", "h0"), Ok(()));
    check(&[], create_token(1, "a", "h0"), Err("token id 1 is not the next one, which is 0"));
    check(&made, create_token(1, "a", "h1"), Err("a token named 'a' exists"));
    check(&made, create_token(1, "b", "h0"), Err("token 'a' has the same secret"));
    let rehash = |id, hash: &str| Change::ReplaceTokenHash { id: TokenId(id), hash: hash.into(), at_ms: 3 };
    check(&made, rehash(0, "h1"), Ok(()));
    check(&made, rehash(0, "h0"), Err("the same secret"));
    check(&made, rehash(1, "h1"), Err("token 1 does not exist"));
    let permissions = vec![Permission { resource: Resource::AnyDatabase, actions: vec![Action::Read] }];
    check(&made, Change::SetTokenPermissions { id: TokenId(0), permissions: permissions.clone() }, Ok(()));
    check(&made, Change::SetTokenPermissions { id: TokenId(9), permissions }, Err("token 9 does not exist"));
    let delete = Change::DeleteToken { id: TokenId(0) };
    check(&made, delete.clone(), Ok(()));
    check(&[], delete.clone(), Err("token 0 does not exist"));
    check(&[&made[..], &[delete]].concat(), create_token(0, "a", "h0"), Err("not the next one, which is 1"));
}

#[test]
fn a_setting_is_fixed_to_one_value() {
    let fix = |value: &str| Change::Fix { name: "gen1".into(), value: value.into() };
    check(&[], fix("10m"), Ok(()));
    check(&[fix("10m")], fix("10m"), Ok(()));
    check(&[fix("10m")], fix("5m"), Err("'gen1' is fixed to '10m' and cannot become '5m'"));
}

#[test]
fn a_setting_is_of_all_nodes_or_of_one_and_goes_with_it() {
    let node_only = [register("n", 1, 0), configure("s", Some("n"), Some("2"))];
    check(&[], configure("s", None, Some("1")), Ok(()));
    check(&[], configure("s", None, None), Err("setting 's' has no value"));
    check(&[], configure("s", Some("n"), Some("1")), Err("node n"));
    check(&node_only, configure("s", None, None), Err("setting 's' has no value"));
    let both = state_of(&[&node_only[..], &[configure("s", None, Some("1"))]].concat());
    let values: Vec<&str> = both.settings.values().map(|value| &**value).collect();
    assert_eq!(values, ["1", "2"]);
    let removed = [&node_only[..], &[Change::RemoveNode { node: node("n"), at_ms: 5 }]].concat();
    assert_eq!(state_of(&removed).settings.len(), 0);
}

#[test]
fn the_newest_changes_that_somebody_asked_for_are_remembered() {
    let mut state = State::default();
    for number in 1..=AUDIT_RECORDS_MAX + 3 {
        state.apply(number as u64, &[audit(&number.to_string())]).expect("it always holds");
    }
    assert_eq!(state.audit.len(), AUDIT_RECORDS_MAX);
    let (version, record) = &state.audit[0];
    assert_eq!((*version, &*record.statement), (4, "4"), "the entry that made it is known");
}

#[test]
fn a_node_keeps_its_instance_and_its_slot() {
    let made = [register("n", 1, 3)];
    check(&made, register("n", 1, 3), Ok(()));
    check(&made, register("n", 2, 3), Err("another instance or writer slot"));
    check(&made, register("n", 1, 4), Err("another instance or writer slot"));
    check(&made, register("m", 1, 3), Err("slot 3 cannot be given to node m"));
    check(&made, register("m", 1, 4), Ok(()));
}

#[test]
fn a_node_is_removed_once_it_is_sealed_and_may_come_back_as_a_new_one() {
    let remove = || Change::RemoveNode { node: node("n"), at_ms: 9 };
    let close = Change::CloseEpoch { node: node("n"), epoch: Epoch(1) };
    let opened = vec![register("n", 1, 3), open("n", 1), persist(1, 4, 40, &[])];
    check(&opened, remove(), Err("node n may have rows outside files"));
    let removed = [opened, vec![close, remove()]].concat();
    check(&removed, remove(), Err("node n was removed"));
    check(&removed, open("n", 2), Err("node n was removed"));
    check(&removed, describe("n", 1, "x"), Err("node n was removed"));
    check(&removed, stop("n", 1), Err("node n was removed"));
    check(&removed, register("m", 2, 3), Ok(()));
    let back = [removed, vec![register("n", 2, 5), open("n", 2)]].concat();
    let state = state_of(&back);
    let known = &state.nodes[&node("n")];
    assert_eq!((known.instance, known.writer.slot(), known.epoch), (2, 5, Epoch(2)));
    assert_eq!((known.persisted, known.removed_at_ms), (Position(4), None), "its log goes on where it ended");
}

#[test]
fn a_slot_is_given_away_once_its_rows_have_settled() {
    let mut changes = vec![register("n", 1, 3), register("m", 1, 4), open("n", 1), open("m", 1)];
    changes.extend([persist(1, 4, 40, &[]), Change::CloseEpoch { node: node("n"), epoch: Epoch(1) }]);
    changes.push(Change::RemoveNode { node: node("n"), at_ms: 9 });
    check(&changes, register("o", 1, 3), Err("slot 3 cannot be given to node o"));
    let Change::Persist { epoch, persisted, persisted_epoch, stamp, files, .. } = persist(1, 1, 40, &[]) else {
        unreachable!()
    };
    changes.push(Change::Persist { node: node("m"), epoch, persisted, persisted_epoch, stamp, files });
    check(&changes, register("o", 1, 3), Ok(()));
}

#[test]
fn what_a_process_says_of_itself_and_a_wish_to_stop_go_with_its_epoch() {
    let made = vec![register("n", 1, 3), open("n", 1), describe("n", 1, "x"), stop("n", 1)];
    let state = state_of(&made);
    assert!(state.nodes[&node("n")].stopping);
    assert_eq!(state.nodes[&node("n")].description.http.as_deref(), Some("x"));
    check(&made, describe("n", 2, "y"), Err("epoch 2 of node n is not the newest"));
    check(&made, stop("m", 1), Err("node m does not exist"));
    check(&made, stop("n", 2), Err("epoch 2 of node n is not the newest, which is 1"));
    let state = state_of(&[made, vec![open("n", 2)]].concat());
    assert!(!state.nodes[&node("n")].stopping);
}

#[test]
fn one_process_at_a_time_is_the_compactor() {
    let leave = |name: &str, term| Change::LeaveCompactor { node: node(name), term };
    let made = vec![register("n", 1, 3), register("m", 1, 4), open("n", 1), open("m", 1)];
    check(&made, take("n", 1, 2), Err("term 2 of the compactor does not follow term 0"));
    check(&made, take("n", 2, 1), Err("epoch 2 of node n is not the newest"));
    let taken = [made, vec![take("n", 1, 1)]].concat();
    assert_eq!(state_of(&taken).compactor_node().map(|n| n.id.clone()), Some(node("n")));
    check(&taken, take("m", 1, 1), Err("does not follow term 1"));
    check(&taken, leave("m", 1), Err("node m is not the compactor of term 1"));
    check(&taken, leave("n", 1), Ok(()));
    let lost = [taken.clone(), vec![open("n", 2)]].concat();
    assert_eq!(state_of(&lost).compactor_node(), None, "another process of the node is another holder");
    let next = [taken, vec![take("m", 1, 2)]].concat();
    check(&next, leave("n", 1), Err("node n is not the compactor of term 1"));
    assert_eq!(state_of(&next).compactor_node().map(|n| n.id.clone()), Some(node("m")));
}

#[test]
fn epochs_follow_one_another() {
    let made = [register("n", 1, 3)];
    check(&made, open("n", 1), Ok(()));
    check(&made, open("n", 2), Err("epoch 2 of node n does not follow epoch 0"));
    check(&made, open("m", 1), Err("node m does not exist"));
    let opened = [register("n", 1, 3), open("n", 1)];
    check(&opened, open("n", 1), Err("does not follow epoch 1"));
    check(&opened, open("n", 2), Ok(()));
}

#[test]
fn only_who_holds_the_newest_open_epoch_persists_and_closes() {
    let close = |epoch| Change::CloseEpoch { node: node("n"), epoch: Epoch(epoch) };
    let opened = vec![register("n", 1, 3), open("n", 1)];
    check(&[register("n", 1, 3)], close(0), Err("epoch 0 of node n is closed"));
    check(&opened, close(1), Ok(()));
    check(&opened, persist(1, 4, 40, &[]), Ok(()));
    let lost = [opened.clone(), vec![open("n", 2)]].concat();
    check(&lost, close(1), Err("epoch 1 of node n is not the newest, which is 2"));
    check(&lost, persist(1, 4, 40, &[]), Err("epoch 1 of node n is not the newest"));
    let closed = [opened, vec![close(1)]].concat();
    check(&closed, close(1), Err("is closed"));
    check(&closed, persist(1, 4, 40, &[]), Err("is closed"));
    check(&closed, open("n", 2), Ok(()));
}

#[test]
fn what_is_persisted_never_goes_back() {
    let made = vec![register("n", 1, 3), open("n", 1), open("n", 2), persist(2, 4, 40, &[])];
    check(&made, persist(2, 4, 40, &[]), Ok(()));
    check(&made, persist(2, 4, 41, &[]), Ok(()));
    check(&made, persist(2, 3, 41, &[]), Err("has persisted 4 with stamp 40, 3 with 41 is less"));
    check(&made, persist(2, 5, 39, &[]), Err("is less"));
    let in_epoch = |persisted_epoch| {
        let Change::Persist { node, epoch, persisted, stamp, files, .. } = persist(2, 5, 50, &[]) else {
            unreachable!()
        };
        Change::Persist { node, epoch, persisted, persisted_epoch: Epoch(persisted_epoch), stamp, files }
    };
    check(&made, in_epoch(1), Err("cannot go on in epoch 1, only in 2 to 2"));
    check(&made, in_epoch(3), Err("cannot go on in epoch 3"));
    check(&[plant(), made].concat(), persist(2, 5, 50, &[(1, 8, 51)]), Err("holds stamp 51, above 50"));
}

#[test]
fn a_node_that_comes_back_stamps_above_what_is_settled() {
    let close = |name: &str| Change::CloseEpoch { node: node(name), epoch: Epoch(1) };
    let mut changes = vec![register("n", 1, 3), open("n", 1), register("m", 2, 4), persist(1, 4, 40, &[]), close("n")];
    let state = state_of(&changes);
    assert_eq!(state.settled(), Stamp(40));
    changes.push(open("m", 1));
    let state = state_of(&changes);
    assert_eq!(state.settled(), Stamp(40), "the new writer holds nothing back");
    assert_eq!(state.nodes[&node("m")].persisted_epoch, Epoch(1), "its first object is in the new epoch");
    changes.extend([open("n", 2), open("n", 3)]);
    let state = state_of(&changes);
    assert_eq!(state.nodes[&node("n")].persisted_epoch, Epoch(2), "a lost epoch still holds objects to read");
}

#[test]
fn snapshot_files_are_new_and_belong_to_a_table() {
    let made = [plant(), vec![register("n", 1, 3), open("n", 1), persist(1, 4, 40, &[(1, 7, 30)])]].concat();
    check(&made, persist(1, 5, 50, &[(1, 8, 50), (1, 9, 0)]), Ok(()));
    check(&made, persist(1, 5, 50, &[(1, 7, 50)]), Err("exists already"));
    check(&made, persist(1, 5, 50, &[(1, 8, 50), (1, 8, 50)]), Err("stands twice"));
    check(&made, persist(1, 5, 50, &[(2, 8, 50)]), Err("table 2, which never existed"));
    let replaced = [made, vec![replace(&[7], &[])]].concat();
    check(&replaced, persist(1, 5, 50, &[(1, 7, 50)]), Err("exists already"));
}

#[test]
fn snapshot_files_stay_with_a_dropped_table_and_go_with_a_forgotten_one() {
    let made = [plant(), vec![register("n", 1, 3), open("n", 1)]].concat();
    let after = |end: &[Change]| state_of(&[&made[..], end, &[persist(1, 4, 40, &[(1, 7, 30)])]].concat());
    for hidden in [drop_table(1, "t-old", HIDDEN), drop_database(1, "a-old", HIDDEN)] {
        let state = after(std::slice::from_ref(&hidden));
        assert!(state.tables[&TableId(1)].files.contains_key(&FileId(7)), "{hidden:?}");
        assert_eq!(state.nodes[&node("n")].persisted, Position(4), "{hidden:?}");
    }
    let state = after(&[drop_table(1, "t-old", HIDDEN), Change::ForgetTable { id: TableId(1) }]);
    assert_eq!(&*state.removed[&FileId(7)].path, "data/7");
    assert_eq!(state.nodes[&node("n")].persisted, Position(4));
}

#[test]
fn files_are_replaced_when_all_of_them_are_live() {
    let made = [plant(), vec![create_table(2, "u", &[]), replace(&[], &[7, 8])]].concat();
    check(&made, replace(&[7, 8], &[9]), Ok(()));
    check(&made, replace(&[7, 9], &[]), Err("9 is not a live file of table 1"));
    check(&made, replace(&[7, 7], &[]), Err("not a live file of table 1"));
    check(&made, replace(&[7], &[8]), Err("exists already"));
    check(&made, replace(&[7], &[7]), Err("exists already"));
    check(&[made.clone(), vec![replace(&[7], &[])]].concat(), replace(&[7], &[9]), Err("not a live file"));
    let elsewhere = |table, file: u128| Change::ReplaceFiles {
        table: TableId(table),
        removed: vec![],
        added: vec![record(1, file, 0)],
        at_ms: 1,
    };
    check(&made, elsewhere(2, 9), Err("belongs to table 1, not to table 2"));
    check(&[], elsewhere(1, 9), Err("table 1 never existed"));
    let state = state_of(&[made, vec![replace(&[7, 8], &[9])]].concat());
    assert_eq!(state.tables[&TableId(1)].files.keys().copied().collect::<Vec<_>>(), [FileId(9)]);
    assert_eq!(state.removed.keys().copied().collect::<Vec<_>>(), [FileId(7), FileId(8)]);
    assert_eq!(state.removed[&FileId(7)].at_ms, 70);
}

#[test]
fn a_dropped_table_keeps_merged_rows_and_a_forgotten_one_does_not() {
    let dropped = [plant(), vec![replace(&[], &[7]), drop_table(1, "t-old", HIDDEN), replace(&[7], &[8])]].concat();
    let state = state_of(&dropped);
    assert!(state.tables[&TableId(1)].files.contains_key(&FileId(8)), "its rows may be wanted back");
    let forgotten = [dropped, vec![replace(&[8], &[]), Change::ForgetTable { id: TableId(1) }]].concat();
    let state = state_of(&[forgotten.clone(), vec![replace(&[], &[9])]].concat());
    assert!(state.removed.contains_key(&FileId(9)));
    check(&forgotten, replace(&[8], &[9]), Err("table 1 is gone with its files"));
}

#[test]
fn files_are_forgotten_once() {
    let forget = |files: &[u128]| Change::ForgetFiles { files: files.iter().map(|f| FileId(*f)).collect() };
    let made = [plant(), vec![replace(&[], &[7, 8]), replace(&[7], &[])]].concat();
    check(&made, forget(&[7]), Ok(()));
    check(&made, forget(&[7, 7]), Err("not among the removed"));
    check(&made, forget(&[8]), Err("not among the removed"));
}

#[test]
fn an_entry_holds_together_or_not_at_all() {
    let mut state = state_of(&plant());
    let before = state.clone();
    let conflict = state.apply(before.version + 1, &[create_table(2, "u", &[]), create_table(2, "v", &[])]);
    let conflict = conflict.expect_err("the second id is used");
    assert_eq!((conflict.version, conflict.number), (3, 2));
    assert_eq!(conflict.to_string(), "entry 3, change 2: table id 2 is not the next one, which is 3");
    assert_eq!(state, before);
    for version in [0, before.version, before.version + 2, u64::MAX] {
        assert!(state.apply(version, &[]).is_err(), "{version}");
        assert_eq!(state, before);
    }
    assert_eq!(state.apply(before.version + 1, &[]), Ok(()));
}

#[test]
fn numbers_that_run_out_are_a_conflict() {
    let (version, changes) = (1, [create_database(u32::MAX, "a")]);
    let mut state = State { next_database: u32::MAX, ..State::default() };
    assert!(state.apply(version, &changes).is_err());
    let mut state = State { version: u64::MAX, ..State::default() };
    assert!(state.apply(0, &[]).is_err());
}

#[test]
fn a_state_that_contradicts_itself_is_found() {
    let mut state = state_of(&plant());
    state.next_table = 1;
    assert!(state.check().is_err());
    let mut state = state_of(&plant());
    state.databases.clear();
    assert!(state.check().is_err());
    let mut state = state_of(&plant());
    Arc::make_mut(state.databases.get_mut(&DatabaseId(1)).expect("it was created")).tables.clear();
    assert!(state.check().is_err());
}

/// Whether `change` holds after `before`, each change in an entry of its own; else a part of the reason.
#[track_caller]
pub(super) fn check(before: &[Change], change: Change, expected: Result<(), &str>) {
    let mut state = state_of(before);
    let untouched = state.clone();
    match (state.apply(state.version + 1, std::slice::from_ref(&change)), expected) {
        (Ok(()), Ok(())) => assert_eq!(state.check(), Ok(()), "{change:?}"),
        (Err(conflict), Err(reason)) => {
            assert!(conflict.reason.contains(reason), "{change:?}: {conflict}");
            assert_eq!(state, untouched, "{change:?}");
        }
        (found, expected) => panic!("{change:?}: {found:?} instead of {expected:?}"),
    }
}

#[track_caller]
fn state_of(changes: &[Change]) -> State {
    let mut state = State::default();
    for change in changes {
        state.apply(state.version + 1, std::slice::from_ref(change)).expect("what the test builds on holds");
    }
    state
}

/// A database `a` with a table `t` of the columns `x` and `y`.
pub(super) fn plant() -> Vec<Change> {
    vec![create_database(1, "a"), create_table(1, "t", &["x", "y"])]
}

pub(super) fn create_database(id: u32, name: &str) -> Change {
    Change::CreateDatabase { id: DatabaseId(id), name: name.into(), retention_ns: None }
}

pub(super) fn drop_database(id: u32, renamed: &str, dropped: Dropped) -> Change {
    Change::DropDatabase { id: DatabaseId(id), renamed: renamed.into(), dropped }
}

pub(super) fn create_table(id: u32, name: &str, names: &[&str]) -> Change {
    let (database, columns) = (DatabaseId(1), columns(names));
    Change::CreateTable { id: TableId(id), database, name: name.into(), columns, retention_ns: None }
}

pub(super) fn drop_table(id: u32, renamed: &str, dropped: Dropped) -> Change {
    Change::DropTable { id: TableId(id), renamed: renamed.into(), dropped }
}

pub(super) fn columns(names: &[&str]) -> Vec<Column> {
    names.iter().map(|n| Column { name: (*n).into(), kind: ColumnKind::Field(FieldType::Float) }).collect()
}

pub(super) fn create_token(id: u64, name: &str, hash: &str) -> Change {
    let token = Token {
        id: TokenId(id),
        name: name.into(),
        hash: hash.into(),
        permissions: vec![],
        created_at_ms: 1,
        created_by: None,
        expires_at_ms: None,
    };
    Change::CreateToken { token }
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("the name is valid")
}

pub(super) fn configure(name: &str, of: Option<&str>, value: Option<&str>) -> Change {
    Change::Configure { name: name.into(), node: of.map(node), value: value.map(Into::into) }
}

pub(super) fn audit(statement: &str) -> Change {
    let record = AuditRecord {
        at_ms: 7,
        by: Some("ops".into()),
        node: "n".into(),
        door: "http".into(),
        statement: statement.into(),
    };
    Change::Audit { record }
}

pub(super) fn register(name: &str, instance: u128, slot: u16) -> Change {
    let writer = Writer::new(slot).expect("the slot is small");
    Change::RegisterNode { node: node(name), instance, writer, core_count: 2, at_ms: 1 }
}

pub(super) fn open(name: &str, epoch: u32) -> Change {
    Change::OpenEpoch { node: node(name), epoch: Epoch(epoch), process: 1, at_ms: 1 }
}

pub(super) fn describe(name: &str, epoch: u32, http: &str) -> Change {
    let description = Description { http: Some(http.into()), ..Description::default() };
    Change::DescribeNode { node: node(name), epoch: Epoch(epoch), description }
}

pub(super) fn stop(name: &str, epoch: u32) -> Change {
    Change::StopNode { node: node(name), epoch: Epoch(epoch) }
}

pub(super) fn take(name: &str, epoch: u32, term: u64) -> Change {
    Change::TakeCompactor { node: node(name), epoch: Epoch(epoch), term }
}

/// The snapshot of node `n`; files as table, id and stamp.
pub(super) fn persist(epoch: u32, persisted: u64, stamp: u64, files: &[(u32, u128, u64)]) -> Change {
    Change::Persist {
        node: node("n"),
        epoch: Epoch(epoch),
        persisted: Position(persisted),
        persisted_epoch: Epoch(epoch),
        stamp: Stamp(stamp),
        files: files.iter().map(|(table, id, stamp)| record(*table, *id, *stamp)).collect(),
    }
}

pub(super) fn replace(removed: &[u128], added: &[u128]) -> Change {
    Change::ReplaceFiles {
        table: TableId(1),
        removed: removed.iter().map(|id| FileId(*id)).collect(),
        added: added.iter().map(|id| record(1, *id, 0)).collect(),
        at_ms: 70,
    }
}

fn record(table: u32, id: u128, stamp: u64) -> Arc<FileRecord> {
    Arc::new(FileRecord {
        id: FileId(id),
        table: TableId(table),
        path: format!("data/{id}").into(),
        size_bytes: 1,
        tail: None,
        rows: 1,
        string_bytes: 0,
        time: TimeRange { min: 0, max: 1 },
        key_min: SeriesKey::default(),
        key_max: SeriesKey::default(),
        stamp_max: Stamp(stamp),
        has_versions: false,
        level: 1,
        window_start: 0,
        window_width: 1,
        deletes_up_to: 0,
    })
}
