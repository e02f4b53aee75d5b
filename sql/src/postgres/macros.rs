//! Functions of Postgres, as expressions of the query engine.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::sql::sqlparser::ast::{Expr, Value, ValueWithSpan, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::relations::{NAMESPACES, VISIBLE_BELOW, user_relations};
use super::types::TYPES;
use super::{ClientDialect, PgSession, SERVER_VERSION};
use crate::system::World;

/// Name, and what a call means; `$1` is the first argument.
const FIXED: &[(&str, &str)] = &[
    ("pg_has_role", "true"),
    ("has_table_privilege", "true"),
    ("has_schema_privilege", "true"),
    ("has_database_privilege", "true"),
    ("has_column_privilege", "true"),
    ("has_any_column_privilege", "true"),
    ("has_function_privilege", "true"),
    ("has_type_privilege", "true"),
    ("has_sequence_privilege", "false"),
    ("pg_function_is_visible", "true"),
    ("pg_type_is_visible", "true"),
    ("pg_operator_is_visible", "true"),
    ("pg_collation_is_visible", "true"),
    ("pg_is_other_temp_schema", "false"),
    ("pg_relation_is_publishable", "false"),
    ("pg_is_in_recovery", "false"),
    ("pg_my_temp_schema", "CAST(0 AS BIGINT)"),
    ("pg_stat_get_numscans", "CAST(0 AS BIGINT)"),
    ("txid_current", "CAST(1 AS BIGINT)"),
    ("pg_indexes_size", "CAST(0 AS BIGINT)"),
    ("pg_encoding_to_char", "'UTF8'"),
    ("pg_client_encoding", "'UTF8'"),
    ("pg_tablespace_location", "''"),
    ("obj_description", "CAST(NULL AS VARCHAR)"),
    ("col_description", "CAST(NULL AS VARCHAR)"),
    ("shobj_description", "CAST(NULL AS VARCHAR)"),
    ("pg_get_expr", "CAST(NULL AS VARCHAR)"),
    ("pg_get_indexdef", "CAST(NULL AS VARCHAR)"),
    ("pg_get_constraintdef", "CAST(NULL AS VARCHAR)"),
    ("pg_get_viewdef", "CAST(NULL AS VARCHAR)"),
    ("pg_get_ruledef", "CAST(NULL AS VARCHAR)"),
    ("pg_get_triggerdef", "CAST(NULL AS VARCHAR)"),
    ("pg_get_functiondef", "CAST(NULL AS VARCHAR)"),
    ("pg_get_function_result", "CAST(NULL AS VARCHAR)"),
    ("pg_get_function_arguments", "CAST(NULL AS VARCHAR)"),
    ("pg_get_function_identity_arguments", "CAST(NULL AS VARCHAR)"),
    ("pg_get_serial_sequence", "CAST(NULL AS VARCHAR)"),
    ("pg_get_partkeydef", "CAST(NULL AS VARCHAR)"),
    ("pg_get_statisticsobjdef_columns", "CAST(NULL AS VARCHAR)"),
    ("inet_server_addr", "CAST(NULL AS VARCHAR)"),
    ("inet_client_addr", "CAST(NULL AS VARCHAR)"),
    ("pg_advisory_unlock_all", "CAST(NULL AS VARCHAR)"),
    ("set_config", "$2"),
    ("array_upper", "array_length($1, $2)"),
    ("array_lower", "CASE WHEN array_length($1, $2) IS NULL THEN NULL ELSE 1 END"),
    ("time_bucket", "date_bin(CAST($1 AS INTERVAL), $2)"),
    (
        "pg_size_pretty",
        "CASE WHEN $1 IS NULL THEN NULL WHEN $1 < 10240 THEN concat($1, ' bytes') WHEN $1 < 10485760 THEN concat($1 / 1024, ' kB') \
         WHEN $1 < 10737418240 THEN concat($1 / 1048576, ' MB') ELSE concat($1 / 1073741824, ' GB') END",
    ),
    (
        "quote_ident",
        "CASE WHEN regexp_like($1, '^[a-z_][a-z0-9_$]*$') THEN $1 ELSE concat('\"', replace($1, '\"', '\"\"'), '\"') END",
    ),
    ("quote_literal", "concat('''', replace($1, '''', ''''''), '''')"),
];

/// What a call of `name` with `count` arguments means; `None` when the engine has that function, or nobody.
pub(super) fn meaning(name: &str, count: usize, (world, session): (&World, &PgSession)) -> Option<String> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    Some(match name {
        "current_database" | "current_catalog" => quoted(&session.database),
        "current_user" | "session_user" | "user" | "current_role" | "pg_get_userbyid" => quoted(&session.user),
        "current_schema" => quoted(session.search_path.first().map_or("public", String::as_str)),
        "current_schemas" => {
            let path: Vec<String> = session.search_path.iter().map(|schema| quoted(schema)).collect();
            format!("make_array('pg_catalog', {})", path.join(", "))
        }
        "version" => quoted(&format!("PostgreSQL {SERVER_VERSION} (Weir)")),
        "pg_backend_pid" => format!("CAST({} AS INT)", session.backend),
        "pg_table_is_visible" => format!("($1 < {VISIBLE_BELOW})"),
        "pg_relation_size" | "pg_table_size" | "pg_total_relation_size" => sizes(world),
        "pg_database_size" => {
            let bytes: i64 = user_relations(world).map(|r| r.bytes).sum();
            // Of another one than that of the session nothing is known.
            format!("CASE CAST($1 AS VARCHAR) WHEN {} THEN CAST({bytes} AS BIGINT) END", quoted(&session.database))
        }
        "format_type" => format_type(),
        "_regnamespace" => {
            let names: Vec<String> = NAMESPACES.iter().map(|(oid, name)| format!("WHEN {oid} THEN '{name}'")).collect();
            format!("CASE $1 {} ELSE CAST($1 AS VARCHAR) END", names.join(" "))
        }
        "array_length" if count == 1 => "array_length($1, 1)".to_owned(),
        _ => FIXED.iter().find(|(fixed, _)| *fixed == name)?.1.to_owned(),
    })
}

/// Bytes in files, by the number of the table.
fn sizes(world: &World) -> String {
    let sizes: Vec<String> = user_relations(world).map(|r| format!("WHEN {} THEN {}", r.oid, r.bytes)).collect();
    if sizes.is_empty() {
        return "CAST(0 AS BIGINT)".to_owned();
    }
    format!("CASE $1 {} ELSE 0 END", sizes.join(" "))
}

fn format_type() -> String {
    let one = TYPES.iter().map(|t| format!("WHEN {} THEN '{}'", t.oid, t.sql_name));
    let array = TYPES.iter().map(|t| format!("WHEN {} THEN '{}[]'", t.array_oid, t.sql_name));
    let all: Vec<String> = one.chain(array).collect();
    format!(
        "CASE $1 {} WHEN 18 THEN '\"char\"' WHEN 19 THEN 'name' WHEN 1043 THEN 'character varying' \
         WHEN 1042 THEN 'character' WHEN 1114 THEN 'timestamp without time zone' WHEN 2950 THEN 'uuid' \
         WHEN 114 THEN 'json' WHEN 3802 THEN 'jsonb' WHEN 2205 THEN 'regclass' WHEN 2249 THEN 'record' \
         WHEN NULL THEN NULL ELSE '???' END",
        all.join(" ")
    )
}

/// How long an expression may become: each call of a function can repeat what it is given.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The expression `meaning` describes, over these arguments.
pub(super) fn expand(meaning: &str, arguments: &[Expr]) -> Result<Expr> {
    let longest = arguments.iter().map(|argument| argument.to_string().len()).max().unwrap_or(0);
    if longest > TEXT_BYTES_MAX {
        return plan_err!("the query has calls inside of calls that are too long");
    }
    let mut expr = parse(meaning)?;
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
