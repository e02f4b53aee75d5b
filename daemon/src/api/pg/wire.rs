//! Messages of the Postgres protocol, version 3: what clients send, taken apart, and what they are sent, put together.
//!
//! # Promises
//! - No bytes can panic: what is too short, too long or not UTF-8 is an error that says so. A message that is whole and
//!   makes no sense ends no session.
//! - A message that is not whole yet stays in the buffer, so a wait for it may be dropped at any time.
//!

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::errors::Refusal;

/// The largest message: a statement has at most 2 MiB, and its parameters may be larger.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// So much of what a client sends ahead is kept while a statement of it runs.
const AHEAD_BYTES_MAX: usize = 64 << 10;

/// What a client asked for that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a message is shorter than what it says to hold")]
    Short,
    #[error("a text is not UTF-8")]
    Text,
    #[error("a message says a negative length")]
    Length,
    #[error("a message has an unknown kind or option")]
    Kind,
}

/// Why there is no further message.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a message of {0} bytes; at most {MESSAGE_BYTES_MAX} are taken")]
    TooLarge(usize),
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// Whether a name is that of a statement or of a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Statement,
    Portal,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

/// What clients send once they are logged in.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Query(String),
    Parse {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target, String),
    Execute {
        portal: String,
        rows_max: usize,
    },
    Close(Target, String),
    Sync,
    Flush,
    Terminate,
    Password(String),
    /// Part of a COPY that was refused, or of nothing.
    Copy,
    /// A whole message of a known kind, whose body is none.
    Unreadable(u8, Malformed),
}

#[derive(Debug, PartialEq)]
pub(super) struct Bind {
    pub(super) portal: String,
    pub(super) statement: String,
    pub(super) formats: Vec<Format>,
    pub(super) values: Vec<Option<Bytes>>,
    pub(super) result_formats: Vec<Format>,
}

/// The format of the value at `index`: none said is text, one holds for all.
pub(super) fn format_at(formats: &[Format], index: usize) -> Format {
    match formats {
        [] => Format::Text,
        [one] => *one,
        several => several.get(index).copied().unwrap_or(Format::Text),
    }
}

/// What is left of the body of a message.
#[derive(Debug)]
pub(super) struct Body(pub(super) Bytes);

impl Body {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Malformed::Short)
    }

    pub(super) fn short(&mut self) -> Result<i16, Malformed> {
        self.0.try_get_i16().map_err(|_| Malformed::Short)
    }

    pub(super) fn int(&mut self) -> Result<i32, Malformed> {
        self.0.try_get_i32().map_err(|_| Malformed::Short)
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Malformed::Short)?;
        let text = std::str::from_utf8(&self.0[..end]).map_err(|_| Malformed::Text)?.to_owned();
        self.0.advance(end + 1);
        Ok(text)
    }

    /// How many of something follow.
    fn count(&mut self) -> Result<usize, Malformed> {
        Ok(usize::from(self.short()?.cast_unsigned()))
    }

    fn formats(&mut self) -> Result<Vec<Format>, Malformed> {
        (0..self.count()?)
            .map(|_| match self.short()? {
                0 => Ok(Format::Text),
                1 => Ok(Format::Binary),
                _ => Err(Malformed::Kind),
            })
            .collect()
    }

    pub(super) fn value(&mut self) -> Result<Option<Bytes>, Malformed> {
        let len = self.int()?;
        if len == -1 {
            return Ok(None);
        }
        let len = usize::try_from(len).map_err(|_| Malformed::Length)?;
        if len > self.0.len() {
            return Err(Malformed::Short);
        }
        Ok(Some(self.0.split_to(len)))
    }

    fn target(&mut self) -> Result<Target, Malformed> {
        match self.byte()? {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            _ => Err(Malformed::Kind),
        }
    }
}

impl Message {
    /// Fails when what follows cannot be understood either.
    fn whole(kind: u8, body: Bytes) -> Result<Self, Malformed> {
        match Self::decode(kind, body) {
            Err(error) if b"QPBDECSHXpdcf".contains(&kind) => Ok(Self::Unreadable(kind, error)),
            decoded => decoded,
        }
    }

    fn decode(kind: u8, body: Bytes) -> Result<Self, Malformed> {
        let mut body = Body(body);
        Ok(match kind {
            b'Q' => Self::Query(body.text()?),
            b'P' => {
                let (name, text) = (body.text()?, body.text()?);
                let types = (0..body.count()?).map(|_| Ok(body.int()?.cast_unsigned())).collect::<Result<_, _>>()?;
                Self::Parse { name, text, types }
            }
            b'B' => {
                let (portal, statement, formats) = (body.text()?, body.text()?, body.formats()?);
                let values = (0..body.count()?).map(|_| body.value()).collect::<Result<_, _>>()?;
                Self::Bind(Bind { portal, statement, formats, values, result_formats: body.formats()? })
            }
            b'D' => Self::Describe(body.target()?, body.text()?),
            b'E' => {
                let (portal, rows_max) = (body.text()?, body.int()?);
                // Zero and less is all.
                let rows_max = usize::try_from(rows_max).ok().filter(|rows| *rows > 0).unwrap_or(usize::MAX);
                Self::Execute { portal, rows_max }
            }
            b'C' => Self::Close(body.target()?, body.text()?),
            b'S' => Self::Sync,
            b'H' => Self::Flush,
            b'X' => Self::Terminate,
            b'p' => Self::Password(body.text()?),
            b'd' | b'c' | b'f' => Self::Copy,
            _ => return Err(Malformed::Kind),
        })
    }
}

/// What a client sends, message by message.
pub(super) struct Reader {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
}

impl Reader {
    pub(super) fn new(stream: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next message; `None` when the client hung up.
    pub(super) async fn message(&mut self, bytes_max: usize) -> Result<Option<Message>, ReadError> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<5>() {
                let len = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
                let len = usize::try_from(len).ok().filter(|len| *len >= 4).ok_or(Malformed::Length)?;
                if len > bytes_max.min(MESSAGE_BYTES_MAX) {
                    return Err(ReadError::TooLarge(len));
                }
                if self.buffer.len() > len {
                    let mut message = self.buffer.split_to(len + 1);
                    let kind = message[0];
                    message.advance(5);
                    // The room that a large message needed is not kept for the next one.
                    if len > AHEAD_BYTES_MAX {
                        self.buffer = BytesMut::from(&self.buffer[..]);
                    }
                    return Message::whole(kind, message.freeze()).map(Some).map_err(ReadError::from);
                }
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Waits until the client has hung up. What it sends meanwhile is kept, up to a limit.
    pub(super) async fn gone(&mut self) {
        while self.buffer.len() < AHEAD_BYTES_MAX {
            match self.fill().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(4096);
        self.stream.read_buf(&mut self.buffer).await
    }
}

/// What a client is told of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnInfo {
    pub(super) name: String,
    pub(super) data_type: sql::PgType,
}

/// Messages on their way to a client.
#[derive(Debug, Default)]
pub(super) struct Outbox(pub(super) BytesMut);

impl Outbox {
    /// A message of `kind`, whose body `write` adds: of texts that clients sent, or shorter ones.
    pub(super) fn message(&mut self, kind: u8, write: impl FnOnce(&mut BytesMut)) {
        let written = self.try_message(kind, |body| {
            write(body);
            Ok(())
        });
        written.expect("what clients send is far smaller than 2 GiB");
    }

    /// A message of `kind`, whose body `write` adds; none when that fails.
    pub(super) fn try_message(
        &mut self,
        kind: u8,
        write: impl FnOnce(&mut BytesMut) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let begin = self.0.len();
        self.0.put_u8(kind);
        self.0.put_i32(0);
        let written = write(&mut self.0).and_then(|()| {
            let large = |_| Refusal::new("54000", "a message of more than 2 GiB cannot be sent");
            i32::try_from(self.0.len() - begin - 1).map_err(large)
        });
        match written {
            Ok(len) => {
                self.0[begin + 1..begin + 5].copy_from_slice(&len.to_be_bytes());
                Ok(())
            }
            Err(refusal) => {
                self.0.truncate(begin);
                Err(refusal)
            }
        }
    }

    pub(super) fn empty(&mut self, kind: u8) {
        self.message(kind, |_| {});
    }

    pub(super) fn int(&mut self, kind: u8, value: i32) {
        self.message(kind, |body| body.put_i32(value));
    }

    /// Texts end where they have a zero byte.
    pub(super) fn texts(&mut self, kind: u8, texts: &[&str]) {
        self.message(kind, |body| texts.iter().for_each(|text| put_text(body, text)));
    }

    /// A statement is done.
    pub(super) fn complete(&mut self, tag: &str) {
        self.texts(b'C', &[tag]);
    }

    pub(super) fn row_description(&mut self, columns: &[ColumnInfo], formats: &[Format]) {
        self.message(b'T', |body| {
            body.put_i16(count(columns.len()));
            for (index, column) in columns.iter().enumerate() {
                put_text(body, &column.name);
                // Of no table: what a column is made from is not known.
                body.put_i32(0);
                body.put_i16(0);
                body.put_u32(column.data_type.oid());
                body.put_i16(column.data_type.value_len());
                body.put_i32(-1);
                body.put_i16(code(format_at(formats, index)));
            }
        });
    }

    pub(super) fn parameter_description(&mut self, oids: &[u32]) {
        self.message(b't', |body| {
            body.put_i16(count(oids.len()));
            oids.iter().for_each(|oid| body.put_u32(*oid));
        });
    }

    /// The rows of a COPY follow.
    pub(super) fn copy_out(&mut self, format: Format, columns: usize) {
        self.message(b'H', |body| {
            body.put_u8(u8::from(format == Format::Binary));
            body.put_i16(count(columns));
            (0..columns).for_each(|_| body.put_i16(code(format)));
        });
    }
}

pub(super) fn put_text(body: &mut BytesMut, text: &str) {
    let end = text.find('\0').unwrap_or(text.len());
    body.put_slice(&text.as_bytes()[..end]);
    body.put_u8(0);
}

/// The protocol has room for so many; a query with more columns is refused before.
pub(super) fn count(number: usize) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

fn code(format: Format) -> i16 {
    i16::from(format == Format::Binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &'static [u8]) -> Result<Option<Message>, String> {
        Reader::new(Box::new(bytes)).message(1000).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn messages_are_taken_apart() {
        assert_eq!(read(b"Q\0\0\0\x0dSELECT 1\0").await, Ok(Some(Message::Query("SELECT 1".into()))));
        assert_eq!(read(b"S\0\0\0\x04").await, Ok(Some(Message::Sync)));
        let parse = read(b"P\0\0\0\x0ea\0b\0\0\x01\0\0\0\x14").await;
        assert_eq!(parse, Ok(Some(Message::Parse { name: "a".into(), text: "b".into(), types: vec![20] })));
        let bind = Bind {
            portal: String::new(),
            statement: "s".into(),
            formats: vec![Format::Binary],
            values: vec![None, Some(Bytes::from_static(b"x"))],
            result_formats: vec![],
        };
        let bytes = b"B\0\0\0\x18\0s\0\0\x01\0\x01\0\x02\xff\xff\xff\xff\0\0\0\x01x\0\0";
        assert_eq!(read(bytes).await, Ok(Some(Message::Bind(bind))));
        assert_eq!(read(b"").await, Ok(None));
        assert_eq!(read(b"Q\0\0\0\x0dSEL").await, Ok(None));
    }

    #[tokio::test]
    async fn what_cannot_be_understood_is_an_error_and_no_panic() {
        assert_eq!(read(b"Q\0\0\0\x03").await, Err(Malformed::Length.to_string()));
        assert_eq!(read(b"Q\xff\xff\xff\xff").await, Err(Malformed::Length.to_string()));
        assert_eq!(read(b"Q\0\0\0\x05x").await, Ok(Some(Message::Unreadable(b'Q', Malformed::Short))));
        assert_eq!(read(b"Q\0\0\0\x06\xff\0").await, Ok(Some(Message::Unreadable(b'Q', Malformed::Text))));
        assert_eq!(read(b"P\0\0\0\x06\0\0").await, Ok(Some(Message::Unreadable(b'P', Malformed::Short))));
        assert_eq!(read(b"P\0\0\0\x08\0\0\xff\xff").await, Ok(Some(Message::Unreadable(b'P', Malformed::Short))));
        assert_eq!(
            read(b"B\0\0\0\x0e\0\0\0\0\0\x01\0\0\0\x09").await,
            Ok(Some(Message::Unreadable(b'B', Malformed::Short)))
        );
        assert_eq!(read(b"D\0\0\0\x06x\0").await, Ok(Some(Message::Unreadable(b'D', Malformed::Kind))));
        assert_eq!(read(b"!\0\0\0\x04").await, Err(Malformed::Kind.to_string()));
        let large = read(b"Q\0\x01\0\0").await.expect_err("too large");
        assert!(large.contains("65536"), "{large}");
    }

    #[test]
    fn a_message_says_its_length() {
        let mut out = Outbox::default();
        out.complete("SELECT 1");
        out.empty(b'I');
        assert_eq!(&out.0[..], b"C\0\0\0\x0dSELECT 1\0I\0\0\0\x04");
    }
}
