//! The text of a client, cut into statements and words.
//!
//! # Promises
//! - A text is read word by word, and no word is kept: whatever a client sends, cutting takes no more memory than that.
//! - Names are cut to 63 bytes, as in Postgres.
//!
//! # Why
//! What is about the session is told apart by its first words, before any parser: the parser of the query engine knows
//! only a part of it, and one of several statements that cannot be parsed must not keep those before it from being run.

use std::ops::Range;

/// The longest name of a statement, a cursor, a savepoint.
const NAME_BYTES_MAX: usize = 63;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Without quotes, in small letters.
    Word(String),
    /// An identifier in quotes.
    Quoted(String),
    /// A text literal.
    Text(String),
    Number(String),
    Symbol(char),
}

/// What kind of word it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Quoted,
    Text(Escapes),
    Dollar,
    Number,
    Symbol(char),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    Yes,
    No,
}

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lexeme {
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
}

impl Lexeme {
    /// What it says in `text`, from which it was read.
    pub(super) fn token(&self, text: &str) -> Token {
        let raw = &text[self.at.clone()];
        let plain = |raw: &str, quote, escapes| {
            let mut value = String::new();
            quoted(raw, (quote, escapes), |c| value.push(c));
            value
        };
        match self.kind {
            Kind::Word => Token::Word(raw.to_lowercase()),
            Kind::Quoted => Token::Quoted(plain(raw, '"', Escapes::No)),
            Kind::Text(Escapes::No) => Token::Text(plain(raw, '\'', Escapes::No)),
            Kind::Text(Escapes::Yes) => Token::Text(plain(&raw[1..], '\'', Escapes::Yes)),
            Kind::Dollar => {
                let tag = dollar_tag(raw).unwrap_or_default();
                let inner = &raw[tag.len()..];
                Token::Text(inner.strip_suffix(tag).unwrap_or(inner).to_owned())
            }
            Kind::Number => Token::Number(raw.to_owned()),
            Kind::Symbol(symbol) => Token::Symbol(symbol),
        }
    }
}

/// A name as it is kept.
pub(super) fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    name
}

/// The statements of `text`; those without any word are left out.
pub(super) fn statements(text: &str) -> impl Iterator<Item = &str> {
    let mut lexer = Lexer::new(text);
    std::iter::from_fn(move || {
        let (mut depth, mut found) = (0_usize, None::<Range<usize>>);
        loop {
            let Some(Lexeme { kind, at }) = lexer.next() else { return found.map(|range| &text[range]) };
            match kind {
                Kind::Symbol('(') => depth += 1,
                Kind::Symbol(')') => depth = depth.saturating_sub(1),
                Kind::Symbol(';') if depth == 0 => match found {
                    Some(range) => return Some(&text[range]),
                    None => continue,
                },
                _ => {}
            }
            found = Some(found.map_or(at.start, |range| range.start)..at.end);
        }
    })
}

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn next(&mut self) -> Option<Lexeme> {
        self.skip_blanks();
        let start = self.at;
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let nothing = |_| {};
        let (kind, len) = match first {
            '\'' => (Kind::Text(Escapes::No), quoted(rest, ('\'', Escapes::No), nothing)),
            '"' => (Kind::Quoted, quoted(rest, ('"', Escapes::No), nothing)),
            'e' | 'E' if rest[1..].starts_with('\'') => {
                (Kind::Text(Escapes::Yes), 1 + quoted(&rest[1..], ('\'', Escapes::Yes), nothing))
            }
            '$' if dollar_tag(rest).is_some() => (Kind::Dollar, dollar_len(rest)),
            c if c.is_alphabetic() || c == '_' => (Kind::Word, run_len(rest, is_word_part)),
            c if c.is_ascii_digit() => (Kind::Number, run_len(rest, |c| c.is_ascii_alphanumeric() || c == '.')),
            symbol => (Kind::Symbol(symbol), symbol.len_utf8()),
        };
        self.at += len;
        Some(Lexeme { kind, at: start..self.at })
    }

    /// White space and comments; those between `/*` and `*/` nest.
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("--") {
                self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += comment_len(trimmed);
            } else {
                return;
            }
        }
    }
}

fn run_len(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// Hands on what stands between the quote `text` begins with and the next one, and returns how long it is, quotes
/// included; a doubled one is one of the text. What has no end goes to the end.
fn quoted(text: &str, (quote, escapes): (char, Escapes), mut each: impl FnMut(char)) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes == Escapes::Yes {
            if let Some((_, escaped)) = chars.next() {
                each(unescaped(escaped));
            }
        } else if c == quote {
            if chars.next_if(|(_, next)| *next == quote).is_none() {
                return at + 1;
            }
            each(quote);
        } else {
            each(c);
        }
    }
    text.len()
}

fn dollar_len(text: &str) -> usize {
    let tag = dollar_tag(text).unwrap_or_default();
    let inner = &text[tag.len()..];
    inner.find(tag).map_or(text.len(), |end| tag.len() + end + tag.len())
}

fn unescaped(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        other => other,
    }
}

fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// `$$` or `$tag$` at the start of `text`; `$1` is none.
fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let end = inner.find('$')?;
    let tag = &inner[..end];
    let is_tag = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    is_tag.then(|| &text[..end + 2])
}

fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = text.as_bytes();
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(statements(text).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn statements_end_at_semicolons_that_are_not_quoted() {
        check("SELECT 1; SELECT 2", &["SELECT 1", "SELECT 2"]);
        check(" ;; -- nothing\n /* /* ; */ */ ;", &[]);
        check("SELECT ';', \";\", $$;$$, $a$;$$;$a$ -- ;\n, 1", &["SELECT ';', \";\", $$;$$, $a$;$$;$a$ -- ;\n, 1"]);
        check("SELECT 'it''s;', E'a\\';b'; x", &["SELECT 'it''s;', E'a\\';b'", "x"]);
        check("SELECT (1;2)", &["SELECT (1;2)"]);
        check("SELECT $1; SELECT 'open; ", &["SELECT $1", "SELECT 'open; "]);
        check("SELECT 'é'; SELECT é", &["SELECT 'é'", "SELECT é"]);
        check("-- x\rSELECT 1", &["SELECT 1"]);
    }

    #[test]
    fn words_are_small_and_quotes_are_taken_off() {
        let text = "SET \"A\" = 'b''c', E'\\n', $$d$$, 1.5e3, $1, 'open''";
        let mut lexer = Lexer::new(text);
        let tokens = std::iter::from_fn(|| lexer.next()).map(|lexeme| lexeme.token(text));
        let tokens: Vec<Token> = tokens.filter(|token| *token != Token::Symbol(',')).collect();
        let expected = [
            Token::Word("set".into()),
            Token::Quoted("A".into()),
            Token::Symbol('='),
            Token::Text("b'c".into()),
            Token::Text("\n".into()),
            Token::Text("d".into()),
            Token::Number("1.5e3".into()),
            Token::Symbol('$'),
            Token::Number("1".into()),
            Token::Text("open'".into()),
        ];
        assert_eq!(tokens, expected);
    }

    #[test]
    fn a_name_is_cut_where_a_letter_ends() {
        assert_eq!(cut("a".repeat(70)), "a".repeat(63));
        assert_eq!(cut("é".repeat(40)), "é".repeat(31));
    }
}
