"""Runs the asynchronous part of a command on a loop of its own, and leaves nothing open behind it."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """The result of the coroutine; the databases' connections are closed afterwards.

    The program's log stays silent but for errors, as the command itself tells what happened; HRSYNC_DEBUG shows it.
    """
    from backend.db.biostar_database import biostar
    from backend.db.hris_database import dispose_hris_engine
    from backend.db.maria_database import maria
    from backend.utils.structured_logger import configure_logging

    configure_logging("console", "DEBUG" if os.environ.get("HRSYNC_DEBUG") else "CRITICAL")

    async def run() -> T:
        try:
            return await work
        finally:
            await dispose_hris_engine()
            for database in (maria, biostar):
                if database.cache_info().currsize:
                    await database().dispose()

    return asyncio.run(run())


def actor() -> str:
    """Who gives the command, for the audit: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
