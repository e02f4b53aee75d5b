//! Sessions by their numbers, so that another connection can cancel what one waits for, end it, and see what it does.
//!
//! # Promises
//! - Numbers and secrets are random: 63 bits that somebody else would have to guess.
//! - Of a query a kilobyte is kept.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sql::Active;
use storage::clock::Clock;
use tokio_util::sync::CancellationToken;

/// What is kept of the text of a query.
const SHOWN_BYTES_MAX: usize = 1024;

/// All sessions of this node.
#[derive(Debug)]
pub(super) struct Backends {
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_number: HashMap<i32, Entry>,
}

#[derive(Debug)]
struct Entry {
    secret: i32,
    switch: Arc<Switch>,
    /// Ends the session.
    finish: CancellationToken,
    is_ended: CancellationToken,
    seen: Arc<Mutex<Active>>,
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
    /// Thrown when it is ended alone, while the node goes on.
    pub(super) is_ended: CancellationToken,
    seen: Arc<Mutex<Active>>,
}

impl Backend {
    /// A query has come.
    pub(super) fn asks(&self, text: &str, application_name: &str) {
        let cut = text.floor_char_boundary(SHOWN_BYTES_MAX);
        let mut seen = self.seen.lock();
        seen.query = Some((text[..cut].to_owned(), self.all.clock.now_ns()));
        seen.application_name = application_name.to_owned();
        seen.is_active = true;
    }

    /// All that came is answered.
    pub(super) fn rests(&self) {
        self.seen.lock().is_active = false;
    }
}

impl Default for Backends {
    fn default() -> Self {
        Self { clock: Clock::system(), known: Mutex::default() }
    }
}

impl Backends {
    /// `finish` ends the session; of `seen` all but the number is known.
    pub(super) fn enter(self: &Arc<Self>, seen: Active, finish: CancellationToken) -> Backend {
        let switch = Arc::new(Switch::default());
        let mut known = self.known.lock();
        let (mut number, mut secret) = chance();
        while known.by_number.contains_key(&number) {
            (number, secret) = chance();
        }
        let seen = Arc::new(Mutex::new(Active { backend: number, began_ns: self.clock.now_ns(), ..seen }));
        let is_ended = CancellationToken::new();
        let entry =
            Entry { secret, switch: Arc::clone(&switch), finish, is_ended: is_ended.clone(), seen: Arc::clone(&seen) };
        known.by_number.insert(number, entry);
        Backend { all: Arc::clone(self), number, secret, switch, is_ended, seen }
    }

    /// Cancels what session `number` does, if this is its secret.
    pub(super) fn cancel(&self, number: i32, secret: i32) {
        self.with(number, |entry| {
            if entry.secret == secret {
                entry.switch.throw();
            }
        });
    }

    fn with<T>(&self, number: i32, work: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.known.lock().by_number.get(&number).map(work)
    }
}

impl sql::Activity for Backends {
    fn sessions(&self) -> Vec<Active> {
        self.known.lock().by_number.values().map(|entry| entry.seen.lock().clone()).collect()
    }

    fn session(&self, backend: i32) -> Option<Active> {
        self.with(backend, |entry| entry.seen.lock().clone())
    }

    fn cancel(&self, backend: i32) {
        self.with(backend, |entry| entry.switch.throw());
    }

    fn terminate(&self, backend: i32) {
        self.with(backend, |entry| {
            entry.is_ended.cancel();
            entry.finish.cancel();
            entry.switch.throw();
        });
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
    use sql::Activity;

    use super::*;

    #[test]
    fn only_who_knows_the_secret_cancels_and_only_what_runs() {
        let all = Arc::new(Backends::default());
        let enter = || all.enter(Active::default(), CancellationToken::new());
        let (first, second) = (enter(), enter());
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

    #[test]
    fn what_a_session_does_is_seen_and_it_is_ended_with_what_it_does() {
        let all = Arc::new(Backends::default());
        let finish = CancellationToken::new();
        let session = all.enter(Active { user: "me".to_owned(), ..Active::default() }, finish.clone());
        session.asks(&"é".repeat(1_000), "psql");
        let seen = all.sessions();
        let (text, _) = seen[0].query.clone().expect("it has asked");
        assert_eq!(
            (text.len(), &*seen[0].user, &*seen[0].application_name, seen[0].is_active),
            (1_024, "me", "psql", true)
        );
        let running = session.switch.begin();
        Activity::cancel(&*all, session.number);
        assert!(running.is_cancelled() && !finish.is_cancelled());
        let running = session.switch.begin();
        all.terminate(session.number);
        assert!(running.is_cancelled() && finish.is_cancelled() && session.is_ended.is_cancelled());
        assert_eq!(all.session(session.number).map(|seen| seen.user).as_deref(), Some("me"));
        assert_eq!(all.session(session.number ^ 1), None);
        session.rests();
        assert!(!all.sessions()[0].is_active);
        drop(session);
        assert_eq!(all.sessions(), []);
    }
}
