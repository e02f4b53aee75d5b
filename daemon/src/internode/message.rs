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
//! Decoding is total: what is no message, or more than one, is an error.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use storage::model::{Epoch, NodeId, Position};
use storage::wal::{Call, Ping, Told};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

const CALL: u8 = 1;
const PING: u8 = 2;
const OBJECT: u8 = 1;
const ALIVE: u8 = 2;
const SKIPPED: u8 = 3;

/// What a follower says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// Once, at the beginning.
    Call(Call),
    Ping(Ping),
}

/// What one side says to the other.
pub(super) trait Said: Sized + Send + 'static {
    fn put(self, out: &mut impl BufMut);

    /// Takes the message off the bytes.
    fn take(bytes: &mut Bytes) -> Result<Self, String>;

    fn read(mut bytes: Bytes) -> Result<Self, String> {
        let said = Self::take(&mut bytes)?;
        match bytes.len() {
            0 => Ok(said),
            more => Err(format!("{more} bytes stand behind the message")),
        }
    }
}

impl Said for Asked {
    fn put(self, out: &mut impl BufMut) {
        match self {
            Self::Call(Call { cluster, node, epoch, from }) => {
                out.put_u8(CALL);
                out.put_u128_le(cluster);
                out.put_u32_le(epoch.0);
                out.put_u64_le(from.0);
                out.put_slice(node.to_string().as_bytes());
            }
            Self::Ping(Ping { number, version }) => {
                out.put_u8(PING);
                out.put_u64_le(number);
                out.put_u64_le(version);
            }
        }
    }

    fn take(bytes: &mut Bytes) -> Result<Self, String> {
        match bytes.try_get_u8().map_err(cut_off)? {
            CALL => {
                let cluster = bytes.try_get_u128_le().map_err(cut_off)?;
                let epoch = Epoch(bytes.try_get_u32_le().map_err(cut_off)?);
                let from = Position(bytes.try_get_u64_le().map_err(cut_off)?);
                let node = std::mem::take(bytes);
                let node = std::str::from_utf8(&node).map_err(|_| "the node id is not text".to_owned())?;
                Ok(Self::Call(Call { cluster, node: NodeId::new(node)?, epoch, from }))
            }
            PING => {
                let mut number = || bytes.try_get_u64_le().map_err(cut_off);
                Ok(Self::Ping(Ping { number: number()?, version: number()? }))
            }
            other => Err(unknown(other)),
        }
    }
}

impl Said for Told {
    fn put(self, out: &mut impl BufMut) {
        match self {
            Self::Object(bytes) => {
                out.put_u8(OBJECT);
                out.put(bytes);
            }
            Self::Alive { ping, last, version } => {
                out.put_u8(ALIVE);
                out.put_u64_le(ping);
                out.put_u64_le(last.0);
                out.put_u64_le(version);
            }
            Self::Skipped => out.put_u8(SKIPPED),
        }
    }

    fn take(bytes: &mut Bytes) -> Result<Self, String> {
        match bytes.try_get_u8().map_err(cut_off)? {
            OBJECT => Ok(Self::Object(std::mem::take(bytes))),
            ALIVE => {
                let mut number = || bytes.try_get_u64_le().map_err(cut_off);
                Ok(Self::Alive { ping: number()?, last: Position(number()?), version: number()? })
            }
            SKIPPED => Ok(Self::Skipped),
            other => Err(unknown(other)),
        }
    }
}

fn cut_off(_: bytes::TryGetError) -> String {
    "the message is cut off".to_owned()
}

fn unknown(kind: u8) -> String {
    format!("a message of kind {kind} is unknown to this program")
}

/// Says messages of one kind and hears those of the other.
pub(super) struct Messages<Says, Hears>(PhantomData<fn() -> (Says, Hears)>);

impl<Says, Hears> Messages<Says, Hears> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Says: Said, Hears: Said> Codec for Messages<Says, Hears> {
    type Encode = Says;
    type Decode = Hears;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::new()
    }

    fn decoder(&mut self) -> Self {
        Self::new()
    }
}

impl<Says: Said, Hears> Encoder for Messages<Says, Hears> {
    type Item = Says;
    type Error = Status;

    fn encode(&mut self, said: Says, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        said.put(out);
        Ok(())
    }
}

impl<Says, Hears: Said> Decoder for Messages<Says, Hears> {
    type Item = Hears;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Hears>, Status> {
        Hears::read(bytes.copy_to_bytes(bytes.remaining())).map(Some).map_err(Status::invalid_argument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(said: impl Said) -> Bytes {
        let mut out = bytes::BytesMut::new();
        said.put(&mut out);
        out.freeze()
    }

    fn call() -> Asked {
        let node = NodeId::new("a.b").unwrap();
        Asked::Call(Call { cluster: 7 << 70, node, epoch: Epoch(3), from: Position(1 << 40) })
    }

    #[track_caller]
    fn check<T: Said + Clone + PartialEq + std::fmt::Debug>(said: &T) -> Bytes {
        let bytes = bytes_of(said.clone());
        assert_eq!(T::read(bytes.clone()).as_ref(), Ok(said));
        bytes
    }

    #[test]
    fn what_was_said_is_heard() {
        check(&call());
        check(&Asked::Ping(Ping { number: u64::MAX, version: 3 }));
        check(&Told::Object(Bytes::from_static(b"rows")));
        check(&Told::Alive { ping: 1, last: Position(2), version: 3 });
        check(&Told::Skipped);
    }

    #[test]
    fn what_is_cut_off_or_has_more_behind_it_is_no_message() {
        let alive = check(&Told::Alive { ping: 1, last: Position(2), version: 3 });
        for (whole, reads) in [
            (alive, (|bytes| Told::read(bytes).is_ok()) as fn(Bytes) -> bool),
            (check(&Told::Skipped), |bytes| Told::read(bytes).is_ok()),
            (check(&Asked::Ping(Ping { number: 1, version: 3 })), |bytes| Asked::read(bytes).is_ok()),
        ] {
            for end in 0..whole.len() {
                assert!(!reads(whole.slice(..end)), "{whole:?} cut at {end}");
            }
            assert!(!reads([&whole[..], b"\0"].concat().into()), "more than {whole:?}");
        }
        let call = check(&call());
        // One letter of the id is an id.
        for end in 0..call.len() - "a.b".len() {
            assert!(Asked::read(call.slice(..end)).is_err(), "cut at {end}");
        }
        assert!(Asked::read([&call[..], b"\0"].concat().into()).is_err());
    }

    #[test]
    fn no_bytes_panic_a_reader() {
        for kind in 0..=u8::MAX {
            for bytes in [vec![kind], vec![kind, 0xff], vec![kind; 40]] {
                let bytes = Bytes::from(bytes);
                let _ = (Asked::read(bytes.clone()), Told::read(bytes));
            }
        }
    }
}
