//! A store in memory that is as slow as one behind a network.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};

use super::Store;

/// Every call waits for an answer so long.
const CALL: Duration = Duration::from_millis(100);

/// A listing gets so many entries with one call.
const ENTRIES_PER_CALL: u32 = 1000;

/// A gigabyte takes a second.
const BYTE: Duration = Duration::from_nanos(1);

/// For trying out what distance does; everything is gone with the process.
#[must_use]
pub fn throttled_memory() -> Store {
    let entry = CALL / ENTRIES_PER_CALL;
    let config = ThrottleConfig {
        wait_delete_per_call: CALL,
        wait_get_per_byte: BYTE,
        wait_get_per_call: CALL,
        wait_list_per_call: CALL,
        wait_list_per_entry: entry,
        wait_list_with_delimiter_per_call: CALL,
        wait_list_with_delimiter_per_entry: entry,
        wait_put_per_call: CALL,
    };
    Arc::new(ThrottledStore::new(InMemory::new(), config))
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use object_store::{ObjectStoreExt, PutPayload};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_call_takes_the_time_of_a_network() {
        let (store, key, began) = (throttled_memory(), Path::from("a"), Instant::now());
        store.put(&key, PutPayload::from_static(b"x")).await.expect("memory takes it");
        assert!(began.elapsed() >= CALL);
        store.get(&key).await.expect("it is there").bytes().await.expect("it can be read");
        assert!(began.elapsed() >= CALL * 2);
    }
}
