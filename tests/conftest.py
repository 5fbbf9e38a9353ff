"""Fixtures: private servers, migrated empty databases on both engines, settings, real processes.

`TEST_MARIADB_URL` and `TEST_REDIS_URL` (scripts/test sets them) name servers to use; without them the session starts
its own. Every test runs in an empty working directory with no setting of hrsync in its environment.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
from sqlalchemy.engine import make_url

from backend.db.biostar_database import biostar
from backend.db.database import Database
from backend.db.hris_database import hris
from backend.db.maria_database import maria
from backend.db.migrate import seed_rows
from backend.db.models import Base
from backend.settings import Settings, get_settings
from tests.support.databases import (
    connect_mariadb,
    create_mariadb_database,
    create_mssql_database,
    drop_mariadb_database,
    drop_mssql_database,
    make_database,
    migrate_database,
)
from tests.support.processes import Process
from tests.support.project import ADVENTUREWORKS, PROJECT_ROOT
from tests.support.servers import MariaDBServer, RedisServer

# How fast this machine is says nothing about the program: neither an example nor making one has a time limit.
hypothesis.settings.register_profile("hrsync", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("hrsync")

PROCESSES = pytest.StashKey[list[Process]]()
_numbers = itertools.count(1)


# --- settings ---------------------------------------------------------------------------------------------------------


def _forget_settings() -> None:
    for cached in (get_settings, maria, hris, biostar):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    _forget_settings()
    yield
    _forget_settings()


@pytest.fixture
def settings_env(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """`settings_env(maria_url=..., lease_seconds=5)` sets the environment and returns the settings read from it."""

    def set_environment(**values: object) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(name.upper(), str(value))
        _forget_settings()
        return get_settings()

    return set_environment


# --- servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, the loop that the program runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a MariaDB server on which the tests may create databases."""
    given = os.environ.get("TEST_MARIADB_URL")
    if given:
        yield given
        return
    with MariaDBServer(tmp_path_factory.mktemp("mariadb")) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis server that the tests may empty."""
    given = os.environ.get("TEST_REDIS_URL")
    if given:
        yield given
        return
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def private_mariadb(tmp_path: Path) -> Iterator[MariaDBServer]:
    """A MariaDB server of this test alone, which it may stop, kill, suspend and restart."""
    with MariaDBServer(tmp_path / "private-mariadb") as server:
        yield server


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server of this test alone, which it may stop, kill, suspend and restart (then it is empty)."""
    with RedisServer(tmp_path / "private-redis") as server:
        yield server


@pytest.fixture
def redis_url(redis_server: str, worker_number: int) -> str:
    """The URL of an empty Redis database of this test worker alone."""
    base = make_url(redis_server)
    first = int(base.database or 0)
    url = base.set(database=str(first + worker_number)).render_as_string(hide_password=False)
    client = redis.Redis.from_url(url)
    client.flushdb()
    client.close()
    return url


@pytest.fixture(scope="session")
def worker_number() -> int:
    """0, 1, ...: which of several parallel test processes this is."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def mssql_server() -> str:
    """The URL of a SQL Server on which the tests may create databases."""
    url = os.environ.get("TEST_MSSQL_URL")
    if not url:
        pytest.skip("needs a SQL Server: set TEST_MSSQL_URL")
    return url


# --- databases --------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_mariadb_url(mariadb_server: str) -> Iterator[str]:
    """The URL of a new MariaDB database without tables."""
    url = create_mariadb_database(mariadb_server)
    yield url
    drop_mariadb_database(url)


@pytest.fixture
def mssql_url(mssql_server: str) -> Iterator[str]:
    """The URL of a new SQL Server database without tables."""
    url = create_mssql_database(mssql_server)
    yield url
    drop_mssql_database(url)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database that does not exist yet."""
    return f"sqlite+aiosqlite:///{tmp_path / f'empty-{next(_numbers)}.db'}"


@pytest.fixture(params=["sqlite", "mariadb"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without tables, on each engine."""
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@pytest.fixture(params=["sqlite", "mariadb", pytest.param("mssql", marks=pytest.mark.mssql)])
def source_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database without tables, on each engine that a source may be on."""
    fixture = "mssql_url" if request.param == "mssql" else f"empty_{request.param}_url"
    return str(request.getfixturevalue(fixture))


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate_database(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(_migrated_sqlite: Path, tmp_path: Path) -> str:
    """The URL of a migrated, empty SQLite database of this test alone."""
    path = tmp_path / f"hrsync-{next(_numbers)}.db"
    shutil.copyfile(_migrated_sqlite, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture
def mariadb_url(empty_mariadb_url: str) -> str:
    """The URL of a migrated, empty MariaDB database of this test alone (slower than `database`; for processes)."""
    migrate_database(empty_mariadb_url)
    return empty_mariadb_url


@pytest.fixture(params=["sqlite", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database of this test alone, on each engine."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(scope="session")
def _shared_mariadb_url(mariadb_server: str) -> Iterator[str]:
    url = create_mariadb_database(mariadb_server)
    migrate_database(url)
    yield url
    drop_mariadb_database(url)


@pytest.fixture
def _emptied_mariadb_url(_shared_mariadb_url: str) -> str:
    with connect_mariadb(_shared_mariadb_url) as connection, connection.cursor() as cursor:
        cursor.execute("SET innodb_lock_wait_timeout = 10, foreign_key_checks = 0")
        cursor.execute("BEGIN")
        for table in Base.metadata.sorted_tables:
            cursor.execute(f"DELETE FROM `{table.name}`")
        for table_name, rows in seed_rows().items():
            for row in rows:
                names = ", ".join(f"`{column}`" for column in row)
                marks = ", ".join(["%s"] * len(row))
                cursor.execute(f"INSERT INTO `{table_name}` ({names}) VALUES ({marks})", list(row.values()))
        cursor.execute("COMMIT")
    return _shared_mariadb_url


@pytest.fixture
async def sqlite_database(sqlite_url: str) -> AsyncIterator[Database]:
    """hrsync's own database on SQLite: migrated, empty but for the look-up rows."""
    database = make_database(sqlite_url)
    yield database
    await database.dispose()


@pytest.fixture
async def mariadb_database(_emptied_mariadb_url: str) -> AsyncIterator[Database]:
    """hrsync's own database on MariaDB: migrated, empty but for the look-up rows."""
    database = make_database(_emptied_mariadb_url)
    yield database
    await database.dispose()


@pytest.fixture(params=["sqlite", "mariadb"])
def _url_of_database(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue({"sqlite": "sqlite_url", "mariadb": "_emptied_mariadb_url"}[request.param]))


@pytest.fixture
async def database(_url_of_database: str) -> AsyncIterator[Database]:
    """hrsync's own database on each engine: migrated, empty but for the look-up rows."""
    database = make_database(_url_of_database)
    yield database
    await database.dispose()


@pytest.fixture
async def app_database(database: Database, settings_env: Callable[..., Settings]) -> AsyncIterator[Database]:
    """`maria()`, on the database of the fixture `database`."""
    settings_env(maria_url=database.url.render_as_string(hide_password=False))
    yield maria()
    await maria().dispose()


@pytest.fixture(scope="session")
def adventureworks_dir() -> Path:
    """The folder of the AdventureWorks tables."""
    if not ADVENTUREWORKS.is_dir():
        pytest.skip("needs the AdventureWorks data in ../shared/data/adventureworks")
    return ADVENTUREWORKS


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The root of the repository."""
    return PROJECT_ROOT


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def start_process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """`start_process("hrsync", "worker", env={...})` starts a real process that ends with the test at the latest.

    Its environment is that of the test (with `settings_env`'s values) and `env`; its folder is the test's `tmp_path`.
    The output of every process is shown when the test fails.
    """
    started: list[Process] = []
    request.node.stash[PROCESSES] = started

    def start(*command: str, env: dict[str, object] | None = None, cwd: Path | None = None) -> Process:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDEVMODE": "0"}
        environment |= {name.upper(): str(value) for name, value in (env or {}).items()}
        log = tmp_path / f"process-{len(started) + 1}.log"
        started.append(Process(command, env=environment, cwd=cwd or tmp_path, log=log))
        return started[-1]

    yield start
    for process in reversed(started):
        process.kill()


# --- reports ----------------------------------------------------------------------------------------------------------

ALLOWED_SKIPS = ("needs a SQL Server", "needs the AdventureWorks data")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the output of a failed test's processes, and fail a test that skips for want of anything else."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    _refuse_skip(report)
    if report.failed:
        for process in item.stash.get(PROCESSES, []):
            state = "running" if process.running else f"exit code {process.returncode}"
            report.sections.append((f"{process.name} (pid {process.pid}, {state})", process.output()[-20000:]))
    return report  # type: ignore[return-value]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Fail a module that skips itself."""
    report: pytest.CollectReport = yield  # type: ignore[assignment]
    _refuse_skip(report)
    return report  # type: ignore[return-value]


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if not any(allowed in reason for allowed in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"A test may skip only because it {' or '.join(ALLOWED_SKIPS)}; this one says: {reason}"
