//! What a statement is: rows to be asked for, or something about the session.

use super::errors::Refusal;
use super::lex::{Kind, Token};
use super::wire::Format;
use super::words::Words;

mod copied;
mod settings;

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// For the query engine.
    Query(String),
    Begin,
    Commit,
    Rollback,
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    Set {
        name: String,
        value: Value,
        scope: Scope,
    },
    Show(String),
    Reset(Option<String>),
    Discard(&'static str),
    /// `SELECT set_config(…)`: sets, and answers with the value.
    Configure {
        name: String,
        value: Value,
        scope: Scope,
        column: String,
    },
    Prepare {
        name: String,
        types: Vec<String>,
        text: String,
    },
    /// The values as they stand in the text.
    ExecutePrepared {
        name: String,
        values: Vec<String>,
    },
    Deallocate(Option<String>),
    Declare(Cursor),
    Fetch {
        name: String,
        count: usize,
        takes: Takes,
    },
    /// Closes a cursor, or all.
    Close(Option<String>),
    Copy(Copy),
    /// Has nothing to do here; what its tag says.
    Nothing(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Default,
    /// As a client would write it.
    Text(String),
}

/// How long a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Session,
    Transaction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) format: Format,
    /// Whether it lives on after its transaction.
    pub(super) life: Scope,
}

/// What becomes of the rows a cursor passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Rows,
    /// They are only counted.
    Nothing,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Copy {
    pub(super) text: String,
    pub(super) form: CopyForm,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum CopyForm {
    Binary,
    Text { delimiter: char, null: String, header: bool },
    Csv { delimiter: char, quote: char, null: String, header: bool },
}

/// What may be said of a transaction; all there is to say of one here is that it reads.
const MODES: [&str; 12] = [
    "isolation",
    "level",
    "serializable",
    "repeatable",
    "read",
    "committed",
    "uncommitted",
    "write",
    "only",
    "not",
    "deferrable",
    "transaction",
];

impl Command {
    /// What the statement `text` is.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut words = Words::new(text);
        let Some(first) = words.word() else { return Ok(Self::Query(text.to_owned())) };
        let command = match first.as_str() {
            "begin" => {
                words.is("work");
                words.modes(Self::Begin)
            }
            "start" => {
                words.expect("transaction")?;
                words.modes(Self::Begin)
            }
            "commit" | "end" => words.commit(),
            "rollback" | "abort" => words.rollback(),
            "savepoint" => words.name().map(Self::Savepoint),
            "release" => {
                words.is("savepoint");
                words.name().map(Self::Release)
            }
            "set" => words.set(),
            "show" => words.show(),
            "reset" => words.reset(),
            "discard" => words.discard(),
            "prepare" => return words.prepare(),
            "execute" => words.execute(),
            "deallocate" => {
                words.is("prepare");
                words.name_or_all().map(Self::Deallocate)
            }
            "declare" => return words.declare().map(Self::Declare),
            "fetch" => words.fetch(Takes::Rows),
            "move" => words.fetch(Takes::Nothing),
            "close" => words.name_or_all().map(Self::Close),
            "copy" => words.copy().map(Self::Copy),
            "unlisten" => {
                if !words.is_symbol('*') {
                    words.name()?;
                }
                Ok(Self::Nothing("UNLISTEN"))
            }
            "listen" | "notify" | "lock" | "checkpoint" | "vacuum" | "analyze" | "cluster" | "reindex" => {
                return Err(Refusal::unsupported(&first.to_uppercase()));
            }
            "table" => return Ok(Self::Query(format!("SELECT * FROM {}", words.rest()))),
            "select" => return Ok(words.set_config().unwrap_or_else(|| Self::Query(text.to_owned()))),
            _ => return Ok(Self::Query(text.to_owned())),
        }?;
        // SHOW TABLES is for the query engine, all of it.
        if words.is_done() || matches!(command, Self::Query(_)) { Ok(command) } else { Err(words.unexpected()) }
    }
}

impl Command {
    /// What its texts take.
    pub(super) fn bytes(&self) -> usize {
        let all = |texts: &[String]| texts.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        match self {
            Self::Query(text) => text.len(),
            Self::Set { name, value, .. } => name.len() + value.bytes(),
            Self::Configure { name, value, column, .. } => name.len() + value.bytes() + column.len(),
            Self::Prepare { name, types, text } => name.len() + all(types) + text.len(),
            Self::ExecutePrepared { name, values } => name.len() + all(values),
            Self::Declare(cursor) => cursor.name.len() + cursor.text.len(),
            Self::Copy(copy) => copy.text.len() + copy.form.bytes(),
            Self::Savepoint(name) | Self::Release(name) | Self::RollbackTo(name) | Self::Show(name) => name.len(),
            Self::Fetch { name, .. } => name.len(),
            Self::Reset(name) | Self::Deallocate(name) | Self::Close(name) => name.as_ref().map_or(0, String::len),
            Self::Begin | Self::Commit | Self::Rollback | Self::Discard(_) | Self::Nothing(_) => 0,
        }
    }
}

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Self::Default => 0,
            Self::Text(text) => text.len(),
        }
    }
}

impl CopyForm {
    fn bytes(&self) -> usize {
        match self {
            Self::Binary => 0,
            Self::Text { null, .. } | Self::Csv { null, .. } => null.len(),
        }
    }
}

impl Words<'_> {
    /// Passes what is said of a transaction.
    fn modes(&mut self, command: Command) -> Result<Command, Refusal> {
        while !self.is_done() {
            if !self.is_symbol(',') && !MODES.iter().any(|mode| self.is(mode)) {
                return Err(self.unexpected());
            }
        }
        Ok(command)
    }

    /// `AND CHAIN` would begin the next transaction with the end of this one.
    fn no_chain(&mut self, command: Command) -> Result<Command, Refusal> {
        if self.is("prepared") {
            return Err(Refusal::unsupported("a prepared transaction"));
        }
        if self.is("and") {
            if self.is("chain") {
                return Err(Refusal::unsupported("AND CHAIN"));
            }
            self.expect("no")?;
            self.expect("chain")?;
        }
        Ok(command)
    }

    fn commit(&mut self) -> Result<Command, Refusal> {
        let _ = self.is("work") || self.is("transaction");
        self.no_chain(Command::Commit)
    }

    fn rollback(&mut self) -> Result<Command, Refusal> {
        let _ = self.is("work") || self.is("transaction");
        if !self.is("to") {
            return self.no_chain(Command::Rollback);
        }
        self.is("savepoint");
        self.name().map(Command::RollbackTo)
    }

    fn prepare(&mut self) -> Result<Command, Refusal> {
        if self.is("transaction") {
            return Err(Refusal::unsupported("PREPARE TRANSACTION"));
        }
        let name = self.name()?;
        let types = if self.is_symbol('(') { self.listed()? } else { Vec::new() };
        self.expect("as")?;
        Ok(Command::Prepare { name, types, text: self.rest().to_owned() })
    }

    fn execute(&mut self) -> Result<Command, Refusal> {
        let name = self.name()?;
        let values = if self.is_symbol('(') { self.listed()? } else { Vec::new() };
        Ok(Command::ExecutePrepared { name, values })
    }

    fn declare(&mut self) -> Result<Cursor, Refusal> {
        let name = self.name()?;
        let (mut format, mut life) = (Format::Text, Scope::Transaction);
        while !self.is("for") {
            match self.word().as_deref() {
                Some("binary") => format = Format::Binary,
                Some("with") => life = Scope::Session,
                Some("without") => life = Scope::Transaction,
                Some("insensitive" | "asensitive" | "no" | "scroll" | "cursor" | "hold") => {}
                _ => return Err(self.unexpected()),
            }
        }
        Ok(Cursor { name, text: self.rest().to_owned(), format, life })
    }

    /// Forward only: rows that have passed are gone.
    fn fetch(&mut self, takes: Takes) -> Result<Command, Refusal> {
        for backwards in ["backward", "prior", "first", "last", "absolute", "relative"] {
            if self.is_next(backwards) {
                return Err(Refusal::new("55000", "cursor can only scan forward"));
            }
        }
        let count = if self.is("next") {
            1
        } else {
            self.is("forward");
            if self.is("all") { usize::MAX } else { self.rows()?.unwrap_or(1) }
        };
        let _ = self.is("from") || self.is("in");
        Ok(Command::Fetch { name: self.name()?, count, takes })
    }

    fn rows(&mut self) -> Result<Option<usize>, Refusal> {
        match self.kind() {
            Some(Kind::Number) => {
                let Some(Token::Number(number)) = self.peek() else { return Ok(None) };
                let rows = number.parse().map_err(|_| self.unexpected())?;
                self.advance();
                Ok(Some(rows))
            }
            Some(Kind::Symbol('-')) => Err(Refusal::new("55000", "cursor can only scan forward")),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::settings::VALUES_MAX;
    use super::*;
    use crate::api::pg::words::ITEMS_MAX;

    #[track_caller]
    fn check(text: &str, expected: Command) {
        assert_eq!(Command::parse(text), Ok(expected), "{text}");
    }

    #[track_caller]
    fn refused(text: &str, code: &str) {
        assert_eq!(Command::parse(text).map_err(|refusal| refusal.code), Err(code), "{text}");
    }

    fn set(name: &str, value: &str) -> Command {
        Command::Set { name: name.into(), value: Value::Text(value.into()), scope: Scope::Session }
    }

    #[test]
    fn what_is_not_about_the_session_is_a_query() {
        for text in ["SELECT 1", "WITH a AS (SELECT 1) SELECT * FROM a", "(SELECT 1)", "INSERT INTO t VALUES (1)"] {
            check(text, Command::Query(text.into()));
        }
        check("TABLE t", Command::Query("SELECT * FROM t".into()));
    }

    #[test]
    fn transactions_are_known_by_their_words() {
        check("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", Command::Begin);
        check("BEGIN TRANSACTION", Command::Begin);
        check("start transaction", Command::Begin);
        check("END", Command::Commit);
        check("ROLLBACK WORK", Command::Rollback);
        check("rollback to savepoint \"A b\"", Command::RollbackTo("A b".into()));
        check("RELEASE SAVEPOINT s", Command::Release("s".into()));
        check(&format!("SAVEPOINT {}", "s".repeat(100)), Command::Savepoint("s".repeat(63)));
        check("COMMIT AND NO CHAIN", Command::Commit);
        for text in ["COMMIT PREPARED 'x'", "ROLLBACK PREPARED 'x'", "COMMIT AND CHAIN", "SET TRANSACTION SNAPSHOT 'x'"]
        {
            refused(text, "0A000");
        }
        for text in ["COMMIT nonsense", "BEGIN nonsense", "ROLLBACK TO a b", "RELEASE a b", "DEALLOCATE a b"] {
            refused(text, "42601");
        }
    }

    #[test]
    fn settings_are_set_in_many_ways() {
        check("SET extra_float_digits = 3", set("extra_float_digits", "3"));
        check("set search_path to system, \"Pub\"", set("search_path", "system, \"Pub\""));
        check("SET search_path TO \"$user\", 'a,b', \"c\"\"\"", set("search_path", "\"$user\", \"a,b\", \"c\"\"\""));
        check("SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE", set("timezone", "+02:00"));
        check("SET SESSION statement_timeout TO '5s'", set("statement_timeout", "5s"));
        check("SET TIME ZONE 'Europe/Berlin'", set("timezone", "Europe/Berlin"));
        check("SET x.y = -1", set("x.y", "-1"));
        check("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::Nothing("SET"));
        let local = Command::Set { name: "jit".into(), value: Value::Default, scope: Scope::Transaction };
        check("SET LOCAL jit TO DEFAULT", local);
        check("SHOW TRANSACTION ISOLATION LEVEL", Command::Show("transaction_isolation".into()));
        check("SHOW TABLES", Command::Query("SHOW TABLES".into()));
        refused("SET x", "42601");
        refused("SET x = ;", "42601");
        refused("SET jit = on nonsense", "42601");
        refused("SHOW jit nonsense", "42601");
        refused("SET a.b.c.d.e = 1", "42601");
        refused(&format!("SET search_path = {}a", "a,".repeat(VALUES_MAX)), "54000");
    }

    #[test]
    fn a_select_that_only_sets_is_known() {
        let configure = |name: &str, value, scope, column: &str| Command::Configure {
            name: name.into(),
            value,
            scope,
            column: column.into(),
        };
        let nothing = || Value::Text(String::new());
        let expected = configure("search_path", nothing(), Scope::Session, "set_config");
        check("SELECT pg_catalog.set_config('search_path', '', false)", expected);
        let expected = configure("a.b", Value::Default, Scope::Transaction, "x");
        check("select set_config('a.b', NULL, true) AS x", expected);
        for text in ["SELECT set_config('a.b', v, true)", "SELECT set_config('a.b', '1', true), 1", "SELECT set_config"]
        {
            check(text, Command::Query(text.into()));
        }
    }

    #[test]
    fn cursors_move_forward_only() {
        let cursor =
            |format, life| Command::Declare(Cursor { name: "c".into(), text: "SELECT 1".into(), format, life });
        check("DECLARE \"c\" CURSOR WITHOUT HOLD FOR SELECT 1", cursor(Format::Text, Scope::Transaction));
        check(
            "DECLARE c BINARY INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
            cursor(Format::Binary, Scope::Session),
        );
        let fetch = |count| Command::Fetch { name: "c".into(), count, takes: Takes::Rows };
        for (text, count) in
            [("FETCH c", 1), ("FETCH 10 IN c", 10), ("FETCH FORWARD 50 FROM c", 50), ("FETCH ALL FROM c", usize::MAX)]
        {
            check(text, fetch(count));
        }
        refused("FETCH BACKWARD 1 FROM c", "55000");
        refused("FETCH -1 FROM c", "55000");
    }

    #[test]
    fn copies_go_out_in_three_forms() {
        let copy = |text: &str, form| Command::Copy(Copy { text: text.into(), form });
        check("COPY (SELECT (1)) TO STDOUT (FORMAT \"binary\")", copy("SELECT (1)", CopyForm::Binary));
        check("COPY (SELECT 1) TO STDOUT WITH BINARY", copy("SELECT 1", CopyForm::Binary));
        let text = CopyForm::Text { delimiter: '\t', null: "\\N".into(), header: false };
        check("COPY \"T\".a (x, y) TO STDOUT", copy("SELECT x, y FROM \"T\".a", text));
        let csv = CopyForm::Csv { delimiter: ';', quote: '"', null: "-".into(), header: true };
        check("COPY t TO STDOUT WITH CSV HEADER DELIMITER AS ';' NULL '-'", copy("SELECT * FROM t", csv.clone()));
        check("COPY t TO STDOUT (FORMAT csv, HEADER true, DELIMITER ';', NULL '-')", copy("SELECT * FROM t", csv));
        refused("COPY t FROM STDIN", "25006");
        refused("COPY t TO '/tmp/x'", "42501");
        refused("COPY t TO STDOUT (FORCE_QUOTE *)", "0A000");
        refused("COPY (SELECT 1", "42601");
    }

    #[test]
    fn statements_are_prepared_with_types_and_run_with_values() {
        let prepare = Command::Prepare {
            name: "p".into(),
            types: vec!["int".into(), "numeric(1, 2)".into()],
            text: "SELECT $1, $2".into(),
        };
        check("PREPARE p (int, numeric(1, 2)) AS SELECT $1, $2", prepare);
        let execute = Command::ExecutePrepared { name: "p".into(), values: vec!["1 + 1".into(), "'a,b'".into()] };
        check("EXECUTE p(1 + 1, 'a,b')", execute);
        let execute = Command::ExecutePrepared { name: "p".into(), values: vec!["f(1, 2)".into(), "3".into()] };
        check("EXECUTE p(f(1, 2), 3)", execute);
        refused(&format!("EXECUTE p({}1)", "1,".repeat(ITEMS_MAX)), "54000");
        check("DEALLOCATE PREPARE p", Command::Deallocate(Some("p".into())));
        check("DEALLOCATE ALL", Command::Deallocate(None));
    }
}
