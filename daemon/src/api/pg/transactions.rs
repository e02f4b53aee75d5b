//! Transactions: what they undo when they are not committed, which is settings and cursors.
//!
//! # Promises
//! - A rollback brings back the settings of the beginning, one to a savepoint those of the savepoint.
//! - Statements that came together without BEGIN and failed have set nothing.
//! - A cursor WITH HOLD lives on when its transaction is committed, and only then.

use std::sync::Arc;

use super::command::{Command, Scope, Value};
use super::errors::Refusal;
use super::session::{Session, Transaction};
use super::settings::Settings;

const SAVEPOINTS_MAX: usize = 10_000;
/// What a savepoint takes besides the settings it keeps.
const SAVEPOINT_BYTES: usize = 256;

/// A point a transaction can go back to.
#[derive(Debug)]
pub(super) struct Savepoint {
    name: String,
    settings: Arc<Settings>,
    pub(super) bytes: usize,
}

impl Session {
    /// In a transaction that failed nothing but its end is done.
    pub(super) fn check_transaction(&self) -> Result<(), Refusal> {
        match self.transaction {
            Transaction::Failed => {
                let message = "current transaction is aborted, commands ignored until end of transaction block";
                Err(Refusal::new("25P02", message))
            }
            Transaction::Idle | Transaction::Open => Ok(()),
        }
    }

    pub(super) fn perform_transaction(&mut self, command: &Command) -> Result<&'static str, Refusal> {
        Ok(match command {
            Command::Begin => {
                self.begin();
                "BEGIN"
            }
            Command::Commit if self.transaction == Transaction::Open => {
                self.end_transaction();
                "COMMIT"
            }
            Command::Commit if self.transaction == Transaction::Idle => {
                self.notice("25P01", "there is no transaction in progress");
                // It commits what the statements before it set.
                self.end_transaction();
                "COMMIT"
            }
            Command::Commit | Command::Rollback => {
                self.rollback();
                "ROLLBACK"
            }
            other => return self.perform_savepoint(other),
        })
    }

    fn perform_savepoint(&mut self, command: &Command) -> Result<&'static str, Refusal> {
        match command {
            Command::Savepoint(name) => {
                self.check_in_transaction("SAVEPOINT")?;
                if self.savepoints.len() >= SAVEPOINTS_MAX {
                    let message = format!("a transaction has at most {SAVEPOINTS_MAX} savepoints");
                    return Err(Refusal::new("53400", message));
                }
                let is_kept = self.savepoints.last().is_some_and(|last| Arc::ptr_eq(&last.settings, &self.settings));
                let bytes = SAVEPOINT_BYTES + if is_kept { 0 } else { self.settings.bytes() };
                self.check_bytes(bytes)?;
                self.savepoints.push(Savepoint { name: name.clone(), settings: Arc::clone(&self.settings), bytes });
                Ok("SAVEPOINT")
            }
            Command::Release(name) => {
                let at = self.savepoint(name, "RELEASE SAVEPOINT")?;
                self.savepoints.truncate(at);
                Ok("RELEASE")
            }
            Command::RollbackTo(name) => {
                let at = self.savepoint(name, "ROLLBACK TO SAVEPOINT")?;
                self.savepoints.truncate(at + 1);
                self.settings = Arc::clone(&self.savepoints[at].settings);
                self.transaction = Transaction::Open;
                Ok("ROLLBACK")
            }
            _ => Err(Refusal::unsupported("this statement")),
        }
    }

    fn begin(&mut self) {
        if self.transaction == Transaction::Idle {
            self.keep_settings();
            self.transaction = Transaction::Open;
        } else {
            self.notice("25001", "there is already a transaction in progress");
        }
    }

    fn rollback(&mut self) {
        if self.transaction == Transaction::Idle {
            self.notice("25P01", "there is no transaction in progress");
        }
        self.undo();
        self.end_transaction();
    }

    /// What was set and declared since the transaction began, if only by a statement without BEGIN, is as before.
    pub(super) fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.settings = before;
        }
        self.portals.retain(|_, portal| portal.has_outlived);
    }

    fn end_transaction(&mut self) {
        self.transaction = Transaction::Idle;
        self.before = None;
        self.savepoints.clear();
        self.end_local_settings();
        self.portals.retain(|_, portal| portal.life == Scope::Session);
        self.portals.values_mut().for_each(|portal| portal.has_outlived = true);
    }

    /// Without BEGIN a transaction ends with the statements that came together.
    pub(super) fn end_implicit_transaction(&mut self) {
        if self.transaction == Transaction::Idle {
            self.end_transaction();
            self.report();
        }
    }

    fn end_local_settings(&mut self) {
        if self.settings.has_local() {
            Arc::make_mut(&mut self.settings).end_transaction();
        }
    }

    /// The settings as they are now come back when what follows is undone.
    fn keep_settings(&mut self) {
        if self.before.is_none() {
            self.before = Some(Arc::clone(&self.settings));
        }
    }

    /// The settings, to be changed.
    pub(super) fn settings_mut(&mut self) -> &mut Settings {
        self.keep_settings();
        Arc::make_mut(&mut self.settings)
    }

    fn check_in_transaction(&self, what: &str) -> Result<(), Refusal> {
        match self.transaction {
            Transaction::Idle => Err(Refusal::new("25P01", format!("{what} can only be used in transaction blocks"))),
            Transaction::Open | Transaction::Failed => Ok(()),
        }
    }

    fn savepoint(&self, name: &str, what: &str) -> Result<usize, Refusal> {
        self.check_in_transaction(what)?;
        let found = self.savepoints.iter().rposition(|known| known.name == name);
        found.ok_or_else(|| Refusal::new("3B001", format!("savepoint \"{name}\" does not exist")))
    }

    pub(super) fn set(&mut self, name: &str, value: &Value, scope: Scope) -> Result<(), Refusal> {
        match scope {
            Scope::Session => self.settings_mut().set(name, value),
            Scope::Transaction => {
                if self.transaction == Transaction::Idle {
                    self.notice("25P01", "SET LOCAL can only be used in transaction blocks");
                }
                self.settings_mut().set_local(name, value)
            }
        }
    }
}
