//! Which of the other nodes live, as their heartbeats show.
//!
//! # Promises
//! - A node is held for dead when its heartbeat has not changed for `DEAD_AFTER` by the steady clock of this process, and
//!   nobody opened an epoch of it meanwhile.
//! - Nobody is held for dead because this process slept, because the store could not be read, or because it took no
//!   heartbeats: after a look that came late all begin anew, and time counts only while our own heartbeats were stored one
//!   after the other.
//! - A heartbeat that stops is noticed within `LOOK_EVERY` + `DEAD_AFTER` + `LOOK_CLOSELY_EVERY` of its last change.
//! - Cost: one listing a look, for all nodes together.
//!
//! # Not here
//! - Certainty. Whoever is held for dead may live on and write; what follows must be safe then, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
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

/// When heartbeats of this process were stored. Clones tell of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Beats(Arc<Mutex<Option<Steady>>>);

#[derive(Debug, Clone, Copy)]
struct Steady {
    /// There was no long gap since.
    since: Instant,
    last: Instant,
}

impl Beats {
    pub(super) fn stored(&self, now: Instant) {
        let mut steady = self.0.lock();
        let since =
            steady.filter(|steady| now.duration_since(steady.last) < LATE_AFTER).map_or(now, |steady| steady.since);
        *steady = Some(Steady { since, last: now });
    }

    /// Since when they have been stored without a long gap. `None` when there is one now.
    fn steady_since(&self, now: Instant) -> Option<Instant> {
        let steady = *self.0.lock();
        steady.filter(|steady| now.saturating_duration_since(steady.last) < LATE_AFTER).map(|steady| steady.since)
    }
}

/// Watches heartbeats of other nodes.
#[derive(Debug)]
pub(super) struct Living {
    bucket: Bucket,
    clock: Clock,
    beats: Beats,
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
    /// What was seen says nothing any more.
    pub(super) until: Instant,
}

impl Living {
    pub(super) fn new((bucket, clock): (Bucket, Clock), beats: Beats, own: (NodeId, u128)) -> Self {
        Self { bucket, clock, beats, own, seen: BTreeMap::new(), due: None }
    }

    /// Looks at the heartbeats of the nodes that are `watched`. Whoever was not watched at the last look is seen for the
    /// first time.
    pub(super) async fn look(&mut self, state: &State, watched: impl Fn(&Node) -> bool) -> Result<Look, bucket::Error> {
        let is_watched = |node: &Node| node.id != self.own.0 && node.removed_at_ms.is_none() && watched(node);
        let watched: Vec<&Node> = state.nodes.values().map(|node| &**node).filter(|node| is_watched(node)).collect();
        let began = self.clock.instant();
        if watched.is_empty() {
            self.seen.clear();
            return Ok(Look { dead: Vec::new(), next: LOOK_EVERY, until: began + LOOK_EVERY });
        }
        let mut found: BTreeMap<Key, Content> =
            self.bucket.list_contents(&self.bucket.keys().heartbeats()).await?.into_iter().collect();
        let now = self.clock.instant();
        let mut before = std::mem::take(&mut self.seen);
        if self.due.is_none_or(|due| now > due) {
            before.clear();
        }
        for node in watched {
            let heartbeat = found.remove(&self.bucket.keys().heartbeat(&node.id));
            let seen = self.seen_of(node, heartbeat, (before.remove(&node.id), now));
            self.seen.insert(node.id.clone(), seen);
        }
        let (dead, next) = self.judge(began, now);
        let until = now + next + LOOK_SLACK;
        self.due = Some(until);
        Ok(Look { dead, next, until })
    }

    /// Those that are held for dead by a look from `began` to `now`, and when to look again.
    fn judge(&mut self, began: Instant, now: Instant) -> (Vec<NodeId>, Duration) {
        let (mut dead, mut next) = (Vec::new(), LOOK_EVERY);
        // A store that took none of our heartbeats may have taken none of the others'.
        let Some(steady_since) = self.beats.steady_since(began) else { return (dead, LOOK_CLOSELY_EVERY) };
        for (id, seen) in &mut self.seen {
            let age = began.saturating_duration_since(seen.since.max(steady_since));
            if age < LATE_AFTER {
                seen.late_since = None;
                continue;
            }
            let late_for = began.saturating_duration_since(*seen.late_since.get_or_insert(now));
            if age >= DEAD_AFTER && late_for >= LATE_FOR {
                dead.push(id.clone());
            } else {
                next = LOOK_CLOSELY_EVERY;
            }
        }
        (dead, next)
    }

    fn seen_of(&self, node: &Node, heartbeat: Option<Content>, (before, now): (Option<Seen>, Instant)) -> Seen {
        // An epoch that this process opened is no sign of life of the node.
        let is_adopted = node.process == self.own.1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_counts_only_while_our_own_heartbeats_are_stored() {
        let beats = Beats::default();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(beats.steady_since(at(0)), None);
        for second in [0, 5, 12] {
            beats.stored(at(second));
        }
        assert_eq!(beats.steady_since(at(20)), Some(at(0)));
        assert_eq!(beats.steady_since(at(23)), None, "the store takes none now");
        beats.stored(at(30));
        assert_eq!(beats.steady_since(at(31)), Some(at(30)), "nor did it for a while");
    }
}
