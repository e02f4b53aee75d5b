use std::fmt;

/// Which writer's slot a stamp belongs to. A slot is 12 bits wide, so 4 096 nodes can write at one time; the catalog
/// gives a slot to another node only after every row stamped with it has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer(u16);

impl Writer {
    pub const MAX: u16 = (1 << Stamp::WRITER_BITS) - 1;

    #[must_use]
    pub fn new(slot: u16) -> Option<Self> {
        (slot <= Self::MAX).then_some(Self(slot))
    }

    #[must_use]
    pub fn slot(self) -> u16 {
        self.0
    }
}

/// When a row was written: a hybrid logical clock in microseconds, with the writer's slot in the lowest 12 bits.
///
/// Rows with the same key are ordered by stamp alone. Two writers can never make the same stamp, and all rows of one
/// WAL object carry one stamp: within the object they are united before anyone sees them.
///
/// 52 bits of microseconds reach to the year 2112; a clock beyond that counts as standing there, so that its rows stay
/// newer than all before. Zero means *settled*: older than every stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    const WRITER_BITS: u32 = 12;
    const MICROS_MAX: u64 = u64::MAX >> Self::WRITER_BITS;
    pub const SETTLED: Stamp = Stamp(0);

    /// The stamp of `writer` at `micros` after the Unix epoch.
    #[must_use]
    pub fn new(micros: u64, writer: Writer) -> Self {
        Self(micros.min(Self::MICROS_MAX) << Self::WRITER_BITS | u64::from(writer.0))
    }

    #[must_use]
    pub fn micros(self) -> u64 {
        self.0 >> Self::WRITER_BITS
    }

    /// The lowest stamp of a later microsecond, while there are such.
    #[must_use]
    pub fn above(other: Self) -> Self {
        Self((other.micros() + 1).min(Self::MICROS_MAX) << Self::WRITER_BITS)
    }

    /// The lowest stamp of `writer` that is above `self` and not before `now_micros`, while there are such stamps.
    #[must_use]
    pub fn next(self, now_micros: u64, writer: Writer) -> Self {
        Self::new(now_micros.max(self.micros() + 1), writer)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_the_last_that_fits_is_the_last_and_never_an_early_one() {
        check_micros(1_760_000_000_000_000, 1_760_000_000_000_000);
        check_micros((1 << 52) - 1, (1 << 52) - 1);
        check_micros(1 << 52, (1 << 52) - 1);
        check_micros(u64::MAX, (1 << 52) - 1);
    }

    #[track_caller]
    fn check_micros(given: u64, expected: u64) {
        let writer = Writer::new(7).expect("a slot");
        assert_eq!(Stamp::new(given, writer), Stamp(expected << 12 | 7), "{given}");
    }
}
