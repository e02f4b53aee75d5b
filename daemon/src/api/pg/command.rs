//! What a statement is: rows to be asked for, or something about the session.

use super::errors::Refusal;
use super::lex::{Lexeme, Token};
use super::wire::Format;

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

impl Command {
    /// What the statement with these tokens is.
    pub(super) fn parse(tokens: &[Lexeme], text: &str) -> Result<Self, Refusal> {
        let mut words = Words { tokens, at: 0, text };
        let Some(first) = words.word() else { return Ok(Self::Query(text.to_owned())) };
        match first.as_str() {
            "begin" => Ok(Self::Begin),
            "start" if words.is("transaction") => Ok(Self::Begin),
            "commit" | "end" => Ok(Self::Commit),
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
            "prepare" => words.prepare(),
            "execute" => words.execute(),
            "deallocate" => {
                words.is("prepare");
                words.name_or_all().map(Self::Deallocate)
            }
            "declare" => words.declare().map(Self::Declare),
            "fetch" => words.fetch(Takes::Rows),
            "move" => words.fetch(Takes::Nothing),
            "close" => words.name_or_all().map(Self::Close),
            "copy" => words.copy().map(Self::Copy),
            "unlisten" => Ok(Self::Nothing("UNLISTEN")),
            "listen" | "notify" | "lock" | "checkpoint" | "vacuum" | "analyze" | "cluster" | "reindex" => {
                Err(Refusal::unsupported(&first.to_uppercase()))
            }
            "table" => Ok(Self::Query(format!("SELECT * FROM {}", words.rest()))),
            _ => Ok(Self::Query(text.to_owned())),
        }
    }
}

/// The tokens that are left.
struct Words<'a> {
    tokens: &'a [Lexeme],
    at: usize,
    text: &'a str,
}

impl Words<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|lexeme| &lexeme.token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn word(&mut self) -> Option<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Some(word)
            }
            _ => None,
        }
    }

    /// Passes `word` when it is next.
    fn is(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.at += usize::from(found);
        found
    }

    fn is_symbol(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(&Token::Symbol(symbol));
        self.at += usize::from(found);
        found
    }

    /// What was not expected.
    fn unexpected(&self) -> Refusal {
        match self.tokens.get(self.at) {
            Some(lexeme) => Refusal::syntax(&self.text[lexeme.at.clone()]),
            None => Refusal::new("42601", "syntax error at end of input"),
        }
    }

    fn expect(&mut self, word: &str) -> Result<(), Refusal> {
        if self.is(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The text from here on.
    fn rest(&self) -> &str {
        self.tokens.get(self.at).map_or("", |lexeme| &self.text[lexeme.at.start..])
    }

    fn name(&mut self) -> Result<String, Refusal> {
        match self.peek().cloned() {
            Some(Token::Word(name) | Token::Quoted(name)) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn name_or_all(&mut self) -> Result<Option<String>, Refusal> {
        if self.is("all") { Ok(None) } else { self.name().map(Some) }
    }

    fn rollback(&mut self) -> Result<Command, Refusal> {
        let _ = self.is("work") || self.is("transaction");
        if !self.is("to") {
            return Ok(Command::Rollback);
        }
        self.is("savepoint");
        self.name().map(Command::RollbackTo)
    }

    fn set(&mut self) -> Result<Command, Refusal> {
        let scope = if self.is("local") { Scope::Transaction } else { Scope::Session };
        self.is("session");
        // All there is to say of a transaction here: it reads.
        if self.is("transaction") || self.is("characteristics") || self.is("constraints") {
            return Ok(Command::Nothing("SET"));
        }
        if self.is("time") {
            self.expect("zone")?;
            return Ok(Command::Set { name: "timezone".to_owned(), value: self.values()?, scope });
        }
        if self.is("names") {
            return Ok(Command::Set { name: "client_encoding".to_owned(), value: self.values()?, scope });
        }
        if self.is("role") || self.is("authorization") {
            return match self.values()? {
                Value::Text(name) if name != "none" => Err(Refusal::unsupported("SET ROLE")),
                _ => Ok(Command::Nothing("SET")),
            };
        }
        let name = self.dotted_name()?;
        if !self.is_symbol('=') && !self.is("to") {
            return Err(self.unexpected());
        }
        Ok(Command::Set { name, value: self.values()?, scope })
    }

    fn dotted_name(&mut self) -> Result<String, Refusal> {
        let mut name = self.name()?;
        while self.is_symbol('.') {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name.to_lowercase())
    }

    /// Values parted by commas.
    fn values(&mut self) -> Result<Value, Refusal> {
        if matches!(self.peek(), Some(Token::Word(word)) if word == "default" || word == "local") {
            return Ok(Value::Default);
        }
        let mut values = Vec::new();
        loop {
            let sign = if self.is_symbol('-') { "-" } else { "" };
            // `INTERVAL '+00:00' HOUR TO MINUTE` is how some drivers write a time zone.
            self.is("interval");
            match self.next() {
                Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text) | Token::Number(text)) => {
                    values.push(format!("{sign}{text}"));
                }
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected());
                }
            }
            if !self.is_symbol(',') {
                return Ok(Value::Text(values.join(", ")));
            }
        }
    }

    fn show(&mut self) -> Result<Command, Refusal> {
        if matches!(self.peek(), Some(Token::Word(word)) if ["tables", "columns", "functions"].contains(&word.as_str()))
        {
            return Ok(Command::Query(self.text.to_owned()));
        }
        if self.is("time") {
            self.expect("zone")?;
            return Ok(Command::Show("timezone".to_owned()));
        }
        if self.is("transaction") {
            self.expect("isolation")?;
            self.expect("level")?;
            return Ok(Command::Show("transaction_isolation".to_owned()));
        }
        self.dotted_name().map(Command::Show)
    }

    fn reset(&mut self) -> Result<Command, Refusal> {
        if self.is("all") {
            return Ok(Command::Reset(None));
        }
        if self.is("time") {
            self.expect("zone")?;
            return Ok(Command::Reset(Some("timezone".to_owned())));
        }
        if self.is("role") || self.is("session") {
            return Ok(Command::Nothing("RESET"));
        }
        self.dotted_name().map(|name| Command::Reset(Some(name)))
    }

    fn discard(&mut self) -> Result<Command, Refusal> {
        match self.word().as_deref() {
            Some("all") => Ok(Command::Discard("DISCARD ALL")),
            Some("plans") => Ok(Command::Nothing("DISCARD PLANS")),
            Some("sequences") => Ok(Command::Nothing("DISCARD SEQUENCES")),
            Some("temp" | "temporary") => Ok(Command::Nothing("DISCARD TEMP")),
            _ => Err(self.unexpected()),
        }
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

    /// What stands between commas, up to the closing parenthesis.
    fn listed(&mut self) -> Result<Vec<String>, Refusal> {
        let (mut items, mut depth) = (Vec::new(), 0_usize);
        let mut start = self.at;
        loop {
            let here = self.at;
            let part = |items: &mut Vec<String>, start: usize| {
                if let (Some(first), true) = (self.tokens.get(start), here > start) {
                    items.push(self.text[first.at.start..self.tokens[here - 1].at.end].to_owned());
                }
            };
            match self.peek() {
                None => return Err(self.unexpected()),
                Some(Token::Symbol(')')) if depth == 0 => {
                    part(&mut items, start);
                    self.at += 1;
                    return Ok(items);
                }
                Some(Token::Symbol(',')) if depth == 0 => {
                    part(&mut items, start);
                    start = here + 1;
                }
                Some(Token::Symbol('(')) => depth += 1,
                Some(Token::Symbol(')')) => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
        }
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
        let mut count = 1;
        match self.peek().cloned() {
            Some(Token::Word(word)) => match word.as_str() {
                "next" => self.at += 1,
                "all" => (count, self.at) = (usize::MAX, self.at + 1),
                "forward" => {
                    self.at += 1;
                    if self.is("all") {
                        count = usize::MAX;
                    } else if let Some(Token::Number(number)) = self.peek().cloned() {
                        (count, self.at) = (self.rows(&number)?, self.at + 1);
                    }
                }
                "backward" | "prior" | "first" | "last" | "absolute" | "relative" => {
                    return Err(Refusal::new("55000", "cursor can only scan forward"));
                }
                _ => {}
            },
            Some(Token::Number(number)) => (count, self.at) = (self.rows(&number)?, self.at + 1),
            Some(Token::Symbol('-')) => return Err(Refusal::new("55000", "cursor can only scan forward")),
            _ => {}
        }
        let _ = self.is("from") || self.is("in");
        Ok(Command::Fetch { name: self.name()?, count, takes })
    }

    fn rows(&self, number: &str) -> Result<usize, Refusal> {
        number.parse().map_err(|_| self.unexpected())
    }

    fn copy(&mut self) -> Result<Copy, Refusal> {
        let text = if self.is_symbol('(') {
            let start = self.tokens.get(self.at).map_or(0, |lexeme| lexeme.at.start);
            let mut depth = 1_usize;
            loop {
                let here = self.tokens.get(self.at).map(|lexeme| lexeme.at.start);
                match self.next() {
                    Some(Token::Symbol('(')) => depth += 1,
                    Some(Token::Symbol(')')) => depth -= 1,
                    Some(_) => {}
                    None => return Err(self.unexpected()),
                }
                if depth == 0 {
                    break self.text[start..here.unwrap_or(start)].to_owned();
                }
            }
        } else {
            self.copied_table()?
        };
        if self.is("from") {
            return Err(Refusal::new("25006", "COPY FROM is not supported: queries can only read"));
        }
        self.expect("to")?;
        if !self.is("stdout") {
            return Err(Refusal::new("42501", "COPY can only write to STDOUT"));
        }
        Ok(Copy { text, form: self.copy_form()? })
    }

    /// `schema.table (a, b)` as a query.
    fn copied_table(&mut self) -> Result<String, Refusal> {
        let start = self.tokens.get(self.at).map_or(0, |lexeme| lexeme.at.start);
        self.name()?;
        while self.is_symbol('.') {
            self.name()?;
        }
        let table = self.text[start..self.tokens[self.at - 1].at.end].to_owned();
        let columns = if self.is_symbol('(') { self.listed()?.join(", ") } else { "*".to_owned() };
        Ok(format!("SELECT {columns} FROM {table}"))
    }

    /// Both ways to say it: `(FORMAT csv, HEADER)` and `WITH CSV HEADER`.
    fn copy_form(&mut self) -> Result<CopyForm, Refusal> {
        let mut said = CopyOptions::default();
        self.is("with");
        let in_parentheses = self.is_symbol('(');
        while let Some(option) = self.word() {
            self.is("as");
            match option.as_str() {
                "format" => said.format = self.name()?,
                "binary" | "csv" | "text" => said.format = option,
                "header" => said.header = !self.is("false") && !self.is("off"),
                "delimiter" => said.delimiter = Some(self.character()?),
                "quote" => said.quote = Some(self.character()?),
                "null" => said.null = Some(self.copy_text()?),
                "encoding" => drop(self.copy_text()?),
                "escape" if self.character()? == said.quote.unwrap_or('"') => {}
                _ => return Err(Refusal::unsupported(&format!("COPY option {}", option.to_uppercase()))),
            }
            if in_parentheses {
                let _ = self.is("true") || self.is("on");
                self.is_symbol(',');
            }
        }
        if in_parentheses && !self.is_symbol(')') || self.peek().is_some() {
            return Err(self.unexpected());
        }
        said.form()
    }

    fn copy_text(&mut self) -> Result<String, Refusal> {
        match self.next() {
            Some(Token::Text(text)) => Ok(text),
            _ => {
                self.at -= 1;
                Err(self.unexpected())
            }
        }
    }

    fn character(&mut self) -> Result<char, Refusal> {
        let text = self.copy_text()?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(one), None) if one.is_ascii() && !matches!(one, '\n' | '\r') => Ok(one),
            _ => Err(Refusal::new("22023", "COPY delimiter and quote must be a single one-byte character")),
        }
    }
}

#[derive(Debug, Default)]
struct CopyOptions {
    format: String,
    delimiter: Option<char>,
    quote: Option<char>,
    null: Option<String>,
    header: bool,
}

impl CopyOptions {
    fn form(self) -> Result<CopyForm, Refusal> {
        let Self { format, delimiter, quote, null, header } = self;
        match format.as_str() {
            "binary" => Ok(CopyForm::Binary),
            "csv" => Ok(CopyForm::Csv {
                delimiter: delimiter.unwrap_or(','),
                quote: quote.unwrap_or('"'),
                null: null.unwrap_or_default(),
                header,
            }),
            "" | "text" => Ok(CopyForm::Text {
                delimiter: delimiter.unwrap_or('\t'),
                null: null.unwrap_or_else(|| "\\N".to_owned()),
                header,
            }),
            other => Err(Refusal::new("22023", format!("COPY format \"{other}\" not recognized"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pg::lex::statements;

    fn parse(text: &str) -> Result<Command, Refusal> {
        let (tokens, text) = statements(text).remove(0);
        Command::parse(&tokens, text)
    }

    #[track_caller]
    fn check(text: &str, expected: Command) {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }

    #[track_caller]
    fn refused(text: &str, code: &str) {
        assert_eq!(parse(text).map_err(|refusal| refusal.code), Err(code), "{text}");
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
        check("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", Command::Begin);
        check("start transaction", Command::Begin);
        check("END", Command::Commit);
        check("ROLLBACK WORK", Command::Rollback);
        check("rollback to savepoint \"A b\"", Command::RollbackTo("A b".into()));
        check("RELEASE SAVEPOINT s", Command::Release("s".into()));
    }

    #[test]
    fn settings_are_set_in_many_ways() {
        check("SET extra_float_digits = 3", set("extra_float_digits", "3"));
        check("set search_path to system, \"Pub\"", set("search_path", "system, Pub"));
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
        check("DEALLOCATE PREPARE p", Command::Deallocate(Some("p".into())));
        check("DEALLOCATE ALL", Command::Deallocate(None));
    }
}
