//! How large a statement may be, judged by its text, before it is parsed.
//!
//! # Why
//! A chain of operators becomes a tree as deep as the chain is long. Trees are planned, compared and dropped by recursion,
//! and a stack that overflows ends the process, not the query.

use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

pub(super) const TEXT_BYTES_MAX: usize = 2 << 20;
/// The stack of a query thread has room for twice as many. Planning takes the square of their number, and nobody can
/// interrupt it: at 2 000 it is seconds in a debug build, at 5 000 a minute.
const OPERATORS_MAX: usize = 2_000;
/// How deep a type in a text may be.
const TYPE_DEPTH_MAX: usize = 64;
/// An EXPLAIN of an EXPLAIN is refused later, but the parser's frames for one are large.
const EXPLAIN_WEIGHT: usize = 500;

/// Refuses a text that is too long, or whose tree could be too deep.
pub(super) fn check(text: &str, dialect: &dyn Dialect) -> Result<()> {
    if text.len() > TEXT_BYTES_MAX {
        return plan_err!("the query has {} bytes; at most {TEXT_BYTES_MAX} are allowed", text.len());
    }
    let tokens = Tokenizer::new(dialect, text).tokenize();
    let tokens = tokens.map_err(|error| DataFusionError::from(ParserError::from(error)))?;
    check_types(&tokens)?;
    match operators(&tokens) {
        count if count > OPERATORS_MAX => {
            plan_err!("the query has {count} operators; at most {OPERATORS_MAX} are allowed")
        }
        _ => Ok(()),
    }
}

/// Functions take the name of a type as a text, and its parser goes as deep as the text says.
fn check_types(tokens: &[Token]) -> Result<()> {
    let names_types = tokens
        .iter()
        .any(|token| matches!(token, Token::Word(word) if word.value.to_lowercase().starts_with("arrow_")));
    let depth = |token: &Token| match token {
        Token::SingleQuotedString(text) if names_types => text.bytes().filter(|byte| *byte == b'(').count(),
        _ => 0,
    };
    match tokens.iter().map(depth).max() {
        Some(depth) if depth > TYPE_DEPTH_MAX => {
            plan_err!("a type is nested {depth} times; at most {TYPE_DEPTH_MAX} are allowed")
        }
        _ => Ok(()),
    }
}

/// How many tokens may make the tree deeper.
fn operators(tokens: &[Token]) -> usize {
    let mut before = [&Token::Comma, &Token::Comma];
    // For each open parenthesis, whether its tables are being listed.
    let mut lists_tables = vec![false];
    let mut count = 0;
    for token in tokens.iter().filter(|t| !matches!(t, Token::Whitespace(_))) {
        let deepens = match token {
            Token::Comma => lists_tables.last() == Some(&true),
            // A sign, or all columns: each is by itself.
            Token::Plus | Token::Minus | Token::Mul => !matches!(before[1], Token::Comma | Token::LParen),
            // `a.b` is a name, `a.b.c` may be a field of a field.
            Token::Period => *before[0] == Token::Period,
            Token::Word(word) if word.keyword == Keyword::EXPLAIN => {
                count += EXPLAIN_WEIGHT;
                false
            }
            Token::Word(word) => deepens_as_word(word.keyword),
            token => !is_operand(token),
        };
        count += usize::from(deepens);
        follow(&mut lists_tables, token);
        before = [before[1], token];
    }
    count
}

/// Commas between tables are joins; commas anywhere else part what stands side by side.
fn follow(lists_tables: &mut Vec<bool>, token: &Token) {
    use Keyword::{EXCEPT, FROM, GROUP, HAVING, INTERSECT, LIMIT, ORDER, SELECT, UNION, VALUES, WHERE, WINDOW};
    match token {
        Token::LParen => lists_tables.push(false),
        Token::RParen => drop(lists_tables.pop()),
        Token::Word(word) => match (word.keyword, lists_tables.last_mut()) {
            (FROM, Some(top)) => *top = true,
            (
                WHERE | GROUP | ORDER | HAVING | LIMIT | UNION | EXCEPT | INTERSECT | SELECT | VALUES | WINDOW,
                Some(top),
            ) => *top = false,
            _ => {}
        },
        _ => {}
    }
}

fn deepens_as_word(keyword: Keyword) -> bool {
    use Keyword as K;
    matches!(
        keyword,
        K::AND
            | K::OR
            | K::XOR
            | K::NOT
            | K::IS
            | K::NOTNULL
            | K::IN
            | K::BETWEEN
            | K::LIKE
            | K::ILIKE
            | K::RLIKE
            | K::REGEXP
            | K::SIMILAR
            | K::DIV
            | K::OVERLAPS
            | K::COLLATE
            | K::AT
            | K::CASE
            | K::WHEN
            | K::SELECT
            | K::FROM
            | K::JOIN
            | K::APPLY
            | K::LATERAL
            | K::PIVOT
            | K::UNPIVOT
            | K::UNION
            | K::EXCEPT
            | K::INTERSECT
            | K::MINUS
    )
}

/// Literals, names of parameters, and what only groups or parts.
fn is_operand(token: &Token) -> bool {
    matches!(
        token,
        Token::EOF
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Placeholder(_)
            | Token::LParen
            | Token::RParen
            | Token::LBrace
            | Token::RBrace
            | Token::RBracket
            | Token::Colon
            | Token::SemiColon
    )
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;

    use super::*;

    #[track_caller]
    fn count(text: &str, expected: usize) {
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().expect("tokens");
        assert_eq!(operators(&tokens), expected, "{text}");
    }

    #[test]
    fn only_what_deepens_the_tree_is_counted() {
        // SELECT and FROM count as one each.
        count("SELECT a, (b), 'x + y', \"and\", t.c, * FROM t", 2);
        count("SELECT 1 IN (1, -2, +3, 'a', $p)", 2);
        count("VALUES (1, -1), (-2, 2)", 0);
        count("SELECT a+b-c*d/e%f || g::int", 8);
        count("SELECT - - -1", 3 + 1);
        count("SELECT 1 WHERE a = 1 AND NOT b <> 2 OR c IS NULL", 7);
        count("SELECT CASE WHEN a THEN 1 WHEN b THEN 2 END", 4);
        count("SELECT 1 UNION SELECT 2 EXCEPT SELECT 3 INTERSECT SELECT 4", 7);
        count("SELECT 1 FROM a, b JOIN c, (SELECT 1, 2 FROM d, e) WHERE f(1, 2)", 2 + 3 + 3);
        count("SELECT a.b.c.d, x[1][2]", 1 + 2 + 2);
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_with_the_numbers() {
        let check = |spaces: usize| check(&format!("SELECT 1{}", " ".repeat(spaces)), &GenericDialect {});
        assert!(check(TEXT_BYTES_MAX - 8).is_ok());
        let error = check(TEXT_BYTES_MAX - 7).expect_err("too long").to_string();
        assert!(error.contains("2097153 bytes") && error.contains("2097152"), "{error}");
    }
}
