use super::*;

#[test]
fn a_command_that_is_shown_is_read_as_the_same() {
    for (text, shown) in [
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
            "DELETE FROM cpu WHERE time BETWEEN to_timestamp('2026-01-02') AND TIMESTAMP '2026-01-02' + INTERVAL '1 day' AND cpu.\"Host\" = 'a'",
            r#"DELETE FROM "d".public."cpu" WHERE time >= '2026-01-02T00:00:00Z' AND time <= '2026-01-03T00:00:00Z' AND "Host" = 'a'"#,
        ),
        (
            "DELETE FROM cpu WHERE '2026-01-02' = time AND host = 'a' AND host = 'b'",
            r#"DELETE FROM "d".public."cpu" WHERE time >= '2026-01-02T00:00:00Z' AND time <= '2026-01-02T00:00:00Z' AND "host" IS NULL AND "host" = ''"#,
        ),
        ("DRAIN NODE 'n''1'", "DRAIN NODE 'n''1'"),
        ("REMOVE NODE 'n1' -- gone", "REMOVE NODE 'n1'"),
        (
            "/* slow */ CANCEL QUERY '67e55044-10b1-426f-9247-bb680e5fe0c8'",
            "CANCEL QUERY '67e55044-10b1-426f-9247-bb680e5fe0c8'",
        ),
    ] {
        let command = parse(text, "d").expect(text).expect(text);
        assert_eq!(command.to_string(), shown, "{text}");
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
        (
            "CREATE DATABASE x WITH (retention = 30)",
            "expected a text in single quotes for retention after ( retention =",
        ),
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
        ("DELETE FROM cpu WHERE time > $1", "$1 is not an instant that time can be compared with: a DELETE takes no"),
        ("DELETE FROM cpu WHERE time > x", "time > x cannot be asked here"),
        ("DELETE FROM cpu WHERE time > random()", "random() is not an instant"),
        ("DELETE FROM cpu WHERE host = 'a' LIMIT 3", "expected the end of the statement after host = 'a', found LIMIT"),
        ("DRAIN n1", "expected NODE after DRAIN, found n1"),
        ("DRAIN NODE n1", "expected the id of a node in single quotes after DRAIN NODE, found n1"),
        ("CANCEL QUERY '7'", "'7' is not the id of a query, as column id of system.queries has it"),
    ] {
        let error = parse(text, "d").expect(text).expect_err(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
