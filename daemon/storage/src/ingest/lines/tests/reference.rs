//! A second parser, written from the description of line protocol alone: one character at a time, simple and slow.

use std::collections::BTreeMap;

use super::{Cell, NOW, Row};

/// The rows of the good lines and the physical line numbers of the bad ones, in nanoseconds, for an empty catalog.
#[derive(Debug, Default)]
pub(super) struct Reference {
    pub(super) rows: Vec<Row>,
    pub(super) bad: Vec<usize>,
    /// Table and column to the name of its kind.
    kinds: BTreeMap<(String, String), &'static str>,
}

impl Reference {
    pub(super) fn read(body: &str) -> Self {
        let mut reference = Self::default();
        for (number, line) in lines(body) {
            let trimmed = line.trim_start_matches([' ', '\t']);
            let trimmed = trimmed.strip_suffix('\r').unwrap_or(trimmed);
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            match (Scanner { chars: trimmed.chars().collect(), at: 0 }).row().filter(|row| reference.fits(row)) {
                Some(fields) => reference.keep(fields),
                None => reference.bad.push(number),
            }
        }
        reference
    }

    fn fits(&self, row: &Parts) -> bool {
        let mut kinds = self.kinds.clone();
        row.columns().all(|(name, kind)| *kinds.entry((row.table.clone(), name)).or_insert(kind) == kind)
    }

    fn keep(&mut self, row: Parts) {
        for (name, kind) in row.columns() {
            self.kinds.insert((row.table.clone(), name), kind);
        }
        let Parts { table, tags, fields, time } = row;
        self.rows.push(Row { table, tags: tags.into_iter().collect(), fields: fields.into_iter().collect(), time });
    }
}

/// Lines with the number of the physical line they begin on. Comments end at the first line break.
fn lines(body: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = body.chars().collect();
    let (mut found, mut at, mut number) = (vec![], 0, 1);
    while at < chars.len() {
        let begin = at;
        let mut words = at;
        while words < chars.len() && (chars[words] == ' ' || chars[words] == '\t') {
            words += 1;
        }
        at = words;
        let comment = chars.get(at) == Some(&'#');
        let (mut in_fields, mut in_string, mut after_equals) = (false, false, false);
        while at < chars.len() && (in_string || chars[at] != '\n') {
            let escape = chars[at] == '\\' && !comment;
            if !escape && in_string {
                in_string = chars[at] != '"';
            } else if !escape && !comment {
                in_fields |= chars[at] == ' ';
                in_string = chars[at] == '"' && in_fields && after_equals;
            }
            after_equals = chars[at] == '=' && !in_string;
            at += if escape { 2 } else { 1 };
        }
        at = at.min(chars.len());
        found.push((number, chars[begin..at].iter().collect()));
        at += 1;
        number += chars[begin..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

struct Parts {
    table: String,
    tags: Vec<(String, String)>,
    fields: Vec<(String, Cell)>,
    time: i64,
}

impl Parts {
    fn columns(&self) -> impl Iterator<Item = (String, &'static str)> {
        let tags = self.tags.iter().map(|(name, _)| (name.clone(), "tag"));
        let fields = self.fields.iter().map(|(name, cell)| {
            let kind = match cell {
                Cell::Float(_) => "float",
                Cell::Integer(_) => "integer",
                Cell::UInteger(_) => "uinteger",
                Cell::Boolean(_) => "boolean",
                Cell::String(_) => "string",
            };
            (name.clone(), kind)
        });
        tags.chain(fields)
    }
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
}

impl Scanner {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, expected: char) -> bool {
        let taken = self.peek() == Some(expected);
        self.at += usize::from(taken);
        taken
    }

    fn row(mut self) -> Option<Parts> {
        let table = self.name(", \\", ", \t")?;
        if table.is_empty() || table.contains('\0') {
            return None;
        }
        let (mut tags, mut fields) = (vec![], vec![]);
        while self.take(',') {
            let (key, value) = (self.column()?, self.name(", =\\", ", =\t")?);
            let repeated = tags.iter().any(|(other, _)| *other == key);
            if value.is_empty() || self.peek() == Some('=') || repeated {
                return None;
            }
            tags.push((key, value));
        }
        if !self.take(' ') {
            return None;
        }
        while self.take(' ') {}
        loop {
            fields.push((self.column()?, self.value()?));
            if !self.take(',') {
                break;
            }
        }
        let rest: String = self.chars[self.at..].iter().collect();
        if !rest.is_empty() && !rest.starts_with(' ') {
            return None;
        }
        let rest = rest.trim_matches(' ');
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let time = match rest {
            "" => NOW,
            _ if digits.chars().all(|c| c.is_ascii_digit()) => rest.parse().ok()?,
            _ => return None,
        };
        Some(Parts { table, tags, fields, time })
    }

    /// A key and the `=` behind it.
    fn column(&mut self) -> Option<String> {
        let key = self.name(", =\\", ", =\t")?;
        let good = !key.is_empty() && key != "time" && key != "__seq" && self.take('=');
        good.then_some(key)
    }

    fn name(&mut self, escapable: &str, stops: &str) -> Option<String> {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| !stops.contains(*c)) {
            self.at += 1;
            if c != '\\' {
                name.push(c);
                continue;
            }
            let next = self.peek()?;
            if !escapable.contains(next) {
                name.push(c);
            }
            name.push(next);
            self.at += 1;
        }
        Some(name)
    }

    fn value(&mut self) -> Option<Cell> {
        if self.take('"') {
            return self.string();
        }
        let begin = self.at;
        while self.peek().is_some_and(|c| !", \t\r\n".contains(c)) {
            self.at += 1;
        }
        let word: String = self.chars[begin..self.at].iter().collect();
        match &*word {
            "t" | "T" | "true" | "True" | "TRUE" => return Some(Cell::Boolean(true)),
            "f" | "F" | "false" | "False" | "FALSE" => return Some(Cell::Boolean(false)),
            _ => {}
        }
        let unsigned = word.strip_prefix('-').unwrap_or(&word);
        let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        if unsigned.strip_suffix('i').is_some_and(digits) {
            return word[..word.len() - 1].parse().ok().map(Cell::Integer);
        }
        if word.strip_suffix('u').is_some_and(digits) {
            return word[..word.len() - 1].parse().ok().map(Cell::UInteger);
        }
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "1"));
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "1"));
        let value: f64 = word.parse().ok()?;
        let good = digits(whole) && digits(fraction) && digits(exponent) && value.is_finite();
        good.then_some(Cell::Float(value.to_bits()))
    }

    fn string(&mut self) -> Option<Cell> {
        let mut text = String::new();
        while !self.take('"') {
            let c = self.peek()?;
            self.at += 1;
            if c == '\\' {
                let next = self.peek()?;
                if next != '"' && next != '\\' {
                    text.push(c);
                }
                text.push(next);
                self.at += 1;
            } else {
                text.push(c);
            }
        }
        Some(Cell::String(text))
    }
}
