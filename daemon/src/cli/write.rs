//! `weir write`: line protocol from arguments, a file or standard input, in batches the server takes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum, value_parser};
use flate2::read::MultiGzDecoder;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::client::{Call, Client, Connection, Failure, Payload};

#[derive(Args)]
pub(crate) struct WriteCommand {
    #[command(flatten)]
    connection: Connection,
    /// Database to write to; it is made when it does not exist
    #[arg(short, long, env = "INFLUXDB3_DATABASE_NAME")]
    database: Option<String>,
    /// File of line protocol, plain or gzip
    #[arg(short, long, value_name = "PATH", conflicts_with = "lines")]
    file: Option<PathBuf>,
    /// Unit of the timestamps; guessed for each line when it is not given
    #[arg(short, long)]
    precision: Option<PrecisionName>,
    /// Keep the good lines of a batch that also has bad ones
    #[arg(long, action = ArgAction::SetTrue)]
    accept_partial: bool,
    /// Do not wait until the rows are stored
    #[arg(long, action = ArgAction::SetTrue)]
    no_sync: bool,
    /// Lines sent at once, at most; a batch also ends at 4 MB
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..))]
    batch_lines: u32,
    /// Print nothing
    #[arg(short, long, action = ArgAction::SetTrue)]
    quiet: bool,
    /// Line protocol; read from standard input when neither it nor a file is given
    lines: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PrecisionName {
    Auto,
    #[value(alias = "nanosecond", alias = "n")]
    Ns,
    #[value(alias = "microsecond", alias = "u")]
    Us,
    #[value(alias = "millisecond")]
    Ms,
    #[value(alias = "second")]
    S,
}

impl PrecisionName {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ns => "ns",
            Self::Us => "us",
            Self::Ms => "ms",
            Self::S => "s",
        }
    }
}

/// Stays below what a server takes unless it was told otherwise.
const BATCH_BYTES_MAX: usize = 4_000_000;

/// What was sent.
#[derive(Debug, Default)]
struct Sent {
    lines: u64,
    bytes: u64,
}

#[expect(clippy::print_stdout, reason = "this is what a command line is for")]
pub(crate) fn run(command: WriteCommand) -> Result<(), String> {
    let WriteCommand { connection, database, file, precision, accept_partial, no_sync, batch_lines, quiet, lines } =
        command;
    let database = database.ok_or("--database is missing")?;
    let parameters = [
        ("db", database.as_str()),
        ("precision", precision.map_or("auto", PrecisionName::name)),
        ("accept_partial", if accept_partial { "true" } else { "false" }),
        ("no_sync", if no_sync { "true" } else { "false" }),
    ];
    let call = Call { method: "POST", path: "/api/v3/write_lp", parameters: &parameters };
    let (source, length) = source(file, &lines)?;
    let bar = if quiet || !io::stderr().is_terminal() { ProgressBar::hidden() } else { bar(length) };
    let begun = Instant::now();
    let batches = Batches { source: BufReader::new(inflated(bar.wrap_read(source))?), lines_max: batch_lines };
    let sent = send(&connection.open()?, &call, batches)?;
    bar.finish_and_clear();
    if !quiet {
        println!("{}", report(&sent, begun.elapsed()));
    }
    Ok(())
}

fn send(client: &Client<'_>, call: &Call<'_>, mut batches: Batches<impl BufRead>) -> Result<Sent, String> {
    let mut sent = Sent::default();
    while let Some(batch) = batches.next()? {
        let first = sent.lines + 1;
        let place = |failure: Failure| match (sent.lines, String::from(failure)) {
            (0, error) => error,
            (lines, error) => {
                format!("{error}\nthe batch begins at line {first}; the {lines} lines before it are written")
            }
        };
        client.call(call, &Payload::Lines(&batch.bytes)).map_err(place)?;
        sent = Sent { lines: sent.lines + batch.lines, bytes: sent.bytes + batch.bytes.len() as u64 };
    }
    match sent.lines {
        0 => Err("there are no lines to write".to_owned()),
        _ => Ok(sent),
    }
}

type Source = Box<dyn Read>;

/// Where the lines come from, and how many bytes they are when that is known.
fn source(file: Option<PathBuf>, lines: &[String]) -> Result<(Source, Option<u64>), String> {
    match file {
        Some(path) => {
            let named = |error: io::Error| format!("read {}: {error}", path.display());
            let file = File::open(&path).map_err(named)?;
            let length = file.metadata().map_err(named)?.len();
            Ok((Box::new(file), Some(length)))
        }
        None if !lines.is_empty() => Ok((Box::new(Cursor::new(lines.join("\n").into_bytes())), None)),
        None => Ok((Box::new(io::stdin()), None)),
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Gzip is known by its first bytes, not by a name.
fn inflated(source: impl Read + 'static) -> Result<Source, String> {
    let mut source = BufReader::with_capacity(1 << 16, source);
    let start = source.fill_buf().map_err(|error| format!("read lines: {error}"))?;
    if start.starts_with(&GZIP_MAGIC) { Ok(Box::new(MultiGzDecoder::new(source))) } else { Ok(Box::new(source)) }
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

/// Cuts line protocol at line ends, but not at those inside a quoted string.
struct Batches<R> {
    source: R,
    lines_max: u32,
}

impl<R: BufRead> Batches<R> {
    fn next(&mut self) -> Result<Option<Batch>, String> {
        let mut batch = Batch { bytes: Vec::new(), lines: 0 };
        while batch.lines < u64::from(self.lines_max) && batch.bytes.len() < BATCH_BYTES_MAX {
            let start = batch.bytes.len();
            let mut read = self.read_line(&mut batch.bytes)?;
            // A quote that is still open takes the line end into its string.
            while read > 0 && is_open(&batch.bytes[start..]) && batch.bytes.len() - start < BATCH_BYTES_MAX {
                read = self.read_line(&mut batch.bytes)?;
            }
            if batch.bytes.len() == start {
                break;
            }
            batch.lines += 1;
        }
        Ok((!batch.bytes.is_empty()).then_some(batch))
    }

    fn read_line(&mut self, into: &mut Vec<u8>) -> Result<usize, String> {
        self.source.read_until(b'\n', into).map_err(|error| format!("read lines: {error}"))
    }
}

/// Whether a quoted string has begun and not ended. Quotes count only where a value begins, after `=`; in a string a
/// backslash hides the next character.
fn is_open(line: &[u8]) -> bool {
    if !line.contains(&b'"') || line.trim_ascii_start().starts_with(b"#") {
        return false;
    }
    let (mut open, mut before) = (false, b' ');
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' if open => open = false,
            b'"' if before == b'=' => open = true,
            _ => {}
        }
        before = byte;
    }
    open
}

fn bar(length: Option<u64>) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if length.is_some() {
        "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
    } else {
        "{bytes} {bytes_per_sec}"
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is for people"
)]
fn report(sent: &Sent, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-6);
    let rate = (sent.lines as f64 / seconds) as u64;
    let bytes_rate = HumanBytes((sent.bytes as f64 / seconds) as u64);
    format!("wrote {} lines ({}) in {seconds:.3} s: {rate} lines/s, {bytes_rate}/s", sent.lines, HumanBytes(sent.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn batches(text: &[u8], lines_max: u32) -> Vec<String> {
        let source = BufReader::new(inflated(Cursor::new(text.to_vec())).expect("memory can be read"));
        let mut batches = Batches { source, lines_max };
        let mut found = Vec::new();
        while let Some(batch) = batches.next().expect("memory can be read") {
            found.push(String::from_utf8(batch.bytes).expect("text"));
        }
        found
    }

    #[test]
    fn batches_end_at_line_ends() {
        assert_eq!(batches(b"a\nb\nc", 2), ["a\nb\n", "c"]);
        assert_eq!(batches(b"", 2), [""; 0]);
    }

    #[test]
    fn a_line_end_inside_a_string_does_not_end_a_line() {
        assert_eq!(batches(b"a s=\"x\ny\"\nb v=1\n", 1), ["a s=\"x\ny\"\n", "b v=1\n"]);
        assert_eq!(batches(b"a s=\"x\\\"\ny\"\nb v=1\n", 1), ["a s=\"x\\\"\ny\"\n", "b v=1\n"]);
        assert_eq!(batches(b"a,t=5\" v=1\nb v=1\n", 1), ["a,t=5\" v=1\n", "b v=1\n"]);
        assert_eq!(batches(b"# he said \"no\nb v=1\n", 1), ["# he said \"no\n", "b v=1\n"]);
    }

    #[test]
    fn large_batches_are_cut_by_bytes() {
        let line = format!("a s=\"{}\"\n", "x".repeat(1_000_000));
        assert_eq!(batches(line.repeat(5).as_bytes(), 100).len(), 2);
    }

    #[test]
    fn gzip_is_known_by_its_first_bytes() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"a v=1\n").expect("memory takes every byte");
        assert_eq!(batches(&encoder.finish().expect("memory takes every byte"), 9), ["a v=1\n"]);
    }
}
