//! Columns of a batch, ready to be written value by value.
//!
//! # Promises
//! - Times are cut to microseconds, downwards, and that some were cut is known (`Cut`).
//! - A value that its type cannot hold is an error, and never a null.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, IntervalUnit, TimeUnit};
use sql::{PgType, Scalar};

use super::errors::Refusal;

/// Whether a time lost nanoseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(super) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn happens(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One column; each kind has one way to be written.
#[derive(Debug)]
pub(super) enum Column {
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    /// Numbers of objects: without a sign, four bytes.
    Oid(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    /// As text in both formats.
    Text(StringArray),
    /// Digits with a point.
    Numeric(StringArray),
    Bytes(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    /// What a clock shows, whatever its zone.
    Clock(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    /// Its items alone: they begin with the first one of the first list.
    List(ListArray, Scalar, Box<Column>),
}

/// The items of the list in `row`.
pub(super) fn items(list: &ListArray, row: usize) -> Range<usize> {
    let offsets = list.value_offsets();
    index(offsets[row] - offsets[0])..index(offsets[row + 1] - offsets[0])
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).expect("offsets are not negative")
}

/// The columns of `batch` as these types.
pub(super) fn columns(batch: &RecordBatch, types: &[PgType], cut: &Cut) -> Result<Vec<Column>, Refusal> {
    let column = |(array, of): (&ArrayRef, &PgType)| Column::new(array, *of, cut).map_err(|error| refused(*of, &error));
    batch.columns().iter().zip(types).map(column).collect()
}

/// A value that has no form as this type.
fn refused(of: PgType, error: &ArrowError) -> Refusal {
    let (PgType::One(scalar) | PgType::Array(scalar)) = of;
    let code = match (error, scalar) {
        (ArrowError::MemoryError(_), _) => "53200",
        (ArrowError::CastError(_) | ArrowError::ComputeError(_) | ArrowError::ArithmeticOverflow(_), scalar) => {
            match scalar {
                Scalar::Date | Scalar::Time | Scalar::Timestamp | Scalar::Timestamptz | Scalar::Interval => "22008",
                _ => "22003",
            }
        }
        _ => "XX000",
    };
    Refusal::new(code, format!("a value cannot be shown as {}: {error}", of.sql_name()))
}

fn cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef, ArrowError> {
    // What does not fit is an error; the default is a null.
    cast_with_options(array, to, &CastOptions { safe: false, format_options: FormatOptions::default() })
}

impl Column {
    fn new(array: &ArrayRef, of: PgType, cut: &Cut) -> Result<Self, ArrowError> {
        match of {
            PgType::One(scalar) => Self::scalar(array, scalar, cut),
            PgType::Array(scalar) => {
                let item = match array.data_type() {
                    DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item,
                    other => return Err(ArrowError::CastError(format!("{other} is no list"))),
                };
                let list = cast(array, &DataType::List(Arc::clone(item)))?;
                let list = list.as_list::<i32>().clone();
                // A slice of a long column has all items of the column.
                let (first, last) = (index(list.value_offsets()[0]), index(list.value_offsets()[list.len()]));
                let items = list.values().slice(first, last - first);
                Ok(Self::List(list, scalar, Box::new(Self::scalar(&items, scalar, cut)?)))
            }
        }
    }

    fn scalar(array: &ArrayRef, scalar: Scalar, cut: &Cut) -> Result<Self, ArrowError> {
        let to = |data_type: DataType| cast(array, &data_type);
        Ok(match scalar {
            Scalar::Bool => Self::Bool(array.as_boolean().clone()),
            Scalar::Int2 => Self::Int2(to(DataType::Int16)?.as_primitive::<Int16Type>().clone()),
            Scalar::Int4 => Self::Int4(to(DataType::Int32)?.as_primitive::<Int32Type>().clone()),
            Scalar::Int8 => Self::Int8(to(DataType::Int64)?.as_primitive::<Int64Type>().clone()),
            Scalar::Oid => Self::Oid(to(DataType::Int64)?.as_primitive::<Int64Type>().clone()),
            Scalar::Float4 => Self::Float4(to(DataType::Float32)?.as_primitive::<Float32Type>().clone()),
            Scalar::Float8 => Self::Float8(to(DataType::Float64)?.as_primitive::<Float64Type>().clone()),
            Scalar::Numeric => Self::Numeric(to(DataType::Utf8)?.as_string::<i32>().clone()),
            Scalar::Bytea => Self::Bytes(to(DataType::Binary)?.as_binary::<i32>().clone()),
            Scalar::Date => Self::Date(to(DataType::Date32)?.as_primitive::<Date32Type>().clone()),
            Scalar::Time => {
                let times = to(DataType::Time64(TimeUnit::Microsecond))?;
                Self::Time(times.as_primitive::<Time64MicrosecondType>().clone())
            }
            Scalar::Timestamp => Self::Clock(microseconds(&unpacked(array)?, cut)?),
            Scalar::Timestamptz => Self::Timestamp(microseconds(&unpacked(array)?, cut)?),
            Scalar::Interval => {
                let intervals = to(DataType::Interval(IntervalUnit::MonthDayNano))?;
                Self::Interval(intervals.as_primitive::<IntervalMonthDayNanoType>().clone())
            }
            Scalar::Text => Self::Text(texts(array)?),
        })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        let array: &dyn Array = match self {
            Self::Bool(array) => array,
            Self::Int2(array) => array,
            Self::Int4(array) => array,
            Self::Int8(array) | Self::Oid(array) => array,
            Self::Float4(array) => array,
            Self::Float8(array) => array,
            Self::Text(array) | Self::Numeric(array) => array,
            Self::Bytes(array) => array,
            Self::Date(array) => array,
            Self::Time(array) => array,
            Self::Timestamp(array) | Self::Clock(array) => array,
            Self::Interval(array) => array,
            Self::List(array, ..) => array,
        };
        array.is_null(row)
    }
}

fn unpacked(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values),
        _ => Ok(Arc::clone(array)),
    }
}

fn microseconds(array: &ArrayRef, cut: &Cut) -> Result<TimestampMicrosecondArray, ArrowError> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Err(ArrowError::CastError(format!("{} is no time", array.data_type())));
    };
    let times = |factor: i64| {
        move |value: i64| {
            let large = || ArrowError::ArithmeticOverflow(format!("{value} is too late or too early"));
            value.checked_mul(factor).ok_or_else(large)
        }
    };
    Ok(match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().try_unary(times(1_000_000))?,
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().try_unary(times(1_000))?,
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().clone(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().unary(|value: i64| {
            if value % 1_000 != 0 {
                cut.happens();
            }
            value.div_euclid(1_000)
        }),
    })
}

/// Text, and everything that has no type of its own, in words.
fn texts(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    match array.data_type() {
        DataType::Utf8 => Ok(array.as_string::<i32>().clone()),
        DataType::Dictionary(..) | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
        }
        _ => {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(array, &options)?;
            let shown = |row| array.is_valid(row).then(|| formatter.value(row).try_to_string()).transpose();
            (0..array.len()).map(shown).collect()
        }
    }
}
