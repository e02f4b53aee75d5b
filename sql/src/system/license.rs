//! `system.license`: one row that says that there is nothing to be licensed, so that tools which ask go on. Only in
//! `_internal`.

use arrow_array::{ArrayRef, StringViewArray, TimestampMillisecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};

use super::{Definition, Place, Rows, World, column, full, optional, schema_of};

pub(super) const TABLE: Definition =
    Definition { name: "license", place: Place::InternalOnly, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("license_type", DataType::Utf8View),
        optional("licensed_cores", DataType::UInt64),
        full("available_cores", DataType::UInt64),
        optional("expires_at", DataType::Timestamp(TimeUnit::Millisecond, None)),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let cores: u64 = world.state.members().map(|node| u64::from(node.core_count)).sum();
    Ok(vec![
        column::<StringViewArray, _, _>(&["open"], |name| Some(*name)),
        column::<UInt64Array, _, _>(&[()], |()| None::<u64>),
        column::<UInt64Array, _, _>(&[cores], |cores| Some(*cores)),
        column::<TimestampMillisecondArray, _, _>(&[()], |()| None::<i64>),
    ])
}
