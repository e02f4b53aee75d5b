//! What a right store would hold: a map, and what is still open.
//!
//! # Promises
//! - Accepts every state that the outcomes told to the clients allow, and no other.
//! - Of a node that comes behind it accepts the states after the first so many requests, and says after how many. Deletes
//!   come with the catalog and not with the rows: one that is later than these requests may be seen before them.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// One value of one row: series, time, field.
pub(crate) type Cell = (String, i64, String);

/// The values that one request sets. Every value is used once in a run, so a value names the request it came from.
pub(crate) type Cells = BTreeMap<Cell, i64>;

/// Rows of some series within some time, both ends included.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// By which tags they are meant.
    pub(crate) tags: BTreeMap<String, BTreeSet<Option<String>>>,
    pub(crate) series: BTreeSet<String>,
    pub(crate) times: (i64, i64),
}

impl Scope {
    fn has(&self, (series, time, _): &Cell) -> bool {
        self.series.contains(series) && (self.times.0..=self.times.1).contains(time)
    }
}

/// The requests of one client, who waits for each outcome and shares no row with the others.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    requests: Vec<Request>,
    /// When each outcome was told.
    told_at: Vec<Instant>,
}

#[derive(Debug)]
struct Request {
    wish: Wish,
    outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Wish {
    Write(Cells),
    Delete(Scope),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acked,
    /// Whole or absent.
    Open,
}

impl Oracle {
    pub(crate) fn record(&mut self, wish: Wish, outcome: Outcome) {
        self.requests.push(Request { wish, outcome });
        self.told_at.push(Instant::now());
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// How many requests there are up to the last that was acknowledged until a moment.
    pub(crate) fn acked_until(&self, moment: Instant) -> usize {
        let acked = |index: &usize| self.requests[*index].outcome == Outcome::Acked && self.told_at[*index] <= moment;
        (0..self.len()).rev().find(acked).map_or(0, |index| index + 1)
    }

    /// Says what is wrong with the cells found for this client.
    pub(crate) fn check(&self, found: &Cells) -> Result<(), String> {
        self.check_first(self.len(), found)
    }

    /// After how many requests, at least so many, the cells may have been found. The fewest that fit are returned: an
    /// open request may have come to nothing.
    pub(crate) fn check_behind(&self, found: &Cells, at_least: usize) -> Result<usize, String> {
        let fits = |count: &usize| self.check_first(*count, found).is_ok();
        let count = (at_least..=self.len()).find(fits);
        count.ok_or_else(|| {
            let after = |count: usize| self.check_first(count, found).err().unwrap_or_default();
            let (first, last) = (after(at_least), after(self.len()));
            format!("what is found fits no state after {at_least} to {} requests: {first}; {last}", self.len())
        })
    }

    fn writes(&self, count: usize) -> impl Iterator<Item = (usize, &Cells, Outcome)> {
        self.requests[..count].iter().enumerate().filter_map(move |(index, request)| match &request.wish {
            Wish::Write(cells) => Some((index, cells, request.outcome)),
            Wish::Delete(_) => None,
        })
    }

    /// What was deleted, as far as it may have been: of the rows of earlier requests none is found. One that was
    /// acknowledged among the first `count` requests must have been.
    fn deletes(&self, count: usize, found: &Cells) -> Result<Vec<(usize, &Scope)>, String> {
        let mut deletes = Vec::new();
        for (index, request) in self.requests.iter().enumerate() {
            let Wish::Delete(scope) = &request.wish else { continue };
            let mut earlier = self.writes(index.min(count)).flat_map(|(_, cells, _)| cells);
            match earlier.find(|(cell, value)| scope.has(cell) && found.get(cell) == Some(value)) {
                None => deletes.push((index, scope)),
                Some(cell) if request.outcome == Outcome::Acked && index < count => {
                    return Err(format!("{cell:?} is found, and was deleted by request {index}"));
                }
                Some(_) => {}
            }
        }
        Ok(deletes)
    }

    fn check_first(&self, count: usize, found: &Cells) -> Result<(), String> {
        let known = |cell: &Cell, value: i64| self.writes(count).any(|(_, cells, _)| cells.get(cell) == Some(&value));
        if let Some((cell, value)) = found.iter().find(|(cell, value)| !known(cell, **value)) {
            return Err(format!("{cell:?} = {value} was never written"));
        }
        let deletes = self.deletes(count, found)?;
        for (index, cells, outcome) in self.writes(count) {
            // What a later request surely wrote says nothing about this one; what a later one may have written says
            // nothing either where its value shows.
            let is_ours_to_see = |cell: &Cell| {
                let is_deleted = deletes.iter().any(|(later, scope)| *later > index && scope.has(cell));
                let mut later = self.writes(count).filter(|(later, ..)| *later > index);
                !is_deleted
                    && !later.any(|(_, cells, outcome)| match (cells.get(cell), outcome) {
                        (Some(_), Outcome::Acked) => true,
                        (Some(value), Outcome::Open) => found.get(cell) == Some(value),
                        (None, _) => false,
                    })
            };
            let visible: Vec<_> = cells.iter().filter(|(cell, _)| is_ours_to_see(cell)).collect();
            let present = visible.iter().filter(|(cell, value)| found.get(cell) == Some(value)).count();
            let whole = present == visible.len();
            if !whole && (outcome == Outcome::Acked || present > 0) {
                let missing: Vec<_> = visible.iter().filter(|(cell, value)| found.get(cell) != Some(value)).collect();
                return Err(format!(
                    "request {index} ({outcome:?}) lacks {missing:?}; found {:?}",
                    of(found, &missing)
                ));
            }
        }
        Ok(())
    }
}

fn of(found: &Cells, cells: &[&(&Cell, &i64)]) -> Vec<Option<i64>> {
    cells.iter().map(|(cell, _)| found.get(cell).copied()).collect()
}
