"""hrsync's own database (MariaDB, or SQLite embedded)."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from backend.db.database import Database
from backend.settings import get_settings

# Claims, ends, progress and heartbeats of a worker: one connection for each, and as many for a moment's more.
_BOOKKEEPING_CONNECTIONS = 4


@functools.cache
def maria() -> Database:
    """The database of `MARIA_URL`."""
    return _open(get_settings().db_pool_size)


def open_bookkeeping() -> Database:
    """The same database by connections of its own.

    Tasks that hold all of the others must not keep their worker from saying that it lives.
    """
    return _open(_BOOKKEEPING_CONNECTIONS)


def _open(pool_size: int) -> Database:
    settings = get_settings()
    return Database(
        "hrsync database",
        "MARIA_URL",
        settings.maria_url.get_secret_value(),
        pool_size=pool_size,
        timeout_seconds=settings.db_timeout_seconds,
    )


def DatabaseSessionLocal(**options: Any) -> AsyncSession:  # noqa: N802 - a fixed name
    """A new session on the engine of the running loop: `async with DatabaseSessionLocal() as session`.

    The caller commits.
    """
    return maria().session_maker()(**options)


class _EngineOfThisLoop:
    """Stands for the engine of whichever loop asks, so that one module-level name serves every loop and process."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @property
    def _engine(self) -> AsyncEngine:
        return maria().engine

    async def dispose(self) -> None:
        """Close the connections of the running loop."""
        await maria().dispose()


database_engine = _EngineOfThisLoop()
