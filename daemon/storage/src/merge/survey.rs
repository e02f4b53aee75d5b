use std::sync::Arc;

use arrow_array::RecordBatch;

use super::sorted::{Place, Sorted};
use super::{Error, Layout};
use crate::model::{SeriesKey, Stamp, TimeRange};

/// What a sorted stream holds, learned batch by batch while it passes.
#[derive(Debug)]
pub struct Survey {
    layout: Layout,
    found: Option<Found>,
    last: Option<Place>,
}

/// What was found in the batches of a stream.
#[derive(Debug, Clone)]
pub struct Found {
    pub rows: u64,
    pub time: TimeRange,
    pub key_min: SeriesKey,
    pub key_max: SeriesKey,
    pub stamp_min: Stamp,
    pub stamp_max: Stamp,
    /// Whether some row stands in more than one version.
    pub has_versions: bool,
    /// Of string fields, and of tag values, once for each series of a batch: what `Cuts::bytes_max` counts.
    pub string_bytes: u64,
}

impl Survey {
    pub fn new(layout: Layout) -> Result<Self, Error> {
        layout.check()?;
        Ok(Self { layout, found: None, last: None })
    }

    /// Looks at the next batch. One that is not sorted, or does not follow the one before it, is an error.
    pub fn see(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let Some(batch) = Sorted::of_input(0, batch.clone(), &self.layout)? else { return Ok(()) };
        let batch = Arc::new(batch);
        let first = batch.place(0);
        let mut has_versions = batch.has_repeats();
        if let Some(last) = &self.last {
            if last.order(&first).is_gt() {
                return Err(Error::Unsorted { input: 0, row: 0 });
            }
            has_versions |= last.same_key(&batch, 0);
        }
        let (stamp_min, stamp_max) = batch.stamp_range();
        let found = Found {
            rows: batch.rows() as u64,
            time: batch.time_range(),
            key_min: batch.key(0),
            key_max: batch.key(batch.rows() - 1),
            stamp_min,
            stamp_max,
            has_versions,
            string_bytes: batch.bytes(0, batch.rows()),
        };
        self.found = Some(match self.found.take() {
            None => found,
            Some(before) => before.then(found),
        });
        self.last = Some(batch.place(batch.rows() - 1));
        Ok(())
    }

    /// `None` when there were no rows.
    #[must_use]
    pub fn found(self) -> Option<Found> {
        self.found
    }
}

impl Found {
    fn then(self, next: Self) -> Self {
        Self {
            rows: self.rows + next.rows,
            time: self.time.union(next.time),
            key_min: self.key_min,
            key_max: next.key_max,
            stamp_min: self.stamp_min.min(next.stamp_min),
            stamp_max: self.stamp_max.max(next.stamp_max),
            has_versions: self.has_versions || next.has_versions,
            string_bytes: self.string_bytes + next.string_bytes,
        }
    }
}
