//! `system.queries`: the newest queries of each node, of all databases that the asker may read. The query that asks sees
//! itself. A query that named no database that exists, or `_internal`, is shown to admins alone: its text may tell what
//! others look for.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, BooleanArray, DurationNanosecondArray, Int64Array, StringArray, TimestampNanosecondArray};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use storage::catalog::{Access, Action};
use storage::model::Mode;

use super::log::{End, Row};
use super::{Definition, Facts, Place, Rows, full, optional, schema_of};

pub(super) const TABLE: Definition = Definition { name: "queries", place: Place::Everywhere, schema, rows: ROWS };

const ROWS: Rows = Rows::OfEachNode { mode: Some(Mode::Query), rows };

fn schema() -> SchemaRef {
    let duration = || DataType::Duration(TimeUnit::Nanosecond);
    schema_of(vec![
        full("id", DataType::Utf8),
        full("phase", DataType::Utf8),
        full("issue_time", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        full("query_type", DataType::Utf8),
        full("query_text", DataType::Utf8),
        optional("partitions", DataType::Int64),
        optional("parquet_files", DataType::Int64),
        optional("plan_duration", duration()),
        optional("permit_duration", duration()),
        optional("execute_duration", duration()),
        optional("end2end_duration", duration()),
        optional("compute_duration", duration()),
        optional("max_memory", DataType::Int64),
        full("success", DataType::Boolean),
        full("running", DataType::Boolean),
        full("cancelled", DataType::Boolean),
        optional("trace_id", DataType::Utf8),
        full("door", DataType::Utf8),
        optional("application_name", DataType::Utf8),
        full("database_name", DataType::Utf8),
        optional("user_name", DataType::Utf8),
        optional("rows", DataType::Int64),
        optional("error", DataType::Utf8),
    ])
}

fn rows(facts: &Facts, access: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut rows = facts.log.rows();
    rows.retain(|row| is_shown(row, access));
    let ended = |end: Option<End>| Arc::new(rows.iter().map(|r| Some(r.end == end)).collect::<BooleanArray>());
    Ok(vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.id.to_string()))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.phase))),
        Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|r| r.issued_ns))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.query_type))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.text))),
        counts(&rows, |r| r.partitions),
        counts(&rows, |r| r.parquet_files),
        durations(&rows, |r| r.plan),
        durations(&rows, |r| r.permit),
        durations(&rows, |r| r.execute),
        durations(&rows, |r| r.end2end),
        durations(&rows, |r| r.compute),
        counts(&rows, |r| r.memory_max),
        ended(Some(End::Success)),
        ended(None),
        ended(Some(End::Cancel)),
        Arc::new(StringArray::new_null(rows.len())),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.door))),
        Arc::new(rows.iter().map(|r| r.application.as_deref()).collect::<StringArray>()),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.database_name))),
        Arc::new(rows.iter().map(|r| r.user.as_deref()).collect::<StringArray>()),
        counts(&rows, |r| r.rows),
        Arc::new(rows.iter().map(|r| r.error.as_deref()).collect::<StringArray>()),
    ])
}

fn is_shown(row: &Row, access: &Access) -> bool {
    access.is_admin() || row.database.is_some_and(|id| access.allows(Some(id), Action::Read))
}

fn counts(rows: &[Row], of: fn(&Row) -> Option<usize>) -> ArrayRef {
    Arc::new(rows.iter().map(|r| of(r).and_then(|n| i64::try_from(n).ok())).collect::<Int64Array>())
}

fn durations(rows: &[Row], of: fn(&Row) -> Option<Duration>) -> ArrayRef {
    let nanoseconds = |r: &Row| of(r).map(|d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
    Arc::new(rows.iter().map(nanoseconds).collect::<DurationNanosecondArray>())
}
