//! The versions of the catalog that running queries read, so that `sweep` keeps their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The versions in use, each with how many use it.
#[derive(Debug, Default)]
pub struct Pins(Mutex<BTreeMap<u64, usize>>);

/// Keeps one version in use for as long as it lives.
#[derive(Debug)]
pub struct Pin {
    version: u64,
    pins: Arc<Pins>,
}

impl Pins {
    #[must_use]
    pub fn pin(self: &Arc<Self>, version: u64) -> Pin {
        *self.0.lock().entry(version).or_default() += 1;
        Pin { version, pins: Arc::clone(self) }
    }

    /// The oldest version in use.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.0.lock().keys().next().copied()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        if let Some(count) = pins.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.version);
            }
        }
    }
}
