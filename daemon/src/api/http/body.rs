//! Request bodies: admitted by size, read, inflated, checked.
//!
//! # Promises
//! - All bodies in memory together stay within one limit; a request that would pass it is refused with status 429,
//!   where possible before any of it is read.
//! - No body is larger than the limit for one request, neither as sent nor inflated. Inflating stops at the limit.
//! - Inflating gives way to other requests after about a tenth of a millisecond of work.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::errors::Refusal;

/// How much memory request bodies may hold.
#[derive(Debug)]
pub(super) struct Admission {
    request_bytes_max: usize,
    /// One permit for each byte.
    room: Arc<Semaphore>,
}

/// A body and its place in memory, which is free again once this is dropped.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    _room: Room,
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The room one request has taken.
#[derive(Debug)]
struct Room {
    semaphore: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Admission {
    #[must_use]
    pub(super) fn new(request_bytes_max: usize, in_flight_bytes_max: usize) -> Self {
        let permits = in_flight_bytes_max.min(Semaphore::MAX_PERMITS);
        Self { request_bytes_max, room: Arc::new(Semaphore::new(permits)) }
    }

    /// Reads the whole body as text.
    pub(super) async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Text, Refusal> {
        let read = self.read_within_limits(headers, &mut body).await;
        if read.is_err() {
            // A sender that is cut off in the middle sees a broken connection instead of the answer.
            let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(&mut body)).await;
        }
        read
    }

    async fn read_within_limits(&self, headers: &HeaderMap, body: &mut Body) -> Result<Text, Refusal> {
        let encoding = encoding(headers)?;
        let max = self.request_bytes_max;
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > max {
            return Err(too_large(max));
        }
        let mut room = Room { semaphore: Arc::clone(&self.room), taken: None };
        room.grow_to(announced)?;
        let mut sink = match encoding {
            Encoding::Identity => Sink::Plain(Limited::new(announced, max)),
            Encoding::Gzip => Sink::Gzip(Box::new(MultiGzDecoder::new(Limited::new(announced, max)))),
        };
        let mut received = 0usize;
        while let Some(chunk) = next(body).await? {
            received = received.saturating_add(chunk.len());
            if received > max {
                return Err(too_large(max));
            }
            for piece in chunk.chunks(PIECE_BYTES) {
                let held = sink.push(piece)?;
                room.grow_to(held)?;
                if matches!(sink, Sink::Gzip(_)) {
                    tokio::task::yield_now().await;
                }
            }
        }
        let bytes = sink.finish()?;
        room.grow_to(bytes.len())?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Refusal::bad_request(format!("the request body is not UTF-8: the byte at {at} does not belong there"))
        })?;
        Ok(Text { text, _room: room })
    }

    /// Reads a JSON body.
    pub(super) async fn json<T: DeserializeOwned>(&self, headers: &HeaderMap, body: Body) -> Result<T, Refusal> {
        let text = self.read(headers, body).await?;
        serde_json::from_str(text.as_str()).map_err(|error| Refusal::bad_request(format!("serde json error: {error}")))
    }

    /// Reads a JSON body that says it is one.
    pub(super) async fn declared_json<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<T, Refusal> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !is_json(kind) {
            let message = "unacceptable content-type, expected: application/json";
            return Err(Refusal::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        self.json(headers, body).await
    }
}

/// Work on so many bytes is done at once. Gzip grows them a thousandfold at most.
const PIECE_BYTES: usize = 4096;
/// A sender that is silent for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long, and how much, a refused sender may still send.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
const DISCARD_BYTES_MAX: usize = 64 << 20;

async fn next(body: &mut Body) -> Result<Option<axum::body::Bytes>, Refusal> {
    loop {
        let waited = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
        let frame = waited.map_err(|_| {
            Refusal::plain(
                StatusCode::REQUEST_TIMEOUT,
                format!("nothing of the request body came within {SILENCE_MAX:?}"),
            )
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(Refusal::bad_request(format!("read request body: {error}"))),
            // Trailers say nothing we need.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn discard(body: &mut Body) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, axum::body::Bytes::len);
        if discarded > DISCARD_BYTES_MAX {
            break;
        }
    }
}

impl Room {
    fn grow_to(&mut self, bytes: usize) -> Result<(), Refusal> {
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.saturating_sub(taken);
        if more == 0 {
            return Ok(());
        }
        let busy =
            || Refusal::plain(StatusCode::TOO_MANY_REQUESTS, "too many request bodies are in memory, retry shortly");
        let more = u32::try_from(more).map_err(|_| busy())?;
        let permit = Arc::clone(&self.semaphore).try_acquire_many_owned(more).map_err(|_| busy())?;
        match &mut self.taken {
            Some(taken) => taken.merge(permit),
            None => self.taken = Some(permit),
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    match value.as_bytes() {
        b"identity" => Ok(Encoding::Identity),
        b"gzip" => Ok(Encoding::Gzip),
        other => Err(Refusal::bad_request(format!(
            "unacceptable content-encoding: {}",
            String::from_utf8_lossy(other).escape_debug()
        ))),
    }
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn too_large(max: usize) -> Refusal {
    Refusal::plain(StatusCode::PAYLOAD_TOO_LARGE, format!("max request size ({max} bytes) exceeded"))
}

/// Takes so many bytes and no more.
#[derive(Debug)]
struct Limited {
    bytes: Vec<u8>,
    max: usize,
    overflowed: bool,
}

impl Limited {
    fn new(capacity: usize, max: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), max, overflowed: false }
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.max - self.bytes.len() {
            self.overflowed = true;
            return Err(std::io::Error::other("the limit is reached"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Sink {
    Plain(Limited),
    Gzip(Box<MultiGzDecoder<Limited>>),
}

impl Sink {
    /// Returns how many bytes are held afterwards.
    fn push(&mut self, piece: &[u8]) -> Result<usize, Refusal> {
        match self {
            Self::Plain(sink) => sink.write_all(piece).map_err(|_| too_large(sink.max))?,
            Self::Gzip(sink) => {
                let pushed = sink.write_all(piece);
                pushed.map_err(|error| gzip_error(&error, sink.get_ref()))?;
            }
        }
        Ok(match self {
            Self::Plain(sink) => sink.bytes.len(),
            Self::Gzip(sink) => sink.get_ref().bytes.len(),
        })
    }

    fn finish(self) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Plain(sink) => Ok(sink.bytes),
            Self::Gzip(mut sink) => {
                let finished = sink.try_finish();
                finished.map_err(|error| gzip_error(&error, sink.get_ref()))?;
                Ok(std::mem::take(&mut sink.get_mut().bytes))
            }
        }
    }
}

fn gzip_error(error: &std::io::Error, sink: &Limited) -> Refusal {
    if sink.overflowed {
        too_large(sink.max)
    } else {
        Refusal::bad_request(format!("error decoding gzip stream: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("memory takes every byte");
        encoder.finish().expect("memory takes every byte")
    }

    #[tokio::test]
    async fn bodies_arrive_plain_or_inflated() {
        check_read("", b"a b=1", Ok("a b=1")).await;
        check_read("identity", b"a b=1", Ok("a b=1")).await;
        check_read("gzip", &gzip("a b=1"), Ok("a b=1")).await;
        check_read("gzip", &[gzip("a b=1"), gzip(" c=2")].concat(), Ok("a b=1 c=2")).await;
    }

    #[tokio::test]
    async fn bodies_that_cannot_be_read_are_refused() {
        check_read("br", b"a", Err((400, "unacceptable content-encoding: br"))).await;
        check_read("gzip", b"not gzip", Err((400, "error decoding gzip stream: "))).await;
        check_read("gzip", &gzip("a b=1")[..12], Err((400, "error decoding gzip stream: "))).await;
        check_read("", b"a\xff", Err((400, "the request body is not UTF-8: the byte at 1"))).await;
    }

    #[tokio::test]
    async fn no_body_is_larger_than_the_limit_even_inflated() {
        let large = "x".repeat(1001);
        check_read("", large.as_bytes(), Err((413, "max request size (1000 bytes) exceeded"))).await;
        check_read("gzip", &gzip(&large), Err((413, "max request size (1000 bytes) exceeded"))).await;
        check_read("gzip", &gzip(&"x".repeat(1 << 20)), Err((413, "max request size"))).await;
        check_read("", &large.as_bytes()[..1000], Ok(&large[..1000])).await;
    }

    fn headers(encoding: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !encoding.is_empty() {
            headers.insert(header::CONTENT_ENCODING, encoding.parse().expect("a header value"));
        }
        headers
    }

    async fn check_read(encoding: &str, body: &[u8], expected: Result<&str, (u16, &str)>) {
        let admission = Admission::new(1000, 1000);
        let read = admission.read(&headers(encoding), Body::from(body.to_vec())).await;
        match (read, expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text.as_str(), expected),
            (Err(refusal), Err((status, message))) => {
                assert_eq!(refusal.status.as_u16(), status);
                assert!(refusal.message.starts_with(message), "{}", refusal.message);
            }
            (read, expected) => panic!("{read:?} instead of {expected:?}"),
        }
        assert_eq!(admission.room.available_permits(), 1000, "all room is given back");
    }

    #[tokio::test]
    async fn bodies_that_do_not_fit_beside_others_are_told_to_come_back() {
        let admission = Admission::new(1000, 1500);
        let body = || Body::from("x".repeat(800));
        let first = admission.read(&headers(""), body()).await.expect("there is room for one");
        let second = admission.read(&headers(""), body()).await.expect_err("there is no room for two");
        assert_eq!(second.status, StatusCode::TOO_MANY_REQUESTS);
        drop(first);
        admission.read(&headers(""), body()).await.expect("the first is gone");
    }

    #[test]
    fn json_is_declared_in_several_ways() {
        for kind in ["application/json", "application/json; charset=utf-8", "application/vnd.api+json"] {
            assert!(is_json(kind), "{kind}");
        }
        for kind in ["", "text/plain", "application/x-www-form-urlencoded"] {
            assert!(!is_json(kind), "{kind}");
        }
    }
}
