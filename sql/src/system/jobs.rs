//! `system.jobs`: what each node does in the background at this moment.

use arrow_array::{ArrayRef, DurationNanosecondArray, StringArray, TimestampNanosecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use storage::catalog::Access;
use storage::tasks::{About, Running};

use super::log::now_ns;
use super::{Definition, Facts, Place, Rows, column, duration, full, optional, schema_of};

pub(super) const TABLE: Definition = Definition { name: "jobs", place: Place::InternalOnly, schema, rows: ROWS };

const ROWS: Rows = Rows::OfEachNode { mode: None, rows };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("kind", DataType::Utf8),
        optional("database_name", DataType::Utf8),
        optional("table_name", DataType::Utf8),
        optional("source_node", DataType::Utf8),
        optional("input_files", DataType::UInt64),
        optional("rows", DataType::UInt64),
        optional("bytes", DataType::UInt64),
        full("since", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        full("running_for", duration()),
    ])
}

fn rows(facts: &Facts, _: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    let (all, now) = (facts.insight.jobs.running(), now_ns());
    let count = |of: fn(&About) -> Option<u64>| column::<UInt64Array, _, _>(&all, |job: &Running| of(&job.about));
    Ok(vec![
        column::<StringArray, _, _>(&all, |job| Some(job.kind.to_string())),
        column::<StringArray, _, _>(&all, |job| job.about.table.as_ref().map(|(database, _)| database.to_string())),
        column::<StringArray, _, _>(&all, |job| job.about.table.as_ref().map(|(_, table)| table.to_string())),
        column::<StringArray, _, _>(&all, |job| job.about.adopted.as_ref().map(ToString::to_string)),
        count(|about| about.files),
        count(|about| about.rows),
        count(|about| about.bytes),
        column::<TimestampNanosecondArray, _, _>(&all, |job| Some(job.since_ns)),
        column::<DurationNanosecondArray, _, _>(&all, |job| Some(now.saturating_sub(job.since_ns).max(0))),
    ])
}
