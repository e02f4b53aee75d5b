//! `system.nodes`: the nodes that have been in the cluster; only in `_internal`.
//!
//! The first columns are those of the original. `state` is `joining` until the node is ready, `running`, `stopping`,
//! `stopped` once its process is gone and all its rows are in files, `lost` when the process is gone and rows may be
//! outside files, and `removed`. Whether a process lives is what the node that answers has seen of its heartbeat by its own
//! clock: `heartbeat_age` is how long ago that moved. What only the process knows comes from it (see `processes`); when it
//! does not answer, that is null and `warning` tells why.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{ListBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, DurationNanosecondType, Float64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, DurationMillisecondArray, PrimitiveArray, RecordBatch, StringViewArray,
    TimestampMillisecondArray, UInt32Array, UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef, TimeUnit};
use storage::catalog::Node;
use uuid::Uuid;

use super::log::now_ns;
use super::{Definition, Place, Rows, World, column, duration, full, optional, processes, schema_of, texts};

pub(super) const TABLE: Definition = Definition { name: "nodes", place: Place::InternalOnly, schema, rows: ROWS };

const ROWS: Rows = Rows::Joined { with: processes::NAME, first: "uptime", rows };

fn schema() -> SchemaRef {
    let modes = DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true)));
    schema_of(vec![
        full("node_id", DataType::Utf8View),
        full("node_catalog_id", DataType::UInt32),
        full("instance_id", DataType::Utf8View),
        full("mode", modes),
        full("core_count", DataType::UInt64),
        full("state", DataType::Utf8View),
        optional("updated_at", DataType::Timestamp(TimeUnit::Millisecond, None)),
        optional("cli_params", DataType::Utf8View),
        optional("heartbeat_age", DataType::Duration(TimeUnit::Millisecond)),
        full("sealed", DataType::Boolean),
        full("epoch", DataType::UInt32),
        optional("http_address", DataType::Utf8View),
        optional("internode_address", DataType::Utf8View),
        full("version", DataType::Utf8View),
        optional("last_heartbeat", DataType::Timestamp(TimeUnit::Millisecond, None)),
        optional("uptime", duration()),
        optional("cpu_ratio", DataType::Float64),
        optional("memory_bytes", DataType::UInt64),
        optional("memory_limit_bytes", DataType::UInt64),
        optional("catalog_version", DataType::UInt64),
        optional("catalog_lag", duration()),
        optional("replica_lag", duration()),
        optional("warning", DataType::Utf8View),
    ])
}

/// What the process of a node told of itself: the batch, and the row in it.
type Told<'a> = Option<(&'a RecordBatch, usize)>;

fn told_by<'a>(node: &Node, processes: &'a [RecordBatch]) -> Told<'a> {
    processes.iter().find_map(|batch| {
        let nodes = batch.column_by_name("node_id")?.as_string::<i32>();
        Some((batch, nodes.iter().position(|id| id == Some(node.id.as_str()))?))
    })
}

/// One figure of every process.
fn figures<A: ArrowPrimitiveType>(told: &[Told<'_>], name: &str) -> ArrayRef
where
    PrimitiveArray<A>: FromIterator<Option<A::Native>>,
{
    column::<PrimitiveArray<A>, _, _>(told, |told| {
        let (batch, row) = (*told)?;
        let figures = batch.column_by_name(name)?.as_primitive_opt::<A>()?;
        figures.is_valid(row).then(|| figures.value(row))
    })
}

fn warning(told: &Told<'_>) -> Option<String> {
    let (batch, row) = (*told)?;
    let warnings = batch.column_by_name("warning")?.as_string_opt::<i32>()?;
    warnings.is_valid(row).then(|| warnings.value(row).to_owned())
}

fn rows(world: &World, processes: &[RecordBatch]) -> Result<Vec<ArrayRef>, ArrowError> {
    let nodes: Vec<&Node> = world.state.nodes.values().map(|node| &**node).collect();
    let mut modes = ListBuilder::new(StringViewBuilder::new());
    for node in &nodes {
        let newer = node.description.newer_modes.iter().map(|name| Some(&**name));
        modes.append_value(node.description.modes.iter().map(|mode| Some(mode.name())).chain(newer));
    }
    let registered = nodes.iter().map(|n| i64::try_from(n.registered_at_ms).ok());
    let millis = |age: Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let ages: Vec<Option<i64>> = nodes.iter().map(|node| world.lives.age(&node.id).map(millis)).collect();
    let (now_ms, told) = (now_ns() / 1_000_000, nodes.iter().map(|node| told_by(node, processes)).collect::<Vec<_>>());
    Ok(vec![
        texts(nodes.iter().map(|n| n.id.as_str())),
        Arc::new(UInt32Array::from_iter_values(nodes.iter().map(|n| u32::from(n.writer.slot())))),
        texts(nodes.iter().map(|n| Uuid::from_u128(n.instance).to_string())),
        Arc::new(modes.finish()),
        Arc::new(UInt64Array::from_iter_values(nodes.iter().map(|n| u64::from(n.core_count)))),
        texts(nodes.iter().map(|n| world.lives.condition(n).to_string())),
        Arc::new(registered.collect::<TimestampMillisecondArray>()),
        texts(nodes.iter().map(|n| &n.description.options)),
        column::<DurationMillisecondArray, _, _>(&ages, |age| *age),
        Arc::new(nodes.iter().map(|n| Some(n.sealed)).collect::<BooleanArray>()),
        Arc::new(UInt32Array::from_iter_values(nodes.iter().map(|n| n.epoch.0))),
        Arc::new(nodes.iter().map(|n| n.description.http.as_deref()).collect::<StringViewArray>()),
        Arc::new(nodes.iter().map(|n| n.description.internode.as_deref()).collect::<StringViewArray>()),
        texts(nodes.iter().map(|n| &n.description.version)),
        column::<TimestampMillisecondArray, _, _>(&ages, |age| age.map(|age| now_ms - age)),
        figures::<DurationNanosecondType>(&told, "uptime"),
        figures::<Float64Type>(&told, "cpu_ratio"),
        figures::<UInt64Type>(&told, "memory_bytes"),
        figures::<UInt64Type>(&told, "memory_limit_bytes"),
        figures::<UInt64Type>(&told, "catalog_version"),
        figures::<DurationNanosecondType>(&told, "catalog_lag"),
        figures::<DurationNanosecondType>(&told, "replica_lag"),
        column::<StringViewArray, _, _>(&told, warning),
    ])
}
