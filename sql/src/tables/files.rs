//! Reading Parquet files through the store.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;

/// The name under which the planner knows the store; it never leaves this process.
pub(crate) fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("weir://bucket/").expect("it is a URL without a path")
}

/// Gives each scan its readers. Footers are kept in the shared cache by path: a published file never changes.
#[derive(Debug)]
pub(crate) struct FileReaders {
    cached: CachedParquetFileReaderFactory,
}

impl FileReaders {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, footers: Arc<FileMetadataCache>) -> Self {
        Self { cached: CachedParquetFileReaderFactory::new(store, footers) }
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
        let inner = self.cached.create_reader(partition_index, file, metadata_size_hint, metrics)?;
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
#[error("read file {path}: {source}")]
pub(crate) struct FileError {
    path: Arc<str>,
    source: ParquetError,
}

fn named<T>(path: &Arc<str>, result: ParquetResult<T>) -> ParquetResult<T> {
    result.map_err(|source| ParquetError::External(Box::new(FileError { path: Arc::clone(path), source })))
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
        async move { named(&self.path, self.inner.get_metadata(options).await) }.boxed()
    }
}
