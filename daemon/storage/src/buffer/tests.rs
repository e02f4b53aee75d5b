use super::*;
use crate::model::{Column, ColumnId, ColumnKind, Epoch, FieldColumn, FieldType, Selection, SeriesSet, Values};

const TABLE: TableId = TableId(7);

/// A thousand rows of a table without tags.
fn committed(position: u64) -> Committed {
    let rows = Rows {
        table: TABLE,
        series: SeriesSet { len: 1, ..SeriesSet::default() },
        row_series: vec![0; 1000],
        times: (0..1000).map(|row| row + 1000 * position as i64).collect(),
        fields: vec![FieldColumn { column: ColumnId(0), values: Values::Integer(vec![1; 1000]), set: None }],
    };
    Committed { epoch: Epoch(1), position: Position(position), stamp: Stamp(position), tables: vec![rows] }
}

fn schema() -> TableSchema {
    let column = Column { name: "v".into(), kind: ColumnKind::Field(FieldType::Integer) };
    TableSchema { table: TABLE, name: "t".into(), columns: vec![column] }
}

#[test]
fn rows_put_in_order_for_queries_are_counted_until_their_chunk_goes() {
    let buffer = Buffer::new(Position(0), Stamp(0));
    buffer.apply(committed(1));
    let came = buffer.bytes();
    assert_eq!(came, Bytes { open: 20_000, frozen: 0, sorted: 0 });

    let sort = |buffer: &Buffer| buffer.all_chunks().0[&TABLE].iter().for_each(|c| drop(c.sorted(&schema())));
    sort(&buffer);
    let sorted = buffer.bytes().sorted;
    assert!(sorted >= 1000 * 3 * 8, "time, value and stamp: {sorted}");
    assert_eq!(buffer.bytes().sum(), came.open + sorted);
    sort(&buffer);
    assert_eq!(buffer.bytes().sorted, sorted, "sorted once, counted once");

    // The next write makes another chunk of the open rows.
    buffer.apply(committed(2));
    assert_eq!(buffer.bytes().sorted, 0);
    sort(&buffer);
    assert!(buffer.bytes().sorted > sorted);
    let frozen = buffer.freeze();
    assert!(buffer.bytes().sorted > sorted, "they are still kept");
    buffer.drop_through(frozen.through);
    assert_eq!(buffer.bytes().sum(), 0);
}

#[test]
fn what_deletes_leave_of_a_chunk_is_kept_and_counted_once() {
    let buffer = Buffer::new(Position(0), Stamp(0));
    buffer.apply(committed(1));
    let delete = |version, stamp, max| {
        let which = Selection { time: TimeRange { min: 0, max }, tags: BTreeMap::new() };
        Arc::new(RowDelete { version, stamp: Stamp(stamp), at_ms: 0, which })
    };
    let show = |deletes: &[Arc<RowDelete>]| {
        let chunk = Arc::clone(&buffer.all_chunks().0[&TABLE][0]);
        chunk.shown(&schema(), deletes).unwrap().map(|chunk| chunk.batch.num_rows())
    };
    assert_eq!(show(&[]), Some(1000));
    let sorted = buffer.bytes().sorted;
    let not_ours = [delete(1, 1, 5000), delete(2, 9, 999)];
    assert_eq!((show(&not_ours), buffer.bytes().sorted), (Some(1000), sorted));
    let two = [delete(3, 9, 1099), delete(4, 9, 1299)];
    assert_eq!(show(&two), Some(700));
    let both = buffer.bytes().sorted;
    assert!(both > sorted, "a copy was made");
    assert_eq!((show(&two), buffer.bytes().sorted), (Some(700), both));
    // A view of an older entry shows more.
    assert_eq!(show(&two[..1]), Some(900));
    assert_eq!(show(&[delete(5, 9, 5000)]), None);
    assert_eq!(buffer.bytes().sorted, sorted);
    buffer.drop_through(buffer.freeze().through);
    assert_eq!(buffer.bytes().sum(), 0);
}

#[test]
fn the_texts_of_tags_are_counted_once_however_few_rows_deletes_leave() {
    let mut committed = committed(1);
    let tag = "x".repeat(1 << 20);
    let series = &mut committed.tables[0].series;
    series.tags = vec![ColumnId(1)];
    series.values.push(&tag);
    let buffer = Buffer::new(Position(0), Stamp(0));
    buffer.apply(committed);
    let mut schema = schema();
    schema.columns.push(Column { name: "h".into(), kind: ColumnKind::Tag });
    let chunk = Arc::clone(&buffer.all_chunks().0[&TABLE][0]);
    drop(chunk.sorted(&schema));
    let sorted = buffer.bytes().sorted;
    assert!(sorted > tag.len());
    let which = Selection { time: TimeRange { min: 0, max: 1499 }, tags: BTreeMap::new() };
    let delete = Arc::new(RowDelete { version: 3, stamp: Stamp(9), at_ms: 0, which });
    assert_eq!(chunk.shown(&schema, &[delete]).unwrap().map(|chunk| chunk.batch.num_rows()), Some(500));
    let copied = buffer.bytes().sorted - sorted;
    assert!((500 * 28..1 << 16).contains(&copied), "place of the tag, time, value and stamp: {copied}");
}

#[test]
fn rows_and_the_oldest_stamp_are_counted_as_objects_come_and_go() {
    let buffer = Buffer::new(Position(0), Stamp(0));
    let check = |rows: u64, oldest: Option<u64>| {
        let census = buffer.census();
        assert_eq!((census.rows, census.oldest, census.bytes), (rows, oldest.map(Stamp), buffer.bytes()));
    };
    check(0, None);
    (3..=5).for_each(|position| buffer.apply(committed(position)));
    check(3000, Some(3));
    buffer.cut_at(Position(4));
    check(3000, Some(3));
    buffer.drop_through(Position(4));
    buffer.drop_through(Position(4));
    check(1000, Some(5));
    buffer.cut_at(Position(7));
    buffer.apply(committed(6));
    check(1000, Some(5));
    buffer.apply(Committed { tables: Vec::new(), ..committed(8) });
    buffer.apply(committed(9));
    buffer.drop_through(Position(7));
    check(1000, Some(9));
    buffer.drop_through(buffer.freeze().through);
    check(0, None);
}

#[test]
fn a_chunk_knows_the_times_of_all_its_pieces() {
    let buffer = Buffer::new(Position(0), Stamp(0));
    buffer.apply(committed(3));
    buffer.apply(committed(5));
    assert_eq!(buffer.all_chunks().0[&TABLE][0].time(), TimeRange { min: 3000, max: 5999 });
}

#[test]
fn a_chunk_is_cut_where_another_nodes_snapshot_ended() {
    let buffer = Buffer::new(Position(0), Stamp(0));
    (1..=5).for_each(|position| buffer.apply(committed(position)));
    let bytes = buffer.bytes().sum();
    buffer.cut_at(Position(2));
    buffer.apply(committed(6));
    buffer.cut_at(Position(2));
    let times = |buffer: &Buffer| buffer.all_chunks().0[&TABLE].iter().map(|c| c.time().min).collect::<Vec<_>>();
    assert_eq!(times(&buffer), [1000, 3000, 6000]);
    assert_eq!(buffer.bytes(), Bytes { open: bytes / 5 * 4, frozen: bytes / 5 * 2, sorted: 0 });
    buffer.drop_through(Position(2));
    assert_eq!(times(&buffer), [3000, 6000]);
    // A position between objects, as a fence is, and one beyond the last.
    buffer.pass(Position(7));
    buffer.apply(committed(8));
    buffer.cut_at(Position(7));
    buffer.drop_through(Position(7));
    assert_eq!(times(&buffer), [8000]);
    buffer.cut_at(Position(9));
    buffer.apply(committed(9));
    buffer.drop_through(Position(9));
    assert_eq!(buffer.bytes().sum(), 0, "what came late is not kept");
    assert_eq!(buffer.all_chunks().1, Position(9));
}
