//! What makes a query one of a Postgres client: its catalogs, its functions, its names of columns.
//!
//! # Promises
//! - Users' tables are in schema `public`, and can be named in `iox` too; system tables are in `system`. A name without
//!   schema is looked for along the `search_path`, then in `pg_catalog`.
//! - The catalogs show only what the asker may read, as of the same moment as the rows of the query.
//! - Numbers of tables come from the catalog of the cluster, and those of everything else from names, so they are equal on
//!   all nodes and after every restart.
//! - Columns without a name are called as Postgres calls them (`count`, `?column?`), and several may have one name.
//! - Times are `timestamptz`, which has microseconds. `CAST(time AS BIGINT)` is the exact nanosecond; a text without a
//!   zone is a time in UTC, and may have nine digits.
//!
//! # Not here
//! - The protocol, and statements that are about the session rather than about rows (`SET`, `BEGIN`, `DECLARE`).
//!
//! # Why
//! `datafusion-pg-catalog` and the engine feature of `arrow-pg` turn on all default features of the query engine, the
//! first counts its object identifiers up from the start of the process, walks every database at each read, and shows them
//! all; so the catalogs are ours. Functions that Postgres has and the engine has not are rewritten into expressions, in
//! which what is known of the session is a constant.

mod catalog;
mod dialect;
mod information;
mod macros;
mod relations;
mod rewrite;
mod schema;
mod spec;
mod subqueries;
mod types;

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::sql::sqlparser::ast::Statement;

use crate::system::World;
pub(crate) use dialect::ClientDialect;
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
}

/// Marks a column whose name another one has already: the query engine wants names to differ.
const TWIN: char = '\u{1}';

/// Puts what the engine has in the place of what only Postgres has.
pub(crate) fn rewrite(statement: &mut Statement, world: &World, session: &PgSession) -> Result<()> {
    rewrite::Rewriter::new(world, session).rewrite(statement)
}

/// The columns as clients are shown them.
pub(crate) fn shown(schema: &SchemaRef) -> SchemaRef {
    if !schema.fields().iter().any(|field| field.name().ends_with(TWIN)) {
        return Arc::clone(schema);
    }
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_name(f.name().trim_end_matches(TWIN)));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
