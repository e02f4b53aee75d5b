use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use metrics::{Counter, CounterVec, Registry};

use super::Replica;

/// What following other nodes measures.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    objects: CounterVec,
    pub(super) lost: Counter,
}

impl Metrics {
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        Self {
            objects: registry.counter_vec(
                "influxdb3_replica_objects_total",
                "Log objects of other nodes that were applied, by where they came from: push or store.",
                &["source"],
            ),
            lost: registry.counter(
                "influxdb3_replica_lines_lost_total",
                "Lines to other nodes that broke or did not come about; each is called again.",
            ),
            registry: registry.clone(),
        }
    }

    pub(super) fn pushed(&self) -> Counter {
        self.objects.with(&["push"])
    }

    pub(super) fn fetched(&self) -> Counter {
        self.objects.with(&["store"])
    }

    /// How far behind each node that is followed was last known not to be; one series for each of them.
    pub(super) fn watch(&self, replica: &Arc<Replica>) {
        let lag = self.registry.gauge_vec(
            "influxdb3_replica_lag_seconds",
            "Time since all that a node had stored is known to be here.",
            &["node"],
        );
        let (replica, mut shown): (Weak<Replica>, BTreeSet<String>) = (Arc::downgrade(replica), BTreeSet::new());
        self.registry.on_scrape(move || {
            let lags = replica.upgrade().map(|replica| replica.lags()).unwrap_or_default();
            let now: BTreeSet<String> = lags.iter().map(|(node, _)| node.to_string()).collect();
            shown.difference(&now).for_each(|gone| lag.remove(&[gone]));
            for (node, behind) in &lags {
                lag.with(&[&node.to_string()]).set(behind.map_or(f64::INFINITY, |behind| behind.as_secs_f64()));
            }
            shown = now;
        });
    }
}
