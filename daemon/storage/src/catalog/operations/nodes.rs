//! What an operator does to nodes. Whether a process lives is judged before, by heartbeats; see `cluster`.

use super::super::{Change, Error, State};
use super::{Decision, Operator, not_found};
use crate::model::{Epoch, ErrorKind, NodeId};

impl Operator<'_> {
    /// Asks the process of `epoch` of a node to leave in order, and none that was started since. Asking again changes
    /// nothing.
    pub async fn stop_node(&self, node: &NodeId, epoch: Epoch) -> Result<(), Error> {
        self.commit(|state| decide_stop_node(state, node, epoch)).await
    }

    /// Takes a node out of the cluster whose process of `epoch` is gone.
    pub async fn remove_node(&self, node: &NodeId, epoch: Epoch) -> Result<(), Error> {
        let at_ms = self.now_ms();
        self.commit(|state| decide_remove_node(state, node, (epoch, at_ms))).await
    }
}

fn decide_stop_node(state: &State, id: &NodeId, epoch: Epoch) -> Decision<()> {
    let node = state.members().find(|node| node.id == *id).ok_or_else(|| not_found(id.as_str()))?;
    if node.epoch != epoch {
        let message = format!("node '{id}' was started again meanwhile: the new process is not stopped");
        return Err(Error::refused(ErrorKind::Conflict, message));
    }
    let change = (!node.stopping).then(|| Change::StopNode { node: id.clone(), epoch });
    Ok((change.into_iter().collect(), ()))
}

fn decide_remove_node(state: &State, id: &NodeId, (epoch, at_ms): (Epoch, u64)) -> Decision<()> {
    let node = state.members().find(|node| node.id == *id).ok_or_else(|| not_found(id.as_str()))?;
    if node.epoch != epoch || !node.sealed {
        let message = format!("node '{id}' was started again, or has rows outside files: it is not removed");
        return Err(Error::refused(ErrorKind::Conflict, message));
    }
    Ok((vec![Change::RemoveNode { node: id.clone(), at_ms }], ()))
}
