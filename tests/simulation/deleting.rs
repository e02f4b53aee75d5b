//! Rows of clients are deleted.
//!
//! # Promises
//! - A delete counts as acknowledged when it was made and every other process that lives has read of it, as the answer of
//!   a node says.

use rand::Rng;

use super::oracle::{Outcome, Scope, Wish};
use super::{CLIENTS, FIRST_CLIENTS, Process, Run};

impl Run {
    /// Deletes some rows of a client through the first node.
    pub(super) async fn delete(&mut self, process: &Process) {
        let clients = if self.is_shared() { 0..CLIENTS } else { FIRST_CLIENTS };
        let client = self.chance.random_range(clients);
        let first = self.chance.random_range(0..3);
        let times = (first, self.chance.random_range(first..4));
        let series = (0..self.chance.random_range(1..3)).map(|_| self.any_series(client)).collect();
        let scope = Scope { series, times };
        let version = process.delete(&scope).await;
        let mut is_known = version.is_some();
        for other in self.second.iter().chain(&self.third) {
            is_known = is_known && other.follows(version.unwrap_or_default()).await;
        }
        self.tell(|| format!("{} delete {scope:?}: {version:?}", if is_known { "acked" } else { "open " }));
        self.oracles[client].record(Wish::Delete(scope), if is_known { Outcome::Acked } else { Outcome::Open });
        if is_known {
            self.told.deletes += 1;
            // It has read all that was written before.
            process.floors.lock()[client] = self.oracles[client].len();
        } else if !FIRST_CLIENTS.contains(&client) {
            self.generations[client] += 1;
        }
    }
}
