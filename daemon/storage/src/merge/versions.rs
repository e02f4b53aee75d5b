use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::output::Output;
use super::sorted::{Place, Sorted};
use super::{Error, Layout, Settle};
use crate::model::Stamp;

/// The versions of the newest row, which may not be complete: the law itself.
#[derive(Debug)]
pub(super) struct Versions {
    settle: Settle,
    fields: usize,
    /// By rising stamp, no two alike, none covered by a newer one.
    versions: Vec<Version>,
}

/// One version, made of one row or of several that united.
#[derive(Debug)]
pub(super) struct Version {
    /// What `__seq` becomes.
    stamp: Stamp,
    /// The newest of its rows.
    pub(super) row: Place,
    /// Fields that `row` does not set, and the newest row that does.
    pub(super) older: Vec<(usize, Place)>,
}

impl Version {
    fn sets(&self, field: usize) -> bool {
        self.row.batch.sets(field, self.row.row) || self.older.iter().any(|(f, _)| *f == field)
    }

    /// Per field, the value written last that is set wins.
    fn unite(&mut self, newer: Place, fields: usize) {
        let older = mem::replace(&mut self.row, newer);
        let missing = |field: usize| !self.row.batch.sets(field, self.row.row);
        let mut kept: Vec<_> = mem::take(&mut self.older).into_iter().filter(|(f, _)| missing(*f)).collect();
        let gained = (0..fields).filter(|f| missing(*f) && older.batch.sets(*f, older.row));
        kept.extend(gained.map(|f| (f, older.clone())));
        self.older = kept;
    }
}

impl Versions {
    pub(super) fn new(layout: &Layout, settle: Settle) -> Self {
        Self { settle, fields: layout.seq() - layout.tags - 1, versions: Vec::new() }
    }

    /// Takes rows that come after every row taken before. The last one stays here: the next may be a version of it.
    pub(super) fn take(&mut self, batch: &Arc<Sorted>, rows: Range<usize>, out: &mut Output) -> Result<(), Error> {
        let mut repeats = batch.repeats(rows.start + 1, rows.end).iter().peekable();
        let mut row = rows.start;
        let mut joins = self.versions.last().is_some_and(|v| v.row.same_key(batch, row));
        while row < rows.end {
            if joins {
                self.add(batch.place(row));
            } else {
                self.finish(out)?;
                // Rows before the one that the next repeat joins have no other version.
                let single = row..repeats.peek().map_or(rows.end, |next| **next) - 1;
                row = single.end;
                out.rows(batch, single)?;
                self.add(batch.place(row));
            }
            row += 1;
            joins = repeats.next_if(|next| **next == row).is_some();
        }
        Ok(())
    }

    /// Hands on the versions of the newest row: no other one will come.
    pub(super) fn finish(&mut self, out: &mut Output) -> Result<(), Error> {
        self.versions.drain(..).try_for_each(|version| out.version(&version))
    }

    /// One more version of the row in work, not older than those before it.
    fn add(&mut self, row: Place) {
        let stamp = match self.settle {
            Settle::All => Stamp::SETTLED,
            Settle::UpTo(settled) => Some(row.stamp()).filter(|s| *s > settled).unwrap_or(Stamp::SETTLED),
        };
        match self.versions.last_mut() {
            Some(last) if last.stamp == stamp => last.unite(row, self.fields),
            _ => self.versions.push(Version { stamp, row, older: Vec::new() }),
        }
        if self.versions.len() > 1 {
            self.drop_covered();
        }
    }

    /// A version goes when the newest sets every field it sets: no reader could see anything of it.
    fn drop_covered(&mut self) {
        let Some(newest) = self.versions.pop() else { return };
        self.versions.retain(|v| (0..self.fields).any(|f| v.sets(f) && !newest.sets(f)));
        self.versions.push(newest);
    }
}
