//! What the system tables and the information schema show.

use super::*;
use crate::tables::fixture::Row;
use storage::catalog::{Action, Permission, Resource};
use storage::knob::Knob;
use storage::model::DatabaseId;

async fn two_files() -> Cluster {
    let row = |time, stamp| Row { host: Some("a".into()), time, stamp, count: Some(1), ..Row::default() };
    Cluster::new().file(vec![row(0, 0), row(5, 0)]).await.file(vec![row(i64::MAX, 1)]).await
}

#[tokio::test]
async fn the_monitoring_query_for_recent_files_runs_as_it_stands() {
    let engine = engine(&two_files().await);
    let text = "SELECT table_name, count(*) AS files_created, sum(row_count) AS total_rows, sum(size_bytes) AS \
                total_bytes FROM system.parquet_files WHERE max_time > extract(epoch from now() - INTERVAL '5 \
                minutes') * 1000000000 GROUP BY table_name";
    let rows = rows(&engine, text).await;
    assert_eq!(rows.len(), 1);
    assert!(rows[0].starts_with("cpu|1|1|"), "{rows:?}");
}

#[tokio::test]
async fn the_monitoring_queries_for_queries_run_as_they_stand() {
    let engine = engine(&two_files().await);
    for text in [
        "SELECT count(*), avg(execute_duration), max(max_memory) FROM system.queries WHERE issue_time > now() - \
         INTERVAL '5 minutes' AND success = true",
        "SELECT * FROM system.queries WHERE issue_time > now() - INTERVAL '1 hour' ORDER BY issue_time DESC LIMIT 10",
        "SELECT sum(CASE WHEN success = true THEN 0 ELSE 1 END) AS failed FROM system.queries",
        "SELECT avg(max_memory), max(max_memory) FROM system.queries WHERE query_type = 'sql'",
    ] {
        assert!(!rows(&engine, text).await.is_empty(), "{text}");
    }
}

#[tokio::test]
async fn the_monitoring_query_for_compaction_runs_as_it_stands() {
    let engine = engine(&two_files().await);
    let text = "SELECT event_type, event_status, count(*), avg(event_duration) FROM system.compaction_events \
                WHERE event_time > now() - INTERVAL '1 hour' GROUP BY event_type, event_status";
    assert_eq!(rows(&engine, text).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_query_sees_itself_running_and_those_before_it_ended() {
    let engine = engine(&two_files().await);
    rows(&engine, "SELECT count FROM cpu").await;
    ask(&engine, query("SELEKT")).await.unwrap_err();
    let text = "SELECT query_text, phase, success, running, cancelled, parquet_files, end2end_duration IS NULL \
                FROM system.queries ORDER BY issue_time";
    let shown = rows(&engine, text).await;
    assert_eq!(shown[0], "SELECT count FROM cpu|success|true|false|false|2|false");
    assert_eq!(shown[1], "SELEKT|fail|false|false|false|-|false");
    assert!(shown[2].ends_with("|received|false|true|false|-|true"), "{shown:?}");
}

#[tokio::test]
async fn the_log_keeps_the_newest_queries() {
    let cluster = two_files().await;
    let config = EngineConfig { facts: facts(10), ..config() };
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    for i in 0..15 {
        rows(&engine, &format!("SELECT {i}")).await;
    }
    assert_eq!(value(&engine, "SELECT count(*) FROM system.queries").await, "10");
}

#[tokio::test]
async fn users_tables_are_under_iox_and_system_tables_under_system() {
    let engine = engine(&two_files().await);
    let text = "SELECT table_schema, table_name FROM information_schema.tables \
                WHERE table_schema <> 'information_schema' ORDER BY table_schema, table_name";
    let expected = "iox|cpu\nsystem|columns\nsystem|compaction_events\nsystem|databases\nsystem|deletes\nsystem|distinct_caches\nsystem|documentation\nsystem|influxdb_schema\nsystem|last_caches\nsystem|parquet_files\nsystem|queries\nsystem|retention\nsystem|tables";
    assert_eq!(value(&engine, text).await, expected);
    let internal = Query { database: "_internal".into(), ..query(text) };
    let batches = ask(&engine, internal).await.unwrap();
    let shown: Vec<_> = batches.iter().flat_map(texts).collect();
    assert!(shown.contains(&"system|tokens".to_owned()) && shown.contains(&"system|nodes".to_owned()), "{shown:?}");
    assert!(!shown.contains(&"iox|cpu".to_owned()));
}

#[tokio::test]
async fn tables_databases_and_columns_are_listed() {
    let engine = engine(&two_files().await);
    assert_eq!(value(&engine, "SELECT * FROM system.tables").await, "plant|cpu|6|host, region|0|0|false|-");
    assert_eq!(value(&engine, "SELECT * FROM system.retention").await, "plant|cpu|-|infinite");
    assert_eq!(value(&engine, "SELECT * FROM system.databases").await, "plant|-|false|-");
    let keys = "SELECT key, data_type FROM system.influxdb_schema ORDER BY key";
    assert_eq!(value(&engine, keys).await, "count|integer\nhost|tag\nnote|string\nregion|tag\ntime|time\nusage|float");
    for table in [
        "nodes",
        "tokens",
        "tables",
        "databases",
        "queries",
        "parquet_files",
        "influxdb_schema",
        "compaction_events",
        "retention",
    ] {
        let asked = Query { database: "_internal".into(), ..query(&format!("SELECT * FROM system.{table}")) };
        ask(&engine, asked).await.unwrap_or_else(|e| panic!("{table}: {e}"));
    }
}

#[tokio::test]
async fn queries_of_databases_the_asker_may_not_read_are_not_shown() {
    let engine = engine(&two_files().await);
    rows(&engine, "SELECT 1").await;
    ask(&engine, Query { database: "_internal".into(), ..query("SELECT 2") }).await.unwrap();
    ask(&engine, Query { database: "nowhere".into(), ..query("SELECT 3") }).await.unwrap_err();
    let text = "SELECT query_text FROM system.queries ORDER BY issue_time";
    let permission = Permission { resource: Resource::Database(DatabaseId(1)), actions: vec![Action::Read] };
    let reader = Access { token: None, permissions: vec![permission] };
    let batches = ask(&engine, Query { access: reader, ..query(text) }).await.unwrap();
    assert_eq!(batches.iter().flat_map(texts).collect::<Vec<_>>(), ["SELECT 1", text]);
    assert_eq!(rows(&engine, text).await, ["SELECT 1", "SELECT 2", "SELECT 3", text, text]);
}

#[tokio::test]
async fn footers_are_kept_in_the_memory_that_is_set_for_them() {
    let row = |time| Row { host: Some("a".into()), time, count: Some(1), ..Row::default() };
    let cluster = Cluster::new().checked_file(vec![row(0)]).await.checked_file(vec![row(9)]).await;
    let footer_bytes = Knob::from(1 << 20);
    let config = EngineConfig { footer_bytes: footer_bytes.clone(), ..config() };
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    let figures = || async {
        let text = "SELECT footer_cache_bytes > 0, footer_cache_limit_bytes, footer_cache_hits, footer_cache_misses \
                    FROM system.processes";
        let shown = ask(&engine, Query { database: "_internal".into(), ..query(text) }).await.unwrap();
        shown.iter().flat_map(texts).collect::<Vec<_>>()
    };
    assert_eq!(figures().await, ["false|1048576|0|0"]);
    for expected in ["true|1048576|0|2", "true|1048576|2|2"] {
        rows(&engine, "SELECT count FROM cpu WHERE count > 0").await;
        assert_eq!(figures().await, [expected]);
    }
    footer_bytes.set(1);
    assert_eq!(figures().await, ["false|1|2|2"]);
    rows(&engine, "SELECT count FROM cpu WHERE count > 0").await;
    // The readers of rows have to read them again, too.
    assert_eq!(figures().await, ["false|1|2|6"]);
}
