//! `ARRAY(SELECT …)`.

use datafusion::common::{Result, not_impl_err};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArgumentClause, FunctionArguments, GroupByExpr, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, Value,
};

use super::columns::folded;
use super::macros::{call, parse};

/// The rows of `query` as a list; of none an empty one.
pub(super) fn array_of_rows(query: &Query) -> Result<Expr> {
    let mut query = query.clone();
    let order = match query.order_by.take().map(|order| order.kind) {
        None => Vec::new(),
        Some(OrderByKind::Expressions(order)) => order,
        Some(OrderByKind::All(_)) => return not_impl_err!("ORDER BY ALL inside of ARRAY()"),
    };
    let is_plain = query.limit_clause.is_none() && query.fetch.is_none();
    match &mut *query.body {
        SetExpr::Select(select) if is_plain && has_each_row(select) => {
            let (item, alias) = match select.projection.as_slice() {
                [SelectItem::UnnamedExpr(item)] => (item.clone(), None),
                [SelectItem::ExprWithAlias { expr, alias }] => (expr.clone(), Some(folded(alias))),
                _ => return not_impl_err!("ARRAY() of other than one column"),
            };
            let order = order.into_iter().map(|by| of_item(by, &item, alias.as_deref())).collect();
            select.projection = vec![SelectItem::UnnamedExpr(list(&item, order)?)];
        }
        _ if order.is_empty() => {
            let Expr::Subquery(mut outer) = parse("(SELECT array_agg(_item) FROM (SELECT 1) AS _list (_item))")? else {
                return not_impl_err!("ARRAY() of this");
            };
            if let SetExpr::Select(select) = &mut *outer.body
                && let Some(from) = select.from.first_mut()
                && let datafusion::sql::sqlparser::ast::TableFactor::Derived { subquery, .. } = &mut from.relation
            {
                **subquery = query;
            }
            return call("_list_or_empty", &[Expr::Subquery(outer)]);
        }
        _ => return not_impl_err!("ORDER BY inside of ARRAY() with DISTINCT, GROUP BY, UNION or LIMIT"),
    }
    call("_list_or_empty", &[Expr::Subquery(Box::new(query))])
}

/// Whether it answers each row it reads.
fn has_each_row(select: &Select) -> bool {
    let is_grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    !is_grouped && select.distinct.is_none() && select.having.is_none() && select.top.is_none()
}

/// What the rows are ordered by; a number or the alias mean the item.
fn of_item(mut by: OrderByExpr, item: &Expr, alias: Option<&str>) -> OrderByExpr {
    let is_item = match &by.expr {
        Expr::Value(value) => matches!(&value.value, Value::Number(number, _) if number == "1"),
        Expr::Identifier(ident) => Some(folded(ident).as_str()) == alias,
        _ => false,
    };
    if is_item {
        by.expr = item.clone();
    }
    by
}

fn list(item: &Expr, order: Vec<OrderByExpr>) -> Result<Expr> {
    let mut list = call("array_agg", std::slice::from_ref(item))?;
    if let Expr::Function(function) = &mut list
        && let FunctionArguments::List(arguments) = &mut function.args
        && !order.is_empty()
    {
        arguments.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    Ok(list)
}
