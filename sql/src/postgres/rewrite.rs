//! One statement of a Postgres client, so that the query engine understands it.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, not_impl_err, plan_datafusion_err, plan_err};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Query, Select, Statement, TableFactor, UnaryOperator, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};

use super::casts::{self, bare, plain_operator};
use super::columns::{called, name_columns, name_of, part_from_all};
use super::directory::Directory;
use super::lists::array_of_rows;
use super::macros::{Expansion, call, literal, meaning, parse};
use super::sources;

pub(super) struct Rewriter<'a> {
    known: &'a Directory,
    expansion: Expansion,
    /// How many queries the visited one is inside of.
    depth: usize,
}

type Flow = ControlFlow<DataFusionError>;

fn flow(result: Result<()>) -> Flow {
    result.map_or_else(ControlFlow::Break, ControlFlow::Continue)
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(known: &'a Directory) -> Self {
        Self { known, expansion: Expansion::default(), depth: 0 }
    }

    pub(super) fn rewrite(mut self, statement: &mut Statement) -> Result<()> {
        match statement.visit(&mut self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    fn expression(&mut self, expr: &mut Expr) -> Result<()> {
        let replacement = match expr {
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                self.unescape_pattern(pattern, escape_char)?;
                None
            }
            Expr::Function(function) => self.call(function)?,
            Expr::Collate { expr, .. } => Some((**expr).clone()),
            Expr::BinaryOp { op, .. } => {
                plain_operator(op);
                None
            }
            Expr::Cast { expr, data_type, .. } => casts::inner(expr, data_type)?,
            Expr::TypedString(typed) => match (&typed.data_type, &mut typed.value.value) {
                (DataType::Timestamp(..), Value::SingleQuotedString(text)) => {
                    if let Some(whole) = casts::with_seconds(text) {
                        *text = whole;
                    }
                    None
                }
                _ => None,
            },
            Expr::CompoundFieldAccess { root, access_chain } => part_of_list(root, access_chain)?,
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => in_list(left, right)?,
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => {
                let any = match in_list(left, right)? {
                    Some(any) => any,
                    None => parse("$1 = ANY($2)").map(|mut any| {
                        if let Expr::AnyOp { left: l, right: r, .. } = &mut any {
                            (**l, **r) = ((**left).clone(), (**right).clone());
                        }
                        any
                    })?,
                };
                Some(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(any))) })
            }
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        Ok(())
    }

    fn call(&mut self, function: &mut Function) -> Result<Option<Expr>> {
        let Some(name) = called(&function.name) else { return Ok(None) };
        function.name = bare(name.clone());
        if let ("array", FunctionArguments::Subquery(query)) = (name.as_str(), &function.args) {
            return array_of_rows(query).map(Some);
        }
        if name == "_pg_expandarray" {
            return numbered_item(&plain_arguments(function)?).map(Some);
        }
        let arguments = given(function);
        let Some(meaning) = meaning(&name, &arguments, self.known)? else { return Ok(None) };
        // What is not plain would be lost.
        let arguments = plain_arguments(function)?;
        self.expansion.expand(&meaning, &arguments).map(Some)
    }

    /// The engine knows no other sign than the backslash that takes the meaning of `%` and `_`.
    fn unescape_pattern(&mut self, pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) -> Result<()> {
        let Some(said) = escape.take() else { return Ok(()) };
        let Some(sign) = said.value.clone().into_string() else {
            return not_impl_err!("LIKE with an ESCAPE that is not a literal");
        };
        let meaning = match sign.chars().count() {
            0 => "replace($1, '\\', '\\\\')".to_owned(),
            1 if sign == "\\" => return Ok(()),
            1 => {
                let sign = sign.replace('\'', "''");
                format!(
                    "replace(replace(replace(replace($1, '\\', '\\\\'), '{sign}{sign}', chr(2)), '{sign}', '\\'), chr(2), '{sign}')"
                )
            }
            _ => return plan_err!("invalid escape string: '{sign}' is more than one character"),
        };
        *pattern = self.expansion.expand(&meaning, std::slice::from_ref(pattern))?;
        Ok(())
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = DataFusionError;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        if self.depth == 0 {
            part_from_all(query);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> Flow {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> Flow {
        name_columns(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        flow(sources::plain(factor))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        if let Expr::AtTimeZone { timestamp, time_zone } = expr {
            // Before what is inside of it is looked at: then both kinds of time are the same.
            match at_time_zone(timestamp, time_zone) {
                Ok(call) => *expr = call,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        flow(casts::outer(expr))
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        flow(self.expression(expr))
    }
}

/// The arguments that are plain expressions.
fn given(function: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().filter_map(plain).collect()
}

/// The arguments of a call that says nothing else.
fn plain_arguments(function: &Function) -> Result<Vec<Expr>> {
    let Function { name, uses_odbc_syntax: _, parameters, args, filter, null_treatment, over, within_group } = function;
    let arguments = given(function);
    let has_only_arguments = match args {
        FunctionArguments::None => true,
        FunctionArguments::Subquery(_) => false,
        FunctionArguments::List(FunctionArgumentList { duplicate_treatment, args, clauses }) => {
            duplicate_treatment.is_none() && clauses.is_empty() && args.len() == arguments.len()
        }
    };
    let is_plain = has_only_arguments
        && matches!(parameters, FunctionArguments::None)
        && filter.is_none()
        && null_treatment.is_none()
        && over.is_none()
        && within_group.is_empty();
    if is_plain { Ok(arguments) } else { plan_err!("No function matches the given name and argument types: {name}") }
}

/// The engine would take a time for one of that zone.
fn at_time_zone(time: &Expr, zone: &Expr) -> Result<Expr> {
    let time = match casts::is_written_without_zone(time) {
        true => call("_without_zone", std::slice::from_ref(time))?,
        false => time.clone(),
    };
    call("_at_time_zone", &[time, zone.clone()])
}

/// Columns with lists of columns, which no row has.
const LISTS_OF_COLUMNS: [&str; 5] = ["conkey", "confkey", "indkey", "indoption", "indclass"];

/// An item of a list with its number, as the information schema of Postgres makes them for itself.
fn numbered_item(arguments: &[Expr]) -> Result<Expr> {
    match arguments {
        [list] if LISTS_OF_COLUMNS.contains(&name_of(list).as_str()) => call(
            "named_struct",
            &[parse("'x'")?, call("array_element", &[list.clone(), parse("1")?])?, parse("'n'")?, parse("1")?],
        ),
        _ => not_impl_err!("_pg_expandarray of other lists than those of columns"),
    }
}

/// A field of what was made of `_pg_expandarray`: in parentheses the engine does not find it.
fn part_of_list(root: &Expr, chain: &[AccessExpr]) -> Result<Option<Expr>> {
    let mut root = root;
    while let Expr::Nested(inner) = root {
        root = inner;
    }
    match chain {
        [AccessExpr::Dot(Expr::Identifier(field))] => {
            let field = parse(&format!("'{}'", field.value.replace('\'', "''")))?;
            call("get_field", &[root.clone(), field]).map(Some)
        }
        _ => Ok(None),
    }
}

/// `left IN (…)`, when the list is written down.
fn in_list(left: &Expr, right: &Expr) -> Result<Option<Expr>> {
    let right = match literal(right) {
        Some(text) => {
            casts::list(text).ok_or_else(|| plan_datafusion_err!("malformed array literal: \"{text}\""))??
        }
        None => right.clone(),
    };
    Ok(match right {
        Expr::Array(array) if !array.elem.is_empty() => {
            Some(Expr::InList { expr: Box::new(left.clone()), list: array.elem, negated: false })
        }
        // Of no items.
        Expr::Function(_) => match is_empty_list(&right) {
            true => Some(Expr::Value(Value::Boolean(false).into())),
            false => None,
        },
        _ => None,
    })
}

fn is_empty_list(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    let arguments = given(function);
    called(&function.name).as_deref() == Some("arrow_cast")
        && matches!(arguments.first(), Some(Expr::Function(list))
            if called(&list.name).as_deref() == Some("make_array") && given(list).is_empty())
}
