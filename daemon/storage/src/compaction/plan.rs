//! Which files are merged next: a pure function of a table's files, the settled stamp and the time.
//!
//! # Promises
//! - A plan that settles takes an overlap-closed set: no live file outside it holds a version of one of its rows that
//!   is not newer than the settled stamp.
//! - Plans of one table share no file.
//! - A plan keeps to the limits on files and bytes. A set that is larger is first cut into smaller ones, by time and then
//!   by key, by plans that settle nothing. Only a set that nothing can cut is left as it is.
//! - When nothing is written any more, plans come to an end, and then no row is unsettled that the stamp allows to settle.
//!
//! # Why
//! Two settled files never hold the same row, whatever their extents say: only pairs with an unsettled file can. So late
//! rows pull in just the files they touch, and a window that was cut into many files by key stays cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::merge::{Border, Cuts, LongSeries};
use crate::model::{FileId, FileRecord, RowDelete, SeriesKey, Stamp, TimeRange, Window};

/// So many unsettled files of one set are merged although they could wait.
const GATHERED_FILES: usize = 8;

/// Late rows are merged when they are a quarter of what has to be written again with them.
const GATHERED_PART: u64 = 4;

/// Unsettled files this old are merged however few they are.
pub(super) const IDLE_NS: i64 = 600_000_000_000;

/// A plan cuts at no more borders than this, or many tiny files come out.
const BORDERS_MAX: usize = 64;

/// A plan cuts into no more slices of time than this: each is a pass over its files.
const SLICES_MAX: usize = 8;

/// A reader holds one batch of so many rows of each file.
const BATCH_ROWS: u64 = 8192;

/// What one value takes in a batch.
const VALUE_BYTES: u64 = 16;

/// What an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// Widths of the windows of level 2 and up, nanoseconds, rising.
    pub(super) widths: Vec<i64>,
    pub(super) files_max: usize,
    /// A file ends after so many rows. One with half as many is large enough and is not joined with others any more.
    pub(super) rows_max: u64,
    /// Likewise for bytes of strings and tag values.
    pub(super) string_bytes_max: u64,
    /// Of all inputs of a plan, which are held in memory, with a batch of each.
    pub(super) bytes_max: u64,
}

/// When and for what plans are made.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) settled: Stamp,
    pub(super) now: i64,
    /// Columns of the table.
    pub(super) columns: usize,
    /// Files that could not be read. What they are part of is left alone.
    pub(super) unreadable: BTreeSet<FileId>,
    /// Only this is wanted, but at once: nothing waits for company or for the end of its window.
    pub(super) wanted: Option<Begun>,
}

/// What an operator wants merged, as it was when that began; see `orders`.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    /// The time of the rows.
    pub(super) range: TimeRange,
    /// The files there were, and those that came of them since.
    pub(super) files: Arc<BTreeSet<FileId>>,
    pub(super) deletes: Vec<Arc<RowDelete>>,
}

impl Moment {
    /// Whether the file is looked at at all.
    pub(super) fn is_about(&self, file: &FileRecord) -> bool {
        self.wanted.as_ref().is_none_or(|begun| begun.files.contains(&file.id))
    }

    /// Whether rows of that time are to be merged.
    pub(super) fn wants(&self, time: TimeRange) -> bool {
        self.wanted.as_ref().is_none_or(|begun| begun.range.overlaps(time))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) inputs: Vec<Arc<FileRecord>>,
    /// Versions up to this stamp are united; `Stamp::SETTLED` settles nothing.
    pub(super) settle: Stamp,
    /// The rows of each go into files of their own.
    pub(super) slices: Vec<Slice>,
    pub(super) borders: Vec<Border>,
}

/// Rows of a time range, and the window that their files belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) range: TimeRange,
    pub(super) window: Window,
}

/// The plans that can run now, side by side.
pub(super) fn plans<'a>(files: impl Iterator<Item = &'a Arc<FileRecord>>, moment: &Moment, rules: &Rules) -> Vec<Plan> {
    let files: Vec<_> = files.filter(|file| moment.is_about(file)).map(Arc::clone).collect();
    let unsettled = files.iter().filter(|f| is_unsettled(f)).cloned().collect();
    let planner = Planner { moment, rules, unsettled };
    let mut units: BTreeMap<(i64, i64), Vec<Set>> = BTreeMap::new();
    for files in overlap_sets(files) {
        let set = planner.set(files);
        units.entry((set.window.start, set.window.width)).or_default().push(set);
    }
    units.into_values().flat_map(|sets| planner.unit(sets)).collect()
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
    moment: &'a Moment,
    rules: &'a Rules,
    /// All of the table.
    unsettled: Vec<Arc<FileRecord>>,
}

impl Planner<'_> {
    fn set(&self, files: Vec<Arc<FileRecord>>) -> Set {
        let start = files.iter().map(|f| f.window_start).min().unwrap_or(0);
        let end = files.iter().map(|f| f.window_start.saturating_add(f.window_width)).max().unwrap_or(0);
        let window = self.window(start, end);
        let state = self.state(&files, window);
        Set { files, window, state }
    }

    /// The widest window of the configured levels that is over and holds all from `start` to `end`; while none is over,
    /// the smallest one that holds them.
    fn window(&self, start: i64, end: i64) -> Window {
        let mut holding = (2_u8..).zip(&self.rules.widths).filter_map(|(level, width)| {
            let window = Window { level, start: start.div_euclid(*width).saturating_mul(*width), width: *width };
            (window.end() >= end).then_some(window)
        });
        let Some(first) = holding.next() else {
            // Wider than any level: a back-fill, or levels that were chosen narrower since.
            let level = u8::try_from(self.rules.widths.len() + 2).unwrap_or(u8::MAX);
            return Window { level, start, width: end.saturating_sub(start) };
        };
        holding.take_while(|window| window.end() <= self.moment.now).last().unwrap_or(first)
    }

    fn state(&self, files: &[Arc<FileRecord>], window: Window) -> SetState {
        let is_wanted = files.iter().any(|f| self.moment.wants(f.time));
        if !is_wanted || files.iter().any(|f| self.moment.unreadable.contains(&f.id)) {
            return SetState::Waiting;
        }
        let unsettled: Vec<_> = files.iter().filter(|f| is_unsettled(f)).collect();
        if unsettled.is_empty() {
            let is_large = 2 * rows(files) >= self.rules.rows_max || 2 * strings(files) >= self.rules.string_bytes_max;
            return if is_large { SetState::Done } else { SetState::Small };
        }
        let can_settle = unsettled.iter().all(|f| f.stamp_max <= self.moment.settled);
        let late: u64 = unsettled.iter().map(|f| f.rows).sum();
        let settled = rows(files) - late;
        let is_enough = self.moment.wanted.is_some() || unsettled.len() >= GATHERED_FILES;
        let gathered = is_enough && (can_settle || self.saves(files));
        let newest = unsettled.iter().map(|f| made_at_ns(f)).max().unwrap_or(0);
        let is_over = window.end() <= self.moment.now;
        let is_worth = is_over && late.saturating_mul(GATHERED_PART) >= settled;
        let is_idle = newest.saturating_add(IDLE_NS) <= self.moment.now;
        if !(gathered || can_settle && (is_worth || is_idle)) {
            return SetState::Waiting;
        }
        if self.fits(files) { SetState::Ready } else { SetState::TooLarge }
    }

    /// Two files always fit, or nothing could ever be merged with a very wide one.
    fn fits(&self, files: &[Arc<FileRecord>]) -> bool {
        let batch = |f: &FileRecord| f.rows.min(BATCH_ROWS) * self.moment.columns as u64 * VALUE_BYTES;
        let bytes: u64 = files.iter().map(|f| f.size_bytes + batch(f)).sum();
        files.len() <= self.rules.files_max && (bytes <= self.rules.bytes_max || files.len() <= 2)
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
                    plans.extend(self.part(&set));
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
        let is_any_ready = run.iter().any(|set| set.state == SetState::Ready);
        let is_time = window.end() <= self.moment.now || self.moment.wanted.is_some();
        let may_join = is_time && (is_any_ready || !self.would_meet_unsettled(&all));
        if may_join && self.saves(&all) {
            return Some(self.settling(all, window));
        }
        let ready = run.iter().filter(|set| set.state == SetState::Ready);
        let inputs: Vec<_> = ready.flat_map(|set| set.files.iter().cloned()).collect();
        (!inputs.is_empty()).then(|| self.settling(inputs, window))
    }

    /// Whether one file of all these could overlap one with unsettled rows, though they themselves do not. It would have
    /// to be cut again when that is settled.
    fn would_meet_unsettled(&self, files: &[Arc<FileRecord>]) -> bool {
        let Some(time) = files.iter().map(|f| f.time).reduce(TimeRange::union) else { return false };
        let (first, last) = (files.iter().map(|f| &f.key_min).min(), files.iter().map(|f| &f.key_max).max());
        let meets = |f: &FileRecord| f.time.overlaps(time) && Some(&f.key_min) <= last && first <= Some(&f.key_max);
        self.unsettled.iter().any(|f| meets(f))
    }

    /// Whether at most half as many files would do.
    fn saves(&self, files: &[Arc<FileRecord>]) -> bool {
        let by_rows = rows(files).div_ceil(self.rules.rows_max);
        let needed = by_rows.max(strings(files).div_ceil(self.rules.string_bytes_max));
        needed.saturating_mul(2) <= files.len() as u64
    }

    /// Merges some unsettled files of a set that is too large, or takes a settled one, and cuts them where the others
    /// begin or end: so the set falls apart. Nothing is settled, so the set need not be closed.
    fn part(&self, set: &Set) -> Option<Plan> {
        let mut files = set.files.clone();
        files.sort_by_key(|f| (!is_unsettled(f), f.window_start, f.id));
        // A file that every cut leaves whole is no better afterwards, unless it is merged with one it overlaps.
        (0..files.len()).find_map(|first| {
            let mut taken = vec![Arc::clone(&files[first])];
            let both_unsettled = |f: &&Arc<FileRecord>| is_unsettled(&files[first]) && is_unsettled(f);
            let later = files[first + 1..].iter().filter(both_unsettled);
            for file in later.filter(|f| f.overlaps(&files[first])) {
                if !self.fits(&[&taken[..], &[Arc::clone(file)]].concat()) {
                    break;
                }
                taken.push(Arc::clone(file));
            }
            // By time first: rows of many windows in one file would pull all these windows into one.
            let slices = self.slices(&set.files, &taken);
            if slices.len() > 1 {
                return Some(Plan { inputs: taken, settle: Stamp::SETTLED, slices, borders: Vec::new() });
            }
            let borders = borders(&set.files, &taken);
            let changes = taken.len() > 1 || !borders.is_empty();
            let slices = vec![Slice { range: TimeRange::ALL, window: set.window }];
            changes.then_some(Plan { inputs: taken, settle: Stamp::SETTLED, slices, borders })
        })
    }

    /// The time of the files that are taken, cut where windows of the others begin or end.
    fn slices(&self, all: &[Arc<FileRecord>], taken: &[Arc<FileRecord>]) -> Vec<Slice> {
        let Some(whole) = taken.iter().map(|f| f.time).reduce(TimeRange::union) else { return Vec::new() };
        let ends = |f: &Arc<FileRecord>| [f.window_start, f.window_start.saturating_add(f.window_width)];
        let others = all.iter().filter(|f| taken.iter().all(|t| t.id != f.id));
        let parts = |cut: &i64| taken.iter().any(|f| f.time.min < *cut && *cut <= f.time.max);
        let cuts: BTreeSet<i64> = others.flat_map(ends).filter(parts).collect();
        let step = cuts.len().div_ceil(SLICES_MAX - 1).max(1);
        let mut slices = Vec::new();
        let mut min = whole.min;
        for cut in cuts.into_iter().step_by(step) {
            slices.push(self.slice(min, cut - 1));
            min = cut;
        }
        slices.push(self.slice(min, whole.max));
        slices
    }

    fn slice(&self, min: i64, max: i64) -> Slice {
        Slice { range: TimeRange { min, max }, window: self.window(min, max.saturating_add(1)) }
    }

    fn settling(&self, inputs: Vec<Arc<FileRecord>>, window: Window) -> Plan {
        let slices = vec![Slice { range: TimeRange::ALL, window }];
        Plan { inputs, settle: self.moment.settled, slices, borders: Vec::new() }
    }
}

impl Plan {
    /// Where the merged rows of a slice are cut into files.
    pub(super) fn cuts(&self, rules: &Rules) -> Cuts {
        // Files that are not settled must not seem to overlap, or they are merged again and again.
        let all_settle = self.inputs.iter().all(|f| f.stamp_max <= self.settle);
        let long_series = if all_settle { LongSeries::Cut } else { LongSeries::Keep };
        let (rows_max, bytes_max) = (rules.rows_max, rules.string_bytes_max);
        Cuts { rows_max, bytes_max, long_series, borders: self.borders.clone() }
    }

    /// Whether something is better after a run that left so many files. A run that betters nothing would be planned
    /// again at once.
    pub(super) fn is_worth(&self, files: usize, deletes: &[Arc<RowDelete>]) -> bool {
        let is_better = |f: &Arc<FileRecord>| is_unsettled(f) || deletes.iter().any(|delete| delete.touches(f));
        files < self.inputs.len() || self.inputs.iter().any(is_better)
    }
}

fn rows(files: &[Arc<FileRecord>]) -> u64 {
    files.iter().map(|f| f.rows).sum()
}

fn strings(files: &[Arc<FileRecord>]) -> u64 {
    files.iter().map(|f| f.string_bytes).sum()
}

pub(super) fn is_unsettled(file: &FileRecord) -> bool {
    file.stamp_max != Stamp::SETTLED
}

/// A file's id begins with the time it was made.
pub(super) fn made_at_ns(file: &FileRecord) -> i64 {
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
    // Before and after its first and its last series.
    let keys = [&file.key_min, &file.key_max];
    let mut ends: Vec<_> = keys.iter().flat_map(|key| [border(key, i64::MIN), border(key, i64::MAX)]).collect();
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
