//! Functions in the place of tables.

use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, TableAlias, TableAliasColumnDef, TableFactor, TableFunctionArgs,
};

use super::casts::bare;
use super::columns::called;
use super::macros::{call, parse};

/// What the engine has as a table, or has a list of its own for.
const TABLES: [&str; 2] = ["generate_series", "range"];

/// A function that makes rows is one of the engine; any other is a row of its own. The name it is given is that of its
/// column, too.
pub(super) fn plain(factor: &mut TableFactor) -> Result<()> {
    match factor {
        TableFactor::UNNEST { alias, .. } => name_column(alias),
        TableFactor::Table { name, args: Some(TableFunctionArgs { args, .. }), alias, .. } => {
            let Some(function) = called(name) else { return Ok(()) };
            let is_constant = args.iter().all(|argument| !argument.to_string().contains(|c: char| c.is_alphabetic()));
            if TABLES.contains(&function.as_str()) && (is_constant || args.len() != 2) {
                name_column(alias);
                *name = bare(function);
                return Ok(());
            }
            let arguments = args.iter().map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
                other => plan_err!("No function matches the given name and argument types: {function}({other})"),
            });
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            let mut alias = alias.take();
            let arguments = match (function.as_str(), arguments.as_slice()) {
                // The engine makes its rows of constants alone.
                ("generate_series", [first, last]) => {
                    vec![call("range", &[first.clone(), parse(&format!("CAST({last} AS BIGINT) + 1"))?])?]
                }
                _ => arguments,
            };
            if ["unnest", "generate_series"].contains(&function.as_str()) {
                name_column(&mut alias);
                let (with_offset, with_offset_alias, with_ordinality) = (false, None, false);
                *factor = TableFactor::UNNEST {
                    alias,
                    array_exprs: arguments,
                    with_offset,
                    with_offset_alias,
                    with_ordinality,
                };
                return Ok(());
            }
            let row = match function.as_str() {
                // Words that are reserved in Postgres alone: none are told.
                "pg_get_keywords" => no_rows(["word", "catcode", "catdesc"])?,
                "pg_available_extensions" => no_rows(["name", "default_version", "comment"])?,
                _ => row(&function, &call(&function, &arguments)?, alias.as_ref())?,
            };
            let Expr::Subquery(subquery) = row else { return Ok(()) };
            let alias = alias.or_else(|| Some(named(Ident::with_quote('"', function))));
            *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
        }
        _ => {}
    }
    Ok(())
}

fn no_rows([first, second, third]: [&str; 3]) -> Result<Expr> {
    parse(&format!("(SELECT * FROM (SELECT '' AS {first}, '' AS {second}, '' AS {third}) AS none WHERE {first} <> '')"))
}

/// `(SELECT f(…) AS f)`
fn row(function: &str, call: &Expr, alias: Option<&TableAlias>) -> Result<Expr> {
    let column = alias.map_or_else(|| Ident::with_quote('"', function), |alias| alias.name.clone());
    parse(&format!("(SELECT {call} AS {column})"))
}

fn named(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

fn name_column(alias: &mut Option<TableAlias>) {
    if let Some(alias) = alias
        && alias.columns.is_empty()
    {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
}
