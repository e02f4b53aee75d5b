//! The machine: how much of its processors and memory is in use, and how much of both this process may use.
//!
//! # Promises
//! - Limits count every control group above this process, of either version of the interface, and never exceed the
//!   machine.
//! - Nothing here fails: what cannot be read is no limit, and no figure.
//!
//! # Not here
//! - What this process uses: see `process`.

use std::fs;
use std::path::{Path, PathBuf};

use sysinfo::System;

use crate::registry::Registry;

/// Where the system mounts its control groups.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Assumed where not even the size of the machine can be read.
const MEMORY_UNKNOWN_BYTES: u64 = 1 << 30;

/// The memory this process may use: the least of the machine's and of every control group's limit.
#[must_use]
pub fn memory_limit_bytes() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    let physical = Some(system.total_memory()).filter(|bytes| *bytes > 0);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = group_memory_limit(&groups, Path::new(CGROUP_ROOT));
    physical.into_iter().chain(limit).min().unwrap_or(MEMORY_UNKNOWN_BYTES)
}

/// The processor cores this process may keep busy: those it may run on, or the quota of its control groups, rounded
/// down, when that is less. At least 1.
#[must_use]
pub fn cpu_count() -> usize {
    // The standard library reads the affinity and the quotas of both versions of control groups.
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Shows the figures of the machine from now on.
pub fn register(registry: &Registry) {
    let cpu = registry.gauge(
        "host_cpu_usage_ratio",
        "Share of the machine's processor time in use, between the last two scrapes; 1 is all cores.",
    );
    let used = registry.gauge("host_memory_usage_bytes", "Memory of the machine in use.");
    let available = registry.gauge("host_memory_available_bytes", "Memory of the machine that can be had at once.");
    let load = registry.gauge_vec("host_load_average", "Threads that run or wait to run, averaged.", &["window"]);
    let size = registry.gauge("host_memory_bytes", "Memory of the machine.");
    registry.gauge("host_memory_limit_bytes", "Memory this process may use.").set(memory_limit_bytes() as f64);
    registry.gauge("host_cpus", "Processor cores this process may keep busy.").set(cpu_count() as f64);
    let mut system = System::new();
    // Usage is the difference of two readings; this is the first one.
    system.refresh_cpu_usage();
    registry.on_scrape(move || {
        system.refresh_cpu_usage();
        system.refresh_memory();
        let ratio = f64::from(system.global_cpu_usage()) / 100.0;
        cpu.set(if ratio.is_finite() { ratio } else { 0.0 });
        used.set(system.used_memory() as f64);
        available.set(system.available_memory() as f64);
        size.set(system.total_memory() as f64);
        let average = System::load_average();
        for (window, value) in [("1m", average.one), ("5m", average.five), ("15m", average.fifteen)] {
            load.with(&[window]).set(value);
        }
    });
}

/// The least memory limit of the control groups in `groups` (the text of `/proc/self/cgroup`) and all those above them.
fn group_memory_limit(groups: &str, root: &Path) -> Option<u64> {
    groups.lines().filter_map(|line| line_memory_limit(line, root)).min()
}

/// The same for one line, `number:controllers:path`; the second version of the interface has no controllers.
fn line_memory_limit(line: &str, root: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    if controllers.is_empty() {
        let mounts = [root.to_path_buf(), root.join("unified")];
        return mounts.iter().filter_map(|mount| least_on_path(mount, path, "memory.max")).min();
    }
    let memory = controllers.split(',').any(|c| c == "memory");
    memory.then(|| least_on_path(&root.join("memory"), path, "memory.limit_in_bytes")).flatten()
}

/// The least number in the files called `file`, from `mount` down to `path`. Folders that do not exist are passed over:
/// inside a container the path can be that of the machine outside.
fn least_on_path(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let mut folder = PathBuf::from(mount);
    let mut least = limit_in(&folder.join(file));
    for part in path.split('/').filter(|part| !matches!(*part, "" | "." | "..")) {
        folder.push(part);
        least = least.into_iter().chain(limit_in(&folder.join(file))).min();
    }
    least
}

/// The number in a file; `max`, a missing file and anything else is no limit.
fn limit_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_above_the_process_counts() {
        check_limit(
            "0::/a/b\n",
            &[("memory.max", "900"), ("a/memory.max", "500"), ("a/b/memory.max", "max")],
            Some(500),
        );
        check_limit("0::/a/b\n", &[("a/memory.max", "500"), ("a/b/memory.max", "300\n")], Some(300));
        check_limit("0::/\n", &[("memory.max", "900\n")], Some(900));
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let v1 = "12:cpu,cpuacct:/x\n4:memory:/a\n0::/\n";
        check_limit(
            v1,
            &[("memory/a/memory.limit_in_bytes", "700"), ("memory/memory.limit_in_bytes", "9000")],
            Some(700),
        );
        check_limit("4:hugetlb,memory:/gone\n", &[("memory/memory.limit_in_bytes", "800")], Some(800));
        check_limit("0::/a\n", &[("unified/a/memory.max", "600")], Some(600));
    }

    #[test]
    fn what_is_not_a_limit_is_none() {
        check_limit("", &[("memory.max", "900")], None);
        check_limit("nonsense\n0:\n:::\n", &[], None);
        check_limit("0::/a\n", &[("a/memory.max", "max\n"), ("memory.max", "")], None);
        check_limit("3:cpu:/a\n", &[("memory/a/memory.limit_in_bytes", "5")], None);
        check_limit("0::/../x\n", &[("memory.max", "-1")], None);
    }

    #[test]
    fn this_machine_has_memory_and_a_core() {
        let mut system = System::new();
        system.refresh_memory();
        assert!(memory_limit_bytes() > 0 && memory_limit_bytes() <= system.total_memory());
        assert!(cpu_count() >= 1);
    }

    #[track_caller]
    fn check_limit(groups: &str, files: &[(&str, &str)], expected: Option<u64>) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("weir-metrics-host-{}-{number}", std::process::id()));
        for (file, text) in files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().expect("the file is below the root")).expect("the folder can be made");
            fs::write(file, text).expect("the file can be written");
        }
        let limit = group_memory_limit(groups, &root);
        let _ = fs::remove_dir_all(&root);
        assert_eq!(limit, expected, "{groups:?} {files:?}");
    }
}
