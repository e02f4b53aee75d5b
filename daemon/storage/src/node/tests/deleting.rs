//! Rows that are deleted are gone, in memory and in files, and what is written later stays.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::*;
use crate::catalog::{Access, Asked, Deletion};
use crate::files;
use crate::merge::{Layout, Mask, Settle, merge_all};
use crate::model::TimeRange;

fn deletion((first_ns, last_ns): (i64, i64), tags: &[(&str, &[Option<&str>])]) -> Deletion {
    let values = |values: &[Option<&str>]| values.iter().map(|v| v.map(str::to_owned)).collect();
    let tags: BTreeMap<_, _> = tags.iter().map(|(tag, v)| ((*tag).to_owned(), values(v))).collect();
    Deletion { database: "db".into(), table: "t".into(), first_ns, last_ns, tags }
}

const ALL: (i64, i64) = (i64::MIN, i64::MAX);

async fn delete(node: &Node, deletion: &Deletion) -> Option<u64> {
    let deleter = node.deleter.as_ref().expect("it shows rows");
    deleter.delete(deletion, &Access::unrestricted(), &Asked::default()).await.expect("the rows are deleted")
}

/// The values of field `v` that a view shows, in order.
async fn values(node: &Node) -> Vec<i64> {
    let view = node.views.as_ref().unwrap().open().expect("all is well");
    let view = view.table(TableId(1), TimeRange::ALL).expect("it is there");
    let layout = Layout::of(&view.schema);
    let mut inputs: Vec<Vec<_>> = view.chunks.iter().map(|chunk| vec![chunk.batch.clone()]).collect();
    for file in &view.files {
        let bytes = node.bucket.find(&Key::from(&*file.path)).await.unwrap().expect("it is there");
        let mask = Mask::of_file(&view.deletes, file);
        let reader = files::Reader::open(&file.path, bytes, file.tail).unwrap();
        let seen = |batch| files::padded(&file.path, &batch, &layout.schema).unwrap();
        inputs.push(reader.map(|batch| mask.apply(seen(batch.unwrap()), &layout).unwrap()).collect());
    }
    let merged = merge_all(layout, inputs, Settle::All).expect("sorted inputs");
    let columns = merged.iter().map(|batch| batch.column_by_name("v").unwrap().as_primitive::<Int64Type>().clone());
    let mut values: Vec<i64> = columns.flat_map(|column| column.iter().flatten().collect::<Vec<_>>()).collect();
    values.sort_unstable();
    values
}

fn file_rows(node: &Node) -> u64 {
    node.catalog.state().tables[&TableId(1)].files.values().map(|file| file.rows).sum()
}

fn pending(node: &Node) -> usize {
    node.catalog.state().tables[&TableId(1)].deletes.len()
}

#[tokio::test(start_paused = true)]
async fn rows_are_gone_from_memory_and_files_and_what_is_written_later_stays() {
    let store = Watched::new();
    let (node, _) = start(&store, "n", 1).await;
    write(&node, "t,h=a v=1i 1\nt,h=b v=2i 1\nt,h=a v=3i 5\n").await;
    assert!(take_snapshot(&node).await);
    write(&node, "t,h=a,k=x v=4i 1\nt v=5i 2\n").await;
    assert_eq!(values(&node).await, [1, 2, 3, 4, 5]);
    // A tag that is younger than the file.
    assert!(delete(&node, &deletion(ALL, &[("k", &[Some("x")])])).await.is_some());
    assert_eq!(values(&node).await, [1, 2, 3, 5]);
    delete(&node, &deletion((0, 4), &[("h", &[Some("a")]), ("k", &[None])])).await;
    assert_eq!(values(&node).await, [2, 3, 5]);
    delete(&node, &deletion(ALL, &[("h", &[None, Some("zz")])])).await;
    assert_eq!(values(&node).await, [2, 3]);
    write(&node, "t,h=a v=6i 1\nt v=7i 2\n").await;
    assert_eq!(values(&node).await, [2, 3, 6, 7]);
    assert_eq!(delete(&node, &deletion((4, 3), &[])).await, None, "no row can be meant");
    delete(&node, &deletion(ALL, &[])).await;
    assert!(values(&node).await.is_empty());
    write(&node, "t,h=a v=8i 1\n").await;
    assert_eq!(values(&node).await, [8]);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_through_one_node_is_gone_from_the_others_and_stays_gone() {
    let store = Watched::new();
    let (first, _) = start_with(&store, config("n", Duration::from_secs(1)), 1).await;
    let (second, _) = start_with(&store, config("m", Duration::from_secs(1)), 2).await;
    write(&first, "t,h=a v=1i 1\nt,h=b v=2i 1\n").await;
    write(&second, "t,h=a v=3i 9\n").await;
    // It has read nothing of the other one since.
    let version = delete(&first, &deletion(ALL, &[("h", &[Some("a")])])).await.expect("rows are meant");
    assert_eq!(values(&first).await, [2]);
    assert!(second.catalog.refresh().await.unwrap().version >= version);
    // It had not read the rows of the other one before, and never shows those that were deleted.
    assert!(values(&second).await.is_empty());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(values(&second).await, [2]);
    write(&second, "t,h=a v=4i 9\n").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    for node in [&first, &second] {
        assert_eq!(values(node).await, [2, 4]);
        assert!(take_snapshot(node).await);
    }
    assert_eq!(file_rows(&second), 2, "a snapshot leaves out what is deleted");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pending(&first), 0, "nothing is left that it hides");
    assert_eq!(values(&first).await, [2, 4]);
    first.stop().await;
    second.stop().await;
    let (again, _) = start(&store, "n", 3).await;
    assert_eq!(values(&again).await, [2, 4]);
    write(&again, "t,h=a v=5i 1\n").await;
    assert_eq!(values(&again).await, [2, 4, 5], "what is written after a start is newer than what was deleted");
}

#[tokio::test(start_paused = true)]
async fn files_are_written_again_without_what_is_deleted_and_the_delete_is_forgotten() {
    let store = Watched::new();
    let (node, _) = start(&store, "n", 1).await;
    write(&node, "t,h=a v=1i 1\nt,h=b v=2i 1\n").await;
    assert!(take_snapshot(&node).await);
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert_eq!(file_rows(&node), 2);
    delete(&node, &deletion(ALL, &[("h", &[Some("a")])])).await;
    assert_eq!((file_rows(&node), pending(&node)), (2, 1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((file_rows(&node), pending(&node)), (1, 0), "although nothing is written any more");
    assert_eq!(values(&node).await, [2]);
    delete(&node, &deletion(ALL, &[])).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((file_rows(&node), pending(&node)), (0, 0), "a file without rows goes");
    write(&node, "t,h=a v=3i 1\n").await;
    assert_eq!(values(&node).await, [3]);
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_dead_node_becomes_files_without_what_is_deleted() {
    let store = Watched::new();
    let (dead, dead_tasks) = start_with(&store, config("n", Duration::from_secs(1)), 1).await;
    let (node, _) = start_with(&store, config("m", Duration::from_secs(1)), 2).await;
    write(&dead, "t,h=a v=1i 1\nt,h=b v=2i 1\n").await;
    dead_tasks.kill();
    drop(dead);
    delete(&node, &deletion(ALL, &[("h", &[Some("a")])])).await;
    assert_eq!(values(&node).await, [2]);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let state = node.catalog.state();
    assert!(state.nodes[&NodeId::new("n").unwrap()].sealed);
    assert_eq!((file_rows(&node), pending(&node)), (1, 0));
    assert_eq!(values(&node).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_cannot_be_made_says_why_and_deletes_nothing() {
    let store = Watched::new();
    let (node, _) = start(&store, "n", 1).await;
    write(&node, "t,h=a v=1i 1\n").await;
    let refused = async |deletion: Deletion| {
        let deleter = node.deleter.as_ref().unwrap();
        deleter
            .delete(&deletion, &Access::unrestricted(), &Asked::default())
            .await
            .expect_err("it cannot be")
            .to_string()
    };
    let of = |tag| deletion(ALL, &[(tag, &[Some("a")])]);
    assert_eq!(refused(of("v")).await, "'v' is a field of table 't': rows are deleted by time and tags alone");
    assert_eq!(refused(of("k")).await, "table 't' has no tag 'k'");
    let elsewhere =
        |database: &str, table: &str| Deletion { database: database.into(), table: table.into(), ..of("h") };
    assert!(refused(elsewhere("db", "u")).await.contains("not found: u"));
    assert!(refused(elsewhere("x", "t")).await.contains("not found: x"));
    let mut next = config("n", Duration::from_secs(60));
    next.member.take_over = cluster::TakeOver::Insist;
    let (_next, _) = start_with(&store, next, 2).await;
    assert!(refused(of("h")).await.contains("node n was taken over by process"));
}
