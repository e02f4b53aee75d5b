//! The catalog over a store that counts its calls, holds back answers, and lets something happen at a call.

use std::sync::Arc;
use std::time::Duration;

use super::{Catalog, Change, Error, Limits, State, checkpoint, format};
use crate::bucket::watched::Watched;
use crate::bucket::{Bucket, Keys, Kind, keys};
use crate::clock::Clock;
use crate::model::{Column, ColumnId, ColumnKind, DatabaseId, FieldType, FileId, NodeId, TableId};
use crate::tasks::{Cpu, Tasks};

const START_MICROS: u64 = 1_760_000_000_000_000;

#[tokio::test(start_paused = true)]
async fn an_entry_whose_caller_left_is_published_all_the_same() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    store.hold_puts("catalog/log");
    let left = tokio::time::timeout(Duration::from_secs(1), create(&catalog, "left")).await;
    assert!(left.is_err(), "the answer is held back");
    assert!(catalog.state().database("left").is_none());
    let (waiting, ()) = tokio::join!(create(&catalog, "waiting"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.calls("put", "catalog/log/00000000000000000003").len(), 0, "number 2 is not settled yet");
        store.release_puts();
    });
    waiting.expect("the store answers again");
    let state = catalog.state();
    assert_eq!((state.version, state.database("left").is_some()), (3, true));
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_caller_left_needs_nobody_else_to_be_published() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    store.hold_puts("catalog/log");
    let left = tokio::time::timeout(Duration::from_secs(1), create(&catalog, "left")).await;
    assert!(left.is_err(), "the answer is held back");
    store.release_puts();
    let mut states = catalog.watch();
    let published = states.wait_for(|state| state.database("left").is_some());
    tokio::time::timeout(Duration::from_secs(10), published).await.expect("it is published").expect("the node lives");
}

#[tokio::test(start_paused = true)]
async fn an_entry_made_again_below_the_mark_is_not_believed() {
    let store = Watched::new();
    let behind = open(&store, 1).await;
    let ahead = swept(&store).await;
    // A process that slept made entry 2 from what it knew: it fits what `behind` knows.
    put_entry(&ahead, 2, &[database(1, "zombie")]).await;
    check_names(&behind.refresh().await.expect("a checkpoint stands for what is gone"), &ahead.state());
    check_names(&open(&store, 3).await.state(), &ahead.state());
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_our_own_below_the_mark_is_not_believed() {
    let store = Watched::new();
    let behind = open(&store, 1).await;
    let ahead = swept(&store).await;
    create(&behind, "late").await.expect("it is made after what happened meanwhile");
    assert!(behind.state().database("late").is_some());
    ahead.refresh().await.expect("the store answers");
    check_names(&behind.state(), &ahead.state());
}

#[tokio::test(start_paused = true)]
async fn a_first_entry_made_again_begins_no_second_log() {
    let store = Watched::new();
    let ahead = swept(&store).await;
    let stranger = Watched::new();
    let other = open(&stranger, 9).await;
    let key = other.log.bucket.keys().catalog_entry(1);
    let first = other.log.bucket.get_frame(&key).await.expect("a log has a first entry");
    ahead.log.bucket.create(&key, &first).await.expect("the store answers");
    let opened = open(&store, 3).await;
    assert_eq!(opened.cluster(), ahead.cluster());
    check_names(&opened.state(), &ahead.state());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_rests_on_what_is_gone_is_not_believed() {
    let store = Watched::new();
    let ahead = swept(&store).await;
    let parts = [(1, keys::part_name(2, "gone"))].into();
    let late = State { version: 1_000, ..State::clone(&ahead.state()) };
    let frame = ahead.log.frame(Kind::CatalogRoot, 1_000, checkpoint::encode_root(&late, parts));
    let key = ahead.log.bucket.keys().catalog_checkpoint(1_000);
    ahead.log.bucket.create(&key, &frame).await.expect("the store answers");
    check_names(&open(&store, 3).await.state(), &ahead.state());
    ahead.raise_mark(Duration::ZERO).await.expect("it is passed over here as well");
}

#[tokio::test(start_paused = true)]
async fn two_first_starts_at_once_go_on_with_one_log() {
    let first = Watched::new();
    create(&open(&first, 1).await, "a").await.expect("the store answers");
    let store = Watched::new();
    store.copy_at_list("c", &first);
    let second = open(&store, 2).await;
    assert!(second.state().database("a").is_some(), "the log that was there first");
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_log_was_lost_is_refused() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    let keys = catalog.log.bucket.keys();
    let frame = catalog.log.frame(Kind::CatalogMark, 1, bytes::Bytes::new());
    catalog.log.bucket.create(&keys.heartbeat(&NodeId::new("n").unwrap()), &frame).await.expect("the store answers");
    catalog.log.bucket.delete(vec![keys.catalog_entry(1)]).await;
    let refused = try_open(&store, 2).await.expect_err("nobody may begin anew over what is there");
    assert!(refused.to_string().contains("its catalog was lost"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_follower_asks_for_the_next_entry_and_nothing_else() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    catalog.start_checkpoints(1);
    create(&catalog, "a").await.expect("the store answers");
    tokio::time::sleep(Duration::from_secs(60)).await;
    store.forget_calls();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        catalog.refresh().await.expect("the store answers");
    }
    assert_eq!(store.calls("get", "catalog/log/00000000000000000003").len(), 60);
    assert_eq!(store.calls("", "").len(), 60, "{:?}", store.calls("", ""));
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    catalog.refresh().await.expect("the store answers");
    assert_eq!(store.calls("list", "catalog/mark").len(), 1, "after a day nothing is taken for granted");
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_known_is_reached_without_asking_the_store() {
    let store = Watched::new();
    let (catalog, other) = (open(&store, 1).await, open(&store, 2).await);
    create(&catalog, "a").await.expect("the store answers");
    store.forget_calls();
    catalog.reach(2).await.expect("it made the entry");
    assert_eq!(store.calls("", ""), [""; 0]);
    other.reach(2).await.expect("it is in the log");
    check_names(&other.state(), &catalog.state());
    let refusal = other.reach(9).await.expect_err("there is none").to_string();
    assert_eq!(refusal, "the catalog ends with entry 2, before 9");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_writes_only_the_tables_that_changed() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    catalog.start_checkpoints(1);
    create(&catalog, "a").await.expect("the store answers");
    let tables: Vec<Change> = (1..=2_000).map(table).collect();
    catalog.commit(|_| Ok((tables.clone(), ()))).await.expect("the tables are new");
    checkpointed(&catalog).await;
    assert_eq!(store.calls("put", "catalog/part").len(), 2_000);
    store.forget_calls();
    catalog.commit(|_| Ok((vec![add_column(7)], ()))).await.expect("the column is new");
    checkpointed(&catalog).await;
    let written = (store.calls("put", "catalog/part").len(), store.calls("put", "catalog/checkpoint").len());
    assert_eq!(written, (1, 1));

    store.forget_calls();
    let again = open(&store, 2).await;
    check_names(&again.state(), &catalog.state());
    again.start_checkpoints(1);
    again.commit(|_| Ok((vec![add_column(8)], ()))).await.expect("the column is new");
    checkpointed(&again).await;
    assert_eq!(store.calls("put", "catalog/part").len(), 1, "also after a restart");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_never_changes_does_not_hold_the_mark_for_ever() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    catalog.start_checkpoints(1);
    create(&catalog, "a").await.expect("the store answers");
    catalog.commit(|_| Ok((vec![table(1)], ()))).await.expect("the table is new");
    for name in 0..300 {
        create(&catalog, &format!("b{name}")).await.expect("the store answers");
        checkpointed(&catalog).await;
    }
    let mark = catalog.raise_mark(Duration::ZERO).await.expect("the store answers");
    assert!(mark > 200, "the mark is {mark}");
    check_names(&open(&store, 2).await.state(), &catalog.state());
}

#[tokio::test(start_paused = true)]
async fn a_floor_of_file_ids_is_kept_in_log_and_checkpoint() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    let early = catalog.new_file_id();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let floor = FileId::first_of(catalog.now_ms() + 3_600_000);
    let raise = |floor| catalog.commit(move |_| Ok((vec![Change::RaiseFileFloor { floor }], ())));
    raise(floor).await.expect("it rises");
    raise(early).await.expect_err("it never sinks");
    assert!(early < floor && catalog.new_file_id() >= floor, "whatever the clock of this node says");
    let payload = format::encode_entry(&[Change::RaiseFileFloor { floor: FileId(5) }], 7);
    let stored: &[u8] =
        br#"{"at_ms":7,"changes":[{"change":"raise_file_floor","floor":"00000000000000000000000005"}]}"#;
    assert_eq!(&payload[..], stored);
    assert_eq!(open(&store, 2).await.state().file_floor, floor);
    catalog.start_checkpoints(1);
    checkpointed(&catalog).await;
    assert_eq!(open(&store, 3).await.state().file_floor, floor);
}

#[tokio::test(start_paused = true)]
async fn the_mark_waits_until_what_is_above_it_is_old() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    catalog.start_checkpoints(2);
    for name in ["a", "b", "c", "d", "e", "f"] {
        create(&catalog, name).await.expect("the store answers");
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(catalog.raise_mark(day).await.expect("the store answers"), 0);
    tokio::time::sleep(day).await;
    assert!(catalog.raise_mark(day).await.expect("the store answers") > 0);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_checkpoint_stops_no_start_while_an_older_one_is_whole() {
    let store = Watched::new();
    let ahead = swept(&store).await;
    damage_checkpoints(&ahead, 1).await;
    check_names(&open(&store, 3).await.state(), &ahead.state());
    ahead.raise_mark(Duration::ZERO).await.expect("it is passed over here as well");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_part_is_missing_stops_no_start() {
    let store = Watched::new();
    let ahead = swept(&store).await;
    let keys = ahead.log.bucket.keys();
    let parts = ahead.log.bucket.list(&keys.catalog_parts(), None).await.expect("the store answers");
    ahead.log.bucket.delete(parts.last().cloned().into_iter().collect()).await;
    check_names(&open(&store, 3).await.state(), &ahead.state());
}

#[tokio::test(start_paused = true)]
async fn without_a_whole_checkpoint_a_whole_log_is_read_from_its_first_entry() {
    let store = Watched::new();
    let catalog = open(&store, 1).await;
    catalog.start_checkpoints(2);
    for name in ["a", "b", "c", "d"] {
        create(&catalog, name).await.expect("the store answers");
        checkpointed_within(&catalog, 2).await;
    }
    damage_checkpoints(&catalog, usize::MAX).await;
    check_names(&open(&store, 3).await.state(), &catalog.state());
}

#[tokio::test(start_paused = true)]
async fn a_start_without_whole_checkpoint_and_first_entries_names_what_is_damaged() {
    let store = Watched::new();
    let ahead = swept(&store).await;
    damage_checkpoints(&ahead, usize::MAX).await;
    let refused = try_open(&store, 3).await.expect_err("nothing says what was in the first entries");
    assert!(refused.to_string().contains("c/catalog/checkpoint/"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fell_behind_goes_on_with_the_newest_whole_checkpoint() {
    let store = Watched::new();
    let behind = open(&store, 1).await;
    let ahead = swept(&store).await;
    damage_checkpoints(&ahead, 1).await;
    // Until it looks at the mark again.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    check_names(&behind.refresh().await.expect("an older one stands for what is gone"), &ahead.state());
}

/// Puts something else in place of the newest so many checkpoints.
async fn damage_checkpoints(catalog: &Catalog, count: usize) {
    let bucket = &catalog.log.bucket;
    let listed = bucket.list(&bucket.keys().catalog_checkpoints(), None).await.expect("the store answers");
    assert!(listed.len() >= 2, "{listed:?}");
    for key in listed.iter().rev().take(count) {
        let frame = catalog.log.frame(Kind::CatalogMark, 1, bytes::Bytes::new());
        bucket.overwrite(key, &frame).await.expect("the store answers");
    }
}

/// A catalog whose first entries are gone, with checkpoints that stand for them.
async fn swept(store: &Arc<Watched>) -> Catalog {
    let catalog = open(store, 2).await;
    catalog.start_checkpoints(2);
    create(&catalog, "a").await.expect("the store answers");
    catalog.commit(|_| Ok((vec![table(1)], ()))).await.expect("the table is new");
    for name in ["b", "c", "d", "e"] {
        create(&catalog, name).await.expect("the store answers");
        catalog.commit(|_| Ok((vec![add_columns_to_first(&catalog.state())], ()))).await.expect("the column is new");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mark = catalog.raise_mark(Duration::ZERO).await.expect("the store answers");
    assert!(mark >= 3, "the mark is {mark}");
    let keys = catalog.log.bucket.keys();
    catalog.log.bucket.delete((1..=mark).map(|number| keys.catalog_entry(number)).collect()).await;
    let parts = catalog.log.bucket.list(&keys.catalog_parts(), None).await.expect("the store answers");
    let old = |key: &crate::bucket::Key| keys::part_number_of(key.filename()?).filter(|number| *number <= mark);
    catalog.log.bucket.delete(parts.into_iter().filter(|key| old(key).is_some()).collect()).await;
    catalog
}

async fn open(store: &Arc<Watched>, seed: u64) -> Catalog {
    try_open(store, seed).await.expect("the catalog opens")
}

async fn try_open(store: &Arc<Watched>, seed: u64) -> Result<Catalog, Error> {
    let clock = Clock::simulated(START_MICROS, seed);
    let bucket = Bucket::new(Arc::clone(store) as _, Keys::new(NodeId::new("c").unwrap()), clock.clone());
    Catalog::open(bucket, clock, Tasks::new(Cpu::Here), Limits::default()).await
}

async fn create(catalog: &Catalog, name: &str) -> Result<(), Error> {
    catalog.commit(|state| Ok((vec![database(state.next_database, name)], ()))).await
}

/// Waits until the newest state has a checkpoint.
async fn checkpointed(catalog: &Catalog) {
    checkpointed_within(catalog, 1).await;
}

/// Waits until less than so many entries have no checkpoint.
async fn checkpointed_within(catalog: &Catalog, entries: u64) {
    while catalog.log.newest_checkpoint() + entries <= catalog.state().version {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn put_entry(catalog: &Catalog, number: u64, changes: &[Change]) {
    let frame = catalog.log.frame(Kind::CatalogEntry, number, format::encode_entry(changes, 0));
    let key = catalog.log.bucket.keys().catalog_entry(number);
    catalog.log.bucket.create(&key, &frame).await.expect("the store answers");
}

fn database(id: u32, name: &str) -> Change {
    Change::CreateDatabase { id: DatabaseId(id), name: name.into(), retention_ns: None }
}

fn table(id: u32) -> Change {
    let columns = vec![field("x0")];
    let (name, database) = (format!("t{id}").into(), DatabaseId(1));
    Change::CreateTable { id: TableId(id), database, name, columns, retention_ns: None }
}

fn add_column(table: u32) -> Change {
    Change::AddColumns { table: TableId(table), first: ColumnId(1), columns: vec![field("x1")] }
}

fn add_columns_to_first(state: &State) -> Change {
    let columns = state.tables[&TableId(1)].schema.columns.len();
    let first = ColumnId(u16::try_from(columns).expect("there are few"));
    Change::AddColumns { table: TableId(1), first, columns: vec![field(&format!("x{columns}"))] }
}

fn field(name: &str) -> Column {
    Column { name: name.into(), kind: ColumnKind::Field(FieldType::Float) }
}

#[track_caller]
fn check_names(found: &State, expected: &State) {
    let names = |state: &State| state.databases.values().map(|d| d.name.to_string()).collect::<Vec<_>>();
    assert_eq!((found.version, names(found)), (expected.version, names(expected)));
}
