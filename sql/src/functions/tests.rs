use std::sync::Arc;

use arrow_array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;

use super::*;

async fn ask(text: &str) -> Result<Vec<RecordBatch>> {
    let state = SessionStateBuilder::new_with_default_features().with_analyzer_rule(Arc::new(BoundFunctions)).build();
    SessionContext::new_with_state(state).sql(text).await?.collect().await
}

async fn check(text: &str, expected: &str) {
    let batches = ask(text).await.unwrap_or_else(|e| panic!("{text}: {e}"));
    let column = ArrayFormatter::try_new(batches[0].column(0), &FormatOptions::new()).unwrap();
    assert_eq!(column.value(0).to_string(), expected, "{text}");
}

#[tokio::test]
async fn a_small_query_cannot_make_a_large_value() {
    for (function, call) in [
        ("repeat", "repeat('x', 2000000000)"),
        ("repeat", "repeat(arrow_cast('x', 'LargeUtf8'), 100000000000)"),
        ("repeat", "repeat('x', 1000000 + value % 2) FROM generate_series(1, 8000)"),
        ("repeat", "repeat('x', value) FROM generate_series(1, 1000000000, 1000000)"),
        ("lpad", "lpad('x', 2000000000)"),
        ("to_char", "to_char(now(), repeat('x', 16000000))"),
        ("rpad", "rpad('x', 2000000000, 'ab')"),
        ("replace", "replace(repeat('x', 100000), 'x', repeat('y', 100000))"),
        ("replace", "replace(repeat('x', 100000), '', repeat('y', 100000))"),
        ("regexp_replace", "regexp_replace(repeat('x', 100000), 'x', repeat('y', 100000), 'g')"),
        ("regexp_replace", r"regexp_replace(repeat('x', 100000), '(.*)', repeat('\1', 100000))"),
        ("range", "range(10000000000)"),
        ("range", "range(1, 10000000000)"),
        ("range", "range(10000000000, 1, -1)"),
        ("generate_series", "generate_series(1, 9000000000000000000, 1000)"),
        ("generate_series", "generate_series(TIMESTAMP '1970-01-01', TIMESTAMP '2020-01-01', INTERVAL '1' SECOND)"),
        ("range", "range(1000000 + value) FROM generate_series(1, 8000)"),
        ("array_repeat", "array_repeat(1, 2000000000)"),
        ("array_repeat", "array_repeat(repeat('x', 100000), 1000)"),
        ("array_resize", "array_resize([1], 2000000000, 0)"),
        ("array_resize", "array_resize([1], 2000000000)"),
        ("array_to_string", "array_to_string(range(100000 + value), repeat(',', 10000)) FROM generate_series(1, 1)"),
        ("concat_ws", "concat_ws(repeat(',', 60000000 + value), 'a', 'b', 'c', 'd') FROM generate_series(1, 1)"),
        (
            "concat",
            "concat(repeat('x', 90000000 + value), repeat('y', 90000000 + value), repeat('z', 90000000 + value)) FROM generate_series(1, 1)",
        ),
        (
            "make_array",
            "[repeat('x', 90000000 + value), repeat('y', 90000000 + value), repeat('z', 90000000 + value)] FROM generate_series(1, 1)",
        ),
        (
            "array_concat",
            "array_concat(range(12000000 + value), range(12000000 + value), range(12000000 + value)) FROM generate_series(1, 1)",
        ),
        ("encode", "encode(arrow_cast(repeat('x', 140000000 + value), 'Binary'), 'hex') FROM generate_series(1, 1)"),
    ] {
        let error = ask(&format!("SELECT {call}")).await.err().unwrap_or_else(|| panic!("{call} is answered"));
        let text = error.strip_backtrace();
        assert!(text.contains(&format!("the result of {function} could have ")), "{call}: {text}");
        let limit = if call.contains("FROM") { 256 << 20 } else { 16 << 20 };
        assert!(text.contains(&format!("at most {limit} are allowed")), "{call}: {text}");
    }
}

#[tokio::test]
async fn sane_calls_are_answered_as_before() {
    check("SELECT repeat('ab', 3)", "ababab").await;
    check("SELECT repeat('ab', -3)", "").await;
    check("SELECT repeat(NULL, 2000000000)", "").await;
    check("SELECT lpad('7', 3, '0')", "007").await;
    check("SELECT rpad('7', 3, 'é')", "7éé").await;
    check("SELECT replace('a-b-c', '-', ' - ')", "a - b - c").await;
    check(r"SELECT regexp_replace('2024-05', '(\d+)-(\d+)', '\2/\1')", "05/2024").await;
    check("SELECT range(2, 5)", "[2, 3, 4]").await;
    check("SELECT generate_series(5, 1, -2)", "[5, 3, 1]").await;
    check("SELECT array_length(generate_series(DATE '2024-01-01', DATE '2024-12-31', INTERVAL '1' DAY))", "366").await;
    check("SELECT array_repeat('a', 2)", "[a, a]").await;
    check("SELECT array_resize([1, 2], 3, 0)", "[1, 2, 0]").await;
    check("SELECT [1, 2] || [3]", "[1, 2, 3]").await;
    check("SELECT array_to_string([1, 2], ',')", "1,2").await;
    check("SELECT concat('a', NULL, 'b')", "ab").await;
    check("SELECT concat_ws('-', 'a', NULL, 'b')", "a-b").await;
    check("SELECT encode('ab', 'hex')", "6162").await;
    check("SELECT count(*) FROM (SELECT repeat('x', 3) AS r FROM generate_series(1, 20)) GROUP BY r", "20").await;
    check("SELECT repeat(x, 2) FROM (VALUES ('a')) t(x) GROUP BY repeat(x, 2) ORDER BY repeat(x, 2)", "aa").await;
    check("SELECT (SELECT max(length(repeat('x', value))) FROM generate_series(1, 9))", "9").await;
}

#[tokio::test]
async fn what_is_large_by_the_estimate_alone_is_answered_in_parts() {
    // 8 000 rows of 10 000 bytes, in each of which every byte might be a match.
    let text = "SELECT sum(length(regexp_replace(repeat('x', 10000 + value % 2), 'y', 'twelve bytes', 'g'))) \
                FROM generate_series(1, 8000)";
    check(text, "80004000").await;
}
