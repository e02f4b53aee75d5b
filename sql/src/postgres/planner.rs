//! Operators whose sides have types that Postgres makes alike.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ExprSchema, Result, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::arrays::array_items;
use super::spec::is_function;

/// A text that is written down is a value of the type of the other side.
#[derive(Debug)]
pub(super) struct Literals;

impl ExprPlanner for Literals {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        let RawBinaryExpr { op, left, right } = expr;
        if !matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq) {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        let right = alike(right, &left, schema)?;
        let left = alike(left, &right, schema)?;
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

/// `value` as one of the type of `other`.
fn alike(value: Expr, other: &Expr, schema: &DFSchema) -> Result<Expr> {
    let Expr::Literal(literal, _) = &value else { return Ok(value) };
    // The numbers of functions that are not there; what stands in such a column is a name.
    if matches!(literal, ScalarValue::Int64(Some(0))) {
        let Expr::Column(column) = other else { return Ok(value) };
        return Ok(match schema.field_from_column(column) {
            Ok(field) if is_function(field) => lit("-"),
            _ => value,
        });
    }
    let ScalarValue::Utf8(Some(text)) = literal else { return Ok(value) };
    match other.get_type(schema) {
        Ok(of) if of.is_numeric() => Ok(Expr::Literal(number(text, &of)?, None)),
        Ok(DataType::List(item)) => {
            let Ok(items) = array_items(text) else { return plan_err!("malformed array literal: \"{text}\"") };
            let items = items.into_iter().map(|text| ScalarValue::Utf8(text).cast_to(item.data_type()));
            let items = items.collect::<Result<Vec<_>>>()?;
            Ok(Expr::Literal(ScalarValue::List(ScalarValue::new_list_nullable(&items, item.data_type())), None))
        }
        _ => Ok(value),
    }
}

fn number(text: &str, of: &DataType) -> Result<ScalarValue> {
    ScalarValue::Utf8(Some(text.trim().to_owned())).cast_to(of)
}
