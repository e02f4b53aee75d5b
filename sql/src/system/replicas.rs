//! `system.replicas`: how well each node that answers queries knows the logs of the others.

use arrow_array::{ArrayRef, DurationNanosecondArray, StringArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::catalog::Access;
use storage::model::Mode;
use storage::replica::Followed;

use super::{Definition, Facts, Place, Rows, column, duration, full, nanoseconds, optional, schema_of};

pub(super) const TABLE: Definition = Definition { name: "replicas", place: Place::InternalOnly, schema, rows: ROWS };

const ROWS: Rows = Rows::OfEachNode { mode: Some(Mode::Query), rows };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("source_node", DataType::Utf8),
        full("applied_position", DataType::UInt64),
        full("rows_waiting", DataType::UInt64),
        full("bytes_waiting", DataType::UInt64),
        optional("lag", duration()),
        optional("trouble", DataType::Utf8),
    ])
}

fn rows(facts: &Facts, _: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    let all = facts.insight.followed();
    let count = |of: fn(&Followed) -> u64| column::<UInt64Array, _, _>(&all, |followed| Some(of(followed)));
    Ok(vec![
        column::<StringArray, _, _>(&all, |followed| Some(followed.node.to_string())),
        count(|followed| followed.applied.0),
        count(|followed| followed.rows),
        count(|followed| followed.bytes as u64),
        column::<DurationNanosecondArray, _, _>(&all, |followed| followed.lag.map(nanoseconds)),
        column::<StringArray, _, _>(&all, |followed| Some(followed.trouble.as_ref()?.reason().to_owned())),
    ])
}
