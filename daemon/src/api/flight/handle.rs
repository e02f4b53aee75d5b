//! Prepared statements: the handle is the statement, with the values of its parameters once they are bound.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use prost::Message;
use sql::Param;
use tonic::Status;

use super::errors;
use super::ticket::Params;

/// What a client holds between its calls.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Handle {
    /// How the rest is to be read.
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    pub(super) text: String,
    /// Of `$1`, `$2` and so on.
    #[prost(message, repeated, tag = "3")]
    bound: Vec<Bound>,
}

/// The value of one parameter.
#[derive(Clone, PartialEq, Message)]
struct Bound {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7")]
    value: Option<Value>,
    /// The type it has in the query, if its value does not tell.
    #[prost(string, optional, tag = "8")]
    cast_to: Option<String>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int(i64),
    #[prost(uint64, tag = "3")]
    UInt(u64),
    #[prost(double, tag = "4")]
    Float(f64),
    #[prost(string, tag = "5")]
    String(String),
    #[prost(bytes = "vec", tag = "6")]
    Bytes(Vec<u8>),
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "7")]
    Time(i64),
}

const VERSION: u32 = 1;

/// The longest name of a type that a parameter may have: that of a time with a zone.
const TYPE_BYTES_MAX: usize = 64;

impl Handle {
    pub(super) fn new(text: String) -> Self {
        Self { version: VERSION, text, bound: Vec::new() }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Status> {
        let unknown = || Status::invalid_argument("the handle of the prepared statement is none of this server's");
        let handle = Self::decode(bytes).map_err(|_| unknown())?;
        if handle.version == VERSION { Ok(handle) } else { Err(unknown()) }
    }

    /// The statement with these values, which are the columns of one row; without a row it has none.
    pub(super) fn bind(self, batches: &[RecordBatch]) -> Result<Self, Status> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows > 1 {
            let message = format!("a query takes the parameters of one row, and these are {rows}");
            return Err(Status::invalid_argument(message));
        }
        let row = batches.iter().find(|batch| batch.num_rows() == 1);
        let columns = row.map_or(&[][..], |row| row.columns());
        let bound = columns.iter().zip(1..).map(|(column, number)| bound(column, number)).collect::<Result<_, _>>()?;
        Ok(Self { bound, ..self })
    }

    pub(super) fn params(&self) -> Result<Params, Status> {
        self.bound.iter().zip(1..).map(|(bound, number)| Ok((number.to_string(), bound.param()?))).collect()
    }
}

impl Bound {
    fn param(&self) -> Result<Param, Status> {
        let param = match self.value.clone() {
            None => Param::Null,
            Some(Value::Bool(v)) => Param::Bool(v),
            Some(Value::Int(v)) => Param::Int(v),
            Some(Value::UInt(v)) => Param::UInt(v),
            Some(Value::Float(v)) => Param::Float(v),
            Some(Value::String(v)) => Param::String(v),
            Some(Value::Bytes(v)) => Param::Bytes(v),
            Some(Value::Time(v)) => Param::Time(v),
        };
        let Some(to) = &self.cast_to else { return Ok(param) };
        // Handles are not signed, and the parser goes as deep as a text says.
        if to.len() > TYPE_BYTES_MAX {
            return Err(Status::invalid_argument("the handle of the prepared statement has a type that is too long"));
        }
        let to = to.parse().map_err(|error| errors::of_decoding("handle", error))?;
        Ok(Param::Cast(Box::new(param), to))
    }
}

/// The first value of a column, as parameter of this number.
fn bound(column: &ArrayRef, number: usize) -> Result<Bound, Status> {
    use DataType as T;
    let of = match column.data_type() {
        T::Dictionary(_, of) => &**of,
        of => of,
    };
    let unfit =
        |error: &dyn std::fmt::Display| Status::invalid_argument(format!("parameter ${number} ({of}): {error}"));
    let as_type = |to: &DataType| arrow_cast::cast(&column.slice(0, 1), to).map_err(|error| unfit(&error));
    if *of == T::Null {
        return Ok(Bound::default());
    }
    if column.is_null(0) {
        return Ok(Bound { value: None, cast_to: Some(of.to_string()) });
    }
    let int = || Ok::<_, Status>(as_type(&T::Int64)?.as_primitive::<Int64Type>().value(0));
    let mut cast_to = None;
    let value = match of {
        T::Boolean => Value::Bool(column.as_boolean().value(0)),
        T::Int8 | T::Int16 | T::Int32 | T::Int64 => Value::Int(int()?),
        T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => {
            Value::UInt(as_type(&T::UInt64)?.as_primitive::<UInt64Type>().value(0))
        }
        T::Float16 | T::Float32 | T::Float64 => {
            Value::Float(as_type(&T::Float64)?.as_primitive::<Float64Type>().value(0))
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => {
            Value::String(as_type(&T::Utf8)?.as_string::<i32>().value(0).to_owned())
        }
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            Value::Bytes(as_type(&T::Binary)?.as_binary::<i32>().value(0).to_vec())
        }
        // An instant has no zone; where it has one, that is for showing.
        T::Timestamp(unit, _) => {
            let ns = int()?.checked_mul(nanoseconds(*unit));
            Value::Time(ns.ok_or_else(|| unfit(&"its time is out of the range of nanoseconds"))?)
        }
        T::Date32 | T::Date64 | T::Time32(_) | T::Time64(_) | T::Decimal128(..) | T::Decimal256(..) => {
            cast_to = Some(of.to_string());
            Value::String(as_type(&T::Utf8)?.as_string::<i32>().value(0).to_owned())
        }
        _ => return Err(unfit(&"its type is not supported")),
    };
    Ok(Bound { value: Some(value), cast_to })
}

fn nanoseconds(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Int16Array, ListArray,
        NullArray, StringArray, TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
    };

    use super::*;

    /// The parameter after its way to the client and back.
    fn travelled(column: impl Array + 'static) -> Result<Param, String> {
        let batch = RecordBatch::try_from_iter_with_nullable([("p", Arc::new(column) as ArrayRef, true)]).unwrap();
        let handle = Handle::new("SELECT $1".into()).bind(&[batch]).map_err(|status| status.message().to_owned())?;
        let handle = Handle::read(&handle.encode_to_vec()).unwrap();
        assert_eq!(handle.text, "SELECT $1");
        let mut params = handle.params().unwrap();
        assert_eq!((params.len(), params[0].0.as_str()), (1, "1"));
        Ok(params.remove(0).1)
    }

    #[test]
    fn values_of_every_kind_travel_in_the_handle() {
        let cast = |param, to| Ok(Param::Cast(Box::new(param), to));
        assert_eq!(travelled(NullArray::new(1)), Ok(Param::Null));
        assert_eq!(travelled(BooleanArray::from(vec![true])), Ok(Param::Bool(true)));
        assert_eq!(travelled(Int16Array::from(vec![-3])), Ok(Param::Int(-3)));
        assert_eq!(travelled(UInt64Array::from(vec![u64::MAX])), Ok(Param::UInt(u64::MAX)));
        assert_eq!(travelled(Float32Array::from(vec![0.5])), Ok(Param::Float(0.5)));
        assert_eq!(travelled(StringArray::from(vec!["a"])), Ok(Param::String("a".into())));
        assert_eq!(travelled(BinaryArray::from(vec![&b"\xff"[..]])), Ok(Param::Bytes(vec![255])));
        let tag: DictionaryArray<Int32Type> = ["b"].into_iter().collect();
        assert_eq!(travelled(tag), Ok(Param::String("b".into())));
        let time = TimestampMicrosecondArray::from(vec![7]).with_timezone("+02:00");
        assert_eq!(travelled(time), Ok(Param::Time(7000)));
        assert_eq!(travelled(Date32Array::from(vec![1])), cast(Param::String("1970-01-02".into()), DataType::Date32));
        let decimal = Decimal128Array::from(vec![125]).with_precision_and_scale(5, 2).unwrap();
        assert_eq!(travelled(decimal), cast(Param::String("1.25".into()), DataType::Decimal128(5, 2)));
        assert_eq!(travelled(Int16Array::from(vec![None])), cast(Param::Null, DataType::Int16));
    }

    #[test]
    fn what_cannot_be_a_parameter_is_named() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
        assert!(travelled(list).unwrap_err().ends_with("its type is not supported"));
        assert!(travelled(TimestampSecondArray::from(vec![i64::MAX])).unwrap_err().contains("$1"));
        let two = RecordBatch::try_from_iter([("p", Arc::new(UInt64Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
        let refused = Handle::new("SELECT $1".into()).bind(&[two]).unwrap_err();
        assert!(refused.message().ends_with("these are 2"), "{refused}");
        let deep = Bound { value: None, cast_to: Some("List(".repeat(100_000)) };
        assert!(deep.param().unwrap_err().message().contains("too long"));
        for bytes in [&b""[..], b"\xff", b"SELECT 1"] {
            assert!(Handle::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
