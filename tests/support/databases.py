"""Databases for tests: made, migrated and dropped on a server that the tests may use."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
from typing import Any

import pymysql
from sqlalchemy.engine import make_url

from backend.db.database import Database
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
