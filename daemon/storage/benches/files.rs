//! What it costs to merge rows and to write them as files: CPU seconds for a million rows, and bytes for a row.
//!
//! Rows are those of a monitored fleet: 400 hosts, ten tags, ten integers that walk at random, a row every ten seconds.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::print_stdout, reason = "its tables are what it is for")]

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_array::{TimestampNanosecondArray, UInt64Array};
use arrow_schema::ArrowError;
use parquet::arrow::ArrowWriter;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::files::{FileLayout, Origin, Reader, Stamps, write};
use storage::merge::{Layout, Merged, Settle};
use storage::model::{Column, ColumnKind, DatabaseId, FieldType, NodeId, Stamp, TableId, TableSchema};

const HOSTS: usize = 400;
const ROWS: usize = 2500 * HOSTS;

fn table() -> TableSchema {
    let tag = |t: usize| Column { name: format!("tag{t}").into(), kind: ColumnKind::Tag };
    let field = |f: usize| Column { name: format!("u{f}").into(), kind: ColumnKind::Field(FieldType::Integer) };
    TableSchema { table: TableId(1), name: "cpu".into(), columns: (0..10).map(tag).chain((0..10).map(field)).collect() }
}

/// Rows `times` of every host, by host and time, in batches of 8192.
fn rows(times: impl Iterator<Item = i64> + Clone, stamp: u64) -> Vec<RecordBatch> {
    let mut rng = StdRng::seed_from_u64(stamp);
    let values: Vec<String> = (0..HOSTS).map(|h| format!("host_{h:03}")).collect();
    let values: ArrayRef = Arc::new(StringArray::from(values));
    let keys: Vec<(i32, i64)> = (0..HOSTS as i32).flat_map(|h| times.clone().map(move |t| (h, t))).collect();
    let mut levels = [50; 10];
    let batch = |keys: &[(i32, i64)]| {
        let mut columns: Vec<ArrayRef> = Vec::new();
        for tag in 0..10 {
            // The first tag is the host; the others have up to ten values each.
            let keys =
                Int32Array::from_iter_values(keys.iter().map(|(h, _)| if tag == 0 { *h } else { h % (tag + 1) }));
            columns.push(Arc::new(DictionaryArray::<Int32Type>::new(keys, Arc::clone(&values))));
        }
        columns.push(Arc::new(TimestampNanosecondArray::from_iter_values(keys.iter().map(|k| k.1))));
        for level in &mut levels {
            let walk = keys.iter().map(|_| {
                *level = (*level + rng.random_range(-1..=1)).clamp(0, 100);
                *level
            });
            columns.push(Arc::new(Int64Array::from_iter_values(walk)));
        }
        columns.push(Arc::new(UInt64Array::from_value(stamp, keys.len())));
        RecordBatch::try_new(Layout::of(&table()).schema, columns).expect("columns are those of the table")
    };
    keys.chunks(8192).map(batch).collect()
}

/// CPU seconds of this thread since it began.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the benchmark runs on Linux");
    let nanos: f64 = stat.split(' ').next().and_then(|n| n.parse().ok()).expect("the first number is CPU time");
    nanos / 1e9
}

fn measured<T>(what: &str, rows: usize, work: impl Fn() -> T) -> T {
    // The best of three: other load can only make it slower.
    let mut best = f64::MAX;
    let mut result = work();
    for _ in 0..3 {
        let start = cpu_seconds();
        result = work();
        best = best.min(cpu_seconds() - start);
    }
    eprintln!("{what:<60} {:8.3} CPU-s per M rows", best * 1e6 / rows as f64);
    result
}

fn merge(what: &str, inputs: &[Vec<RecordBatch>], settle: Settle) {
    let rows: usize = inputs.iter().flatten().map(RecordBatch::num_rows).sum();
    let merged: usize = measured(what, rows, || {
        let inputs = inputs.iter().map(|i| i.iter().cloned().map(Ok::<_, storage::merge::Error>)).collect();
        let merged = Merged::new(Layout::of(&table()), inputs, settle).expect("the layout is right");
        merged.map(|batch| batch.expect("inputs are sorted").num_rows()).sum()
    });
    assert!(merged > 0 && merged <= rows);
}

fn write_ours(batches: &[RecordBatch]) -> storage::files::WrittenFile {
    let origin = Origin {
        cluster: 1,
        database: DatabaseId(1),
        database_name: "bench".into(),
        table: TableId(1),
        table_name: "cpu".into(),
        node: NodeId::new("bench").expect("a good name"),
        level: 1,
        window_start: 0,
        window_width: 1,
        deletes_up_to: 0,
    };
    let layout = FileLayout { columns: Layout::of(&table()), origin, stamps: Stamps::Any };
    let batches = batches.iter().cloned().map(Ok::<_, ArrowError>);
    write(layout, batches).expect("rows are sorted").expect("there are rows")
}

fn write_default(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), None).expect("the schema is writable");
    batches.iter().for_each(|batch| writer.write(batch).expect("batches have the schema"));
    writer.into_inner().expect("memory can be written")
}

fn main() {
    let seconds =
        |from: usize, step: usize| (from as i64..(ROWS / HOSTS) as i64).step_by(step).map(|t| t * 10_000_000_000);
    let all = rows(seconds(0, 1), 7);
    let ours = measured("write", ROWS, || write_ours(&all));
    let default = measured("write with the writer's defaults", ROWS, || write_default(&all));
    let per_row = |bytes: usize| bytes as f64 / ROWS as f64;
    eprintln!("bytes per row: {:.2}, defaults {:.2}", per_row(ours.bytes.len()), per_row(default.len()));
    measured("read", ROWS, || {
        Reader::open("bench", ours.bytes.clone(), Some(ours.tail)).expect("just written").count()
    });

    merge("merge 1 input", std::slice::from_ref(&all), Settle::UpTo(Stamp::SETTLED));
    let hours: Vec<_> = (0..7).map(|h| rows(seconds(0, 1).skip(h * 360).take(360), 1 + h as u64)).collect();
    merge("merge 7 inputs of an hour each", &hours, Settle::UpTo(Stamp::SETTLED));
    merge(
        "merge 2 inputs, every second row from the other",
        &[rows(seconds(0, 2), 1), rows(seconds(1, 2), 2)],
        Settle::All,
    );
    merge("merge 2 inputs with the same rows", &[all.clone(), rows(seconds(0, 1), 8)], Settle::All);
    merge(
        "merge 3 inputs, every tenth row again in the third",
        &[rows(seconds(0, 2), 1), rows(seconds(1, 2), 2), rows(seconds(0, 10), 3)],
        Settle::All,
    );
}
