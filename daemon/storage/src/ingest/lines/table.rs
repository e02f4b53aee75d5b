//! One table of a request: what is known of its columns, and the rows so far.
//!
//! # Promises
//! - `plan` decides everything about a line and changes nothing; `add` keeps a planned line and cannot fail. So a
//!   refused line leaves no column, no series and no value behind.
//!
//! # Not here
//! - The quick way for lines like the one before: `sticky`.

use std::sync::Arc;

use hashbrown::HashMap;

use super::Limits;
use super::fault::Fault;
use super::line::Line;
use crate::ingest::batch::{FieldBuilder, SeriesBuilder, TableBatch};
use crate::model::{Column, ColumnId, ColumnKind, Rows, TableId, TableSchema};

#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) name: Arc<str>,
    known: Option<Arc<TableSchema>>,
    new_columns: Vec<Column>,
    by_name: HashMap<Arc<str>, ColumnId>,
    /// By column id.
    places: Vec<Place>,
    /// The series key.
    tags: Vec<ColumnId>,
    pub(super) series: SeriesBuilder<'a>,
    pub(super) fields: Vec<FieldBuilder<'a>>,
    /// Fields by a spelling of their name, with the `=` behind it.
    pub(super) fields_by_key: HashMap<&'a [u8], usize>,
    /// The field with which the last line began.
    pub(super) first_field: usize,
    pub(super) row_series: Vec<u32>,
    pub(super) times: Vec<i64>,
}

/// Where the values of a column are.
#[derive(Debug, Clone, Copy)]
struct Place {
    kind: ColumnKind,
    /// In the series key or in `fields`; a field that no row has set yet has no index.
    index: Option<usize>,
}

/// What a good line means. Kept from line to line, so that its lists need no new memory.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The columns of the tags and of the fields, in the order of the line. Those at and above the number of columns
    /// of the table are the columns of `new`.
    tags: Vec<usize>,
    fields: Vec<usize>,
    new: Vec<Column>,
    new_by_name: HashMap<Arc<str>, usize>,
    sorted: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(name: &str, known: Option<Arc<TableSchema>>) -> Self {
        let name = known.as_ref().map_or_else(|| Arc::from(name), |schema| Arc::clone(&schema.name));
        let mut table = Self {
            name,
            known: None,
            new_columns: Vec::new(),
            by_name: HashMap::new(),
            places: Vec::new(),
            tags: Vec::new(),
            series: SeriesBuilder::default(),
            fields: Vec::new(),
            fields_by_key: HashMap::new(),
            first_field: 0,
            row_series: Vec::new(),
            times: Vec::new(),
        };
        for column in known.iter().flat_map(|schema| &schema.columns) {
            table.add_column(column);
        }
        table.known = known;
        table
    }

    pub(super) fn is_new(&self) -> bool {
        self.known.is_none()
    }

    fn add_column(&mut self, column: &Column) {
        let id = ColumnId(u16::try_from(self.places.len()).expect("limits keep a table below 65536 columns"));
        let index = (column.kind == ColumnKind::Tag).then_some(self.tags.len());
        self.tags.extend(index.map(|_| id));
        self.places.push(Place { kind: column.kind, index });
        self.by_name.insert(Arc::clone(&column.name), id);
    }

    /// Checks `line` against the columns and limits, and notes in `plan` what it means.
    pub(super) fn plan(&self, line: &Line<'a>, plan: &mut Plan, limits: &Limits) -> Result<(), Fault> {
        plan.clear();
        for (name, _) in &line.tags {
            let column = self.resolve(name, ColumnKind::Tag, plan);
            plan.tags.push(column);
        }
        plan.check_repeated(line)?;
        for ((name, _), column) in line.tags.iter().zip(&plan.tags) {
            self.check_kind(*column, name, ColumnKind::Tag, plan)?;
        }
        for field in &line.fields {
            let kind = ColumnKind::Field(field.value.field_type());
            let column = self.resolve(&field.name, kind, plan);
            self.check_kind(column, &field.name, kind, plan)?;
            plan.fields.push(column);
        }
        self.check_columns(plan, limits)
    }

    /// The column `name`; one that is not there yet is noted in the plan.
    fn resolve(&self, name: &str, kind: ColumnKind, plan: &mut Plan) -> usize {
        if let Some(id) = self.by_name.get(name) {
            return usize::from(id.0);
        }
        if let Some(column) = plan.new_by_name.get(name) {
            return *column;
        }
        let column = self.places.len() + plan.new.len();
        let name: Arc<str> = Arc::from(name);
        plan.new_by_name.insert(Arc::clone(&name), column);
        plan.new.push(Column { name, kind });
        column
    }

    fn check_kind(&self, column: usize, name: &str, got: ColumnKind, plan: &Plan) -> Result<(), Fault> {
        let expected = self.places.get(column).map_or_else(|| plan.new[column - self.places.len()].kind, |p| p.kind);
        if expected == got {
            return Ok(());
        }
        Err(Fault::ColumnType { column: name.to_owned(), expected: expected.full_name(), got: got.full_name() })
    }

    fn check_columns(&self, plan: &Plan, limits: &Limits) -> Result<(), Fault> {
        if plan.new.is_empty() {
            return Ok(());
        }
        // The time column counts.
        let columns = self.places.len() + plan.new.len() + 1;
        let limit = limits.columns_per_table.min(usize::from(u16::MAX));
        if columns > limit {
            return Err(Fault::ColumnLimit { table: self.name.to_string(), columns, limit });
        }
        let new_tags = plan.new.iter().filter(|c| c.kind == ColumnKind::Tag).count();
        let tags = self.tags.len() + new_tags;
        if new_tags > 0 && tags > limits.tags_per_table {
            let limit = limits.tags_per_table;
            return Err(Fault::TagLimit { table: self.name.to_string(), tags, limit });
        }
        Ok(())
    }

    /// How many values the rows and tag sets take: rows are held with a value for every field of the request, tag
    /// sets with a value for every tag of the table.
    pub(super) fn cells(&self) -> usize {
        self.times.len() * self.fields.len() + self.series.len() * self.tags.len()
    }

    /// `cells` once the line is kept. It is too high when the line names a field twice or spells known tags in a new
    /// way, which does no harm.
    pub(super) fn cells_with(&self, line: &Line<'a>, plan: &Plan) -> usize {
        let new_tags = plan.new.iter().filter(|c| c.kind == ColumnKind::Tag).count();
        let new_fields = plan.fields.iter().filter(|c| self.places.get(**c).is_none_or(|p| p.index.is_none())).count();
        let new_series = usize::from(self.series.find(line.tags_raw).is_none());
        (self.times.len() + 1) * (self.fields.len() + new_fields)
            + (self.series.len() + new_series) * (self.tags.len() + new_tags)
    }

    /// Keeps a line for which `plan` was made a moment ago.
    pub(super) fn add(&mut self, line: &Line<'a>, plan: &mut Plan, time: i64) {
        for column in plan.new.drain(..) {
            self.add_column(&column);
            self.new_columns.push(column);
        }
        let series = self.series.find(line.tags_raw).unwrap_or_else(|| self.add_series(line, plan));
        let row = self.times.len();
        let mut before: Option<usize> = None;
        for (field, column) in line.fields.iter().zip(&plan.fields) {
            let index = self.field_index(*column, field.key);
            match before {
                None => self.first_field = index,
                Some(before) => self.fields[before].next = index,
            }
            before = Some(index);
            // Of a field that stands twice in the line, the last value counts.
            self.fields[index].cut(row);
            assert!(self.fields[index].push(row, field.value), "the plan has checked the type");
        }
        self.row_series.push(series);
        self.times.push(time);
    }

    fn add_series(&mut self, line: &Line<'a>, plan: &mut Plan) -> u32 {
        let places = &self.places;
        let place = |tag: usize| places[plan.tags[tag]].index.expect("every tag has a place in the key");
        plan.sorted.clear();
        plan.sorted.extend(0..line.tags.len());
        plan.sorted.sort_unstable_by_key(|tag| place(*tag));
        let tags = plan.sorted.iter().map(|tag| {
            let place = u16::try_from(place(*tag)).expect("limits keep a table below 65536 columns");
            (place, &*line.tags[*tag].1)
        });
        self.series.insert(line.tags_raw, tags)
    }

    fn field_index(&mut self, column: usize, key: &'a str) -> usize {
        let place = &mut self.places[column];
        let index = *place.index.get_or_insert(self.fields.len());
        if index == self.fields.len() {
            let ColumnKind::Field(field_type) = place.kind else { unreachable!("the plan has checked the kind") };
            let id = ColumnId(u16::try_from(column).expect("limits keep a table below 65536 columns"));
            self.fields.push(FieldBuilder::new(id, key, field_type));
        }
        self.fields_by_key.insert(key.as_bytes(), index);
        index
    }

    pub(super) fn finish(self) -> TableBatch {
        let rows = self.times.len();
        let mut fields: Vec<_> = self.fields.into_iter().map(|field| field.finish(rows)).collect();
        fields.sort_unstable_by_key(|field| field.column);
        TableBatch {
            name: self.name,
            rows: Rows {
                table: self.known.as_ref().map_or(TableId(0), |schema| schema.table),
                series: self.series.finish(self.tags),
                row_series: self.row_series,
                times: self.times,
                fields,
            },
            known: self.known,
            new_columns: self.new_columns,
        }
    }
}

impl Plan {
    fn clear(&mut self) {
        let Self { tags, fields, new, new_by_name, sorted } = self;
        tags.clear();
        fields.clear();
        new.clear();
        new_by_name.clear();
        sorted.clear();
    }

    fn check_repeated(&mut self, line: &Line<'_>) -> Result<(), Fault> {
        self.sorted.clear();
        self.sorted.extend(0..self.tags.len());
        let columns = &self.tags;
        self.sorted.sort_unstable_by_key(|tag| (columns[*tag], *tag));
        let repeated = self.sorted.windows(2).find(|pair| columns[pair[0]] == columns[pair[1]]);
        repeated.map_or(Ok(()), |pair| Err(Fault::DuplicateTag(line.tags[pair[1]].0.to_string())))
    }
}
