mod answers;
mod clients;
mod damage;
mod ends;
mod postgres;
mod refusals;
mod sessions;
mod system;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use storage::catalog::Access;
use storage::node::Insight;

use super::{Engine, EngineConfig, Error, Param, Query};
use crate::system::Facts;
use crate::tables::fixture::Cluster;

fn config() -> EngineConfig {
    EngineConfig {
        memory_bytes: (256 << 20).into(),
        footer_bytes: (16 << 20).into(),
        target_partitions: 3,
        options: Arc::<str>::from("datafusion.execution.batch_size:37").into(),
        concurrent_queries_max: 4.into(),
        default_timeout: Some(Duration::from_secs(60)).into(),
        runtime: tokio::runtime::Handle::current(),
        registry: metrics::Registry::new(),
        facts: facts(1000),
        operator: None,
    }
}

fn facts(query_log_entries: u64) -> Arc<Facts> {
    Arc::new(Facts::new("node0".to_owned(), query_log_entries.into(), Insight::default(), Arc::default()))
}

fn engine(cluster: &Cluster) -> Engine {
    Engine::new(config(), Arc::new(cluster.clone()), cluster.dyn_store()).unwrap()
}

fn query(text: &str) -> Query {
    Query {
        text: text.to_owned(),
        database: "plant".to_owned(),
        params: Vec::new(),
        access: Access::unrestricted(),
        token: None,
        door: "http",
        postgres: None,
        timeout: None,
        patience: None,
    }
}

async fn ask(engine: &Engine, query: Query) -> Result<Vec<RecordBatch>, Error> {
    engine.run(query).await?.rows.try_collect().await
}

/// The rows as text, columns parted by `|`, an absent value as `-`.
async fn rows(engine: &Engine, text: &str) -> Vec<String> {
    let batches = ask(engine, query(text)).await.unwrap_or_else(|e| panic!("{text}: {e}"));
    batches.iter().flat_map(texts).collect()
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("-");
    let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

async fn value(engine: &Engine, text: &str) -> String {
    rows(engine, text).await.join("\n")
}

/// Waits for what comes soon on a machine that has nothing else to do.
async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !is_true().await {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}: not within two minutes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
