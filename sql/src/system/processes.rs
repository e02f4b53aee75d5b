//! `system.processes`: how the process of each node does: processor, memory, I/O threads, and how well it knows the rest.

use std::time::Duration;

use arrow_array::{ArrayRef, DurationNanosecondArray, Float64Array, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use metrics::vitals::Figures;
use storage::catalog::Access;

use super::{Definition, Facts, Place, Rows, column, duration, nanoseconds, optional, schema_of};
use crate::tables::FooterUse;

pub(super) const TABLE: Definition = Definition { name: NAME, place: Place::InternalOnly, schema, rows: ROWS };

pub(super) const NAME: &str = "processes";

const ROWS: Rows = Rows::OfEachNode { mode: None, rows };

fn schema() -> SchemaRef {
    schema_of(vec![
        optional("uptime", duration()),
        optional("cpu_ratio", DataType::Float64),
        optional("cpu_count", DataType::UInt64),
        optional("memory_bytes", DataType::UInt64),
        optional("memory_limit_bytes", DataType::UInt64),
        optional("io_threads", DataType::UInt64),
        optional("io_busy_ratio", DataType::Float64),
        optional("query_memory_bytes", DataType::UInt64),
        optional("query_memory_limit_bytes", DataType::UInt64),
        optional("footer_cache_bytes", DataType::UInt64),
        optional("footer_cache_limit_bytes", DataType::UInt64),
        optional("footer_cache_hits", DataType::UInt64),
        optional("footer_cache_misses", DataType::UInt64),
        optional("catalog_version", DataType::UInt64),
        optional("catalog_lag", duration()),
        optional("replica_lag", duration()),
    ])
}

fn rows(facts: &Facts, _: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    let figures = facts.vitals();
    let (catalog, pool) = (facts.insight.catalog(), facts.pool());
    let count = |count: Option<u64>| column::<UInt64Array, _, _>(&[count], |count| *count);
    let ratio = |ratio: Option<f64>| column::<Float64Array, _, _>(&[ratio], |ratio| *ratio);
    let time = |time: Option<Duration>| column::<DurationNanosecondArray, _, _>(&[time], |time| time.map(nanoseconds));
    let footers = facts.footers();
    let kept = |of: fn(&FooterUse) -> u64| count(footers.as_ref().map(of));
    let of = |of: fn(&Figures) -> u64| count(figures.as_ref().map(of));
    Ok(vec![
        time(figures.as_ref().and_then(|figures| figures.uptime)),
        ratio(figures.as_ref().and_then(|figures| figures.cpu_ratio)),
        of(|figures| figures.cpus as u64),
        count(figures.as_ref().and_then(|figures| figures.memory_bytes)),
        of(|figures| figures.memory_limit_bytes),
        of(|figures| figures.io_threads as u64),
        ratio(figures.as_ref().and_then(|figures| figures.io_busy_ratio)),
        count(pool.map(|pool| pool.reserved_bytes as u64)),
        count(pool.and_then(|pool| pool.limit_bytes).map(|bytes| bytes as u64)),
        kept(|footers| footers.bytes),
        kept(|footers| footers.bytes_max),
        kept(|footers| footers.hits),
        kept(|footers| footers.misses),
        count(catalog.map(|catalog| catalog.version)),
        time(catalog.map(|catalog| catalog.age)),
        time(facts.insight.replica_lag()),
    ])
}
