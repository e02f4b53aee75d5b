//! A client of Postgres made of bytes: it says what no library says, in an order that none keeps.
//!
//! # Promises
//! - A node that does not answer fails the test within seconds.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long a node may take for one message.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// A connection to a node.
#[derive(Debug)]
pub struct Postgres {
    pub stream: TcpStream,
    port: u16,
    /// What cancels its statements.
    key: Vec<u8>,
}

/// A message of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub kind: u8,
    pub body: Vec<u8>,
}

impl Said {
    /// The code of an error.
    pub fn code(&self) -> Option<String> {
        self.field(b'C')
    }

    /// The words of an error.
    pub fn text(&self) -> Option<String> {
        self.field(b'M')
    }

    fn field(&self, of: u8) -> Option<String> {
        let mut fields = self.body.split(|byte| *byte == 0).filter(|_| self.kind == b'E' || self.kind == b'N');
        let found = fields.find(|field| field.first() == Some(&of))?;
        Some(String::from_utf8_lossy(&found[1..]).into_owned())
    }
}

/// The kinds of these messages, as letters.
pub fn kinds(said: &[Said]) -> String {
    said.iter().map(|said| char::from(said.kind)).collect()
}

/// The first message of a session.
pub fn opening(database: &str) -> Vec<u8> {
    let body = [&196_608_u32.to_be_bytes()[..], b"user\0me\0database\0", database.as_bytes(), b"\0\0"].concat();
    [&len(body.len() + 4)[..], &body].concat()
}

fn len(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("a message is short").to_be_bytes()
}

/// A message with this kind and this body.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &len(body.len() + 4), body].concat()
}

pub fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

pub fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let count = u16::try_from(types.len()).expect("few types").to_be_bytes();
    let types: Vec<u8> = types.iter().flat_map(|of| of.to_be_bytes()).collect();
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0", &count, &types].concat())
}

/// All values, and what comes back, in this format: 0 is text, 1 is binary.
pub fn bind((portal, statement): (&str, &str), values: &[Option<&[u8]>], format: u8) -> Vec<u8> {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0", &[0, 1, 0, format]].concat();
    body.extend(u16::try_from(values.len()).expect("few values").to_be_bytes());
    for value in values {
        match value {
            Some(value) => body.extend([&len(value.len())[..], value].concat()),
            None => body.extend([255; 4]),
        }
    }
    body.extend([0, 1, 0, format]);
    message(b'B', &body)
}

/// `target` is `S` for a statement or `P` for a portal.
pub fn describe(target: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[target], name.as_bytes(), b"\0"].concat())
}

pub fn execute(portal: &str, rows_max: u32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &rows_max.to_be_bytes()].concat())
}

pub fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub fn flush() -> Vec<u8> {
    message(b'H', b"")
}

impl Postgres {
    /// A connection on which nothing was said.
    #[track_caller]
    pub fn silent(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
        stream.set_read_timeout(Some(ANSWER_WITHIN)).expect("a timeout");
        stream.set_write_timeout(Some(ANSWER_WITHIN)).expect("a timeout");
        Self { stream, port, key: Vec::new() }
    }

    /// A session.
    #[track_caller]
    pub fn session(port: u16, (database, password): (&str, &str)) -> Self {
        let mut client = Self::silent(port);
        client.send(&opening(database));
        loop {
            let said = client.hear().expect("the node answers").expect("the node lets us in");
            match (said.kind, &said.body[..]) {
                (b'R', [0, 0, 0, 3]) => client.send(&message(b'p', &[password.as_bytes(), b"\0"].concat())),
                (b'K', key) => client.key = key.to_vec(),
                (b'E', _) => panic!("{:?}", said.text()),
                (b'Z', _) => return client,
                _ => {}
            }
        }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the node reads");
    }

    /// The next message; `None` when the node hung up.
    pub fn hear(&mut self) -> io::Result<Option<Said>> {
        let mut head = [0; 5];
        match self.stream.read(&mut head)? {
            0 => return Ok(None),
            read => self.stream.read_exact(&mut head[read..])?,
        }
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(len).expect("it fits") - 4];
        self.stream.read_exact(&mut body)?;
        Ok(Some(Said { kind: head[0], body }))
    }

    /// All messages up to one of this kind.
    #[track_caller]
    pub fn until(&mut self, kind: u8) -> Vec<Said> {
        let mut all = Vec::new();
        loop {
            match self.hear() {
                Ok(Some(said)) => {
                    let is_last = said.kind == kind;
                    all.push(said);
                    if is_last {
                        return all;
                    }
                }
                Ok(None) => panic!("it hung up after {}", kinds(&all)),
                Err(error) => panic!("{error} after {}", kinds(&all)),
            }
        }
    }

    /// Sends, and hears all until the node is ready for more.
    #[track_caller]
    pub fn ask(&mut self, bytes: &[u8]) -> Vec<Said> {
        self.send(bytes);
        self.until(b'Z')
    }

    /// Asks with a text, and hears the code of its error.
    #[track_caller]
    pub fn refused(&mut self, text: &str) -> Option<String> {
        self.ask(&query(text)).iter().filter(|said| said.kind == b'E').find_map(Said::code)
    }

    /// The first value of the first row, as text.
    #[track_caller]
    pub fn value(&mut self, text: &str) -> String {
        let said = self.ask(&query(text));
        let row = said.iter().find(|said| said.kind == b'D');
        let row = row.unwrap_or_else(|| panic!("{text}: {:?}", said.iter().find_map(Said::text)));
        let len = usize::try_from(i32::from_be_bytes(row.body[2..6].try_into().expect("a length"))).unwrap_or(0);
        String::from_utf8_lossy(&row.body[6..6 + len]).into_owned()
    }

    /// Asks the node to cancel what this session does.
    pub fn cancel(&self) {
        let mut other = Self::silent(self.port);
        other.send(&[&16_u32.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), &self.key].concat());
        let mut rest = Vec::new();
        // It answers nothing.
        let _ = other.stream.read_to_end(&mut rest);
    }

    /// Says nothing more, and hears what comes until the node hangs up.
    pub fn rest(&mut self) -> Vec<u8> {
        let _ = self.stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_length() {
        assert_eq!(query("ab"), b"Q\0\0\0\x07ab\0");
        assert_eq!(execute("p", 1), b"E\0\0\0\x0ap\0\0\0\0\x01");
        let error = Said { kind: b'E', body: b"SERROR\0C42601\0Mno\0\0".to_vec() };
        assert_eq!((error.code().as_deref(), error.text().as_deref()), (Some("42601"), Some("no")));
    }
}
