use super::*;

const NOW_MS: u64 = 1_735_689_599_000;
const HOUR_MS: u64 = 3_600_000;

#[test]
fn a_database_is_made_once_under_a_name_that_keeps_the_rules() {
    let mut state = State::default();
    check(create_database(&state, "plant", None), Ok(DatabaseId(1)), &mut state);
    check(create_database(&state, "b", Some(5)), Ok(DatabaseId(2)), &mut state);
    let exists = "attempted to create a resource that already exists: plant";
    check(create_database(&state, "plant", None), Err((ErrorKind::Conflict, exists)), &mut state);
    check(create_database(&state, "", None), Err((ErrorKind::Invalid, "db name cannot be empty")), &mut state);
    check(create_database(&state, "_x", None), Err((ErrorKind::Invalid, "did not start with")), &mut state);
    check(create_database(&state, "c", Some(0)), Err((ErrorKind::Invalid, "longer than zero")), &mut state);
    assert_eq!(state.databases[&DatabaseId(2)].retention_ns, Some(5));
}

#[test]
fn what_is_dropped_does_not_count_against_the_limits() {
    let mut state = plant();
    let limits = Limits { databases: 2, tables: 2, ..Limits::default() };
    let database = |state: &State| decide_create_database(state, &limits, "third", None);
    let table = |state: &State| decide_create_table(state, &limits, &new_table("b", "third"));
    check(decide_create_table(&state, &limits, &new_table("b", "u")), Ok(TableId(2)), &mut state);
    let full = "Adding a new database would exceed limit of 2 databases";
    check(database(&state), Err((ErrorKind::Limit, full)), &mut state);
    let full = "Update to schema would exceed number of tables limit: attempted to create table but already have 2 \
                table(s) (limit: 2)";
    check(table(&state), Err((ErrorKind::Limit, full)), &mut state);
    check(decide_drop_database(&state, "a", HardDelete::Never, NOW_MS), Ok(()), &mut state);
    check(table(&state), Ok(TableId(3)), &mut state);
    check(database(&state), Ok(DatabaseId(3)), &mut state);
}

#[test]
fn a_dropped_database_is_renamed_and_its_name_is_free() {
    let mut state = plant();
    let drop = |state: &State, name: &str, when| decide_drop_database(state, name, when, NOW_MS);
    check(drop(&state, "a", HardDelete::Default), Ok(()), &mut state);
    let database = &state.databases[&DatabaseId(1)];
    assert_eq!(&*database.name, "a-20241231T235959");
    assert_eq!(database.dropped.expect("it is dropped").hard_delete_at_ms, Some(NOW_MS + 72 * HOUR_MS));
    check(drop(&state, "a", HardDelete::Now), missing("a"), &mut state);
    check(create_database(&state, "a", None), Ok(DatabaseId(3)), &mut state);
    check(drop(&state, "a", HardDelete::Now), Ok(()), &mut state);
    assert_eq!(&*state.databases[&DatabaseId(3)].name, "a-20241231T235959-2", "twice within a second");
}

#[test]
fn dropping_again_by_the_new_name_moves_the_deletion() {
    let later = NOW_MS + 5;
    for (when, expected) in [
        (HardDelete::Now, Some(later)),
        (HardDelete::Never, None),
        (HardDelete::Default, Some(later + 72 * HOUR_MS)),
        (HardDelete::At(later + 7), Some(later + 7)),
        (HardDelete::At(7), Some(later)),
    ] {
        let mut state = plant();
        check(decide_drop_database(&state, "a", HardDelete::At(NOW_MS + 1), NOW_MS), Ok(()), &mut state);
        check(decide_drop_database(&state, "a-20241231T235959", when, later), Ok(()), &mut state);
        let dropped = state.databases[&DatabaseId(1)].dropped.expect("it is dropped");
        assert_eq!(dropped, Dropped { at_ms: NOW_MS, hard_delete_at_ms: expected }, "{when:?}");
        let again = decide_drop_database(&state, "a-20241231T235959", when, later).expect("it may be said again");
        assert!(again.0.is_empty(), "{when:?}");
    }
}

#[test]
fn retention_is_set_on_what_is_live() {
    let mut state = plant();
    let set = |state: &State, name: &str, ns| decide_set_database_retention(state, name, ns);
    check(set(&state, "a", Some(9)), Ok(()), &mut state);
    assert_eq!(set(&state, "a", Some(9)).expect("it may be said again").0, []);
    check(set(&state, "none", None), missing("none"), &mut state);
    check(set(&state, "a", Some(0)), Err((ErrorKind::Invalid, "longer than zero")), &mut state);
    let table =
        |state: &State, table: &str, ns| decide_set_table_retention(state, TableName { database: "a", table }, ns);
    check(table(&state, "t", Some(9)), Ok(()), &mut state);
    assert_eq!(table(&state, "t", Some(9)).expect("it may be said again").0, []);
    check(table(&state, "none", None), missing("none"), &mut state);
    check(drop_table(&state, "t", HardDelete::Never), Ok(()), &mut state);
    check(table(&state, "t", None), missing("t"), &mut state);
    check(table(&state, "t-20241231T235959", None), deleted_text("t-20241231T235959"), &mut state);
    check(decide_drop_database(&state, "a", HardDelete::Never, NOW_MS), Ok(()), &mut state);
    check(set(&state, "a-20241231T235959", None), deleted_text("a-20241231T235959"), &mut state);
}

#[test]
fn a_table_has_its_tags_first_and_its_database_is_made_when_missing() {
    let mut state = State::default();
    check(create_table(&state, &new_table("a", "t")), Ok(TableId(1)), &mut state);
    let database = state.database("a").expect("it was made with the table");
    let table = state.table_named(database, "t").expect("it was made");
    let names: Vec<&str> = table.schema.columns.iter().map(|c| &*c.name).collect();
    assert_eq!(names, ["site", "machine", "watts"]);
    assert_eq!(table.schema.tags().count(), 2);
    let exists = "attempted to create a resource that already exists: t";
    check(create_table(&state, &new_table("a", "t")), Err((ErrorKind::Conflict, exists)), &mut state);
    check(create_table(&state, &new_table("_a", "t")), Err((ErrorKind::Invalid, "db name did not")), &mut state);
    check(create_table(&state, &new_table("a", "")), Err((ErrorKind::Invalid, "table name cannot")), &mut state);
    check(
        create_table(&state, &NewTable { retention_ns: Some(0), ..new_table("a", "u") }),
        invalid_text("zero"),
        &mut state,
    );
    let bare = NewTable { tags: vec![], fields: vec![], ..new_table("a", "bare") };
    check(create_table(&state, &bare), Ok(TableId(2)), &mut state);
}

#[test]
fn columns_are_named_once_and_not_like_ours() {
    let mut state = plant();
    for (name, message) in [
        ("time", "'time' is a reserved column"),
        ("__seq", "'__seq' is a reserved column"),
        ("site", "column 'site' of table 'u' is declared twice"),
        ("", "column name cannot be empty"),
    ] {
        let fields = vec![(name.to_owned(), FieldType::String)];
        check(create_table(&state, &NewTable { fields, ..new_table("a", "u") }), invalid_text(message), &mut state);
    }
}

#[test]
fn columns_and_tags_have_limits() {
    let mut state = plant();
    let limits = Limits { columns_per_table: 4, tags_per_table: 2, ..Limits::default() };
    let create = |state: &State, tags: usize, fields: usize| {
        let tags = (0..tags).map(|i| format!("t{i}")).collect();
        let fields = (0..fields).map(|i| (format!("f{i}"), FieldType::Float)).collect();
        decide_create_table(state, &limits, &NewTable { tags, fields, ..new_table("a", "u") })
    };
    let columns = "Schema update for table 'u' would exceed the column limit: proposed schema update would have 5 \
                   columns, but the limit is 4";
    let tags = "Schema update for table 'u' would exceed the tag column limit: proposed schema would have 3 tag \
                columns, but the limit is 2";
    check(create(&state, 2, 2), Err((ErrorKind::Limit, columns)), &mut state);
    check(create(&state, 3, 0), Err((ErrorKind::Limit, tags)), &mut state);
    check(create(&state, 2, 1), Ok(TableId(2)), &mut state);
}

#[test]
fn a_dropped_table_is_renamed_and_its_name_is_free() {
    let mut state = plant();
    check(drop_table(&state, "t", HardDelete::Now), Ok(()), &mut state);
    check(drop_table(&state, "t", HardDelete::Now), missing("t"), &mut state);
    check(drop_table(&state, "t-20241231T235959", HardDelete::Never), Ok(()), &mut state);
    check(create_table(&state, &new_table("a", "t")), Ok(TableId(2)), &mut state);
    check(drop_table(&state, "t", HardDelete::Default), Ok(()), &mut state);
    assert_eq!(&*state.tables[&TableId(2)].schema.name, "t-20241231T235959-2");
    let elsewhere = TableName { database: "none", table: "t" };
    check(decide_drop_table(&state, elsewhere, HardDelete::Now, NOW_MS), missing("none"), &mut state);
    check(decide_drop_database(&state, "a", HardDelete::Now, NOW_MS), Ok(()), &mut state);
    let gone = TableName { database: "a-20241231T235959", table: "t" };
    check(decide_drop_table(&state, gone, HardDelete::Now, NOW_MS), deleted_text("a-20241231T235959"), &mut state);
}

type Expected<'a, T> = Result<T, (ErrorKind, &'a str)>;

/// Whether a decision is what is expected, and then makes its changes.
#[track_caller]
fn check<T: std::fmt::Debug + PartialEq>(found: Decision<T>, expected: Expected<'_, T>, state: &mut State) {
    match (found, expected) {
        (Ok((changes, found)), Ok(expected)) => {
            assert_eq!(found, expected);
            state.apply(state.version + 1, &changes).expect("what is decided holds");
        }
        (Err(error), Err((kind, message))) => {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(message), "{error}");
        }
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

fn missing<T>(name: &str) -> Expected<'_, T> {
    // The name is checked together with the text by those who look for it; here the kind and the name matter.
    Err((ErrorKind::NotFound, name))
}

fn deleted_text<T>(name: &str) -> Expected<'_, T> {
    Err((ErrorKind::Conflict, name))
}

fn invalid_text<T>(message: &str) -> Expected<'_, T> {
    Err((ErrorKind::Invalid, message))
}

#[test]
fn texts_that_clients_look_for_are_kept() {
    assert_eq!(not_found("x").to_string(), "the requested resource was not found: x");
    assert_eq!(deleted("x").to_string(), "attempted to modify resource that was already deleted: x");
    assert_eq!(exists("x").to_string(), "attempted to create a resource that already exists: x");
}

/// Databases `a` and `b`, and a table `t` in `a`.
fn plant() -> State {
    let mut state = State::default();
    check(create_table(&state, &new_table("a", "t")), Ok(TableId(1)), &mut state);
    check(create_database(&state, "b", None), Ok(DatabaseId(2)), &mut state);
    state
}

fn create_database(state: &State, name: &str, retention_ns: Option<u64>) -> Decision<DatabaseId> {
    decide_create_database(state, &Limits::default(), name, retention_ns)
}

fn create_table(state: &State, new: &NewTable) -> Decision<TableId> {
    decide_create_table(state, &Limits::default(), new)
}

fn drop_table(state: &State, table: &str, hard_delete: HardDelete) -> Decision<()> {
    decide_drop_table(state, TableName { database: "a", table }, hard_delete, NOW_MS)
}

fn new_table(database: &str, name: &str) -> NewTable {
    NewTable {
        database: database.to_owned(),
        name: name.to_owned(),
        tags: vec!["site".to_owned(), "machine".to_owned()],
        fields: vec![("watts".to_owned(), FieldType::Float)],
        retention_ns: None,
    }
}
