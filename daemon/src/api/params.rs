//! The parameters of a query as JSON has them: an object of names and scalars, or the text of one.

use serde_json::Value;
use sql::Param;

/// The error says what is wrong with them.
pub(super) fn from_json(value: Value) -> Result<Vec<(String, Param)>, String> {
    let value = match value {
        Value::String(text) => serde_json::from_str(&text).map_err(|error| format!("serde json error: {error}"))?,
        other => other,
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(params) => {
            params.into_iter().map(|(name, value)| Ok((name.clone(), param(&name, value)?))).collect()
        }
        _ => Err("params must be an object of names and values".to_owned()),
    }
}

fn param(name: &str, value: Value) -> Result<Param, String> {
    match value {
        Value::Null => Ok(Param::Null),
        Value::Bool(v) => Ok(Param::Bool(v)),
        Value::String(v) => Ok(Param::String(v)),
        Value::Number(v) => v
            .as_i64()
            .map(Param::Int)
            .or_else(|| v.as_u64().map(Param::UInt))
            .or_else(|| v.as_f64().map(Param::Float))
            .ok_or_else(|| format!("the number of param '{name}' is out of range")),
        Value::Array(_) | Value::Object(_) => {
            Err(format!("param '{name}' must be null, a boolean, a number or a string"))
        }
    }
}
