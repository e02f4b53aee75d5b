//! A node as a child process: started, asked, stopped, killed and started again on the same folder.
//!
//! # Promises
//! - A node that was started answers; one that does not within the deadline fails the test with its log.
//! - A node that leaves an unexpected warning or error in its log fails the test, at the latest when it is dropped.
//! - A restart keeps folder, address and log.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::binary;
use crate::folder::Folder;
use crate::http::{Client, Request};
use crate::log;
use crate::power::{Disk, Lost, Witness};
use crate::process::{Process, Usage};
use crate::random::Random;
use crate::wait::{DEADLINE, eventually};

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Options {
    pub node_id: String,
    /// Added to `weir serve` and the flags every node gets.
    pub flags: Vec<String>,
    /// Instead of a folder: the flags of another store.
    pub store: Option<Vec<String>>,
    /// Names and values of environment variables.
    pub variables: Vec<(String, String)>,
    /// Texts of warnings and errors that the test brings about on purpose.
    pub allowed_in_log: Vec<String>,
}

impl Options {
    /// A node of this name with these modes, which asks nobody for a token.
    pub fn of(node_id: &str, modes: &str) -> Self {
        let options = Self::open().option("--mode", modes);
        Self { node_id: node_id.to_owned(), ..options }
    }

    /// A node that asks nobody for a token.
    pub fn open() -> Self {
        Self::with_tokens().flag("--without-auth")
    }

    pub fn with_tokens() -> Self {
        Self {
            node_id: "node-1".to_owned(),
            flags: Vec::new(),
            store: None,
            variables: Vec::new(),
            allowed_in_log: Vec::new(),
        }
    }

    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    #[must_use]
    pub fn option(self, name: &str, value: &str) -> Self {
        self.flag(name).flag(value)
    }

    /// Another store than a folder, in the flags of the command line.
    #[must_use]
    pub fn on_store(mut self, flags: &[&str]) -> Self {
        self.store = Some(flags.iter().map(|flag| (*flag).to_owned()).collect());
        self
    }

    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn allow_in_log(mut self, text: &str) -> Self {
        self.allowed_in_log.push(text.to_owned());
        self
    }
}

#[derive(Debug)]
pub struct Node {
    options: Options,
    folder: Arc<Folder>,
    log_name: String,
    port: u16,
    process: Option<Process>,
    witness: Option<Witness>,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

impl Node {
    /// Starts a node on an empty folder and waits until it answers.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        let mut node = Self::new(options);
        node.restart();
        node
    }

    /// A node on an empty folder; not started yet.
    pub fn new(options: Options) -> Self {
        Self::on(Arc::new(Folder::new(&options.node_id)), options)
    }

    /// Another node on the same store, with an address and a log of its own, named by its id; not started yet.
    pub fn beside(&self, options: Options) -> Self {
        Self::on(Arc::clone(&self.folder), options)
    }

    fn on(folder: Arc<Folder>, options: Options) -> Self {
        let log_name = format!("log-of-{}", options.node_id);
        Self { options, folder, log_name, port: free_port(), process: None, witness: None, ready_after: Duration::ZERO }
    }

    /// Starts a node on a machine that can lose its power.
    #[track_caller]
    pub fn start_on(disk: Disk, options: Options) -> Self {
        let folder = Folder::new(&options.node_id);
        let mut node = Self::on(Arc::new(folder), options);
        node.witness = Some(Witness::new(node.data_dir(), node.folder.path(), disk));
        node.restart();
        node
    }

    /// The URL of the node.
    pub fn url(&self) -> String {
        let scheme = if self.options.flags.iter().any(|flag| flag == "--tls-cert") { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What it wrote to standard output and standard error, over all starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Other options, from the next start on.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the node runs").id()
    }

    pub fn usage(&self) -> Usage {
        self.process.as_ref().expect("the node runs").usage()
    }

    /// Starts the process and returns at once; `wait_until_ready` follows.
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the node runs");
        let mut command = binary::command();
        command.args(["serve", "--node-id", &self.options.node_id, "--cluster-id", "test"]);
        match &self.options.store {
            Some(flags) => command.args(flags),
            None => command.args(["--object-store", "file", "--data-dir"]).arg(self.data_dir()),
        };
        command.args(["--http-bind", &format!("127.0.0.1:{}", self.port)]).args(&self.options.flags);
        if !self.options.flags.iter().any(|flag| flag == "--pg-bind") {
            command.args(["--pg-bind", "none"]);
        }
        command.env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
        command.envs(self.options.variables.iter().map(|(name, value)| (name, value)));
        if let Some(witness) = &mut self.witness {
            witness.watch(&mut command);
        }
        self.process = Some(Process::start(&mut command, &self.log_path()));
    }

    /// Starts it again and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        self.try_restart().unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// `restart` for a node that may not be able to; the error says what it did instead.
    pub fn try_restart(&mut self) -> Result<(), String> {
        let start = Instant::now();
        self.spawn();
        self.wait_until_ready()?;
        self.ready_after = start.elapsed();
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let client = self.client();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let answer = client.send(Request::get("/ready"));
            // Without a token the door is shut, but somebody stands behind it.
            if answer.as_ref().is_ok_and(|answer| [200, 401].contains(&answer.status)) {
                return Ok(());
            }
            let ended = self.process.as_mut().expect("the node was started").ended();
            if ended.is_some() || Instant::now() > deadline {
                let seen = answer.map(|answer| answer.status);
                return Err(format!("the node is not ready: {seen:?}, ended: {ended:?}\n{}", tail(&self.log(), 60)));
            }
            thread::sleep(Duration::from_millis(3));
        }
    }

    /// Waits until it has ended by itself, as a node does that must not run; returns its exit code.
    #[track_caller]
    pub fn wait_for_its_end(&mut self) -> Option<i32> {
        self.process.take().expect("the node was started").wait().code()
    }

    /// Whether it has ended, by itself or because it was asked to; then it can be started again.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.process.as_mut().is_none_or(|process| process.ended().is_some());
        if ended {
            self.process = None;
        }
        ended
    }

    /// Whether it answers.
    pub fn is_ready(&self) -> bool {
        self.client().send(Request::get("/ready")).is_ok_and(|answer| answer.status == 200)
    }

    /// SIGSTOP to the whole group.
    pub fn pause(&self) {
        self.process.as_ref().expect("the node runs").pause();
    }

    /// SIGCONT to the whole group.
    pub fn resume(&self) {
        self.process.as_ref().expect("the node runs").resume();
    }

    /// SIGTERM; does not wait.
    pub fn ask_to_stop(&self) {
        self.process.as_ref().expect("the node runs").ask_to_stop();
    }

    /// SIGTERM, then waits until it has stopped by itself, as it should.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the node runs");
        process.ask_to_stop();
        let status = process.wait();
        assert!(status.success(), "stopped with {status}\n{}", tail(&self.log(), 60));
        self.check_log();
    }

    /// SIGKILL to the whole group.
    pub fn kill(&mut self) {
        self.process.take().expect("the node runs").kill();
    }

    /// SIGKILL to the whole group, and its machine loses power: see `start_on`.
    pub fn lose_power(&mut self, random: &mut Random) -> Lost {
        self.kill();
        self.witness.as_ref().expect("the node was started on a disk").lose_power(random)
    }

    /// Fails when the log holds a warning or an error nobody expected.
    #[track_caller]
    pub fn check_log(&self) {
        let log = self.log();
        let unexpected = log::unexpected(&log, &self.options.allowed_in_log);
        assert!(unexpected.is_empty(), "unexpected in the log:\n{}", unexpected.join("\n"));
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(&self.log_name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process = None;
        if thread::panicking() {
            eprintln!("--- end of the log of {}\n{}", self.options.node_id, tail(&self.log(), 30));
        } else {
            self.check_log();
        }
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A port of this machine that nobody listens on and that this program has not handed out before.
///
/// Below the range from which the system takes ports for outgoing connections, so that a node which is down finds its
/// port free when it comes back.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().expect("nobody panics while holding it");
    let first = 15_000 + u16::try_from(std::process::id() % 10_000).expect("below 10000");
    let free = (first..first + 5_000)
        .find(|port| !taken.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of 5000 ports is free");
    taken.insert(free);
    free
}

/// Waits until the store of a node holds a Parquet file whose path contains `part`.
#[track_caller]
pub fn eventually_file(data_dir: &Path, part: &str) {
    eventually("a data file", || {
        let found = crate::folder::files_below(data_dir).any(|path| {
            path.extension().is_some_and(|extension| extension == "parquet") && path.to_string_lossy().contains(part)
        });
        if found { Ok(()) } else { Err("no file yet") }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice() {
        assert_ne!(free_port(), free_port());
    }

    #[test]
    fn the_tail_of_a_log_is_its_end() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
