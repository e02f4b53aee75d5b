//! `system.object_store`: what each node asked of the object store since it started, by kind of call.

use arrow_array::{ArrayRef, DurationNanosecondArray, StringArray, TimestampNanosecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use storage::bucket::{Figures, Tally};
use storage::catalog::Access;

use super::{Definition, Facts, Place, Rows, column, duration, full, nanoseconds_of, optional, schema_of};

pub(super) const TABLE: Definition =
    Definition { name: "object_store", place: Place::InternalOnly, schema, rows: ROWS };

const ROWS: Rows = Rows::OfEachNode { mode: None, rows };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("op", DataType::Utf8),
        full("requests", DataType::UInt64),
        full("errors", DataType::UInt64),
        full("not_found", DataType::UInt64),
        full("already_exists", DataType::UInt64),
        full("canceled", DataType::UInt64),
        full("bytes", DataType::UInt64),
        optional("avg_latency", duration()),
        optional("p99_latency", duration()),
        full("max_latency", duration()),
        optional("last_error", DataType::Utf8),
        optional("last_error_time", DataType::Timestamp(TimeUnit::Nanosecond, None)),
    ])
}

fn rows(facts: &Facts, _: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    let all = facts.insight.store.figures();
    let count = |of: fn(&Tally) -> u64| column::<UInt64Array, _, _>(&all, |figures: &Figures| Some(of(&figures.tally)));
    let latency = |of: fn(&Figures) -> Option<f64>| {
        column::<DurationNanosecondArray, _, _>(&all, |figures: &Figures| of(figures).map(nanoseconds_of))
    };
    let last = |figures: &Figures| figures.tally.last_error.clone();
    Ok(vec![
        column::<StringArray, _, _>(&all, |figures| Some(figures.op.name())),
        count(|tally| tally.requests),
        count(|tally| tally.errors),
        count(|tally| tally.not_found),
        count(|tally| tally.exists),
        count(|tally| tally.canceled),
        count(|tally| tally.bytes),
        latency(|figures| figures.seconds_mean),
        latency(|figures| figures.seconds_p99),
        latency(|figures| Some(figures.tally.seconds_max)),
        column::<StringArray, _, _>(&all, |figures| last(figures).map(|(said, _)| said)),
        column::<TimestampNanosecondArray, _, _>(&all, |figures| last(figures).map(|(_, at_ns)| at_ns)),
    ])
}
