//! A number that operators turn while the node runs.
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

impl<T: Copy + PartialEq> Knob<T> {
    #[must_use]
    pub fn get(&self) -> T {
        *self.0.borrow()
    }

    pub fn set(&self, value: T) {
        self.0.send_if_modified(|held| {
            let is_new = *held != value;
            *held = value;
            is_new
        });
    }

    /// Comes when the value is another one than now.
    pub async fn changed(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().changed().await;
    }
}

impl<T> From<T> for Knob<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(watch::Sender::new(value)))
    }
}
