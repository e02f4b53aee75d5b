//! Chance from a seed.
//!
//! # Promises
//! - The same seed gives the same numbers on every machine and in every build.
//!
//! # Not here
//! - Secrets: the numbers are easy to foresee, which is the point.

/// A SplitMix64 sequence.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `0..limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "there is no number below 0");
        // The bias of the remainder is below 2^-40 for every limit used in a test.
        self.next_u64() % limit
    }

    /// The items in another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).expect("an index fits");
            items.swap(last, other);
        }
    }
}

/// A seed from the environment, to replay a failure, or from the clock. Whoever asks prints it.
pub fn seed_from(variable: &str) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or_else(
        || std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_nanos() as u64,
        |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut random = Random::new(42);
        assert_eq!([random.next_u64(), random.next_u64()], [13679457532755275413, 2949826092126892291]);
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
