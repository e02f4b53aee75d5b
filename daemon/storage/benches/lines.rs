//! What parsing costs: rows a second and CPU seconds for a million rows, beside a pass that only finds line breaks.
//!
//! `cargo bench -p storage --bench lines` measures made-up lines, the same in each run;
//! `cargo bench -p storage --bench lines -- FILE` measures a file of line protocol with times in seconds.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::print_stdout, reason = "its tables are what it is for")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;

use storage::ingest::lines::{Limits, Options, Parsed, Schemas, parse};
use storage::ingest::{BadLines, Precision};
use storage::model::TableSchema;

/// Rows in one request.
const BATCH: usize = 5_000;
const ROWS: usize = 1_000_000;

/// Appends the line of a row.
type WriteLine = fn(&mut String, usize);

struct Nothing;

impl Schemas for Nothing {
    fn table(&self, _name: &str) -> Option<Arc<TableSchema>> {
        None
    }
}

fn main() -> std::io::Result<()> {
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)?;
        let lines: Vec<_> = text.lines().collect();
        let bodies: Vec<_> = lines.chunks(BATCH).map(|chunk| chunk.join("\n")).collect();
        return report("file", &bodies, Precision::Second);
    }
    let cases: [(&str, WriteLine); 5] = [
        ("10 tags, 10 integers", |body, row| cpu(body, row, |body, v| _ = write!(body, "{}i", v % 101))),
        ("10 tags, 10 floats", |body, row| cpu(body, row, |body, v| _ = write!(body, "{}.{:02}", v % 101, v % 97))),
        ("1 tag, fields missing, strings", flight),
        ("every row a new series", |body, row| _ = writeln!(body, "m,a=x{row},b=y v={row}i {row}")),
        ("every row another table", |body, row| _ = writeln!(body, "m{},a=x v={row}i {row}", row % 50)),
    ];
    for (name, line) in cases {
        let bodies: Vec<_> = (0..ROWS / BATCH)
            .map(|batch| {
                let mut body = String::new();
                (0..BATCH).for_each(|row| line(&mut body, batch * BATCH + row));
                body
            })
            .collect();
        report(name, &bodies, Precision::Nanosecond)?;
    }
    Ok(())
}

/// A number that looks random and is the same in each run.
fn mixed(row: usize, field: usize) -> u64 {
    let x = ((row as u64) << 8 | field as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

fn cpu(body: &mut String, row: usize, value: impl Fn(&mut String, u64)) {
    const FIELDS: [&str; 10] =
        ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];
    let host = row % 400;
    _ = write!(
        body,
        "cpu,hostname=host_{host},region=eu-central-1,datacenter=eu-central-1a,rack={},os=Ubuntu15.10,arch=x86,team=SF,\
         service={},service_version=1,service_environment=test",
        host % 100,
        host % 20,
    );
    for (index, field) in FIELDS.iter().enumerate() {
        body.push_str(if index == 0 { " usage_" } else { ",usage_" });
        body.push_str(field);
        body.push('=');
        value(body, mixed(row, index));
    }
    _ = writeln!(body, " {}", 1_451_606_400_000_000_000 + row / 400 * 10_000_000_000);
}

fn flight(body: &mut String, row: usize) {
    _ = write!(body, "flights,origin=o{} ", mixed(row, 0) % 300);
    if !mixed(row, 1).is_multiple_of(10) {
        _ = write!(body, "delay={}i,", mixed(row, 2) % 500);
    }
    if !mixed(row, 3).is_multiple_of(10) {
        _ = write!(body, "air={}.5,", mixed(row, 4) % 500);
    }
    _ = writeln!(body, "tail=\"N{}\",cancelled={} {row}", mixed(row, 5) % 90_000, row.is_multiple_of(7));
}

fn report(name: &str, bodies: &[String], precision: Precision) -> std::io::Result<()> {
    let options = Options { precision, bad_lines: BadLines::Skip, now_ns: 0, limits: Limits::default() };
    let read = |body: &String| parse(body, &options, &Nothing).unwrap_or_else(|_| Parsed::default());
    let (rows, rejected) = bodies
        .iter()
        .map(read)
        .fold((0, 0), |(rows, rejected), parsed| (rows + parsed.lines_kept, rejected + parsed.lines_rejected));
    let bytes: usize = bodies.iter().map(String::len).sum();
    let best =
        |pass: &dyn Fn(&String)| (0..5).map(|_| cpu_seconds(|| bodies.iter().for_each(pass))).fold(f64::MAX, f64::min);
    let parsing = best(&|body| _ = black_box(read(body)));
    let splitting = best(&|body| _ = black_box(memchr::memchr_iter(b'\n', body.as_bytes()).count()));
    let millions = rows as f64 / 1e6;
    writeln!(
        std::io::stdout(),
        "{name}: {rows} rows kept, {rejected} refused, {} bytes a row; parse {:.2} M rows/s, {:.3} CPU-s per M rows; \
         line breaks alone {:.4} CPU-s per M rows",
        bytes / rows.max(1),
        millions / parsing,
        parsing / millions,
        splitting / millions,
    )
}

/// The CPU time `work` takes on this thread, or what a wall clock shows where the system does not tell.
fn cpu_seconds(work: impl FnOnce()) -> f64 {
    let spent = || -> Option<f64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(text.split_whitespace().next()?.parse::<f64>().ok()? / 1e9)
    };
    let (started, before) = (std::time::Instant::now(), spent());
    work();
    match (before, spent()) {
        (Some(before), Some(after)) => after - before,
        _ => started.elapsed().as_secs_f64(),
    }
}
