//! A value that operators turn while the node runs.
//!
//! # Promises
//! - Whoever holds a clone sees the newest value, at once.
//!
//! # Not here
//! - What a setting is called and which values it may have: whoever turns the knob knows.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Debug, Clone)]
pub struct Knob<T>(Arc<watch::Sender<T>>);

impl<T: Clone + PartialEq> Knob<T> {
    #[must_use]
    pub fn get(&self) -> T {
        self.0.borrow().clone()
    }

    pub fn set(&self, value: T) {
        self.0.send_if_modified(|held| {
            let is_new = *held != value;
            *held = value;
            is_new
        });
    }

    /// The value, and a future that comes when it is another one.
    pub fn until_changed(&self) -> (T, impl Future<Output = ()> + use<T>) {
        let mut watched = self.0.subscribe();
        let value = watched.borrow_and_update().clone();
        let knob = self.clone();
        let changed = async move {
            // The sender lives as long as this.
            let _ = watched.changed().await;
            drop(knob);
        };
        (value, changed)
    }
}

impl<T> From<T> for Knob<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(watch::Sender::new(value)))
    }
}
