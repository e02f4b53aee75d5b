//! Calls that were refused: one that is tried again and again is logged once.

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;

/// Of so many it is remembered that they were logged. An address has at most a few.
const REMEMBERED_MAX: usize = 256;

/// Who was refused, and the kinds of reasons.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<VecDeque<(IpAddr, &'static str)>>);

impl Refusals {
    /// Logs it, unless it was logged. `detail` may change from call to call, `reason` does not.
    pub(super) fn tell(&self, from: SocketAddr, reason: &'static str, detail: impl Display) {
        if self.is_news(from.ip(), reason) {
            tracing::warn!(%from, reason, %detail, "refused a call of another node");
        }
    }

    /// A call from there was served: what comes after it is another trouble.
    pub(super) fn forget(&self, from: SocketAddr) {
        self.0.lock().retain(|(address, _)| *address != from.ip());
    }

    fn is_news(&self, from: IpAddr, reason: &'static str) -> bool {
        let mut told = self.0.lock();
        if told.contains(&(from, reason)) {
            return false;
        }
        if told.len() >= REMEMBERED_MAX {
            told.pop_front();
        }
        told.push_back((from, reason));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> SocketAddr {
        (IpAddr::from(number.to_be_bytes()), 1).into()
    }

    #[test]
    fn callers_that_take_turns_are_each_news_once() {
        let refusals = Refusals::default();
        let news = |number, reason| refusals.is_news(address(number).ip(), reason);
        assert_eq!([news(1, "a"), news(2, "a"), news(1, "b")], [true; 3]);
        assert_eq!([news(1, "a"), news(2, "a"), news(1, "b"), news(1, "a")], [false; 4]);
        refusals.forget(address(1));
        assert_eq!([news(1, "a"), news(2, "a")], [true, false]);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let refusals = Refusals::default();
        (0..10_000).for_each(|number| assert!(refusals.is_news(address(number).ip(), "a")));
        assert_eq!(refusals.0.lock().len(), REMEMBERED_MAX);
    }
}
