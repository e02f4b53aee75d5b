//! Sub-queries over the catalogs, in a form the query engine can plan.
//!
//! # Why
//! Clients ask for a default, a comment or a list of grants of each row by a sub-query that depends on the row. The engine
//! plans those only when they are aggregates over equal keys; most of them are over tables that are always empty.

use datafusion::common::Result;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, GroupByExpr, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    TableFactor, TableFunctionArgs, TableWithJoins, Value,
};

use super::catalog;
use super::macros::{expand, parse};

/// Aggregates that clients use in such sub-queries.
const AGGREGATES: [&str; 8] = ["array_agg", "bool_and", "bool_or", "count", "json_agg", "max", "min", "string_agg"];
/// Lists that no row has.
const ABSENT_LISTS: [&str; 5] = ["reloptions", "spcoptions", "attfdwoptions", "srvoptions", "ftoptions"];

/// What stands for a sub-query that depends on its row; `None` leaves it as it is.
pub(super) fn replacement(expr: &mut Expr) -> Result<Option<Expr>> {
    match expr {
        Expr::Subquery(query) if is_empty(query) => parse("CAST(NULL AS VARCHAR)").map(Some),
        Expr::Subquery(query) => {
            if is_of_catalogs(query) && query.limit_clause.is_none() {
                aggregate(query, "max($1)")?;
            }
            Ok(None)
        }
        Expr::Exists { subquery, negated } if is_empty(subquery) => {
            parse(if *negated { "true" } else { "false" }).map(Some)
        }
        Expr::InSubquery { subquery, negated, .. } if is_empty(subquery) => {
            parse(if *negated { "true" } else { "false" }).map(Some)
        }
        Expr::Function(function) if is_named(&function.name, "array") => {
            let FunctionArguments::Subquery(query) = &mut function.args else { return Ok(None) };
            if is_empty(query) {
                return parse("arrow_cast(make_array(), 'List(Utf8)')").map(Some);
            }
            query.order_by = None;
            aggregate(query, "array_agg($1)")?;
            Ok(Some(Expr::Subquery(query.clone())))
        }
        _ => Ok(None),
    }
}

fn is_named(name: &ObjectName, wanted: &str) -> bool {
    last(name).is_some_and(|name| name.eq_ignore_ascii_case(wanted))
}

fn last(name: &ObjectName) -> Option<&str> {
    name.0.last().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.as_str())
}

fn select(query: &Query) -> Option<&Select> {
    match &*query.body {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// The one thing a sub-query answers.
fn answer(select: &mut Select) -> Option<&mut Expr> {
    match select.projection.as_mut_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => Some(expr),
        _ => None,
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    match expr {
        Expr::Function(function) => {
            last(&function.name).is_some_and(|name| AGGREGATES.contains(&name.to_lowercase().as_str()))
        }
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_aggregate(expr),
        _ => false,
    }
}

/// Puts `meaning` around the answer, unless it is an aggregate.
fn aggregate(query: &mut Query, meaning: &str) -> Result<()> {
    let SetExpr::Select(select) = &mut *query.body else { return Ok(()) };
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if is_grouped || select.from.is_empty() {
        return Ok(());
    }
    if let Some(answer) = answer(select).filter(|answer| !is_aggregate(answer)) {
        *answer = expand(meaning, std::slice::from_ref(answer))?;
    }
    Ok(())
}

/// Whether all it reads are tables of `pg_catalog`.
fn is_of_catalogs(query: &Query) -> bool {
    let Some(select) = select(query) else { return false };
    let factors =
        select.from.iter().flat_map(|f| std::iter::once(&f.relation).chain(f.joins.iter().map(|j| &j.relation)));
    factors.map(table).all(|name| name.is_some_and(|name| catalog::specs().any(|spec| spec.name == name)))
}

fn table(factor: &TableFactor) -> Option<&str> {
    match factor {
        TableFactor::Table { name, args: None, .. } => last(name),
        _ => None,
    }
}

/// Whether it never has a row.
fn is_empty(query: &Query) -> bool {
    select(query).is_some_and(|select| is_hollow(select) || never_has_rows(select))
}

/// Whether it reads from tables that never give it a row, and would not count them.
fn never_has_rows(select: &Select) -> bool {
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    let counts = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => is_aggregate(expr),
        _ => false,
    });
    (is_grouped || !counts) && select.from.iter().any(joins_to_nothing)
}

fn joins_to_nothing(from: &TableWithJoins) -> bool {
    use JoinOperator::{CrossJoin, Inner, Join, Left, LeftOuter, Right, RightOuter};
    from.joins.iter().fold(has_no_rows(&from.relation), |is_empty, join| {
        let right_is_empty = || has_no_rows(&join.relation);
        match &join.join_operator {
            Join(_) | Inner(_) | CrossJoin(_) => is_empty || right_is_empty(),
            Left(_) | LeftOuter(_) => is_empty,
            Right(_) | RightOuter(_) => right_is_empty(),
            _ => is_empty && right_is_empty(),
        }
    })
}

/// A SELECT that never has a row keeps its columns and nothing else: much of what clients ask of tables that are empty
/// here cannot be planned. What has a `*` stays, since its columns are those of its tables.
pub(super) fn hollow(select: &mut Select) -> Result<()> {
    let is_listed = |item: &SelectItem| matches!(item, SelectItem::ExprWithAlias { .. } | SelectItem::UnnamedExpr(_));
    if !select.projection.iter().all(is_listed) || !never_has_rows(select) {
        return Ok(());
    }
    for item in &mut select.projection {
        let (expr, alias) = match item {
            SelectItem::ExprWithAlias { alias, .. } => (parse("NULL")?, alias.clone()),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => (parse("NULL")?, name.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) if !names.is_empty() => {
                (parse("NULL")?, names[names.len() - 1].clone())
            }
            _ => continue,
        };
        *item = SelectItem::ExprWithAlias { expr, alias };
    }
    select.distinct = None;
    select.from.clear();
    select.selection = Some(parse("false")?);
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    Ok(())
}

/// Whether this is what `hollow` leaves.
pub(super) fn is_hollow(select: &Select) -> bool {
    let is_false = |expr: &Expr| matches!(expr, Expr::Value(value) if value.value == Value::Boolean(false));
    select.from.is_empty() && select.selection.as_ref().is_some_and(is_false)
}

fn has_no_rows(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Derived { subquery, .. } => is_empty(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => joins_to_nothing(table_with_joins),
        TableFactor::Table { name, args: None, .. } => last(name).is_some_and(catalog::is_empty),
        TableFactor::Table { name, args: Some(TableFunctionArgs { args, .. }), .. } if is_named(name, "unnest") => {
            let text = args.first().map(ToString::to_string).unwrap_or_default();
            ABSENT_LISTS.contains(&text.rsplit('.').next().unwrap_or_default())
        }
        TableFactor::UNNEST { array_exprs, .. } => {
            let text = array_exprs.first().map(ToString::to_string).unwrap_or_default();
            ABSENT_LISTS.contains(&text.rsplit('.').next().unwrap_or_default())
        }
        _ => false,
    }
}
