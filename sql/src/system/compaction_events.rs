//! `system.compaction_events`: what compaction did on each node since it started, newest last, of all databases that the
//! asker may read.

use std::sync::Arc;

use arrow_array::{ArrayRef, DurationNanosecondArray, StringArray, TimestampNanosecondArray};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use storage::catalog::{Access, Action};
use storage::model::Mode;

use super::{Definition, Facts, Place, Rows, full, schema_of};

pub(super) const TABLE: Definition =
    Definition { name: "compaction_events", place: Place::Everywhere, schema, rows: ROWS };

const ROWS: Rows = Rows::OfEachNode { mode: Some(Mode::Compact), rows };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("event_time", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        full("event_type", DataType::Utf8),
        full("event_duration", DataType::Duration(TimeUnit::Nanosecond)),
        full("event_status", DataType::Utf8),
        full("event_data", DataType::Utf8),
    ])
}

fn rows(facts: &Facts, access: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut events = facts.insight.events.all();
    events.retain(|event| access.allows(Some(event.database), Action::Read));
    let nanoseconds = |took: std::time::Duration| i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
    Ok(vec![
        Arc::new(TimestampNanosecondArray::from_iter_values(events.iter().map(|e| e.at_ns))),
        Arc::new(StringArray::from_iter_values(events.iter().map(|e| e.kind.text()))),
        Arc::new(DurationNanosecondArray::from_iter_values(events.iter().map(|e| nanoseconds(e.took)))),
        Arc::new(StringArray::from_iter_values(events.iter().map(|e| e.status.text()))),
        Arc::new(StringArray::from_iter_values(events.iter().map(|e| &e.data))),
    ])
}
