"""Group commit: calls that arrive while a transaction is under way share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from backend.errors import TransientError

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Hands items that arrive at about the same time to one call of `work`.

    A single item waits for nobody; under load the cost of a transaction is shared. When `work` fails for a reason
    that lies in an item, each item is tried by itself, so that one bad item fails alone.

    Args:
        work: gets a sequence of items, returns one result for each.
        limit: most items of one call.
        linger_seconds: how long to gather items while several come at a time. Few large transactions cost a gevent
            worker far less than many small ones: every wait for the database hands the interpreter lock to and fro
            between the loop's thread and the hub's.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        limit: int = 100,
        linger_seconds: float = 0.02,
    ) -> None:
        self._work = work
        self._limit = limit
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._linger_seconds = linger_seconds
        self._is_busy = False
        self._drain: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """The result of `work` for this item."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._drain is None:
            self._drain = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            # One turn of the loop, so that calls which are already on their way get into the first batch.
            await asyncio.sleep(0)
            while self._waiting:
                if self._is_busy:
                    await asyncio.sleep(self._linger_seconds)
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                self._is_busy = len(batch) > 1
                await self._do(batch)
        finally:
            self._drain = None

    async def _do(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
        except TransientError as error:
            _fail(batch, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for pair in batch:
                await self._do([pair])
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(batch: list[tuple[T, asyncio.Future[R]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
