//! The header in front of every object of ours that is not Parquet.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::{Epoch, Stamp};

/// What an object holds. The numbers are stored and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    CatalogEntry = 1,
    CatalogRoot = 2,
    CatalogPart = 3,
    /// Catalog entries up to this number may be gone.
    CatalogMark = 4,
    WalRows = 5,
    /// Ends the WAL of an epoch.
    WalFence = 6,
    Heartbeat = 7,
    /// Written to find out whether the store keeps its word.
    Probe = 8,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::CatalogEntry,
        Self::CatalogRoot,
        Self::CatalogPart,
        Self::CatalogMark,
        Self::WalRows,
        Self::WalFence,
        Self::Heartbeat,
        Self::Probe,
    ];

    /// The lowest feature level that reads what this program writes as this kind, so that a change of one kind keeps
    /// no older program from the others.
    fn feature_level(self) -> u32 {
        match self {
            // Level 2: nodes have modes, addresses and an end, one of them compacts, and files have tails.
            // Level 3: operators change settings, and what they ask for is recorded.
            // Level 4: rows are deleted, and tables have caches.
            Self::CatalogEntry | Self::CatalogRoot | Self::CatalogPart => 4,
            Self::CatalogMark | Self::WalRows | Self::WalFence | Self::Heartbeat | Self::Probe => 1,
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as u16 == code)
    }
}

/// What this program can read: the highest level of any kind. An object that needs more is refused by name. Whoever
/// stores something that this program would not understand raises the level of its kind.
const FEATURE_LEVEL: u32 = 4;

const MAGIC: [u8; 8] = *b"weirobj\n";
const FORMAT_VERSION: u16 = 1;

/// Bytes of the header. The fields take 96; the rest is zero and covered by the checksum.
pub const HEADER_BYTES: usize = 128;

/// One object: who wrote it, as what, and its payload.
///
/// Layout, little endian: magic 8, kind 2, format version 2, feature level 4, cluster 16, epoch 4, zero 4, number 8,
/// nonce 16, stamp 8, payload length 8, zero 40, payload CRC-32C 4, CRC-32C of the 124 bytes before it 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub cluster: u128,
    pub epoch: Epoch,
    /// The number of the object in its sequence; repeats what its key says.
    pub number: u64,
    /// Chance that tells this attempt from every other one.
    pub nonce: u128,
    pub stamp: Stamp,
    pub payload: Bytes,
}

impl Frame {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + self.payload.len());
        out.put_slice(&MAGIC);
        out.put_u16_le(self.kind as u16);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u32_le(self.kind.feature_level());
        out.put_u128_le(self.cluster);
        out.put_u32_le(self.epoch.0);
        out.put_u32_le(0);
        out.put_u64_le(self.number);
        out.put_u128_le(self.nonce);
        out.put_u64_le(self.stamp.0);
        out.put_u64_le(self.payload.len() as u64);
        out.put_bytes(0, 40);
        out.put_u32_le(crc32c::crc32c(&self.payload));
        out.put_u32_le(crc32c::crc32c(&out));
        out.put_slice(&self.payload);
        out.freeze()
    }

    /// Reads an object whole, or says what is wrong with it.
    pub fn decode(bytes: &Bytes) -> Result<Self, String> {
        let header = bytes.get(..HEADER_BYTES).ok_or_else(|| format!("only {} bytes", bytes.len()))?;
        if header[..8] != MAGIC {
            return Err("not an object of this program".into());
        }
        if crc32c::crc32c(&header[..124]) != u32::from_le_bytes(field(header, 124)) {
            return Err("checksum of the header is wrong".into());
        }
        let version = u16::from_le_bytes(field(header, 10));
        let level = u32::from_le_bytes(field(header, 12));
        if version != FORMAT_VERSION || level > FEATURE_LEVEL {
            return Err(format!(
                "format {version}, feature level {level}: a newer version of this program wrote it; this one reads format \
                 {FORMAT_VERSION} up to level {FEATURE_LEVEL}"
            ));
        }
        let code = u16::from_le_bytes(field(header, 8));
        let kind = Kind::from_code(code).ok_or_else(|| format!("kind {code} is unknown to this program"))?;
        let payload = bytes.slice(HEADER_BYTES..);
        let length = u64::from_le_bytes(field(header, 72));
        if length != payload.len() as u64 {
            return Err(format!("{} bytes of payload, {length} were written", payload.len()));
        }
        if crc32c::crc32c(&payload) != u32::from_le_bytes(field(header, 120)) {
            return Err("checksum of the payload is wrong".into());
        }
        Ok(Self {
            kind,
            cluster: u128::from_le_bytes(field(header, 16)),
            epoch: Epoch(u32::from_le_bytes(field(header, 32))),
            number: u64::from_le_bytes(field(header, 40)),
            nonce: u128::from_le_bytes(field(header, 48)),
            stamp: Stamp(u64::from_le_bytes(field(header, 64))),
            payload,
        })
    }
}

fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header[at..at + N].try_into().expect("the header is 128 bytes and every field ends before that")
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::fuzz::{allocated, damaged, for_seeds};

    fn sample() -> Frame {
        Frame {
            kind: Kind::WalRows,
            cluster: 7,
            epoch: Epoch(3),
            number: 41,
            nonce: 0x1234_5678_9abc_def0,
            stamp: Stamp(99),
            payload: Bytes::from_static(b"rows"),
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        assert_eq!(Frame::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn an_object_that_needs_a_newer_program_is_refused_with_the_level_it_needs() {
        for (kind, level) in
            [(Kind::CatalogEntry, 4), (Kind::CatalogRoot, 4), (Kind::CatalogPart, 4), (Kind::WalRows, 1)]
        {
            let mut bytes = Frame { kind, ..sample() }.encode().to_vec();
            assert_eq!(bytes[12..16], u32::to_le_bytes(level), "{kind:?} keeps out programs that cannot read it");
            bytes[12] = 5;
            seal(&mut bytes);
            let refused = Frame::decode(&bytes.into()).expect_err("it is of a newer program");
            assert!(refused.contains("feature level 5: a newer version of this program wrote it"), "{refused}");
        }
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let whole = sample().encode();
        for i in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[i] ^= 0x10;
            assert!(Frame::decode(&Bytes::from(bytes)).is_err(), "byte {i} changed");
            assert!(Frame::decode(&whole.slice(..i)).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn no_bytes_panic_the_decoder_or_take_more_memory_than_an_error() {
        let whole = sample().encode();
        for_seeds(|random| {
            let mut bytes = if random.random_bool(0.5) { damaged(&whole, random) } else { changed_fields(random) };
            if random.random_bool(0.8) {
                seal(&mut bytes);
            }
            check_total(&bytes.into());
        });
    }

    /// A header with other numbers in it.
    fn changed_fields(random: &mut StdRng) -> Vec<u8> {
        const FIELDS: [(usize, usize); 8] = [(8, 2), (10, 2), (12, 4), (16, 16), (32, 4), (40, 8), (64, 8), (72, 8)];
        let mut bytes = sample().encode().to_vec();
        for _ in 0..random.random_range(1..3) {
            let (at, len) = FIELDS[random.random_range(0..FIELDS.len())];
            let filler = [0x00, 0x01, 0x7f, 0x80, 0xff][random.random_range(0..5)];
            bytes[at + random.random_range(0..len)..at + len].fill(filler);
        }
        bytes
    }

    /// Makes the checksums right, so that what stands behind them is looked at.
    fn seal(bytes: &mut [u8]) {
        if let Some((header, payload)) = bytes.split_at_mut_checked(HEADER_BYTES) {
            header[..8].copy_from_slice(&MAGIC);
            header[120..124].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
            let sum = crc32c::crc32c(&header[..124]);
            header[124..].copy_from_slice(&sum.to_le_bytes());
        }
    }

    #[test]
    fn no_length_is_believed_before_the_bytes_are_there() {
        for length in [0, 5, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = sample().encode().to_vec();
            bytes[72..80].copy_from_slice(&length.to_le_bytes());
            seal(&mut bytes);
            let found = Frame::decode(&bytes.clone().into());
            assert_eq!(found, Err(format!("4 bytes of payload, {length} were written")));
            check_total(&bytes.into());
        }
    }

    /// What is read is what was written, and an error is all that is allocated.
    fn check_total(bytes: &Bytes) {
        let taken = allocated(|| {
            if let Ok(frame) = Frame::decode(bytes) {
                assert_eq!(frame.payload, bytes[HEADER_BYTES..]);
            }
        });
        assert!(taken < 1_000, "{taken} bytes were allocated for {} bytes", bytes.len());
    }
}
