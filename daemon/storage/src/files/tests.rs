use std::collections::HashMap;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::{Int32Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray, UInt64Array,
    cast::AsArray,
};
use arrow_schema::SchemaRef;
use parquet::basic::Encoding;
use parquet::file::metadata::ColumnChunkMetaData;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::merge::{Settle, merge_all};
use crate::model::{Column, ColumnKind, DatabaseId, FieldType, NodeId, TableId, TableSchema};

fn table(columns: &[(&str, ColumnKind)]) -> TableSchema {
    let columns = columns.iter().map(|(name, kind)| Column { name: (*name).into(), kind: *kind }).collect();
    TableSchema { table: TableId(7), name: "cpu, ü".into(), columns }
}

fn all_types() -> TableSchema {
    table(&[
        ("host", ColumnKind::Tag),
        ("zone", ColumnKind::Tag),
        ("f", ColumnKind::Field(FieldType::Float)),
        ("i", ColumnKind::Field(FieldType::Integer)),
        ("u", ColumnKind::Field(FieldType::UInteger)),
        ("b", ColumnKind::Field(FieldType::Boolean)),
        ("s", ColumnKind::Field(FieldType::String)),
    ])
}

fn origin() -> Origin {
    Origin {
        cluster: 0xfeed,
        database: DatabaseId(3),
        database_name: "plant".into(),
        table: TableId(7),
        table_name: "cpu, ü".into(),
        node: NodeId::new("n-1").unwrap(),
        level: 1,
        window_start: -600,
        window_width: 600,
        deletes_up_to: 0,
    }
}

fn tags<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    builder.extend(values);
    Arc::new(builder.finish())
}

/// Some rows of `all_types`, each field null in every third row.
pub(super) fn rows(count: usize, stamp: impl Fn(usize) -> u64) -> RecordBatch {
    let hosts: Vec<Option<String>> = (0..count).map(|r| (r >= 5).then(|| format!("h{:05}", r / 10))).collect();
    let each = |shift: usize| (0..count).map(move |r| (!(r + shift).is_multiple_of(3)).then_some(r));
    let strings: StringArray = each(4).map(|v| v.map(|v| "é".repeat(v % 5))).collect();
    let columns: Vec<ArrayRef> = vec![
        tags(hosts.iter().map(|h| h.as_deref())),
        tags((0..count).map(|_| None)),
        Arc::new(TimestampNanosecondArray::from_iter_values((0..count).map(|r| r as i64 * 10 - 50))),
        Arc::new(each(0).map(|v| v.map(|v| v as f64 / 3.0)).collect::<Float64Array>()),
        Arc::new(each(1).map(|v| v.map(|v| i64::MIN + v as i64)).collect::<Int64Array>()),
        Arc::new(each(2).map(|v| v.map(|v| u64::MAX - v as u64)).collect::<UInt64Array>()),
        Arc::new(each(3).map(|v| v.map(|v| v % 2 == 0)).collect::<BooleanArray>()),
        Arc::new(strings),
        Arc::new(UInt64Array::from_iter_values((0..count).map(stamp))),
    ];
    RecordBatch::try_new(Layout::of(&all_types()).schema, columns).unwrap()
}

fn try_written(batches: &[RecordBatch], stamps: Stamps) -> Result<Option<WrittenFile>, Error> {
    let layout = FileLayout { columns: Layout::of(&all_types()), origin: origin(), stamps };
    write(layout, batches.iter().cloned().map(Ok::<_, Error>))
}

pub(super) fn written(batches: &[RecordBatch]) -> WrittenFile {
    try_written(batches, Stamps::Any).unwrap().unwrap()
}

/// The rows of a file as one batch with the columns of `all_types`, tags as plain strings.
fn plain(batches: &[RecordBatch], schema: &SchemaRef) -> Vec<ArrayRef> {
    let batch = arrow_select::concat::concat_batches(schema, batches).unwrap();
    let plain = |column: &ArrayRef| match column.data_type() {
        DataType::Dictionary(..) => arrow_cast::cast(column, &DataType::Utf8).unwrap(),
        _ => Arc::clone(column),
    };
    batch.columns().iter().map(plain).collect()
}

fn chunks(file: &WrittenFile) -> HashMap<String, ColumnChunkMetaData> {
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&file.bytes).unwrap();
    let columns = metadata.row_group(0).columns().iter();
    columns.map(|c| (c.column_path().string(), c.clone())).collect()
}

#[test]
fn every_type_and_null_comes_back() {
    for stamp in [0, 9] {
        let batch = rows(20_000, |_| stamp);
        let schema = Layout::of(&all_types()).schema;
        let file = written(&[batch.slice(0, 3), batch.slice(3, 0), batch.slice(3, 19_997)]);
        let reader = Reader::open("f", file.bytes, Some(file.tail)).unwrap();
        let read: Vec<_> = reader.map(|b| padded("f", &b.unwrap(), &schema).unwrap()).collect();
        assert_eq!(plain(&read, &schema), plain(&[batch], &schema));
    }
}

#[test]
fn a_file_says_what_is_in_it() {
    let file = written(&[rows(100, |r| r as u64 % 4)]);
    assert_eq!((file.rows, file.stamp_max, file.has_versions), (100, Stamp(3), false));
    assert_eq!(file.time, TimeRange { min: -50, max: 940 });
    assert_eq!(file.key_min, SeriesKey(vec![None, None]));
    assert_eq!(file.key_max, SeriesKey(vec![Some("h00009".into()), None]));
    let reader = Reader::open("f", file.bytes, Some(file.tail)).unwrap();
    let expected = FileMetadata {
        origin: origin(),
        rows: 100,
        stamp_min: Stamp(0),
        stamp_max: Stamp(3),
        has_versions: false,
        tags: vec!["host".into(), "zone".into()],
    };
    assert_eq!(reader.metadata(), &expected);
}

#[test]
fn versions_of_one_row_are_noticed_within_and_between_batches() {
    let (older, newer) = (rows(6, |_| 1).slice(5, 1), rows(6, |_| 2).slice(5, 1));
    assert!(written(&[older.clone(), newer.clone()]).has_versions);
    let both = arrow_select::concat::concat_batches(&older.schema(), [&older, &newer]).unwrap();
    assert!(written(&[both]).has_versions);
}

#[test]
fn a_file_of_settled_rows_has_no_stamps() {
    let batch = rows(100, |_| 0);
    for stamps in [Stamps::Any, Stamps::Settled] {
        let file = try_written(std::slice::from_ref(&batch), stamps).unwrap().unwrap();
        assert_eq!(file.stamp_max, Stamp::SETTLED);
        assert_eq!(Reader::open("f", file.bytes, Some(file.tail)).unwrap().schema().fields().len(), 8);
    }
    let error = try_written(&[rows(100, |_| 4)], Stamps::Settled).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug, "{error}");
}

#[test]
fn no_rows_make_no_file() {
    assert!(try_written(&[], Stamps::Any).unwrap().is_none());
    assert!(try_written(&[rows(0, |_| 0)], Stamps::Settled).unwrap().is_none());
}

#[test]
fn rows_that_are_not_sorted_make_no_file() {
    let batch = rows(40, |_| 1);
    let error = try_written(&[batch.slice(20, 20), batch.slice(0, 20)], Stamps::Any).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn columns_are_encoded_as_decided() {
    let chunks = chunks(&written(&[rows(20_000, |r| r as u64 % 4)]));
    for (column, delta) in [("time", true), ("i", true), ("u", true), ("f", false), ("__seq", false), ("host", false)] {
        let encodings: Vec<_> = chunks[column].encodings().collect();
        assert_eq!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), delta, "{column}: {encodings:?}");
        assert_eq!(encodings.contains(&Encoding::RLE_DICTIONARY), !delta, "{column}: {encodings:?}");
        assert!(chunks[column].column_index_offset().is_some(), "{column} has no page index");
    }
}

#[test]
fn only_later_tags_with_many_values_have_a_filter() {
    let count = 70;
    let values: Vec<String> = (0..count).map(|v| format!("{v:03}")).collect();
    let batch = rows(count, |_| 1);
    let mut columns = batch.columns().to_vec();
    columns[0] = tags((0..count).map(|_| None));
    columns[1] = tags(values.iter().map(|v| Some(v.as_str())));
    let many = RecordBatch::try_new(batch.schema(), columns).unwrap();
    assert!(chunks(&written(&[many]))["zone"].bloom_filter_length().is_some_and(|length| length < 512));
    assert!(chunks(&written(&[batch]))["zone"].bloom_filter_length().is_none());
}

#[test]
fn a_row_group_ends_before_its_strings_are_too_many_for_one_batch() {
    let layout = Layout::of(&table(&[("s", ColumnKind::Field(FieldType::String))]));
    let strings: ArrayRef = Arc::new(StringArray::from_iter_values((0..32).map(|_| "x".repeat(1 << 20))));
    let batches = (0..5).map(|b| {
        let times = TimestampNanosecondArray::from_iter_values(b * 32..(b + 1) * 32);
        let columns = vec![Arc::new(times) as ArrayRef, Arc::clone(&strings), Arc::new(UInt64Array::from_value(1, 32))];
        RecordBatch::try_new(Arc::clone(&layout.schema), columns)
    });
    let layout = FileLayout { columns: layout.clone(), origin: origin(), stamps: Stamps::Any };
    let file = write(layout, batches).unwrap().unwrap();
    let rows: Vec<usize> =
        Reader::open("f", file.bytes, Some(file.tail)).unwrap().map(|b| b.unwrap().num_rows()).collect();
    assert_eq!(rows, [128, 32]);
}

#[test]
fn columns_that_a_file_lacks_are_null() {
    let old = rows(10, |_| 3);
    let mut newer = all_types();
    newer.columns.push(Column { name: "rack".into(), kind: ColumnKind::Tag });
    newer.columns.push(Column { name: "g".into(), kind: ColumnKind::Field(FieldType::String) });
    let layout = Layout::of(&newer);
    let batch = padded("f", &old.project(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap(), &layout.schema).unwrap();
    assert_eq!(batch.column_by_name("rack").unwrap().logical_null_count(), 10);
    assert_eq!(batch.column_by_name("g").unwrap().null_count(), 10);
    assert_eq!(batch.column_by_name("__seq").unwrap().as_primitive::<UInt64Type>().values(), &[0; 10]);
    // Such a batch is what merge wants.
    assert_eq!(merge_all(layout, vec![vec![batch]], Settle::All).unwrap()[0].num_rows(), 10);

    let narrow = Layout::of(&table(&[("host", ColumnKind::Tag)]));
    assert!(padded("f", &old, &narrow.schema).unwrap_err().to_string().contains("no column zone"));
}

pub(super) fn read(bytes: Vec<u8>, tail: Option<Tail>) -> Result<Vec<RecordBatch>, Error> {
    Reader::open("lost.parquet", bytes.into(), tail).and_then(Iterator::collect)
}

/// A file with every kind of part: two row groups, dictionaries, filters, page indexes.
pub(super) fn file_of_all_parts() -> WrittenFile {
    let count = 200;
    let values: Vec<String> = (0..count).map(|v| format!("{v:03}")).collect();
    let batch = rows(count, |r| r as u64);
    let mut columns = batch.columns().to_vec();
    columns[0] = tags((0..count).map(|_| None));
    columns[1] = tags(values.iter().map(|v| Some(v.as_str())));
    let file = written(&[RecordBatch::try_new(batch.schema(), columns).unwrap()]);
    assert!(chunks(&file)["zone"].bloom_filter_offset().is_some_and(|at| at < body_bytes(&file) as i64));
    assert!(chunks(&file)["zone"].column_index_offset().is_some_and(|at| at >= body_bytes(&file) as i64));
    file
}

fn body_bytes(file: &WrittenFile) -> u64 {
    file.bytes.len() as u64 - file.tail.bytes
}

#[test]
fn every_byte_is_covered_by_a_checksum() {
    let file = file_of_all_parts();
    read(file.bytes.to_vec(), Some(file.tail)).unwrap();
    let mut bytes = file.bytes.to_vec();
    for at in 0..bytes.len() {
        bytes[at] ^= 1 << (at % 8);
        let error = Reader::open("lost.parquet", bytes.clone().into(), Some(file.tail)).unwrap_err();
        assert!(error.to_string().contains("file lost.parquet is damaged: bytes "), "{at}: {error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}: {error}");
        bytes[at] = file.bytes[at];
    }
}

#[test]
fn the_damaged_block_is_named() {
    let file = written(&[rows(60_000, |r| r as u64)]);
    let body = body_bytes(&file);
    assert!(body > 3 * (64 << 10), "{body}");
    for (at, from, to) in [(0, 0, 65_536), (65_536, 65_536, 131_072), (body - 1, body / 65_536 * 65_536, body)] {
        let mut bytes = file.bytes.to_vec();
        bytes[at as usize] ^= 1;
        let error = read(bytes, Some(file.tail)).unwrap_err().to_string();
        assert!(error.contains(&format!("bytes {from} to {to} are not as they were written")), "{error}");
    }
}

#[test]
fn what_is_read_is_widened_to_what_can_be_checked() {
    let file = written(&[rows(60_000, |r| r as u64)]);
    let (body, size) = (body_bytes(&file), file.bytes.len() as u64);
    let footer = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&file.bytes).unwrap();
    let checksums = Checksums::of("f", size, footer.file_metadata(), file.tail).unwrap();
    let block = 65_536;
    for (ranges, expected) in [
        (&[(4, 5)][..], &[(0, block)][..]),
        (&[(0, block)], &[(0, block)]),
        (&[(block - 1, block + 1)], &[(0, 2 * block)]),
        (&[(2 * block + 7, 2 * block + 9), (3, 4)], &[(0, block), (2 * block, 3 * block)]),
        (&[(3, 4), (60_000, 60_001), (block, block + 1)], &[(0, 2 * block)]),
        (&[(body - 1, body)], &[(body / block * block, body)]),
        (&[(body, body + 1)], &[(body, size)]),
        (&[(body - 1, size)], &[(body / block * block, size)]),
    ] {
        let ranges: Vec<_> = ranges.iter().map(|(start, end)| *start..*end).collect();
        let wide = checksums.covering(&ranges);
        assert!(wide.iter().map(|range| (range.start, range.end)).eq(expected.iter().copied()), "{ranges:?}: {wide:?}");
        for range in wide {
            let mut bytes = file.bytes[range.start as usize..range.end as usize].to_vec();
            checksums.check(&range, &bytes).unwrap();
            assert!(checksums.check(&range, &bytes[1..]).is_err());
            *bytes.last_mut().unwrap() ^= 1;
            assert!(checksums.check(&range, &bytes).is_err());
        }
    }
}

#[test]
fn a_file_without_checksums_is_read_and_damage_in_it_does_not_panic() {
    let file = written(&[rows(3000, |r| r as u64)]);
    let bytes = file.bytes;
    assert_eq!(read(bytes.to_vec(), None).unwrap().len(), 1);
    for length in (0..bytes.len()).step_by(97) {
        let error = read(bytes[..length].to_vec(), None).unwrap_err();
        assert!(error.to_string().contains("lost.parquet"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

/// 400 hosts, a row a minute for an hour, ten integers that walk at random: what sizes are judged by.
#[test]
fn rows_of_a_monitored_fleet_take_few_bytes() {
    let mut columns = vec![("hostname", ColumnKind::Tag), ("region", ColumnKind::Tag)];
    columns.extend(
        ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"]
            .map(|f| (f, ColumnKind::Field(FieldType::Integer))),
    );
    let layout = Layout::of(&table(&columns));
    let hosts: Vec<String> = (0..400).map(|h| format!("host_{h:03}")).collect();
    let host = |row: usize| Some(hosts[row / 60].as_str());
    let mut rng = StdRng::seed_from_u64(1);
    let mut columns = vec![tags((0..24_000).map(host)), tags((0..24_000).map(|_| Some("eu-west-1")))];
    columns.push(Arc::new(TimestampNanosecondArray::from_iter_values((0..24_000).map(|r| r % 60 * 60_000_000_000))));
    for _ in 0..10 {
        let mut level = 50;
        let walk = (0..24_000).map(|_| {
            level = (level + rng.random_range(-1..=1)).clamp(0, 100);
            level
        });
        columns.push(Arc::new(Int64Array::from_iter_values(walk)));
    }
    columns.push(Arc::new(UInt64Array::from_iter_values((0..24_000).map(|r| 1_000_000 + r % 60))));
    let batch = RecordBatch::try_new(Arc::clone(&layout.schema), columns).unwrap();
    let layout = FileLayout { columns: layout, origin: origin(), stamps: Stamps::Any };
    let file = write(layout, [Ok::<_, Error>(batch)].into_iter()).unwrap().unwrap();
    let bytes_per_row = file.bytes.len() as f64 / 24_000.0;
    eprintln!("{bytes_per_row:.2} bytes per row");
    assert!(bytes_per_row < 6.0, "{bytes_per_row:.2} bytes per row");
    let times = Reader::open("f", file.bytes, Some(file.tail)).unwrap().next().unwrap().unwrap();
    assert_eq!(times.column(2).as_primitive::<TimestampNanosecondType>().value(61), 60_000_000_000);
}
