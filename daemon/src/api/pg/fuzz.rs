//! Sequences of damaged messages against all that reads what clients send.

use bytes::Bytes;
use sql::PgType;
use tokio::io::AsyncWriteExt;

use super::command::Command;
use super::lex;
use super::params::param;
use super::wire::{Format, ReadError, Reader};

/// Chance from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // Numbers of Knuth; their high bits are good.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("it has 31 bits") % limit
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const PIECES: [&str; 40] = [
    "select ",
    "set ",
    "a",
    "=",
    "'",
    "\"",
    "$",
    "$$",
    "$a$",
    "--",
    "\n",
    "\r",
    "/*",
    "*/",
    "(",
    ")",
    ",",
    ";",
    ".",
    "E'",
    "\\",
    "-",
    "1",
    "é",
    "begin ",
    "commit ",
    "fetch ",
    "declare ",
    "cursor for ",
    "copy ",
    "to stdout ",
    "prepare ",
    "as ",
    "execute ",
    "show ",
    "all",
    "set_config",
    "time zone ",
    "rollback to ",
    "with (format ",
];

fn text(random: &mut Random) -> String {
    (0..random.below(20)).map(|_| random.one(&PIECES)).collect()
}

#[test]
fn no_text_of_a_client_panics_and_statements_are_parts_of_it() {
    let mut random = Random(1);
    for _ in 0..20_000 {
        let text = text(&mut random);
        let statements: Vec<&str> = lex::statements(&text).collect();
        assert!(statements.iter().map(|statement| statement.len()).sum::<usize>() <= text.len(), "{text:?}");
        for statement in statements {
            // What it is does not matter, only that it is something.
            drop(Command::parse(statement));
        }
    }
}

#[test]
fn no_bytes_of_a_value_panic() {
    let mut random = Random(2);
    let types: Vec<PgType> = (0..3000).filter_map(PgType::by_oid).collect();
    for _ in 0..50_000 {
        let len = random.below(40);
        let bytes: Vec<u8> = (0..len).map(|_| random.one(b"\0\0\0\x01\x02\x7f\x80\xff{},\"\\1-.e ")).collect();
        let how = (random.one(&types), random.one(&[Format::Text, Format::Binary]));
        drop(param(1, Some(&Bytes::from(bytes)), how));
    }
}

/// Messages whose lengths are mostly right.
fn sequence(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(8) {
        let body: Vec<u8> = match random.below(3) {
            0 => [text(random).as_bytes(), b"\0"].concat(),
            1 => (0..random.below(50)).map(|_| random.one(b"\0\0\0\x01\x02\xff\xffSPa")).collect(),
            _ => [text(random).as_bytes(), b"\0", text(random).as_bytes(), b"\0\0\x01\0\x01\0\0"].concat(),
        };
        let wrong = if random.below(10) == 0 { random.below(9) } else { 4 };
        bytes.push(random.one(b"QPBDECSHXpdcf"));
        bytes.extend(u32::try_from(body.len() + wrong).expect("short").to_be_bytes());
        bytes.extend(body);
    }
    bytes
}

#[tokio::test]
async fn sequences_of_messages_are_read_to_their_end_however_they_come() {
    let mut random = Random(3);
    for round in 0..5_000 {
        let bytes = sequence(&mut random);
        let (near, mut far) = tokio::io::duplex(1 + random.below(64));
        let sent = bytes.clone();
        let read = async {
            let mut reader = Reader::new(Box::new(near));
            let mut all = Vec::new();
            loop {
                match reader.message(usize::MAX).await {
                    Ok(Some(message)) => all.push(message),
                    Ok(None) => return (all, None),
                    Err(error) => return (all, Some(error)),
                }
            }
        };
        let write = async move {
            // The reader hangs up at what it cannot understand.
            let _ = far.write_all(&sent).await;
            drop(far);
        };
        let ((in_parts, why), ()) = tokio::join!(read, write);
        let mut at_once = Reader::new(Box::new(std::io::Cursor::new(bytes)));
        for message in &in_parts {
            assert_eq!(at_once.message(usize::MAX).await.expect("as before").as_ref(), Some(message), "{round}");
        }
        assert!(!matches!(why, Some(ReadError::Io(_))), "{round}: {why:?}");
    }
}
