//! `system.changes`: what operators asked for and got, the newest 1000 of the cluster.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringViewArray, TimestampMillisecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};

use super::{Definition, Place, Rows, World, full, optional, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "changes", place: Place::InternalOnly, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("catalog_version", DataType::UInt64),
        full("change_time", DataType::Timestamp(TimeUnit::Millisecond, None)),
        optional("user_name", DataType::Utf8View),
        full("door", DataType::Utf8View),
        full("node_id", DataType::Utf8View),
        full("statement", DataType::Utf8View),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let audit = &world.state.audit;
    let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    Ok(vec![
        Arc::new(UInt64Array::from_iter_values(audit.iter().map(|(version, _)| *version))),
        Arc::new(TimestampMillisecondArray::from_iter_values(audit.iter().map(|(_, record)| ms(record.at_ms)))),
        Arc::new(audit.iter().map(|(_, record)| record.by.as_deref()).collect::<StringViewArray>()),
        texts(audit.iter().map(|(_, record)| &record.door)),
        texts(audit.iter().map(|(_, record)| &record.node)),
        texts(audit.iter().map(|(_, record)| &record.statement)),
    ])
}
