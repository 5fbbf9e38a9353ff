"""Streams the batches of a reader whose calls block, from a native thread, one batch ahead of who takes them.

Each stream has a thread of its own, so a reader is touched by one thread only. A coroutine that is cancelled leaves
that thread in the driver: it closes the reader when the call has come back, and neither the loop, nor the other calls
of the process, nor its end waits for it.
"""

from __future__ import annotations

import _queue
import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from backend.utils.native import original

if TYPE_CHECKING:
    from backend.domain.column_rules import RawBatch

T = TypeVar("T")


class BlockingReader(Protocol):
    """Reads a result by calls that block."""

    def open(self) -> Sequence[str]:
        """Begin; the names of the columns."""
        ...

    def read(self) -> RawBatch | None:
        """The next rows; None: there are no more."""
        ...

    def close(self) -> None:
        """Let everything go; may come twice."""
        ...


class NativeStream:
    """The rows of a reader, as coroutines see them.

    Attributes:
        columns: the names of the columns.
    """

    def __init__(self, reader: BlockingReader, timeout_seconds: float | None) -> None:
        self.columns: Sequence[str] = ()
        self._reader = reader
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._calls: _queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = _queue.SimpleQueue()
        original("_thread", "start_new_thread")(self._work, ())

    async def batches(self) -> AsyncGenerator[RawBatch, None]:
        """The rows, in the reader's order; while one batch is worked on, the next is read."""
        ahead = self._submit(self._reader.read)
        try:
            while (batch := await self._wait(ahead)) is not None:
                ahead = self._submit(self._reader.read)
                yield batch
        finally:
            ahead.cancel()
            if not ahead.cancelled():
                ahead.exception()  # nobody asks for it any more

    def _submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((call, future))
        return future

    async def _wait(self, future: asyncio.Future[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await future
        except TimeoutError:
            raise TimeoutError(f"no answer within {self._timeout_seconds:g} s") from None

    def _work(self) -> None:
        while (submitted := self._calls.get()) is not None:
            call, future = submitted
            result = error = None
            try:
                result = call()
            except BaseException as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                break
        with contextlib.suppress(Exception):  # nobody can do anything about a close that failed
            self._reader.close()


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


@contextlib.asynccontextmanager
async def open_stream(reader: BlockingReader, *, timeout_seconds: float | None = None) -> AsyncIterator[NativeStream]:
    """Open the reader; it is closed when the block ends well, and else left to its thread.

    Args:
        reader: used by one thread alone.
        timeout_seconds: longest wait for one call, whatever the driver makes of its own time limits; None: no limit.

    Raises:
        TimeoutError: a call took longer.
        and whatever the reader raises.
    """
    stream = NativeStream(reader, timeout_seconds)
    try:
        stream.columns = await stream._wait(stream._submit(reader.open))
        yield stream
        await stream._wait(stream._submit(reader.close))
    finally:
        stream._calls.put(None)
