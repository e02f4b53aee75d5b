//! What operators want merged at once.
//!
//! # Promises
//! - An order that was taken is carried out, whether or not who gave it still waits, unless the node stops or loses the
//!   role: then nobody is told that it was done.
//! - Done means: in the catalog, and that what is left has nothing that a merge would better by now.

use tokio::sync::{mpsc, oneshot};

use super::Error;
use crate::model::{TableId, TimeRange};

/// Orders that may wait at one time.
const WAITING_MAX: usize = 64;

/// Which rows of which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub table: TableId,
    pub range: TimeRange,
}

/// What came of an order: how many files had rows of its time, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    pub files_before: usize,
    pub files_after: usize,
}

pub(super) struct Order {
    pub(super) wanted: Wanted,
    pub(super) done: oneshot::Sender<Result<Merged, Error>>,
}

/// Gives orders to the compactor of this node.
#[derive(Debug, Clone)]
pub struct Orders(mpsc::Sender<Order>);

impl Orders {
    pub(super) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (sent, taken) = mpsc::channel(WAITING_MAX);
        (Self(sent), taken)
    }

    /// Returns once the order is carried out; `Error::SteppedDown` when another node is to be asked.
    pub async fn give(&self, wanted: Wanted) -> Result<Merged, Error> {
        let stops = || Error::SteppedDown("this node stops, and compacts no more".to_owned());
        let (done, is_done) = oneshot::channel();
        self.0.send(Order { wanted, done }).await.map_err(|_| stops())?;
        is_done.await.unwrap_or_else(|_| Err(stops()))
    }
}
