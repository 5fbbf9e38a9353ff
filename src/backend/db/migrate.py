"""Brings hrsync's own database to the revision of this program, and says how far it is.

Going back is not offered: restore a backup. One process upgrades at a time, whoever else tries waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from backend.db import types
from backend.db.database import Database
from backend.db.models import Base
from backend.domain.executions import STATUS_NAMES
from backend.errors import PermanentError, TransientError

CONNECTION = "connection"
LEASE_NAME = "scheduler"
_LOCK_SECONDS = 120


def seed_rows() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The rows that every database has, by table: the status look-up and the scheduler's lease."""
    statuses = [
        {"id": number, "code": status.value, "name": name, "is_final": status.is_final}
        for number, (status, name) in enumerate(STATUS_NAMES.items(), start=1)
    ]
    return {
        "scheduler_execution_status": statuses,
        "scheduler_lease": [{"name": LEASE_NAME, "fencing_token": 0}],
    }


def head_revision() -> str:
    """The revision that this program was written for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package has no revision"
    return head


async def upgrade(database: Database) -> str:
    """Create or upgrade the tables and the look-up rows; the revision then reached.

    Safe to call at any time, from several processes at once, and again after it was killed.

    Raises:
        TransientError: the database is away, or another process has been upgrading it for minutes.
        PermanentError: the database is newer than this program, or refuses a statement.
    """
    async with _connected(database) as connection, _alone(database, connection):
        await connection.run_sync(_upgrade)
    return head_revision()


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at; None when it has no tables of hrsync."""
    async with _connected(database) as connection:
        return await connection.run_sync(_current_revision)


async def is_up_to_date(database: Database) -> bool:
    """Whether the database is at the revision of this program."""
    return await current_revision(database) == head_revision()


async def pending_differences(database: Database) -> list[str]:
    """What differs between the database's tables and the program's models, one line each; empty when they agree."""
    async with _connected(database) as connection:
        return await connection.run_sync(_differences)


def context_options() -> dict[str, Any]:
    """How alembic compares and applies, for `migrations/env.py` and for comparing."""
    return {
        "target_metadata": Base.metadata,
        "compare_type": True,
        "render_as_batch": True,
        "render_item": _render_type,
    }


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


@contextlib.asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[AsyncConnection]:
    try:
        async with database.engine.connect() as connection:
            yield connection
    except (DBAPIError, OSError) as error:
        raise database.explain(error) from error


@contextlib.asynccontextmanager
async def _alone(database: Database, connection: AsyncConnection) -> AsyncIterator[None]:
    """One transaction that no other upgrade shares: by SQLite's write lock, or by a named lock of the server."""
    if database.dialect == "sqlite":
        raw = await connection.get_raw_connection()
        # Rebuilding a table drops the old one, which must not cascade; the pragma counts only outside a transaction.
        await connection.run_sync(lambda _: raw.cursor().execute("PRAGMA foreign_keys = OFF"))
        try:
            async with connection.begin():
                yield
        finally:
            await connection.invalidate()
        return
    lock = sa.text("SELECT GET_LOCK(CONCAT('hrsync.migrate.', DATABASE()), :seconds)")
    if await connection.scalar(lock, {"seconds": _LOCK_SECONDS}) != 1:
        raise TransientError(
            f"{database.name}: another process has been upgrading {database.safe_url} for {_LOCK_SECONDS} s; try again "
            "when it has finished."
        )
    try:
        await connection.commit()
        async with connection.begin():
            yield
    finally:
        # Ending the connection also gives the lock back, whatever state the connection is in.
        await connection.invalidate()


def _upgrade(connection: sa.Connection) -> None:
    revision = _current_revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise PermanentError(
            f"The database is at revision {revision}, which this version of hrsync does not know: it was upgraded by a "
            "newer version. Install that version, or restore a backup."
        )
    config = _config()
    config.attributes[CONNECTION] = connection
    command.upgrade(config, "head")
    _seed(connection)


def _seed(connection: sa.Connection) -> None:
    for name, rows in seed_rows().items():
        table = Base.metadata.tables[name]
        (key,) = table.primary_key.columns
        present = set(connection.scalars(sa.select(key)))
        missing = [dict(row) for row in rows if row[key.name] not in present]
        if missing:
            connection.execute(sa.insert(table), missing)


def _current_revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _differences(connection: sa.Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts=context_options())
    return [_describe(difference) for difference in compare_metadata(context, Base.metadata)]


def _describe(difference: Any) -> str:
    if isinstance(difference, list):  # the changes of one column
        return "; ".join(_describe(part) for part in difference)
    kind, *subject = difference
    return f"{kind}: " + ", ".join(str(part) for part in subject if part is not None and part != {})


def _render_type(kind: str, item: Any, autogen_context: Any) -> str | bool:
    """Write our own types in a revision by their names in `backend.db.types`; alembic writes the rest."""
    if kind != "type":
        return False
    variants = getattr(item, "_variant_mapping", {})
    match variants.get("mysql"):
        case mysql.VARCHAR(collation="ascii_bin", length=length):
            name = f"ascii_key({length})"
        case mysql.VARCHAR(collation="utf8mb4_nopad_bin", length=length):
            name = f"exact_text({length})"
        case mysql.MEDIUMTEXT():
            name = "LongText"
        case _ if isinstance(item, types.UTCDateTime):
            name = "UTCDateTime()"
        case _ if isinstance(item, sa.BigInteger) and "sqlite" in variants:
            name = "BigKey"
        case _:
            return False
    autogen_context.imports.add("from backend.db import types")
    return f"types.{name}"
