//! Figures of a thread pool that runs async tasks: its workers, how busy they are, what waits for them.
//!
//! # Promises
//! - Figures of several pools stand side by side, told apart by the label `runtime`.
//! - Only figures that tokio promises to keep are shown.
//!
//! # Not here
//! - Starting pools and naming their threads.

use tokio::runtime::Handle;

use crate::registry::{Counter, Registry};

/// Shows the figures of the pool behind `handle` under `name` from now on.
pub fn register(registry: &Registry, name: &str, handle: Handle) {
    let gauge = |metric: &str, help: &str| registry.gauge_vec(metric, help, &["runtime"]).with(&[name]);
    let alive = gauge("tokio_runtime_num_alive_tasks", "Tasks that have started and not ended.");
    let queued = gauge("tokio_runtime_global_queue_depth", "Tasks that wait for any worker.");
    let metrics = handle.metrics();
    gauge("tokio_runtime_num_workers", "Worker threads.").set(metrics.num_workers() as f64);
    let workers: Vec<Worker> = (0..metrics.num_workers()).map(|w| Worker::new(registry, name, w)).collect();
    registry.on_scrape(move || {
        let metrics = handle.metrics();
        alive.set(metrics.num_alive_tasks() as f64);
        queued.set(metrics.global_queue_depth() as f64);
        for worker in &workers {
            worker.busy.raise_to(metrics.worker_total_busy_duration(worker.number).as_secs_f64());
            worker.parked.raise_to(metrics.worker_park_count(worker.number) as f64);
        }
    });
}

struct Worker {
    number: usize,
    busy: Counter,
    parked: Counter,
}

impl Worker {
    fn new(registry: &Registry, runtime: &str, number: usize) -> Self {
        let worker = number.to_string();
        let counter = |metric: &str, help: &str| {
            registry.counter_vec(metric, help, &["runtime", "worker"]).with(&[runtime, &worker])
        };
        Self {
            number,
            busy: counter("tokio_worker_total_busy_duration_seconds_total", "Time the worker ran tasks."),
            parked: counter("tokio_worker_park_count_total", "How often the worker had nothing to do and slept."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pools_stand_side_by_side() {
        let pool = |workers| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).build().expect("the pool can be built")
        };
        let (io, query) = (pool(1), pool(2));
        let registry = Registry::new();
        register(&registry, "io", io.handle().clone());
        register(&registry, "query", query.handle().clone());
        query.block_on(query.spawn(async {})).expect("the task ends well");
        let text = registry.text();
        for line in [
            "tokio_runtime_num_workers{runtime=\"io\"} 1\n",
            "tokio_runtime_num_workers{runtime=\"query\"} 2\n",
            "tokio_worker_park_count_total{runtime=\"query\",worker=\"1\"} ",
            "tokio_worker_total_busy_duration_seconds_total{runtime=\"io\",worker=\"0\"} ",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
