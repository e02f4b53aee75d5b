//! `system.generation_durations`: the widths of the time windows into which rows are cut as they become files; only in
//! `_internal`. Compaction makes wider windows of them in the steps that its node was started with.

use arrow_array::{ArrayRef, UInt8Array, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::snapshot::LEVEL_WIDTHS;

use super::{Definition, Place, Rows, World, column, full, schema_of};

pub(super) const TABLE: Definition =
    Definition { name: "generation_durations", place: Place::InternalOnly, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![full("level", DataType::UInt8), full("duration_seconds", DataType::UInt64)])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let gen1 = world.state.fixed.get("gen1-duration").and_then(|text| text.strip_suffix('s')?.parse().ok());
    let first = gen1.map(|seconds: u64| (1, seconds));
    let levels: Vec<(u8, u64)> =
        first.into_iter().chain((2..).zip(LEVEL_WIDTHS.map(|width| width.as_secs()))).collect();
    Ok(vec![
        column::<UInt8Array, _, _>(&levels, |(level, _)| Some(*level)),
        column::<UInt64Array, _, _>(&levels, |(_, seconds)| Some(*seconds)),
    ])
}
