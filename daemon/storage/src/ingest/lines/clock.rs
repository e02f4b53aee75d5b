//! What the numbers at the ends of lines mean.
//!
//! # Promises
//! - A number that does not fit nanoseconds in 64 bits is refused, never wrapped.
//!
//! # Not here
//! - Asking what time it is: the time of arrival is handed in, one for the whole request.

use super::fault::Fault;
use crate::ingest::Precision;

/// The smallest absolute value that is not taken for seconds; for milliseconds and microseconds it is a thousand and
/// a million times as large.
const AUTO_SECONDS_END: u64 = 5_000_000_000;

/// What the timestamps of one request mean.
#[derive(Debug)]
pub(super) struct Clock {
    precision: Precision,
    now: i64,
}

impl Clock {
    /// Lines without a timestamp get `now_ns`, cut to the precision.
    pub(super) fn new(precision: Precision, now_ns: i64) -> Self {
        let unit = unit_ns(precision);
        // Only at the very beginning of all times is there no whole unit before `now_ns`.
        let now = now_ns.div_euclid(unit).checked_mul(unit).unwrap_or(now_ns);
        Self { precision, now }
    }

    #[inline]
    pub(super) fn now(&self) -> i64 {
        self.now
    }

    /// The time that `number` stands for.
    #[inline]
    pub(super) fn time(&self, number: i64) -> Result<i64, Fault> {
        let precision = if self.precision == Precision::Auto { guess(number) } else { self.precision };
        number.checked_mul(unit_ns(precision)).ok_or(Fault::TimestampRange { time: number, precision })
    }
}

fn guess(number: i64) -> Precision {
    match number.unsigned_abs() {
        n if n < AUTO_SECONDS_END => Precision::Second,
        n if n < AUTO_SECONDS_END * 1_000 => Precision::Millisecond,
        n if n < AUTO_SECONDS_END * 1_000_000 => Precision::Microsecond,
        _ => Precision::Nanosecond,
    }
}

/// Nanoseconds in one unit.
fn unit_ns(precision: Precision) -> i64 {
    match precision {
        // The guess needs a number; the time of arrival is not one, and stays as it is.
        Precision::Auto | Precision::Nanosecond => 1,
        Precision::Microsecond => 1_000,
        Precision::Millisecond => 1_000_000,
        Precision::Second => 1_000_000_000,
        Precision::Minute => 60 * 1_000_000_000,
        Precision::Hour => 3_600 * 1_000_000_000,
    }
}
