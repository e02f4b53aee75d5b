//! Measuring: a registry that is handed in, figures of the process, the host and the thread pools, and the text that
//! scrapers read.
//!
//! # Promises
//! - No statics: two registries in one process know nothing of each other.
//! - `Registry::text` is accepted by `promtool check metrics` without a finding, because names are checked when they
//!   are registered.
//! - Memory is bounded: a family keeps at most `SERIES_MAX` series.
//!
//! # Not here
//! - What the other packages measure: each room declares its few families in its own `metrics.rs`.
//! - Figures of the allocator: the program that chooses one adds them through `Registry::on_scrape`.
//! - Serving the text over HTTP.
//!
//! The order of the rooms below is the order of dependence: a room uses only rooms declared above it.

mod registry;
pub mod process;
pub mod host;
pub mod runtime;
pub mod vitals;
pub mod recent;
pub mod text;

pub use registry::{
    BYTES, Counter, CounterVec, DURATION_SECONDS, Gauge, GaugeVec, Histogram, HistogramVec, Registry, SERIES_MAX,
};
