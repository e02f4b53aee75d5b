//! `x = ANY(list)` with the list in a parameter.
//!
//! # Why
//! The engine takes it for a search in a column of lists: it does not know the type of the parameter by that of `x`, does
//! not search texts for tags, and asks no file's statistics.

use std::sync::Arc;

use arrow_array::Array;
use arrow_schema::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{InList, Placeholder, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::scalar::ScalarValue;

/// Says of each list in a parameter what is in it.
pub(super) fn with_types(plan: LogicalPlan) -> Result<LogicalPlan> {
    each_search(plan, |list, value, schema| match list {
        Expr::Placeholder(Placeholder { id, field: None }) => {
            let item = match value.get_type(schema)? {
                DataType::Dictionary(_, of) => *of,
                other => other,
            };
            let field = Arc::new(Field::new(&id, DataType::new_list(item, true), true));
            Ok(Some((Expr::Placeholder(Placeholder { id, field: Some(field) }), value)))
        }
        _ => Ok(None),
    })
}

/// Puts `x IN (…)` in the place of each search in a list that is known.
pub(super) fn as_in_lists(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        plan.map_expressions(|expr| {
            expr.transform_up(|expr| match search(&expr) {
                // Whether something is in a list that is not known is not known.
                Some((Expr::Literal(ScalarValue::List(list), _), _)) if list.len() != 1 || list.is_null(0) => {
                    Ok(Transformed::yes(Expr::Literal(ScalarValue::Boolean(None), None)))
                }
                Some((Expr::Literal(ScalarValue::List(list), _), value)) => {
                    let items = list.value(0);
                    let items =
                        (0..items.len()).map(|i| Ok(Expr::Literal(ScalarValue::try_from_array(&items, i)?, None)));
                    let items = items.collect::<Result<Vec<_>>>()?;
                    Ok(Transformed::yes(Expr::InList(InList::new(Box::new(value), items, false))))
                }
                _ => Ok(Transformed::no(expr)),
            })
        })
    })?;
    Ok(rewritten.data)
}

/// Texts in a list are values of the type of what is looked for, as in Postgres: a number is not compared as a text.
pub(super) fn with_numbers(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        plan.inputs().iter().for_each(|input| schema.merge(input.schema()));
        plan.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::InList(InList { expr, mut list, negated }) => {
                    let Ok(of) = expr.get_type(&schema) else {
                        return Ok(Transformed::no(Expr::InList(InList { expr, list, negated })));
                    };
                    for item in list.iter_mut().filter(|_| of.is_numeric()) {
                        if let Expr::Literal(text @ ScalarValue::Utf8(Some(_)), _) = item {
                            *item = Expr::Literal(text.cast_to(&of)?, None);
                        }
                    }
                    Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
                }
                other => Ok(Transformed::no(other)),
            })
        })
    })?;
    Ok(rewritten.data)
}

fn each_search(
    plan: LogicalPlan,
    change: impl Fn(Expr, Expr, &DFSchema) -> Result<Option<(Expr, Expr)>>,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let mut schema = DFSchema::empty();
        plan.inputs().iter().for_each(|input| schema.merge(input.schema()));
        plan.map_expressions(|expr| {
            expr.transform_up(|expr| {
                let Some((list, value)) = search(&expr) else { return Ok(Transformed::no(expr)) };
                match (change(list, value, &schema)?, expr) {
                    (Some((list, value)), Expr::ScalarFunction(mut function)) => {
                        function.args = vec![list, value];
                        Ok(Transformed::yes(Expr::ScalarFunction(function)))
                    }
                    (_, expr) => Ok(Transformed::no(expr)),
                }
            })
        })
    })?;
    Ok(rewritten.data)
}

/// The list and the value that is looked for in it.
fn search(expr: &Expr) -> Option<(Expr, Expr)> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "array_has" => match args.as_slice() {
            [list, value] => Some((list.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    }
}
