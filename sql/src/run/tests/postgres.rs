//! What Postgres clients ask, and what their statements become.

use arrow_schema::DataType;

use super::*;
use crate::postgres::{PgSession, PgType, Scalar};
use crate::run::QueryErrorKind;
use crate::tables::fixture::{Random, TABLE, united};

fn asked(text: &str) -> Query {
    let session = PgSession {
        user: "grafana".to_owned(),
        database: "plant".to_owned(),
        application_name: "psql".to_owned(),
        backend: 77,
        search_path: vec!["public".to_owned()],
        settings: vec![("server_version_num".to_owned(), "150013".to_owned())],
    };
    Query { postgres: Some(Arc::new(session)), door: "pg", ..query(text) }
}

async fn with_rows() -> Engine {
    engine(&Cluster::new().file(united(&Random(1).rows(50))).await)
}

async fn answer(engine: &Engine, text: &str) -> String {
    let batches = ask(engine, asked(text)).await.unwrap_or_else(|e| panic!("{text}: {e}"));
    batches.iter().flat_map(texts).collect::<Vec<_>>().join("\n")
}

async fn check(engine: &Engine, text: &str, expected: &str) {
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
            "SELECT (SELECT description FROM pg_description d WHERE d.objoid = c.oid) FROM pg_class c WHERE relname = 'cpu'",
            "-",
        ),
        ("SELECT typreceive FROM pg_type WHERE typreceive <> 0 AND oid = 1184", "timestamptz_recv"),
        ("SELECT count(*) FROM pg_index WHERE indisprimary", "0"),
        ("SELECT unnest(conkey), generate_subscripts(conkey, 1) FROM pg_constraint ORDER BY 2", ""),
        ("SELECT '2025-01-20 18:00:00+01'::timestamptz = '2025-01-20T17:00:00Z'::timestamp", "true"),
        ("SELECT time::bigint = extract(epoch FROM time)::bigint * 1000000000 FROM cpu LIMIT 1", "true"),
    ] {
        check(&engine, text, expected).await;
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
