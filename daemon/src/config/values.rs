//! Values as users write them, in flags, variables and requests.

use std::time::Duration;

/// A share of memory: bytes, or percent of what this process may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Memory {
    Bytes(u64),
    Percent(f64),
}

impl Memory {
    /// The share in bytes when `total` bytes may be used.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of memory is not exact, and never negative"
    )]
    pub(crate) fn resolve(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Exact to a few bytes, and a percentage is between 0 and 100.
            Self::Percent(percent) => (total as f64 * percent / 100.0) as u64,
        }
    }
}

const KIB: u64 = 1024;
const UNITS: [(&str, u64); 5] = [("tb", KIB.pow(4)), ("gb", KIB.pow(3)), ("mb", KIB.pow(2)), ("kb", KIB), ("b", 1)];

/// A size with its unit: `10mb`, `8GB`, `1.5 gb`, `0b`. A number without a unit is refused, since older releases took
/// it for bytes in one place and for megabytes in another.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let found = UNITS.iter().find_map(|(unit, bytes)| Some((lower.strip_suffix(unit)?, *bytes)));
    let Some((number, unit)) = found else {
        return Err(match lower.parse::<f64>() {
            Ok(_) => format!("size '{text}' needs a unit: b, kb, mb, gb or tb"),
            Err(_) => format!("size '{text}' is not a number with a unit, such as 10mb"),
        });
    };
    scale(number.trim(), unit).ok_or_else(|| format!("size '{text}' is not a number with a unit, such as 10mb"))
}

/// Whole numbers stay exact; fractions are as exact as a float; what is too large becomes the largest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "fractions are of at most a few digits, and a float too large becomes the largest number"
)]
fn scale(number: &str, unit: u64) -> Option<u64> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(number) {
        return Some(number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit));
    }
    let (whole, fraction) = number.split_once('.')?;
    let number = (digits(whole) && digits(fraction)).then(|| number.parse::<f64>().ok())??;
    Some((number * unit as f64) as u64)
}

/// A size; a bare number is bytes.
pub(crate) fn parse_request_size(text: &str) -> Result<usize, String> {
    let bytes = text.trim().parse::<u64>().map_or_else(|_| parse_size(text), Ok)?;
    usize::try_from(bytes).map_err(|_| format!("size '{text}' is larger than this machine can address"))
}

/// A size, or percent of memory: `8GB`, `20%`.
pub(crate) fn parse_memory(text: &str) -> Result<Memory, String> {
    let Some(percent) = text.trim().strip_suffix('%') else { return parse_size(text).map(Memory::Bytes) };
    match percent.trim().parse::<f64>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(Memory::Percent(value)),
        _ => Err(format!("'{text}' is not a percentage between 0% and 100%")),
    }
}

/// What a bare number meant to releases that took it: megabytes, or bytes when it is too large to be that. Other values
/// stay as they are.
#[must_use]
pub(crate) fn with_legacy_unit(text: &str) -> String {
    match text.trim().parse::<u64>() {
        Ok(number) if number < KIB.pow(2) => format!("{number}mb"),
        Ok(number) => format!("{number}b"),
        Err(_) => text.to_owned(),
    }
}

/// A hundred years: longer than any node runs, and short enough to be added to any instant.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// `250ms`, `1min 30sec`, `7d`. What is too long becomes the longest that is allowed.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    any_duration(text).map(|duration| duration.min(DURATION_MAX))
}

fn any_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text.trim()) {
        Ok(duration) => Ok(duration),
        Err(humantime::DurationError::NumberOverflow) => Ok(Duration::MAX),
        Err(error) => Err(format!("'{text}' is not a duration such as 250ms, 10s or 7d: {error}")),
    }
}

/// A duration that is not zero.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err(format!("'{text}' must be longer than zero")),
        interval => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        check_size("10mb", Ok(10 << 20));
        check_size("8GB", Ok(8 << 30));
        check_size("1.5kb", Ok(1536));
        check_size("0b", Ok(0));
        check_size("99999999999999999999tb", Ok(u64::MAX));
        check_size("1048576", Err("size '1048576' needs a unit: b, kb, mb, gb or tb"));
        check_size("-1mb", Err("size '-1mb' is not a number with a unit, such as 10mb"));
        check_size("nanmb", Err("size 'nanmb' is not a number with a unit, such as 10mb"));
        check_size("", Err("size '' is not a number with a unit, such as 10mb"));
    }

    #[track_caller]
    fn check_size(text: &str, expected: Result<u64, &str>) {
        assert_eq!(parse_size(text), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn request_sizes_may_be_bare_bytes() {
        assert_eq!(parse_request_size("1048576"), Ok(1 << 20));
        assert_eq!(parse_request_size("10mb"), Ok(10 << 20));
    }

    #[test]
    fn memory_is_bytes_or_percent() {
        assert_eq!(parse_memory("20%").map(|m| m.resolve(1000)), Ok(200));
        assert_eq!(parse_memory("8GB").map(|m| m.resolve(1000)), Ok(8 << 30));
        assert!(parse_memory("101%").is_err());
        assert!(parse_memory("NaN%").is_err());
        assert!(parse_memory("20").is_err());
    }

    #[test]
    fn bare_numbers_of_old_names_are_megabytes_unless_too_large() {
        assert_eq!(with_legacy_unit("8192"), "8192mb");
        assert_eq!(with_legacy_unit("8589934592"), "8589934592b");
        assert_eq!(with_legacy_unit("60%"), "60%");
    }

    #[test]
    fn durations_saturate() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1min 30sec"), Ok(Duration::from_secs(90)));
        for long in ["101y", "99999999999999999999y"] {
            let longest = parse_duration(long).expect("it is a duration");
            assert_eq!(longest, DURATION_MAX);
            assert!(tokio::time::Instant::now().checked_add(longest).is_some());
        }
        assert!(parse_duration("10").is_err());
        assert!(parse_interval("0s").is_err());
    }
}
