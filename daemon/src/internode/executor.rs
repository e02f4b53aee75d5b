//! What HTTP/2 runs beside us runs as tasks of the node.

use hyper::rt::Executor;
use storage::tasks::Tasks;

/// Whatever it starts ends with the node, is waited for at the stop, and stops the node when it panics.
#[derive(Debug, Clone)]
pub(super) struct NodeTasks {
    name: &'static str,
    tasks: Tasks,
}

impl NodeTasks {
    pub(super) fn new(name: &'static str, tasks: Tasks) -> Self {
        Self { name, tasks }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for NodeTasks {
    fn execute(&self, future: F) {
        let stopping = self.tasks.stopping();
        self.tasks.start(self.name, async move {
            tokio::select! {
                biased;
                // Whoever follows goes on with the store.
                () = stopping.cancelled() => {}
                _ = future => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use storage::tasks::Cpu;

    use super::*;

    #[tokio::test]
    async fn a_stop_ends_what_was_started_and_waits_for_it() {
        let tasks = Tasks::new(Cpu::Here);
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        NodeTasks::new("a line", tasks.clone()).execute(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        tasks.stop().await;
        assert_eq!(dropped.now_or_never().map(|end| end.is_err()), Some(true), "it still runs");
    }

    #[tokio::test]
    async fn a_panic_stops_the_node() {
        let tasks = Tasks::new(Cpu::Here);
        NodeTasks::new("a line", tasks.clone()).execute(async { panic!("a panic of a test") });
        assert!(tasks.failed().await.contains("a line"));
    }
}
