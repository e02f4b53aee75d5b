//! What Postgres clients ask, and what their statements become.

use arrow_schema::DataType;

use super::*;
use crate::postgres::{PgSession, PgType, Scalar};
use crate::run::QueryErrorKind;
use crate::tables::fixture::{Random, TABLE, united};

pub(super) fn asked(text: &str) -> Query {
    let session = PgSession {
        user: "grafana".to_owned(),
        database: "plant".to_owned(),
        application_name: "psql".to_owned(),
        backend: 77,
        search_path: vec!["public".to_owned()],
        settings: vec![
            ("server_version_num".to_owned(), "150013".to_owned()),
            ("search_path".to_owned(), "\"$user\", public".to_owned()),
        ],
        activity: None,
    };
    Query { postgres: Some(Arc::new(session)), door: "pg", ..query(text) }
}

pub(super) async fn with_rows() -> Engine {
    engine(&Cluster::new().file(united(&Random(1).rows(50))).await)
}

pub(super) async fn answer(engine: &Engine, text: &str) -> String {
    let batches = ask(engine, asked(text)).await.unwrap_or_else(|e| panic!("{text}: {e}"));
    batches.iter().flat_map(texts).collect::<Vec<_>>().join("\n")
}

pub(super) async fn check(engine: &Engine, text: &str, expected: &str) {
    assert_eq!(answer(engine, text).await, expected, "{text}");
}

#[tokio::test]
async fn users_tables_are_in_public_and_in_iox() {
    let engine = with_rows().await;
    let count = answer(&engine, "SELECT count(*) FROM cpu").await;
    for table in ["public.cpu", "iox.cpu", "plant.public.cpu", "public.iox.cpu", "plant.iox.cpu"] {
        check(&engine, &format!("SELECT count(*) FROM {table}"), &count).await;
    }
    check(&engine, "SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = 2200", "public").await;
    check(&engine, "SELECT count(*) > 0 FROM system.queries", "true").await;
}

#[tokio::test]
async fn numbers_of_tables_are_those_of_the_catalog() {
    let engine = with_rows().await;
    let number = (16_384 + TABLE.0).to_string();
    check(&engine, "SELECT oid FROM pg_class WHERE relname = 'cpu'", &number).await;
    check(&engine, "SELECT 'public.cpu'::regclass::oid", &number).await;
    check(&engine, "SELECT to_regclass('nothing') IS NULL", "true").await;
    check(&engine, "SELECT pg_table_is_visible('cpu'::regclass)", "true").await;
    check(&engine, "SELECT pg_table_is_visible('system.queries'::regclass)", "false").await;
    let columns = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
                   WHERE attrelid = 'cpu'::regclass AND attnum > 0 ORDER BY attnum";
    let expected =
        "count|bigint\nhost|text\nnote|text\nregion|text\ntime|timestamp with time zone\nusage|double precision";
    check(&engine, columns, expected).await;
}

#[tokio::test]
async fn what_is_known_of_the_session_is_told() {
    let engine = with_rows().await;
    check(&engine, "SELECT current_database(), current_user, current_schema()", "plant|grafana|public").await;
    check(&engine, "SELECT pg_backend_pid(), current_setting('server_version_num')::int / 100", "77|1500").await;
    check(&engine, "SELECT current_setting('nothing', true) IS NULL", "true").await;
    check(&engine, "SELECT split_part(version(), ' ', 1)", "PostgreSQL").await;
    check(&engine, "SELECT door, application_name FROM system.queries LIMIT 1", "pg|psql").await;
    check(&engine, "SELECT datname FROM pg_database ORDER BY 1", "_internal\nplant").await;
}

#[tokio::test]
async fn columns_without_names_have_those_of_postgres() {
    let engine = with_rows().await;
    for (text, expected) in [
        ("SELECT count(*), 1, 'a', max(count) FROM cpu", "count,?column?,?column?,max"),
        ("SELECT 1, 1, count, count FROM cpu", "?column?,?column?,count,count"),
        ("SELECT count::text, 1::bigint, CASE WHEN true THEN 1 END FROM cpu", "count,int8,case"),
        ("SELECT * FROM (SELECT lower(host), 2 AS two FROM cpu) s", "lower,two"),
        ("SELECT cpu.host, now() FROM cpu", "host,now"),
    ] {
        let schema = engine.run(asked(text)).await.unwrap_or_else(|e| panic!("{text}: {e}")).schema;
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names.join(","), expected, "{text}");
    }
}

#[tokio::test]
async fn what_only_postgres_has_is_understood() {
    let engine = with_rows().await;
    for (text, expected) in [
        ("SELECT 'abc' OPERATOR(pg_catalog.~) '^(abc)$' COLLATE pg_catalog.default", "true"),
        ("SELECT 'a' = ANY('{a,b}'), 2 = ANY(ARRAY[1, 2]), 'c' <> ALL('{a,b}')", "true|true|true"),
        ("SELECT 'a_b' LIKE 'a/_b' ESCAPE '/', 'axb' LIKE 'a/_b' ESCAPE '/'", "true|false"),
        ("SELECT quote_ident('a b'), quote_ident('a')", "\"a b\"|a"),
        ("SELECT pg_size_pretty(20480), pg_size_pretty(NULL)", "20 kB|-"),
        ("SELECT ARRAY(SELECT relname FROM pg_class WHERE relname = 'cpu')", "[cpu]"),
        (
            "SELECT (SELECT description FROM pg_description d WHERE d.objoid = c.oid AND d.objsubid = 0) FROM pg_class c WHERE relname = 'cpu'",
            "-",
        ),
        ("SELECT typreceive FROM pg_type WHERE typreceive <> 0 AND oid = 1184", "timestamptz_recv"),
        ("SELECT count(*) FROM pg_index WHERE indisprimary", "0"),
        ("SELECT unnest(conkey), generate_subscripts(conkey, 1) FROM pg_constraint ORDER BY 2", ""),
        ("SELECT '2025-01-20 18:00:00+01'::timestamptz = '2025-01-20T17:00:00Z'::timestamp", "true"),
        ("SELECT DISTINCT epoch_ns(time) = time::bigint FROM cpu", "true"),
        ("SELECT time::bigint = extract(epoch FROM time)::bigint * 1000000000 FROM cpu LIMIT 1", "true"),
    ] {
        check(&engine, text, expected).await;
    }
}

async fn refused(engine: &Engine, text: &str) -> Error {
    match ask(engine, asked(text)).await {
        Ok(batches) => panic!("{text}: {:?}", batches.iter().flat_map(texts).collect::<Vec<_>>()),
        Err(error) => error,
    }
}

/// A cluster in which a writer gave a table the name of one of the catalogs.
async fn with_locks() -> Engine {
    engine(&Cluster::new().named("pg_locks").file(united(&Random(1).rows(50))).await)
}

#[tokio::test]
async fn nobodys_table_is_taken_for_one_that_is_empty() {
    let engine = with_locks().await;
    let rows = united(&Random(1).rows(50)).len().to_string();
    check(&engine, "SELECT count(*) FROM public.pg_locks", &rows).await;
    check(&engine, "SELECT count(*) FROM pg_locks", "0").await;
    check(&engine, "WITH pg_locks AS (SELECT 1 AS a) SELECT a FROM pg_locks", "1").await;
    check(&engine, "WITH pg_index AS (SELECT 1 AS a) SELECT (SELECT a FROM pg_index)", "1").await;
    check(&engine, "SELECT EXISTS (SELECT 1 FROM public.pg_locks), 1 IN (SELECT 1 FROM pg_index)", "true|false").await;
    let of_each = "SELECT nspname, EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'pg_am') \
                   FROM pg_namespace n WHERE oid IN (11, 2200) ORDER BY 1";
    check(&engine, of_each, "pg_catalog|true\npublic|false").await;
    let among = "SELECT 1 IN (SELECT v FROM (VALUES (1), (NULL)) t(v)), 2 IN (SELECT v FROM (VALUES (1), (NULL)) t(v)), \
                 2 NOT IN (SELECT v FROM (VALUES (1)) t(v)), NULL IN (SELECT v FROM (VALUES (1)) t(v)), \
                 NULL IN (SELECT v FROM (VALUES (1)) t(v) WHERE v > 1)";
    check(&engine, among, "true|-|true|-|false").await;
    check(&engine, "SELECT NOT EXISTS (SELECT 1 FROM pg_tables WHERE tablename = 'nothing')", "true").await;
    check(
        &engine,
        "SELECT count(*) FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid WHERE c.relname = 'pg_am'",
        "1",
    )
    .await;
    check(&engine, "SELECT x FROM (SELECT unnest(make_array('a')) AS reloptions) t, unnest(make_array('b')) x", "b")
        .await;
}

#[tokio::test]
async fn aggregates_over_nothing_have_a_row() {
    let engine = with_rows().await;
    check(&engine, "SELECT sum(n_live_tup) FROM pg_stat_user_tables", "-").await;
    check(&engine, "SELECT coalesce(max(oid), 0) FROM pg_constraint", "0").await;
    check(&engine, "SELECT count(*) = 0, count(*) + 1 FROM pg_index", "true|1").await;
    check(&engine, "SELECT count(*) FROM pg_index GROUP BY indrelid", "").await;
    let of_each = "SELECT relname, (SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) FROM pg_class c \
                   WHERE relname IN ('cpu', 'pg_am') ORDER BY 1";
    check(&engine, of_each, "cpu|0\npg_am|0").await;
    check(&engine, "SELECT nspname, EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = n.oid) FROM pg_namespace n WHERE oid = 11", "pg_catalog|false").await;
}

#[tokio::test]
async fn a_sub_query_of_one_value_has_one() {
    let engine = with_rows().await;
    let text = "SELECT relname, (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) FROM pg_class c \
                WHERE relname IN ('cpu', 'pg_am', 'queries') ORDER BY 1";
    check(&engine, text, "cpu|public\npg_am|pg_catalog\nqueries|system").await;
    for text in [
        "SELECT (SELECT relname FROM pg_class c WHERE c.relnamespace = n.oid) FROM pg_namespace n",
        "SELECT (SELECT datname FROM pg_database UNION ALL SELECT 'x')",
    ] {
        let error = refused(&engine, text).await;
        assert!(error.to_string().contains("more than one row"), "{error}");
    }
    check(
        &engine,
        "SELECT ARRAY(SELECT nspname FROM pg_namespace ORDER BY 1 DESC)",
        "[system, public, pg_catalog, information_schema]",
    )
    .await;
    check(&engine, "SELECT ARRAY(SELECT 1 WHERE false), ARRAY(SELECT DISTINCT 1)", "[]|[1]").await;
    let of_each = "SELECT nspname, ARRAY(SELECT relname FROM pg_class c WHERE c.relnamespace = n.oid AND relname = 'cpu') \
                   FROM pg_namespace n WHERE oid IN (11, 2200) ORDER BY 1";
    check(&engine, of_each, "pg_catalog|[]\npublic|[cpu]").await;
}

#[tokio::test]
async fn lists_that_are_written_down_are_read_as_lists() {
    let engine = with_rows().await;
    for (text, expected) in [
        (r#"SELECT 'a,b' = ANY('{"a,b"}'), 'a' = ANY('{"a,b"}')"#, "true|false"),
        (r#"SELECT 'a"b' = ANY('{"a\"b"}'), 'x' = ANY('{a,NULL}') IS NULL"#, "true|true"),
        ("SELECT 1.0 = ANY('{1}'), 1 = ANY('{01, 2}'), 3 <> ALL('{1,2}')", "true|true|true"),
        ("SELECT 'a' = ANY('{}'), 'a' <> ALL('{}')", "false|true"),
        ("SELECT 2 = ANY('{1,2}'::int[]), '{a,b}'::text[]", "true|[a, b]"),
        ("SELECT 1 = '01', 2 > '10'", "true|false"),
        ("SELECT 'a' = ANY(NULL::text[]) IS NULL", "true"),
    ] {
        check(&engine, text, expected).await;
    }
    for text in ["SELECT 'a' = ANY('a')", "SELECT 'a' = ANY('{a')", "SELECT 1 = ANY('{x}')"] {
        refused(&engine, text).await;
    }
    let nothing = Query {
        params: vec![("1".to_owned(), Param::Cast(Box::new(Param::Null), DataType::new_list(DataType::Int64, true)))],
        ..asked("SELECT NOT 1 = ANY($1) IS NULL, (1 = ANY($1)) IS NULL, (1 <> ALL($1)) IS NULL")
    };
    let found = ask(&engine, nothing).await.expect("an answer");
    assert_eq!(found.iter().flat_map(texts).collect::<Vec<_>>(), ["false|true|true"]);
}

#[tokio::test]
async fn times_are_what_clocks_in_a_zone_show() {
    let engine = with_rows().await;
    let one = "(SELECT TIMESTAMPTZ '2025-01-20T17:01:40.690067123Z' AS time)";
    for (text, expected) in [
        (format!("SELECT time AT TIME ZONE 'Europe/Berlin' FROM {one}"), "2025-01-20T18:01:40.690067123Z"),
        (
            format!(
                "SELECT (time AT TIME ZONE 'Europe/Berlin') AT TIME ZONE 'UTC' = time + INTERVAL '1 hour' FROM {one}"
            ),
            "true",
        ),
        (
            format!(
                "SELECT date_trunc('day', time AT TIME ZONE 'America/New_York') AT TIME ZONE 'America/New_York' FROM {one}"
            ),
            "2025-01-20T05:00:00",
        ),
        ("SELECT '2025-07-01 12:00'::timestamp AT TIME ZONE 'Europe/Berlin'".to_owned(), "2025-07-01T10:00:00"),
        ("SELECT TIMESTAMP '2025-03-30 02:30:00' AT TIME ZONE 'Europe/Berlin'".to_owned(), "2025-03-30T01:30:00"),
        (
            "SELECT '2025-10-26 01:30:00+00'::timestamptz AT TIME ZONE 'Europe/Berlin'".to_owned(),
            "2025-10-26T02:30:00Z",
        ),
        ("SELECT extract(hour FROM '2025-07-01T12:00:00Z'::timestamptz AT TIME ZONE 'Asia/Tokyo')".to_owned(), "21"),
        ("SELECT (NULL::timestamptz AT TIME ZONE 'UTC') IS NULL".to_owned(), "true"),
    ] {
        check(&engine, &text, expected).await;
    }
    let described =
        engine.describe(asked("SELECT time AT TIME ZONE 'UTC' FROM cpu"), Vec::new()).await.expect("a plan");
    assert_eq!(PgType::of(described.schema.field(0)), PgType::One(Scalar::Timestamp));
    assert_eq!(described.schema.field(0).name(), "timezone");
    let error = refused(&engine, "SELECT time AT TIME ZONE '+01:00' FROM cpu").await;
    assert!(error.to_string().contains("time zone \"+01:00\" not recognized"), "{error}");
}

#[tokio::test]
async fn what_calls_become_is_bounded() {
    let engine = with_rows().await;
    let many = |call: &str, count: usize| format!("SELECT {}", vec![call; count].join(","));
    check(
        &engine,
        "SELECT format_type(1184, NULL), format_type(1009, -1), pg_table_size('cpu') >= 0",
        "timestamp with time zone|text[]|true",
    )
    .await;
    let error = refused(&engine, &many("pg_size_pretty(1)", 20_000)).await;
    assert!(error.kind() == QueryErrorKind::Plan && error.to_string().contains("bytes; at most"), "{error}");
}

#[tokio::test]
async fn names_are_looked_for_along_the_search_path() {
    let engine = with_rows().await;
    let asked_by = |text: &str, path: &[&str]| {
        let session = asked("").postgres.expect("it is a client of Postgres");
        let search_path = path.iter().map(|schema| (*schema).to_owned()).collect();
        let session = PgSession { search_path, ..(*session).clone() };
        let query = Query { postgres: Some(Arc::new(session)), ..asked(text) };
        let engine = &engine;
        async move { ask(engine, query).await.map(|batches| batches.iter().flat_map(texts).collect::<Vec<_>>().join("\n")) }
    };
    for path in [&["system", "public"][..], &["pg_catalog", "public"], &["nothing", "$user", "public"], &["iox"]] {
        assert!(asked_by("SELECT count(*) FROM cpu", path).await.is_ok(), "{path:?}");
        assert_eq!(asked_by("SELECT pg_table_is_visible('public.cpu'::regclass)", path).await.as_deref(), Ok("true"));
        assert!(asked_by("SELECT 'cpu'::regclass", path).await.is_ok(), "{path:?}");
    }
    assert!(asked_by("SELECT count(*) FROM queries", &["public", "system"]).await.is_ok());
    let error = asked_by("SELECT count(*) FROM cpu", &["system"]).await.expect_err("it is not there");
    assert_eq!(error.to_string(), "table 'cpu' not found");
    assert_eq!(
        asked_by("SELECT pg_table_is_visible('public.cpu'::regclass)", &["system"]).await.as_deref(),
        Ok("false")
    );
    assert_eq!(asked_by("SELECT current_schema(), current_schemas(true)", &[]).await.as_deref(), Ok("-|[pg_catalog]"));
    let schemas = "SELECT current_schema(), current_schemas(true), current_schemas(false)";
    let expected = "system|[pg_catalog, system, public]|[system, public]";
    assert_eq!(asked_by(schemas, &["system", "nothing", "public"]).await.as_deref(), Ok(expected));
}

#[tokio::test]
async fn a_table_of_a_catalogs_name_is_not_asked_in_its_place() {
    let engine = engine(&Cluster::new().named("pg_class").file(united(&Random(1).rows(50))).await);
    check(&engine, "SELECT relname FROM pg_class WHERE relname = 'pg_am'", "pg_am").await;
    let rows = united(&Random(1).rows(50)).len().to_string();
    check(&engine, "SELECT count(*) FROM public.pg_class", &rows).await;
}

#[tokio::test]
async fn what_postgres_would_do_otherwise_is_refused() {
    let engine = with_rows().await;
    for text in [
        "SELECT set_config('search_path', '', false)",
        "SELECT obj_description()",
        "SELECT quote_ident('a', 'b')",
        "SELECT array_upper(ARRAY[1])",
        "SELECT current_database() OVER ()",
        "SELECT pg_size_pretty(1) FILTER (WHERE false)",
        "SELECT pg_size_pretty(DISTINCT 1)",
        "SELECT has_table_privilege(a => 1, b => 2)",
        "SELECT 'a' LIKE 'a' ESCAPE '//'",
        "SELECT current_setting('nothing')",
        "SELECT time_bucket(host, time) FROM cpu",
        // It would be one row for all of them.
        "SELECT (SELECT relname FROM pg_class c WHERE c.relnamespace = n.oid LIMIT 1) FROM pg_namespace n",
        "SELECT oid IN (SELECT c.relnamespace FROM pg_class c WHERE c.relname = n.nspname) FROM pg_namespace n",
        "SELECT nonsense FROM pg_locks",
        "SELECT nothing(oid) FROM pg_locks",
    ] {
        let error = refused(&engine, text).await;
        assert!(
            matches!(error.kind(), QueryErrorKind::Plan | QueryErrorKind::Unsupported | QueryErrorKind::Execution),
            "{text}: {error}"
        );
    }
    for (text, expected) in [
        (r"SELECT 'a\b' LIKE 'a\b' ESCAPE '', 'axb' LIKE 'a\b' ESCAPE ''", "true|false"),
        ("SELECT time_bucket('7 days', '2025-01-22T10:00:00Z'::timestamptz)", "2025-01-20T00:00:00"),
        (
            "SELECT time_bucket('7 days', '2025-01-22T10:00:00Z'::timestamptz, '2025-01-01T00:00:00Z'::timestamptz)",
            "2025-01-22T00:00:00",
        ),
        ("SELECT time_bucket('300.000s', '2025-01-22T10:07:00Z'::timestamptz)", "2025-01-22T10:05:00"),
        (
            "SELECT time_bucket('1 day', '2025-01-20T23:30:00Z'::timestamptz AT TIME ZONE 'Europe/Berlin')",
            "2025-01-21T00:00:00Z",
        ),
        ("SELECT time_bucket('1 month', '2025-02-22T10:07:00Z'::timestamptz)", "2025-02-01T00:00:00"),
        ("SELECT to_regtype('int4'), to_regtype('nothing') IS NULL", "23|true"),
        ("SELECT c.oid::regclass::text, c.oid::regclass FROM pg_class c WHERE relname = 'cpu'", "cpu|cpu"),
        ("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'system.queries'::regclass", "system"),
        ("SELECT count(*) FROM pg_attribute WHERE attrelid = ('cp' || 'u')::regclass", "6"),
        ("SELECT DISTINCT current_setting(name) = setting FROM pg_settings", "true"),
    ] {
        check(&engine, text, expected).await;
    }
    let given = Query {
        params: vec![("1".to_owned(), Param::String("cpu".to_owned()))],
        ..asked("SELECT to_regclass($1) = 'cpu'::regclass, current_setting($1, true) IS NULL, to_regtype($1) IS NULL")
    };
    let batches = ask(&engine, given).await.expect("an answer");
    assert_eq!(batches.iter().flat_map(texts).collect::<Vec<_>>(), ["true|true|true"]);
}

#[tokio::test]
async fn columns_beside_all_columns_may_be_called_as_they_are() {
    let engine = with_rows().await;
    for (text, expected) in [
        ("SELECT *, host FROM cpu", "count,host,note,region,time,usage,host"),
        (
            "SELECT *, time + INTERVAL '1 hour' AS time FROM cpu ORDER BY time LIMIT 1",
            "count,host,note,region,time,usage,time",
        ),
        ("SELECT *, count + 1 AS more FROM cpu ORDER BY more", "count,host,note,region,time,usage,more"),
        ("SELECT Host, host, \"host\" FROM cpu", "host,host,host"),
    ] {
        let answer = engine.run(asked(text)).await.unwrap_or_else(|e| panic!("{text}: {e}"));
        let names: Vec<_> = answer.schema.fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names.join(","), expected, "{text}");
    }
}

#[tokio::test]
async fn nothing_but_reading_is_allowed_to_postgres_clients_either() {
    let engine = with_rows().await;
    for text in ["INSERT INTO cpu VALUES (1)", "CREATE TABLE t (a int)", "DROP TABLE cpu", "COPY cpu TO '/tmp/x'"] {
        let error = ask(&engine, asked(text)).await.expect_err(text);
        assert!(matches!(error.kind(), QueryErrorKind::Plan | QueryErrorKind::Unsupported), "{text}: {error}");
    }
    let deep = |call: &str| format!("SELECT {}'a'{}", call.repeat(30), ")".repeat(30));
    assert_eq!(ask(&engine, asked(&deep("quote_ident("))).await.expect_err("too long").kind(), QueryErrorKind::Plan);
    check(&engine, &deep("lower("), "a").await;
}

#[tokio::test]
async fn a_statement_is_described_without_being_run() {
    let engine = with_rows().await;
    let text = "SELECT host, count + $2 AS more FROM cpu WHERE time > $1 AND host = ANY($3)";
    let description = engine.describe(asked(text), Vec::new()).await.expect("it can be planned");
    let types: Vec<PgType> =
        description.params.iter().map(|of| PgType::of(&arrow_schema::Field::new("p", of.clone(), true))).collect();
    let one = PgType::One;
    assert_eq!(types, [one(Scalar::Timestamptz), one(Scalar::Int8), PgType::Array(Scalar::Text)]);
    let shown: Vec<PgType> = description.schema.fields().iter().map(|field| PgType::of(field)).collect();
    assert_eq!(shown, [one(Scalar::Text), one(Scalar::Int8)]);
    let declared = vec![Some(DataType::Int16)];
    let description = engine.describe(asked("SELECT $1, $2"), declared).await.expect("it can be planned");
    assert_eq!(description.params, [DataType::Int16, DataType::Utf8]);
    assert_eq!(answer(&engine, "SELECT count(*) FROM system.queries").await, "1");
}

#[tokio::test]
async fn lists_in_parameters_are_searched() {
    let engine = with_rows().await;
    let count = |text: &str, items: Vec<Param>, of: DataType| {
        let params = vec![("1".to_owned(), Param::List(items, of))];
        let query = Query { params, ..asked(text) };
        let engine = &engine;
        async move { ask(engine, query).await.expect("an answer").iter().flat_map(texts).collect::<Vec<_>>().join("") }
    };
    let expected = answer(&engine, "SELECT count(*) FROM cpu WHERE host IN ('h1', 'h2')").await;
    let items = ["h1", "h2"].map(|host| Param::String(host.to_owned())).to_vec();
    assert_eq!(count("SELECT count(*) FROM cpu WHERE host = ANY($1)", items, DataType::Utf8).await, expected);
    assert_eq!(count("SELECT count(*) FROM cpu WHERE count = ANY($1)", Vec::new(), DataType::Int64).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_joins_make_many_rows_ends_at_its_time() {
    // In one part all of it is one task, which must give its thread back by itself.
    let config = EngineConfig { target_partitions: 1, ..config() };
    let cluster = Cluster::new();
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    let text = "SELECT sum(a.v * b.v) FROM (SELECT unnest(range(0, 12000)) AS v) a, \
                (SELECT unnest(range(0, 12000)) AS v) b WHERE a.v <> b.v";
    let begun = tokio::time::Instant::now();
    let asked = Query { timeout: Some(Duration::from_millis(200)), ..asked(text) };
    let error = ask(&engine, asked).await.expect_err("it takes too long");
    assert_eq!(error.kind(), QueryErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
