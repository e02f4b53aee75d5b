//! Values that clients bind, as parameters of a query.
//!
//! # Promises
//! - A value takes little more than its bytes did: lists and numbers have few items and few digits.
//! - What is out of range is told apart from what cannot be read.

use bytes::Bytes;
use sql::{ARRAY_ITEMS_MAX, ArrayError, Param, PgType, Scalar, array_items};

use super::errors::Refusal;
use super::values::{EPOCH_DAYS, EPOCH_MICROSECONDS};
use super::wire::{Body, Format};

/// Groups of four digits before the point of a number, and all of them. The largest number here has 38 digits.
const GROUPS_BEFORE_POINT_MAX: i16 = 10;
const GROUPS_MAX: i16 = 32;

/// Why a value is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// It cannot be read.
    Form,
    /// It is no value of its type.
    Range,
    /// It is a time that cannot be kept in nanoseconds.
    Time,
    Long,
}

/// The value of parameter `number`.
pub(super) fn param(number: usize, value: Option<&Bytes>, (of, format): (PgType, Format)) -> Result<Param, Refusal> {
    let cast = |param| Param::Cast(Box::new(param), of.arrow());
    let Some(bytes) = value else { return Ok(cast(Param::Null)) };
    let name = of.sql_name();
    let refused = |(code, what): (&'static str, String)| Refusal::new(code, format!("parameter ${number} {what}"));
    let unfit = |unfit: Unfit, form: (&'static str, String)| {
        refused(match unfit {
            Unfit::Form => form,
            Unfit::Range => ("22003", format!("is out of range for type {name}")),
            Unfit::Time => ("22008", "is a time outside of the years 1677 to 2262".to_owned()),
            Unfit::Long => ("54000", format!("has more than {ARRAY_ITEMS_MAX} items")),
        })
    };
    match format {
        Format::Text => {
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| refused(("22021", "has a text that is not UTF-8".to_owned())))?;
            let shown = &text[..text.floor_char_boundary(100)];
            let read = from_text(text, of).map_err(|why| unfit(why, ("22P02", format!("is no {name}: '{shown}'"))));
            read.map(cast)
        }
        Format::Binary => {
            let form = || ("22P03", format!("is no {name}: its bytes have another form"));
            from_binary(bytes, of).map(cast).map_err(|why| unfit(why, form()))
        }
    }
}

fn from_text(text: &str, of: PgType) -> Result<Param, Unfit> {
    let scalar = match of {
        PgType::One(scalar) => scalar,
        PgType::Array(scalar) => {
            let items = array_items(text).map_err(|error| match error {
                ArrayError::Malformed => Unfit::Form,
                ArrayError::TooMany => Unfit::Long,
            })?;
            let item =
                |item: Option<String>| item.map_or(Ok(Param::Null), |text| from_text(&text, PgType::One(scalar)));
            let items = items.into_iter().map(item);
            return Ok(Param::List(items.collect::<Result<_, _>>()?, PgType::One(scalar).arrow()));
        }
    };
    let trimmed = text.trim();
    Ok(match scalar {
        Scalar::Text => Param::String(text.to_owned()),
        Scalar::Bool => Param::Bool(match trimmed.to_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => true,
            "f" | "false" | "n" | "no" | "off" | "0" => false,
            _ => return Err(Unfit::Form),
        }),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Oid => Param::Int(integer(trimmed, scalar)?),
        Scalar::Float4 | Scalar::Float8 => Param::Float(trimmed.parse().map_err(|_| Unfit::Form)?),
        Scalar::Numeric => numeric(trimmed)?,
        Scalar::Bytea => Param::Bytes(text.strip_prefix("\\x").and_then(from_hex).ok_or(Unfit::Form)?),
        Scalar::Date | Scalar::Time | Scalar::Timestamp | Scalar::Timestamptz | Scalar::Interval => {
            Param::String(text.to_owned())
        }
    })
}

fn integer(text: &str, scalar: Scalar) -> Result<i64, Unfit> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let number: i64 = text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        PosOverflow | NegOverflow => Unfit::Range,
        _ => Unfit::Form,
    })?;
    in_range(number, scalar)
}

fn in_range(number: i64, scalar: Scalar) -> Result<i64, Unfit> {
    let fits = match scalar {
        Scalar::Int2 => i16::try_from(number).is_ok(),
        Scalar::Int4 => i32::try_from(number).is_ok(),
        Scalar::Oid => u32::try_from(number).is_ok(),
        _ => true,
    };
    if fits { Ok(number) } else { Err(Unfit::Range) }
}

/// A number of digits, as it stands.
fn numeric(text: &str) -> Result<Param, Unfit> {
    let digits = text.trim_start_matches(['+', '-']);
    let is_number = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    if is_number { Ok(Param::String(text.to_owned())) } else { Err(Unfit::Form) }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// A number of a fixed length.
fn fixed<const N: usize>(bytes: &Bytes) -> Result<[u8; N], Unfit> {
    bytes.as_ref().try_into().map_err(|_| Unfit::Form)
}

fn from_binary(bytes: &Bytes, of: PgType) -> Result<Param, Unfit> {
    let scalar = match of {
        PgType::One(scalar) => scalar,
        PgType::Array(scalar) => return list(bytes, scalar),
    };
    let long = || Ok(i64::from_be_bytes(fixed(bytes)?));
    Ok(match scalar {
        Scalar::Text => Param::String(std::str::from_utf8(bytes).map_err(|_| Unfit::Form)?.to_owned()),
        Scalar::Bytea => Param::Bytes(bytes.to_vec()),
        Scalar::Bool => Param::Bool(fixed::<1>(bytes)? != [0]),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => {
            let number = match bytes.len() {
                2 => i64::from(i16::from_be_bytes(fixed(bytes)?)),
                4 => i64::from(i32::from_be_bytes(fixed(bytes)?)),
                _ => long()?,
            };
            Param::Int(in_range(number, scalar)?)
        }
        Scalar::Oid => Param::Int(i64::from(u32::from_be_bytes(fixed(bytes)?))),
        Scalar::Float4 => Param::Float(f64::from(f32::from_be_bytes(fixed(bytes)?))),
        Scalar::Float8 => Param::Float(f64::from_be_bytes(fixed(bytes)?)),
        Scalar::Numeric => numeric(&numeric_text(bytes)?)?,
        Scalar::Timestamp | Scalar::Timestamptz => {
            let nanoseconds = long()?.checked_add(EPOCH_MICROSECONDS).and_then(|time| time.checked_mul(1000));
            Param::Time(nanoseconds.ok_or(Unfit::Time)?)
        }
        Scalar::Time => Param::String(time_text(long()?)?),
        Scalar::Date => {
            // The first and the last number mean that there is no end.
            let days = i32::from_be_bytes(fixed(bytes)?);
            let days = days.checked_add(EPOCH_DAYS).filter(|_| days > i32::MIN).ok_or(Unfit::Time)?;
            Param::Int(i64::from(days))
        }
        Scalar::Interval => Param::String(interval_text(bytes).ok_or(Unfit::Form)?),
    })
}

fn time_text(microseconds: i64) -> Result<String, Unfit> {
    let within = u64::try_from(microseconds).ok().filter(|microseconds| *microseconds < 86_400_000_000);
    let microseconds = within.ok_or(Unfit::Range)?;
    let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    Ok(format!("{hours:02}:{minutes:02}:{:02}.{rest:06}", seconds % 60))
}

fn interval_text(bytes: &Bytes) -> Option<String> {
    let mut body = Body(bytes.clone());
    let microseconds = i64::from(body.int().ok()?) << 32 | i64::from(body.int().ok()?.cast_unsigned());
    let (days, months) = (body.int().ok()?, body.int().ok()?);
    Some(format!("{months} months {days} days {microseconds} microseconds"))
}

/// One dimension, items after their lengths.
fn list(bytes: &Bytes, scalar: Scalar) -> Result<Param, Unfit> {
    let mut body = Body(bytes.clone());
    let mut int = || body.int().map_err(|_| Unfit::Form);
    let (dimensions, _has_nulls, _item_type) = (int()?, int()?, int()?);
    let mut items = Vec::new();
    if dimensions == 1 {
        let (count, _first) = (usize::try_from(int()?).map_err(|_| Unfit::Form)?, int()?);
        if count > ARRAY_ITEMS_MAX {
            return Err(Unfit::Long);
        }
        for _ in 0..count {
            let item = body.value().map_err(|_| Unfit::Form)?;
            items.push(item.map_or(Ok(Param::Null), |item| from_binary(&item, PgType::One(scalar)))?);
        }
    } else if dimensions != 0 {
        return Err(Unfit::Form);
    }
    Ok(Param::List(items, PgType::One(scalar).arrow()))
}

/// Groups of four digits, the point after the first `weight + 1`.
fn numeric_text(bytes: &Bytes) -> Result<String, Unfit> {
    let mut body = Body(bytes.clone());
    let mut short = || body.short().map_err(|_| Unfit::Form);
    let (count, weight, sign, _scale) = (short()?, short()?, short()?, short()?);
    let mut text = match sign.cast_unsigned() {
        0 => String::new(),
        0x4000 => "-".to_owned(),
        _ => return Err(Unfit::Range),
    };
    if count > GROUPS_MAX || !(-GROUPS_MAX..GROUPS_BEFORE_POINT_MAX).contains(&weight) {
        return Err(Unfit::Range);
    }
    let mut groups = Vec::new();
    for _ in 0..count {
        groups.push(short().ok().filter(|group| (0..10_000).contains(group)).ok_or(Unfit::Form)?);
    }
    let at = |position: i16| usize::try_from(position).ok().and_then(|i| groups.get(i)).copied().unwrap_or(0);
    if weight < 0 {
        text.push('0');
    }
    for position in 0..=weight {
        text.push_str(&if position == 0 { at(0).to_string() } else { format!("{:04}", at(position)) });
    }
    let after = weight.saturating_add(1);
    if after < count {
        text.push('.');
        for position in after..count {
            text.push_str(&format!("{:04}", at(position)));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use arrow_schema::DataType;

    use super::*;

    #[track_caller]
    fn text(value: &str, of: PgType, expected: Option<Param>) {
        let found = param(1, Some(&Bytes::copy_from_slice(value.as_bytes())), (of, Format::Text));
        assert_eq!(found.ok(), expected.map(|param| Param::Cast(Box::new(param), of.arrow())), "{value}");
    }

    #[track_caller]
    fn binary(value: &[u8], of: PgType, expected: Option<Param>) {
        let found = param(1, Some(&Bytes::copy_from_slice(value)), (of, Format::Binary));
        assert_eq!(found.ok(), expected.map(|param| Param::Cast(Box::new(param), of.arrow())), "{value:?}");
    }

    const INT8: PgType = PgType::One(Scalar::Int8);
    const NUMERIC: PgType = PgType::One(Scalar::Numeric);

    #[test]
    fn values_are_read_in_both_formats() {
        text("7", INT8, Some(Param::Int(7)));
        text("x", INT8, None);
        text("on", PgType::One(Scalar::Bool), Some(Param::Bool(true)));
        text("\\x00ff", PgType::One(Scalar::Bytea), Some(Param::Bytes(vec![0, 255])));
        text("18446744073709551615", NUMERIC, Some(Param::String("18446744073709551615".into())));
        binary(&7_i32.to_be_bytes(), INT8, Some(Param::Int(7)));
        binary(&[1, 2, 3], INT8, None);
        binary(&1.5_f64.to_be_bytes(), PgType::One(Scalar::Float8), Some(Param::Float(1.5)));
        binary(&[0; 8], PgType::One(Scalar::Timestamptz), Some(Param::Time(946_684_800_000_000_000)));
        binary(&i64::MAX.to_be_bytes(), PgType::One(Scalar::Timestamptz), None);
        binary(&[0, 2, 0, 1, 0x40, 0, 0, 0, 0, 1, 0x09, 0x29], NUMERIC, Some(Param::String("-12345".into())));
        binary(&[0, 1, 255, 255, 0, 0, 0, 2, 0x13, 0x88], NUMERIC, Some(Param::String("0.5000".into())));
    }

    #[track_caller]
    fn refused(value: &[u8], (of, format): (PgType, Format), code: &str) {
        let found = param(1, Some(&Bytes::copy_from_slice(value)), (of, format));
        assert_eq!(found.map_err(|refusal| refusal.code), Err(code), "{value:?}");
    }

    #[test]
    fn what_does_not_fit_is_told_apart_from_what_cannot_be_read() {
        let (text, binary) = (Format::Text, Format::Binary);
        let one = PgType::One;
        refused(b"x", (INT8, text), "22P02");
        refused(b"9223372036854775808", (INT8, text), "22003");
        refused(b"99999999999", (one(Scalar::Int4), text), "22003");
        refused(&70_000_i32.to_be_bytes(), (one(Scalar::Int2), binary), "22003");
        refused(&i64::MAX.to_be_bytes(), (one(Scalar::Timestamptz), binary), "22008");
        // The end of the year 9999.
        refused(&252_455_615_999_999_999_i64.to_be_bytes(), (one(Scalar::Timestamptz), binary), "22008");
        refused(&i32::MAX.to_be_bytes(), (one(Scalar::Date), binary), "22008");
        refused(&[0xff, 0], (PgType::TEXT, text), "22021");
        refused(&(-1_i64).to_be_bytes(), (one(Scalar::Time), binary), "22003");
    }

    #[test]
    fn a_date_of_any_century_is_a_number_of_days() {
        let days = |days| Some(Param::Int(days));
        binary(&0_i32.to_be_bytes(), PgType::One(Scalar::Date), days(10_957));
        binary(&2_921_939_i32.to_be_bytes(), PgType::One(Scalar::Date), days(2_932_896));
    }

    #[test]
    fn a_few_bytes_do_not_become_many() {
        refused(&[0, 0, 0x7f, 0xff, 0, 0, 0, 0], (NUMERIC, Format::Binary), "22003");
        refused(&[0, 0, 0x80, 0, 0, 0, 0, 0], (NUMERIC, Format::Binary), "22003");
        refused(&[0, 100, 0, 0, 0, 0, 0, 0], (NUMERIC, Format::Binary), "22003");
        let many = format!("{{a{}}}", ",a".repeat(ARRAY_ITEMS_MAX));
        refused(many.as_bytes(), (PgType::Array(Scalar::Text), Format::Text), "54000");
        let many = [1, 0, 25, i32::MAX, 1].map(i32::to_be_bytes).concat();
        refused(&many, (PgType::Array(Scalar::Text), Format::Binary), "54000");
    }

    #[test]
    fn lists_are_read_in_both_formats() {
        let of = PgType::Array(Scalar::Text);
        let items = vec![Param::String("a".into()), Param::String("b,\"".into()), Param::Null];
        text("{a, \"b,\\\"\" , NULL}", of, Some(Param::List(items, DataType::Utf8)));
        text("{}", of, Some(Param::List(vec![], DataType::Utf8)));
        text("{{1}}", of, None);
        text("a", of, None);
        let bytes = [[0, 0, 0, 1], [0; 4], [0, 0, 0, 25], [0, 0, 0, 2], [0, 0, 0, 1], [255; 4], [0, 0, 0, 1]].concat();
        let expected = Param::List(vec![Param::Null, Param::String("z".into())], DataType::Utf8);
        binary(&[bytes.as_slice(), b"z"].concat(), of, Some(expected));
        binary(&bytes, of, None);
    }
}
