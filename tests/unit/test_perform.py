"""Limits, cancellation and hand-back of one body, on a plain event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from backend.domain.executions import Cancelled, Interrupted
from backend.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from backend.execution import perform as module
from backend.execution.perform import Stopped, Verdict, perform

FOR_EVER = 3600.0


def run(body: Awaitable[Any], *, verdict: Verdict | None = None, **limits: float) -> Any:
    """Perform the body on a fresh loop; the verdict, if any, comes as soon as the body has begun."""

    async def main() -> Any:
        stop: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        if verdict is not None:
            asyncio.get_running_loop().call_later(0.01, stop.set_result, verdict)
        return await perform(
            body,
            stop,
            soft_time_limit=limits.get("soft"),
            time_limit=limits.get("hard"),
            left_behind=set(),
        )

    return asyncio.run(main())


async def sleeps() -> None:
    """A body that waits for ever and can be cancelled."""
    await asyncio.sleep(FOR_EVER)


async def refuses(seconds: float = 0.5) -> None:
    """A body that ignores being cancelled for a while."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        try:
            await asyncio.sleep(end - asyncio.get_running_loop().time())
        except asyncio.CancelledError:
            continue


async def tidies_up() -> str:
    """A body that answers a cancellation with a result."""
    try:
        await asyncio.sleep(FOR_EVER)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
    return "tidy"


def test_result_is_handed_on() -> None:
    """A body that ends in time gives its result."""

    async def body() -> int:
        return 42

    assert 42 == run(body(), soft=5, hard=10)


def test_soft_limit_ends_a_waiting_body() -> None:
    """A body that waits is ended at the soft limit."""
    with pytest.raises(SoftTimeLimitExceeded, match=r"0\.05 s"):
        run(sleeps(), soft=0.05, hard=5)


def test_soft_limit_alone_is_enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a hard limit, a body that ignores the soft one is left behind after the grace time."""
    monkeypatch.setattr(module, "STOP_GRACE_SECONDS", 0.05)
    with pytest.raises(SoftTimeLimitExceeded):
        run(refuses(), soft=0.05)


def test_hard_limit_ends_a_body_that_refuses_the_soft_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that ignores the soft limit is left behind at the hard one."""
    monkeypatch.setattr(module, "STOP_GRACE_SECONDS", 0.05)
    with pytest.raises(TimeLimitExceeded):
        run(refuses(), soft=0.02, hard=0.05)


def test_body_that_tidies_up_after_the_soft_limit_has_succeeded() -> None:
    """A body that turns the soft limit into a result has ended well, as in Celery."""
    assert "tidy" == run(tidies_up(), soft=0.05, hard=5)


@pytest.mark.parametrize("verdict", [Cancelled(reason="by hand"), Interrupted()])
def test_verdict_from_outside_ends_the_body(verdict: Verdict) -> None:
    """A cancel and a shutdown end a waiting body at once and say which it was."""
    with pytest.raises(Stopped) as stopped:
        run(sleeps(), verdict=verdict)
    assert verdict == stopped.value.verdict


def test_error_of_the_body_is_raised() -> None:
    """What the body raises is raised to the caller."""

    async def body() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(body(), soft=5)


def test_body_that_cancels_itself_fails() -> None:
    """A CancelledError that nobody asked for is an error of the body, not a hand-back that repeats for ever."""

    async def body() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="nobody had cancelled"):
        run(body())
