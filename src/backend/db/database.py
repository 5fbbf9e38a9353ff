"""A database as the rest of the program sees it: sessions that commit, sessions that only read, errors of ours.

An engine belongs to one event loop of one process: it is made at the first use there and lives as long as that loop.
Nothing here knows a table.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.util.concurrency import await_, in_greenlet

from backend.db.odbc import discard_odbc, guard_odbc
from backend.errors import ConfigurationError, PermanentError, TransientError

DRIVERS = ("mysql+aiomysql", "mssql+aioodbc", "sqlite+aiosqlite")

# MariaDB, MySQL: the statement ran into its time limit.
_MYSQL_TOO_SLOW = {1969, 3024}
# MariaDB/MySQL: cannot connect, gone, shutdown, too many connections, lock wait, deadlock, read-only, killed.
_MYSQL_TRANSIENT = _MYSQL_TOO_SLOW | {
    1040, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1317, 1836, 1927, 2002, 2003, 2006, 2013, 2055,
}  # fmt: skip
# SQL Server: database in recovery, deadlock victim, lock time-out, snapshot conflict, replica not ready, shutdown,
# upgrade in progress, Azure throttling and failover.
_MSSQL_TRANSIENT = {
    921, 922, 1205, 1222, 3960, 4221, 6005, 17142, 18401, 10928, 10929, 40197, 40501, 40613, 49918, 49919, 49920,
}  # fmt: skip
# MariaDB/MySQL, and FreeTDS's own numbers.
_CONNECTION_LOST = {2006, 2013, 2055, 20003, 20004, 20006, 20017, 20047}
_LOGIN_REFUSED = {1045, 18452, 18456, 18470, 18486, 18487, 18488}
_DATABASE_REFUSED = {911, 916, 1044, 1049, 4060, 4064}
_READING_DENIED = {229, 230, 1142, 1143}
_ODBC_STATES_OF_LOST_CALLS = ("40001", "HYT00", "HYT01")
# pyodbc lists its records as "[state] text (number) (function); [state] text (number)".
_ODBC_NUMBER = re.compile(r"\((-?\d+)\)(?= \(SQL|; \[|$)")
_ODBC_STATE = re.compile(r"[0-9A-Z]{5}")


class Database:
    """One database by URL.

    Args:
        name: what people call it ("hrsync database", "HRIS"); it stands in every error.
        setting: the environment variable that holds the URL, named in errors.
        url: SQLAlchemy URL with an async driver.
        pool_size: connections kept per process.
        timeout_seconds: longest wait for a connection.
        statement_timeout_seconds: longest single statement at a source; None: no limit.
        read_only: never write (SQLite is opened read-only, sessions roll back).
    """

    def __init__(
        self,
        name: str,
        setting: str,
        url: str,
        *,
        pool_size: int = 10,
        timeout_seconds: float = 10,
        statement_timeout_seconds: float | None = None,
        read_only: bool = False,
    ) -> None:
        self.name = name
        self.setting = setting
        self.url = parse_url(name, setting, url)
        self.read_only = read_only
        self.timeout_seconds = timeout_seconds
        self.statement_timeout_seconds = statement_timeout_seconds
        self._pool_size = pool_size
        self._engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = weakref.WeakKeyDictionary()

    @property
    def dialect(self) -> str:
        """`mysql` (MariaDB too), `mssql` or `sqlite`."""
        return self.url.get_backend_name()

    @property
    def safe_url(self) -> str:
        """The URL without its password, for messages."""
        secrets = {key: "hidden" for key in self.url.query if key.lower() in ("odbc_connect", "password", "pwd")}
        return self.url.update_query_dict(secrets).render_as_string(hide_password=True)

    @property
    def odbc_connection_string(self) -> str:
        """What the ODBC driver manager is told to connect to a database of the dialect `mssql`, with the password."""
        url = self.url.set(drivername="mssql+pyodbc")
        (text,), _ = url.get_dialect()().create_connect_args(url)
        return str(text)

    @property
    def engine(self) -> AsyncEngine:
        """The engine of the running event loop, made at the first use.

        Raises:
            ConfigurationError: the driver is not installed.
        """
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None:
            engine = self._engines[loop] = self._create_engine()
        return engine

    def session_maker(self) -> async_sessionmaker[AsyncSession]:
        """A session factory on the engine of the running loop; the caller commits. Prefer `session()`."""
        return async_sessionmaker(self.engine, expire_on_commit=False, autoflush=False)

    @contextlib.asynccontextmanager
    async def session(self, *, timeout_seconds: float | None = None) -> AsyncIterator[AsyncSession]:
        """A session that commits when the block ends well and rolls back when it does not.

        Raises:
            TransientError: the database is away, busy or too slow; the same work may be tried again.
            PermanentError: the statement is wrong or refused.
        """
        async with self.translated(), _deadline(timeout_seconds):
            session = self.session_maker()()
            try:
                yield session
                if self.read_only:
                    await session.rollback()
                else:
                    await session.commit()
            except asyncio.CancelledError:
                # A connection whose call was cut off is in an unknown state: discard it, never reuse it.
                await _discard(session)
                raise
            except BaseException:
                with contextlib.suppress(DBAPIError):
                    await session.rollback()
                raise
            finally:
                await _close(session)

    @contextlib.asynccontextmanager
    async def reader(self, *, timeout_seconds: float | None = None) -> AsyncIterator[AsyncSession]:
        """A session that only reads: it takes no write lock (which on SQLite would wait for every writer).

        Raises:
            TransientError, PermanentError: as in `session`.
        """
        async with self.translated(), _deadline(timeout_seconds):
            session = AsyncSession(self.engine.execution_options(read_only=True), expire_on_commit=False)
            try:
                yield session
            except asyncio.CancelledError:
                await _discard(session)
                raise
            finally:
                await _close(session)

    async def dispose(self) -> None:
        """Close the connections of the running loop's engine."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    def explain(self, error: BaseException) -> Exception:
        """The driver's error as one of ours, with the name of the system and how to mend it."""
        return explain_error(self, error)

    @contextlib.asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Make a driver's error in the block one of ours, as sessions do."""
        try:
            yield
        except (DBAPIError, PoolTimeoutError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise
            raise self.explain(error) from error

    def _create_engine(self) -> AsyncEngine:
        options: dict[str, Any] = {}
        connect_args: dict[str, Any] = {}
        if self.dialect == "sqlite":
            if self.url.database and self.url.database != ":memory:" and not self.url.query.get("uri"):
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            connect_args["timeout"] = 30
        else:
            options |= {
                "pool_size": self._pool_size,
                "max_overflow": self._pool_size,
                "pool_timeout": self.timeout_seconds,
                "pool_pre_ping": True,
                "pool_recycle": 1800,
            }
        if self.dialect == "mysql":
            connect_args |= {
                "charset": "utf8mb4",
                "connect_timeout": self.timeout_seconds,
                "init_command": "SET time_zone = '+00:00', innodb_lock_wait_timeout = 10",
            }
            options["isolation_level"] = "READ COMMITTED"
            # Makes LOAD DATA LOCAL possible; see `_listen_mysql` and `db.bulk_load`.
            connect_args["local_infile"] = not self.read_only
        if self.dialect == "mssql":
            connect_args["timeout"] = max(1, round(self.timeout_seconds))  # 0 would be no limit
            if _is_freetds(self.url):
                options["use_setinputsizes"] = False
        try:
            engine = create_async_engine(
                self.url,
                connect_args=connect_args,
                # Parameters are personal data; they stay out of the texts of errors.
                hide_parameters=True,
                **options,
            )
        except (ImportError, ArgumentError) as error:
            raise ConfigurationError(
                f"{self.setting}: the driver of {self.safe_url} cannot be loaded: {error}."
            ) from None
        _LISTENERS[self.dialect](self, engine)
        return engine


def parse_url(name: str, setting: str, text: str) -> URL:
    """The URL, checked; for FreeTDS with the port where that driver looks for it.

    Raises:
        ConfigurationError: it is no URL, or its driver is not one of ours.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigurationError(
            f"{setting} (the {name}) is not a database URL. Write it as DRIVER://USER:PASSWORD@HOST/DATABASE with one "
            f"of the drivers {', '.join(DRIVERS)}; special characters in the password are written as %XX."
        ) from None
    if url.drivername == "mariadb+aiomysql":
        url = url.set(drivername="mysql+aiomysql")
    if url.drivername not in DRIVERS:
        raise ConfigurationError(
            f"{setting} (the {name}) has the driver {url.drivername!r}; hrsync speaks {', '.join(DRIVERS)}."
        )
    if _is_freetds(url) and url.port and not any(key.lower() == "port" for key in url.query):
        # SQLAlchemy writes Server=HOST,PORT, which FreeTDS takes for the name of a host.
        url = url.update_query_dict({"port": str(url.port)})
    return url


def _is_freetds(url: URL) -> bool:
    driver = f"{url.query.get('driver', '')}{url.query.get('odbc_connect', '')}".lower()
    return url.get_backend_name() == "mssql" and ("freetds" in driver or "tdsodbc" in driver)


# --- what each kind of database needs on every new connection -------------------------------------------------------


def _listen_sqlite(database: Database, engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        # Transactions are ours to begin (below), so that a writer takes its lock at once and never upgrades.
        connection.isolation_level = None
        cursor = connection.cursor()
        if database.read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Any) -> None:
        is_reader = database.read_only or connection.get_execution_options().get("read_only")
        connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")

    def terminate(connection: Any) -> None:
        if not in_greenlet():
            connection._terminate_force_close()
            return
        # The call that was given up may go on for as long as SQLite waits for a lock: it is closed later then.
        closing = asyncio.ensure_future(connection._terminate_graceful_close())
        await_(asyncio.wait({closing}, timeout=0.1))

    engine.sync_engine.dialect.do_terminate = terminate  # type: ignore[method-assign,assignment]


def _let_aiomysql_write_bytes() -> None:
    # aiomysql 0.3 escapes bytes by a function of PyMySQL that is a mere placeholder since PyMySQL 1.2.
    from aiomysql import connection
    from pymysql.converters import escape_bytes

    if not callable(connection.escape_bytes_prefixed):
        connection.escape_bytes_prefixed = escape_bytes


def _listen_mysql(database: Database, engine: AsyncEngine) -> None:
    _let_aiomysql_write_bytes()
    if not database.read_only:

        @event.listens_for(engine.sync_engine, "connect")
        def close_files(connection: Any, _record: Any) -> None:
            # A server may ask for any file at any time: it gets none but inside `BulkLoader`.
            connection._connection._local_infile = False

        return

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SET SESSION TRANSACTION READ ONLY")
        limit = database.statement_timeout_seconds
        if limit is not None and "MariaDB" in str(connection._connection.get_server_info()):
            cursor.execute(f"SET SESSION max_statement_time = {float(limit)}")
        cursor.close()


def _listen_mssql(database: Database, engine: AsyncEngine) -> None:
    # First of all listeners: SQLAlchemy's own asks the server for its version, and may be cancelled while it waits.
    @event.listens_for(engine.sync_engine, "connect", insert=True)
    def on_connect(connection: Any, _record: Any) -> None:
        if database.statement_timeout_seconds is not None:
            with contextlib.suppress(Exception):  # a driver without the attribute: the task's own time limit remains
                connection._connection._conn.timeout = max(1, round(database.statement_timeout_seconds))
        guard_odbc(connection._connection)

    def terminate(connection: Any) -> None:
        discard_odbc(connection._connection)

    engine.sync_engine.dialect.has_terminate = True
    engine.sync_engine.dialect.do_terminate = terminate  # type: ignore[method-assign,assignment]


_LISTENERS: dict[str, Callable[[Database, AsyncEngine], None]] = {
    "sqlite": _listen_sqlite,
    "mysql": _listen_mysql,
    "mssql": _listen_mssql,
}


# --- sessions -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _deadline(seconds: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"no answer within {seconds} s") from None


async def _discard(session: AsyncSession) -> None:
    with contextlib.suppress(Exception):  # the connection is being thrown away, whatever it says
        await asyncio.shield(session.invalidate())


async def _close(session: AsyncSession) -> None:
    with contextlib.suppress(DBAPIError, OSError):  # the outcome of the block is already known
        await asyncio.shield(session.close())


# --- errors ---------------------------------------------------------------------------------------------------------


class _Cause(NamedTuple):
    """A driver's error, taken apart.

    Attributes:
        text: the driver's own words, on one line.
        state: the SQLSTATE of an ODBC driver; empty for the others.
        numbers: the server's (or the driver's) error numbers.
    """

    text: str
    state: str
    numbers: frozenset[int]

    @classmethod
    def of(cls, error: BaseException) -> _Cause:
        origin = getattr(error, "orig", None) or error
        args = origin.args
        if args and isinstance(args[0], int):
            return cls(_one_line(str(origin)), "", frozenset({args[0]}))
        state = next((item for item in args if isinstance(item, str) and _ODBC_STATE.fullmatch(item)), "")
        if not state:
            return cls(_one_line(str(origin)), "", frozenset())
        text = _one_line(" ".join(str(item) for item in args if item != state))
        return cls(text, state, frozenset(map(int, _ODBC_NUMBER.findall(text))))

    @property
    def is_driver_missing(self) -> bool:
        return self.state.startswith("IM") or "Can't open lib" in self.text

    @property
    def is_certificate_refused(self) -> bool:
        return "certificate verify failed" in self.text

    @property
    def is_tls_too_old(self) -> bool:
        return any(word in self.text for word in ("unsupported protocol", "dh key too small", "no protocols available"))

    @property
    def is_database_refused(self) -> bool:
        return bool(self.numbers & _DATABASE_REFUSED)

    @property
    def is_login_refused(self) -> bool:
        return self.state == "28000" or bool(self.numbers & _LOGIN_REFUSED)

    @property
    def is_unreachable(self) -> bool:
        return bool(self.numbers & {2002, 2003}) or "(SQLDriverConnect)" in self.text

    @property
    def is_connection_lost(self) -> bool:
        return self.state.startswith("08") or bool(self.numbers & _CONNECTION_LOST)

    @property
    def needs_a_person(self) -> bool:
        """Whether only a change of the settings, of the server or of the installation helps."""
        return (
            self.is_driver_missing
            or self.is_certificate_refused
            or self.is_tls_too_old
            or self.is_database_refused
            or self.is_login_refused
        )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def is_transient(error: BaseException) -> bool:  # noqa: PLR0911 - one line per kind of cause
    """Whether the same statement may succeed later: connection lost, server away, deadlock, lock wait, time-out."""
    if isinstance(error, TimeoutError | PoolTimeoutError | ConnectionError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    cause = _Cause.of(error)
    # A refused login or a missing driver also costs the connection, but only a person can mend it.
    if cause.needs_a_person:
        return False
    if error.connection_invalidated or cause.is_unreachable or cause.is_connection_lost:
        return True
    if cause.state:
        return (
            cause.state in _ODBC_STATES_OF_LOST_CALLS
            or bool(cause.numbers & _MSSQL_TRANSIENT)
            or "database is locked" in cause.text
        )
    if cause.numbers:
        return bool(cause.numbers & _MYSQL_TRANSIENT)
    return isinstance(error, OperationalError | InterfaceError) and "locked" in cause.text


def explain_error(database: Database, error: BaseException) -> Exception:
    """The driver's error as one of ours; the message names the system, what happened and what to do."""
    cause = _Cause.of(error)
    advice = _advice(database, cause)
    message = f"{database.name} ({database.setting} = {database.safe_url}): {cause.text}"
    if advice:
        message += f" -- {advice}"
    if is_transient(error):
        return TransientError(message)
    if cause.needs_a_person:
        return ConfigurationError(message)
    return PermanentError(message)


def _advice(database: Database, cause: _Cause) -> str | None:  # noqa: PLR0911, PLR0912 - one branch per known cause
    low = cause.text.lower()
    setting = database.setting
    if cause.is_certificate_refused:
        return (
            "the server's certificate is not trusted here: install its CA certificate on this host, or, where the "
            f"network is trusted, add TrustServerCertificate=yes to {setting}"
        )
    if cause.is_tls_too_old:
        return "the server speaks only old versions of TLS, which this host refuses: enable TLS 1.2 at the server"
    if cause.is_driver_missing:
        return (
            f"the ODBC driver that {setting} names is not installed: apt install unixodbc tdsodbc (driver=FreeTDS), or "
            "install Microsoft's msodbcsql18 (driver=ODBC Driver 18 for SQL Server)"
        )
    # Before the login: SQL Server says "The login failed" here too.
    if cause.is_database_refused:
        return f"there is no such database, or this login may not use it: check the end of {setting}"
    if cause.is_login_refused:
        return f"the server refused the login: check user and password in {setting}"
    if cause.is_unreachable:
        return "the server cannot be reached: check host and port, the firewall, and that the server runs"
    if cause.is_connection_lost:
        return "the connection was lost: where this happens often, look at the network and at the server's log"
    if cause.state in ("HYT00", "HYT01") or (not cause.state and cause.numbers & _MYSQL_TOO_SLOW):
        return "the statement, or the lock that it waits for, took longer than it may (SOURCE_TIMEOUT_SECONDS)"
    if cause.state in ("HY106", "HY091"):
        return (
            "a column has a type that ODBC does not hand over (sql_variant, hierarchyid, geography): CAST it to "
            "nvarchar in the query, or leave it out"
        )
    if cause.numbers & _READING_DENIED:
        return f"the login of {setting} may not read this: grant it SELECT"
    if "database or disk is full" in low:
        return "the disk is full: make room, and the next run goes on where this one stopped"
    if "unable to open database file" in low:
        return f"the file or its folder is missing or not permitted (process user id {os.getuid()})"
    if ("no such table" in low or 1146 in cause.numbers) and setting == "MARIA_URL":
        return "the table is missing; run: hrsync db upgrade"
    return None
