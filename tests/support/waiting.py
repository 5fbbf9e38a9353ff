"""Waiting for something to become true, with a deadline instead of a sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(predicate: Callable[[], T], timeout: float = 10, *, interval: float = 0.02, message: str = "") -> T:
    """The predicate's first true value.

    Args:
        predicate: called again and again; an AssertionError in it counts as "not yet".
        timeout: seconds until it is given up.
        interval: seconds between two calls.
        message: what is waited for.

    Raises:
        AssertionError: it did not become true in time; tells the last value or the last failed assertion.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            value = predicate()
        except AssertionError as error:
            last = error
        else:
            if value:
                return value
            last = value
        if time.monotonic() > deadline:
            raise AssertionError(_complaint(message, timeout, last))
        time.sleep(interval)


async def eventually_async(
    predicate: Callable[[], Awaitable[T]], timeout: float = 10, *, interval: float = 0.02, message: str = ""
) -> T:
    """Like `eventually`, for a predicate that is a coroutine function; the event loop goes on meanwhile."""
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            value = await predicate()
        except AssertionError as error:
            last = error
        else:
            if value:
                return value
            last = value
        if time.monotonic() > deadline:
            raise AssertionError(_complaint(message, timeout, last))
        await asyncio.sleep(interval)


def _complaint(message: str, timeout: float, last: object) -> str:
    what = message or "the condition"
    return f"{what} did not come true within {timeout:g} s; last seen: {last!r}"
