//! The grammar of one line.
//!
//! # Promises
//! - `end` finds where a line ends whether or not the line is right, so one bad line never spoils the next.
//! - `Line::read` takes a line to pieces or says what is wrong with it; it knows no table.
//!
//! # Not here
//! - Types, limits on columns, what `time` means: `table` and `lines`.
//!
//! # Why
//! A string may hold line breaks, and what is in it came from somebody else. So a quote that is never closed takes
//! all lines up to the next quote with it, rather than have text from inside a string read as rows.

use std::borrow::Cow;

use memchr::{memchr2, memchr3};

use super::fault::{Fault, excerpt};
use super::value::{Value, timestamp, unescape, value};
use super::{Limits, is_reserved};

const MEASUREMENT_ESCAPES: &[u8] = b", \\";
const NAME_ESCAPES: &[u8] = b",= \\";

/// Where the line that begins at `start` ends: at its line break, or at the end of `bytes`.
pub(super) fn end(bytes: &[u8], start: usize) -> usize {
    let series = series_end(bytes, start);
    if bytes.get(series) != Some(&b' ') {
        return series;
    }
    // What stands before `escaped` belongs to a backslash, so a `=` there begins no value.
    let (mut at, mut escaped) = (series, 0);
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr3(b'"', b'\\', b'\n', rest)) {
        at += found;
        match bytes[at] {
            b'\n' => return at,
            b'\\' => {
                at += 2;
                escaped = at;
            }
            _ if at > escaped && bytes[at - 1] == b'=' => at = quote_end(bytes, at + 1),
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where measurement and tags end: at the first space or line break that no backslash escapes.
#[inline]
pub(super) fn series_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b' ', b'\n', rest)) {
        let stop = at + found;
        let backslashes = bytes[at..stop].iter().rev().take_while(|b| **b == b'\\').count();
        if backslashes % 2 == 0 {
            return stop;
        }
        at = stop + 1;
    }
    bytes.len()
}

/// The position after the quote that closes the string whose text begins at `start`.
fn quote_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// The position of the first space-free byte from `at` on.
#[inline]
pub(super) fn skip_spaces(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

/// One line in pieces. Kept from line to line, so that its lists need no new memory.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    /// The measurement as it was sent and as it is meant.
    pub(super) measurement_raw: &'a str,
    pub(super) measurement: Cow<'a, str>,
    /// All tags as they were sent, from the comma before the first one; empty without tags.
    pub(super) tags_raw: &'a str,
    pub(super) tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) fields: Vec<Field<'a>>,
    pub(super) time: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Field<'a> {
    /// The name as it was sent, with the `=` behind it.
    pub(super) key: &'a str,
    pub(super) name: Cow<'a, str>,
    pub(super) value: Value<'a>,
}

impl<'a> Line<'a> {
    /// Takes `text`, one line without its line break, to pieces. After an error the pieces mean nothing.
    pub(super) fn read(&mut self, text: &'a str, limits: &Limits) -> Result<(), Fault> {
        self.tags.clear();
        self.fields.clear();
        let measurement_end = name_end(text, 0, b", \t")?;
        self.measurement_raw = &text[..measurement_end];
        self.measurement = unescape(self.measurement_raw, MEASUREMENT_ESCAPES);
        if self.measurement.is_empty() || self.measurement.contains('\0') {
            return Err(Fault::Measurement);
        }
        check_length(&self.measurement, limits.name_bytes_max)?;

        let tags_end = self.read_tags(text, measurement_end, limits)?;
        self.tags_raw = &text[measurement_end..tags_end];
        match text.as_bytes().get(tags_end) {
            None => return Err(Fault::NoFields),
            Some(b' ') => {}
            Some(_) => return Err(Fault::ExpectedSpace(excerpt(&text[tags_end..]))),
        }

        let fields_end = self.read_fields(text, skip_spaces(text.as_bytes(), tags_end), limits)?;
        self.time = read_time(text, fields_end)?;
        Ok(())
    }

    fn read_tags(&mut self, text: &'a str, start: usize, limits: &Limits) -> Result<usize, Fault> {
        let bytes = text.as_bytes();
        let mut at = start;
        while bytes.get(at) == Some(&b',') {
            let key_end = name_end(text, at + 1, b",= \t")?;
            let key = unescape(&text[at + 1..key_end], NAME_ESCAPES);
            if key.is_empty() {
                return Err(Fault::ExpectedTagKey(excerpt(&text[key_end..])));
            }
            if bytes.get(key_end) != Some(&b'=') {
                return Err(Fault::TagSet);
            }
            at = name_end(text, key_end + 1, b",= \t")?;
            let value = unescape(&text[key_end + 1..at], NAME_ESCAPES);
            if value.is_empty() || bytes.get(at) == Some(&b'=') {
                return Err(Fault::TagSet);
            }
            check_column_name(&key, limits)?;
            check_length(&value, limits.name_bytes_max)?;
            self.tags.push((key, value));
        }
        Ok(at)
    }

    fn read_fields(&mut self, text: &'a str, start: usize, limits: &Limits) -> Result<usize, Fault> {
        let bytes = text.as_bytes();
        // Where the field under way begins, with the comma before it.
        let (mut begin, mut at) = (start, start);
        loop {
            let equals = name_end(text, at, b",= \t")?;
            let has_value = !matches!(bytes.get(equals + 1), None | Some(b',' | b' ' | b'\t'));
            if equals == at || bytes.get(equals) != Some(&b'=') || !has_value {
                let first = self.fields.is_empty();
                return Err(if first { Fault::NoFields } else { Fault::Trailing(excerpt(&text[begin..])) });
            }
            let name = unescape(&text[at..equals], NAME_ESCAPES);
            check_column_name(&name, limits)?;
            let (value, value_end) = value(text, equals + 1)?;
            if let Value::String(string) = value
                && string.len() > limits.string_bytes_max
            {
                return Err(Fault::TooLong(limits.string_bytes_max));
            }
            self.fields.push(Field { key: &text[at..=equals], name, value });
            if bytes.get(value_end) != Some(&b',') {
                return Ok(value_end);
            }
            (begin, at) = (value_end, value_end + 1);
        }
    }
}

/// The timestamp, if there is one, and that nothing follows it.
fn read_time(text: &str, fields_end: usize) -> Result<Option<i64>, Fault> {
    let bytes = text.as_bytes();
    let start = skip_spaces(bytes, fields_end);
    if start == text.len() {
        return Ok(None);
    }
    if start == fields_end {
        return Err(Fault::Trailing(excerpt(&text[start..])));
    }
    let (time, time_end) = timestamp(text, start)?;
    let rest = skip_spaces(bytes, time_end);
    if rest < text.len() {
        return Err(Fault::Trailing(excerpt(&text[rest..])));
    }
    Ok(Some(time))
}

/// Where the name that begins at `start` ends: at the first of `stops` that no backslash escapes.
fn name_end(text: &str, start: usize, stops: &[u8]) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' {
            if at + 1 == bytes.len() {
                return Err(Fault::EndsWithBackslash);
            }
            at += 2;
        } else if stops.contains(byte) {
            return Ok(at);
        } else {
            at += 1;
        }
    }
    Ok(bytes.len())
}

fn check_column_name(name: &str, limits: &Limits) -> Result<(), Fault> {
    if is_reserved(name) {
        return Err(Fault::Reserved(name.to_owned()));
    }
    check_length(name, limits.name_bytes_max)
}

fn check_length(text: &str, bytes_max: usize) -> Result<(), Fault> {
    if text.len() > bytes_max { Err(Fault::TooLong(bytes_max)) } else { Ok(()) }
}
