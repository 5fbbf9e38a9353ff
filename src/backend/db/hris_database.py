"""The HRIS database, which hrsync only reads."""

from __future__ import annotations

import functools

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from backend.db.database import Database
from backend.settings import get_settings


@functools.cache
def hris() -> Database:
    """The database of `HRIS_URL`."""
    settings = get_settings()
    return Database(
        "HRIS",
        "HRIS_URL",
        settings.hris_url.get_secret_value(),
        pool_size=settings.db_pool_size,
        timeout_seconds=settings.db_timeout_seconds,
        statement_timeout_seconds=settings.source_timeout_seconds,
        read_only=True,
    )


def get_hris_session_maker() -> async_sessionmaker[AsyncSession]:
    """A session factory on the engine of the running loop."""
    return hris().session_maker()


async def dispose_hris_engine() -> None:
    """Close the connections of the running loop."""
    await hris().dispose()
