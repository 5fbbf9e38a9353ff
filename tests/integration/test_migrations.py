"""The tables: made by the migrations, on both engines, whatever happens meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import inspect, select, text

from backend.db.database import Database
from backend.db.migrate import current_revision, head_revision, is_up_to_date, pending_differences, upgrade
from backend.db.models import Base, ExecutionStatus, Lease
from backend.errors import PermanentError
from tests.support.databases import make_database

UPGRADE = """
import asyncio, sys
from backend.db.database import Database
from backend.db.migrate import upgrade
async def main():
    database = Database("hrsync database", "MARIA_URL", sys.argv[1])
    try:
        print(await upgrade(database))
    finally:
        await database.dispose()
asyncio.run(main())
"""


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    database = make_database(empty_url)
    yield database
    await database.dispose()


async def test_upgrade_of_an_empty_database_makes_every_table(empty: Database) -> None:
    """An empty database gets all tables and the revision of this program."""
    revision = await upgrade(empty)

    async with empty.engine.connect() as connection:
        tables = await connection.run_sync(lambda c: set(inspect(c).get_table_names()))
    assert head_revision() == revision
    assert {*Base.metadata.tables, "alembic_version"} == tables


async def test_an_empty_database_is_not_up_to_date(empty: Database) -> None:
    """Before the upgrade there is no revision."""
    assert (None, False) == (await current_revision(empty), await is_up_to_date(empty))


async def test_the_status_lookup_has_fixed_ids(database: Database) -> None:
    """The ids of the statuses are a contract with the tables' readers."""
    async with database.session() as session:
        rows = (
            await session.execute(select(ExecutionStatus.id, ExecutionStatus.code).order_by(ExecutionStatus.id))
        ).all()

    codes = ["pending", "running", "success", "failed", "cancelled", "missed", "skipped"]
    assert list(enumerate(codes, start=1)) == [tuple(row) for row in rows]


async def test_the_lease_has_its_row(database: Database) -> None:
    """Schedulers compete for a row that is always there."""
    async with database.session() as session:
        leases = (await session.execute(select(Lease.name, Lease.holder, Lease.fencing_token))).all()

    assert [("scheduler", None, 0)] == [tuple(lease) for lease in leases]


async def test_upgrading_twice_changes_nothing(database: Database) -> None:
    """A second upgrade keeps revision and rows, also a lease that is held."""
    async with database.session() as session:
        await session.execute(text("UPDATE scheduler_lease SET holder = 'a', fencing_token = 7"))

    assert head_revision() == await upgrade(database)

    async with database.session() as session:
        lease = (await session.execute(select(Lease.holder, Lease.fencing_token))).one()
    assert ("a", 7) == tuple(lease)


async def test_a_missing_lookup_row_comes_back(database: Database) -> None:
    """An upgrade restores look-up rows that somebody has deleted."""
    async with database.session() as session:
        await session.execute(text("DELETE FROM scheduler_execution_status WHERE code = 'missed'"))

    await upgrade(database)

    async with database.session() as session:
        assert 6 == await session.scalar(select(ExecutionStatus.id).where(ExecutionStatus.code == "missed"))


async def test_models_and_migrations_agree(database: Database) -> None:
    """The migrations make exactly the tables that the models describe."""
    assert [] == await pending_differences(database)


async def test_a_difference_is_named(database_url: str) -> None:
    """A table that has lost a column is reported with the column's name."""
    database = make_database(database_url)
    try:
        async with database.session() as session:
            await session.execute(text("ALTER TABLE scheduler_worker DROP COLUMN loop_gap_ms"))
        (difference,) = await pending_differences(database)
    finally:
        await database.dispose()
    assert difference.startswith("add_column")
    assert "loop_gap_ms" in difference


async def test_an_upgrade_that_was_killed_halfway_is_finished_by_the_next(empty: Database) -> None:
    """Where a killed upgrade has left some tables and no revision, the next one adds the rest."""
    await upgrade(empty)
    async with empty.session() as session:
        await session.execute(text("DELETE FROM alembic_version"))
        await session.execute(text("DROP TABLE scheduler_execution_attempt"))
        await session.execute(text("DROP TABLE scheduler_worker"))

    await upgrade(empty)

    assert (True, []) == (await is_up_to_date(empty), await pending_differences(empty))


async def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    """A revision that this program does not know is not touched, and the message says what to do."""
    database = make_database(database_url)
    try:
        async with database.session() as session:
            await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(PermanentError, match=r"9999.*newer version"):
            await upgrade(database)
    finally:
        await database.dispose()


def test_two_processes_upgrade_at_the_same_time(empty_url: str) -> None:
    """Several processes that start on an empty database at once all end well."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, empty_url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]

    assert [head_revision()] * 3 == outputs


async def test_rows_survive_an_upgrade_on_sqlite(sqlite_database: Database) -> None:
    """After an upgrade, new connections check foreign keys again."""
    await upgrade(sqlite_database)

    async with sqlite_database.session() as session:
        assert 1 == await session.scalar(text("PRAGMA foreign_keys"))
