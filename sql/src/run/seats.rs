//! Room for a number of queries that an operator can change while they run.
//!
//! # Promises
//! - Whoever has a seat keeps it. When there are to be fewer, nobody is given one until enough were given back.
//! - Those who wait are served in their order, also when there are more seats at once.

use std::sync::Arc;

use storage::knob::Knob;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

#[derive(Debug)]
pub(super) struct Seats {
    seats: Arc<Semaphore>,
    knob: Knob<u64>,
    of: fn(usize) -> usize,
    _following: AbortOnDropHandle<()>,
}

/// A semaphore takes no more at one time.
const SEATS_MAX: usize = u32::MAX as usize >> 3;

fn count(knob: &Knob<u64>, of: fn(usize) -> usize) -> usize {
    of(usize::try_from(knob.get()).unwrap_or(usize::MAX)).clamp(1, SEATS_MAX)
}

impl Seats {
    /// As many as `of` makes of the number that is set.
    pub(super) fn new(knob: &Knob<u64>, of: fn(usize) -> usize, runtime: &Handle) -> Self {
        let there = count(knob, of);
        let seats = Arc::new(Semaphore::new(there));
        let following = runtime.spawn(follow((knob.clone(), of), Arc::clone(&seats), there));
        Self { seats, knob: knob.clone(), of, _following: AbortOnDropHandle::new(following) }
    }

    pub(super) fn count(&self) -> usize {
        count(&self.knob, self.of)
    }

    /// Waits for one. `None` never comes: seats are there for as long as this is.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).acquire_owned().await.ok()
    }

    pub(super) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).try_acquire_owned().ok()
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.seats.available_permits()
    }
}

async fn follow((knob, of): (Knob<u64>, fn(usize) -> usize), seats: Arc<Semaphore>, mut there: usize) {
    loop {
        let (_, changed) = knob.until_changed();
        let wanted = count(&knob, of);
        if wanted >= there {
            seats.add_permits(wanted - there);
            there = wanted;
            changed.await;
            continue;
        }
        let surplus = u32::try_from(there - wanted).expect("no more than SEATS_MAX");
        tokio::select! {
            biased;
            // Seats that were given back already are free again when this is dropped.
            () = changed => {}
            taken = seats.acquire_many(surplus) => {
                let Ok(taken) = taken else { return };
                taken.forget();
                there = wanted;
            }
        }
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
}
