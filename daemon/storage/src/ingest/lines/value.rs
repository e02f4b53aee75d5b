//! One field value or timestamp, from text.
//!
//! # Promises
//! - A value is read to its end: `1.0x` is not the number `1.0` with something behind it.
//! - Floats are rounded to the nearest `f64`, exactly as the standard library does it.
//!
//! # Not here
//! - Limits on the length of strings: the callers know them.

use std::borrow::Cow;

use memchr::memchr2;

use super::fault::{Fault, excerpt};
use crate::model::FieldType;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::ingest) enum Value<'a> {
    Float(f64),
    Integer(i64),
    UInteger(u64),
    Boolean(bool),
    String(Quoted<'a>),
}

impl Value<'_> {
    pub(in crate::ingest) fn field_type(&self) -> FieldType {
        match self {
            Self::Float(_) => FieldType::Float,
            Self::Integer(_) => FieldType::Integer,
            Self::UInteger(_) => FieldType::UInteger,
            Self::Boolean(_) => FieldType::Boolean,
            Self::String(_) => FieldType::String,
        }
    }
}

/// The text between two quotes, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ingest) struct Quoted<'a> {
    raw: &'a str,
    /// How many backslashes stand before a quote or another backslash and go away.
    escapes: usize,
}

impl<'a> Quoted<'a> {
    /// Length in bytes of `text`.
    pub(in crate::ingest) fn len(self) -> usize {
        self.raw.len() - self.escapes
    }

    pub(in crate::ingest) fn text(self) -> Cow<'a, str> {
        if self.escapes == 0 { Cow::Borrowed(self.raw) } else { unescape(self.raw, b"\"\\") }
    }
}

/// `raw` without the backslashes that stand before one of `escapable`; every other backslash is kept.
pub(super) fn unescape<'a>(raw: &'a str, escapable: &[u8]) -> Cow<'a, str> {
    let bytes = raw.as_bytes();
    let mut text = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        let backslash = at + found;
        if bytes.get(backslash + 1).is_some_and(|b| escapable.contains(b)) {
            text.push_str(&raw[copied..backslash]);
            copied = backslash + 1;
        }
        // The byte after a backslash never begins another escape.
        at = (backslash + 2).min(bytes.len());
    }
    if copied == 0 {
        return Cow::Borrowed(raw);
    }
    text.push_str(&raw[copied..]);
    Cow::Owned(text)
}

/// Whether a value or timestamp that reaches to `at` ends there.
#[inline]
fn ends(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at), None | Some(b',' | b' ' | b'\n' | b'\r' | b'\t'))
}

fn word(text: &str, start: usize) -> &str {
    let bytes = text.as_bytes();
    let end = (start..bytes.len()).find(|at| ends(bytes, *at)).unwrap_or(bytes.len());
    &text[start..end]
}

/// Reads the value that begins at `start`; also says where it ends.
#[inline]
pub(super) fn value(text: &str, start: usize) -> Result<(Value<'_>, usize), Fault> {
    match text.as_bytes().get(start) {
        Some(b'-' | b'0'..=b'9') => number(text, start),
        Some(b'"') => quoted(text, start),
        _ => boolean(text, start),
    }
}

fn boolean(text: &str, start: usize) -> Result<(Value<'_>, usize), Fault> {
    let word = word(text, start);
    let value = match word {
        "t" | "T" | "true" | "True" | "TRUE" => true,
        "f" | "F" | "false" | "False" | "FALSE" => false,
        _ => return Err(Fault::Float(word.to_owned())),
    };
    Ok((Value::Boolean(value), start + word.len()))
}

fn quoted(text: &str, start: usize) -> Result<(Value<'_>, usize), Fault> {
    let bytes = text.as_bytes();
    let (mut at, mut escapes) = (start + 1, 0);
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return Ok((Value::String(Quoted { raw: &text[start + 1..at], escapes }), at + 1));
        }
        escapes += usize::from(matches!(bytes.get(at + 1), Some(b'"' | b'\\')));
        at += 2;
    }
    Err(Fault::Trailing(excerpt(&text[start..])))
}

/// As many decimal digits as always fit a `u64`.
const DIGITS_MAX: usize = 19;

/// Integers up to here are exact as `f64`, and so is a quotient of one of them by one of `POWERS`, once rounded.
const EXACT_MAX: u64 = 1 << 53;

/// Of `DIGITS_MAX` digits at least one stands before the point.
const POWERS: [f64; DIGITS_MAX] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// Reads the digits from `at` on as a continuation of `number`, which wraps; also says where they end.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (number, at)
}

/// `digits`, eight at a time as long as there are so many: timestamps are long.
#[inline]
fn many_digits(bytes: &[u8], mut at: usize) -> (u64, usize) {
    let mut number = 0u64;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk).and_then(eight_digits) {
        number = number.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    digits(bytes, at, number)
}

/// The number that eight digits stand for.
#[inline]
fn eight_digits(text: &[u8; 8]) -> Option<u64> {
    const ZEROS: u64 = u64::from_le_bytes(*b"00000000");
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    let word = u64::from_le_bytes(*text);
    let digits = word ^ ZEROS;
    // A digit leaves at most 9 in its byte, to which 6 can be added without a carry into the high half.
    if (digits | digits.wrapping_add(0x0606_0606_0606_0606)) & HIGH != 0 {
        return None;
    }
    // Neighbours are joined to numbers of two, four and eight digits; the first digit is in the lowest byte.
    let pairs = (digits & 0x00ff_00ff_00ff_00ff) * 10 + (digits >> 8 & 0x00ff_00ff_00ff_00ff);
    let fours = (pairs & 0x0000_ffff_0000_ffff) * 100 + (pairs >> 16 & 0x0000_ffff_0000_ffff);
    Some((fours & 0xffff_ffff) * 10_000 + (fours >> 32))
}

#[inline]
fn number(text: &str, start: usize) -> Result<(Value<'_>, usize), Fault> {
    let bytes = text.as_bytes();
    if let Some((value, end)) = short_integer(bytes, start) {
        return Ok((Value::Integer(value), end));
    }
    match short_float(bytes, start) {
        Some((value, end)) => Ok((Value::Float(value), end)),
        None => any_number(text, start),
    }
}

/// An integer of not too many digits, which nearly all are; says where it ends.
#[inline]
pub(in crate::ingest) fn short_integer(bytes: &[u8], start: usize) -> Option<(i64, usize)> {
    let sign = Sign::at(bytes, start);
    let first = start + sign.len();
    let (magnitude, end) = digits(bytes, first, 0);
    let good = (1..=DIGITS_MAX).contains(&(end - first)) && bytes.get(end) == Some(&b'i') && ends(bytes, end + 1);
    if good { Some((signed(magnitude, sign)?, end + 1)) } else { None }
}

/// A float of not too many digits and without exponent; says where it ends.
#[inline]
pub(in crate::ingest) fn short_float(bytes: &[u8], start: usize) -> Option<(f64, usize)> {
    let sign = Sign::at(bytes, start);
    let first = start + sign.len();
    let (whole, point) = digits(bytes, first, 0);
    if point == first || point - first > DIGITS_MAX {
        return None;
    }
    let (mantissa, end, decimals) = if bytes.get(point) == Some(&b'.') {
        let (mantissa, end) = digits(bytes, point + 1, whole);
        let decimals = end - point - 1;
        if decimals == 0 || end - first > DIGITS_MAX + 1 {
            return None;
        }
        (mantissa, end, decimals)
    } else {
        (whole, point, 0)
    };
    let good = mantissa <= EXACT_MAX && ends(bytes, end);
    good.then(|| (float(mantissa, sign) / POWERS[decimals], end))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

impl Sign {
    #[inline]
    fn at(bytes: &[u8], start: usize) -> Self {
        if bytes.get(start) == Some(&b'-') { Self::Minus } else { Self::Plus }
    }

    /// How many bytes it takes: a plus is not written.
    #[inline]
    fn len(self) -> usize {
        usize::from(self == Self::Minus)
    }
}

#[inline]
fn signed(magnitude: u64, sign: Sign) -> Option<i64> {
    match sign {
        Sign::Minus => 0i64.checked_sub_unsigned(magnitude),
        Sign::Plus => i64::try_from(magnitude).ok(),
    }
}

#[inline]
fn float(magnitude: u64, sign: Sign) -> f64 {
    // At most 2^53, so nothing is rounded here; the sign is set last, so that `-0` keeps it.
    let value = magnitude as f64;
    match sign {
        Sign::Minus => -value,
        Sign::Plus => value,
    }
}

/// Numbers of any length and type, and the errors.
fn any_number(text: &str, start: usize) -> Result<(Value<'_>, usize), Fault> {
    let word = word(text, start);
    let value = if let Some(digits) = word.strip_suffix('i') {
        let digits_only = is_digits(digits.strip_prefix('-').unwrap_or(digits));
        let value = digits.parse().ok().filter(|_| digits_only);
        Value::Integer(value.ok_or_else(|| Fault::Integer(digits.to_owned()))?)
    } else if let Some(digits) = word.strip_suffix('u') {
        let value = digits.parse().ok().filter(|_| is_digits(digits));
        Value::UInteger(value.ok_or_else(|| Fault::UInteger(digits.to_owned()))?)
    } else {
        let value = word.parse::<f64>().ok().filter(|v| v.is_finite() && is_decimal(word));
        Value::Float(value.ok_or_else(|| Fault::Float(word.to_owned()))?)
    };
    Ok((value, start + word.len()))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Digits, then perhaps a point and digits, then perhaps an exponent: less than the standard library would read.
fn is_decimal(word: &str) -> bool {
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    is_digits(whole) && is_digits(fraction) && is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
}

/// Reads the timestamp that begins at `start`; also says where it ends.
#[inline]
pub(super) fn timestamp(text: &str, start: usize) -> Result<(i64, usize), Fault> {
    let bytes = text.as_bytes();
    let sign = Sign::at(bytes, start);
    let first = start + sign.len();
    let (magnitude, end) = many_digits(bytes, first);
    if end == first || !ends(bytes, end) {
        return Err(Fault::Trailing(excerpt(&text[start..])));
    }
    let short = if end - first <= DIGITS_MAX { signed(magnitude, sign) } else { None };
    // Longer ones may still fit, with zeros in front.
    let value = short.or_else(|| text[start..end].parse().ok());
    value.map(|v| (v, end)).ok_or_else(|| Fault::Timestamp(text[start..end].to_owned()))
}
