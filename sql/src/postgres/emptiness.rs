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
use datafusion::functions_aggregate::expr_fn::{array_agg, count};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    AggregateUDF, EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, Subquery, lit, not,
};
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::{OptimizerContext, OptimizerRule};
use datafusion::prelude::ident;
use datafusion::scalar::ScalarValue;

use super::membership::IsAmong;
use super::single::Single;
use super::sorting;

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
    let settled = sorting::by_columns(plan)?.transform_up_with_subqueries(|plan| {
        let plan = with_settled_subqueries(plan.map_children(unwrapped)?.data)?;
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

/// What stands beside a table and depends on its row, if it is empty for each of them.
fn unwrapped(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Subquery(lateral) if has_no_rows(&lateral.subquery) => Ok(Transformed::yes(nothing(&plan))),
        _ => Ok(Transformed::no(plan)),
    }
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
    // What would be added up of no rows is never looked at.
    let is_unread = matches!(&plan, LogicalPlan::Aggregate(aggregate) if has_no_rows(&aggregate.input));
    let settled = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let settled = match is_unread {
            true => expr.transform_down(unread)?,
            false => expr.transform_up(settled_expr)?,
        };
        let settled = if is_shown { settled.transform_data(|expr| expr.transform_up(as_value))? } else { settled };
        Ok(settled.update_data(|expr| name.restore(expr)))
    })?;
    Ok(settled.data)
}

fn settled_expr(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::ScalarSubquery(subquery) => match has_no_rows(&subquery.subquery) {
            true => Transformed::yes(null(&subquery)?),
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

fn unread(expr: Expr) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarSubquery(subquery) => Ok(Transformed::yes(null(&subquery)?)),
        other => Ok(Transformed::no(other)),
    }
}

fn null(subquery: &Subquery) -> Result<Expr> {
    let null = ScalarValue::try_from(subquery.subquery.schema().field(0).data_type())?;
    Ok(Expr::Literal(null, None))
}

/// Whether there are rows, and whether a value is among them, as values: the engine knows both as conditions alone.
fn as_value(expr: Expr) -> Result<Transformed<Expr>> {
    static IS_AMONG: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(IsAmong::new())));
    match expr {
        Expr::Exists(Exists { subquery, negated }) => {
            let mut rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
            if subquery.outer_ref_columns.is_empty() {
                rows = rows.limit(0, Some(1))?;
            }
            let rows = rows.aggregate(Vec::<Expr>::new(), vec![count(lit(1)).alias("rows")])?;
            let is_there = if negated { ident("rows").eq(lit(0_i64)) } else { ident("rows").gt(lit(0_i64)) };
            let plan = rows.project(vec![is_there.alias("exists")])?.build()?;
            Ok(Transformed::yes(Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery })))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if subquery.outer_ref_columns.is_empty() => {
            let columns = subquery.subquery.schema().columns();
            let item = columns.first().cloned().map_or_else(|| lit(ScalarValue::Null), Expr::Column);
            let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
            let list = rows.aggregate(Vec::<Expr>::new(), vec![array_agg(item).alias("rows")])?.build()?;
            let list = Expr::ScalarSubquery(Subquery { subquery: Arc::new(list), ..subquery });
            let is_among = IS_AMONG.call(vec![list, *expr]);
            Ok(Transformed::yes(if negated { not(is_among) } else { is_among }))
        }
        other => Ok(Transformed::no(other)),
    }
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
