"""What clients of Postgres find in the database `plant`, and how they tell that it is not so.

`room` has one row of every kind of column, `gaps` has rows without some of theirs, `seq` has 20 000 rows of one number, and
`million`, where a test writes it, 1 000 000.
Arguments of a program that uses this: the port, and its functions to run, each of which ends it unless all is as expected.
"""

import datetime
import resource
import sys
import threading
import time

PORT = int(sys.argv[1])
UTC = datetime.timezone.utc
WHEN = datetime.datetime(2025, 1, 20, 17, 1, 40, 690067, tzinfo=UTC)
EXACT = 1737392500690067123
ROWS = 20_000
MANY = 1_000_000
SUM = MANY * (MANY - 1) // 2
LONG = "SELECT sum(a.v * b.v + sin(a.v + b.v)) FROM seq a, seq b WHERE a.v <> b.v"


def check(found, expected):
    if found != expected:
        raise AssertionError(f"found {found!r}, expected {expected!r}")


def refused(work, error):
    """The error, of this kind, with which `work` ends."""
    try:
        work()
    except error as refusal:
        return refusal
    raise AssertionError(f"{error} did not come")


def refused_soon(work, error):
    begun = time.monotonic()
    refusal = refused(work, error)
    check(time.monotonic() - begun < 5, True)
    return refusal


def cancelled(cancel, work, error):
    """The error with which `work` ends soon after `cancel`, called on a thread of its own, and done when this returns."""
    timer = threading.Timer(0.5, cancel)
    timer.start()
    refusal = refused_soon(work, error)
    # Drivers do not bear that a connection is closed by which they still cancel.
    timer.join()
    return refusal


def restart():
    """Returns when whoever started this program has restarted the node."""
    print("restart", flush=True)
    sys.stdin.readline()


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(functions):
    for name in sys.argv[2:]:
        functions[name]()
        print(f"{name}: ok", flush=True)
