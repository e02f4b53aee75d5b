//! The text of a client, cut into statements and words.
//!
//! # Why
//! What is about the session is told apart by its first words, before any parser: the parser of the query engine knows
//! only a part of it, and one of several statements that cannot be parsed must not keep those before it from being run.

use std::ops::Range;

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

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) at: Range<usize>,
}

/// The statements of `text`, their tokens first; those without any are left out.
pub(super) fn statements(text: &str) -> Vec<(Vec<Lexeme>, &str)> {
    let mut statements = Vec::new();
    let mut tokens: Vec<Lexeme> = Vec::new();
    let mut depth = 0_usize;
    let mut end_of = |tokens: &mut Vec<Lexeme>| {
        if let (Some(first), Some(last)) = (tokens.first(), tokens.last()) {
            let (start, end) = (first.at.start, last.at.end);
            let shifted = std::mem::take(tokens).into_iter();
            let shifted = shifted.map(|l| Lexeme { token: l.token, at: l.at.start - start..l.at.end - start });
            statements.push((shifted.collect(), &text[start..end]));
        }
    };
    let mut lexer = Lexer { text, at: 0 };
    while let Some(lexeme) = lexer.next() {
        match lexeme.token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth = depth.saturating_sub(1),
            Token::Symbol(';') if depth == 0 => {
                end_of(&mut tokens);
                continue;
            }
            _ => {}
        }
        tokens.push(lexeme);
    }
    end_of(&mut tokens);
    statements
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<Lexeme> {
        self.skip_blanks();
        let start = self.at;
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let token = match first {
            '\'' => Token::Text(self.quoted('\'', Escapes::No)),
            '"' => Token::Quoted(self.quoted('"', Escapes::No)),
            'e' | 'E' if rest[1..].starts_with('\'') => {
                self.at += 1;
                Token::Text(self.quoted('\'', Escapes::Yes))
            }
            '$' if dollar_tag(rest).is_some() => Token::Text(self.dollar_quoted()),
            c if c.is_alphabetic() || c == '_' => Token::Word(self.run(is_word_part).to_lowercase()),
            c if c.is_ascii_digit() => Token::Number(self.run(|c| c.is_ascii_alphanumeric() || c == '.')),
            symbol => {
                self.at += symbol.len_utf8();
                Token::Symbol(symbol)
            }
        };
        Some(Lexeme { token, at: start..self.at })
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let rest = &self.text[self.at..];
        let len = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += len;
        rest[..len].to_owned()
    }

    /// White space and comments; those between `/*` and `*/` nest.
    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("--") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += comment_len(trimmed);
            } else {
                return;
            }
        }
    }

    /// What stands between `quote` and the next one; a doubled one is one of the text. What has no end goes to the end.
    fn quoted(&mut self, quote: char, escapes: Escapes) -> String {
        let mut value = String::new();
        let mut chars = self.text[self.at..].char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' && escapes == Escapes::Yes {
                value.extend(chars.next().map(|(_, escaped)| unescaped(escaped)));
            } else if c == quote {
                if chars.next_if(|(_, next)| *next == quote).is_none() {
                    self.at += at + 1;
                    return value;
                }
                value.push(quote);
            } else {
                value.push(c);
            }
        }
        self.at = self.text.len();
        value
    }

    fn dollar_quoted(&mut self) -> String {
        let rest = &self.text[self.at..];
        let tag = dollar_tag(rest).unwrap_or_default();
        let inner = &rest[tag.len()..];
        let end = inner.find(tag).unwrap_or(inner.len());
        self.at = (self.at + tag.len() + end + tag.len()).min(self.text.len());
        inner[..end].to_owned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Yes,
    No,
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
        assert_eq!(statements(text).into_iter().map(|(_, text)| text).collect::<Vec<_>>(), expected, "{text}");
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
    }

    #[test]
    fn words_are_small_and_quotes_are_taken_off() {
        let (tokens, _) = statements("SET \"A\" = 'b''c', E'\\n', $$d$$, 1.5e3, $1").remove(0);
        let tokens: Vec<Token> = tokens.into_iter().map(|l| l.token).filter(|t| *t != Token::Symbol(',')).collect();
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
        ];
        assert_eq!(tokens, expected);
    }
}
