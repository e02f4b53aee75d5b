//! Statements in the shape of those that clients send to find out what there is, with what they want to hear.

use super::postgres::{answer, check, with_rows};

#[tokio::test]
async fn dashboards_find_schemas_tables_and_columns() {
    let engine = with_rows().await;
    check(&engine, "SELECT current_setting('server_version_num')::int/100 AS version", "1500").await;
    check(&engine, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", "").await;
    // The schemas of the search path, one by one.
    let path = "string_to_array(current_setting('search_path'), ',')";
    let schemas = format!(
        "SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END \
         FROM generate_series(array_lower({path}, 1), array_upper({path}, 1)) AS i, {path} s"
    );
    check(&engine, &format!("{schemas} ORDER BY 1"), "grafana\npublic").await;
    let tables = format!(
        "SELECT CASE WHEN quote_ident(table_schema) IN ({schemas}) THEN quote_ident(table_name) \
         ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\" \
         FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', 'system')"
    );
    check(&engine, &tables, "cpu").await;
    let ordered = format!("{tables} ORDER BY CASE WHEN quote_ident(table_schema) IN ({schemas}) THEN 0 ELSE 1 END, 1");
    check(&engine, &ordered, "cpu").await;
    let last = "SELECT k, n FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) t(k, n) \
                ORDER BY k IN (SELECT 2), EXISTS (SELECT 1), (SELECT max(v) FROM (VALUES (1)) s(v)), k DESC LIMIT 3";
    check(&engine, last, "3|c\n1|a\n2|b").await;
    let columns = "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns \
                   WHERE CASE WHEN array_length(parse_ident('public.cpu'), 1) = 2 \
                   THEN quote_ident(table_schema) = (parse_ident('public.cpu'))[1] \
                   AND quote_ident(table_name) = (parse_ident('public.cpu'))[2] ELSE false END ORDER BY 1 LIMIT 2";
    check(&engine, columns, "count|bigint\nhost|text").await;
    let grouped = "SELECT floor(extract(epoch FROM time) / 300) * 300 AS \"time\", count(*) > 0 FROM cpu \
                   WHERE time BETWEEN '1970-01-01T00:00:00Z' AND '2026-01-01T00:00:00.123Z' GROUP BY 1 ORDER BY 1 LIMIT 1";
    assert!(answer(&engine, grouped).await.ends_with("|true"));
}

#[tokio::test]
async fn drivers_of_java_find_tables_columns_keys_and_types() {
    let engine = with_rows().await;
    let tables = "SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, \
                  CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema' WHEN true THEN 'SYSTEM' \
                  WHEN false THEN CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' ELSE NULL END ELSE NULL END, \
                  d.description AS REMARKS FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c \
                  LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 \
                  AND d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND c.relname LIKE 'cpu' \
                  AND (false OR (c.relkind = 'r' AND n.nspname !~ '^pg_')) ORDER BY TABLE_SCHEM, TABLE_NAME";
    check(&engine, tables, "-|public|cpu|TABLE|-").await;
    let columns = "SELECT * FROM (SELECT n.nspname, c.relname, a.attname, a.atttypid, a.attnotnull OR \
                   (t.typtype = 'd' AND t.typnotnull) AS attnotnull, a.atttypmod, a.attlen, \
                   row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, \
                   nullif(a.attidentity, '') AS attidentity, pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc, \
                   dsc.description, t.typbasetype, t.typtype FROM pg_catalog.pg_namespace n \
                   JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) \
                   JOIN pg_catalog.pg_attribute a ON (a.attrelid = c.oid) \
                   JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) \
                   LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum) \
                   LEFT JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) \
                   LEFT JOIN pg_catalog.pg_class dc ON (dc.oid = dsc.classoid AND dc.relname = 'pg_class') \
                   WHERE c.relkind IN ('r', 'p', 'v', 'f', 'm') AND a.attnum > 0 AND NOT a.attisdropped \
                   AND c.relname LIKE 'cpu') c WHERE true ORDER BY nspname, c.relname, attnum LIMIT 1";
    check(&engine, columns, "public|cpu|count|20|false|-1|8|1|-|-|-|0|b").await;
    let keys = "SELECT result.table_name, result.column_name, result.key_seq FROM (SELECT ct.relname AS table_name, \
                a.attname AS column_name, (information_schema._pg_expandarray(i.indkey)).n AS key_seq, \
                information_schema._pg_expandarray(i.indkey) AS keys, a.attnum AS a_attnum FROM pg_catalog.pg_class ct \
                JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) \
                JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid) \
                JOIN pg_catalog.pg_class ci ON (ci.oid = i.indexrelid) WHERE ct.relname = 'cpu' AND i.indisprimary) result \
                WHERE result.a_attnum = (result.keys).x ORDER BY result.table_name, key_seq";
    check(&engine, keys, "").await;
    let imported = "SELECT pkn.nspname, con.conname, pos.n AS key_seq FROM pg_catalog.pg_namespace pkn, \
                    pg_catalog.pg_class pkc, pg_catalog.pg_attribute pka, pg_catalog.pg_constraint con, \
                    pg_catalog.generate_series(1, 32) pos(n) WHERE pkn.oid = pkc.relnamespace AND pkc.oid = pka.attrelid \
                    AND pka.attnum = con.confkey[pos.n] AND con.confrelid = pkc.oid AND con.contype = 'f'";
    check(&engine, imported, "").await;
    let types = "SELECT typinput = 'pg_catalog.array_in'::regproc AS is_array, typtype, typname FROM pg_catalog.pg_type \
                 LEFT JOIN (SELECT ns.oid AS nspoid, ns.nspname, r.r FROM pg_namespace ns \
                 JOIN (SELECT s.r, (current_schemas(false))[s.r] AS nspname \
                 FROM generate_series(1, array_upper(current_schemas(false), 1)) AS s(r)) AS r USING (nspname)) AS sp \
                 ON sp.nspoid = typnamespace WHERE pg_type.oid IN (1184, 1185) ORDER BY sp.r, pg_type.oid DESC";
    check(&engine, types, "true|b|_timestamptz\nfalse|b|timestamptz").await;
    let words =
        "SELECT string_agg(word, ',') FROM pg_catalog.pg_get_keywords() WHERE word <> ALL ('{a,abs,all}'::text[])";
    check(&engine, words, "-").await;
    check(&engine, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'max_index_keys'", "").await;
    let schemas = "SELECT nspname AS TABLE_SCHEM FROM pg_catalog.pg_namespace WHERE nspname <> 'pg_toast' \
                   AND (nspname !~ '^pg_temp_' OR nspname = (pg_catalog.current_schemas(true))[1]) ORDER BY TABLE_SCHEM";
    check(&engine, schemas, "information_schema\npg_catalog\npublic\nsystem").await;
}

#[tokio::test]
async fn shells_describe_tables() {
    let engine = with_rows().await;
    let columns = "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
                   (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d \
                   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull, \
                   (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t WHERE c.oid = a.attcollation \
                   AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation \
                   FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'cpu'::regclass AND a.attnum > 0 ORDER BY a.attnum LIMIT 1";
    check(&engine, columns, "count|bigint|-|false|-").await;
    let options = "SELECT pg_catalog.array_to_string(c.reloptions || array(SELECT 'toast.' || x \
                   FROM pg_catalog.unnest(tc.reloptions) x), ', '), am.amname FROM pg_catalog.pg_class c \
                   LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid) \
                   LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid) WHERE c.relname = 'cpu'";
    check(&engine, options, "|heap").await;
    let grants = "SELECT n.nspname, array_to_string(ARRAY(SELECT polname || CASE WHEN polroles <> '{0}' THEN \
                  array_to_string(ARRAY(SELECT rolname FROM pg_roles WHERE oid = ANY (polroles) ORDER BY 1), ', ') \
                  ELSE '' END FROM pg_policy pol WHERE polrelid = c.oid), ' ') \
                  FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'cpu'";
    check(&engine, grants, "public|").await;
    let published = "SELECT pubname, (SELECT string_agg(attname, ', ') FROM \
                     pg_catalog.generate_series(0, pg_catalog.array_upper(pr.prattrs::pg_catalog.int2[], 1)) s, \
                     pg_catalog.pg_attribute WHERE attrelid = pr.prrelid AND attnum = prattrs[s]) \
                     FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel pr ON p.oid = pr.prpubid";
    check(&engine, published, "").await;
    // As psql 18 asks.
    let referring = "SELECT conname, conrelid::pg_catalog.regclass AS ontable FROM pg_catalog.pg_constraint c \
                     WHERE confrelid IN (SELECT pg_catalog.pg_partition_ancestors('16385') \
                     UNION ALL VALUES ('16385'::pg_catalog.regclass)) AND contype = 'f' ORDER BY conname";
    check(&engine, referring, "").await;
    let extensions = "SELECT e.extname, ae.default_version FROM pg_catalog.pg_extension e LEFT JOIN \
                      pg_catalog.pg_available_extensions() ae(name, default_version, comment) ON ae.name = e.extname";
    check(&engine, extensions, "").await;
    let types = "SELECT count(*) > 0 FROM pg_type t WHERE (t.typrelid = 0 OR \
                 (SELECT c.relkind = 'c' FROM pg_class c WHERE c.oid = t.typrelid)) AND NOT EXISTS \
                 (SELECT 1 FROM pg_type el WHERE el.oid = t.typelem AND el.typarray = t.oid)";
    check(&engine, types, "true").await;
    let members = "SELECT r.rolname, ARRAY(SELECT b.rolname FROM pg_auth_members m JOIN pg_roles b ON m.roleid = b.oid \
                   WHERE m.member = r.oid) FROM pg_roles r";
    check(&engine, members, "grafana|[]").await;
    check(
        &engine,
        r#"SELECT json_build_object('a', 1, 'b"', 'x', 'c', NULL, 'd', true)"#,
        r#"{"a" : 1, "b\"" : "x", "c" : null, "d" : true}"#,
    )
    .await;
    let identity = "SELECT a.attname, CASE WHEN a.attidentity <> '' THEN (SELECT json_build_object('start', s.seqstart, \
                    'always', a.attidentity = 'a') FROM pg_sequence s WHERE a.attidentity <> '' AND s.seqrelid = \
                    CAST(CAST(pg_get_serial_sequence(CAST(CAST(a.attrelid AS REGCLASS) AS TEXT), a.attname) AS REGCLASS) \
                    AS OID)) ELSE NULL END FROM pg_attribute a WHERE a.attrelid = 'cpu'::regclass AND a.attnum = 1";
    check(&engine, identity, "count|-").await;
    check(&engine, "SELECT format('%I.%I is %s%%', 'a b', 'c', 5), format('%L', 'it''s')", "\"a b\".c is 5%|'it''s'")
        .await;
}

#[tokio::test]
async fn other_databases_import_what_there_is() {
    let engine = with_rows().await;
    let foreign = "SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, attgenerated, \
                   pg_get_expr(adbin, adrelid), collname, collnsp.nspname FROM pg_class c \
                   JOIN pg_namespace n ON relnamespace = n.oid \
                   LEFT JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped \
                   LEFT JOIN pg_attrdef ad ON adrelid = c.oid AND adnum = attnum \
                   LEFT JOIN pg_collation coll ON coll.oid = attcollation \
                   LEFT JOIN pg_namespace collnsp ON collnsp.oid = collnamespace \
                   WHERE c.relkind IN ('r', 'v', 'f', 'm', 'p') AND n.nspname = 'public' \
                   AND (NOT c.relispartition OR c.relkind = 'p') ORDER BY c.relname, attnum LIMIT 1";
    check(&engine, foreign, "cpu|count|bigint|false||-|-|-").await;
    let scanned = "SELECT 0 AS oid, nspname, relname, relpages, attname, pg_type.typname, atttypmod, attndims, attnum, \
                   attnotnull, NULL AS constraint_key FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid \
                   JOIN pg_attribute ON pg_class.oid = pg_attribute.attrelid JOIN pg_type ON atttypid = pg_type.oid \
                   WHERE attnum > 0 AND relkind IN ('r', 'v', 'm', 'f', 'p') AND relname = 'cpu' UNION ALL \
                   SELECT pg_namespace.oid, nspname, relname, NULL, NULL, NULL, NULL, NULL, NULL, NULL, conkey \
                   FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid \
                   JOIN pg_constraint ON pg_class.oid = pg_constraint.conrelid ORDER BY nspname, relname, attnum LIMIT 1";
    check(&engine, scanned, "0|public|cpu|0|count|int8|-1|0|1|false|-").await;
    check(
        &engine,
        "SELECT version() LIKE 'PostgreSQL 15%', (SELECT count(*) FROM pg_settings WHERE name LIKE 'rds%')",
        "true|0",
    )
    .await;
    check(&engine, "SELECT to_regclass('duckdb_secrets') IS NULL", "true").await;
    check(&engine, "SELECT pg_relation_size('cpu'::regclass) / 8192 >= 0", "true").await;
}

#[tokio::test]
async fn words_are_completed() {
    let engine = with_rows().await;
    let tables = "SELECT c.relname, NULL::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'v') \
                  AND (c.relname) LIKE 'cp%' AND pg_catalog.pg_table_is_visible(c.oid) AND c.relnamespace <> \
                  (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pg_catalog') UNION ALL \
                  SELECT NULL::pg_catalog.text, n.nspname FROM pg_catalog.pg_namespace n \
                  WHERE n.nspname LIKE 'cp%' AND n.nspname NOT LIKE E'pg\\\\_%' LIMIT 1000";
    check(&engine, tables, "cpu|-").await;
    let names = "SELECT n.nspname AS schema_name, c.relname AS table_name FROM pg_catalog.pg_class c \
                 LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = ANY('{r,p,f}') \
                 AND n.nspname = 'public' ORDER BY 1, 2";
    check(&engine, names, "public|cpu").await;
    let columns = "SELECT nsp.nspname, cls.relname, att.attname, att.atttypid::regtype::text AS type_name, att.atthasdef, \
                   pg_catalog.pg_get_expr(def.adbin, def.adrelid, true) FROM pg_catalog.pg_attribute att \
                   INNER JOIN pg_catalog.pg_class cls ON att.attrelid = cls.oid \
                   INNER JOIN pg_catalog.pg_namespace nsp ON cls.relnamespace = nsp.oid \
                   LEFT OUTER JOIN pg_attrdef def ON def.adrelid = att.attrelid AND def.adnum = att.attnum \
                   WHERE cls.relkind = ANY(ARRAY['r', 'p', 'f']) AND NOT att.attisdropped AND att.attnum > 0 \
                   ORDER BY 1, 2, att.attnum LIMIT 1";
    check(&engine, columns, "public|cpu|count|bigint|false|-").await;
    let arrays = "SELECT b.oid, b.typarray FROM pg_catalog.pg_type a LEFT JOIN pg_catalog.pg_type b ON b.oid = a.typelem \
                  WHERE a.typcategory = 'A' AND b.typname = 'int8' GROUP BY b.oid, b.typarray ORDER BY b.oid";
    check(&engine, arrays, "20|1016").await;
    check(&engine, "SELECT unnest(current_schemas(true))", "pg_catalog\npublic").await;
    check(&engine, "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY(ARRAY[current_user])", "grafana").await;
}
