//! What a statement would answer, found without running it.

use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use tokio_util::task::AbortOnDropHandle;

use super::engine::{Admitted, Shared};
use super::statement::{self, PARAMS_MAX};
use super::work::panicked;
use super::{Description, Engine, Error, Query, lists};
use crate::postgres;
use crate::session::Session;

impl Engine {
    /// What `query` would answer, without running it. `declared` are the types of its first parameters, as far as the
    /// client knows them; a parameter nothing is known of is a text.
    pub async fn describe(&self, query: Query, declared: Vec<Option<DataType>>) -> Result<Description, Error> {
        let shared = Arc::clone(&self.shared);
        let timeout = query.timeout.or(self.shared.default_timeout.get());
        let task = self.shared.runtime.spawn(async move { describe(&shared, query, &declared).await });
        let described = async {
            AbortOnDropHandle::new(task).await.unwrap_or_else(|ended| match ended.try_into_panic() {
                Ok(panic) => Err(panicked(&*panic)),
                Err(_) => Err(Error::Cancelled),
            })
        };
        match timeout {
            Some(timeout) => tokio::time::timeout(timeout, described).await.unwrap_or(Err(Error::Timeout(timeout))),
            None => described.await,
        }
    }

    /// The columns that `run` would answer with, to the last detail: `describe` stops before the plan is optimized, which
    /// may show that a column is never null.
    pub async fn schema(&self, query: Query) -> Result<SchemaRef, Error> {
        let shared = Arc::clone(&self.shared);
        let task = self.shared.runtime.spawn(async move { schema(&shared, query).await });
        AbortOnDropHandle::new(task).await.unwrap_or(Err(Error::Cancelled))
    }
}

/// What a statement is planned with, and its place among those that are.
struct Opened {
    _admitted: Admitted,
    session: Session,
}

fn open(shared: &Shared, query: &Query) -> Result<Opened, Error> {
    let admitted = shared.admit(query)?;
    let moment = shared.open_moment(&query.database)?;
    let world = shared.world(moment.state(), query)?;
    let session = shared.sessions.open(world, moment, query.postgres.as_ref())?;
    Ok(Opened { _admitted: admitted, session })
}

async fn schema(shared: &Shared, query: Query) -> Result<SchemaRef, Error> {
    if let Some(command) = statement::command(&query, &shared.facts.settings) {
        return Ok(command?.schema());
    }
    let Opened { _admitted, session } = open(shared, &query)?;
    let state = session.context.state();
    let logical = statement::plan(&state, &query.text, query.params, session.known.as_deref()).await?;
    Ok(postgres::shown(&state.create_physical_plan(&logical).await?.schema()))
}

async fn describe(shared: &Shared, query: Query, declared: &[Option<DataType>]) -> Result<Description, Error> {
    if let Some(command) = statement::command(&query, &shared.facts.settings) {
        let command = command?;
        return Ok(Description { params: Vec::new(), schema: command.schema(), tag: Some(command.tag()) });
    }
    let Opened { _admitted, session } = open(shared, &query)?;
    let state = session.context.state();
    let plan = statement::open_plan(&state, &query.text, session.known.as_deref()).await?;
    let inferred = plan.get_parameter_types()?;
    let mut count = declared.len().max(statement::placeholders(&query.text));
    for name in plan.get_parameter_names()? {
        let number =
            name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).filter(|n| (1..=PARAMS_MAX).contains(n));
        count = count.max(number.ok_or_else(|| Error::Plan(format!("there is no parameter {name}")))?);
    }
    let type_of = |number: usize| {
        let declared = declared.get(number - 1).cloned().flatten();
        declared.or_else(|| inferred.get(&format!("${number}")).cloned().flatten()).unwrap_or(DataType::Utf8)
    };
    let params: Vec<DataType> = (1..=count).map(type_of).collect();
    let nulls = params.iter().zip(1..).map(|(of, number)| Ok((number.to_string(), ScalarValue::try_new_null(of)?)));
    let nulls = nulls.collect::<datafusion::common::Result<Vec<_>>>()?;
    let plan = if nulls.is_empty() { plan } else { lists::as_in_lists(plan.with_param_values(nulls)?)? };
    let plan = state.analyzer().execute_and_check(plan, &Arc::clone(state.config_options()), |_, _| {})?;
    Ok(Description { params, schema: postgres::shown(plan.schema().inner()), tag: None })
}
