//! One connection after its login: statements one after the other, and what they leave behind.
//!
//! # Promises
//! - What a session keeps is bounded: statements, portals, their texts, and what its client sends ahead.
//! - Whether the token still grants reading is asked anew for every statement.
//! - Everything that takes time ends when the client hangs up, when it is cancelled, or when its time is over.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use sql::{Param, PgSession, Query};
use storage::bucket::Secret;
use storage::catalog::Access;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::backends::Backend;
use super::command::{Command, Scope};
use super::errors::{Refusal, Severity, cancelled, stopping};
use super::lex;
use super::portal::{Portal, Prepared};
use super::rows::Rows;
use super::settings::Settings;
use super::wire::{Message, Outbox, ReadError, Reader};
use super::{Ends, Services};

/// What is written is sent when there is so much of it.
const OUT_BYTES_MAX: usize = 32 << 10;
/// How long a client may not read before it is taken for gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(600);
/// Prepared statements, and portals, of one session.
const KEPT_MAX: usize = 1000;
/// The texts and values of all of them.
const KEPT_BYTES_MAX: usize = 16 << 20;

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
            // Where the next message begins is not known any more.
            other => Self::Fatal(Refusal::new("08P01", other.to_string())),
        }
    }
}

pub(super) struct Session {
    pub(super) reader: Reader,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) out: Outbox,
    pub(super) login: Login,
    pub(super) settings: Settings,
    /// The settings before the transaction.
    pub(super) before: Option<Settings>,
    pub(super) transaction: Transaction,
    pub(super) savepoints: Vec<String>,
    pub(super) statements: BTreeMap<String, Prepared>,
    pub(super) portals: BTreeMap<String, Portal>,
    pub(super) backend: Backend,
    pub(super) services: Arc<Services>,
    pub(super) ends: Ends,
    _permit: OwnedSemaphorePermit,
    /// What the client was told of settings.
    reported: BTreeMap<&'static str, String>,
    has_told_of_cut: bool,
    /// After an error nothing is done until the client says Sync.
    skipping: bool,
}

/// What the statement under way stops for.
#[derive(Debug, Clone)]
pub(super) struct Running {
    cancel: CancellationToken,
    deadline: Option<Instant>,
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
        Self {
            reader,
            writer,
            out: Outbox::default(),
            login,
            settings,
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
                // Whoever does not read any more misses nothing.
                let _ = timeout(Duration::from_secs(1), self.flush()).await;
                if refusal.code == stopping().code { "stopped" } else { "failed" }
            }
        }
    }

    async fn serve(&mut self) -> Result<(), Failure> {
        self.flush().await?;
        loop {
            let finish = self.ends.finish.clone();
            let message = tokio::select! {
                biased;
                // What was read of a message stays in the buffer, which nobody reads again.
                () = finish.cancelled() => return Err(Failure::Fatal(stopping())),
                message = self.reader.message(usize::MAX) => message?,
            };
            match message {
                None | Some(Message::Terminate) => return Ok(()),
                Some(message) => self.answer(message).await?,
            }
        }
    }

    async fn answer(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Sync => {
                self.skipping = false;
                self.end_implicit_transaction();
                self.ready();
                self.flush().await
            }
            Message::Query(text) => {
                self.skipping = false;
                self.simple(&text).await?;
                self.end_implicit_transaction();
                self.ready();
                self.flush().await
            }
            _ if self.skipping => Ok(()),
            Message::Flush => self.flush().await,
            Message::Copy => Ok(()),
            other => match self.extended(other).await {
                Err(Failure::Refused(refusal)) => {
                    self.fail(&refusal);
                    self.skipping = true;
                    Ok(())
                }
                result => result,
            },
        }
    }

    /// Statements that come as one text; the first that fails is the last.
    async fn simple(&mut self, text: &str) -> Result<(), Failure> {
        let statements = lex::statements(text);
        if statements.is_empty() {
            self.out.empty(b'I');
        }
        for (tokens, text) in statements {
            let begun = Instant::now();
            let running = self.begin_running();
            let command = Command::parse(&tokens, text);
            let word = command.as_ref().map_or("other", Command::word);
            let result = match command {
                Ok(command) => self.perform_simply(command, &running).await,
                Err(refusal) => Err(refusal.into()),
            };
            let status = if result.is_ok() { "ok" } else { "error" };
            self.services.meter.statement(word, begun, status);
            match result {
                Ok(()) => {}
                Err(Failure::Refused(refusal)) => {
                    self.fail(&refusal);
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    pub(super) fn begin_running(&self) -> Running {
        let deadline = self.settings.statement_timeout().map(|duration| Instant::now() + duration);
        Running { cancel: self.backend.switch.begin(), deadline }
    }

    fn fail(&mut self, refusal: &Refusal) {
        refusal.write_to(&mut self.out, Severity::Error);
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
    }

    /// Without BEGIN a transaction ends with the statements that came together.
    fn end_implicit_transaction(&mut self) {
        if self.transaction == Transaction::Idle {
            self.settings.end_transaction();
            self.portals.retain(|_, portal| portal.life == Scope::Session);
            self.report();
        }
    }

    fn ready(&mut self) {
        let state = match self.transaction {
            Transaction::Idle => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        };
        self.out.message(b'Z', |body| body.extend_from_slice(&[state]));
    }

    /// Tells of settings that are not what the client was told.
    pub(super) fn report(&mut self) {
        let now = self.settings.reported();
        for (name, value) in now.iter().filter(|(name, value)| self.reported.get(*name) != Some(value)) {
            self.out.texts(b'S', &[name, value]);
        }
        self.reported = now;
    }

    pub(super) fn notice(&mut self, code: &'static str, message: &str) {
        Refusal::new(code, message).write_to(&mut self.out, Severity::Notice);
    }

    /// A session is told once that its times have more digits than it is shown.
    pub(super) fn tell_of_cut(&mut self, rows: &Rows) {
        if rows.cut.happened() && !self.has_told_of_cut {
            self.has_told_of_cut = true;
            self.notice("01004", "times were cut to microseconds; CAST(time AS BIGINT) is the exact nanosecond");
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        if self.out.0.is_empty() {
            return Ok(());
        }
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let close = self.ends.close.clone();
        tokio::select! {
            biased;
            // What was sent of a message by then is of no use to anybody.
            () = close.cancelled() => return Err(Failure::Gone),
            written = timeout(WRITE_TIMEOUT, self.writer.write_all(&self.out.0)) => written.map_err(late)??,
        }
        self.out.0.clear();
        if self.out.0.capacity() > 4 * OUT_BYTES_MAX {
            self.out.0 = BytesMut::new();
        }
        Ok(())
    }

    /// Waits for `work` unless the statement is to stop.
    pub(super) async fn watched<T>(
        &mut self,
        running: &Running,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Failure> {
        let late = async {
            match running.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // Dropping `work` cancels the query; the others are only waits.
            () = running.cancel.cancelled() => Err(cancelled().into()),
            () = late => Err(Refusal::new("57014", "canceling statement due to statement timeout").into()),
            () = self.ends.close.cancelled() => Err(Failure::Fatal(stopping())),
            result = work => Ok(result?),
            () = self.reader.gone() => Err(Failure::Gone),
        }
    }

    /// Sends rows, at most `rows_max`, and says how many; fewer means that there are no more.
    pub(super) async fn stream(
        &mut self,
        rows: &mut Rows,
        rows_max: usize,
        running: &Running,
    ) -> Result<usize, Failure> {
        let mut sent = 0;
        while sent < rows_max {
            let Some(chunk) = self.watched(running, rows.next(rows_max - sent)).await? else { break };
            sent += chunk.rows;
            self.out.0.extend_from_slice(&chunk.bytes);
            if self.out.0.len() > OUT_BYTES_MAX {
                self.flush().await?;
            }
        }
        self.tell_of_cut(rows);
        Ok(sent)
    }

    /// A query of this session as of now.
    pub(super) async fn query(&mut self, text: &str, params: Vec<Param>) -> Result<Query, Failure> {
        let token = self.login.token.as_ref().map(Secret::reveal);
        let access = self.services.auth.access(token).await;
        let ended = |_| Failure::Fatal(Refusal::new("28000", "the token of this session is not valid any more"));
        self.login.access = access.map_err(ended)?;
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
            patience: None,
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
        }
    }

    /// Fails when one more thing of so many bytes is more than a session may keep.
    pub(super) fn check_room(&self, bytes: usize) -> Result<(), Refusal> {
        let count = self.statements.len().max(self.portals.len());
        let kept = self.statements.values().map(|s| s.bytes).sum::<usize>()
            + self.portals.values().map(|p| p.bytes).sum::<usize>();
        if count < KEPT_MAX && kept + bytes <= KEPT_BYTES_MAX {
            return Ok(());
        }
        let message = format!("a session keeps at most {KEPT_MAX} statements and portals of {KEPT_BYTES_MAX} bytes");
        Err(Refusal::new("53400", message))
    }
}
