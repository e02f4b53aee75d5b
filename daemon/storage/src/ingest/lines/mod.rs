//! Line protocol to checked rows.
//!
//! # Promises
//! - A refused line leaves no trace: no table, no column, no series, no value. New tables and columns come from kept
//!   lines only.
//! - Lines are counted as an editor counts them: an error names the physical line on which its line begins, and line
//!   breaks inside quoted strings count.
//! - The memory of the result is bounded by `Limits` and the size of the body, and so is the time.
//! - No text makes it panic.
//!
//! # Not here
//! - Creating what is new: the caller does it, with the tables and columns the result names.
//! - Settling rows with the same tags and time: they stay separate rows, in the order of the lines.
//!
//! # Why
//! There are two ways through. `sticky` keeps lines that look like lines before them, straight into columns; the rest
//! go through `line` (grammar) and `table` (schema), which first decide and then keep. Only that way refuses lines,
//! so each rule and each message stands once.
//!
//! A line ends at a line break that neither a quote nor a backslash protects; one carriage return before it is not
//! part of the line. A backslash escapes what the place allows and is itself otherwise.

mod clock;
mod fault;
mod line;
mod sticky;
mod table;
pub(super) mod value;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hashbrown::HashMap;

use self::clock::Clock;
use self::fault::Fault;
use self::line::Line;
use self::sticky::Quick;
use self::table::{Plan, Table};
use super::batch::TableBatch;
use super::{BadLines, LineError, Precision};
use crate::model::{SEQ_COLUMN, TIME_COLUMN, TableSchema};

/// How much of the original line an error shows.
const ORIGINAL_LINE_BYTES_MAX: usize = 20;

/// Positions in the text of a request are kept in 32 bits.
const BODY_BYTES_MAX: usize = u32::MAX as usize;

/// What the catalog knows when a request is parsed.
pub trait Schemas {
    /// The live table of this name in the database that is written to.
    fn table(&self, name: &str) -> Option<Arc<TableSchema>>;
}

#[derive(Debug, Clone)]
pub struct Options {
    pub precision: Precision,
    pub bad_lines: BadLines,
    /// The time of lines that have none.
    pub now_ns: i64,
    pub limits: Limits,
}

/// A line that would pass one of these is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many tables there are already, and may be.
    pub tables_now: usize,
    pub tables: usize,
    /// `time` and tags included.
    pub columns_per_table: usize,
    pub tags_per_table: usize,
    /// Values of string fields.
    pub string_bytes_max: usize,
    /// Measurements, keys and tag values.
    pub name_bytes_max: usize,
    /// Rows times fields and tag sets times tags, added up over the tables of the request: what lines take in memory
    /// that each name other columns.
    pub cells: usize,
    /// So many errors are reported; further ones are only counted.
    pub errors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tables_now: 0,
            tables: 10_000,
            columns_per_table: 500,
            tags_per_table: 250,
            string_bytes_max: 1 << 20,
            name_bytes_max: 64 << 10,
            cells: 32 << 20,
            errors: 10_000,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// In the order of their first kept lines; each has at least one row.
    pub tables: Vec<TableBatch>,
    pub lines_kept: usize,
    /// The first of the refused lines, in their order.
    pub rejected: Vec<LineError>,
    /// All of them.
    pub lines_rejected: usize,
}

/// Reads all lines of `body`. The error is the first bad line, with `BadLines::Refuse`; a body of more than 4 GiB is
/// one bad line.
pub fn parse(body: &str, options: &Options, schemas: &impl Schemas) -> Result<Parsed, LineError> {
    let mut parser = Parser::new(body, options, schemas);
    if body.len() > BODY_BYTES_MAX {
        let fault = Fault::Body { bytes: body.len(), limit: BODY_BYTES_MAX };
        return Err(parser.error(0, 0, &fault));
    }
    parser.run()?;
    Ok(parser.finish())
}

fn is_reserved(column: &str) -> bool {
    column == TIME_COLUMN || column == SEQ_COLUMN
}

struct Parser<'a, S> {
    options: &'a Options,
    schemas: &'a S,
    quick: Quick<'a>,
    tables: Vec<Table<'a>>,
    by_name: HashMap<Arc<str>, usize>,
    /// Tables by a spelling of their name.
    by_text: HashMap<&'a str, usize>,
    /// The table of the line before.
    last: Option<(&'a str, usize)>,
    /// Tables with rows, in the order in which they got the first one.
    kept: Vec<usize>,
    new_tables: usize,
    line: Line<'a>,
    plan: Plan,
    lines_kept: usize,
    rejected: Vec<LineError>,
    lines_rejected: usize,
    /// The line breaks before `counted` have been counted.
    counted: usize,
    line_breaks: usize,
}

impl<'a, S: Schemas> Parser<'a, S> {
    fn new(body: &'a str, options: &'a Options, schemas: &'a S) -> Self {
        let Options { precision, now_ns, limits, .. } = options;
        let clock = Clock::new(*precision, *now_ns);
        Self {
            options,
            schemas,
            quick: Quick {
                body,
                clock,
                string_bytes_max: limits.string_bytes_max,
                cells: 0,
                cells_max: limits.cells,
                touched: Vec::new(),
            },
            tables: Vec::new(),
            by_name: HashMap::new(),
            by_text: HashMap::new(),
            last: None,
            kept: Vec::new(),
            new_tables: 0,
            line: Line::default(),
            plan: Plan::default(),
            lines_kept: 0,
            rejected: Vec::new(),
            lines_rejected: 0,
            counted: 0,
            line_breaks: 0,
        }
    }

    fn run(&mut self) -> Result<(), LineError> {
        let bytes = self.quick.body.as_bytes();
        let mut begin = 0;
        while begin < bytes.len() {
            let at = begin + bytes[begin..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
            begin = match bytes.get(at..).unwrap_or_default() {
                [] => at,
                [b'\n', ..] | [b'\r'] => at + 1,
                [b'\r', b'\n', ..] => at + 2,
                [b'#', comment @ ..] => memchr::memchr(b'\n', comment).map_or(bytes.len(), |len| at + len + 2),
                _ => match self.repeat(at) {
                    Some(next) => {
                        self.lines_kept += 1;
                        next
                    }
                    None => self.read(begin, at)?,
                },
            };
        }
        Ok(())
    }

    /// The quick way for the line at `at`, if its table is known.
    #[inline]
    fn repeat(&mut self, at: usize) -> Option<usize> {
        let rest = &self.quick.body.as_bytes()[at..];
        let same = |text: &str| rest.starts_with(text.as_bytes()) && matches!(rest.get(text.len()), Some(b',' | b' '));
        let (text, table) = match self.last {
            Some((text, table)) if same(text) => (text, table),
            _ => {
                let len = rest.iter().position(|b| matches!(b, b',' | b' ' | b'\\' | b'\n'))?;
                let text = &self.quick.body[at..at + len];
                (text, *self.by_text.get(text)?)
            }
        };
        self.last = Some((text, table));
        self.tables[table].repeat(at + text.len(), &mut self.quick)
    }

    /// The slow way for the line at `at`, whose white space begins at `begin`; says where the next line begins.
    fn read(&mut self, begin: usize, at: usize) -> Result<usize, LineError> {
        let body = self.quick.body;
        let end = line::end(body.as_bytes(), at);
        let text = &body[at..end];
        let text = text.strip_suffix('\r').unwrap_or(text);
        match self.keep(text) {
            Ok(()) => self.lines_kept += 1,
            Err(fault) if self.options.bad_lines == BadLines::Refuse => {
                return Err(self.error(begin, at + text.len(), &fault));
            }
            Err(fault) => {
                self.lines_rejected += 1;
                if self.rejected.len() < self.options.limits.errors {
                    let error = self.error(begin, at + text.len(), &fault);
                    self.rejected.push(error);
                }
            }
        }
        Ok(end + 1)
    }

    fn keep(&mut self, text: &'a str) -> Result<(), Fault> {
        let limits = &self.options.limits;
        self.line.read(text, limits)?;
        let time = self.line.time.map_or(Ok(self.quick.clock.now()), |number| self.quick.clock.time(number))?;
        let index = self.open()?;
        let table = &mut self.tables[index];
        let elsewhere = self.quick.cells - table.cells();
        let planned = table.plan(&self.line, &mut self.plan, limits).and_then(|()| {
            let (cells, limit) = (elsewhere + table.cells_with(&self.line, &self.plan), limits.cells);
            if cells > limit { Err(Fault::Cells { cells, limit }) } else { Ok(()) }
        });
        if let Err(fault) = planned {
            self.close_unused(index);
            return Err(fault);
        }
        if table.times.is_empty() {
            self.kept.push(index);
            self.new_tables += usize::from(table.is_new());
        }
        table.add(&self.line, &mut self.plan, time);
        self.quick.cells = elsewhere + table.cells();
        self.by_text.insert(self.line.measurement_raw, index);
        self.last = Some((self.line.measurement_raw, index));
        Ok(())
    }

    /// The table of the line.
    fn open(&mut self) -> Result<usize, Fault> {
        let name = &*self.line.measurement;
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let table = Table::new(name, self.schemas.table(name));
        let (tables, limit) = (self.options.limits.tables_now + self.new_tables, self.options.limits.tables);
        if table.is_new() && tables >= limit {
            return Err(Fault::TableLimit { tables, limit });
        }
        let index = self.tables.len();
        self.by_name.insert(Arc::clone(&table.name), index);
        self.tables.push(table);
        Ok(index)
    }

    /// Forgets a new table whose only line was refused, so that many such lines take no memory. A table of the
    /// catalog stays, so that many such lines do not read its columns again and again.
    fn close_unused(&mut self, index: usize) {
        let table = &self.tables[index];
        if table.is_new() && table.times.is_empty() {
            self.by_name.remove(&table.name);
            // It is the last one: any other would have got a row or been forgotten before the next was opened.
            self.tables.truncate(index);
        }
    }

    /// The line from `begin` to `end` is bad.
    fn error(&mut self, begin: usize, end: usize, fault: &Fault) -> LineError {
        let body = self.quick.body;
        self.line_breaks += memchr::memchr_iter(b'\n', &body.as_bytes()[self.counted..begin]).count();
        self.counted = begin;
        let shown = (begin + ORIGINAL_LINE_BYTES_MAX).min(end);
        LineError {
            line_number: self.line_breaks + 1,
            original_line: body[begin..body.floor_char_boundary(shown)].to_owned(),
            message: fault.to_string(),
        }
    }

    fn finish(self) -> Parsed {
        let mut tables: Vec<_> = self.tables.into_iter().map(Some).collect();
        let kept = self.kept.iter().map(|index| tables[*index].take().expect("each table is noted once").finish());
        Parsed {
            tables: kept.collect(),
            lines_kept: self.lines_kept,
            rejected: self.rejected,
            lines_rejected: self.lines_rejected,
        }
    }
}
