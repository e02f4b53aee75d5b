//! `system.wal`: how far the log of each node that takes writes is, and what of it waits for files.

use arrow_array::{ArrayRef, DurationNanosecondArray, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use storage::catalog::Access;
use storage::model::Mode;
use storage::node::LogStanding;

use super::{Definition, Facts, Place, Rows, column, duration, full, nanoseconds, nanoseconds_of, optional, schema_of};

pub(super) const TABLE: Definition = Definition { name: "wal", place: Place::InternalOnly, schema, rows: ROWS };

const ROWS: Rows = Rows::OfEachNode { mode: Some(Mode::Ingest), rows };

fn schema() -> SchemaRef {
    let at = || DataType::Timestamp(TimeUnit::Microsecond, None);
    schema_of(vec![
        full("epoch", DataType::UInt32),
        full("next_position", DataType::UInt64),
        full("persisted_position", DataType::UInt64),
        full("objects_waiting", DataType::UInt64),
        full("rows_waiting", DataType::UInt64),
        full("bytes_waiting", DataType::UInt64),
        full("sorted_bytes", DataType::UInt64),
        optional("oldest_unpersisted", at()),
        optional("oldest_age", duration()),
        optional("flush_p50", duration()),
        optional("flush_p99", duration()),
        optional("stamp_floor", at()),
    ])
}

fn rows(facts: &Facts, _: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    let logs: Vec<LogStanding> = facts.insight.log().into_iter().collect();
    let count = |of: fn(&LogStanding) -> u64| column::<UInt64Array, _, _>(&logs, |log| Some(of(log)));
    let took = |of: fn(&LogStanding) -> Option<f64>| {
        column::<DurationNanosecondArray, _, _>(&logs, |log| of(log).map(nanoseconds_of))
    };
    let at = |of: fn(&LogStanding) -> Option<u64>| {
        column::<TimestampMicrosecondArray, _, _>(&logs, |log| of(log).and_then(|micros| i64::try_from(micros).ok()))
    };
    Ok(vec![
        column::<UInt32Array, _, _>(&logs, |log| Some(log.epoch.0)),
        count(|log| log.next.0),
        count(|log| log.persisted.0),
        count(|log| log.next.0.saturating_sub(log.persisted.0 + 1)),
        count(|log| log.rows),
        count(|log| log.bytes as u64),
        count(|log| log.sorted_bytes as u64),
        at(|log| log.oldest.map(|(micros, _)| micros)),
        column::<DurationNanosecondArray, _, _>(&logs, |log| log.oldest.map(|(_, age)| nanoseconds(age))),
        took(|log| log.flush_seconds.0),
        took(|log| log.flush_seconds.1),
        at(|log| log.persisted_stamp.map(|stamp| stamp.micros())),
    ])
}
