"""Giving up an ODBC connection whose call does not return.

A cancelled coroutine leaves its native thread inside the driver. Touching that connection from another thread crashes
the process (closing it while it executes does, in FreeTDS), and waiting for it would take as long as the query. So
every call on a connection holds the connection's lock, a discarded connection is asked to cancel its statement (the
one ODBC call that another thread may make), and it is closed in a thread of its own when the call has come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Any

from backend.utils.native import original


class _Guard:
    """One connection's lock, and the cursor whose call is in the driver."""

    def __init__(self) -> None:
        self.lock = original("_thread", "allocate_lock")()
        self.cursor: Any = None

    def call(self, function: functools.partial[Any]) -> Any:
        with self.lock:
            owner = getattr(function.func, "__self__", None)
            self.cursor = owner if hasattr(owner, "cancel") else None
            try:
                return function()
            except Exception:
                # With its connection a cursor is closed too; SQLAlchemy would log that as an error.
                if self.cursor is None or function.func.__name__ != "close":
                    raise
            finally:
                self.cursor = None

    def close(self, connection: Any) -> None:
        cursor = self.cursor
        if cursor is not None:
            with contextlib.suppress(Exception):  # it may have come back at this very moment
                cursor.cancel()
        with self.lock, contextlib.suppress(Exception):  # nobody can do anything about a close that failed
            connection.close()


def guard_odbc(connection: Any) -> None:
    """Make the calls of an aioodbc connection give way to each other, and known to `discard_odbc`."""
    guard = _Guard()

    def execute(function: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        call = functools.partial(function, *args, **kwargs)
        return connection.loop.run_in_executor(None, guard.call, call)  # type: ignore[no-any-return]

    connection._hrsync_guard = guard
    connection._execute = execute


def discard_odbc(connection: Any) -> None:
    """Forget an aioodbc connection without waiting for the call that may be in its driver."""
    raw, connection._conn = connection._conn, None
    if raw is not None:
        asyncio.get_running_loop().run_in_executor(None, connection._hrsync_guard.close, raw)
