//! Mode `compact`: merges small files into large ones.

use crate::config::NodeConfig;

/// The files of one compaction plan, which are held in memory.
const INPUT_BYTES_MAX: u64 = 256 << 20;

pub(super) fn config(config: &NodeConfig) -> storage::compaction::Config {
    let compact = config.compact.clone();
    storage::compaction::Config {
        check_every: compact.check_every,
        widths: compact.widths,
        files_max: compact.files_max,
        rows_max: compact.rows_max,
        input_bytes_max: INPUT_BYTES_MAX,
    }
}
