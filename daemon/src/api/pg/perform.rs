//! Doing what a statement says.

use std::sync::Arc;

use sql::{Param, PgType, Tag};

use super::command::{Command, Copy, Cursor, Scope, Takes};
use super::copy::CopyWriter;
use super::errors::Refusal;
use super::lex;
use super::params::param;
use super::portal::{Portal, no_portal};
use super::rows::{Form, Rows};
use super::session::{Failure, Running, Session, Transaction};
use super::wire::{ColumnInfo, Format};
use super::words::Words;

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
            Self::Set { .. } | Self::Show(_) | Self::Reset(_) | Self::Discard(_) | Self::Configure { .. } => "setting",
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

/// Only queries have rows to copy, or to fetch one after the other.
fn expect_query(text: &str) -> Result<(), Refusal> {
    if sql::is_command(text) { Err(Refusal::new("42601", "a query is expected here, not a command")) } else { Ok(()) }
}

impl Session {
    /// A statement of the simple protocol: its columns, all its rows, its tag.
    pub(super) async fn perform_simply(&mut self, command: Command, running: &Running) -> Result<(), Failure> {
        let mut portal = Portal::once(command);
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
        if let Command::Query(text) = &command {
            return self.advance_query(portal, text, (rows_max, told), running).await;
        }
        // Only the rows of a query can be asked for again.
        if std::mem::replace(&mut portal.is_done, true) {
            return Err(Refusal::new("55000", "the portal cannot be run again").into());
        }
        match &command {
            Command::ExecutePrepared { name, values } => {
                let prepared = self.statement(name)?.clone();
                let Some(Command::Query(text)) = &prepared.command else {
                    return Err(Refusal::unsupported("EXECUTE of this statement").into());
                };
                portal.params = literals(values, &prepared.params)?;
                portal.command.clone_from(&prepared.command);
                portal.is_done = false;
                self.advance_query(portal, text, (rows_max, told), running).await
            }
            Command::Copy(copy) => self.copy(copy, std::mem::take(&mut portal.params), running).await,
            Command::Fetch { name, count, takes } => {
                let formats = portal.formats.clone();
                let told = if *takes == Takes::Rows { told } else { Told::Nothing };
                self.fetch((name, formats), (*count, *takes, told), running).await
            }
            Command::Show(name) => self.show(name, told, running).await,
            Command::Configure { name, value, scope, column } => {
                self.set(name, value, *scope)?;
                let value = self.settings.get(name)?.to_owned();
                self.report();
                self.say((show_columns(column), vec![vec![value]]), told);
                self.out.complete("SELECT 1");
                Ok(())
            }
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

    /// Begins to run what a portal asks, or wakes it up.
    async fn start(&mut self, portal: &mut Portal, text: &str, running: &Running) -> Result<Rows, Failure> {
        if portal.rows.is_some() {
            self.check_access(running).await?;
        }
        portal.asleep = None;
        if let Some(rows) = portal.rows.take() {
            return Ok(rows);
        }
        if self.transaction != Transaction::Idle && sql::is_command(text) {
            let message = "a command cannot be in a transaction block: it takes effect at once";
            return Err(Refusal::new("25001", message).into());
        }
        let query = self.query((text, portal.params.clone()), running).await?;
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

    /// The client has so many rows that it did not ask for more.
    fn put_to_sleep(&self, portal: &mut Portal, rows: Rows) {
        portal.asleep = Some(self.services.sleepers.sleep(Arc::clone(&rows.fate)));
        portal.rows = Some(rows);
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
        if rows_max < usize::MAX {
            self.check_asleep()?;
        }
        let mut rows = self.start(portal, text, running).await?;
        if let Some(Tag { words, has_rows: false, notice }) = &rows.tag {
            portal.is_done = true;
            if let Some(notice) = notice {
                self.notice("01000", notice);
            }
            self.out.complete(words);
            return Ok(());
        }
        if told == Told::Columns {
            self.out.row_description(&rows.columns, &portal.formats);
        }
        let sent = self.stream(&mut rows, rows_max, running).await?;
        if sent == rows_max {
            self.put_to_sleep(portal, rows);
            self.out.empty(b's');
        } else {
            portal.is_done = true;
            let tag = rows.tag.map_or_else(|| tag_of_query(text, sent), |tag| tag.words.to_owned());
            self.out.complete(&tag);
        }
        Ok(())
    }

    async fn copy(&mut self, copy: &Copy, params: Vec<Param>, running: &Running) -> Result<(), Failure> {
        expect_query(&copy.text)?;
        let query = self.query((&copy.text, params), running).await?;
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
        expect_query(text)?;
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
        let portal = Portal::new(prepared, params, (vec![*format], *life));
        self.check_room(portal.bytes + name.len())?;
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
        let open = self.portal(name)?;
        let Some(Command::Query(text)) = open.command.clone() else { return Err(no_portal(name).into()) };
        if open.has_begun() && !formats.is_empty() && open.formats != formats {
            return Err(Refusal::unsupported("fetching rows of one cursor in two formats").into());
        }
        if !open.has_begun() && count < usize::MAX {
            self.check_asleep()?;
        }
        // Taken out, so that a failure leaves nothing half-run behind.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        if !portal.has_begun() && !formats.is_empty() {
            portal.formats = formats;
        }
        if told == Told::Columns
            && let Some(columns) = &portal.columns
        {
            self.out.row_description(columns, &portal.formats);
        }
        let mut moved = 0;
        if !portal.is_done && count > 0 {
            let mut rows = self.start(&mut portal, &text, running).await?;
            moved = match takes {
                Takes::Rows => self.stream(&mut rows, count, running).await?,
                Takes::Nothing => self.pass(&mut rows, count, running).await?,
            };
            portal.is_done = moved < count;
            if !portal.is_done {
                self.put_to_sleep(&mut portal, rows);
            }
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

    async fn show(&mut self, name: &str, told: Told, running: &Running) -> Result<(), Failure> {
        let rows: Vec<Vec<String>> = match name {
            "all" => {
                self.ask_access(running).await?;
                let own = self.settings.all().map(|(n, v)| vec![n.to_owned(), v.to_owned(), String::new()]);
                let of_node = self.services.runner.engine.settings(&self.login.access).into_iter();
                let row = |(name, value, about): (String, Option<String>, &str)| {
                    vec![name, value.unwrap_or_default(), about.to_owned()]
                };
                own.chain(of_node.map(row)).collect()
            }
            name => vec![vec![self.shown(name, running).await?]],
        };
        self.say((show_columns(name), rows), told);
        self.out.complete("SHOW");
        Ok(())
    }

    /// A setting of the session or, if there is none of the name, of this node.
    async fn shown(&mut self, name: &str, running: &Running) -> Result<String, Failure> {
        let unknown = match self.settings.get(name) {
            Ok(value) => return Ok(value.to_owned()),
            Err(unknown) => unknown,
        };
        self.ask_access(running).await?;
        let found = self.services.runner.engine.setting(name, &self.login.access).map_err(Refusal::from)?;
        Ok(found.ok_or(unknown)?)
    }

    /// Rows that are there already.
    fn say(&mut self, (columns, rows): (Vec<ColumnInfo>, Vec<Vec<String>>), told: Told) {
        if told == Told::Columns {
            self.out.row_description(&columns, &[]);
        }
        let chunk = super::rows::of_texts(&rows);
        self.out.0.extend_from_slice(&chunk.bytes);
    }

    async fn prepare(&mut self, name: &str, types: &[String], text: &str) -> Result<(), Failure> {
        if self.statements.contains_key(name) {
            return Err(Refusal::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        let missing = |of: &String| Refusal::new("42704", format!("type \"{of}\" does not exist"));
        let declared = types.iter().map(|of| PgType::by_name(of).map(Some).ok_or_else(|| missing(of)));
        let declared: Vec<Option<PgType>> = declared.collect::<Result<_, _>>()?;
        let command = lex::statements(text).next().map(Command::parse).transpose()?;
        let prepared = Box::pin(self.prepared(command, &declared)).await?;
        self.keep_statement(name.to_owned(), prepared)?;
        self.out.complete("PREPARE");
        Ok(())
    }

    /// What needs no query; returns the tag.
    fn perform(&mut self, command: &Command) -> Result<String, Refusal> {
        let tag = match command {
            Command::Set { name, value, scope } => {
                self.set(name, value, *scope)?;
                "SET"
            }
            Command::Reset(name) => {
                self.settings_mut().reset(name.as_deref())?;
                "RESET"
            }
            Command::Discard(tag) => {
                if self.transaction != Transaction::Idle {
                    return Err(Refusal::new("25001", "DISCARD ALL cannot run inside a transaction block"));
                }
                self.settings_mut().reset(None)?;
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
            other => self.perform_transaction(other)?,
        };
        Ok(tag.to_owned())
    }
}

/// The values of EXECUTE, which must be literals.
fn literals(values: &[String], types: &[PgType]) -> Result<Vec<Param>, Refusal> {
    if values.len() != types.len() {
        let message = format!("wrong number of parameters: {} instead of {}", values.len(), types.len());
        return Err(Refusal::new("42601", message));
    }
    let one = |((number, value), of): ((usize, &String), &PgType)| {
        let no_literal = || Refusal::unsupported("an EXECUTE value that is no literal");
        let mut words = Words::new(value);
        let sign = if words.is_symbol('-') { "-" } else { "" };
        let text = match words.peek() {
            Some(lex::Token::Word(word)) if word == "null" && sign.is_empty() => return Ok(Param::Null),
            Some(lex::Token::Number(number)) => format!("{sign}{number}"),
            Some(lex::Token::Text(text) | lex::Token::Word(text)) if sign.is_empty() => text,
            _ => return Err(no_literal()),
        };
        words.advance();
        if !words.is_done() {
            return Err(no_literal());
        }
        param(number, Some(&text.into()), (*of, Format::Text))
    };
    (1..).zip(values).zip(types).map(one).collect()
}
