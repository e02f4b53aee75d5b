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

    /// Ends all that was set for one node, or for all nodes together when there is no `node`.
    pub async fn reset_all(&self, node: Option<&NodeId>) -> Result<(), Error> {
        self.commit(|state| decide_reset_all(state, node)).await
    }
}

fn decide_reset_all(state: &State, node: Option<&NodeId>) -> Decision<()> {
    expect_member(state, node)?;
    let of_node = state.settings.keys().filter(|(_, of)| of.as_ref() == node);
    let reset = |(name, node): &(Arc<str>, Option<NodeId>)| Change::Configure {
        name: Arc::clone(name),
        node: node.clone(),
        value: None,
    };
    Ok((of_node.map(reset).collect(), ()))
}

fn expect_member(state: &State, node: Option<&NodeId>) -> Result<(), Error> {
    match node.filter(|node| state.members().all(|member| member.id != **node)) {
        Some(node) => Err(not_found(node.as_str())),
        None => Ok(()),
    }
}

fn decide_configure(state: &State, name: &str, (node, value): (Option<&NodeId>, Option<&str>)) -> Decision<()> {
    expect_member(state, node)?;
    let key: (Arc<str>, Option<NodeId>) = (name.into(), node.cloned());
    if state.settings.get(&key).map(|value| &**value) == value {
        return Ok((Vec::new(), ()));
    }
    let (name, node) = key;
    Ok((vec![Change::Configure { name, node, value: value.map(Into::into) }], ()))
}
