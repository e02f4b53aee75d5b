use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampNanosecondArray,
    UInt64Array, cast::AsArray,
};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::*;

/// A row of a table with two tags and three fields: an integer, a string and a float.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) tags: [Option<&'static str>; 2],
    pub(super) time: i64,
    pub(super) fields: [Option<u32>; 3],
    pub(super) stamp: u64,
}

/// Every tag value there is. Absent sorts before the empty string.
pub(super) const VALUES: [&str; 5] = ["", "a", "aa", "b", "é"];

pub(super) fn layout() -> Layout {
    let tag = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields = vec![
        Field::new("t0", tag(), true),
        Field::new("t1", tag(), true),
        Field::new("time", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        Field::new("f0", DataType::Int64, true),
        Field::new("f1", DataType::Utf8, true),
        Field::new("f2", DataType::Float64, true),
        Field::new("__seq", DataType::UInt64, false),
    ];
    Layout { schema: Arc::new(Schema::new(fields)), tags: 2 }
}

/// A tag column whose dictionary holds values twice, values nobody uses, and null.
fn tag_column(values: &[Option<&'static str>], rng: &mut StdRng) -> ArrayRef {
    let mut dictionary: Vec<Option<&str>> = VALUES.iter().chain(&VALUES).map(|v| Some(*v)).chain([None]).collect();
    dictionary.shuffle(rng);
    let keys = values.iter().map(|value| {
        let same: Vec<usize> = (0..dictionary.len()).filter(|i| dictionary[*i] == *value).collect();
        let key = *same.choose(rng).expect("every value is in the dictionary");
        (value.is_some() || rng.random_bool(0.5)).then(|| i32::try_from(key).expect("small"))
    });
    let keys: Int32Array = keys.collect();
    Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(StringArray::from(dictionary))).unwrap())
}

pub(super) fn batch(rows: &[Row], rng: &mut StdRng) -> RecordBatch {
    let tag = |t: usize| rows.iter().map(|r| r.tags[t]).collect::<Vec<_>>();
    let field = |f: usize| rows.iter().map(move |r| r.fields[f]);
    let columns: Vec<ArrayRef> = vec![
        tag_column(&tag(0), rng),
        tag_column(&tag(1), rng),
        Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|r| r.time))),
        Arc::new(field(0).map(|v| v.map(i64::from)).collect::<Int64Array>()),
        Arc::new(field(1).map(|v| v.map(|v| v.to_string())).collect::<StringArray>()),
        Arc::new(field(2).map(|v| v.map(f64::from)).collect::<Float64Array>()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.stamp))),
    ];
    RecordBatch::try_new(layout().schema, columns).unwrap()
}

pub(super) fn rows(batches: &[RecordBatch]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        let tag = |t: usize, row: usize| {
            let column = batch.column(t).as_dictionary::<Int32Type>();
            let key = column.key(row)?;
            let value = column.values().as_string::<i32>();
            value.is_valid(key).then(|| *VALUES.iter().find(|v| **v == value.value(key)).unwrap())
        };
        let times = batch.column(2).as_primitive::<TimestampNanosecondType>();
        let (f0, f1) = (batch.column(3).as_primitive::<Int64Type>(), batch.column(4).as_string::<i32>());
        let f2 = batch.column(5).as_primitive::<Float64Type>();
        let stamps = batch.columns().get(6).map(|c| c.as_primitive::<UInt64Type>());
        rows.extend((0..batch.num_rows()).map(|row| Row {
            tags: [tag(0, row), tag(1, row)],
            time: times.value(row),
            fields: [
                f0.is_valid(row).then(|| u32::try_from(f0.value(row)).unwrap()),
                f1.is_valid(row).then(|| f1.value(row).parse().unwrap()),
                f2.is_valid(row).then(|| f2.value(row) as u32),
            ],
            stamp: stamps.map_or(0, |s| s.value(row)),
        }));
    }
    rows
}

/// Merges with small output batches and inputs cut at random.
pub(super) fn merge(inputs: &[Vec<Row>], settle: Settle, rng: &mut StdRng) -> Result<Vec<Row>, Error> {
    let limits = Limits { rows: rng.random_range(1..40), bytes: rng.random_range(1..200) };
    let inputs: Vec<_> = inputs.iter().map(|rows| cut(rows, rng).into_iter().map(Ok::<_, Error>)).collect();
    let merger = Merger::limited(layout(), inputs.len(), settle, limits)?;
    let schema = merger.output_schema();
    let merged = Merged::with(merger, inputs).collect::<Result<Vec<_>, _>>()?;
    for batch in &merged {
        assert!((1..=limits.rows).contains(&batch.num_rows()), "{} rows", batch.num_rows());
        assert_eq!(batch.schema(), schema);
        // The last row may be longer than what was left, and united from two rows.
        let strings: usize = batch.column(4).as_string::<i32>().iter().flatten().map(str::len).sum();
        assert!(strings as u64 <= limits.bytes + 8, "{strings} bytes");
    }
    Ok(rows(&merged))
}

fn cut(mut rows: &[Row], rng: &mut StdRng) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    while !rows.is_empty() {
        let (now, rest) = rows.split_at(rng.random_range(0..=rows.len().min(9)));
        batches.push(batch(now, rng));
        rows = rest;
    }
    batches
}

/// A row of the series `a`, with its time, stamp, and one character for each field: `-` when it is not set.
fn row(time: i64, stamp: u64, fields: &str) -> Row {
    let mut set = fields.chars().map(|c| c.to_digit(10));
    let fields = [0; 3].map(|_| set.next().expect("three fields"));
    Row { tags: [Some("a"), None], time, fields, stamp }
}

fn table(rows: &[(i64, u64, &str)]) -> Vec<Row> {
    rows.iter().map(|(time, stamp, fields)| row(*time, *stamp, fields)).collect()
}

#[track_caller]
fn check(settle: Settle, inputs: &[&[(i64, u64, &str)]], expected: &[(i64, u64, &str)]) {
    let inputs: Vec<Vec<Row>> = inputs.iter().map(|rows| table(rows)).collect();
    for seed in 0..20 {
        let merged = merge(&inputs, settle, &mut StdRng::seed_from_u64(seed)).unwrap();
        assert_eq!(merged, table(expected), "seed {seed}");
    }
}

const fn up_to(stamp: u64) -> Settle {
    Settle::UpTo(Stamp(stamp))
}

#[test]
fn per_field_the_value_written_last_wins() {
    check(Settle::All, &[&[(1, 5, "12-")], &[(1, 7, "3--")], &[(1, 6, "-45")]], &[(1, 0, "345")]);
    check(up_to(9), &[&[(1, 5, "12-")], &[(1, 7, "3--")], &[(1, 6, "-45")]], &[(1, 0, "345")]);
}

#[test]
fn a_settled_row_is_older_than_any_other() {
    check(Settle::All, &[&[(1, 3, "1--")], &[(1, 0, "222")]], &[(1, 0, "122")]);
}

#[test]
fn rows_of_one_stamp_unite_and_the_later_row_is_the_later() {
    check(up_to(0), &[&[(1, 5, "1-1"), (1, 5, "22-"), (1, 5, "--3")]], &[(1, 5, "223")]);
    check(up_to(0), &[&[(1, 5, "1-1")], &[(1, 5, "22-")]], &[(1, 5, "221")]);
}

#[test]
fn versions_above_the_settled_stamp_stay_apart() {
    let input: &[_] = &[(1, 3, "1--"), (1, 4, "-2-"), (1, 5, "3--"), (1, 6, "-4-"), (1, 7, "--5")];
    check(up_to(4), &[input], &[(1, 0, "12-"), (1, 5, "3--"), (1, 6, "-4-"), (1, 7, "--5")]);
    check(up_to(5), &[input], &[(1, 0, "32-"), (1, 6, "-4-"), (1, 7, "--5")]);
}

#[test]
fn a_version_goes_when_one_newer_version_sets_all_it_sets() {
    check(up_to(0), &[&[(1, 3, "11-")], &[(1, 4, "22-")]], &[(1, 4, "22-")]);
    check(up_to(0), &[&[(1, 3, "11-")], &[(1, 4, "222")], &[(1, 5, "3--")]], &[(1, 4, "222"), (1, 5, "3--")]);
    check(up_to(0), &[&[(1, 0, "1--")], &[(1, 4, "2--")]], &[(1, 4, "2--")]);
}

#[test]
fn two_newer_versions_that_only_together_set_all_do_not_cover_an_older_one() {
    let versions: &[_] = &[(1, 3, "11-"), (1, 4, "2--"), (1, 5, "-3-")];
    check(up_to(0), &[versions], versions);
}

#[test]
fn a_row_that_sets_nothing_is_still_a_row() {
    check(Settle::All, &[&[(1, 3, "---"), (2, 3, "1--")]], &[(1, 0, "---"), (2, 0, "1--")]);
}

#[test]
fn no_inputs_and_empty_inputs_give_nothing() {
    check(Settle::All, &[], &[]);
    check(Settle::All, &[&[], &[]], &[]);
}

#[test]
fn absent_tags_come_before_every_value() {
    let key = |tags, time| Row { tags, time, fields: [Some(1), None, None], stamp: 0 };
    let keys = [
        key([None, None], 9),
        key([None, Some("")], 1),
        key([Some(""), None], 1),
        key([Some("a"), None], 1),
        key([Some("a"), Some("a")], 0),
        key([Some("aa"), None], 0),
        key([Some("é"), None], 0),
    ];
    for seed in 0..50 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut inputs = vec![Vec::new(); 3];
        keys.iter().for_each(|key| inputs[rng.random_range(0..3)].push(key.clone()));
        assert_eq!(merge(&inputs, Settle::All, &mut rng).unwrap(), keys, "seed {seed}");
    }
}

#[test]
fn a_table_without_tags_has_one_series() {
    let bare = Layout { schema: Arc::new(layout().schema.project(&[2, 3, 6]).unwrap()), tags: 0 };
    let input = |rows| vec![batch(&table(rows), &mut StdRng::seed_from_u64(1)).project(&[2, 3, 6]).unwrap()];
    let inputs = vec![input(&[(1, 1, "1--"), (3, 1, "3--")]), input(&[(2, 2, "2--"), (3, 2, "4--")])];
    let merged = merge_all(bare, inputs, Settle::All).unwrap();
    assert_eq!(merged[0].column(0).as_primitive::<TimestampNanosecondType>().values(), &[1, 2, 3]);
    assert_eq!(merged[0].column(1).as_primitive::<Int64Type>().values(), &[1, 2, 4]);
}

#[test]
fn an_input_that_is_not_sorted_is_an_error() {
    let unsorted: [&[(i64, u64, &str)]; 2] = [&[(2, 3, "1--"), (1, 4, "1--")], &[(1, 4, "1--"), (1, 3, "1--")]];
    for rows in unsorted.map(table) {
        for seed in 0..20 {
            let error = merge(std::slice::from_ref(&rows), Settle::All, &mut StdRng::seed_from_u64(seed)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }
    let mut series = vec![row(1, 1, "1--"), row(1, 1, "1--")];
    series[1].tags = [None, Some("b")];
    assert!(merge(&[series], Settle::All, &mut StdRng::seed_from_u64(1)).is_err());
}

#[test]
fn other_columns_are_an_error() {
    let mut merger = Merger::new(layout(), 1, Settle::All).unwrap();
    let narrow = batch(&table(&[(1, 1, "1--")]), &mut StdRng::seed_from_u64(1)).project(&[0, 1, 2, 6]).unwrap();
    assert_eq!(merger.give(0, narrow).unwrap_err().kind(), ErrorKind::Bug);
    let unsorted_tags = Layout { tags: 1, ..layout() };
    assert!(Merger::new(unsorted_tags, 1, Settle::All).is_err());
}

#[test]
fn a_long_stretch_shares_the_memory_of_its_input() {
    let rows: Vec<Row> = (0..2000).map(|time| row(time, 1, "123")).collect();
    let input = batch(&rows, &mut StdRng::seed_from_u64(1));
    let merged = merge_all(layout(), vec![vec![input.clone()]], Settle::All).unwrap();
    assert_eq!(merged.len(), 1);
    let times = |b: &RecordBatch| b.column(2).as_primitive::<TimestampNanosecondType>().values().as_ptr();
    assert_eq!(times(&merged[0]), times(&input));
}

#[test]
fn many_versions_of_one_row_need_one_batch_at_a_time() {
    let rows: Vec<Row> = (1..5000).map(|stamp| row(1, stamp, if stamp % 2 == 0 { "1--" } else { "-2-" })).collect();
    let merged = merge(&[rows], Settle::All, &mut StdRng::seed_from_u64(1)).unwrap();
    assert_eq!(merged, table(&[(1, 0, "12-")]));
}

#[test]
fn what_a_merger_holds_is_known() {
    let mut rng = StdRng::seed_from_u64(1);
    let row = |time: i64| Row { tags: [Some("a"), None], time, fields: [Some(1), Some(2), None], stamp: 1 };
    let halves: Vec<RecordBatch> =
        (0..2).map(|half| batch(&(0..100).map(|r| row(2 * r + half)).collect::<Vec<_>>(), &mut rng)).collect();
    let mut merger = Merger::new(layout(), 2, Settle::All).unwrap();
    assert_eq!(merger.memory_bytes(), 0);
    let mut given = 0;
    let mut output = Vec::new();
    loop {
        match merger.step().unwrap() {
            Step::Need(input) if given == 2 => {
                merger.end(input);
                let both: usize = halves.iter().map(slice_bytes).sum();
                assert!(merger.memory_bytes() >= both, "what ended is still referred to by the next output");
            }
            Step::Need(input) => {
                let before = merger.memory_bytes();
                merger.give(input, halves[input].clone()).unwrap();
                assert!(merger.memory_bytes() >= before + slice_bytes(&halves[input]));
                given += 1;
            }
            Step::Output(batch) => output.push(batch.num_rows()),
            Step::Done => break,
        }
    }
    assert_eq!(output, [200]);
    assert_eq!(merger.memory_bytes(), 0);
}
