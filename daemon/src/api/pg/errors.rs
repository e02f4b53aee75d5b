//! Errors in the words of Postgres: a code of five letters, by which clients decide, and a message.
//!
//! # Promises
//! - Errors of queries become codes in one table.

use bytes::BufMut;
use storage::model::ErrorKind;

use super::wire::{Outbox, put_text};

/// So much of a word that was not expected is shown.
const NEAR_BYTES_MAX: usize = 100;

/// What a client is told instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// What an error means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    /// The session ends.
    Fatal,
    Notice,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn syntax(near: &str) -> Self {
        // A whole text may stand there.
        let near = &near[..near.floor_char_boundary(NEAR_BYTES_MAX)];
        Self::new("42601", format!("syntax error at or near \"{near}\""))
    }

    pub(super) fn unsupported(what: &str) -> Self {
        Self::new("0A000", format!("{what} is not supported"))
    }

    pub(super) fn write_to(&self, out: &mut Outbox, severity: Severity) {
        let (kind, word) = match severity {
            Severity::Error => (b'E', "ERROR"),
            Severity::Fatal => (b'E', "FATAL"),
            Severity::Notice => (b'N', "NOTICE"),
        };
        out.message(kind, |body| {
            for (field, text) in [(b'S', word), (b'V', word), (b'C', self.code), (b'M', &self.message)] {
                body.put_u8(field);
                put_text(body, text);
            }
            body.put_u8(0);
        });
    }
}

pub(super) fn cancelled() -> Refusal {
    Refusal::new("57014", "canceling statement due to user request")
}

pub(super) fn stopping() -> Refusal {
    Refusal::new("57P01", "terminating connection due to administrator command")
}

/// The table of query errors.
impl From<sql::Error> for Refusal {
    fn from(error: sql::Error) -> Self {
        use sql::QueryErrorKind as Kind;
        let message = error.to_string();
        let code = match error.kind() {
            Kind::DatabaseNotFound => "3D000",
            Kind::Denied => "42501",
            Kind::Plan => code_of_plan(&message),
            Kind::Unsupported => "0A000",
            Kind::Memory => "53200",
            Kind::Busy => "53300",
            Kind::Timeout => return Self::new("57014", "canceling statement due to statement timeout"),
            Kind::Cancelled => "57014",
            Kind::Execution => code_of_execution(&message),
            Kind::Command(kind) => code_of_command(kind),
            Kind::Unavailable => "58030",
        };
        Self { code, message }
    }
}

fn code_of_command(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "22023",
        ErrorKind::NotFound => "42704",
        ErrorKind::Conflict => "42710",
        ErrorKind::Denied => "42501",
        ErrorKind::Limit => "53400",
        ErrorKind::Busy => "53300",
        ErrorKind::Unavailable | ErrorKind::Fenced => "58030",
        ErrorKind::Corrupt | ErrorKind::Bug => "XX000",
    }
}

/// The engine tells in its messages alone what is wrong with a statement.
fn code_of_plan(message: &str) -> &'static str {
    let has = |part: &str| message.contains(part);
    if has("queries can only read") {
        "25006"
    } else if has("No field named") || has("column") && has("not found") {
        "42703"
    } else if has("Ambiguous reference") {
        "42702"
    } else if has("table '") && has("not found") {
        "42P01"
    } else if has("Invalid function") || has("No function matches") || has("failed to match any signature") {
        "42883"
    } else if has("unrecognized configuration parameter") || has("does not exist") {
        "42704"
    } else if has("operators; at most") || has("bytes; at most") {
        "54001"
    } else if has("parameter $") || has("No value found for placeholder") {
        "42P02"
    } else if has("must appear in the GROUP BY") || has("must be in the GROUP BY") {
        "42803"
    } else if has("coerce") || has("type mismatch") {
        "42804"
    } else {
        "42601"
    }
}

fn code_of_execution(message: &str) -> &'static str {
    let has = |part: &str| message.contains(part);
    if has("Divide by zero") || has("divide by zero") {
        "22012"
    } else if has("overflow") || has("Overflow") || has("out of range") {
        "22003"
    } else if has("Cast error") || has("Cannot cast") || has("Parser error") || has("parse") {
        "22P02"
    } else {
        "XX000"
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn errors_of_a_query_have_the_codes_clients_know() {
        use sql::Error;
        check(Error::DatabaseNotFound("x".into()), "3D000");
        check(Error::Denied("d".into()), "42501");
        check(Error::Plan("INSERT is not supported: queries can only read".into()), "25006");
        check(Error::Plan("table 'public.iox.x' not found".into()), "42P01");
        check(Error::Plan("Schema error: No field named x. Valid fields are".into()), "42703");
        check(Error::Plan("Invalid function 'x'".into()), "42883");
        check(Error::Plan("Expected: an SQL statement, found: SELEKT".into()), "42601");
        check(Error::Unsupported("u".into()), "0A000");
        check(Error::Memory("m".into()), "53200");
        check(Error::Busy("b".into()), "53300");
        check(Error::Timeout(Duration::from_secs(1)), "57014");
        check(Error::Cancelled, "57014");
        check(Error::Execution("Arrow error: Divide by zero error".into()), "22012");
        check(Error::Execution("e".into()), "XX000");
        check(Error::Unavailable("a".into()), "58030");
    }

    #[track_caller]
    fn check(error: sql::Error, code: &str) {
        assert_eq!(Refusal::from(error.clone()).code, code, "{error:?}");
    }
}
