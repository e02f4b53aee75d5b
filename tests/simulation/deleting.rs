//! Rows of clients are deleted.
//!
//! # Promises
//! - A delete counts as acknowledged when it was made and every other process that lives has read of it, as the answer of
//!   a node says.
//! - Rows are meant by what tags they have, by what tags they lack, and by tags that are younger than other rows.

use std::collections::BTreeSet;

use rand::Rng;

use super::oracle::{Outcome, Scope, Wish};
use super::series::{K, WITH_K, WITH_N};
use super::{CLIENTS, FIRST_CLIENTS, Process, Run, clients_of};

impl Run {
    /// Deletes some rows of a client, in some runs through any node.
    pub(super) async fn delete(&mut self, first: &Process) {
        let clients = if self.is_shared() { 0..CLIENTS } else { FIRST_CLIENTS };
        let client = self.chance.random_range(clients);
        let scope = self.any_scope(client);
        // Who slept where the log of the catalog is not kept may not know that it is behind.
        let others = [self.second.as_ref(), self.third.as_ref()];
        let through = if self.is_shared() { self.chance.random_range(0..4) } else { 3 };
        let through = others.get(through).copied().flatten().unwrap_or(first);
        let version = through.delete(&scope).await;
        let mut is_known = version.is_some();
        for other in others.into_iter().flatten().chain([first]).filter(|other| !std::ptr::eq(*other, through)) {
            is_known = is_known && other.follows(version.unwrap_or_default()).await;
        }
        let told = if is_known { "acked" } else { "open " };
        self.tell(|| format!("{told} delete through {}: {scope:?}: {version:?}", through.id));
        self.oracles[client].record(Wish::Delete(scope), if is_known { Outcome::Acked } else { Outcome::Open });
        if is_known {
            self.told.deletes += 1;
            // It has read all that was written before.
            through.floors.lock()[client] = self.oracles[client].len();
        } else if !clients_of(through.id).contains(&client) {
            self.generations[client] += 1;
        }
    }

    fn any_scope(&mut self, client: usize) -> Scope {
        let first = self.chance.random_range(0..3);
        let times = (first, self.chance.random_range(first..4));
        let names: BTreeSet<String> = (0..self.chance.random_range(1..3)).map(|_| self.any_name(client)).collect();
        let (named, absent) = (names.iter().cloned().map(Some).collect::<BTreeSet<_>>(), BTreeSet::from([None]));
        let (tags, kinds): (Vec<(&str, _)>, &[&str]) = match self.chance.random_range(0..5) {
            0 => (vec![("s", named), ("k", absent)], &[""]),
            1 => (vec![("s", named), ("k", [Some(K.to_owned())].into())], &[WITH_K]),
            2 => (vec![("s", absent), ("n", named)], &[WITH_N]),
            _ => (vec![("s", named)], &["", WITH_K]),
        };
        let series = names.iter().flat_map(|name| kinds.iter().map(move |kind| format!("{name}{kind}"))).collect();
        Scope { tags: tags.into_iter().map(|(tag, values)| (tag.to_owned(), values)).collect(), series, times }
    }
}
