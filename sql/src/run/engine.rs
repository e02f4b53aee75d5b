use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectStore;
use storage::catalog::{Access, Action, Database, State};
use storage::cluster::HEARTBEAT_EVERY;
use storage::knob::Knob;
use storage::model::ErrorKind;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::metrics::Metrics;
use super::seats::{Seat, Seats};
use super::work::{Head, Parts, Work};
use super::{Answer, Error, Query};
use crate::admin::Operator;
use crate::session::Sessions;
use crate::settings::Shown;
use crate::system::{Facts, INTERNAL_DATABASE, World};
use crate::tables::{Footers, Moment, Moments};

/// How many batches wait for a slow reader before the query waits too.
const BATCHES_WAITING_MAX: usize = 2;

/// How many queries may wait for each that may run. What waits is planned already and holds what it planned with.
const WAITING_PER_RUNNING: usize = 4;

/// Queries about the nodes alone that run while all places or permits are taken, so that an operator sees by whom; and as
/// many again for admins, whom others could keep out.
const WATCHING_MAX: u64 = 2;

/// How long each of them may take: such tables are small, and what is made of them need not be.
pub(super) const WATCHING_WITHIN: Duration = Duration::from_secs(30);

/// Queries that wait for their readers; at least so many, however few may run. More keep what they hold.
const SLEEPING_MIN: usize = 200;

/// How long a client may take to ask for more rows. One that has stopped reading would hold files and memory for ever.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct EngineConfig {
    /// What all queries together may reserve.
    pub memory_bytes: Knob<u64>,
    /// What the footers of files that were read may take.
    pub footer_bytes: Knob<u64>,
    /// Into how many parts a query is cut.
    pub target_partitions: usize,
    /// Options of the query engine (`datafusion.execution.batch_size:8192,...`).
    pub options: Knob<Arc<str>>,
    /// How many queries run at once; more wait.
    pub concurrent_queries_max: Knob<u64>,
    /// The longest a query may take when it does not say so itself.
    pub default_timeout: Knob<Option<Duration>>,
    /// The threads queries are planned and run on.
    pub runtime: tokio::runtime::Handle,
    pub registry: metrics::Registry,
    /// What this node shows of itself.
    pub facts: Arc<Facts>,
    /// What performs commands, and knows the other nodes. `None` in a cluster of one that takes none.
    pub operator: Option<Arc<Operator>>,
}

/// Answers queries. Cheap to clone; the clones share one memory pool, one log and one limit.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sessions: Arc<Sessions>,
    pub(super) facts: Arc<Facts>,
    /// To run.
    pub(super) permits: Seats,
    /// For queries that run, wait to run, or are planned.
    places: Seats,
    watching: Seats,
    watching_as_admin: Seats,
    /// For queries that wait for their readers, without a place or a permit.
    pub(super) sleeping: Seats,
    pub(super) read_timeout: Duration,
    pub(super) metrics: Metrics,
    pub(super) operator: Option<Arc<Operator>>,
    moments: Arc<dyn Moments>,
    pub(super) default_timeout: Knob<Option<Duration>>,
    pub(super) runtime: tokio::runtime::Handle,
}

impl Engine {
    /// Fails when an option does not exist. `store` is only read from.
    pub fn new(config: EngineConfig, moments: Arc<dyn Moments>, store: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        let EngineConfig {
            memory_bytes,
            footer_bytes,
            target_partitions,
            options,
            concurrent_queries_max,
            default_timeout,
            runtime,
            registry,
            facts,
            operator,
        } = config;
        let footers = Arc::new(Footers::new(footer_bytes));
        let store = (store, Arc::clone(&footers));
        let sessions = Arc::new(Sessions::new(memory_bytes.clone(), target_partitions.max(1), options, store)?);
        let metrics = Metrics::new(&registry);
        let (limit, reserved) = (metrics.pool_bytes("limit"), metrics.pool_bytes("reserved"));
        let pool = Arc::clone(sessions.pool());
        facts.watch_pool(Arc::clone(&pool));
        facts.watch_footers(Arc::clone(&footers));
        let footers_shown = metrics.footers.clone();
        registry.on_scrape(move || {
            limit.set(memory_bytes.get() as f64);
            reserved.set(pool.reserved() as f64);
            footers_shown.show(footers.figures());
        });
        let seats = |of: fn(usize) -> usize| Seats::new(&concurrent_queries_max, of, &runtime);
        let watching = || Seats::new(&WATCHING_MAX.into(), |count| count, &runtime);
        let shared = Shared {
            sessions,
            facts,
            permits: seats(|running| running),
            places: seats(places),
            watching: watching(),
            watching_as_admin: watching(),
            sleeping: seats(|running| places(running).max(SLEEPING_MIN)),
            read_timeout: READ_TIMEOUT,
            metrics,
            operator,
            moments,
            default_timeout,
            runtime,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How long a query may take that does not say so itself.
    #[must_use]
    pub fn default_timeout(&self) -> Option<Duration> {
        self.shared.default_timeout.get()
    }

    /// The value of a setting of this node, if there is one of the name. Fails for whoever is no admin.
    pub fn setting(&self, name: &str, access: &Access) -> Result<Option<String>, Error> {
        let Some(shown) = self.shared.facts.settings.shown_as(name) else { return Ok(None) };
        may_show(access)?;
        Ok(Some(shown.value.unwrap_or_default()))
    }

    /// The settings of this node as far as their bearer may see them: name, value and what each is about.
    #[must_use]
    pub fn settings(&self, access: &Access) -> Vec<(String, Option<String>, &'static str)> {
        let shown = may_show(access).map(|()| self.shared.facts.settings.shown()).unwrap_or_default();
        let row = |shown: Shown| (shown.name, shown.value, shown.live.map_or("", |live| live.about));
        shown.into_iter().map(row).collect()
    }

    /// Plans the query and begins to run it. Waits while too many queries run; dropping the call cancels the query.
    pub async fn run(&self, query: Query) -> Result<Answer, Error> {
        let query = Query { timeout: query.timeout.or(self.shared.default_timeout.get()), ..query };
        let (head_sent, head) = oneshot::channel();
        let (rows_sent, rows) = mpsc::channel(BATCHES_WAITING_MAX);
        let work = Work::new(Arc::clone(&self.shared), query, Parts { head: head_sent, rows: rows_sent });
        let task = AbortOnDropHandle::new(self.shared.runtime.spawn(work.run()));
        let Head { schema, tag } = head.await.unwrap_or(Err(Error::Cancelled))?;
        // The task is part of the stream: when the stream goes, so does the query.
        let rows = futures::stream::unfold(Some((rows, task)), |running| async move {
            let (mut rows, task) = running?;
            match rows.recv().await {
                Some(batch) => Some((Ok(batch), Some((rows, task)))),
                // Rows that end because the task was stopped from outside must not look like a whole answer.
                None => task.await.unwrap_or(Err(Error::Cancelled)).err().map(|error| (Err(error), None)),
            }
        });
        Ok(Answer { schema, tag, rows: rows.boxed() })
    }
}

impl Engine {
    /// Whether `database` is there and its bearer may read it. Takes no place among the queries, so whoever only begins
    /// or goes on is told also while too many wait.
    pub fn check(&self, database: &str, access: &Access) -> Result<(), Error> {
        let moment = self.shared.open_moment(database)?;
        readable(moment.state(), database, access).map(drop)
    }
}

/// Queries that run or wait, when so many run.
fn places(running: usize) -> usize {
    running.saturating_mul(1 + WAITING_PER_RUNNING)
}

/// Settings are shown to admins alone, at every door.
fn may_show(access: &Access) -> Result<(), Error> {
    let denied = || Error::Command { kind: ErrorKind::Denied, message: "SHOW needs an admin token".to_owned() };
    if access.is_admin() { Ok(()) } else { Err(denied()) }
}

/// The database that may be read; `None` is the one of the node itself.
fn readable(state: &State, name: &str, access: &Access) -> Result<Option<Arc<Database>>, Error> {
    let database = match state.database(name) {
        _ if name == INTERNAL_DATABASE => None,
        Some(database) => Some(Arc::clone(database)),
        None => return Err(Error::DatabaseNotFound(name.to_owned())),
    };
    let is_allowed = match &database {
        Some(database) => access.allows(Some(database.id), Action::Read),
        None => access.is_admin(),
    };
    if is_allowed { Ok(database) } else { Err(Error::Denied(name.to_owned())) }
}

/// What a query is planned with.
#[derive(Debug)]
pub(super) enum Admitted {
    /// A place among those that run or wait.
    Placed(Seat),
    /// There was none, and the query may be about the nodes alone.
    Watching(Seat),
}

impl Shared {
    pub(super) fn admit(&self, query: &Query) -> Result<Admitted, Error> {
        let watch = || self.watch(query).map(Admitted::Watching);
        self.places.try_take().map(Admitted::Placed).or_else(watch).ok_or_else(|| self.busy())
    }

    pub(super) fn busy(&self) -> Error {
        Error::Busy(format!("{} queries run or wait already; try again later", self.places.count()))
    }

    /// Leave to run beside those that may, for a query that may be about the nodes alone.
    pub(super) fn watch(&self, query: &Query) -> Option<Seat> {
        if !query.text.to_ascii_lowercase().contains("system.") {
            return None;
        }
        let as_admin = || self.watching_as_admin.try_take();
        query.access.is_admin().then(as_admin).flatten().or_else(|| self.watching.try_take())
    }

    /// System tables of the whole cluster tell how its nodes are.
    pub(super) async fn observe(&self, database: &str) {
        if let Some(operator) = self.operator.as_ref().filter(|_| database == INTERNAL_DATABASE) {
            operator.member.observe(HEARTBEAT_EVERY).await;
        }
    }

    pub(super) fn open_moment(&self, database: &str) -> Result<Arc<dyn Moment>, Error> {
        let unavailable = |error: storage::view::Error| Error::Unavailable(error.to_string());
        let moment = self.moments.open().map_err(unavailable)?;
        // What is not known may be there all the same; only of the nodes that is no loss.
        match moment.may_lack().filter(|_| database != INTERNAL_DATABASE) {
            Some(error) => Err(unavailable(error)),
            None => Ok(moment),
        }
    }

    /// What the query may look at: whether the database exists and may be read is known before the text is parsed.
    pub(super) fn world(&self, state: &Arc<State>, query: &Query) -> Result<World, Error> {
        let database = readable(state, &query.database, &query.access)?;
        let operator = self.operator.as_ref();
        Ok(World {
            state: Arc::clone(state),
            database,
            access: query.access.clone(),
            token: query.token.clone(),
            facts: Arc::clone(&self.facts),
            peers: operator.map(|operator| Arc::clone(&operator.peers)),
            lives: operator.map_or_else(Arc::default, |operator| Arc::clone(operator.member.lives())),
        })
    }
}
