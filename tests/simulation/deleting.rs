//! Rows of clients are deleted.
//!
//! # Promises
//! - A delete counts as acknowledged when it was made and every other process that lives has read of it, as the answer of
//!   a node says. What its client writes at once from then on is newer, whatever the clocks of the nodes say.
//! - Rows are meant by what tags they have, by what tags they lack, and by tags that are younger than other rows.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;

use super::oracle::{Outcome, Scope, Wish};
use super::series::{K, WITH_K, WITH_N};
use super::{CLIENTS, FIRST_CLIENTS, Process, Run, clients_of};

impl Run {
    /// Deletes some rows of a client, in some runs through any node. Returns whether `first` can go on.
    pub(super) async fn delete(&mut self, first: &Process) -> bool {
        let others = [self.second.take(), self.third.take()];
        let all: Vec<&Process> = others.iter().flatten().chain([first]).collect();
        let broken = self.delete_among(&all).await.map(|process| process.id);
        let is_broken = |process: &Process| Some(process.id) == broken;
        others.iter().flatten().filter(|process| is_broken(process)).for_each(Process::kill);
        [self.second, self.third] = others.map(|other| other.filter(|process| !is_broken(process)));
        broken != Some(first.id)
    }

    /// Returns a process that left a write open, with which its client cannot go on.
    async fn delete_among<'a>(&mut self, all: &[&'a Process]) -> Option<&'a Process> {
        let client = self.chance.random_range(if self.is_shared() { 0..CLIENTS } else { FIRST_CLIENTS });
        let scope = self.any_scope(client);
        // Who slept where the log of the catalog is not kept may not know that it is behind.
        let first = *all.last()?;
        let place = if self.is_shared() { self.chance.random_range(0..4) } else { all.len() };
        let through = all.get(place).copied().unwrap_or(first);
        let (version, is_settled) = tokio::join!(through.delete(&scope), self.write_beside(through, client));
        let mut is_known = version.is_some();
        for other in all.iter().filter(|other| !std::ptr::eq(**other, through)) {
            is_known = is_known && other.follows(version.unwrap_or_default()).await;
        }
        let told = if is_known { "acked" } else { "open " };
        self.tell(|| format!("{told} delete through {}: {scope:?}: {version:?}", through.id));
        self.oracles[client].record(Wish::Delete(scope), if is_known { Outcome::Acked } else { Outcome::Open });
        let own = all.iter().copied().find(|process| clients_of(process.id).contains(&client));
        if is_known {
            self.told.deletes += 1;
            // It has read all that was written before.
            through.floors.lock()[client] = self.oracles[client].len();
        } else if own.is_none_or(|own| own.id != through.id) {
            self.generations[client] += 1;
        }
        if !is_settled {
            return Some(through);
        }
        // At once, before its node has seen anything else of the others.
        let own = own.filter(|_| is_known && self.chance.random_range(0..2) == 0)?;
        if self.write(own, client).await { None } else { Some(own) }
    }

    /// Another client writes through the same process, so that the stamp of the delete is above one that no other node has
    /// seen. Returns whether the outcome of all it wrote is known.
    async fn write_beside(&mut self, through: &Process, client: usize) -> bool {
        let other = clients_of(through.id).find(|other| *other != client);
        let Some(other) = other.filter(|_| self.chance.random_range(0..2) == 0) else { return true };
        tokio::time::sleep(Duration::from_millis(self.chance.random_range(0..1000))).await;
        self.write(through, other).await
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
