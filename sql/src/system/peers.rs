use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::future::BoxFuture;
use storage::bucket::Secret;
use storage::catalog::Node;
use storage::compaction::{Merged, Wanted};
use storage::model::Mode;
use uuid::Uuid;

use super::Cancelled;

/// How the other nodes are asked for what they keep. Implemented over the network by whoever starts the engine.
pub trait Peers: Debug + Send + Sync {
    /// Asks all others that have the mode, or all others, at the same time, for what `token` may read of a table. Whoever does not
    /// answer soon is told of by name; so is one that crashed, until it is started again or removed.
    fn ask(&self, table: &'static str, mode: Option<Mode>, token: Option<Secret>) -> BoxFuture<'static, Vec<Heard>>;

    /// Has all others that answer queries cancel one, at the same time, if `token` may. One whose process may only stand
    /// still is told of too.
    fn cancel(&self, query: Uuid, token: Option<Secret>) -> BoxFuture<'static, Vec<Told<Cancelled>>>;

    /// Has all others read the catalog up to an entry, at the same time. One whose process may only stand still is told of
    /// too.
    fn follow(&self, version: u64, token: Option<Secret>) -> BoxFuture<'static, Vec<Told>>;

    /// Has another node do something, if `token` may, and waits for as long as that node lives. The error is why it may not
    /// be done.
    fn order(&self, node: Arc<Node>, order: Order, token: Option<Secret>)
    -> BoxFuture<'static, Result<Obeyed, String>>;
}

/// What one node is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Put what it holds into files.
    Snapshot,
    /// Merge files; only the compactor does.
    Compact(Wanted),
}

/// What a node says to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obeyed {
    Written,
    Merged(Merged),
    /// It does no such thing (any more), and another one may.
    Elsewhere(String),
}

/// What came of telling one node.
#[derive(Debug)]
pub struct Told<T = bool> {
    pub node_id: String,
    /// The error is why it may not have heard.
    pub outcome: Result<T, String>,
}

impl<T> Told<T> {
    pub(crate) fn complaint(&self) -> Option<String> {
        self.outcome.as_ref().err().map(|reason| format!("{}: {reason}", self.node_id))
    }
}

/// What came of asking one node.
#[derive(Debug)]
pub struct Heard {
    pub node_id: String,
    /// The error is why there are none.
    pub rows: Result<Vec<RecordBatch>, String>,
}
