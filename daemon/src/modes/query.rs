//! Mode `query`: follows the logs of the other nodes, and answers queries over the rows of all.

use std::sync::Arc;

use metrics::Registry;
use metrics::vitals::Vitals;
use storage::node::Node;
use storage::replica;
use tokio::runtime::Handle;

use super::Knobs;
use crate::config::NodeConfig;

pub(super) fn config(config: &NodeConfig, knobs: &Knobs) -> replica::Config {
    replica::Config {
        interval: config.peers.replication_interval,
        // Another node may hold as much as this one.
        bytes_max: knobs.buffer_bytes_max.clone(),
        start_within: config.peers.wait_at_start,
    }
}

/// What the node shows of itself; one that answers no queries remembers none.
pub(crate) fn facts(config: &NodeConfig, node: &Node, knobs: &Knobs, vitals: Arc<Vitals>) -> Arc<sql::Facts> {
    let entries = if node.views.is_some() { knobs.query_log_entries.clone() } else { 0.into() };
    let settings = Arc::new(knobs.settings(config));
    let facts = sql::Facts::new(config.identity.node.to_string(), entries, node.insight.clone(), settings);
    Arc::new(facts.with_vitals(vitals))
}

/// What answers queries, on a node that shows rows.
pub(crate) fn engine(
    config: &NodeConfig,
    node: &Node,
    (operator, knobs): (Arc<sql::Operator>, &Knobs),
    (registry, runtime): (Registry, Handle),
) -> Result<Option<sql::Engine>, sql::Error> {
    let Some(views) = &node.views else { return Ok(None) };
    let engine = sql::EngineConfig {
        memory_bytes: knobs.query_memory.clone(),
        footer_bytes: knobs.footer_bytes.clone(),
        target_partitions: config.threads.datafusion,
        options: knobs.engine_options.clone(),
        concurrent_queries_max: knobs.queries_max.clone(),
        default_timeout: knobs.query_timeout.clone(),
        runtime,
        registry,
        facts: Arc::clone(&operator.facts),
        operator: Some(operator),
    };
    sql::Engine::new(engine, Arc::clone(views) as _, node.bucket.reader()).map(Some)
}
