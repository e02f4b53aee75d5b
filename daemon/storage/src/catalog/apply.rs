//! What one entry of the log does to the state.
//!
//! # Promises
//! - All changes of an entry hold, or none does; a change that does not hold is named, and the state is as before.
//! - Nothing panics, whatever an entry says.
//! - Ids are never used again; positions, epochs, terms and stamps never go back; neither does the settled stamp, nor the floor
//!   of file ids.
//!
//! # Not here
//! - Whether a change is wise (limits, names, who may ask): that is decided before it is proposed, and rules that
//!   change later must not make old entries unreadable.

mod deletes;
mod files;
mod nodes;
mod tables;

use std::sync::Arc;

use super::{AuditRecord, Change, Compactor, State, Token, TokenId};
use crate::model::{FileId, NodeId, Stamp};

/// How many of the newest changes that somebody asked for are remembered. A rule of the log: it cannot change.
const AUDIT_RECORDS_MAX: usize = 1000;

/// A change that the state does not allow. Whoever proposed it decides again with the newest state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {version}, change {number}: {reason}")]
pub struct Conflict {
    pub version: u64,
    /// Begins at 1.
    pub number: usize,
    pub reason: String,
}

/// Whether a change holds, else why not.
type Outcome = Result<(), String>;

impl Default for State {
    /// The state before the first entry.
    fn default() -> Self {
        Self {
            version: 0,
            databases: Default::default(),
            tables: Default::default(),
            tokens: Default::default(),
            nodes: Default::default(),
            removed: Default::default(),
            compactor: Compactor::default(),
            fixed: Default::default(),
            settings: Default::default(),
            audit: Default::default(),
            deleted_stamp: Stamp::SETTLED,
            file_floor: FileId(0),
            next_database: 1,
            next_table: 1,
            next_token: 0,
        }
    }
}

impl State {
    /// Makes this the state after entry `version`, which says `changes`. After an error it is what it was.
    pub fn apply(&mut self, version: u64, changes: &[Change]) -> Result<(), Conflict> {
        let conflict = |number: usize, reason: String| Conflict { version, number, reason };
        if self.version.checked_add(1) != Some(version) {
            return Err(conflict(0, format!("the entry does not follow entry {}", self.version)));
        }
        let mut next = self.clone();
        next.version = version;
        for (number, change) in (1..).zip(changes) {
            next.make(change).map_err(|reason| conflict(number, reason))?;
        }
        debug_assert_eq!(next.check(), Ok(()), "after {changes:?}");
        debug_assert!(next.settled() >= self.settled(), "the settled stamp went back after {changes:?}");
        *self = next;
        Ok(())
    }

    /// Makes one change; after an error the state is not to be used.
    fn make(&mut self, change: &Change) -> Outcome {
        match change {
            Change::CreateDatabase { id, name, retention_ns } => self.create_database(*id, name, *retention_ns),
            Change::SetDatabaseRetention { id, retention_ns } => self.set_database_retention(*id, *retention_ns),
            Change::DropDatabase { id, renamed, dropped } => self.drop_database(*id, renamed, *dropped),
            Change::ForgetDatabase { id } => self.forget_database(*id),
            Change::CreateTable { .. } => self.create_table(change),
            Change::AddColumns { table, first, columns } => self.add_columns(*table, *first, columns),
            Change::SetTableRetention { id, retention_ns } => self.set_table_retention(*id, *retention_ns),
            Change::DropTable { id, renamed, dropped } => self.drop_table(*id, renamed, *dropped),
            Change::ForgetTable { id } => self.forget_table(*id),
            Change::CreateCache { table, name, cache } => self.create_cache(*table, name, cache),
            Change::DropCache { table, kind, name } => self.drop_cache(*table, (*kind, Arc::clone(name))),
            Change::CreateToken { token } => self.create_token(token),
            Change::ReplaceTokenHash { id, hash, at_ms } => self.replace_token_hash(*id, hash, *at_ms),
            Change::SetTokenPermissions { id, permissions } => {
                self.token_mut(*id)?.permissions.clone_from(permissions);
                Ok(())
            }
            Change::DeleteToken { id } => self.tokens.remove(id).map(drop).ok_or_else(|| no_token(*id)),
            Change::RegisterNode { .. } => self.register_node(change),
            Change::DescribeNode { node, epoch, description } => self.describe_node(node, *epoch, description),
            Change::StopNode { node, epoch } => self.stop_node(node, *epoch),
            Change::RemoveNode { node, at_ms } => self.remove_node(node, *at_ms),
            Change::TakeCompactor { node, epoch, term } => self.take_compactor(node, *epoch, *term),
            Change::LeaveCompactor { node, term } => self.leave_compactor(node, *term),
            Change::OpenEpoch { node, epoch, process, .. } => self.open_epoch(node, *epoch, *process),
            Change::Persist { .. } => self.persist(change),
            Change::CloseEpoch { node, epoch } => self.close_epoch(node, *epoch),
            Change::DeleteRows { .. } => self.delete_rows(change),
            Change::ForgetDeletes { table, deletes } => self.forget_deletes(*table, deletes),
            Change::ReplaceFiles { .. } => self.replace_files(change),
            Change::RaiseFileFloor { floor } => self.raise_file_floor(*floor),
            Change::ForgetFiles { files } => self.forget_files(files),
            Change::Fix { name, value } => self.fix(name, value),
            Change::Configure { name, node, value } => self.configure(name, node.as_ref(), value.as_ref()),
            Change::Audit { record } => self.record(record),
        }
    }

    fn create_token(&mut self, token: &Token) -> Outcome {
        expect_next("token", token.id.0, self.next_token)?;
        if self.tokens.values().any(|t| t.name == token.name) {
            return Err(format!("a token named '{}' exists", token.name));
        }
        self.check_hash_is_new(&token.hash)?;
        self.next_token = token.id.0.checked_add(1).ok_or("there are no token ids left")?;
        self.tokens.insert(token.id, Arc::new(token.clone()));
        Ok(())
    }

    fn replace_token_hash(&mut self, id: TokenId, hash: &Arc<str>, at_ms: u64) -> Outcome {
        self.check_hash_is_new(hash)?;
        let token = self.token_mut(id)?;
        token.hash = Arc::clone(hash);
        token.created_at_ms = at_ms;
        Ok(())
    }

    fn check_hash_is_new(&self, hash: &str) -> Outcome {
        match self.tokens.values().find(|t| *t.hash == *hash) {
            Some(token) => Err(format!("token '{}' has the same secret", token.name)),
            None => Ok(()),
        }
    }

    fn token_mut(&mut self, id: TokenId) -> Result<&mut Token, String> {
        self.tokens.get_mut(&id).map(Arc::make_mut).ok_or_else(|| no_token(id))
    }

    fn fix(&mut self, name: &str, value: &str) -> Outcome {
        match self.fixed.get(name) {
            Some(fixed) if fixed == value => Ok(()),
            Some(fixed) => Err(format!("setting '{name}' is fixed to '{fixed}' and cannot become '{value}'")),
            None => {
                self.fixed.insert(name.to_owned(), value.to_owned());
                Ok(())
            }
        }
    }

    fn configure(&mut self, name: &Arc<str>, node: Option<&NodeId>, value: Option<&Arc<str>>) -> Outcome {
        if let Some(node) = node {
            self.member_mut(node)?;
        }
        let key = (Arc::clone(name), node.cloned());
        match value {
            Some(value) => drop(self.settings.insert(key, Arc::clone(value))),
            None => drop(self.settings.remove(&key).ok_or_else(|| format!("setting '{name}' has no value"))?),
        }
        Ok(())
    }

    fn record(&mut self, record: &AuditRecord) -> Outcome {
        let audit = Arc::make_mut(&mut self.audit);
        if audit.len() >= AUDIT_RECORDS_MAX {
            audit.pop_front();
        }
        audit.push_back((self.version, Arc::new(record.clone())));
        Ok(())
    }

    /// What must be true of every state, however it came about; else what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_databases()?;
        self.check_tables()?;
        self.check_files()?;
        self.check_deletes()?;
        self.check_nodes()?;
        all_differ("token name", self.tokens.values().map(|t| &t.name))?;
        all_differ("token secret", self.tokens.values().map(|t| &t.hash))?;
        match self.tokens.iter().find(|(id, token)| **id != token.id || id.0 >= self.next_token) {
            Some((id, _)) => Err(format!("token {} is not where it belongs", id.0)),
            None => Ok(()),
        }
    }
}

fn no_token(id: TokenId) -> String {
    format!("token {} does not exist", id.0)
}

fn expect_next<N: PartialEq + std::fmt::Display>(what: &str, given: N, next: N) -> Outcome {
    if given == next { Ok(()) } else { Err(format!("{what} id {given} is not the next one, which is {next}")) }
}

fn all_differ<T: Ord + std::fmt::Display>(what: &str, values: impl Iterator<Item = T>) -> Outcome {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    match values.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{what} '{}' stands twice", pair[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) mod chance;
