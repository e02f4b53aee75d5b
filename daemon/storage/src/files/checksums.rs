//! Every byte of a data file is covered by a checksum, so that a changed one is an error and never another answer.
//!
//! # Promises
//! - The body, which is all pages and filters, is cut into blocks of 64 KiB, the last one shorter. The footer lists the
//!   CRC-32C of each.
//! - The tail, which is all that follows (page indexes, footer, its length, the closing magic), has one CRC-32C, which
//!   the catalog keeps with its length.
//! - What is read is widened to whole blocks, or the whole tail, and given out only when they are as they were written.
//!
//! # Not here
//! - Files of before, which have no checksums: their records have no tail, and they are read as they are.
//!
//! # Why
//! Parquet's own page checksums leave out page headers, filters and indexes, and a changed header makes other rows. A list
//! for the whole file in the catalog would cost it 8 KB for 100 MB; in the footer it costs the same where it is needed
//! alone. Page indexes are written after the last moment at which something can be added to the footer, so they count to
//! the tail: a scan wants them together anyway. Blocks of 64 KiB are about one page of one column: larger ones would make
//! a narrow query read much that it does not want, smaller ones the list longer.

use std::ops::Range;

use parquet::file::metadata::{FileMetaData, KeyValue};

use super::{Error, format};
use crate::model::Tail;

const BLOCK_BYTES: usize = 64 << 10;

/// The checksums of one file.
#[derive(Debug, Clone)]
pub struct Checksums {
    file: String,
    body_bytes: u64,
    /// Of the blocks of the body.
    blocks: Vec<u32>,
    tail: Tail,
}

/// The entry in the footer of a file that begins with `body`.
pub(super) fn entry(body: &[u8]) -> KeyValue {
    format::checksums_entry(body.chunks(BLOCK_BYTES).map(crc32c::crc32c))
}

/// What the catalog keeps of the end of a file.
pub(super) fn tail(bytes: &[u8]) -> Tail {
    Tail { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) }
}

/// Refuses the tail of a file, which ends at `size_bytes`, when it is not what the catalog says.
pub fn check_tail(file: &str, tail: Tail, size_bytes: u64, bytes: &[u8]) -> Result<(), Error> {
    let is_whole = bytes.len() as u64 == tail.bytes && crc32c::crc32c(bytes) == tail.crc32c;
    let start = size_bytes.saturating_sub(tail.bytes);
    if is_whole { Ok(()) } else { Err(changed(file, start, size_bytes)) }
}

fn changed(file: &str, start: u64, end: u64) -> Error {
    damaged(file, format!("bytes {start} to {end} are not as they were written"))
}

fn damaged(file: &str, reason: String) -> Error {
    Error::Damaged { file: file.into(), reason }
}

impl Checksums {
    /// Those of a file of `size_bytes` bytes, from its footer, which is part of a tail that was checked.
    pub fn of(file: &str, size_bytes: u64, footer: &FileMetaData, tail: Tail) -> Result<Self, Error> {
        let blocks = format::parse_checksums(&file.into(), footer.key_value_metadata())?;
        let body_bytes = size_bytes.saturating_sub(tail.bytes);
        let expected = body_bytes.div_ceil(BLOCK_BYTES as u64);
        if blocks.len() as u64 != expected {
            return Err(damaged(file, format!("{} checksums for {expected} blocks", blocks.len())));
        }
        Ok(Self { file: file.to_owned(), body_bytes, blocks, tail })
    }

    /// The smallest ranges that can be checked and hold all of `ranges`: in order, none touching another.
    #[must_use]
    pub fn covering(&self, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut wide: Vec<Range<u64>> = ranges.iter().map(|range| self.widened(range)).collect();
        wide.sort_unstable_by_key(|range| range.start);
        wide.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        wide
    }

    fn widened(&self, range: &Range<u64>) -> Range<u64> {
        let block = BLOCK_BYTES as u64;
        let start = (range.start / block * block).min(self.body_bytes);
        let start = if range.start >= self.body_bytes { self.body_bytes } else { start };
        let end = match range.end {
            end if end > self.body_bytes => self.body_bytes + self.tail.bytes,
            end => (end.div_ceil(block) * block).min(self.body_bytes),
        };
        start..end
    }

    /// Refuses bytes that are not those of a range that `covering` gave.
    pub fn check(&self, range: &Range<u64>, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 != range.end - range.start {
            let reason = format!("{} bytes were read of {} to {}", bytes.len(), range.start, range.end);
            return Err(damaged(&self.file, reason));
        }
        let in_body = self.body_bytes.min(range.end).saturating_sub(range.start);
        let (body, tail) = bytes.split_at(usize::try_from(in_body).expect("it is at most the length of the bytes"));
        let mut start = range.start;
        for block in body.chunks(BLOCK_BYTES) {
            let number = usize::try_from(start / BLOCK_BYTES as u64).expect("the list has such an index");
            let end = start + block.len() as u64;
            if self.blocks[number] != crc32c::crc32c(block) {
                return Err(changed(&self.file, start, end));
            }
            start = end;
        }
        if tail.is_empty() {
            return Ok(());
        }
        check_tail(&self.file, self.tail, self.body_bytes + self.tail.bytes, tail)
    }
}
