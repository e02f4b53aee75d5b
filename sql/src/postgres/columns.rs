//! What columns of an answer are called.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, ObjectName, ObjectNamePart, OrderByKind, Query, Select, SelectItem, SetExpr, TimezoneInfo,
};

use super::TWIN;

/// Gives each column of a SELECT the name it has in Postgres.
pub(super) fn name_columns(select: &mut Select) {
    let mut taken = BTreeSet::new();
    for (number, item) in select.projection.iter_mut().enumerate() {
        let (expr, mut name, is_said) = match item {
            SelectItem::UnnamedExpr(expr) => (expr.clone(), name_of(expr), is_column(expr)),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), folded(alias), true),
            _ => continue,
        };
        if !taken.insert(name.clone()) {
            name = format!("{name}{TWIN}{number}");
        } else if is_said {
            continue;
        }
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
    }
}

/// In the answer itself, what stands beside a `*` may be called as one of its columns.
pub(super) fn part_from_all(query: &mut Query) {
    let SetExpr::Select(select) = &mut *query.body else { return };
    let is_all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if !select.projection.iter().any(is_all) {
        return;
    }
    let mut parted = BTreeMap::new();
    for (number, item) in select.projection.iter_mut().enumerate() {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) if is_column(expr) => (expr.clone(), name_of(expr)),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), folded(alias)),
            _ => continue,
        };
        let alias = Ident::with_quote('"', format!("{name}{TWIN}{number}"));
        if let SelectItem::ExprWithAlias { .. } = item {
            parted.insert(name, alias.clone());
        }
        *item = SelectItem::ExprWithAlias { expr, alias };
    }
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_mut().map(|order| &mut order.kind) else { return };
    for by in order {
        if let Expr::Identifier(ident) = &mut by.expr
            && let Some(alias) = parted.get(&folded(ident))
        {
            *ident = alias.clone();
        }
    }
}

/// As it is meant: without quotes the size of letters says nothing.
pub(super) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The name of what is called, without `pg_catalog`, in small letters; `None` for names in other schemas.
pub(super) fn called(name: &ObjectName) -> Option<String> {
    let parts: Vec<&Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
    match parts.as_slice() {
        [name] => Some(folded(name)),
        [schema, name] if ["pg_catalog", "information_schema"].contains(&folded(schema).as_str()) => Some(folded(name)),
        _ => None,
    }
}

pub(super) fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

const NAMELESS: &str = "?column?";

pub(super) fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => folded(ident),
        Expr::CompoundIdentifier(idents) => idents.last().map_or_else(String::new, folded),
        Expr::Function(function) => {
            function.name.0.last().and_then(ObjectNamePart::as_ident).map_or_else(String::new, folded)
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::CompoundFieldAccess { root, .. } => name_of(root),
        Expr::Cast { expr, data_type, .. } => match name_of(expr) {
            name if name == NAMELESS => type_name(data_type),
            name => name,
        },
        Expr::Case { else_result: Some(other), .. } if is_column(other) => name_of(other),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::AtTimeZone { .. } => "timezone".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        Expr::Interval(_) => "interval".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        _ => NAMELESS.to_owned(),
    }
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::BigInt(_) | DataType::Int8(_) => "int8".to_owned(),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4".to_owned(),
        DataType::SmallInt(_) | DataType::Int2(_) => "int2".to_owned(),
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => "float8".to_owned(),
        DataType::Real | DataType::Float4 => "float4".to_owned(),
        DataType::Boolean | DataType::Bool => "bool".to_owned(),
        DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => "timestamptz".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Custom(name, _) => called(name).unwrap_or_else(|| name.to_string()),
        other => {
            let text = other.to_string().to_lowercase();
            text.split(['(', ' ']).next().unwrap_or("text").to_owned()
        }
    }
}
