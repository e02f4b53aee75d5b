//! Doing what a statement says.

use std::time::Duration;

use sql::{Param, PgType};

use super::command::{Command, Copy, Cursor, Scope, Takes, Value};
use super::copy::CopyWriter;
use super::errors::Refusal;
use super::lex;
use super::params::param;
use super::portal::{Portal, no_portal};
use super::rows::{Form, Rows};
use super::session::{Failure, Running, Session, Transaction};
use super::wire::{ColumnInfo, Format};

/// How long a client may take to fetch more rows of a cursor.
const CURSOR_PATIENCE: Duration = Duration::from_secs(600);

/// Savepoints cost nothing but their names.
const SAVEPOINTS_MAX: usize = 10_000;

/// How the rows of a statement are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The client has to be told the columns first.
    Columns,
    /// It asks for them when it wants.
    Nothing,
}

impl Command {
    /// The label of the statement in metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Query(_) => "query",
            Self::Begin | Self::Commit | Self::Rollback => "transaction",
            Self::Savepoint(_) | Self::Release(_) | Self::RollbackTo(_) => "savepoint",
            Self::Set { .. } | Self::Show(_) | Self::Reset(_) | Self::Discard(_) => "setting",
            Self::Prepare { .. } | Self::ExecutePrepared { .. } | Self::Deallocate(_) => "prepare",
            Self::Declare(_) | Self::Fetch { .. } | Self::Close(_) => "cursor",
            Self::Copy(_) => "copy",
            Self::Nothing(_) => "other",
        }
    }
}

pub(super) fn show_columns(name: &str) -> Vec<ColumnInfo> {
    let text = |name: &str| ColumnInfo { name: name.to_owned(), data_type: PgType::TEXT };
    match name {
        "all" => ["name", "setting", "description"].map(text).to_vec(),
        name => vec![text(name)],
    }
}

/// What the client is told when all rows were sent.
fn tag_of_query(text: &str, rows: usize) -> String {
    let word: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    match word.to_uppercase().as_str() {
        "EXPLAIN" => "EXPLAIN".to_owned(),
        "SHOW" => "SHOW".to_owned(),
        _ => format!("SELECT {rows}"),
    }
}

impl Session {
    /// In a transaction that failed nothing but its end is done.
    pub(super) fn check_transaction(&self) -> Result<(), Refusal> {
        match self.transaction {
            Transaction::Failed => {
                let message = "current transaction is aborted, commands ignored until end of transaction block";
                Err(Refusal::new("25P02", message))
            }
            Transaction::Idle | Transaction::Open => Ok(()),
        }
    }

    /// A statement of the simple protocol: its columns, all its rows, its tag.
    pub(super) async fn perform_simply(&mut self, command: Command, running: &Running) -> Result<(), Failure> {
        let mut portal = Portal {
            command: Some(command),
            params: Vec::new(),
            formats: Vec::new(),
            columns: None,
            rows: None,
            sent: 0,
            is_done: false,
            life: Scope::Transaction,
            bytes: 0,
        };
        self.advance(&mut portal, (usize::MAX, Told::Columns), running).await
    }

    /// More rows of a portal, at most `rows_max`.
    pub(super) async fn run_portal(&mut self, portal: &mut Portal, rows_max: usize) -> Result<(), Failure> {
        let running = self.begin_running();
        self.advance(portal, (rows_max, Told::Nothing), &running).await
    }

    async fn advance(
        &mut self,
        portal: &mut Portal,
        (rows_max, told): (usize, Told),
        running: &Running,
    ) -> Result<(), Failure> {
        let Some(command) = portal.command.clone() else {
            self.out.empty(b'I');
            return Ok(());
        };
        if !matches!(command, Command::Commit | Command::Rollback | Command::RollbackTo(_)) {
            self.check_transaction()?;
        }
        match &command {
            Command::Query(text) => self.advance_query(portal, text, (rows_max, told), running).await,
            Command::ExecutePrepared { name, values } => {
                if portal.rows.is_none() {
                    let prepared = self.statement(name)?.clone();
                    portal.params = literals(values, &prepared.params)?;
                    if !matches!(prepared.command, Some(Command::Query(_))) {
                        return Err(Refusal::unsupported("EXECUTE of this statement").into());
                    }
                    portal.command = prepared.command;
                }
                let Some(Command::Query(text)) = portal.command.clone() else { return Ok(()) };
                self.advance_query(portal, &text, (rows_max, told), running).await
            }
            Command::Copy(copy) => self.copy(copy, std::mem::take(&mut portal.params), running).await,
            Command::Fetch { name, count, takes } => {
                let formats = portal.formats.clone();
                let told = if *takes == Takes::Rows { told } else { Told::Nothing };
                self.fetch((name, formats), (*count, *takes, told), running).await
            }
            Command::Show(name) => self.show(name, told),
            Command::Declare(cursor) => self.declare(cursor, std::mem::take(&mut portal.params)).await,
            Command::Prepare { name, types, text } => self.prepare(name, types, text).await,
            other => {
                let tag = self.perform(other)?;
                self.report();
                self.out.complete(&tag);
                Ok(())
            }
        }
    }

    /// Begins to run what a portal asks, unless it runs.
    async fn start(
        &mut self,
        portal: &mut Portal,
        (text, patience): (&str, Option<Duration>),
        running: &Running,
    ) -> Result<Rows, Failure> {
        if let Some(rows) = portal.rows.take() {
            return Ok(rows);
        }
        let query = self.query(text, portal.params.clone()).await?;
        let query = sql::Query { patience, ..query };
        let form = Form::Rows(portal.formats.clone());
        let rows = self.begin_rows(query, form, running).await?;
        if let Some(expected) = &portal.columns {
            let types = |columns: &[ColumnInfo]| columns.iter().map(|column| column.data_type).collect::<Vec<_>>();
            if types(expected) != types(&rows.columns) {
                return Err(Refusal::new("0A000", "cached plan must not change result type").into());
            }
        }
        Ok(rows)
    }

    async fn begin_rows(&mut self, query: sql::Query, form: Form, running: &Running) -> Result<Rows, Failure> {
        let (runner, zone) = (self.services.runner.clone(), self.settings.zone());
        let run = async move { runner.run(query, form, zone).await };
        self.watched(running, run).await
    }

    async fn advance_query(
        &mut self,
        portal: &mut Portal,
        text: &str,
        (rows_max, told): (usize, Told),
        running: &Running,
    ) -> Result<(), Failure> {
        if portal.is_done {
            self.out.complete(&tag_of_query(text, 0));
            return Ok(());
        }
        let patience = (rows_max < usize::MAX).then_some(CURSOR_PATIENCE);
        let mut rows = self.start(portal, (text, patience), running).await?;
        if told == Told::Columns {
            self.out.row_description(&rows.columns, &portal.formats);
        }
        let sent = self.stream(&mut rows, rows_max, running).await?;
        portal.sent += sent;
        if sent == rows_max {
            portal.rows = Some(rows);
            self.out.empty(b's');
        } else {
            portal.is_done = true;
            self.out.complete(&tag_of_query(text, portal.sent));
        }
        Ok(())
    }

    async fn copy(&mut self, copy: &Copy, params: Vec<Param>, running: &Running) -> Result<(), Failure> {
        let query = self.query(&copy.text, params).await?;
        let writer = CopyWriter::new(copy.form.clone());
        let format = writer.format();
        let mut rows = self.begin_rows(query, Form::Copy(writer), running).await?;
        self.out.copy_out(format, rows.columns.len());
        let sent = self.stream(&mut rows, usize::MAX, running).await?;
        self.out.empty(b'c');
        self.out.complete(&format!("COPY {sent}"));
        Ok(())
    }

    async fn declare(&mut self, cursor: &Cursor, params: Vec<Param>) -> Result<(), Failure> {
        let Cursor { name, text, format, life } = cursor;
        if *life == Scope::Transaction && self.transaction == Transaction::Idle {
            return Err(Refusal::new("25P01", "DECLARE CURSOR can only be used in transaction blocks").into());
        }
        if self.portals.contains_key(name) {
            return Err(Refusal::new("42P03", format!("cursor \"{name}\" already exists")).into());
        }
        let command = Command::Query(text.clone());
        let declared: Vec<Option<PgType>> = Vec::new();
        let prepared = self.prepared(Some(command), &declared).await?;
        if params.len() != prepared.params.len() {
            return Err(Refusal::new("42P02", "the cursor has parameters without values").into());
        }
        let bytes = text.len() + 256;
        self.check_room(bytes)?;
        let portal = Portal {
            command: prepared.command,
            params,
            formats: vec![*format],
            columns: prepared.columns,
            rows: None,
            sent: 0,
            is_done: false,
            life: *life,
            bytes,
        };
        self.portals.insert(name.clone(), portal);
        self.out.complete("DECLARE CURSOR");
        Ok(())
    }

    /// Rows of a cursor; those of one that has not begun come in the formats its first client asks for.
    async fn fetch(
        &mut self,
        (name, formats): (&str, Vec<Format>),
        (count, takes, told): (usize, Takes, Told),
        running: &Running,
    ) -> Result<(), Failure> {
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let Some(Command::Query(text)) = portal.command.clone() else { return Err(no_portal(name).into()) };
        if portal.rows.is_none() && portal.sent == 0 && !formats.is_empty() {
            portal.formats.clone_from(&formats);
        }
        if !formats.is_empty() && portal.formats != formats {
            return Err(Refusal::unsupported("fetching rows of one cursor in two formats").into());
        }
        if told == Told::Columns
            && let Some(columns) = &portal.columns
        {
            self.out.row_description(columns, &portal.formats);
        }
        let mut moved = 0;
        if !portal.is_done && count > 0 {
            let mut rows = self.start(&mut portal, (&text, Some(CURSOR_PATIENCE)), running).await?;
            moved = match takes {
                Takes::Rows => self.stream(&mut rows, count, running).await?,
                Takes::Nothing => self.pass(&mut rows, count, running).await?,
            };
            portal.is_done = moved < count;
            portal.sent += moved;
            portal.rows = (!portal.is_done).then_some(rows);
        }
        self.portals.insert(name.to_owned(), portal);
        let word = if takes == Takes::Rows { "FETCH" } else { "MOVE" };
        self.out.complete(&format!("{word} {moved}"));
        Ok(())
    }

    async fn pass(&mut self, rows: &mut Rows, count: usize, running: &Running) -> Result<usize, Failure> {
        let mut passed = 0;
        while passed < count {
            let Some(chunk) = self.watched(running, rows.next(count - passed)).await? else { break };
            passed += chunk.rows;
        }
        Ok(passed)
    }

    fn show(&mut self, name: &str, told: Told) -> Result<(), Failure> {
        let rows: Vec<Vec<String>> = match name {
            "all" => self.settings.all().map(|(n, v)| vec![n.to_owned(), v.to_owned(), String::new()]).collect(),
            name => vec![vec![self.settings.get(name)?.to_owned()]],
        };
        let columns = show_columns(name);
        if told == Told::Columns {
            self.out.row_description(&columns, &[]);
        }
        let chunk = super::rows::of_texts(&rows);
        self.out.0.extend_from_slice(&chunk.bytes);
        self.out.complete("SHOW");
        Ok(())
    }

    async fn prepare(&mut self, name: &str, types: &[String], text: &str) -> Result<(), Failure> {
        if self.statements.contains_key(name) {
            return Err(Refusal::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        let missing = |of: &String| Refusal::new("42704", format!("type \"{of}\" does not exist"));
        let declared = types.iter().map(|of| PgType::by_name(of).map(Some).ok_or_else(|| missing(of)));
        let declared: Vec<Option<PgType>> = declared.collect::<Result<_, _>>()?;
        let command = lex::statements(text).pop().map(|(tokens, text)| Command::parse(&tokens, text)).transpose()?;
        let prepared = Box::pin(self.prepared(command, &declared)).await?;
        self.keep_statement(name.to_owned(), prepared)?;
        self.out.complete("PREPARE");
        Ok(())
    }

    /// What needs no query; returns the tag.
    fn perform(&mut self, command: &Command) -> Result<String, Refusal> {
        let tag = match command {
            Command::Begin => {
                self.begin();
                "BEGIN"
            }
            Command::Commit if self.transaction == Transaction::Open => {
                self.end_transaction();
                "COMMIT"
            }
            Command::Commit if self.transaction == Transaction::Idle => {
                self.notice("25P01", "there is no transaction in progress");
                "COMMIT"
            }
            Command::Commit | Command::Rollback => {
                self.rollback();
                "ROLLBACK"
            }
            Command::Savepoint(_) | Command::Release(_) | Command::RollbackTo(_) => self.perform_savepoint(command)?,
            Command::Set { name, value, scope } => {
                self.set(name, value, *scope)?;
                "SET"
            }
            Command::Reset(name) => {
                self.settings.reset(name.as_deref())?;
                "RESET"
            }
            Command::Discard(tag) => {
                if self.transaction != Transaction::Idle {
                    return Err(Refusal::new("25001", "DISCARD ALL cannot run inside a transaction block"));
                }
                self.settings.reset(None)?;
                self.statements.clear();
                self.portals.clear();
                tag
            }
            Command::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Command::Deallocate(Some(name)) => {
                self.statement(name)?;
                self.statements.remove(name);
                "DEALLOCATE"
            }
            Command::Close(None) => {
                self.portals.clear();
                "CLOSE CURSOR ALL"
            }
            Command::Close(Some(name)) => {
                self.portals.remove(name).ok_or_else(|| no_portal(name))?;
                "CLOSE CURSOR"
            }
            Command::Nothing(tag) => tag,
            _ => return Err(Refusal::unsupported("this statement")),
        };
        Ok(tag.to_owned())
    }

    fn perform_savepoint(&mut self, command: &Command) -> Result<&'static str, Refusal> {
        match command {
            Command::Savepoint(name) => {
                self.check_in_transaction("SAVEPOINT")?;
                if self.savepoints.len() >= SAVEPOINTS_MAX {
                    return Err(Refusal::new(
                        "53400",
                        format!("a transaction has at most {SAVEPOINTS_MAX} savepoints"),
                    ));
                }
                self.savepoints.push(name.clone());
                Ok("SAVEPOINT")
            }
            Command::Release(name) => {
                let at = self.savepoint(name, "RELEASE SAVEPOINT")?;
                self.savepoints.truncate(at);
                Ok("RELEASE")
            }
            Command::RollbackTo(name) => {
                let at = self.savepoint(name, "ROLLBACK TO SAVEPOINT")?;
                self.savepoints.truncate(at + 1);
                self.transaction = Transaction::Open;
                Ok("ROLLBACK")
            }
            _ => Err(Refusal::unsupported("this statement")),
        }
    }

    fn begin(&mut self) {
        if self.transaction == Transaction::Idle {
            self.before = Some(self.settings.clone());
            self.transaction = Transaction::Open;
        } else {
            self.notice("25001", "there is already a transaction in progress");
        }
    }

    fn rollback(&mut self) {
        if self.transaction == Transaction::Idle {
            self.notice("25P01", "there is no transaction in progress");
        }
        if let Some(before) = self.before.take() {
            self.settings = before;
        }
        self.end_transaction();
    }

    fn end_transaction(&mut self) {
        self.transaction = Transaction::Idle;
        self.before = None;
        self.savepoints.clear();
        self.settings.end_transaction();
        self.portals.retain(|_, portal| portal.life == Scope::Session);
    }

    fn check_in_transaction(&self, what: &str) -> Result<(), Refusal> {
        match self.transaction {
            Transaction::Idle => Err(Refusal::new("25P01", format!("{what} can only be used in transaction blocks"))),
            Transaction::Open | Transaction::Failed => Ok(()),
        }
    }

    fn savepoint(&self, name: &str, what: &str) -> Result<usize, Refusal> {
        self.check_in_transaction(what)?;
        let found = self.savepoints.iter().rposition(|known| known == name);
        found.ok_or_else(|| Refusal::new("3B001", format!("savepoint \"{name}\" does not exist")))
    }

    fn set(&mut self, name: &str, value: &Value, scope: Scope) -> Result<(), Refusal> {
        match scope {
            Scope::Session => self.settings.set(name, value),
            Scope::Transaction => {
                if self.transaction == Transaction::Idle {
                    self.notice("25P01", "SET LOCAL can only be used in transaction blocks");
                }
                self.settings.set_local(name, value)
            }
        }
    }
}

/// The values of EXECUTE, which must be literals.
fn literals(values: &[String], types: &[PgType]) -> Result<Vec<Param>, Refusal> {
    if values.len() != types.len() {
        let message = format!("wrong number of parameters: {} instead of {}", values.len(), types.len());
        return Err(Refusal::new("42601", message));
    }
    let one = |((number, value), of): ((usize, &String), &PgType)| {
        let tokens = lex::statements(value).pop().map(|(tokens, _)| tokens).unwrap_or_default();
        let text = match tokens.as_slice() {
            [lex::Lexeme { token: lex::Token::Word(word), .. }] if word == "null" => return Ok(Param::Null),
            [one] => match &one.token {
                lex::Token::Text(text) | lex::Token::Number(text) | lex::Token::Word(text) => text.clone(),
                _ => return Err(Refusal::unsupported("an EXECUTE value that is no literal")),
            },
            [minus, number] if minus.token == lex::Token::Symbol('-') => match &number.token {
                lex::Token::Number(text) => format!("-{text}"),
                _ => return Err(Refusal::unsupported("an EXECUTE value that is no literal")),
            },
            _ => return Err(Refusal::unsupported("an EXECUTE value that is no literal")),
        };
        param(number, Some(&text.into()), (*of, Format::Text))
    };
    (1..).zip(values).zip(types).map(one).collect()
}
