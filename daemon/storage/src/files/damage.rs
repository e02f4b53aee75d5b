//! Made-up damage, seed after seed: nothing panics, and what is read is an error or the right rows.
//!
//! `WEIR_FUZZ_SECONDS` lets it run longer. A failure prints the seed.

use rand::Rng;
use rand::rngs::StdRng;

use super::tests::{file_of_all_parts, read, rows, written};
use super::*;
use crate::fuzz::for_seeds;

#[test]
fn made_up_damage_is_an_error_that_names_the_file() {
    let files = [file_of_all_parts(), written(&[rows(300, |_| 0)]), written(&[rows(15_000, |r| r as u64)])];
    for_seeds(|random| {
        let file = &files[random.random_range(0..files.len())];
        let bytes = damaged(&file.bytes, random);
        let is_whole = bytes == file.bytes;
        match read(bytes.clone(), Some(file.tail)) {
            Ok(batches) => {
                assert!(is_whole, "damage was not noticed");
                assert_eq!(batches.iter().map(|b| b.num_rows() as u64).sum::<u64>(), file.rows);
            }
            Err(error) => check_named(&error),
        }
        // Of a file without checksums, other rows may come, and are not looked at: the checks above are for that.
        if let Err(error) = read(bytes, None) {
            check_named(&error);
        }
    });
}

#[track_caller]
fn check_named(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Corrupt) && error.to_string().contains("lost.parquet"), "{error}");
}

/// `whole` with one to three things done to it that happen to files.
fn damaged(whole: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..random.random_range(1..4) {
        let len = bytes.len();
        let start = if random.random() { place_near_end(len, random) } else { random.random_range(0..=len) };
        let end = (start + (1 << random.random_range(0..12))).min(len);
        match random.random_range(0..7) {
            0 => bytes.truncate(start),
            1 => bytes[start..end].fill(random.random()),
            2 => random.fill(&mut bytes[start..end]),
            3 => drop(bytes.drain(start..end)),
            4 => bytes.extend_from_within(start..end),
            5 => bytes[start..end].reverse(),
            _ => bytes[start..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
        }
    }
    bytes
}

/// Indexes and footer are few bytes and mean most.
fn place_near_end(len: usize, random: &mut StdRng) -> usize {
    len - random.random_range(0..=len.min(4096))
}
