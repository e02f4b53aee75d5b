//! `AT TIME ZONE`.
//!
//! # Promises
//! - A time becomes what a clock in the zone shows, and what a clock in the zone shows becomes the time.
//! - What a clock shows twice is the later time, and what it leaves out is counted on from before, as in Postgres.
//!
//! # Why
//! The engine reads each time without a zone as one of the zone it is cast to. Here every time is an instant, and what a
//! clock shows has a type of its own: one with the offset `-00:00`, by which RFC 3339 says that the offset is not known.
//! Functions of times keep it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::timezone::Tz;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{ArrayRef, TimestampNanosecondArray};
use arrow_schema::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone};
use datafusion::arrow::compute::cast;
use datafusion::common::{Result, exec_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;

/// The zone of what a clock shows.
pub(super) const CLOCK: &str = "-00:00";

/// Short names that Postgres takes for an offset, in hours, whatever the season.
const SHORT_NAMES: [(&str, i32); 24] = [
    ("UTC", 0),
    ("GMT", 0),
    ("UCT", 0),
    ("Z", 0),
    ("ZULU", 0),
    ("WET", 0),
    ("WEST", 1),
    ("BST", 1),
    ("CET", 1),
    ("CEST", 2),
    ("EET", 2),
    ("EEST", 3),
    ("MSK", 3),
    ("JST", 9),
    ("KST", 9),
    ("EST", -5),
    ("EDT", -4),
    ("CST", -6),
    ("CDT", -5),
    ("MST", -7),
    ("MDT", -6),
    ("PST", -8),
    ("PDT", -7),
    ("HST", -10),
];

pub(super) fn functions() -> [Arc<ScalarUDF>; 2] {
    [Arc::new(ScalarUDF::from(AtTimeZone::new())), Arc::new(ScalarUDF::from(WithoutZone::new()))]
}

fn clock() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(CLOCK.into()))
}

/// Whether values of the type are what a clock shows.
pub(super) fn is_clock(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(_, Some(zone)) if zone.as_ref() == CLOCK)
}

const INSTANT: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

/// A zone by its name; an offset is none, since Postgres reads its sign the other way round here than elsewhere.
fn zone(name: &str) -> Result<Tz> {
    let unknown = || plan_datafusion_err!("time zone \"{name}\" not recognized");
    let short = SHORT_NAMES.iter().find(|(short, _)| short.eq_ignore_ascii_case(name));
    if let Some((_, hours)) = short {
        return format!("{hours:+03}:00").parse().map_err(|_| unknown());
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(unknown());
    }
    let found = name.parse::<Tz>().or_else(|_| capitalized(name).parse());
    found.map_err(|_| unknown())
}

/// `europe/berlin` is `Europe/Berlin`.
fn capitalized(name: &str) -> String {
    let mut begins = true;
    let letter = |c: char| {
        let c = if begins { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        begins = !c.is_ascii_alphanumeric();
        c
    };
    name.chars().map(letter).collect()
}

fn shown(instant: i64, zone: &Tz) -> Option<i64> {
    let time = DateTime::from_timestamp_nanos(instant).naive_utc();
    let offset = zone.offset_from_utc_datetime(&time).fix().local_minus_utc();
    instant.checked_add(i64::from(offset) * 1_000_000_000)
}

fn instant(shown: i64, zone: &Tz) -> Option<i64> {
    let time = DateTime::from_timestamp_nanos(shown).naive_utc();
    let offset = match zone.offset_from_local_datetime(&time).latest() {
        Some(offset) => offset,
        None => before(&time, zone),
    };
    shown.checked_sub(i64::from(offset.fix().local_minus_utc()) * 1_000_000_000)
}

/// The offset until the clock was put forward.
fn before(time: &NaiveDateTime, zone: &Tz) -> <Tz as TimeZone>::Offset {
    zone.offset_from_utc_datetime(&(*time - TimeDelta::hours(24)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtTimeZone {
    signature: Signature,
}

impl AtTimeZone {
    fn new() -> Self {
        Self { signature: Signature::new(TypeSignature::Any(2), Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AtTimeZone {
    fn name(&self) -> &str {
        "_at_time_zone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(if is_clock(&types[0]) { INSTANT } else { clock() })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, named] = args.args.as_slice() else { return plan_err!("AT TIME ZONE has two sides") };
        let is_one = matches!((time, named), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if is_one { 1 } else { args.number_rows };
        let is_clock = is_clock(&time.data_type());
        let convert = if is_clock { instant } else { shown };
        let times = cast(&time.clone().into_array(rows)?, &if is_clock { clock() } else { INSTANT })?;
        let times = times.as_primitive::<TimestampNanosecondType>();
        let convert =
            |time: i64, zone: &Tz| convert(time, zone).ok_or_else(|| exec_datafusion_err!("timestamp out of range"));
        let converted: TimestampNanosecondArray = match named {
            ColumnarValue::Scalar(name) => match name.try_as_str() {
                Some(Some(name)) => {
                    let zone = zone(name)?;
                    times.try_unary(|time| convert(time, &zone))?
                }
                Some(None) => TimestampNanosecondArray::new_null(rows),
                None if name.is_null() => TimestampNanosecondArray::new_null(rows),
                None => return plan_err!("a time zone is a name, not {}", name.data_type()),
            },
            ColumnarValue::Array(names) => {
                let names = cast(names, &DataType::Utf8)?;
                let both = times.iter().zip(names.as_string::<i32>());
                let each = both.map(|(time, name)| match (time, name) {
                    (Some(time), Some(name)) => convert(time, &zone(name)?).map(Some),
                    _ => Ok(None),
                });
                each.collect::<Result<_>>()?
            }
        };
        let converted: ArrayRef = match is_clock {
            true => Arc::new(converted),
            false => Arc::new(converted.with_timezone(CLOCK)),
        };
        if is_one {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&converted, 0)?));
        }
        Ok(ColumnarValue::Array(converted))
    }
}

/// What is said to be without a zone is what a clock shows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WithoutZone {
    signature: Signature,
}

impl WithoutZone {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WithoutZone {
    fn name(&self) -> &str {
        "_without_zone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(clock())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time] = args.args.as_slice() else { return plan_err!("one time has no zone") };
        let is_one = matches!(time, ColumnarValue::Scalar(_));
        let times = cast(&time.clone().into_array(if is_one { 1 } else { args.number_rows })?, &INSTANT)?;
        let times = times.as_primitive::<TimestampNanosecondType>().clone().with_timezone(CLOCK);
        let times: ArrayRef = Arc::new(times);
        if is_one {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?));
        }
        Ok(ColumnarValue::Array(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_put_forward_and_back() {
        check("Europe/Berlin", "2025-01-20T17:01:40Z", "2025-01-20T18:01:40Z");
        check("europe/berlin", "2025-07-20T17:01:40Z", "2025-07-20T19:01:40Z");
        check("Europe/Berlin", "2025-03-30T00:59:59Z", "2025-03-30T01:59:59Z");
        check("Europe/Berlin", "2025-03-30T01:00:00Z", "2025-03-30T03:00:00Z");
        check("Europe/Berlin", "2025-10-26T01:30:00Z", "2025-10-26T02:30:00Z");
        check("America/New_York", "2025-11-02T06:30:00Z", "2025-11-02T01:30:00Z");
        check("Asia/Kolkata", "2025-01-01T00:00:00Z", "2025-01-01T05:30:00Z");
        // A short name is an offset, in summer too.
        check("cet", "2025-07-20T17:00:00Z", "2025-07-20T18:00:00Z");
        check("EST", "2025-07-20T17:00:00Z", "2025-07-20T12:00:00Z");
    }

    #[test]
    fn what_a_clock_leaves_out_or_shows_twice_is_one_time() {
        let berlin = zone("Europe/Berlin").expect("it is there");
        let read = |text: &str| instant(nanoseconds(text), &berlin);
        assert_eq!(read("2025-03-30T02:30:00Z"), Some(nanoseconds("2025-03-30T01:30:00Z")));
        assert_eq!(read("2025-10-26T02:30:00Z"), Some(nanoseconds("2025-10-26T01:30:00Z")));
        assert_eq!(shown(nanoseconds("2025-10-26T00:30:00Z"), &berlin), Some(nanoseconds("2025-10-26T02:30:00Z")));
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        for name in ["", "Europe/Nowhere", "+01:00", "-5", "nonsense"] {
            assert!(zone(name).expect_err(name).to_string().contains("not recognized"), "{name}");
        }
    }

    fn nanoseconds(text: &str) -> i64 {
        let time: DateTime<chrono::Utc> = text.parse().expect("a time");
        time.timestamp_nanos_opt().expect("it fits")
    }

    #[track_caller]
    fn check(name: &str, time: &str, clock: &str) {
        let zone = zone(name).expect("a zone");
        assert_eq!(shown(nanoseconds(time), &zone), Some(nanoseconds(clock)), "{time} at {name}");
        assert_eq!(instant(nanoseconds(clock), &zone), Some(nanoseconds(time)), "{clock} of {name}");
    }
}
