//! Counts requests: by method, route template and kind of answer, until the last byte is sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use metrics::{BYTES, CounterVec, DURATION_SECONDS, GaugeVec, HistogramVec, Registry};
use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(super) struct Meter {
    requests: CounterVec,
    seconds: HistogramVec,
    bytes: HistogramVec,
    running: GaugeVec,
}

/// Paths are templates, so that there are only so many series.
const LABELS: [&str; 3] = ["method", "path", "status"];

impl Meter {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            requests: registry.counter_vec("http_requests_total", "HTTP requests that were answered", &LABELS),
            seconds: registry.histogram_vec(
                "http_request_duration_seconds",
                "Time from the header of a request to the last byte of its answer",
                DURATION_SECONDS,
                &LABELS,
            ),
            bytes: registry.histogram_vec(
                "http_response_body_size_bytes",
                "Bytes in the body of an answer",
                BYTES,
                &LABELS,
            ),
            running: registry.gauge_vec("http_requests_running", "HTTP requests that are being answered", &["path"]),
        }
    }

    /// Begins to measure a request; it ends when the result, or the response that follows it, is dropped.
    pub(super) fn begin(&self, method: &Method, template: Option<&str>) -> Measured {
        // Methods are free text; those nobody defined share one label.
        let known =
            [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::OPTIONS];
        let method = known.into_iter().find(|m| m == method).map_or_else(|| "other".to_owned(), |m| m.to_string());
        let path = template.unwrap_or("other").to_owned();
        self.running.with(&[&path]).inc();
        Measured { meter: self.clone(), method, path, begun: Instant::now(), outcome: "aborted", sent: 0 }
    }
}

/// One request on its way.
#[derive(Debug)]
pub(super) struct Measured {
    meter: Meter,
    method: String,
    path: String,
    begun: Instant,
    outcome: &'static str,
    sent: u64,
}

impl Measured {
    /// Measures on until the body of `response` is sent or dropped.
    pub(super) fn follow(mut self, response: Response) -> Response {
        let status = response.status();
        response.map(|body| {
            // A body that is empty is never asked for its end.
            if body.is_end_stream() {
                self.outcome = outcome(status);
            }
            Body::new(MeasuredBody { body, status, measured: self })
        })
    }
}

impl Drop for Measured {
    #[expect(clippy::cast_precision_loss, reason = "a histogram needs no exact sizes")]
    fn drop(&mut self) {
        let Self { meter, method, path, begun, outcome, sent } = self;
        let labels = [method.as_str(), path.as_str(), *outcome];
        meter.requests.with(&labels).inc();
        meter.seconds.with(&labels).observe(begun.elapsed().as_secs_f64());
        meter.bytes.with(&labels).observe(*sent as f64);
        meter.running.with(&[path]).dec();
    }
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "ok",
        400..=499 => "client_error",
        500..=599 => "server_error",
        _ => "unexpected_response",
    }
}

struct MeasuredBody {
    body: Body,
    status: StatusCode,
    measured: Measured,
}

impl HttpBody for MeasuredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.measured.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.body.is_end_stream() {
                    self.measured.outcome = outcome(self.status);
                }
            }
            Poll::Ready(None) => self.measured.outcome = outcome(self.status),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
