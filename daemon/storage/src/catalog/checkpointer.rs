//! Checkpoints written beside everything else, in a task of their own, and what the mark may pass because of them.
//!
//! # Promises
//! - Following the log never waits for a checkpoint; encoding runs on the CPU pool, puts a few at a time.
//! - A table that did not change since the last checkpoint this process read or wrote is neither encoded nor put.
//! - The mark stays below what the two newest checkpoints rest on, so one of them is whole at any moment.
//!
//! # Why
//! A part that one checkpoint names may be named again by the next, while `sweep` takes it for unused: no look at the
//! store can tell what a process that sleeps is about to name. The number in its name settles it: a part at or below the
//! mark may go, whoever names it later, since a root that rests on it is not believed by anybody. In return a part is
//! written anew once it is far behind, so that a table which never changes does not hold the mark for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use super::log::{Log, WrittenPart};
use super::{Catalog, Error, State, Table, checkpoint, format, mark, resume};
use crate::bucket::{Kind, keys};
use crate::model::TableId;
use crate::tasks::Tasks;

/// Parts under way at one time.
const PARTS_AT_ONCE: usize = 8;

/// A part is written anew after so many checkpoints. Until then the log above it is kept.
const PART_CHECKPOINTS_MAX: u64 = 256;

/// After a checkpoint that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

impl Catalog {
    /// Starts the task that writes a checkpoint whenever the newest one is `every` entries behind.
    pub(crate) fn start_checkpoints(&self, every: u64) {
        let task = Checkpointer { log: Arc::clone(&self.log), tasks: self.tasks.clone(), every };
        self.tasks.start("catalog checkpoint", task.run());
    }

    /// When entry `number`, which must be there, was made.
    async fn made_at_ms(&self, number: u64) -> Result<u64, Error> {
        let key = self.log.bucket.keys().catalog_entry(number);
        let frame = self.log.bucket.get_frame(&key).await?;
        format::made_at_ms(&frame.payload).map_err(|reason| Error::Corrupt(format!("object {key}: {reason}")))
    }

    /// Raises the mark below what the two newest checkpoints rest on, once the older of them is as old as `kept`.
    /// Returns the mark: what carries a number up to there may be deleted.
    pub(crate) async fn raise_mark(&self, kept: Duration) -> Result<u64, Error> {
        let bucket = &self.log.bucket;
        let mark = mark::marks(bucket).await?.last().copied().unwrap_or(0);
        let listed = bucket.list(&bucket.keys().catalog_checkpoints(), None).await?;
        let numbers: Vec<u64> = listed.iter().filter_map(keys::number_of).filter(|number| *number > mark).collect();
        let mut believed = Vec::new();
        for number in numbers.into_iter().rev() {
            let root = match resume::read_root(bucket, number).await {
                Ok(Some((_, root))) => root,
                Ok(None) => continue,
                Err(Error::Corrupt(reason)) => {
                    tracing::error!(%reason, "a checkpoint of the catalog is damaged, it holds nothing");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if root.rests_on() > mark {
                believed.push((number, root.rests_on()));
            }
            if let [(_, newest_rests_on), (older, older_rests_on)] = believed[..] {
                let age_ms = self.now_ms().saturating_sub(self.made_at_ms(older).await?);
                let reached = newest_rests_on.min(older_rests_on).saturating_sub(1);
                if Duration::from_millis(age_ms) < kept || reached <= mark {
                    return Ok(mark);
                }
                let frame = self.log.frame(Kind::CatalogMark, reached, bytes::Bytes::new());
                // Another node that raised it to the same number did as well as we.
                bucket.create(&bucket.keys().catalog_mark(reached), &frame).await?;
                return Ok(reached);
            }
        }
        Ok(mark)
    }

    /// The marks below the newest two. Two stay, because a listing is no single moment: one that misses a new mark must
    /// not miss the one before it as well.
    pub(crate) async fn old_marks(&self) -> Result<Vec<u64>, Error> {
        let mut marks = mark::marks(&self.log.bucket).await?;
        marks.truncate(marks.len().saturating_sub(2));
        Ok(marks)
    }
}

struct Checkpointer {
    log: Arc<Log>,
    tasks: Tasks,
    every: u64,
}

impl Checkpointer {
    async fn run(self) {
        let stopping = self.tasks.stopping();
        let mut states = self.log.state.subscribe();
        loop {
            tokio::select! {
                biased;
                // A flag and a look at the state; nothing is lost when one is dropped.
                () = stopping.cancelled() => return,
                _ = states.wait_for(|state| state.version >= self.log.newest_checkpoint().saturating_add(self.every)) => {}
            }
            let written = tokio::select! {
                biased;
                // Dropped half-way it leaves parts that no root names; they go when the mark passes them.
                () = stopping.cancelled() => return,
                written = self.write_if_due() => written,
            };
            if let Err(error) = written {
                tracing::warn!(%error, "could not write a catalog checkpoint");
                tokio::select! {
                    biased;
                    // Both are timers or flags; nothing is lost when one is dropped.
                    () = stopping.cancelled() => return,
                    () = self.log.clock.sleep(RETRY_AFTER) => {}
                }
            }
        }
    }

    async fn write_if_due(&self) -> Result<(), Error> {
        let bucket = &self.log.bucket;
        let state = self.log.state();
        // Ours is due; another node may have been first.
        let known = bucket.keys().catalog_checkpoint(self.log.newest_checkpoint());
        let newer = bucket.list(&bucket.keys().catalog_checkpoints(), Some(&known)).await?;
        newer.iter().filter_map(keys::number_of).for_each(|number| self.log.saw_checkpoint(number));
        if state.version < self.log.newest_checkpoint().saturating_add(self.every) {
            return Ok(());
        }
        let mark = mark::marks(bucket).await?.last().copied().unwrap_or(0);
        let oldest = state.version.saturating_sub(self.every.saturating_mul(PART_CHECKPOINTS_MAX)).max(mark + 1);
        let written = self.log.written_parts();
        let part = |(id, table): (&TableId, &Arc<Table>)| {
            let known = written.get(id).filter(|w| std::ptr::eq(w.table.as_ptr(), Arc::as_ptr(table)));
            let known = known.filter(|w| keys::part_number_of(&w.name).is_some_and(|number| number >= oldest)).cloned();
            let (id, table, number) = (*id, Arc::clone(table), state.version);
            async move {
                match known {
                    Some(known) => Ok((id, known)),
                    None => Ok::<_, Error>((id, self.put_part(number, table).await?)),
                }
            }
        };
        let parts: BTreeMap<TableId, WrittenPart> =
            stream::iter(state.tables.iter().map(part)).buffer_unordered(PARTS_AT_ONCE).try_collect().await?;
        self.put_root(&state, &parts).await?;
        self.log.wrote_checkpoint(state.version, parts);
        Ok(())
    }

    async fn put_part(&self, number: u64, table: Arc<Table>) -> Result<WrittenPart, Error> {
        let id = table.schema.table;
        let kept = Arc::downgrade(&table);
        let (hash, payload) = self.tasks.cpu(move || checkpoint::encode_part(&table)).await;
        let name = keys::part_name(number, &hash);
        let frame = self.log.frame(Kind::CatalogPart, number, payload);
        // A part of this name that is there already holds the same state: another node writes this checkpoint too.
        self.log.bucket.create(&self.log.bucket.keys().catalog_part(id, &name), &frame).await?;
        Ok(WrittenPart { table: kept, name })
    }

    async fn put_root(&self, state: &Arc<State>, parts: &BTreeMap<TableId, WrittenPart>) -> Result<(), Error> {
        let names = parts.iter().map(|(table, part)| (table.0, part.name.clone())).collect();
        let encoded = Arc::clone(state);
        let root = self.tasks.cpu(move || checkpoint::encode_root(&encoded, names)).await;
        let frame = self.log.frame(Kind::CatalogRoot, state.version, root);
        self.log.bucket.create(&self.log.bucket.keys().catalog_checkpoint(state.version), &frame).await?;
        Ok(())
    }
}
