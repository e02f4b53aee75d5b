//! The log of the catalog as a whole, read by somebody who was never asleep: who compacted, and who had the role.
//!
//! # Promises
//! - Every publication of a compaction whose author is known comes from the process that had the role by the entries
//!   before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use serde_json::Value;
use storage::bucket::{Bucket, Keys};
use storage::clock::Clock;
use storage::compaction::{EventKind, Events};
use storage::model::NodeId;

use crate::node::Process;

/// A process, and what compaction did in it.
pub(crate) struct Worker {
    id: &'static str,
    epoch: u64,
    pub(crate) events: Arc<Events>,
}

impl Worker {
    pub(crate) fn of(process: &Process) -> Self {
        let state = process.node.catalog.state();
        let epoch = state.nodes.values().find(|node| node.id.as_str() == process.id).map_or(0, |node| node.epoch.0);
        Self { id: process.id, epoch: epoch.into(), events: Arc::clone(&process.node.insight.events) }
    }

    /// The files it knows to have published.
    fn files(&self) -> Vec<String> {
        let consumed = self.events.all().into_iter().filter(|event| event.kind == EventKind::Consumed);
        let data = consumed.map(|event| serde_json::from_str::<Value>(&event.data).expect("data is JSON"));
        data.flat_map(|data| texts(&data["new_generations"])).collect()
    }
}

/// How often the role was taken, how often a process opened an epoch of another node, and how many publications were
/// checked.
pub(crate) async fn check(shared: &Arc<InMemory>, workers: &[Worker]) -> Result<(u64, u64, u64), String> {
    let authors: BTreeMap<String, &Worker> =
        workers.iter().flat_map(|worker| worker.files().into_iter().map(move |file| (file, worker))).collect();
    let (mut terms, mut adoptions, mut published) = (0, 0, 0);
    let mut holder: Option<(String, u64)> = None;
    let mut processes: BTreeMap<String, String> = BTreeMap::new();
    for (number, change) in changes(shared).await {
        let text = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
        match text("change").as_str() {
            "take_compactor" => {
                terms += 1;
                holder = Some((text("node"), change["epoch"].as_u64().unwrap_or_default()));
            }
            "leave_compactor" => holder = None,
            "open_epoch" => {
                let (node, process) = (text("node"), text("process"));
                adoptions += u64::from(processes.iter().any(|(other, known)| *other != node && *known == process));
                processes.insert(node, process);
            }
            "replace_files" => {
                let author = file_ids(&change["added"]).find_map(|file| authors.get(&file));
                let Some(Worker { id, epoch, .. }) = author else { continue };
                published += 1;
                if holder.as_ref().is_none_or(|(node, of)| node != id || of != epoch) {
                    return Err(format!(
                        "entry {number} is a publication by node {id} of epoch {epoch}, the compactor was {holder:?}"
                    ));
                }
            }
            _ => {}
        }
    }
    Ok((terms, adoptions, published))
}

/// All changes, each with the number of its entry.
async fn changes(shared: &Arc<InMemory>) -> Vec<(u64, Value)> {
    let keys = Keys::new(NodeId::new("c").expect("a good name"));
    let bucket = Bucket::new(Arc::clone(shared) as _, keys, Clock::simulated(0, 0));
    let mut changes = Vec::new();
    for number in 1.. {
        let frame = bucket.find_frame(&bucket.keys().catalog_entry(number)).await.expect("the store is well");
        let Some(frame) = frame else { break };
        let entry: Value = serde_json::from_slice(&frame.payload).expect("an entry is JSON");
        changes.extend(entry["changes"].as_array().into_iter().flatten().map(|change| (number, change.clone())));
    }
    changes
}

fn file_ids(files: &Value) -> impl Iterator<Item = String> {
    files.as_array().into_iter().flatten().map(|file| file["id"].as_str().unwrap_or_default().to_owned())
}

fn texts(values: &Value) -> Vec<String> {
    values.as_array().into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}
