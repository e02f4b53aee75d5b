use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::types::{Int32Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{Array, BooleanArray, RecordBatch, cast::AsArray};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;

use super::Layout;
use crate::model::{FileRecord, RowDelete};

/// What deletes hide of one stream. It is taken away before versions of rows are united: a version that is deleted
/// must not lend its fields to one that was written later.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    deletes: Vec<Arc<RowDelete>>,
}

impl Mask {
    /// For the rows of a file.
    #[must_use]
    pub fn of_file(deletes: &[Arc<RowDelete>], file: &FileRecord) -> Self {
        Self { deletes: deletes.iter().filter(|delete| delete.touches(file)).cloned().collect() }
    }

    /// For rows that are not in files.
    #[must_use]
    pub fn of_log(deletes: &[Arc<RowDelete>]) -> Self {
        Self { deletes: deletes.to_vec() }
    }

    /// Whether it hides nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deletes.is_empty()
    }

    /// The rows of a batch that are still to be seen.
    ///
    /// A settled row of a file (`__seq` 0) was settled before each delete that touches the file, and a delete is newer
    /// than all that is settled; so a lower stamp is all that counts.
    pub fn apply(&self, batch: RecordBatch, layout: &Layout) -> Result<RecordBatch, ArrowError> {
        if self.is_empty() {
            return Ok(batch);
        }
        let mut kept = vec![true; batch.num_rows()];
        for delete in &self.deletes {
            hide(delete, &batch, layout, &mut kept);
        }
        if kept.iter().all(|kept| *kept) { Ok(batch) } else { filter_record_batch(&batch, &BooleanArray::from(kept)) }
    }
}

fn hide(delete: &RowDelete, batch: &RecordBatch, layout: &Layout, kept: &mut [bool]) {
    let times = batch.column(layout.tags).as_primitive::<TimestampNanosecondType>().values();
    let stamps = batch.column(layout.seq()).as_primitive::<UInt64Type>().values();
    let which = &delete.which;
    let is_meant = |row: usize| stamps[row] < delete.stamp.0 && which.time.contains(times[row]);
    let mut hidden: Vec<usize> = (0..kept.len()).filter(|row| kept[*row] && is_meant(*row)).collect();
    for (place, values) in &which.tags {
        if hidden.is_empty() {
            return;
        }
        keep_among(&mut hidden, batch.column(usize::from(*place)), values);
    }
    for row in hidden {
        kept[row] = false;
    }
}

/// Leaves the rows whose tag is one of the values. A dictionary may be far larger than what the rows use of it.
fn keep_among(rows: &mut Vec<usize>, tag: &dyn Array, values: &BTreeSet<Option<Arc<str>>>) {
    let tag = tag.as_dictionary::<Int32Type>();
    let (texts, keys) = (tag.values().as_string::<i32>(), tag.keys());
    // The absent one is the first of a set.
    let of_absent = values.first().is_some_and(Option::is_none);
    let wanted: Vec<&str> = values.iter().flatten().map(|text| &**text).collect();
    let mut known: Vec<Option<bool>> = vec![None; texts.len()];
    rows.retain(|row| {
        let key = keys.is_valid(*row).then(|| usize::try_from(keys.value(*row)).ok()).flatten();
        let text = key.filter(|key| texts.is_valid(*key));
        text.map_or(of_absent, |key| *known[key].get_or_insert_with(|| wanted.binary_search(&texts.value(key)).is_ok()))
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::merge::tests::{Row, batch, layout};
    use crate::merge::{Settle, merge_all};
    use crate::model::{Selection, Stamp, TimeRange};

    fn row(tag: Option<&'static str>, (time, stamp): (i64, u64), fields: [Option<u32>; 3]) -> Row {
        Row { tags: [tag, None], time, fields, stamp }
    }

    fn delete(stamp: u64, (min, max): (i64, i64), tags: &[(u16, &[Option<&str>])]) -> Arc<RowDelete> {
        let values = |values: &[Option<&str>]| values.iter().map(|v| v.map(Arc::from)).collect::<BTreeSet<_>>();
        let tags: BTreeMap<_, _> = tags.iter().map(|(place, v)| (*place, values(v))).collect();
        let which = Selection { time: TimeRange { min, max }, tags };
        Arc::new(RowDelete { version: 7, stamp: Stamp(stamp), at_ms: 0, which })
    }

    /// The places of the rows that are still seen.
    #[track_caller]
    fn check(deletes: &[Arc<RowDelete>], rows: &[Row], expected: &[usize]) {
        for seed in 0..4 {
            let random = &mut StdRng::seed_from_u64(seed);
            let all = batch(rows, random);
            let seen = Mask::of_log(deletes).apply(all, &layout()).expect("rows of the layout");
            let expected: Vec<Row> = expected.iter().map(|place| rows[*place].clone()).collect();
            let text = |batch: &RecordBatch| {
                format!(
                    "{:?}",
                    arrow_cast::pretty::pretty_format_batches(std::slice::from_ref(batch)).map(|t| t.to_string())
                )
            };
            assert_eq!(text(&seen), text(&batch(&expected, random)), "{deletes:?}");
        }
    }

    #[test]
    fn settled_and_older_rows_that_are_meant_are_hidden_and_no_others() {
        let one = [Some(1), None, None];
        let rows = [
            row(None, (5, 0), one),
            row(Some("a"), (1, 3), one),
            row(Some("a"), (2, 0), one),
            row(Some("a"), (2, 9), one),
            row(Some("a"), (3, 10), one),
            row(Some("b"), (2, 4), one),
        ];
        check(&[], &rows, &[0, 1, 2, 3, 4, 5]);
        check(&[delete(10, (i64::MIN, i64::MAX), &[])], &rows, &[4]);
        check(&[delete(10, (2, 3), &[])], &rows, &[0, 1, 4]);
        check(&[delete(9, (2, 2), &[])], &rows, &[0, 1, 3, 4]);
        check(&[delete(11, (0, 9), &[(0, &[Some("a"), Some("zz")])])], &rows, &[0, 5]);
        check(&[delete(11, (0, 9), &[(0, &[None])])], &rows, &[1, 2, 3, 4, 5]);
        check(&[delete(11, (0, 9), &[(0, &[Some("a")]), (1, &[Some("a")])])], &rows, &[0, 1, 2, 3, 4, 5]);
        check(&[delete(11, (0, 9), &[(0, &[Some("b")]), (1, &[None])])], &rows, &[0, 1, 2, 3, 4]);
        check(&[delete(4, (0, 1), &[]), delete(5, (2, 2), &[(0, &[Some("b")])])], &rows, &[0, 2, 3, 4]);
    }

    #[test]
    fn a_deleted_version_lends_no_field_to_one_that_was_written_later() {
        let rows = [row(Some("a"), (1, 3), [Some(1), Some(2), None]), row(Some("a"), (1, 12), [Some(5), None, None])];
        let random = &mut StdRng::seed_from_u64(1);
        let mask = Mask::of_log(&[delete(10, (0, 9), &[])]);
        let seen = mask.apply(batch(&rows, random), &layout()).expect("rows of the layout");
        let merged = merge_all(layout(), vec![vec![seen]], Settle::All).expect("sorted inputs");
        assert_eq!(merged.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        assert_eq!((merged[0].column(3).null_count(), merged[0].column(4).null_count()), (0, 1));
    }
}
