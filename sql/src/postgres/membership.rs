//! Whether a value is among the rows of a sub-query, as a value: the engine knows it as a condition alone.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{Array, BooleanArray};
use arrow_schema::DataType;
use datafusion::arrow::compute::cast;
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

/// Of a list and a value. No list is one of no rows, in which nothing is; a value that is not there, or an item, makes it
/// unknown.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct IsAmong {
    signature: Signature,
}

impl IsAmong {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for IsAmong {
    fn name(&self) -> &str {
        "_is_among"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [list, value] = args.args.as_slice() else { return plan_err!("a list and a value are compared") };
        let values = value.clone().into_array(args.number_rows)?;
        // The rows are those of a sub-query that depends on nothing, so the list is the same in each row.
        let list = match list {
            ColumnarValue::Array(lists) if lists.is_empty() => return Ok(nowhere(values.len())),
            ColumnarValue::Array(lists) => ScalarValue::try_from_array(lists, 0)?,
            ColumnarValue::Scalar(list) => list.clone(),
        };
        let ScalarValue::List(list) = list else { return Ok(nowhere(values.len())) };
        if list.is_null(0) {
            return Ok(nowhere(values.len()));
        }
        let items = list.value(0);
        let (of, among) = (values.data_type(), items.data_type());
        let common =
            comparison_coercion(of, among).ok_or_else(|| plan_datafusion_err!("type mismatch: {of} IN {among}"))?;
        let (values, items) = (cast(&values, &common)?, cast(&items, &common)?);
        let items = (0..items.len()).map(|i| ScalarValue::try_from_array(&items, i));
        let items = items.collect::<Result<HashSet<ScalarValue>>>()?;
        let has_null = items.iter().any(ScalarValue::is_null);
        let is_among = |i: usize| match ScalarValue::try_from_array(&values, i) {
            Ok(value) if value.is_null() => Ok(None),
            Ok(value) if items.contains(&value) => Ok(Some(true)),
            Ok(_) => Ok((!has_null).then_some(false)),
            Err(error) => Err(error),
        };
        let answers = (0..values.len()).map(is_among).collect::<Result<BooleanArray>>()?;
        Ok(ColumnarValue::Array(Arc::new(answers)))
    }
}

fn nowhere(rows: usize) -> ColumnarValue {
    ColumnarValue::Array(Arc::new(BooleanArray::from(vec![false; rows])))
}
