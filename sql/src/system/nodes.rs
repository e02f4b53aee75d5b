//! `system.nodes`: the nodes that have been in the cluster; only in `_internal`.
//!
//! The catalog does not keep modes, so every node is shown with the modes of the first slice: all of them. A node
//! whose newest epoch is closed is `stopped`; one that crashed stays `running` until its epoch is closed for it.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringViewBuilder};
use arrow_array::{ArrayRef, StringViewArray, TimestampMillisecondArray, UInt32Array, UInt64Array};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef, TimeUnit};
use uuid::Uuid;

use super::{Definition, Place, World, full, optional, schema_of, texts};

pub(super) const TABLE: Definition = Definition { name: "nodes", place: Place::InternalOnly, schema, rows };

const MODES: [&str; 3] = ["ingest", "query", "compact"];

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
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let nodes: Vec<_> = world.state.nodes.values().collect();
    let mut modes = ListBuilder::new(StringViewBuilder::new());
    for _ in &nodes {
        modes.append_value(MODES.map(Some));
    }
    let registered = nodes.iter().map(|n| i64::try_from(n.registered_at_ms).ok());
    Ok(vec![
        texts(nodes.iter().map(|n| n.id.as_str())),
        Arc::new(UInt32Array::from_iter_values(nodes.iter().map(|n| u32::from(n.writer.slot())))),
        texts(nodes.iter().map(|n| Uuid::from_u128(n.instance).to_string())),
        Arc::new(modes.finish()),
        Arc::new(UInt64Array::from_iter_values(nodes.iter().map(|n| u64::from(n.core_count)))),
        texts(nodes.iter().map(|n| if n.sealed { "stopped" } else { "running" })),
        Arc::new(registered.collect::<TimestampMillisecondArray>()),
        Arc::new(StringViewArray::new_null(nodes.len())),
    ])
}
