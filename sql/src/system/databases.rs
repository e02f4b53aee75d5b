//! `system.databases`: the databases the asker may read, dropped ones among them. In the original it stands only in
//! `_internal`; here everyone may ask what there is to read.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::catalog::Action;

use super::{Definition, Place, Rows, World, full, hard_deletions, optional, schema_of, seconds_utc, texts};

pub(super) const TABLE: Definition =
    Definition { name: "databases", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("database_name", DataType::Utf8View),
        optional("retention_period_ns", DataType::UInt64),
        full("deleted", DataType::Boolean),
        optional("hard_deletion_time", seconds_utc()),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let all = world.state.databases.values();
    let shown: Vec<_> = all.filter(|d| world.access.allows(Some(d.id), Action::Read)).collect();
    Ok(vec![
        texts(shown.iter().map(|d| &d.name)),
        Arc::new(shown.iter().map(|d| d.retention_ns).collect::<UInt64Array>()),
        Arc::new(shown.iter().map(|d| Some(d.dropped.is_some())).collect::<BooleanArray>()),
        hard_deletions(shown.iter().map(|d| &d.dropped)),
    ])
}
