//! SQL for Postgres clients, on a port of its own.
//!
//! # Promises
//! - One session for each connection: its settings, prepared statements, cursors and transaction are nobody else's. The
//!   user is free text; the password is a token, as over HTTP; the database is the database.
//! - The simple and the extended protocol, in text and in binary. Rows are streamed; a client that reads slowly slows its
//!   query down, one that goes away or asks to cancel ends it.
//! - Transactions read, and are in the state clients expect; each statement sees the rows of its own moment.
//! - A time is a `timestamptz` and has microseconds. The first answer of a session whose times lost nanoseconds comes with
//!   a notice that says so and how to ask for the exact ones.
//! - Errors have the codes of Postgres (`errors`). A stop of the node ends idle sessions with 57P01, lets statements that
//!   run end, and cuts off those that do not end in time.
//! - Connections, the bytes before a login, its time, and what a session keeps are bounded.
//!
//! # Not here
//! - What a query means to a Postgres client (catalogs, functions, names): `sql::postgres`.
//! - TLS: a password is asked for on this machine alone.

mod backends;
mod columns;
mod command;
mod copy;
mod errors;
mod lex;
mod meter;
mod params;
mod perform;
mod portal;
mod rows;
mod server;
mod session;
mod settings;
mod startup;
mod values;
mod wire;

use std::sync::Arc;

use metrics::Registry;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::auth::Auth;
use backends::Backends;
use meter::Meter;
use rows::Runner;
pub(crate) use server::serve;

/// What sessions are served with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) engine: sql::Engine,
    pub(crate) auth: Auth,
    pub(crate) registry: Registry,
    /// The threads for work that takes longer than a millisecond.
    pub(crate) datafusion: Handle,
}

/// Sessions that are open at one time; a further one is refused.
const SESSIONS_MAX: usize = 1000;

/// What every session sees.
#[derive(Debug)]
struct Services {
    runner: Runner,
    auth: Auth,
    backends: Arc<Backends>,
    meter: Meter,
    room: Arc<Semaphore>,
}

/// How a session ends before its client ends it.
#[derive(Debug, Clone)]
struct Ends {
    /// No further statement is read.
    finish: CancellationToken,
    /// Nothing further at all.
    close: CancellationToken,
}

impl Services {
    fn new(parts: Parts) -> Self {
        let Parts { engine, auth, registry, datafusion } = parts;
        Self {
            runner: Runner { engine, datafusion },
            auth,
            backends: Arc::default(),
            meter: Meter::new(&registry),
            room: Arc::new(Semaphore::new(SESSIONS_MAX)),
        }
    }
}
