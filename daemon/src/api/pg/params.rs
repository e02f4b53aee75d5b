//! Values that clients bind, as parameters of a query.

use bytes::Bytes;
use sql::{Param, PgType, Scalar, array_items};

use super::errors::Refusal;
use super::wire::{Body, Format};

/// Microseconds and days from 1970 to 2000.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i64 = 10_957;

/// The value of parameter `number`.
pub(super) fn param(number: usize, value: Option<&Bytes>, (of, format): (PgType, Format)) -> Result<Param, Refusal> {
    let cast = |param| Param::Cast(Box::new(param), of.arrow());
    let Some(bytes) = value else { return Ok(cast(Param::Null)) };
    let wrong = |what: &str| {
        let name = of.sql_name();
        Refusal::new("22P03", format!("parameter ${number} is no {name}: {what}"))
    };
    match format {
        Format::Text => {
            let text = std::str::from_utf8(bytes).map_err(|_| wrong("its text is not UTF-8"))?;
            from_text(text, of).map(cast).ok_or_else(|| Refusal { code: "22P02", ..wrong(&format!("'{text}'")) })
        }
        Format::Binary => from_binary(bytes, of).map(cast).ok_or_else(|| wrong("its bytes have another form")),
    }
}

fn from_text(text: &str, of: PgType) -> Option<Param> {
    let scalar = match of {
        PgType::One(scalar) => scalar,
        PgType::Array(scalar) => {
            let items = array_items(text)?.into_iter();
            let items = items.map(|item| item.map_or(Some(Param::Null), |item| from_text(&item, PgType::One(scalar))));
            return Some(Param::List(items.collect::<Option<_>>()?, PgType::One(scalar).arrow()));
        }
    };
    Some(match scalar {
        Scalar::Text => Param::String(text.to_owned()),
        Scalar::Bool => Param::Bool(match text.trim().to_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => true,
            "f" | "false" | "n" | "no" | "off" | "0" => false,
            _ => return None,
        }),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Oid => Param::Int(text.trim().parse().ok()?),
        Scalar::Float4 | Scalar::Float8 => Param::Float(text.trim().parse().ok()?),
        Scalar::Numeric => numeric(text.trim())?,
        Scalar::Bytea => Param::Bytes(from_hex(text.strip_prefix("\\x")?)?),
        Scalar::Date | Scalar::Time | Scalar::Timestamp | Scalar::Timestamptz | Scalar::Interval => {
            Param::String(text.to_owned())
        }
    })
}

/// A number of digits, as it stands.
fn numeric(text: &str) -> Option<Param> {
    let digits = text.trim_start_matches(['+', '-']);
    let is_number = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    is_number.then(|| Param::String(text.to_owned()))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

fn from_binary(bytes: &Bytes, of: PgType) -> Option<Param> {
    let scalar = match of {
        PgType::One(scalar) => scalar,
        PgType::Array(scalar) => return list(bytes, scalar),
    };
    let long = || Some(i64::from_be_bytes(bytes.as_ref().try_into().ok()?));
    Some(match scalar {
        Scalar::Text => Param::String(std::str::from_utf8(bytes).ok()?.to_owned()),
        Scalar::Bytea => Param::Bytes(bytes.to_vec()),
        Scalar::Bool => match bytes.as_ref() {
            [byte] => Param::Bool(*byte != 0),
            _ => return None,
        },
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => Param::Int(match bytes.len() {
            2 => i64::from(i16::from_be_bytes(bytes.as_ref().try_into().ok()?)),
            4 => i64::from(i32::from_be_bytes(bytes.as_ref().try_into().ok()?)),
            _ => long()?,
        }),
        Scalar::Oid => Param::Int(i64::from(u32::from_be_bytes(bytes.as_ref().try_into().ok()?))),
        Scalar::Float4 => Param::Float(f64::from(f32::from_be_bytes(bytes.as_ref().try_into().ok()?))),
        Scalar::Float8 => Param::Float(f64::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        Scalar::Numeric => numeric(&numeric_text(bytes)?)?,
        Scalar::Timestamp | Scalar::Timestamptz => {
            Param::Time(long()?.checked_add(EPOCH_MICROSECONDS)?.checked_mul(1000)?)
        }
        Scalar::Time => {
            let microseconds = u32::try_from(long()? / 1000).ok()?;
            let rest = long()? % 1000;
            let (seconds, thousandths) = (microseconds / 1000, microseconds % 1000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let text = format!("{hours:02}:{minutes:02}:{:02}.{thousandths:03}{rest:03}", seconds % 60);
            Param::String(text)
        }
        Scalar::Date => {
            let days = i64::from(i32::from_be_bytes(bytes.as_ref().try_into().ok()?)) + EPOCH_DAYS;
            Param::Time(days.checked_mul(86_400_000_000_000)?)
        }
        Scalar::Interval => {
            let mut body = Body(bytes.clone());
            let microseconds = i64::from(body.int().ok()?) << 32 | i64::from(body.int().ok()?.cast_unsigned());
            let (days, months) = (body.int().ok()?, body.int().ok()?);
            let text = format!("{months} months {days} days {microseconds} microseconds");
            Param::String(text)
        }
    })
}

/// One dimension, items after their lengths.
fn list(bytes: &Bytes, scalar: Scalar) -> Option<Param> {
    let mut body = Body(bytes.clone());
    let dimensions = body.int().ok()?;
    let _has_nulls = body.int().ok()?;
    let _item_type = body.int().ok()?;
    let mut items = Vec::new();
    if dimensions == 1 {
        let count = body.int().ok()?;
        let _first = body.int().ok()?;
        for _ in 0..count {
            let item = body.value().ok()?;
            items.push(item.map_or(Some(Param::Null), |item| from_binary(&item, PgType::One(scalar)))?);
        }
    } else if dimensions != 0 {
        return None;
    }
    Some(Param::List(items, PgType::One(scalar).arrow()))
}

/// Groups of four digits, the point after the first `weight + 1`.
fn numeric_text(bytes: &Bytes) -> Option<String> {
    let mut body = Body(bytes.clone());
    let (count, weight, sign, _scale) =
        (body.short().ok()?, body.short().ok()?, body.short().ok()?, body.short().ok()?);
    let mut text = match sign.cast_unsigned() {
        0 => String::new(),
        0x4000 => "-".to_owned(),
        _ => return Some("NaN".to_owned()),
    };
    let groups: Vec<i16> =
        (0..count).map(|_| body.short().ok().filter(|g| (0..10_000).contains(g))).collect::<Option<_>>()?;
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
    Some(text)
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
