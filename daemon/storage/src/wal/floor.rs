//! The stamps one writer gives, and the floor below which it gives none any more.
//!
//! # Promises
//! - Stamps rise, and are above everything this writer has seen: whoever has read a row through this node and then
//!   writes it through this node wins, however slow its clock is.
//!
//! # Not here
//! - Order between writers that have not seen each other: their clocks decide.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{Position, Stamp};

/// A handle; clones share the stamps of one writer.
#[derive(Debug, Clone)]
pub struct StampFloor(Arc<Mutex<Given>>);

#[derive(Debug)]
struct Given {
    /// The newest object that has a stamp, stored or on its way.
    position: Position,
    /// Every later stamp is above this one.
    floor: Stamp,
}

impl StampFloor {
    /// For a node that writes no rows.
    #[must_use]
    pub fn of_no_writer() -> Self {
        Self::new(Position(0), Stamp::SETTLED)
    }

    pub(super) fn new(position: Position, floor: Stamp) -> Self {
        Self(Arc::new(Mutex::new(Given { position, floor })))
    }

    /// The stamp of the object at `position`, which `next` makes from the one it must be above.
    pub(super) fn give(&self, position: Position, next: impl FnOnce(Stamp) -> Stamp) -> Stamp {
        let mut given = self.0.lock();
        let stamp = next(given.floor);
        *given = Given { position, floor: stamp.max(given.floor) };
        stamp
    }

    /// Every stamp given from now on is above `stamp`, which is about to be shown to somebody.
    pub fn see(&self, stamp: Stamp) {
        let mut given = self.0.lock();
        given.floor = given.floor.max(stamp);
    }

    /// A stamp above `stamp` and above all that this writer has given or seen; every one given from now on is above it.
    #[must_use]
    pub fn pass(&self, stamp: Stamp) -> Stamp {
        let mut given = self.0.lock();
        given.floor = Stamp::above(given.floor.max(stamp));
        given.floor
    }

    /// Promises that every stamp given from now on is above `floor`. `false`, and no promise, when an object past
    /// `persisted` has a stamp already: its rows are not in files, and may be below the floor.
    #[must_use]
    pub fn raise(&self, persisted: Position, floor: Stamp) -> bool {
        let mut given = self.0.lock();
        let may = given.position <= persisted;
        if may {
            given.floor = given.floor.max(floor);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_promised_only_while_nothing_stamped_is_outside_files() {
        let stamps = StampFloor::new(Position(4), Stamp(10));
        let after = |floor: Stamp| Stamp(floor.0 + 1);
        assert!(stamps.raise(Position(4), Stamp(50)));
        assert_eq!(stamps.give(Position(5), after), Stamp(51));
        assert!(!stamps.raise(Position(4), Stamp(90)), "object 5 is on its way");
        assert_eq!(stamps.give(Position(6), after), Stamp(52));
        assert!(stamps.raise(Position(6), Stamp(20)), "a lower floor holds already");
        assert_eq!(stamps.give(Position(7), after), Stamp(53));
    }

    #[test]
    fn what_was_seen_is_below_everything_written_later() {
        let stamps = StampFloor::new(Position(4), Stamp(10));
        stamps.see(Stamp(80));
        stamps.see(Stamp(40));
        assert_eq!(stamps.give(Position(5), |floor| Stamp(floor.0 + 1)), Stamp(81));
    }
}
