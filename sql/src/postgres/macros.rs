//! Functions of Postgres, as expressions of the query engine.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, not_impl_err, plan_err};
use datafusion::sql::sqlparser::ast::{Expr, Value, ValueWithSpan, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::directory::{Directory, name_parts};
use super::{ClientDialect, SERVER_VERSION};

/// Name, how many arguments at least and at most, and what a call means; `$1` is the first argument.
const FIXED: &[(&str, (usize, usize), &str)] = &[
    ("pg_has_role", (2, 3), "true"),
    ("has_table_privilege", (2, 3), "true"),
    ("has_schema_privilege", (2, 3), "true"),
    ("has_database_privilege", (2, 3), "true"),
    ("has_column_privilege", (3, 4), "true"),
    ("has_any_column_privilege", (2, 3), "true"),
    ("has_function_privilege", (2, 3), "true"),
    ("has_type_privilege", (2, 3), "true"),
    ("has_sequence_privilege", (2, 3), "false"),
    ("pg_function_is_visible", (1, 1), "true"),
    ("pg_type_is_visible", (1, 1), "true"),
    ("pg_operator_is_visible", (1, 1), "true"),
    ("pg_opclass_is_visible", (1, 1), "true"),
    ("pg_opfamily_is_visible", (1, 1), "true"),
    ("pg_collation_is_visible", (1, 1), "true"),
    ("pg_conversion_is_visible", (1, 1), "true"),
    ("pg_statistics_obj_is_visible", (1, 1), "true"),
    ("pg_ts_config_is_visible", (1, 1), "true"),
    ("pg_is_other_temp_schema", (1, 1), "false"),
    ("pg_relation_is_publishable", (1, 1), "false"),
    ("pg_relation_is_updatable", (2, 2), "0"),
    ("pg_is_in_recovery", (0, 0), "false"),
    ("pg_my_temp_schema", (0, 0), "CAST(0 AS BIGINT)"),
    ("pg_stat_get_numscans", (1, 1), "CAST(0 AS BIGINT)"),
    ("txid_current", (0, 0), "CAST(1 AS BIGINT)"),
    ("pg_indexes_size", (1, 1), "CAST(0 AS BIGINT)"),
    ("pg_tablespace_size", (1, 1), "CAST(NULL AS BIGINT)"),
    ("pg_encoding_to_char", (1, 1), "'UTF8'"),
    ("pg_char_to_encoding", (1, 1), "6"),
    ("pg_client_encoding", (0, 0), "'UTF8'"),
    ("getdatabaseencoding", (0, 0), "'UTF8'"),
    ("pg_tablespace_location", (1, 1), "''"),
    // No relation has so many columns.
    ("col_description", (2, 2), "_column_description(CAST($1 AS BIGINT) * 65536 + CAST($2 AS BIGINT))"),
    ("shobj_description", (2, 2), NOTHING),
    ("pg_get_expr", (2, 3), NOTHING),
    ("pg_get_indexdef", (1, 3), NOTHING),
    ("pg_get_constraintdef", (1, 2), NOTHING),
    ("pg_get_viewdef", (1, 2), NOTHING),
    ("pg_get_ruledef", (1, 2), NOTHING),
    ("pg_get_triggerdef", (1, 2), NOTHING),
    ("pg_get_functiondef", (1, 1), NOTHING),
    ("pg_get_function_result", (1, 1), NOTHING),
    ("pg_get_function_arguments", (1, 1), NOTHING),
    ("pg_get_function_identity_arguments", (1, 1), NOTHING),
    ("pg_get_function_sqlbody", (1, 1), NOTHING),
    ("pg_get_serial_sequence", (2, 2), NOTHING),
    ("pg_get_partkeydef", (1, 1), NOTHING),
    ("pg_get_statisticsobjdef_columns", (1, 1), NOTHING),
    ("inet_server_addr", (0, 0), NOTHING),
    ("inet_client_addr", (0, 0), NOTHING),
    ("inet_server_port", (0, 0), "CAST(NULL AS INT)"),
    ("inet_client_port", (0, 0), "CAST(NULL AS INT)"),
    ("pg_advisory_unlock_all", (0, 0), NOTHING),
    // The exact time, of which clients are shown microseconds.
    ("epoch_ns", (1, 1), "CAST(CAST($1 AS TIMESTAMP) AS BIGINT)"),
    ("array_length", (1, 1), "CAST(array_length($1, 1) AS INT)"),
    ("array_upper", (2, 2), "CAST(array_length($1, $2) AS INT)"),
    ("array_lower", (2, 2), "CASE WHEN array_length($1, $2) IS NULL THEN NULL ELSE 1 END"),
    // No table is a part of another one.
    ("pg_partition_ancestors", (1, 1), "unnest(arrow_cast(make_array(), 'List(Int64)'))"),
    ("generate_subscripts", (2, 2), "unnest(range(1, CAST(array_length($1, $2) AS BIGINT) + 1))"),
    (
        "pg_size_pretty",
        (1, 1),
        "CASE WHEN $1 IS NULL THEN NULL WHEN $1 < 10240 THEN concat($1, ' bytes') WHEN $1 < 10485760 THEN concat($1 / 1024, ' kB') \
         WHEN $1 < 10737418240 THEN concat($1 / 1048576, ' MB') ELSE concat($1 / 1073741824, ' GB') END",
    ),
    (
        "quote_ident",
        (1, 1),
        "CASE WHEN regexp_like($1, '^[a-z_][a-z0-9_$]*$') THEN $1 ELSE concat('\"', replace($1, '\"', '\"\"'), '\"') END",
    ),
    ("quote_literal", (1, 1), "'''' || replace($1, '''', '''''') || ''''"),
];

/// A text that is not there.
const NOTHING: &str = "CAST(NULL AS VARCHAR)";

/// What a call of `name` means; `None` when the engine has that function, or nobody.
pub(super) fn meaning(name: &str, arguments: &[Expr], known: &Directory) -> Result<Option<String>> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let list = |path: &[&str]| match path {
        [] => "arrow_cast(make_array(), 'List(Utf8)')".to_owned(),
        path => format!("make_array({})", path.iter().map(|schema| quoted(schema)).collect::<Vec<_>>().join(", ")),
    };
    let session = &known.session;
    let (count, meaning) = match name {
        "current_database" | "current_catalog" => ((0, 0), quoted(&session.database)),
        "current_user" | "session_user" | "user" | "current_role" => ((0, 0), quoted(&session.user)),
        "pg_get_userbyid" => ((1, 1), quoted(&session.user)),
        "current_schema" => ((0, 0), known.current_schema().map_or_else(|| NOTHING.to_owned(), quoted)),
        "current_schemas" => match arguments {
            [Expr::Value(value)] if value.value == Value::Boolean(true) => ((1, 1), list(&known.path())),
            [Expr::Value(value)] if value.value == Value::Boolean(false) => ((1, 1), list(&known.said_path())),
            _ => return not_impl_err!("current_schemas of what is not true or false"),
        },
        "version" => ((0, 0), quoted(&format!("PostgreSQL {SERVER_VERSION} (Weir)"))),
        "pg_backend_pid" => ((0, 0), format!("CAST({} AS INT)", session.backend)),
        "current_setting" if arguments.len() == 2 => match &arguments[1] {
            Expr::Value(value) if value.value == Value::Boolean(true) => ((2, 2), "_setting_or_null($1)".to_owned()),
            Expr::Value(value) if value.value == Value::Boolean(false) => ((2, 2), "current_setting($1)".to_owned()),
            _ => return not_impl_err!("current_setting whose second argument is not true or false"),
        },
        "parse_ident" => match arguments.first().and_then(literal) {
            Some(text) => ((1, 1), list(&name_parts(text).iter().map(String::as_str).collect::<Vec<_>>())),
            None => return not_impl_err!("parse_ident of what is not a literal"),
        },
        "format" => ((1, usize::MAX), format_text(arguments)?),
        "time_bucket" => ((2, 3), time_bucket(arguments)?),
        "set_config" => return not_impl_err!("set_config inside of a query; SET does it"),
        _ => match FIXED.iter().find(|(fixed, ..)| *fixed == name) {
            // The engine has it with other arguments.
            Some(("array_length", ..)) if arguments.len() != 1 => return Ok(None),
            Some((_, count, meaning)) => (*count, (*meaning).to_owned()),
            None => return Ok(None),
        },
    };
    if (count.0..=count.1).contains(&arguments.len()) {
        return Ok(Some(meaning));
    }
    plan_err!("No function matches the given name and argument types: {name} with {} arguments", arguments.len())
}

/// What a call of `name` with one argument means, over that at `place`.
fn fixed(name: &str, place: usize) -> String {
    let found = FIXED.iter().find(|(fixed, ..)| *fixed == name).map_or("$1", |(.., meaning)| meaning);
    found.replace("$1", &format!("CAST(${place} AS VARCHAR)"))
}

/// `format('%s is %I', …)`
fn format_text(arguments: &[Expr]) -> Result<String> {
    let Some(template) = arguments.first().and_then(literal) else {
        return not_impl_err!("format with a template that is not a literal");
    };
    let mut parts = vec!["''".to_owned()];
    let mut pieces = template.split('%');
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    parts.push(quoted(pieces.next().unwrap_or_default()));
    let mut place = 2;
    while let Some(piece) = pieces.next() {
        let kind = piece.chars().next();
        match kind {
            Some('s') => parts.push(format!("coalesce(CAST(${place} AS VARCHAR), '')")),
            Some('I') => parts.push(fixed("quote_ident", place)),
            Some('L') => parts.push(format!("coalesce({}, 'NULL')", fixed("quote_literal", place))),
            // Two signs stand for one.
            None => {
                parts.push(quoted(&format!("%{}", pieces.next().unwrap_or_default())));
                continue;
            }
            Some(_) => return not_impl_err!("format with %{piece}"),
        }
        place += 1;
        parts.push(quoted(&piece[1..]));
    }
    if place - 1 != arguments.len() {
        return plan_err!(
            "No function matches the given name and argument types: format with too few or many arguments"
        );
    }
    Ok(format!("concat({})", parts.join(", ")))
}

/// Where buckets begin that are as long as some number of days or less: on a Monday.
const FIRST_BUCKET: &str = "TIMESTAMP '2000-01-03T00:00:00'";
/// Where those of months and years begin.
const FIRST_MONTH: &str = "TIMESTAMP '2000-01-01T00:00:00'";

/// As the extension for time series has it: width, time, and where a bucket begins.
fn time_bucket(arguments: &[Expr]) -> Result<String> {
    let Some(width) = arguments.first().and_then(width) else {
        return not_impl_err!("time_bucket whose width is not a literal");
    };
    let width = width.to_lowercase();
    let is_months = ["mon", "year", "dec", "cent", "mill"].iter().any(|unit| {
        // `milliseconds` are no millennia.
        width.contains(unit) && !(*unit == "mill" && width.contains("millis"))
    });
    let origin = match (arguments.len(), is_months) {
        (3.., _) => "$3",
        (_, true) => FIRST_MONTH,
        (_, false) => FIRST_BUCKET,
    };
    Ok(format!("date_bin(CAST($1 AS INTERVAL), $2, {origin})"))
}

fn width(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Interval(interval) => Some(interval.to_string()),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => width(expr),
        expr => literal(expr).map(str::to_owned),
    }
}

/// How long an argument may be: each call of a function can repeat what it is given.
const ARGUMENT_BYTES_MAX: usize = 4 << 10;
/// How much text all calls of a statement may become.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// How much text the calls of one statement became so far.
#[derive(Debug, Default)]
pub(super) struct Expansion {
    bytes: usize,
}

impl Expansion {
    /// The expression `meaning` describes, over these arguments.
    pub(super) fn expand(&mut self, meaning: &str, arguments: &[Expr]) -> Result<Expr> {
        let lengths = arguments.iter().map(|argument| argument.to_string().len());
        let (longest, sum) = lengths.fold((0, 0), |(longest, sum), len| (len.max(longest), sum + len));
        let repeats = meaning.matches('$').count().div_ceil(arguments.len().max(1));
        self.bytes = self.bytes.saturating_add(meaning.len() + repeats * sum);
        if repeats > 1 && longest > ARGUMENT_BYTES_MAX {
            return plan_err!(
                "an argument that a call repeats has {longest} bytes; at most {ARGUMENT_BYTES_MAX} are allowed"
            );
        }
        if self.bytes > TEXT_BYTES_MAX {
            return plan_err!(
                "the calls of the query, written out, have {} bytes; at most {TEXT_BYTES_MAX} are allowed",
                self.bytes
            );
        }
        let mut expr = parse(meaning)?;
        match expr.visit(&mut Arguments(arguments)) {
            ControlFlow::Continue(()) | ControlFlow::Break(()) => Ok(expr),
        }
    }
}

/// A call of a function the engine has.
pub(super) fn call(name: &str, arguments: &[Expr]) -> Result<Expr> {
    let places: Vec<String> = (1..=arguments.len()).map(|place| format!("${place}")).collect();
    let mut expr = parse(&format!("{name}({})", places.join(", ")))?;
    match expr.visit(&mut Arguments(arguments)) {
        ControlFlow::Continue(()) | ControlFlow::Break(()) => Ok(expr),
    }
}

/// Puts arguments in the places of `$1`, `$2`; one that was not given is null.
struct Arguments<'a>(&'a [Expr]);

impl VisitorMut for Arguments<'_> {
    type Break = ();

    /// After what is inside, so that a parameter of an argument is not taken for one of the meaning.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(ValueWithSpan { value, .. }) = expr
            && let Value::Placeholder(name) = value
        {
            let index = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            match index.and_then(|index| self.0.get(index.checked_sub(1)?)) {
                Some(argument) => *expr = argument.clone(),
                None => *value = Value::Null,
            }
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn parse(text: &str) -> Result<Expr> {
    let broken = |error: ParserError| DataFusionError::from(error);
    Parser::new(&ClientDialect {}).try_with_sql(text).map_err(broken)?.parse_expr().map_err(broken)
}

/// The text of a literal.
pub(super) fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}
