//! Changes of nodes: who owns a WAL, and how far it is in files.

use std::sync::Arc;

use super::{Outcome, all_differ};
use crate::catalog::{Change, Compactor, Description, Node, State};
use crate::model::{Epoch, NodeId, Position, Stamp};

impl State {
    /// Takes a node in. Said again of a known node, it may only bring another number of cores; of one that was removed,
    /// it is a new node whose log goes on where the old one ended.
    pub(super) fn register_node(&mut self, change: &Change) -> Outcome {
        let Change::RegisterNode { node: id, instance, writer, core_count, at_ms } = change else {
            return Err("not the registration of a node".into());
        };
        let is_new = self.nodes.get(id).is_none_or(|known| known.removed_at_ms.is_some());
        if is_new && !self.is_free(*writer) {
            return Err(format!("writer slot {} cannot be given to node {id}, it belongs to another", writer.slot()));
        }
        if let Some(known) = self.nodes.get_mut(id) {
            let known = Arc::make_mut(known);
            if known.removed_at_ms.take().is_some() {
                (known.instance, known.writer) = (*instance, *writer);
                (known.registered_at_ms, known.description) = (*at_ms, Description::default());
            }
            if known.instance != *instance || known.writer != *writer {
                return Err(format!("node {id} is registered with another instance or writer slot"));
            }
            known.core_count = *core_count;
            return Ok(());
        }
        let node = Node {
            id: id.clone(),
            instance: *instance,
            writer: *writer,
            epoch: Epoch(0),
            process: 0,
            persisted: Position(0),
            persisted_epoch: Epoch(0),
            persisted_stamp: Stamp::SETTLED,
            // It has written nothing, so nothing of it is outside files.
            sealed: true,
            registered_at_ms: *at_ms,
            core_count: *core_count,
            description: Description::default(),
            stopping: false,
            removed_at_ms: None,
        };
        self.nodes.insert(id.clone(), Arc::new(node));
        Ok(())
    }

    pub(super) fn open_epoch(&mut self, id: &NodeId, epoch: Epoch, process: u128) -> Outcome {
        let settled = self.settled().max(self.deleted_stamp);
        let node = self.member_mut(id)?;
        if node.epoch.0.checked_add(1) != Some(epoch.0) {
            return Err(format!("epoch {epoch} of node {id} does not follow epoch {}", node.epoch));
        }
        if node.sealed {
            // Whatever it writes now must be newer than what everybody already takes for settled, or for deleted.
            node.persisted_stamp = node.persisted_stamp.max(settled);
            node.persisted_epoch = epoch;
        }
        node.epoch = epoch;
        node.process = process;
        (node.sealed, node.stopping) = (false, false);
        Ok(())
    }

    pub(super) fn describe_node(&mut self, id: &NodeId, epoch: Epoch, description: &Description) -> Outcome {
        self.newest_mut(id, epoch)?.description = description.clone();
        Ok(())
    }

    pub(super) fn stop_node(&mut self, id: &NodeId, epoch: Epoch) -> Outcome {
        self.newest_mut(id, epoch)?.stopping = true;
        Ok(())
    }

    pub(super) fn remove_node(&mut self, id: &NodeId, at_ms: u64) -> Outcome {
        let node = self.member_mut(id)?;
        if !node.sealed {
            return Err(format!("node {id} may have rows outside files"));
        }
        node.removed_at_ms = Some(at_ms);
        self.settings.retain(|(_, node), _| node.as_ref() != Some(id));
        Ok(())
    }

    pub(super) fn take_compactor(&mut self, id: &NodeId, epoch: Epoch, term: u64) -> Outcome {
        self.newest_mut(id, epoch)?;
        if self.compactor.term.checked_add(1) != Some(term) {
            return Err(format!("term {term} of the compactor does not follow term {}", self.compactor.term));
        }
        self.compactor = Compactor { term, holder: Some((id.clone(), epoch)) };
        Ok(())
    }

    pub(super) fn leave_compactor(&mut self, id: &NodeId, term: u64) -> Outcome {
        if self.compactor.term != term || self.compactor.holder.as_ref().is_none_or(|(holder, _)| holder != id) {
            return Err(format!("node {id} is not the compactor of term {term}"));
        }
        self.compactor.holder = None;
        Ok(())
    }

    pub(super) fn persist(&mut self, change: &Change) -> Outcome {
        let Change::Persist { node: id, epoch, persisted, persisted_epoch, stamp, files } = change else {
            return Err("not the end of a snapshot".into());
        };
        let node = self.owned_mut(id, *epoch)?;
        if *persisted < node.persisted || *stamp < node.persisted_stamp {
            let (was, was_stamp) = (node.persisted, node.persisted_stamp);
            return Err(format!(
                "node {id} has persisted {was} with stamp {was_stamp}, {persisted} with {stamp} is less"
            ));
        }
        if *persisted_epoch < node.persisted_epoch || *persisted_epoch > node.epoch {
            let (was, newest) = (node.persisted_epoch, node.epoch);
            return Err(format!("node {id} cannot go on in epoch {persisted_epoch}, only in {was} to {newest}"));
        }
        if let Some(file) = files.iter().find(|file| file.stamp_max > *stamp) {
            return Err(format!("file {} holds stamp {}, above {stamp}", file.id, file.stamp_max));
        }
        node.persisted = *persisted;
        node.persisted_epoch = *persisted_epoch;
        node.persisted_stamp = *stamp;
        self.add_snapshot_files(files)
    }

    pub(super) fn close_epoch(&mut self, id: &NodeId, epoch: Epoch) -> Outcome {
        self.owned_mut(id, epoch)?.sealed = true;
        Ok(())
    }

    fn node_mut(&mut self, id: &NodeId) -> Result<&mut Node, String> {
        self.nodes.get_mut(id).map(Arc::make_mut).ok_or_else(|| format!("node {id} does not exist"))
    }

    pub(super) fn member_mut(&mut self, id: &NodeId) -> Result<&mut Node, String> {
        let node = self.node_mut(id)?;
        if node.removed_at_ms.is_some() { Err(format!("node {id} was removed")) } else { Ok(node) }
    }

    /// The node, when `epoch` is its newest.
    fn newest_mut(&mut self, id: &NodeId, epoch: Epoch) -> Result<&mut Node, String> {
        let node = self.member_mut(id)?;
        if node.epoch == epoch {
            Ok(node)
        } else {
            Err(format!("epoch {epoch} of node {id} is not the newest, which is {}", node.epoch))
        }
    }

    /// The node, when `epoch` is its newest and is open.
    fn owned_mut(&mut self, id: &NodeId, epoch: Epoch) -> Result<&mut Node, String> {
        let node = self.newest_mut(id, epoch)?;
        if node.sealed {
            return Err(format!("epoch {epoch} of node {id} is closed"));
        }
        Ok(node)
    }

    pub(super) fn check_nodes(&self) -> Outcome {
        all_differ("writer slot", self.members().map(|n| n.writer.slot()))?;
        if let Some(node) = self.nodes.values().find(|node| node.removed_at_ms.is_some() && !node.sealed) {
            return Err(format!("node {} was removed and is not sealed", node.id));
        }
        match self.nodes.iter().find(|(id, node)| **id != node.id || node.persisted_epoch > node.epoch) {
            Some((id, _)) => Err(format!("node {id} is not where it belongs, or ahead of its epoch")),
            None => Ok(()),
        }
    }
}
