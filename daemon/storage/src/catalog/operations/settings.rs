//! What an operator sets. Names and values are judged before, by whoever knows what they mean.

use std::sync::Arc;

use super::super::{Change, Error, State};
use super::{Decision, Operator, not_found};
use crate::model::NodeId;

impl Operator<'_> {
    /// Sets a setting of one node, or of all when there is no `node`; no value ends what was set before.
    pub async fn configure(&self, name: &str, node: Option<&NodeId>, value: Option<&str>) -> Result<(), Error> {
        self.commit(|state| decide_configure(state, name, (node, value))).await
    }
}

fn decide_configure(state: &State, name: &str, (node, value): (Option<&NodeId>, Option<&str>)) -> Decision<()> {
    if let Some(node) = node.filter(|node| state.members().all(|member| member.id != **node)) {
        return Err(not_found(node.as_str()));
    }
    let key: (Arc<str>, Option<NodeId>) = (name.into(), node.cloned());
    if state.settings.get(&key).map(|value| &**value) == value {
        return Ok((Vec::new(), ()));
    }
    let (name, node) = key;
    Ok((vec![Change::Configure { name, node, value: value.map(Into::into) }], ()))
}
