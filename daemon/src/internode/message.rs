//! What is said over a line, as bytes: one byte that tells the kind, then numbers, little endian, then text or an object.
//!
//! ```text
//! call     1, cluster u128, epoch u32, position u64, node id
//! ping     2, number u64, version of the catalog u64
//! object   1, the bytes that were stored
//! alive    2, ping u64, last position u64, version of the catalog u64
//! skipped  3
//! ```
//!
//! Decoding is total: what is no message is an error.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use storage::model::{Epoch, NodeId, Position};
use storage::wal::{Call, Ping, Told};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

const CALL: u8 = 1;
const PING: u8 = 2;
const OBJECT: u8 = 1;
const ALIVE: u8 = 2;
const SKIPPED: u8 = 3;

pub(super) fn of_call(call: &Call) -> Bytes {
    let Call { cluster, node, epoch, from } = call;
    let mut out = BytesMut::new();
    out.put_u8(CALL);
    out.put_u128_le(*cluster);
    out.put_u32_le(epoch.0);
    out.put_u64_le(from.0);
    out.put_slice(node.to_string().as_bytes());
    out.freeze()
}

pub(super) fn call(mut bytes: Bytes) -> Result<Call, String> {
    expect_kind(&mut bytes, CALL)?;
    let short = |_| "the call is cut off".to_owned();
    let cluster = bytes.try_get_u128_le().map_err(short)?;
    let epoch = Epoch(bytes.try_get_u32_le().map_err(short)?);
    let from = Position(bytes.try_get_u64_le().map_err(short)?);
    let node = std::str::from_utf8(&bytes).map_err(|_| "the node id is not text".to_owned())?;
    Ok(Call { cluster, node: NodeId::new(node)?, epoch, from })
}

pub(super) fn of_ping(ping: Ping) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(PING);
    out.put_u64_le(ping.number);
    out.put_u64_le(ping.version);
    out.freeze()
}

pub(super) fn ping(mut bytes: Bytes) -> Result<Ping, String> {
    expect_kind(&mut bytes, PING)?;
    let mut number = || bytes.try_get_u64_le().map_err(|_| "the ping is cut off".to_owned());
    Ok(Ping { number: number()?, version: number()? })
}

pub(super) fn of_told(told: Told) -> Bytes {
    let mut out = BytesMut::new();
    match told {
        Told::Object(bytes) => {
            out.reserve(1 + bytes.len());
            out.put_u8(OBJECT);
            out.put(bytes);
        }
        Told::Alive { ping, last, version } => {
            out.put_u8(ALIVE);
            out.put_u64_le(ping);
            out.put_u64_le(last.0);
            out.put_u64_le(version);
        }
        Told::Skipped => out.put_u8(SKIPPED),
    }
    out.freeze()
}

pub(super) fn told(mut bytes: Bytes) -> Result<Told, String> {
    let short = |_| "the message is cut off".to_owned();
    match bytes.try_get_u8().map_err(short)? {
        OBJECT => Ok(Told::Object(bytes)),
        ALIVE => {
            let mut number = || bytes.try_get_u64_le().map_err(short);
            Ok(Told::Alive { ping: number()?, last: Position(number()?), version: number()? })
        }
        SKIPPED => Ok(Told::Skipped),
        other => Err(format!("a message of kind {other} is unknown to this program")),
    }
}

fn expect_kind(bytes: &mut Bytes, expected: u8) -> Result<(), String> {
    match bytes.try_get_u8() {
        Ok(kind) if kind == expected => Ok(()),
        Ok(kind) => Err(format!("a message of kind {kind} stands where one of kind {expected} must")),
        Err(_) => Err("the message is empty".to_owned()),
    }
}

/// Messages as they are.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Raw;

/// A message is handed on as soon as it is there.
const SETTINGS: (usize, usize) = (8 << 10, 1);

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(SETTINGS.0, SETTINGS.1)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_heard() {
        let said =
            Call { cluster: 7 << 70, node: NodeId::new("a.b").unwrap(), epoch: Epoch(3), from: Position(1 << 40) };
        assert_eq!(call(of_call(&said)), Ok(said));
        let asked = Ping { number: u64::MAX, version: 3 };
        assert_eq!(ping(of_ping(asked)), Ok(asked));
        let all = [
            Told::Object(Bytes::from_static(b"rows")),
            Told::Alive { ping: 1, last: Position(2), version: 3 },
            Told::Skipped,
        ];
        for said in all {
            assert_eq!(told(of_told(said.clone())), Ok(said));
        }
    }

    #[test]
    fn no_bytes_panic_a_reader() {
        let whole = of_call(&Call { cluster: 1, node: NodeId::new("a").unwrap(), epoch: Epoch(1), from: Position(1) });
        for end in 0..whole.len() {
            assert!(call(whole.slice(..end)).is_err(), "cut at {end}");
        }
        for kind in 0..=u8::MAX {
            for bytes in [vec![kind], vec![kind, 0xff], vec![kind; 40]] {
                let bytes = Bytes::from(bytes);
                let _ = (call(bytes.clone()), ping(bytes.clone()), told(bytes));
            }
        }
    }
}
