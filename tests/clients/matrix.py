"""What comes of statements that are asked through Flight, as a list of letters.

Arguments: the port. Input: a list of [token, database, statement, door] as JSON, where the door is `ticket` or `flightsql`.
Output: a list of what came of each: `y` it was done, `m` what it names is missing, `n` the token may not, `?` nobody knows
the token; anything else is the error.
"""

import json
import sys

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow
import pyarrow.flight

PORT = sys.argv[1]
HEADER = "adbc.flight.sql.rpc.call_header."


def ticket(token, database, statement):
    options = pyarrow.flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())] if token else [])
    asked = json.dumps({"database": database, "sql_query": statement, "query_type": "sql"}).encode()
    try:
        CLIENT.do_get(pyarrow.flight.Ticket(asked), options).read_all()
        return "y"
    except pyarrow.flight.FlightUnauthenticatedError:
        return "?"
    except pyarrow.flight.FlightUnauthorizedError:
        return "n"
    except pyarrow.ArrowKeyError:
        return "m"
    except Exception as error:
        return repr(error)


def flightsql(token, database, statement):
    kwargs = {HEADER + "database": database}
    if token:
        kwargs[HEADER + "authorization"] = f"Bearer {token}"
    codes = adbc_driver_manager.AdbcStatusCode
    letters = {codes.UNAUTHENTICATED: "?", codes.UNAUTHORIZED: "n", codes.NOT_FOUND: "m"}
    try:
        with adbc_driver_flightsql.dbapi.connect(f"grpc://127.0.0.1:{PORT}", db_kwargs=kwargs, autocommit=True) as db:
            with db.cursor() as cursor:
                cursor.execute(statement)
                cursor.fetch_arrow_table()
        return "y"
    except adbc_driver_manager.Error as error:
        return letters.get(error.status_code, repr(error))


CLIENT = pyarrow.flight.connect(f"grpc://127.0.0.1:{PORT}")
doors = {"ticket": ticket, "flightsql": flightsql}
print(json.dumps([doors[door](*asked) for *asked, door in json.load(sys.stdin)]))
