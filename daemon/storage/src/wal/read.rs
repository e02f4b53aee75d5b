use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{Committed, Error, StampFloor, Writer, format};
use crate::bucket::{self, Bucket, Created, Frame, Kind, keys};
use crate::catalog;
use crate::clock::Clock;
use crate::model::{Epoch, Position, Stamp};
use crate::tasks::Tasks;

/// Objects fetched and decoded at the same time during replay.
const REPLAY_AHEAD: usize = 8;

/// What to do with a damaged WAL object at replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Stop with an error that names the object.
    Fail,
    /// Leave its rows out, loudly: the operator said so.
    Skip,
}

/// The state of a node's WAL after its older epochs were fenced.
#[derive(Debug)]
pub struct Recovered {
    pub writer: Writer,
    /// Objects that were replayed.
    pub objects: u64,
    pub rows: u64,
}

/// Ends every older epoch of the node's WAL with a fence, hands all rows that are not in files to `apply` in order, and
/// returns the writer of the epoch that `node` (the newest catalog record) says is ours.
pub async fn recover(
    (bucket, clock, tasks): (Bucket, Clock, Tasks),
    cluster: u128,
    (node, settled): (&catalog::Node, Stamp),
    (on_damage, mut apply): (OnDamage, impl FnMut(Committed)),
) -> Result<Recovered, Error> {
    let mut reader = Reader { bucket, clock, tasks, cluster, node, on_damage };
    let mut last = node.persisted;
    // Above everything this node persisted and everything any compaction has settled.
    let mut stamp = node.persisted_stamp.max(settled);
    let (mut objects, mut rows) = (0, 0);
    for epoch in node.persisted_epoch.0..node.epoch.0 {
        let epoch = Epoch(epoch);
        let fence = reader.fence(epoch, last.next()).await?;
        let positions = (last.next().0..fence.0).map(Position);
        let mut replay = stream::iter(positions).map(|p| reader.read(epoch, p)).buffered(REPLAY_AHEAD);
        while let Some(committed) = replay.next().await {
            let Some(committed) = committed? else { continue };
            stamp = stamp.max(committed.stamp);
            objects += 1;
            rows += committed.tables.iter().map(|t| t.len() as u64).sum::<u64>();
            apply(committed);
        }
        drop(replay);
        last = fence;
    }
    let Reader { bucket, clock, tasks, .. } = reader;
    let writer = Writer {
        bucket,
        clock,
        tasks,
        cluster,
        node: node.id.clone(),
        slot: node.writer,
        epoch: node.epoch,
        next: last.next(),
        last_stamp: stamp,
        stamps: StampFloor::new(last, stamp),
    };
    Ok(Recovered { writer, objects, rows })
}

struct Reader<'a> {
    bucket: Bucket,
    clock: Clock,
    tasks: Tasks,
    cluster: u128,
    node: &'a catalog::Node,
    on_damage: OnDamage,
}

impl Reader<'_> {
    /// Puts a fence at the first free position of an epoch whose objects begin at `first`, or finds the one that is
    /// there. Nobody can append to the epoch afterwards.
    async fn fence(&mut self, epoch: Epoch, first: Position) -> Result<Position, Error> {
        let prefix = self.bucket.keys().wal_epoch(&self.node.id, epoch);
        let before = self.bucket.keys().wal_object(&self.node.id, epoch, Position(first.0 - 1));
        let listed = self.bucket.list(&prefix, Some(&before)).await?;
        // A listing is where to begin; only the create decides.
        let newest = listed.iter().filter_map(keys::wal_number_of).map(|(_, p)| p).max();
        let mut position = newest.map_or(first, |p| p.max(first));
        loop {
            let frame = Frame {
                kind: Kind::WalFence,
                cluster: self.cluster,
                epoch,
                number: position.0,
                nonce: self.clock.random(),
                stamp: Stamp::SETTLED,
                payload: Bytes::new(),
            };
            let key = self.bucket.keys().wal_object(&self.node.id, epoch, position);
            match self.bucket.create(&key, &frame).await {
                Ok(Created::Ours) => return Ok(position),
                Ok(Created::Taken(found)) if found.kind == Kind::WalFence => return Ok(position),
                Ok(Created::Taken(_)) => position = position.next(),
                // The replay says what is lost with it.
                Err(bucket::Error::Damaged { .. }) if self.on_damage == OnDamage::Skip => position = position.next(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The rows of one object. `None` for a damaged one that the operator chose to leave out.
    async fn read(&self, epoch: Epoch, position: Position) -> Result<Option<Committed>, Error> {
        match self.read_whole(epoch, position).await {
            Ok(committed) => Ok(Some(committed)),
            Err(error @ (bucket::Error::Damaged { .. } | bucket::Error::Missing { .. }))
                if self.on_damage == OnDamage::Skip =>
            {
                tracing::error!(%error, "left out a damaged WAL object, its rows are lost");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read_whole(&self, epoch: Epoch, position: Position) -> Result<Committed, bucket::Error> {
        let key = self.bucket.keys().wal_object(&self.node.id, epoch, position);
        let frame = self.bucket.get_frame(&key).await?;
        let Frame { kind, cluster, number, stamp, payload, .. } = frame;
        if cluster != self.cluster || number != position.0 || frame.epoch != epoch || kind != Kind::WalRows {
            let found = format!("holds {kind:?} {number} of epoch {} and cluster {cluster:032x}", frame.epoch);
            return Err(bucket::Error::damaged(&key, found));
        }
        let decoded = self.tasks.cpu(move || format::decode(&payload)).await;
        let tables = decoded.map_err(|reason| bucket::Error::damaged(&key, reason))?;
        Ok(Committed { epoch, position, stamp, tables })
    }
}
