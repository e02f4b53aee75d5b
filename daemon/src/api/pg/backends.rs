//! Sessions by their numbers, so that a second connection can cancel what a first one waits for.
//!
//! # Promises
//! - Numbers and secrets are random: 63 bits that somebody else would have to guess.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// All sessions of this node.
#[derive(Debug, Default)]
pub(super) struct Backends {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_number: HashMap<i32, (i32, Arc<Switch>)>,
}

/// Cancels what a session does at the moment.
#[derive(Debug, Default)]
pub(super) struct Switch(Mutex<CancellationToken>);

impl Switch {
    /// For the statement that begins now.
    pub(super) fn begin(&self) -> CancellationToken {
        let mut current = self.0.lock();
        *current = CancellationToken::new();
        current.clone()
    }

    fn throw(&self) {
        self.0.lock().cancel();
    }
}

/// A session's place among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Backend {
    all: Arc<Backends>,
    pub(super) number: i32,
    /// Whoever knows it may cancel.
    pub(super) secret: i32,
    pub(super) switch: Arc<Switch>,
}

impl Backends {
    pub(super) fn enter(self: &Arc<Self>) -> Backend {
        let switch = Arc::new(Switch::default());
        let mut known = self.known.lock();
        let (mut number, mut secret) = chance();
        while known.by_number.contains_key(&number) {
            (number, secret) = chance();
        }
        known.by_number.insert(number, (secret, Arc::clone(&switch)));
        Backend { all: Arc::clone(self), number, secret, switch }
    }

    /// Cancels what session `number` does, if this is its secret.
    pub(super) fn cancel(&self, number: i32, secret: i32) {
        let known = self.known.lock();
        if let Some((expected, switch)) = known.by_number.get(&number)
            && *expected == secret
        {
            switch.throw();
        }
    }
}

/// A number, and a secret: whoever guesses has to guess both.
fn chance() -> (i32, i32) {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    // The low bits of both halves are random.
    let number = i32::try_from((high >> 32) & 0x7fff_ffff).expect("it has 31 bits");
    (number.max(1), (low & 0xffff_ffff).try_into().map_or(0, u32::cast_signed))
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.all.known.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_secret_cancels_and_only_what_runs() {
        let all = Arc::new(Backends::default());
        let (first, second) = (all.enter(), all.enter());
        assert_ne!(first.number, second.number);
        let running = first.switch.begin();
        all.cancel(first.number, first.secret ^ 1);
        all.cancel(second.number, second.secret);
        assert!(!running.is_cancelled());
        all.cancel(first.number, first.secret);
        assert!(running.is_cancelled());
        assert!(!first.switch.begin().is_cancelled());
        let (number, secret) = (second.number, second.secret);
        drop(second);
        all.cancel(number, secret);
    }
}
