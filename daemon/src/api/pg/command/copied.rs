//! `COPY … TO STDOUT`, as it is said.

use super::{Copy, CopyForm};
use crate::api::pg::errors::Refusal;
use crate::api::pg::lex::Kind;
use crate::api::pg::words::Words;

impl Words<'_> {
    pub(super) fn copy(&mut self) -> Result<Copy, Refusal> {
        let text = if self.is_symbol('(') {
            let (start, mut depth) = (self.start(), 1_usize);
            loop {
                let here = self.start();
                match self.kind().ok_or_else(|| self.unexpected())? {
                    Kind::Symbol('(') => depth += 1,
                    Kind::Symbol(')') => depth -= 1,
                    _ => {}
                }
                self.advance();
                if depth == 0 {
                    break self.text[start..here].to_owned();
                }
            }
        } else {
            self.copied_table()?
        };
        if self.is("from") {
            return Err(Refusal::new("25006", "COPY FROM is not supported: queries can only read"));
        }
        self.expect("to")?;
        if !self.is("stdout") {
            return Err(Refusal::new("42501", "COPY can only write to STDOUT"));
        }
        Ok(Copy { text, form: self.copy_form()? })
    }

    /// `schema.table (a, b)` as a query.
    pub(super) fn copied_table(&mut self) -> Result<String, Refusal> {
        let start = self.start();
        self.name()?;
        while self.is_symbol('.') {
            self.name()?;
        }
        let table = self.text[start..self.passed()].to_owned();
        let columns = if self.is_symbol('(') { self.listed()?.join(", ") } else { "*".to_owned() };
        Ok(format!("SELECT {columns} FROM {table}"))
    }

    /// Both ways to say it: `(FORMAT csv, HEADER)` and `WITH CSV HEADER`.
    pub(super) fn copy_form(&mut self) -> Result<CopyForm, Refusal> {
        let mut said = CopyOptions::default();
        self.is("with");
        let in_parentheses = self.is_symbol('(');
        while let Some(option) = self.word() {
            self.is("as");
            match option.as_str() {
                "format" => said.format = self.name()?,
                "binary" | "csv" | "text" => said.format = option,
                "header" => said.header = !self.is("false") && !self.is("off"),
                "delimiter" => said.delimiter = Some(self.character()?),
                "quote" => said.quote = Some(self.character()?),
                "null" => said.null = Some(self.copy_text()?),
                "encoding" => drop(self.copy_text()?),
                "escape" if self.character()? == said.quote.unwrap_or('"') => {}
                _ => return Err(Refusal::unsupported(&format!("COPY option {}", option.to_uppercase()))),
            }
            if in_parentheses {
                let _ = self.is("true") || self.is("on");
                self.is_symbol(',');
            }
        }
        if in_parentheses && !self.is_symbol(')') {
            return Err(self.unexpected());
        }
        said.form()
    }

    pub(super) fn copy_text(&mut self) -> Result<String, Refusal> {
        self.text_literal().ok_or_else(|| self.unexpected())
    }

    pub(super) fn character(&mut self) -> Result<char, Refusal> {
        let text = self.copy_text()?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(one), None) if one.is_ascii() && !matches!(one, '\n' | '\r') => Ok(one),
            _ => Err(Refusal::new("22023", "COPY delimiter and quote must be a single one-byte character")),
        }
    }
}

#[derive(Debug, Default)]
struct CopyOptions {
    format: String,
    delimiter: Option<char>,
    quote: Option<char>,
    null: Option<String>,
    header: bool,
}

impl CopyOptions {
    fn form(self) -> Result<CopyForm, Refusal> {
        let Self { format, delimiter, quote, null, header } = self;
        match format.as_str() {
            "binary" => Ok(CopyForm::Binary),
            "csv" => Ok(CopyForm::Csv {
                delimiter: delimiter.unwrap_or(','),
                quote: quote.unwrap_or('"'),
                null: null.unwrap_or_default(),
                header,
            }),
            "" | "text" => Ok(CopyForm::Text {
                delimiter: delimiter.unwrap_or('\t'),
                null: null.unwrap_or_else(|| "\\N".to_owned()),
                header,
            }),
            other => Err(Refusal::new("22023", format!("COPY format \"{other}\" not recognized"))),
        }
    }
}
