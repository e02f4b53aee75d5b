//! Mode `compact`: merges small files into large ones.

use super::Knobs;
use crate::config::NodeConfig;

/// The files of one compaction plan, which are held in memory.
const INPUT_BYTES_MAX: u64 = 256 << 20;

pub(super) fn config(config: &NodeConfig, knobs: &Knobs) -> storage::compaction::Config {
    storage::compaction::Config {
        check_every: knobs.compaction_interval.clone(),
        widths: config.compact.widths.clone(),
        files_max: knobs.compaction_files_max.clone(),
        rows_max: knobs.compaction_rows_max.clone(),
        input_bytes_max: INPUT_BYTES_MAX,
    }
}
