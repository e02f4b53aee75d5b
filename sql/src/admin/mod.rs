//! What operators do through SQL: statements that change the cluster, or end something in it.
//!
//! # Promises
//! - One statement, one `Command`, one place that performs it, whichever door it came through; HTTP routes and the commands
//!   of the client end here too.
//! - Only who may everything changes anything; a query is also cancelled by whoever asked it. Tokens are made and ended only
//!   by whoever shows one.
//! - A change is in the catalog, and with it the record of who asked for it (`system.changes`), before its answer is sent.
//! - A command is shown as a statement that means the same, without secrets.
//! - A statement that begins like a command and is none is refused with what was expected, and where.
//!
//! # Not here
//! - Deciding whether a change is possible: `storage::catalog` does, on the newest state.
//!
//! # Statements
//! ```text
//! CREATE DATABASE [IF NOT EXISTS] d [WITH (retention = '30d')]
//! ALTER DATABASE d SET (retention = '30d') | RESET (retention)
//! DROP DATABASE [IF EXISTS] d [WITH (hard_delete = 'now' | 'never' | 'default' | instant)]
//! CREATE TABLE [IF NOT EXISTS] t (host TAG, usage DOUBLE, n BIGINT, u BIGINT UNSIGNED, ok BOOLEAN, note TEXT) [WITH (...)]
//! ALTER TABLE t SET (retention = '30d') | RESET (retention)
//! DROP TABLE [IF EXISTS] t [WITH (hard_delete = ...)]
//! CREATE TOKEN name WITH (permissions = 'db:d:read,write; system:*:read' [, expires_in = '90d'])
//! CREATE ADMIN TOKEN name [WITH (expires_in = '90d')]
//! DROP TOKEN [IF EXISTS] name
//! ALTER SYSTEM SET setting = value [FOR NODE 'id']      ALTER SYSTEM RESET setting | ALL [FOR NODE 'id']
//! SHOW setting
//! DRAIN NODE 'id'      REMOVE NODE 'id'      CANCEL QUERY 'id'
//! CREATE LAST CACHE [IF NOT EXISTS] [name] ON t [KEY (host)] [VALUES (usage)] [WITH (count = 3, ttl = '4h')]
//! CREATE DISTINCT CACHE [IF NOT EXISTS] [name] ON t (region, host) [WITH (max_cardinality = 1000, max_age = '1d')]
//! DROP LAST CACHE [IF EXISTS] name ON t      DROP DISTINCT CACHE [IF EXISTS] name ON t
//! SNAPSHOT [NODE 'id']      COMPACT TABLE t [WINDOW 'from' TO 'to']
//! ```

mod answer;
mod caches;
mod command;
mod operator;
mod orders;
mod parse;
mod words;

#[cfg(test)]
mod tests;

pub use answer::Tag;
pub use command::{Command, Grant, Named, TableRef};
pub use operator::{Asker, Done, Operator};
pub use orders::{Compacted, Hands};
use parse::exact_instant_text;
pub use parse::{hard_delete_at, instant_text, is_command};
pub(crate) use parse::{parse, shown_setting};
