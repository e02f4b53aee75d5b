//! `COPY … TO STDOUT`: rows as text, as CSV, or in the binary form.

use bytes::{BufMut, Bytes, BytesMut};

use super::columns::Column;
use super::command::CopyForm;
use super::errors::Refusal;
use super::rows::check;
use super::settings::Zone;
use super::values::{put, put_sized};
use super::wire::{ColumnInfo, Format, Outbox, count};

/// The eleven bytes every binary copy begins with, then no flags and no extension.
const BINARY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

#[derive(Debug)]
pub(super) struct CopyWriter {
    form: CopyForm,
    /// Whether the head of the binary form was written: it stands in one message with the first row.
    has_begun: bool,
}

impl CopyWriter {
    pub(super) fn new(form: CopyForm) -> Self {
        Self { form, has_begun: false }
    }

    pub(super) fn format(&self) -> Format {
        if self.form == CopyForm::Binary { Format::Binary } else { Format::Text }
    }

    /// What comes before the rows.
    pub(super) fn head(&self, columns: &[ColumnInfo]) -> Bytes {
        let mut out = Outbox::default();
        match &self.form {
            CopyForm::Text { header: true, delimiter, .. } | CopyForm::Csv { header: true, delimiter, .. } => {
                out.message(b'd', |body| {
                    for (index, column) in columns.iter().enumerate() {
                        self.part(index, *delimiter, body);
                        self.text(column.name.as_bytes(), body);
                    }
                    body.put_u8(b'\n');
                });
            }
            CopyForm::Binary | CopyForm::Text { .. } | CopyForm::Csv { .. } => {}
        }
        out.0.freeze()
    }

    /// What comes after the rows.
    pub(super) fn tail(&mut self) -> Bytes {
        let mut out = Outbox::default();
        if self.form == CopyForm::Binary {
            let head = self.binary_head();
            out.message(b'd', |body| {
                body.put_slice(head);
                body.put_i16(-1);
            });
        }
        out.0.freeze()
    }

    pub(super) fn row(
        &mut self,
        (columns, row): (&[Column], usize),
        zone: Zone,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let head = self.binary_head();
        out.try_message(b'd', |body| match &self.form {
            CopyForm::Binary => {
                body.put_slice(head);
                body.put_i16(count(columns.len()));
                let how = (Format::Binary, zone);
                columns.iter().try_for_each(|column| put_sized((column, row), how, body).and_then(|()| check(body)))
            }
            CopyForm::Text { delimiter, null, .. } | CopyForm::Csv { delimiter, null, .. } => {
                let mut value = BytesMut::new();
                for (index, column) in columns.iter().enumerate() {
                    self.part(index, *delimiter, body);
                    if column.is_null(row) {
                        body.put_slice(null.as_bytes());
                    } else {
                        value.clear();
                        put(column, row, (Format::Text, zone), &mut value)?;
                        self.text(&value, body);
                        check(body)?;
                    }
                }
                body.put_u8(b'\n');
                Ok(())
            }
        })
    }

    fn binary_head(&mut self) -> &'static [u8] {
        if std::mem::replace(&mut self.has_begun, true) { b"" } else { BINARY_HEAD }
    }

    fn part(&self, index: usize, delimiter: char, body: &mut BytesMut) {
        if index > 0 {
            put_char(body, delimiter);
        }
    }

    fn text(&self, value: &[u8], body: &mut BytesMut) {
        match &self.form {
            CopyForm::Csv { delimiter, quote, null, .. } => put_csv(value, (*delimiter, *quote, null), body),
            CopyForm::Text { delimiter, .. } => put_escaped(value, *delimiter, body),
            CopyForm::Binary => body.put_slice(value),
        }
    }
}

/// Delimiters and quotes are ASCII.
fn put_char(body: &mut BytesMut, c: char) {
    body.put_u8(u8::try_from(c).unwrap_or(b'?'));
}

/// A value that could be read as something else is quoted; one that looks like a null too.
fn put_csv(value: &[u8], (delimiter, quote, null): (char, char, &str), body: &mut BytesMut) {
    let is_special =
        |byte: &u8| matches!(byte, b'\n' | b'\r') || char::from(*byte) == delimiter || char::from(*byte) == quote;
    if !value.iter().any(is_special) && value != null.as_bytes() && value != b"\\." {
        body.put_slice(value);
        return;
    }
    put_char(body, quote);
    for byte in value {
        if char::from(*byte) == quote {
            put_char(body, quote);
        }
        body.put_u8(*byte);
    }
    put_char(body, quote);
}

fn put_escaped(value: &[u8], delimiter: char, body: &mut BytesMut) {
    for byte in value {
        let letter = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0b => b'v',
            0x0c => b'f',
            byte if char::from(*byte) == delimiter => *byte,
            byte => {
                body.put_u8(*byte);
                continue;
            }
        };
        body.put_slice(&[b'\\', letter]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: CopyForm, value: &[u8], expected: &[u8]) {
        let mut body = BytesMut::new();
        CopyWriter::new(form).text(value, &mut body);
        assert_eq!(&body[..], expected);
    }

    #[test]
    fn values_never_look_like_what_parts_them() {
        let csv = || CopyForm::Csv { delimiter: ',', quote: '"', null: String::new(), header: false };
        check(csv(), b"a", b"a");
        check(csv(), b"a,\"b", b"\"a,\"\"b\"");
        check(csv(), b"", b"\"\"");
        check(csv(), b"\\.", b"\"\\.\"");
        let text = || CopyForm::Text { delimiter: '\t', null: "\\N".into(), header: false };
        check(text(), b"a\tb\\\n", b"a\\tb\\\\\\n");
        check(text(), b"\\N", b"\\\\N");
    }
}
