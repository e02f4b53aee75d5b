//! An object store that counts what is asked of it: how often, how long it took, how many bytes, what went wrong.
//!
//! # Promises
//! - Every call is handed on as it came, listings from an offset too, and every answer back as it came.
//! - An answer is no error: "not found" and "exists already" are what whoever asked wanted to know, so in the metrics they
//!   are successes, and the tallies count them apart.
//! - A body, a listing or a deletion counts when it is at its end, with the bytes that were read of it; one that is dropped
//!   before, like a call that is not waited for, counts as canceled. A listing has no bytes. A body that is a local file
//!   counts with all its bytes when it is opened.
//!
//! # Not here
//! - What a client of the store does by itself: its retries are one request here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::metrics::recent::Recent;
use ::metrics::{CounterVec, DURATION_SECONDS, HistogramVec, Registry};
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Store;
use crate::clock::Clock;

/// How much of an error is kept.
const ERROR_BYTES_MAX: usize = 500;

/// What a store can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Copy,
    Delete,
    Get,
    GetRange,
    GetRanges,
    Head,
    List,
    ListWithDelimiter,
    ListWithOffset,
    Put,
    PutMultipart,
}

impl Op {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Delete => "delete",
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::GetRanges => "get_ranges",
            Self::Head => "head",
            Self::List => "list",
            Self::ListWithDelimiter => "list_with_delimiter",
            Self::ListWithOffset => "list_with_offset",
            Self::Put => "put",
            Self::PutMultipart => "put_multipart",
        }
    }
}

/// What came of the calls of one kind since the process started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Those that ended, however.
    pub requests: u64,
    pub errors: u64,
    pub not_found: u64,
    /// Refused because of what is there already.
    pub exists: u64,
    pub canceled: u64,
    /// Put, or read.
    pub bytes: u64,
    pub seconds_max: f64,
    /// What the last error said, and when that was, in nanoseconds since the Unix epoch.
    pub last_error: Option<(String, i64)>,
}

/// The figures of one kind of call.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub op: Op,
    pub tally: Tally,
    /// Of calls that were answered, also with "not found".
    pub seconds_mean: Option<f64>,
    pub seconds_p99: Option<f64>,
}

/// All calls of the last minutes, see `Recent`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RecentUse {
    pub requests: u64,
    pub errors: u64,
    /// Objects that were put.
    pub puts: Transfers,
    /// Objects, or parts of them, that were found and read to the end.
    pub gets: Transfers,
}

/// Calls that moved bytes and ended well: an answer without them comes sooner, however slow the store is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Transfers {
    pub count: u64,
    /// `None` when there were none.
    pub mean: Option<Duration>,
}

/// What one process asked of its store.
#[derive(Debug)]
pub struct Usage {
    clock: Clock,
    began: Instant,
    seconds: HistogramVec,
    bytes: CounterVec,
    tallies: Mutex<BTreeMap<Op, Tally>>,
    requests: Recent,
    errors: Recent,
    puts: Timed,
    gets: Timed,
}

/// Calls, and the microseconds they took.
#[derive(Debug, Default)]
struct Timed {
    count: Recent,
    micros: Recent,
}

impl Timed {
    fn add(&self, now: Duration, took: Duration) {
        self.count.add(now, 1);
        self.micros.add(now, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    fn sum(&self, now: Duration) -> Transfers {
        let count = self.count.sum(now);
        Transfers { count, mean: self.micros.sum(now).checked_div(count).map(Duration::from_micros) }
    }
}

/// What the metrics say of a call.
const SUCCESS: &str = "success";
const ERROR: &str = "error";
const CANCELED: &str = "canceled";

impl Usage {
    #[must_use]
    pub fn new(registry: &Registry, clock: Clock) -> Self {
        let seconds = "Time of a call of the object store, until its body is read to the end.";
        let bytes = "Bytes that were put into the object store and read from it.";
        Self {
            began: clock.instant(),
            clock,
            seconds: registry.histogram_vec(
                "object_store_op_duration_seconds",
                seconds,
                DURATION_SECONDS,
                &["op", "result"],
            ),
            bytes: registry.counter_vec("object_store_transfer_bytes_total", bytes, &["op"]),
            tallies: Mutex::default(),
            requests: Recent::default(),
            errors: Recent::default(),
            puts: Timed::default(),
            gets: Timed::default(),
        }
    }

    /// By kind of call, those that never happened left out.
    #[must_use]
    pub fn figures(&self) -> Vec<Figures> {
        let tallies = self.tallies.lock().clone();
        let figures = |(op, tally): (Op, Tally)| {
            let seconds = self.seconds.with(&[op.name(), SUCCESS]);
            Figures { op, tally, seconds_mean: seconds.mean(), seconds_p99: seconds.quantile(0.99) }
        };
        tallies.into_iter().map(figures).collect()
    }

    #[must_use]
    pub fn recent(&self) -> RecentUse {
        let now = self.began.elapsed();
        let (requests, errors) = (self.requests.sum(now), self.errors.sum(now));
        RecentUse { requests, errors, puts: self.puts.sum(now), gets: self.gets.sum(now) }
    }

    fn note(&self, (op, took): (Op, Duration), bytes: u64, end: &End) {
        let result = match end {
            End::Done | End::NotFound | End::Exists => SUCCESS,
            End::Failed(_) => ERROR,
            End::Canceled => CANCELED,
        };
        self.seconds.with(&[op.name(), result]).observe(took.as_secs_f64());
        if bytes > 0 {
            self.bytes.with(&[op.name()]).inc_by(bytes);
        }
        let now = self.began.elapsed();
        self.requests.add(now, 1);
        self.errors.add(now, u64::from(matches!(end, End::Failed(_))));
        match (op, end) {
            (Op::Put, End::Done) => self.puts.add(now, took),
            (Op::Get | Op::GetRange | Op::GetRanges, End::Done) => self.gets.add(now, took),
            _ => {}
        }
        let mut tallies = self.tallies.lock();
        let tally = tallies.entry(op).or_default();
        tally.requests += 1;
        tally.bytes += bytes;
        tally.seconds_max = tally.seconds_max.max(took.as_secs_f64());
        match end {
            End::Done => {}
            End::NotFound => tally.not_found += 1,
            End::Exists => tally.exists += 1,
            End::Canceled => tally.canceled += 1,
            End::Failed(said) => {
                tally.errors += 1;
                tally.last_error = Some((said.clone(), self.clock.now_ns()));
            }
        }
    }
}

/// For nodes that have no store of their own: nothing was asked.
impl Default for Usage {
    fn default() -> Self {
        Self::new(&Registry::new(), Clock::system())
    }
}

/// How a call ended.
#[derive(Debug)]
enum End {
    Done,
    NotFound,
    Exists,
    Failed(String),
    Canceled,
}

impl End {
    fn of<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(Error::NotFound { .. }) => Self::NotFound,
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => Self::Exists,
            Err(error) => {
                let said = error.to_string();
                Self::Failed(said[..said.floor_char_boundary(ERROR_BYTES_MAX)].to_owned())
            }
        }
    }
}

/// A call under way. Dropped before its end it was canceled.
#[derive(Debug)]
struct Call {
    usage: Arc<Usage>,
    op: Op,
    began: Instant,
    bytes: u64,
    end: End,
}

impl Call {
    fn end<T>(mut self, result: &Result<T>) {
        self.end = End::of(result);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.usage.note((self.op, self.began.elapsed()), self.bytes, &self.end);
    }
}

/// A stream that is counted at its end.
struct Counted<T> {
    inner: BoxStream<'static, Result<T>>,
    call: Option<Call>,
    /// Bytes still to come before the stream has all, where that is known.
    expected: Option<u64>,
    bytes_of: fn(&T) -> u64,
}

impl<T> Stream for Counted<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.inner.poll_next_unpin(context));
        let bytes = item.iter().flatten().map(self.bytes_of).sum::<u64>();
        if let Some(call) = &mut self.call {
            call.bytes += bytes;
        }
        self.expected = self.expected.map(|expected| expected.saturating_sub(bytes));
        // Who has all bytes does not ask for more.
        let is_whole = self.expected == Some(0);
        match &item {
            Some(Ok(_)) if !is_whole => {}
            Some(result) => self.call.take().into_iter().for_each(|call| call.end(result)),
            None => self.call.take().into_iter().for_each(|call| call.end(&Ok(()))),
        }
        Poll::Ready(item)
    }
}

/// See the head of the room.
#[derive(Debug)]
pub struct Measured {
    inner: Store,
    usage: Arc<Usage>,
}

impl Measured {
    #[must_use]
    pub fn new(inner: Store, usage: Arc<Usage>) -> Self {
        Self { inner, usage }
    }

    fn call(&self, op: Op) -> Call {
        let began = self.usage.clock.instant();
        Call { usage: Arc::clone(&self.usage), op, began, bytes: 0, end: End::Canceled }
    }

    fn counted<T: Send + 'static>(
        &self,
        op: Op,
        inner: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        Counted { inner, call: Some(self.call(op)), expected: None, bytes_of: |_| 0 }.boxed()
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Measured {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (mut call, bytes) = (self.call(Op::Put), payload.content_length() as u64);
        let result = self.inner.put_opts(location, payload, opts).await;
        call.bytes = if result.is_ok() { bytes } else { 0 };
        call.end(&result);
        result
    }

    async fn put_multipart_opts(&self, location: &Path, o: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let call = self.call(Op::PutMultipart);
        let result = self.inner.put_multipart_opts(location, o).await;
        call.end(&result);
        result
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let op = match &options {
            GetOptions { head: true, .. } => Op::Head,
            GetOptions { range: Some(_), .. } => Op::GetRange,
            _ => Op::Get,
        };
        let mut call = self.call(op);
        let mut found = match self.inner.get_opts(location, options).await {
            Ok(found) => found,
            failed => {
                call.end(&failed);
                return failed;
            }
        };
        let bytes = found.range.end.saturating_sub(found.range.start);
        found.payload = match found.payload {
            GetResultPayload::Stream(inner) if op != Op::Head && bytes > 0 => {
                let bytes_of = |bytes: &Bytes| bytes.len() as u64;
                let body = Counted { inner, call: Some(call), expected: Some(bytes), bytes_of };
                GetResultPayload::Stream(body.boxed())
            }
            whole => {
                call.bytes = if op == Op::Head { 0 } else { bytes };
                call.end(&Ok(()));
                whole
            }
        };
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut call = self.call(Op::GetRanges);
        let result = self.inner.get_ranges(location, ranges).await;
        call.bytes = result.iter().flatten().map(|part| part.len() as u64).sum();
        call.end(&result);
        result
    }

    #[expect(clippy::disallowed_methods, reason = "hands on what sweep decided")]
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.counted(Op::Delete, self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(Op::List, self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(Op::ListWithOffset, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let call = self.call(Op::ListWithDelimiter);
        let result = self.inner.list_with_delimiter(prefix).await;
        call.end(&result);
        result
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let call = self.call(Op::Copy);
        let result = self.inner.copy_opts(from, to, options).await;
        call.end(&result);
        result
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::{ObjectStoreExt, PutMode};

    use super::*;
    use crate::bucket::watched::Watched;

    fn measured() -> (Arc<Watched>, Measured) {
        let watched = Watched::new();
        (Arc::clone(&watched), Measured::new(watched, Arc::default()))
    }

    /// Kind of call, requests, errors, not found, exists, canceled, bytes.
    type Line = (&'static str, [u64; 6]);

    #[track_caller]
    fn check(store: &Measured, expected: &[Line]) {
        let line = |figures: Figures| {
            let Tally { requests, errors, not_found, exists, canceled, bytes, .. } = figures.tally;
            (figures.op.name(), [requests, errors, not_found, exists, canceled, bytes])
        };
        assert_eq!(store.usage.figures().into_iter().map(line).collect::<Vec<Line>>(), expected);
    }

    #[tokio::test]
    async fn calls_are_counted_by_kind_and_answers_are_no_errors() {
        let (_, store) = measured();
        let (key, create) = (Path::from("a/1"), || PutOptions::from(PutMode::Create));
        store.put_opts(&key, PutPayload::from_static(b"rows"), create()).await.unwrap();
        store.put_opts(&key, PutPayload::from_static(b"more"), create()).await.unwrap_err();
        assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), "rows");
        assert_eq!(store.get_range(&key, 1..3).await.unwrap(), "ow");
        assert_eq!(store.get_ranges(&key, &[0..1, 3..4]).await.unwrap().len(), 2);
        assert_eq!(store.head(&key).await.unwrap().size, 4);
        assert!(store.get(&Path::from("a/2")).await.is_err());
        let listed: Vec<_> = store.list_with_offset(None, &Path::from("a/0")).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
        check(
            &store,
            &[
                ("get", [2, 0, 1, 0, 0, 4]),
                ("get_range", [1, 0, 0, 0, 0, 2]),
                ("get_ranges", [1, 0, 0, 0, 0, 2]),
                ("head", [1, 0, 0, 0, 0, 0]),
                ("list", [1, 0, 0, 0, 0, 0]),
                ("list_with_offset", [1, 0, 0, 0, 0, 0]),
                ("put", [2, 0, 0, 1, 0, 4]),
            ],
        );
        let recent = store.usage.recent();
        assert_eq!((recent.requests, recent.errors), (9, 0));
        assert_eq!(
            (recent.puts.count, recent.gets.count),
            (1, 3),
            "what ended without bytes says nothing of its speed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn slow_puts_are_seen_beside_many_quick_answers() {
        let usage = Usage::default();
        (0..60).for_each(|_| usage.note((Op::Put, Duration::from_secs(3)), 10, &End::Done));
        (0..1200).for_each(|_| usage.note((Op::Get, Duration::from_millis(20)), 0, &End::NotFound));
        let recent = usage.recent();
        assert_eq!(recent.puts, Transfers { count: 60, mean: Some(Duration::from_secs(3)) });
        assert_eq!(recent.gets, Transfers::default());
    }

    #[tokio::test]
    async fn what_is_dropped_before_its_end_is_canceled() {
        let (watched, store) = measured();
        for key in ["a/1", "a/2"] {
            store.put(&Path::from(key), PutPayload::from_static(b"rows")).await.unwrap();
        }
        let mut listing = store.list(None);
        listing.next().await.unwrap().unwrap();
        drop(listing);
        drop(store.get(&Path::from("a/1")).await.unwrap());
        watched.hang_gets("a/2");
        let key = Path::from("a/2");
        let unanswered = tokio::time::timeout(Duration::from_millis(5), store.get(&key)).await;
        assert!(unanswered.is_err());
        check(&store, &[("get", [2, 0, 0, 0, 2, 0]), ("list", [1, 0, 0, 0, 1, 0]), ("put", [2, 0, 0, 0, 0, 8])]);
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the test is what decides")]
    async fn an_error_is_kept_with_its_words_and_its_time() {
        let (watched, store) = measured();
        watched.refuse_deletes("a/1");
        let keys = futures::stream::iter([Ok(Path::from("a/1"))]).boxed();
        assert!(store.delete_stream(keys).try_collect::<Vec<_>>().await.is_err());
        let figures = store.usage.figures();
        let (said, at_ns) = figures[0].tally.last_error.clone().expect("it failed");
        assert_eq!((figures[0].op, figures[0].tally.errors), (Op::Delete, 1));
        assert!(said.contains("a/1 may not be deleted") && at_ns > 0, "{said} {at_ns}");
        assert_eq!(store.usage.recent().errors, 1);
    }
}
