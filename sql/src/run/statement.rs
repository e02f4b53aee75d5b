//! From text to a plan that only reads.

use std::collections::VecDeque;

use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;

use super::{Param, limits};

/// The plan of the one statement in `text`.
pub(super) async fn plan(
    state: &SessionState,
    text: &str,
    params: Vec<(String, Param)>,
) -> Result<LogicalPlan, DataFusionError> {
    limits::check(text)?;
    let mut statements = parse(text)?;
    let Some(statement) = statements.pop_front() else {
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
    let plan = state.statement_to_plan(statement).await?;
    // Before the parameters are put in: that would take a PREPARE apart and leave what it prepared.
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    let plan = if params.is_empty() {
        plan
    } else {
        let values: Vec<(String, ScalarValue)> = params.into_iter().map(|(name, p)| (name, p.into())).collect();
        plan.with_param_values(values)?
    };
    match plan.get_parameter_names()?.iter().min() {
        Some(name) => plan_err!("parameter {name} has no value"),
        None => Ok(plan),
    }
}

fn parse(text: &str) -> Result<VecDeque<Statement>> {
    DFParserBuilder::new(text).with_dialect(&GenericDialect {}).build()?.parse_statements()
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
