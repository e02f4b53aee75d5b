//! Whether the time of day may decide that something goes for good.
//!
//! # Promises
//! - It may once it has moved together with the steady clock for the time it was given, counted from the start of the
//!   process and again from each jump of more than `JUMP_MAX`.
//! - A time of day more than `AHEAD_MAX` beyond the newest one that is known is watched `AHEAD_TIMES` as long, and a
//!   warning says how far ahead it is. Known are the times in the catalog when the process started, and what was trusted
//!   since, each with the steady time that has passed.
//!
//! # Not here
//! - A clock that stays wrong, and steady, for longer than that: in the end its time is believed. A cluster that was off
//!   for a year looks just the same, and its old files must go some day.

use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::State;
use crate::clock::Clock;
use crate::model::Stamp;

/// The time of day is mended in steps above this; what is below is drift, and nothing goes on the minute.
const JUMP_MAX: Duration = Duration::from_secs(60);

/// No cluster that is in use is silent for so long, while a battery that failed is wrong by years.
const AHEAD_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// With an hour to wait, an operator has a day to see the warning.
const AHEAD_TIMES: u32 = 24;

/// Watches the time of day. Only a look every now and then tells of jumps.
#[derive(Debug)]
pub(super) struct Trust {
    clock: Clock,
    after: Duration,
    /// The newest time of day that something else than this clock speaks for.
    known: Option<Reading>,
    looked: Reading,
    /// Since when the clock has not jumped, and how long that must last.
    even_since: Instant,
    wait: Duration,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    ms: u64,
    at: Instant,
}

impl Reading {
    /// What the time of day must be now if it was right then.
    fn now_ms(self) -> u64 {
        self.ms.saturating_add(millis(self.at.elapsed()))
    }
}

impl Trust {
    /// Begins to watch. `state` is what the catalog says before this process has added to it.
    pub(super) fn new(clock: Clock, after: Duration, state: &State) -> Self {
        let looked = Reading { ms: clock.now_ms(), at: clock.instant() };
        let known = newest_ms(state).map(|ms| Reading { ms, at: looked.at });
        let mut trust = Self { clock, after, known, looked, even_since: looked.at, wait: after };
        trust.begin();
        trust
    }

    /// The time of day in milliseconds since the Unix epoch, if it is to be trusted.
    pub(super) fn look(&mut self) -> Option<u64> {
        let expected_ms = self.looked.now_ms();
        self.looked = Reading { ms: self.clock.now_ms(), at: self.clock.instant() };
        let jumped = Duration::from_millis(self.looked.ms.abs_diff(expected_ms));
        if jumped > JUMP_MAX {
            tracing::warn!(now_ms = self.looked.ms, expected_ms, "the clock of this machine has jumped");
            self.begin();
        }
        if self.even_since.elapsed() < self.wait {
            return None;
        }
        self.known = Some(self.looked);
        Some(self.looked.ms)
    }

    fn begin(&mut self) {
        (self.even_since, self.wait) = (self.looked.at, self.after);
        let known_ms = self.known.map_or(u64::MAX, Reading::now_ms);
        let ahead = Duration::from_millis(self.looked.ms.saturating_sub(known_ms));
        if ahead > AHEAD_MAX {
            self.wait = self.after * AHEAD_TIMES;
            tracing::warn!(
                days_ahead = ahead.as_secs() / (24 * 60 * 60),
                hours_to_wait = self.wait.as_secs() / (60 * 60),
                "the clock of this machine is far beyond the newest time in the catalog; if it is wrong, mend it before \
                 rows beyond their retention are deleted"
            );
        }
    }
}

/// The newest time of day that the catalog tells of; `None` while there are no rows in it.
fn newest_ms(state: &State) -> Option<u64> {
    let stamps = state.nodes.values().map(|node| node.persisted_stamp);
    let stamps = stamps.filter(|stamp| *stamp > Stamp::SETTLED).map(|stamp| stamp.micros() / 1_000);
    let files = state.tables.values().filter_map(|table| table.files.keys().next_back()).map(|id| id.made_at_ms());
    stamps.chain(files).max()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    const START_MICROS: u64 = 1_760_000_000_000_000;

    fn watched() -> (Clock, Trust) {
        let clock = Clock::simulated(START_MICROS, 1);
        let trust = Trust::new(clock.clone(), HOUR, &State::default());
        (clock, trust)
    }

    /// Looks every minute for so long, and says whether the last look was trusted.
    async fn look_for(trust: &mut Trust, duration: Duration) -> bool {
        let end = Instant::now() + duration;
        let mut trusted = false;
        while Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(60)).await;
            trusted = trust.look().is_some();
        }
        trusted
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_trusted_after_it_ran_evenly_for_an_hour() {
        let (clock, mut trust) = watched();
        assert!(!look_for(&mut trust, HOUR - Duration::from_secs(60)).await);
        assert!(look_for(&mut trust, Duration::from_secs(60)).await);
        assert_eq!(trust.look(), Some(clock.now_ms()));
    }

    #[tokio::test(start_paused = true)]
    async fn each_jump_takes_the_trust_away_for_an_hour() {
        for back in [HOUR, 2 * YEAR] {
            let (clock, mut trust) = watched();
            assert!(look_for(&mut trust, 2 * HOUR).await);
            clock.set_back(back);
            assert!(!look_for(&mut trust, HOUR - Duration::from_secs(60)).await);
            assert!(look_for(&mut trust, 2 * Duration::from_secs(60)).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_slewed_keeps_the_trust() {
        let (clock, mut trust) = watched();
        for _ in 0..120 {
            look_for(&mut trust, Duration::from_secs(60)).await;
            clock.set_back(Duration::from_millis(30));
        }
        assert!(trust.look().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_far_beyond_what_it_was_itself_is_trusted_after_a_day() {
        let (clock, mut trust) = watched();
        assert!(look_for(&mut trust, 2 * HOUR).await);
        clock.set_ahead(YEAR);
        assert!(!look_for(&mut trust, DAY - HOUR).await);
        assert!(look_for(&mut trust, 2 * HOUR).await);
    }
}
