//! From the text of a WHERE to the rows that are meant: times and tag values, all of which must hold.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr as Logical, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{BinaryOperator as Op, Expr, Ident, UnaryOperator, Value};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use storage::catalog::Deletion;
use storage::model::TIME_COLUMN;

use super::TableRef;
use super::words::{Result, is_word};

/// Words and signs of a WHERE besides texts: each may make its tree deeper.
const SIGNS_MAX: usize = 500;

/// What a WHERE may say.
const ALLOWED: &str = "a WHERE of DELETE is a list, with AND, of comparisons of time (=, <, <=, >, >=, BETWEEN) with \
                       instants and of tags with texts (=, IN, IS NULL)";

/// Why no whole number is taken but one that stands there.
const COMPUTED: &str = "a whole number that is computed may be another one than is meant; write it out as nanoseconds, or \
                        compute with instants and intervals";

/// All rows of a table.
pub(super) fn all(TableRef { database, table }: TableRef) -> Deletion {
    Deletion { database, table, first_ns: i64::MIN, last_ns: i64::MAX, tags: BTreeMap::new() }
}

/// Those of the rows for which all of `tokens` holds.
pub(super) fn restrict(deletion: &mut Deletion, tokens: Vec<Token>) -> Result<()> {
    check_tokens(&tokens)?;
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens(tokens);
    let parsed = parser.parse_expr().map_err(|error| format!("the WHERE cannot be read: {error}"))?;
    let rest = parser.peek_token().token;
    if rest != Token::EOF {
        return Err(format!("expected the end of the statement after {parsed}, found {rest}"));
    }
    let mut reading = Reading { deletion, folding: LazyCell::new(Folding::new) };
    let mut open = vec![parsed];
    while let Some(condition) = open.pop() {
        match condition {
            Expr::Nested(inner) => open.push(*inner),
            Expr::BinaryOp { left, op: Op::And, right } => open.extend([*right, *left]),
            condition => reading.hold(&condition)?,
        }
    }
    Ok(())
}

/// What is refused wherever it stands.
fn check_tokens(tokens: &[Token]) -> Result<()> {
    let is_sign = |token: &&Token| !matches!(token, Token::SingleQuotedString(_) | Token::Comma);
    let signs = tokens.iter().filter(is_sign).count();
    if signs > SIGNS_MAX {
        return Err(format!("the WHERE has {signs} words and signs; at most {SIGNS_MAX} are allowed"));
    }
    if let Some(placeholder) = tokens.iter().find(|token| matches!(token, Token::Placeholder(_))) {
        return Err(format!(
            "{placeholder} cannot be asked here: a DELETE takes no parameters; put the value into the text"
        ));
    }
    // A SELECT over Postgres reads it as a clock there shows it, and the query engine otherwise.
    if tokens.windows(3).any(|next| next.iter().zip(["AT", "TIME", "ZONE"]).all(|(token, word)| is_word(token, word))) {
        return Err(
            "AT TIME ZONE cannot be asked here: write the instant with its offset, as '2026-01-31T12:00:00+01:00'"
                .into(),
        );
    }
    Ok(())
}

/// A WHERE on its way to what it means.
struct Reading<'a> {
    deletion: &'a mut Deletion,
    folding: LazyCell<Folding>,
}

impl Reading<'_> {
    fn hold(&mut self, condition: &Expr) -> Result<()> {
        let refused = || format!("{condition} cannot be asked here: {ALLOWED}");
        match condition {
            Expr::BinaryOp { left, op, right } => {
                let (name, op, value) = match (self.column(left)?, self.column(right)?) {
                    (Some(name), None) => (name, op.clone(), right),
                    (None, Some(name)) => (name, turned(op).ok_or_else(refused)?, left),
                    _ => return Err(refused()),
                };
                match op {
                    Op::Eq if name != TIME_COLUMN => {
                        self.among(name, [Some(text(value).ok_or_else(refused)?)].into());
                        Ok(())
                    }
                    Op::Eq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq if name == TIME_COLUMN => {
                        let instant = self.folding.instant(value)?;
                        self.within(bounds(&op, instant));
                        Ok(())
                    }
                    _ => Err(refused()),
                }
            }
            Expr::Between { expr, negated: false, low, high } if self.column(expr)?.as_deref() == Some(TIME_COLUMN) => {
                let bounds = (self.folding.instant(low)?, self.folding.instant(high)?);
                self.within(bounds);
                Ok(())
            }
            Expr::InList { expr, list, negated: false } => {
                let name = self.column(expr)?.filter(|name| name != TIME_COLUMN).ok_or_else(refused)?;
                let values = list.iter().map(|value| text(value).map(Some)).collect::<Option<_>>();
                self.among(name, values.ok_or_else(refused)?);
                Ok(())
            }
            Expr::IsNull(expr) => {
                let name = self.column(expr)?.filter(|name| name != TIME_COLUMN).ok_or_else(refused)?;
                self.among(name, [None].into());
                Ok(())
            }
            _ => Err(refused()),
        }
    }

    /// The name of a column, if it is one. What stands before it must be the table.
    fn column(&self, expr: &Expr) -> Result<Option<String>> {
        let parts = match expr {
            Expr::Identifier(ident) => std::slice::from_ref(ident),
            Expr::CompoundIdentifier(parts) => parts,
            Expr::Nested(inner) => return self.column(inner),
            _ => return Ok(None),
        };
        let Some((last, before)) = parts.split_last() else { return Ok(None) };
        let table = [self.deletion.database.as_str(), "public", self.deletion.table.as_str()];
        let is_ours = before.len() <= table.len()
            && before.iter().rev().zip(table.iter().rev()).all(|(part, name)| unquoted(part) == *name);
        if !is_ours {
            return Err(format!(
                "{expr} is not a column of table '{}', of which rows are deleted",
                self.deletion.table
            ));
        }
        Ok(Some(unquoted(last)))
    }

    fn within(&mut self, (first, last): (i64, i64)) {
        self.deletion.first_ns = self.deletion.first_ns.max(first);
        self.deletion.last_ns = self.deletion.last_ns.min(last);
    }

    fn among(&mut self, tag: String, values: BTreeSet<Option<String>>) {
        let both = |known: &mut BTreeSet<Option<String>>| known.retain(|value| values.contains(value));
        self.deletion.tags.entry(tag).and_modify(both).or_insert(values.clone());
    }
}

/// A name. Without quotes its letters are small, as everywhere in SQL.
fn unquoted(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
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

/// The first and the last instant that compares so.
fn bounds(op: &Op, instant: i64) -> (i64, i64) {
    let (first, last) = match op {
        Op::Lt => (Some(i64::MIN), instant.checked_sub(1)),
        Op::LtEq => (Some(i64::MIN), Some(instant)),
        Op::Gt => (instant.checked_add(1), Some(i64::MAX)),
        Op::GtEq => (Some(instant), Some(i64::MAX)),
        _ => (Some(instant), Some(instant)),
    };
    // Nothing comes before the first instant there is, or after the last.
    first.zip(last).unwrap_or((i64::MAX, i64::MIN))
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

/// Tells what an expression without columns comes to, all of one statement at the same moment.
struct Folding {
    state: SessionState,
    schema: Arc<DFSchema>,
    simplifier: ExprSimplifier,
}

impl Folding {
    fn new() -> Self {
        let schema = Arc::new(DFSchema::empty());
        let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).with_current_time().build();
        let state = SessionStateBuilder::new_with_default_features().build();
        Self { state, schema, simplifier: ExprSimplifier::new(context) }
    }

    /// Nanoseconds since the Unix epoch. A text without a zone is a time in UTC, a whole number is nanoseconds; only one
    /// that stands there as it is: the query engine computes with whole numbers without a word when they overflow.
    fn instant(&self, expr: &Expr) -> Result<i64> {
        let wrong = |reason: &dyn std::fmt::Display| {
            format!("{expr} is not an instant that time can be compared with: {reason}")
        };
        if let Some(number) = number(expr) {
            return number.parse().map_err(|error: std::num::ParseIntError| wrong(&error));
        }
        let value = self.value(&expr.to_string()).map_err(|error| wrong(&error))?;
        match &value {
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
                string_to_timestamp_nanos(text).map_err(|error| wrong(&error))
            }
            value if value.data_type().is_integer() => Err(wrong(&COMPUTED)),
            value if value.data_type().is_temporal() && !value.is_null() => {
                let of_ns = DataType::Timestamp(TimeUnit::Nanosecond, None);
                match value.cast_to(&of_ns).map_err(|error| wrong(&error))? {
                    ScalarValue::TimestampNanosecond(Some(ns), _) => Ok(ns),
                    other => Err(wrong(&other.data_type())),
                }
            }
            value => Err(wrong(&value.data_type())),
        }
    }

    fn value(&self, text: &str) -> datafusion::common::Result<ScalarValue> {
        let expr = self.state.create_logical_expr(text, &self.schema)?;
        let expr = self.simplifier.coerce(expr, &self.schema)?;
        if expr.exists(|part| self.is_whole_arithmetic(part))? {
            return datafusion::common::plan_err!("{COMPUTED}");
        }
        match self.simplifier.simplify(expr)?.unalias() {
            Logical::Literal(value, _) => Ok(value),
            other => datafusion::common::plan_err!("{other} is not the same for all rows"),
        }
    }

    fn is_whole_arithmetic(&self, part: &Logical) -> datafusion::common::Result<bool> {
        Ok(matches!(part, Logical::BinaryExpr(_)) && part.get_type(&*self.schema)?.is_integer())
    }
}
