"""Sessions of a database: commit, rollback, readers beside writers, and errors that say what to do."""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import select, text

from backend.db.database import Database, parse_url
from backend.db.models import Job
from backend.db.types import db_now
from backend.errors import ConfigurationError, PermanentError, TransientError

pytestmark = pytest.mark.anyio


async def test_session_commits_and_rolls_back(database: Database) -> None:
    """What a block wrote stays when it ends well and is gone when it raises."""
    insert = "INSERT INTO scheduler_audit (at, actor, action, object_type, object_id, detail) VALUES "
    async with database.session() as session:
        await session.execute(text(f"{insert} ('2026-01-01', 'a', 'kept', 'x', '1', '{{}}')"))
    with pytest.raises(ZeroDivisionError):
        async with database.session() as session:
            await session.execute(text(f"{insert} ('2026-01-01', 'a', 'lost', 'x', '1', '{{}}')"))
            raise ZeroDivisionError
    async with database.reader() as session:
        assert ["kept"] == list((await session.execute(text("SELECT action FROM scheduler_audit"))).scalars())


async def test_reader_does_not_wait_for_a_writer(database: Database) -> None:
    """A reader sees the state before an open write transaction, and sees it at once."""
    async with database.session() as writer:
        await writer.execute(text("UPDATE scheduler_lease SET holder = 'me'"))
        async with database.reader(timeout_seconds=5) as reader:
            assert (await reader.execute(text("SELECT holder FROM scheduler_lease"))).scalar_one() is None


async def test_reader_writes_nothing(database: Database) -> None:
    """Whatever is done in a reader is undone."""
    async with database.reader() as session:
        await session.execute(text("UPDATE scheduler_lease SET holder = 'me'"))
    async with database.reader() as session:
        assert (await session.execute(text("SELECT holder FROM scheduler_lease"))).scalar_one() is None


async def test_clock_of_the_database_is_utc_and_adds_offsets(database: Database) -> None:
    """`db_now` is the current instant on both engines, and an offset moves it by exactly that much."""
    from sqlalchemy import select

    async with database.reader() as session:
        now, later = (await session.execute(select(db_now(), db_now(90.5)))).one()
    assert abs(90.5 - (later - now).total_seconds()) < 0.1
    assert now.tzinfo is not None


async def test_time_limit_of_a_session(mariadb_database: Database) -> None:
    """A statement that takes longer than the session's limit is a transient error, and the next session works."""
    with pytest.raises(TransientError, match="no answer within"):
        async with mariadb_database.session(timeout_seconds=0.2) as session:
            await session.execute(text("SELECT SLEEP(20)"))
    async with mariadb_database.session(timeout_seconds=5) as session:
        assert 1 == (await session.execute(text("SELECT 1"))).scalar_one()


async def test_time_limit_ends_a_wait_for_the_write_lock(sqlite_database: Database) -> None:
    """On SQLite the limit also ends the wait for a writer, and what was given up never holds the lock later."""
    async with sqlite_database.session() as writer:
        await writer.execute(select(Job))
        begun = time.monotonic()
        with pytest.raises(TransientError, match="no answer within"):
            async with sqlite_database.session(timeout_seconds=0.2) as session:
                await session.execute(select(Job))
        assert time.monotonic() - begun < 5
    async with sqlite_database.session(timeout_seconds=5) as session:
        await session.execute(select(Job))


async def test_cancelled_session_gives_its_connection_up(mariadb_database: Database) -> None:
    """A cancelled query's connection is thrown away; its state never leaks into the next session."""

    async def query() -> None:
        async with mariadb_database.session() as session:
            await session.execute(text("SET @leak = 1"))
            await session.execute(text("SELECT SLEEP(20)"))

    task = asyncio.create_task(query())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with mariadb_database.session() as session:
        assert (await session.execute(text("SELECT @leak"))).scalar_one() is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "wrong"}, "check user and password in MARIA_URL"),
        ({"database": "no_such_database"}, "no such database"),
        ({"port": 1}, "cannot be reached: check host and port"),
    ],
)
async def test_wrong_url_says_what_to_mend(mariadb_server: str, change: dict[str, object], said: str) -> None:
    """A wrong password, database or port is named with the mend, and the password is not shown."""
    url = parse_url("hrsync database", "MARIA_URL", f"{mariadb_server}/mysql")
    password = str(url.password)
    wrong = url.set(**change)  # type: ignore[arg-type]
    database = Database("hrsync database", "MARIA_URL", wrong.render_as_string(hide_password=False), timeout_seconds=3)
    with pytest.raises((TransientError, ConfigurationError)) as raised:
        async with database.session():
            await (await _connection(database))
    assert said in str(raised.value)
    assert password not in str(raised.value)
    await database.dispose()


async def _connection(database: Database):  # type: ignore[no-untyped-def]
    async def connect() -> None:
        async with database.engine.connect():
            pass

    return connect()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "is not a database URL"),
        ("postgresql+asyncpg://a:b@c/d", "hrsync speaks mysql\\+aiomysql, mssql\\+aioodbc, sqlite\\+aiosqlite"),
        ("mysql://a:b@c/d", "hrsync speaks"),
    ],
)
def test_url_that_cannot_work_is_refused(url: str, said: str) -> None:
    """A URL of no known form or driver is a configuration error that lists the right ones."""
    with pytest.raises(ConfigurationError, match=said):
        Database("hrsync database", "MARIA_URL", url)


async def test_missing_odbc_driver_names_the_package() -> None:
    """An ODBC driver that is not installed is named together with the Debian package."""
    database = Database("HRIS", "HRIS_URL", "mssql+aioodbc://u:secret@127.0.0.1/x?driver=No+Such+Driver")
    with pytest.raises(ConfigurationError, match="apt install unixodbc tdsodbc") as raised:
        async with database.session() as session:
            await session.execute(text("SELECT 1"))
    assert "secret" not in str(raised.value)
    await database.dispose()


async def test_full_disk_is_said_and_loses_nothing(sqlite_database: Database) -> None:
    """When SQLite's disk is full the write fails with the mend, and what was there before is still there."""
    size = Path(str(sqlite_database.url.database)).stat().st_size  # noqa: ASYNC240 - once, on a local disk
    limit = size + 64 * 1024
    async with sqlite_database.session() as session:
        await session.execute(text("UPDATE scheduler_lease SET holder = 'before'"))
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old_limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old_limits[1]))
    try:
        with pytest.raises((PermanentError, TransientError), match="disk"):
            async with sqlite_database.session() as session:
                for number in range(200):
                    await session.execute(
                        text("INSERT INTO scheduler_audit (at, actor, action, object_type, object_id, detail) VALUES "
                             "('2026-01-01', 'a', 'b', 'c', :id, :detail)"),
                        {"id": str(number), "detail": '"' + "x" * 100_000 + '"'},
                    )  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limits)
        signal.signal(signal.SIGXFSZ, old_handler)
    async with sqlite_database.session() as session:
        assert "before" == (await session.execute(text("SELECT holder FROM scheduler_lease"))).scalar_one()
        assert 0 == (await session.execute(text("SELECT count(*) FROM scheduler_audit"))).scalar_one()


@pytest.mark.mssql
async def test_cancelled_odbc_query_gives_its_connection_up(mssql_url: str) -> None:
    """A query stuck at the SQL Server is given up within its limit, and the next session gets a new connection."""
    database = Database("HRIS", "HRIS_URL", mssql_url, read_only=True, statement_timeout_seconds=20)
    endless = """
        WITH n(i) AS (SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1),
             m(i) AS (SELECT 1 FROM n a, n b, n c, n d, n e)
        SELECT count_big(*) FROM m a, m b, n c
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(TransientError, match="no answer within"):
        async with database.session(timeout_seconds=1) as session:
            await session.execute(text(endless))
    assert loop.time() - begun < 5
    async with database.session(timeout_seconds=10) as session:
        assert 1 == (await session.execute(text("SELECT 1"))).scalar_one()
    await database.dispose()
