//! One WAL object by its number, whoever wrote it.

use super::{Committed, format};
use crate::bucket::{self, Bucket, Frame, Key, Kind, keys};
use crate::model::{Epoch, NodeId, Position};
use crate::tasks::Tasks;

/// Reads the objects of one node's WAL.
#[derive(Debug, Clone)]
pub struct Reader {
    pub bucket: Bucket,
    pub tasks: Tasks,
    /// The cluster's own id.
    pub cluster: u128,
    pub node: NodeId,
}

/// What stands under one number.
#[derive(Debug)]
pub enum Found {
    Rows(Committed),
    /// The epoch ends here; the next one goes on with the position after it.
    Fence,
    /// No object: the end of the log as it is now, or one that `sweep` took since its rows are in files.
    Nothing,
}

impl Reader {
    #[must_use]
    pub fn key(&self, epoch: Epoch, position: Position) -> Key {
        self.bucket.keys().wal_object(&self.node, epoch, position)
    }

    pub async fn find(&self, epoch: Epoch, position: Position) -> Result<Found, bucket::Error> {
        let key = self.key(epoch, position);
        match self.bucket.find_frame(&key).await? {
            Some(frame) => self.open(epoch, position, frame).await,
            None => Ok(Found::Nothing),
        }
    }

    /// What a frame holds that stands under this number, or was handed over as if it did.
    pub async fn open(&self, epoch: Epoch, position: Position, frame: Frame) -> Result<Found, bucket::Error> {
        let key = self.key(epoch, position);
        let Frame { kind, cluster, number, stamp, payload, .. } = frame;
        let is_known = kind == Kind::WalRows || kind == Kind::WalFence;
        if cluster != self.cluster || number != position.0 || frame.epoch != epoch || !is_known {
            let found = format!("holds {kind:?} {number} of epoch {} and cluster {cluster:032x}", frame.epoch);
            return Err(bucket::Error::damaged(&key, found));
        }
        if kind == Kind::WalFence {
            return Ok(Found::Fence);
        }
        let decoded = self.tasks.cpu(move || format::decode(&payload)).await;
        let tables = decoded.map_err(|reason| bucket::Error::damaged(&key, reason))?;
        Ok(Found::Rows(Committed { epoch, position, stamp, tables }))
    }

    /// Whether an object stands behind this place: then one stood here too, since numbers rise without gaps.
    pub async fn goes_on_behind(&self, epoch: Epoch, position: Position) -> Result<bool, bucket::Error> {
        let listed = self.bucket.list(&self.bucket.keys().wal(&self.node), Some(&self.key(epoch, position))).await?;
        Ok(listed.iter().filter_map(keys::wal_number_of).any(|(_, found)| found > position))
    }
}
