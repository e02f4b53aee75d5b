//! The newest objects of one writer's log, as they were stored, for processes that follow it.
//!
//! # Promises
//! - Only what is durable is here, in order and without gaps; memory is bounded, the oldest objects go first.
//! - Whoever follows is told the objects from a position on, each once and in order. Who asks for one that is not here
//!   any more, or is too slow for it, is told that some were skipped, and goes on behind them.
//! - Who follows sends pings. The answer to a ping comes after every object that was durable and known to be when the
//!   ping came, so it says: nothing else was acknowledged in this epoch before the ping was sent. Of the pings that wait
//!   for their turn the oldest and the newest are answered.
//! - Ping and answer say which version of the catalog their sender knows, so that news travel along the lines.
//!
//! # Not here
//! - Whether the epoch is still the newest: only the catalog knows, and the process that holds an old epoch may not.
//!
//! # Why
//! A sign of life that is sent unasked may have been on its way for as long as its sender slept. The answer to a ping is
//! younger than the ping, whatever happened in between.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::bucket::Frame;
use crate::catalog::Catalog;
use crate::model::{Epoch, NodeId, Position};

/// Objects kept, however small they are.
const OBJECTS_MAX: usize = 4096;

/// Whose log somebody wants to follow, and from where on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The cluster's own id.
    pub cluster: u128,
    pub node: NodeId,
    pub epoch: Epoch,
    pub from: Position,
}

/// The question for a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    pub number: u64,
    /// The version of the catalog that the follower knows.
    pub version: u64,
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The bytes of the next object as they were stored.
    Object(Bytes),
    /// The answer to a ping: when it came, nothing stood behind `last`. This process knows that version of the catalog.
    Alive { ping: u64, last: Position, version: u64 },
    /// Objects that only the store has by now.
    Skipped,
}

#[derive(Debug)]
pub struct Feed {
    catalog: Arc<Catalog>,
    node: NodeId,
    epoch: Epoch,
    bytes_max: usize,
    ring: Mutex<Ring>,
    last: watch::Sender<Position>,
}

/// The newest objects up to `last`, without gaps.
#[derive(Debug)]
struct Ring {
    /// As they were stored.
    objects: VecDeque<Bytes>,
    bytes: usize,
    last: Position,
}

enum Next {
    Object(Bytes),
    /// The ring begins behind it; the log goes on here.
    Gone(Position),
    NotYet,
}

impl Feed {
    pub(super) fn new(catalog: Arc<Catalog>, (node, epoch): (NodeId, Epoch), last: Position, bytes_max: usize) -> Self {
        let ring = Mutex::new(Ring { objects: VecDeque::new(), bytes: 0, last });
        Self { catalog, node, epoch, bytes_max, ring, last: watch::Sender::new(last) }
    }

    /// Takes an object that was just stored.
    pub(super) fn publish(&self, frame: &Frame) {
        let (last, object) = (Position(frame.number), frame.encode());
        let mut ring = self.ring.lock();
        assert_eq!(last, ring.last.next(), "an object was published out of order");
        ring.last = last;
        ring.bytes += object.len();
        ring.objects.push_back(object);
        while ring.bytes > self.bytes_max || ring.objects.len() > OBJECTS_MAX {
            let oldest = ring.objects.pop_front().expect("only objects take bytes");
            ring.bytes -= oldest.len();
        }
        drop(ring);
        self.last.send_replace(last);
    }

    /// Answers a call until its pings end. The error says why this is not the log that was asked for.
    pub fn serve(
        self: &Arc<Self>,
        call: &Call,
        pings: BoxStream<'static, Ping>,
    ) -> Result<BoxStream<'static, Told>, String> {
        self.check(call)?;
        let known = self.last.subscribe();
        let serving = Serving { feed: Arc::clone(self), next: call.from, pings, oldest: None, newest: None, known };
        let told = |mut serving: Serving| async move { serving.tell().await.map(|told| (told, serving)) };
        Ok(stream::unfold(serving, told).boxed())
    }

    fn check(&self, call: &Call) -> Result<(), String> {
        let Call { cluster, node, epoch, from: _ } = call;
        let own = self.catalog.cluster();
        if *cluster != own {
            return Err(format!("this process belongs to cluster {own:032x}, not to {cluster:032x}"));
        }
        if (node, *epoch) != (&self.node, self.epoch) {
            let (is, has) = (&self.node, self.epoch);
            return Err(format!("this process holds epoch {has} of node {is}, not epoch {epoch} of node {node}"));
        }
        Ok(())
    }

    fn find(&self, position: Position) -> Next {
        let ring = self.ring.lock();
        if position > ring.last {
            return Next::NotYet;
        }
        let back = usize::try_from(ring.last.0 - position.0).unwrap_or(usize::MAX);
        let found = ring.objects.len().checked_sub(back.saturating_add(1)).and_then(|index| ring.objects.get(index));
        found.map_or(Next::Gone(ring.last.next()), |object| Next::Object(object.clone()))
    }
}

/// One follower that is told.
struct Serving {
    feed: Arc<Feed>,
    next: Position,
    pings: BoxStream<'static, Ping>,
    /// The oldest ping that was not answered, and where the log ended when it came: a follower who is always a little
    /// behind would never get an answer to the newest.
    oldest: Option<(u64, Position)>,
    /// The newest one that came after it.
    newest: Option<(u64, Position)>,
    known: watch::Receiver<Position>,
}

impl Serving {
    /// `None` when nobody follows any more.
    async fn tell(&mut self) -> Option<Told> {
        loop {
            while let Some(ping) = self.pings.next().now_or_never() {
                self.came(ping?);
            }
            if let Some(ping) = self.answered() {
                let version = self.feed.catalog.state().version;
                return Some(Told::Alive { ping, last: Position(self.next.0 - 1), version });
            }
            match self.feed.find(self.next) {
                Next::Object(object) => {
                    self.next = self.next.next();
                    return Some(Told::Object(object));
                }
                Next::Gone(next) => {
                    self.next = next;
                    return Some(Told::Skipped);
                }
                Next::NotYet => {}
            }
            tokio::select! {
                biased;
                // Both are cancel-safe: a ping stays in its channel, and a change is remembered.
                ping = self.pings.next() => self.came(ping?),
                changed = self.known.changed() => changed.ok()?,
            }
        }
    }

    /// The newest ping that everything was told which stood there when it came. It answers older ones as well.
    fn answered(&mut self) -> Option<u64> {
        let next = self.next;
        let take = |ping: &mut Option<(u64, Position)>| ping.take_if(|(_, last)| *last < next);
        match (take(&mut self.newest), take(&mut self.oldest)) {
            (Some((newest, _)), _) => Some(newest),
            (None, oldest) => {
                self.oldest = self.oldest.take().or_else(|| self.newest.take());
                oldest.map(|(ping, _)| ping)
            }
        }
    }

    fn came(&mut self, ping: Ping) {
        self.feed.catalog.hear_of(ping.version);
        let came = Some((ping.number, *self.feed.last.borrow()));
        *if self.oldest.is_none() { &mut self.oldest } else { &mut self.newest } = came;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::{Bucket, InMemory, Keys, Kind};
    use crate::catalog::Limits;
    use crate::clock::Clock;
    use crate::model::Stamp;
    use crate::tasks::{Cpu, Tasks};

    fn frame(number: u64) -> Frame {
        let (epoch, payload) = (Epoch(2), Bytes::from(vec![0; 10]));
        Frame { kind: Kind::WalRows, cluster: 7, epoch, number, nonce: 1, stamp: Stamp(number), payload }
    }

    async fn feed(objects_kept: usize) -> Arc<Feed> {
        let clock = Clock::simulated(1_760_000_000_000_000, 1);
        let bucket = Bucket::new(Arc::new(InMemory::new()), Keys::new(node("c")), clock.clone());
        let catalog = Catalog::open(bucket, clock, Tasks::new(Cpu::Here), Limits::default()).await.unwrap();
        let bytes_max = frame(0).encode().len() * objects_kept;
        Arc::new(Feed::new(Arc::new(catalog), (node("a"), Epoch(2)), Position(10), bytes_max))
    }

    fn ping(number: u64) -> Ping {
        Ping { number, version: 1 }
    }

    fn node(id: &str) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn call(feed: &Feed, from: u64) -> Call {
        Call { cluster: feed.catalog.cluster(), node: node("a"), epoch: Epoch(2), from: Position(from) }
    }

    fn object(number: u64) -> Told {
        Told::Object(frame(number).encode())
    }

    #[track_caller]
    fn check_told(told: &mut BoxStream<'static, Told>, expected: &[Told]) {
        let found: Vec<Told> = std::iter::from_fn(|| told.next().now_or_never().flatten()).collect();
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_follower_is_told_every_object_once_and_an_answer_after_them() {
        let feed = feed(10).await;
        let version = feed.catalog.state().version;
        feed.publish(&frame(11));
        let (send, received) = futures::channel::mpsc::unbounded();
        let mut told = feed.serve(&call(&feed, 11), received.boxed()).unwrap();
        check_told(&mut told, &[object(11)]);
        send.unbounded_send(ping(1)).unwrap();
        feed.publish(&frame(12));
        send.unbounded_send(ping(2)).unwrap();
        check_told(&mut told, &[object(12), Told::Alive { ping: 2, last: Position(12), version }]);
        drop(send);
        assert_eq!(told.next().now_or_never(), Some(None));
    }

    #[tokio::test]
    async fn a_follower_who_is_always_behind_is_answered_all_the_same() {
        let feed = feed(10).await;
        let (send, received) = futures::channel::mpsc::unbounded();
        let mut told = feed.serve(&call(&feed, 11), received.boxed()).unwrap();
        let mut answered = Vec::new();
        for number in 11..=20 {
            feed.publish(&frame(number));
            send.unbounded_send(ping(number)).unwrap();
            // It takes one thing at a time, and the next object and the next ping are there before it comes back.
            if let Some(Some(Told::Alive { ping, .. })) = told.next().now_or_never() {
                answered.push(ping);
            }
        }
        assert!(answered.len() > 2, "{answered:?}");
    }

    #[tokio::test]
    async fn what_is_not_here_any_more_is_in_the_store() {
        let feed = feed(2).await;
        (11..=15).for_each(|number| feed.publish(&frame(number)));
        let mut late = feed.serve(&call(&feed, 11), stream::pending().boxed()).unwrap();
        check_told(&mut late, &[Told::Skipped]);
        let mut near = feed.serve(&call(&feed, 14), stream::pending().boxed()).unwrap();
        check_told(&mut near, &[object(14), object(15)]);
        (16..=19).for_each(|number| feed.publish(&frame(number)));
        check_told(&mut near, &[Told::Skipped]);
        feed.publish(&frame(20));
        check_told(&mut near, &[object(20)]);
        check_told(&mut late, &[Told::Skipped]);
    }

    #[tokio::test]
    async fn an_object_larger_than_the_ring_goes_by_the_store() {
        let feed = feed(0).await;
        feed.publish(&frame(11));
        let mut told = feed.serve(&call(&feed, 11), stream::pending().boxed()).unwrap();
        check_told(&mut told, &[Told::Skipped]);
    }

    #[tokio::test]
    async fn who_wants_another_log_is_refused() {
        let feed = feed(1).await;
        let refused = |call: Call| feed.serve(&call, stream::pending().boxed()).map(drop).unwrap_err();
        assert!(refused(Call { cluster: 8, ..call(&feed, 11) }).contains("cluster"));
        assert!(refused(Call { node: node("b"), ..call(&feed, 11) }).contains("node b"));
        for epoch in [1, 3] {
            assert!(refused(Call { epoch: Epoch(epoch), ..call(&feed, 11) }).contains("epoch 2"));
        }
    }
}
