//! The log as this node has read it: followed in order, extended by whoever holds the turn.
//!
//! # Promises
//! - What is read is believed only after the mark was found below it; see `mark`.
//! - A state is published whole, after the entry that made it is believed.
//!
//! # Not here
//! - What is worth an entry: `Catalog::commit` asks whoever wants one.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::resume::{self, Newest, Resumed};
use super::{Change, Error, State, Table, format, mark};
use crate::bucket::{Bucket, Created, Frame, Kind};
use crate::clock::Clock;
use crate::model::{Epoch, ErrorKind, Stamp, TableId};

/// Entries read ahead before the mark is asked whether they may be believed.
const ENTRIES_AHEAD_MAX: u64 = 64;

/// How often a node that finds no new entry asks for the mark.
///
/// An absent entry is the end of the log, unless it was there and is deleted. At the last look the mark stood below it,
/// so it would have to be made and deleted since then, and `sweep` keeps entries for a day: this is far below. Only a
/// sweeper whose clock is wrong by a day, or a process that slept so that no clock told it, can make the answer wrong;
/// then this node knows an old state for so long at most. Nothing is committed on an old state whatever the clocks say:
/// its next number is at or below the mark, which is read again after every create.
const MARK_EVERY: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Log {
    pub(super) bucket: Bucket,
    pub(super) clock: Clock,
    /// The cluster's own id, from the header of its first entry.
    pub(super) cluster: u128,
    pub(super) state: watch::Sender<Arc<State>>,
    /// When the last look that found the end of the log began.
    pub(super) followed_at: Mutex<Instant>,
    checkpointed: Mutex<Checkpointed>,
}

/// The newest checkpoint this node knows of, and the parts of the last one it has read or written itself.
#[derive(Debug, Default)]
pub(super) struct Checkpointed {
    pub(super) number: u64,
    pub(super) parts: BTreeMap<TableId, WrittenPart>,
}

/// A table as a part holds it. The weak pointer keeps the address from being used again, so a table behind the same
/// pointer is the same table unchanged; it keeps no memory of the table itself.
#[derive(Debug, Clone)]
pub(super) struct WrittenPart {
    pub(super) table: Weak<Table>,
    pub(super) name: String,
}

/// Held by whoever extends or follows the log, so that this node's entries queue up instead of colliding.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When the mark was read last, by both clocks: the steady one stands still while a machine sleeps.
    mark_read: Option<(Instant, u64)>,
}

/// An entry nobody has seen yet, and the state it makes.
#[derive(Debug)]
pub(super) struct Proposed {
    pub(super) frame: Frame,
    pub(super) next: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extended {
    /// The entry is in the log and its state is published.
    Ours,
    /// It is not; the log was followed to its end instead.
    NotOurs,
}

/// What stands in the log after a state.
struct Ahead {
    state: Arc<State>,
    /// Whether the log ends here; an error when it could not be read on.
    is_end: Result<bool, Error>,
}

impl Log {
    pub(super) fn new((bucket, clock): (Bucket, Clock), start: Resumed) -> Self {
        let Resumed { cluster, state, checkpointed } = start;
        let (state, checkpointed) = (watch::Sender::new(Arc::new(state)), Mutex::new(checkpointed));
        let followed_at = Mutex::new(clock.instant());
        Self { bucket, clock, cluster, state, followed_at, checkpointed }
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    /// Applies entries until there is none.
    pub(super) async fn follow(&self, turn: &mut Turn) -> Result<Arc<State>, Error> {
        loop {
            let known = self.state();
            let (instant, ms) = (self.clock.instant(), self.clock.now_ms());
            let Ahead { state, is_end } = self.read_on(&known).await;
            if state.version == known.version && matches!(is_end, Ok(true)) && !turn.is_mark_due(&self.clock) {
                *self.followed_at.lock() = instant;
                return Ok(known);
            }
            if mark::is_swept(&self.bucket, known.version + 1).await? {
                self.reload().await?;
                continue;
            }
            turn.mark_read = Some((instant, ms));
            if state.version > known.version {
                self.state.send_replace(state);
            }
            if is_end? {
                *self.followed_at.lock() = instant;
                return Ok(self.state());
            }
        }
    }

    /// Creates the entry and publishes its state, or follows the log when it does not count. Not to be dropped half-way:
    /// the turn must not pass on before the number is settled and, when it is ours, published.
    pub(super) async fn extend(&self, turn: &mut Turn, proposed: Proposed) -> Result<Extended, Error> {
        let Proposed { frame, next } = proposed;
        let created = self.bucket.create(&self.bucket.keys().catalog_entry(frame.number), &frame).await?;
        if matches!(created, Created::Ours) && !self.is_surely_swept(frame.number).await {
            self.state.send_replace(Arc::new(next));
            return Ok(Extended::Ours);
        }
        self.follow(turn).await?;
        Ok(Extended::NotOurs)
    }

    /// Whether the mark has reached `number`. Asks until there is an answer: the entry is in the log, and nobody may
    /// go on before it is known whether it counts.
    async fn is_surely_swept(&self, number: u64) -> bool {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match mark::is_swept(&self.bucket, number).await {
                Ok(is_swept) => return is_swept,
                Err(error) => tracing::warn!(%error, number, "read the mark after a catalog entry, trying again"),
            }
            self.clock.sleep(self.clock.backoff(attempt)).await;
        }
    }

    /// Reads some entries after `known`, which are not to be believed yet.
    async fn read_on(&self, known: &Arc<State>) -> Ahead {
        let mut state = Arc::clone(known);
        for _ in 0..ENTRIES_AHEAD_MAX {
            let number = state.version + 1;
            let found = self.bucket.find_frame(&self.bucket.keys().catalog_entry(number)).await;
            match found.map_err(Error::from).map(|frame| frame.map(|frame| self.apply(&mut state, &frame))) {
                Ok(Some(Ok(()))) => {}
                Ok(None) => return Ahead { state, is_end: Ok(true) },
                Ok(Some(Err(error))) | Err(error) => return Ahead { state, is_end: Err(error) },
            }
        }
        Ahead { state, is_end: Ok(false) }
    }

    /// Makes `state` the one after the next entry, which `frame` holds; after an error it is as before.
    fn apply(&self, state: &mut Arc<State>, frame: &Frame) -> Result<(), Error> {
        let number = state.version + 1;
        let key = self.bucket.keys().catalog_entry(number);
        let damaged = |reason: String| Error::Corrupt(format!("object {key}: {reason}"));
        if frame.kind != Kind::CatalogEntry || frame.number != number {
            return Err(damaged(format!("holds {:?} number {}", frame.kind, frame.number)));
        }
        if frame.cluster != self.cluster {
            return Err(damaged("belongs to another cluster".into()));
        }
        let changes = format::decode_entry(&frame.payload).map_err(damaged)?;
        Arc::make_mut(state).apply(number, &changes).map_err(|conflict| damaged(conflict.to_string()))
    }

    /// Starts again from the newest checkpoint: this node fell behind what is kept of the log.
    async fn reload(&self) -> Result<(), Error> {
        let version = self.state().version;
        let gone = |why: &str| format!("catalog entry {} is gone and no checkpoint stands for it{why}", version + 1);
        match resume::newest_checkpoint(&self.bucket).await? {
            Newest::Damaged(reason) => Err(Error::Corrupt(gone(&format!(" ({reason})")))),
            Newest::Whole(found) if found.cluster != self.cluster => {
                Err(Error::Corrupt(format!("checkpoint {} belongs to another cluster", found.state.version)))
            }
            Newest::Whole(found) if found.state.version > version => {
                let Resumed { state, checkpointed, .. } = *found;
                *self.checkpointed.lock() = checkpointed;
                self.state.send_replace(Arc::new(state));
                Ok(())
            }
            Newest::Whole(_) | Newest::None => Err(Error::Corrupt(gone(""))),
        }
    }

    /// Up to which entry this node knows of a checkpoint, its own or another node's.
    pub(super) fn newest_checkpoint(&self) -> u64 {
        self.checkpointed.lock().number
    }

    pub(super) fn saw_checkpoint(&self, number: u64) {
        let mut checkpointed = self.checkpointed.lock();
        checkpointed.number = checkpointed.number.max(number);
    }

    /// The parts of the last checkpoint this process has read or written.
    pub(super) fn written_parts(&self) -> BTreeMap<TableId, WrittenPart> {
        self.checkpointed.lock().parts.clone()
    }

    pub(super) fn wrote_checkpoint(&self, number: u64, parts: BTreeMap<TableId, WrittenPart>) {
        let mut checkpointed = self.checkpointed.lock();
        *checkpointed = Checkpointed { number: checkpointed.number.max(number), parts };
    }

    /// An entry that says `changes`, which hold after `state`; what does not hold is a conflict.
    pub(super) fn propose(&self, state: &State, changes: &[Change]) -> Result<Proposed, Error> {
        let mut next = state.clone();
        let number = state.version + 1;
        let conflict = next.apply(number, changes);
        conflict.map_err(|conflict| Error::refused(ErrorKind::Conflict, conflict.to_string()))?;
        let payload = format::encode_entry(changes, self.clock.now_ms());
        Ok(Proposed { frame: self.frame(Kind::CatalogEntry, number, payload), next })
    }

    pub(super) fn frame(&self, kind: Kind, number: u64, payload: Bytes) -> Frame {
        frame(&self.clock, self.cluster, kind, (number, payload))
    }
}

impl Turn {
    fn is_mark_due(&self, clock: &Clock) -> bool {
        let every_ms = u64::try_from(MARK_EVERY.as_millis()).unwrap_or(u64::MAX);
        self.mark_read
            .is_none_or(|(instant, ms)| instant.elapsed() >= MARK_EVERY || clock.now_ms().abs_diff(ms) >= every_ms)
    }
}

pub(super) fn frame(clock: &Clock, cluster: u128, kind: Kind, (number, payload): (u64, Bytes)) -> Frame {
    Frame { kind, cluster, epoch: Epoch(0), number, nonce: clock.random(), stamp: Stamp::SETTLED, payload }
}
