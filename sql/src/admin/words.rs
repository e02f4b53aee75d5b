//! The tokens of a statement, taken one after the other.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// The error tells what was expected and what was found.
pub(super) type Result<T> = std::result::Result<T, String>;

pub(super) struct Words {
    tokens: Vec<Token>,
    next: usize,
}

impl Words {
    /// A text that has no tokens has no words either.
    pub(super) fn of(text: &str) -> Self {
        let mut tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().unwrap_or_default();
        tokens.retain(|token| !matches!(token, Token::Whitespace(_)));
        while tokens.last() == Some(&Token::SemiColon) {
            tokens.pop();
        }
        Self { tokens, next: 0 }
    }

    /// Takes these words, parted by blanks, if they come next.
    pub(super) fn take(&mut self, words: &str) -> bool {
        let rest = &self.tokens[self.next..];
        let count = words.split(' ').count();
        let are_next = rest.len() >= count && words.split(' ').zip(rest).all(|(word, token)| is_word(token, word));
        self.next += if are_next { count } else { 0 };
        are_next
    }

    pub(super) fn expect(&mut self, words: &str) -> Result<()> {
        if self.take(words) { Ok(()) } else { Err(self.expected(words)) }
    }

    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let is_next = self.tokens.get(self.next) == Some(token);
        self.next += usize::from(is_next);
        is_next
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.take_token(token) { Ok(()) } else { Err(self.expected(&token.to_string())) }
    }

    /// An identifier. Without quotes its letters are small, as everywhere in SQL.
    pub(super) fn name(&mut self, of: &str) -> Result<String> {
        let name = match self.tokens.get(self.next) {
            Some(Token::Word(word)) if word.quote_style.is_some() => word.value.clone(),
            Some(Token::Word(word)) => word.value.to_lowercase(),
            _ => return Err(self.expected(of)),
        };
        self.next += 1;
        Ok(name)
    }

    /// A text in single quotes.
    pub(super) fn text(&mut self, of: &str) -> Result<String> {
        let Some(Token::SingleQuotedString(text)) = self.tokens.get(self.next) else { return Err(self.expected(of)) };
        self.next += 1;
        Ok(text.clone())
    }

    fn number(&mut self) -> Option<String> {
        let Some(Token::Number(number, _)) = self.tokens.get(self.next) else { return None };
        self.next += 1;
        Some(number.clone())
    }

    /// A text in single quotes, a number or a word.
    pub(super) fn value(&mut self, of: &str) -> Result<String> {
        let value = match self.tokens.get(self.next) {
            Some(Token::SingleQuotedString(text)) => text.clone(),
            Some(Token::Number(number, _)) => number.clone(),
            Some(Token::Word(word)) => word.value.clone(),
            _ => return Err(self.expected(of)),
        };
        self.next += 1;
        Ok(value)
    }

    /// `(name = 'text', ...)`; a number needs no quotes.
    pub(super) fn options(&mut self) -> Result<Vec<(String, String)>> {
        self.expect_token(&Token::LParen)?;
        let mut options = Vec::new();
        loop {
            let name = self.name("the name of an option")?;
            self.expect_token(&Token::Eq)?;
            let value = self.number().map_or_else(|| self.text(&format!("a text in single quotes for {name}")), Ok)?;
            if options.iter().any(|(known, _)| *known == name) {
                return Err(format!("{name} is given twice"));
            }
            options.push((name, value));
            if !self.take_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        Ok(options)
    }

    /// All that follows.
    pub(super) fn rest(&mut self) -> Vec<Token> {
        self.tokens.split_off(self.next)
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<()> {
        if self.next == self.tokens.len() { Ok(()) } else { Err(self.expected("the end of the statement")) }
    }

    pub(super) fn expected(&self, what: &str) -> String {
        let shown = |tokens: &[Token]| tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let found = self.tokens.get(self.next).map_or("the end of the statement".to_owned(), ToString::to_string);
        let found: String = found.chars().take(60).collect();
        let before = shown(&self.tokens[self.next.saturating_sub(3)..self.next]);
        match before.as_str() {
            "" => format!("expected {what}, found {found}"),
            before => format!("expected {what} after {before}, found {found}"),
        }
    }
}

pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}
