//! How the rows of one WAL object are written down: by table, in columns, lz4-compressed.
//!
//! The payload is one lz4 block with its length in front. Inside stand the tables one after the other until the end;
//! `varint` is LEB128, `signed` is a zigzag varint, numbers of fixed width are little endian:
//!
//! ```text
//! table    varint id, varint rows (> 0)
//! series   varint tags, each a varint column id; varint series; the tag values as strings (tags × series)
//! rows     for each row: signed step of the series index
//! times    for each row: signed step of the time
//! fields   varint count; each: varint column id, u8 type, u8 "some rows do not set it", [runs], values
//! runs     how many rows do not set the field, how many then do, how many then do not, and so on to the last row:
//!          varints, of which only the first may be 0
//! values   for each row that sets the field
//!          float: 8 bytes; integer: signed step; uinteger: signed step, wrapping; boolean: one byte; string: strings
//! strings  for each: varint length; then all their bytes
//! ```
//!
//! So a group of writes that each set other fields takes what they set, not the width of all of them.
//!
//! Decoding is total: no bytes can panic it, no length is believed before the bytes are there, and rows spread out to at
//! most `CELLS_MAX` values.

use bytes::Bytes;

use super::cursor::Cursor;
use crate::model::{ColumnId, FieldColumn, Rows, SeriesSet, Strings, TableId, Values};

/// An object never inflates beyond this; a group is cut far below it.
pub(super) const INFLATED_BYTES_MAX: usize = 1 << 30;

/// Rows times fields of all tables of an object, set or not; twice what a request may have.
const CELLS_MAX: usize = 64 << 20;

/// Fails when the rows are more than `bytes_max`, as much as an object may hold before it is compressed.
pub(super) fn encode(tables: &[Rows], bytes_max: usize) -> Result<Bytes, String> {
    let cells: usize = tables.iter().map(|rows| rows.len() * rows.fields.len()).sum();
    if cells > CELLS_MAX {
        return Err(format!("{cells} values with those that are not set, one object holds {CELLS_MAX}"));
    }
    let mut out = Vec::with_capacity(tables.iter().map(|rows| rows.bytes() / 3 + 64).sum());
    for rows in tables {
        encode_table(rows, &mut out);
    }
    if out.len() > bytes_max {
        return Err(format!("{} bytes of rows, one object holds {bytes_max}", out.len()));
    }
    Ok(lz4_flex::compress_prepend_size(&out).into())
}

pub(super) fn decode(payload: &[u8]) -> Result<Vec<Rows>, String> {
    let size = payload.get(..4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    // lz4 never shrinks by more than 255 to 1, so a larger claim is damage and must not be allocated.
    match size {
        Some(size) if size <= INFLATED_BYTES_MAX && size <= payload.len().saturating_mul(255) => {}
        _ => return Err(format!("{} bytes cannot hold what they claim", payload.len())),
    }
    let inflated = lz4_flex::decompress_size_prepended(payload).map_err(|e| e.to_string())?;
    decode_tables(&inflated, &mut 0)
}

/// Adds to `cells` how many values the tables spread out to.
fn decode_tables(inflated: &[u8], cells: &mut usize) -> Result<Vec<Rows>, String> {
    let mut cursor = Cursor::new(inflated);
    let mut tables = Vec::new();
    while !cursor.is_empty() {
        tables.push(decode_table(&mut cursor, cells)?);
    }
    Ok(tables)
}

fn encode_table(rows: &Rows, out: &mut Vec<u8>) {
    put_varint(out, u64::from(rows.table.0));
    put_varint(out, rows.len() as u64);
    put_varint(out, rows.series.tags.len() as u64);
    for tag in &rows.series.tags {
        put_varint(out, u64::from(tag.0));
    }
    put_varint(out, rows.series.len as u64);
    put_strings(out, &rows.series.values);
    put_steps(out, rows.row_series.iter().map(|s| i64::from(*s)));
    put_steps(out, rows.times.iter().copied());
    put_varint(out, rows.fields.len() as u64);
    for field in &rows.fields {
        put_varint(out, u64::from(field.column.0));
        out.push(type_code(&field.values));
        out.push(u8::from(field.set.is_some()));
        match &field.set {
            None => encode_values(&field.values, out),
            Some(set) => {
                put_runs(out, set);
                encode_values(&picked(&field.values, set), out);
            }
        }
    }
}

/// The values of the rows that set the field.
fn picked(values: &Values, set: &[bool]) -> Values {
    fn of<T: Copy>(values: &[T], set: &[bool]) -> Vec<T> {
        values.iter().zip(set).filter(|(_, set)| **set).map(|(value, _)| *value).collect()
    }
    match values {
        Values::Float(values) => Values::Float(of(values, set)),
        Values::Integer(values) => Values::Integer(of(values, set)),
        Values::UInteger(values) => Values::UInteger(of(values, set)),
        Values::Boolean(values) => Values::Boolean(of(values, set)),
        Values::String(strings) => {
            let mut some = Strings::default();
            set.iter().enumerate().filter(|(_, set)| **set).for_each(|(row, _)| some.push(strings.get(row)));
            Values::String(some)
        }
    }
}

/// `picked` backwards, with an empty value for each row that does not set the field.
fn spread(values: Values, set: &[bool]) -> Values {
    fn over<T: Default>(values: Vec<T>, set: &[bool]) -> Vec<T> {
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        set.iter().map(|set| if *set { next() } else { T::default() }).collect()
    }
    match values {
        Values::Float(values) => Values::Float(over(values, set)),
        Values::Integer(values) => Values::Integer(over(values, set)),
        Values::UInteger(values) => Values::UInteger(over(values, set)),
        Values::Boolean(values) => Values::Boolean(over(values, set)),
        Values::String(Strings { ends, bytes }) => {
            let mut ends = ends.into_iter();
            let mut end = 0;
            let mut end_of = |set: &bool| {
                end = if *set { ends.next().unwrap_or(end) } else { end };
                end
            };
            Values::String(Strings { ends: set.iter().map(&mut end_of).collect(), bytes })
        }
    }
}

fn type_code(values: &Values) -> u8 {
    match values {
        Values::Float(_) => 1,
        Values::Integer(_) => 2,
        Values::UInteger(_) => 3,
        Values::Boolean(_) => 4,
        Values::String(_) => 5,
    }
}

fn encode_values(values: &Values, out: &mut Vec<u8>) {
    match values {
        Values::Float(values) => values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
        Values::Integer(values) => put_steps(out, values.iter().copied()),
        Values::UInteger(values) => put_steps(out, values.iter().map(|v| v.cast_signed())),
        Values::Boolean(values) => out.extend(values.iter().map(|v| u8::from(*v))),
        Values::String(strings) => put_strings(out, strings),
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn put_runs(out: &mut Vec<u8>, set: &[bool]) {
    if set.first() == Some(&true) {
        out.push(0);
    }
    set.chunk_by(|a, b| a == b).for_each(|run| put_varint(out, run.len() as u64));
}

/// Each value as its difference from the one before; differences wrap.
fn put_steps(out: &mut Vec<u8>, values: impl Iterator<Item = i64>) {
    let mut last = 0i64;
    for value in values {
        let step = value.wrapping_sub(last);
        put_varint(out, (step.cast_unsigned() << 1) ^ (step >> 63).cast_unsigned());
        last = value;
    }
}

fn put_strings(out: &mut Vec<u8>, strings: &Strings) {
    let mut start = 0;
    for end in &strings.ends {
        put_varint(out, u64::from(end - start));
        start = *end;
    }
    out.extend_from_slice(&strings.bytes);
}

fn decode_table(cursor: &mut Cursor<'_>, cells: &mut usize) -> Result<Rows, String> {
    let table = TableId(cursor.varint_u32()?);
    // A row takes at least two bytes: its series and its time.
    let rows = cursor.count(2)?;
    if rows == 0 {
        return Err(format!("table {table} has no rows"));
    }
    let tags = cursor.count(1)?;
    let tags: Vec<ColumnId> = (0..tags).map(|_| cursor.varint_u16().map(ColumnId)).collect::<Result<_, _>>()?;
    // Without tags there is one series, which takes no bytes that could be counted.
    let len = if tags.is_empty() { cursor.varint()?.min(2) as usize } else { cursor.count(tags.len())? };
    if tags.is_empty() && len > 1 {
        return Err(format!("several series without tags in table {table}"));
    }
    let values = decode_strings(cursor, len.checked_mul(tags.len()).ok_or("too many tag values")?)?;
    let series = SeriesSet { tags, values, len };
    let row_series = decode_steps(cursor, rows)?.into_iter().map(|s| match u32::try_from(s) {
        Ok(index) if (index as usize) < len => Ok(index),
        _ => Err(format!("series {s} of {len} in table {table}")),
    });
    let row_series = row_series.collect::<Result<_, _>>()?;
    let times = decode_steps(cursor, rows)?;
    let fields = cursor.count(3)?;
    *cells = cells.saturating_add(rows.saturating_mul(fields));
    if *cells > CELLS_MAX {
        return Err(format!("{cells} values with those that are not set, one object holds {CELLS_MAX}"));
    }
    let fields = (0..fields).map(|_| decode_field(cursor, rows)).collect::<Result<_, _>>()?;
    Ok(Rows { table, series, row_series, times, fields })
}

fn decode_field(cursor: &mut Cursor<'_>, rows: usize) -> Result<FieldColumn, String> {
    let column = ColumnId(cursor.varint_u16()?);
    let code = cursor.byte()?;
    let set = match cursor.byte()? {
        0 => None,
        1 => Some(decode_runs(cursor, rows)?),
        other => return Err(format!("{other} where 0 or 1 must stand")),
    };
    let count = set.as_ref().map_or(rows, |set| set.iter().filter(|set| **set).count());
    let values = match code {
        1 => Values::Float(cursor.chunks::<8>(count)?.map(f64::from_le_bytes).collect()),
        2 => Values::Integer(decode_steps(cursor, count)?),
        3 => Values::UInteger(decode_steps(cursor, count)?.into_iter().map(i64::cast_unsigned).collect()),
        4 => Values::Boolean(decode_booleans(cursor, count)?),
        5 => Values::String(decode_strings(cursor, count)?),
        other => return Err(format!("field type {other} is unknown")),
    };
    let values = match &set {
        None => values,
        Some(set) => spread(values, set),
    };
    Ok(FieldColumn { column, values, set })
}

fn decode_runs(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<bool>, String> {
    let mut set = Vec::with_capacity(rows);
    let mut is_set = false;
    while set.len() < rows {
        let run = usize::try_from(cursor.varint()?).map_err(|e| e.to_string())?;
        if run > rows - set.len() || (run == 0 && (is_set || !set.is_empty())) {
            return Err(format!("a run of {run} after {} of {rows} rows", set.len()));
        }
        set.resize(set.len() + run, is_set);
        is_set = !is_set;
    }
    Ok(set)
}

fn decode_booleans(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<bool>, String> {
    let bytes = cursor.bytes(rows)?;
    if bytes.iter().any(|b| *b > 1) {
        return Err("a byte that is neither 0 nor 1 among booleans".into());
    }
    Ok(bytes.iter().map(|b| *b == 1).collect())
}

fn decode_steps(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<i64>, String> {
    cursor.expect_room(count)?;
    let mut values = Vec::with_capacity(count);
    let mut last = 0i64;
    for _ in 0..count {
        let raw = cursor.varint()?;
        let step = (raw >> 1).cast_signed() ^ -((raw & 1).cast_signed());
        last = last.wrapping_add(step);
        values.push(last);
    }
    Ok(values)
}

fn decode_strings(cursor: &mut Cursor<'_>, count: usize) -> Result<Strings, String> {
    cursor.expect_room(count)?;
    let mut ends = Vec::with_capacity(count);
    let mut end = 0u32;
    for _ in 0..count {
        end = end.checked_add(cursor.varint_u32()?).ok_or("strings beyond 4 GiB")?;
        ends.push(end);
    }
    let bytes = cursor.bytes(end as usize)?;
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    if !ends.iter().all(|end| text.is_char_boundary(*end as usize)) {
        return Err("a string ends within a character".into());
    }
    Ok(Strings { ends, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{allocated, damaged, for_seeds};

    fn sample() -> Vec<Rows> {
        let mut values = Strings::default();
        ["host-1", "west", "höst", ""].into_iter().for_each(|v| values.push(v));
        let mut text = Strings::default();
        ["", "ä", "long text"].into_iter().for_each(|v| text.push(v));
        let field = |column, values, set| FieldColumn { column: ColumnId(column), values, set };
        vec![Rows {
            table: TableId(7),
            series: SeriesSet { tags: vec![ColumnId(0), ColumnId(3)], values, len: 2 },
            row_series: vec![0, 1, 0],
            times: vec![i64::MIN, i64::MAX, 0],
            fields: vec![
                field(1, Values::Float(vec![1.5, -0.0, f64::MAX]), None),
                field(2, Values::Integer(vec![i64::MAX, 0, i64::MIN]), Some(vec![true, false, true])),
                field(4, Values::UInteger(vec![u64::MAX, 0, 1]), None),
                field(5, Values::Boolean(vec![true, false, true]), None),
                field(300, Values::String(text), None),
            ],
        }]
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        assert_eq!(encode(&sample(), INFLATED_BYTES_MAX).and_then(|bytes| decode(&bytes)), Ok(sample()));
    }

    /// Many rows, each of which sets another one of many fields.
    fn wide(rows: usize, fields: usize) -> Rows {
        let field = |column: usize| FieldColumn {
            column: ColumnId(u16::try_from(column).unwrap()),
            values: Values::Float((0..rows).map(|row| if row % fields == column { row as f64 } else { 0.0 }).collect()),
            set: Some((0..rows).map(|row| row % fields == column).collect()),
        };
        Rows {
            table: TableId(1),
            series: SeriesSet { tags: Vec::new(), values: Strings::default(), len: 1 },
            row_series: vec![0; rows],
            times: (0..rows).map(|row| row as i64).collect(),
            fields: (0..fields).map(field).collect(),
        }
    }

    #[test]
    fn a_group_takes_what_its_rows_set_and_not_its_width() {
        for fields in [1, 10, 100, 500] {
            let rows = [wide(10_000, fields)];
            let bytes = encode(&rows, INFLATED_BYTES_MAX).unwrap();
            let inflated = lz4_flex::decompress_size_prepended(&bytes).unwrap();
            // Time, series, runs of one or two bytes, and the number.
            assert!(inflated.len() < 10_000 * 14 + 10_000, "{} bytes with {fields} fields", inflated.len());
            assert_eq!(decode(&bytes).as_deref(), Ok(&rows[..]));
        }
    }

    #[test]
    fn rows_too_wide_to_be_spread_out_again_are_not_stored() {
        let rows = 1 << 20;
        let field = |column| FieldColumn {
            column: ColumnId(column),
            values: Values::Boolean(vec![false; rows]),
            set: Some(vec![false; rows]),
        };
        let series = SeriesSet { tags: Vec::new(), values: Strings::default(), len: 1 };
        let fields = (0..65).map(field).collect();
        let rows = [Rows { table: TableId(1), series, row_series: vec![0; rows], times: vec![0; rows], fields }];
        assert!(encode(&rows, INFLATED_BYTES_MAX).is_err_and(|reason| reason.contains("values with those")));
    }

    /// What decoding may allocate: a few times what is there, and what rows spread out to.
    fn check_bounded(inflated: &[u8]) {
        let mut cells = 0;
        let taken = allocated(|| {
            if let Ok(tables) = decode_tables(inflated, &mut cells) {
                assert!(tables.iter().all(is_whole), "{tables:?}");
                // Whoever goes through the series of a table must not do so for ever.
                assert!(tables.iter().all(|rows| rows.series.len <= inflated.len()), "{tables:?}");
            }
        });
        let most = 100 * inflated.len() + 20 * cells + 1_000;
        assert!(taken <= most, "{taken} bytes were allocated for {} bytes and {cells} cells", inflated.len());
    }

    fn is_whole(rows: &Rows) -> bool {
        let fields = rows.fields.iter().all(|field| {
            field.values.len() == rows.len() && field.set.as_ref().is_none_or(|set| set.len() == rows.len())
        });
        let series = rows.row_series.iter().all(|series| (*series as usize) < rows.series.len);
        fields && series && rows.series.values.len() == rows.series.len * rows.series.tags.len()
    }

    #[test]
    fn no_bytes_panic_the_decoder() {
        let inflate =
            |rows: &[Rows]| lz4_flex::decompress_size_prepended(&encode(rows, INFLATED_BYTES_MAX).unwrap()).unwrap();
        let samples = [inflate(&sample()), inflate(&[sample(), vec![wide(20, 3)]].concat())];
        for_seeds(|random| {
            for sample in &samples {
                let bytes = damaged(sample, random);
                check_bounded(&bytes);
                // Behind the compression the same bytes come out; before it, anything may.
                let whole = lz4_flex::compress_prepend_size(&bytes);
                // As text, since NaN is not equal to itself.
                let shown = |tables: Result<Vec<Rows>, String>| format!("{tables:?}");
                assert_eq!(shown(decode(&whole)), shown(decode_tables(&bytes, &mut 0)));
                let _ = decode(&damaged(&whole, random));
            }
        });
    }

    #[test]
    fn no_length_is_believed_before_the_bytes_are_there() {
        let huge = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]];
        let rows = [wide(20, 3)];
        let whole = lz4_flex::decompress_size_prepended(&encode(&rows, INFLATED_BYTES_MAX).unwrap()).unwrap();
        for huge in huge {
            // In the place of each number, and of what only looks like one.
            for at in 0..whole.len() {
                check_bounded(&[&whole[..at], huge, &whole[at + 1..]].concat());
            }
        }
        for size in [u32::MAX, 1 << 30, 1 << 20] {
            let payload = [&size.to_le_bytes()[..], &[0; 40]].concat();
            let taken = allocated(|| assert!(decode(&payload).is_err()));
            assert!(taken < 20_000, "{taken} bytes were allocated for a claim of {size}");
        }
    }
}
