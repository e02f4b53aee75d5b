//! What an operator orders is done, or refused with a reason, whatever else goes on.

use futures::future::join_all;

use super::*;
use crate::compaction::{EventKind, Merged, Wanted};
use crate::model::{ErrorKind, TimeRange};

const HOUR_NS: u64 = 3600 * 1_000_000_000;
const START_NS: u64 = START_MICROS * 1_000;

async fn give(node: &Node, table: u32) -> Result<Merged, compaction::Error> {
    give_for(node, table, TimeRange::ALL).await
}

async fn give_for(node: &Node, table: u32, range: TimeRange) -> Result<Merged, compaction::Error> {
    node.orders.as_ref().expect("it compacts").give(Wanted { table: TableId(table), range }).await
}

/// Two files in the window of each of these times.
async fn two_files_each(node: &Node, table: &str, times_ns: &[u64]) {
    for time in times_ns {
        for row in 0..2 {
            write(node, &format!("{table},h=a v=1i {}\n", time + row)).await;
            assert!(take_snapshot(node).await);
        }
    }
}

/// What comes of an order for two files while the catalog changes before its file is stored; and the node.
async fn give_while(changes: impl Fn(&State, u64) -> Vec<Change>) -> (Node, compaction::Error) {
    let store = Watched::new();
    let (node, _) = start(&store, "n", 1).await;
    two_files_each(&node, "t", &[START_NS]).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    store.hold_puts("/data/");
    let (told, ()) = tokio::join!(give(&node, 1), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now_ms = node.catalog.now_ms();
        node.catalog.commit(|state| Ok((changes(state, now_ms), ()))).await.unwrap();
        store.release_puts();
    });
    (node, told.expect_err("it does not hold any more"))
}

fn files(node: &Node) -> Vec<Arc<crate::model::FileRecord>> {
    let mut files: Vec<_> = node.catalog.state().tables[&TableId(1)].files.values().cloned().collect();
    files.sort_by_key(|file| file.time.min);
    files
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_is_told_and_keeps_nothing_else_of_an_order_from_being_merged() {
    let (node, _) = start(&Watched::new(), "n", 1).await;
    // Windows that are not over.
    let times = [1, 2, 3].map(|hour| START_NS + hour * HOUR_NS);
    two_files_each(&node, "t", &times).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let lost = Key::from(&*files(&node)[0].path);
    let bytes = node.bucket.find(&lost).await.unwrap().expect("it is there");
    node.bucket.delete(vec![lost.clone()]).await;
    for _ in 0..2 {
        let told = give(&node, 1).await.expect_err("a file is gone");
        assert_eq!((told.kind(), told.to_string().contains(lost.as_ref())), (ErrorKind::Corrupt, true), "{told}");
        assert_eq!(files(&node).len(), 4, "two of the one window, one of each other");
    }
    let second = TimeRange::new(times[1] as i64, times[1] as i64 + 1).unwrap();
    assert_eq!(give_for(&node, 1, second).await.unwrap(), Merged { files_before: 1, files_after: 1 });
    // Somebody found a copy.
    node.bucket.put_file(&lost, bytes).await;
    assert_eq!(give(&node, 1).await.unwrap(), Merged { files_before: 4, files_after: 3 });
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_files_the_catalog_refuses_ends_with_its_reason() {
    // As by a sweeper whose clock is far ahead.
    let far_ahead = |_: &State, now_ms| vec![Change::RaiseFileFloor { floor: FileId::first_of(now_ms + 3_600_000) }];
    let (node, told) = give_while(far_ahead).await;
    let told = told.to_string();
    assert!(told.contains("so its object may be deleted"), "{told}");
    assert_eq!(give(&node, 1).await.unwrap(), Merged { files_before: 2, files_after: 1 });
}

#[tokio::test(start_paused = true)]
async fn an_order_does_not_outlast_the_term_it_began_in() {
    // The role went away and came back, and others may have parted its files.
    let again = |state: &State, _| {
        let (node, epoch) = state.compactor.holder.clone().expect("it compacts");
        vec![Change::TakeCompactor { node, epoch, term: state.compactor.term + 1 }]
    };
    let (node, told) = give_while(again).await;
    assert!(matches!(told, compaction::Error::SteppedDown(_)), "{told}");
    assert_eq!(give(&node, 1).await.unwrap(), Merged { files_before: 1, files_after: 1 });
}

#[tokio::test(start_paused = true)]
async fn an_order_comes_before_what_is_left_to_do_for_a_table() {
    let store = Watched::new();
    let (node, _) = start(&store, "n", 1).await;
    // Windows that are over.
    two_files_each(&node, "t", &[0, 24 * HOUR_NS]).await;
    two_files_each(&node, "u", &[START_NS]).await;
    store.hold_puts("/data/");
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (merged, ()) = tokio::join!(give(&node, 2), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.release_puts();
    });
    assert_eq!(merged.unwrap(), Merged { files_before: 2, files_after: 1 });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events = node.insight.events.all();
    let planned = events.iter().filter(|event| event.kind == EventKind::Planned);
    let tables: Vec<_> = planned.map(|e| if e.data.contains(r#""table_name":"t""#) { "t" } else { "u" }).collect();
    assert_eq!(tables, ["t", "u", "t"]);
    assert_eq!(files(&node).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn more_orders_than_may_wait_are_refused_at_once() {
    let (node, _) = start(&Watched::new(), "n", 1).await;
    write(&node, "t,h=a v=1i 1\n").await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let given = join_all((0..70).map(|_| give(&node, 1))).await;
    let refused: Vec<_> = given.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 70 - 64);
    for error in refused {
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Busy, "too many orders wait: 64".to_owned()));
    }
    let taken = join_all((0..70).map(|_| take_snapshot(&node))).await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 64);
    assert!(take_snapshot(&node).await);
}
