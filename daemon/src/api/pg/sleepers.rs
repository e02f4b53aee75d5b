//! Answers that wait for their clients, all of this node: cursors that nobody asks for more rows, and rows that a client
//! does not read.
//!
//! # Promises
//! - There are few: for a further one, the one that has waited longest is ended, and says so when it is asked.
//! - Nobody waits for them: an answer that waits holds memory, and neither a place nor a permit of the query engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::errors::Refusal;
use super::rows::Fate;

/// Each holds a few pieces of rows, and what its plan holds. The query engine has room for twice as many.
const SLEEPERS_MAX: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Sleepers(Mutex<Asleep>);

#[derive(Debug, Default)]
struct Asleep {
    last: u64,
    /// By when they fell asleep.
    by_number: BTreeMap<u64, Arc<Fate>>,
}

/// One that waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Sleep {
    all: Arc<Sleepers>,
    number: u64,
}

impl Sleepers {
    pub(super) fn sleep(self: &Arc<Self>, fate: Arc<Fate>) -> Sleep {
        let mut asleep = self.0.lock();
        while asleep.by_number.len() >= SLEEPERS_MAX
            && let Some((_, longest)) = asleep.by_number.pop_first()
        {
            let message = format!("{SLEEPERS_MAX} answers wait for their clients, and this one had waited longest");
            longest.end(Refusal::new("53400", message));
        }
        asleep.last += 1;
        let number = asleep.last;
        asleep.by_number.insert(number, fate);
        Sleep { all: Arc::clone(self), number }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.all.0.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_slept_longest_makes_room() {
        let all = Arc::new(Sleepers::default());
        let fates: Vec<Arc<Fate>> = (0..=SLEEPERS_MAX).map(|_| Arc::default()).collect();
        let mut sleeps: Vec<Option<Sleep>> =
            fates[..SLEEPERS_MAX].iter().map(|fate| Some(all.sleep(Arc::clone(fate)))).collect();
        // The first one wakes up, and sleeps again.
        sleeps[0] = None;
        sleeps[0] = Some(all.sleep(Arc::clone(&fates[0])));
        let ended = || -> Vec<usize> { (0..fates.len()).filter(|at| fates[*at].why().is_some()).collect() };
        assert_eq!(ended(), [0; 0]);
        sleeps.push(Some(all.sleep(Arc::clone(&fates[SLEEPERS_MAX]))));
        assert_eq!(ended(), [1]);
        drop(sleeps);
        assert!(all.0.lock().by_number.is_empty());
    }
}
