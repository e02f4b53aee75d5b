//! The rows of one table while a request is read, row by row into columns.
//!
//! # Promises
//! - A column reaches only to the last row that set it; what is missing is filled in when it is next set, or at the
//!   end. So a row costs what it sets, and taking back the last row means cutting a few columns.
//! - Two spellings of one tag set (another order, needless backslashes) are one series.
//!
//! # Not here
//! - Names, types and limits: `lines`.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::lines::value::{Value, short_float, short_integer};
use crate::model::{Column, ColumnId, FieldColumn, FieldType, Rows, SeriesSet, Strings, TableSchema, Values};

/// Rows of one table in one request, in the order of the lines.
#[derive(Debug, Clone, PartialEq)]
pub struct TableBatch {
    pub name: Arc<str>,
    /// The schema the rows were checked against; `None` when the table is new.
    pub known: Option<Arc<TableSchema>>,
    /// In order of first appearance; their ids follow those of `known`.
    pub new_columns: Vec<Column>,
    /// With the id of `known`, or `TableId(0)` for the caller to replace when the table is new.
    pub rows: Rows,
}

/// The values of one field.
#[derive(Debug)]
pub(super) struct FieldBuilder<'a> {
    pub(super) column: ColumnId,
    /// A spelling of the name, with the `=` behind it.
    pub(super) key: &'a str,
    /// The field that followed this one last time.
    pub(super) next: usize,
    /// How many rows `values` and `set` reach over.
    len: usize,
    values: Values,
    set: Option<Vec<bool>>,
}

impl<'a> FieldBuilder<'a> {
    pub(super) fn new(column: ColumnId, key: &'a str, field_type: FieldType) -> Self {
        let values = match field_type {
            FieldType::Float => Values::Float(Vec::new()),
            FieldType::Integer => Values::Integer(Vec::new()),
            FieldType::UInteger => Values::UInteger(Vec::new()),
            FieldType::Boolean => Values::Boolean(Vec::new()),
            FieldType::String => Values::String(Strings::default()),
        };
        Self { column, key, next: 0, len: 0, values, set: None }
    }

    /// Whether row `row` has a value already.
    #[inline]
    pub(super) fn reaches(&self, row: usize) -> bool {
        self.len > row
    }

    /// Sets the field in row `row`, to which it must not reach yet. `false` when the value is of another type; then
    /// nothing is set.
    #[inline]
    pub(super) fn push(&mut self, row: usize, value: Value<'_>) -> bool {
        if self.len < row {
            self.fill(row);
        }
        match (&mut self.values, value) {
            (Values::Float(values), Value::Float(value)) => values.push(value),
            (Values::Integer(values), Value::Integer(value)) => values.push(value),
            (Values::UInteger(values), Value::UInteger(value)) => values.push(value),
            (Values::Boolean(values), Value::Boolean(value)) => values.push(value),
            (Values::String(values), Value::String(value)) => values.push(&value.text()),
            _ => return false,
        }
        self.len += 1;
        if let Some(set) = &mut self.set {
            set.push(true);
        }
        true
    }

    /// `push` for the number that begins at `start`; says where it ends. `None`, and nothing set, for what is not a
    /// short number of the type of this field.
    ///
    /// The type is chosen before the text is read, so that a number goes from a register into its column.
    #[inline]
    pub(super) fn push_number(&mut self, row: usize, text: &[u8], start: usize) -> Option<usize> {
        if self.len < row {
            self.fill(row);
        }
        let end = match &mut self.values {
            Values::Integer(values) => {
                let (value, end) = short_integer(text, start)?;
                values.push(value);
                end
            }
            Values::Float(values) => {
                let (value, end) = short_float(text, start)?;
                values.push(value);
                end
            }
            _ => return None,
        };
        self.len += 1;
        if let Some(set) = &mut self.set {
            set.push(true);
        }
        Some(end)
    }

    /// Lets the field reach over `rows` rows; it is not set in those it did not reach before.
    fn fill(&mut self, rows: usize) {
        self.set.get_or_insert_with(|| vec![true; self.len]).resize(rows, false);
        match &mut self.values {
            Values::Float(values) => values.resize(rows, 0.0),
            Values::Integer(values) => values.resize(rows, 0),
            Values::UInteger(values) => values.resize(rows, 0),
            Values::Boolean(values) => values.resize(rows, false),
            Values::String(values) => {
                let end = values.ends.last().copied().unwrap_or(0);
                values.ends.resize(rows, end);
            }
        }
        self.len = rows;
    }

    /// Takes back what was set in row `row` and after it.
    pub(super) fn cut(&mut self, row: usize) {
        if self.len <= row {
            return;
        }
        match &mut self.values {
            Values::Float(values) => values.truncate(row),
            Values::Integer(values) => values.truncate(row),
            Values::UInteger(values) => values.truncate(row),
            Values::Boolean(values) => values.truncate(row),
            Values::String(values) => values.truncate(row),
        }
        if let Some(set) = &mut self.set {
            set.truncate(row);
        }
        self.len = row;
    }

    pub(super) fn finish(mut self, rows: usize) -> FieldColumn {
        if self.len < rows {
            self.fill(rows);
        }
        FieldColumn { column: self.column, values: self.values, set: self.set }
    }
}

/// The distinct tag sets of one table.
#[derive(Debug, Default)]
pub(super) struct SeriesBuilder<'a> {
    /// Series by a spelling of their tags.
    by_text: HashMap<&'a str, u32>,
    /// Series by their key.
    by_key: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The keys, one after the other: for each tag that is set, in key order, its place in the key, the length of
    /// its value, and the value.
    keys: Vec<u8>,
    /// `ends[i]` is where the key of series `i` ends in `keys`.
    ends: Vec<usize>,
}

impl<'a> SeriesBuilder<'a> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The series whose tags were spelt like this before.
    #[inline]
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// The series with these tags (place in the key and value, places rising), spelt as `text`.
    pub(super) fn insert<'t>(&mut self, text: &'a str, tags: impl Iterator<Item = (u16, &'t str)>) -> u32 {
        let start = self.keys.len();
        for (place, value) in tags {
            let len = u32::try_from(value.len()).expect("a name is limited far below 4 GiB");
            self.keys.extend_from_slice(&place.to_le_bytes());
            self.keys.extend_from_slice(&len.to_le_bytes());
            self.keys.extend_from_slice(value.as_bytes());
        }
        let (keys, ends) = (&self.keys, &self.ends);
        let key_of = |series: u32| key(keys, ends, series as usize);
        let hash = self.hasher.hash_one(&keys[start..]);
        let known = self.by_key.find(hash, |series| key_of(*series) == &keys[start..]).copied();
        let series = if let Some(series) = known {
            self.keys.truncate(start);
            series
        } else {
            let series = u32::try_from(ends.len()).expect("a body is at most 4 GiB, so it has fewer lines");
            self.by_key.insert_unique(hash, series, |other| self.hasher.hash_one(key_of(*other)));
            self.ends.push(self.keys.len());
            series
        };
        self.by_text.insert(text, series);
        series
    }

    /// All series, with a value for each of `tags`, the whole key of the table.
    pub(super) fn finish(&self, tags: Vec<ColumnId>) -> SeriesSet {
        let mut values =
            Strings { ends: Vec::with_capacity(self.len() * tags.len()), bytes: Vec::with_capacity(self.keys.len()) };
        for series in 0..self.len() {
            let mut rest = key(&self.keys, &self.ends, series);
            let absent_to = |values: &mut Strings, len: usize| {
                let end = values.ends.last().copied().unwrap_or(0);
                values.ends.resize(len, end);
            };
            while let Some((place, value, behind)) = split_tag(rest) {
                absent_to(&mut values, series * tags.len() + place);
                values.bytes.extend_from_slice(value);
                values.ends.push(u32::try_from(values.bytes.len()).expect("a body is at most 4 GiB"));
                rest = behind;
            }
            absent_to(&mut values, (series + 1) * tags.len());
        }
        SeriesSet { tags, values, len: self.len() }
    }
}

fn key<'k>(keys: &'k [u8], ends: &[usize], series: usize) -> &'k [u8] {
    let start = series.checked_sub(1).map_or(0, |before| ends[before]);
    &keys[start..ends[series]]
}

/// The place and value of the first tag of a key, and the rest of the key.
fn split_tag(key: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let (place, rest) = key.split_first_chunk::<2>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
    Some((usize::from(u16::from_le_bytes(*place)), value, rest))
}
