//! Statements about settings.

use super::{Command, Scope, Value};
use crate::api::pg::errors::Refusal;
use crate::api::pg::lex::Token;
use crate::api::pg::words::Words;

/// Values of one setting.
pub(super) const VALUES_MAX: usize = 1000;
/// Words of `name.of.a.setting`.
const PARTS_MAX: usize = 4;

impl Words<'_> {
    pub(super) fn set(&mut self) -> Result<Command, Refusal> {
        let scope = if self.is("local") { Scope::Transaction } else { Scope::Session };
        self.is("session");
        if self.is("constraints") {
            while !self.is_done() {
                self.advance();
            }
            return Ok(Command::Nothing("SET"));
        }
        if self.is("characteristics") {
            self.expect("as")?;
            return self.modes(Command::Nothing("SET"));
        }
        if self.is("transaction") {
            if self.is_next("snapshot") {
                return Err(Refusal::unsupported("SET TRANSACTION SNAPSHOT"));
            }
            return self.modes(Command::Nothing("SET"));
        }
        if self.is("time") {
            self.expect("zone")?;
            let value = self.values("timezone")?;
            // What is left of `INTERVAL '+00:00' HOUR TO MINUTE`.
            let _ = self.is("hour") && self.is("to") && self.is("minute");
            return Ok(Command::Set { name: "timezone".to_owned(), value, scope });
        }
        if self.is("names") {
            let name = "client_encoding";
            return Ok(Command::Set { name: name.to_owned(), value: self.values(name)?, scope });
        }
        if self.is("role") || self.is("authorization") {
            let _ = self.is("to") || self.is_symbol('=');
            return match self.values("role")? {
                Value::Text(name) if name != "none" => Err(Refusal::unsupported("SET ROLE")),
                _ => Ok(Command::Nothing("SET")),
            };
        }
        let name = self.dotted_name()?;
        if !self.is_symbol('=') && !self.is("to") {
            return Err(self.unexpected());
        }
        Ok(Command::Set { value: self.values(&name)?, name, scope })
    }

    pub(super) fn dotted_name(&mut self) -> Result<String, Refusal> {
        let mut parts = vec![self.name()?];
        while self.is_symbol('.') {
            if parts.len() == PARTS_MAX {
                return Err(self.unexpected());
            }
            parts.push(self.name()?);
        }
        Ok(parts.join(".").to_lowercase())
    }

    /// Values of the setting `name`, parted by commas.
    pub(super) fn values(&mut self, name: &str) -> Result<Value, Refusal> {
        if self.is("default") || self.is("local") {
            return Ok(Value::Default);
        }
        let mut values = Vec::new();
        loop {
            let sign = if self.is_symbol('-') { "-" } else { "" };
            // `INTERVAL '+00:00' HOUR TO MINUTE` is how some drivers write a time zone.
            self.is("interval");
            match self.peek() {
                // Names of schemas may hold commas.
                Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text)) if name == "search_path" => {
                    values.push(quoted_name(&text));
                }
                Some(Token::Word(text) | Token::Quoted(text) | Token::Text(text) | Token::Number(text)) => {
                    values.push(format!("{sign}{text}"));
                }
                _ => return Err(self.unexpected()),
            }
            self.advance();
            if values.len() > VALUES_MAX {
                return Err(Refusal::new("54000", format!("a setting has at most {VALUES_MAX} values")));
            }
            if !self.is_symbol(',') {
                return Ok(Value::Text(values.join(", ")));
            }
        }
    }

    /// What follows a SELECT, when it does nothing but set: `set_config('name', 'value', is_local)`.
    pub(super) fn set_config(&mut self) -> Option<Command> {
        let mut column = self.word()?;
        if column == "pg_catalog" {
            self.is_symbol('.').then_some(())?;
            column = self.word()?;
        }
        (column == "set_config" && self.is_symbol('(')).then_some(())?;
        let name = self.text_literal()?;
        self.is_symbol(',').then_some(())?;
        let value = if self.is("null") { Value::Default } else { Value::Text(self.text_literal()?) };
        self.is_symbol(',').then_some(())?;
        let scope = match self.word()?.as_str() {
            "true" => Scope::Transaction,
            "false" => Scope::Session,
            _ => return None,
        };
        self.is_symbol(')').then_some(())?;
        if self.is("as") {
            column = self.name().ok()?;
        }
        self.is_done().then_some(Command::Configure { name, value, scope, column })
    }

    pub(super) fn show(&mut self) -> Result<Command, Refusal> {
        if ["tables", "columns", "functions"].iter().any(|word| self.is_next(word)) {
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
        let mut name = self.dotted_name()?;
        // Settings of the node may be called as their flags are.
        while self.is_symbol('-') {
            name = format!("{name}-{}", self.dotted_name()?);
        }
        Ok(Command::Show(name))
    }

    pub(super) fn reset(&mut self) -> Result<Command, Refusal> {
        if self.is("all") {
            return Ok(Command::Reset(None));
        }
        if self.is("time") {
            self.expect("zone")?;
            return Ok(Command::Reset(Some("timezone".to_owned())));
        }
        if self.is("session") {
            self.expect("authorization")?;
            return Ok(Command::Nothing("RESET"));
        }
        if self.is("role") {
            return Ok(Command::Nothing("RESET"));
        }
        self.dotted_name().map(|name| Command::Reset(Some(name)))
    }

    pub(super) fn discard(&mut self) -> Result<Command, Refusal> {
        match self.word().as_deref() {
            Some("all") => Ok(Command::Discard("DISCARD ALL")),
            Some("plans") => Ok(Command::Nothing("DISCARD PLANS")),
            Some("sequences") => Ok(Command::Nothing("DISCARD SEQUENCES")),
            Some("temp" | "temporary") => Ok(Command::Nothing("DISCARD TEMP")),
            _ => Err(self.unexpected()),
        }
    }
}

/// A name as a list of names has it: in quotes when it could be read as something else.
fn quoted_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.chars().all(is_plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}
