//! What compaction did, newest last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::Error;
use super::plan::Plan;
use crate::catalog::{State, Table};
use crate::model::{DatabaseId, FileRecord};

/// Older events are forgotten,
const EVENTS_MAX: usize = 10_000;

/// also when all together take more than this.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// The events of this process.
#[derive(Debug, Default)]
pub struct Events(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    events: VecDeque<Arc<Event>>,
    /// Of the data of all of them.
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it ended, nanoseconds since the Unix epoch.
    pub at_ns: i64,
    /// Whose rows were merged.
    pub database: DatabaseId,
    pub kind: EventKind,
    pub took: Duration,
    pub status: Status,
    /// A JSON object.
    pub data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Planned,
    Ran,
    Consumed,
}

impl EventKind {
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Planned => "compaction_planned",
            Self::Ran => "plan_run_completed",
            Self::Consumed => "compaction_consumed",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Success,
    Failed,
}

impl Status {
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

impl Events {
    pub(super) fn push(&self, event: Event) {
        let mut remembered = self.0.lock();
        remembered.bytes += event.data.len();
        remembered.events.push_back(Arc::new(event));
        while remembered.events.len() > EVENTS_MAX || remembered.bytes > EVENT_BYTES_MAX {
            let Some(oldest) = remembered.events.pop_front() else { break };
            remembered.bytes -= oldest.data.len();
        }
    }

    /// All that are remembered, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Event>> {
        self.0.lock().events.iter().cloned().collect()
    }
}

/// What all events of one plan have in common.
pub(super) struct About {
    id: DatabaseId,
    pub(super) database: Arc<str>,
    table: Arc<str>,
    pub(super) inputs: Vec<Arc<FileRecord>>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    level: u8,
    left_over: usize,
}

impl About {
    pub(super) fn of(state: &State, table: &Table, plan: &Plan) -> Self {
        let database = state.databases.get(&table.database).map_or_else(|| "".into(), |d| Arc::clone(&d.name));
        let snapshots = |files: &mut dyn Iterator<Item = &Arc<FileRecord>>| files.filter(|f| f.level == 1).count();
        let taken = snapshots(&mut plan.inputs.iter());
        Self {
            id: table.database,
            database,
            table: Arc::clone(&table.schema.name),
            rows: plan.inputs.iter().map(|f| f.rows).sum(),
            bytes: plan.inputs.iter().map(|f| f.size_bytes).sum(),
            inputs: plan.inputs.clone(),
            level: plan.slices.iter().map(|slice| slice.window.level).max().unwrap_or(0),
            left_over: snapshots(&mut table.files.values()).saturating_sub(taken),
        }
    }

    pub(super) fn planned(&self, at_ns: i64) -> Event {
        let Self { database, table, inputs, level, left_over, .. } = self;
        let paths: Vec<&str> = inputs.iter().map(|f| &*f.path).collect();
        let data = json!({
            "input_generations": levels(inputs), "input_paths": paths, "output_level": level,
            "db_name": &**database, "table_name": &**table, "left_over_gen1_files": left_over,
        });
        self.event((EventKind::Planned, at_ns), Duration::ZERO, &data)
    }

    pub(super) fn ran(&self, at_ns: i64, took: Duration, result: &Result<Vec<Arc<FileRecord>>, Error>) -> Event {
        let Self { database, table, inputs, level, left_over, .. } = self;
        match result {
            Ok(added) => {
                let data = json!({
                    "input_generations": levels(inputs), "input_files": inputs.len(), "output_files": added.len(),
                    "output_level": level, "db_name": &**database, "table_name": &**table,
                    "left_over_gen1_files": left_over,
                });
                self.event((EventKind::Ran, at_ns), took, &data)
            }
            Err(error) => {
                let identifier = json!({
                    "db_name": &**database, "table_name": &**table, "output_generation": level,
                });
                let data = json!({ "error": error.to_string(), "identifier": identifier });
                Event { status: Status::Failed, ..self.event((EventKind::Ran, at_ns), took, &data) }
            }
        }
    }

    /// The new files are in the catalog, and every node reads them from its next look on.
    pub(super) fn consumed(&self, at_ns: i64, added: &[Arc<FileRecord>]) -> Event {
        let Self { database, table, inputs, .. } = self;
        let ids = |files: &[Arc<FileRecord>]| files.iter().map(|f| f.id.to_string()).collect::<Vec<_>>();
        let data = json!({
            "db_name": &**database, "table_name": &**table, "new_generations": ids(added),
            "removed_generations": ids(inputs),
        });
        self.event((EventKind::Consumed, at_ns), Duration::ZERO, &data)
    }

    fn event(&self, (kind, at_ns): (EventKind, i64), took: Duration, data: &serde_json::Value) -> Event {
        Event { at_ns, database: self.id, kind, took, status: Status::Success, data: data.to_string() }
    }
}

fn levels(files: &[Arc<FileRecord>]) -> Vec<u8> {
    files.iter().map(|f| f.level).collect()
}
