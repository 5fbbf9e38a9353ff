"""The loop thread under gevent, plain threads and after a fork: each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import PROJECT_ROOT

PATCH = "from gevent import monkey; monkey.patch_all()\n"
PREAMBLE = """
import asyncio, os, sys, time
from backend.execution.loop import close_loop_thread, get_loop_thread
from backend.utils.native import original
thread = get_loop_thread(8)
"""


def run(code: str, *, gevent: bool, deadline: float = 40) -> str:
    """The output of the code in a fresh interpreter, gevent-patched or not."""
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "dev",
            "-W",
            "error::ResourceWarning",
            "-c",
            (PATCH if gevent else "") + PREAMBLE + code,
        ],
        capture_output=True,
        text=True,
        timeout=deadline,
        cwd=PROJECT_ROOT,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


BOTH = pytest.mark.parametrize("gevent", [True, False], ids=["gevent", "threads"])

MANY = """
async def job(number):
    await asyncio.sleep(0.2)
    return number
def call(number):
    return thread.run(job(number))
begun = time.monotonic()
if sys.modules.get("gevent"):
    import gevent.pool
    results = gevent.pool.Pool(50).map(call, range(50))
else:
    from concurrent.futures import ThreadPoolExecutor
    results = list(ThreadPoolExecutor(50).map(call, range(50)))
print(sum(results), time.monotonic() - begun < 5)
assert close_loop_thread()
"""


@BOTH
def test_callers_wait_side_by_side(gevent: bool) -> None:
    """50 callers that each wait for the loop wait at the same time, not one after another."""
    assert "1225 True" == run(MANY, gevent=gevent)


BLOCKING = """
import ctypes
usleep = ctypes.CDLL(None).usleep  # blocks its OS thread and knows nothing of gevent
async def main():
    loop = asyncio.get_running_loop()
    ticks = 0
    calls = [loop.run_in_executor(None, usleep, 500_000) for _ in range(5)]
    begun = time.monotonic()
    while not all(call.done() for call in calls):
        await asyncio.sleep(0.01)
        ticks += 1
    return ticks > 15, time.monotonic() - begun < 1.5
print(thread.run(main()))
assert close_loop_thread()
"""


@BOTH
def test_blocking_calls_run_on_real_threads(gevent: bool) -> None:
    """Five blocking driver calls take the time of one, and the loop goes on ticking."""
    assert "(True, True)" == run(BLOCKING, gevent=gevent)


STUCK = """
import ctypes
usleep = ctypes.CDLL(None).usleep
async def main():
    loop = asyncio.get_running_loop()
    stuck = [loop.run_in_executor(None, usleep, 6_000_000) for _ in range(8)]  # as many as there are threads
    await asyncio.sleep(0.1)
    for call in stuck:
        call.cancel()
    return await asyncio.wait_for(loop.run_in_executor(None, lambda: "free"), 3)
print(thread.run(main()))
os._exit(0)
"""


@BOTH
def test_stuck_calls_do_not_use_up_the_threads(gevent: bool) -> None:
    """When every thread is stuck in a call that was given up, the next call still gets a thread."""
    assert "free" == run(STUCK, gevent=gevent)


ERRORS = """
async def fails():
    raise KeyError("no")
async def stops():
    return next(iter(()))
async def in_executor():
    try:
        await asyncio.get_running_loop().run_in_executor(None, next, iter(()))
    except RuntimeError as error:
        return "StopIteration" in str(error)
try:
    thread.run(fails())
except KeyError as error:
    print("raised", error)
print(thread.run(in_executor()))
async def nested():
    try:
        thread.run(fails())
    except RuntimeError as error:
        return "await the coroutine" in str(error)
print(thread.run(nested()))
assert close_loop_thread()
try:
    thread.run(fails())
except RuntimeError as error:
    print("shut down" in str(error))
"""


@BOTH
def test_errors_come_back_to_the_caller(gevent: bool) -> None:
    """An exception reaches the caller; blocking on the loop from itself, or after its end, is refused."""
    assert ["raised", "'no'", "True", "True", "True"] == run(ERRORS, gevent=gevent).split()


KILLED = """
import gevent
from gevent.event import Event
seen = []
async def slow():
    seen.append("begun")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise
waiter = gevent.spawn(lambda: thread.run(slow()))
while not seen:
    gevent.sleep(0.01)
waiter.kill()
async def noop():
    return "alive"
deadline = time.monotonic() + 5
while "cancelled" not in seen and time.monotonic() < deadline:
    gevent.sleep(0.01)
print(*seen, *{thread.run(noop()) for _ in range(1000)})
assert close_loop_thread()
"""


def test_killed_greenlet_cancels_its_coroutine() -> None:
    """Killing the greenlet that waits cancels the coroutine, and later calls are still woken."""
    assert "begun cancelled alive" == run(KILLED, gevent=True)


BLOCKED = """
import threading
async def blocks():
    original("time", "sleep")(30)
caller = threading.Thread(target=lambda: thread.run(blocks()), daemon=True)
caller.start()
begun = time.monotonic()
print(close_loop_thread(2), time.monotonic() - begun < 10)
os._exit(0)
"""


@BOTH
def test_blocked_loop_does_not_hold_up_the_end(gevent: bool) -> None:
    """Closing gives up in time when something blocks the loop, and says so."""
    assert "False True" == run(BLOCKED, gevent=gevent)


STUBBORN = """
import threading
told = []
async def stubborn():
    told.append("begun")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
def call():
    try:
        thread.run(stubborn())
    except RuntimeError as error:
        told.append(str(error))
caller = threading.Thread(target=call)
caller.start()
while not told:
    time.sleep(0.01)
print(close_loop_thread(2))
caller.join(10)
print(told[1:], caller.is_alive())
"""


@BOTH
def test_nobody_waits_for_a_loop_that_has_ended(gevent: bool) -> None:
    """A caller whose coroutine ignores its cancellation is told that the loop is gone, so that the process can end."""
    assert "True\n['The event loop of this process has been shut down.'] False" == run(STUBBORN, gevent=gevent)


EXITING = """
async def exits():
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(60)
try:
    thread.run(exits())
except RuntimeError as error:
    print(error)
"""


@BOTH
def test_callers_learn_of_a_loop_that_was_torn_down(gevent: bool) -> None:
    """What ends the loop from inside leaves nobody waiting."""
    assert "The event loop of this process has been shut down." == run(EXITING, gevent=gevent)


FORK = """
async def whoami():
    return os.getpid()
parent = thread.run(whoami())
pid = os.fork()
if pid == 0:
    child = get_loop_thread()
    os._exit(0 if child is not thread and child.run(whoami()) == os.getpid() != parent else 1)
print(os.waitpid(pid, 0)[1])
assert close_loop_thread()
"""


def test_child_of_a_fork_gets_its_own_loop() -> None:
    """After a fork the child starts a loop of its own; the parent's goes on."""
    assert "0" == run(FORK, gevent=False)


DATABASES = """
from sqlalchemy import text
from backend.db.database import Database
database = Database("test", "TEST_URL", os.environ["TEST_URL"])
async def query(number):
    async with database.session() as session:
        return (await session.execute(text("SELECT :n"), {"n": number})).scalar_one()
def call(number):
    return thread.run(query(number))
if sys.modules.get("gevent"):
    import gevent.pool
    results = gevent.pool.Pool(30).map(call, range(200))
else:
    from concurrent.futures import ThreadPoolExecutor
    results = list(ThreadPoolExecutor(30).map(call, range(200)))
print(sum(results))
thread.on_close.append(database.dispose)
assert close_loop_thread()
"""


@BOTH
def test_database_serves_many_callers(gevent: bool, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 queries of 30 callers at once, on MariaDB and SQLite, through one engine that outlives them all."""
    monkeypatch.setenv("TEST_URL", database_url)
    assert "19900" == run(DATABASES, gevent=gevent)


ODBC = """
import aioodbc
async def main():
    connection = await aioodbc.connect(dsn="Driver=SQLite3;Database=:memory:")
    cursor = await connection.cursor()
    endless = ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000) "
               "SELECT count(*) FROM n")
    ticks = 0
    begun = time.monotonic()
    try:
        async with asyncio.timeout(0.5):
            call = asyncio.ensure_future(cursor.execute(endless))
            while not call.done():
                await asyncio.sleep(0.01)
                ticks += 1
            await call
    except TimeoutError:
        call.cancel()
        print("timed out", ticks > 15, time.monotonic() - begun < 2)
    second = await aioodbc.connect(dsn="Driver=SQLite3;Database=:memory:")
    other = await second.cursor()
    await other.execute("SELECT 42")
    print(*await other.fetchone())
thread.run(main())
sys.stdout.flush()
os._exit(0)
"""


@BOTH
def test_odbc_call_that_does_not_return_is_given_up(gevent: bool) -> None:
    """A call stuck in an ODBC driver is timed out while the loop ticks, and the next connection works."""
    assert "timed out True True\n42" == run(ODBC, gevent=gevent)


def test_paths_of_the_project_are_not_needed(tmp_path: Path) -> None:
    """A plain script in any folder can run a coroutine and end without hanging."""
    code = PREAMBLE + "async def f():\n    return 7\nprint(thread.run(f()))\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, cwd=tmp_path, check=False
    )
    assert (0, "7") == (done.returncode, done.stdout.strip())
