//! Prepared statements and portals, and the messages that make them: the extended protocol.
//!
//! # Promises
//! - A prepared statement is planned anew each time it runs; when its columns are other ones by then, and the client was
//!   told of the old ones, it is refused.
//! - A portal whose client asks for a part of its rows sleeps between two parts. Sleepers hold no place and no permit of
//!   the query engine, so nobody waits for them, no login and no other door. A session has few of them, and so has the
//!   node: for a further one, the one that has slept longest is ended.

use bytes::Bytes;
use sql::{Param, PgType};
use tokio::time::Instant;

use super::command::{Command, Scope};
use super::errors::Refusal;
use super::lex::{self, cut};
use super::params::param;
use super::rows::{Rows, described};
use super::session::{Failure, Session, check_text, unreadable};
use super::sleepers::Sleep;
use super::wire::{Bind, ColumnInfo, Format, Message, Target, format_at};

/// Portals of one session that have begun and have rows left.
const ASLEEP_MAX: usize = 16;
/// What a statement or a portal takes besides its texts.
const KEPT_BYTES: usize = 256;
/// What a value takes besides its bytes; one within another takes as much again.
const VALUE_BYTES: usize = size_of::<Param>();

/// A statement that can be run many times.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// `None` is the text without a statement.
    pub(super) command: Option<Command>,
    pub(super) params: Vec<PgType>,
    /// What the client said of their types; zero where it left that to us.
    declared: Vec<u32>,
    /// `None` when it has no rows.
    pub(super) columns: Option<Vec<ColumnInfo>>,
    pub(super) bytes: usize,
}

/// A statement with its values, and the rows it has still to give.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) command: Option<Command>,
    pub(super) params: Vec<Param>,
    pub(super) formats: Vec<Format>,
    pub(super) columns: Option<Vec<ColumnInfo>>,
    /// Once it runs.
    pub(super) rows: Option<Rows>,
    /// While its client asks for nothing.
    pub(super) asleep: Option<Sleep>,
    pub(super) is_done: bool,
    pub(super) life: Scope,
    /// Its transaction was committed: a later one that is rolled back leaves it there.
    pub(super) has_outlived: bool,
    pub(super) bytes: usize,
}

impl Prepared {
    fn new(command: Option<Command>, params: Vec<PgType>, columns: Option<Vec<ColumnInfo>>) -> Self {
        let texts = command.as_ref().map_or(0, Command::bytes);
        let columns_bytes = columns.iter().flatten().map(|column| column.name.len() + size_of::<ColumnInfo>());
        let bytes =
            KEPT_BYTES + texts + columns_bytes.sum::<usize>() + params.len() * (size_of::<PgType>() + size_of::<u32>());
        Self { command, params, declared: Vec::new(), columns, bytes }
    }

    /// The types of its parameters: a type that has several names keeps the one by which the client called it.
    fn param_oids(&self) -> Vec<u32> {
        let declared = |index: usize| self.declared.get(index).copied().filter(|oid| !is_open(*oid));
        self.params.iter().enumerate().map(|(index, of)| declared(index).unwrap_or_else(|| of.oid())).collect()
    }
}

/// Whether this number leaves a type to us: none, or that of a text whose type is not known.
const fn is_open(oid: u32) -> bool {
    matches!(oid, 0 | 705)
}

impl Portal {
    pub(super) fn new(prepared: Prepared, params: Vec<Param>, (formats, life): (Vec<Format>, Scope)) -> Self {
        let Prepared { command, params: _, declared: _, columns, bytes } = prepared;
        let bytes = bytes + formats.len() + params.iter().map(bytes_of).sum::<usize>();
        let (rows, asleep, is_done, has_outlived) = (None, None, false, false);
        Self { command, params, formats, columns, rows, asleep, is_done, life, has_outlived, bytes }
    }

    /// A statement of the simple protocol, which is not kept.
    pub(super) fn once(command: Command) -> Self {
        Self::new(Prepared::new(Some(command), Vec::new(), None), Vec::new(), (Vec::new(), Scope::Transaction))
    }

    pub(super) fn has_begun(&self) -> bool {
        self.rows.is_some() || self.is_done
    }
}

fn bytes_of(param: &Param) -> usize {
    VALUE_BYTES
        + match param {
            Param::String(text) => text.len(),
            Param::Bytes(bytes) => bytes.len(),
            Param::Cast(param, _) => bytes_of(param),
            Param::List(items, _) => items.iter().map(bytes_of).sum(),
            Param::Null | Param::Bool(_) | Param::Int(_) | Param::UInt(_) | Param::Float(_) | Param::Time(_) => 0,
        }
}

impl Session {
    /// A message of the extended protocol.
    pub(super) async fn extended(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Parse { name, text, types } => self.parse(cut(name), &text, &types).await,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(Target::Statement, name) => self.describe_statement(&cut(name)),
            Message::Describe(Target::Portal, name) => self.describe_portal(&cut(name)),
            Message::Execute { portal, rows_max } => self.execute(cut(portal), rows_max).await,
            Message::Close(target, name) => {
                match target {
                    Target::Statement => drop(self.statements.remove(&cut(name))),
                    Target::Portal => drop(self.portals.remove(&cut(name))),
                }
                self.out.empty(b'3');
                Ok(())
            }
            Message::Unreadable(_, error) => Err(unreadable(error).into()),
            _ => Err(Failure::Fatal(Refusal::new("08P01", "a message that has no place here"))),
        }
    }

    async fn parse(&mut self, name: String, text: &str, types: &[u32]) -> Result<(), Failure> {
        check_text(text)?;
        let declared = types.iter().map(|oid| match *oid {
            oid if is_open(oid) => Ok(None),
            oid => PgType::by_oid(oid).map(Some).ok_or_else(|| Refusal::new("42704", format!("type {oid} is unknown"))),
        });
        let declared: Vec<Option<PgType>> = declared.collect::<Result<_, _>>()?;
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Refusal::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        let mut statements = lex::statements(text);
        let first = statements.next();
        if statements.next().is_some() {
            return Err(Refusal::new("42601", "cannot insert multiple commands into a prepared statement").into());
        }
        let command = first.map(Command::parse).transpose()?;
        let mut prepared = self.prepared(command, &declared).await?;
        // No more of them than count among the bytes of a statement.
        prepared.declared = types.iter().copied().take(prepared.params.len()).collect();
        self.keep_statement(name, prepared)?;
        self.out.empty(b'1');
        Ok(())
    }

    pub(super) fn keep_statement(&mut self, name: String, prepared: Prepared) -> Result<(), Refusal> {
        // The statement without a name makes room for the next one.
        self.statements.remove("");
        self.check_room(prepared.bytes + name.len())?;
        self.statements.insert(name, prepared);
        Ok(())
    }

    /// Learns which parameters and columns a statement has.
    pub(super) async fn prepared(
        &mut self,
        command: Option<Command>,
        declared: &[Option<PgType>],
    ) -> Result<Prepared, Failure> {
        let asked = match &command {
            Some(Command::Query(text)) => Some(text),
            Some(Command::Declare(cursor)) => Some(&cursor.text),
            Some(Command::Copy(copy)) => Some(&copy.text),
            _ => None,
        };
        let (mut params, mut columns) = (Vec::new(), None);
        if let Some(text) = asked {
            self.check_transaction()?;
            let running = self.begin_running();
            let query = self.query((text, Vec::new()), &running).await?;
            let engine = self.services.runner.engine.clone();
            let types = declared.iter().map(|of| of.map(PgType::arrow)).collect();
            let describe = async move { engine.describe(query, types).await.map_err(Refusal::from) };
            let description = self.watched(&running, describe).await?;
            let inferred = description
                .params
                .iter()
                .map(|of| PgType::of(&arrow_schema::Field::new("parameter", of.clone(), true)));
            params = inferred.enumerate().map(|(i, of)| declared.get(i).copied().flatten().unwrap_or(of)).collect();
            let has_rows = description.tag.is_none_or(|tag| tag.has_rows);
            if matches!(command, Some(Command::Query(_))) && has_rows {
                columns = Some(described(&description.schema)?);
            }
        } else if let Some(command) = &command {
            columns = self.columns_of(command)?;
        }
        Ok(Prepared::new(command, params, columns))
    }

    fn columns_of(&self, command: &Command) -> Result<Option<Vec<ColumnInfo>>, Refusal> {
        Ok(match command {
            Command::Show(name) => Some(super::perform::show_columns(name)),
            Command::Configure { column, .. } => Some(super::perform::show_columns(column)),
            Command::Fetch { name, takes: super::command::Takes::Rows, .. } => self.portal(name)?.columns.clone(),
            Command::ExecutePrepared { name, .. } => self.statement(name)?.columns.clone(),
            _ => None,
        })
    }

    pub(super) fn statement(&self, name: &str) -> Result<&Prepared, Refusal> {
        self.statements.get(name).ok_or_else(|| no_statement(name))
    }

    pub(super) fn portal(&self, name: &str) -> Result<&Portal, Refusal> {
        self.portals.get(name).ok_or_else(|| no_portal(name))
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let Bind { portal, statement, formats, values, result_formats } = bind;
        let (portal, statement) = (cut(portal), cut(statement));
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(Refusal::new("42P03", format!("portal \"{portal}\" already exists")).into());
        }
        let prepared = self.statement(&statement)?;
        if values.len() != prepared.params.len() {
            let wanted = prepared.params.len();
            let message = format!("bind message supplies {} parameters, but the statement has {wanted}", values.len());
            return Err(Refusal::new("08P01", message).into());
        }
        let value = |(index, value): (usize, &Option<Bytes>)| {
            let how = (prepared.params[index], format_at(&formats, index));
            param(index + 1, value.as_ref(), how)
        };
        let params: Vec<Param> = values.iter().enumerate().map(value).collect::<Result<_, _>>()?;
        let bound = Portal::new(prepared.clone(), params, (result_formats, Scope::Transaction));
        self.portals.remove("");
        self.check_room(bound.bytes + portal.len())?;
        self.portals.insert(portal, bound);
        self.out.empty(b'2');
        Ok(())
    }

    fn describe_statement(&mut self, name: &str) -> Result<(), Failure> {
        let prepared = self.statements.get(name).ok_or_else(|| no_statement(name))?;
        self.out.parameter_description(&prepared.param_oids());
        match &prepared.columns {
            Some(columns) => self.out.row_description(columns, &[]),
            None => self.out.empty(b'n'),
        }
        Ok(())
    }

    fn describe_portal(&mut self, name: &str) -> Result<(), Failure> {
        let Portal { columns, formats, .. } = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        match columns {
            Some(columns) => self.out.row_description(columns, formats),
            None => self.out.empty(b'n'),
        }
        Ok(())
    }

    /// Fails when the session has enough portals that sleep.
    pub(super) fn check_asleep(&self) -> Result<(), Refusal> {
        let asleep = self.portals.values().filter(|portal| portal.asleep.is_some()).count();
        if asleep < ASLEEP_MAX {
            return Ok(());
        }
        Err(Refusal::new(
            "53400",
            format!("a session has at most {ASLEEP_MAX} cursors that have begun and have rows left"),
        ))
    }

    async fn execute(&mut self, name: String, rows_max: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        // Taken out, so that a failure leaves nothing half-run behind.
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let word = portal.command.as_ref().map_or("empty", Command::word);
        let result = self.run_portal(&mut portal, rows_max).await;
        let status = if result.is_ok() { "ok" } else { "error" };
        self.services.meter.statement(word, begun, status);
        result?;
        if !matches!(portal.command, Some(Command::Discard(_))) {
            self.portals.entry(name).or_insert(portal);
        }
        Ok(())
    }
}

pub(super) fn no_portal(name: &str) -> Refusal {
    Refusal::new("34000", format!("cursor \"{name}\" does not exist"))
}

fn no_statement(name: &str) -> Refusal {
    Refusal::new("26000", format!("prepared statement \"{name}\" does not exist"))
}
