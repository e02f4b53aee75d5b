//! What a node wrote into its log, and which of it nobody expected.
//!
//! # Promises
//! - A line counts by its level, which stands among the first words of a line, in text and in JSON.
//! - A panic is always unexpected.

/// Lines at level WARN or ERROR, and panics, that contain none of the allowed texts.
pub fn unexpected<'a>(log: &'a str, allowed: &[String]) -> Vec<&'a str> {
    log.lines()
        .filter(|line| is_panic(line) || is_loud(line))
        .filter(|line| is_panic(line) || !allowed.iter().any(|text| line.contains(text.as_str())))
        .collect()
}

fn is_panic(line: &str) -> bool {
    line.contains("panicked at")
}

fn is_loud(line: &str) -> bool {
    let plain = without_colours(line);
    let by_word = plain.split_whitespace().take(4).any(|word| word == "WARN" || word == "ERROR");
    by_word || plain.contains(r#""level":"WARN""#) || plain.contains(r#""level":"ERROR""#)
}

/// A terminal's colour codes run from ESC to the letter m.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: bool) {
        assert_eq!(!unexpected(line, &["disk is slow".to_owned()]).is_empty(), expected, "{line}");
    }

    #[test]
    fn warnings_and_errors_are_unexpected() {
        check("2026-01-01T00:00:00Z  WARN storage::wal: no answer", true);
        check("2026-01-01T00:00:00Z \u{1b}[31mERROR\u{1b}[0m storage::wal: no answer", true);
        check(r#"{"timestamp":"…","level":"ERROR","fields":{}}"#, true);
        check("thread 'io_worker' panicked at src/x.rs:1:1:", true);
    }

    #[test]
    fn the_rest_is_not() {
        check("2026-01-01T00:00:00Z  INFO daemon::node: an ERROR in the text is only text", false);
        check("2026-01-01T00:00:00Z  WARN storage::wal: disk is slow", false);
    }
}
