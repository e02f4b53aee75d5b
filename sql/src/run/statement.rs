//! From text to a plan that only reads.

use std::collections::VecDeque;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::{Error, Param, Query, limits, lists};
use crate::admin::{self, Command};
use crate::postgres::{self, ClientDialect, Directory};
use crate::session::SEARCH_PATH;
use crate::settings::Settings;

/// How many parameters a statement may have; the protocols count them in two bytes.
pub(super) const PARAMS_MAX: usize = 65_535;

/// More than these are multiplied with each other, or might be.
const SYSTEM_TABLES_MAX: usize = 2;

/// What a Postgres client's statement is rewritten with.
pub(super) type Speaker<'a> = Option<&'a Directory>;

/// The command that a query is, if it is one. To show what is no setting of a node is left to the query engine, which has
/// settings of its own.
pub(super) fn command(query: &Query, settings: &Settings) -> Option<std::result::Result<Command, Error>> {
    if query.text.len() > limits::TEXT_BYTES_MAX {
        return None;
    }
    if let Some(setting) = admin::shown_setting(&query.text) {
        return settings.shown_as(&setting).map(|_| Ok(Command::Show { setting }));
    }
    let command = admin::parse(&query.text, &query.database)?;
    Some(command.map_err(Error::Plan))
}

/// The plan of the one statement in `text`, with its parameters put in.
pub(super) async fn plan(
    state: &SessionState,
    text: &str,
    params: Vec<(String, Param)>,
    speaker: Speaker<'_>,
) -> Result<LogicalPlan, DataFusionError> {
    let plan = open_plan(state, text, speaker).await?;
    let plan = if params.is_empty() {
        plan
    } else {
        let value = |(name, param): (String, Param)| Ok((name, param.value()?));
        lists::as_in_lists(plan.with_param_values(params.into_iter().map(value).collect::<Result<Vec<_>>>()?)?)?
    };
    match plan.get_parameter_names()?.iter().min() {
        Some(name) => plan_err!("parameter {name} has no value"),
        None => Ok(plan),
    }
}

/// Whether a plan reads few system tables, and neither anything else nor makes more rows of them than there are pairs.
pub(super) fn is_about_nodes(plan: &LogicalPlan) -> bool {
    use LogicalPlan as P;
    let mut tables = 0;
    let visited = plan.apply_with_subqueries(|node| {
        Ok(match node {
            P::TableScan(scan) if scan.table_name.schema() == Some("system") => {
                tables += 1;
                TreeNodeRecursion::Continue
            }
            P::Projection(_) | P::Filter(_) | P::Window(_) | P::Aggregate(_) | P::Distinct(_) | P::Sort(_) => {
                TreeNodeRecursion::Continue
            }
            P::Limit(_) | P::Join(_) | P::Subquery(_) | P::SubqueryAlias(_) | P::Explain(_) | P::Analyze(_) => {
                TreeNodeRecursion::Continue
            }
            // One row at most.
            P::EmptyRelation(_) => TreeNodeRecursion::Continue,
            _ => {
                tables = usize::MAX;
                TreeNodeRecursion::Stop
            }
        })
    });
    visited.is_ok() && (1..=SYSTEM_TABLES_MAX).contains(&tables)
}

/// The plan, its parameters still open.
pub(super) async fn open_plan(state: &SessionState, text: &str, speaker: Speaker<'_>) -> Result<LogicalPlan> {
    let dialect: &(dyn Dialect + Sync) = if speaker.is_some() { &ClientDialect {} } else { &GenericDialect {} };
    limits::check(text, dialect)?;
    let mut statements = parse(text, dialect)?;
    let Some(mut statement) = statements.pop_front() else {
        return plan_err!("the query has no statement");
    };
    if !statements.is_empty() {
        return plan_err!("the query has {} statements; only one is allowed", statements.len() + 1);
    }
    if !reads(&statement) {
        let text = statement.to_string();
        let word = text.split_whitespace().next().unwrap_or("this");
        return plan_err!("{word} is not supported: queries can only read");
    }
    if let Some(known) = speaker {
        rewrite(&mut statement, known)?;
    }
    let plan = match state.statement_to_plan(statement).await {
        Ok(plan) if speaker.is_some() => lists::with_numbers(postgres::settled(plan)?)?,
        Ok(plan) => plan,
        Err(error) => return Err(plainly(error)),
    };
    // Before the parameters are put in: that would take a PREPARE apart and leave what it prepared.
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    lists::with_types(plan)
}

/// The largest number of a parameter in a text; what is not planned counts too.
pub(super) fn placeholders(text: &str) -> usize {
    let tokens = Tokenizer::new(&ClientDialect {}, text).tokenize().unwrap_or_default();
    let number = |token: &Token| match token {
        Token::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
        _ => None,
    };
    tokens.iter().filter_map(number).filter(|number| *number <= PARAMS_MAX).max().unwrap_or(0)
}

fn parse(text: &str, dialect: &dyn Dialect) -> Result<VecDeque<Statement>> {
    DFParserBuilder::new(text).with_dialect(dialect).build()?.parse_statements()
}

fn rewrite(statement: &mut Statement, known: &Directory) -> Result<()> {
    match statement {
        Statement::Explain(explain) => rewrite(&mut explain.statement, known),
        Statement::Statement(sql) => postgres::rewrite(sql, known),
        _ => Ok(()),
    }
}

/// A table that was looked for along the search path has no schema.
fn plainly(error: DataFusionError) -> DataFusionError {
    let message = match error.find_root() {
        DataFusionError::Plan(message) if message.contains(SEARCH_PATH) && message.contains("not found") => message,
        _ => return error,
    };
    match message.split_once(&format!(".{SEARCH_PATH}.")) {
        Some((before, after)) if before.starts_with("table '") => plan_datafusion_err!("table '{after}"),
        _ => error,
    }
}

/// Whether the statement is one of those that read. What they contain is looked at in the plan.
fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Explain(explain) => reads(&explain.statement),
        Statement::Statement(sql) => matches!(
            &**sql,
            SqlStatement::Query(_)
                | SqlStatement::Explain { .. }
                | SqlStatement::ExplainTable { .. }
                | SqlStatement::ShowTables { .. }
                | SqlStatement::ShowColumns { .. }
                | SqlStatement::ShowFunctions { .. }
                | SqlStatement::ShowVariable { .. }
        ),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}
