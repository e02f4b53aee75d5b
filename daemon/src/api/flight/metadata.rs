//! What a call says beside its message: database, positions, deadline.

use std::time::Duration;

use axum::http::HeaderMap;
use storage::wal::Mark;
use tonic::{Request, Status};

use super::Asker;
use crate::api::position;

/// The names under which a database may come; one of them at a time.
const DATABASE: [&str; 4] = ["database", "bucket", "bucket-name", "iox-namespace-name"];

/// One call, without its message.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) asker: Asker,
    database: Result<String, Status>,
    /// What must be visible.
    pub(super) after: Vec<Mark>,
    /// How long the client waits.
    pub(super) deadline: Option<Duration>,
}

impl Call {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let asker = request.extensions().get::<Asker>().cloned();
        let asker = asker.ok_or_else(|| Status::internal("a call came past the gate"))?;
        let headers: &HeaderMap = request.metadata().as_ref();
        let after = position::asked(headers, None).map_err(Status::invalid_argument)?;
        let deadline = headers.get("grpc-timeout").and_then(|value| deadline(value.to_str().ok()?));
        Ok(Self { asker, database: database(headers), after, deadline })
    }

    /// The database of a command, which does not name one itself.
    pub(super) fn database(&self) -> Result<String, Status> {
        self.database.clone()
    }
}

fn database(headers: &HeaderMap) -> Result<String, Status> {
    let mut found = DATABASE.iter().flat_map(|name| headers.get_all(*name));
    let missing = || Status::invalid_argument("no 'database' header in request");
    let first = found.next().ok_or_else(missing)?;
    if found.next().is_some() {
        let names = DATABASE.join("', '");
        return Err(Status::invalid_argument(format!("more than one of the headers '{names}' in request")));
    }
    let database = first.to_str().map_err(|_| Status::invalid_argument("the 'database' header is not text"))?;
    if database.is_empty() { Err(missing()) } else { Ok(database.to_owned()) }
}

/// Digits and a unit, as gRPC writes how long a client waits.
fn deadline(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_database_comes_under_one_of_its_names() {
        for name in DATABASE {
            check(&[(name, "plant")], Ok("plant"));
        }
        check(&[], Err("no 'database' header in request"));
        check(&[("database", "")], Err("no 'database' header in request"));
        check(&[("database", "a"), ("bucket", "a")], Err("more than one of the headers"));
        check(&[("database", "a"), ("database", "b")], Err("more than one of the headers"));
    }

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: Result<&str, &str>) {
        let headers = headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| _ = map.append(name, value));
        match (database(&map), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(status), Err(part)) => assert!(status.message().contains(part), "{status}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn deadlines_have_units() {
        for (text, expected) in [("2H", 7200.0), ("3M", 180.0), ("4S", 4.0), ("5m", 0.005), ("6u", 6e-6), ("7n", 7e-9)]
        {
            assert_eq!(deadline(text), Some(Duration::from_secs_f64(expected)), "{text}");
        }
        for text in ["", "S", "1", "1x", "-1S", "+1S", "1é", "99999999999999999999S", "9999999999999999999H"] {
            assert_eq!(deadline(text), None, "{text}");
        }
    }
}
