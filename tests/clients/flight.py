"""What clients of InfluxDB 3 and of Flight get from a node: one function for each thing they do.

The node has the database `plant` with two tables: `room` with one row of every kind of column, and `seq` with 20 000 rows.
Arguments: the port, a token, and the function to run with its own arguments. Every expectation that is not met ends the
program.
"""

import sys
import threading
import time

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pandas
import pyarrow
import pyarrow.flight
from influxdb_client_3 import InfluxDBClient3, Point
from influxdb_client_3.exceptions import InfluxDB3ClientQueryError

PORT, TOKEN = sys.argv[1], sys.argv[2]
EXACT = 1737392500690067123
ROWS = 20_000
LONG = "SELECT sum(a.v * b.v + sin(a.v + b.v)) FROM seq a, seq b WHERE a.v <> b.v"
MANY = "SELECT a.v, b.v, a.k, a.time FROM seq a CROSS JOIN (SELECT v FROM seq WHERE v < 250) b"
HEADER = "adbc.flight.sql.rpc.call_header."


def check(found, expected):
    if found != expected:
        raise SystemExit(f"found {found!r}, expected {expected!r}")


def refused(work, error, text):
    begun = time.monotonic()
    try:
        work()
    except error as refusal:
        check(text in str(refusal) or str(refusal), True)
        check(time.monotonic() - begun < 5, True)
        return
    raise SystemExit(f"{error} did not come: {text}")


def eventually(is_done, passing):
    begun = time.monotonic()
    while True:
        try:
            if is_done():
                return
        except passing as error:
            check(time.monotonic() - begun < 30 or error, True)
        check(time.monotonic() - begun < 30, True)
        time.sleep(0.1)


def influx(database="plant", token=TOKEN, **more):
    return InfluxDBClient3(host=f"http://127.0.0.1:{PORT}", token=token, database=database, **more)


def adbc(database="plant", **more):
    kwargs = {HEADER + "database": database, HEADER + "authorization": f"Bearer {TOKEN}", **more}
    return adbc_driver_flightsql.dbapi.connect(f"grpc://127.0.0.1:{PORT}", db_kwargs=kwargs, autocommit=True)


def raw(ticket, *headers, timeout=None):
    """The rows of a ticket, asked for without any library above Flight."""
    headers = [(b"authorization", f"Bearer {TOKEN}".encode()), *headers]
    options = pyarrow.flight.FlightCallOptions(headers=headers, timeout=timeout)
    client = pyarrow.flight.connect(f"grpc://127.0.0.1:{PORT}")
    return client.do_get(pyarrow.flight.Ticket(ticket), options).read_all()


def influxdb3():
    with influx() as db:
        row = db.query("SELECT name, temp, hum, n, \"on\", s, time FROM room")
        check(row.to_pydict(), {
            "name": ["a"], "temp": [20.5], "hum": [40], "n": [7], "on": [True], "s": ['x "y"'],
            "time": [pandas.Timestamp(EXACT)],
        })
        check(row.schema.field("time").type, pyarrow.timestamp("ns"))
        kinds = {f.name: f.metadata[b"iox::column::type"].decode() for f in row.schema}
        check(kinds["name"], "iox::column_type::tag")
        check(kinds["n"], "iox::column_type::field::uinteger")
        check(kinds["time"], "iox::column_type::timestamp")
        asked = "SELECT count(*) AS n FROM room WHERE temp > $least AND name = $name AND \"on\" = $on"
        check(db.query(asked, query_parameters={"least": 20, "name": "a", "on": True}).to_pydict(), {"n": [1]})
        frame = db.query("SELECT v FROM seq WHERE v < 3 ORDER BY v", mode="pandas")
        check(list(frame["v"]), [0, 1, 2])
        reader = db.query("SELECT v FROM seq", mode="reader")
        check(sum(batch.num_rows for batch in reader), ROWS)
        check(db.query("SELECT * FROM room WHERE false", mode="schema").names[0], "hum")
        check(db.query("SELECT * FROM room WHERE false").num_rows, 0)

        db.write("written,k=lines v=1i 1")
        db.write(Point("written").tag("k", "point").field("v", 2).time(2))
        times = pandas.to_datetime([3, 4])
        written = pandas.DataFrame({"time": times, "k": ["frame", "frame"], "v": [3, 4]})
        db.write_dataframe(written, measurement="written", tags=["k"], timestamp_column="time")
        check(db.query("SELECT k, v FROM written ORDER BY v").to_pydict(),
              {"k": ["lines", "point", "frame", "frame"], "v": [1, 2, 3, 4]})
        for text, part in [
            ("SELEKT 1", "Expected: an SQL statement, found: SELEKT"),
            ("SELECT * FROM nope", "table 'public.iox.nope' not found"),
            ("SELECT 1 / 0", "Divide by zero"),
            ("INSERT INTO room VALUES (1)", "queries can only read"),
            ("SELECT $a", "parameter $a has no value"),
        ]:
            refused(lambda: db.query(text), InfluxDB3ClientQueryError, part)
        refused(lambda: db.query("SELECT 1", language="influxql"), InfluxDB3ClientQueryError, "only SQL is")
        refused(lambda: db.query("SELECT 1", database="nowhere"), InfluxDB3ClientQueryError, "database not found: nowhere")
        doors = db.query("SELECT DISTINCT door FROM system.queries WHERE query_text LIKE '%written%'")
        check(doors.to_pydict(), {"door": ["flight"]})


def flightsql():
    with adbc() as db, db.cursor() as cursor:
        cursor.execute("SELECT name, temp, hum, n, \"on\", s, time FROM room")
        check(cursor.fetchone(), ("a", 20.5, 40, 7, True, 'x "y"', pandas.Timestamp(EXACT)))
        cursor.execute("SELECT v FROM seq WHERE v > $1 AND k = $2 ORDER BY v LIMIT 2", (5, "a"))
        check(cursor.fetchall(), [(6,), (7,)])
        when = pyarrow.scalar(EXACT, pyarrow.timestamp("ns", "UTC"))
        cursor.execute("SELECT count(*) FROM room WHERE time = $1", (when,))
        check(cursor.fetchall(), [(1,)])
        cursor.execute("SELECT $1, $2, $3", ("x", None, 0.5))
        check(cursor.fetchall(), [("x", None, 0.5)])
        check(cursor.adbc_prepare("SELECT temp + $1 AS warmer FROM room").field(0).type, pyarrow.float64())
        check(cursor.adbc_execute_schema("SELECT v, k FROM seq").names, ["v", "k"])
        cursor.execute("SELECT v FROM seq")
        check(cursor.fetch_arrow_table().num_rows, ROWS)

        check(db.adbc_get_info()["vendor_name"], "Weir")
        check(db.adbc_get_table_types(), ["BASE TABLE", "VIEW"])
        check(db.adbc_get_table_schema("room").names, ["hum", "n", "name", "on", "s", "temp", "time"])
        [catalog] = db.adbc_get_objects(depth="all").read_all().to_pylist()
        check(catalog["catalog_name"], "public")
        schemas = {schema["db_schema_name"]: schema["db_schema_tables"] for schema in catalog["catalog_db_schemas"]}
        check([table["table_name"] for table in schemas["iox"]], ["room", "seq"])
        check([column["column_name"] for column in schemas["iox"][1]["table_columns"]], ["k", "time", "v"])
        check("queries" in [table["table_name"] for table in schemas["system"]], True)
        [some] = db.adbc_get_objects(depth="tables", db_schema_filter="i%", table_name_filter="ro%").read_all().to_pylist()
        check([[t["table_name"] for t in s["db_schema_tables"]] for s in some["catalog_db_schemas"]], [["room"]])

        wrong, missing = adbc_driver_manager.ProgrammingError, adbc_driver_manager.NotSupportedError
        refused(lambda: cursor.execute("SELECT * FROM nope"), wrong, "table 'public.iox.nope' not found")
        refused(lambda: cursor.execute("SELECT $1", ([1],)), wrong, "its type is not supported")
        table = pyarrow.table({"v": [1, 2]})
        refused(lambda: cursor.execute("SELECT $1", table), wrong, "these are 2")
        refused(lambda: cursor.adbc_ingest("t", table), missing, "line protocol over HTTP")
    with adbc(username="anybody", password=TOKEN) as db, db.cursor() as cursor:
        cursor.execute("SELECT 1")
        check(cursor.fetchone(), (1,))
    unnamed = adbc_driver_flightsql.dbapi.connect(f"grpc://127.0.0.1:{PORT}", autocommit=True)
    refused(lambda: unnamed.cursor().execute("SELECT 1"), adbc_driver_manager.ProgrammingError, "no 'database' header")


def tokens(other):
    """TOKEN may read `plant` alone; `other` is no token."""
    check(influx().query("SELECT count(*) AS n FROM room").to_pydict(), {"n": [1]})
    with adbc(username="anybody", password=TOKEN) as db, db.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM room")
        check(cursor.fetchone(), (1,))
    ask = lambda **more: influx(**more).query("SELECT 1")
    refused(lambda: ask(token=other), InfluxDB3ClientQueryError, "the request was not authenticated")
    refused(lambda: ask(database="secret"), InfluxDB3ClientQueryError, "unauthorized to perform requested action")
    nobody = pyarrow.flight.connect(f"grpc://127.0.0.1:{PORT}")
    ticket = pyarrow.flight.Ticket(b'{"database":"plant","sql_query":"SELECT 1"}')
    refused(lambda: nobody.do_get(ticket), pyarrow.flight.FlightUnauthenticatedError, "was not authenticated")
    refused(lambda: nobody.authenticate_basic_token("me", other), pyarrow.flight.FlightUnauthenticatedError, "authenticated")
    header = nobody.authenticate_basic_token("me", TOKEN)
    check(header, (b"authorization", f"Bearer {TOKEN}".encode()))


def many():
    """More rows than client, server and what is between them hold while nobody reads."""
    reader = influx().query(MANY, mode="reader")
    time.sleep(2)
    ask_running(1)
    check(sum(batch.num_rows for batch in reader), 250 * ROWS)
    ask_running(0)


def leave():
    """Goes away in the middle of its answer, then in the middle of its question."""
    client = pyarrow.flight.connect(f"grpc://127.0.0.1:{PORT}")
    ticket = f'{{"database":"plant","sql_query":"{MANY}"}}'.encode()
    reader = client.do_get(pyarrow.flight.Ticket(ticket))
    reader.read_chunk()
    reader.cancel()
    ask_running(0)
    with adbc() as db, db.cursor() as cursor:
        threading.Timer(1, cursor.adbc_cancel).start()
        refused(lambda: (cursor.execute(LONG), cursor.fetchall()), adbc_driver_manager.Error, "")
    ask_running(0)
    ticket = f'{{"database":"plant","sql_query":"{LONG}"}}'.encode()
    refused(lambda: raw(ticket, timeout=1), pyarrow.flight.FlightTimedOutError, "")
    ask_running(0)


def ask_running(expected):
    """Within a second so many queries run."""
    text = "SELECT count(*) AS n FROM system.queries WHERE running AND query_text LIKE '%seq a%' AND door = 'flight'"
    text += " AND query_text NOT LIKE '%system%'"
    begun = time.monotonic()
    while (found := influx().query(text).to_pydict()["n"][0]) != expected:
        check(time.monotonic() - begun < 1 or f"{found} queries run after a second", True)
        time.sleep(0.05)


def restart():
    """Says when it has asked; goes on asking with the same connections once it is told to."""
    db, cursor = influx(), adbc().cursor()

    def asks():
        cursor.execute("SELECT count(*) FROM seq")
        rows = cursor.fetchone()
        return rows == (ROWS,) and db.query("SELECT count(*) AS n FROM seq").to_pydict() == {"n": [ROWS]}

    for _ in range(2):
        eventually(asks, (InfluxDB3ClientQueryError, adbc_driver_manager.Error))
        print("asked", flush=True)
        sys.stdin.readline()


def position(text, value):
    """Rows that stand at a position are seen by a call that carries it."""
    ticket = b'{"bucket":"plant","sql_query":"SELECT v FROM placed"}'
    check(raw(ticket, (b"x-weir-position", text.encode())).to_pydict(), {"v": [int(value)]})


def malformed():
    ticket = b'{"namespace_name":"plant","sql_query":"SELECT 1"}'
    refused(lambda: raw(ticket, (b"x-weir-position", b"a")), pyarrow.ArrowInvalid, "is not node:epoch:position")


def one(text, expected):
    check(str(influx().query(text).to_pydict()["n"][0]), expected)
    with adbc() as db, db.cursor() as cursor:
        cursor.execute(text)
        check(str(cursor.fetchone()[0]), expected)


def unavailable(part):
    refused(lambda: influx().query("SELECT 1"), InfluxDB3ClientQueryError, part)


def secured(ca):
    """Both sides of both clients over TLS, with a certificate that `ca` vouches for and nobody else."""
    host = f"https://127.0.0.1:{PORT}"
    with InfluxDBClient3(host=host, token=TOKEN, database="plant", ssl_ca_cert=ca) as db:
        db.write("safe v=1i 1")
        # Through a node that only writes it takes a moment until the others show the row.
        eventually(lambda: db.query("SELECT v FROM safe").to_pydict() == {"v": [1]}, InfluxDB3ClientQueryError)
    with open(ca) as pem:
        kwargs = {HEADER + "database": "plant", "adbc.flight.sql.client_option.tls_root_certs": pem.read()}
    url = f"grpc+tls://127.0.0.1:{PORT}"
    with adbc_driver_flightsql.dbapi.connect(url, db_kwargs=kwargs, autocommit=True) as db, db.cursor() as cursor:
        cursor.execute("SELECT v FROM safe WHERE v = $1", (1,))
        check(cursor.fetchall(), [(1,)])
    with InfluxDBClient3(host=host, token=TOKEN, database="plant") as db:
        refused(lambda: db.query("SELECT 1"), InfluxDB3ClientQueryError, "certificate")


globals()[sys.argv[3]](*sys.argv[4:])
