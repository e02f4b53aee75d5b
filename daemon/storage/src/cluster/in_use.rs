//! Which versions of the catalog the queries of other nodes read, as their heartbeats say.
//!
//! # Promises
//! - What a heartbeat says holds until the next one: no query of that process reads an older version, now or later.
//! - A node whose heartbeat moved within `DEAD_AFTER`, by this node's own clock, is asked; one that was first looked at
//!   within that time counts as living, and so does one whose heartbeat is not there yet.
//! - A node that is sealed is asked too: it may answer queries all the same.
//! - Cost: one request for each other node of the cluster whenever somebody asks.
//!
//! # Not here
//! - A process that stood still for longer than `DEAD_AFTER`: its queries may find a file gone, and say so.

use std::collections::BTreeMap;

use super::Heartbeat;
use super::lives::Pulse;
use crate::bucket::{self, Bucket};
use crate::catalog::{Node, State};
use crate::clock::Clock;
use crate::model::NodeId;

/// Watches the heartbeats of the other nodes, whenever it is asked.
#[derive(Debug)]
pub struct InUse {
    bucket: Bucket,
    clock: Clock,
    /// This node, which knows its own queries.
    node: NodeId,
    seen: BTreeMap<NodeId, Pulse>,
}

impl InUse {
    #[must_use]
    pub fn new(bucket: Bucket, clock: Clock, node: NodeId) -> Self {
        Self { bucket, clock, node, seen: BTreeMap::new() }
    }

    /// The oldest version that a query on another node may read. Fails when a heartbeat cannot be read: then anything
    /// may be in use.
    pub async fn oldest(&mut self, state: &State) -> Result<u64, bucket::Error> {
        self.seen.retain(|id, _| state.members().any(|node| node.id == *id));
        let mut oldest = u64::MAX;
        let own = self.node.clone();
        for node in state.members().filter(|node| node.id != own) {
            oldest = oldest.min(self.oldest_of(node).await?);
        }
        Ok(oldest)
    }

    async fn oldest_of(&mut self, node: &Node) -> Result<u64, bucket::Error> {
        let found = Heartbeat::find(&self.bucket, &node.id).await?;
        let now = self.clock.instant();
        let nonce = found.as_ref().map(|(nonce, _)| *nonce);
        let pulse = self.seen.entry(node.id.clone()).or_insert_with(|| Pulse::first(nonce, now));
        pulse.look(nonce, now);
        Ok(match found {
            _ if pulse.is_still() => u64::MAX,
            None => 0,
            // It left, unless its successor is about to say that it came.
            Some((_, heartbeat)) if heartbeat.stopped && heartbeat.is_of(node) => u64::MAX,
            // A program that does not say it yet relies on the waiting time alone.
            Some((_, heartbeat)) => heartbeat.in_use.unwrap_or(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::tests::join;
    use super::*;
    use crate::bucket::{InMemory, Store};
    use crate::catalog::Change;
    use crate::tasks::{Cpu, Tasks};

    #[tokio::test(start_paused = true)]
    async fn a_living_node_says_which_version_its_queries_read_and_a_dead_one_is_not_waited_for() {
        let store: Store = Arc::new(InMemory::new());
        let tasks = Tasks::new(Cpu::Here);
        let other = join(&store, "other", 1).await;
        other.start(&tasks);
        let own = join(&store, "own", 2).await;
        let mut in_use = InUse::new(own.bucket.clone(), own.clock.clone(), own.node().clone());
        let opened = other.catalog.state().version;
        let query = other.pins.pin(opened);
        own.clock.sleep(Duration::from_secs(60)).await;
        let newest = own.catalog.state();
        assert!(newest.version > opened);
        assert_eq!(in_use.oldest(&newest).await.unwrap(), opened, "its query is still under way");
        drop(query);
        own.clock.sleep(Duration::from_secs(6)).await;
        assert_eq!(in_use.oldest(&newest).await.unwrap(), newest.version, "the next one reads what it knows now");

        let query = other.pins.pin(newest.version - 1);
        own.clock.sleep(Duration::from_secs(6)).await;
        tasks.kill();
        for (seconds, expected) in [(0, newest.version - 1), (14, newest.version - 1), (2, u64::MAX)] {
            own.clock.sleep(Duration::from_secs(seconds)).await;
            assert_eq!(in_use.oldest(&newest).await.unwrap(), expected, "{seconds} s later");
        }
        drop(query);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_rows_of_its_own_reads_files_all_the_same() {
        let store: Store = Arc::new(InMemory::new());
        let other = join(&store, "other", 1).await;
        let seal = Change::CloseEpoch { node: other.node().clone(), epoch: other.epoch() };
        other.catalog.commit(|_| Ok((vec![seal.clone()], ()))).await.unwrap();
        let own = join(&store, "own", 2).await;
        let mut in_use = InUse::new(own.bucket.clone(), own.clock.clone(), own.node().clone());
        let _query = other.pins.pin(1);
        other.ready().await;
        assert_eq!(in_use.oldest(&own.catalog.state()).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_left_in_order_reads_nothing_and_one_without_a_heartbeat_may_read_anything() {
        let store: Store = Arc::new(InMemory::new());
        let other = join(&store, "other", 1).await;
        let own = join(&store, "own", 2).await;
        let mut in_use = InUse::new(own.bucket.clone(), own.clock.clone(), own.node().clone());
        let state = own.catalog.state();
        other.leave().await;
        assert_eq!(in_use.oldest(&state).await.unwrap(), u64::MAX);
        own.bucket.delete(vec![own.bucket.keys().heartbeat(other.node())]).await;
        assert_eq!(in_use.oldest(&state).await.unwrap(), 0);
    }
}
