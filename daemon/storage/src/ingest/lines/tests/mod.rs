mod grammar;
mod reference;
mod refusals;
mod schema;
mod seeds;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Limits, Options, Parsed, Schemas, parse};
use crate::ingest::batch::TableBatch;
use crate::ingest::{BadLines, LineError, Precision};
use crate::model::{Column, ColumnId, ColumnKind, FieldType, TableId, TableSchema, Values};

/// The time of arrival in all tests.
const NOW: i64 = 1_700_000_000_123_456_789;

/// A catalog with these tables.
#[derive(Default)]
struct Known(BTreeMap<String, Arc<TableSchema>>);

impl Schemas for Known {
    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        self.0.get(name).map(Arc::clone)
    }
}

impl Known {
    /// The table `cpu` with number 7: tag `host`, float `v`, tag `region`, string `s`.
    fn cpu() -> Self {
        let column = |name: &str, kind| Column { name: name.into(), kind };
        let columns = vec![
            column("host", ColumnKind::Tag),
            column("v", ColumnKind::Field(FieldType::Float)),
            column("region", ColumnKind::Tag),
            column("s", ColumnKind::Field(FieldType::String)),
        ];
        let schema = TableSchema { table: TableId(7), name: "cpu".into(), columns };
        Self([("cpu".to_owned(), Arc::new(schema))].into())
    }
}

fn options() -> Options {
    Options { precision: Precision::Nanosecond, bad_lines: BadLines::Skip, now_ns: NOW, limits: Limits::default() }
}

fn with_limits(change: impl FnOnce(&mut Limits)) -> Options {
    let mut options = options();
    change(&mut options.limits);
    options
}

#[track_caller]
fn parsed(body: &str, options: &Options, known: &Known) -> Parsed {
    let parsed = parse(body, options, known).expect("bad lines are skipped");
    for table in &parsed.tables {
        check_shape(table);
    }
    let rows: usize = parsed.tables.iter().map(|t| t.rows.len()).sum();
    assert_eq!(parsed.lines_kept, rows, "each kept line is a row");
    parsed
}

/// What `Rows` promises of itself.
#[track_caller]
fn check_shape(table: &TableBatch) {
    let rows = &table.rows;
    assert!(!rows.is_empty(), "a table without rows must not appear");
    assert_eq!(rows.row_series.len(), rows.len());
    assert_eq!(rows.series.values.len(), rows.series.len * rows.series.tags.len());
    let mut used = vec![false; rows.series.len];
    rows.row_series.iter().for_each(|s| used[*s as usize] = true);
    assert!(!used.contains(&false), "a series without rows must not appear");
    assert!(rows.fields.is_sorted_by(|a, b| a.column < b.column), "each field stands once");
    for field in &rows.fields {
        assert_eq!(field.values.len(), rows.len());
        if let Some(set) = &field.set {
            assert_eq!(set.len(), rows.len());
            assert!(set.contains(&true), "a field that no row sets must not appear");
            assert!(set.contains(&false), "`set` is only for fields that some row misses");
        }
    }
    let known = table.known.iter().flat_map(|k| &k.columns);
    let columns: Vec<_> = known.chain(&table.new_columns).map(|c| c.kind).collect();
    let tags = (0..columns.len()).filter(|i| columns[*i] == ColumnKind::Tag);
    assert!(tags.eq(rows.series.tags.iter().map(|t| usize::from(t.0))), "the key holds all tags in their order");
    let new = table.known.as_ref().map_or(0, |k| k.columns.len())..columns.len();
    for id in new {
        let id = ColumnId(id as u16);
        let tag = rows.series.tags.iter().position(|t| *t == id);
        let used = tag.is_some_and(|tag| (0..rows.series.len).any(|s| !rows.series.value(s, tag).is_empty()));
        assert!(used || rows.fields.iter().any(|f| f.column == id), "a new column that no row uses must not appear");
    }
}

/// One row, with names instead of numbers.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    table: String,
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, Cell>,
    time: i64,
}

#[derive(Debug, Clone, PartialEq)]
enum Cell {
    /// As bits, so that `-0.0` is not `0.0`.
    Float(u64),
    Integer(i64),
    UInteger(u64),
    Boolean(bool),
    String(String),
}

/// All rows, one table after the other.
fn rows(parsed: &Parsed) -> Vec<Row> {
    parsed.tables.iter().flat_map(|t| (0..t.rows.len()).map(|row| row_of(t, row))).collect()
}

fn row_of(table: &TableBatch, row: usize) -> Row {
    let rows = &table.rows;
    let known = table.known.iter().flat_map(|k| &k.columns);
    let names: Vec<_> = known.chain(&table.new_columns).map(|c| c.name.to_string()).collect();
    let name = |id: ColumnId| names[usize::from(id.0)].clone();
    let series = rows.row_series[row] as usize;
    let tag = |(i, id): (usize, &ColumnId)| (name(*id), rows.series.value(series, i).to_owned());
    let cell = |values: &Values| match values {
        Values::Float(v) => Cell::Float(v[row].to_bits()),
        Values::Integer(v) => Cell::Integer(v[row]),
        Values::UInteger(v) => Cell::UInteger(v[row]),
        Values::Boolean(v) => Cell::Boolean(v[row]),
        Values::String(v) => Cell::String(v.get(row).to_owned()),
    };
    let set = rows.fields.iter().filter(|f| f.set.as_ref().is_none_or(|set| set[row]));
    Row {
        table: table.name.to_string(),
        tags: rows.series.tags.iter().enumerate().map(tag).filter(|(_, v)| !v.is_empty()).collect(),
        fields: set.map(|f| (name(f.column), cell(&f.values))).collect(),
        time: rows.times[row],
    }
}

/// A row as a test writes it down: `table tag=value field=value time`, names and values as they are meant.
fn text(row: &Row) -> String {
    let mut text = row.table.clone();
    row.tags.iter().for_each(|(k, v)| text.push_str(&format!(" {k}={v}")));
    for (name, cell) in &row.fields {
        text.push_str(&match cell {
            Cell::Float(v) => format!(" {name}={:?}", f64::from_bits(*v)),
            Cell::Integer(v) => format!(" {name}={v}i"),
            Cell::UInteger(v) => format!(" {name}={v}u"),
            Cell::Boolean(v) => format!(" {name}={v}"),
            Cell::String(v) => format!(" {name}={v:?}"),
        });
    }
    format!("{text} {}", row.time)
}

/// All lines of `body` are kept, as these rows.
#[track_caller]
fn check(body: &str, expected: &[&str]) {
    check_with(body, &options(), &Known::default(), expected, &[]);
}

/// `body` gives these rows and these errors, each `line number: message`.
#[track_caller]
fn check_with(body: &str, options: &Options, known: &Known, expected: &[&str], errors: &[&str]) {
    let parsed = parsed(body, options, known);
    let texts: Vec<_> = rows(&parsed).iter().map(text).collect();
    assert_eq!(texts, expected, "rows of {body:?}, errors {:?}", parsed.rejected);
    assert_eq!(parsed.rejected.iter().map(error_text).collect::<Vec<_>>(), errors, "errors of {body:?}");
    assert_eq!(parsed.lines_rejected, errors.len());
}

fn error_text(error: &LineError) -> String {
    format!("{}: {}", error.line_number, error.message)
}
