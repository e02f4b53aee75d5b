//! `json_build_object`, whose result is a text.

use std::fmt::Write;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// Of names and values in turn.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct JsonObject {
    signature: Signature,
}

impl JsonObject {
    pub(super) fn new() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Stable) }
    }
}

impl ScalarUDFImpl for JsonObject {
    fn name(&self) -> &str {
        "json_build_object"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if !types.len().is_multiple_of(2) {
            return plan_err!(
                "No function matches the given name and argument types: json_build_object of odd arguments"
            );
        }
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let options = FormatOptions::default();
        let shown = arrays.iter().map(|array| ArrayFormatter::try_new(array, &options));
        let shown = shown.collect::<Result<Vec<_>, _>>()?;
        let mut objects = Vec::with_capacity(rows);
        for row in 0..rows {
            let mut object = String::from("{");
            for (index, (array, shown)) in arrays.iter().zip(&shown).enumerate() {
                let text = shown.value(row).try_to_string()?;
                let is_name = index % 2 == 0;
                match (is_name, array.is_null(row) || *array.data_type() == DataType::Null) {
                    (true, true) => return exec_err!("null value not allowed for object key"),
                    (true, false) => {
                        object.push_str(if index > 0 { ", " } else { "" });
                        quote(&mut object, &text);
                        object.push_str(" : ");
                    }
                    (false, true) => object.push_str("null"),
                    (false, false) if array.data_type().is_numeric() || *array.data_type() == DataType::Boolean => {
                        object.push_str(&text);
                    }
                    (false, false) => quote(&mut object, &text),
                }
            }
            object.push('}');
            objects.push(object);
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(objects))))
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).expect("memory takes every write"),
            c => out.push(c),
        }
    }
    out.push('"');
}
