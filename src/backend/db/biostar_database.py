"""The BioStar database, which hrsync only reads."""

from __future__ import annotations

import functools

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from backend.db.database import Database
from backend.settings import get_settings


@functools.cache
def biostar() -> Database:
    """The database of `BIOSTAR_URL`."""
    settings = get_settings()
    return Database(
        "BioStar",
        "BIOSTAR_URL",
        settings.biostar_url.get_secret_value(),
        pool_size=settings.db_pool_size,
        timeout_seconds=settings.db_timeout_seconds,
        statement_timeout_seconds=settings.source_timeout_seconds,
        read_only=True,
    )


def get_biostar_session_maker() -> async_sessionmaker[AsyncSession]:
    """A session factory on the engine of the running loop."""
    return biostar().session_maker()


async def dispose_biostar_engine() -> None:
    """Close the connections of the running loop."""
    await biostar().dispose()
