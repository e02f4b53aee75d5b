//! SQL over HTTP.
//!
//! # Promises
//! - The status is held back until the first rows exist, so most errors still get theirs. An error after that breaks
//!   the connection: a short answer never looks like a whole one.
//! - Running and encoding happen on the threads for long work; between them and the socket wait at most a few pieces.
//! - A query that names positions (see `position`) shows the rows that stand there, or is refused.
//! - A client that goes away cancels its query.
//! - Whose query is cancelled by somebody else (`CANCEL QUERY`) is answered with status 499.

use std::io;
use std::sync::Arc;

use arrow_array::RecordBatch;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use sql::{Engine, Query, QueryErrorKind};
use storage::catalog::Access;
use storage::model::ErrorKind;
use storage::view;
use tokio::sync::mpsc;

use super::Services;
use super::errors::{self, Refusal, Shape};
use super::format::{Encoder, Format};
use super::gate::Presented;
use super::query_request::{Fields, Question};
use super::write::parameters;
use crate::api::{auth, position};

/// What may be asked, and what other nodes judge themselves.
type Asker = (Extension<Access>, Extension<Presented>);

pub(super) async fn get(
    State(services): State<Arc<Services>>,
    (Extension(access), Extension(presented)): Asker,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let question = parameters::<Fields>(&uri)?.check(&headers)?;
    if sql::is_command(&question.text) {
        // A link must not change anything: whoever is made to follow it did not mean to.
        return Err(Refusal::plain(StatusCode::METHOD_NOT_ALLOWED, "what changes something is asked for with POST"));
    }
    ask(&services, (access, presented), question).await
}

pub(super) async fn post(
    State(services): State<Arc<Services>>,
    (Extension(access), Extension(presented)): Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let fields: Fields = services.admission.json(&headers, body).await?;
    ask(&services, (access, presented), fields.check(&headers)?).await
}

/// A piece of an answer on its way to the socket.
enum Piece {
    Bytes(Vec<u8>),
    /// The answer is whole.
    End,
    Failed(Refusal),
}

/// So many pieces wait for a slow client before the query waits too.
const PIECES_WAITING_MAX: usize = 4;
/// Rows that are encoded as one piece.
const PIECE_ROWS: usize = 2048;

async fn ask(
    services: &Services,
    (access, presented): (Access, Presented),
    question: Question,
) -> Result<Response, Refusal> {
    let Question { database, text, params, format, after } = question;
    // A client that goes away waits no more.
    let late = |error: view::Error| Refusal::plain(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    let views = services.views.as_ref().expect("a node without mode query forwards queries");
    let engine = services.engine.clone().expect("a node without mode query forwards queries");
    position::reach(views, &after, engine.default_timeout()).await.map_err(late)?;
    let token = presented.token();
    let query =
        Query { text, database, params, access, token, door: "http", postgres: None, timeout: None, patience: None };
    let (pieces, mut received) = mpsc::channel(PIECES_WAITING_MAX);
    // The task ends when the receiver is dropped, that is, when the client goes away or has everything.
    services.datafusion.spawn(async move {
        tokio::select! {
            biased;
            // Dropping the other future cancels the query, which is what nobody waiting for it means.
            () = pieces.closed() => {}
            () = run(&engine, query, format, &pieces) => {}
        }
    });
    match received.recv().await {
        Some(Piece::Failed(refusal)) => Err(refusal),
        Some(Piece::Bytes(first)) => Ok(streamed(format, first, received)),
        Some(Piece::End) => Ok(streamed_response(format, Body::empty())),
        None => Err(Refusal::bug("the query ended without an answer")),
    }
}

/// Sends the pieces of the answer, and one that says how it ended.
async fn run(engine: &Engine, query: Query, format: Format, pieces: &mpsc::Sender<Piece>) {
    let end = match encode(engine, query, format, pieces).await {
        Ok(()) => Piece::End,
        Err(refusal) => Piece::Failed(refusal),
    };
    // A send fails only when nobody listens any more.
    let _ = pieces.send(end).await;
}

async fn encode(engine: &Engine, query: Query, format: Format, pieces: &mpsc::Sender<Piece>) -> Result<(), Refusal> {
    let mut answer = engine.run(query).await.map_err(query_error)?;
    let mut encoder = Encoder::new(format, &answer.schema).map_err(encoding_error)?;
    while let Some(batch) = answer.rows.next().await {
        let batch = batch.map_err(query_error)?;
        for start in (0..batch.num_rows()).step_by(PIECE_ROWS) {
            let rows = batch.slice(start, PIECE_ROWS.min(batch.num_rows() - start));
            let bytes = encoder.write(rows).map_err(encoding_error)?;
            if !bytes.is_empty() && pieces.send(Piece::Bytes(bytes)).await.is_err() {
                return Ok(());
            }
        }
    }
    let bytes = encoder.finish().map_err(encoding_error)?;
    if !bytes.is_empty() {
        let _ = pieces.send(Piece::Bytes(bytes)).await;
    }
    Ok(())
}

fn streamed(format: Format, first: Vec<u8>, received: mpsc::Receiver<Piece>) -> Response {
    let rest = stream::unfold(Some(received), |received| async move {
        let mut received = received?;
        match received.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(Bytes::from(bytes)), Some(received))),
            Some(Piece::End) => None,
            Some(Piece::Failed(refusal)) => {
                tracing::warn!(error = refusal.message, "a query failed after its first rows were sent");
                Some((Err(io::Error::other(refusal.message)), None))
            }
            // Whoever encoded is gone without a word: what was sent is not whole.
            None => Some((Err(io::Error::other("the query ended in the middle of its answer")), None)),
        }
    });
    let whole = stream::once(async move { Ok(Bytes::from(first)) }).chain(rest);
    streamed_response(format, Body::from_stream(whole))
}

fn streamed_response(format: Format, body: Body) -> Response {
    ([(header::CONTENT_TYPE, format.content_type())], body).into_response()
}

/// Answers with rows that are there already.
pub(super) fn respond(batch: &RecordBatch, format: Format) -> Result<Response, Refusal> {
    let mut encoder = Encoder::new(format, &batch.schema()).map_err(encoding_error)?;
    let mut bytes = encoder.write(batch.clone()).map_err(encoding_error)?;
    bytes.extend(encoder.finish().map_err(encoding_error)?);
    Ok(streamed_response(format, Body::from(bytes)))
}

fn encoding_error(error: impl std::fmt::Display) -> Refusal {
    Refusal::bug(format!("encode rows: {error}"))
}

/// After a 5xx clients and proxies may ask again by themselves for what somebody has just ended, after a 4xx none does. 409
/// means here that something exists already; 499 is what the code `cancelled` of gRPC, which Flight answers, is over HTTP.
fn cancelled() -> StatusCode {
    StatusCode::from_u16(499).expect("it has three digits")
}

/// The table of query errors.
fn query_error(error: sql::Error) -> Refusal {
    let status = match error.kind() {
        QueryErrorKind::DatabaseNotFound => {
            return Refusal::json(StatusCode::NOT_FOUND, format!("query error: {error}"));
        }
        QueryErrorKind::Denied => return auth::Error::Forbidden.into(),
        QueryErrorKind::Plan => StatusCode::BAD_REQUEST,
        QueryErrorKind::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        QueryErrorKind::Memory | QueryErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
        QueryErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        QueryErrorKind::Cancelled => cancelled(),
        QueryErrorKind::Execution => StatusCode::INTERNAL_SERVER_ERROR,
        QueryErrorKind::Command(ErrorKind::Denied) => StatusCode::FORBIDDEN,
        QueryErrorKind::Command(kind) => errors::status_of(kind),
        QueryErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal { status, message: error.to_string(), shape: Shape::Plain }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn errors_of_a_query_have_the_statuses_clients_know() {
        use sql::Error;
        let missing = query_error(Error::DatabaseNotFound("x".into()));
        assert_eq!(missing, Refusal::json(StatusCode::NOT_FOUND, "query error: database not found: x"));
        check(Error::Plan("p".into()), 400);
        check(Error::Unsupported("u".into()), 405);
        check(Error::Denied("d".into()), 403);
        check(Error::Memory("m".into()), 429);
        check(Error::Busy("b".into()), 429);
        check(Error::Timeout(Duration::from_secs(1)), 504);
        check(Error::Cancelled, 499);
        check(Error::Unwaited("w".into()), 499);
        check(Error::Execution("e".into()), 500);
        check(Error::Unavailable("a".into()), 503);
    }

    #[track_caller]
    fn check(error: sql::Error, status: u16) {
        assert_eq!(query_error(error.clone()).status.as_u16(), status, "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_that_ends_without_its_end_breaks_the_body() {
        let (pieces, received) = mpsc::channel(2);
        pieces.send(Piece::Bytes(b"b".to_vec())).await.expect("the receiver lives");
        drop(pieces);
        let body = streamed(Format::Json, b"a".to_vec(), received).into_body();
        let chunks: Vec<_> = body.into_data_stream().collect().await;
        assert_eq!(chunks.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    }

    #[tokio::test]
    async fn an_answer_with_its_end_is_whole() {
        let (pieces, received) = mpsc::channel(2);
        pieces.send(Piece::End).await.expect("the receiver lives");
        let body = streamed(Format::Json, b"a".to_vec(), received).into_body();
        let chunks: Vec<_> = body.into_data_stream().collect().await;
        assert_eq!(chunks.iter().map(Result::is_ok).collect::<Vec<_>>(), [true]);
    }
}
