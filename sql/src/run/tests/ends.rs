//! How queries end before they are answered.

use futures::StreamExt;

use super::*;
use crate::run::QueryErrorKind;
use crate::run::engine::Admitted;
use crate::tables::fixture::{Random, Row};
use storage::catalog::{Action, Permission, Resource};
use storage::model::DatabaseId;

const LONG: &str = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 1000000) b \
                    WHERE a.value + b.value < 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_ends() {
    let asked = Query { timeout: Some(Duration::from_millis(100)), ..query(LONG) };
    let error = ask(&engine(&Cluster::new()), asked).await.unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Timeout, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_too_much_memory_ends_with_the_names_of_the_holders() {
    let cluster = Cluster::new();
    let config = EngineConfig { memory_bytes: (1 << 20).into(), ..config() };
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    let text = "SELECT value FROM generate_series(1, 10000000) ORDER BY value DESC";
    let error = ask(&engine, query(text)).await.unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Memory, "{error}");
    assert!(error.to_string().contains("Sort"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_answer_cancels_the_query() {
    let engine = engine(&Cluster::new());
    let mut answer = engine.run(query("SELECT * FROM generate_series(1, 10000000000)")).await.unwrap();
    answer.rows.next().await.unwrap().unwrap();
    drop(answer);
    let call = engine.run(query(LONG));
    let _ = tokio::time::timeout(Duration::from_millis(100), async { call.await.unwrap().rows.next().await }).await;
    let text = "SELECT count(*) FROM system.queries WHERE cancelled AND phase = 'cancel'";
    eventually("both are cancelled", async || value(&engine, text).await == "2").await;
}

/// A query that would take hours stops when it is dropped: its task ends, and what it holds goes.
async fn check_stops(text: &str, target_partitions: usize) {
    let config = EngineConfig { target_partitions, options: Arc::<str>::default().into(), ..config() };
    let cluster = Cluster::new();
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    let what = format!("{text} in {target_partitions} parts");
    let call = engine.run(query(text));
    let permitted = "SELECT count(*) FROM system.queries WHERE phase = 'permit'";
    let runs = async {
        eventually(&what, async || value(&engine, permitted).await == "1").await;
        // Far enough that it is at what takes so long. One that is not there yet stops as well.
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    tokio::select! {
        biased;
        () = runs => {}
        ended = async { call.await.unwrap().rows.next().await } => panic!("{what}: {ended:?}"),
    }
    eventually(&what, async || {
        let running = value(&engine, "SELECT count(*) FROM system.queries WHERE running").await;
        running == "1" && engine.shared.sessions.pool().reserved() == 0
    })
    .await;
}

/// Numbers, and a key that most of them share.
const NUMBERS: &str =
    "(SELECT v, CASE WHEN v % 50000 = 0 THEN v ELSE 0 END AS k FROM (SELECT unnest(range(0, 100000)) AS v))";

#[tokio::test(flavor = "multi_thread")]
async fn joins_that_find_nothing_stop_when_nobody_waits() {
    for text in [
        "SELECT count(*) FROM NUMBERS a, NUMBERS b WHERE a.v * b.v = -1",
        "SELECT count(*) FROM NUMBERS a JOIN NUMBERS b ON a.k = b.k AND a.v + b.v < 0",
        "SELECT count(*) FROM NUMBERS a WHERE EXISTS (SELECT 1 FROM NUMBERS b WHERE a.v * b.v = -1)",
        "SELECT count(*) FROM NUMBERS a WHERE NOT EXISTS (SELECT 1 FROM NUMBERS b WHERE a.v * b.v = -1)",
        "SELECT count(*) FROM NUMBERS a WHERE EXISTS (SELECT 1 FROM NUMBERS b WHERE a.k = b.k AND a.v + b.v < 0)",
        "SELECT count(*) FROM NUMBERS a WHERE NOT EXISTS (SELECT 1 FROM NUMBERS b WHERE a.k = b.k AND a.v + b.v < 0)",
        "SELECT count(*) FROM NUMBERS a LEFT JOIN NUMBERS b ON a.v * b.v = -1",
        "SELECT count(*) FROM NUMBERS a FULL JOIN NUMBERS b ON a.k = b.k AND a.v + b.v < 0",
    ] {
        for target_partitions in [1, 3] {
            check_stops(&text.replace("NUMBERS", NUMBERS), target_partitions).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_or_keeps_many_rows_stops_when_nobody_waits() {
    for text in [
        "SELECT sum(a.v + b.v) FROM NUMBERS a CROSS JOIN NUMBERS b",
        "SELECT count(*) FROM NUMBERS a JOIN NUMBERS b ON a.k = b.k",
        "WITH RECURSIVE t AS (SELECT v AS n FROM NUMBERS WHERE v < 2 UNION ALL SELECT n FROM t) SELECT count(*) FROM t",
        "SELECT sum(x) FROM (SELECT unnest(make_array(a.v, b.v)) AS x FROM NUMBERS a CROSS JOIN NUMBERS b)",
        "SELECT count(*) FROM (SELECT a.v, max(b.v) FROM NUMBERS a, NUMBERS b GROUP BY a.v) t",
    ] {
        for target_partitions in [1, 3] {
            check_stops(&text.replace("NUMBERS", NUMBERS), target_partitions).await;
        }
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_fails_the_query_by_name() {
    let row = |time, stamp| Row { host: Some("a".into()), time, stamp, count: Some(1), ..Row::default() };
    let plain = Cluster::new().file(vec![row(0, 0)]).await.file(vec![row(10, 0)]).await;
    let merged = Cluster::new().file(vec![row(0, 1)]).await.file(vec![row(0, 2)]).await;
    for cluster in [plain, merged] {
        cluster.lose("data/file1.parquet").await;
        let error = ask(&engine(&cluster), query("SELECT * FROM cpu")).await.unwrap_err();
        assert!(error.to_string().contains("data/file1.parquet"), "{error}");
        assert_eq!(error.kind(), QueryErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn queries_beyond_the_limit_wait() {
    let cluster = Cluster::new();
    let config = EngineConfig { concurrent_queries_max: 1.into(), ..config() };
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    let first = engine.shared.permits.take().await.unwrap();
    let second = Query { timeout: Some(Duration::from_millis(50)), ..query("SELECT 1") };
    assert_eq!(ask(&engine, second).await.unwrap_err().kind(), QueryErrorKind::Timeout);
    drop(first);
    assert_eq!(value(&engine, "SELECT 1").await, "1");
}

#[tokio::test]
async fn queries_beyond_those_that_may_wait_are_refused() {
    let cluster = Cluster::new();
    let config = EngineConfig { concurrent_queries_max: 1.into(), ..config() };
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    let permit = engine.shared.permits.take().await.unwrap();
    let first = (engine.shared.admit(&query("SELECT 1")).unwrap(), permit);
    let mut waiting: Vec<_> = (0..4).map(|_| Box::pin(ask(&engine, query("SELECT 1")))).collect();
    for query in &mut waiting {
        assert!(futures::poll!(query.as_mut()).is_pending());
    }
    let error = ask(&engine, query("SELECT 1")).await.unwrap_err();
    assert_eq!(error, Error::Busy("5 queries run or wait already; try again later".to_owned()));
    drop(first);
    for result in futures::future::join_all(waiting).await {
        assert!(result.is_ok(), "{result:?}");
    }
    assert_eq!(value(&engine, "SELECT 1").await, "1");
}

#[tokio::test]
async fn queries_whose_rows_nobody_takes_let_others_run_and_go_on_later() {
    let cluster = Cluster::new();
    let config = EngineConfig { concurrent_queries_max: 1.into(), ..config() };
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    let mut asleep = Vec::new();
    for _ in 0..5 {
        asleep.push(engine.run(query("SELECT * FROM generate_series(1, 100000)")).await.unwrap());
    }
    assert_eq!(value(&engine, "SELECT 1").await, "1");
    engine.check("plant", &Access::unrestricted()).unwrap();
    for answer in asleep {
        let read: usize = answer.rows.map(|batch| batch.unwrap().num_rows()).collect::<Vec<_>>().await.iter().sum();
        assert_eq!(read, 100_000);
    }
    assert_eq!(engine.shared.permits.free(), 1);
}

#[tokio::test]
async fn a_client_that_stops_reading_ends_its_query() {
    let mut engine = engine(&Cluster::new());
    Arc::get_mut(&mut engine.shared).unwrap().read_timeout = Duration::from_secs(2);
    let answer = engine.run(query("SELECT * FROM generate_series(1, 10000000000)")).await.unwrap();
    let text = "SELECT phase FROM system.queries ORDER BY issue_time LIMIT 1";
    eventually("it is ended", async || value(&engine, text).await == "cancel").await;
    // The rows that were waiting are still read, and do not look like a whole answer.
    let read: Vec<_> = answer.rows.collect().await;
    assert!(read.len() > 1 && read[..read.len() - 1].iter().all(Result::is_ok));
    assert_eq!(read.last().and_then(|last| last.as_ref().err()), Some(&Error::Cancelled));
}

#[tokio::test]
async fn a_query_that_has_ended_holds_no_memory_though_its_rows_are_not_read() {
    let cluster = Cluster::new();
    let engine = engine(&cluster);
    let answer = engine.run(query("SELECT value FROM generate_series(1, 20) ORDER BY value DESC")).await.unwrap();
    let text = "SELECT phase FROM system.queries ORDER BY issue_time LIMIT 1";
    eventually("its end", async || value(&engine, text).await == "success").await;
    assert_eq!(engine.shared.sessions.pool().reserved(), 0);
    drop(answer);
}

/// An engine of which all places are taken, and what takes them.
fn full(cluster: &Cluster) -> (Engine, Vec<Admitted>) {
    let config = EngineConfig { concurrent_queries_max: 1.into(), ..config() };
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    let held = (0..5).map(|_| engine.shared.admit(&query("SELECT 1")).unwrap()).collect();
    (engine, held)
}

#[tokio::test]
async fn while_all_places_are_taken_what_is_about_the_nodes_alone_is_described_and_answered() {
    let (engine, _held) = full(&Cluster::new().chunk(Random(3).rows(30)));
    for text in [
        "SELECT count(*) > 0 FROM system.queries",
        "SELECT count(*) > 0 FROM (SELECT DISTINCT a.id FROM system.queries a JOIN system.queries b ON a.id = b.id LIMIT 5)",
        "SELECT phase, count(*) OVER (), (SELECT 1) FROM system.queries WHERE running ORDER BY issue_time",
    ] {
        let description = engine.describe(query(text), Vec::new()).await.unwrap();
        assert_eq!(engine.schema(query(text)).await.unwrap().fields().len(), description.schema.fields().len());
        assert!(!rows(&engine, text).await.is_empty(), "{text}");
    }
    for text in [
        "SELECT 1",
        "SELECT count(*) FROM cpu -- system.queries",
        "SELECT count(*) FROM system.queries, cpu",
        "SELECT count(*) FROM system.queries a, system.queries b, system.queries c",
        "SELECT count(*) FROM system.queries, (VALUES (1), (2)) a, (VALUES (1), (2)) b",
        "SELECT unnest(range(0, 1000)) FROM system.queries",
        "SELECT count(*) FROM system.queries, (SELECT 1 UNION ALL SELECT 2) a",
        "SELECT count(*) FROM system.queries, generate_series(1, 1000) a",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n FROM t) SELECT count(*) FROM system.queries, t",
    ] {
        let error = ask(&engine, query(text)).await.unwrap_err();
        assert_eq!(error.kind(), QueryErrorKind::Busy, "{text}: {error}");
    }
    assert_eq!(engine.describe(query("SELECT 1"), Vec::new()).await.unwrap_err().kind(), QueryErrorKind::Busy);
}

#[tokio::test]
async fn whoever_is_no_admin_does_not_keep_admins_from_looking_at_the_nodes() {
    let (engine, _held) = full(&Cluster::new());
    let permission = Permission { resource: Resource::Database(DatabaseId(1)), actions: vec![Action::Read] };
    let text = "SELECT count(*) FROM system.queries";
    let reader = Query { access: Access { token: None, permissions: vec![permission] }, ..query(text) };
    let mut held: Vec<_> = (0..2).map(|_| engine.shared.admit(&reader).unwrap()).collect();
    assert_eq!(engine.shared.admit(&reader).unwrap_err().kind(), QueryErrorKind::Busy);
    held.extend((0..2).map(|_| engine.shared.admit(&query(text)).unwrap()));
    assert_eq!(engine.shared.admit(&query(text)).unwrap_err().kind(), QueryErrorKind::Busy);
    drop(held);
    assert_eq!(value(&engine, text).await, "1");
}

#[tokio::test]
async fn what_was_asked_is_measured() {
    let cluster = Cluster::new().chunk(Random(3).rows(300));
    let registry = metrics::Registry::new();
    let config = EngineConfig { registry: registry.clone(), ..config() };
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    rows(&engine, "SELECT * FROM cpu").await;
    ask(&engine, query("SELEKT")).await.unwrap_err();
    let text = registry.text();
    for line in [
        "influxdb_iox_query_log_phase_entered_total{phase=\"received\"} 2",
        "influxdb_iox_query_log_phase_entered_total{phase=\"success\"} 1",
        "influxdb_iox_query_log_phase_entered_total{phase=\"fail\"} 1",
        "influxdb_iox_query_log_phase_current{phase=\"received\"} 0",
        "influxdb_iox_query_log_phase_current{phase=\"permit\"} 0",
        "influxdb_iox_query_log_end2end_duration_seconds_count 2",
        "datafusion_mem_pool_bytes{state=\"reserved\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[tokio::test]
async fn a_damaged_page_of_a_file_without_checksums_is_named() {
    let row = |time, stamp| Row { host: Some("a".into()), time, stamp, count: Some(1), ..Row::default() };
    let plain = Cluster::new().file((0..300).map(|t| row(t, 0)).collect()).await;
    let merged = plain.clone().file(vec![row(0, 2)]).await;
    plain.damage("data/file0.parquet").await;
    for cluster in [&merged, &plain] {
        for text in ["SELECT * FROM cpu", "SELECT sum(count) FROM cpu WHERE host = 'a'"] {
            let error = ask(&engine(cluster), query(text)).await.unwrap_err();
            assert_eq!(error.kind(), QueryErrorKind::Execution, "{error}");
            assert!(error.to_string().contains("read file data/file0.parquet: "), "{error}");
        }
    }
}

#[derive(Debug)]
struct Broken;

impl crate::tables::Moments for Broken {
    fn open(&self) -> Result<Arc<dyn crate::tables::Moment>, storage::view::Error> {
        panic!("broken on purpose")
    }
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_query() {
    let engine = Engine::new(config(), Arc::new(Broken), Cluster::new().dyn_store()).unwrap();
    for _ in 0..2 {
        let error = ask(&engine, query("SELECT 1")).await.unwrap_err();
        assert_eq!(error, Error::Execution("the query panicked: broken on purpose".to_owned()));
        let error = engine.describe(query("SELECT 1"), Vec::new()).await.unwrap_err();
        assert_eq!(error, Error::Execution("the query panicked: broken on purpose".to_owned()));
    }
}
