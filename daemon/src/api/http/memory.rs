//! What the allocator holds, as metrics.

use metrics::Registry;
use tikv_jemalloc_ctl::{epoch, stats};

/// Reads the allocator's figures anew for each scrape. A build with another allocator shows none.
pub(super) fn register(registry: &Registry) {
    let gauges = registry.gauge_vec("jemalloc_memstats_bytes", "Memory as the allocator sees it", &["stat"]);
    registry.on_scrape(move || {
        if epoch::advance().is_err() {
            return;
        }
        let figures = [
            ("active", stats::active::read()),
            ("allocated", stats::allocated::read()),
            ("metadata", stats::metadata::read()),
            ("mapped", stats::mapped::read()),
            ("resident", stats::resident::read()),
            ("retained", stats::retained::read()),
        ];
        for (stat, value) in figures {
            if let Ok(value) = value {
                #[expect(clippy::cast_precision_loss, reason = "a gauge needs no exact bytes")]
                gauges.with(&[stat]).set(value as f64);
            }
        }
    });
}
