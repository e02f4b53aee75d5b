use std::time::Duration;

/// How long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    Forever,
    Nanoseconds(u64),
}

const HOUR_NS: u64 = 3_600_000_000_000;
const UNITS: [(&str, u64); 5] = [
    ("mo", 30 * 24 * HOUR_NS),
    ("y", 365 * 24 * HOUR_NS),
    ("w", 7 * 24 * HOUR_NS),
    ("d", 24 * HOUR_NS),
    ("h", HOUR_NS),
];

impl Retention {
    #[must_use]
    pub fn nanoseconds(self) -> Option<u64> {
        match self {
            Self::Forever => None,
            Self::Nanoseconds(ns) => Some(ns),
        }
    }

    /// `30d12h`, `1y6mo`, `none`, or any duration (`90m`, `7 days`). Zero is legal: every row is expired at once.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("none") {
            return Ok(Self::Forever);
        }
        let of_duration = || match humantime::parse_duration(text.trim()) {
            Ok(duration) => Some(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
            Err(humantime::DurationError::NumberOverflow) => Some(u64::MAX),
            Err(_) => None,
        };
        let nanoseconds = in_units(text.trim()).or_else(of_duration).map(Self::Nanoseconds);
        let wrong =
            || format!("retention period '{text}' is not a number with h, d, w, mo or y, such as 30d12h, nor none");
        nanoseconds.ok_or_else(wrong)
    }
}

/// `None` unless it is all numbers with one of the units.
fn in_units(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text, None);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return None;
        }
        let number = number.parse::<u64>().unwrap_or(u64::MAX);
        let (after, unit) = UNITS.iter().find_map(|(unit, ns)| Some((after.strip_prefix(unit)?, ns)))?;
        total = Some(total.unwrap_or(0u64).saturating_add(number.saturating_mul(*unit)));
        rest = after.trim_start();
    }
    total
}

/// A text that `parse` reads as the same.
impl std::fmt::Display for Retention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Forever => f.write_str("none"),
            Self::Nanoseconds(ns) if ns % (24 * HOUR_NS) == 0 => write!(f, "{}d", ns / (24 * HOUR_NS)),
            Self::Nanoseconds(ns) if ns % HOUR_NS == 0 => write!(f, "{}h", ns / HOUR_NS),
            Self::Nanoseconds(ns) => write!(f, "{}", humantime::format_duration(Duration::from_nanos(ns))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_knows_hours_to_years() {
        check("30d12h", Some(Retention::Nanoseconds((30 * 24 + 12) * HOUR_NS)));
        check("1y6mo", Some(Retention::Nanoseconds((365 + 180) * 24 * HOUR_NS)));
        check("2w", Some(Retention::Nanoseconds(14 * 24 * HOUR_NS)));
        check("0d", Some(Retention::Nanoseconds(0)));
        check("none", Some(Retention::Forever));
        check("99999999999999999999y", Some(Retention::Nanoseconds(u64::MAX)));
        check("90m", Some(Retention::Nanoseconds(HOUR_NS * 3 / 2)));
        check("288000000min", Some(Retention::Nanoseconds(4_800_000 * HOUR_NS)));
        check("1mo", Some(Retention::Nanoseconds(720 * HOUR_NS)));
        for wrong in ["", "d", "30", "-1d", "1d x", "soon"] {
            check(wrong, None);
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Option<Retention>) {
        assert_eq!(Retention::parse(text).ok(), expected, "{text}");
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for ns in [0, 1, 90 * 60_000_000_000, HOUR_NS, 36 * HOUR_NS, 720 * HOUR_NS, HOUR_NS + 1, u64::MAX] {
            let shown = Retention::Nanoseconds(ns).to_string();
            assert_eq!(Retention::parse(&shown), Ok(Retention::Nanoseconds(ns)), "{shown}");
        }
        assert_eq!(Retention::Nanoseconds(720 * HOUR_NS).to_string(), "30d");
        assert_eq!(Retention::parse(&Retention::Forever.to_string()), Ok(Retention::Forever));
    }
}
