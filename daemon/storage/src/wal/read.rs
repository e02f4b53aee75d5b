use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::{Committed, Error, Found, Reader, StampFloor, Writer, format};
use crate::bucket::{self, Bucket, Created, Frame, Kind, keys};
use crate::catalog::{self, Catalog};
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
    hands: (Bucket, Clock, Tasks),
    catalog: &Arc<Catalog>,
    node: &catalog::Node,
    (on_damage, mut apply): (OnDamage, impl FnMut(Committed)),
) -> Result<Recovered, Error> {
    let ended = Ended::new(hands, catalog, node, on_damage).await?;
    // Above everything this node persisted and everything any compaction has settled.
    let mut stamp = node.persisted_stamp.max(catalog.state().settled());
    let (mut objects, mut rows) = (0, 0);
    {
        let mut replay = std::pin::pin!(ended.rows());
        while let Some(committed) = replay.next().await {
            let committed = committed?;
            stamp = stamp.max(committed.stamp);
            objects += 1;
            rows += committed.row_count();
            apply(committed);
        }
    }
    Ok(Recovered { writer: ended.into_writer(stamp), objects, rows })
}

/// The WAL of a node to which nobody can append any more, up to the epoch that is ours.
#[derive(Debug)]
pub struct Ended {
    reader: Reader,
    /// Says what rows may name.
    catalog: Arc<Catalog>,
    clock: Clock,
    node: catalog::Node,
    on_damage: OnDamage,
    /// Of each older epoch that is not wholly in files: the numbers of its rows.
    stretches: Vec<(Epoch, Range<u64>)>,
    /// The fence of the newest of them, or what is in files when there is none.
    last: Position,
}

impl Ended {
    /// Ends every older epoch with a fence. `node` is the newest catalog record, and its epoch is ours.
    pub async fn new(
        (bucket, clock, tasks): (Bucket, Clock, Tasks),
        catalog: &Arc<Catalog>,
        node: &catalog::Node,
        on_damage: OnDamage,
    ) -> Result<Self, Error> {
        let reader = Reader { bucket, tasks, cluster: catalog.cluster(), node: node.id.clone() };
        let (stretches, last, catalog) = (Vec::new(), node.persisted, Arc::clone(catalog));
        let mut ended = Self { reader, catalog, clock, node: node.clone(), on_damage, stretches, last };
        for epoch in node.persisted_epoch.0..node.epoch.0 {
            let epoch = Epoch(epoch);
            let first = ended.last.next();
            let fence = ended.fence(epoch, first).await?;
            ended.stretches.push((epoch, first.0..fence.0));
            ended.last = fence;
        }
        Ok(ended)
    }

    /// The rows that are not in files, in the order of the log.
    pub fn rows(&self) -> impl Stream<Item = Result<Committed, Error>> {
        let places = self.stretches.iter().flat_map(|(epoch, numbers)| numbers.clone().map(|n| (*epoch, Position(n))));
        let reads = stream::iter(places).map(|(epoch, position)| self.read(epoch, position));
        reads.buffered(REPLAY_AHEAD).filter_map(|read| std::future::ready(read.transpose()))
    }

    /// Our epoch begins after it.
    #[must_use]
    pub fn last(&self) -> Position {
        self.last
    }

    /// The writer of our epoch, whose stamps are above `stamp`.
    fn into_writer(self, stamp: Stamp) -> Writer {
        let Self { reader: Reader { bucket, tasks, cluster, node: id }, catalog, clock, node, last, .. } = self;
        Writer {
            bucket,
            clock,
            tasks,
            cluster,
            node: id,
            slot: node.writer,
            epoch: node.epoch,
            next: last.next(),
            last_stamp: stamp,
            object_bytes_max: format::INFLATED_BYTES_MAX,
            stamps: StampFloor::new(last, stamp),
            catalog,
            feed: None,
        }
    }

    /// Puts a fence at the first free position of an epoch whose objects begin at `first`, or finds the one that is
    /// there. Nobody can append to the epoch afterwards.
    async fn fence(&self, epoch: Epoch, first: Position) -> Result<Position, Error> {
        let prefix = self.reader.bucket.keys().wal_epoch(&self.node.id, epoch);
        let before = self.reader.bucket.keys().wal_object(&self.node.id, epoch, Position(first.0 - 1));
        let listed = self.reader.bucket.list(&prefix, Some(&before)).await?;
        // A listing is where to begin; only the create decides.
        let newest = listed.iter().filter_map(keys::wal_number_of).map(|(_, p)| p).max();
        let mut position = newest.map_or(first, |p| p.max(first));
        loop {
            let frame = Frame {
                kind: Kind::WalFence,
                cluster: self.reader.cluster,
                epoch,
                number: position.0,
                nonce: self.clock.random(),
                stamp: Stamp::SETTLED,
                payload: Bytes::new(),
            };
            let key = self.reader.bucket.keys().wal_object(&self.node.id, epoch, position);
            match self.reader.bucket.create(&key, &frame).await {
                Ok(Created::Ours) => return Ok(position),
                Ok(Created::Taken(found)) if found.kind == Kind::WalFence => return Ok(position),
                Ok(Created::Taken(_)) => position = position.next(),
                Err(error @ bucket::Error::Damaged { .. }) if self.on_damage == OnDamage::Skip => {
                    let next = Epoch(epoch.0 + 1);
                    if self.begin(next).await? == Some(position.next()) {
                        tracing::error!(%error, "a damaged WAL object is taken for the fence it was: epoch {next} begins behind it");
                        return Ok(position);
                    }
                    // The replay says what is lost with it, if it held rows.
                    tracing::error!(
                        %error,
                        "a damaged WAL object ended epoch {epoch}, as a fence or as rows; a process of epoch {next} \
                         that still runs may have one more write acknowledged that is lost: make sure none does"
                    );
                    position = position.next();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where the objects of an older epoch begin. `None` when it has none: its process ended, or lost the epoch, before
    /// its first write. Those of the newest epoch will be ours.
    async fn begin(&self, epoch: Epoch) -> Result<Option<Position>, Error> {
        if epoch >= self.node.epoch {
            return Ok(None);
        }
        let listed = self.reader.bucket.list(&self.reader.bucket.keys().wal_epoch(&self.node.id, epoch), None).await?;
        Ok(listed.iter().filter_map(keys::wal_number_of).map(|(_, position)| position).min())
    }

    /// The rows of one object. `None` for a damaged one that the operator chose to leave out.
    async fn read(&self, epoch: Epoch, position: Position) -> Result<Option<Committed>, Error> {
        match self.read_whole(epoch, position).await {
            Ok(committed) => Ok(Some(committed)),
            Err(Error::Bucket(error @ (bucket::Error::Damaged { .. } | bucket::Error::Missing { .. })))
                if self.on_damage == OnDamage::Skip =>
            {
                tracing::error!(%error, "left out a damaged WAL object, its rows are lost");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn read_whole(&self, epoch: Epoch, position: Position) -> Result<Committed, Error> {
        let key = || self.reader.key(epoch, position);
        match self.reader.find(epoch, position).await? {
            Found::Rows(committed) => {
                self.reader.expect_known(&committed, &self.catalog).await?;
                Ok(committed)
            }
            Found::Fence => Err(bucket::Error::damaged(&key(), "a fence in front of the end of its epoch").into()),
            Found::Nothing => Err(bucket::Error::Missing { key: key().to_string() }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::{InMemory, Keys, Store};
    use crate::catalog::{Change, Limits};
    use crate::model::{
        self, Column, ColumnId, ColumnKind, DatabaseId, FieldColumn, FieldType, NodeId, Rows, SeriesSet, Strings,
        TableId, Values,
    };
    use crate::tasks::Cpu;

    fn node(epoch: u32) -> catalog::Node {
        catalog::Node {
            id: NodeId::new("n").unwrap(),
            instance: 1,
            writer: model::Writer::new(0).unwrap(),
            epoch: Epoch(epoch),
            process: u128::from(epoch),
            persisted: Position(0),
            persisted_epoch: Epoch(1),
            persisted_stamp: Stamp::SETTLED,
            sealed: false,
            registered_at_ms: 0,
            core_count: 1,
            description: catalog::Description::default(),
            stopping: false,
            removed_at_ms: None,
        }
    }

    fn bucket(store: &Store, epoch: u32) -> Bucket {
        let clock = Clock::simulated(1_760_000_000_000_000, u64::from(epoch));
        Bucket::new(Arc::clone(store), Keys::new(NodeId::new("c").unwrap()), clock)
    }

    /// The writer of an epoch, and the positions that were replayed before it.
    async fn open(store: &Store, epoch: u32, on_damage: OnDamage) -> Result<(Writer, Vec<u64>), Error> {
        let clock = Clock::simulated(1_760_000_000_000_000, u64::from(epoch));
        let hands = (bucket(store, epoch), clock, Tasks::new(Cpu::Here));
        let catalog = catalog_with_table(hands.clone()).await;
        let mut replayed = Vec::new();
        let apply = |committed: Committed| replayed.push(committed.position.0);
        let recovered = recover(hands, &catalog, &node(epoch), (on_damage, apply)).await?;
        Ok((recovered.writer, replayed))
    }

    /// What `rows` name is in it.
    async fn catalog_with_table((bucket, clock, tasks): (Bucket, Clock, Tasks)) -> Arc<Catalog> {
        let catalog = Catalog::open(bucket, clock, tasks, Limits::default()).await.unwrap();
        let columns = vec![Column { name: "f".into(), kind: ColumnKind::Field(FieldType::Integer) }];
        let (id, database) = (TableId(1), DatabaseId(1));
        let changes = vec![
            Change::CreateDatabase { id: database, name: "db".into(), retention_ns: None },
            Change::CreateTable { id, database, name: "t".into(), columns, retention_ns: None },
        ];
        let decide = |state: &catalog::State| {
            Ok::<_, catalog::Error>((if state.tables.is_empty() { changes.clone() } else { Vec::new() }, ()))
        };
        catalog.commit(decide).await.unwrap();
        Arc::new(catalog)
    }

    fn rows() -> Vec<Rows> {
        let field = FieldColumn { column: ColumnId(0), values: Values::Integer(vec![1]), set: None };
        let series = SeriesSet { tags: Vec::new(), values: Strings::default(), len: 1 };
        vec![Rows { table: TableId(1), series, row_series: vec![0], times: vec![1], fields: vec![field] }]
    }

    /// Bytes that are no object of ours, in the place of one.
    async fn damage(store: &Store, epoch: u32, position: u64) {
        let key = bucket(store, 0).keys().wal_object(&node(1).id, Epoch(epoch), Position(position));
        object_store::ObjectStoreExt::put(store, &key, Bytes::from_static(b"noise").into()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_fence_costs_no_rows_behind_it() {
        let store: Store = Arc::new(InMemory::new());
        let (mut first, _) = open(&store, 1, OnDamage::Fail).await.unwrap();
        first.append(rows()).await.unwrap();
        let (mut second, replayed) = open(&store, 2, OnDamage::Fail).await.unwrap();
        assert_eq!(replayed, [1]);
        assert_eq!(second.append(rows()).await.unwrap().position, Position(3));
        damage(&store, 1, 2).await;

        let refusal = open(&store, 3, OnDamage::Fail).await.expect_err("the fence is damaged").to_string();
        assert!(refusal.contains("0000000001/00000000000000000002.wal"), "{refusal}");
        let (mut third, replayed) = open(&store, 3, OnDamage::Skip).await.unwrap();
        assert_eq!(replayed, [1, 3]);
        for writer in [&mut first, &mut second] {
            writer.append(rows()).await.expect_err("its epoch has ended");
        }
        assert_eq!(third.append(rows()).await.unwrap().position, Position(5));
        let (_, replayed) = open(&store, 4, OnDamage::Skip).await.unwrap();
        assert_eq!(replayed, [1, 3, 5], "and again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_damaged_end_of_an_epoch_lets_nobody_append_to_it() {
        let store: Store = Arc::new(InMemory::new());
        let (mut first, _) = open(&store, 1, OnDamage::Fail).await.unwrap();
        first.append(rows()).await.unwrap();
        first.append(rows()).await.unwrap();
        damage(&store, 1, 2).await;
        let (mut second, replayed) = open(&store, 2, OnDamage::Skip).await.unwrap();
        assert_eq!(replayed, [1], "the rows of the damaged object are lost, and only they");
        let refusal = first.append(rows()).await.expect_err("its epoch has ended");
        assert!(matches!(refusal, Error::Fenced { .. }), "{refusal}");
        let position = second.append(rows()).await.unwrap().position;
        let (_, replayed) = open(&store, 3, OnDamage::Skip).await.unwrap();
        assert_eq!(replayed, [1, position.0]);
    }
}
