use std::collections::HashSet;

use arrow_array::types::Int32Type;
use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_schema::DataType;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{BloomFilterPosition, BloomFilterProperties, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::merge::Layout;
use crate::model::SEQ_COLUMN;

/// Rows that are looked at before a file is begun.
pub(super) const AHEAD_ROWS: usize = 64 * 1024;

/// Encoded in memory before it is written. Smaller groups made queries over all series about a tenth slower.
const GROUP_ROWS_MAX: usize = 1 << 20;

const PAGE_ROWS_MAX: usize = 20_000;

/// A tag with fewer values is in most files with each of them, so that a filter would seldom say no.
const BLOOM_VALUES_MIN: usize = 64;

/// For what stands in a file with these columns and first rows.
pub(super) fn properties(columns: &Layout, ahead: &[RecordBatch]) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a level of zstd")))
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_statistics_enabled(EnabledStatistics::Page)
        // Before the footer is begun, so that the checksums in it can cover them.
        .set_bloom_filter_position(BloomFilterPosition::AfterRowGroup)
        .set_sorting_columns(Some(sorting(columns)))
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in columns.schema.fields() {
        let is_delta = matches!(field.data_type(), DataType::Timestamp(..) | DataType::Int64 | DataType::UInt64);
        // Few log objects make the rows of one file, so stamps are few; and they do not rise with the rows.
        if is_delta && field.name() != SEQ_COLUMN {
            let path = ColumnPath::new(vec![field.name().clone()]);
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    // The first tag needs no filter: the file is sorted by it, and the page index says more.
    for tag in 1..columns.tags {
        let values = distinct_values(tag, ahead);
        if values > BLOOM_VALUES_MIN {
            // The writer folds the filter to what the values need in the end, so this bounds memory only.
            let bloom = BloomFilterProperties::builder().with_fpp(0.01).with_max_ndv(GROUP_ROWS_MAX as u64 / 8).build();
            let path = ColumnPath::new(vec![columns.schema.field(tag).name().clone()]);
            builder = builder.set_column_bloom_filter_properties(path, bloom);
        }
    }
    builder.build()
}

/// Tags and time, absent tags first.
fn sorting(columns: &Layout) -> Vec<SortingColumn> {
    let columns = i32::try_from(columns.tags).expect("a table has at most some hundred tags");
    (0..=columns).map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true }).collect()
}

/// How many values of a tag the rows use, counted to a little above what matters.
fn distinct_values(tag: usize, batches: &[RecordBatch]) -> usize {
    let mut values: HashSet<&str> = HashSet::new();
    for batch in batches {
        let column = batch.column(tag).as_dictionary::<Int32Type>();
        let dictionary = column.values().as_string::<i32>();
        let mut before = None;
        for key in column.keys() {
            if key != before
                && let Some(key) = key
                && let Ok(key) = usize::try_from(key)
                && dictionary.is_valid(key)
            {
                values.insert(dictionary.value(key));
            }
            before = key;
        }
        if values.len() > BLOOM_VALUES_MIN {
            break;
        }
    }
    values.len()
}
