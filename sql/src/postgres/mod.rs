//! What makes a query one of a Postgres client: its catalogs, its functions, its names of columns.
//!
//! # Promises
//! - Users' tables are in schema `public`, and can be named in `iox` too; system tables are in `system`. A name without
//!   schema is looked for in each schema of the `search_path`, and before in `pg_catalog` unless the path says where that
//!   is, as in Postgres: nobody's table stands in the way of what clients ask the catalogs. Such a table is `public.name`.
//! - The catalogs show only what the asker may read, as of the same moment as the rows of the query.
//! - Numbers of tables come from the catalog of the cluster, and those of everything else from names, so they are equal on
//!   all nodes and after every restart.
//! - Columns without a name are called as Postgres calls them (`count`, `?column?`), and several may have one name.
//! - Times are `timestamptz`, which has microseconds. `CAST(time AS BIGINT)` is the exact nanosecond, and so is
//!   `epoch_ns(time)`; a text without a zone is a time in UTC, and may have nine digits. What `AT TIME ZONE` makes of a
//!   time is a `timestamp`, and of a `timestamp` a time.
//! - A text that is compared with a number or a list is one. A sub-query that gives several values for one row is refused.
//! - What a statement's calls become when they are written out is bounded.
//! - What cannot be done as Postgres does it is refused: `set_config` inside of a query, `pg_cancel_backend` and
//!   `pg_terminate_backend` where they would be called for rows that are left out later, arguments a function does not take, `FILTER`, `OVER` and `DISTINCT` where they would be lost.
//!
//! # Not here
//! - The protocol, and statements that are about the session rather than about rows (`SET`, `BEGIN`, `DECLARE`).
//!
//! # Why
//! `datafusion-pg-catalog` and the engine feature of `arrow-pg` turn on all default features of the query engine, the
//! first counts its object identifiers up from the start of the process, walks every database at each read, and shows them
//! all; so the catalogs are ours. Functions that Postgres has and the engine has not are rewritten into expressions, or
//! answered from what the statement knows. Tables of the catalogs that are always empty are real tables; what is always
//! empty is taken out of the plan, in which each name has its meaning already.

mod activity;
mod arrays;
mod calls;
mod casts;
mod catalog;
mod columns;
mod dialect;
mod directory;
mod emptiness;
mod functions;
mod information;
mod json;
mod lists;
mod macros;
mod membership;
mod planner;
mod relations;
mod rewrite;
mod schema;
mod single;
mod sorting;
mod sources;
mod spec;
mod types;
mod zones;

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::Statement;

pub use activity::{Active, Activity};
pub use arrays::{ARRAY_ITEMS_MAX, ArrayError, array_items};
pub(crate) use calls::check_calls;
pub(crate) use dialect::ClientDialect;
pub(crate) use directory::Directory;
pub(crate) use emptiness::settled;
pub(crate) use schema::{CatalogTables, Visible};
pub use types::{PgType, Scalar};

/// The version that clients are told: some read it as a number, and choose what they ask by it.
pub const SERVER_VERSION: &str = "15.13";

/// Who asks, as the session knows it.
#[derive(Debug, Clone, Default)]
pub struct PgSession {
    pub user: String,
    pub database: String,
    pub application_name: String,
    /// The number of the session.
    pub backend: i32,
    /// Where names without schema are looked for; what does not exist is passed over.
    pub search_path: Vec<String>,
    /// Names and values of all settings.
    pub settings: Vec<(String, String)>,
    /// All sessions of the node.
    pub activity: Option<Arc<dyn Activity>>,
}

/// Stands between the name of a column that another one has already and its number: the query engine wants names to
/// differ.
const TWIN: char = '\u{1}';

/// Puts what the engine has in the place of what only Postgres has.
pub(crate) fn rewrite(statement: &mut Statement, known: &Directory) -> Result<()> {
    rewrite::Rewriter::new(known).rewrite(statement)
}

/// Gives a session what statements are rewritten to.
pub(crate) fn with_functions(mut builder: SessionStateBuilder, known: &Arc<Directory>) -> SessionStateBuilder {
    let functions = builder.scalar_functions().get_or_insert_default();
    functions.extend(functions::of(known));
    functions.extend(zones::functions());
    functions.push(Arc::new(ScalarUDF::from(functions::ListOrEmpty::new())));
    functions.push(Arc::new(ScalarUDF::from(json::JsonObject::new())));
    builder.expr_planners().get_or_insert_default().insert(0, Arc::new(planner::Literals));
    builder
}

/// The columns as clients are shown them.
pub(crate) fn shown(schema: &SchemaRef) -> SchemaRef {
    if !schema.fields().iter().any(|field| field.name().contains(TWIN)) {
        return Arc::clone(schema);
    }
    let plain = |name: &str| name.rfind(TWIN).map_or_else(|| name.to_owned(), |end| name[..end].to_owned());
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_name(plain(f.name())));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
