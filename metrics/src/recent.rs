//! How often something happened in the last minutes.
//!
//! # Promises
//! - A sum has everything of the last `WINDOW`, and nothing older than that by more than a step of ten seconds.
//! - Memory is a few dozen numbers, whatever is counted.
//!
//! # Not here
//! - Time: callers say when it is, as a time since a moment of their choice.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What happened longer ago does not count.
pub const WINDOW: Duration = Duration::from_secs(300);

const STEP_SECONDS: u64 = 10;

/// A count that forgets.
#[derive(Debug, Default)]
pub struct Recent {
    /// Number of the step, and what was counted in it; rising.
    steps: Mutex<VecDeque<(u64, u64)>>,
}

impl Recent {
    pub fn add(&self, now: Duration, count: u64) {
        let step = now.as_secs() / STEP_SECONDS;
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut steps, step);
        match steps.back_mut() {
            // Two threads may come in another order than they looked at the clock.
            Some((newest, counted)) if *newest >= step => *counted += count,
            _ => steps.push_back((step, count)),
        }
    }

    #[must_use]
    pub fn sum(&self, now: Duration) -> u64 {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut steps, now.as_secs() / STEP_SECONDS);
        steps.iter().map(|(_, count)| count).sum()
    }
}

fn forget(steps: &mut VecDeque<(u64, u64)>, now: u64) {
    let kept = WINDOW.as_secs() / STEP_SECONDS;
    while steps.front().is_some_and(|(step, _)| step + kept < now) {
        steps.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let recent = Recent::default();
        let at = Duration::from_secs;
        recent.add(at(0), 1);
        recent.add(at(4), 2);
        recent.add(at(200), 4);
        recent.add(at(199), 8);
        for (now, expected) in [(200, 15), (300, 15), (309, 15), (310, 12), (509, 12), (510, 0), (9_999, 0)] {
            assert_eq!(recent.sum(at(now)), expected, "after {now} s");
        }
    }
}
