//! What operators do through SQL: statements that change the cluster, or end something in it.
//!
//! # Promises
//! - One statement, one `Command`, one place that performs it, whichever door it came through; HTTP routes and the commands
//!   of the client end here too.
//! - A query that is cancelled ends. Of `SNAPSHOT` and `COMPACT TABLE` the wait ends, and what was ordered by then goes on.
//!   Any other command goes on to its end, also when its client hangs up; `CANCEL QUERY` of it says so.
//! - Only who may everything changes anything; a query is also cancelled by whoever asked it, and rows are also deleted by
//!   who may `delete` in their database. Tokens are made and ended only
//!   by whoever shows one.
//! - A change is in the catalog, and with it the record of who asked for it (`system.changes`), before its answer is sent.
//! - A delete hides what was stored before it was asked for; a write that is answered before it is stored (`no_sync`) may
//!   be later. It is answered once every other node that runs has read of it, so that rows written from then on stay; a
//!   node that has not said so is named in the answer, and in a notice for Postgres clients: it may still show the rows,
//!   and hide what is newly written through it. Once begun it goes on to its end, also when whoever asked hangs up. How
//!   many rows it hides nobody has counted, so its tag has no number.
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
//! DELETE FROM t [WHERE time >= '2026-01-31' AND time < now() - INTERVAL '1 day' AND host IN ('a', 'b') AND room IS NULL]
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
mod rows;
mod words;

#[cfg(test)]
mod tests;

pub use answer::Tag;
pub use command::{Command, Grant, Named, TableRef};
pub use operator::{Asker, Done, Operator};
pub use orders::{Compacted, Hands};
pub use parse::{hard_delete_at, instant_text, is_command};
pub(crate) use parse::{parse, shown_setting};
