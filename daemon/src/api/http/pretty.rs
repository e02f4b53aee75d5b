//! The rows of a table to look at, until it can be drawn.
//!
//! # Promises
//! - What is kept, and what is drawn from it, is limited: every line is as wide as the widest, so one long value among
//!   many rows would else fill the memory.

use std::fmt::{self, Write};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::pretty::pretty_format_batches_with_schema;
use arrow_schema::{ArrowError, SchemaRef};

/// A table takes at most so much before it is drawn, and as much again when it is.
const BYTES_MAX: usize = 256 << 20;
/// What a cell costs beside its text while the table is drawn.
const CELL_BYTES: usize = 128;
/// The line between two columns, with its spaces.
const BORDER_WIDTH: usize = 3;

pub(super) struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    bytes: usize,
    /// The widest value of each column.
    widths: Vec<usize>,
    lines: usize,
}

impl Table {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let widths = schema.fields().iter().map(|field| field.name().len()).collect();
        Self { schema: Arc::clone(schema), batches: Vec::new(), bytes: 0, widths, lines: 0 }
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        let cells = batch.num_rows().saturating_mul(batch.num_columns());
        let own: usize = batch.columns().iter().map(own_bytes).sum();
        self.bytes = self.bytes.saturating_add(own).saturating_add(cells.saturating_mul(CELL_BYTES));
        self.measure(&batch)?;
        let width: usize = self.widths.iter().map(|width| width + BORDER_WIDTH).sum();
        if self.bytes.max(self.lines.saturating_mul(width)) > BYTES_MAX {
            let message = format!("an answer in format pretty is limited to {BYTES_MAX} bytes of memory; use csv");
            return Err(ArrowError::MemoryError(message));
        }
        self.batches.push(batch);
        Ok(())
    }

    pub(super) fn draw(self) -> Result<Vec<u8>, ArrowError> {
        Ok(pretty_format_batches_with_schema(self.schema, &self.batches)?.to_string().into_bytes())
    }

    fn measure(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default().with_display_error(true);
        let mut lines = vec![1; batch.num_rows()];
        for (column, widest) in batch.columns().iter().zip(&mut self.widths) {
            let formatter = ArrayFormatter::try_new(column, &options)?;
            for (row, lines) in lines.iter_mut().enumerate() {
                let mut extent = Extent { lines: 1, line: 0, widest: 0 };
                // Nothing is written anywhere, so nothing can fail but a value, and that is shown as its error.
                let _ = write!(extent, "{}", formatter.value(row));
                *widest = extent.widest.max(*widest);
                *lines = extent.lines.max(*lines);
            }
        }
        self.lines = lines.into_iter().fold(self.lines, usize::saturating_add);
        Ok(())
    }
}

/// How much room a text takes.
struct Extent {
    lines: usize,
    /// Bytes of the line so far, which are no fewer than the columns it takes.
    line: usize,
    widest: usize,
}

impl Write for Extent {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (nth, part) in text.split('\n').enumerate() {
            if nth > 0 {
                (self.lines, self.line) = (self.lines + 1, 0);
            }
            self.line += part.len();
            self.widest = self.widest.max(self.line);
        }
        Ok(())
    }
}

/// The bytes of the rows of a slice. The values of a dictionary are shared by many slices and not counted.
fn own_bytes(array: &ArrayRef) -> usize {
    let data = array.as_any_dictionary_opt().map_or_else(|| array.to_data(), |dictionary| dictionary.keys().to_data());
    data.get_slice_memory_size().unwrap_or_else(|_| data.get_array_memory_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};

    fn batch(array: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("v", array)]).expect("a batch")
    }

    #[test]
    fn one_wide_value_among_many_rows_is_refused_before_it_is_drawn() {
        let wide = batch(Arc::new(StringArray::from(vec!["x".repeat(1 << 20)])));
        let narrow = batch(Arc::new(StringArray::from(vec!["y"; 300])));
        let mut table = Table::new(&wide.schema());
        table.push(narrow.clone()).expect("300 short rows fit");
        table.push(narrow.slice(0, 1)).expect("one more fits");
        let error = table.push(wide).expect_err("301 rows of one mebibyte do not fit");
        assert!(error.to_string().contains("268435456 bytes of memory; use csv"), "{error}");
    }

    #[test]
    fn lines_of_one_value_count_as_rows_do() {
        let many = batch(Arc::new(StringArray::from(vec!["\n".repeat(300), "x".repeat(1 << 20)])));
        assert!(Table::new(&many.schema()).push(many.clone()).is_err());
        assert!(Table::new(&many.schema()).push(many.slice(0, 1)).is_ok());
        assert!(Table::new(&many.schema()).push(many.slice(1, 1)).is_ok());
    }

    #[test]
    fn slices_count_by_their_own_size() {
        let whole = batch(Arc::new(Int64Array::from(vec![7; 1 << 20])));
        let mut table = Table::new(&whole.schema());
        for start in 0..100 {
            table.push(whole.slice(start * 1000, 1000)).expect("a hundred thousand numbers fit");
        }
        assert_eq!(table.bytes, 100_000 * (8 + CELL_BYTES));
    }
}
