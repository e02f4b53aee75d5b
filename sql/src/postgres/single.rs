//! The one value of a sub-query.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;

/// The value of the only row, null of none, an error of several.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Single {
    signature: Signature,
}

impl Single {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Single {
    fn name(&self) -> &str {
        "_single"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let value = Field::new(format!("{}[value]", args.name), args.return_type().clone(), true);
        let is_there = Field::new(format!("{}[is_there]", args.name), DataType::Boolean, true);
        Ok(vec![Arc::new(value), Arc::new(is_there)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Value { value: ScalarValue::try_from(args.return_type())?, is_there: false }))
    }
}

#[derive(Debug)]
struct Value {
    value: ScalarValue,
    is_there: bool,
}

impl Value {
    fn take(&mut self, values: &ArrayRef, row: usize) -> Result<()> {
        if self.is_there {
            return exec_err!("more than one row returned by a subquery used as an expression");
        }
        self.is_there = true;
        self.value = ScalarValue::try_from_array(values, row)?;
        self.value.compact();
        Ok(())
    }
}

impl Accumulator for Value {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        (0..values[0].len()).try_for_each(|row| self.take(&values[0], row))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            if ScalarValue::try_from_array(&states[1], row)? == ScalarValue::Boolean(Some(true)) {
                self.take(&states[0], row)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Boolean(Some(self.is_there))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }
}
