//! The mark: up to which number the log, its checkpoints and their parts may be gone.
//!
//! # Promises
//! - What carries a number above the mark was never deleted: no entry, no checkpoint, no part.
//! - So whoever reads something numbered n and afterwards finds the mark below n has read the only object n there ever
//!   was. With the mark at n or above it may be the late work of a process that slept, made after the true one was
//!   deleted; it is not believed, and a checkpoint above the mark says what is true. No clock has a part in this.
//!
//! # Not here
//! - When the mark is raised, and deleting: `sweep` decides.

use super::Error;
use crate::bucket::{Bucket, keys};

/// Whether the mark has reached `number`.
pub(super) async fn is_swept(bucket: &Bucket, number: u64) -> Result<bool, Error> {
    let below = bucket.keys().catalog_mark(number.saturating_sub(1));
    let above = bucket.list(&bucket.keys().catalog_marks(), Some(&below)).await?;
    Ok(above.iter().filter_map(keys::number_of).any(|mark| mark >= number))
}

/// The marks there are, in order. The last one counts; none is a mark of 0.
pub(super) async fn marks(bucket: &Bucket) -> Result<Vec<u64>, Error> {
    let listed = bucket.list(&bucket.keys().catalog_marks(), None).await?;
    Ok(listed.iter().filter_map(keys::number_of).collect())
}
