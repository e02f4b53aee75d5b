//! `system.tokens`: the tokens, without their secrets; only in `_internal`.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringViewArray, TimestampMillisecondArray, UInt64Array};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use storage::catalog::{Token, permissions_text};

use super::{Definition, Place, Rows, World, full, optional, schema_of, texts};

pub(super) const TABLE: Definition =
    Definition { name: "tokens", place: Place::InternalOnly, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    let at = || DataType::Timestamp(TimeUnit::Millisecond, None);
    schema_of(vec![
        full("token_id", DataType::UInt64),
        full("name", DataType::Utf8View),
        full("hash", DataType::Utf8View),
        full("created_at", at()),
        optional("description", DataType::Utf8View),
        optional("created_by_token_id", DataType::UInt64),
        optional("updated_at", at()),
        optional("updated_by_token_id", DataType::UInt64),
        optional("expiry", at()),
        full("permissions", DataType::Utf8View),
    ])
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let tokens: Vec<&Token> = world.state.tokens.values().map(AsRef::as_ref).collect();
    let at = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    Ok(vec![
        Arc::new(UInt64Array::from_iter_values(tokens.iter().map(|t| t.id.0))),
        texts(tokens.iter().map(|t| &t.name)),
        texts(tokens.iter().map(|t| t.hash.get(..9).unwrap_or_default())),
        Arc::new(TimestampMillisecondArray::from_iter_values(tokens.iter().map(|t| at(t.created_at_ms)))),
        Arc::new(StringViewArray::new_null(tokens.len())),
        Arc::new(tokens.iter().map(|t| t.created_by.map(|id| id.0)).collect::<UInt64Array>()),
        Arc::new(TimestampMillisecondArray::new_null(tokens.len())),
        Arc::new(UInt64Array::new_null(tokens.len())),
        Arc::new(tokens.iter().map(|t| t.expires_at_ms.map(at)).collect::<TimestampMillisecondArray>()),
        texts(tokens.iter().map(|t| permissions_text(t, &world.state))),
    ])
}
