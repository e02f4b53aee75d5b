//! The client commands of the binary, run to their end.
//!
//! # Promises
//! - A command sees the variables given here, and of `INFLUXDB3_*` no others.
//! - A command before a terminal has one as its standard error; what that showed is told like what a pipe took.
//! - A command that does not end within the deadline is killed and fails the test.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::binary;
use crate::wait::DEADLINE;

/// What a command left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The output of a command that must succeed.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.text(), self.stderr);
        self.text()
    }

    /// Both outputs of a command that must fail, by its own decision and not by a signal or a panic.
    #[track_caller]
    pub fn failure(self) -> String {
        assert!(!self.stderr.contains("panicked at"), "{}", self.stderr);
        assert!(self.code.is_some_and(|code| code != 0), "code {:?}\n{}\n{}", self.code, self.text(), self.stderr);
        format!("{}{}", self.text(), self.stderr)
    }
}

/// `weir` with everything that stays the same from command to command.
#[derive(Debug, Clone, Default)]
pub struct Weir {
    variables: Vec<(String, String)>,
}

impl Weir {
    /// Commands that talk to one node.
    pub fn at(url: &str) -> Self {
        Self::default().variable("INFLUXDB3_HOST_URL", url)
    }

    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        self.clone().variable("INFLUXDB3_AUTH_TOKEN", token)
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, b"")
    }

    /// Runs a command whose standard error is a terminal.
    #[track_caller]
    pub fn run_before_a_terminal(&self, arguments: &[&str]) -> Outcome {
        let weir = binary::command();
        let mut command = Command::new("python3");
        for (name, _) in weir.get_envs().filter(|(_, value)| value.is_none()) {
            command.env_remove(name);
        }
        command.args(["-c", TERMINAL]).arg(weir.get_program()).args(arguments).env("TERM", "xterm");
        outcome(command.envs(self.variables.iter().map(|(name, value)| (name, value))), b"")
    }

    /// Runs a command that reads `input` from its standard input.
    #[track_caller]
    pub fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let mut command = binary::command();
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        outcome(&mut command, input)
    }
}

/// Runs its arguments with a terminal of 80 columns as standard error, and hands on what that shows.
const TERMINAL: &str = "
import fcntl, os, pty, struct, subprocess, sys, termios
terminal, end = pty.openpty()
fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
child = subprocess.Popen(sys.argv[1:], stderr=end)
os.close(end)
try:
    while shown := os.read(terminal, 4096):
        sys.stderr.buffer.write(shown)
except OSError:
    pass  # The other end is closed: the command has ended.
sys.exit(child.wait())
";

/// Runs any command to its end.
#[track_caller]
pub fn outcome(command: &mut Command, input: &[u8]) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    let stdout = child.stdout.take().expect("it is piped");
    let stderr = child.stderr.take().expect("it is piped");
    // Output is read while input is written, or both sides would wait for the other on a full pipe.
    let stdout = thread::spawn(move || all_of(stdout));
    let stderr = thread::spawn(move || all_of(stderr));
    let input = input.to_vec();
    // A command that does not read its input closes it, which is its right.
    let writer = thread::spawn(move || stdin.write_all(&input).is_ok());
    let status = wait_or_kill(&mut child);
    writer.join().expect("the writer does not panic");
    let stdout = stdout.join().expect("the reader does not panic");
    let stderr = String::from_utf8_lossy(&stderr.join().expect("the reader does not panic")).into_owned();
    let Some(status) = status else { panic!("{command:?} did not end within {DEADLINE:?}\n{stderr}") };
    Outcome { code: status.code(), stdout, stderr }
}

/// `None` for a child that had to be killed.
fn wait_or_kill(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("a child can be killed");
    child.wait().expect("a killed child ends");
    None
}

fn all_of(mut source: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).expect("a pipe can be read");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_output_and_code_arrive() {
        let outcome = outcome(Command::new("sh").args(["-c", "cat; echo bad >&2; exit 3"]), b"hello");
        assert_eq!((outcome.code, outcome.text().as_str(), outcome.stderr.as_str()), (Some(3), "hello", "bad\n"));
    }
}
