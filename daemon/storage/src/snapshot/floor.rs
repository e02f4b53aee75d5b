//! The empty snapshot of an idle writer, so that it does not hold back the settled stamp.
//!
//! # Promises
//! - When this writer has nothing outside files and is the one whose stamp holds back what others have persisted, or a
//!   delete that waits until all rows before it are in files, an entry without files raises its persisted stamp to theirs,
//!   and it stamps above that from then on.
//! - Nothing is raised beyond that, so nodes that are all idle come to rest: no entry, no request.

use std::sync::Arc;
use std::time::Duration;

use super::Parts;
use crate::catalog::{self, Catalog, Change, State};
use crate::clock::Clock;
use crate::model::{Epoch, ErrorKind, NodeId, Stamp};
use crate::tasks::Tasks;
use crate::wal::StampFloor;

/// How often this writer looks whether it holds others back, and the shortest time between two entries that say it no
/// longer does. A look costs no request.
const LOOK_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Floor {
    catalog: Arc<Catalog>,
    clock: Clock,
    tasks: Tasks,
    node: NodeId,
    epoch: Epoch,
    stamps: StampFloor,
}

impl Floor {
    pub(super) fn start(parts: &Parts) {
        let floor = Self {
            catalog: Arc::clone(&parts.catalog),
            clock: parts.clock.clone(),
            tasks: parts.tasks.clone(),
            node: parts.node.clone(),
            epoch: parts.epoch,
            stamps: parts.stamps.clone(),
        };
        parts.tasks.start("stamp floor", floor.run());
    }

    async fn run(self) {
        let stopping = self.tasks.stopping();
        loop {
            tokio::select! {
                biased;
                // Both are timers or flags; nothing is lost when one is dropped.
                () = stopping.cancelled() => return,
                () = self.clock.sleep(LOOK_EVERY) => {}
            }
            if held_back(&self.catalog.state(), &self.node, self.epoch).is_none() {
                continue;
            }
            match self.raise().await {
                Ok(()) => {}
                // The epoch went to another process, or was closed by our own stop: others say what follows.
                Err(error) if error.kind() == ErrorKind::Conflict => return,
                Err(error) => tracing::warn!(%error, "could not raise the stamp of an idle writer, trying again"),
            }
        }
    }

    async fn raise(&self) -> Result<(), catalog::Error> {
        let decide = |state: &State| {
            let Some(stamp) = held_back(state, &self.node, self.epoch) else { return Ok((Vec::new(), ())) };
            let own = state.nodes.get(&self.node).expect("it holds back the others");
            // Promised before the entry says so: an object stamped in between is above the floor already.
            if !self.stamps.raise(own.persisted, stamp) {
                return Ok((Vec::new(), ()));
            }
            let change = Change::Persist {
                node: self.node.clone(),
                epoch: self.epoch,
                persisted: own.persisted,
                persisted_epoch: own.persisted_epoch,
                stamp,
                files: Vec::new(),
            };
            Ok((vec![change], ()))
        };
        self.catalog.commit(decide).await
    }
}

/// The newest stamp others have persisted, or of a delete, when the settled stamp is below it because of this writer.
fn held_back(state: &State, node: &NodeId, epoch: Epoch) -> Option<Stamp> {
    let own = state.nodes.get(node).filter(|own| own.epoch == epoch && !own.sealed)?;
    let others = state.nodes.values().filter(|other| other.id != own.id).map(|other| other.persisted_stamp);
    let deletes = state.tables.values().flat_map(|table| &table.deletes).map(|delete| delete.stamp);
    let newest = others.chain(deletes).max()?;
    (own.persisted_stamp == state.settled() && own.persisted_stamp < newest).then_some(newest)
}
