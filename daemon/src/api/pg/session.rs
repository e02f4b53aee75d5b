//! One connection after its login: statements one after the other, and what they leave behind.
//!
//! # Promises
//! - What a session keeps is bounded: statements, portals, savepoints, their names, texts, values and columns, what its
//!   client sends ahead, and what waits to be sent.
//! - Whether the token still grants reading is asked anew for every statement but those about the session alone, and
//!   whenever more rows of one are asked.
//! - Everything that takes time ends when the client hangs up, when it is cancelled, or when its time is over; between
//!   two statements and two messages others get their turn.
//! - A client that is silent within a transaction for longer than it set itself is sent away.
//!
//! # Why
//! A client that has closed its half of the connection is taken for gone: one that was ended by force looks the same,
//! and what it asked would run on for nobody.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sql::{Param, PgSession, Query};
use storage::bucket::Secret;
use storage::catalog::Access;
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Services;
use super::backends::Backend;
use super::command::Command;
use super::errors::{Refusal, Severity, cancelled, stopping};
use super::lex;
use super::portal::{Portal, Prepared};
use super::rows::PATIENCE;
use super::settings::Settings;
use super::transactions::Savepoint;
use super::wire::{Malformed, Message, Outbox, ReadError, Reader};
use crate::api::http::Ends;

/// Prepared statements, and portals, of one session.
const KEPT_MAX: usize = 1000;
/// All they hold, and the savepoints.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// The longest text that is looked at; it may hold several statements.
const TEXT_BYTES_MAX: usize = 2 << 20;

/// Who is logged in.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) database: String,
    pub(super) token: Option<Secret>,
    pub(super) access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    Idle,
    Open,
    /// A statement of it failed: it can only be rolled back.
    Failed,
}

/// Why a statement, or the session, goes no further.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    /// The session ends with this.
    Fatal(Refusal),
    /// There is nobody to tell.
    Gone,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(_) => Self::Gone,
            // Where the next message begins is not known any more, or what it means for those after it.
            other => Self::Fatal(Refusal::new("08P01", other.to_string())),
        }
    }
}

pub(super) struct Session {
    pub(super) reader: Reader,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// Rows on their way, before all that is in `out`.
    pub(super) piece: Bytes,
    pub(super) out: Outbox,
    pub(super) login: Login,
    /// Shared with those of savepoints, as long as they are the same.
    pub(super) settings: Arc<Settings>,
    /// The settings before the transaction; one that nobody began has some when it sets.
    pub(super) before: Option<Arc<Settings>>,
    pub(super) transaction: Transaction,
    pub(super) savepoints: Vec<Savepoint>,
    pub(super) statements: BTreeMap<String, Prepared>,
    pub(super) portals: BTreeMap<String, Portal>,
    pub(super) backend: Backend,
    pub(super) services: Arc<Services>,
    pub(super) ends: Ends,
    _permit: OwnedSemaphorePermit,
    /// What the client was told of settings.
    pub(super) reported: BTreeMap<&'static str, String>,
    pub(super) has_told_of_cut: bool,
    /// Ends what the message under way asked for.
    cancel: CancellationToken,
    /// After an error nothing is done until the client says Sync.
    skipping: bool,
}

/// What the statement under way stops for.
#[derive(Debug, Clone)]
pub(super) struct Running {
    cancel: CancellationToken,
    deadline: Option<Instant>,
}

impl Running {
    /// Waits until the statement is to stop, and says why.
    pub(super) async fn stopped(&self) -> Refusal {
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // Both are only waits.
            () = self.cancel.cancelled() => cancelled(),
            () = late => Refusal::new("57014", "canceling statement due to statement timeout"),
        }
    }
}

/// Where a session is served, and what it may hold there.
pub(super) struct Place {
    pub(super) backend: Backend,
    pub(super) services: Arc<Services>,
    pub(super) ends: Ends,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Session {
    pub(super) fn new(
        reader: Reader,
        writer: Box<dyn AsyncWrite + Send + Unpin>,
        (login, settings): (Login, Settings),
        place: Place,
    ) -> Self {
        let Place { backend, services, ends, permit } = place;
        let cancel = backend.switch.begin();
        Self {
            reader,
            writer,
            piece: Bytes::new(),
            out: Outbox::default(),
            login,
            settings: Arc::new(settings),
            before: None,
            transaction: Transaction::Idle,
            savepoints: Vec::new(),
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            backend,
            services,
            ends,
            _permit: permit,
            reported: BTreeMap::new(),
            has_told_of_cut: false,
            cancel,
            skipping: false,
        }
    }

    /// Serves until either side ends it; says how it ended.
    pub(super) async fn run(mut self) -> &'static str {
        self.out.int(b'R', 0);
        self.report();
        let (number, secret) = (self.backend.number, self.backend.secret);
        self.out.message(b'K', |body| {
            body.extend_from_slice(&number.to_be_bytes());
            body.extend_from_slice(&secret.to_be_bytes());
        });
        self.ready();
        match self.serve().await {
            Ok(()) => "closed",
            Err(Failure::Gone | Failure::Refused(_)) => "aborted",
            Err(Failure::Fatal(refusal)) => {
                refusal.write_to(&mut self.out, Severity::Fatal);
                self.send_last().await;
                if refusal.code == stopping().code { "stopped" } else { "failed" }
            }
        }
    }

    async fn serve(&mut self) -> Result<(), Failure> {
        self.flush(None).await?;
        loop {
            let (finish, idle) = (self.ends.finish.clone(), self.idle_limit());
            let message = tokio::select! {
                biased;
                // What was read of a message stays in the buffer, which nobody reads again.
                () = finish.cancelled() => return Err(Failure::Fatal(stopping())),
                () = wait(idle) => return Err(Failure::Fatal(idle_too_long())),
                message = self.reader.message(usize::MAX) => message?,
            };
            match message {
                None | Some(Message::Terminate) => return Ok(()),
                Some(message) => self.answer(message).await?,
            }
            // Messages that came together are no reason to keep a thread, or their answers.
            self.drain(None).await?;
            tokio::task::yield_now().await;
        }
    }

    fn idle_limit(&self) -> Option<Duration> {
        self.settings.idle_timeout().filter(|_| self.transaction != Transaction::Idle)
    }

    async fn answer(&mut self, message: Message) -> Result<(), Failure> {
        self.cancel = self.backend.switch.begin();
        match message {
            Message::Sync => {
                self.skipping = false;
                self.end_implicit_transaction();
                self.ready();
                self.flush(None).await
            }
            _ if self.skipping => Ok(()),
            Message::Query(text) => {
                let result = self.simple(&text).await;
                self.end_simple(result).await
            }
            Message::Unreadable(b'Q', error) => self.end_simple(Err(unreadable(error).into())).await,
            Message::Flush => self.flush(None).await,
            Message::Copy => Ok(()),
            other => match self.extended(other).await {
                Err(Failure::Refused(refusal)) => {
                    self.fail(&refusal);
                    self.skipping = true;
                    // Some clients say Sync only once they have seen the error.
                    self.flush(None).await
                }
                result => result,
            },
        }
    }

    async fn end_simple(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        match result {
            Ok(()) => {}
            Err(Failure::Refused(refusal)) => self.fail(&refusal),
            Err(failure) => return Err(failure),
        }
        self.end_implicit_transaction();
        self.ready();
        self.flush(None).await
    }

    /// Statements that come as one text; the first that fails is the last.
    async fn simple(&mut self, text: &str) -> Result<(), Failure> {
        check_text(text)?;
        let mut is_empty = true;
        for text in lex::statements(text) {
            is_empty = false;
            let begun = Instant::now();
            let running = self.begin_running();
            let command = Command::parse(text);
            let word = command.as_ref().map_or("other", Command::word);
            let result = match command {
                Ok(command) => self.perform_simply(command, &running).await,
                Err(refusal) => Err(refusal.into()),
            };
            let status = if result.is_ok() { "ok" } else { "error" };
            self.services.meter.statement(word, begun, status);
            result?;
            // Its time counts no more, a request to cancel does.
            let between = Running { deadline: None, ..running };
            self.drain(Some(&between)).await?;
            let turn = async {
                tokio::task::yield_now().await;
                Ok(())
            };
            self.watched(&between, turn).await?;
        }
        if is_empty {
            self.out.empty(b'I');
        }
        Ok(())
    }

    pub(super) fn begin_running(&self) -> Running {
        let deadline = self.settings.statement_timeout().map(|duration| Instant::now() + duration);
        Running { cancel: self.cancel.clone(), deadline }
    }

    fn fail(&mut self, refusal: &Refusal) {
        refusal.write_to(&mut self.out, Severity::Error);
        match self.transaction {
            Transaction::Open => self.transaction = Transaction::Failed,
            // What the statements before it did is undone with it.
            Transaction::Idle => self.undo(),
            Transaction::Failed => {}
        }
    }

    /// Waits for `work` unless the statement is to stop.
    pub(super) async fn watched<T>(
        &mut self,
        running: &Running,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            // Dropping `work` cancels the query; the others are only waits.
            refusal = running.stopped() => Err(refusal.into()),
            () = self.ends.close.cancelled() => Err(Failure::Fatal(stopping())),
            result = work => Ok(result?),
            () = self.reader.gone() => Err(Failure::Gone),
        }
    }

    /// Asks anew what the token grants.
    pub(super) async fn ask_access(&mut self, running: &Running) -> Result<(), Failure> {
        let (services, token) = (Arc::clone(&self.services), self.login.token.clone());
        let ask = async move { Ok(services.auth.access(token.as_ref().map(Secret::reveal)).await) };
        let access = self.watched(running, ask).await?;
        let ended = |_| Failure::Fatal(Refusal::new("28000", "the token of this session is not valid any more"));
        self.login.access = access.map_err(ended)?;
        Ok(())
    }

    /// Fails when what is open already must not be read any more.
    pub(super) async fn check_access(&mut self, running: &Running) -> Result<(), Failure> {
        self.ask_access(running).await?;
        let checked = self.services.runner.engine.check(&self.login.database, &self.login.access);
        Ok(checked.map_err(Refusal::from)?)
    }

    /// A query of this session as of now.
    pub(super) async fn query(
        &mut self,
        (text, params): (&str, Vec<Param>),
        running: &Running,
    ) -> Result<Query, Failure> {
        self.ask_access(running).await?;
        self.backend.asks(text, self.settings.get("application_name").unwrap_or_default());
        let name = |(number, param): (usize, Param)| (number.to_string(), param);
        Ok(Query {
            text: text.to_owned(),
            database: self.login.database.clone(),
            params: (1..).zip(params).map(name).collect(),
            access: self.login.access.clone(),
            token: self.login.token.clone(),
            door: "pg",
            postgres: Some(Arc::new(self.as_seen())),
            timeout: None,
            // Whoever encodes the rows is the one to lose patience, and to say so.
            patience: Some(2 * PATIENCE),
        })
    }

    fn as_seen(&self) -> PgSession {
        PgSession {
            user: self.login.user.clone(),
            database: self.login.database.clone(),
            application_name: self.settings.get("application_name").unwrap_or_default().to_owned(),
            backend: self.backend.number,
            search_path: self.settings.search_path(),
            settings: self.settings.all().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            activity: Some(Arc::clone(&self.services.backends) as _),
        }
    }

    /// Fails when one more thing of so many bytes is more than a session may keep.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), Refusal> {
        if self.statements.len().max(self.portals.len()) < KEPT_MAX {
            return self.check_bytes(bytes);
        }
        Err(Refusal::new("53400", format!("a session keeps at most {KEPT_MAX} statements, and as many portals")))
    }

    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), Refusal> {
        let kept = self.statements.values().map(|s| s.bytes).sum::<usize>()
            + self.portals.values().map(|p| p.bytes).sum::<usize>()
            + self.savepoints.iter().map(|s| s.bytes).sum::<usize>();
        if kept + bytes <= KEPT_BYTES_MAX {
            return Ok(());
        }
        let message = format!("a session keeps at most {KEPT_BYTES_MAX} bytes of statements, portals and savepoints");
        Err(Refusal::new("53400", message))
    }
}

async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn idle_too_long() -> Refusal {
    Refusal::new("25P03", "terminating connection due to idle-in-transaction timeout")
}

pub(super) fn unreadable(error: Malformed) -> Refusal {
    let code = if error == Malformed::Text { "22021" } else { "08P01" };
    Refusal::new(code, error.to_string())
}

/// Fails before anything is made of a text that is too long.
pub(super) fn check_text(text: &str) -> Result<(), Refusal> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a text of {} bytes; at most {TEXT_BYTES_MAX} are taken", text.len());
    Err(Refusal::new("54000", message))
}
