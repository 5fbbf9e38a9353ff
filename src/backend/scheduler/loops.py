"""A loop that nothing ends but its stop: errors are logged once per outage, and it goes on with growing pauses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from backend.errors import HrsyncError
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.25
# Everything must be back to normal within seconds of the return of a database or broker.
_LONGEST_PAUSE_SECONDS = 3.0


class SupervisedLoop:
    """Calls `step` again and again.

    Args:
        step: one pass; may raise.
        every_seconds: the longest time between two passes that go well.
        on_error: told of every error.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[None]],
        *,
        every_seconds: float,
        on_error: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        self.name = name
        self.error: str | None = None
        self._step = step
        self._every_seconds = every_seconds
        self._on_error = on_error
        self._woken = asyncio.Event()
        self._stop = asyncio.Event()
        self._failures = 0
        self._completed_at = time.monotonic()

    @property
    def age_seconds(self) -> float:
        """How long ago the last pass ended, well or not."""
        return time.monotonic() - self._completed_at

    def beat(self) -> None:
        """Say that a long pass is getting on."""
        self._completed_at = time.monotonic()

    def wake(self) -> None:
        """Begin the next pass now, or right after the present one. A pause after an error is kept."""
        self._woken.set()

    def stop(self) -> None:
        """End after the present pass."""
        self._stop.set()
        self._woken.set()

    async def run(self) -> None:
        """Loop until `stop()`."""
        while not self._stop.is_set():
            self._woken.clear()
            pause = await self._pass()
            self.beat()
            await _wait(self._stop if self._failures else self._woken, pause)

    async def _pass(self) -> float:
        try:
            await self._step()
        except Exception as error:
            self._failures += 1
            self._report(error)
            self._on_error(error)
            return min(_FIRST_PAUSE_SECONDS * 2.0 ** (self._failures - 1), _LONGEST_PAUSE_SECONDS)
        if self._failures:
            _logger.info("loop_recovered", loop=self.name, failures=self._failures)
        self._failures, self.error = 0, None
        return self._every_seconds

    def _report(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if isinstance(error, HrsyncError):
            if self._failures == 1:
                _logger.warning("loop_failed", loop=self.name, error=text)
        elif text != self.error:
            _logger.exception("loop_failed", loop=self.name, error=text)
        self.error = text


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
