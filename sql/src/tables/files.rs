//! Reading Parquet files through the store.
//!
//! # Promises
//! - Every byte of a file whose record has a tail is checked before it is looked at: a changed one fails the query.
//! - Every error names the file.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::parquet::DecodeResult;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{ObjectMeta, ObjectStore};
use storage::files::{self, Checksums};
use storage::model::Tail;

use super::Footers;

/// The name under which the planner knows the store; it never leaves this process.
pub(crate) fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("weir://bucket/").expect("it is a URL without a path")
}

/// Gives each scan its readers.
pub(crate) struct FileReaders {
    cached: CachedParquetFileReaderFactory,
    footers: Arc<Footers>,
}

impl FileReaders {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, footers: Arc<Footers>) -> Self {
        Self { cached: CachedParquetFileReaderFactory::new(store, footers.shared()), footers }
    }
}

impl fmt::Debug for FileReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReaders").field("cached", &self.cached).finish_non_exhaustive()
    }
}

impl ParquetFileReaderFactory for FileReaders {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let path: Arc<str> = file.object_meta.location.as_ref().into();
        let (meta, tail) = (file.object_meta.clone(), file.extension::<Tail>().copied());
        let inner = self.cached.create_reader(partition_index, file, metadata_size_hint, metrics)?;
        let Some(tail) = tail else { return Ok(Box::new(NamedReader { path, inner })) };
        let footers = Arc::clone(&self.footers);
        let inner = Box::new(CheckedReader { inner, meta, tail, footers, checksums: None });
        Ok(Box::new(NamedReader { path, inner }))
    }
}

/// Puts the name of the file into every error.
struct NamedReader {
    path: Arc<str>,
    inner: Box<dyn AsyncFileReader + Send>,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// Perhaps it can be read later.
    #[error("read file {path}: {source}")]
    Unread { path: Arc<str>, source: ParquetError },
    /// Its bytes are not those that were written.
    #[error("{0}")]
    Damaged(files::Error),
}

impl FileError {
    /// The one that caused `error`.
    pub(crate) fn within(error: &DataFusionError) -> Option<&Self> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(cause) = next {
            if let Some(file) = cause.downcast_ref() {
                return Some(file);
            }
            next = cause.source();
        }
        None
    }
}

fn named<T>(path: &Arc<str>, result: ParquetResult<T>) -> ParquetResult<T> {
    let named = |error| match error {
        ParquetError::External(source) => match source.downcast() {
            Ok(damaged) => FileError::Damaged(*damaged),
            Err(source) => FileError::Unread { path: Arc::clone(path), source: ParquetError::External(source) },
        },
        source => FileError::Unread { path: Arc::clone(path), source },
    };
    result.map_err(|error| ParquetError::External(Box::new(named(error))))
}

impl AsyncFileReader for NamedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { named(&self.path, self.inner.get_bytes(range).await) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { named(&self.path, self.inner.get_byte_ranges(ranges).await) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            // Of a file that is shorter than its record says, the decoder is given less than it asks for, and panics.
            let footer = AssertUnwindSafe(self.inner.get_metadata(options)).catch_unwind().await;
            let reason = || "its footer cannot be decoded".to_owned();
            let damaged = |_| Err(external(files::Error::Damaged { file: Arc::clone(&self.path), reason: reason() }));
            named(&self.path, footer.unwrap_or_else(damaged))
        }
        .boxed()
    }
}

/// Reads whole blocks, or the whole tail, and gives out only what has the checksum it was written with.
struct CheckedReader {
    inner: Box<dyn AsyncFileReader + Send>,
    meta: ObjectMeta,
    tail: Tail,
    footers: Arc<Footers>,
    /// Known once the footer is.
    checksums: Option<Checksums>,
}

impl CheckedReader {
    async fn read_footer(&mut self) -> ParquetResult<Arc<ParquetMetaData>> {
        let (name, size) = (self.meta.location.as_ref(), self.meta.size);
        let range = size.saturating_sub(self.tail.bytes)..size;
        let bytes = self.inner.get_bytes(range.clone()).await?;
        files::check_tail(name, self.tail, size, &bytes).map_err(external)?;
        // With the page indexes, since they stand in the tail, too.
        let mut decoder = ParquetMetaDataPushDecoder::try_new(size)?.with_page_index_policy(PageIndexPolicy::Optional);
        decoder.push_range(range, bytes)?;
        let DecodeResult::Data(footer) = decoder.try_decode()? else {
            return Err(ParquetError::EOF(format!("the footer is not within the last {} bytes", self.tail.bytes)));
        };
        let footer = Arc::new(footer);
        self.footers.put(&self.meta, &footer);
        Ok(footer)
    }

    async fn ranges(&mut self, ranges: &[Range<u64>]) -> ParquetResult<Vec<Bytes>> {
        let checksums = match &self.checksums {
            Some(known) => known,
            None => {
                let footer = match self.footers.get(&self.meta) {
                    Some(kept) => kept,
                    None => self.read_footer().await?,
                };
                let (name, size) = (self.meta.location.as_ref(), self.meta.size);
                let read = Checksums::of(name, size, footer.file_metadata(), self.tail).map_err(external)?;
                self.checksums.insert(read)
            }
        };
        let wide = checksums.covering(ranges);
        let parts = self.inner.get_byte_ranges(wide.clone()).await?;
        for (range, bytes) in wide.iter().zip(&parts) {
            checksums.check(range, bytes).map_err(external)?;
        }
        let part = |range: &Range<u64>| {
            let found = wide.iter().zip(&parts).find(|(wide, _)| wide.start <= range.start && range.end <= wide.end);
            let (wide, bytes) = found.ok_or_else(|| ParquetError::EOF(format!("bytes {range:?} are past the end")))?;
            let place = |at: u64| usize::try_from(at - wide.start).expect("it is within bytes in memory");
            Ok(bytes.slice(place(range.start)..place(range.end)))
        };
        ranges.iter().map(part).collect()
    }
}

fn external(error: files::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for CheckedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { Ok(self.ranges(&[range]).await?.remove(0)) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.ranges(&ranges).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            match self.footers.get(&self.meta) {
                Some(kept) => {
                    self.footers.count_hit();
                    Ok(kept)
                }
                None => self.read_footer().await,
            }
        }
        .boxed()
    }
}
