//! How this process does at this moment: processor, memory, and how busy its I/O threads are.
//!
//! # Promises
//! - Shares are those of about the last minute, as long as `sample` is called every `SAMPLE_EVERY`, and of a shorter time
//!   soon after the start.
//! - What the system does not tell is `None`, never zero.
//!
//! # Not here
//! - When samples are taken: whoever starts the process starts that too.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::host;
use crate::process::Reading;

pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// A minute of them.
const SAMPLES_MAX: usize = 12;

/// Takes samples, and tells what they say.
#[derive(Debug)]
pub struct Vitals {
    io: Handle,
    memory_limit_bytes: u64,
    cpus: usize,
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Debug, Clone)]
struct Sample {
    process: Reading,
    io_busy: Duration,
}

/// What is known at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    pub uptime: Option<Duration>,
    /// Cores kept busy.
    pub cpu_ratio: Option<f64>,
    /// Processor cores this process may keep busy.
    pub cpus: usize,
    /// Without what the system can take back at any time.
    pub memory_bytes: Option<u64>,
    pub memory_limit_bytes: u64,
    pub io_threads: usize,
    /// How much of the time of all I/O threads was work.
    pub io_busy_ratio: Option<f64>,
}

impl Vitals {
    /// `io` is the pool of the I/O threads.
    #[must_use]
    pub fn new(io: Handle) -> Self {
        let vitals = Self {
            io,
            memory_limit_bytes: host::memory_limit_bytes(),
            cpus: host::cpu_count(),
            samples: Mutex::default(),
        };
        vitals.sample();
        vitals
    }

    pub fn sample(&self) {
        let Some(sample) = self.take() else { return };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample);
        while samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
    }

    fn take(&self) -> Option<Sample> {
        let metrics = self.io.metrics();
        let io_busy = (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum();
        Some(Sample { process: Reading::now()?, io_busy })
    }

    #[must_use]
    pub fn now(&self) -> Figures {
        let io_threads = self.io.metrics().num_workers();
        let known =
            Figures { cpus: self.cpus, memory_limit_bytes: self.memory_limit_bytes, io_threads, ..Figures::default() };
        let Some(now) = self.take() else { return known };
        let before = self.samples.lock().unwrap_or_else(PoisonError::into_inner).front().cloned();
        let io_busy_ratio = |before: &Sample| {
            let busy = now.io_busy.saturating_sub(before.io_busy).as_secs_f64();
            let elapsed = now.process.elapsed_since(&before.process)?;
            Some((busy / elapsed / io_threads.max(1) as f64).min(1.0))
        };
        Figures {
            uptime: Some(now.process.age()),
            memory_bytes: Some(now.process.memory_bytes()),
            cpu_ratio: before.as_ref().and_then(|before| now.process.cpu_ratio_since(&before.process)),
            io_busy_ratio: before.as_ref().and_then(io_busy_ratio),
            ..known
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_on_its_one_io_thread_is_seen_busy() {
        let pool =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("the pool can be built");
        let vitals = Vitals::new(pool.handle().clone());
        assert_eq!(vitals.now().io_busy_ratio, None, "no time has passed");
        let work = || {
            let mut sum = 0u64;
            (0..2_000_000u64).for_each(|i| sum = std::hint::black_box(sum.wrapping_add(i)));
        };
        let busy = (0..1000).map(|_| {
            pool.block_on(pool.spawn(async move { work() })).expect("the task ends well");
            vitals.now()
        });
        let seen = busy.into_iter().find(|now| now.io_busy_ratio.is_some_and(|ratio| ratio > 0.2));
        let seen = seen.expect("it worked for more than a second");
        assert!(seen.cpu_ratio.is_some_and(|ratio| ratio > 0.1), "{seen:?}");
        assert!(seen.uptime.is_some_and(|age| age > Duration::from_millis(900)), "{seen:?}");
        assert!(seen.memory_bytes.is_some_and(|bytes| bytes > 0 && bytes < seen.memory_limit_bytes), "{seen:?}");
        assert_eq!(seen.io_threads, 1);
    }

    #[test]
    fn samples_are_few() {
        let pool =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("the pool can be built");
        let vitals = Vitals::new(pool.handle().clone());
        (0..100).for_each(|_| vitals.sample());
        assert_eq!(vitals.samples.lock().expect("nobody panicked").len(), SAMPLES_MAX);
    }
}
