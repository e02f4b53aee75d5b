//! What a node does because an operator said so: put its rows into files, merge those of a table.
//!
//! # Promises
//! - `SNAPSHOT` is done when every row that was stored before is in a file (one that was answered unstored may still be on
//!   its way to the log); else the nodes are named that did not say so, and why.
//! - `COMPACT TABLE` reaches whoever has the role of the compactor, also when that moves meanwhile: merging again what was
//!   merged changes nothing, so it is asked again.
//! - Who does not want to wait longer, or is made to wait no longer (`CANCEL QUERY`), is told that it goes on. What a node
//!   has too many of already it refuses at once.

use std::sync::Arc;
use std::time::Duration;

use futures::future;
use parking_lot::Mutex;
use storage::catalog::{Asked, Error, Node, State};
use storage::cluster::Condition;
use storage::compaction::{self, Merged, Orders, Wanted};
use storage::deletes::Deleter;
use storage::model::{ErrorKind, Mode, TimeRange};
use storage::snapshot::Snapshot;

use super::operator::table_id;
use super::{Asker, Done, Operator, TableRef};
use crate::system::{Obeyed, Order};

/// What a node does for operators, as far as its modes have it.
#[derive(Debug, Clone, Default)]
pub struct Hands {
    pub snapshot: Option<Snapshot>,
    pub compaction: Option<Orders>,
    pub deleter: Option<Arc<Deleter>>,
}

/// How it ended that files of a table were to be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    pub table: TableRef,
    pub node: String,
    /// `None` when it goes on.
    pub merged: Option<Merged>,
}

/// How long to wait before the compactor is asked again, or looked for.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long a node is waited for that does not say it has written its rows, unless the asker waits for less. What it has
/// begun it goes on with.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(120);

impl Operator {
    /// Does what this node is told.
    pub async fn obey(&self, order: Order) -> Result<Obeyed, String> {
        let Hands { snapshot, compaction, .. } = &self.hands;
        let node = self.member.node();
        match (order, snapshot, compaction) {
            (Order::Snapshot, Some(snapshot), _) => match snapshot.take().await {
                Ok(()) => Ok(Obeyed::Written),
                Err(error) => Err(error.to_string()),
            },
            (Order::Snapshot, None, _) => Ok(Obeyed::Elsewhere(format!("node {node} takes no writes"))),
            (Order::Compact(wanted), _, Some(orders)) => match orders.give(wanted).await {
                Ok(merged) => Ok(Obeyed::Merged(merged)),
                Err(compaction::Error::SteppedDown(reason)) => Ok(Obeyed::Elsewhere(reason)),
                Err(error) => Err(error.to_string()),
            },
            (Order::Compact(_), _, None) => Ok(Obeyed::Elsewhere(format!("node {node} never compacts"))),
        }
    }

    async fn order(&self, node: &Arc<Node>, (order, asker): (Order, &Asker)) -> Result<Obeyed, String> {
        if node.id == *self.member.node() {
            return self.obey(order).await;
        }
        self.peers.order(Arc::clone(node), order, asker.token.clone()).await
    }

    /// Has one node, or all that have rows outside files, write them.
    pub(super) async fn snapshot(&self, only: Option<&str>, (asker, asked): (&Asker, &Asked)) -> Result<Done, Error> {
        let within = asker.within.unwrap_or(SNAPSHOT_WITHIN).min(SNAPSHOT_WITHIN);
        let writers = self.writers(only).await?;
        self.catalog.by(asked).record().await?;
        let told = writers.into_iter().map(|node| async move {
            let answer = asker.wait(Some(within), self.order(&node, (Order::Snapshot, asker))).await;
            let complaint = match answer {
                Ok(Ok(Obeyed::Written)) => None,
                Ok(Ok(Obeyed::Merged(_))) => Some("it answered something else".to_owned()),
                Ok(Ok(Obeyed::Elsewhere(reason)) | Err(reason)) => Some(reason),
                Err(until) => Some(format!("it has not written its rows {until}, and goes on")),
            };
            (node.id.to_string(), complaint)
        });
        let answers = future::join_all(told).await;
        let silent: Vec<String> =
            answers.iter().filter_map(|(node, why)| Some(format!("{node} ({})", why.as_ref()?))).collect();
        let written = answers.into_iter().filter(|(_, why)| why.is_none()).map(|(node, _)| node);
        // Whoever asks this node next sees what the others did.
        self.catalog.refresh().await?;
        if silent.is_empty() {
            return Ok(Done::Written(written.collect()));
        }
        let written: Vec<String> = written.collect();
        let written = if written.is_empty() { "none".to_owned() } else { written.join(", ") };
        let message = format!("not all rows are in files: {}; nodes that wrote theirs: {written}", silent.join("; "));
        Err(Error::Unavailable(message))
    }

    /// The nodes that may have rows outside files.
    async fn writers(&self, only: Option<&str>) -> Result<Vec<Arc<Node>>, Error> {
        if let Some(only) = only {
            let (node, condition) = self.node(only).await?;
            return match condition {
                _ if !node.description.modes.has(Mode::Ingest) => {
                    let message = format!("node '{only}' takes no writes (mode: {})", node.description.modes);
                    Err(Error::refused(ErrorKind::Invalid, message))
                }
                Condition::Stopped | Condition::Removed => Err(Error::refused(
                    ErrorKind::Invalid,
                    format!("node '{only}' is stopped, and its rows are in files"),
                )),
                Condition::Lost | Condition::Joining | Condition::Running | Condition::Stopping => Ok(vec![node]),
            };
        }
        let state = self.catalog.refresh().await?;
        let writers = state.members().filter(|node| !node.sealed && node.description.modes.has(Mode::Ingest));
        Ok(writers.cloned().collect())
    }

    /// Has the compactor merge files of a table that have rows of this time.
    pub(super) async fn compact(
        &self,
        (table, range): (&TableRef, TimeRange),
        (asker, recorded): (&Asker, &Asked),
    ) -> Result<Done, Error> {
        let state = self.catalog.refresh().await?;
        let wanted = Wanted { table: table_id(&state, table)?, range };
        self.catalog.by(recorded).record().await?;
        let asked = Mutex::new(None);
        let compacting = self.compact_wherever((wanted, asker), &asked);
        let merged = asker.wait(asker.within, compacting).await.ok().transpose()?;
        match asked.into_inner() {
            Some(node) if merged.is_some() || self.member.lives().condition(&node) == Condition::Running => {
                Ok(Done::Compacted(Compacted { table: table.clone(), node: node.id.to_string(), merged }))
            }
            _ => Err(Error::Unavailable("no node that compacts has answered so far; ask again".to_owned())),
        }
    }

    /// Asks whoever compacts, until one says that it is done. `asked` is who was asked last, while it owes an answer or has
    /// given it.
    async fn compact_wherever(
        &self,
        (wanted, asker): (Wanted, &Asker),
        asked: &Mutex<Option<Arc<Node>>>,
    ) -> Result<Merged, Error> {
        loop {
            *asked.lock() = None;
            let state = self.catalog.refresh().await?;
            let Some(holder) = state.compactor_node() else {
                self.expect_a_compactor(&state).await?;
                tokio::time::sleep(ASK_AGAIN).await;
                continue;
            };
            *asked.lock() = Some(Arc::clone(holder));
            match self.order(holder, (Order::Compact(wanted), asker)).await {
                Ok(Obeyed::Merged(merged)) => {
                    // Whoever asks this node next sees it.
                    self.catalog.refresh().await?;
                    return Ok(merged);
                }
                Ok(Obeyed::Written | Obeyed::Elsewhere(_)) => self.expect_a_compactor(&state).await?,
                Err(reason) => {
                    // One that died, or stands still, is followed by another.
                    let is_over = self.catalog.refresh().await?.compactor != state.compactor;
                    self.member.observe(Duration::ZERO).await;
                    if !is_over && self.member.lives().condition(holder) == Condition::Running {
                        let message = format!("node {} did not merge all that was asked for: {reason}", holder.id);
                        return Err(Error::Unavailable(message));
                    }
                    self.expect_a_compactor(&state).await?;
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Nobody waits for a compactor in a cluster where none can come.
    async fn expect_a_compactor(&self, state: &State) -> Result<(), Error> {
        self.member.observe(Duration::ZERO).await;
        let lives = |node: &Arc<Node>| {
            let condition = self.member.lives().condition(node);
            node.description.modes.has(Mode::Compact)
                && matches!(condition, Condition::Running | Condition::Joining | Condition::Stopping)
        };
        if state.members().any(lives) {
            return Ok(());
        }
        Err(Error::Unavailable(format!("no live node with mode '{}'", Mode::Compact)))
    }
}
