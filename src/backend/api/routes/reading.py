"""Sessions for reading: bounded in time, and what was read outlives them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.database import Database


@contextlib.asynccontextmanager
async def reading(database: Database, *, timeout_seconds: float) -> AsyncIterator[AsyncSession]:
    """A session to read with, that gives up after `timeout_seconds`.

    Raises:
        TransientError: the database is away or too slow.
    """
    async with database.reader(timeout_seconds=timeout_seconds) as session:
        yield session
        # A read-only session ends with a rollback, which would empty the rows that were read.
        session.expunge_all()
