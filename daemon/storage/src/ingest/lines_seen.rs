//! How many lines came in the last minutes, and how many of them were refused.

use ::metrics::recent::Recent;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Error, LineError, Report};
use crate::clock::Clock;

#[derive(Debug)]
pub(super) struct LinesSeen {
    began: Instant,
    kept: Recent,
    refused: Recent,
    last: Mutex<Option<String>>,
}

/// Lines of the last minutes, see `Recent`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecentLines {
    pub kept: u64,
    /// Of a request that is refused as a whole only the first bad line is known.
    pub refused: u64,
    /// What was wrong with the last one that was refused, ever.
    pub last_refused: Option<String>,
}

impl LinesSeen {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { began: clock.instant(), kept: Recent::default(), refused: Recent::default(), last: Mutex::default() }
    }

    pub(super) fn see(&self, database: &str, parsed: Result<&Report, &Error>) {
        match parsed {
            Ok(report) => {
                self.kept.add(self.began.elapsed(), report.lines_kept as u64);
                self.refuse(database, report.rejected.len() as u64, report.rejected.last());
            }
            Err(Error::Line(line)) => self.refuse(database, 1, Some(line)),
            // What is refused for other reasons says nothing of its lines.
            Err(_) => {}
        }
    }

    fn refuse(&self, database: &str, lines: u64, last: Option<&LineError>) {
        let Some(LineError { line_number, original_line, message }) = last else { return };
        self.refused.add(self.began.elapsed(), lines);
        let words = format!("database {database}, line {line_number} '{original_line}': {message}");
        *self.last.lock() = Some(words);
    }

    pub(super) fn recent(&self) -> RecentLines {
        let now = self.began.elapsed();
        RecentLines { kept: self.kept.sum(now), refused: self.refused.sum(now), last_refused: self.last.lock().clone() }
    }
}
