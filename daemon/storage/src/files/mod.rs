//! Parquet files: how rows are laid out in them, and how they are read back to be merged.
//!
//! # Promises
//! - Any Parquet reader opens them; Arrow readers get the exact column types back.
//! - A file is sorted by tags (absent first), time and stamp. `write` checks that, and that its columns are right.
//! - The metadata of a file says where it belongs, so a catalog can be rebuilt from files alone.
//! - Damaged bytes are an error that names the file, never a panic and never other rows: `checksums`.
//! - `__seq` is in a file only when a row of it is unsettled.
//!
//! # Not here
//! - Which files live: the catalog says. Cutting rows into files: `snapshot`.
//!
//! # Why
//! Time and integers are delta-encoded because rows of one series stand together: 2.5 times smaller than the writer's
//! defaults, cheaper to write, faster to read. Floats keep the dictionary, which is best of what the format offers.
//! zstd at level 1: higher levels cost time and save little after these encodings. Pages of 20 000 rows with an index,
//! so that one series in a large file costs one page of each column.

mod checksums;
#[cfg(test)]
mod damage;
mod format;
mod properties;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_schema::{ArrowError, DataType};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

pub use checksums::{Checksums, check_tail};
pub use format::{FileMetadata, Origin};
pub use read::{Reader, padded};

use self::properties::{AHEAD_ROWS, properties};
use crate::bucket::Bucket;
use crate::catalog::Catalog;
use crate::merge::{self, Found, Layout, Survey};
use crate::model::{ErrorKind, FileRecord, SeriesKey, Stamp, Tail, TimeRange};

/// A row group ends before the strings of its rows pass this. A reader puts up to a whole row group into one batch,
/// and a string column of one batch can address 2 GiB.
const GROUP_STRING_BYTES_MAX: usize = 128 << 20;

/// What a file shall be.
#[derive(Debug, Clone)]
pub struct FileLayout {
    /// Of the batches; `__seq` is among the columns.
    pub columns: Layout,
    pub origin: Origin,
    pub stamps: Stamps,
}

/// What is known beforehand of the stamps of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// All rows are settled. One that is not is an error.
    Settled,
    /// Anything. When all rows turn out to be settled, the file is written twice.
    Any,
}

/// A whole file in memory, and what a `FileRecord` says of it.
#[derive(Debug, Clone)]
pub struct WrittenFile {
    pub bytes: Bytes,
    pub tail: Tail,
    pub rows: u64,
    pub string_bytes: u64,
    pub time: TimeRange,
    pub key_min: SeriesKey,
    pub key_max: SeriesKey,
    pub stamp_max: Stamp,
    pub has_versions: bool,
}

impl WrittenFile {
    /// Puts the file under a new id where `origin` says it belongs. It is nobody's until an entry of the catalog holds
    /// the record.
    pub async fn store(self, bucket: &Bucket, catalog: &Catalog, origin: &Origin) -> Arc<FileRecord> {
        let id = catalog.new_file_id();
        let path = bucket.keys().data_file((origin.database, origin.table), origin.window_start, id);
        let size_bytes = self.bytes.len() as u64;
        bucket.put_file(&path, self.bytes).await;
        Arc::new(FileRecord {
            id,
            table: origin.table,
            path: path.to_string().into(),
            size_bytes,
            tail: Some(self.tail),
            rows: self.rows,
            string_bytes: self.string_bytes,
            time: self.time,
            key_min: self.key_min,
            key_max: self.key_max,
            stamp_max: self.stamp_max,
            has_versions: self.has_versions,
            level: origin.level,
            window_start: origin.window_start,
            window_width: origin.window_width,
            deletes_up_to: origin.deletes_up_to,
        })
    }
}

/// Why a file was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rows cannot become a file.
    #[error("write file: {0}")]
    Rows(#[from] merge::Error),
    /// Our own mistake.
    #[error("write file: {0}")]
    Write(#[from] ArrowError),
    /// Our own mistake: rows were said to be settled.
    #[error("write file: rows said to be settled have stamps up to {stamp_max}")]
    Unsettled { stamp_max: Stamp },
    /// The stored bytes are not what was written.
    #[error("file {file} is damaged: {reason}")]
    Damaged { file: Arc<str>, reason: String },
    /// The file was written by a newer version of this program.
    #[error("file {file} has format {version}, this program reads up to {newest}")]
    Newer { file: Arc<str>, version: u32, newest: u32 },
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Rows(error) => error.kind(),
            Self::Write(_) | Self::Unsettled { .. } => ErrorKind::Bug,
            Self::Damaged { .. } | Self::Newer { .. } => ErrorKind::Corrupt,
        }
    }
}

impl From<ParquetError> for Error {
    fn from(error: ParquetError) -> Self {
        Self::Write(error.into())
    }
}

/// Writes sorted rows as one file in memory; `None` when there are none. Holds one encoded row group and the file.
pub fn write<E: Into<Error>>(
    layout: FileLayout,
    batches: impl Iterator<Item = Result<RecordBatch, E>>,
) -> Result<Option<WrittenFile>, Error> {
    let FileLayout { columns, origin, stamps } = layout;
    let mut batches = batches.map(|batch| batch.map_err(Into::into));
    let ahead = ahead(&mut batches)?;
    let properties = properties(&columns, &ahead);
    let mut survey = Survey::new(columns.clone())?;
    let surveyed = ahead.into_iter().map(Ok).chain(batches).map(|batch| {
        let batch: RecordBatch = batch?;
        survey.see(&batch)?;
        Ok(batch)
    });

    let encoder = Encoder { columns: &columns, properties: &properties, origin: &origin };
    let writer = encoder.encode(stamps, surveyed)?;
    let Some(found) = survey.found() else { return Ok(None) };
    let (bytes, tail) = match (stamps, found.stamp_max) {
        (Stamps::Settled, Stamp::SETTLED) => encoder.close(writer, &found)?,
        (Stamps::Settled, stamp_max) => return Err(Error::Unsettled { stamp_max }),
        (Stamps::Any, Stamp::SETTLED) => {
            let (unsettled, tail) = encoder.close(writer, &found)?;
            let again = read::Reader::open("just written", unsettled, Some(tail))?;
            encoder.close(encoder.encode(Stamps::Settled, again)?, &found)?
        }
        (Stamps::Any, _) => encoder.close(writer, &found)?,
    };
    let Found { rows, time, key_min, key_max, stamp_min: _, stamp_max, has_versions, string_bytes } = found;
    Ok(Some(WrittenFile { bytes, tail, rows, string_bytes, time, key_min, key_max, stamp_max, has_versions }))
}

/// The first batches: how a file is best written depends on what is in it.
fn ahead(batches: &mut impl Iterator<Item = Result<RecordBatch, Error>>) -> Result<Vec<RecordBatch>, Error> {
    let mut ahead = Vec::new();
    let mut rows = 0;
    while rows < AHEAD_ROWS {
        let Some(batch) = batches.next().transpose()? else { break };
        rows += batch.num_rows();
        ahead.push(batch);
    }
    Ok(ahead)
}

struct Encoder<'a> {
    columns: &'a Layout,
    properties: &'a WriterProperties,
    origin: &'a Origin,
}

impl Encoder<'_> {
    fn encode(
        &self,
        stamps: Stamps,
        batches: impl Iterator<Item = Result<RecordBatch, Error>>,
    ) -> Result<ArrowWriter<Vec<u8>>, Error> {
        let count = self.columns.schema.fields().len() - usize::from(stamps == Stamps::Settled);
        let kept: Vec<usize> = (0..count).collect();
        let schema = Arc::new(self.columns.schema.project(&kept)?);
        let options = ArrowWriterOptions::new().with_properties(self.properties.clone());
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
        let mut group_bytes = 0;
        for batch in batches {
            let batch = batch?;
            let strings = string_bytes(&batch);
            if group_bytes > 0 && group_bytes + strings > GROUP_STRING_BYTES_MAX {
                writer.flush()?;
                group_bytes = 0;
            }
            group_bytes += strings;
            let columns = batch.columns()[..count].to_vec();
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
            if writer.in_progress_rows() == 0 {
                group_bytes = 0;
            }
        }
        Ok(writer)
    }

    fn close(&self, mut writer: ArrowWriter<Vec<u8>>, found: &Found) -> Result<(Bytes, Tail), Error> {
        // Pages and filters are all written then, and nothing can change them; page indexes and footer follow.
        writer.flush()?;
        writer.sync().map_err(ParquetError::from)?;
        let body_bytes = writer.bytes_written();
        writer.append_key_value_metadata(checksums::entry(&writer.inner()[..body_bytes]));
        let tags = self.columns.schema.fields()[..self.columns.tags].iter().map(|f| f.name().as_str()).collect();
        for entry in format::entries(self.origin, tags, found) {
            writer.append_key_value_metadata(entry);
        }
        let bytes = writer.into_inner()?;
        let tail = checksums::tail(&bytes[body_bytes..]);
        Ok((bytes.into(), tail))
    }
}

/// Bytes of the string fields. Tags are not counted: a series has its tags once, however many rows it has.
fn string_bytes(batch: &RecordBatch) -> usize {
    let strings = batch.columns().iter().filter(|c| *c.data_type() == DataType::Utf8);
    strings.map(|column| column.as_string::<i32>().value_offsets()).map(span).sum()
}

fn span(offsets: &[i32]) -> usize {
    let first = offsets.first().copied().unwrap_or(0);
    offsets.last().map_or(0, |last| last.abs_diff(first) as usize)
}
