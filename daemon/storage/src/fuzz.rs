//! What the fuzz loops of all rooms share: seeds, ways to damage stored bytes, and a count of what decoding them takes.
//!
//! # Promises
//! - A failure names its seed; the same seed makes the same input.
//! - `WEIR_FUZZ_SECONDS` makes every loop last so long; without it each runs 500 seeds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Runs `test` for seed after seed.
pub(crate) fn for_seeds(test: impl Fn(&mut StdRng)) {
    let seconds: u64 = std::env::var("WEIR_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    #[expect(clippy::disallowed_methods, reason = "how long a person lets it run is real time")]
    let started = std::time::Instant::now();
    let mut seed = 0;
    while seed < 500 || started.elapsed() < Duration::from_secs(seconds) {
        let failed = Seed(seed);
        test(&mut StdRng::seed_from_u64(seed));
        std::mem::forget(failed);
        seed += 1;
    }
}

/// Says its number when a panic drops it.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        eprintln!("seed {}", self.0);
    }
}

/// `bytes` with a few changes: bits flipped, pieces cut out, doubled or moved, noise at the end, and numbers that look
/// like lengths made enormous.
pub(crate) fn damaged(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..40)).min(bytes.len());
        match random.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let (piece, to) = (bytes[at..end].to_vec(), random.random_range(0..=bytes.len()));
                bytes.splice(to..to, piece);
            }
            5 => {
                let mut noise = vec![0; random.random_range(0..64)];
                random.fill_bytes(&mut noise);
                bytes.extend(noise);
            }
            _ => {
                let enormous: &[u8] = match random.random_range(0..5) {
                    0 => &[0xff; 4],
                    1 => &[0xff; 8],
                    2 => &[0xff, 0xff, 0xff, 0xff, 0x0f],
                    3 => &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                    _ => &[0x80, 0x80, 0x80, 0x80, 0x04],
                };
                bytes.splice(at..(at + enormous.len()).min(bytes.len()), enormous.iter().copied());
            }
        }
    }
    bytes
}

/// How many bytes `work` asked the allocator for, those it gave back included.
pub(crate) fn allocated(work: impl FnOnce()) -> usize {
    let before = ALLOCATED.get();
    work();
    ALLOCATED.get() - before
}

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting what each thread asks for.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands everything on unchanged")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the rules of the trait, which are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc`, and so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(bytes: usize) {
    // A thread that is ending has no counter any more.
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + bytes));
}

#[test]
fn what_is_allocated_is_counted() {
    assert_eq!(allocated(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(12_345)))), 12_345);
}
