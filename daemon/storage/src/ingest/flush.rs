//! The one flusher: gathers what waits into groups, stores each group as one WAL object, applies it, answers.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Config, Error, Metrics, Waiting, group};
use crate::apply::Apply;
use crate::clock::Clock;
use crate::model::Position;
use crate::tasks::Tasks;
use crate::wal::{self, Writer};

/// Rows of a group take the fields of all of them, set or not, so a wide request makes those beside it wide too. What
/// would bring a group over so many cells begins the next one. A request alone may have more, up to its own limit.
const GROUP_CELLS_MAX: usize = 8 << 20;

/// How far the log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// The newest object stored and applied.
    pub position: Position,
    /// Flush intervals in which at least one object was stored, since the start.
    pub periods: u64,
    /// Whether the flusher ended in order: everything it stored was applied, and nothing more will come.
    pub is_complete: bool,
}

impl Flushed {
    pub(super) fn nothing_yet(writer: &Writer) -> Self {
        Self { position: writer.last_position(), periods: 0, is_complete: false }
    }
}

pub(super) struct Flusher {
    pub(super) config: Arc<Config>,
    pub(super) writer: Writer,
    pub(super) apply: Apply,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) metrics: Metrics,
    pub(super) flushed: watch::Sender<Flushed>,
    /// A request that did not fit into the last group and begins the next.
    pub(super) put_off: Option<Waiting>,
}

impl Flusher {
    /// Runs until the node stops and everything that waited is stored, or until the log is lost to another process.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let stopping = self.tasks.stopping();
        let mut period_ends = self.clock.instant();
        loop {
            let first = match self.put_off.take() {
                Some(first) => Some(first),
                None => tokio::select! {
                    biased;
                    // Cancel-safe: a received write is returned at once or stays in the channel.
                    first = waiting.recv() => first,
                    // Dropped without effect.
                    () = stopping.cancelled() => {
                        // From here on nobody can join; what is in the queue still is stored.
                        waiting.close();
                        waiting.recv().await
                    }
                },
            };
            let Some(first) = first else {
                self.flushed.send_modify(|flushed| flushed.is_complete = true);
                return;
            };
            let group = self.gather(first, &mut waiting).await;
            if let Err(error) = self.flush(group, &mut period_ends).await {
                self.tasks.fail(error.to_string());
                return;
            }
        }
    }

    /// What is stored together with `first`: all that waits already, up to the limit of a group. Only while nobody
    /// waits for an answer does the group wait for company.
    async fn gather(&mut self, first: Waiting, waiting: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
        let deadline = self.clock.instant() + self.config.flush_interval.get();
        let stopping = self.tasks.stopping();
        let mut bytes = first.held.bytes;
        let mut cells = group::Cells::default();
        cells.add(&first.tables);
        let mut group = vec![first];
        while bytes < self.config.group_bytes_max && cells.count() < GROUP_CELLS_MAX {
            let next = match waiting.try_recv() {
                Ok(next) => next,
                Err(_) if group.iter().any(|w| w.answer.is_some()) => break,
                Err(_) => tokio::select! {
                    biased;
                    // Cancel-safe, as above.
                    next = waiting.recv() => match next {
                        Some(next) => next,
                        None => break,
                    },
                    () = tokio::time::sleep_until(deadline) => break,
                    () = stopping.cancelled() => break,
                },
            };
            cells.add(&next.tables);
            if cells.count() > GROUP_CELLS_MAX {
                self.put_off = Some(next);
                break;
            }
            bytes += next.held.bytes;
            group.push(next);
        }
        group
    }

    async fn flush(&mut self, group: Vec<Waiting>, period_ends: &mut Instant) -> Result<(), wal::Error> {
        let started = self.clock.instant();
        let mut tables = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for Waiting { tables: rows, held, answer } in group {
            tables.extend(rows);
            answers.push((answer, held));
        }
        let tables = self.tasks.cpu(move || group::unite(tables)).await;
        let committed = match self.writer.append(tables).await {
            Ok(committed) => committed,
            Err(error) => {
                for answer in answers.into_iter().filter_map(|(answer, _)| answer) {
                    // A writer who stopped waiting does not need the answer.
                    let _ = answer.send(Err(lost(&error)));
                }
                return match error {
                    // Nothing was stored and the number is free, so the log goes on without this group.
                    wal::Error::TooLarge { .. } => {
                        tracing::error!(%error, "a group of writes is refused");
                        Ok(())
                    }
                    error => Err(error),
                };
            }
        };
        let position = committed.position;
        self.apply.apply(committed);
        let stored = self.writer.mark(position);
        for answer in answers.into_iter().filter_map(|(answer, _)| answer) {
            let _ = answer.send(Ok(stored.clone()));
        }
        let now = self.clock.instant();
        self.metrics.wal_put_seconds.observe((now - started).as_secs_f64());
        let new_period = now >= *period_ends;
        if new_period {
            *period_ends = now + self.config.flush_interval.get();
        }
        self.flushed.send_modify(|flushed| {
            flushed.position = position;
            flushed.periods += u64::from(new_period);
        });
        Ok(())
    }
}

fn lost(error: &wal::Error) -> Error {
    match error {
        wal::Error::Fenced { .. } => Error::Fenced(error.to_string()),
        wal::Error::TooLarge { .. } => Error::TooLarge(error.to_string()),
        wal::Error::Bucket(_) | wal::Error::Catalog(_) => Error::Unknown(error.to_string()),
    }
}
