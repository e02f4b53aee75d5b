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
            Kind::Plan => code_of(&message, CODES_OF_PLANS).unwrap_or("42601"),
            Kind::Unsupported => "0A000",
            Kind::Memory => "53200",
            Kind::Busy => "53300",
            Kind::Timeout => return Self::new("57014", "canceling statement due to statement timeout"),
            Kind::Cancelled => "57014",
            Kind::Execution => code_of(&message, CODES_OF_RUNS).unwrap_or("XX000"),
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

/// The engine tells in its messages alone what is wrong with a statement: it has the code of the first line of which it
/// holds all parts.
const CODES_OF_PLANS: &[(&[&str], &str)] = &[
    (&["queries can only read"], "25006"),
    (&["malformed array literal"], "22P02"),
    (&["invalid escape string"], "22025"),
    (&["time zone", "not recognized"], "22023"),
    (&["No field named"], "42703"),
    (&["column", "not found"], "42703"),
    (&["Ambiguous reference"], "42702"),
    (&["table '", "not found"], "42P01"),
    (&["Invalid function"], "42883"),
    (&["No function matches"], "42883"),
    (&["failed to match any signature"], "42883"),
    (&["unrecognized configuration parameter"], "42704"),
    (&["does not exist"], "42704"),
    (&["operators; at most"], "54001"),
    (&["bytes; at most"], "54001"),
    (&["parameter $"], "42P02"),
    (&["No value found for placeholder"], "42P02"),
    (&["must appear in the GROUP BY"], "42803"),
    (&["must be in the GROUP BY"], "42803"),
    (&["coerce"], "42804"),
    (&["type mismatch"], "42804"),
];

/// The same for what is found while a statement runs.
const CODES_OF_RUNS: &[(&[&str], &str)] = &[
    (&["more than one row returned by a subquery"], "21000"),
    (&["ivide by zero"], "22012"),
    (&["verflow"], "22003"),
    (&["out of range"], "22003"),
    (&["Cast error"], "22P02"),
    (&["Cannot cast"], "22P02"),
    (&["Parser error"], "22P02"),
    (&["parse"], "22P02"),
];

fn code_of(message: &str, codes: &[(&[&str], &'static str)]) -> Option<&'static str> {
    codes.iter().find(|(parts, _)| parts.iter().all(|part| message.contains(part))).map(|(_, code)| *code)
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
        let rows = "more than one row returned by a subquery used as an expression";
        check(Error::Execution(rows.into()), "21000");
        check(Error::Plan("malformed array literal: \"x\"".into()), "22P02");
        check(Error::Plan("time zone \"x\" not recognized".into()), "22023");
        check(Error::Command { kind: ErrorKind::NotFound, message: "m".into() }, "42704");
        check(Error::Execution("e".into()), "XX000");
        check(Error::Unavailable("a".into()), "58030");
    }

    #[track_caller]
    fn check(error: sql::Error, code: &str) {
        assert_eq!(Refusal::from(error.clone()).code, code, "{error:?}");
    }
}
