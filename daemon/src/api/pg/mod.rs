//! SQL for Postgres clients, on a port of its own.
//!
//! # Promises
//! - One session for each connection: its settings, prepared statements, cursors and transaction are nobody else's. The
//!   user is free text; the password is a token, as over HTTP; the database is the database.
//! - The simple and the extended protocol, in text and in binary. Rows are streamed; a client that reads slowly slows its
//!   query down, one that goes away or asks to cancel ends it. A client that takes nothing for ten minutes is told so.
//! - With a certificate, TLS for whoever asks for it. Outside it a password is asked for on this machine alone; who forwards
//!   the port to another machine counts as here.
//! - Transactions read, and are in the state clients expect; each statement sees the rows of its own moment.
//! - A time is a `timestamptz` and has microseconds. The first answer of a session whose times lost nanoseconds comes with
//!   a notice that says so and how to ask for the exact ones.
//! - Errors have the codes of Postgres (`errors`). A stop of the node ends idle sessions with 57P01, lets statements that
//!   run end, and cuts off those that do not end in time, with 57P01 too.
//! - Connections, the bytes before a login, its time, and what a session keeps are bounded. Peers that are not logged in
//!   have room of their own, the longest silent one goes first, and none takes the place of a session.
//! - A cursor that waits for its client, or a client that does not read, keeps nobody else waiting, neither at this door
//!   nor at another, nor a login: it gives back its permit to run. There are at most so many, of a session and of the
//!   node (`sleepers`).
//!
//! # Not here
//! - What a query means to a Postgres client (catalogs, functions, names): `sql::postgres`.
//!
//! # Why
//! The protocol is put together and taken apart here, and not by `pgwire`, `arrow-pg` and `datafusion-pg-catalog`:
//! - The decoders of `pgwire` (0.41, and 0.42 the same) read bodies that are too short with calls that panic, from the
//!   buffer of the whole connection: a short message eats the one behind it. Names that are not UTF-8 become others.
//! - Its server keeps the whole answer of an extended query in memory, and forgets the request to cancel before the rows
//!   come.
//! - Its encoders alone would save a hundred lines, cost five dependencies, and leave the rows to be written here: it
//!   allocates for each.
//! - `datafusion-pg-catalog` turns on all features of the query engine, and numbers tables by a counter that begins anew
//!   with each start; clients keep such numbers. The encoder of `arrow-pg` says `timestamp` where clients must read
//!   `timestamptz`, and brings the server of `pgwire` along.
//!
//! The price is paid in tests: sequences of damaged messages, here against the reader and in `tests/system` against a
//! node.

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
mod send;
mod server;
mod session;
mod settings;
mod sleepers;
mod startup;
mod strangers;
mod transactions;
mod values;
mod wire;
mod words;

#[cfg(test)]
mod fuzz;

use std::sync::Arc;

use metrics::Registry;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::auth::Auth;
use backends::Backends;
use meter::Meter;
use rows::Runner;
pub(crate) use server::serve;
use sleepers::Sleepers;
use strangers::Strangers;

/// What sessions are served with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) engine: sql::Engine,
    pub(crate) auth: Auth,
    pub(crate) registry: Registry,
    /// The threads for work that takes longer than a millisecond.
    pub(crate) datafusion: Handle,
}

/// What is offered inside TLS.
pub(crate) const PROTOCOLS: [&[u8]; 1] = [b"postgresql"];

/// Sessions that are open at one time; a further one is refused.
const SESSIONS_MAX: usize = 1000;

/// What every session sees.
struct Services {
    tls: Option<TlsAcceptor>,
    runner: Runner,
    auth: Auth,
    backends: Arc<Backends>,
    meter: Meter,
    /// For sessions.
    room: Arc<Semaphore>,
    strangers: Arc<Strangers>,
    sleepers: Arc<Sleepers>,
}

impl Services {
    fn new(parts: Parts, tls: Option<TlsAcceptor>) -> Self {
        let Parts { engine, auth, registry, datafusion } = parts;
        Self {
            tls,
            runner: Runner { engine, datafusion },
            auth,
            backends: Arc::default(),
            meter: Meter::new(&registry),
            room: Arc::new(Semaphore::new(SESSIONS_MAX)),
            strangers: Arc::default(),
            sleepers: Arc::default(),
        }
    }
}
