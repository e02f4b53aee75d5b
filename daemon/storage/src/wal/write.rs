use std::sync::Arc;

use super::{Committed, Error, Feed, Mark, StampFloor, format};
use crate::bucket::{Bucket, Created, Frame, Kind};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::model::{self, Epoch, NodeId, Position, Rows, Stamp};
use crate::tasks::Tasks;

/// The one process that may append to a node's WAL, by the catalog's word.
#[derive(Debug)]
pub struct Writer {
    pub(super) bucket: Bucket,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) cluster: u128,
    pub(super) node: NodeId,
    pub(super) slot: model::Writer,
    pub(super) epoch: Epoch,
    pub(super) next: Position,
    pub(super) last_stamp: Stamp,
    pub(super) object_bytes_max: usize,
    pub(super) stamps: StampFloor,
    /// Says what is deleted.
    pub(super) catalog: Arc<Catalog>,
    pub(super) feed: Option<Arc<Feed>>,
}

impl Writer {
    /// Stores the rows of one group. Retries for as long as the store is away: a number whose outcome is open is
    /// settled before anything else happens, and no other rows are ever put under it. The only errors are final.
    pub async fn append(&mut self, tables: Vec<Rows>) -> Result<Committed, Error> {
        let position = self.next;
        let (last, now, slot) = (self.last_stamp, self.clock.now_micros(), self.slot);
        // Whoever has read of a delete writes rows that are newer than it.
        let last = last.max(self.catalog.state().deleted_stamp);
        let stamp = self.stamps.give(position, |floor| last.max(floor).next(now, slot));
        let max = self.object_bytes_max;
        let (payload, tables) = self.tasks.cpu(move || (format::encode(&tables, max), tables)).await;
        // Before anything is stored: what is stored can be replayed.
        let payload = payload.map_err(|reason| Error::TooLarge { position, reason })?;
        let frame = Frame {
            kind: Kind::WalRows,
            cluster: self.cluster,
            epoch: self.epoch,
            number: position.0,
            nonce: self.clock.random(),
            stamp,
            payload,
        };
        let key = self.bucket.keys().wal_object(&self.node, self.epoch, position);
        match self.bucket.create(&key, &frame).await? {
            Created::Ours => {
                self.next = position.next();
                self.last_stamp = stamp;
                self.feed.iter().for_each(|feed| feed.publish(&frame));
                Ok(Committed { epoch: self.epoch, position, stamp, tables })
            }
            Created::Taken(_) => Err(Error::Fenced { node: self.node.clone(), epoch: self.epoch, position }),
        }
    }

    /// Lets an object hold less, so that a test can pass the limit without a gigabyte of rows.
    #[cfg(test)]
    pub(crate) fn limit_objects(&mut self, bytes_max: usize) {
        self.object_bytes_max = bytes_max;
    }

    /// The stamps of this writer, for whoever raises their floor: while the log is idle, or for rows of others.
    #[must_use]
    pub fn stamps(&self) -> StampFloor {
        self.stamps.clone()
    }

    /// Shows what is stored from now on to others: the newest objects, up to so many bytes.
    pub fn feed(&mut self, catalog: Arc<Catalog>, bytes_max: usize) -> Arc<Feed> {
        let feed = Feed::new(catalog, (self.node.clone(), self.epoch), self.last_position(), bytes_max);
        let feed = Arc::new(feed);
        self.feed = Some(Arc::clone(&feed));
        feed
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// An object that this writer has stored.
    #[must_use]
    pub fn mark(&self, position: Position) -> Mark {
        Mark { node: self.node.clone(), epoch: self.epoch, position }
    }

    /// The position of the newest object.
    #[must_use]
    pub fn last_position(&self) -> Position {
        Position(self.next.0 - 1)
    }

    #[must_use]
    pub fn last_stamp(&self) -> Stamp {
        self.last_stamp
    }
}
