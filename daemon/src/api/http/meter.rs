//! Counts requests: by method, route template and kind of answer, until the last byte is sent. Calls of Flight are
//! counted by themselves: by path, and by the status that follows their answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use metrics::{BYTES, CounterVec, DURATION_SECONDS, GaugeVec, HistogramVec, Registry};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::api::flight;

#[derive(Debug, Clone)]
pub(super) struct Meter {
    requests: Series,
    calls: Series,
}

/// What is counted of one kind of request.
#[derive(Debug, Clone)]
struct Series {
    answered: CounterVec,
    seconds: HistogramVec,
    bytes: HistogramVec,
    running: GaugeVec,
}

impl Series {
    /// `kind` is `http` or `grpc`. Paths are templates, so that there are only so many series.
    fn new(registry: &Registry, kind: &str, labels: &[&str]) -> Self {
        let name = |what: &str| format!("{kind}_{what}");
        let whole = if kind == "grpc" { "gRPC calls" } else { "HTTP requests" };
        Self {
            answered: registry.counter_vec(&name("requests_total"), &format!("{whole} that were answered"), labels),
            seconds: registry.histogram_vec(
                &name("request_duration_seconds"),
                "Time from the header of a request to the last byte of its answer",
                DURATION_SECONDS,
                labels,
            ),
            bytes: registry.histogram_vec(
                &name("response_body_size_bytes"),
                "Bytes in the body of an answer",
                BYTES,
                labels,
            ),
            running: registry.gauge_vec(
                &name("requests_running"),
                &format!("{whole} that are being answered"),
                &["path"],
            ),
        }
    }
}

impl Meter {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            requests: Series::new(registry, "http", &["method", "path", "status"]),
            calls: Series::new(registry, "grpc", &["path", "status"]),
        }
    }

    /// Begins to measure a request; it ends when the result, or the response that follows it, is dropped.
    pub(super) fn begin(&self, method: &Method, template: Option<&str>) -> Measured {
        let path = template.unwrap_or("other").to_owned();
        let is_call = flight::PATHS.contains(&path.as_str());
        let series = if is_call { &self.calls } else { &self.requests };
        // Methods are free text; those nobody defined share one label.
        let known =
            [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::OPTIONS];
        let method = known.into_iter().find(|m| m == method).map_or_else(|| "other".to_owned(), |m| m.to_string());
        let method = (!is_call).then_some(method);
        series.running.with(&[&path]).inc();
        Measured { series: series.clone(), method, path, begun: Instant::now(), outcome: "aborted", sent: 0 }
    }
}

/// One request on its way.
#[derive(Debug)]
pub(super) struct Measured {
    series: Series,
    /// Calls have none.
    method: Option<String>,
    path: String,
    begun: Instant,
    outcome: &'static str,
    sent: u64,
}

impl Measured {
    /// Measures on until the body of `response` is sent or dropped.
    pub(super) fn follow(mut self, response: Response) -> Response {
        let outcome = called(response.headers()).unwrap_or_else(|| outcome(response.status()));
        response.map(|body| {
            // A body that is empty is never asked for its end.
            if body.is_end_stream() {
                self.outcome = outcome;
            }
            Body::new(MeasuredBody { body, outcome, measured: self })
        })
    }
}

impl Drop for Measured {
    #[expect(clippy::cast_precision_loss, reason = "a histogram needs no exact sizes")]
    fn drop(&mut self) {
        let Self { series, method, path, begun, outcome, sent } = self;
        let labels: Vec<&str> = method.as_deref().into_iter().chain([path.as_str(), *outcome]).collect();
        series.answered.with(&labels).inc();
        series.seconds.with(&labels).observe(begun.elapsed().as_secs_f64());
        series.bytes.with(&labels).observe(*sent as f64);
        series.running.with(&[path]).dec();
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

/// How a call ended, once its status is among the headers or the trailers.
fn called(headers: &HeaderMap) -> Option<&'static str> {
    Some(match Status::from_header_map(headers)?.code() {
        Code::Ok => "ok",
        Code::Unknown | Code::Unimplemented | Code::Internal | Code::Unavailable | Code::DataLoss => "server_error",
        _ => "client_error",
    })
}

struct MeasuredBody {
    body: Body,
    /// What it is once the body has ended, unless trailers say something else.
    outcome: &'static str,
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
                let trailers = frame.trailers_ref();
                self.outcome = trailers.and_then(called).unwrap_or(self.outcome);
                if trailers.is_some() || self.body.is_end_stream() {
                    self.measured.outcome = self.outcome;
                }
            }
            Poll::Ready(None) => self.measured.outcome = self.outcome,
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
