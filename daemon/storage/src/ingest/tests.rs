//! The way in as a whole, over a store in memory: what is refused leaves nothing behind, and what comes after it is kept.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::Registry;

use super::*;
use crate::bucket::{Bucket, InMemory, Keys};
use crate::catalog::{Change, Limits, State};
use crate::model::{Epoch, NodeId, Position, Writer};
use crate::tasks::Cpu;
use crate::wal::{OnDamage, Recovered};

fn config() -> Config {
    Config {
        flush_interval: Duration::from_secs(1).into(),
        group_bytes_max: 4 << 20,
        waiting_writes_max: 100,
        waiting_bytes_max: 64 << 20,
        buffer_bytes_max: (1 << 30).into(),
        answer_within: Duration::from_secs(30),
    }
}

async fn parts() -> Parts {
    let node = NodeId::new("n").unwrap();
    let clock = Clock::simulated(1_760_000_000_000_000, 1);
    let tasks = Tasks::new(Cpu::Here);
    let bucket = Bucket::new(Arc::new(InMemory::new()), Keys::new(NodeId::new("c").unwrap()), clock.clone());
    let catalog = Catalog::open(bucket.clone(), clock.clone(), tasks.clone(), Limits::default()).await.unwrap();
    let changes = vec![
        Change::RegisterNode {
            node: node.clone(),
            instance: 1,
            writer: Writer::new(0).unwrap(),
            core_count: 1,
            at_ms: 0,
        },
        Change::OpenEpoch { node: node.clone(), epoch: Epoch(1), process: 1, at_ms: 0 },
    ];
    catalog.commit(|_| Ok((changes.clone(), ()))).await.unwrap();
    let record = Arc::clone(&catalog.state().nodes[&node]);
    let buffer = Arc::new(Buffer::default());
    let hands = (bucket, clock.clone(), tasks.clone());
    let catalog = Arc::new(catalog);
    let Recovered { writer, .. } =
        wal::recover(hands, &catalog, &record, (OnDamage::Fail, |_| panic!("an empty log"))).await.unwrap();
    let metrics = Metrics::register(&Registry::new());
    Parts { catalog, buffer, writer, clock, tasks, metrics }
}

fn write(body: &str) -> Write<'_> {
    Write {
        database: "db",
        body,
        precision: Precision::Nanosecond,
        bad_lines: BadLines::Refuse,
        answer: Answer::WhenStored,
    }
}

/// Lines of one field each.
fn long(rows: usize) -> String {
    (0..rows).map(|row| format!("t v={row} {row}\n")).collect()
}

/// One line of many fields.
fn wide(fields: usize) -> String {
    let fields: Vec<_> = (0..fields).map(|field| format!("f{field}=1")).collect();
    format!("t {} 1\n", fields.join(","))
}

#[tokio::test(start_paused = true)]
async fn a_wide_request_does_not_make_a_long_one_beside_it_wide() {
    let (ingest, flushed) = Ingest::start(config(), parts().await);
    ingest.write(write(&wide(450))).await.unwrap();
    let (long, wide) = (long(20_000), wide(450));
    let (first, second, third) =
        tokio::join!(ingest.write(write(&long)), ingest.write(write(&wide)), ingest.write(write(&wide)));
    assert_eq!([first, second, third].map(|report| report.unwrap().lines_kept), [20_000, 1, 1]);
    // One for the columns, one for the long request, one for both wide ones.
    assert_eq!(flushed.borrow().position, Position(3));
    let bytes = ingest.buffer.bytes().open;
    assert!(bytes < 1 << 20, "{bytes} bytes for 20 000 numbers and three wide rows");
    assert_eq!(ingest.waiting_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn rows_that_no_object_holds_are_refused_and_the_log_goes_on() {
    let mut parts = parts().await;
    parts.writer.limit_objects(10_000);
    let tasks = parts.tasks.clone();
    let (ingest, flushed) = Ingest::start(config(), parts);
    ingest.write(write("t v=1 1")).await.unwrap();
    let refusal = ingest.write(write(&long(5_000))).await;
    assert!(matches!(refusal, Err(Error::TooLarge(_))), "{refusal:?}");
    assert_eq!(ingest.buffer.freeze().through, Position(1));
    ingest.write(write("t v=2 2")).await.unwrap();
    assert_eq!((flushed.borrow().position, ingest.buffer.freeze().through), (Position(2), Position(2)));
    assert_eq!(tasks.failure(), None);
    assert_eq!(ingest.waiting_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_body_that_might_not_fit_into_the_log_is_refused_before_it_is_read() {
    assert!(check_size(BODY_BYTES_MAX).is_ok());
    assert_eq!(check_size(BODY_BYTES_MAX + 1).map_err(|error| error.kind()), Err(ErrorKind::Limit));
}

#[tokio::test(start_paused = true)]
async fn a_write_for_which_there_is_no_room_leaves_the_catalog_as_it_was() {
    let full = |config: Config| async move {
        let (mut ingest, _flushed) = Ingest::start(config, parts().await);
        ingest.write(write("t v=1 1")).await.unwrap();
        // Nobody takes what waits here, so one write fills it.
        let (queue, waiting) = mpsc::channel(1);
        ingest.queue = queue;
        (ingest, waiting)
    };

    let (ingest, _waiting) = full(config()).await;
    let place = ingest.queue.clone().try_reserve_owned().unwrap();
    check_refused(&ingest, |error| matches!(error, Error::FullOfWrites { waiting_writes_max: 100 })).await;
    drop(place);

    let (ingest, _waiting) = full(Config { waiting_bytes_max: 5, ..config() }).await;
    let held = ingest.admit(1).unwrap();
    check_refused(&ingest, |error| matches!(error, Error::Full { waiting_bytes: 1, waiting_bytes_max: 5 })).await;
    drop(held);

    let (ingest, _waiting) = full(Config { buffer_bytes_max: 0.into(), ..config() }).await;
    check_refused(&ingest, |error| matches!(error, Error::BufferFull { buffer_bytes_max: 0, .. })).await;

    let (ingest, waiting) = full(config()).await;
    drop(waiting);
    check_refused(&ingest, |error| matches!(error, Error::Stopping)).await;
}

/// A write that would bring a database, a table and a column is refused with this error, three times.
async fn check_refused(ingest: &Ingest, expected: impl Fn(&Error) -> bool) {
    let before: Arc<State> = ingest.catalog.state();
    for (database, body) in [("db", "t v=1,new=1 1"), ("db", "new v=1 1"), ("new", "t v=1 1")] {
        let error = ingest.write(Write { database, ..write(body) }).await.expect_err("there is no room");
        assert!(expected(&error), "{error:?}");
        assert_eq!(*ingest.catalog.refresh().await.unwrap(), *before, "{body}");
    }
    let held = ingest.waiting_bytes.load(Ordering::Relaxed);
    assert!(held <= 1, "{held} bytes are held for writes that were refused");
}
