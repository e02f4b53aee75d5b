//! Mode `ingest`: takes writes, keeps a log of its own, and makes files of it.

use std::time::Duration;

use super::Knobs;
use crate::config::NodeConfig;

/// A WAL object holds about so many bytes of line protocol.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// How long a write waits for the object store.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn config(config: &NodeConfig, knobs: &Knobs) -> storage::ingest::Config {
    storage::ingest::Config {
        flush_interval: knobs.flush_interval.clone(),
        group_bytes_max: GROUP_BYTES_MAX,
        waiting_writes_max: config.wal.waiting_writes_max,
        waiting_bytes_max: config.http.in_flight_bytes_max,
        buffer_bytes_max: knobs.buffer_bytes_max.clone(),
        answer_within: ANSWER_WITHIN,
    }
}
