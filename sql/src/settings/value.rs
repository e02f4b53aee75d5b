//! The values of settings: what they are, and which they may be.

use std::ops::RangeInclusive;
use std::time::Duration;

use storage::knob::Knob;

/// What a setting turns, and the values it may have.
#[derive(Debug, Clone)]
pub enum Dial {
    Interval {
        knob: Knob<Duration>,
        range: RangeInclusive<Duration>,
    },
    /// A duration, or none.
    Timeout {
        knob: Knob<Option<Duration>>,
        range: RangeInclusive<Duration>,
    },
    Count {
        knob: Knob<u64>,
        range: RangeInclusive<u64>,
    },
}

/// What stands for no limit.
const NONE: &str = "none";

impl Dial {
    /// The value as it is now.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Interval { knob, .. } => text(knob.get()),
            Self::Timeout { knob, .. } => knob.get().map_or_else(|| NONE.to_owned(), text),
            Self::Count { knob, .. } => knob.get().to_string(),
        }
    }

    pub(super) fn turn(&self, value: &str) -> Result<(), String> {
        match self {
            Self::Interval { knob, range } => knob.set(duration(value, range)?),
            Self::Timeout { knob, range } => knob.set(timeout(value, range)?),
            Self::Count { knob, range } => knob.set(count(value, range)?),
        }
        Ok(())
    }

    /// The value as it would be shown; the error is what it must be.
    pub(super) fn judged(&self, value: &str) -> Result<String, String> {
        match self {
            Self::Interval { range, .. } => duration(value, range).map(text),
            Self::Timeout { range, .. } => {
                timeout(value, range).map(|timeout| timeout.map_or_else(|| NONE.to_owned(), text))
            }
            Self::Count { range, .. } => count(value, range).map(|count| count.to_string()),
        }
    }

    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Self::Interval { .. } | Self::Timeout { .. } => "duration",
            Self::Count { .. } => "count",
        }
    }

    pub(crate) fn range(&self) -> (String, String) {
        match self {
            Self::Interval { range, .. } | Self::Timeout { range, .. } => (text(*range.start()), text(*range.end())),
            Self::Count { range, .. } => (range.start().to_string(), range.end().to_string()),
        }
    }
}

fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn duration(value: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(value.trim()).ok().filter(|duration| range.contains(duration));
    let (from, to) = (text(*range.start()), text(*range.end()));
    parsed.ok_or_else(|| format!("it is a duration from {from} to {to}, such as '{from}'"))
}

fn timeout(value: &str, range: &RangeInclusive<Duration>) -> Result<Option<Duration>, String> {
    if value.trim().eq_ignore_ascii_case(NONE) {
        return Ok(None);
    }
    duration(value, range).map(Some).map_err(|error| format!("{error}, or 'none'"))
}

fn count(value: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let parsed = value.trim().parse().ok().filter(|count| range.contains(count));
    parsed.ok_or_else(|| format!("it is a whole number from {} to {}", range.start(), range.end()))
}
