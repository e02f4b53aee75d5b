//! A query as the URL or the body has it.

use std::fmt;

use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;
use sql::Param;
use storage::wal::Mark;

use super::errors::Refusal;
use super::format::Format;
use crate::api::{params, position};

/// The fields of a request, whichever way it came.
#[derive(Deserialize, Default, PartialEq)]
#[serde(default)]
pub(super) struct Fields {
    db: Option<String>,
    q: Option<String>,
    format: Option<String>,
    /// An object; in a URL, the text of one.
    params: Option<Value>,
    /// See `position`.
    after_position: Option<String>,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields").field("db", &self.db).field("format", &self.format).finish_non_exhaustive()
    }
}

/// What is asked, checked.
#[derive(Debug, PartialEq)]
pub(super) struct Question {
    pub(super) database: String,
    pub(super) text: String,
    pub(super) params: Vec<(String, Param)>,
    pub(super) format: Format,
    /// What must be visible.
    pub(super) after: Vec<Mark>,
}

impl Fields {
    pub(super) fn check(self, headers: &HeaderMap) -> Result<Question, Refusal> {
        let Self { db, q, format, params, after_position } = self;
        let (Some(database), Some(text)) = (db, q) else {
            return Err(Refusal::bad_request("missing query parameters 'db' and 'q'"));
        };
        // The original looks at the header even when the format is said; then it can only do harm.
        let format = match format {
            Some(format) => Format::parse(&format)?,
            None => headers
                .get(header::ACCEPT)
                .map_or(Ok(Format::Json), |accept| Format::accepted(accept.to_str().unwrap_or("not text")))?,
        };
        let params = params.map_or_else(|| Ok(Vec::new()), params::from_json).map_err(Refusal::bad_request)?;
        let after = position::asked(headers, after_position.as_deref()).map_err(Refusal::bad_request)?;
        Ok(Question { database, text, params, format, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_url(query: &str) -> Result<Question, String> {
        let fields: Fields = serde_urlencoded::from_str(query).map_err(|error| error.to_string())?;
        fields.check(&HeaderMap::new()).map_err(|refusal| refusal.message)
    }

    fn from_json(text: &str) -> Result<Question, String> {
        let fields: Fields = serde_json::from_str(text).map_err(|error| error.to_string())?;
        fields.check(&HeaderMap::new()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn a_query_reads_the_same_from_url_and_body() {
        let url = from_url("db=a&q=SELECT+1&format=csv&params=%7B%22x%22%3A1%2C%22y%22%3A%22z%22%7D");
        let body = from_json(r#"{"db":"a","q":"SELECT 1","format":"csv","params":{"x":1,"y":"z"}}"#);
        assert_eq!(url, body);
        let params = vec![("x".to_owned(), Param::Int(1)), ("y".to_owned(), Param::String("z".to_owned()))];
        let expected =
            Question { database: "a".into(), text: "SELECT 1".into(), params, format: Format::Csv, after: Vec::new() };
        assert_eq!(url, Ok(expected));
    }

    #[test]
    fn params_are_scalars() {
        let params = r#"{"db":"a","q":"x","params":{"a":null,"b":true,"c":-1,"d":18446744073709551615,"e":0.5}}"#;
        let found: Vec<_> = from_json(params).expect("scalars").params.into_iter().map(|(_, param)| param).collect();
        let expected = [Param::Null, Param::Bool(true), Param::Int(-1), Param::UInt(u64::MAX), Param::Float(0.5)];
        assert_eq!(found, expected);
        let list = from_json(r#"{"db":"a","q":"x","params":{"l":[1]}}"#);
        assert_eq!(list, Err("param 'l' must be null, a boolean, a number or a string".to_owned()));
        assert_eq!(from_url("db=a&q=x&params=5"), Err("params must be an object of names and values".to_owned()));
    }

    #[test]
    fn database_and_text_are_needed() {
        for query in ["", "db=a", "q=x"] {
            assert_eq!(from_url(query), Err("missing query parameters 'db' and 'q'".to_owned()));
        }
    }
}
