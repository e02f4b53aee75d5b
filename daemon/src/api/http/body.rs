//! Request bodies: admitted by size, read, inflated, checked.
//!
//! # Promises
//! - All bodies in memory together stay within one limit; a request that would pass it is refused with status 429,
//!   where possible before any of it is read.
//! - No body is larger than the limit for one request, neither as sent nor inflated. Inflating stops at the limit.
//! - Inflating gives way to other requests after a quarter of a mebibyte of text, a fraction of a millisecond of work.
//! - A sender keeps its place in memory only while it sends: one that is silent, or slower than a rate nobody can mean,
//!   is answered with status 408 and its place is free.

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
use tokio::time::Instant;

use super::errors::Refusal;

/// How much memory request bodies may hold.
#[derive(Debug)]
pub(super) struct Admission {
    request_bytes_max: usize,
    /// One permit for each byte.
    room: Arc<Semaphore>,
    patience: Patience,
}

/// How long senders may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Nothing comes for so long.
    silence: Duration,
    /// So much time every body has,
    grace: Duration,
    /// and a second more for each so many bytes that have come.
    bytes_per_second: u32,
}

/// An announced body holds memory that others could use. Ten megabytes at this rate take a quarter of an hour; what a
/// sensor sends over a poor line is through within the grace.
const PATIENCE: Patience =
    Patience { silence: Duration::from_secs(30), grace: Duration::from_secs(60), bytes_per_second: 10_000 };

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
        Self { request_bytes_max, room: Arc::new(Semaphore::new(permits)), patience: PATIENCE }
    }

    /// Reads the whole body as text.
    pub(super) async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Text, Refusal> {
        let read = self.read_within_limits(headers, &mut body).await;
        if read.is_err() {
            discard(&mut body).await;
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
        let mut arrival = Arrival { patience: self.patience, begun: Instant::now(), received: 0 };
        let mut held_at_pause = 0;
        while let Some(chunk) = arrival.next(body).await? {
            if arrival.received > max {
                return Err(too_large(max));
            }
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let taken = sink.push(rest)?;
                rest = &rest[taken..];
                let held = sink.held();
                room.grow_to(held)?;
                if matches!(sink, Sink::Gzip(_)) && held - held_at_pause >= INFLATED_AT_ONCE {
                    held_at_pause = held;
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
            discard_unread(headers, body).await;
            let message = "unacceptable content-type, expected: application/json";
            return Err(Refusal::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        self.json(headers, body).await
    }
}

/// Inflating stops for others after so many bytes. One step of it makes a few dozen kilobytes, whatever goes in.
const INFLATED_AT_ONCE: usize = 256 << 10;
/// How long, and how much, a refused sender may still send.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// A body on its way.
#[derive(Debug)]
struct Arrival {
    patience: Patience,
    begun: Instant,
    received: usize,
}

impl Arrival {
    /// The next piece that is not empty; `None` at the end.
    async fn next(&mut self, body: &mut Body) -> Result<Option<axum::body::Bytes>, Refusal> {
        let Patience { silence, grace, bytes_per_second } = self.patience;
        loop {
            let earned = Duration::from_secs(self.received as u64) / bytes_per_second;
            let too_slow = self.begun + grace + earned;
            let silent = Instant::now() + silence;
            let frame = tokio::time::timeout_at(silent.min(too_slow), body.frame()).await;
            let frame = frame.map_err(|_| {
                let message = if silent <= too_slow {
                    format!("nothing of the request body came within {silence:?}")
                } else {
                    format!(
                        "{} bytes of the request body came in {:?}: {bytes_per_second} a second are expected after {grace:?}",
                        self.received,
                        self.begun.elapsed()
                    )
                };
                Refusal::plain(StatusCode::REQUEST_TIMEOUT, message)
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Refusal::bad_request(format!("read request body: {error}"))),
                // Trailers say nothing we need.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.received = self.received.saturating_add(data.len());
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Whether the request is a call of gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// For a request that is refused before its body is read; one that asks whether it may send it gets its answer at once,
/// and so does a call, which may wait for its answer before it says more.
pub(super) async fn discard_unread(headers: &HeaderMap, mut body: Body) {
    if !headers.contains_key(header::EXPECT) && !is_grpc(headers) {
        discard(&mut body).await;
    }
}

/// A sender that is cut off in the middle sees a broken connection instead of the answer, or at its next request.
async fn discard(body: &mut Body) {
    let all = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, axum::body::Bytes::len);
            if discarded > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // One that is slower than this is cut off after all.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
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
    /// Takes some of `bytes`, which are not empty, and returns how many.
    fn push(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        match self {
            Self::Plain(sink) => sink.write(bytes).map_err(|_| too_large(sink.max)),
            Self::Gzip(sink) => {
                let pushed = sink.write(bytes);
                match pushed.map_err(|error| gzip_error(&error, sink.get_ref()))? {
                    0 => Err(Refusal::bad_request("error decoding gzip stream: it does not go on")),
                    taken => Ok(taken),
                }
            }
        }
    }

    /// How many bytes there are by now.
    fn held(&self) -> usize {
        match self {
            Self::Plain(sink) => sink.bytes.len(),
            Self::Gzip(sink) => sink.get_ref().bytes.len(),
        }
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
    use super::super::{Server, ServerLimits};
    use super::*;
    use axum::Router;
    use axum::response::IntoResponse;
    use axum::routing::post;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

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

    #[tokio::test]
    async fn inflating_gives_way_to_others() {
        const MEBIBYTES: usize = 8;
        let admission = Admission::new(MEBIBYTES << 20, MEBIBYTES << 20);
        let bomb = gzip(&"x".repeat(MEBIBYTES << 20));
        assert!(bomb.len() < 16 << 10, "{} bytes go in at once", bomb.len());
        let (mut turns, headers) = (0, headers("gzip"));
        let other = std::future::poll_fn(|_| {
            turns += 1;
            std::task::Poll::<()>::Pending
        });
        let read = tokio::select! {
            biased;
            () = other => panic!("it never ends"),
            read = admission.read(&headers, Body::from(bomb)) => read,
        };
        assert_eq!(read.expect("it fits").as_str().len(), MEBIBYTES << 20);
        assert!((3 * MEBIBYTES..=4 * MEBIBYTES + 1).contains(&turns), "{turns} turns for {MEBIBYTES} MiB");
    }

    /// What a sender is answered that sends so many bytes at a time, every 20 ms, of an announced thousand.
    async fn answer_to_a_sender(bytes_at_a_time: usize) -> (String, usize) {
        let patience =
            Patience { silence: Duration::from_secs(20), grace: Duration::from_millis(200), bytes_per_second: 1_000 };
        let admission = Arc::new(Admission { patience, ..Admission::new(1000, 1000) });
        let hands = Arc::clone(&admission);
        let read = move |headers: HeaderMap, body: Body| async move {
            hands.read(&headers, body).await.map_or_else(IntoResponse::into_response, |_| "read".into_response())
        };
        let server = Server::bind("127.0.0.1:0").await.expect("a free port");
        let mut stream = TcpStream::connect(server.address()).await.expect("it listens");
        let limits = ServerLimits { connections_max: 1, shutdown_timeout: Duration::ZERO };
        let stop = Arc::new(tokio::sync::Notify::new());
        let stopped = Arc::clone(&stop);
        let client = async move {
            let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("the request is sent");
            let (mut answers, mut sender) = stream.into_split();
            let send = async {
                for _ in 0..1000 / bytes_at_a_time {
                    // A refused sender sees its connection close.
                    let _ = sender.write_all(&b"x".repeat(bytes_at_a_time)).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                std::future::pending::<()>().await;
            };
            let mut answer = vec![0; 1000];
            let answered = tokio::select! {
                read = answers.read(&mut answer) => read.expect("an answer"),
                () = send => 0,
            };
            stop.notify_one();
            String::from_utf8_lossy(&answer[..answered]).into_owned()
        };
        let router = Router::new().route("/", post(read));
        let ((), answer) = tokio::join!(server.serve(router, limits, async move { stopped.notified().await }), client);
        (answer, admission.room.available_permits())
    }

    #[tokio::test]
    async fn a_sender_that_dribbles_loses_its_place() {
        let (answer, room) = answer_to_a_sender(1).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("1000 a second are expected after 200ms"), "{answer}");
        assert_eq!(room, 1000, "its place is free");
        // Half a second in all, which is more than the grace.
        let (answer, _) = answer_to_a_sender(40).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_sender_loses_its_place() {
        let admission = Admission::new(1000, 1000);
        let refusal = admission.read(&headers(""), Body::from_stream(futures::stream::pending::<Silence>())).await;
        let refusal = refusal.expect_err("nothing comes");
        assert_eq!((refusal.status.as_u16(), &*refusal.message), (408, "nothing of the request body came within 30s"));
    }

    type Silence = Result<axum::body::Bytes, std::io::Error>;

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
