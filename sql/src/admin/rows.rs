//! From the text of a WHERE to the rows that are meant: times and tag values, all of which must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::Expr as Logical;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{BinaryOperator as Op, Expr, UnaryOperator, Value};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use storage::catalog::Deletion;
use storage::model::TIME_COLUMN;

use super::TableRef;
use super::words::Result;

/// Words and signs of a WHERE besides texts: each may make its tree deeper.
const SIGNS_MAX: usize = 500;

/// What a WHERE may say.
const ALLOWED: &str = "a WHERE of DELETE is a list, with AND, of comparisons of time (=, <, <=, >, >=, BETWEEN) with \
                       instants and of tags with texts (=, IN, IS NULL)";

/// All rows of a table.
pub(super) fn all(TableRef { database, table }: TableRef) -> Deletion {
    Deletion { database, table, first_ns: i64::MIN, last_ns: i64::MAX, tags: BTreeMap::new() }
}

/// Those of the rows for which all of `tokens` holds.
pub(super) fn restrict(deletion: &mut Deletion, tokens: Vec<Token>) -> Result<()> {
    let is_sign = |token: &&Token| !matches!(token, Token::SingleQuotedString(_) | Token::Comma);
    let signs = tokens.iter().filter(is_sign).count();
    if signs > SIGNS_MAX {
        return Err(format!("the WHERE has {signs} words and signs; at most {SIGNS_MAX} are allowed"));
    }
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens(tokens);
    let parsed = parser.parse_expr().map_err(|error| format!("the WHERE cannot be read: {error}"))?;
    let rest = parser.peek_token().token;
    if rest != Token::EOF {
        return Err(format!("expected the end of the statement after {parsed}, found {rest}"));
    }
    let mut open = vec![parsed];
    while let Some(condition) = open.pop() {
        match condition {
            Expr::Nested(inner) => open.push(*inner),
            Expr::BinaryOp { left, op: Op::And, right } => open.extend([*right, *left]),
            condition => hold(deletion, &condition)?,
        }
    }
    Ok(())
}

fn hold(deletion: &mut Deletion, condition: &Expr) -> Result<()> {
    let refused = || format!("{condition} cannot be asked here: {ALLOWED}");
    match condition {
        Expr::BinaryOp { left, op, right } => {
            let (name, op, value) = match (column(left), column(right)) {
                (Some(name), None) => (name, op.clone(), right),
                (None, Some(name)) => (name, turned(op).ok_or_else(refused)?, left),
                _ => return Err(refused()),
            };
            match op {
                _ if name == TIME_COLUMN => compare(deletion, &op, value).ok_or_else(refused)?,
                Op::Eq => {
                    among(deletion, name, [Some(text(value).ok_or_else(refused)?)].into());
                    Ok(())
                }
                _ => Err(refused()),
            }
        }
        Expr::Between { expr, negated: false, low, high } if column(expr).as_deref() == Some(TIME_COLUMN) => {
            deletion.first_ns = deletion.first_ns.max(instant(low)?);
            deletion.last_ns = deletion.last_ns.min(instant(high)?);
            Ok(())
        }
        Expr::InList { expr, list, negated: false } => {
            let name = column(expr).filter(|name| name != TIME_COLUMN).ok_or_else(refused)?;
            let values = list.iter().map(|value| text(value).map(Some)).collect::<Option<_>>();
            among(deletion, name, values.ok_or_else(refused)?);
            Ok(())
        }
        Expr::IsNull(expr) => {
            let name = column(expr).filter(|name| name != TIME_COLUMN).ok_or_else(refused)?;
            among(deletion, name, [None].into());
            Ok(())
        }
        _ => Err(refused()),
    }
}

/// The comparison with its sides exchanged.
fn turned(op: &Op) -> Option<Op> {
    Some(match op {
        Op::Eq => Op::Eq,
        Op::Lt => Op::Gt,
        Op::LtEq => Op::GtEq,
        Op::Gt => Op::Lt,
        Op::GtEq => Op::LtEq,
        _ => return None,
    })
}

/// `None` when times are not compared so.
fn compare(deletion: &mut Deletion, op: &Op, value: &Expr) -> Option<Result<()>> {
    let is_known = matches!(op, Op::Eq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq);
    let instant = match is_known.then(|| instant(value))? {
        Ok(instant) => instant,
        Err(error) => return Some(Err(error)),
    };
    let (first, last) = match op {
        Op::Lt => (Some(i64::MIN), instant.checked_sub(1)),
        Op::LtEq => (Some(i64::MIN), Some(instant)),
        Op::Gt => (instant.checked_add(1), Some(i64::MAX)),
        Op::GtEq => (Some(instant), Some(i64::MAX)),
        _ => (Some(instant), Some(instant)),
    };
    // Nothing comes before the first instant there is, or after the last.
    let (first, last) = first.zip(last).unwrap_or((i64::MAX, i64::MIN));
    deletion.first_ns = deletion.first_ns.max(first);
    deletion.last_ns = deletion.last_ns.min(last);
    Some(Ok(()))
}

fn among(deletion: &mut Deletion, tag: String, values: BTreeSet<Option<String>>) {
    let both = |known: &mut BTreeSet<Option<String>>| known.retain(|value| values.contains(value));
    deletion.tags.entry(tag).and_modify(both).or_insert(values.clone());
}

/// The name of a column. Without quotes its letters are small, as everywhere in SQL.
fn column(expr: &Expr) -> Option<String> {
    let ident = match expr {
        Expr::Identifier(ident) => ident,
        // With the table before it.
        Expr::CompoundIdentifier(parts) => parts.last()?,
        Expr::Nested(inner) => return column(inner),
        _ => return None,
    };
    Some(if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() })
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Nested(inner) => text(inner),
        _ => None,
    }
}

/// Nanoseconds since the Unix epoch. A text without a zone is a time in UTC, a whole number is nanoseconds.
fn instant(expr: &Expr) -> Result<i64> {
    let wrong =
        |reason: &dyn std::fmt::Display| format!("{expr} is not an instant that time can be compared with: {reason}");
    if let Some(number) = number(expr) {
        return number.parse().map_err(|error: std::num::ParseIntError| wrong(&error));
    }
    if matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_))) {
        return Err(wrong(&"a DELETE takes no parameters; put the value into the text"));
    }
    let text = expr.to_string();
    let value = folded(&text).map_err(|error| wrong(&error))?;
    match &value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            string_to_timestamp_nanos(text).map_err(|error| wrong(&error))
        }
        ScalarValue::Int64(Some(ns)) => Ok(*ns),
        value if value.data_type().is_temporal() && !value.is_null() => {
            let of_ns = datafusion::arrow::datatypes::DataType::Timestamp(
                datafusion::arrow::datatypes::TimeUnit::Nanosecond,
                None,
            );
            match value.cast_to(&of_ns).map_err(|error| wrong(&error))? {
                ScalarValue::TimestampNanosecond(Some(ns), _) => Ok(ns),
                other => Err(wrong(&other.data_type())),
            }
        }
        value => Err(wrong(&value.data_type())),
    }
}

/// The digits of a whole number, with its sign.
fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(digits.to_string()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|digits| format!("-{digits}")),
        Expr::Nested(inner) => number(inner),
        _ => None,
    }
}

/// What an expression without columns comes to now.
fn folded(text: &str) -> datafusion::common::Result<ScalarValue> {
    let state = SessionStateBuilder::new_with_default_features().build();
    let schema = Arc::new(DFSchema::empty());
    let expr = state.create_logical_expr(text, &schema)?;
    let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).with_current_time().build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.coerce(expr, &schema)?;
    match simplifier.simplify(expr)?.unalias() {
        Logical::Literal(value, _) => Ok(value),
        other => datafusion::common::plan_err!("{other} is not the same for all rows"),
    }
}
