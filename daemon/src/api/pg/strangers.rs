//! Peers that are not logged in.
//!
//! # Promises
//! - There are few: for a further one, the one that came first is sent away. Whoever is silent keeps nobody out.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub(super) const STRANGERS_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    last: u64,
    /// By when they came.
    by_number: BTreeMap<u64, CancellationToken>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    all: Arc<Strangers>,
    number: u64,
    /// Others came.
    pub(super) displaced: CancellationToken,
}

impl Strangers {
    pub(super) fn enter(self: &Arc<Self>) -> Stranger {
        let mut known = self.0.lock();
        while known.by_number.len() >= STRANGERS_MAX
            && let Some((_, first)) = known.by_number.pop_first()
        {
            first.cancel();
        }
        known.last += 1;
        let (number, displaced) = (known.last, CancellationToken::new());
        known.by_number.insert(number, displaced.clone());
        Stranger { all: Arc::clone(self), number, displaced }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.all.0.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_makes_room() {
        let all = Arc::new(Strangers::default());
        let first: Vec<Stranger> = (0..STRANGERS_MAX).map(|_| all.enter()).collect();
        assert!(first.iter().all(|stranger| !stranger.displaced.is_cancelled()));
        let last = all.enter();
        let displaced: Vec<bool> = first.iter().map(|stranger| stranger.displaced.is_cancelled()).collect();
        assert!(displaced[0] && !displaced[1..].contains(&true) && !last.displaced.is_cancelled());
        drop((first, last));
        assert!(all.0.lock().by_number.is_empty());
    }
}
