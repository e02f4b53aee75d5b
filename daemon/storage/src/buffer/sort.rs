//! Puts pieces into the order of files: by series, then time, then stamp.
//!
//! Series are few and rows are many, so only the series are compared as text. Rows are counted by series and moved to
//! their place in one pass; within a series they mostly are in the order of time already.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::{Piece, SortedChunk};
use crate::model::{
    Column, ColumnId, ColumnKind, FieldColumn, FieldType, SEQ_COLUMN, SeriesKey, Strings, TableSchema, TimeRange,
    Values,
};

/// No string column of less than this in all can pass the 2 GiB that one array can address.
const STRING_BYTES_SAFE: usize = 1 << 30;

/// Rows of a batch beyond that: a string is at most 1 MiB.
const LARGE_ROWS: usize = 512;

/// Where one row stands in the pieces, with what decides its place.
#[derive(Debug, Clone, Copy)]
struct Place {
    rank: u32,
    piece: u32,
    row: u32,
    time: i64,
}

impl Place {
    fn same_version(self, other: Self) -> bool {
        (self.rank, self.time, self.piece) == (other.rank, other.time, other.piece)
    }
}

/// Rows in order, not yet copied.
#[derive(Debug)]
pub struct Sorted {
    pieces: Vec<Arc<Piece>>,
    schema: SchemaRef,
    columns: Vec<(ColumnId, Column)>,
    /// One for each tag of the table.
    tags: Vec<TagColumn>,
    series_count: usize,
    order: Vec<Place>,
    /// For a row that one WAL object sets more than once, by its index in `order`: the earlier ones, oldest first.
    earlier: HashMap<usize, Vec<Place>>,
}

/// The values of one field in one piece, and which rows set it; `None` when all do.
type Source<'a, T> = (&'a [T], Option<&'a [bool]>);

#[derive(Debug)]
struct TagColumn {
    values: StringArray,
    /// The index in `values` for each series rank; `None` when the series lacks the tag.
    by_rank: Vec<Option<i32>>,
}

impl Sorted {
    /// Orders those rows of `pieces` (which stand in the order of their positions) whose time is in `range`.
    #[must_use]
    pub fn new(pieces: Vec<Arc<Piece>>, schema: &TableSchema, range: TimeRange) -> Self {
        let tag_ids: Vec<ColumnId> = schema.tags().map(|(id, _)| id).collect();
        let series = AllSeries::of(&pieces, &tag_ids);
        let order = place_rows(&pieces, &series, range);
        let (order, earlier) = unite_within_pieces(order);
        let stored = schema.stored();
        let seq = Arc::new(Field::new(SEQ_COLUMN, DataType::UInt64, false));
        let fields: Vec<_> = stored.fields().iter().cloned().chain([seq]).collect();
        Self {
            columns: schema.fields().map(|(id, column)| (id, column.clone())).collect(),
            tags: series.tag_columns(tag_ids.len()),
            series_count: series.ordered.len(),
            schema: Arc::new(Schema::new(fields)),
            pieces,
            order,
            earlier,
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// `schema.stored()` with `__seq` at the end.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows in batches of at most `rows`, and of fewer when their strings are large.
    pub fn batches(&self, rows: usize) -> impl Iterator<Item = RecordBatch> + '_ {
        let bytes: usize = self.pieces.iter().map(|p| p.rows.bytes()).sum();
        let rows = if bytes < STRING_BYTES_SAFE { rows } else { rows.min(LARGE_ROWS) };
        (0..self.len()).step_by(rows).map(move |start| self.batch(start..self.len().min(start + rows)))
    }

    /// Every row in one batch. There must be one.
    pub(super) fn chunk(&self) -> SortedChunk {
        let times = self.order.iter().map(|p| p.time);
        let time = times.fold(TimeRange { min: i64::MAX, max: i64::MIN }, |r, t| TimeRange {
            min: r.min.min(t),
            max: r.max.max(t),
        });
        SortedChunk {
            batch: self.batch(0..self.len()),
            time,
            key_min: self.key(0),
            key_max: self.key(self.series_count - 1),
            has_versions: self.order.windows(2).any(|w| (w[0].rank, w[0].time) == (w[1].rank, w[1].time)),
        }
    }

    fn key(&self, rank: usize) -> SeriesKey {
        let value = |tag: &TagColumn| tag.by_rank[rank].map(|i| Arc::from(tag.values.value(i as usize)));
        SeriesKey(self.tags.iter().map(value).collect())
    }

    fn batch(&self, range: Range<usize>) -> RecordBatch {
        let places = &self.order[range.clone()];
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for tag in &self.tags {
            let keys: Int32Array = places.iter().map(|p| tag.by_rank[p.rank as usize]).collect();
            let array = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(tag.values.clone()));
            arrays.push(Arc::new(array.expect("every key is an index of the values")));
        }
        arrays.push(Arc::new(TimestampNanosecondArray::from_iter_values(places.iter().map(|p| p.time))));
        for (id, column) in &self.columns {
            arrays.push(self.field(range.clone(), *id, column.kind));
        }
        let stamps = places.iter().map(|p| self.pieces[p.piece as usize].stamp.0);
        arrays.push(Arc::new(UInt64Array::from_iter_values(stamps)));
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).expect("the arrays were made for this schema")
    }

    fn field(&self, range: Range<usize>, id: ColumnId, kind: ColumnKind) -> ArrayRef {
        let ColumnKind::Field(field) = kind else { unreachable!("tags are not among the field columns") };
        match field {
            FieldType::Float => {
                let (values, set) =
                    self.gather(range, id, |v| if let Values::Float(v) = v { Some(&v[..]) } else { None });
                Arc::new(Float64Array::new(values.into(), set))
            }
            FieldType::Integer => {
                let (values, set) =
                    self.gather(range, id, |v| if let Values::Integer(v) = v { Some(&v[..]) } else { None });
                Arc::new(Int64Array::new(values.into(), set))
            }
            FieldType::UInteger => {
                let (values, set) =
                    self.gather(range, id, |v| if let Values::UInteger(v) = v { Some(&v[..]) } else { None });
                Arc::new(UInt64Array::new(values.into(), set))
            }
            FieldType::Boolean => {
                let (values, set) =
                    self.gather(range, id, |v| if let Values::Boolean(v) = v { Some(&v[..]) } else { None });
                Arc::new(BooleanArray::new(values.into(), set))
            }
            FieldType::String => Arc::new(self.gather_strings(range, id)),
        }
    }

    /// The column of field `id` in each piece that has it.
    fn sources(&self, id: ColumnId) -> Vec<Option<&FieldColumn>> {
        self.pieces.iter().map(|p| p.rows.fields.iter().find(|f| f.column == id)).collect()
    }

    /// Where the value of a field of row `index` stands: the row itself, or the newest earlier one that sets it.
    fn find<'a, S: Copy>(
        &self,
        index: usize,
        sources: &'a [Option<S>],
        is_set: impl Fn(S, usize) -> bool,
    ) -> Option<(&'a S, usize)> {
        let place = self.order[index];
        let at = |p: Place| {
            let source = sources[p.piece as usize].as_ref()?;
            is_set(*source, p.row as usize).then_some((source, p.row as usize))
        };
        at(place).or_else(|| self.earlier.get(&index)?.iter().rev().find_map(|p| at(*p)))
    }

    fn gather<'a, T: Copy + Default + 'a>(
        &'a self,
        range: Range<usize>,
        id: ColumnId,
        typed: impl Fn(&'a Values) -> Option<&'a [T]>,
    ) -> (Vec<T>, Option<NullBuffer>) {
        let typed = |field: &'a FieldColumn| {
            let values = typed(&field.values).expect("the catalog gives a column one type, checked before the log");
            (values, field.set.as_deref())
        };
        let sources: Vec<Option<Source<'_, T>>> = self.sources(id).into_iter().map(|s| s.map(typed)).collect();
        // The common case by far: every row sets the field, and no row is written twice by one object.
        if self.earlier.is_empty() && sources.iter().all(|s| matches!(s, Some((_, None)))) {
            let sources: Vec<&[T]> = sources.iter().flatten().map(|(values, _)| *values).collect();
            let places = &self.order[range];
            return (places.iter().map(|p| sources[p.piece as usize][p.row as usize]).collect(), None);
        }
        let is_set = |(_, set): Source<'_, T>, row: usize| set.is_none_or(|set| set[row]);
        let mut values = Vec::with_capacity(range.len());
        let mut valid = Vec::with_capacity(range.len());
        for index in range {
            let found = self.find(index, &sources, is_set);
            valid.push(found.is_some());
            values.push(found.map_or_else(T::default, |((values, _), row)| values[row]));
        }
        (values, Some(NullBuffer::from(valid)))
    }

    fn gather_strings(&self, range: Range<usize>, id: ColumnId) -> StringArray {
        let typed = |field: &'_ FieldColumn| -> bool { matches!(field.values, Values::String(_)) };
        let sources = self.sources(id);
        assert!(sources.iter().flatten().all(|s| typed(s)), "the catalog gives a column one type");
        let is_set = |field: &FieldColumn, row: usize| field.set.as_ref().is_none_or(|set| set[row]);
        let mut builder = StringBuilder::with_capacity(range.len(), range.len() * 8);
        for index in range {
            let found = self.find(index, &sources, is_set);
            builder.append_option(found.map(|(field, row)| strings(field).get(row)));
        }
        builder.finish()
    }
}

fn strings(field: &FieldColumn) -> &Strings {
    match &field.values {
        Values::String(strings) => strings,
        _ => unreachable!("checked before gathering"),
    }
}

/// The distinct series of some pieces, in order.
struct AllSeries<'a> {
    /// For each rank the tag values; empty text is an absent tag.
    ordered: Vec<Vec<&'a str>>,
    /// For each piece the rank of each of its own series.
    ranks: Vec<Vec<u32>>,
}

impl<'a> AllSeries<'a> {
    fn of(pieces: &'a [Arc<Piece>], tags: &[ColumnId]) -> Self {
        let mut known: hashbrown::HashMap<Vec<&'a str>, u32> = hashbrown::HashMap::new();
        let mut numbers: Vec<Vec<u32>> = Vec::with_capacity(pieces.len());
        let mut key = Vec::with_capacity(tags.len());
        for piece in pieces {
            let series = &piece.rows.series;
            let columns: Vec<Option<usize>> = tags.iter().map(|t| series.tags.iter().position(|s| s == t)).collect();
            let number = |index: usize| {
                key.clear();
                key.extend(columns.iter().map(|c| c.map_or("", |tag| series.value(index, tag))));
                let next =
                    u32::try_from(known.len()).expect("fewer series than rows, and those are counted in 32 bits");
                match known.get(&key) {
                    Some(number) => *number,
                    None => *known.entry(key.clone()).or_insert(next),
                }
            };
            numbers.push((0..series.len).map(number).collect());
        }
        let mut ordered: Vec<(Vec<&str>, u32)> = known.into_iter().collect();
        // Empty text sorts first, as an absent tag must.
        ordered.sort_unstable();
        let mut rank_of = vec![0; ordered.len()];
        for (rank, (_, number)) in (0u32..).zip(&ordered) {
            rank_of[*number as usize] = rank;
        }
        for number in numbers.iter_mut().flatten() {
            *number = rank_of[*number as usize];
        }
        Self { ordered: ordered.into_iter().map(|(key, _)| key).collect(), ranks: numbers }
    }

    fn tag_columns(&self, tags: usize) -> Vec<TagColumn> {
        let column = |tag: usize| {
            let mut distinct: HashMap<&str, i32> = HashMap::new();
            let mut values = StringBuilder::new();
            let key = |series: &Vec<&'a str>| {
                let value = series[tag];
                (!value.is_empty()).then(|| {
                    let next = i32::try_from(distinct.len()).expect("fewer values than rows in one chunk");
                    *distinct.entry(value).or_insert_with(|| {
                        values.append_value(value);
                        next
                    })
                })
            };
            let by_rank = self.ordered.iter().map(key).collect();
            TagColumn { values: values.finish(), by_rank }
        };
        (0..tags).map(column).collect()
    }
}

/// The rows in `range` by series rank, then time, then as they came.
fn place_rows(pieces: &[Arc<Piece>], series: &AllSeries<'_>, range: TimeRange) -> Vec<Place> {
    let mut starts = vec![0usize; series.ordered.len() + 1];
    let rows = |piece: usize| {
        let Piece { rows, .. } = &*pieces[piece];
        let ranks = &series.ranks[piece];
        (0u32..).zip(&rows.times).zip(&rows.row_series).filter(move |((_, time), _)| range.contains(**time)).map(
            move |((row, time), index)| Place {
                rank: ranks[*index as usize],
                piece: u32::try_from(piece).expect("a snapshot comes long before 2^32 objects"),
                row,
                time: *time,
            },
        )
    };
    for place in (0..pieces.len()).flat_map(rows) {
        starts[place.rank as usize + 1] += 1;
    }
    for rank in 1..starts.len() {
        starts[rank] += starts[rank - 1];
    }
    let total = starts.last().copied().unwrap_or(0);
    let mut order = vec![Place { rank: 0, piece: 0, row: 0, time: 0 }; total];
    let mut next = starts.clone();
    for place in (0..pieces.len()).flat_map(rows) {
        let at = &mut next[place.rank as usize];
        order[*at] = place;
        *at += 1;
    }
    for bounds in starts.windows(2) {
        let run = &mut order[bounds[0]..bounds[1]];
        if !run.is_sorted_by_key(|p| p.time) {
            // Stable: rows of equal time stay in the order they were written.
            run.sort_by_key(|p| p.time);
        }
    }
    order
}

/// Keeps one row for each key and piece: the last, with the earlier ones on the side for the fields it does not set.
fn unite_within_pieces(order: Vec<Place>) -> (Vec<Place>, HashMap<usize, Vec<Place>>) {
    let mut earlier: HashMap<usize, Vec<Place>> = HashMap::new();
    if !order.windows(2).any(|w| w[0].same_version(w[1])) {
        return (order, earlier);
    }
    let mut kept: Vec<Place> = Vec::with_capacity(order.len());
    for place in order {
        match kept.last_mut() {
            Some(last) if last.same_version(place) => {
                let older = std::mem::replace(last, place);
                earlier.entry(kept.len() - 1).or_default().push(older);
            }
            _ => kept.push(place),
        }
    }
    (kept, earlier)
}
