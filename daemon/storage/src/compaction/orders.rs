//! What operators want merged at once.
//!
//! # Promises
//! - An order that was taken is carried out, whether or not who gave it still waits, unless the node stops or loses the
//!   role: then nobody is told that it was done. One that finds too many others waiting is refused at once.
//! - Done means: in the catalog, and that of the files there were when the order began nothing is left that a merge would
//!   better. What came meanwhile waits for the next look, so an order ends however fast others write and delete.
//! - A file that cannot be read keeps nothing of the order from being merged but what overlaps it; then the answer is its
//!   error. The next order for its time tries it again.
//!
//! # Why
//! Rows that come after the order began have stamps above the one that was settled then, since every writer that is not
//! sealed had persisted all up to it. So with that stamp the files there were stay closed under overlap for themselves,
//! unless another compactor parts them: therefore an order does not outlast the term it began in.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::plan::Begun;
use super::{Compactor, Error, is_alive};
use crate::catalog::{State, Table};
use crate::model::{FileId, TableId, TimeRange};

/// Orders that may wait at one time.
const WAITING_MAX: usize = 64;

/// Which rows of which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub table: TableId,
    pub range: TimeRange,
}

/// What came of an order: how many files had rows of its time, before and after. Files that came meanwhile do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    pub files_before: usize,
    pub files_after: usize,
}

pub(super) struct Order {
    wanted: Wanted,
    done: oneshot::Sender<Result<Merged, Error>>,
}

/// Gives orders to the compactor of this node.
#[derive(Debug, Clone)]
pub struct Orders(mpsc::Sender<Order>);

impl Orders {
    pub(super) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (sent, taken) = mpsc::channel(WAITING_MAX);
        (Self(sent), taken)
    }

    /// Returns once the order is carried out; `Error::SteppedDown` when another node is to be asked. From its first poll on
    /// the order is taken, or refused.
    pub async fn give(&self, wanted: Wanted) -> Result<Merged, Error> {
        let stops = || Error::SteppedDown("this node stops, and compacts no more".to_owned());
        let (done, is_done) = oneshot::channel();
        self.0.try_send(Order { wanted, done }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Error::TooMany(WAITING_MAX),
            mpsc::error::TrySendError::Closed(_) => stops(),
        })?;
        is_done.await.unwrap_or_else(|_| Err(stops()))
    }
}

impl Begun {
    fn new(table: &Table, range: TimeRange) -> Self {
        Self { range, files: Arc::new(table.files.keys().copied().collect()), deletes: table.deletes.clone() }
    }

    fn count(&self, table: &Table) -> usize {
        let files = table.files.values().filter(|file| file.time.overlaps(self.range));
        files.filter(|file| self.files.contains(&file.id)).count()
    }
}

impl Compactor {
    /// Does what is ordered, and tells whoever waits for it.
    pub(super) async fn obey(&mut self, Order { wanted, done }: Order) {
        let merged = self.merge_wanted(wanted).await;
        tracing::info!(table = %wanted.table, ?merged, "merged what an operator wanted");
        // Whoever gave the order may not wait any more.
        let _ = done.send(merged);
    }

    /// Does all that is ordered by now. Returns whether there was something.
    pub(super) async fn obey_waiting(&mut self) -> bool {
        let waiting = self.ordered.len();
        for _ in 0..waiting {
            // What is ordered meanwhile does not hold up the rest for ever.
            let Ok(order) = self.ordered.try_recv() else { break };
            self.obey(order).await;
        }
        waiting > 0
    }

    async fn merge_wanted(&mut self, Wanted { table: id, range }: Wanted) -> Result<Merged, Error> {
        // Files that another node wrote a moment ago are wanted too.
        let mut state = self.parts.catalog.refresh().await?;
        let (settled, term) = (state.settled(), state.compactor.term);
        let table = self.table_of_ours(&state, id)?;
        let mut begun = Begun::new(table, range);
        let files_before = begun.count(table);
        // Somebody may have mended them.
        let is_meant = |file: &FileId| table.files.get(file).is_some_and(|file| file.time.overlaps(range));
        self.unreadable.retain(|file| !is_meant(file));
        let mut trouble = None;
        loop {
            let table = self.table_of_ours(&state, id)?;
            if state.compactor.term != term {
                return Err(Error::SteppedDown("another node has compacted meanwhile".to_owned()));
            }
            let mut again = false;
            for plan in self.plans(table, (settled, Some(begun.clone()))).await {
                let unreadable = self.unreadable.len();
                match self.run_and_report(&state, table, &plan).await {
                    Ok(added) => {
                        again |= plan.is_worth(added.len(), &begun.deletes);
                        Arc::make_mut(&mut begun.files).extend(added.iter().map(|file| file.id));
                    }
                    // The next plans take the files as they are then.
                    Err(Error::Overtaken(_)) => again = true,
                    // The next plans leave that file alone, and take what was to be merged with it.
                    Err(error) if self.unreadable.len() > unreadable => {
                        again = true;
                        trouble.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if !again {
                let merged = Merged { files_before, files_after: begun.count(table) };
                return trouble.map_or(Ok(merged), Err);
            }
            state = self.parts.catalog.state();
        }
    }

    /// The table, if it lives and this process compacts.
    fn table_of_ours<'a>(&self, state: &'a State, id: TableId) -> Result<&'a Arc<Table>, Error> {
        self.parts.role.expect_ours(state).map_err(|lost| Error::SteppedDown(lost.to_string()))?;
        state.table(id).filter(|table| is_alive(state, table)).ok_or(Error::Dropped(id))
    }
}
