//! What a right store would hold: a map, and what is still open.
//!
//! # Promises
//! - Accepts every state that the outcomes told to the clients allow, and no other.

use std::collections::BTreeMap;

/// One value of one row: series, time, field.
pub(crate) type Cell = (String, i64, String);

/// The values that one request sets. Every value is used once in a run, so a value names the request it came from.
pub(crate) type Cells = BTreeMap<Cell, i64>;

/// The requests of one client, who waits for each outcome and shares no row with the others.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    requests: Vec<(Cells, Outcome)>,
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
    }

    /// Says what is wrong with the cells found for this client.
    pub(crate) fn check(&self, found: &Cells) -> Result<(), String> {
        let known = |cell: &Cell, value: i64| self.requests.iter().any(|(cells, _)| cells.get(cell) == Some(&value));
        if let Some((cell, value)) = found.iter().find(|(cell, value)| !known(cell, **value)) {
            return Err(format!("{cell:?} = {value} was never written"));
        }
        for (index, (cells, outcome)) in self.requests.iter().enumerate() {
            let later = &self.requests[index + 1..];
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
