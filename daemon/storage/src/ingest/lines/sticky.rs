//! The quick way: lines like those before them.
//!
//! # Promises
//! - A line it keeps is kept exactly as the slow way would; one it does not know how to keep leaves nothing behind,
//!   and goes the slow way, which alone refuses lines.
//!
//! # Not here
//! - New tables, tag sets and columns, and every refusal.
//!
//! # Why
//! Senders repeat themselves: the same table, tag sets seen before, the fields of the line before in the same order.
//! Known bytes need no splitting and no checks, only a comparison, and values go straight into their columns.

use super::clock::Clock;
use super::line::{series_end, skip_spaces};
use super::table::Table;
use super::value::{Value, timestamp, value};
use crate::ingest::batch::FieldBuilder;

/// What the quick way needs beside the table.
#[derive(Debug)]
pub(super) struct Quick<'a> {
    pub(super) body: &'a str,
    pub(super) clock: Clock,
    pub(super) string_bytes_max: usize,
    /// The cells of all tables, and how many there may be.
    pub(super) cells: usize,
    pub(super) cells_max: usize,
    /// Fields that the line under way has set, to be taken back if it ends badly.
    pub(super) touched: Vec<usize>,
}

impl<'a> Table<'a> {
    /// Keeps the row whose measurement ends at `at`, and says where the next line begins.
    #[inline]
    pub(super) fn repeat(&mut self, at: usize, quick: &mut Quick<'a>) -> Option<usize> {
        if quick.cells + self.fields.len() > quick.cells_max {
            return None;
        }
        let bytes = quick.body.as_bytes();
        let tags_end = series_end(bytes, at);
        if bytes.get(tags_end) != Some(&b' ') {
            return None;
        }
        let series = self.series.find(&quick.body[at..tags_end])?;
        quick.touched.clear();
        let end = self.repeat_fields(skip_spaces(bytes, tags_end), quick);
        let Some((time, next)) = end.and_then(|end| row_end(end, quick)) else {
            let row = self.times.len();
            for field in &quick.touched {
                self.fields[*field].cut(row);
            }
            return None;
        };
        self.row_series.push(series);
        self.times.push(time);
        quick.cells += self.fields.len();
        Some(next)
    }

    /// Sets the fields from `at` on; says where they end.
    #[inline]
    fn repeat_fields(&mut self, mut at: usize, quick: &mut Quick<'a>) -> Option<usize> {
        let bytes = quick.body.as_bytes();
        let row = self.times.len();
        let mut expected = self.first_field;
        loop {
            let (index, key_len) = self.field_at(&bytes[at..], expected)?;
            match quick.touched.last() {
                None => self.first_field = index,
                Some(before) => self.fields[*before].next = index,
            }
            let field = &mut self.fields[index];
            if field.reaches(row) {
                return None;
            }
            let start = at + key_len;
            let end = match field.push_number(row, bytes, start) {
                Some(end) => end,
                None => push_any(field, row, start, quick)?,
            };
            quick.touched.push(index);
            expected = field.next;
            if bytes.get(end) != Some(&b',') {
                return Some(end);
            }
            at = end + 1;
        }
    }

    /// The field whose name `rest` begins with, most often the one expected, and how long the name is here: a name with
    /// escapes can be written in several ways.
    #[inline]
    fn field_at(&self, rest: &[u8], expected: usize) -> Option<(usize, usize)> {
        match self.fields.get(expected) {
            Some(field) if rest.starts_with(field.key.as_bytes()) => Some((expected, field.key.len())),
            _ => {
                let key_len = key_len(rest)?;
                self.fields_by_key.get(&rest[..key_len]).map(|index| (*index, key_len))
            }
        }
    }
}

/// Sets `field` to the value of any kind that begins at `start`; says where it ends.
fn push_any(field: &mut FieldBuilder<'_>, row: usize, start: usize, quick: &Quick<'_>) -> Option<usize> {
    let (value, end) = value(quick.body, start).ok()?;
    let long = matches!(value, Value::String(string) if string.len() > quick.string_bytes_max);
    (!long && field.push(row, value)).then_some(end)
}

/// How long the field name at the beginning of `rest` is, with the `=` behind it.
fn key_len(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match rest.get(at)? {
            b'=' => return Some(at + 1),
            b'\\' => at += 2,
            b',' | b' ' | b'\t' | b'\n' => return None,
            _ => at += 1,
        }
    }
}

/// The time of the row whose fields end at `fields_end`, and where the next line begins.
#[inline]
fn row_end(fields_end: usize, quick: &Quick<'_>) -> Option<(i64, usize)> {
    let bytes = quick.body.as_bytes();
    let start = skip_spaces(bytes, fields_end);
    if let Some(next) = line_end(bytes, start) {
        return Some((quick.clock.now(), next));
    }
    if start == fields_end {
        return None;
    }
    let (number, end) = timestamp(quick.body, start).ok()?;
    let next = line_end(bytes, skip_spaces(bytes, end))?;
    Some((quick.clock.time(number).ok()?, next))
}

/// Where the next line begins if this one ends at `at`.
#[inline]
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (None, _) => Some(at),
        (Some(b'\n'), _) => Some(at + 1),
        (Some(b'\r'), None) => Some(at + 1),
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        _ => None,
    }
}
