//! Tables, columns, series and limits.

use super::*;

fn names(columns: &[Column]) -> Vec<String> {
    columns
        .iter()
        .map(|c| format!("{} {}", c.name, c.kind.full_name().trim_start_matches("iox::column_type::")))
        .collect()
}

#[test]
fn new_columns_follow_those_of_the_catalog_in_order_of_appearance() {
    let parsed = parsed("cpu,z=1,host=a w=1i,v=1 1\ncpu,b=2 a=t 2\nnew,t=1 f=1u 3\n", &options(), &Known::cpu());
    let [cpu, new] = &parsed.tables[..] else { panic!("two tables") };
    assert_eq!((cpu.rows.table, new.rows.table), (TableId(7), TableId(0)));
    assert_eq!(names(&cpu.new_columns), ["z tag", "w field::integer", "b tag", "a field::boolean"]);
    assert_eq!(names(&new.new_columns), ["t tag", "f field::uinteger"]);
    assert_eq!(cpu.rows.series.tags.iter().map(|t| t.0).collect::<Vec<_>>(), [0, 2, 4, 6]);
    assert_eq!(cpu.rows.fields.iter().map(|f| f.column.0).collect::<Vec<_>>(), [1, 5, 7]);
    let series = |s| (0..4).map(|t| cpu.rows.series.value(s, t)).collect::<Vec<_>>();
    assert_eq!((series(0), series(1)), (vec!["a", "", "1", ""], vec!["", "", "", "2"]));
}

#[test]
fn a_tag_set_is_one_series_however_it_is_written() {
    let body = "m,a=1,b=2 v=1 1\nm,b=2,a=1 v=2 2\nm,a=1 v=3 3\nm,a=1,b=2 v=4 4\nm,b=2,a=1 v=5 5\nm v=6 6\nm v=7 7\n";
    let parsed = parsed(body, &options(), &Known::default());
    assert_eq!(parsed.tables[0].rows.row_series, [0, 0, 1, 0, 0, 2, 2]);
    let escaped = super::parsed("m,a\\ b=1 v=1 1\nm,a\\ b=1 v=1 2\nm,a\\ b=2 v=1 3", &options(), &Known::default());
    assert_eq!(escaped.tables[0].rows.row_series, [0, 0, 1]);
}

#[test]
fn rows_with_one_key_stay_separate() {
    check("m,a=1 v=1 5\nm,a=1 v=2 5\nm,a=1 w=3 5", &["m a=1 v=1.0 5", "m a=1 v=2.0 5", "m a=1 w=3.0 5"]);
}

#[test]
fn fields_may_come_and_go() {
    check(
        "m a=1,b=2,c=\"x\" 1\nm a=1,c=\"y\" 2\nm b=3 3\nm c=\"z\",b=4,a=5 4\nm d=t 5\nm a=1,b=2,c=\"w\" 6",
        &[
            "m a=1.0 b=2.0 c=\"x\" 1",
            "m a=1.0 c=\"y\" 2",
            "m b=3.0 3",
            "m a=5.0 b=4.0 c=\"z\" 4",
            "m d=true 5",
            "m a=1.0 b=2.0 c=\"w\" 6",
        ],
    );
    let parsed = parsed("m a=1 1\nm a=1 2", &options(), &Known::default());
    assert_eq!(parsed.tables[0].rows.fields[0].set, None);
}

#[test]
fn tables_stand_in_the_order_of_their_first_rows() {
    let parsed = parsed("x v=z\ncpu v=1i\nb v=1\na v=1\ncpu v=1\nb v=2\nx v=1", &options(), &Known::cpu());
    assert_eq!(parsed.tables.iter().map(|t| &*t.name).collect::<Vec<_>>(), ["b", "a", "cpu", "x"]);
}

#[test]
fn a_refused_line_leaves_no_trace() {
    // Each of these names a table, a tag, a series or a field that nobody else names.
    let bad = [
        "new,t=1 v=x 1",
        "cpu,new=1 v=1,v=t 1",
        "cpu,host=new v=1,w=x 1",
        "cpu,host=a v=1,new=1,s=1 1",
        "cpu,host=a v=1,w=2i,s=\"x\"y 1",
        "cpu,host=a v=1,w=2i,s=\"x\" 1 1",
        "cpu,host=a v=1,w=2i,w=2 1",
        "cpu,host=a v=1,time=1 1",
        "cpu,host=a,new=1,new=1 v=1 1",
        "cpu,host=a new=1 99999999999999999999",
    ];
    let good = ["cpu,host=a v=1,w=2i,s=\"y\" 1", "cpu,host=b v=2,w=3i,s=\"z\" 2", "cpu,host=a v=3,w=4i,s=\"w\" 3"];
    let expected = parsed(&good.join("\n"), &options(), &Known::cpu());
    for line in bad {
        for place in 0..=good.len() {
            let mut lines: Vec<_> = good.iter().map(|l| (*l).to_owned()).collect();
            lines.insert(place, line.to_owned());
            let got = parsed(&lines.join("\n"), &options(), &Known::cpu());
            assert_eq!(got.lines_rejected, 1, "{line}");
            assert_eq!(got.tables, expected.tables, "{line} at {place}");
        }
        let alone = parsed(line, &options(), &Known::cpu());
        assert_eq!((alone.tables, alone.lines_rejected), (vec![], 1), "{line}");
    }
}

#[test]
fn a_column_takes_its_type_from_the_first_kept_line() {
    check_with(
        "m c=1,d=x 1\nm c=\"a\" 2\nn,c=1 d=x 1\nn c=1 2",
        &options(),
        &Known::default(),
        &["m c=\"a\" 2", "n c=1.0 2"],
        &["1: Unable to parse floating-point value `x`", "3: Unable to parse floating-point value `x`"],
    );
}

#[test]
fn the_limit_on_columns_counts_the_time_and_what_the_catalog_knows() {
    let message = |n| {
        format!(
            "Schema update for table 'cpu' would exceed the column limit: \
             proposed schema update would have {n} columns, but the limit is 6"
        )
    };
    let (options, known) = (with_limits(|l| l.columns_per_table = 6), Known::cpu());
    check_with("cpu a=1 1", &options, &known, &["cpu a=1.0 1"], &[]);
    check_with("cpu a=1,b=1 1", &options, &known, &[], &[&format!("1: {}", message(7))]);
    check_with("cpu a=1,b=1,c=1,a=2 1", &options, &known, &[], &[&format!("1: {}", message(8))]);
    let rows = ["cpu a=1.0 1", "cpu v=1.0 3"];
    check_with("cpu a=1 1\ncpu b=1 2\ncpu v=1 3", &options, &known, &rows, &[&format!("2: {}", message(7))]);
    // A table that is over the limit already still takes rows.
    let over = with_limits(|l| (l.columns_per_table, l.tags_per_table) = (2, 1));
    check_with("cpu,host=a,region=b v=1 1", &over, &known, &["cpu host=a region=b v=1.0 1"], &[]);
}

#[test]
fn the_limit_on_tags_counts_what_the_catalog_knows() {
    let (options, known) = (with_limits(|l| l.tags_per_table = 3), Known::cpu());
    check_with(
        "cpu,a=1 v=1 1\ncpu,b=1 v=1 2\ncpu n=1 3",
        &options,
        &known,
        &["cpu a=1 v=1.0 1", "cpu n=1.0 3"],
        &["2: Schema update for table 'cpu' would exceed the tag column limit: \
           proposed schema would have 4 tag columns, but the limit is 3"],
    );
}

#[test]
fn the_limit_on_tables_counts_new_ones_with_rows() {
    let options = with_limits(|l| (l.tables_now, l.tables) = (1, 2));
    check_with(
        "a v=x 1\nb v=1 2\ncpu v=1 3\nc v=1 4\nb v=1 5",
        &options,
        &Known::cpu(),
        &["b v=1.0 2", "b v=1.0 5", "cpu v=1.0 3"],
        &[
            "1: Unable to parse floating-point value `x`",
            "4: Update to schema would exceed number of tables limit: \
             attempted to create table but already have 2 table(s) (limit: 2)",
        ],
    );
}

#[test]
fn the_limit_on_cells_bounds_rows_times_fields_and_tag_sets_times_tags() {
    let known = Known::default();
    let limit = |cells| with_limits(|l| l.cells = cells);
    let rows = parsed("m a=1,b=1 1\nm a=1,b=1 2\nm a=1 3\nm a=1 4\nn a=1 5\nm a=1 6", &limit(7), &known);
    let errors: Vec<_> = rows.rejected.iter().map(|e| (e.line_number, &*e.message)).collect();
    let message = "the rows of this request would take 8 values with those that lines do not set, but the limit is 7: \
                   send lines that name so many different columns in smaller requests";
    assert_eq!(rows.lines_kept, 4, "a smaller row of another table still fits");
    assert_eq!((errors[0], errors.len()), ((4, message), 2));
    // With the second tag the first tag set takes two values as well.
    let series = parsed("m,a=1 v=1 1\nm,a=1,b=1 v=1 2\nm,b=1,a=1 v=1 3\nm,a=2 v=1 4", &limit(9), &known);
    assert_eq!((series.lines_kept, series.lines_rejected), (3, 1));
}
