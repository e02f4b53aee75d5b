//! Where functions that do something may be called.
//!
//! # Promises
//! - They are called for the rows that Postgres calls them for; a plan that would call them for others is refused.
//!
//! # Why
//! The engine makes the columns of a list before it sorts and cuts the rows, and may make them before it filters them, also
//! where a function ends a session for each row it sees. Postgres makes such columns last.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

/// The functions that do something.
pub(super) const DOERS: [&str; 2] = ["pg_cancel_backend", "pg_terminate_backend"];

/// Refuses a plan that calls such a function for rows that nobody asked it for.
pub(crate) fn check_calls(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    check(plan).map(drop)
}

/// Whether rows of this plan come of calls.
fn check(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut is_below = false;
    for child in plan.children() {
        is_below |= check(child)?;
    }
    if is_below && leaves_out(plan) {
        return plan_err!(
            "{} would be called for rows that are left out: choose them in a sub-query, as in WHERE pid IN (SELECT …)",
            DOERS.join(" or ")
        );
    }
    let mut is_here = None;
    plan.apply_expressions(&mut |expr| {
        is_here = is_here.or(call(expr)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    let Some(name) = is_here else { return Ok(is_below && !plan.is::<AggregateExec>()) };
    match plan.downcast_ref::<AggregateExec>() {
        Some(aggregate) if aggregate.filter_expr().iter().all(Option::is_none) => Ok(false),
        None if plan.is::<ProjectionExec>() => Ok(true),
        _ => plan_err!("{name} is called in the list of a SELECT alone, and not within FILTER"),
    }
}

/// Whether a plan may pass on fewer rows than it is given.
fn leaves_out(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.fetch().is_some() || plan.is::<FilterExec>()
}

/// The name of such a function that is called in an expression.
fn call(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<&'static str>> {
    let mut found = None;
    expr.apply(|expr| {
        let function = expr.downcast_ref::<ScalarFunctionExpr>();
        found = found.or(function.and_then(|of| DOERS.into_iter().find(|name| *name == of.fun().name())));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
