//! What is not asked.

use super::*;
use crate::run::QueryErrorKind;
use crate::tables::fixture::Row;
use crate::tables::{Moment, Moments};
use storage::catalog::{Action, Permission, Resource, State};
use storage::model::{DatabaseId, TableId, TimeRange};
use storage::view::TableView;
use storage::{replica, view};

fn one_row() -> Cluster {
    Cluster::new().chunk(vec![Row { host: Some("a".into()), count: Some(1), ..Row::default() }])
}

#[tokio::test]
async fn what_would_change_anything_is_refused() {
    let engine = engine(&one_row());
    for text in [
        "INSERT INTO cpu VALUES (1)",
        "INSERT INTO cpu SELECT * FROM cpu",
        "UPDATE cpu SET count = 2",
        "DELETE FROM cpu",
        "TRUNCATE cpu",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE DATABASE x",
        "CREATE SCHEMA x",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "DROP TABLE cpu",
        "ALTER TABLE cpu ADD COLUMN x INT",
        "COPY cpu TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO 'x.parquet'",
        "EXPLAIN COPY cpu TO '/tmp/x.csv'",
        "EXPLAIN ANALYZE INSERT INTO cpu SELECT * FROM cpu",
        "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN",
        "COMMIT",
        "GRANT SELECT ON cpu TO x",
        "SELECT * INTO x FROM cpu",
        "WITH x AS (DELETE FROM cpu RETURNING *) SELECT * FROM x",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE cpu",
        "",
        ";",
        "SELECT * FROM nowhere",
        "SELECT nothing FROM cpu",
        "SELECT nothing(1)",
        "SELEKT 1",
        "SELECT * FROM '/etc/passwd'",
        "SELECT $missing",
        "SELECT count FROM cpu WHERE count = $missing",
    ] {
        let error = ask(&engine, query(text)).await.expect_err(text);
        let is_refusal = matches!(error.kind(), QueryErrorKind::Plan | QueryErrorKind::Unsupported);
        assert!(is_refusal, "{text}: {:?} {error}", error.kind());
    }
    let prepared = Query { params: vec![("x".into(), Param::Int(1))], ..query("PREPARE p AS SELECT $x") };
    assert_eq!(ask(&engine, prepared).await.expect_err("prepare").kind(), QueryErrorKind::Plan);
    assert_eq!(value(&engine, "SELECT count FROM cpu").await, "1");
}

#[tokio::test]
async fn a_call_that_would_make_a_huge_value_is_refused_in_any_place() {
    let engine = engine(&one_row());
    for text in [
        "SELECT repeat('x', 2000000000)",
        "SELECT repeat(host, 2000000000) FROM cpu",
        "SELECT count(*) FROM cpu WHERE repeat(host, count * 1000000000) = 'a'",
        "SELECT 1 FROM cpu ORDER BY lpad(host, count * 2000000000)",
        "SELECT count(*) FROM cpu WHERE count IN (SELECT length(repeat(host, count * 1000000000)) FROM cpu)",
        "EXPLAIN ANALYZE SELECT array_repeat(count, count * 2000000000) FROM cpu",
        "SELECT unnest(range(count * 2000000000)) FROM cpu",
    ] {
        let error = ask(&engine, query(text)).await.expect_err(text);
        assert_eq!(error.kind(), QueryErrorKind::Plan, "{text}: {error}");
        assert!(error.to_string().contains(" bytes or more for one batch of rows; at most "), "{text}: {error}");
    }
}

#[tokio::test]
async fn what_only_shows_is_answered() {
    let engine = engine(&one_row());
    for text in [
        "SELECT 1;",
        "EXPLAIN SELECT * FROM cpu",
        "EXPLAIN ANALYZE SELECT * FROM cpu",
        "SHOW TABLES",
        "SHOW COLUMNS FROM cpu",
        "SHOW ALL",
        "DESCRIBE cpu",
        "WITH x AS (SELECT 1 AS a) SELECT * FROM x UNION ALL SELECT 2",
        "VALUES (1), (2)",
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM information_schema.routines",
        "SELECT * FROM public.iox.cpu",
    ] {
        assert!(!rows(&engine, text).await.is_empty(), "{text}");
    }
}

#[tokio::test]
async fn an_unknown_database_is_named_before_the_text_is_parsed() {
    let asked = Query { database: "nowhere".into(), ..query("SELEKT") };
    let error = ask(&engine(&one_row()), asked).await.unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::DatabaseNotFound);
    assert_eq!(error.to_string(), "database not found: nowhere");
}

#[tokio::test]
async fn a_query_needs_leave_to_read_the_database() {
    let engine = engine(&one_row());
    let may =
        |resource, action| Access { token: None, permissions: vec![Permission { resource, actions: vec![action] }] };
    let ours = || Resource::Database(DatabaseId(1));
    let check = async |access: Access, database: &str, expected: Option<QueryErrorKind>| {
        let asked = Query { access, database: database.into(), ..query("SELECT 1") };
        assert_eq!(ask(&engine, asked).await.err().map(|e| e.kind()), expected);
    };
    check(may(ours(), Action::Read), "plant", None).await;
    check(may(ours(), Action::Write), "plant", Some(QueryErrorKind::Denied)).await;
    check(may(Resource::Database(DatabaseId(2)), Action::Read), "plant", Some(QueryErrorKind::Denied)).await;
    check(may(Resource::AnyDatabase, Action::Read), "plant", None).await;
    check(may(Resource::AnyDatabase, Action::Read), "_internal", Some(QueryErrorKind::Denied)).await;
    check(Access::unrestricted(), "_internal", None).await;
}

/// Asks on threads whose stack is as large as those of a node.
fn ask_deep(text: String) -> Result<String, Error> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(1).thread_stack_size(64 << 20).enable_all().build().unwrap();
    runtime.block_on(async {
        let batches = ask(&engine(&Cluster::new()), query(&text)).await?;
        Ok(batches.iter().flat_map(texts).collect::<Vec<_>>().join("\n"))
    })
}

#[test]
fn chains_of_operators_are_answered_up_to_a_limit_and_then_refused() {
    let sum = |additions: usize| format!("SELECT 1{}", "+1".repeat(additions));
    assert_eq!(ask_deep(sum(1_900)), Ok("1901".to_owned()));
    for additions in [2_001, 200_000] {
        let error = ask_deep(sum(additions)).unwrap_err();
        assert_eq!(error.kind(), QueryErrorKind::Plan, "{error}");
        // SELECT is counted as well.
        assert!(error.to_string().contains(&format!("{} operators; at most 2000", additions + 1)), "{error}");
    }
}

#[test]
fn a_chain_of_any_kind_does_not_end_the_process() {
    let times = 1_900;
    for text in [
        format!("{}SELECT 1", "EXPLAIN ".repeat(times)),
        format!("{}SELECT 1", "EXPLAIN ".repeat(4)),
        format!("SELECT 1{}", " IS NULL".repeat(times)),
        format!("SELECT {}true", "NOT ".repeat(times)),
        format!("SELECT 1{}", "::int".repeat(times)),
        format!("SELECT CAST(1 AS {}", "ARRAY<".repeat(times)),
        "(".repeat(2 << 20),
        format!("SELECT * FROM {}", "(".repeat(1 << 20)),
    ] {
        // Answered or refused, it is not what stops the tests.
        drop(ask_deep(text));
    }
}

#[test]
fn long_lists_of_values_are_answered() {
    let values: Vec<String> = (-9_999..=10_000).map(|n| n.to_string()).collect();
    let text = format!("SELECT count(*) FROM generate_series(1, 20000) WHERE value IN ({})", values.join(","));
    assert_eq!(ask_deep(text), Ok("10000".to_owned()));
}

/// Of a node that could not read the catalog for long.
#[derive(Debug)]
struct Blind(Arc<dyn Moment>);

impl Moment for Blind {
    fn state(&self) -> &Arc<State> {
        self.0.state()
    }

    fn table(&self, _: TableId, _: TimeRange) -> Result<TableView, view::Error> {
        Err(self.may_lack().unwrap())
    }

    fn may_lack(&self) -> Option<view::Error> {
        Some(view::Error::Replica(replica::Error::Blind { ago: Duration::from_secs(60) }))
    }
}

impl Moments for Blind {
    fn open(&self) -> Result<Arc<dyn Moment>, view::Error> {
        Ok(Arc::new(Self(Arc::clone(&self.0))))
    }
}

#[tokio::test]
async fn nobody_is_told_that_something_is_not_there_by_a_catalog_that_may_be_old() {
    let cluster = one_row();
    let blind = Blind(cluster.open().unwrap());
    let engine = Engine::new(config(), Arc::new(blind), cluster.dyn_store()).unwrap();
    for (database, text) in [
        ("new", "SELECT 1"),
        ("plant", "SELECT * FROM new"),
        ("plant", "SELECT new FROM cpu"),
        ("plant", "SELECT count(*) FROM cpu"),
    ] {
        let error = ask(&engine, Query { database: database.into(), ..query(text) }).await.unwrap_err();
        assert_eq!(error.kind(), QueryErrorKind::Unavailable, "{error}");
        assert!(error.to_string().starts_with("the catalog was last read 60s ago"), "{error}");
    }
    let advice = Query { database: "_internal".into(), ..query("SELECT count(*) FROM system.advice") };
    assert_eq!(ask(&engine, advice).await.unwrap().len(), 1);
}
