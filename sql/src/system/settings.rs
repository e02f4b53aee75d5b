//! `system.settings`: what each node was started with and what operators changed since.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, StringArray};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use storage::catalog::Access;

use super::{Definition, Facts, Place, Rows, full, optional, schema_of};
use crate::settings::{Live, Shown};

pub(super) const TABLE: Definition = Definition { name: "settings", place: Place::InternalOnly, schema, rows: ROWS };

const ROWS: Rows = Rows::OfEachNode { mode: None, rows };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("name", DataType::Utf8),
        optional("value", DataType::Utf8),
        optional("unit", DataType::Utf8),
        optional("default_value", DataType::Utf8),
        full("source", DataType::Utf8),
        full("is_live", DataType::Boolean),
        optional("min_value", DataType::Utf8),
        optional("max_value", DataType::Utf8),
        optional("description", DataType::Utf8),
        optional("trouble", DataType::Utf8),
    ])
}

fn rows(facts: &Facts, _: &Access) -> Result<Vec<ArrayRef>, ArrowError> {
    let shown = facts.settings.shown();
    let texts = |of: &dyn Fn(&Shown) -> Option<String>| Arc::new(shown.iter().map(of).collect::<StringArray>());
    let live = |of: &dyn Fn(&Live) -> String| texts(&|shown: &Shown| shown.live.as_ref().map(of));
    Ok(vec![
        texts(&|shown| Some(shown.name.clone())),
        texts(&|shown| shown.value.clone()),
        live(&|live| live.dial.unit().to_owned()),
        texts(&|shown| shown.default.clone()),
        texts(&|shown| Some(shown.source.text().to_owned())),
        Arc::new(shown.iter().map(|shown| Some(shown.live.is_some())).collect::<BooleanArray>()),
        texts(&|shown| Some(shown.live.as_ref()?.dial.range()?.0)),
        texts(&|shown| Some(shown.live.as_ref()?.dial.range()?.1)),
        live(&|live| live.about.to_owned()),
        texts(&|shown| shown.trouble.clone()),
    ])
}
