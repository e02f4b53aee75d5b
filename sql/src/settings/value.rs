//! The values of settings: what they are, and which they may be.

use std::ops::RangeInclusive;
use std::sync::Arc;
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
    /// Bytes.
    Size {
        knob: Knob<u64>,
        range: RangeInclusive<u64>,
        read: ReadSize,
    },
    /// Whatever the judge lets pass, as the judge writes it.
    Text {
        knob: Knob<Arc<str>>,
        judge: fn(&str) -> Result<String, String>,
    },
}

/// Reads sizes as flags have them.
#[derive(Debug, Clone, Copy)]
pub struct ReadSize {
    /// What all of memory is.
    pub whole: u64,
    /// The bytes that a text means, when that is the whole.
    pub bytes: fn(&str, u64) -> Result<u64, String>,
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
            Self::Size { knob, .. } => size_text(knob.get()),
            Self::Text { knob, .. } => knob.get().to_string(),
        }
    }

    pub(super) fn turn(&self, value: &str) -> Result<(), String> {
        match self {
            Self::Interval { knob, range } => knob.set(duration(value, range)?),
            Self::Timeout { knob, range } => knob.set(timeout(value, range)?),
            Self::Count { knob, range } => knob.set(count(value, range)?),
            Self::Size { knob, range, read } => knob.set(size(value, (range, read))?.taken),
            Self::Text { knob, judge } => knob.set(judge(value)?.into()),
        }
        Ok(())
    }

    /// Why this node does not have the value that was set.
    pub(super) fn trouble(&self, value: &str) -> Option<String> {
        let of = |text: &str| format!("'{}' was set: {text}", value.escape_debug());
        let Self::Size { range, read, .. } = self else { return self.judged(value).err().map(|error| of(&error)) };
        match size(value, (range, read)) {
            Ok(Size { said, taken }) if said > taken => {
                Some(of(&format!("{} is the most that this machine has for it", size_text(taken))))
            }
            Ok(Size { said, taken }) if said < taken => {
                Some(of(&format!("that is {} here, and less than the least", size_text(said))))
            }
            Ok(_) => None,
            Err(error) => Some(of(&error)),
        }
    }

    /// The value as the catalog is to have it; the error is what it must be. Nodes judge alike, whatever their memory.
    pub(super) fn judged(&self, value: &str) -> Result<String, String> {
        match self {
            Self::Interval { range, .. } => duration(value, range).map(text),
            Self::Timeout { range, .. } => {
                timeout(value, range).map(|timeout| timeout.map_or_else(|| NONE.to_owned(), text))
            }
            Self::Count { range, .. } => count(value, range).map(|count| count.to_string()),
            Self::Size { range, read, .. } => {
                let Size { said, taken: _ } = size(value, (range, read))?;
                Ok(if is_share(value) { value.trim().to_owned() } else { size_text(said) })
            }
            Self::Text { judge, .. } => judge(value),
        }
    }

    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Self::Interval { .. } | Self::Timeout { .. } => "duration",
            Self::Count { .. } => "count",
            Self::Size { .. } => "size",
            Self::Text { .. } => "text",
        }
    }

    pub(crate) fn range(&self) -> Option<(String, String)> {
        match self {
            Self::Interval { range, .. } | Self::Timeout { range, .. } => {
                Some((text(*range.start()), text(*range.end())))
            }
            Self::Count { range, .. } => Some((range.start().to_string(), range.end().to_string())),
            Self::Size { range, read, .. } => {
                Some((size_text(*range.start()), size_text((*range.end()).min(most(read)))))
            }
            Self::Text { .. } => None,
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

/// Bytes, as they were said for this machine, and as many of them as it can have.
struct Size {
    said: u64,
    taken: u64,
}

/// A share is another size on each machine, so it is right if the largest one can have it.
fn size(value: &str, (range, read): (&RangeInclusive<u64>, &ReadSize)) -> Result<Size, String> {
    let bytes = |whole| (read.bytes)(value, whole).ok();
    let judged = bytes(if is_share(value) { *range.end() } else { read.whole });
    let said = judged.filter(|bytes| range.contains(bytes)).and_then(|_| bytes(read.whole));
    let (from, to) = (size_text(*range.start()), size_text(*range.end()));
    let wrong = || format!("it is a size from {from} to {to}, such as '{from}', or a share of memory, such as '20%'");
    let said = said.ok_or_else(wrong)?;
    Ok(Size { said, taken: said.min(most(read)).max(*range.start()) })
}

/// The rest is for all else that the process holds. In whole megabytes, to be read.
fn most(read: &ReadSize) -> u64 {
    (read.whole / 10 * 9) >> 20 << 20
}

fn is_share(value: &str) -> bool {
    value.trim().ends_with('%')
}

/// In the largest unit of which it is a whole number.
fn size_text(bytes: u64) -> String {
    let units = [("tb", 1 << 40), ("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)];
    let found = units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    found.map_or_else(|| format!("{bytes}b"), |(name, unit)| format!("{}{name}", bytes / unit))
}
