//! Many requests as one group: the rows of each table together, in the order in which the requests came.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ColumnId, FieldColumn, Rows, SeriesSet, Strings, TableId, Values};

/// How many cells a group has when it is united: for each table its rows times all its fields and tags.
#[derive(Debug, Default)]
pub(super) struct Cells(BTreeMap<TableId, (usize, BTreeSet<ColumnId>)>);

impl Cells {
    pub(super) fn add(&mut self, tables: &[Rows]) {
        for rows in tables {
            let (count, columns) = self.0.entry(rows.table).or_default();
            *count += rows.len();
            columns.extend(rows.fields.iter().map(|f| f.column));
            columns.extend(&rows.series.tags);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.values().map(|(rows, columns)| rows * (columns.len() + 1)).sum()
    }
}

/// One `Rows` for each table.
pub(super) fn unite(all: Vec<Rows>) -> Vec<Rows> {
    let mut tables: BTreeMap<TableId, Vec<Rows>> = BTreeMap::new();
    for rows in all {
        tables.entry(rows.table).or_default().push(rows);
    }
    tables.into_values().map(unite_table).collect()
}

fn unite_table(mut parts: Vec<Rows>) -> Rows {
    if parts.len() == 1
        && let Some(only) = parts.pop()
    {
        return only;
    }
    let table = parts[0].table;
    let (series, row_series) = unite_series(&parts);
    let times = parts.iter().flat_map(|p| p.times.iter().copied()).collect();
    let mut columns: Vec<_> = parts.iter().flat_map(|p| p.fields.iter().map(|f| f.column)).collect();
    columns.sort_unstable();
    columns.dedup();
    let fields = columns.into_iter().map(|column| {
        let of_part = |part: &Rows| part.fields.iter().position(|f| f.column == column);
        let places: Vec<_> = parts.iter().map(of_part).collect();
        unite_field(&parts, &places)
    });
    Rows { table, series, row_series, times, fields: fields.collect() }
}

fn unite_series(parts: &[Rows]) -> (SeriesSet, Vec<u32>) {
    let mut tags: Vec<_> = parts.iter().flat_map(|p| p.series.tags.iter().copied()).collect();
    tags.sort_unstable();
    tags.dedup();
    let mut known: hashbrown::HashMap<Vec<&str>, u32> = hashbrown::HashMap::new();
    let mut set = SeriesSet { tags: tags.clone(), values: Strings::default(), len: 0 };
    let mut row_series = Vec::with_capacity(parts.iter().map(Rows::len).sum());
    for part in parts {
        let places: Vec<_> = tags.iter().map(|t| part.series.tags.iter().position(|p| p == t)).collect();
        let number = |index: usize| {
            let key: Vec<&str> = places.iter().map(|p| p.map_or("", |tag| part.series.value(index, tag))).collect();
            *known.entry(key).or_insert_with_key(|key| {
                key.iter().for_each(|value| set.values.push(value));
                set.len += 1;
                u32::try_from(set.len - 1).expect("fewer series than rows, and a group is far below 2^32 of them")
            })
        };
        let numbers: Vec<u32> = (0..part.series.len).map(number).collect();
        row_series.extend(part.row_series.iter().map(|s| numbers[*s as usize]));
    }
    (set, row_series)
}

/// One field of all parts; `places` says where it stands in each, if it does.
fn unite_field(parts: &[Rows], places: &[Option<usize>]) -> FieldColumn {
    let found: Vec<(&Rows, Option<&FieldColumn>)> =
        parts.iter().zip(places).map(|(part, place)| (part, place.map(|i| &part.fields[i]))).collect();
    let first = found.iter().find_map(|(_, f)| *f).expect("the column was taken from one of the parts");
    let mut values = empty_like(&first.values);
    let everywhere = found.iter().all(|(_, field)| field.is_some_and(|f| f.set.is_none()));
    let mut set = (!everywhere).then(Vec::new);
    for (part, field) in found {
        match field {
            Some(field) => append(&mut values, &field.values),
            None => append_blank(&mut values, part.len()),
        }
        if let Some(set) = &mut set {
            match field {
                Some(FieldColumn { set: Some(some), .. }) => set.extend_from_slice(some),
                Some(FieldColumn { set: None, .. }) => set.resize(set.len() + part.len(), true),
                None => set.resize(set.len() + part.len(), false),
            }
        }
    }
    FieldColumn { column: first.column, values, set }
}

fn empty_like(values: &Values) -> Values {
    match values {
        Values::Float(_) => Values::Float(Vec::new()),
        Values::Integer(_) => Values::Integer(Vec::new()),
        Values::UInteger(_) => Values::UInteger(Vec::new()),
        Values::Boolean(_) => Values::Boolean(Vec::new()),
        Values::String(_) => Values::String(Strings::default()),
    }
}

fn append(to: &mut Values, from: &Values) {
    match (to, from) {
        (Values::Float(to), Values::Float(from)) => to.extend_from_slice(from),
        (Values::Integer(to), Values::Integer(from)) => to.extend_from_slice(from),
        (Values::UInteger(to), Values::UInteger(from)) => to.extend_from_slice(from),
        (Values::Boolean(to), Values::Boolean(from)) => to.extend_from_slice(from),
        (Values::String(to), Values::String(from)) => (0..from.len()).for_each(|i| to.push(from.get(i))),
        (to, from) => panic!("the catalog gives a column one type, but {to:?} met {from:?}"),
    }
}

fn append_blank(to: &mut Values, rows: usize) {
    match to {
        Values::Float(to) => to.resize(to.len() + rows, 0.0),
        Values::Integer(to) => to.resize(to.len() + rows, 0),
        Values::UInteger(to) => to.resize(to.len() + rows, 0),
        Values::Boolean(to) => to.resize(to.len() + rows, false),
        Values::String(to) => (0..rows).for_each(|_| to.push("")),
    }
}
