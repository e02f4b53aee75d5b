use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, UInt64Array, new_null_array};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::Error;
use super::checksums::{Checksums, check_tail};
use super::format::{self, FileMetadata};
use crate::model::{SEQ_COLUMN, Tail};

const BATCH_ROWS: usize = 8192;

/// The rows of one file, in the order they are stored.
#[derive(Debug)]
pub struct Reader {
    file: Arc<str>,
    bytes: Bytes,
    footer: ArrowReaderMetadata,
    metadata: FileMetadata,
    /// The row group in work; a batch never spans two, which bounds the strings in it.
    group: Option<ParquetRecordBatchReader>,
    next_group: usize,
    failed: bool,
}

impl Reader {
    /// Checks a whole file by what the catalog says of its tail, and reads its footer; `file` names it in errors. One
    /// of which the catalog says nothing is taken as it is.
    pub fn open(file: &str, bytes: Bytes, tail: Option<Tail>) -> Result<Self, Error> {
        let file: Arc<str> = file.into();
        let size_bytes = bytes.len() as u64;
        if let Some(tail) = tail {
            let tail_bytes = usize::try_from(tail.bytes).unwrap_or(usize::MAX).min(bytes.len());
            check_tail(&file, tail, size_bytes, &bytes[bytes.len() - tail_bytes..])?;
        }
        let options = ArrowReaderOptions::new();
        let footer = guarded(&file, || ArrowReaderMetadata::load(&bytes, options))?;
        if let Some(tail) = tail {
            let checksums = Checksums::of(&file, size_bytes, footer.metadata().file_metadata(), tail)?;
            checksums.check(&(0..size_bytes), &bytes)?;
        }
        let metadata = format::parse(&file, footer.metadata().file_metadata().key_value_metadata())?;
        Ok(Self { file, bytes, footer, metadata, group: None, next_group: 0, failed: false })
    }

    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(self.footer.schema())
    }

    #[must_use]
    pub fn metadata(&self) -> &FileMetadata {
        &self.metadata
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            if let Some(group) = &mut self.group {
                if let Some(batch) = guarded(&self.file, || group.next().transpose())? {
                    return Ok(Some(batch));
                }
                self.group = None;
            }
            if self.next_group == self.footer.metadata().num_row_groups() {
                return Ok(None);
            }
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.footer.clone())
                .with_row_groups(vec![self.next_group])
                .with_batch_size(BATCH_ROWS);
            self.group = Some(guarded(&self.file, || builder.build())?);
            self.next_group += 1;
        }
    }
}

/// Ends after the first error.
impl Iterator for Reader {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_batch().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

/// The Parquet reader meets some kinds of damage with a panic (a type in the embedded schema that does not exist, an
/// index past the end). What it worked on is not used again after that.
fn guarded<T, E: Display>(file: &Arc<str>, read: impl FnOnce() -> Result<T, E>) -> Result<T, Error> {
    let reason = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its bytes cannot be decoded".to_owned(),
    };
    Err(Error::Damaged { file: Arc::clone(file), reason })
}

/// A batch of a file with the columns of `schema`, which may have more of them: missing ones are null, a missing
/// `__seq` is 0. Columns that `schema` does not have, or has with another type, are an error: rows would be lost.
pub fn padded(file: &str, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let damaged = |reason: String| Error::Damaged { file: file.into(), reason };
    let rows = batch.num_rows();
    if let Some(unknown) = batch.schema().fields().iter().find(|f| schema.column_with_name(f.name()).is_none()) {
        return Err(damaged(format!("the table has no column {}", unknown.name())));
    }
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
            Some(column) => {
                let (name, is, expected) = (field.name(), column.data_type(), field.data_type());
                return Err(damaged(format!("column {name} is {is}, the table has {expected}")));
            }
            None if field.name() == SEQ_COLUMN => Arc::new(UInt64Array::from_value(0, rows)),
            None => new_null_array(field.data_type(), rows),
        };
        columns.push(column);
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|e| damaged(e.to_string()))
}
