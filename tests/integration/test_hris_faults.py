"""What a replication leaves behind when something breaks: killed processes, locks, servers that end, two runs at once.

Everywhere the same is asked: the target is as it was before, and the next run completes the work.
"""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from backend.db.database import Database
from backend.db.models import Department, Employee, HrChange
from backend.errors import HrsyncError, PermanentError, TransientError
from tests.support.databases import connect_mariadb, create_mariadb_database, make_database, migrate_database
from tests.support.hris import Hris, RecordedRun, dump, employee, mapping, read_table, replicate, staff
from tests.support.processes import Process
from tests.support.servers import MariaDBServer
from tests.support.waiting import eventually_async

SHAPE = ("employee_no", "full_name", "email", "manager_no", "is_active", "extra")


@pytest.fixture
async def hris(empty_sqlite_url: str) -> AsyncIterator[Hris]:
    """A source on SQLite."""
    source = Hris(empty_sqlite_url)
    yield source
    await source.dispose()


@pytest.fixture(scope="module")
def own_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDBServer]:
    """A server of these tests alone, which they may end and start again."""
    with MariaDBServer(tmp_path_factory.mktemp("own-mariadb")) as server:
        yield server


@pytest.fixture
async def private_database(own_mariadb: MariaDBServer) -> AsyncIterator[Database]:
    """hrsync's own database on the server of these tests."""
    url = create_mariadb_database(own_mariadb.url)
    migrate_database(url)
    database = make_database(url)
    yield database
    await database.dispose()


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


async def change_everything(source: Hris, count: int) -> None:
    """Every employee gets another name, one leaves, one comes, and one row cannot be read."""
    changed = [row | {"name": f"{row['name']} changed", "mail": "x@example.com"} for row in staff(count)[1:]]
    await source.fill([*changed, employee("NEW"), employee("BAD", state="?")], [{"code": "D1", "name": "One"}])


# --- killed -----------------------------------------------------------------------------------------------------------

# Kills a replication again and again: at each checkpoint, or before every third statement or commit at the target (so
# also between reading and planning, and in the middle of the writing). Each prints what it left.
KILLS = """
import asyncio, hashlib, os, signal, sys
from sqlalchemy import event
from tests.support.databases import make_database
from tests.support.hris import RecordedRun, dump, replicate
from backend.db.database import Database

target_url, source_url, batch_rows, places = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

async def run(point):
    target, source = make_database(target_url), Database("HRIS", "HRIS_URL", source_url, read_only=True)
    statements = 0

    def die_at(number):
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    async def on_checkpoint(number):
        if places == "checkpoints":
            die_at(number)

    def on_statement(*_):
        nonlocal statements
        statements += 1
        die_at(statements / 3)

    if places == "statements":
        event.listen(target.engine.sync_engine, "before_cursor_execute", on_statement)
        event.listen(target.engine.sync_engine, "commit", on_statement)
    await replicate(source, target, run=RecordedRun(on_checkpoint=on_checkpoint), batch_rows=batch_rows)
    await source.dispose()
    await target.dispose()

async def look():
    target = make_database(target_url)
    print("left", hashlib.sha256(repr(await dump(target)).encode()).hexdigest(), flush=True)
    await target.dispose()

def child(coroutine):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(coroutine)
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    coroutine.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

child(look())
point = 1
while (code := child(run(point))) == -signal.SIGKILL:
    child(look())
    point += 1
child(look())
print("finished with", code, flush=True)
"""


@pytest.mark.parametrize(
    ("count", "batch_rows", "places"),
    [(30, 10, "checkpoints"), (1500, 500, "statements")],
)
async def test_a_killed_run_leaves_the_previous_state(
    hris: Hris,
    database: Database,
    start_process: Callable[..., Process],
    project_root: Path,
    tmp_path: Path,
    count: int,
    batch_rows: int,
    places: str,
) -> None:
    """kill -9 at each checkpoint, and between statements: nothing is there, no file is left, the next run completes."""
    await hris.fill(staff(count), [{"code": "D1", "name": "One"}])
    await replicate(hris.reader, database)
    await change_everything(hris, count)
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    process = start_process(
        sys.executable, "-c", textwrap.dedent(KILLS), url_of(database), url_of(hris.reader), str(batch_rows),
        places, cwd=project_root, env={"TMPDIR": temporary, "PYTHONDEVMODE": ""},
    )  # fmt: skip
    await asyncio.to_thread(process.wait_for_output, "finished with", 60)

    assert "finished with 0" in process.output()
    left = [line.split()[1] for line in process.output().splitlines() if line.startswith("left")]
    before, after = left[0], left[-1]
    assert before != after
    assert [before] * (len(left) - 1) == left[:-1]
    assert len(left) > 5
    assert [] == list(temporary.iterdir())
    report = await replicate(hris.reader, database)
    assert (count, 0, 0) == (report.details["entities"]["employees"]["unchanged"], report.counts.updated, 0)


# --- locks ------------------------------------------------------------------------------------------------------------


def limit_waiting(database: Database, statement: str) -> None:
    """Let each connection of the target run this first, so that it waits for locks only shortly."""

    def on_connect(connection: Any, _record: Any) -> None:
        connection.cursor().execute(statement)

    event.listen(database.engine.sync_engine, "connect", on_connect)


async def test_rows_that_somebody_else_holds_are_waited_for_then_given_up(
    hris: Hris, mariadb_database: Database
) -> None:
    """A lock time-out in the middle of the writing is transient, and what had been written is taken back."""
    await hris.fill(staff(30))
    await replicate(hris.reader, mariadb_database)
    await change_everything(hris, 30)
    before = await dump(mariadb_database)
    await mariadb_database.dispose()
    limit_waiting(mariadb_database, "SET innodb_lock_wait_timeout = 1")

    with connect_mariadb(url_of(mariadb_database)) as holder, holder.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM hr_employee WHERE employee_no = 'E0029' FOR UPDATE")
        with pytest.raises(TransientError, match="Lock wait timeout"):
            await replicate(hris.reader, mariadb_database, batch_rows=10)

    assert before == await dump(mariadb_database)
    assert 29 == (await replicate(hris.reader, mariadb_database)).counts.updated


async def test_a_database_that_somebody_else_writes_is_waited_for_then_given_up(
    hris: Hris, sqlite_database: Database
) -> None:
    """SQLite has one writer: a run that cannot become it in time is transient."""
    await hris.fill(staff(3))
    limit_waiting(sqlite_database, "PRAGMA busy_timeout = 100")
    other = make_database(url_of(sqlite_database))

    async with other.session() as session:
        await session.execute(text("DELETE FROM hr_holiday"))
        with pytest.raises(TransientError, match="database is locked"):
            await replicate(hris.reader, sqlite_database)

    await other.dispose()
    assert 3 == (await replicate(hris.reader, sqlite_database)).counts.inserted


async def test_the_victim_of_a_deadlock_is_tried_again(hris: Hris, mariadb_database: Database) -> None:
    """Two transactions that wait for each other: the run that has to give way is transient and leaves nothing."""
    await hris.fill(staff(30))
    await replicate(hris.reader, mariadb_database)
    await change_everything(hris, 30)
    before = await dump(mariadb_database)
    blocked: list[asyncio.Task[Any]] = []
    with (
        connect_mariadb(url_of(mariadb_database)) as other,
        other.cursor() as cursor,
        connect_mariadb(url_of(mariadb_database)) as watcher,
        watcher.cursor() as looking,
    ):

        async def other_waits() -> bool:
            looking.execute("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")
            return bool(looking.fetchone()[0])

        async def meet(_checkpoint: int) -> None:
            if run.is_writing and run.progresses[-1][0] >= 1 and not blocked:
                # The run has written the department and comes to the employees next.
                statement = "SELECT * FROM hr_department WHERE code = 'D1' FOR UPDATE"
                blocked.append(asyncio.create_task(asyncio.to_thread(cursor.execute, statement)))
                # The server looks again only when it has not been asked for a tenth of a second.
                await eventually_async(other_waits, interval=0.2)

        cursor.execute("BEGIN")
        # The one that has written less has to give way.
        cursor.execute(
            "INSERT INTO hr_quarantine (entity, fingerprint, severity, reason, message, payload, first_seen_at, "
            "last_seen_at, execution_id) SELECT 'x', UNHEX(MD5(seq)), 'x', 'x', 'x', '{}', NOW(), NOW(), 'x' "
            "FROM seq_1_to_3000"
        )
        cursor.execute("SELECT * FROM hr_employee WHERE employee_no = 'E0029' FOR UPDATE")
        run = RecordedRun(on_checkpoint=meet)
        with pytest.raises(TransientError, match="Deadlock found"):
            await replicate(hris.reader, mariadb_database, run=run)
        await asyncio.gather(*blocked)
        other.rollback()

    assert before == await dump(mariadb_database)
    assert 29 == (await replicate(hris.reader, mariadb_database)).counts.updated


# --- servers that end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["restart", "kill"])
async def test_a_database_that_ends_during_the_writing(
    hris: Hris, own_mariadb: MariaDBServer, private_database: Database, way: str
) -> None:
    """MariaDB restarted, or killed, while the rows are written: the run is tried again, and finds the state before."""
    await hris.fill(staff(600))
    await replicate(hris.reader, private_database)
    await change_everything(hris, 600)
    before = await dump(private_database)

    async def end(_checkpoint: int) -> None:
        if run.is_writing and not ended:
            ended.append(True)
            # Not in a thread: a server ends with the thread that started it.
            getattr(own_mariadb, way)()

    ended: list[bool] = []
    run = RecordedRun(on_checkpoint=end)
    with pytest.raises(TransientError, match="hrsync database"):
        await replicate(hris.reader, private_database, run=run)
    if way == "kill":
        own_mariadb.start()

    assert before == await dump(private_database)
    assert 599 == (await replicate(hris.reader, private_database)).counts.updated


async def test_a_source_that_goes_away_in_mid_stream_is_transient(
    own_mariadb: MariaDBServer, database: Database
) -> None:
    """The error is one that is retried, names the entity, and the target keeps its state."""
    rules = mapping("""
        [employees]
        query = "SELECT seq AS no, REPEAT('x', 150) AS name FROM seq_1_to_300000"
        columns = { employee_no = "no", full_name = "name" }
        """)
    source = Database("HRIS", "HRIS_URL", f"{own_mariadb.url}/mysql", read_only=True)

    async def kill_the_source(checkpoint: int) -> None:
        if checkpoint == 2:
            own_mariadb.kill()

    with pytest.raises(TransientError, match=r"hris\.toml \[employees\]: reading the employees was cut off: HRIS"):
        await replicate(source, database, rules, run=RecordedRun(on_checkpoint=kill_the_source))

    own_mariadb.start()
    assert [] == await read_table(database, Employee, "id")
    await source.dispose()


async def test_a_login_that_may_not_read_is_told_with_the_entity(
    mariadb_server: str, hris: Hris, sqlite_database: Database
) -> None:
    """A source that refuses a table fails the run for good, by its name; with the right to read it all goes well."""
    url = create_mariadb_database(mariadb_server)
    source = Hris(url)
    await source.fill(staff(3))
    name = source.reader.url.database
    user = f"reader_{name}"[-30:]
    with connect_mariadb(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'reading'")
        cursor.execute(f"GRANT SELECT ON `{name}`.dept TO '{user}'@'%'")
        parts = source.reader.url.set(username=user, password="reading")
        reader = Database("HRIS", "HRIS_URL", parts.render_as_string(hide_password=False), read_only=True)
        try:
            with pytest.raises(PermanentError, match=r"hris\.toml \[positions\].*positions.*HRIS.*grant it SELECT"):
                await replicate(reader, sqlite_database)
            assert [] == await read_table(sqlite_database, Employee, "id")
            cursor.execute(f"GRANT SELECT ON `{name}`.emp TO '{user}'@'%'")
            assert 3 == (await replicate(reader, sqlite_database)).counts.inserted
        finally:
            await reader.dispose()
            await source.dispose()
            cursor.execute(f"DROP USER '{user}'@'%'")
            cursor.execute(f"DROP DATABASE `{name}`")


async def test_a_source_that_is_too_slow_is_given_up(mariadb_server: str, sqlite_database: Database) -> None:
    """The time limit of a statement ends the run as transient, with the name of the entity and of the limit."""
    source = Database(
        "HRIS", "HRIS_URL", f"{mariadb_server}/information_schema", read_only=True, statement_timeout_seconds=0.2
    )
    rules = mapping("""
        [employees]
        query = "SELECT 1 AS no, SLEEP(20) AS name"
        columns = { employee_no = "no", full_name = "name" }
        """)

    with pytest.raises(TransientError, match=r"hris\.toml \[employees\].*HRIS.*SOURCE_TIMEOUT_SECONDS"):
        await replicate(source, sqlite_database, rules)

    await source.dispose()


# --- loading files ----------------------------------------------------------------------------------------------------


async def test_a_server_that_takes_no_files_gets_statements(
    hris: Hris, own_mariadb: MariaDBServer, private_database: Database
) -> None:
    """Where `local_infile` is off, the same rows arrive by statements with values."""
    twin = make_database(create_mariadb_database(own_mariadb.url))
    migrate_database(url_of(twin))
    for target, allowed in ((private_database, 1), (twin, 0)):
        with connect_mariadb(own_mariadb.url) as connection, connection.cursor() as cursor:
            cursor.execute(f"SET GLOBAL local_infile = {allowed}")
        await hris.fill(staff(400, notes='"a", NULL \\N'))
        await replicate(hris.reader, target)
        await change_everything(hris, 400)
        report = await replicate(hris.reader, target)
        assert (399, 2, 1) == (report.counts.updated, report.counts.inserted, report.counts.deactivated)

    for model, columns in ((Employee, SHAPE), (HrChange, ("row_id", "entity_key", "field", "old_value", "new_value"))):
        assert await read_table(private_database, model, *columns) == await read_table(twin, model, *columns)
    await twin.dispose()


async def test_a_server_that_asks_for_a_file_gets_none(mariadb_database: Database, tmp_path: Path) -> None:
    """Outside the loading of rows a connection gives no file away, though it was opened for it; the next one works."""
    secret = tmp_path / "secret"
    secret.write_text("x,x\n")

    async with asyncio.timeout(10):
        with pytest.raises((HrsyncError, RuntimeError)):
            async with mariadb_database.session() as session:
                await session.execute(text(f"LOAD DATA LOCAL INFILE '{secret}' INTO TABLE hr_department (code, name)"))

        assert [] == await read_table(mariadb_database, Department, "code")


# --- others meanwhile -------------------------------------------------------------------------------------------------


async def test_two_runs_that_write_at_once_are_one(hris: Hris, database: Database) -> None:
    """Both have read the same; one is applied, the other is told to try again, and then finds nothing to do."""
    await hris.fill(staff(40))
    await replicate(hris.reader, database)
    await change_everything(hris, 40)
    both_have_read = asyncio.Barrier(2)

    async def replicate_with_the_other() -> Any:
        async def meet(checkpoint: int) -> None:
            if checkpoint == 3:
                await both_have_read.wait()

        return await replicate(hris.reader, database, run=RecordedRun(on_checkpoint=meet))

    results = await asyncio.gather(*(replicate_with_the_other() for _ in range(2)), return_exceptions=True)

    failed = [result for result in results if isinstance(result, BaseException)]
    assert ["TransientError"] == [type(error).__name__ for error in failed]
    assert "try again" in str(failed[0])
    again = await replicate(hris.reader, database)
    assert (0, 0, 0) == (again.counts.inserted, again.counts.updated, again.counts.deactivated)


async def test_readers_never_see_half_a_run(hris: Hris, database: Database) -> None:
    """While 20,000 rows and their history are written, somebody who looks all the time sees before or after only."""
    rules = mapping("""
        [departments]
        query = "SELECT code, name FROM dept"
        columns = { code = "code", name = "name" }
        [employees]
        query = "SELECT no, name FROM emp"
        columns = { employee_no = "no", full_name = "name" }
        [holidays]
        query = "SELECT code, '2031-01-01' AS day, name FROM dept"
        columns = { code = "code", holiday_on = "day", name = "name" }
        [guard]
        max_growth_percent = 100
        """)
    rows = staff(20_000)
    await hris.fill(rows[:10_000], [{"code": "D1", "name": "One"}])
    await replicate(hris.reader, database, rules)
    await hris.fill(
        [row | {"name": f"{row['name']} changed"} for row in rows], [{"code": f"D{n}", "name": "x"} for n in range(9)]
    )
    reader = Database("reader", "MARIA_URL", url_of(database), read_only=True)
    seen: list[tuple[Any, ...]] = []
    statement = text(
        "SELECT (SELECT COUNT(*) FROM hr_employee), (SELECT COUNT(*) FROM hr_employee WHERE full_name LIKE '%changed'),"
        " (SELECT COUNT(*) FROM hr_department), (SELECT COUNT(*) FROM hr_change), (SELECT COUNT(*) FROM hr_holiday),"
        " (SELECT SUM(row_count) FROM sync_stream)"
    )

    async def look() -> None:
        async with reader.session() as session:
            seen.append(tuple((await session.execute(statement)).one()))

    async def look_all_the_time() -> None:
        while not done.is_set():
            await look()

    await look()
    done = asyncio.Event()
    async with asyncio.TaskGroup() as others:
        others.create_task(look_all_the_time())
        report = await replicate(hris.reader, database, rules, run=RecordedRun(on_checkpoint=lambda _number: look()))
        done.set()
    await look()
    await reader.dispose()

    assert (10_016, 10_002) == (report.counts.inserted, report.counts.updated)
    before, after = (10_000, 0, 1, 0, 1, 10_002), (20_000, 20_000, 9, 10_002, 9, 20_018)
    assert {before, after} == set(seen)
    assert seen == sorted(seen, key=lambda state: state == after)
    assert len(seen) > 10
