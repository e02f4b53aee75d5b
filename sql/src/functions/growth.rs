//! How large the results of functions can become, by their arguments.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, IntervalMonthDayNanoType};
use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use datafusion::arrow::compute::cast;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

/// A number of bytes that the result for all rows does not pass by much.
pub(super) type Growth = fn(&ScalarFunctionArgs) -> Result<u64>;

/// What a character of padding, or an element of a list as text, takes at most.
const CHARACTER_BYTES: u64 = 4;
const ELEMENT_TEXT_BYTES: u64 = 32;

/// Two signs of a format (`%+`) become a whole date and time at most.
const TIME_TEXT_BYTES: u64 = 20;

const DAY_NS: i128 = 86_400_000_000_000;
/// The shortest month: the more elements in a range.
const MONTH_NS: i128 = 28 * DAY_NS;

/// That of a function, when its result can be much larger than its arguments, or twice as large again and again.
pub(super) fn growth(function: &str) -> Option<Growth> {
    let growth: Growth = match function {
        "repeat" => |args| each(args, |row| row.bytes(0).saturating_mul(row.count(1))),
        "lpad" | "rpad" => |args| each(args, |row| row.count(1).saturating_mul(CHARACTER_BYTES)),
        "replace" => |args| {
            each(args, |row| {
                let (text, from) = (row.bytes(0), row.bytes(1).max(1));
                (text / from + 1).saturating_mul(row.bytes(2)).saturating_add(text)
            })
        },
        // A match may be empty, and the replacement may name what it matched.
        "regexp_replace" => |args| {
            each(args, |row| {
                let text = row.bytes(0);
                (2 * text + 1).saturating_mul(row.bytes(2)).saturating_add(text)
            })
        },
        "range" | "generate_series" => |args| each(args, |row| range_len(row).saturating_mul(8)),
        "array_repeat" => |args| each(args, |row| row.bytes(0).max(1).saturating_mul(row.count(1))),
        "array_resize" => |args| {
            each(args, |row| {
                let filler = if row.args.len() > 2 { row.bytes(2) } else { 0 };
                row.bytes(0).saturating_add(row.count(1).saturating_mul(filler.max(8)))
            })
        },
        "array_to_string" => |args| {
            each(args, |row| {
                let between: u64 = (1..row.args.len()).map(|arg| row.bytes(arg)).sum();
                let element = between.saturating_add(ELEMENT_TEXT_BYTES);
                row.elements(0).saturating_mul(element).saturating_add(row.bytes(0))
            })
        },
        "concat_ws" => |args| {
            each(args, |row| {
                let others = row.args.len() as u64;
                row.all_bytes().saturating_add(row.bytes(0).saturating_mul(others))
            })
        },
        "concat" | "overlay" | "make_array" | "array_concat" | "array_append" | "array_prepend" | "array_union"
        | "arrays_zip" | "map" | "struct" | "named_struct" => |args| each(args, |row| row.all_bytes()),
        // What one sign of the format becomes; the engine also sets aside the length of the format for each row.
        "to_char" => |args| each(args, |row| row.bytes(1).saturating_mul(TIME_TEXT_BYTES).saturating_add(64)),
        "encode" => |args| each(args, |row| row.bytes(0).saturating_mul(2)),
        _ => return None,
    };
    Some(growth)
}

/// The sum of what `bytes` says of each row.
fn each(args: &ScalarFunctionArgs, bytes: impl Fn(&Row<'_>) -> u64) -> Result<u64> {
    let arg = |value: &ColumnarValue| match value {
        ColumnarValue::Array(array) => Arg::new(Arc::clone(array), Rows::Many),
        ColumnarValue::Scalar(value) => Arg::new(value.to_array()?, Rows::One),
    };
    let all: Vec<Arg> = args.args.iter().map(arg).collect::<Result<_>>()?;
    let rows = (0..args.number_rows.max(1)).map(|row| bytes(&Row { args: &all, row }));
    Ok(rows.fold(0, u64::saturating_add))
}

/// Whether an argument has a value for each row or one for all of them.
#[derive(Clone, Copy)]
enum Rows {
    One,
    Many,
}

struct Arg {
    values: ArrayRef,
    rows: Rows,
    /// Of a value, on average, where values have no length of their own.
    value_bytes: u64,
    /// Whole numbers, when the values can be seen as such, and how many nanoseconds one is when they are times.
    numbers: Option<(Int64Array, i128)>,
}

impl Arg {
    fn new(values: ArrayRef, rows: Rows) -> Result<Self> {
        let of_all = values.to_data().get_slice_memory_size().unwrap_or_default() as u64;
        let unit = match values.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => Some(1_000_000_000),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Some(1_000_000),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Some(1_000),
            DataType::Date32 => Some(DAY_NS),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(1),
            kind if kind.is_integer() => Some(1),
            _ => None,
        };
        let numbers = match unit {
            Some(unit) => Some((whole_numbers(&values)?, unit)),
            None => None,
        };
        Ok(Self { value_bytes: of_all.div_ceil(values.len().max(1) as u64), values, rows, numbers })
    }
}

fn whole_numbers(values: &ArrayRef) -> Result<Int64Array> {
    // Days would become milliseconds on the way to 64 bits.
    let days = matches!(values.data_type(), DataType::Date32).then(|| cast(values, &DataType::Int32)).transpose()?;
    Ok(cast(days.as_ref().unwrap_or(values), &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// One row of the arguments.
struct Row<'a> {
    args: &'a [Arg],
    row: usize,
}

impl Row<'_> {
    /// The argument and where in it the value for this row stands; `None` when it is absent.
    fn at(&self, arg: usize) -> Option<(&Arg, usize)> {
        let found = self.args.get(arg)?;
        let row = match found.rows {
            Rows::One => 0,
            Rows::Many => self.row,
        };
        (row < found.values.len() && !found.values.is_null(row)).then_some((found, row))
    }

    fn bytes(&self, arg: usize) -> u64 {
        let Some((arg, row)) = self.at(arg) else { return 0 };
        match arg.values.data_type() {
            DataType::Utf8 => arg.values.as_string::<i32>().value_length(row).unsigned_abs().into(),
            DataType::LargeUtf8 => arg.values.as_string::<i64>().value_length(row).unsigned_abs(),
            DataType::Utf8View => arg.values.as_string_view().value(row).len() as u64,
            _ => arg.value_bytes,
        }
    }

    fn all_bytes(&self) -> u64 {
        (0..self.args.len()).map(|arg| self.bytes(arg)).fold(0, u64::saturating_add)
    }

    /// Elements of a list.
    fn elements(&self, arg: usize) -> u64 {
        let Some((arg, row)) = self.at(arg) else { return 0 };
        match arg.values.data_type() {
            DataType::List(_) => arg.values.as_list::<i32>().value(row).len() as u64,
            DataType::LargeList(_) => arg.values.as_list::<i64>().value(row).len() as u64,
            _ => arg.value_bytes,
        }
    }

    fn number(&self, arg: usize) -> Option<i128> {
        let (arg, row) = self.at(arg)?;
        let (numbers, unit) = arg.numbers.as_ref()?;
        numbers.is_valid(row).then(|| i128::from(numbers.value(row)) * unit)
    }

    /// A number of times; none when it is below zero.
    fn count(&self, arg: usize) -> u64 {
        self.number(arg).map_or(0, |n| u64::try_from(n.max(0)).unwrap_or(u64::MAX))
    }
}

/// Elements of `range(stop)`, `range(start, stop)` and `range(start, stop, step)`.
fn range_len(row: &Row<'_>) -> u64 {
    let (start, stop) = match row.args.len() {
        1 => (Some(0), row.number(0)),
        _ => (row.number(0), row.number(1)),
    };
    let (Some(start), Some(stop)) = (start, stop) else { return 0 };
    let step = match row.at(2) {
        Some((arg, at)) => match arg.values.data_type() {
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let step = arg.values.as_primitive::<IntervalMonthDayNanoType>().value(at);
                let days = i128::from(step.months) * MONTH_NS + i128::from(step.days) * DAY_NS;
                days + i128::from(step.nanoseconds)
            }
            _ => row.number(2).unwrap_or(1),
        },
        None => 1,
    };
    u64::try_from((stop - start).abs() / step.abs().max(1)).unwrap_or(u64::MAX).saturating_add(1)
}
