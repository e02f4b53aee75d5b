//! Waiting for what a write was told the place of.

use super::*;
use crate::model::Position;
use crate::view;
use crate::wal::Mark;

const WITHIN: Duration = Duration::from_secs(10);

/// A node that writes, one that reads its log four times a second, and a store that counts from now on.
async fn two(store: &Arc<Watched>) -> (Node, Node) {
    let (writer, _) = start(store, "n", 1).await;
    write(&writer, "t,h=a v=1i 1\n").await;
    let (reader, _) = start_with(store, config("m", Duration::from_millis(250)), 2).await;
    store.forget_calls();
    (writer, reader)
}

fn mark(node: &Node, position: u64) -> Mark {
    Mark { node: node.member.node().clone(), epoch: node.member.epoch(), position: Position(position) }
}

async fn reach(node: &Node, mark: Mark) -> Result<(), view::Error> {
    node.views.as_ref().expect("it shows rows").reach(&[mark], WITHIN).await
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_reached_within_an_interval() {
    let store = Watched::new();
    let (writer, reader) = two(&store).await;
    for row in 2..20 {
        write(&writer, &format!("t,h=a v=1i {row}\n")).await;
        let asked = tokio::time::Instant::now();
        reach(&reader, mark(&writer, row)).await.expect("it comes");
        assert!(asked.elapsed() <= Duration::from_millis(250), "row {row} after {:?}", asked.elapsed());
    }
    assert!(reach(&writer, mark(&writer, 19)).await.is_ok(), "its own rows at once");
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_in_vain_ask_the_store_as_little_as_one() {
    let store = Watched::new();
    let (writer, reader) = two(&store).await;
    let nobody = Mark { node: NodeId::new("nobody").unwrap(), ..mark(&writer, 1) };
    for (mark, reason) in [(mark(&writer, 99), "rows up to object 1 are"), (nobody, "no such node")] {
        store.forget_calls();
        let waiting = (0..50).map(|_| reach(&reader, mark.clone()));
        for refusal in futures::future::join_all(waiting).await {
            let refusal = refusal.expect_err("it never comes").to_string();
            assert!(refusal.contains(reason), "{refusal}");
        }
        // Ten seconds; two nodes look at the catalog anyway.
        let (log, catalog) = (store.calls("get", "/wal/n").len(), store.calls("get", "/catalog/").len());
        assert!(log <= 100 && catalog <= 100, "{log} looks at the log, {catalog} at the catalog, for {reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_rows_that_are_damaged_is_told_at_once() {
    let store = Watched::new();
    let (writer, reader) = two(&store).await;
    let key = writer.bucket.keys().wal_object(writer.member.node(), writer.member.epoch(), Position(2));
    writer.bucket.put_file(&key, Bytes::from_static(b"no object")).await;
    let asked = tokio::time::Instant::now();
    let refusal = reach(&reader, mark(&writer, 2)).await.expect_err("nobody can read it").to_string();
    assert!(refusal.contains("node n") && refusal.contains("cannot be read"), "{refusal}");
    assert!(asked.elapsed() < Duration::from_secs(1), "after {:?}", asked.elapsed());
}
