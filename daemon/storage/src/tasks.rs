//! Every background task and every CPU job: named, counted, awaited at stop.
//!
//! # Promises
//! - A task that panics, or calls `fail`, stops the node: `failed` resolves with the reason.
//! - `stop` asks every task to end and waits for all of them; `kill` ends them where they stand, as a crash would.
//! - What is begun in `jobs` is shown there until it is dropped, however it ends.
//! - A CPU job runs off the I/O threads; at most as many run at once as the pool has threads, counting those whose
//!   callers have gone. Queries that keep these threads busy do not keep it from its turn.
//!
//! # Not here
//! - Limits on queues: they stand beside each queue.

mod jobs;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub use jobs::{About, Job, JobKind, Jobs, Running};

/// A handle; clones start tasks of the same node.
#[derive(Debug, Clone)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tracker: TaskTracker,
    stopping: CancellationToken,
    aborts: Mutex<Vec<tokio::task::AbortHandle>>,
    failed: watch::Sender<Option<String>>,
    cpu: Cpu,
    jobs: Jobs,
}

/// Where CPU jobs run.
#[derive(Debug)]
pub enum Cpu {
    /// At once, in the task that asks: for simulations, which need one order of events.
    Here,
    /// On the blocking threads of `runtime`, `jobs` of them at a time. They queue in tasks of another one: the workers of
    /// the first may be busy with queries for longer than a write may wait.
    Pool { runtime: Handle, queue: Handle, jobs: Arc<Semaphore> },
}

impl Cpu {
    #[must_use]
    pub fn pool(runtime: Handle, queue: Handle, threads: usize) -> Self {
        Self::Pool { runtime, queue, jobs: Arc::new(Semaphore::new(threads)) }
    }
}

impl Tasks {
    #[must_use]
    pub fn new(cpu: Cpu) -> Self {
        Self(Arc::new(Inner {
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            aborts: Mutex::new(Vec::new()),
            failed: watch::Sender::new(None),
            cpu,
            jobs: Jobs::default(),
        }))
    }

    /// Starts a task that lives as long as the node. It should watch `stopping`.
    pub fn start(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.clone();
        // The guard speaks when the task unwinds; a task that returns disarms it.
        let watched = async move {
            let guard = PanicGuard { name, tasks };
            task.await;
            std::mem::forget(guard);
        };
        let handle = self.0.tracker.spawn(watched);
        let mut aborts = self.0.aborts.lock();
        aborts.retain(|a| !a.is_finished());
        aborts.push(handle.abort_handle());
    }

    /// Runs `job` where CPU time may be spent. A panic of the job becomes a panic of the caller.
    pub async fn cpu<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        match &self.0.cpu {
            Cpu::Here => job(),
            Cpu::Pool { runtime, queue, jobs } => {
                let (jobs, threads) = (Arc::clone(jobs), runtime.clone());
                // The queue is a task's: a caller who does something else meanwhile would be given its turn, and not take
                // it, and whoever it waits for might be behind it.
                let queued = queue.spawn(async move {
                    let permit = jobs.acquire_owned().await.expect("the semaphore is never closed");
                    // The job holds the permit: it runs to its end also when nobody waits for it any more.
                    let counted = move || {
                        let _permit = permit;
                        job()
                    };
                    threads.spawn_blocking(counted).await
                });
                match AbortOnDropHandle::new(queued).await.flatten() {
                    Ok(value) => value,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime is going down and with it the process; there is nobody to answer.
                        Err(_) => std::future::pending().await,
                    },
                }
            }
        }
    }

    /// What runs now.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    /// Cancelled once the node begins to stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// Says that the node cannot go on. The first reason is kept.
    pub fn fail(&self, reason: impl Into<String>) {
        self.0.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| reason.into());
            first
        });
    }

    /// Why the node cannot go on, if it cannot.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.failed.borrow().clone()
    }

    /// Waits until the node cannot go on, and says why.
    pub async fn failed(&self) -> String {
        let mut failed = self.0.failed.subscribe();
        let reason = failed.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match reason {
            Ok(reason) => reason.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Asks every task to end and waits until the last has.
    pub async fn stop(&self) {
        self.0.stopping.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    /// Ends every task where it stands.
    pub fn kill(&self) {
        self.0.stopping.cancel();
        for abort in self.0.aborts.lock().drain(..) {
            abort.abort();
        }
    }
}

struct PanicGuard {
    name: &'static str,
    tasks: Tasks,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        // An aborted task is dropped without unwinding: that is `kill`, not a failure.
        if std::thread::panicking() {
            self.tasks.fail(format!("task '{}' panicked", self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_is_in_the_queue_and_does_something_else_meanwhile_holds_up_nobody() {
        let tasks = Tasks::new(Cpu::pool(Handle::current(), Handle::current(), 1));
        let (end, ends) = mpsc::channel::<()>();
        let mut first = Box::pin(tasks.cpu(move || ends.recv().unwrap()));
        let mut queued = Box::pin(tasks.cpu(|| 2));
        tokio::select! {
            biased;
            () = &mut first => panic!("it was not told to end"),
            _ = &mut queued => panic!("there is one thread"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        end.send(()).unwrap();
        first.await;
        // It is the turn of the queued one, which is not looked at.
        let last = tokio::time::timeout(Duration::from_secs(10), tasks.cpu(|| 3)).await;
        assert_eq!((last, queued.await), (Ok(3), 2));
    }

    #[tokio::test]
    async fn a_job_has_its_turn_while_every_worker_is_busy() {
        let busy = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (begin, begun) = mpsc::channel::<()>();
        let (end, ends) = mpsc::channel::<()>();
        busy.spawn(async move {
            begin.send(()).unwrap();
            ends.recv().unwrap();
        });
        begun.recv().unwrap();
        let tasks = Tasks::new(Cpu::pool(busy.handle().clone(), Handle::current(), 1));
        let done = tokio::time::timeout(Duration::from_secs(10), tasks.cpu(|| 1)).await;
        end.send(()).unwrap();
        busy.shutdown_background();
        assert_eq!(done, Ok(1));
    }

    #[tokio::test]
    async fn a_job_nobody_waits_for_any_more_still_counts() {
        let tasks = Tasks::new(Cpu::pool(Handle::current(), Handle::current(), 1));
        let (end, ends) = mpsc::channel::<()>();
        let (begin, begins) = mpsc::channel::<()>();
        let ended = Arc::new(AtomicUsize::new(0));
        let first = {
            let ended = Arc::clone(&ended);
            tasks.cpu(move || {
                begin.send(()).unwrap();
                ends.recv().unwrap();
                ended.fetch_add(1, Ordering::SeqCst);
            })
        };
        tokio::select! {
            () = first => panic!("it was not told to end"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        begins.recv_timeout(Duration::from_secs(10)).expect("the first job runs, and its caller is gone");
        let second = {
            let ended = Arc::clone(&ended);
            tasks.cpu(move || ended.load(Ordering::SeqCst))
        };
        let mut second = std::pin::pin!(second);
        let waited = tokio::time::timeout(Duration::from_millis(50), second.as_mut()).await;
        assert_eq!(waited.ok(), None, "two jobs ran beside each other in a pool of one");
        end.send(()).unwrap();
        assert_eq!(second.await, 1, "the second job began before the first had ended");
    }
}
