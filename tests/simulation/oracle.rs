//! What a right store would hold: a map, and what is still open.
//!
//! # Promises
//! - Accepts every state that the outcomes told to the clients allow, and no other.
//! - Of a node that comes behind it accepts the states after the first so many requests, and says after how many.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// One value of one row: series, time, field.
pub(crate) type Cell = (String, i64, String);

/// The values that one request sets. Every value is used once in a run, so a value names the request it came from.
pub(crate) type Cells = BTreeMap<Cell, i64>;

/// The requests of one client, who waits for each outcome and shares no row with the others.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    requests: Vec<(Cells, Outcome)>,
    /// When each outcome was told.
    told_at: Vec<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acked,
    /// Whole or absent.
    Open,
}

impl Oracle {
    pub(crate) fn record(&mut self, cells: Cells, outcome: Outcome) {
        self.requests.push((cells, outcome));
        self.told_at.push(Instant::now());
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// How many requests there are up to the last that was acknowledged until a moment.
    pub(crate) fn acked_until(&self, moment: Instant) -> usize {
        let acked = |index: &usize| self.requests[*index].1 == Outcome::Acked && self.told_at[*index] <= moment;
        (0..self.len()).rev().find(acked).map_or(0, |index| index + 1)
    }

    /// Says what is wrong with the cells found for this client.
    pub(crate) fn check(&self, found: &Cells) -> Result<(), String> {
        Self::check_those(&self.requests, found)
    }

    /// After how many requests, at least so many, the cells may have been found. The fewest that fit are returned: an
    /// open request may have come to nothing.
    pub(crate) fn check_behind(&self, found: &Cells, at_least: usize) -> Result<usize, String> {
        let fits = |count: &usize| Self::check_those(&self.requests[..*count], found).is_ok();
        let count = (at_least..=self.len()).find(fits);
        count.ok_or_else(|| {
            let after = |count: usize| Self::check_those(&self.requests[..count], found).err().unwrap_or_default();
            let (first, last) = (after(at_least), after(self.len()));
            format!("what is found fits no state after {at_least} to {} requests: {first}; {last}", self.len())
        })
    }

    fn check_those(requests: &[(Cells, Outcome)], found: &Cells) -> Result<(), String> {
        let known = |cell: &Cell, value: i64| requests.iter().any(|(cells, _)| cells.get(cell) == Some(&value));
        if let Some((cell, value)) = found.iter().find(|(cell, value)| !known(cell, **value)) {
            return Err(format!("{cell:?} = {value} was never written"));
        }
        for (index, (cells, outcome)) in requests.iter().enumerate() {
            let later = &requests[index + 1..];
            // What a later request surely wrote says nothing about this one; what a later one may have written says
            // nothing either where its value shows.
            let is_ours_to_see = |cell: &Cell| {
                !later.iter().any(|(cells, outcome)| match (cells.get(cell), outcome) {
                    (Some(_), Outcome::Acked) => true,
                    (Some(value), Outcome::Open) => found.get(cell) == Some(value),
                    (None, _) => false,
                })
            };
            let visible: Vec<_> = cells.iter().filter(|(cell, _)| is_ours_to_see(cell)).collect();
            let present = visible.iter().filter(|(cell, value)| found.get(cell) == Some(value)).count();
            let whole = present == visible.len();
            if !whole && (*outcome == Outcome::Acked || present > 0) {
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
