//! Time, timers and chance, real or simulated.
//!
//! # Promises
//! - Everything in this package that depends on the time or on chance gets it here, so that a simulation which hands in
//!   its own clock replays from a seed.
//! - Timers follow tokio's clock; a simulation pauses that clock and moves it.
//!
//! # Not here
//! - Order: it comes from numbers, epochs and stamps. The wall clock may jump either way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::time::Instant;

/// A handle; clones share the same time and the same chance.
#[derive(Clone)]
pub struct Clock {
    wall: Wall,
    chance: Arc<Mutex<StdRng>>,
}

#[derive(Clone)]
enum Wall {
    System,
    /// Microseconds since the Unix epoch at an instant of tokio's clock.
    Simulated {
        start_micros: u64,
        start: Instant,
        /// What somebody has put it ahead since, or back.
        moved_micros: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The machine's clock and the operating system's randomness.
    #[must_use]
    pub fn system() -> Self {
        Self { wall: Wall::System, chance: Arc::new(Mutex::new(StdRng::from_os_rng())) }
    }

    /// A wall clock that stands at `start_micros` now and moves with tokio's clock; chance follows from `seed`.
    #[must_use]
    pub fn simulated(start_micros: u64, seed: u64) -> Self {
        let wall = Wall::Simulated { start_micros, start: Instant::now(), moved_micros: Arc::default() };
        Self { wall, chance: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    /// Puts a simulated wall clock ahead, as an operator or a time service may; the machine's own stays as it is.
    pub fn set_ahead(&self, by: Duration) {
        self.move_by(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Puts a simulated wall clock back; see `set_ahead`.
    pub fn set_back(&self, by: Duration) {
        self.move_by(-i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    fn move_by(&self, by_micros: i64) {
        if let Wall::Simulated { moved_micros, .. } = &self.wall {
            moved_micros.fetch_add(by_micros, Ordering::Relaxed);
        }
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn now_micros(&self) -> u64 {
        match &self.wall {
            Wall::System => micros(system_time_since_epoch()),
            Wall::Simulated { start_micros, start, moved_micros } => {
                let steady = start_micros + micros(start.elapsed());
                steady.saturating_add_signed(moved_micros.load(Ordering::Relaxed))
            }
        }
    }

    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_micros() / 1_000
    }

    /// Nanoseconds since the Unix epoch, the unit of row times.
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        let nanos = match &self.wall {
            Wall::System => system_time_since_epoch().as_nanos(),
            Wall::Simulated { .. } => u128::from(self.now_micros()) * 1_000,
        };
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }

    /// A point of the clock that never jumps.
    #[must_use]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    #[must_use]
    pub fn random(&self) -> u128 {
        let mut chance = self.chance.lock();
        u128::from(chance.next_u64()) << 64 | u128::from(chance.next_u64())
    }

    /// 64 bytes of chance, for token secrets.
    #[must_use]
    pub fn random_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        self.chance.lock().fill_bytes(&mut bytes);
        bytes
    }

    /// A new id that sorts after those minted in earlier milliseconds.
    #[must_use]
    pub fn ulid(&self) -> u128 {
        ulid::Ulid::from_parts(self.now_ms(), self.random()).0
    }

    /// A new id that also sorts after `floor`.
    #[must_use]
    pub fn ulid_above(&self, floor: u128) -> u128 {
        let after_floor = ulid::Ulid(floor).timestamp_ms() + 1;
        ulid::Ulid::from_parts(self.now_ms().max(after_floor), self.random()).0
    }

    /// How long to wait before attempt number `attempt` (from 1): doubling from 20 ms to 2 s, half of it chance, so
    /// that many callers do not come back together.
    #[must_use]
    pub fn backoff(&self, attempt: u32) -> Duration {
        let whole = Duration::from_millis(20).saturating_mul(1 << attempt.min(7)).min(Duration::from_secs(2));
        let chance = u32::try_from(self.random() % 1000).unwrap_or(0);
        whole / 2 + whole / 2 * chance / 1000
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.wall {
            Wall::System => "Clock(system)",
            Wall::Simulated { .. } => "Clock(simulated)",
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
fn system_time_since_epoch() -> Duration {
    // A machine set before 1970 counts as standing at 1970: stamps stay above what the catalog remembers anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
