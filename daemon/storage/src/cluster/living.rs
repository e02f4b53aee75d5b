//! Which of the other nodes live, as their heartbeats show.
//!
//! # Promises
//! - A node is held for dead when its heartbeat has not changed for `DEAD_AFTER` by the steady clock of this process, and
//!   nobody opened an epoch of it meanwhile.
//! - Nobody is held for dead because this process slept, because the store could not be read, or because it took no
//!   heartbeats: after a look that came late, and while our own heartbeat does not change either, all begin anew.
//! - A heartbeat that stops is noticed within `LOOK_EVERY` + `DEAD_AFTER` + `LOOK_CLOSELY_EVERY` of its last change.
//! - Cost: one listing a look, for all nodes together.
//!
//! # Not here
//! - Certainty. Whoever is held for dead may live on and write; what follows must be safe then, too.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{DEAD_AFTER, HEARTBEAT_EVERY};
use crate::bucket::{self, Bucket, Content, Key};
use crate::catalog::{Node, State};
use crate::clock::Clock;
use crate::model::{Epoch, NodeId};

/// How often the heartbeats are looked at,
const LOOK_EVERY: Duration = Duration::from_secs(12);

/// and how often while one of them does not change.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_secs(1);

/// A heartbeat that is that old should have changed.
const LATE_AFTER: Duration = HEARTBEAT_EVERY.saturating_mul(2);

/// Before it is held for dead it was seen late for so long: whoever wakes together with us shows itself meanwhile.
const LATE_FOR: Duration = Duration::from_secs(3);

/// A look that ends that much later than it was due says nothing of how long nothing changed.
const LOOK_SLACK: Duration = Duration::from_secs(5);

/// Watches heartbeats of other nodes.
#[derive(Debug)]
pub(super) struct Living {
    bucket: Bucket,
    clock: Clock,
    /// This node, and its process.
    own: (NodeId, u128),
    seen: BTreeMap<NodeId, Seen>,
    /// Until when the next look must have ended.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    mark: Mark,
    /// The mark has not changed since.
    since: Instant,
    /// When it was seen first that it should have.
    late_since: Option<Instant>,
}

/// What changes while a node lives.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    heartbeat: Option<Content>,
    epoch: Epoch,
}

/// What a look showed.
#[derive(Debug)]
pub(super) struct Look {
    /// Those that are held for dead.
    pub(super) dead: Vec<NodeId>,
    /// When to look again.
    pub(super) next: Duration,
}

impl Living {
    pub(super) fn new(bucket: Bucket, clock: Clock, own: (NodeId, u128)) -> Self {
        Self { bucket, clock, own, seen: BTreeMap::new(), due: None }
    }

    /// Looks at the heartbeats of the nodes that are `watched`. Whoever was not watched at the last look is seen for the
    /// first time.
    pub(super) async fn look(&mut self, state: &State, watched: impl Fn(&Node) -> bool) -> Result<Look, bucket::Error> {
        let is_watched = |node: &Node| node.id != self.own.0 && node.removed_at_ms.is_none() && watched(node);
        let watched: Vec<&Node> = state.nodes.values().map(|node| &**node).filter(|node| is_watched(node)).collect();
        if watched.is_empty() {
            self.seen.clear();
            return Ok(Look { dead: Vec::new(), next: LOOK_EVERY });
        }
        let began = self.clock.instant();
        let mut found: BTreeMap<Key, Content> =
            self.bucket.list_contents(&self.bucket.keys().heartbeats()).await?.into_iter().collect();
        let now = self.clock.instant();
        let own = state.nodes.get(&self.own.0).map(|node| &**node);
        let mut before = std::mem::take(&mut self.seen);
        if self.due.is_none_or(|due| now > due) {
            before.clear();
        }
        for node in watched.iter().copied().chain(own) {
            let heartbeat = found.remove(&self.bucket.keys().heartbeat(&node.id));
            let seen = self.seen_of(node, heartbeat, (before.remove(&node.id), now));
            self.seen.insert(node.id.clone(), seen);
        }
        let mut look = Look { dead: Vec::new(), next: LOOK_EVERY };
        let age = |seen: &Seen| began.saturating_duration_since(seen.since);
        for (id, seen) in self.seen.iter_mut().filter(|(id, _)| **id != self.own.0) {
            if age(seen) < LATE_AFTER {
                continue;
            }
            let late_for = began.saturating_duration_since(*seen.late_since.get_or_insert(now));
            if age(seen) >= DEAD_AFTER && late_for >= LATE_FOR {
                look.dead.push(id.clone());
            } else {
                look.next = LOOK_CLOSELY_EVERY;
            }
        }
        self.due = Some(now + look.next + LOOK_SLACK);
        if self.seen.get(&self.own.0).is_some_and(|own| age(own) >= LATE_AFTER) {
            self.seen.retain(|id, _| *id == self.own.0);
            look.dead.clear();
        }
        Ok(look)
    }

    fn seen_of(&self, node: &Node, heartbeat: Option<Content>, (before, now): (Option<Seen>, Instant)) -> Seen {
        // An epoch that this process opened is no sign of life of the node.
        let is_adopted = node.process == self.own.1 && node.id != self.own.0;
        match before {
            Some(before) => {
                let epoch = if is_adopted { before.mark.epoch } else { node.epoch };
                let mark = Mark { heartbeat, epoch };
                if mark == before.mark { before } else { Seen { mark, since: now, late_since: None } }
            }
            None => Seen { mark: Mark { heartbeat, epoch: node.epoch }, since: now, late_since: None },
        }
    }
}
