//! `system.documentation`: what the system tables and their columns mean. A row without a column is about the table.

mod words;

use arrow_array::{ArrayRef, StringViewArray};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use super::{Definition, Place, Rows, World, column, definitions, full, optional, schema_of};
use words::{OF_EACH_NODE, TABLES, TableWords};

pub(super) const TABLE: Definition =
    Definition { name: "documentation", place: Place::Everywhere, schema, rows: Rows::OfCluster(rows) };

fn schema() -> SchemaRef {
    schema_of(vec![
        full("table_name", DataType::Utf8View),
        optional("column_name", DataType::Utf8View),
        optional("data_type", DataType::Utf8View),
        optional("unit", DataType::Utf8View),
        full("description", DataType::Utf8View),
    ])
}

/// What a system table is.
pub(crate) fn table_words(table: &str) -> Option<&'static str> {
    find(table).map(|words| words.about)
}

/// What a column of a system table is, and its unit where it has one.
pub(crate) fn column_words(table: &str, column: &str) -> Option<(Option<&'static str>, &'static str)> {
    let own = find(table)?.columns.iter().find(|(name, ..)| *name == column);
    let (_, unit, about) = own.or_else(|| OF_EACH_NODE.iter().find(|(name, ..)| *name == column))?;
    Some((Some(*unit).filter(|unit| !unit.is_empty()), about))
}

fn find(table: &str) -> Option<&'static TableWords> {
    TABLES.iter().copied().flatten().find(|words| words.table == table)
}

struct Shown {
    table: &'static str,
    column: Option<ShownColumn>,
    about: &'static str,
}

struct ShownColumn {
    name: String,
    data_type: String,
    unit: Option<&'static str>,
}

fn rows(world: &World) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut shown = Vec::new();
    for definition in definitions(world) {
        let table = definition.name;
        shown.extend(table_words(table).map(|about| Shown { table, column: None, about }));
        for field in definition.shown().fields() {
            let Some((unit, about)) = column_words(table, field.name()) else { continue };
            let column = ShownColumn { name: field.name().clone(), data_type: field.data_type().to_string(), unit };
            shown.push(Shown { table, column: Some(column), about });
        }
    }
    let of_column = |of: fn(&ShownColumn) -> Option<String>| {
        column::<StringViewArray, _, _>(&shown, |shown: &Shown| shown.column.as_ref().and_then(of))
    };
    Ok(vec![
        column::<StringViewArray, _, _>(&shown, |shown| Some(shown.table)),
        of_column(|column| Some(column.name.clone())),
        of_column(|column| Some(column.data_type.clone())),
        of_column(|column| column.unit.map(str::to_owned)),
        column::<StringViewArray, _, _>(&shown, |shown| Some(shown.about)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_every_column_is_described_by_a_sentence() {
        let mut complaints = Vec::new();
        let is_sentence = |text: &str| {
            text.len() > 10 && text.ends_with('.') && text.starts_with(|first: char| first.is_ascii_uppercase())
        };
        for definition in super::super::TABLES {
            let table = definition.name;
            if !table_words(table).is_some_and(is_sentence) {
                complaints.push(format!("system.{table}"));
            }
            for field in definition.shown().fields() {
                if !column_words(table, field.name()).is_some_and(|(_, about)| is_sentence(about)) {
                    complaints.push(format!("system.{table}.{}", field.name()));
                }
            }
        }
        assert!(complaints.is_empty(), "without a description in documentation/words.rs: {complaints:#?}");
    }

    #[test]
    fn nothing_is_described_that_is_not_there() {
        let shown = |table: &str| super::super::TABLES.iter().find(|d| d.name == table).map(Definition::shown);
        for words in TABLES.iter().copied().flatten() {
            let schema = shown(words.table).unwrap_or_else(|| panic!("no table {}", words.table));
            for (name, ..) in words.columns {
                assert!(schema.field_with_name(name).is_ok(), "no column {}.{name}", words.table);
            }
        }
    }
}
