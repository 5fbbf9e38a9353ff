"""Databases for tests: made, migrated and dropped on a server that the tests may use."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import os
from typing import Any

import pymysql
import pyodbc
from sqlalchemy.engine import make_url

from backend.db.database import Database, parse_url
from backend.db.migrate import upgrade

_numbers = itertools.count(1)


def make_database(url: str) -> Database:
    """hrsync's own database at the URL; whoever makes it disposes it."""
    return Database("hrsync database", "MARIA_URL", url)


def migrate_database(url: str) -> None:
    """Make the tables and the look-up rows; to be called from anywhere."""

    async def run() -> None:
        database = make_database(url)
        try:
            await upgrade(database)
        finally:
            await database.dispose()

    # In a thread of its own: a fixture may be made while the test's loop is running in this one.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(run())).result()


def connect_mariadb(url: str, **options: Any) -> pymysql.Connection[Any]:
    """A blocking connection to the URL's server and database that commits every statement."""
    parts = make_url(url)
    return pymysql.connect(
        host=parts.host or "127.0.0.1",
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        database=parts.database,
        autocommit=True,
        **options,
    )


def create_mariadb_database(server: str) -> str:
    """The URL of a new database without tables on the server."""
    name = f"hrsync_test_{os.getpid()}_{next(_numbers)}"
    with connect_mariadb(server) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def drop_mariadb_database(url: str) -> None:
    """Drop the URL's database."""
    with connect_mariadb(url) as connection, connection.cursor() as cursor:
        # A process that the test left behind must not block the drop for ever.
        cursor.execute("SET lock_wait_timeout = 10")
        cursor.execute(f"DROP DATABASE IF EXISTS `{make_url(url).database}`")


def connect_mssql(url: str) -> contextlib.AbstractContextManager[pyodbc.Connection]:
    """A blocking connection to the URL's server and database that commits every statement."""
    parts = parse_url("SQL Server", "TEST_MSSQL_URL", url).set(drivername="mssql+pyodbc")
    arguments, options = parts.get_dialect()().create_connect_args(parts)
    return contextlib.closing(pyodbc.connect(*arguments, autocommit=True, **options))


def create_mssql_database(server: str) -> str:
    """The URL of a new database without tables on the server that the URL names."""
    name = f"hrsync_test_{os.getpid()}_{next(_numbers)}"
    with connect_mssql(server) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def drop_mssql_database(url: str) -> None:
    """Drop the URL's database, and end the connections to it."""
    parts = make_url(url)
    with connect_mssql(parts.set(database="master").render_as_string(hide_password=False)) as connection:
        with contextlib.suppress(pyodbc.Error):  # not every server that speaks T-SQL knows this; then the drop decides
            connection.execute(f"ALTER DATABASE {parts.database} SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
        connection.execute(f"DROP DATABASE {parts.database}")
