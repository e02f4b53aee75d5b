//! Every stored format of every released version can still be read.
//!
//! Each folder of `tests/formats` holds all objects of a small store: catalog entries, checkpoint root and parts, mark,
//! WAL objects, fence, heartbeat, data files. None is ever made again; a new format brings a folder of its own, made with
//! `WEIR_MAKE_FORMATS=folder cargo test -p storage --test formats`.
//!
//! - `v1`: the first.
//! - `v2`: data files have checksums, and their records a tail.
//! - `v3`: nodes describe themselves, are stopped and removed, and one of them compacts (feature level 2).
//! - `v4`: operators change settings, and what they ask for is recorded (feature level 3).
//! - `v5`: rows are deleted, and tables have caches (feature level 4).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod one_node;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use one_node::{read, start, start_as, write};
use storage::bucket::{Frame, InMemory, Key, Kind, Store};
use storage::catalog::{Access, Asked, CacheKind, Deletion, NewCache, WantedCache};
use storage::node::Node;

const ROWS: [&str; 4] = [
    "a||1970-01-01T00:00:00.000000001|3|1.5||",
    "a|q|1970-01-01T00:00:00.000000002|||x|",
    "b||1970-01-01T00:00:00.000000001|2|||true",
    "c||1970-01-01T00:00:00.000000003|-7|-0.5|ü|false",
];

#[tokio::test(start_paused = true)]
async fn a_store_of_the_first_format_is_still_read() {
    check_read("v1").await;
}

#[tokio::test(start_paused = true)]
async fn a_store_with_checksums_of_data_files_is_still_read() {
    check_read("v2").await;
}

#[tokio::test(start_paused = true)]
async fn a_store_of_nodes_that_came_and_went_is_still_read() {
    check_read("v3").await;
    check_says("v3", &["describe_node", "stop_node", "remove_node", "take_compactor", "leave_compactor"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_with_settings_and_records_of_changes_is_still_read() {
    check_read("v4").await;
    check_says("v4", &["configure", "audit", "stop_node", "remove_node"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_with_deletes_and_caches_is_still_read() {
    if let Some(folder) = std::env::var_os("WEIR_MAKE_FORMATS") {
        make(Path::new(&folder)).await;
    }
    check_read("v5").await;
    check_says("v5", &["delete_rows", "forget_deletes", "create_cache", "drop_cache", "configure", "audit"]);
}

/// Whether the log of a sample has these changes.
fn check_says(format: &str, changes: &[&str]) {
    let log: String = objects(&folder_of(format).join("c1/catalog/log"), String::new())
        .into_iter()
        .map(|(_, path)| Frame::decode(&std::fs::read(path).unwrap().into()).unwrap())
        .map(|entry| String::from_utf8(entry.payload.into()).unwrap())
        .collect();
    for change in changes {
        assert!(log.contains(&format!("\"change\":\"{change}\"")), "no {change} in {log}");
    }
}

fn folder_of(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/formats").join(format)
}

async fn check_read(format: &str) {
    let folder = folder_of(format);
    let store: Store = Arc::new(InMemory::new());
    let mut kinds = BTreeSet::new();
    for (key, path) in objects(&folder, String::new()) {
        let bytes = Bytes::from(std::fs::read(path).unwrap());
        if !key.ends_with(".parquet") {
            kinds.insert(Frame::decode(&bytes).expect(&key).kind as u16);
        }
        store.put(&Key::from(key), bytes.into()).await.unwrap();
    }
    let all = [
        Kind::CatalogEntry,
        Kind::CatalogRoot,
        Kind::CatalogPart,
        Kind::CatalogMark,
        Kind::WalRows,
        Kind::WalFence,
        Kind::Heartbeat,
    ];
    assert_eq!(kinds, all.iter().map(|kind| *kind as u16).collect(), "the sample holds every kind");
    let (node, _) = start(&store, 20).await;
    assert_eq!(read(&node).await, ROWS);
}

async fn delete(node: &Node, hosts: &[Option<&str>]) {
    let hosts = hosts.iter().map(|host| host.map(str::to_owned)).collect();
    let (database, table) = ("db".to_owned(), "t".to_owned());
    let tags = [("h".to_owned(), hosts)].into();
    let deletion = Deletion { database, table, first_ns: i64::MIN, last_ns: 9, tags };
    let deleter = node.deleter.as_ref().expect("it shows rows");
    deleter
        .delete(&deletion, &Access::unrestricted(), &Asked::default())
        .await
        .expect("they are deleted")
        .expect("rows are meant");
}

/// The files below a folder, with their keys.
fn objects(folder: &Path, prefix: String) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the sample is there").map(Result::unwrap) {
        let key = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        if entry.path().is_dir() {
            found.extend(objects(&entry.path(), format!("{key}/")));
        } else {
            found.push((key, entry.path()));
        }
    }
    found
}

/// Several processes on several days, so that the log has been cleaned once; one is of another node, which compacts and
/// leaves; the last one crashes.
async fn make(folder: &Path) {
    let memory = Arc::new(InMemory::new());
    let store: Store = Arc::clone(&memory) as _;
    let (node, tasks) = start(&store, 1).await;
    write(&node, "t,h=a v=1i,w=1.5 1\nt,h=b v=2i 1\n").await;
    write(&node, "t,h=a v=3i 1\nt,h=a,z=q s=\"x\" 2\n").await;
    assert!(node.snapshot.as_ref().unwrap().take().await.is_ok());
    for time in 0..8 {
        write(&node, &format!("u,h=a v=1i {time}\n")).await;
        assert!(node.snapshot.as_ref().unwrap().take().await.is_ok());
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    tasks.kill();
    let (node, tasks) = start(&store, 9).await;
    write(&node, "t,h=b y=true 1\nt,h=gone v=1i 1\n").await;
    // It is carried out before the log begins that is kept, and the next one after.
    delete(&node, &[Some("gone")]).await;
    assert!(node.snapshot.as_ref().unwrap().take().await.is_ok());
    tokio::time::sleep(Duration::from_secs(60)).await;
    tasks.kill();
    let (other, _) = start_as("n2", &store, 10).await;
    // Until it compacts, and has put the log of the dead node into files.
    tokio::time::sleep(Duration::from_secs(60)).await;
    other.catalog.by(&Asked::default()).stop_node(other.member.node(), other.member.epoch()).await.unwrap();
    let gone = other.member.clone();
    other.stop().await;
    let (node, tasks) = start(&store, 11).await;
    node.catalog.by(&Asked::default()).remove_node(gone.node(), gone.epoch()).await.unwrap();
    let asked = Asked { by: Some("_admin".into()), node: "n".into(), door: "http", statement: "ü".into() };
    let operator = node.catalog.by(&asked);
    operator.configure("snapshot-size", None, Some("1 GiB")).await.unwrap();
    operator.configure("snapshot-size", Some(node.member.node()), Some("2 GiB")).await.unwrap();
    write(&node, "t,h=gone v=2i 1\n").await;
    assert!(node.snapshot.as_ref().unwrap().take().await.is_ok());
    delete(&node, &[Some("gone"), None]).await;
    let cache = |table: &str, name: &str, wanted| NewCache {
        database: "db".into(),
        table: table.into(),
        name: Some(name.into()),
        wanted,
    };
    let last = WantedCache::Last { keys: None, values: Some(vec!["v".into()]), count: Some(2), ttl_seconds: None };
    operator.create_cache(&cache("t", "newest", last)).await.unwrap();
    let distinct =
        WantedCache::Distinct { columns: vec!["h".into()], cardinality_max: None, age_max_seconds: Some(60) };
    operator.create_cache(&cache("u", "hosts", distinct.clone())).await.unwrap();
    operator.create_cache(&cache("u", "gone", distinct)).await.unwrap();
    operator.drop_cache(("db", "u"), (CacheKind::Distinct, "gone")).await.unwrap();
    // The second line sets less than the first, so the log holds fields that are not set in every row.
    write(&node, "t,h=c v=-7i,w=-0.5,s=\"ü\",y=false 3\nt,h=a v=3i 1\n").await;
    assert_eq!(read(&node).await, ROWS);
    tasks.kill();
    for object in memory.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let path = folder.join(object.location.as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = memory.get(&object.location).await.unwrap().bytes().await.unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
