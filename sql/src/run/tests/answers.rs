//! Equal answers for equal data, whatever the layout.

use storage::model::{RowDelete, Selection, Stamp, TimeRange};

use super::*;
use crate::tables::fixture::{Random, Row, united};

/// Every answer is put in order before it is compared, unless the query does so itself.
const QUERIES: &[&str] = &[
    "SELECT * FROM cpu",
    "SELECT usage FROM cpu",
    "SELECT time FROM cpu",
    "SELECT note, host FROM cpu",
    "SELECT count(*) FROM cpu",
    "SELECT count(usage), sum(count), min(time), max(time) FROM cpu",
    "SELECT max(time) FROM cpu",
    "SELECT host, count(*), sum(count), max(note) FROM cpu GROUP BY host",
    "SELECT region, avg(usage) FROM cpu WHERE time >= '1970-01-01T00:00:20' GROUP BY region",
    "SELECT * FROM cpu WHERE count > 25",
    "SELECT count(*) FROM cpu WHERE count > 25",
    "SELECT count(*) FROM cpu WHERE usage IS NULL",
    "SELECT count(*) FROM cpu WHERE note = 'n1' AND host = 'h1'",
    "SELECT * FROM cpu WHERE host = 'h2'",
    "SELECT * FROM cpu WHERE host IS NULL",
    "SELECT * FROM cpu WHERE host IN ('h0', 'h3') AND region IS NULL",
    "SELECT * FROM cpu WHERE host <> 'h1'",
    "SELECT * FROM cpu WHERE region = 'r1' OR count = 7",
    "SELECT * FROM cpu WHERE time > '1970-01-01T00:00:10' AND time <= '1970-01-01T00:00:30'",
    "SELECT * FROM cpu WHERE time BETWEEN '1970-01-01T00:00:05' AND '1970-01-01T00:00:09' OR host = 'h0'",
    "SELECT * FROM cpu WHERE time = '1970-01-01T00:00:12'",
    "SELECT * FROM cpu WHERE time > now()",
    "SELECT count(*) FROM cpu WHERE time < now() - INTERVAL '5 minutes'",
    "SELECT * FROM cpu WHERE extract(second from time) = 31",
    "SELECT a.host, count(*) FROM cpu a JOIN cpu b ON a.time = b.time AND a.host = b.host GROUP BY a.host",
    "SELECT DISTINCT host, region FROM cpu",
    "SELECT count FROM cpu WHERE count > (SELECT avg(count) FROM cpu)",
    "SELECT date_bin(INTERVAL '10 seconds', time) AS t, host, last_value(count ORDER BY time, region) FROM cpu \
     WHERE count IS NOT NULL GROUP BY t, host",
];

/// The order is total, so the rows must come in the same order too.
const ORDERED: &[&str] = &[
    "SELECT * FROM cpu ORDER BY time, host, region",
    "SELECT * FROM cpu ORDER BY time DESC, host, region LIMIT 5",
    "SELECT time, host, region, count FROM cpu ORDER BY count DESC NULLS LAST, time, host, region LIMIT 7",
    "SELECT time, host, region, usage FROM cpu WHERE note = 'n2' ORDER BY usage, time, host, region LIMIT 3",
    "SELECT usage FROM cpu ORDER BY usage DESC NULLS FIRST LIMIT 4",
    "SELECT time FROM cpu ORDER BY time DESC LIMIT 3 OFFSET 2",
    "SELECT count(*) FROM (SELECT * FROM cpu LIMIT 11)",
    "SELECT count(*) FROM (SELECT * FROM cpu WHERE count >= 0 LIMIT 6)",
];

#[tokio::test]
async fn any_way_to_cut_the_same_rows_gives_the_same_answers() {
    for seed in 0..6 {
        let mut random = Random(seed * 7919 + 1);
        let len = 20 + random.below(400);
        let versions = random.rows(len);
        let settled = engine(&Cluster::new().file(united(&versions)).await);
        let dealt = engine(&Cluster::dealt(&versions, &mut random).await);
        for text in QUERIES.iter().chain(ORDERED) {
            check_same(&settled, &dealt, text, seed).await;
        }
    }
}

#[tokio::test]
async fn rows_that_are_deleted_are_in_no_answer_whatever_the_layout() {
    for seed in 0..6 {
        let mut random = Random(seed * 104_729 + 1);
        let len = 20 + random.below(400);
        let versions = random.rows(len);
        let deletes: Vec<RowDelete> = (1..=3)
            .map(|version| {
                let min = random.below(60) as i64 * 1_000_000_000;
                let time = TimeRange::new(min, min + random.below(40) as i64 * 1_000_000_000).unwrap();
                let host = (random.below(4) > 0).then(|| format!("h{}", random.below(4)).into());
                let tags = if version == 1 { [].into() } else { [(0, [host].into())].into() };
                let stamp = Stamp(random.below(len));
                RowDelete { version, stamp, at_ms: 0, which: Selection { time, tags } }
            })
            .collect();
        let is_left = |row: &&Row| {
            let of_host = |d: &RowDelete| {
                d.which.tags.get(&0).is_none_or(|hosts| hosts.contains(&row.host.as_deref().map(Into::into)))
            };
            !deletes.iter().any(|d| row.stamp < d.stamp.0 && d.which.time.contains(row.time) && of_host(d))
        };
        let left: Vec<Row> = versions.iter().filter(is_left).cloned().collect();
        let settled = engine(&Cluster::new().file(united(&left)).await);
        let dealt = Cluster::dealt(&versions, &mut random).await;
        let masked = engine(&deletes.into_iter().fold(dealt, Cluster::delete));
        for text in QUERIES.iter().chain(ORDERED) {
            check_same(&settled, &masked, text, seed).await;
        }
    }
}

#[tokio::test]
async fn a_file_is_counted_from_its_record_again_once_it_is_without_what_was_deleted() {
    let rows = united(&Random(3).rows(200));
    let which = Selection { time: TimeRange { min: 0, max: 1_000_000_000 }, tags: [].into() };
    let delete = RowDelete { version: 7, stamp: Stamp(500), at_ms: 0, which };
    let left = rows.iter().filter(|row| row.time > 1_000_000_000).count();
    let mut cluster = Cluster::new().checked_file(rows.clone()).await.delete(delete);
    assert_eq!(value(&engine(&cluster), "SELECT count(*) FROM cpu").await, left.to_string());
    Arc::make_mut(&mut cluster.files[0]).deletes_up_to = 7;
    assert_eq!(value(&engine(&cluster), "SELECT count(*) FROM cpu").await, rows.len().to_string());
}

#[tokio::test]
async fn files_of_other_hours_are_read_without_a_merge_and_give_the_same_answers() {
    let mut random = Random(5);
    let versions = random.rows(500);
    let all = united(&versions);
    let settled = engine(&Cluster::new().file(all.clone()).await);
    let mut parted = Cluster::new();
    for part in 0..4 {
        let of_part = |r: &&Row| (r.time / 15_000_000_000) == part;
        parted = parted.file(all.iter().filter(of_part).cloned().collect()).await;
    }
    let late: Vec<Row> = versions.iter().filter(|r| r.time < 8_000_000_000).cloned().collect();
    let parted = parted.chunk(late.into_iter().map(|r| Row { stamp: r.stamp + 1000, ..r }).collect());
    let parted = engine(&parted);
    for text in QUERIES.iter().chain(ORDERED) {
        check_same(&settled, &parted, text, 5).await;
    }
    let plan = rows(&parted, "EXPLAIN SELECT * FROM cpu WHERE count > 25").await.join("\n");
    assert!(plan.contains("MergeExec: inputs=2, sets=1"), "{plan}");
    assert!(plan.contains("predicate=count@0 > 25") || plan.contains("predicate=count"), "{plan}");
}

#[tokio::test]
async fn a_count_of_files_that_overlap_nothing_reads_no_file() {
    let row = |host: &str, time| Row { host: Some(host.into()), time, count: Some(1), ..Row::default() };
    let cluster = Cluster::new().file(vec![row("a", 0), row("b", 5)]).await.file(vec![row("a", 10)]).await;
    let engine = engine(&cluster);
    cluster.lose("data/file0.parquet").await;
    cluster.lose("data/file1.parquet").await;
    let expected = "3|1970-01-01T00:00:00|1970-01-01T00:00:00.000000010";
    assert_eq!(value(&engine, "SELECT count(*), min(time), max(time) FROM cpu").await, expected);
}

#[tokio::test]
async fn expired_rows_are_hidden_from_every_kind_of_scan() {
    let mut random = Random(11);
    let versions = random.rows(300);
    let cut = 30_000_000_000;
    let alive: Vec<Row> = united(&versions).into_iter().filter(|r| r.time >= cut).collect();
    let expected = engine(&Cluster::new().file(alive).await);
    let layouts = [
        Cluster::dealt(&versions, &mut random).await,
        Cluster::new().file(united(&versions)).await,
        Cluster::new().chunk(united(&versions)),
    ];
    for cluster in layouts {
        let actual = engine(&cluster.expired_before(cut));
        for text in QUERIES.iter().chain(ORDERED) {
            check_same(&expected, &actual, text, 11).await;
        }
    }
}

#[tokio::test]
async fn a_field_predicate_does_not_bring_back_an_older_version() {
    let row = |stamp, count| Row { host: Some("a".into()), stamp, count: Some(count), ..Row::default() };
    let engine = engine(&Cluster::new().file(vec![row(1, 10)]).await.chunk(vec![row(2, 20)]));
    assert_eq!(value(&engine, "SELECT count FROM cpu WHERE count = 10").await, "");
    assert_eq!(value(&engine, "SELECT count FROM cpu WHERE count = 20").await, "20");
    assert_eq!(value(&engine, "SELECT count FROM cpu ORDER BY count LIMIT 1").await, "20");
    assert_eq!(value(&engine, "SELECT count(*) FROM cpu").await, "1");
}

#[tokio::test]
async fn columns_are_in_order_of_their_names_and_seq_is_hidden() {
    let engine = engine(&Cluster::new().chunk(vec![Row { stamp: 3, ..Row::default() }]));
    let answer = engine.run(query("SELECT * FROM cpu")).await.unwrap();
    let names: Vec<_> = answer.schema.fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["count", "host", "note", "region", "time", "usage"]);
    assert!(ask(&engine, query("SELECT __seq FROM cpu")).await.is_err());
}

#[tokio::test]
async fn parameters_take_the_place_of_names() {
    let row = |time, count| Row { host: Some("a".into()), time, count: Some(count), ..Row::default() };
    let engine = engine(&Cluster::new().chunk(vec![row(0, 1), row(1_000_000_000, 2), row(2_000_000_000, 3)]));
    let check = async |text: &str, params: Vec<(&str, Param)>, expected: &str| {
        let params = params.into_iter().map(|(name, p)| (name.to_owned(), p)).collect();
        let batches = ask(&engine, Query { params, ..query(text) }).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(batches.iter().flat_map(texts).collect::<Vec<_>>().join(","), expected, "{text}");
    };
    check("SELECT count FROM cpu WHERE count = $n", vec![("n", Param::Int(2))], "2").await;
    check("SELECT count FROM cpu WHERE count = $n", vec![("n", Param::UInt(3))], "3").await;
    check("SELECT count FROM cpu WHERE count > $n", vec![("n", Param::Float(2.5))], "3").await;
    check("SELECT count(*) FROM cpu WHERE host = $h", vec![("h", Param::String("a".into()))], "3").await;
    let at = Param::String("1970-01-01T00:00:01".into());
    check("SELECT count FROM cpu WHERE time = $t", vec![("t", at)], "2").await;
    check("SELECT $b, $n", vec![("b", Param::Bool(true)), ("n", Param::Null)], "true|-").await;
    check("SELECT count FROM cpu ORDER BY time LIMIT $n", vec![("n", Param::Int(1))], "1").await;
}

async fn check_same(expected: &Engine, actual: &Engine, text: &str, seed: u64) {
    let (mut want, mut have) = (rows(expected, text).await, rows(actual, text).await);
    if QUERIES.contains(&text) {
        want.sort();
        have.sort();
    }
    assert_eq!(have, want, "seed {seed}: {text}");
}

#[tokio::test]
async fn filters_on_time_and_tags_reach_the_files() {
    let row = |host: &str, time| Row { host: Some(host.into()), time, count: Some(1), ..Row::default() };
    let plain = engine(&Cluster::new().file(vec![row("a", 0), row("b", i64::MAX)]).await);
    let (first, second) = (vec![row("a", i64::MAX)], vec![row("a", 0), row("b", i64::MAX)]);
    let newer = second.into_iter().map(|r| Row { stamp: 1, ..r }).collect();
    let merged = engine(&Cluster::new().file(first).await.file(newer).await.chunk(vec![row("b", i64::MAX)]));
    for (filter, pruning) in [
        ("time > now() - INTERVAL '5 minutes'", "time_max"),
        ("time >= '2020-01-01T00:00:00Z'", "time_max"),
        ("host = 'a'", "host_min"),
        ("host IN ('a', 'c')", "host_min"),
    ] {
        for engine in [&plain, &merged] {
            let plan = value(engine, &format!("EXPLAIN SELECT * FROM cpu WHERE {filter}")).await;
            assert!(plan.contains("pruning_predicate") && plan.contains(pruning), "{filter}:\n{plan}");
        }
    }
}

/// Drivers of FlightSQL compare the columns they were told before with those of the rows.
#[tokio::test]
async fn the_columns_that_are_told_before_are_those_of_the_rows() {
    let mut random = Random(17);
    let versions = random.rows(200);
    let params = || vec![("1".to_owned(), Param::Int(5)), ("2".to_owned(), Param::Null)];
    let more = [
        "SELECT $1 AS a, $2 AS b, usage > $1 AS c FROM cpu",
        "SELECT a.host, b.usage FROM cpu a LEFT JOIN cpu b ON a.time = b.time WHERE b.usage > 1",
        "SELECT coalesce(host, 'none') AS h, count(*) FROM cpu GROUP BY host",
        "SELECT * FROM system.queries",
    ];
    for engine in
        [engine(&Cluster::new().file(united(&versions)).await), engine(&Cluster::dealt(&versions, &mut random).await)]
    {
        for text in QUERIES.iter().chain(ORDERED).chain(&more) {
            let query = Query { params: params(), ..query(text) };
            let told = engine.schema(query.clone()).await.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(told, engine.run(query).await.unwrap().schema, "{text}");
        }
    }
}

#[tokio::test]
async fn columns_of_tables_say_what_they_are() {
    let mut random = Random(18);
    let versions = random.rows(100);
    let engine = engine(&Cluster::dealt(&versions, &mut random).await);
    let all = "count:field::integer host:tag note:field::string region:tag time:timestamp usage:field::float";
    for (text, expected) in [
        ("SELECT * FROM cpu", all),
        ("SELECT * FROM (SELECT * FROM cpu WHERE usage > 1 ORDER BY time LIMIT 9)", all),
        ("SELECT * FROM cpu UNION ALL SELECT * FROM cpu", all),
        ("SELECT host AS h, count(*) AS n FROM cpu GROUP BY host", "h:tag n:"),
        (
            "SELECT a.time, b.usage AS u, 1 AS one FROM cpu a JOIN cpu b ON a.time = b.time",
            "time:timestamp u:field::float one:",
        ),
    ] {
        let answer = engine.run(query(text)).await.unwrap();
        let kind = |field: &arrow_schema::FieldRef| {
            let kind = field.metadata().get("iox::column::type").map_or("", String::as_str);
            format!("{}:{}", field.name(), kind.trim_start_matches("iox::column_type::"))
        };
        let found: Vec<String> = answer.schema.fields().iter().map(kind).collect();
        assert_eq!(found.join(" "), expected, "{text}");
    }
}
