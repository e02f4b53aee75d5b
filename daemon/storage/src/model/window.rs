use super::TimeRange;

/// An aligned stretch of time whose rows share files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// 1 for the smallest windows.
    pub level: u8,
    /// Nanoseconds, as is the width.
    pub start: i64,
    pub width: i64,
}

impl Window {
    #[must_use]
    pub fn range(self) -> TimeRange {
        // The last nanosecond before the next window; the ends of time have no next window.
        TimeRange { min: self.start, max: self.start.saturating_add(self.width - 1) }
    }

    /// Where the next window begins.
    #[must_use]
    pub fn end(self) -> i64 {
        self.start.saturating_add(self.width)
    }
}
