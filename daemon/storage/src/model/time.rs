/// Nanoseconds since the Unix epoch, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    pub min: i64,
    pub max: i64,
}

impl TimeRange {
    pub const ALL: TimeRange = TimeRange { min: i64::MIN, max: i64::MAX };

    /// `None` when the ends are in the wrong order.
    #[must_use]
    pub fn new(min: i64, max: i64) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// The smallest range that holds every one of `times`; `None` when there are none.
    #[must_use]
    pub fn of(times: &[i64]) -> Option<Self> {
        let (first, rest) = times.split_first()?;
        let start = Self { min: *first, max: *first };
        Some(rest.iter().fold(start, |r, t| Self { min: r.min.min(*t), max: r.max.max(*t) }))
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }

    #[must_use]
    pub fn contains(self, time: i64) -> bool {
        self.min <= time && time <= self.max
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_share_one_instant_overlap() {
        check_overlap((0, 10), (10, 20), true);
        check_overlap((0, 10), (11, 20), false);
        check_overlap((0, 30), (10, 20), true);
    }

    #[track_caller]
    fn check_overlap(a: (i64, i64), b: (i64, i64), expected: bool) {
        let a = TimeRange::new(a.0, a.1).expect("a is in order");
        let b = TimeRange::new(b.0, b.1).expect("b is in order");
        assert_eq!(a.overlaps(b), expected, "{a:?} {b:?}");
        assert_eq!(b.overlaps(a), expected, "the order of the two must not matter");
    }
}
