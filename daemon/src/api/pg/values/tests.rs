use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, DictionaryArray, DurationNanosecondArray, Float64Array,
    Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray, TimestampNanosecondArray, UInt64Array,
};

use super::*;
use crate::api::pg::columns::{Cut, columns};

fn column(array: ArrayRef, cut: &Cut) -> Column {
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).expect("one column");
    let types = [PgType::of(batch.schema().field(0))];
    columns(&batch, &types, cut).expect("it has a form").remove(0)
}

#[track_caller]
fn text(array: ArrayRef, zone: Zone, expected: &str) {
    let mut out = BytesMut::new();
    put(&column(array, &Cut::default()), 0, (Format::Text, zone), &mut out).expect("it can be written");
    assert_eq!(std::str::from_utf8(&out), Ok(expected));
}

#[track_caller]
fn binary(array: ArrayRef, expected: &[u8]) {
    let mut out = BytesMut::new();
    put(&column(array, &Cut::default()), 0, (Format::Binary, Zone::Utc), &mut out).expect("it can be written");
    assert_eq!(&out[..], expected);
}

fn instant(nanoseconds: i64) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(vec![nanoseconds]))
}

const INSTANT: i64 = 1_737_392_500_690_067_123;

#[test]
fn times_have_a_zone_and_microseconds() {
    text(instant(INSTANT), Zone::Utc, "2025-01-20 17:01:40.690067+00");
    text(instant(0), Zone::Utc, "1970-01-01 00:00:00+00");
    text(instant(-1), Zone::Utc, "1969-12-31 23:59:59.999999+00");
    let other = |name: &str| Zone::Other(name.parse().expect("a zone"));
    text(instant(INSTANT), other("Europe/Berlin"), "2025-01-20 18:01:40.690067+01");
    text(instant(INSTANT), other("America/St_Johns"), "2025-01-20 13:31:40.690067-03:30");
    binary(instant(946_684_800_000_001_000), &1_i64.to_be_bytes());
    binary(instant(946_684_799_999_999_999), &(-1_i64).to_be_bytes());
}

#[test]
fn that_nanoseconds_were_cut_is_known() {
    for (nanoseconds, expected) in [(INSTANT, true), (INSTANT - 123, false), (0, false)] {
        let cut = Cut::default();
        drop(column(instant(nanoseconds), &cut));
        assert_eq!(cut.happened(), expected, "{nanoseconds}");
    }
}

#[test]
fn numbers_look_as_in_postgres() {
    for (value, expected) in [
        (1.5, "1.5"),
        (1e15, "1e+15"),
        (-2.5e-7, "-2.5e-07"),
        (0.0001, "0.0001"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
        (-0.0, "-0"),
        (1e300, "1e+300"),
    ] {
        text(Arc::new(Float64Array::from(vec![value])), Zone::Utc, expected);
    }
    text(Arc::new(UInt64Array::from(vec![u64::MAX])), Zone::Utc, "18446744073709551615");
    text(Arc::new(BooleanArray::from(vec![true])), Zone::Utc, "t");
    text(Arc::new(BinaryArray::from_vec(vec![b"\x00\xff"])), Zone::Utc, "\\x00ff");
}

#[test]
fn numbers_of_any_length_are_groups_of_four_digits() {
    let numeric = |text: &str, expected: &[i16]| {
        let mut out = BytesMut::new();
        put_numeric(text, &mut out).expect("digits");
        let groups: Vec<i16> = out.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
        assert_eq!(groups, expected, "{text}");
    };
    numeric("0", &[0, 0, 0, 0]);
    numeric("1", &[1, 0, 0, 0, 1]);
    numeric("-12345.678", &[3, 1, 0x4000, 3, 1, 2345, 6780]);
    numeric("0.0001", &[1, -1, 0, 4, 1]);
    numeric("10000", &[1, 1, 0, 0, 1]);
    assert!(put_numeric("1e5", &mut BytesMut::new()).is_err());
}

#[test]
fn dates_of_all_centuries_are_right() {
    let date = |days: i32| -> ArrayRef { Arc::new(Date32Array::from(vec![days])) };
    text(date(0), Zone::Utc, "1970-01-01");
    text(date(11_016), Zone::Utc, "2000-02-29");
    text(date(-719_528), Zone::Utc, "0001-01-01 BC");
    text(date(2_932_896), Zone::Utc, "9999-12-31");
    binary(date(10_958), &1_i32.to_be_bytes());
}

#[test]
fn intervals_say_what_they_have() {
    let interval = |months, days, nanoseconds| -> ArrayRef {
        Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(months, days, nanoseconds)]))
    };
    text(interval(14, 1, 3_661_500_000_000), Zone::Utc, "1 year 2 mons 1 day 01:01:01.5");
    text(interval(0, 0, 0), Zone::Utc, "00:00:00");
    text(interval(0, 0, -1_000_000_000), Zone::Utc, "-00:00:01");
    text(Arc::new(DurationNanosecondArray::from(vec![1_500_000_000])), Zone::Utc, "00:00:01.5");
    binary(interval(1, 2, 3_000), &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1]);
}

#[test]
fn tags_are_text_and_lists_are_quoted_where_they_must() {
    let host: DictionaryArray<Int32Type> = [Some("a"), None].into_iter().collect();
    text(Arc::new(host), Zone::Utc, "a");
    let numbers = ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>([Some([Some(1), None])]);
    text(Arc::new(numbers.clone()), Zone::Utc, "{1,NULL}");
    let expected = [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 20], [0, 0, 0, 2], [0, 0, 0, 1], [0, 0, 0, 8]].concat();
    let expected = [expected, vec![0, 0, 0, 0, 0, 0, 0, 1], vec![255; 4]].concat();
    binary(Arc::new(numbers), &expected);
    let mut builder = arrow_array::builder::ListBuilder::new(arrow_array::builder::StringBuilder::new());
    builder.append_value(["a b", "c\"", "null", "", "d"].map(Some));
    text(Arc::new(builder.finish()), Zone::Utc, "{\"a b\",\"c\\\"\",\"null\",\"\",d}");
    binary(Arc::new(StringArray::from(vec!["x"])), b"x");
    binary(Arc::new(Int64Array::from(vec![-1])), &[255; 8]);
}
