//! An order by a sub-query becomes one by a column.
//!
//! # Why
//! Grafana has the tables of the search path first, so it sorts by whether a schema is among the rows of a sub-query. The
//! engine refuses sub-queries in a sort, but not in a list of columns.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Sort, SortExpr};
use datafusion::prelude::ident;

/// The plan with columns for the sub-queries of its sorts, which nobody is shown.
pub(super) fn by_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(lifted)?.data)
}

fn lifted(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Sort(Sort { expr, input, fetch }) = &plan else { return Ok(Transformed::no(plan)) };
    if !expr.iter().any(|sort| has_subquery(&sort.expr)) {
        return Ok(Transformed::no(plan));
    }
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let mut all = columns.clone();
    let by = expr.iter().enumerate().map(|(index, sort)| {
        if !has_subquery(&sort.expr) {
            return sort.clone();
        }
        let name = format!("_order_{index}");
        all.push(sort.expr.clone().alias(&name));
        SortExpr { expr: ident(name), ..sort.clone() }
    });
    let by: Vec<SortExpr> = by.collect();
    let sorted = LogicalPlanBuilder::from(input.as_ref().clone()).project(all)?.sort_with_limit(by, *fetch)?;
    Ok(Transformed::yes(sorted.project(columns)?.build()?))
}

fn has_subquery(expr: &Expr) -> bool {
    let is_one = |expr: &Expr| matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_));
    expr.exists(|expr| Ok(is_one(expr))).unwrap_or(true)
}
