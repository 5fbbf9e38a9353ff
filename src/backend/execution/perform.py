"""Running a task body within its limits: the soft and the hard time limit, cancellation and hand-back.

The gevent pool has no time limits of its own and cannot stop a coroutine, so all of it happens here, on the loop.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable
from typing import Any

from backend.domain.executions import Cancelled, Fenced, Interrupted, Problem
from backend.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from backend.utils.redaction import redact

# How long a body that was told to stop may take to clean up before it is left behind.
STOP_GRACE_SECONDS = 1.0
# The hard limit has been announced by the soft one, or is meant to be hard.
HARD_GRACE_SECONDS = 0.1

Verdict = Cancelled | Interrupted | Fenced


class Stopped(Exception):  # noqa: N818 - control flow
    """The attempt was stopped from outside."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(type(verdict).__name__)
        self.verdict = verdict


async def perform(
    body: Awaitable[Any],
    stop: asyncio.Future[Verdict],
    *,
    soft_time_limit: float | None,
    time_limit: float | None,
    left_behind: set[asyncio.Future[Any]],
) -> Any:
    """The result of the body.

    A body that ends well although it was told to stop has ended well.

    Args:
        stop: resolved by whoever wants the attempt to end.
        left_behind: gets the task of a body that does not react, so that somebody holds it.

    Raises:
        Stopped: `stop` was resolved and the body has ended or was left behind.
        SoftTimeLimitExceeded, TimeLimitExceeded: the limit was reached.
        Exception: what the body raised.
    """
    task = asyncio.ensure_future(_contain(body))
    started_at = asyncio.get_running_loop().time()

    async def wait(until: float | None, *, watch_stop: bool = True) -> None:
        timeout = None if until is None else max(0.0, started_at + until - asyncio.get_running_loop().time())
        await asyncio.wait({task, stop} if watch_stop else {task}, timeout=timeout, return_when="FIRST_COMPLETED")

    try:
        first = min((limit for limit in (soft_time_limit, time_limit) if limit is not None), default=None)
        await wait(first)
        if task.done():
            return task.result()
        if stop.done():
            verdict = stop.result()
            await _end(task, type(verdict).__name__, left_behind)
            return _result_or(task, Stopped(verdict))
        if soft_time_limit is not None and first == soft_time_limit:
            limit: Exception = SoftTimeLimitExceeded(f"The run took longer than its soft time limit of {first:g} s.")
            task.cancel("soft time limit")
            # Between the soft and the hard limit the body may put things in order.
            await wait(time_limit if time_limit is not None else first + STOP_GRACE_SECONDS, watch_stop=False)
            if task.done():
                return _result_or(task, limit)
            if time_limit is None:
                await _end(task, "soft time limit", left_behind)
                return _result_or(task, limit)
        limit = TimeLimitExceeded(f"The run took longer than its hard time limit of {time_limit:g} s.")
        await _end(task, "hard time limit", left_behind, HARD_GRACE_SECONDS)
        return _result_or(task, limit)
    except asyncio.CancelledError:
        if not task.done():  # the wrapper itself is being cancelled: the loop is closing
            task.cancel()
            left_behind.add(task)
            raise
        raise RuntimeError("The task body raised CancelledError although nobody had cancelled it.") from None


async def _contain(body: Awaitable[Any]) -> Any:
    """The body, kept from ending the loop and with it every other run of the process (`sys.exit` in a library)."""
    try:
        return await body
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(
            f"The task tried to end the whole worker ({type(error).__name__}: {error}). Raise an error instead."
        ) from error


async def _end(
    task: asyncio.Future[Any],
    reason: str,
    left_behind: set[asyncio.Future[Any]],
    grace_seconds: float | None = None,
) -> None:
    task.cancel(reason)
    await asyncio.wait({task}, timeout=STOP_GRACE_SECONDS if grace_seconds is None else grace_seconds)
    if not task.done():
        left_behind.add(task)
        task.add_done_callback(left_behind.discard)
        task.cancel(reason)


def _result_or(task: asyncio.Future[Any], instead: Exception) -> Any:
    """The result of a body that ended well, else `instead`, caused by what the body raised."""
    if not task.done() or task.cancelled():
        raise instead
    error = task.exception()
    if error is not None:
        raise instead from error
    return task.result()


def problem_of(error: BaseException) -> Problem:
    """The error as the tables keep it: class, message and traceback, without secrets."""
    text = "".join(traceback.format_exception(error))
    return Problem(
        type=type(error).__name__,
        message=redact(str(error) or type(error).__name__)[:10_000],
        traceback=redact(text)[-60_000:],
    )
