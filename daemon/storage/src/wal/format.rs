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
//! fields   varint count; each: varint column id, u8 type, u8 "some rows do not set it",
//!          [one byte a row: 0 or 1], values
//! values   float: 8 bytes; integer: signed step; uinteger: signed step, wrapping; boolean: one byte; string: strings
//! strings  for each: varint length; then all their bytes
//! ```
//!
//! Decoding is total: no bytes can panic it, and no length is believed before the bytes are there.

use bytes::Bytes;

use super::cursor::Cursor;
use crate::model::{ColumnId, FieldColumn, Rows, SeriesSet, Strings, TableId, Values};

/// An object never inflates beyond this; a group is cut far below it.
pub(super) const INFLATED_BYTES_MAX: usize = 1 << 30;

/// Fails, and stores nothing, when the rows are more than an object may hold.
pub(super) fn encode(tables: &[Rows]) -> Result<Bytes, String> {
    let mut out = Vec::with_capacity(tables.iter().map(|rows| rows.bytes() / 3 + 64).sum());
    for rows in tables {
        encode_table(rows, &mut out);
    }
    if out.len() > INFLATED_BYTES_MAX {
        return Err(format!("{} bytes of rows, one object holds {INFLATED_BYTES_MAX}", out.len()));
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
    let mut cursor = Cursor::new(&inflated);
    let mut tables = Vec::new();
    while !cursor.is_empty() {
        tables.push(decode_table(&mut cursor)?);
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
        if let Some(set) = &field.set {
            out.extend(set.iter().map(|set| u8::from(*set)));
        }
        encode_values(&field.values, out);
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

fn decode_table(cursor: &mut Cursor<'_>) -> Result<Rows, String> {
    let table = TableId(cursor.varint_u32()?);
    // A row takes at least two bytes: its series and its time.
    let rows = cursor.count(2)?;
    if rows == 0 {
        return Err(format!("table {table} has no rows"));
    }
    let tags = cursor.count(1)?;
    let tags: Vec<ColumnId> = (0..tags).map(|_| cursor.varint_u16().map(ColumnId)).collect::<Result<_, _>>()?;
    let len = cursor.count(tags.len().min(1))?;
    let values = decode_strings(cursor, len.checked_mul(tags.len()).ok_or("too many tag values")?)?;
    let series = SeriesSet { tags, values, len };
    let row_series = decode_steps(cursor, rows)?.into_iter().map(|s| match u32::try_from(s) {
        Ok(index) if (index as usize) < len => Ok(index),
        _ => Err(format!("series {s} of {len} in table {table}")),
    });
    let row_series = row_series.collect::<Result<_, _>>()?;
    let times = decode_steps(cursor, rows)?;
    let fields = cursor.count(3)?;
    let fields = (0..fields).map(|_| decode_field(cursor, rows)).collect::<Result<_, _>>()?;
    Ok(Rows { table, series, row_series, times, fields })
}

fn decode_field(cursor: &mut Cursor<'_>, rows: usize) -> Result<FieldColumn, String> {
    let column = ColumnId(cursor.varint_u16()?);
    let code = cursor.byte()?;
    let set = match cursor.byte()? {
        0 => None,
        1 => Some(decode_booleans(cursor, rows)?),
        other => return Err(format!("{other} where 0 or 1 must stand")),
    };
    let values = match code {
        1 => Values::Float(cursor.chunks::<8>(rows)?.map(f64::from_le_bytes).collect()),
        2 => Values::Integer(decode_steps(cursor, rows)?),
        3 => Values::UInteger(decode_steps(cursor, rows)?.into_iter().map(i64::cast_unsigned).collect()),
        4 => Values::Boolean(decode_booleans(cursor, rows)?),
        5 => Values::String(decode_strings(cursor, rows)?),
        other => return Err(format!("field type {other} is unknown")),
    };
    Ok(FieldColumn { column, values, set })
}

fn decode_booleans(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<bool>, String> {
    let bytes = cursor.bytes(rows)?;
    if bytes.iter().any(|b| *b > 1) {
        return Err("a byte that is neither 0 nor 1 among booleans".into());
    }
    Ok(bytes.iter().map(|b| *b == 1).collect())
}

fn decode_steps(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<i64>, String> {
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
    use rand::rngs::StdRng;
    use rand::{Rng, RngCore, SeedableRng};

    use super::*;

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
                field(2, Values::Integer(vec![i64::MAX, i64::MIN, 5]), Some(vec![true, false, true])),
                field(4, Values::UInteger(vec![u64::MAX, 0, 1]), None),
                field(5, Values::Boolean(vec![true, false, true]), None),
                field(300, Values::String(text), None),
            ],
        }]
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        assert_eq!(encode(&sample()).and_then(|bytes| decode(&bytes)), Ok(sample()));
    }

    #[test]
    fn no_bytes_panic_the_decoder() {
        let mut rng = StdRng::seed_from_u64(1);
        let whole = encode(&sample()).expect("a small sample");
        let inflated = lz4_flex::decompress_size_prepended(&whole).expect("just compressed");
        for _ in 0..20_000 {
            let mut bytes = inflated.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            bytes.truncate(rng.random_range(0..=bytes.len()));
            let _ = decode(&lz4_flex::compress_prepend_size(&bytes));
            let mut noise = vec![0; rng.random_range(0..64)];
            rng.fill_bytes(&mut noise);
            let _ = decode(&noise);
        }
    }
}
