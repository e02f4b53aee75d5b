//! Somebody orders files to be merged while others write.
//!
//! # Promises
//! - What is written while an order is carried out is neither lost nor doubled by it.

use rand::Rng;

use super::{FIRST_CLIENTS, Process, Run};

impl Run {
    /// Returns whether the write was acknowledged.
    pub(super) async fn write_beside_an_order(&mut self, process: &Process) -> bool {
        let client = self.chance.random_range(FIRST_CLIENTS);
        let (is_merged, acked) = tokio::join!(process.compact(), self.write(process, client));
        self.told.orders += u64::from(is_merged);
        acked
    }
}
