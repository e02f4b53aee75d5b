use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use super::*;
use crate::{BYTES, DURATION_SECONDS, host, process, runtime};

#[test]
fn the_text_is_in_the_format_scrapers_read() {
    let registry = Registry::new();
    let requests = registry.counter_vec("requests_total", "Requests.\nAll of \\them.", &["path", "method"]);
    requests.with(&["/b\"\\\n", "GET"]).inc_by(3);
    requests.with(&["/a", "PUT"]).inc();
    registry.gauge("depth", "Depth.").set(-1.5);
    let _ = registry.gauge_vec("unused", "Nothing.", &["db"]);
    let waits = registry.histogram_vec("wait_seconds", "Waits.", &[0.5, 1.0], &["db", "zone"]);
    [0.25, 2.0].iter().for_each(|v| waits.with(&["d", "z"]).observe(*v));
    let expected = r#"# HELP depth Depth.
# TYPE depth gauge
depth -1.5
# HELP requests_total Requests.\nAll of \\them.
# TYPE requests_total counter
requests_total{method="PUT",path="/a"} 1
requests_total{method="GET",path="/b\"\\\n"} 3
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{db="d",le="0.5",zone="z"} 1
wait_seconds_bucket{db="d",le="1",zone="z"} 1
wait_seconds_bucket{db="d",le="+Inf",zone="z"} 2
wait_seconds_sum{db="d",zone="z"} 2.25
wait_seconds_count{db="d",zone="z"} 2
# EOF
"#;
    assert_eq!(registry.text(), expected);
    assert_eq!(check_format(expected), Ok(()));
}

#[test]
fn figures_are_refreshed_before_they_are_read() {
    let registry = Registry::new();
    let gauge = registry.gauge("scrapes", "Scrapes.");
    registry.on_scrape(move || gauge.inc());
    assert!(registry.text().contains("scrapes 1\n"));
    assert!(registry.text().contains("scrapes 2\n"));
}

#[test]
fn infinity_is_written_as_scrapers_want_it() {
    for (value, expected) in
        [(f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf"), (f64::NAN, "NaN"), (1e21, "1000000000000000000000")]
    {
        assert_eq!(number(value), expected);
    }
}

#[test]
fn all_that_this_package_shows_is_in_the_format() {
    let (_pools, registry) = everything();
    for _ in 0..2 {
        assert_eq!(check_format(&registry.text()), Ok(()));
    }
}

#[test]
fn the_checker_of_the_format_finds_faults() {
    let head = "# HELP a A.\n# TYPE a gauge\n";
    for (text, fault) in [
        (format!("{head}a 1\n"), "does not end with # EOF"),
        (format!("{head}a 1\na 2\n# EOF\n"), "stands twice"),
        (format!("{head}b 1\n# EOF\n"), "outside its family"),
        (format!("{head}a one\n# EOF\n"), "is not a number"),
        (format!("{head}{head}a 1\n# EOF\n"), "declared twice"),
        ("# TYPE a gauge\na 1\n# EOF\n".to_owned(), "without help"),
    ] {
        let found = check_format(&text).expect_err("the text has a fault");
        assert!(found.contains(fault), "{found}");
    }
}

#[test]
fn promtool_finds_nothing() {
    let (_pools, registry) = everything();
    let program = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut program) = program else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    let mut input = program.stdin.take().expect("the input is a pipe");
    std::io::Write::write_all(&mut input, registry.text().as_bytes()).expect("promtool reads its input");
    drop(input);
    let output = program.wait_with_output().expect("promtool ends");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}\n{}", registry.text());
}

/// A registry with all collectors and one family of each kind, and the pool it looks at.
fn everything() -> (tokio::runtime::Runtime, Registry) {
    let pool = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("the pool can be built");
    let registry = Registry::new();
    process::register(&registry);
    host::register(&registry);
    runtime::register(&registry, "io", pool.handle().clone());
    registry
        .counter_vec("http_requests_total", "Requests.", &["method", "path", "status"])
        .with(&["GET", "/", "ok"])
        .inc();
    registry.histogram("http_request_duration_seconds", "Time to answer.", DURATION_SECONDS).observe(0.02);
    registry.histogram("http_response_body_size_bytes", "Answers.", BYTES).observe(20.0);
    registry.gauge_vec("jemalloc_memstats_bytes", "Memory.", &["stat"]).with(&["active"]).set(5.0);
    (pool, registry)
}

/// A small reading of the format: every sample belongs to the family declared just above it, once, and is a number.
fn check_format(text: &str) -> Result<(), String> {
    let body = text.strip_suffix("# EOF\n").ok_or("the text does not end with # EOF")?;
    let (mut helps, mut types) = (BTreeSet::new(), BTreeMap::new());
    let (mut family, mut kind) = ("", "");
    let mut seen = BTreeSet::new();
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split_once(' ').ok_or(format!("{line}: no help text"))?.0;
            helps.insert(name).then_some(()).ok_or(format!("{name} is declared twice"))?;
        } else if let Some(declared) = line.strip_prefix("# TYPE ") {
            (family, kind) = declared.split_once(' ').ok_or(format!("{line}: no type"))?;
            helps.contains(family).then_some(()).ok_or(format!("{family} stands without help"))?;
            types.insert(family, kind).map_or(Ok(()), |_| Err(format!("{family} is declared twice")))?;
        } else {
            let (series, value) = line.rsplit_once(' ').ok_or(format!("{line}: no value"))?;
            value.parse::<f64>().map_err(|_| format!("{line}: the value is not a number"))?;
            seen.insert(series).then_some(()).ok_or(format!("{series} stands twice"))?;
            let name = series.split('{').next().unwrap_or(series);
            let part = name.strip_prefix(family).ok_or(format!("{series} stands outside its family"))?;
            let parts: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            parts.contains(&part).then_some(()).ok_or(format!("{series} stands outside its family"))?;
        }
    }
    Ok(())
}
