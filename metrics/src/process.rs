//! Figures of this process: processor time, memory, threads and open files.
//!
//! # Promises
//! - Every figure is read anew at every scrape, from `/proc/self`; what the system does not tell is not shown.
//!
//! # Not here
//! - The allocator: the program that chooses one knows its figures.
//! - The threads of each pool: see `runtime`.
//!
//! # Why
//! `sysinfo` could read these too, but to keep its files open it raises the limit of open files of the whole process.

use std::fs;
use std::time::Duration;

use crate::registry::{Counter, Gauge, Registry};

/// Two scrapes that are closer than this share one usage ratio: the kernel counts in hundredths of a second.
const RATIO_SECONDS_MIN: f64 = 1.0;

/// Shows the figures of this process from now on.
pub fn register(registry: &Registry) {
    let Some(start) = Reading::now() else { return };
    let shown = Shown::new(registry, &start);
    let mut last = start;
    registry.on_scrape(move || {
        let Some(now) = Reading::now() else { return };
        shown.set(&now);
        if let Some(ratio) = now.cpu_ratio_since(&last) {
            shown.cpu_ratio.set(ratio);
            last = now;
        }
    });
}

/// The figures at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// Seconds since the machine started, when this was read.
    uptime_seconds: f64,
    /// Seconds since the machine started, when the process did.
    started_seconds: f64,
    cpu_seconds: f64,
    threads: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
    /// The part of `resident_bytes` that the system can take back at any time, since files hold the same bytes.
    file_bytes: u64,
}

impl Reading {
    /// `None` where there is no `/proc`.
    pub(crate) fn now() -> Option<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{name}")).ok();
        Self::parse(&read("self/stat")?, &read("self/statm")?, &read("uptime")?)
    }

    fn parse(stat: &str, statm: &str, uptime: &str) -> Option<Self> {
        // The second field is the name of the program, in brackets, and may hold spaces and brackets itself.
        let fields: Vec<u64> =
            stat.rsplit_once(')')?.1.split_ascii_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
        let pages: Vec<u64> = statm.split_ascii_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page_bytes = rustix::param::page_size() as u64;
        // Numbered as in proc(5), where the first field after the name is the third.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            uptime_seconds: uptime.split_ascii_whitespace().next()?.parse().ok()?,
            started_seconds: field(22)? as f64 / ticks,
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
            threads: field(20)?,
            virtual_bytes: pages.first()? * page_bytes,
            resident_bytes: pages.get(1)? * page_bytes,
            file_bytes: pages.get(2)? * page_bytes,
        })
    }

    /// Cores kept busy since `earlier`; `None` while that is too short ago to tell.
    pub(crate) fn cpu_ratio_since(&self, earlier: &Self) -> Option<f64> {
        let elapsed = self.elapsed_since(earlier)?;
        Some((self.cpu_seconds - earlier.cpu_seconds).max(0.0) / elapsed)
    }

    /// Seconds since `earlier`; `None` while they are too few to tell a share of them.
    pub(crate) fn elapsed_since(&self, earlier: &Self) -> Option<f64> {
        let elapsed = self.uptime_seconds - earlier.uptime_seconds;
        (elapsed >= RATIO_SECONDS_MIN).then_some(elapsed)
    }

    /// How long the process has been there.
    pub(crate) fn age(&self) -> Duration {
        Duration::try_from_secs_f64(self.uptime_seconds - self.started_seconds).unwrap_or_default()
    }

    /// Memory that the system cannot take back.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.resident_bytes.saturating_sub(self.file_bytes)
    }
}

struct Shown {
    cpu_seconds: Counter,
    cpu_ratio: Gauge,
    memory: Gauge,
    resident: Gauge,
    virtual_memory: Gauge,
    threads: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
}

impl Shown {
    fn new(registry: &Registry, start: &Reading) -> Self {
        let started = registry.gauge("process_start_time_seconds", "When the process started, since the Unix epoch.");
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|stat| boot_seconds(&stat)).unwrap_or(0.0);
        started.set(booted + start.started_seconds);
        let cpu_ratio = registry.gauge(
            "process_cpu_usage_ratio",
            "Processor cores kept busy by this process, between the last two scrapes; 1 is one whole core.",
        );
        // Until there are two scrapes, the average over the life of the process.
        let age = start.uptime_seconds - start.started_seconds;
        cpu_ratio.set(if age > 0.0 { start.cpu_seconds / age } else { 0.0 });
        Self {
            cpu_seconds: registry.counter("process_cpu_seconds_total", "Processor time used by this process."),
            cpu_ratio,
            memory: registry.gauge(
                "process_memory_usage_bytes",
                "Memory of this process in RAM, without what the system can drop because files hold it.",
            ),
            resident: registry.gauge("process_resident_memory_bytes", "Memory of this process in RAM."),
            virtual_memory: registry.gauge("process_virtual_memory_bytes", "Address space of this process."),
            threads: registry.gauge("process_threads", "Threads of this process."),
            open_fds: registry.gauge("process_open_fds", "Open files and sockets of this process."),
            max_fds: registry.gauge("process_max_fds", "How many files and sockets this process may open."),
        }
    }

    fn set(&self, now: &Reading) {
        self.cpu_seconds.raise_to(now.cpu_seconds);
        self.memory.set(now.memory_bytes() as f64);
        self.resident.set(now.resident_bytes as f64);
        self.virtual_memory.set(now.virtual_bytes as f64);
        self.threads.set(now.threads as f64);
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // Listing the folder holds it open, which is one more than there are otherwise.
            self.open_fds.set(files.count().saturating_sub(1) as f64);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        self.max_fds.set(limit.map_or(f64::INFINITY, |files| files as f64));
    }
}

/// When the machine started, in seconds since the Unix epoch.
fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "41 (a (b) c) S 1 41 41 0 -1 4194560 900 0 1 0 150 50 0 0 20 0 7 0 3000 1000 200 1844";

    #[test]
    fn a_program_name_with_brackets_and_spaces_is_read_past() {
        let read = Reading::parse(STAT, "1000 300 100 1 0 50 0", "70.5 12.0").expect("all fields are there");
        let page = rustix::param::page_size() as u64;
        assert_eq!((read.threads, read.uptime_seconds), (7, 70.5));
        assert_eq!(read.cpu_seconds, 200.0 / rustix::param::clock_ticks_per_second() as f64);
        assert_eq!((read.virtual_bytes, read.resident_bytes, read.file_bytes), (1000 * page, 300 * page, 100 * page));
    }

    #[test]
    fn what_cannot_be_read_is_no_reading() {
        for (stat, statm, uptime) in
            [("", "1 2 3", "1.0 1.0"), ("1 (a) S 1", "1 2 3", "1.0 1.0"), (STAT, "1 2", "1.0 1.0"), (STAT, "1 2 3", "")]
        {
            assert_eq!(Reading::parse(stat, statm, uptime), None, "{stat:?} {statm:?} {uptime:?}");
        }
    }

    #[test]
    fn usage_is_processor_time_over_time() {
        let mut earlier = Reading::parse(STAT, "1 2 3", "100.0 0").expect("all fields are there");
        earlier.cpu_seconds = 10.0;
        for (uptime_seconds, cpu_seconds, expected) in
            [(100.5, 10.5, None), (102.0, 13.0, Some(1.5)), (102.0, 10.0, Some(0.0)), (99.0, 10.0, None)]
        {
            let now = Reading { uptime_seconds, cpu_seconds, ..earlier.clone() };
            assert_eq!(now.cpu_ratio_since(&earlier), expected, "{uptime_seconds} {cpu_seconds}");
        }
    }

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let registry = Registry::new();
        register(&registry);
        let text = registry.text();
        for name in ["process_resident_memory_bytes", "process_threads", "process_open_fds", "process_max_fds"] {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).expect("the figure is shown");
            assert!(!line.ends_with(" 0"), "{line}");
        }
        let started = registry.gauge("process_start_time_seconds", "When the process started, since the Unix epoch.");
        assert!(started.get() > 1.7e9, "{}", started.get());
    }
}
