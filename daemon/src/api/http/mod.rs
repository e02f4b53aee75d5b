//! The HTTP API: one file for each resource. The calls of Flight are routes of it.
//!
//! # Promises
//! - Each route declares what it needs of a token; nothing is served before that is checked (`gate`).
//! - Statuses, bodies and headers are those of InfluxDB 3 wherever its clients look; errors of every room become
//!   answers in one table (`errors`).
//! - Memory for request bodies is bounded, and a request that would pass the bound is turned away before it is read.
//! - A panic ends its request with status 500, not the process.
//! - Any node takes any request: what it does not serve by its modes goes on to a node that does (`forward`), or is refused
//!   with the reason.
//!
//! # Not here
//! - What a call of Flight does: `flight`.

mod body;
mod cache;
mod database;
mod errors;
mod format;
mod forward;
mod gate;
mod health;
mod memory;
mod meter;
mod node;
mod order;
mod pretty;
mod query;
mod query_request;
mod rpc;
mod server;
mod system;
mod table;
mod tls;
#[cfg(test)]
mod tests;
mod token;
mod write;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::routing::{self, MethodFilter, MethodRouter};
use axum::{Router, middleware};
use metrics::Registry;
use storage::catalog::Catalog;
use storage::cluster::Member;
use storage::ingest::Ingest;
use storage::model::{Mode, Modes, NodeId};
use storage::view::Views;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::auth::Auth;
use super::flight::{self, Flight};
use crate::config::{HttpConfig, OpenEndpoint};
use body::Admission;
use forward::Forwarder;
use gate::Needs;
pub(crate) use health::{Readiness, VERSION};
use meter::Meter;
pub(crate) use server::{Ends, HTTP_PROTOCOLS, Server, ServerLimits};
pub(crate) use system::Peers;
pub(crate) use tls::Trust;

/// What requests are served with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) catalog: Arc<Catalog>,
    /// With mode `ingest`.
    pub(crate) ingest: Option<Ingest>,
    /// With mode `query`.
    pub(crate) engine: Option<sql::Engine>,
    pub(crate) operator: Arc<sql::Operator>,
    pub(crate) views: Option<Arc<Views>>,
    pub(crate) member: Member,
    pub(crate) modes: Modes,
    pub(crate) cluster: NodeId,
    pub(crate) registry: Registry,
    pub(crate) readiness: Arc<Readiness>,
    /// The threads for work that takes longer than a millisecond.
    pub(crate) datafusion: Handle,
    pub(crate) trust: Trust,
    /// Told to clients with every answer.
    pub(crate) cluster_uuid: Uuid,
}

/// What every handler sees.
#[derive(Debug)]
struct Services {
    catalog: Arc<Catalog>,
    ingest: Option<Ingest>,
    engine: Option<sql::Engine>,
    flight: Option<Flight>,
    operator: Arc<sql::Operator>,
    views: Option<Arc<Views>>,
    member: Member,
    forwarder: Forwarder,
    registry: Registry,
    readiness: Arc<Readiness>,
    datafusion: Handle,
    cluster_uuid: Uuid,
    process_id: Uuid,
    auth: Auth,
    admission: Admission,
    meter: Meter,
    needs: gate::NeedsByRoute,
}

/// One method on one path.
struct Route {
    method: Method,
    path: &'static str,
    needs: Needs,
    /// Served by nodes with this mode; `None` by every node.
    mode: Option<Mode>,
    handler: MethodRouter<Arc<Services>>,
}

impl Route {
    fn by(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// What answers on this node.
    fn handler(self, forwarder: &Forwarder) -> MethodRouter<Arc<Services>> {
        let Some(mode) = self.mode.filter(|mode| !forwarder.serves(*mode)) else { return self.handler };
        let method = MethodFilter::try_from(self.method).expect("every route has a method of HTTP");
        routing::on(method, move |State(services): State<Arc<Services>>, request: Request| {
            forward::forward(services, mode, request)
        })
    }
}

/// The whole HTTP API. Register it once for each `Registry`.
pub(crate) fn router(parts: Parts, config: &HttpConfig) -> Router {
    let Parts { catalog, ingest, engine, operator, views, member, modes, cluster, .. } = parts;
    let Parts { registry, readiness, datafusion, trust, cluster_uuid, .. } = parts;
    memory::register(&registry);
    let routes = routes();
    let origin =
        forward::Origin { how: config.forward, modes, cluster, catalog: Arc::clone(&catalog), member: member.clone() };
    let flight = engine
        .clone()
        .zip(views.clone())
        .map(|(engine, views)| Flight::new(flight::Parts { engine, views, datafusion: datafusion.clone() }));
    let services = Arc::new(Services {
        auth: Auth::new(config.auth.clone(), Arc::clone(&catalog)),
        admission: Admission::new(config.request_bytes_max, config.in_flight_bytes_max),
        forwarder: Forwarder::new(origin, &trust, &registry),
        meter: Meter::new(&registry),
        needs: routes.iter().map(|route| ((route.method.clone(), route.path), route.needs)).collect(),
        process_id: Uuid::new_v4(),
        catalog,
        ingest,
        engine,
        flight,
        operator,
        views,
        member,
        registry,
        readiness,
        datafusion,
        cluster_uuid,
    });
    let add = |router: Router<_>, route: Route| router.route(route.path, route.handler(&services.forwarder));
    let router = routes.into_iter().fold(Router::new(), add);
    router
        .fallback(errors::not_found)
        .method_not_allowed_fallback(errors::not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(&services), gate::pass))
        .with_state(services)
}

fn routes() -> Vec<Route> {
    use routing::{delete, get, post, put};
    let system = Needs::System;
    let route = |method, path, needs, handler| Route { method, path, needs, mode: None, handler };
    let calls = flight::PATHS.map(|path| route(Method::POST, path, Needs::Token, post(rpc::call)).by(Mode::Query));
    let requests = vec![
        route(Method::GET, "/health", system(OpenEndpoint::Health), get(health::health)),
        route(Method::GET, "/api/v1/health", system(OpenEndpoint::Health), get(health::health)),
        route(Method::GET, "/ping", system(OpenEndpoint::Ping), get(health::ping)),
        route(Method::POST, "/ping", system(OpenEndpoint::Ping), post(health::ping)),
        route(Method::GET, "/ready", system(OpenEndpoint::Ready), get(health::ready)),
        route(Method::GET, "/metrics", system(OpenEndpoint::Metrics), get(health::metrics)),
        route(Method::POST, "/api/v3/write_lp", Needs::Token, post(write::v3)).by(Mode::Ingest),
        route(Method::POST, "/api/v2/write", Needs::Token, post(write::v2)).by(Mode::Ingest),
        route(Method::POST, "/write", Needs::Token, post(write::v1)).by(Mode::Ingest),
        route(Method::GET, "/api/v3/query_sql", Needs::Token, get(query::get)).by(Mode::Query),
        route(Method::POST, "/api/v3/query_sql", Needs::Token, post(query::post)).by(Mode::Query),
        route(Method::GET, system::PATH, Needs::Token, get(system::get)),
        route(Method::POST, system::CANCEL_PATH, Needs::Token, post(system::cancel)),
        route(Method::POST, system::FOLLOW_PATH, Needs::Token, post(system::follow)),
        route(Method::POST, order::PATH, Needs::Admin, post(order::obey)),
        route(Method::GET, database::PATH, Needs::Token, get(database::list)),
        route(Method::POST, database::PATH, Needs::Admin, post(database::create)),
        route(Method::PUT, database::PATH, Needs::Admin, put(database::update)),
        route(Method::DELETE, database::PATH, Needs::Admin, delete(database::drop)),
        route(Method::POST, database::RETENTION_PATH, Needs::Admin, post(database::set_retention)),
        route(Method::DELETE, database::RETENTION_PATH, Needs::Admin, delete(database::clear_retention)),
        route(Method::POST, table::PATH, Needs::Admin, post(table::create)),
        route(Method::PUT, table::PATH, Needs::Admin, put(table::update)),
        route(Method::DELETE, table::PATH, Needs::Admin, delete(table::drop)),
        route(Method::POST, table::RETENTION_PATH, Needs::Admin, post(table::set_retention)),
        route(Method::DELETE, table::RETENTION_PATH, Needs::Admin, delete(table::clear_retention)),
        route(Method::POST, cache::LAST_PATH, Needs::Admin, post(cache::create_last)),
        route(Method::DELETE, cache::LAST_PATH, Needs::Admin, delete(cache::drop_last)),
        route(Method::POST, cache::DISTINCT_PATH, Needs::Admin, post(cache::create_distinct)),
        route(Method::DELETE, cache::DISTINCT_PATH, Needs::Admin, delete(cache::drop_distinct)),
        route(Method::POST, token::OPERATOR_PATH, Needs::Nothing, post(token::create_operator)),
        route(Method::POST, token::ENTERPRISE_OPERATOR_PATH, Needs::Nothing, post(token::create_operator)),
        route(Method::POST, token::REGENERATE_PATH, Needs::Admin, post(token::regenerate)),
        route(Method::POST, token::NAMED_PATH, Needs::Admin, post(token::create_named)),
        route(Method::POST, token::RESOURCE_PATH, Needs::Admin, post(token::create_resource)),
        route(Method::DELETE, token::PATH, Needs::Admin, delete(token::drop)),
        route(Method::GET, node::PATH, Needs::Admin, get(node::show)),
        route(Method::POST, node::STOP_PATH, Needs::Admin, post(node::stop)),
        route(Method::POST, node::REMOVE_PATH, Needs::Admin, post(node::remove)),
    ];
    requests.into_iter().chain(calls).collect()
}
