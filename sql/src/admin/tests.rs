use super::*;

/// Commands as somebody may write them, and as they are shown.
const SHOWN: &[(&str, &str)] = &[
    ("create database Plant", r#"CREATE DATABASE "plant""#),
    (
        r#"CREATE DATABASE IF NOT EXISTS "Pl""ant" WITH (retention = '720h');"#,
        r#"CREATE DATABASE IF NOT EXISTS "Pl""ant" WITH (retention = '30d')"#,
    ),
    ("ALTER DATABASE plant SET (retention = '1w')", r#"ALTER DATABASE "plant" SET (retention = '7d')"#),
    ("ALTER DATABASE plant RESET (retention)", r#"ALTER DATABASE "plant" SET (retention = 'none')"#),
    ("DROP DATABASE plant", r#"DROP DATABASE "plant""#),
    (
        "DROP DATABASE IF EXISTS plant WITH (hard_delete = '2027-01-02T03:04:05Z')",
        r#"DROP DATABASE IF EXISTS "plant" WITH (hard_delete = '2027-01-02T03:04:05Z')"#,
    ),
    (
        "CREATE TABLE cpu (host TAG, time TIMESTAMP, v DOUBLE PRECISION, n int8, u BIGINT UNSIGNED, ok BOOL, s VARCHAR)",
        r#"CREATE TABLE "d".public."cpu" ("host" TAG, "v" DOUBLE, "n" BIGINT, "u" BIGINT UNSIGNED, "ok" BOOLEAN, "s" TEXT)"#,
    ),
    (
        "CREATE TABLE IF NOT EXISTS other.public.cpu (host TAG) WITH (retention = '90m')",
        r#"CREATE TABLE IF NOT EXISTS "other".public."cpu" ("host" TAG) WITH (retention = '1h 30m')"#,
    ),
    ("ALTER TABLE iox.cpu SET (retention = '2h')", r#"ALTER TABLE "d".public."cpu" SET (retention = '2h')"#),
    ("ALTER TABLE cpu RESET (retention)", r#"ALTER TABLE "d".public."cpu" RESET (retention)"#),
    ("DROP TABLE cpu WITH (hard_delete = 'now')", r#"DROP TABLE "d".public."cpu" WITH (hard_delete = 'now')"#),
    (
        "CREATE TOKEN grafana WITH (permissions = 'db:a,b:read; system:*:read', expires_in = '90d')",
        r#"CREATE TOKEN "grafana" WITH (permissions = 'db:a,b:read; system:*:read', expires_in = '90d')"#,
    ),
    ("CREATE ADMIN TOKEN ops", r#"CREATE ADMIN TOKEN "ops""#),
    ("DROP TOKEN IF EXISTS ops", r#"DROP TOKEN IF EXISTS "ops""#),
    ("alter system set wal_flush_interval to 5", r#"ALTER SYSTEM SET "wal_flush_interval" = '5'"#),
    ("ALTER SYSTEM SET x = '1s' FOR NODE 'n1'", r#"ALTER SYSTEM SET "x" = '1s' FOR NODE 'n1'"#),
    ("ALTER SYSTEM RESET x", r#"ALTER SYSTEM RESET "x""#),
    ("DELETE FROM cpu", r#"DELETE FROM "d".public."cpu""#),
    (
        "delete from cpu where time >= '2026-01-02' and (time < 1767312000000000000) and host in ('b', 'a''') and Room is null;",
        r#"DELETE FROM "d".public."cpu" WHERE time >= '2026-01-02T00:00:00Z' AND time <= '2026-01-01T23:59:59.999999999Z' AND "host" IN ('a''', 'b') AND "room" IS NULL"#,
    ),
    (
        "DELETE FROM cpu WHERE time BETWEEN to_timestamp('2026-01-02') AND TIMESTAMP '2026-01-02' + INTERVAL '1 day' AND Cpu.\"Host\" = 'a' AND d.public.cpu.time > 7",
        r#"DELETE FROM "d".public."cpu" WHERE time >= '2026-01-02T00:00:00Z' AND time <= '2026-01-03T00:00:00Z' AND "Host" = 'a'"#,
    ),
    (
        "DELETE FROM cpu WHERE '2026-01-02' = time AND host = 'a' AND host = 'b'",
        r#"DELETE FROM "d".public."cpu" WHERE time >= '2026-01-02T00:00:00Z' AND time <= '2026-01-02T00:00:00Z' AND "host" IS NULL AND "host" = ''"#,
    ),
    ("ALTER SYSTEM RESET wal-flush-interval", r#"ALTER SYSTEM RESET "wal-flush-interval""#),
    ("ALTER SYSTEM RESET ALL", "ALTER SYSTEM RESET ALL"),
    ("alter system reset all for node 'n1'", "ALTER SYSTEM RESET ALL FOR NODE 'n1'"),
    ("DRAIN NODE 'n''1'", "DRAIN NODE 'n''1'"),
    (
        "CREATE LAST CACHE newest ON cpu KEY (host, region) VALUES (v) WITH (count = 3, ttl = '90m')",
        r#"CREATE LAST CACHE "newest" ON "d".public."cpu" KEY ("host", "region") VALUES ("v") WITH (count = '3', ttl = '1h 30m')"#,
    ),
    ("create last cache if not exists on x.public.cpu", r#"CREATE LAST CACHE IF NOT EXISTS ON "x".public."cpu""#),
    (
        "CREATE DISTINCT CACHE ON cpu (host) WITH (max_cardinality = '7', max_age = '1d')",
        r#"CREATE DISTINCT CACHE ON "d".public."cpu" ("host") WITH (max_cardinality = '7', max_age = '1d')"#,
    ),
    ("DROP LAST CACHE newest ON cpu", r#"DROP LAST CACHE "newest" ON "d".public."cpu""#),
    ("DROP DISTINCT CACHE IF EXISTS c ON cpu", r#"DROP DISTINCT CACHE IF EXISTS "c" ON "d".public."cpu""#),
    ("REMOVE NODE 'n1' -- gone", "REMOVE NODE 'n1'"),
    ("snapshot", "SNAPSHOT"),
    ("Snapshot node 'n1';", "SNAPSHOT NODE 'n1'"),
    ("COMPACT TABLE cpu", r#"COMPACT TABLE "d".public."cpu""#),
    (
        "compact table other.public.cpu WINDOW '2026-01-02' TO '2026-01-02T12:00:00.5+01:00'",
        r#"COMPACT TABLE "other".public."cpu" WINDOW '2026-01-02T00:00:00Z' TO '2026-01-02T11:00:00.500Z'"#,
    ),
    (
        "/* slow */ CANCEL QUERY '67e55044-10b1-426f-9247-bb680e5fe0c8'",
        "CANCEL QUERY '67e55044-10b1-426f-9247-bb680e5fe0c8'",
    ),
];

#[test]
fn a_command_that_is_shown_is_read_as_the_same() {
    for (text, shown) in SHOWN {
        let command = parse(text, "d").expect(text).expect(text);
        assert_eq!(command.to_string(), *shown, "{text}");
        assert_eq!(parse(shown, "e"), Some(Ok(command)), "{shown}");
    }
}

#[test]
fn what_is_no_command_is_left_to_the_query_engine() {
    for text in [
        "SELECT 1",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "EXPLAIN SELECT 1",
        "",
        "'",
        "DROP VIEW v",
        "CREATE VIEW v AS SELECT 1",
        "\"create\" database x",
    ] {
        assert_eq!(parse(text, "d"), None, "{text}");
    }
}

#[test]
fn a_command_that_is_wrong_is_told_what_was_expected_and_where() {
    for (text, expected) in [
        ("CREATE DATABASE", "expected the name of a database after CREATE DATABASE, found the end of the statement"),
        ("CREATE DATABASE 'x'", "expected the name of a database after CREATE DATABASE, found 'x'"),
        ("CREATE DATABASE x y", "expected the end of the statement after CREATE DATABASE x, found y"),
        ("CREATE DATABASE x WITH (retention = 'soon')", "retention period 'soon' is not a number with h, d, w"),
        ("CREATE DATABASE x WITH (retention = 30)", "retention period '30' is not a number with h, d, w"),
        ("CREATE DATABASE x WITH (keep = '3d')", "there is no option keep here, only retention"),
        ("CREATE DATABASE x WITH (retention = '1d', retention = '2d')", "retention is given twice"),
        ("ALTER DATABASE x", "expected SET (retention = '...') or RESET (retention) after ALTER DATABASE x"),
        ("CREATE TABLE t", "expected ( after CREATE TABLE t"),
        ("CREATE TABLE t (a)", "expected TAG, DOUBLE, BIGINT, BIGINT UNSIGNED, BOOLEAN or TEXT after t ( a, found )"),
        ("CREATE TABLE t (time DOUBLE)", "expected TIMESTAMP"),
        ("CREATE TABLE system.t (a TAG)", "tables are in schema public, not in 'system'"),
        ("DROP TABLE a.b.c.d", "tables are in schema public, not in 'b'"),
        ("DROP TABLE t WITH (hard_delete = 'soon')", "'soon' is not an instant such as"),
        ("CREATE TOKEN t", "a token needs WITH (permissions"),
        ("CREATE TOKEN t WITH (permissions = 'db')", "permission 'db' is not of the form TYPE:NAMES:ACTIONS"),
        ("CREATE ADMIN TOKEN t WITH (expires_in = 'soon')", "expires_in 'soon' is not a duration"),
        ("DRAIN n1", "expected NODE after DRAIN, found n1"),
        ("DRAIN NODE n1", "expected the id of a node in single quotes after DRAIN NODE, found n1"),
        ("SNAPSHOT n1", "expected the end of the statement after SNAPSHOT, found n1"),
        ("SNAPSHOT NODE", "expected the id of a node in single quotes after SNAPSHOT NODE, found the end"),
        ("COMPACT t", "expected TABLE after COMPACT, found t"),
        ("COMPACT TABLE t WINDOW 'soon' TO '2026-01-01'", "'soon' is not an instant such as"),
        ("COMPACT TABLE t WINDOW '2026-01-01'", "expected TO after t WINDOW '2026-01-01', found the end"),
        (
            "COMPACT TABLE t WINDOW '2026-01-02' TO '2026-01-02'",
            "a window from '2026-01-02' to '2026-01-02' holds no time",
        ),
        ("CREATE LAST CACHE ON t KEY host", "expected ( after ON t KEY, found host"),
        ("CREATE LAST CACHE c t", "expected ON after LAST CACHE c, found t"),
        ("CREATE LAST CACHE ON t WITH (count = 'many')", "count 'many' is not a whole number"),
        ("CREATE LAST CACHE ON t WITH (ttl = 'none')", "ttl 'none' is not a duration such as 90m or 4h"),
        ("CREATE DISTINCT CACHE ON t", "expected ( after CACHE ON t, found the end of the statement"),
        (
            "CREATE DISTINCT CACHE ON t (a) WITH (ttl = '1h')",
            "there is no option ttl here, only max_cardinality, max_age",
        ),
        ("DROP LAST CACHE c", "expected ON after LAST CACHE c, found the end of the statement"),
        ("CANCEL QUERY '7'", "'7' is not the id of a query, as column id of system.queries has it"),
    ] {
        check_refused(text, expected);
    }
}

#[test]
fn a_delete_of_what_cannot_be_meant_is_refused_and_says_why() {
    for (text, expected) in [
        ("DELETE cpu", "expected FROM after DELETE, found cpu"),
        ("DELETE FROM cpu WHERE", "the WHERE cannot be read"),
        ("DELETE FROM cpu WHERE v > 5", "v > 5 cannot be asked here: a WHERE of DELETE is a list, with AND, of"),
        ("DELETE FROM cpu WHERE a = 'x' OR b = 'y'", "a = 'x' OR b = 'y' cannot be asked here"),
        ("DELETE FROM cpu WHERE time <> '2026-01-02'", "time <> '2026-01-02' cannot be asked here"),
        ("DELETE FROM cpu WHERE host <> 'a'", "host <> 'a' cannot be asked here"),
        ("DELETE FROM cpu WHERE host = NULL", "host = NULL cannot be asked here"),
        ("DELETE FROM cpu WHERE host IN (SELECT 1)", "host IN (SELECT 1) cannot be asked here"),
        ("DELETE FROM cpu WHERE time NOT BETWEEN 1 AND 2", "time NOT BETWEEN 1 AND 2 cannot be asked here"),
        ("DELETE FROM cpu WHERE time > 'soon'", "'soon' is not an instant that time can be compared with"),
        ("DELETE FROM cpu WHERE time > $1", "$1 cannot be asked here: a DELETE takes no parameters"),
        ("DELETE FROM cpu WHERE host = $1", "$1 cannot be asked here: a DELETE takes no parameters"),
        ("DELETE FROM cpu WHERE host IN ('a', $2)", "$2 cannot be asked here: a DELETE takes no parameters"),
        (
            "DELETE FROM cpu WHERE time < 1767312000000 * 1000000000",
            "1767312000000 * 1000000000 is not an instant that time can be compared with: Error during planning: a whole \
             number that is computed may",
        ),
        (
            "DELETE FROM cpu WHERE time < to_timestamp_nanos(1767312000000 * 1000000000)",
            "to_timestamp_nanos(1767312000000 * 1000000000) is not an instant that time can be compared with: Error \
             during planning: a whole number that is computed",
        ),
        (
            "DELETE FROM cpu WHERE time < to_unixtime(now() - INTERVAL '1 day')",
            "to_unixtime(now() - INTERVAL '1 day') is not an instant that time can be compared with: a whole number that",
        ),
        (
            "DELETE FROM cpu WHERE time < 9223372036854775808",
            "9223372036854775808 is not an instant that time can be compared with: number too large",
        ),
        ("DELETE FROM cpu WHERE time < now() at time zone 'Asia/Tokyo'", "AT TIME ZONE cannot be asked here: write"),
        (
            "DELETE FROM cpu WHERE time BETWEEN '2026-01-01' AND ('2026-01-02' AT TIME ZONE 'Asia/Tokyo')",
            "AT TIME ZONE cannot be asked here: write the instant with its offset",
        ),
        ("DELETE FROM cpu WHERE mem.host = 'a'", "mem.host is not a column of table 'cpu'"),
        ("DELETE FROM cpu WHERE e.public.cpu.time > '2026-01-02'", "e.public.cpu.time is not a column of table 'cpu'"),
        ("DELETE FROM cpu WHERE \"Cpu\".host IS NULL", "\"Cpu\".host is not a column of table 'cpu'"),
        ("DELETE FROM cpu WHERE time > x", "time > x cannot be asked here"),
        ("DELETE FROM cpu WHERE time > random()", "random() is not an instant"),
        ("DELETE FROM cpu WHERE host = 'a' LIMIT 3", "expected the end of the statement after host = 'a', found LIMIT"),
    ] {
        check_refused(text, expected);
    }
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = parse(text, "d").expect(text).expect_err(text);
    assert!(error.starts_with(expected), "{text}: {error}");
}
