//! From text to a command.

use std::time::Duration;

use arrow_array::TimestampMillisecondArray;
use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::sql::sqlparser::tokenizer::Token;
use storage::catalog::{CacheKind, HardDelete, NewTable, PermissionText};
use storage::model::{FieldType, Retention, TimeRange};
use uuid::Uuid;

use super::words::{Result, Words};
use super::{Command, Grant, Named, TableRef, caches, rows};

/// What statements begin with that are commands, or are refused.
const FIRST_WORDS: &[&str] = &[
    "CREATE DATABASE",
    "ALTER DATABASE",
    "DROP DATABASE",
    "CREATE TABLE",
    "ALTER TABLE",
    "DROP TABLE",
    "CREATE TOKEN",
    "CREATE ADMIN TOKEN",
    "DROP TOKEN",
    "CREATE LAST CACHE",
    "CREATE DISTINCT CACHE",
    "DROP LAST CACHE",
    "DROP DISTINCT CACHE",
    "ALTER SYSTEM",
    "DELETE",
    "DRAIN",
    "REMOVE",
    "CANCEL",
    "SNAPSHOT",
    "COMPACT",
];

/// The command in `text`; `None` when it does not begin like one. Tables without a database are those of `database`.
pub(crate) fn parse(text: &str, database: &str) -> Option<Result<Command>> {
    // Most statements are queries, and are not taken apart twice.
    let mut letters = text.trim_start().chars().map(|letter| letter.to_ascii_uppercase());
    match (letters.next()?, letters.next()) {
        ('S', Some('N')) => {}
        ('S' | 'W' | 'E' | 'V' | '(', _) => return None,
        _ => {}
    }
    let mut words = Words::of(text);
    let first = FIRST_WORDS.iter().find(|first| words.take(first))?;
    let command = command(first, &mut words, database);
    Some(command.and_then(|command| words.end().map(|()| command)))
}

/// Whether `text` is a command, right or wrong.
#[must_use]
pub fn is_command(text: &str) -> bool {
    parse(text, "").is_some()
}

fn command(first: &str, words: &mut Words, database: &str) -> Result<Command> {
    match first {
        "CREATE DATABASE" => {
            let tolerant = words.take("IF NOT EXISTS");
            let name = words.name("the name of a database")?;
            let retention_ns = with_retention(words)?;
            Ok(Command::CreateDatabase { database: Named { name, tolerant }, retention_ns })
        }
        "ALTER DATABASE" => {
            let database = words.name("the name of a database")?;
            Ok(Command::SetDatabaseRetention { database, retention_ns: set_retention(words)? })
        }
        "DROP DATABASE" => {
            let database = dropped(words, "the name of a database")?;
            Ok(Command::DropDatabase { database, hard_delete: hard_delete(words)? })
        }
        "CREATE TABLE" => create_table(words, database),
        "ALTER TABLE" => {
            let table = table(words, database)?;
            Ok(Command::SetTableRetention { table, retention_ns: set_retention(words)? })
        }
        "DROP TABLE" => {
            let tolerant = words.take("IF EXISTS");
            let table = table(words, database)?;
            Ok(Command::DropTable { table, tolerant, hard_delete: hard_delete(words)? })
        }
        "CREATE TOKEN" => create_token(words),
        "CREATE ADMIN TOKEN" => {
            let name = words.name("the name of a token")?;
            let [expires_in] = options(words, ["expires_in"])?;
            Ok(Command::CreateToken { name, grant: Grant::Everything, expiry: expiry(expires_in)? })
        }
        "DROP TOKEN" => Ok(Command::DropToken(dropped(words, "the name of a token")?)),
        "CREATE LAST CACHE" => caches::create(CacheKind::Last, words, database),
        "CREATE DISTINCT CACHE" => caches::create(CacheKind::Distinct, words, database),
        "DROP LAST CACHE" => caches::dropped(CacheKind::Last, words, database),
        "DROP DISTINCT CACHE" => caches::dropped(CacheKind::Distinct, words, database),
        "ALTER SYSTEM" => configure(words),
        "DELETE" => delete_rows(words, database),
        "DRAIN" => {
            words.expect("NODE")?;
            Ok(Command::DrainNode { node: words.text("the id of a node in single quotes")? })
        }
        "REMOVE" => {
            words.expect("NODE")?;
            Ok(Command::RemoveNode { node: words.text("the id of a node in single quotes")? })
        }
        "SNAPSHOT" => {
            let node = words.take("NODE").then(|| words.text("the id of a node in single quotes"));
            Ok(Command::Snapshot { node: node.transpose()? })
        }
        "COMPACT" => {
            words.expect("TABLE")?;
            let table = table(words, database)?;
            let window = words.take("WINDOW").then(|| window(words)).transpose()?;
            Ok(Command::CompactTable { table, window })
        }
        _ => {
            words.expect("QUERY")?;
            let id = words.text("the id of a query in single quotes")?;
            let wrong = |_| format!("'{id}' is not the id of a query, as column id of system.queries has it");
            Ok(Command::CancelQuery { id: Uuid::parse_str(&id).map_err(wrong)? })
        }
    }
}

fn delete_rows(words: &mut Words, database: &str) -> Result<Command> {
    words.expect("FROM")?;
    let mut deletion = rows::all(table(words, database)?);
    if words.take("WHERE") {
        rows::restrict(&mut deletion, words.rest())?;
    }
    Ok(Command::DeleteRows(deletion))
}

/// `'from' TO 'to'`, the second not included.
fn window(words: &mut Words) -> Result<TimeRange> {
    let from = words.text("an instant in single quotes")?;
    words.expect("TO")?;
    let to = words.text("an instant in single quotes")?;
    let range = TimeRange::new(instant(&from)?, instant(&to)?.saturating_sub(1));
    range.ok_or_else(|| format!("a window from '{from}' to '{to}' holds no time"))
}

/// Nanoseconds since 1970.
fn instant(text: &str) -> Result<i64> {
    string_to_timestamp_nanos(text).map_err(|_| format!("'{text}' is not an instant such as 2026-01-31T12:00:00Z"))
}

fn dropped(words: &mut Words, of: &str) -> Result<Named> {
    let tolerant = words.take("IF EXISTS");
    Ok(Named { name: words.name(of)?, tolerant })
}

/// `table`, `public.table` or `database.public.table`; `iox` is `public`.
pub(super) fn table(words: &mut Words, database: &str) -> Result<TableRef> {
    let mut names = vec![words.name("the name of a table")?];
    while names.len() < 3 && words.take_token(&Token::Period) {
        names.push(words.name("a name")?);
    }
    let table = names.pop().expect("it has one");
    let schema = names.pop();
    if let Some(schema) = schema.filter(|schema| schema != "public" && schema != "iox") {
        return Err(format!("tables are in schema public, not in '{}'", schema.escape_debug()));
    }
    Ok(TableRef { database: names.pop().unwrap_or_else(|| database.to_owned()), table })
}

fn create_table(words: &mut Words, database: &str) -> Result<Command> {
    let tolerant = words.take("IF NOT EXISTS");
    let TableRef { database, table } = table(words, database)?;
    let (mut tags, mut fields) = (Vec::new(), Vec::new());
    words.expect_token(&Token::LParen)?;
    loop {
        let name = words.name("the name of a column")?;
        if name == "time" {
            if !["TIMESTAMP", "TIMESTAMPTZ"].into_iter().any(|word| words.take(word)) {
                return Err(words.expected("TIMESTAMP, the type of the column time which every table has,"));
            }
        } else if words.take("TAG") {
            tags.push(name);
        } else {
            fields.push((name, field_type(words)?));
        }
        if !words.take_token(&Token::Comma) {
            break;
        }
    }
    words.expect_token(&Token::RParen)?;
    let retention_ns = with_retention(words)?;
    Ok(Command::CreateTable { table: NewTable { database, name: table, tags, fields, retention_ns }, tolerant })
}

/// Types of fields, the longer names first.
const TYPES: &[(&str, FieldType)] = &[
    ("BIGINT UNSIGNED", FieldType::UInteger),
    ("UINT64", FieldType::UInteger),
    ("UBIGINT", FieldType::UInteger),
    ("BIGINT", FieldType::Integer),
    ("INT8", FieldType::Integer),
    ("INT64", FieldType::Integer),
    ("DOUBLE PRECISION", FieldType::Float),
    ("DOUBLE", FieldType::Float),
    ("FLOAT8", FieldType::Float),
    ("FLOAT64", FieldType::Float),
    ("BOOLEAN", FieldType::Boolean),
    ("BOOL", FieldType::Boolean),
    ("TEXT", FieldType::String),
    ("VARCHAR", FieldType::String),
    ("UTF8", FieldType::String),
];

fn field_type(words: &mut Words) -> Result<FieldType> {
    let found = TYPES.iter().find(|(name, _)| words.take(name));
    found.map(|(_, of)| *of).ok_or_else(|| words.expected("TAG, DOUBLE, BIGINT, BIGINT UNSIGNED, BOOLEAN or TEXT"))
}

fn create_token(words: &mut Words) -> Result<Command> {
    let name = words.name("the name of a token")?;
    let [permissions, expires_in] = options(words, ["permissions", "expires_in"])?;
    let texts = permissions.ok_or("a token needs WITH (permissions = 'db:NAME:read,write; ...')")?;
    let texts = texts.split(';').map(|text| PermissionText::parse(text.trim()).map_err(|error| error.to_string()));
    let grant = Grant::Permissions(texts.collect::<Result<_>>()?);
    Ok(Command::CreateToken { name, grant, expiry: expiry(expires_in)? })
}

fn expiry(text: Option<String>) -> Result<Option<Duration>> {
    let wrong = |text: &str| format!("expires_in '{text}' is not a duration such as 12h or 90d");
    let parsed = text.map(|text| Retention::parse(&text).map_err(|_| wrong(&text))).transpose()?;
    Ok(parsed.and_then(Retention::nanoseconds).map(Duration::from_nanos))
}

/// The setting that `text` wants to see, as it is said.
pub(crate) fn shown_setting(text: &str) -> Option<String> {
    if !text.trim_start().get(..4)?.eq_ignore_ascii_case("show") {
        return None;
    }
    let mut words = Words::of(text);
    let name = words.take("SHOW").then(|| setting(&mut words))?.ok()?;
    words.end().ok().map(|()| name)
}

/// Its words are parted by `_` or, as those of its flag, by `-`.
fn setting(words: &mut Words) -> Result<String> {
    let mut name = words.name("the name of a setting")?;
    while words.take_token(&Token::Minus) {
        name = format!("{name}-{}", words.name("the rest of the name of a setting")?);
    }
    Ok(name)
}

/// `SET name = value [FOR NODE 'id']` or `RESET name [FOR NODE 'id']`; `RESET ALL`, too.
fn configure(words: &mut Words) -> Result<Command> {
    let is_reset = words.take("RESET");
    if !is_reset && !words.take("SET") {
        return Err(words.expected("SET name = value or RESET name"));
    }
    if is_reset && words.take("ALL") {
        return Ok(Command::ResetAll { node: for_node(words)? });
    }
    let setting = setting(words)?;
    let value = if is_reset {
        None
    } else {
        if !words.take("TO") {
            words.expect_token(&Token::Eq)?;
        }
        Some(words.value("a value")?)
    };
    Ok(Command::Configure { setting, value, node: for_node(words)? })
}

fn for_node(words: &mut Words) -> Result<Option<String>> {
    words.take("FOR NODE").then(|| words.text("the id of a node in single quotes")).transpose()
}

/// `[WITH (retention = '...')]`.
fn with_retention(words: &mut Words) -> Result<Option<u64>> {
    let [retention] = options(words, ["retention"])?;
    Ok(retention.map(|text| Retention::parse(&text)).transpose()?.and_then(Retention::nanoseconds))
}

/// `SET (retention = '...')` or `RESET (retention)`.
fn set_retention(words: &mut Words) -> Result<Option<u64>> {
    if words.take("RESET") {
        words.expect_token(&Token::LParen)?;
        words.expect("retention")?;
        words.expect_token(&Token::RParen)?;
        return Ok(None);
    }
    if !words.take("SET") {
        return Err(words.expected("SET (retention = '...') or RESET (retention)"));
    }
    let [retention] = picked(words.options()?, ["retention"])?;
    let text = retention.ok_or("expected retention = '...'")?;
    Ok(Retention::parse(&text)?.nanoseconds())
}

fn hard_delete(words: &mut Words) -> Result<HardDelete> {
    let [when] = options(words, ["hard_delete"])?;
    hard_delete_at(when.as_deref())
}

/// When the files of something dropped go: `now`, `never`, `default`, or an instant in RFC 3339. One before 1970 is 1970.
pub fn hard_delete_at(when: Option<&str>) -> Result<HardDelete> {
    match when {
        None | Some("default") => Ok(HardDelete::Default),
        Some("now") => Ok(HardDelete::Now),
        Some("never") => Ok(HardDelete::Never),
        Some(text) => {
            let wrong =
                |_| format!("'{text}' is not an instant such as 2026-01-31T12:00:00Z, nor now, never or default");
            let ns = string_to_timestamp_nanos(text).map_err(wrong)?;
            Ok(HardDelete::At(u64::try_from(ns / 1_000_000).unwrap_or(0)))
        }
    }
}

/// `2026-01-02T03:04:05.006Z`.
#[must_use]
pub fn instant_text(ms: u64) -> String {
    let array = TimestampMillisecondArray::from(vec![i64::try_from(ms).unwrap_or(i64::MAX)]).with_timezone("UTC");
    // Only instants far beyond the year 200 000 have no text.
    array_value_to_string(&array, 0).unwrap_or_else(|_| format!("{ms}ms"))
}

/// The values of `[WITH (name = '...')]`, by the names that are known.
pub(super) fn options<const N: usize>(words: &mut Words, known: [&str; N]) -> Result<[Option<String>; N]> {
    let given = if words.take("WITH") { words.options()? } else { Vec::new() };
    picked(given, known)
}

fn picked<const N: usize>(given: Vec<(String, String)>, known: [&str; N]) -> Result<[Option<String>; N]> {
    let mut values = [const { None }; N];
    for (name, value) in given {
        let place = known.iter().position(|known| *known == name);
        let place = place.ok_or_else(|| format!("there is no option {name} here, only {}", known.join(", ")))?;
        values[place] = Some(value);
    }
    Ok(values)
}
