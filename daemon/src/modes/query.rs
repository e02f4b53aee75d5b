//! Mode `query`: follows the logs of the other nodes, and answers queries over the rows of all.

use std::sync::Arc;
use std::time::Duration;

use metrics::Registry;
use storage::node::Node;
use storage::replica;
use tokio::runtime::Handle;

use super::ingest::buffer_bytes_max;
use crate::config::NodeConfig;

/// How often the logs of other nodes are read.
const REPLICATION_INTERVAL: Duration = Duration::from_millis(250);

/// How long a start waits for the newest rows of other nodes.
const START_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn config(config: &NodeConfig) -> replica::Config {
    // Another node may hold as much as this one.
    let bytes_max = buffer_bytes_max(config);
    replica::Config { interval: REPLICATION_INTERVAL, bytes_max, start_within: START_WITHIN }
}

/// What answers queries, on a node that shows rows.
pub(crate) fn engine(
    config: &NodeConfig,
    node: &Node,
    (registry, runtime): (Registry, Handle),
) -> Result<Option<sql::Engine>, sql::Error> {
    let Some(views) = &node.views else { return Ok(None) };
    let query = &config.query;
    let engine = sql::EngineConfig {
        memory_bytes: usize::try_from(query.memory_bytes).unwrap_or(usize::MAX),
        target_partitions: config.threads.datafusion,
        options: query.options.clone(),
        query_log_entries: query.log_entries,
        concurrent_queries_max: query.concurrent_max,
        default_timeout: query.timeout,
        runtime,
        registry,
        node_id: config.identity.node.to_string(),
        compactions: Arc::clone(&node.events),
        member: Some(node.member.clone()),
    };
    sql::Engine::new(engine, Arc::clone(views) as _, node.bucket.reader()).map(Some)
}
