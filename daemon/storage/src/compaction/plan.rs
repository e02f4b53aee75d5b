//! Which files are merged next: a pure function of a table's files, the settled stamp and the time.
//!
//! # Promises
//! - A plan that settles takes an overlap-closed set: no live file outside it holds a version of one of its rows that
//!   is not newer than the settled stamp.
//! - Plans of one table share no file.
//! - A plan keeps to the limits on files and bytes. A set that is larger is first cut into smaller ones by plans that
//!   settle nothing; it is never passed over.
//! - When nothing is written any more, plans come to an end, and then no row is unsettled that the stamp allows to settle.
//!
//! # Why
//! Two settled files never hold the same row, whatever their extents say: only pairs with an unsettled file can. So late
//! rows pull in just the files they touch, and a window that was cut into many files by key stays cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::merge::{Border, Cuts, LongSeries};
use crate::model::{FileRecord, SeriesKey, Stamp};

/// So many unsettled files of one set are merged although they could wait.
const GATHERED_FILES: usize = 8;

/// Late rows are merged when they are a quarter of what has to be written again with them.
const GATHERED_PART: u64 = 4;

/// Unsettled files this old are merged however few they are.
const IDLE_NS: i64 = 600_000_000_000;

/// Time alone makes plans ready: windows end, unsettled files grow old.
pub(super) const LOOK_AGAIN_NS: i64 = 60_000_000_000;

/// A plan cuts at no more borders than this, or many tiny files come out.
const BORDERS_MAX: usize = 64;

/// Bytes of strings and tag values after which a file ends, with the series in work.
const STRING_BYTES_MAX: u64 = 256 << 20;

/// What an operator decides.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Widths of the windows of level 2 and up, nanoseconds, rising.
    pub(super) widths: Vec<i64>,
    pub(super) files_max: usize,
    /// Files with half as many rows are large enough and are not joined with others any more.
    pub(super) rows_max: u64,
    /// Of all inputs of a plan, which are held in memory.
    pub(super) bytes_max: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) inputs: Vec<Arc<FileRecord>>,
    /// Versions up to this stamp are united; `Stamp::SETTLED` settles nothing.
    pub(super) settle: Stamp,
    pub(super) level: u8,
    pub(super) window_start: i64,
    pub(super) window_width: i64,
    pub(super) borders: Vec<Border>,
}

/// The plans that can run now, side by side.
pub(super) fn plans<'a>(
    files: impl Iterator<Item = &'a Arc<FileRecord>>,
    settled: Stamp,
    now: i64,
    rules: &Rules,
) -> Vec<Plan> {
    let planner = Planner { settled, now, rules };
    let mut units: BTreeMap<(i64, i64), Vec<Set>> = BTreeMap::new();
    for files in overlap_sets(files.map(Arc::clone).collect()) {
        let set = planner.set(files);
        units.entry((set.window.start, set.window.width)).or_default().push(set);
    }
    units.into_values().flat_map(|sets| planner.unit(sets)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    level: u8,
    start: i64,
    width: i64,
}

impl Window {
    fn end(self) -> i64 {
        self.start.saturating_add(self.width)
    }
}

/// Files that could hold versions of each other's rows.
#[derive(Debug)]
struct Set {
    files: Vec<Arc<FileRecord>>,
    /// Where its rows belong by now.
    window: Window,
    state: SetState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetState {
    /// Settled and large enough.
    Done,
    /// Settled, and to be joined with its neighbours.
    Small,
    /// To be merged.
    Ready,
    /// To be merged, but too large for one plan.
    TooLarge,
    /// Unsettled rows that may wait.
    Waiting,
}

struct Planner<'a> {
    settled: Stamp,
    now: i64,
    rules: &'a Rules,
}

impl Planner<'_> {
    fn set(&self, files: Vec<Arc<FileRecord>>) -> Set {
        let window = self.window(&files);
        let state = self.state(&files, window);
        Set { files, window, state }
    }

    /// The widest window of the configured levels that is over and holds all the files; while none is over, the smallest
    /// one that holds them.
    fn window(&self, files: &[Arc<FileRecord>]) -> Window {
        let start = files.iter().map(|f| f.window_start).min().unwrap_or(0);
        let end = files.iter().map(|f| f.window_start.saturating_add(f.window_width)).max().unwrap_or(0);
        let mut holding = (2_u8..).zip(&self.rules.widths).filter_map(|(level, width)| {
            let window = Window { level, start: start.div_euclid(*width).saturating_mul(*width), width: *width };
            (window.end() >= end).then_some(window)
        });
        // Files of wider windows than any level: a back-fill, or levels that were chosen narrower since.
        let level = files.iter().map(|f| f.level).max().unwrap_or(2).max(2);
        let own = Window { level, start, width: end.saturating_sub(start) };
        let Some(first) = holding.next() else { return own };
        holding.take_while(|window| window.end() <= self.now).last().unwrap_or(first)
    }

    fn state(&self, files: &[Arc<FileRecord>], window: Window) -> SetState {
        let unsettled: Vec<_> = files.iter().filter(|f| is_unsettled(f)).collect();
        if unsettled.is_empty() {
            let is_large = files.iter().map(|f| f.rows).sum::<u64>() >= self.rules.rows_max.div_ceil(2);
            return if is_large { SetState::Done } else { SetState::Small };
        }
        let can_settle = unsettled.iter().all(|f| f.stamp_max <= self.settled);
        let late: u64 = unsettled.iter().map(|f| f.rows).sum();
        let settled: u64 = files.iter().map(|f| f.rows).sum::<u64>() - late;
        let gathered = unsettled.len() >= GATHERED_FILES && (can_settle || self.saves(files));
        let newest = unsettled.iter().map(|f| made_at_ns(f)).max().unwrap_or(0);
        let is_over = window.end() <= self.now;
        let is_worth = is_over && late.saturating_mul(GATHERED_PART) >= settled;
        let is_idle = newest.saturating_add(IDLE_NS) <= self.now;
        if !(gathered || can_settle && (is_worth || is_idle)) {
            return SetState::Waiting;
        }
        if self.fits(files) { SetState::Ready } else { SetState::TooLarge }
    }

    fn fits(&self, files: &[Arc<FileRecord>]) -> bool {
        files.len() <= self.rules.files_max && bytes(files) <= self.rules.bytes_max
    }

    /// The plans for the sets of one window: runs of neighbours that are to be merged or joined.
    fn unit(&self, mut sets: Vec<Set>) -> Vec<Plan> {
        sets.sort_by_key(|set| set.files.iter().map(|f| (f.time.min, f.id)).min());
        let mut plans = Vec::new();
        let mut run: Vec<Set> = Vec::new();
        for set in sets {
            match set.state {
                SetState::Small | SetState::Ready => {
                    let joined: Vec<_> = run.iter().flat_map(|s| &s.files).chain(&set.files).cloned().collect();
                    if !self.fits(&joined) {
                        plans.extend(self.join(std::mem::take(&mut run)));
                    }
                    run.push(set);
                }
                SetState::TooLarge => {
                    plans.extend(self.join(std::mem::take(&mut run)));
                    plans.push(self.part(&set));
                }
                SetState::Done | SetState::Waiting => plans.extend(self.join(std::mem::take(&mut run))),
            }
        }
        plans.extend(self.join(run));
        plans
    }

    /// All of a run when that leaves far fewer files, else only what must be merged.
    fn join(&self, run: Vec<Set>) -> Option<Plan> {
        let window = run.first()?.window;
        let all: Vec<_> = run.iter().flat_map(|set| set.files.iter().cloned()).collect();
        if window.end() <= self.now && self.saves(&all) {
            return Some(self.plan(all, self.settled, window, Vec::new()));
        }
        let ready = run.iter().filter(|set| set.state == SetState::Ready);
        let inputs: Vec<_> = ready.flat_map(|set| set.files.iter().cloned()).collect();
        (!inputs.is_empty()).then(|| self.plan(inputs, self.settled, window, Vec::new()))
    }

    /// Whether at most half as many files would do.
    fn saves(&self, files: &[Arc<FileRecord>]) -> bool {
        let rows: u64 = files.iter().map(|f| f.rows).sum();
        let needed = usize::try_from(rows.div_ceil(self.rules.rows_max)).unwrap_or(usize::MAX);
        needed.saturating_mul(2) <= files.len()
    }

    /// Merges some unsettled files of a set that is too large, cut where its other files begin: afterwards the set
    /// falls apart. Nothing is settled, so the set need not be closed.
    fn part(&self, set: &Set) -> Plan {
        let mut unsettled: Vec<_> = set.files.iter().filter(|f| is_unsettled(f)).cloned().collect();
        unsettled.sort_by_key(|f| (f.window_start, f.id));
        // A file that every border leaves whole is no better afterwards, unless it is merged with one it overlaps.
        for first in 0..unsettled.len() {
            let mut taken = vec![Arc::clone(&unsettled[first])];
            for file in unsettled[first + 1..].iter().filter(|f| f.overlaps(&unsettled[first])) {
                if !self.fits(&[&taken[..], &[Arc::clone(file)]].concat()) {
                    break;
                }
                taken.push(Arc::clone(file));
            }
            let borders = borders(&set.files, &taken);
            if taken.len() > 1 || !borders.is_empty() {
                return self.plan(taken, Stamp::SETTLED, set.window, borders);
            }
        }
        // Nothing makes the set smaller: take it as it is.
        self.plan(set.files.clone(), self.settled, set.window, Vec::new())
    }

    fn plan(&self, inputs: Vec<Arc<FileRecord>>, settle: Stamp, window: Window, borders: Vec<Border>) -> Plan {
        let Window { level, start, width } = window;
        Plan { inputs, settle, level, window_start: start, window_width: width, borders }
    }
}

impl Plan {
    /// Where the merged rows are cut into files of about `rows_max` rows.
    pub(super) fn cuts(&self, rows_max: u64) -> Cuts {
        // Files that are not settled must not seem to overlap, or they are merged again and again.
        let long_series = if self.settle == Stamp::SETTLED { LongSeries::Keep } else { LongSeries::Cut };
        Cuts { rows_max, bytes_max: STRING_BYTES_MAX, long_series, borders: self.borders.clone() }
    }
}

fn is_unsettled(file: &FileRecord) -> bool {
    file.stamp_max != Stamp::SETTLED
}

fn bytes(files: &[Arc<FileRecord>]) -> u64 {
    files.iter().map(|f| f.size_bytes).sum()
}

/// A file's id begins with the time it was made.
fn made_at_ns(file: &FileRecord) -> i64 {
    i64::try_from((file.id.0 >> 80).saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}

/// Where files that are not taken begin and end, as far as that is sure to part a file that is taken.
fn borders(all: &[Arc<FileRecord>], taken: &[Arc<FileRecord>]) -> Vec<Border> {
    let ids: BTreeSet<_> = taken.iter().map(|f| f.id).collect();
    let parting =
        |f: &&Arc<FileRecord>| !ids.contains(&f.id) && ends(f).iter().any(|b| taken.iter().any(|t| is_parted(t, b)));
    let parting: Vec<_> = all.iter().filter(parting).collect();
    let step = parting.len().div_ceil(BORDERS_MAX).max(1);
    let found: BTreeSet<Border> = parting.into_iter().step_by(step).flat_map(|f| ends(f)).collect();
    found.into_iter().collect()
}

/// The borders around a file. One that lies within a series comes with those around the series, or two pieces would
/// share that series and seem to overlap for ever.
fn ends(file: &FileRecord) -> Vec<Border> {
    let border = |key: &SeriesKey, time| Border { key: key.clone(), time };
    let mut ends = vec![border(&file.key_min, i64::MIN), border(&file.key_max, i64::MAX)];
    if file.key_min == file.key_max {
        ends.push(border(&file.key_min, file.time.min));
        ends.push(border(&file.key_min, file.time.max.saturating_add(1)));
    }
    ends
}

/// Whether rows of the file stand on both sides of the border for sure.
fn is_parted(file: &FileRecord, border: &Border) -> bool {
    if file.key_min == file.key_max {
        return file.key_min == border.key && file.time.min < border.time && border.time <= file.time.max;
    }
    // Only the ends of a series are sure to have its rows on one side.
    match border.time {
        i64::MIN => file.key_min < border.key && border.key <= file.key_max,
        i64::MAX => border.key >= file.key_min && border.key < file.key_max,
        _ => false,
    }
}

/// The transitive closure of "could hold versions of the same row". Sets and their files are in order of time.
fn overlap_sets(mut files: Vec<Arc<FileRecord>>) -> Vec<Vec<Arc<FileRecord>>> {
    files.sort_by_key(|f| (f.time.min, f.time.max, f.id));
    let mut parent: Vec<usize> = (0..files.len()).collect();
    // Files that have begun and may reach into those to come.
    let mut open: Vec<usize> = Vec::new();
    for i in 0..files.len() {
        open.retain(|o| files[*o].time.max >= files[i].time.min);
        for &o in &open {
            let (a, b) = (&files[o], &files[i]);
            if (is_unsettled(a) || is_unsettled(b)) && a.overlaps(b) {
                let (a, b) = (root(&mut parent, o), root(&mut parent, i));
                parent[b] = a;
            }
        }
        open.push(i);
    }
    let mut sets: BTreeMap<usize, Vec<Arc<FileRecord>>> = BTreeMap::new();
    for (i, file) in files.iter().enumerate() {
        sets.entry(root(&mut parent, i)).or_default().push(Arc::clone(file));
    }
    sets.into_values().collect()
}

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

#[cfg(test)]
mod tests;
