//! The rules for names, so that no linter finds fault with the text.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// Words that say the kind again, or a unit that is not a base unit.
const FORBIDDEN_WORDS: &[&str] = &[
    "counter",
    "gauge",
    "histogram",
    "summary",
    "s",
    "ms",
    "us",
    "ns",
    "sec",
    "b",
    "kb",
    "mb",
    "gb",
    "tb",
    "pb",
    "m",
    "h",
    "d",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "minutes",
    "hours",
    "days",
    "weeks",
    "kilobytes",
    "megabytes",
    "gigabytes",
    "kibibytes",
    "mebibytes",
    "gibibytes",
    "bits",
];

/// Suffixes of the lines of a histogram or summary; another family that ends so would be taken for a part of one.
const RESERVED_SUFFIXES: &[&str] = &["_count", "_sum", "_bucket"];

/// Whether a family of this kind may have this name and these labels; else the rule that is broken.
pub(super) fn check(kind: Kind, name: &str, labels: &[String]) -> Result<(), String> {
    if !is_snake_case(name) {
        return Err("the name must be lower case words joined by '_'".into());
    }
    if (kind == Kind::Counter) != name.ends_with("_total") {
        return Err(format!("a counter ends in '_total' and nothing else does; this is a {kind}"));
    }
    if let Some(suffix) = RESERVED_SUFFIXES.iter().find(|s| name.ends_with(**s)) {
        return Err(format!("the suffix '{suffix}' is kept for the parts of histograms"));
    }
    if let Some(word) = name.split('_').find(|w| FORBIDDEN_WORDS.contains(w)) {
        return Err(format!("the word '{word}' says a kind, or a unit that is not a base unit"));
    }
    let wrong = labels.iter().find(|l| !is_snake_case(l) || matches!(l.as_str(), "le" | "quantile"));
    if let Some(label) = wrong {
        return Err(format!("'{label}' cannot be a label: it is reserved, or not lower case words joined by '_'"));
    }
    match labels.iter().enumerate().find(|(i, label)| labels[..*i].contains(label)) {
        Some((_, label)) => Err(format!("the label '{label}' is named twice")),
        None => Ok(()),
    }
}

fn is_snake_case(name: &str) -> bool {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.split('_').all(word) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_linters_accept_are_accepted() {
        check_name(Kind::Counter, "http_requests_total", &["method", "path", "status"], true);
        check_name(Kind::Histogram, "http_request_duration_seconds", &["path"], true);
        check_name(Kind::Gauge, "tokio_runtime_num_alive_tasks", &["runtime"], true);
        check_name(Kind::Counter, "influxdb3_write_lines_total", &["db"], true);
    }

    #[test]
    fn names_that_linters_complain_of_are_refused() {
        check_name(Kind::Counter, "http_requests", &[], false);
        check_name(Kind::Gauge, "disk_capacity_total", &[], false);
        check_name(Kind::Gauge, "worker_count", &[], false);
        check_name(Kind::Histogram, "rows_bucket", &[], false);
        check_name(Kind::Histogram, "wait_ms", &[], false);
        check_name(Kind::Gauge, "age_minutes", &[], false);
        check_name(Kind::Gauge, "wait_histogram", &[], false);
        check_name(Kind::Gauge, "queueDepth", &[], false);
        check_name(Kind::Gauge, "queue__depth", &[], false);
        check_name(Kind::Gauge, "9_lives", &[], false);
        check_name(Kind::Gauge, "", &[], false);
    }

    #[test]
    fn labels_are_distinct_words_that_are_not_reserved() {
        check_name(Kind::Gauge, "depth", &["le"], false);
        check_name(Kind::Gauge, "depth", &["nodeId"], false);
        check_name(Kind::Gauge, "depth", &["node", "node"], false);
        check_name(Kind::Gauge, "depth", &["node_id", "node"], true);
    }

    #[track_caller]
    fn check_name(kind: Kind, name: &str, labels: &[&str], expected: bool) {
        let labels: Vec<String> = labels.iter().map(|l| (*l).to_owned()).collect();
        let result = check(kind, name, &labels);
        assert_eq!(result.is_ok(), expected, "{name} {labels:?}: {result:?}");
    }
}
