//! Plans over made-up files, and over real ones until none is left.

use std::collections::BTreeMap;

use arrow_array::types::{Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{
    Array, DictionaryArray, Int64Array, RecordBatch, TimestampNanosecondArray, UInt64Array, cast::AsArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use arrow_select::filter::filter_record_batch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::merge::{self, Cutter, Layout, Merged, Settle, Survey};
use crate::model::{FileId, SeriesKey, TableId, TimeRange};

const MINUTE: i64 = 60_000_000_000;
const GEN1: i64 = 10 * MINUTE;
/// 2026-01-01, a multiple of every width below.
const NOW: i64 = 1_767_225_600_000_000_000 / (24 * 60 * MINUTE) * (24 * 60 * MINUTE);

fn rules() -> Rules {
    Rules {
        widths: vec![20 * MINUTE, 60 * MINUTE],
        files_max: 100,
        rows_max: 1000,
        string_bytes_max: 1_000_000,
        bytes_max: 1_000_000,
    }
}

fn moment(settled: u64, now: i64) -> Moment {
    // Batches of no columns take no memory, so that the bytes of a plan are those of its files.
    Moment { settled: Stamp(settled), now, columns: 0, unreadable: BTreeSet::new(), wanted: None }
}

/// A file made long ago with the keys `a..=z`, unless said otherwise.
fn file(number: u128, minute: i64, rows: u64, stamp: u64) -> FileRecord {
    let key = |text: &str| SeriesKey(vec![Some(text.into())]);
    let start = NOW + minute * MINUTE;
    FileRecord {
        id: FileId(number),
        table: TableId(0),
        path: format!("{number}").into(),
        size_bytes: rows,
        tail: None,
        rows,
        string_bytes: 0,
        time: TimeRange { min: start, max: start + GEN1 - 1 },
        key_min: key("a"),
        key_max: key("z"),
        stamp_max: Stamp(stamp),
        has_versions: false,
        level: 1,
        window_start: start,
        window_width: GEN1,
        deletes_up_to: 0,
    }
}

fn keyed(file: FileRecord, min: &str, max: &str) -> FileRecord {
    let key = |text: &str| SeriesKey(vec![Some(text.into())]);
    FileRecord { key_min: key(min), key_max: key(max), ..file }
}

/// Ids of the inputs, level and whether it settles, for each plan.
#[track_caller]
fn check(files: &[FileRecord], now_minute: i64, expected: &[(&[u128], u8, bool)]) {
    let files: Vec<_> = files.iter().cloned().map(Arc::new).collect();
    let found = plans(files.iter(), &moment(100, NOW + now_minute * MINUTE), &rules());
    let ids = |plan: &Plan| plan.inputs.iter().map(|f| f.id.0).collect::<BTreeSet<_>>();
    let found: Vec<_> = found.iter().map(|p| (ids(p), p.slices[0].window.level, p.settle != Stamp::SETTLED)).collect();
    let expected: Vec<_> =
        expected.iter().map(|(ids, level, settles)| (ids.iter().copied().collect(), *level, *settles)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_window_is_merged_once_it_is_over() {
    let files = [file(1, 0, 10, 5), file(2, 10, 10, 6)];
    check(&files, 20, &[(&[1, 2], 2, true)]);
    check(&files, 60, &[(&[1, 2], 3, true)]);
    check(&[], 60, &[]);
}

#[test]
fn settled_files_are_joined_with_the_next_level_and_then_left_alone() {
    let gen2 = |n, minute| FileRecord { level: 2, window_width: 20 * MINUTE, ..file(n, minute, 10, 0) };
    check(&[gen2(1, 0), gen2(2, 20), gen2(3, 40)], 59, &[]);
    check(&[gen2(1, 0), gen2(2, 20), gen2(3, 40)], 60, &[(&[1, 2, 3], 3, true)]);
    let gen3 = FileRecord { level: 3, window_width: 60 * MINUTE, ..file(1, 0, 30, 0) };
    check(&[gen3], 10_000, &[]);
}

#[test]
fn large_files_are_not_joined() {
    check(&[file(1, 0, 600, 0), file(2, 10, 600, 0)], 60, &[]);
    check(&[file(1, 0, 600, 0), file(2, 10, 10, 0), file(3, 10, 10, 0)], 60, &[(&[2, 3], 3, true)]);
}

#[test]
fn rows_that_are_not_settled_everywhere_wait() {
    check(&[file(1, 0, 10, 101)], 10_000, &[]);
    check(&[file(1, 0, 10, 100)], 10_000, &[(&[1], 3, true)]);
    // Many files are merged all the same, so that queries have fewer to read.
    let many: Vec<_> = (0..8).map(|n| file(n, 0, 10, 101)).collect();
    check(&many, 10, &[(&[0, 1, 2, 3, 4, 5, 6, 7], 2, true)]);
}

#[test]
fn late_rows_wait_until_they_are_worth_it_and_take_only_what_they_touch() {
    let made_at = |ns: i64| FileId(u128::try_from(ns / 1_000_000).expect("after 1970") << 80);
    let settled = |n, min, max| keyed(file(n, 0, 900, 0), min, max);
    let late = |rows, at_minute: i64| FileRecord {
        id: made_at(NOW + at_minute * MINUTE),
        ..keyed(file(9, 0, rows, 7), "b", "c")
    };
    let young = late(10, 55);
    let id = young.id.0;
    check(&[settled(1, "a", "f"), settled(2, "g", "z"), young.clone()], 60, &[]);
    check(&[settled(1, "a", "f"), settled(2, "g", "z"), young], 65, &[(&[1, id], 3, true)]);
    let much = late(300, 55);
    check(&[settled(1, "a", "f"), settled(2, "g", "z"), much], 60, &[(&[1, id], 3, true)]);
}

#[test]
fn what_cannot_be_read_is_left_alone_and_nothing_else() {
    let files: Vec<_> = [file(1, 0, 10, 5), file(2, 10, 10, 6)].into_iter().map(Arc::new).collect();
    let moment = Moment { unreadable: BTreeSet::from([FileId(1)]), ..moment(100, NOW + 60 * MINUTE) };
    let found = plans(files.iter(), &moment, &rules());
    assert_eq!(found.iter().map(|p| p.inputs[0].id.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_is_wanted_waits_for_nothing_and_is_no_more_than_was_wanted() {
    let made = u128::try_from(NOW / 1_000_000).expect("after 1970") << 80;
    let young = |number, minute, stamp| FileRecord { id: FileId(made | number), ..file(0, minute, 10, stamp) };
    let files = [young(1, 0, 5), young(2, 10, 0), young(3, 40, 6), young(4, 100, 101)];
    check(&files, 5, &[]);
    let files: Vec<_> = files.into_iter().map(Arc::new).collect();
    let wanted = |(min, max), known: &[Arc<FileRecord>]| {
        let range = TimeRange::new(NOW + min * MINUTE, NOW + max * MINUTE).unwrap();
        let wanted = Some(begun(range, known.iter()));
        let found = plans(files.iter(), &Moment { wanted, ..moment(100, NOW + 5 * MINUTE) }, &rules());
        found.iter().map(|p| p.inputs.iter().map(|f| f.id.0 - made).collect()).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(wanted((0, 200), &files), [vec![1, 2], vec![3]], "and not what is not settled everywhere");
    assert_eq!(wanted((5, 6), &files), [[1]]);
    assert_eq!(wanted((45, 46), &files), [[3]]);
    assert!(wanted((60, 90), &files).is_empty());
    assert_eq!(wanted((0, 200), &files[..1]), [[1]], "the others came later");
}

fn begun<'a>(range: TimeRange, files: impl Iterator<Item = &'a Arc<FileRecord>>) -> Begun {
    Begun { range, files: Arc::new(files.map(|file| file.id).collect()), deletes: Vec::new() }
}

#[test]
fn long_texts_end_files_too_and_are_not_joined_for_ever() {
    let long = |n, minute| FileRecord { string_bytes: 900_000, ..file(n, minute, 10, 0) };
    check(&[long(1, 0), long(2, 10)], 60, &[]);
}

#[test]
fn rows_of_many_windows_are_parted_by_time() {
    let hour = |n, hour: i64| FileRecord {
        time: TimeRange { min: NOW + 60 * hour * MINUTE, max: NOW + 60 * (hour + 1) * MINUTE - 1 },
        level: 3,
        window_width: 60 * MINUTE,
        ..file(n, 60 * hour, 400_000, 0)
    };
    let late = FileRecord {
        time: TimeRange { min: NOW, max: NOW + 180 * MINUTE - 1 },
        window_width: 180 * MINUTE,
        ..file(9, 0, 500_000, 7)
    };
    let files: Vec<_> = [hour(1, 0), hour(2, 1), hour(3, 2), late].into_iter().map(Arc::new).collect();
    let found = plans(files.iter(), &moment(100, NOW + 1000 * MINUTE), &rules());
    let ids: Vec<_> = found.iter().map(|p| p.inputs.iter().map(|f| f.id.0).collect::<Vec<_>>()).collect();
    assert_eq!(ids, [[9]]);
    let starts: Vec<_> = found[0].slices.iter().map(|s| (s.window.start - NOW) / MINUTE).collect();
    assert_eq!(starts, [0, 60, 120]);
}

#[test]
fn slices_hold_the_last_instant_there_is() {
    let first = FileRecord { time: TimeRange { min: NOW, max: i64::MAX }, ..file(9, 0, 500_000, 7) };
    let second = file(1, 0, 600_000, 0);
    let files: Vec<_> = [first, second].into_iter().map(Arc::new).collect();
    let found = plans(files.iter(), &moment(100, i64::MAX), &Rules { files_max: 1, ..rules() });
    let slices: Vec<_> = found[0].slices.iter().map(|s| s.range).collect();
    assert!(slices.len() > 1);
    assert_eq!((slices[0].min, slices.last().map(|range| range.max)), (NOW, Some(i64::MAX)));
}

#[test]
fn a_set_that_is_too_large_is_parted_where_its_files_begin() {
    let parts = ["a", "f", "k", "p"].map(|key| keyed(file(0, 0, 400_000, 0), key, key));
    let mut files: Vec<_> = (1..).zip(parts).map(|(n, f)| FileRecord { id: FileId(n), ..f }).collect();
    files.push(file(9, 0, 500_000, 7));
    check(&files, 60, &[(&[9], 3, false)]);
    let files: Vec<_> = files.into_iter().map(Arc::new).collect();
    let plan = &plans(files.iter(), &moment(100, NOW + 60 * MINUTE), &rules())[0];
    let keys: Vec<_> = plan.borders.iter().map(|b| b.key.0[0].as_deref().unwrap_or("").to_owned()).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 4, "{keys:?}");
}

// --- Until nothing is left to do ---

fn layout() -> Layout {
    let tag = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields = vec![
        Field::new("s", tag, true),
        Field::new("time", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        Field::new("v", DataType::Int64, true),
        Field::new("__seq", DataType::UInt64, false),
    ];
    Layout { schema: Arc::new(Schema::new(fields)), tags: 1 }
}

type Row = (String, i64, u64);

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(rows.iter().map(|r| Some(r.0.as_str())).collect::<DictionaryArray<Int32Type>>()),
        Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|r| r.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2 as i64))),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.2))),
    ];
    RecordBatch::try_new(layout().schema, columns).unwrap()
}

struct World {
    rng: StdRng,
    files: BTreeMap<FileId, (Arc<FileRecord>, Vec<RecordBatch>)>,
    oracle: BTreeMap<(String, i64), i64>,
    next: u128,
}

impl World {
    fn add(&mut self, batches: Vec<RecordBatch>, (level, start, width): (u8, i64, i64)) {
        let mut survey = Survey::new(layout()).unwrap();
        batches.iter().for_each(|b| survey.see(b).unwrap());
        let Some(found) = survey.found() else { return };
        self.next += 1;
        let id = FileId(self.next);
        let record = FileRecord {
            id,
            table: TableId(0),
            path: id.to_string().into(),
            size_bytes: found.rows,
            tail: None,
            rows: found.rows,
            string_bytes: found.string_bytes,
            time: found.time,
            key_min: found.key_min,
            key_max: found.key_max,
            stamp_max: found.stamp_max,
            has_versions: found.has_versions,
            level,
            window_start: start,
            window_width: width,
            deletes_up_to: 0,
        };
        self.files.insert(id, (Arc::new(record), batches));
    }

    /// A snapshot with rows of one window, narrow or wide, of few series or of many.
    fn snapshot(&mut self, stamp: u64) {
        let width = [GEN1, GEN1, GEN1, 60 * MINUTE, 180 * MINUTE][self.rng.random_range(0..5)];
        let start = NOW + self.rng.random_range(0..180 * MINUTE / width) * width;
        let series = self.rng.random_range(1..20);
        let mut rows = BTreeMap::new();
        for _ in 0..self.rng.random_range(1..60) {
            let series = format!("{:02}", self.rng.random_range(0..series));
            let time = start + self.rng.random_range(0..width / MINUTE) * MINUTE;
            rows.insert((series, time), stamp);
        }
        self.oracle.extend(rows.keys().map(|key| (key.clone(), stamp as i64)));
        let rows: Vec<Row> = rows.into_iter().map(|((s, t), v)| (s, t, v)).collect();
        self.add(vec![batch(&rows)], (1, start, width));
    }

    fn run(&mut self, plan: &Plan, rules: &Rules) {
        let inputs = plan.inputs.iter().map(|f| self.files.remove(&f.id).expect("no two plans share a file").1);
        let inputs: Vec<_> = inputs.collect();
        for slice in &plan.slices {
            let within = |b: &RecordBatch| {
                let kept = rows_of(b).iter().map(|((_, time), _)| Some(slice.range.contains(*time))).collect();
                Ok::<_, merge::Error>(filter_record_batch(b, &kept).unwrap())
            };
            let inputs = inputs.iter().map(|batches| batches.iter().map(within).collect::<Vec<_>>().into_iter());
            let merged = Merged::new(layout(), inputs.collect(), Settle::UpTo(plan.settle)).unwrap();
            let mut cutter = Cutter::new(layout(), plan.cuts(rules), merged);
            let mut pieces = Vec::new();
            while let Some(piece) = cutter.piece().unwrap() {
                pieces.push(piece.collect::<Result<Vec<_>, _>>().unwrap());
            }
            let Window { level, start, width } = slice.window;
            pieces.into_iter().for_each(|piece| self.add(piece, (level, start, width)));
        }
    }

    /// No two settled files may hold the same row, and all of them united must be what was written.
    fn check(&self) {
        let mut settled = BTreeSet::new();
        for (record, batches) in self.files.values().filter(|(record, _)| !is_unsettled(record)) {
            for key in batches.iter().flat_map(rows_of).map(|(key, _)| key) {
                assert!(settled.insert(key.clone()), "{key:?} stands in two settled files, one is {}", record.id);
            }
        }
        let inputs = self.files.values().map(|(_, b)| b.clone()).collect();
        let merged = merge::merge_all(layout(), inputs, Settle::All).unwrap();
        let found: BTreeMap<_, _> = merged.iter().flat_map(rows_of).collect();
        assert_eq!(found, self.oracle);
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<((String, i64), i64)> {
    let series = batch.column(0).as_dictionary::<Int32Type>();
    let names = series.values().as_string::<i32>();
    let times = batch.column(1).as_primitive::<TimestampNanosecondType>();
    let values = batch.column(2).as_primitive::<Int64Type>();
    let name = |row: usize| names.value(series.key(row).unwrap()).to_owned();
    (0..batch.num_rows()).map(|row| ((name(row), times.value(row)), values.value(row))).collect()
}

#[test]
fn plans_come_to_an_end_with_every_row_settled_and_few_files() {
    for seed in 0..120 {
        let mut rng = StdRng::seed_from_u64(seed);
        let rules = Rules {
            files_max: rng.random_range(2..8),
            rows_max: rng.random_range(5..60),
            string_bytes_max: rng.random_range(10..200),
            bytes_max: rng.random_range(50..300),
            ..rules()
        };
        let mut world = World { rng, files: BTreeMap::new(), oracle: BTreeMap::new(), next: 0 };
        let mut stamp = 0;
        for _ in 0..world.rng.random_range(1..30) {
            stamp += 1;
            world.snapshot(stamp);
            if world.rng.random_bool(0.3) {
                let settled = Stamp(world.rng.random_range(0..=stamp));
                world.look((settled, &mut None), &rules);
            }
        }
        if seed % 2 == 0 {
            // Whoever wants all at once, comes to an end too, although rows come all the time.
            let (settled, mut wanted) = (Stamp(stamp), Some(begun(TimeRange::ALL, world.records().iter())));
            let rounds = (0..500).find(|_| {
                stamp += 1;
                world.snapshot(stamp);
                world.look((settled, &mut wanted), &rules) == 0
            });
            assert!(rounds.is_some(), "seed {seed}: an order without end");
            let known = wanted.expect("it was given").files;
            let is_left = |(file, _): &(Arc<FileRecord>, _)| known.contains(&file.id) && is_unsettled(file);
            assert!(!world.files.values().any(is_left), "seed {seed}: unsettled rows are left");
        }
        let rounds = (0..500).find(|_| world.look((Stamp(stamp), &mut None), &rules) == 0);
        assert!(rounds.is_some(), "seed {seed}: plans without end");
        assert!(world.files.values().all(|(f, _)| !is_unsettled(f)), "seed {seed}: unsettled rows are left");
        let records = world.records();
        let windows: BTreeSet<_> = world.oracle.keys().map(|(_, time)| time / (60 * MINUTE)).collect();
        let needed = world.oracle.len() as u64 / rules.rows_max
            + strings(&records) / rules.string_bytes_max
            + windows.len() as u64;
        let most = 4 * needed as usize + 8;
        assert!(world.files.len() <= most, "seed {seed}: {} files, {needed} would do", world.files.len());
    }
}

impl World {
    fn records(&self) -> Vec<Arc<FileRecord>> {
        self.files.values().map(|(f, _)| Arc::clone(f)).collect()
    }

    /// Returns how many plans there were. What comes of them is known to whoever wanted it.
    fn look(&mut self, (settled, wanted): (Stamp, &mut Option<Begun>), rules: &Rules) -> usize {
        let moment = Moment { wanted: wanted.clone(), ..moment(settled.0, NOW + 10_000 * MINUTE) };
        let plans = plans(self.records().iter(), &moment, rules);
        for plan in &plans {
            let bytes: u64 = plan.inputs.iter().map(|f| f.size_bytes).sum();
            assert!(!plan.inputs.is_empty() && plan.inputs.len() <= rules.files_max, "{} files", plan.inputs.len());
            assert!(bytes <= rules.bytes_max || plan.inputs.len() <= 2, "{bytes} bytes");
            let newest = FileId(self.next);
            self.run(plan, rules);
            if let Some(begun) = wanted {
                let added = self.files.keys().filter(|id| **id > newest);
                Arc::make_mut(&mut begun.files).extend(added.copied());
            }
            self.check();
        }
        plans.len()
    }
}
