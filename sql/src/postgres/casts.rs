//! Casts to types that only Postgres has.
//!
//! # Why
//! A value of a `reg` type is a number that is shown as a name, and the engine has no such type. What is compared or made
//! a number is the number; a text that was written down is its number too; all else is the name.

use datafusion::common::{Result, not_impl_err, plan_datafusion_err};
use datafusion::sql::sqlparser::ast::ArrayElemTypeDef as Def;
use datafusion::sql::sqlparser::ast::{BinaryOperator, DataType, Expr, Ident, ObjectName, TimezoneInfo};

use super::arrays::array_items;
use super::columns::called;
use super::macros::{call, literal, parse};

const NAMED_NUMBERS: [&str; 3] = ["regclass", "regtype", "regnamespace"];

/// The `reg` type that `expr` is cast to, and what is cast.
fn named_number(expr: &Expr) -> Option<(String, &Expr)> {
    match expr {
        Expr::Nested(inner) => named_number(inner),
        Expr::Cast { expr, data_type, .. } => {
            let name = type_name(data_type)?;
            NAMED_NUMBERS.contains(&name.as_str()).then_some((name, &**expr))
        }
        _ => None,
    }
}

fn type_name(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".to_owned()),
        DataType::Custom(name, _) => called(name),
        _ => None,
    }
}

/// Functions have names here and no numbers.
fn is_function_number(inner: &Expr, data_type: &DataType) -> bool {
    let Expr::Cast { data_type: of, .. } = inner else { return false };
    let is_function = matches!(type_name(of).as_deref(), Some("regproc" | "regprocedure"));
    is_function && matches!(plain(data_type), DataType::BigInt(_) | DataType::Int(_) | DataType::Integer(_))
}

/// What a cast of a cast and a comparison of casts become, before what is inside of them is looked at.
pub(super) fn outer(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Cast { expr: inner, data_type, .. } => {
            if is_function_number(inner, data_type) {
                return not_impl_err!("the number of a function: {inner}");
            }
            let Some((name, value)) = named_number(inner) else { return Ok(()) };
            let what = match plain(data_type) {
                DataType::Text | DataType::Varchar(_) => "name",
                DataType::BigInt(_) | DataType::Int(_) | DataType::Integer(_) => "oid",
                _ => return Ok(()),
            };
            *expr = call(&format!("_{name}_{what}"), std::slice::from_ref(value))?;
        }
        Expr::BinaryOp { left, op, right } if is_comparison(op) => {
            for side in [left, right] {
                if let Some((name, value)) = named_number(side) {
                    **side = call(&format!("_{name}_oid"), std::slice::from_ref(value))?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// What a cast becomes; changes the type of one that stays.
pub(super) fn inner(inner: &Expr, data_type: &mut DataType) -> Result<Option<Expr>> {
    if let Some(name) = type_name(data_type).filter(|name| NAMED_NUMBERS.contains(&name.as_str())) {
        let what = if matches!(inner, Expr::Value(_)) { "oid" } else { "name" };
        return call(&format!("_{name}_{what}"), std::slice::from_ref(inner)).map(Some);
    }
    if let (DataType::Array(_), Some(text)) = (&*data_type, literal(inner)) {
        let list = list(text).ok_or_else(|| plan_datafusion_err!("malformed array literal: \"{text}\""))??;
        let Expr::Array(items) = &list else { return Ok(Some(list)) };
        let DataType::Array(of) = data_type else { return Ok(None) };
        let Some(item_type) = item_type(of) else { return Ok(None) };
        let mut items = items.clone();
        for item in &mut items.elem {
            *item = parse(&format!("CAST({item} AS {item_type})"))?;
        }
        return Ok(Some(Expr::Array(items)));
    }
    if let Some(name @ ("regproc" | "regprocedure")) = type_name(data_type).as_deref() {
        let Some(text) = literal(inner) else {
            *data_type = DataType::Text;
            return Ok(None);
        };
        let text = text.trim_start_matches("pg_catalog.");
        let text = if name == "regproc" { text.split('(').next().unwrap_or(text) } else { text };
        return parse(&format!("'{}'", text.replace('\'', "''"))).map(Some);
    }
    *data_type = plain(data_type);
    match (&*data_type, literal(inner).and_then(with_seconds)) {
        (DataType::Timestamp(..), Some(text)) => parse(&format!("CAST('{text}' AS {data_type})")).map(Some),
        _ => Ok(None),
    }
}

/// The text of a time that has none; the engine wants them.
pub(super) fn with_seconds(text: &str) -> Option<String> {
    let (minutes, rest) = text.split_at_checked(16)?;
    let is_time = minutes.bytes().zip(*b"0000-00-00 00:00").all(|(found, like)| match like {
        b'0' => found.is_ascii_digit(),
        b' ' => matches!(found, b' ' | b'T'),
        like => found == like,
    });
    let is_zone = rest.bytes().all(|b| b.is_ascii_digit() || b"+-:Z ".contains(&b)) && !rest.starts_with(':');
    (is_time && is_zone).then(|| format!("{minutes}:00{rest}"))
}

fn item_type(of: &Def) -> Option<DataType> {
    match of {
        Def::SquareBracket(of, _) | Def::AngleBracket(of) | Def::Parenthesis(of) => Some(plain(of)),
        Def::None => None,
    }
}

/// The type as the engine knows it.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
            DataType::Timestamp(None, TimezoneInfo::None)
        }
        DataType::Custom(name, _) => {
            called(name).and_then(|name| plain_type(&name)).unwrap_or_else(|| data_type.clone())
        }
        DataType::Array(Def::SquareBracket(of, size)) => {
            DataType::Array(Def::SquareBracket(Box::new(plain(of)), *size))
        }
        DataType::JSON | DataType::JSONB | DataType::Uuid => DataType::Text,
        other => other.clone(),
    }
}

/// Types under the names the catalogs have for them.
fn plain_type(name: &str) -> Option<DataType> {
    Some(match name {
        "text" | "name" | "varchar" | "bpchar" | "char" | "json" | "jsonb" | "uuid" | "unknown" | "tid" | "cstring" => {
            DataType::Text
        }
        "int8" | "oid" | "xid" | "cid" | "regclass" | "regtype" | "regnamespace" => DataType::BigInt(None),
        "int4" => DataType::Int(None),
        "int2" => DataType::SmallInt(None),
        "float8" => DataType::Double(datafusion::sql::sqlparser::ast::ExactNumberInfo::None),
        "float4" => DataType::Real,
        "bool" => DataType::Boolean,
        "bytea" => DataType::Bytea,
        "date" => DataType::Date,
        "timestamp" | "timestamptz" => DataType::Timestamp(None, TimezoneInfo::None),
        _ => return None,
    })
}

/// `ARRAY[…]` of the items of a list that is written down; `None` when the text is none.
pub(super) fn list(text: &str) -> Option<Result<Expr>> {
    let item =
        |item: Option<String>| item.map_or_else(|| "NULL".to_owned(), |item| format!("'{}'", item.replace('\'', "''")));
    let items: Vec<String> = array_items(text).ok()?.into_iter().map(item).collect();
    Some(match items.as_slice() {
        [] => parse("arrow_cast(make_array(), 'List(Utf8)')"),
        items => parse(&format!("ARRAY[{}]", items.join(", "))),
    })
}

/// Whether it is a `timestamp` by how it is written, which has no zone.
pub(super) fn is_written_without_zone(expr: &Expr) -> bool {
    let is_plain = |data_type: &DataType| {
        let is_named = matches!(data_type, DataType::Custom(name, _) if called(name).as_deref() == Some("timestamp"));
        is_named || matches!(data_type, DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone))
    };
    match expr {
        Expr::Nested(inner) => is_written_without_zone(inner),
        Expr::Cast { data_type, .. } => is_plain(data_type),
        Expr::TypedString(typed) => is_plain(&typed.data_type),
        _ => false,
    }
}

/// `OPERATOR(pg_catalog.~)` is `~`.
pub(super) fn plain_operator(op: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return };
    let plain = match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        _ => return,
    };
    *op = plain;
}

/// A name without a schema.
pub(super) fn bare(name: String) -> ObjectName {
    ObjectName::from(vec![Ident::new(name)])
}
