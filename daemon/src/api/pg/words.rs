//! The words of a statement, one after the other.
//!
//! # Promises
//! - What is not expected is refused with what stands there.

use super::errors::Refusal;
use super::lex::{Kind, Lexeme, Lexer, Token, cut};

/// Items of a list in a statement about the session: the parameters of EXECUTE, the columns of COPY.
pub(super) const ITEMS_MAX: usize = 65_535;

/// What is left of a statement.
#[derive(Debug)]
pub(super) struct Words<'a> {
    pub(super) text: &'a str,
    lexer: Lexer<'a>,
    /// The next word.
    current: Option<Lexeme>,
    /// Where the word before it ends.
    passed: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut lexer = Lexer::new(text);
        let current = lexer.next();
        Self { text, lexer, current, passed: 0 }
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        self.current.as_ref().map(|lexeme| lexeme.kind)
    }

    pub(super) fn peek(&self) -> Option<Token> {
        self.current.as_ref().map(|lexeme| lexeme.token(self.text))
    }

    pub(super) fn advance(&mut self) {
        if let Some(lexeme) = &self.current {
            self.passed = lexeme.at.end;
        }
        self.current = self.lexer.next();
    }

    /// Where the next word begins.
    pub(super) fn start(&self) -> usize {
        self.current.as_ref().map_or(self.text.len(), |lexeme| lexeme.at.start)
    }

    pub(super) fn word(&mut self) -> Option<String> {
        match (self.kind(), self.peek()) {
            (Some(Kind::Word), Some(Token::Word(word))) => {
                self.advance();
                Some(word)
            }
            _ => None,
        }
    }

    pub(super) fn is_next(&self, word: &str) -> bool {
        let is_it =
            |lexeme: &Lexeme| lexeme.kind == Kind::Word && self.text[lexeme.at.clone()].eq_ignore_ascii_case(word);
        self.current.as_ref().is_some_and(is_it)
    }

    /// Passes `word` when it is next.
    pub(super) fn is(&mut self, word: &str) -> bool {
        let found = self.is_next(word);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn is_symbol(&mut self, symbol: char) -> bool {
        let found = self.kind() == Some(Kind::Symbol(symbol));
        if found {
            self.advance();
        }
        found
    }

    /// What was not expected.
    pub(super) fn unexpected(&self) -> Refusal {
        match &self.current {
            Some(lexeme) => Refusal::syntax(&self.text[lexeme.at.clone()]),
            None => Refusal::new("42601", "syntax error at end of input"),
        }
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), Refusal> {
        if self.is(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn is_done(&self) -> bool {
        self.current.is_none()
    }

    /// Where the word before the next one ends.
    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    /// The text from here on.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.start()..]
    }

    pub(super) fn name(&mut self) -> Result<String, Refusal> {
        match self.kind() {
            Some(Kind::Word | Kind::Quoted) => {}
            _ => return Err(self.unexpected()),
        }
        match self.peek() {
            Some(Token::Word(name) | Token::Quoted(name)) => {
                self.advance();
                Ok(cut(name))
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn name_or_all(&mut self) -> Result<Option<String>, Refusal> {
        if self.is("all") { Ok(None) } else { self.name().map(Some) }
    }

    /// What stands between commas, up to the closing parenthesis.
    pub(super) fn listed(&mut self) -> Result<Vec<String>, Refusal> {
        let (mut items, mut depth) = (Vec::new(), 0_usize);
        let mut start = self.start();
        loop {
            let kind = self.kind().ok_or_else(|| self.unexpected())?;
            let ends_item = depth == 0 && matches!(kind, Kind::Symbol(')' | ','));
            if ends_item && self.passed > start {
                items.push(self.text[start..self.passed].to_owned());
            }
            if items.len() > ITEMS_MAX {
                return Err(Refusal::new("54000", format!("a list has at most {ITEMS_MAX} items")));
            }
            match kind {
                Kind::Symbol('(') => depth += 1,
                Kind::Symbol(')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.advance();
            match kind {
                Kind::Symbol(')') if ends_item => return Ok(items),
                Kind::Symbol(',') if ends_item => start = self.start(),
                _ => {}
            }
        }
    }

    pub(super) fn text_literal(&mut self) -> Option<String> {
        match (self.kind()?, self.peek()?) {
            (Kind::Text(_) | Kind::Dollar, Token::Text(text)) => {
                self.advance();
                Some(text)
            }
            _ => None,
        }
    }
}
