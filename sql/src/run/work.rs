//! One query from its arrival to its end, on the threads for queries.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::engine::Shared;
use super::{Error, Query, statement};
use crate::postgres;
use crate::session::Session;
use crate::system::{End, Entry};

/// Where the parts of the answer go.
pub(super) struct Parts {
    pub(super) schema: oneshot::Sender<Result<SchemaRef, Error>>,
    pub(super) rows: mpsc::Sender<RecordBatch>,
}

pub(super) struct Work {
    query: Query,
    schema: Option<oneshot::Sender<Result<SchemaRef, Error>>>,
    rows: mpsc::Sender<RecordBatch>,
    progress: Progress,
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
        let application = query.postgres.as_ref().map(|session| session.application_name.as_str());
        let entry = shared.facts.log.open(&query.text, query.door, application);
        shared.metrics.enter(None, "received");
        let progress = Progress { shared, entry, phase: "received", session: None, plan: None, rows: 0 };
        Self { query, schema: Some(parts.schema), rows: parts.rows, progress }
    }

    /// An error that comes before the schema is sent in its place; a later one is returned.
    pub(super) async fn run(mut self, timeout: Option<Duration>) -> Result<(), Error> {
        // The permit, the plan and the view go when `answer` ends, not when a slow reader has read the last rows.
        let answer = AssertUnwindSafe(self.answer()).catch_unwind();
        let result = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, answer).await.unwrap_or(Ok(Err(Error::Timeout(timeout)))),
            None => answer.await,
        };
        let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
        self.progress.close(match &result {
            Ok(()) => End::Success,
            Err(Error::Cancelled) => End::Cancel,
            Err(_) => End::Fail,
        });
        match (result, self.schema.take()) {
            (Err(error), Some(schema)) => {
                // Whoever asked may be gone, and then nobody wants to know.
                drop(schema.send(Err(error)));
                Ok(())
            }
            (result, _) => result,
        }
    }

    async fn answer(&mut self) -> Result<(), Error> {
        let _place = self.progress.shared.place()?;
        self.progress.shared.observe(&self.query.database).await;
        let moment = self.progress.shared.open_moment()?;
        let world = self.progress.shared.world(moment.state(), &self.query)?;
        self.progress.entry.resolved(world.database.as_ref().map(|database| database.id));
        let postgres = self.query.postgres.as_ref();
        let session = self.progress.shared.sessions.open(world, Arc::clone(&moment), postgres)?;
        let state = session.context.state();
        let params = std::mem::take(&mut self.query.params);
        let logical = statement::plan(&state, &self.query.text, params, session.known.as_deref()).await?;
        let plan = state.create_physical_plan(&logical).await?;
        self.progress.planned(session, Arc::clone(&plan));

        let permits = Arc::clone(&self.progress.shared.permits);
        let _permit = permits.acquire_owned().await.map_err(|_| Error::Cancelled)?;
        self.progress.permitted();
        let rows = execute_stream(plan, state.task_ctx())?;
        if let Some(schema) = self.schema.take() {
            schema.send(Ok(postgres::shown(&rows.schema()))).map_err(|_| Error::Cancelled)?;
        }
        self.send(rows).await
        // The moment lives until here: no file it names is deleted before.
    }

    async fn send(&mut self, mut rows: SendableRecordBatchStream) -> Result<(), Error> {
        while let Some(batch) = rows.next().await.transpose()? {
            self.progress.rows += batch.num_rows();
            let patience = self.query.patience.unwrap_or(self.progress.shared.read_timeout);
            let sent = tokio::time::timeout(patience, self.rows.send(batch)).await;
            sent.map_err(|_| Error::Cancelled)?.map_err(|_| Error::Cancelled)?;
        }
        Ok(())
    }
}

impl Progress {
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
