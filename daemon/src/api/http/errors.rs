//! Errors of every room become answers: one table for each kind of error, and nowhere else.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use storage::catalog;
use storage::ingest::{self, LineError};
use storage::model::ErrorKind;
use tonic::{Code, Status};

use super::body::{discard_unread, is_grpc};
use crate::api::auth;

/// How the body of an error looks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// A sentence.
    Plain,
    /// `{"error": …}`
    Json,
    /// `{"error": …, "data": …}`
    JsonWith(Value),
    /// `{"code": …, "message": …}`, on `/api/v2` only.
    Coded,
    /// A status of gRPC, in the headers of an answer without body.
    Grpc,
}

impl Shape {
    /// How who asks so wants to be told that it is not served.
    pub(super) fn on(path: &str, headers: &HeaderMap) -> Self {
        if is_grpc(headers) {
            Self::Grpc
        } else if path == "/api/v2/write" {
            Self::Coded
        } else {
            Self::Json
        }
    }
}

/// An answer that says no.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) shape: Shape,
}

impl Refusal {
    pub(super) fn plain(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), shape: Shape::Plain }
    }

    pub(super) fn json(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), shape: Shape::Json }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn bug(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    #[must_use]
    pub(super) fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }
}

/// An answer with a JSON body, good or bad.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// How long a client that is told to come back should wait.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, message, shape } = self;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            // Whether a query that fails while it runs is the sender's mistake cannot be told from the error; the
            // sender hears of it, and damage is logged by whoever finds it.
            tracing::info!(error = message, "a request failed");
        }
        let mut response = match shape {
            Shape::Plain => (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], message).into_response(),
            Shape::Json => json_answer(status, &json!({ "error": message })),
            Shape::JsonWith(data) => json_answer(status, &json!({ "error": message, "data": data })),
            Shape::Coded => json_answer(status, &json!({ "code": code(status), "message": message })),
            Shape::Grpc => return Status::new(grpc_code(status), message).into_http(),
        };
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// The words of the v2 API.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not found",
        413 => "request too large",
        422 => "unprocessable entity",
        429 => "too many requests",
        503 => "unavailable",
        500..=599 => "internal error",
        _ => "invalid",
    }
}

/// The codes of gRPC, for refusals of requests that have not reached `flight`.
fn grpc_code(status: StatusCode) -> Code {
    match status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        405 => Code::FailedPrecondition,
        429 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        400..=499 => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

pub(super) async fn not_found(headers: HeaderMap, body: Body) -> Refusal {
    discard_unread(&headers, body).await;
    Refusal::plain(StatusCode::NOT_FOUND, "Not found")
}

impl Refusal {
    /// Without the permission for what is asked, in the shape of the path.
    pub(super) fn of_auth(error: auth::Error, shape: Shape) -> Self {
        let refusal = Self::from(error).shaped(shape);
        match (error, &refusal.shape) {
            // gRPC has one code for a token that is malformed and for one that is wrong.
            (auth::Error::Malformed, Shape::Grpc) => Self { status: StatusCode::UNAUTHORIZED, ..refusal },
            _ => refusal,
        }
    }
}

impl From<auth::Error> for Refusal {
    fn from(error: auth::Error) -> Self {
        let status = match error {
            auth::Error::Malformed => StatusCode::BAD_REQUEST,
            auth::Error::Unauthenticated => StatusCode::UNAUTHORIZED,
            auth::Error::Forbidden => StatusCode::FORBIDDEN,
        };
        Self::json(status, error.to_string())
    }
}

pub(super) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        // The one thing in the catalog that nobody may do is to delete the operator token.
        ErrorKind::Denied => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::Limit => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable | ErrorKind::Fenced => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Corrupt | ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<catalog::Error> for Refusal {
    fn from(error: catalog::Error) -> Self {
        let shape = if error.kind() == ErrorKind::Limit { Shape::Json } else { Shape::Plain };
        Self { status: status_of(error.kind()), message: error.to_string(), shape }
    }
}

pub(super) const PARTIAL: &str = "partial write of line protocol occurred";
/// The Python client of the vendor knows this text, and not the one that took its place in 3.10.
pub(super) const PARSE: &str = "parsing failed for write_lp endpoint";

/// The answer of the v3 write endpoint. The others put the same status and message into their own shapes.
impl From<ingest::Error> for Refusal {
    fn from(error: ingest::Error) -> Self {
        let status = match error {
            ingest::Error::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            ingest::Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => status_of(error.kind()),
        };
        match error {
            ingest::Error::DatabaseName(message) | ingest::Error::Limit(message) => Self::json(status, message),
            ingest::Error::Line(line) => {
                let status = status_of_lines(std::slice::from_ref(&line));
                Self { status, message: PARSE.to_owned(), shape: Shape::JsonWith(line_json(&line)) }
            }
            ingest::Error::Full { .. } | ingest::Error::FullOfWrites { .. } | ingest::Error::BufferFull { .. } => {
                Self::plain(status, "wal buffer is full; writes are temporarily rejected, retry shortly")
            }
            other => Self::plain(status, other.to_string()),
        }
    }
}

/// Some lines were kept and these were not.
pub(super) fn partial_write(rejected: &[LineError]) -> Refusal {
    let data = rejected.iter().map(line_json).collect();
    Refusal { status: status_of_lines(rejected), message: PARTIAL.to_owned(), shape: Shape::JsonWith(data) }
}

/// 422 as soon as one line met a limit.
pub(super) fn status_of_lines(lines: &[LineError]) -> StatusCode {
    let limited = |line: &LineError| {
        line.message.starts_with("Update to schema would exceed number of")
            || line.message.starts_with("Adding a new database would exceed limit of")
            || line.message.contains("would exceed the column limit")
            || line.message.contains("would exceed the tag column limit")
    };
    if lines.iter().any(limited) { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST }
}

fn line_json(line: &LineError) -> Value {
    json!({ "error_message": line.message, "line_number": line.line_number, "original_line": line.original_line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> LineError {
        LineError { line_number: 2, original_line: "cpu v=".into(), message: message.into() }
    }

    #[test]
    fn errors_of_a_write_have_the_statuses_clients_know() {
        check_write(ingest::Error::Empty, 400, Shape::Plain);
        check_write(ingest::Error::DatabaseName("bad".into()), 400, Shape::Json);
        check_write(ingest::Error::Limit("much".into()), 422, Shape::Json);
        check_write(ingest::Error::Full { waiting_bytes: 2, waiting_bytes_max: 1 }, 429, Shape::Plain);
        check_write(ingest::Error::TooLarge("large".into()), 413, Shape::Plain);
        check_write(ingest::Error::Stopping, 503, Shape::Plain);
        check_write(ingest::Error::Unknown("late".into()), 503, Shape::Plain);
        let data = json!({ "error_message": "No fields", "line_number": 2, "original_line": "cpu v=" });
        check_write(ingest::Error::Line(line("No fields")), 400, Shape::JsonWith(data));
    }

    #[track_caller]
    fn check_write(error: ingest::Error, status: u16, shape: Shape) {
        let refusal = Refusal::from(error);
        assert_eq!((refusal.status.as_u16(), refusal.shape), (status, shape), "{}", refusal.message);
    }

    #[test]
    fn one_line_that_met_a_limit_makes_a_partial_write_422() {
        assert_eq!(partial_write(&[line("a")]).status.as_u16(), 400);
        let limit = line("Schema update for table 'T' would exceed the column limit: it is 500");
        assert_eq!(partial_write(&[line("a"), limit]).status.as_u16(), 422);
    }

    #[test]
    fn errors_of_the_catalog_have_the_statuses_clients_know() {
        use ErrorKind::{Conflict, Corrupt, Denied, Invalid, Limit, NotFound};
        for (kind, status) in
            [(Invalid, 400), (NotFound, 404), (Conflict, 409), (Denied, 405), (Limit, 422), (Corrupt, 500)]
        {
            assert_eq!(Refusal::from(catalog::Error::refused(kind, "x")).status.as_u16(), status, "{kind:?}");
        }
        assert_eq!(Refusal::from(catalog::Error::Unavailable("x".into())).status.as_u16(), 503);
    }

    #[test]
    fn clients_that_should_come_back_are_told_when() {
        let response = Refusal::plain(StatusCode::SERVICE_UNAVAILABLE, "x").into_response();
        assert_eq!(response.headers().get(header::RETRY_AFTER), Some(&RETRY_AFTER));
        let response = Refusal::bad_request("x").into_response();
        assert_eq!(response.headers().get(header::RETRY_AFTER), None);
    }

    #[test]
    fn the_v2_api_says_its_code_words() {
        for (status, word) in
            [(400, "invalid"), (401, "unauthorized"), (413, "request too large"), (500, "internal error")]
        {
            assert_eq!(code(StatusCode::from_u16(status).expect("a status")), word);
        }
    }
}
