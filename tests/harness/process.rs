//! A child process in a group of its own, and what the system tells about it.
//!
//! # Promises
//! - Dropping it kills the whole group: no process outlives its test.
//! - `kill` is as sudden as it gets: SIGKILL to every process of the group.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::eventually;

#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub cpu: Duration,
    pub rss_peak_bytes: u64,
}

impl Process {
    /// Starts it with both outputs added to the end of a file.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let open = || OpenOptions::new().create(true).append(true).open(log).expect("the log can be opened");
        let child = command.process_group(0).stdin(Stdio::null()).stdout(open()).stderr(open()).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("start {command:?}: {error}")) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Asks it to stop; does not wait.
    pub fn ask_to_stop(&self) {
        // It may be gone already, which is what was asked for.
        let _ = kill_process(self.pid(), Signal::TERM);
    }

    /// Stops the whole group where it stands, as a machine that hangs.
    pub fn pause(&self) {
        // A group that is gone stands still as well.
        let _ = kill_process_group(self.pid(), Signal::STOP);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        // As above.
        let _ = kill_process_group(self.pid(), Signal::CONT);
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.ended().ok_or("it still runs"))
    }

    /// Kills the group and waits until the process is gone.
    pub fn kill(&mut self) {
        // A group without processes is what was asked for.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }

    pub fn usage(&self) -> Usage {
        usage(self.id()).expect("the process runs")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `None` for a process that is gone.
fn usage(id: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    // The name in brackets may hold spaces; after it, user and system time are the 12th and 13th word, in ticks of 10 ms.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || words.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak: u64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(Usage { cpu: Duration::from_millis(ticks * 10), rss_peak_bytes: peak * 1024 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn a_kill_takes_the_whole_group() {
        let folder = Folder::new("process");
        let log = folder.path().join("log");
        let mut process = Process::start(Command::new("sh").args(["-c", "sleep 60 & echo $!; wait"]), &log);
        let child = eventually("the shell names its child", || fs::read_to_string(&log).unwrap().trim().parse::<u32>());
        assert!(process.ended().is_none());
        process.kill();
        eventually("the child is gone", || {
            // A killed process without a parent to collect it stays as a zombie, in state Z.
            let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_else(|_| ") Z".to_owned());
            if state.contains(") Z") { Ok(()) } else { Err(state) }
        });
    }

    #[test]
    fn a_process_that_asked_to_stop_ends() {
        let folder = Folder::new("process");
        let mut process = Process::start(Command::new("sleep").arg("60"), &folder.path().join("log"));
        process.ask_to_stop();
        assert!(!process.wait().success());
    }

    #[test]
    fn the_usage_of_this_process_can_be_read() {
        let usage = usage(std::process::id()).expect("we run");
        assert!(usage.rss_peak_bytes > 100_000, "{usage:?}");
    }
}
