//! Statements about caches.

use datafusion::sql::sqlparser::tokenizer::Token;
use storage::catalog::{CacheKind, NewCache, WantedCache};
use storage::model::Retention;

use super::parse::{options, table};
use super::words::{Result, Words};
use super::{Command, Named, TableRef};

/// `[IF NOT EXISTS] [name] ON t [KEY (a, ...)] [VALUES (b, ...)] [WITH (count = 3, ttl = '4h')]`, and
/// `[IF NOT EXISTS] [name] ON t (a, ...) [WITH (max_cardinality = 100, max_age = '1d')]`.
pub(super) fn create(kind: CacheKind, words: &mut Words, database: &str) -> Result<Command> {
    let tolerant = words.take("IF NOT EXISTS");
    let name = if words.take("ON") {
        None
    } else {
        let name = words.name("the name of a cache, or ON")?;
        words.expect("ON")?;
        Some(name)
    };
    let TableRef { database, table } = table(words, database)?;
    let wanted = match kind {
        CacheKind::Last => {
            let keys = words.take("KEY").then(|| columns(words)).transpose()?;
            let values = words.take("VALUES").then(|| columns(words)).transpose()?;
            let [count, ttl] = options(words, ["count", "ttl"])?;
            WantedCache::Last { keys, values, count: number("count", count)?, ttl_seconds: seconds("ttl", ttl)? }
        }
        CacheKind::Distinct => {
            let columns = columns(words)?;
            let [cardinality, age] = options(words, ["max_cardinality", "max_age"])?;
            let cardinality_max = number("max_cardinality", cardinality)?;
            WantedCache::Distinct { columns, cardinality_max, age_max_seconds: seconds("max_age", age)? }
        }
    };
    Ok(Command::CreateCache { cache: NewCache { database, table, name, wanted }, tolerant })
}

/// `[IF EXISTS] name ON t`.
pub(super) fn dropped(kind: CacheKind, words: &mut Words, database: &str) -> Result<Command> {
    let tolerant = words.take("IF EXISTS");
    let name = words.name("the name of a cache")?;
    words.expect("ON")?;
    let table = table(words, database)?;
    Ok(Command::DropCache { kind, table, cache: Named { name, tolerant } })
}

/// `(a, b)`.
fn columns(words: &mut Words) -> Result<Vec<String>> {
    words.expect_token(&Token::LParen)?;
    let mut columns = vec![words.name("the name of a column")?];
    while words.take_token(&Token::Comma) {
        columns.push(words.name("the name of a column")?);
    }
    words.expect_token(&Token::RParen)?;
    Ok(columns)
}

fn number(name: &str, text: Option<String>) -> Result<Option<u64>> {
    let wrong = |text: &str| format!("{name} '{}' is not a whole number", text.escape_debug());
    text.map(|text| text.parse().map_err(|_| wrong(&text))).transpose()
}

fn seconds(name: &str, text: Option<String>) -> Result<Option<u64>> {
    let wrong = |text: &str| format!("{name} '{}' is not a duration such as 90m or 4h", text.escape_debug());
    let read = |text: String| {
        let ns = Retention::parse(&text).map_err(|_| wrong(&text))?.nanoseconds();
        ns.map(|ns| ns / 1_000_000_000).ok_or_else(|| wrong(&text))
    };
    text.map(read).transpose()
}
