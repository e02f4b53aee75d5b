//! One log of another node, followed from where files end.

use std::sync::Arc;

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::link::{Heard, Link, WireError};
use super::{
    AHEAD_MAX, BEHIND_EVERY, IDLE_AFTER, IDLE_TIMES, OBJECTS_PER_TURN, PUSHED_EVERY, Parts, Peer, Replica, Status,
    Trouble, WANTED_WITHIN,
};
use crate::apply::Apply;
use crate::bucket::{self, Frame};
use crate::buffer::Buffer;
use crate::catalog::{self, Catalog};
use crate::model::{Epoch, ErrorKind, Position, Rows};
use crate::wal::{self, Committed, Found, Reader};

/// Belongs to the task that reads; what others may know is in its peer.
pub(super) struct Follower {
    peer: Arc<Peer>,
    apply: Apply,
    reader: Reader,
    link: Link,
    /// Where the next object is, or will be.
    epoch: Epoch,
    next: Position,
    /// Objects to ask for at once.
    ahead: u64,
    /// The first time the next object was found absent, until the catalog has confirmed that it was not there yet.
    absent: Option<Absent>,
    /// When the process of the newest epoch was first asked for a sign of life that says that nothing else is to be read,
    /// until the catalog has confirmed that its epoch was the newest then.
    alive: Option<Instant>,
    moved_at: Instant,
    /// When the store was last asked, and why it should be asked again.
    asked_at: Instant,
    hurry: Hurry,
    /// When it is to be checked that nothing stands behind the end.
    behind_due: Instant,
    /// What others were told last.
    shown: Option<Shown>,
}

/// What somebody may wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    next: Position,
    status: Status,
    was_read: bool,
}

struct Absent {
    asked: Instant,
    answered: Instant,
}

/// How soon the store is to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hurry {
    /// There is no hint that anything is there.
    None,
    /// After the usual interval, also while objects are pushed: something was not.
    Gap,
    /// Earlier: somebody waits.
    Wanted,
    /// More stands there for certain.
    Now,
}

/// What a turn came to.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    AtEnd,
    /// There may be more at once.
    HasMore,
}

impl Follower {
    pub(super) fn new(node: &catalog::Node, parts: &Parts, current_at: Option<Instant>) -> Self {
        let now = parts.clock.instant();
        let buffer = Arc::new(Buffer::new(node.persisted, node.persisted_stamp));
        let status = Mutex::new(Status { current_at, trouble: None });
        let peer = Peer {
            node: node.id.clone(),
            buffer: Arc::clone(&buffer),
            status,
            wanted: Notify::new(),
            was_read: AtomicBool::new(false),
        };
        let (bucket, tasks, cluster) = (parts.bucket.clone(), parts.tasks.clone(), parts.catalog.cluster());
        Self {
            apply: Apply::new(buffer),
            peer: Arc::new(peer),
            link: Link::new(&node.id, parts),
            reader: Reader { bucket, tasks, cluster, node: node.id.clone() },
            epoch: node.persisted_epoch,
            next: node.persisted.next(),
            ahead: 1,
            absent: None,
            alive: None,
            moved_at: now,
            asked_at: now,
            hurry: Hurry::Now,
            behind_due: now,
            shown: None,
        }
    }

    /// Follows the log until the node is closed or this one stops.
    pub(super) async fn run(mut self, replica: Arc<Replica>, parts: Parts, gone: CancellationToken) {
        let stopping = parts.tasks.stopping();
        tokio::select! {
            biased;
            // What is dropped leaves what it has read; nothing is read after it.
            () = stopping.cancelled() => {}
            () = gone.cancelled() => {}
            () = self.follow(&replica, &parts) => {}
        }
    }

    async fn follow(&mut self, replica: &Replica, parts: &Parts) {
        loop {
            self.settle(&parts.catalog);
            self.tell(replica);
            let now = parts.clock.instant();
            let due = self.due(replica);
            if due <= now {
                // It is cancel-safe: who is told something by the line meanwhile gets in line again.
                if let Some(turn) = self.unless_pushed(replica.turns.acquire(), replica, parts).await {
                    let _turn = turn.expect("it is never closed");
                    self.turn(replica, parts).await;
                }
                continue;
            }
            let peer = self.peer();
            tokio::select! {
                biased;
                // All are cancel-safe: see `hear`; a notice stays; a timer.
                heard = self.link.hear(self.next) => self.heard(heard, replica, parts).await,
                () = peer.wanted.notified() => self.hurry = self.hurry.max(Hurry::Wanted),
                // What the catalog says is taken over every interval, whoever is read and how.
                () = tokio::time::sleep_until(due.min(now + replica.config.interval)) => {}
            }
        }
    }

    /// Wakes whoever waits, when there is something to see.
    fn tell(&mut self, replica: &Replica) {
        let (status, was_read) = (self.peer.status.lock().clone(), self.peer.was_read.load(Ordering::Relaxed));
        let shown = Some(Shown { next: self.next, status, was_read });
        if shown != self.shown {
            self.shown = shown;
            replica.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Does the work, and listens to the line meanwhile. `None` when that has moved the log: what the work was about is
    /// over, and it was dropped.
    async fn unless_pushed<T>(&mut self, work: impl Future<Output = T>, replica: &Replica, parts: &Parts) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let before = (self.epoch, self.next);
        while (self.epoch, self.next) == before {
            tokio::select! {
                biased;
                // The work is not dropped while it goes on; what is heard is looked at to the end.
                done = &mut work => return Some(done),
                heard = self.link.hear(self.next) => {
                    self.heard(heard, replica, parts).await;
                    self.settle(&parts.catalog);
                    self.tell(replica);
                }
            }
        }
        None
    }

    /// When the store is to be asked again.
    fn due(&self, replica: &Replica) -> Instant {
        let interval = replica.config.interval;
        let is_idle = self.moved_at.elapsed() >= IDLE_AFTER;
        let wait = match self.hurry {
            Hurry::Now => return self.asked_at,
            Hurry::Wanted => (interval / 5).min(WANTED_WITHIN),
            Hurry::Gap => interval,
            Hurry::None => {
                let every = if self.link.is_moving(self.epoch) { PUSHED_EVERY.max(interval) } else { interval };
                every * if is_idle { IDLE_TIMES } else { 1 }
            }
        };
        self.asked_at + wait
    }

    async fn heard(&mut self, heard: Heard, replica: &Replica, parts: &Parts) {
        match heard {
            Heard::Object(bytes) => self.take_pushed(bytes, replica, parts).await,
            // It says that what is here is all: whether its epoch counts, the catalog knows.
            Heard::Alive { asked, epoch, last } if epoch == self.epoch && last < self.next => {
                self.alive.get_or_insert(asked);
            }
            Heard::Alive { .. } | Heard::Skipped => self.hurry = self.hurry.max(Hurry::Gap),
            Heard::Lost => {
                parts.metrics.lost.inc();
                self.hurry = self.hurry.max(Hurry::Gap);
            }
        }
    }

    /// Applies a pushed object when it is the next one. Of all others the store tells.
    async fn take_pushed(&mut self, bytes: Bytes, replica: &Replica, parts: &Parts) {
        let frame = match Frame::decode(&bytes) {
            Ok(frame) => frame,
            Err(reason) => return self.distrust(reason, parts),
        };
        let position = Position(frame.number);
        if (frame.epoch, position) != (self.epoch, self.next) {
            if position >= self.next {
                self.hurry = self.hurry.max(Hurry::Gap);
            }
            return;
        }
        let taken = match self.reader.open(self.epoch, position, frame).await {
            Ok(Found::Rows(committed)) => self.take(committed, replica, parts).await,
            Ok(Found::Fence | Found::Nothing) => return self.distrust("a fence is not pushed".into(), parts),
            Err(error) => return self.distrust(error.to_string(), parts),
        };
        match taken {
            Ok(()) => parts.metrics.pushed().inc(),
            Err(Trouble::Damaged(reason)) => self.distrust(reason, parts),
            // If it is one, the store will find it, too.
            Err(Trouble::Full(_) | Trouble::Waits(_)) => self.hurry = self.hurry.max(Hurry::Gap),
        }
    }

    fn distrust(&mut self, reason: String, parts: &Parts) {
        parts.metrics.lost.inc();
        self.link.lose(WireError::Refused(format!("what it sends is no object of its log: {reason}")));
        self.hurry = self.hurry.max(Hurry::Gap);
    }

    pub(super) fn peer(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }

    /// Whether it is at the end of its log for the first time, and only the catalog can tell that it is.
    fn waits_for_catalog(&self) -> bool {
        self.absent.is_some() && self.peer.status.lock().current_at.is_none()
    }

    /// Takes over what the catalog says of the node: rows that are in files go, and with them what was not read yet.
    fn settle(&mut self, catalog: &Catalog) {
        // In this order: the state holds every entry of that moment.
        let followed_at = catalog.followed_at();
        let state = catalog.state();
        let Some(node) = state.nodes.get(&self.peer.node) else { return };
        self.link.point_at(node);
        let first = node.persisted.next();
        if first > self.next || (first == self.next && node.persisted_epoch > self.epoch) {
            // An epoch that was closed in order has no fence: only the catalog says where the next one begins.
            self.move_to(self.epoch.max(node.persisted_epoch), first, followed_at);
        }
        self.peer.buffer.pass(node.persisted);
        self.peer.buffer.cut_at(node.persisted);
        self.peer.buffer.drop_through(node.persisted);
        if let Some(absent) = self.absent.take_if(|absent| absent.answered <= followed_at) {
            self.is_current(absent.asked);
        }
        // An answer to a question that was asked before this look at the catalog: until then nobody else could write.
        if let Some(asked) = self.alive.take_if(|asked| *asked <= followed_at)
            && node.epoch == self.epoch
        {
            self.is_current(asked);
        }
    }

    fn is_current(&self, moment: Instant) {
        let mut status = self.peer.status.lock();
        status.current_at = status.current_at.max(Some(moment));
    }

    fn move_to(&mut self, epoch: Epoch, next: Position, now: Instant) {
        // What was heard of another epoch says nothing of this one.
        self.alive.take_if(|_| epoch != self.epoch);
        (self.epoch, self.next, self.absent) = (epoch, next, None);
        self.moved_at = self.moved_at.max(now);
        self.trouble(None);
    }

    /// Reads on in the store for a while, and says in the status how that went.
    async fn turn(&mut self, replica: &Replica, parts: &Parts) {
        (self.asked_at, self.hurry) = (parts.clock.instant(), Hurry::None);
        let result = self.read_on(replica, parts).await;
        self.asked_at = parts.clock.instant();
        match result {
            Ok(Turn::HasMore) => self.hurry = Hurry::Now,
            Ok(Turn::AtEnd) => {
                self.peer.status.lock().trouble.take_if(|t| !matches!(t, Trouble::Damaged(_))).map_or((), drop)
            }
            Err(trouble) => self.trouble(Some(trouble)),
        }
        if self.waits_for_catalog()
            // Nobody should wait for the next regular look at the catalog to hear that a new follower is at the end.
            && let Err(error) = parts.catalog.refresh().await
        {
            tracing::debug!(%error, "could not read the catalog");
        }
        self.settle(&parts.catalog);
        self.peer.was_read.store(true, Ordering::Relaxed);
    }

    /// Tells of a trouble when it begins, not each time it is found again.
    fn trouble(&self, now: Option<Trouble>) {
        let mut status = self.peer.status.lock();
        let was = std::mem::replace(&mut status.trouble, now);
        let (node, position) = (&self.peer.node, self.next);
        match (&was, &status.trouble) {
            (None | Some(Trouble::Full(_) | Trouble::Waits(_)), Some(Trouble::Damaged(reason))) => {
                tracing::error!(%node, %reason, "the log of another node cannot be read on; queries fail until its rows are in files");
            }
            (None, Some(Trouble::Full(reason) | Trouble::Waits(reason))) => {
                tracing::warn!(%node, %reason, "the log of another node is not read on for now");
            }
            (Some(_), None) => tracing::info!(%node, %position, "the log of another node is read on"),
            _ => {}
        }
    }

    async fn read_on(&mut self, replica: &Replica, parts: &Parts) -> Result<Turn, Trouble> {
        let last = self.next.0 + OBJECTS_PER_TURN;
        while self.next.0 < last {
            let asked = parts.clock.instant();
            let (reader, epoch) = (self.reader.clone(), self.epoch);
            let positions = (self.next.0..self.next.0 + self.ahead).map(Position);
            let ahead = usize::try_from(self.ahead).expect("a few");
            let mut reads = stream::iter(positions).map(|position| reader.find(epoch, position)).buffered(ahead);
            self.ahead = (2 * self.ahead).min(AHEAD_MAX);
            loop {
                // A line that sends what is being read is faster: the rest comes over it, or is asked for later.
                let Some(found) = self.unless_pushed(reads.next(), replica, parts).await else {
                    return Ok(Turn::AtEnd);
                };
                let Some(found) = found else { break };
                match found? {
                    Found::Rows(committed) => {
                        self.take(committed, replica, parts).await?;
                        parts.metrics.fetched().inc();
                    }
                    Found::Fence => {
                        // What was asked for ahead was asked for in the wrong epoch.
                        self.move_to(Epoch(epoch.0 + 1), self.next.next(), parts.clock.instant());
                        break;
                    }
                    Found::Nothing => {
                        self.ahead = 1;
                        let answered = parts.clock.instant();
                        self.absent.get_or_insert(Absent { asked, answered });
                        return self.look_behind(replica, parts).await;
                    }
                }
            }
        }
        Ok(Turn::HasMore)
    }

    async fn take(&mut self, committed: Committed, replica: &Replica, parts: &Parts) -> Result<(), Trouble> {
        assert_eq!(committed.position, self.next, "the log of node {} was read out of order", self.peer.node);
        let held = replica.bytes();
        let bytes: usize = committed.tables.iter().map(Rows::bytes).sum();
        let bytes_max = replica.config.bytes_max.get();
        // One object that is larger than the whole limit may come when it is alone, or it never could.
        if held > 0 && held + bytes > bytes_max {
            return Err(Trouble::Full(format!("rows of other nodes take {held} bytes, the limit is {bytes_max}")));
        }
        self.reader.expect_known(&committed, &parts.catalog).await?;
        replica.stamps.see(committed.stamp);
        self.apply.apply(committed);
        self.move_to(self.epoch, self.next.next(), parts.clock.instant());
        Ok(())
    }

    /// Looks now and then whether an object is missing: then later ones stand behind it.
    async fn look_behind(&mut self, replica: &Replica, parts: &Parts) -> Result<Turn, Trouble> {
        let now = parts.clock.instant();
        if now < self.behind_due || self.link.is_moving(self.epoch) {
            return Ok(Turn::AtEnd);
        }
        let (reader, epoch, next) = (self.reader.clone(), self.epoch, self.next);
        let looked = self.unless_pushed(reader.goes_on_behind(epoch, next), replica, parts).await;
        let Some(goes_on) = looked else { return Ok(Turn::AtEnd) };
        if goes_on? {
            // It may have come since it was asked for, or may be deleted and in files.
            if !matches!(self.reader.find(self.epoch, self.next).await?, Found::Nothing) {
                return Ok(Turn::HasMore);
            }
            parts.catalog.refresh().await?;
            let before = (self.epoch, self.next);
            self.settle(&parts.catalog);
            if (self.epoch, self.next) != before {
                return Ok(Turn::HasMore);
            }
            let key = self.reader.key(self.epoch, self.next);
            return Err(Trouble::Damaged(format!("object {key} is missing, and later ones are there")));
        }
        self.behind_due = now + BEHIND_EVERY;
        Ok(Turn::AtEnd)
    }
}

impl From<bucket::Error> for Trouble {
    fn from(error: bucket::Error) -> Self {
        Self::of(error.kind(), error.to_string())
    }
}

impl From<wal::Error> for Trouble {
    fn from(error: wal::Error) -> Self {
        match error {
            wal::Error::Catalog(error) => error.into(),
            error => Self::of(error.kind(), error.to_string()),
        }
    }
}

impl From<catalog::Error> for Trouble {
    fn from(error: catalog::Error) -> Self {
        // A catalog that is damaged stops the node; here it only means that nothing can be read for now.
        Self::Waits(error.to_string())
    }
}

impl Trouble {
    fn of(kind: ErrorKind, reason: String) -> Self {
        match kind {
            ErrorKind::Corrupt => Self::Damaged(reason),
            _ => Self::Waits(reason),
        }
    }
}
