//! Room for a number of queries that an operator can change while they run.
//!
//! # Promises
//! - Whoever has a seat keeps it. When there are to be fewer, nobody is given one until enough were given back, also those
//!   who wait already.
//! - Those who wait are served in their order, also when there are more seats at once.

use std::sync::Arc;

use parking_lot::Mutex;
use storage::knob::Knob;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

#[derive(Debug)]
pub(super) struct Seats {
    room: Arc<Room>,
    _following: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Room {
    seats: Arc<Semaphore>,
    /// How many there are, taken or free.
    there: Mutex<usize>,
    knob: Knob<u64>,
    of: fn(usize) -> usize,
}

/// One that is taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A semaphore takes no more at one time.
const SEATS_MAX: usize = u32::MAX as usize >> 3;

impl Seats {
    /// As many as `of` makes of the number that is set.
    pub(super) fn new(knob: &Knob<u64>, of: fn(usize) -> usize, runtime: &Handle) -> Self {
        let room = Room { seats: Arc::new(Semaphore::new(0)), there: Mutex::new(0), knob: knob.clone(), of };
        room.settle();
        let room = Arc::new(room);
        let following = runtime.spawn(follow(Arc::clone(&room)));
        Self { room, _following: AbortOnDropHandle::new(following) }
    }

    pub(super) fn count(&self) -> usize {
        self.room.wanted()
    }

    /// Waits for one. `None` never comes: seats are there for as long as this is.
    pub(super) async fn take(&self) -> Option<Seat> {
        // One that was handed to somebody who went meanwhile came back past `Seat`.
        self.room.settle();
        Arc::clone(&self.room.seats).acquire_owned().await.ok().map(|permit| self.seat(permit))
    }

    pub(super) fn try_take(&self) -> Option<Seat> {
        self.room.settle();
        Arc::clone(&self.room.seats).try_acquire_owned().ok().map(|permit| self.seat(permit))
    }

    fn seat(&self, permit: OwnedSemaphorePermit) -> Seat {
        Seat { room: Arc::clone(&self.room), permit: Some(permit) }
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.room.seats.available_permits()
    }
}

impl Room {
    fn wanted(&self) -> usize {
        (self.of)(usize::try_from(self.knob.get()).unwrap_or(usize::MAX)).clamp(1, SEATS_MAX)
    }

    /// Has as many as are wanted, or takes away what is free of those that are too many.
    fn settle(&self) {
        let mut there = self.there.lock();
        let wanted = self.wanted();
        if wanted >= *there {
            self.seats.add_permits(wanted - *there);
            *there = wanted;
        } else {
            *there -= self.seats.forget_permits(*there - wanted);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Locked until the seat is free or gone: in between, `settle` would find neither.
        let mut there = self.room.there.lock();
        let permit = self.permit.take();
        if *there > self.room.wanted() {
            *there -= 1;
            // One that waits would get it, and those who wait keep coming.
            permit.into_iter().for_each(OwnedSemaphorePermit::forget);
        }
    }
}

async fn follow(room: Arc<Room>) {
    loop {
        let (_, changed) = room.knob.until_changed();
        room.settle();
        changed.await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn seats_become_more_at_once_and_fewer_as_they_are_given_back() {
        let knob = Knob::from(2);
        let seats = Seats::new(&knob, |n| n, &Handle::current());
        let settle = || tokio::time::sleep(Duration::from_millis(1));
        let mut taken: Vec<_> = [seats.try_take(), seats.try_take()].into_iter().flatten().collect();
        assert_eq!((taken.len(), seats.try_take().is_none()), (2, true));
        knob.set(4);
        settle().await;
        taken.extend([seats.try_take(), seats.try_take()].into_iter().flatten());
        assert_eq!((taken.len(), seats.try_take().is_none(), seats.count()), (4, true, 4));
        knob.set(1);
        settle().await;
        for left in (1..4).rev() {
            taken.pop();
            settle().await;
            assert!(seats.try_take().is_none(), "{left} are taken, and one may be");
        }
        taken.pop();
        settle().await;
        assert_eq!(seats.free(), 1);
        // Changed again before enough were given back.
        knob.set(3);
        settle().await;
        let held = [seats.try_take(), seats.try_take()];
        knob.set(1);
        settle().await;
        knob.set(3);
        settle().await;
        assert_eq!(seats.free(), 1);
        drop(held);
        assert_eq!(seats.free(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_seats_are_given_at_once_also_while_many_wait() {
        let knob = Knob::from(3);
        let seats = Arc::new(Seats::new(&knob, |n| n, &Handle::current()));
        let settle = || tokio::time::sleep(Duration::from_millis(1));
        let mut taken: Vec<_> = (0..3).filter_map(|_| seats.try_take()).collect();
        let (served, mut given) = tokio::sync::mpsc::channel(10);
        for _ in 0..10 {
            let (seats, served) = (Arc::clone(&seats), served.clone());
            Handle::current().spawn(async move { served.send(seats.take().await.expect("seats are there")).await });
        }
        settle().await;
        knob.set(1);
        settle().await;
        for left in (1..3).rev() {
            taken.pop();
            settle().await;
            assert!(given.try_recv().is_err(), "{left} are taken, and one may be");
        }
        taken.pop();
        for served in 1..=10 {
            settle().await;
            let seat = given.try_recv().unwrap_or_else(|_| panic!("{served} are served one after the other"));
            assert!(given.try_recv().is_err(), "one may be");
            drop(seat);
        }
        knob.set(2);
        settle().await;
        assert_eq!(seats.free(), 2);
    }
}
