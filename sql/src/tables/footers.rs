//! Footers of data files that were read, kept in memory for the next query.
//!
//! # Promises
//! - They take no more memory than is set; what was not used for longest goes first. Another limit holds from the next look at
//!   their figures, or the next footer that is read, on.
//! - A footer is that of the file it was read from: a published file never changes.
//! - It is counted how often one was there, and how often it had to be read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::datasource::physical_plan::parquet::CachedParquetMetaData;
use datafusion::execution::cache::Cache;
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::execution::cache::default_cache::DefaultCache;
use datafusion::parquet::file::metadata::ParquetMetaData;
use metrics::recent::Recent;
use object_store::ObjectMeta;
use object_store::path::Path;
use storage::knob::Knob;
use tokio::time::Instant;

/// The footers of all queries of a node.
pub(crate) struct Footers {
    kept: Arc<DefaultCache<Path, CachedFileMetadataEntry>>,
    bytes_max: Knob<u64>,
    began: Instant,
    hits: Counted,
    misses: Counted,
}

#[derive(Debug, Default)]
struct Counted {
    all: AtomicU64,
    recent: Recent,
}

impl Counted {
    fn add(&self, now: Duration) {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.recent.add(now, 1);
    }
}

/// How footers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FooterUse {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Of the last minutes, see `Recent`.
    pub(crate) recent_hits: u64,
    pub(crate) recent_misses: u64,
}

impl Footers {
    pub(crate) fn new(bytes_max: Knob<u64>) -> Self {
        let kept = Arc::new(DefaultCache::new(size(&bytes_max)));
        Self { kept, bytes_max, began: Instant::now(), hits: Counted::default(), misses: Counted::default() }
    }

    /// As the query engine knows it.
    pub(super) fn shared(&self) -> Arc<FileMetadataCache> {
        Arc::clone(&self.kept) as _
    }

    pub(super) fn get(&self, file: &ObjectMeta) -> Option<Arc<ParquetMetaData>> {
        let kept = self.kept.get(&file.location).filter(|kept| kept.is_valid_for(file));
        let footer = kept.as_ref().and_then(|kept| kept.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>());
        footer.map(|footer| Arc::clone(footer.parquet_metadata()))
    }

    /// Of a scan that needed one and found it here. Its readers of rows ask again, which does not count.
    pub(super) fn count_hit(&self) {
        self.hits.add(self.began.elapsed());
    }

    /// Keeps one that had to be read.
    pub(super) fn put(&self, file: &ObjectMeta, footer: &Arc<ParquetMetaData>) {
        self.misses.add(self.began.elapsed());
        self.follow();
        let kept = Arc::new(CachedParquetMetaData::new(Arc::clone(footer)));
        self.kept.put(&file.location, CachedFileMetadataEntry::new(file.clone(), kept));
    }

    /// Has room as it is set now.
    fn follow(&self) {
        let wanted = size(&self.bytes_max);
        if self.kept.cache_limit() != wanted {
            self.kept.update_cache_limit(wanted);
        }
    }

    pub(crate) fn figures(&self) -> FooterUse {
        self.follow();
        let now = self.began.elapsed();
        FooterUse {
            files: self.kept.len(),
            bytes: self.kept.memory_used() as u64,
            bytes_max: self.bytes_max.get(),
            hits: self.hits.all.load(Ordering::Relaxed),
            misses: self.misses.all.load(Ordering::Relaxed),
            recent_hits: self.hits.recent.sum(now),
            recent_misses: self.misses.recent.sum(now),
        }
    }
}

fn size(bytes: &Knob<u64>) -> usize {
    usize::try_from(bytes.get()).unwrap_or(usize::MAX)
}

impl fmt::Debug for Footers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Footers").field("figures", &self.figures()).finish_non_exhaustive()
    }
}
