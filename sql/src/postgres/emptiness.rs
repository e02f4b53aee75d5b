//! Tables that never have rows, taken out of a plan before it is checked.
//!
//! # Why
//! Clients ask for a default, a comment or a list of grants of each row by a sub-query that depends on the row. The engine
//! plans those only when they are aggregates over equal keys, but most of them are over tables that are always empty.
//! This is done to the plan, in which every name has its meaning already, and by the engine's own rule of what nothing
//! makes of a join; so a table of a user or of a WITH is never taken for one of ours.

use std::sync::{Arc, LazyLock};

use arrow_schema::Field;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::source_as_provider;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{AggregateUDF, EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit};
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::{OptimizerContext, OptimizerRule};
use datafusion::prelude::ident;
use datafusion::scalar::ScalarValue;

use super::single::Single;

/// The name under which a field says that no row has a value there.
const ABSENT_MARK: &str = "postgres.absent";

/// A field without values.
pub(super) fn absent(field: Field) -> Field {
    let mut mark = field.metadata().clone();
    mark.insert(ABSENT_MARK.to_owned(), String::new());
    field.with_metadata(mark)
}

/// The plan without what is known to be empty, and with sub-queries of one value in a form that can be planned.
pub(crate) fn settled(plan: LogicalPlan) -> Result<LogicalPlan> {
    let context = OptimizerContext::new();
    let settled = plan.transform_up_with_subqueries(|plan| {
        let plan = with_settled_subqueries(plan)?;
        if is_nothing(&plan) {
            return Ok(Transformed::yes(nothing(&plan)));
        }
        PropagateEmptyRelation::new().rewrite(plan, &context)
    })?;
    Ok(settled.data)
}

fn nothing(plan: &LogicalPlan) -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::clone(plan.schema()) })
}

fn has_no_rows(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row)
}

/// Whether it makes no rows, in ways that the engine's rule does not know.
fn is_nothing(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => {
            source_as_provider(&scan.source).is_ok_and(|table| table.downcast_ref::<EmptyTable>().is_some())
        }
        LogicalPlan::Distinct(distinct) => has_no_rows(distinct.input()),
        LogicalPlan::Unnest(unnest) => {
            let is_absent = |index: usize| unnest.input.schema().field(index).metadata().contains_key(ABSENT_MARK);
            let mut lists = unnest.list_type_columns.iter().map(|(index, _)| *index).peekable();
            has_no_rows(&unnest.input)
                || lists.peek().is_some() && !unnest.options.preserve_nulls() && lists.all(is_absent)
        }
        _ => false,
    }
}

fn with_settled_subqueries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let names = NamePreserver::new(&plan);
    let is_shown = matches!(plan, LogicalPlan::Projection(_));
    let settled = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let settled = expr.transform_up(settled_expr)?;
        let settled = if is_shown { settled.transform_data(|expr| expr.transform_up(counted))? } else { settled };
        Ok(settled.update_data(|expr| name.restore(expr)))
    })?;
    Ok(settled.data)
}

fn settled_expr(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::ScalarSubquery(subquery) => match has_no_rows(&subquery.subquery) {
            true => {
                let null = ScalarValue::try_from(subquery.subquery.schema().field(0).data_type())?;
                Transformed::yes(Expr::Literal(null, None))
            }
            false => Transformed::yes(Expr::ScalarSubquery(of_one_value(current(subquery))?)),
        },
        Expr::Exists(Exists { subquery, negated }) => match has_no_rows(&subquery.subquery) {
            true => Transformed::yes(lit(negated)),
            false => Transformed::yes(Expr::Exists(Exists { subquery: current(subquery), negated })),
        },
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => match has_no_rows(&subquery.subquery) {
            true => Transformed::yes(lit(negated)),
            false => Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery: current(subquery), negated })),
        },
        other => Transformed::no(other),
    })
}

/// Whether there are rows, as a value: the engine knows it as a condition alone.
fn counted(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::Exists(Exists { subquery, negated }) = expr else { return Ok(Transformed::no(expr)) };
    let mut rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    if subquery.outer_ref_columns.is_empty() {
        rows = rows.limit(0, Some(1))?;
    }
    let rows = rows.aggregate(Vec::<Expr>::new(), vec![count(lit(1)).alias("rows")])?;
    let is_there = if negated { ident("rows").eq(lit(0_i64)) } else { ident("rows").gt(lit(0_i64)) };
    let plan = rows.project(vec![is_there.alias("exists")])?.build()?;
    Ok(Transformed::yes(Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery })))
}

/// What it depends on, as it is now: a part that is gone depends on nothing.
fn current(subquery: Subquery) -> Subquery {
    let outer_ref_columns = subquery.subquery.all_out_ref_exprs();
    Subquery { outer_ref_columns, ..subquery }
}

/// One that depends on its row is joined to it, for which it must be an aggregate.
fn of_one_value(subquery: Subquery) -> Result<Subquery> {
    static SINGLE: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| Arc::new(AggregateUDF::from(Single::new())));
    if subquery.outer_ref_columns.is_empty() || is_aggregate(&subquery.subquery) {
        return Ok(subquery);
    }
    let plan = subquery.subquery.as_ref().clone();
    let columns = plan.schema().columns();
    let [column] = columns.as_slice() else { return Ok(subquery) };
    let name = column.name().to_owned();
    let single = SINGLE.call(vec![Expr::Column(column.clone())]).alias("single");
    let plan = LogicalPlanBuilder::from(plan).aggregate(Vec::<Expr>::new(), vec![single])?;
    let plan = plan.project(vec![ident("single").alias(name)])?.build()?;
    Ok(Subquery { subquery: Arc::new(plan), ..subquery })
}

fn is_aggregate(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_aggregate(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_aggregate(&alias.input),
        LogicalPlan::Filter(filter) => is_aggregate(&filter.input),
        LogicalPlan::Aggregate(_) => true,
        _ => false,
    }
}
