//! The table of errors: what went wrong, and the code it is told with.

use sql::QueryErrorKind;
use storage::model::ErrorKind;
use storage::view;
use tonic::{Code, Status};

use crate::api::auth;

/// A query that cannot be answered. Whether one that fails while it runs is the sender's mistake cannot be told, and the
/// original says that it is.
pub(super) fn of_query(error: sql::Error) -> Status {
    let code = match error.kind() {
        QueryErrorKind::DatabaseNotFound => Code::NotFound,
        QueryErrorKind::Denied => return Status::permission_denied(auth::Error::Forbidden.to_string()),
        QueryErrorKind::Plan | QueryErrorKind::Unsupported | QueryErrorKind::Execution => Code::InvalidArgument,
        QueryErrorKind::Memory | QueryErrorKind::Busy => Code::ResourceExhausted,
        QueryErrorKind::Timeout => Code::DeadlineExceeded,
        QueryErrorKind::Cancelled => Code::Cancelled,
        QueryErrorKind::Command(kind) => code_of_command(kind),
        QueryErrorKind::Unavailable => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

fn code_of_command(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Limit | ErrorKind::Busy => Code::ResourceExhausted,
        ErrorKind::Unavailable | ErrorKind::Fenced => Code::Unavailable,
        ErrorKind::Corrupt | ErrorKind::Bug => Code::Internal,
    }
}

/// Rows that were asked for are not here in time.
pub(super) fn of_view(error: view::Error) -> Status {
    Status::unavailable(error.to_string())
}

/// Rows or schemas that cannot be encoded.
pub(super) fn of_encoding(error: impl std::fmt::Display) -> Status {
    Status::internal(format!("encode: {error}"))
}

/// What the client sent cannot be read.
pub(super) fn of_decoding(what: &str, error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("read {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sql::Error;

    use super::*;

    #[test]
    fn errors_of_a_query_have_the_codes_clients_know() {
        check(Error::DatabaseNotFound("x".into()), Code::NotFound);
        check(Error::Plan("p".into()), Code::InvalidArgument);
        check(Error::Unsupported("u".into()), Code::InvalidArgument);
        check(Error::Execution("e".into()), Code::InvalidArgument);
        check(Error::Denied("d".into()), Code::PermissionDenied);
        check(Error::Memory("m".into()), Code::ResourceExhausted);
        check(Error::Busy("b".into()), Code::ResourceExhausted);
        check(Error::Timeout(Duration::from_secs(1)), Code::DeadlineExceeded);
        check(Error::Cancelled, Code::Cancelled);
        check(Error::Unavailable("a".into()), Code::Unavailable);
    }

    #[track_caller]
    fn check(error: Error, code: Code) {
        assert_eq!(of_query(error.clone()).code(), code, "{error:?}");
    }
}
