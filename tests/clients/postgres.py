"""What libraries that speak the protocol of Postgres get from a node: one function for each."""

import asyncio
import os
import resource
import subprocess

from plant import EXACT, LONG, MANY, PORT, ROWS, SUM, WHEN
from plant import cancelled, check, peak_bytes, refused, refused_soon, restart, run


def psycopg3():
    import psycopg

    def connect(**more):
        return psycopg.connect(host="127.0.0.1", port=PORT, user="me", password="x", dbname="plant", **more)

    with connect(application_name="psycopg3") as db:
        row = db.execute("SELECT name, temp, hum, n, \"on\", s, time FROM room").fetchone()
        check(row, ("a", 20.5, 40, 7, True, 'x "y"', WHEN))
        row = db.execute("SELECT name, temp, hum, n, \"on\", s, time FROM room", binary=True).fetchone()
        check(row, ("a", 20.5, 40, 7, True, 'x "y"', WHEN))
        check(db.execute("SELECT CAST(time AS BIGINT) AS t FROM room WHERE time >= %s", [WHEN]).fetchone(), (EXACT,))
        check(db.execute("SELECT count(*) FROM room WHERE time < %s", [WHEN]).fetchone(), (0,))
        check(db.execute("SELECT %s, %s, %s, %s", [1, "a", None, True]).fetchone(), (1, "a", None, True))
        check(db.execute("SELECT count(*) FROM seq WHERE v = ANY(%s)", [[1, 2, 3]]).fetchone(), (3,))
        check(db.execute("SELECT count(*) FROM room WHERE name = ANY(%s)", [["a", "b"]]).fetchone(), (1,))
        check([c.name for c in db.execute("SELECT count(*), max(v), 1, 1 FROM seq").description],
              ["count", "max", "?column?", "?column?"])
        for _ in range(8):  # From the sixth time on it is a prepared statement.
            check(db.execute("SELECT count(*) FROM seq WHERE v < %s", [5]).fetchone(), (5,))
        check(db.info.transaction_status, psycopg.pq.TransactionStatus.INTRANS)
        with db.cursor(name="some") as cursor:
            cursor.execute("SELECT v FROM seq ORDER BY v")
            check(cursor.fetchmany(3), [(0,), (1,), (2,)])
            check(len(cursor.fetchall()), ROWS - 3)
        with db.cursor(name="binary", binary=True) as cursor:
            cursor.execute("SELECT v FROM seq ORDER BY v DESC")
            check(cursor.fetchmany(2), [(ROWS - 1,), (ROWS - 2,)])
        with db.cursor().copy("COPY (SELECT v FROM seq ORDER BY v LIMIT 3) TO STDOUT") as copy:
            check(b"".join(copy), b"0\n1\n2\n")
        with db.cursor().copy("COPY (SELECT v FROM seq ORDER BY v LIMIT 3) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int8"])
            check(list(copy.rows()), [(0,), (1,), (2,)])
        with db.pipeline():
            both = [db.execute("SELECT 1"), db.execute("SELECT 2")]
        check([c.fetchone() for c in both], [(1,), (2,)])
        check(sum(1 for _ in db.cursor().stream("SELECT v FROM seq")), ROWS)
        db.commit()
        check(db.execute("SHOW application_name").fetchone(), ("psycopg3",))
        asked = "SELECT count(*) FROM system.queries WHERE door = 'pg' AND application_name = 'psycopg3'"
        check(db.execute(asked).fetchone()[0] > 10, True)
    with connect(autocommit=True) as db:
        for text, error in [
            ("SELEKT 1", psycopg.errors.SyntaxError),
            ("SELECT * FROM nope", psycopg.errors.UndefinedTable),
            ("SELECT nope FROM room", psycopg.errors.UndefinedColumn),
            ("SELECT nope(1)", psycopg.errors.UndefinedFunction),
            ("SELECT 1 / 0", psycopg.errors.DivisionByZero),
            ("INSERT INTO room VALUES (1)", psycopg.errors.ReadOnlySqlTransaction),
            ("SET nonsense = 1", psycopg.errors.UndefinedObject),
            ("FETCH 1 FROM nothing", psycopg.errors.InvalidCursorName),
        ]:
            refused(lambda: db.execute(text), error)
        check(db.execute("SELECT 1").fetchone(), (1,))
        db.execute("SET statement_timeout = 300")
        refused_soon(lambda: db.execute(LONG), psycopg.errors.QueryCanceled)
        db.execute("RESET statement_timeout")
        cancelled(db.cancel, lambda: db.execute(LONG), psycopg.errors.QueryCanceled)
        check(db.execute("SELECT 1").fetchone(), (1,))
        heard = []
        db.add_notice_handler(lambda notice: heard.append(notice.sqlstate))
        db.execute("SELECT time FROM room").fetchall()
        db.execute("SELECT time FROM room").fetchall()
        check(heard, ["01004"])
    nowhere = {"host": "127.0.0.1", "port": PORT, "user": "me", "dbname": "nowhere"}
    error = refused(lambda: psycopg.connect(**nowhere), psycopg.OperationalError)
    check('database "nowhere" does not exist' in str(error), True)
    with connect(autocommit=True) as db:
        restart()
        refused(lambda: db.execute("SELECT 1"), psycopg.errors.AdminShutdown)
        check(db.broken, True)
    with connect() as db:
        check(db.execute("SELECT count(*) FROM seq").fetchone(), (ROWS,))


def psycopg2():
    import psycopg2

    connect = lambda: psycopg2.connect(host="127.0.0.1", port=PORT, user="me", password="x", dbname="plant")
    db = connect()
    with db, db.cursor() as cursor:
        cursor.execute("SELECT name, temp, hum, n, \"on\", s, time FROM room WHERE time >= %s", [WHEN])
        check(cursor.fetchone(), ("a", 20.5, 40, 7, True, 'x "y"', WHEN))
        check([column.name for column in cursor.description], ["name", "temp", "hum", "n", "on", "s", "time"])
    with db, db.cursor("some") as cursor:
        cursor.itersize = 50
        cursor.execute("SELECT v FROM seq ORDER BY v")
        check([row[0] for row in cursor], list(range(ROWS)))
    db.autocommit = True
    cursor = db.cursor()
    refused(lambda: cursor.execute("SELECT * FROM nope"), psycopg2.errors.UndefinedTable)
    cancelled(db.cancel, lambda: cursor.execute(LONG), psycopg2.errors.QueryCanceled)
    restart()
    refused(lambda: cursor.execute("SELECT 1"), psycopg2.OperationalError)
    cursor = connect().cursor()
    cursor.execute("SELECT count(*) FROM seq")
    check(cursor.fetchone(), (ROWS,))


def asyncpg():
    import asyncpg as library

    async def ask():
        pool = await library.create_pool(
            host="127.0.0.1", port=PORT, user="me", password="x", database="plant", min_size=0, max_size=2
        )
        async with pool.acquire() as db:
            row = await db.fetchrow("SELECT name, temp, hum, n, \"on\", s, time FROM room WHERE time >= $1", WHEN)
            check(tuple(row), ("a", 20.5, 40, 7, True, 'x "y"', WHEN))
            check(await db.fetchval("SELECT count(*) FROM seq WHERE v < $1", 7), 7)
            check(await db.fetchval("SELECT count(*) FROM room WHERE name = $1 OR temp > $2", "a", 1.5), 1)
            check(len(await db.fetch("SELECT v FROM seq")), ROWS)
            async with db.transaction():
                seen = []
                async for row in db.cursor("SELECT v FROM seq ORDER BY v", prefetch=700):
                    seen.append(row[0])
                check(seen, list(range(ROWS)))
            for text, error in [
                ("SELECT * FROM nope", library.UndefinedTableError),
                ("SELEKT 1", library.PostgresSyntaxError),
                ("SELECT 1 / 0", library.DivisionByZeroError),
            ]:
                try:
                    await db.fetch(text, timeout=10)
                except error:
                    continue
                raise SystemExit(f"{text} was not refused with {error}")
            try:
                await db.fetch(LONG, timeout=0.5)
            except asyncio.TimeoutError:
                pass
            check(await db.fetchval("SELECT 1"), 1)
        async with pool.acquire() as db:
            check(await db.fetchval("SHOW search_path"), '"$user", public')
        await asyncio.to_thread(restart)
        # Connections that were told of the stop are closed, and the pool opens others.
        check(await pool.fetchval("SELECT count(*) FROM seq"), ROWS)
        await pool.close()

    asyncio.run(ask())


def pg8000():
    import pg8000.native

    connect = lambda: pg8000.native.Connection("me", host="127.0.0.1", port=PORT, password="x", database="plant")
    db = connect()
    rows = db.run("SELECT name, temp, hum, n, \"on\", s, time FROM room WHERE time >= :t", t=WHEN)
    check(rows, [["a", 20.5, 40, 7, True, 'x "y"', WHEN]])
    check(db.run("SELECT count(*) FROM seq WHERE v < :v", v=9), [[9]])
    check(len(db.run("SELECT v FROM seq")), ROWS)
    check(refused(lambda: db.run("SELECT * FROM nope"), pg8000.DatabaseError).args[0]["C"], "42P01")
    db.run("SET statement_timeout = 300")
    check(refused_soon(lambda: db.run(LONG), pg8000.DatabaseError).args[0]["C"], "57014")
    restart()
    refused(lambda: db.run("SELECT 1"), (pg8000.DatabaseError, pg8000.InterfaceError))
    db = connect()
    check(db.run("SELECT count(*) FROM seq"), [[ROWS]])
    db.close()


def sqlalchemy():
    import sqlalchemy as library

    for driver in ["psycopg", "psycopg2", "pg8000"]:
        engine = library.create_engine(f"postgresql+{driver}://me:x@127.0.0.1:{PORT}/plant")
        found = library.inspect(engine)
        check(sorted(found.get_schema_names()), ["information_schema", "public", "system"])
        check(sorted(found.get_table_names()), ["gaps", "room", "seq"])
        columns = {column["name"]: str(column["type"]) for column in found.get_columns("room")}
        check(columns["temp"], "DOUBLE PRECISION")
        check(columns["time"], "TIMESTAMP")
        check(found.get_pk_constraint("room")["constrained_columns"], [])
        check(found.get_indexes("room"), [])
        table = library.Table("room", library.MetaData(), autoload_with=engine)
        with engine.connect() as db:
            check(db.execute(library.select(table.c.name).where(table.c.time >= WHEN)).fetchall(), [("a",)])
            refused(lambda: db.execute(library.text("SELECT * FROM nope")), library.exc.ProgrammingError)
            db.rollback()
            # The driver of pg8000 does not cancel; a limit does.
            cancel = getattr(db.connection.driver_connection, "cancel", None)
            check(cancel is None, driver == "pg8000")
            if cancel is None:
                db.execute(library.text("SET statement_timeout = 300"))
                told = refused_soon(lambda: db.execute(library.text(LONG)), library.exc.DBAPIError).orig
                check(told.args[0]["C"], "57014")
            else:
                told = cancelled(cancel, lambda: db.execute(library.text(LONG)), library.exc.DBAPIError).orig
                check(getattr(told, "sqlstate", None) or told.pgcode, "57014")
            db.rollback()
            check(db.execute(library.select(library.func.count()).select_from(table)).scalar(), 1)
        with engine.connect().execution_options(yield_per=500) as db:
            check(sum(1 for _ in db.execute(library.text("SELECT v FROM seq"))), ROWS)
        engine.dispose()
    engine = library.create_engine(f"postgresql+psycopg://me:x@127.0.0.1:{PORT}/plant", pool_pre_ping=True)
    engine.connect().close()
    restart()
    with engine.connect() as db:
        check(db.execute(library.text("SELECT count(*) FROM seq")).scalar(), ROWS)
    engine.dispose()


def adbc():
    import adbc_driver_postgresql.dbapi as library

    connect = lambda: library.connect(f"postgresql://me:x@127.0.0.1:{PORT}/plant", autocommit=True)
    db = connect()
    cursor = db.cursor()
    cursor.execute("SELECT name, temp, hum, \"on\", s, time FROM room")
    row = cursor.fetch_arrow_table().to_pylist()[0]
    check(row, {"name": "a", "temp": 20.5, "hum": 40, "on": True, "s": 'x "y"', "time": WHEN})
    cursor.execute("SELECT v FROM seq")
    check(cursor.fetch_arrow_table().num_rows, ROWS)
    objects = db.adbc_get_objects(depth="tables", catalog_filter="plant", db_schema_filter="public").read_all().to_pylist()
    tables = objects[0]["catalog_db_schemas"][0]["db_schema_tables"]
    check(sorted(table["table_name"] for table in tables), ["gaps", "room", "seq"])
    check(str(db.adbc_get_table_schema("room").field("time").type), "timestamp[us, tz=UTC]")
    cursor.execute("SELECT count(*) AS n FROM seq WHERE v < $1", [7])
    check(cursor.fetchone(), (7,))
    check(refused(lambda: cursor.execute("SELECT * FROM nope"), library.ProgrammingError).sqlstate, "42P01")
    long = lambda: (cursor.execute(LONG), cursor.fetchall())
    check(cancelled(cursor.adbc_cancel, long, library.Error).sqlstate, "57014")
    restart()
    refused(lambda: cursor.execute("SELECT v FROM seq"), library.Error)
    cursor.close()
    db.close()
    db = connect()
    cursor = db.cursor()
    cursor.execute("SELECT count(*) AS n FROM seq")
    check(cursor.fetchone(), (ROWS,))
    cursor.close()
    db.close()


def commands():
    """What an operator does, in the simple and in the extended protocol."""
    import asyncpg
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=PORT, user="me", password="x", dbname="plant", autocommit=True) as db:
        check(db.execute("CREATE DATABASE office WITH (retention = '30d')").statusmessage, "CREATE DATABASE")
        check(db.execute("ALTER SYSTEM SET query_timeout = '40s'").statusmessage, "ALTER SYSTEM")
        for text, code in [
            ("CREATE DATABASE office", "42710"),
            ("DROP DATABASE nope", "42704"),
            ("CREATE DATABASE", "42601"),
            ("ALTER SYSTEM SET nope = 1", "22023"),
            ("CREATE ADMIN TOKEN t", "42501"),
            ("COPY (DROP DATABASE office) TO STDOUT", "42601"),
        ]:
            try:
                db.execute(text)
                raise SystemExit(f"{text} was done")
            except psycopg.Error as error:
                check((text, error.sqlstate), (text, code))
        with db.transaction():
            try:
                db.execute("DROP DATABASE office")
                raise SystemExit("a command in a transaction was done")
            except psycopg.Error as error:
                check(error.sqlstate, "25001")
                db.execute("ROLLBACK")

    async def extended():
        db = await asyncpg.connect(host="127.0.0.1", port=PORT, user="me", password="x", database="plant")
        statement = await db.prepare("DROP DATABASE office")
        check(statement.get_attributes(), ())
        await statement.fetch()
        check(statement.get_statusmsg(), "DROP DATABASE")
        row = await db.fetchrow("DROP DATABASE IF EXISTS office")
        check(row, None)
        await db.close()

    asyncio.run(extended())


BYTES_MAX = 100 << 20
EVERY = "SELECT v, k, f, time FROM million"


def many_in(begun, found):
    check(found, (MANY, SUM))
    grown = peak_bytes() - begun
    if grown > BYTES_MAX:
        raise AssertionError(f"the client grew by {grown >> 20} MiB")


def many_psycopg():
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=PORT, user="me", password="x", dbname="plant") as db:
        begun, rows, total = peak_bytes(), 0, 0
        with db.cursor(name="all") as cursor:
            cursor.itersize = 5000
            for row in cursor.execute(EVERY):
                rows += 1
                total += row[0]
        many_in(begun, (rows, total))


def many_copied():
    """By psycopg, and by psql, which writes the rows as they come."""
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=PORT, user="me", password="x", dbname="plant") as db:
        begun, rows, total = peak_bytes(), 0, 0
        with db.cursor().copy(f"COPY ({EVERY}) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int8", "text", "float8", "timestamptz"])
            for row in copy.rows():
                rows += 1
                total += row[0]
        many_in(begun, (rows, total))
    asked = ["psql", "-X", "-h", "127.0.0.1", "-p", str(PORT), "-U", "me", "plant", "-c", f"COPY ({EVERY}) TO STDOUT"]
    rows = total = 0
    with subprocess.Popen(asked, env={**os.environ, "PGPASSWORD": "x"}, stdout=subprocess.PIPE) as psql:
        for line in psql.stdout:
            rows += 1
            total += int(line.split(b"\t", 1)[0])
    check((rows, total), (MANY, SUM))
    # A child begins with what its parent has.
    check(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < peak_bytes() + BYTES_MAX, True)


def many_asyncpg():
    import asyncpg

    async def ask():
        db = await asyncpg.connect(host="127.0.0.1", port=PORT, user="me", password="x", database="plant")
        begun, rows, total = peak_bytes(), 0, 0
        async with db.transaction():
            async for row in db.cursor(EVERY, prefetch=5000):
                rows += 1
                total += row[0]
        many_in(begun, (rows, total))
        await db.close()

    asyncio.run(ask())


run(globals())
