//! Values as bytes, in the text and in the binary format of Postgres.

use std::io::Write;

use arrow_array::types::IntervalMonthDayNano;
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Offset, TimeZone};
use sql::{PgType, Scalar};

use super::columns::{Column, items};
use super::errors::Refusal;
use super::settings::Zone;
use super::wire::Format;

/// Microseconds and days from 1970 to 2000, where the binary format begins to count.
pub(super) const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
pub(super) const EPOCH_DAYS: i32 = 10_957;

/// Writes the value in `row`, which is not null. A value the binary format cannot hold is refused.
pub(super) fn put(
    column: &Column,
    row: usize,
    (format, zone): (Format, Zone),
    out: &mut BytesMut,
) -> Result<(), Refusal> {
    match format {
        Format::Text => {
            put_text(column, row, zone, out);
            Ok(())
        }
        Format::Binary => put_binary(column, row, zone, out),
    }
}

fn put_binary(column: &Column, row: usize, zone: Zone, out: &mut BytesMut) -> Result<(), Refusal> {
    match column {
        Column::Bool(array) => out.put_u8(u8::from(array.value(row))),
        Column::Int2(array) => out.put_i16(array.value(row)),
        Column::Int4(array) => out.put_i32(array.value(row)),
        Column::Int8(array) => out.put_i64(array.value(row)),
        Column::Oid(array) => {
            let number = u32::try_from(array.value(row));
            out.put_u32(number.map_err(|_| Refusal::new("22003", "OID out of range"))?);
        }
        Column::Float4(array) => out.put_f32(array.value(row)),
        Column::Float8(array) => out.put_f64(array.value(row)),
        Column::Text(array) => out.put_slice(array.value(row).as_bytes()),
        Column::Numeric(array) => put_numeric(array.value(row), out)?,
        Column::Bytes(array) => out.put_slice(array.value(row)),
        Column::Date(array) => {
            let days = array.value(row).checked_sub(EPOCH_DAYS);
            out.put_i32(days.ok_or_else(|| Refusal::new("22008", "date out of range"))?);
        }
        Column::Time(array) => out.put_i64(array.value(row)),
        Column::Timestamp(array) | Column::Clock(array) => {
            // The first and the last number mean that there is no end.
            let since = array.value(row).checked_sub(EPOCH_MICROSECONDS).filter(|since| *since > i64::MIN);
            out.put_i64(since.ok_or_else(|| Refusal::new("22008", "timestamp out of range"))?);
        }
        Column::Interval(array) => {
            let IntervalMonthDayNano { months, days, nanoseconds } = array.value(row);
            out.put_i64(nanoseconds / 1000);
            out.put_i32(days);
            out.put_i32(months);
        }
        Column::List(array, scalar, all) => return put_list((*scalar, all), items(array, row), zone, out),
    }
    Ok(())
}

fn put_list(
    (scalar, items): (Scalar, &Column),
    range: std::ops::Range<usize>,
    zone: Zone,
    out: &mut BytesMut,
) -> Result<(), Refusal> {
    let count = i32::try_from(range.len()).map_err(|_| Refusal::new("54000", "a list is too long"))?;
    out.put_i32(i32::from(count > 0));
    out.put_i32(i32::from(range.clone().any(|item| items.is_null(item))));
    out.put_u32(PgType::One(scalar).oid());
    if count == 0 {
        return Ok(());
    }
    out.put_i32(count);
    out.put_i32(1);
    for item in range {
        put_sized((items, item), (Format::Binary, zone), out)?;
    }
    Ok(())
}

/// Writes the value after its length; a null is a length of -1.
pub(super) fn put_sized(
    (column, row): (&Column, usize),
    how: (Format, Zone),
    out: &mut BytesMut,
) -> Result<(), Refusal> {
    if column.is_null(row) {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    put(column, row, how, out)?;
    let len = i32::try_from(out.len() - start - 4).map_err(|_| Refusal::new("54000", "a value is too long"))?;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    Ok(())
}

fn too_long() -> Refusal {
    Refusal::new("22003", "a number has too many digits")
}

/// Digits in groups of four, before and after the point.
fn put_numeric(text: &str, out: &mut BytesMut) -> Result<(), Refusal> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::new("22003", format!("'{text}' is no number of digits")));
    }
    let padded_whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded_part = format!("{part}{}", "0".repeat((4 - part.len() % 4) % 4));
    let group = |bytes: &[u8]| bytes.iter().fold(0_i16, |sum, byte| sum * 10 + i16::from(byte - b'0'));
    let mut groups: Vec<i16> = padded_whole.as_bytes().chunks(4).map(group).collect();
    let mut weight = i16::try_from(groups.len()).map_err(|_| too_long())? - 1;
    groups.extend(padded_part.as_bytes().chunks(4).map(group));
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= i16::try_from(leading).unwrap_or(0);
    out.put_i16(i16::try_from(groups.len()).map_err(|_| too_long())?);
    out.put_i16(if groups.is_empty() { 0 } else { weight });
    out.put_u16(if negative { 0x4000 } else { 0 });
    out.put_i16(i16::try_from(part.len()).map_err(|_| too_long())?);
    groups.iter().for_each(|group| out.put_i16(*group));
    Ok(())
}

fn put_text(column: &Column, row: usize, zone: Zone, out: &mut BytesMut) {
    match column {
        Column::Bool(array) => out.put_u8(if array.value(row) { b't' } else { b'f' }),
        Column::Int2(array) => show(out, format_args!("{}", array.value(row))),
        Column::Int4(array) => show(out, format_args!("{}", array.value(row))),
        Column::Int8(array) | Column::Oid(array) => show(out, format_args!("{}", array.value(row))),
        Column::Float4(array) => show_float(out, f64::from(array.value(row)), &array.value(row).to_string()),
        Column::Float8(array) => show_float(out, array.value(row), &array.value(row).to_string()),
        Column::Text(array) | Column::Numeric(array) => out.put_slice(array.value(row).as_bytes()),
        Column::Bytes(array) => {
            out.put_slice(b"\\x");
            array.value(row).iter().for_each(|byte| show(out, format_args!("{byte:02x}")));
        }
        Column::Date(array) => {
            let era = show_date(out, i64::from(array.value(row)));
            out.put_slice(era);
        }
        Column::Time(array) => show_time(out, array.value(row)),
        Column::Timestamp(array) => show_timestamp(out, array.value(row), zone),
        Column::Clock(array) => {
            let era = show_clock(out, array.value(row));
            out.put_slice(era);
        }
        Column::Interval(array) => show_interval(out, array.value(row)),
        Column::List(array, _, all) => show_list(out, all, items(array, row), zone),
    }
}

fn show(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    out.writer().write_fmt(text).expect("memory takes every write");
}

/// `text` is the shortest that reads back as the same number, without an exponent.
fn show_float(out: &mut BytesMut, value: f64, text: &str) {
    let size = value.abs();
    if value.is_nan() {
        out.put_slice(b"NaN");
    } else if value.is_infinite() {
        out.put_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else if value == 0.0 || (1e-4..1e15).contains(&size) {
        out.put_slice(text.as_bytes());
    } else {
        let short: f64 = text.parse().unwrap_or(value);
        let shown = format!("{short:e}");
        let (digits, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |rest| ("-", rest));
        show(out, format_args!("{digits}e{sign}{exponent:0>2}"));
    }
}

/// Returns what comes after the time: years before the first are counted backwards.
fn show_date(out: &mut BytesMut, days: i64) -> &'static [u8] {
    let (year, month, day) = civil(days);
    if year > 0 {
        show(out, format_args!("{year:04}-{month:02}-{day:02}"));
        b""
    } else {
        show(out, format_args!("{:04}-{month:02}-{day:02}", 1 - year));
        b" BC"
    }
}

/// Year, month and day of a day since 1970, in the calendar we use, also for times before it.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from March 1 of the year 0, so that the leap day is the last of a year; 400 years have 146 097 days.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn show_time(out: &mut BytesMut, microseconds: i64) {
    let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
    show(out, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    show_fraction(out, rest);
}

/// Only the digits that are needed.
fn show_fraction(out: &mut BytesMut, microseconds: i64) {
    if microseconds != 0 {
        let digits = format!("{microseconds:06}");
        show(out, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

fn show_timestamp(out: &mut BytesMut, microseconds: i64, zone: Zone) {
    let offset = offset_seconds(microseconds, zone);
    let local = microseconds.saturating_add(offset * 1_000_000);
    let era = show_clock(out, local);
    let (sign, size) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    show(out, format_args!("{sign}{:02}", size / 3600));
    if size % 3600 != 0 {
        show(out, format_args!(":{:02}", size / 60 % 60));
    }
    if size % 60 != 0 {
        show(out, format_args!(":{:02}", size % 60));
    }
    out.put_slice(era);
}

fn show_clock(out: &mut BytesMut, microseconds: i64) -> &'static [u8] {
    let era = show_date(out, microseconds.div_euclid(86_400_000_000));
    out.put_u8(b' ');
    show_time(out, microseconds.rem_euclid(86_400_000_000));
    era
}

fn offset_seconds(microseconds: i64, zone: Zone) -> i64 {
    match zone {
        Zone::Utc => 0,
        Zone::Other(zone) => DateTime::from_timestamp_micros(microseconds).map_or(0, |instant| {
            i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc())
        }),
    }
}

fn show_interval(out: &mut BytesMut, interval: IntervalMonthDayNano) {
    let IntervalMonthDayNano { months, days, nanoseconds } = interval;
    let start = out.len();
    let parts = [(months / 12, "year"), (months % 12, "mon"), (days, "day")];
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number != 0) {
        let blank = if out.len() > start { " " } else { "" };
        let plural = if number == 1 { "" } else { "s" };
        show(out, format_args!("{blank}{number} {unit}{plural}"));
    }
    let microseconds = nanoseconds / 1000;
    if microseconds != 0 || out.len() == start {
        let blank = if out.len() > start { " " } else { "" };
        show(out, format_args!("{blank}{}", if microseconds < 0 { "-" } else { "" }));
        show_time(out, microseconds.abs());
    }
}

fn show_list(out: &mut BytesMut, items: &Column, range: std::ops::Range<usize>, zone: Zone) {
    out.put_u8(b'{');
    for (position, item) in range.enumerate() {
        if position > 0 {
            out.put_u8(b',');
        }
        if items.is_null(item) {
            out.put_slice(b"NULL");
            continue;
        }
        let mut value = BytesMut::new();
        put_text(items, item, zone, &mut value);
        let is_plain = |byte: &u8| !matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') && !byte.is_ascii_whitespace();
        if !value.is_empty() && value.iter().all(is_plain) && !value.eq_ignore_ascii_case(b"null") {
            out.put_slice(&value);
        } else {
            out.put_u8(b'"');
            for byte in &value {
                if matches!(byte, b'"' | b'\\') {
                    out.put_u8(b'\\');
                }
                out.put_u8(*byte);
            }
            out.put_u8(b'"');
        }
    }
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests;
