//! The sessions of this node's Postgres clients: what `pg_stat_activity` shows, and what `pg_cancel_backend` ends.
//!
//! # Promises
//! - Who asks sees the sessions of its own token, and ends what they do; an admin, those of all.
//! - A session that is not there, or not to be seen, is `false` and no error, as one that has just ended is in Postgres.

use std::fmt::Debug;

use storage::catalog::{Access, TokenId};

use super::directory::Directory;
use super::relations::database_oid;
use super::spec::{Cell, Row};

/// The sessions, known by whoever serves them.
pub trait Activity: Debug + Send + Sync {
    fn sessions(&self) -> Vec<Active>;
    /// The one of this number.
    fn session(&self, backend: i32) -> Option<Active>;
    /// Cancels what a session does.
    fn cancel(&self, backend: i32);
    /// Ends a session, and what it does.
    fn terminate(&self, backend: i32);
}

/// One session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Active {
    pub backend: i32,
    pub token: Option<TokenId>,
    pub user: String,
    pub database: String,
    pub application_name: String,
    /// Nanoseconds since 1970.
    pub began_ns: i64,
    /// The newest query, and when it came.
    pub query: Option<(String, i64)>,
    pub is_active: bool,
}

impl Active {
    fn is_shown_to(&self, access: &Access) -> bool {
        access.is_admin() || access.token.is_some() && self.token == access.token
    }
}

fn shown(known: &Directory) -> Vec<Active> {
    let all = known.session.activity.as_ref().map(|activity| activity.sessions()).unwrap_or_default();
    all.into_iter().filter(|active| active.is_shown_to(&known.world.access)).collect()
}

/// Has one session end what it does, or itself; whether there is one.
pub(super) fn end(known: &Directory, backend: i64, how: fn(&dyn Activity, i32)) -> Cell {
    let found = known.session.activity.as_ref().zip(i32::try_from(backend).ok()).filter(|(activity, backend)| {
        activity.session(*backend).is_some_and(|active| active.is_shown_to(&known.world.access))
    });
    found.iter().for_each(|(activity, backend)| how(&***activity, *backend));
    Cell::Bool(found.is_some())
}

pub(super) fn rows(known: &Directory) -> Vec<Row> {
    let instant = |ns: i64| Cell::Int(ns.div_euclid(1_000));
    let row = |active: Active| {
        let database =
            known.world.state.database(&active.database).map_or(Cell::Null, |d| Cell::Int(database_oid(d.id)));
        let (text, since) = active.query.unzip();
        vec![
            ("datid", database),
            ("datname", active.database.into()),
            ("pid", Cell::Int(active.backend.into())),
            ("usename", active.user.into()),
            ("application_name", active.application_name.into()),
            ("backend_start", instant(active.began_ns)),
            ("query_start", since.map_or(Cell::Null, instant)),
            ("state", if active.is_active { "active" } else { "idle" }.into()),
            ("query", text.unwrap_or_default().into()),
        ]
    };
    shown(known).into_iter().map(row).collect()
}
