//! `system.nodes`: the nodes that have been in the cluster; only in `_internal`.
//!
//! The first columns are those of the original. `state` is `joining` until the node is ready, `running`, `stopping`,
//! `stopped` once its process is gone and all its rows are in files, `lost` when the process is gone and rows may be
//! outside files, and `removed`. Whether a process lives is what the node that answers has seen of its heartbeat by its own
//! clock: `heartbeat_age` is how long ago that moved.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{ListBuilder, StringViewBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, DurationMillisecondArray, StringViewArray, TimestampMillisecondArray, UInt32Array,
    UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef, TimeUnit};
use storage::catalog::Node;
use uuid::Uuid;

use super::{Definition, Place, Rows, World, full, optional, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "nodes", place: Place::InternalOnly, schema, rows: Rows::OfCluster(rows) };

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
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let nodes: Vec<&Node> = world.state.nodes.values().map(|node| &**node).collect();
    let mut modes = ListBuilder::new(StringViewBuilder::new());
    for node in &nodes {
        let newer = node.description.newer_modes.iter().map(|name| Some(&**name));
        modes.append_value(node.description.modes.iter().map(|mode| Some(mode.name())).chain(newer));
    }
    let registered = nodes.iter().map(|n| i64::try_from(n.registered_at_ms).ok());
    let millis = |age: Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let ages = nodes.iter().map(|node| world.lives.age(&node.id).map(millis));
    Ok(vec![
        texts(nodes.iter().map(|n| n.id.as_str())),
        Arc::new(UInt32Array::from_iter_values(nodes.iter().map(|n| u32::from(n.writer.slot())))),
        texts(nodes.iter().map(|n| Uuid::from_u128(n.instance).to_string())),
        Arc::new(modes.finish()),
        Arc::new(UInt64Array::from_iter_values(nodes.iter().map(|n| u64::from(n.core_count)))),
        texts(nodes.iter().map(|n| world.lives.condition(n).to_string())),
        Arc::new(registered.collect::<TimestampMillisecondArray>()),
        texts(nodes.iter().map(|n| &n.description.options)),
        Arc::new(ages.collect::<DurationMillisecondArray>()),
        Arc::new(nodes.iter().map(|n| Some(n.sealed)).collect::<BooleanArray>()),
        Arc::new(UInt32Array::from_iter_values(nodes.iter().map(|n| n.epoch.0))),
        Arc::new(nodes.iter().map(|n| n.description.http.as_deref()).collect::<StringViewArray>()),
        Arc::new(nodes.iter().map(|n| n.description.internode.as_deref()).collect::<StringViewArray>()),
        texts(nodes.iter().map(|n| &n.description.version)),
    ])
}
