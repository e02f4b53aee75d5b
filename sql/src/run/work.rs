//! One query from its arrival to its end, on the threads for queries.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::engine::{Admitted, Shared, WATCHING_WITHIN};
use super::seats::Seat;
use super::{Error, Query, QueryErrorKind, statement};
use crate::admin::{Asker, Command, Tag};
use crate::postgres;
use crate::session::Session;
use crate::system::{Arrival, Cause, End, Entry, Nature, World};

/// Where the parts of the answer go.
pub(super) struct Parts {
    pub(super) head: oneshot::Sender<Result<Head, Error>>,
    pub(super) rows: mpsc::Sender<RecordBatch>,
}

/// What is known of an answer before its rows.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) schema: SchemaRef,
    pub(super) tag: Option<Tag>,
}

pub(super) struct Work {
    query: Query,
    head: Option<oneshot::Sender<Result<Head, Error>>>,
    rows: mpsc::Sender<RecordBatch>,
    progress: Progress,
}

/// A query whose rows nobody takes for so long is asleep.
const SLEEPS_AFTER: Duration = Duration::from_millis(500);

/// What a query runs with.
struct Held {
    /// Among the queries that run or wait, until it has slept once.
    _place: Option<Seat>,
    _permit: Seat,
}

/// The log entry of a query. Dropped before it is closed, which is how a query is cancelled, it says so.
struct Progress {
    shared: Arc<Shared>,
    entry: Entry,
    phase: &'static str,
    session: Option<Session>,
    plan: Option<Arc<dyn ExecutionPlan>>,
    rows: usize,
}

impl Work {
    pub(super) fn new(shared: Arc<Shared>, query: Query, parts: Parts) -> Self {
        let arrival = Arrival {
            text: &query.text,
            door: query.door,
            application: query.postgres.as_ref().map(|session| session.application_name.as_str()),
            database: &query.database,
            by: query.access.token,
        };
        let entry = shared.facts.log.open(arrival);
        shared.metrics.enter(None, "received");
        let progress = Progress { shared, entry, phase: "received", session: None, plan: None, rows: 0 };
        Self { query, head: Some(parts.head), rows: parts.rows, progress }
    }

    /// An error that comes before the schema is sent in its place; a later one is returned.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let cancelled = self.progress.entry.cancelled.clone();
        // What a command has begun goes on whatever is told of it, so it is told how that ended.
        let command = statement::command(&self.query, &self.progress.shared.facts.settings).transpose();
        let nature = match &command {
            Ok(Some(command)) if command.is_order() => Nature::Order,
            Ok(Some(_)) => Nature::Command,
            Ok(None) | Err(_) => Nature::Query,
        };
        // Who waits for an order is told how far it came. What was cancelled before it was known to be one is not begun.
        let is_early = self.progress.entry.becomes(nature);
        let tells_itself = nature == Nature::Order && !is_early;
        let timeout = self.query.timeout.filter(|_| nature == Nature::Query);
        // The permit, the plan and the view go when `answer` ends, not when a slow reader has read the last rows.
        let answer = AssertUnwindSafe(self.answer(command)).catch_unwind();
        let answer = async {
            tokio::select! {
                biased;
                () = cancelled.cancelled(), if !tells_itself => Ok(Err(Error::Cancelled)),
                answer = answer => answer,
            }
        };
        let result = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, answer).await.unwrap_or(Ok(Err(Error::Timeout(timeout)))),
            None => answer.await,
        };
        let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
        if let Err(error) = &result {
            let cause = if matches!(error, Error::Memory(_)) { Cause::Memory } else { Cause::Other };
            self.progress.entry.failed(&error.to_string(), cause);
        }
        self.progress.close(match &result {
            Ok(()) => End::Success,
            Err(error) if error.kind() == QueryErrorKind::Cancelled => End::Cancel,
            Err(_) => End::Fail,
        });
        match (result, self.head.take()) {
            (Err(error), Some(head)) => {
                // Whoever asked may be gone, and then nobody wants to know.
                drop(head.send(Err(error)));
                Ok(())
            }
            (result, _) => result,
        }
    }

    async fn answer(&mut self, command: Result<Option<Command>, Error>) -> Result<(), Error> {
        // An operator is served also where too many queries wait: one of them may be what is to be cancelled.
        if let Some(command) = command? {
            return Box::pin(self.perform(&command)).await;
        }
        let admitted = self.progress.shared.admit(&self.query)?;
        self.progress.shared.observe(&self.query.database).await;
        let moment = self.progress.shared.open_moment(&self.query.database)?;
        let world = self.progress.shared.world(moment.state(), &self.query)?;
        self.progress.resolved(&world);
        let postgres = self.query.postgres.as_ref();
        let session = self.progress.shared.sessions.open(world, Arc::clone(&moment), postgres)?;
        let state = session.context.state();
        let params = std::mem::take(&mut self.query.params);
        let logical = statement::plan(&state, &self.query.text, params, session.known.as_deref()).await?;
        if matches!(admitted, Admitted::Watching(_)) && !statement::is_about_nodes(&logical) {
            return Err(self.progress.shared.busy());
        }
        let plan = state.create_physical_plan(&logical).await?;
        if session.known.is_some() {
            postgres::check_calls(&plan)?;
        }
        self.progress.planned(session, Arc::clone(&plan));

        let (held, within) = self.seated(admitted, &logical).await?;
        self.progress.permitted();
        let rows = execute_stream(plan, state.task_ctx())?;
        self.send_head(Head { schema: postgres::shown(&rows.schema()), tag: None })?;
        let sending = self.send(rows, held);
        match within {
            Some(within) => tokio::time::timeout(within, sending).await.unwrap_or(Err(Error::Timeout(within))),
            None => sending.await,
        }
        // The moment lives until here: no file it names is deleted before.
    }

    /// Waits for a permit to run, unless the query is about the nodes alone; and how long it may take then.
    async fn seated(&self, admitted: Admitted, plan: &LogicalPlan) -> Result<(Held, Option<Duration>), Error> {
        let shared = &self.progress.shared;
        let watching = |watch| (Held { _place: None, _permit: watch }, Some(WATCHING_WITHIN));
        let place = match admitted {
            Admitted::Watching(watch) => return Ok(watching(watch)),
            Admitted::Placed(place) => place,
        };
        let permit = match shared.permits.try_take() {
            Some(permit) => permit,
            None => match shared.watch(&self.query).filter(|_| statement::is_about_nodes(plan)) {
                Some(watch) => return Ok(watching(watch)),
                None => shared.permits.take().await.ok_or(Error::Cancelled)?,
            },
        };
        Ok((Held { _place: Some(place), _permit: permit }, None))
    }

    async fn perform(&mut self, command: &Command) -> Result<(), Error> {
        let Query { access, token, door, timeout, .. } = &self.query;
        let cancelled = self.progress.entry.cancelled.clone();
        let moment = self.progress.shared.open_moment(&self.query.database)?;
        let world = self.progress.shared.world(moment.state(), &self.query)?;
        drop(moment);
        self.progress.resolved(&world);
        let unable = || Error::Unsupported(format!("this node performs no commands, and so not {command}"));
        let operator = self.progress.shared.operator.clone().ok_or_else(unable)?;
        let asker = Asker {
            access: access.clone(),
            token: token.clone(),
            door,
            within: *timeout,
            cancelled: cancelled.clone(),
        };
        let done = operator.perform(command, &asker).await.map_err(|error| match cancelled.is_cancelled() {
            true => Error::Unwaited(error.to_string()),
            false => error.into(),
        })?;
        let rows = command.rows(&done).map_err(|error| Error::Execution(error.to_string()))?;
        self.send_head(Head { schema: rows.schema(), tag: Some(command.done_tag(&done)) })?;
        self.progress.rows = rows.num_rows();
        self.rows.send(rows).await.map_err(|_| Error::Cancelled)
    }

    fn send_head(&mut self, head: Head) -> Result<(), Error> {
        let gone = |_| Error::Cancelled;
        self.head.take().map_or(Ok(()), |sender| sender.send(Ok(head)).map_err(gone))
    }

    /// While nobody takes its rows a query does nothing, so others may run in its stead: it gives its place and its
    /// permit back, and waits for a permit again before it goes on.
    async fn send(&mut self, mut rows: SendableRecordBatchStream, held: Held) -> Result<(), Error> {
        let mut held = Some(held);
        while let Some(batch) = rows.next().await.transpose()? {
            self.progress.rows += batch.num_rows();
            self.progress.entry.answered(self.progress.rows);
            let Err(TrySendError::Full(batch)) = self.rows.try_send(batch) else { continue };
            let patience = self.query.patience.unwrap_or(self.progress.shared.read_timeout);
            let shared = Arc::clone(&self.progress.shared);
            let fall_asleep = async {
                // A reader that is a little slower than the query is no sleeper.
                tokio::time::sleep(SLEEPS_AFTER).await;
                // Too many sleepers would take more memory than queries that run: the next one keeps what it holds.
                shared.sleeping.take().await
            };
            let wait = async {
                let sending = self.rows.send(batch);
                tokio::pin!(sending);
                let _asleep = tokio::select! {
                    biased;
                    sent = &mut sending => return sent,
                    asleep = fall_asleep => asleep,
                };
                held = None;
                sending.await
            };
            let sent = tokio::time::timeout(patience, wait).await;
            sent.map_err(|_| Error::Cancelled)?.map_err(|_| Error::Cancelled)?;
            if held.is_none() {
                let permit = self.progress.shared.permits.take().await.ok_or(Error::Cancelled)?;
                held = Some(Held { _place: None, _permit: permit });
            }
        }
        Ok(())
    }
}

impl Progress {
    fn resolved(&self, world: &World) {
        let token = world.access.token.and_then(|id| world.state.tokens.get(&id));
        let user = token.map(|token| Arc::clone(&token.name));
        self.entry.resolved(world.database.as_ref().map(|database| database.id), user);
    }

    fn planned(&mut self, session: Session, plan: Arc<dyn ExecutionPlan>) {
        let touched = &session.touched;
        let (partitions, files) = (&touched.partitions, &touched.parquet_files);
        self.entry.planned(partitions.load(Ordering::Relaxed), files.load(Ordering::Relaxed));
        (self.session, self.plan) = (Some(session), Some(plan));
        self.enter("planned");
    }

    fn permitted(&mut self) {
        self.entry.permitted();
        self.enter("permit");
    }

    fn enter(&mut self, phase: &'static str) {
        self.shared.metrics.enter(Some(self.phase), phase);
        self.phase = phase;
    }

    fn close(&mut self, end: End) {
        // Taken, so that both go now: the entry may live on with whoever has not read the last rows.
        let compute = self.plan.take().as_ref().map(compute);
        let memory_max = self.session.take().map(|s| s.memory.reserved_max());
        if let Some(finished) = self.entry.close(end, compute, memory_max) {
            self.shared.metrics.finish(self.phase, &finished, self.rows);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close(End::Cancel);
    }
}

/// Processor time of all operators.
fn compute(plan: &Arc<dyn ExecutionPlan>) -> Duration {
    let own = plan.metrics().and_then(|m| m.elapsed_compute()).unwrap_or_default();
    let own = Duration::from_nanos(u64::try_from(own).unwrap_or(u64::MAX));
    plan.children().into_iter().map(compute).fold(own, Duration::saturating_add)
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Error::Execution(format!("the query panicked: {}", message.unwrap_or("no message")))
}
