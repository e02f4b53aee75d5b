//! One statement of a Postgres client, so that the query engine understands it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TimezoneInfo, ValueWithSpan, VisitMut,
    VisitorMut,
};

use super::macros::{expand, literal, meaning, parse};
use super::relations::{NAMESPACES, Relation, relations};
use super::subqueries;
use super::types::TYPES;
use super::{PgSession, TWIN};
use crate::system::World;

pub(super) struct Rewriter<'a> {
    world: &'a World,
    session: &'a PgSession,
    /// Made when the first name is looked up.
    relations: Option<Vec<Relation>>,
}

type Flow = ControlFlow<DataFusionError>;

impl<'a> Rewriter<'a> {
    pub(super) fn new(world: &'a World, session: &'a PgSession) -> Self {
        Self { world, session, relations: None }
    }

    pub(super) fn rewrite(mut self, statement: &mut Statement) -> Result<()> {
        match statement.visit(&mut self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    fn expression(&mut self, expr: &mut Expr) -> Result<()> {
        if let Some(replacement) = subqueries::replacement(expr)? {
            *expr = replacement;
            return Ok(());
        }
        let replacement = match expr {
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
                unescape_pattern(pattern, escape_char)?;
                None
            }
            Expr::Function(function) => self.call(function)?,
            Expr::Collate { expr, .. } => Some((**expr).clone()),
            Expr::BinaryOp { left, op, right } => {
                plain_operator(op);
                name_nothing(left, right)?;
                None
            }
            Expr::Cast { expr, data_type, .. } => self.cast(expr, data_type)?,
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => in_list(left, right)?,
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => match in_list(left, right)? {
                Some(Expr::InList { expr, list, .. }) => Some(Expr::InList { expr, list, negated: true }),
                _ => None,
            },
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        Ok(())
    }

    fn call(&mut self, function: &mut Function) -> Result<Option<Expr>> {
        let Some(name) = called(&function.name) else { return Ok(None) };
        function.name = ObjectName::from(vec![Ident::new(name.clone())]);
        let arguments = arguments(function);
        match (name.as_str(), arguments.as_slice()) {
            ("current_setting", [first, ..]) => self.setting(first, arguments.len() > 1).map(Some),
            ("to_regclass", [first]) => self.looked_up(first, |this, name| this.relation(name)),
            ("to_regtype", [first]) => self.looked_up(first, |_, name| type_oid(name)),
            (name, _) => match meaning(name, arguments.len(), (self.world, self.session)) {
                Some(meaning) => expand(&meaning, &arguments).map(Some),
                None => Ok(None),
            },
        }
    }

    fn setting(&self, name: &Expr, missing: impl Into<Missing>) -> Result<Expr> {
        let Some(name) = literal(name) else { return parse("CAST(NULL AS VARCHAR)") };
        let found = self.session.settings.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        match (found, missing.into()) {
            (Some((_, value)), _) => parse(&format!("'{}'", value.replace('\'', "''"))),
            (None, Missing::Null) => parse("CAST(NULL AS VARCHAR)"),
            (None, Missing::Error) => Err(plan_datafusion_err!("unrecognized configuration parameter \"{name}\"")),
        }
    }

    fn looked_up(&mut self, name: &Expr, look: impl Fn(&mut Self, &str) -> Option<i64>) -> Result<Option<Expr>> {
        let Some(name) = literal(name) else { return parse("CAST(NULL AS BIGINT)").map(Some) };
        let found = look(self, name);
        parse(&found.map_or("CAST(NULL AS BIGINT)".to_owned(), |oid| oid.to_string())).map(Some)
    }

    /// The number of a relation.
    fn relation(&mut self, name: &str) -> Option<i64> {
        let parts = name_parts(name);
        let (schema, name) = match parts.as_slice() {
            [name] => (None, name),
            [.., schema, name] => (Some(if schema == "iox" { "public" } else { schema.as_str() }), name),
            [] => return None,
        };
        let world = self.world;
        let relations = self.relations.get_or_insert_with(|| relations(world));
        let path = || self.session.search_path.iter().map(String::as_str).chain(["public", "pg_catalog"]);
        let found = |schema: &str| relations.iter().find(|r| r.namespace_name() == schema && r.name == *name);
        match schema {
            Some(schema) => found(schema).map(|r| r.oid),
            None => path().find_map(found).map(|r| r.oid),
        }
    }

    /// Casts to types that only Postgres has.
    fn cast(&mut self, inner: &mut Expr, data_type: &mut DataType) -> Result<Option<Expr>> {
        if matches!(data_type, DataType::Regclass) {
            *data_type = custom("regclass");
        }
        if let DataType::Timestamp(_, zone @ (TimezoneInfo::Tz | TimezoneInfo::WithTimeZone)) = data_type {
            *zone = TimezoneInfo::None;
        }
        let DataType::Custom(name, _) = data_type else { return Ok(None) };
        let Some(name) = called(name) else { return Ok(None) };
        let text = literal(inner).map(str::to_owned);
        let number = |text: &str| text.parse::<i64>().ok();
        Ok(match (name.as_str(), text) {
            ("regclass", Some(text)) => {
                let oid = number(&text).or_else(|| self.relation(&text));
                let missing = || plan_datafusion_err!("table '{text}' not found");
                Some(parse(&oid.ok_or_else(missing)?.to_string())?)
            }
            ("regclass", None) if matches!(inner, Expr::Value(_)) => {
                let of = "(SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relname = \
                          replace(regexp_replace($1, '^.*[.]', ''), '\"', '') ORDER BY c.oid LIMIT 1)";
                Some(expand(of, std::slice::from_ref(inner))?)
            }
            ("regtype", Some(text)) => {
                let missing = || plan_datafusion_err!("type \"{text}\" does not exist");
                Some(parse(&number(&text).or_else(|| type_oid(&text)).ok_or_else(missing)?.to_string())?)
            }
            ("regtype", None) => {
                let meaning = meaning("format_type", 1, (self.world, self.session)).unwrap_or_default();
                Some(expand(&meaning, std::slice::from_ref(inner))?)
            }
            ("regnamespace", Some(text)) => {
                let found = NAMESPACES.iter().find(|(_, name)| *name == text).map(|(oid, _)| *oid);
                let missing = || plan_datafusion_err!("schema \"{text}\" does not exist");
                Some(parse(&found.ok_or_else(missing)?.to_string())?)
            }
            ("regnamespace", None) => {
                let meaning = meaning("_regnamespace", 1, (self.world, self.session)).unwrap_or_default();
                Some(expand(&meaning, std::slice::from_ref(inner))?)
            }
            ("oid" | "xid" | "cid", _) => {
                *data_type = DataType::BigInt(None);
                None
            }
            _ => {
                *data_type = plain_type(&name).unwrap_or_else(|| data_type.clone());
                None
            }
        })
    }
}

/// What a setting that does not exist is.
enum Missing {
    Null,
    Error,
}

impl From<bool> for Missing {
    fn from(is_told: bool) -> Self {
        if is_told { Self::Null } else { Self::Error }
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = DataFusionError;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        if let SetExpr::Select(select) = &mut *query.body {
            name_columns(select);
            if let Err(error) = subqueries::hollow(select) {
                return ControlFlow::Break(error);
            }
            if subqueries::is_hollow(select) {
                (query.order_by, query.limit_clause) = (None, None);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> Flow {
        name_columns(select);
        subqueries::hollow(select).map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        if let TableFactor::Table { name, args: Some(_), .. } = factor
            && let Some(plain) = called(name)
        {
            *name = ObjectName::from(vec![Ident::new(plain)]);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        match self.expression(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The name of what is called, without `pg_catalog`, in small letters; `None` for names in other schemas.
fn called(name: &ObjectName) -> Option<String> {
    let parts: Vec<&Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
    let plain = |ident: &Ident| match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    match parts.as_slice() {
        [name] => Some(plain(name)),
        [schema, name] if ["pg_catalog", "information_schema"].contains(&plain(schema).as_str()) => Some(plain(name)),
        _ => None,
    }
}

fn arguments(function: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().filter_map(plain).collect()
}

/// The engine knows no other sign than the backslash that takes the meaning of `%` and `_`.
fn unescape_pattern(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) -> Result<()> {
    let Some(sign) = escape.as_ref().and_then(|sign| sign.value.clone().into_string()).filter(|sign| sign != "\\")
    else {
        return Ok(());
    };
    if sign.chars().count() == 1 {
        let sign = sign.replace('\'', "''");
        let meaning = format!(
            "replace(replace(replace(replace($1, '\\', '\\\\'), '{sign}{sign}', chr(2)), '{sign}', '\\'), chr(2), '{sign}')"
        );
        *pattern = expand(&meaning, std::slice::from_ref(pattern))?;
    }
    *escape = None;
    Ok(())
}

/// Columns with the names of functions, whose numbers clients compare with 0.
const FUNCTION_COLUMNS: [&str; 6] = ["typanalyze", "typinput", "typoutput", "typreceive", "typsend", "typsubscript"];

/// A function that is not there is called `-`.
fn name_nothing(left: &Expr, right: &mut Expr) -> Result<()> {
    if is_column(left) && FUNCTION_COLUMNS.contains(&name_of(left).as_str()) && right.to_string() == "0" {
        *right = parse("'-'")?;
    }
    Ok(())
}

/// `OPERATOR(pg_catalog.~)` is `~`.
fn plain_operator(op: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return };
    let plain = match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        _ => return,
    };
    *op = plain;
}

fn custom(name: &str) -> DataType {
    DataType::Custom(ObjectName::from(vec![Ident::new(name)]), Vec::new())
}

/// Types under the names the catalogs have for them.
fn plain_type(name: &str) -> Option<DataType> {
    Some(match name {
        "text" | "name" | "varchar" | "bpchar" | "char" | "regproc" | "regprocedure" | "json" | "jsonb" | "uuid"
        | "unknown" | "tid" | "cstring" => DataType::Text,
        "int8" => DataType::BigInt(None),
        "int4" => DataType::Int(None),
        "int2" => DataType::SmallInt(None),
        "float8" => DataType::Double(datafusion::sql::sqlparser::ast::ExactNumberInfo::None),
        "float4" => DataType::Real,
        "bool" => DataType::Boolean,
        "bytea" => DataType::Bytea,
        "date" => DataType::Date,
        "timestamp" | "timestamptz" => DataType::Timestamp(None, TimezoneInfo::None),
        _ => return None,
    })
}

fn type_oid(name: &str) -> Option<i64> {
    let name = name.trim_start_matches("pg_catalog.");
    let found = TYPES.iter().find(|t| t.name == name || t.sql_name == name);
    found.map(|t| i64::from(t.oid))
}

/// `left IN (…)`, when the list is written down.
fn in_list(left: &Expr, right: &Expr) -> Result<Option<Expr>> {
    let right = match literal(right).and_then(list) {
        Some(list) => list?,
        None => right.clone(),
    };
    Ok(match right {
        Expr::Array(array) if !array.elem.is_empty() => {
            Some(Expr::InList { expr: Box::new(left.clone()), list: array.elem, negated: false })
        }
        _ => None,
    })
}

/// `'{a,b}'` as a list of texts; `None` when it is no list.
fn list(text: &str) -> Option<Result<Expr>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let item = |item: &str| format!("'{}'", item.trim().trim_matches('"').replace('\'', "''"));
    let items: Vec<String> = inner.split(',').filter(|i| !i.is_empty()).map(item).collect();
    Some(parse(&format!("ARRAY[{}]", items.join(", "))))
}

/// `a."B c"` is the names `a` and `B c`.
fn name_parts(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c if quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

/// Gives each column of a SELECT the name it has in Postgres.
fn name_columns(select: &mut Select) {
    let mut taken = BTreeSet::new();
    for item in &mut select.projection {
        let (expr, mut name, is_said) = match item {
            SelectItem::UnnamedExpr(expr) => (expr.clone(), name_of(expr), is_column(expr)),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), alias.value.clone(), true),
            _ => continue,
        };
        let is_twin = !taken.insert(name.clone());
        if is_said && !is_twin {
            continue;
        }
        while is_twin && !taken.insert(name.clone()) {
            name.push(TWIN);
        }
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

const NAMELESS: &str = "?column?";

fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(idents) => idents.last().map_or_else(String::new, |ident| ident.value.clone()),
        Expr::Function(function) => function
            .name
            .0
            .last()
            .and_then(ObjectNamePart::as_ident)
            .map_or_else(String::new, |i| i.value.to_lowercase()),
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
