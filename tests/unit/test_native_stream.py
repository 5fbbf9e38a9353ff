"""A stream of blocking calls: one thread per reader, one batch ahead, and nobody waits for a call that was given up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

import pytest

from backend.adapters.native_stream import open_stream
from backend.domain.column_rules import RawBatch
from tests.support.waiting import eventually_async

DEADLINE = 10


class Reader:
    """Gives the batches, and keeps which thread called what; `block_in` is a call that waits for `go_on`."""

    def __init__(self, batches: int = 3, block_in: str = "", error_in: str = "") -> None:
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self._left = batches
        self._block_in = block_in
        self._error_in = error_in

    def _note(self, call: str) -> None:
        self.threads.add(threading.get_ident())
        if call == self._block_in:
            self.entered.set()
            assert self.go_on.wait(DEADLINE)
        self.calls.append(call)
        if call == self._error_in:
            raise ConnectionError(call)

    def open(self) -> Sequence[str]:
        self._note("open")
        return ["no"]

    def read(self) -> RawBatch | None:
        self._note("read")
        self._left -= 1
        return RawBatch(columns=[[self._left]], row_count=1) if self._left >= 0 else None

    def close(self) -> None:
        self._note("close")


async def until(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await eventually_async(holds, DEADLINE)


async def read_all(reader: Reader) -> list[object]:
    async with open_stream(reader) as stream:
        assert ["no"] == stream.columns
        return [batch.columns[0][0] async for batch in stream.batches()]


async def test_batches_come_in_order_from_one_thread() -> None:
    """Everything is called on one thread that is not the loop's, and the reader is closed at the end."""
    reader = Reader()

    assert [2, 1, 0] == await read_all(reader)
    assert ["open", "read", "read", "read", "read", "close"] == reader.calls[:6]
    assert 1 == len(reader.threads - {threading.get_ident()}) == len(reader.threads)


async def test_next_batch_is_read_while_one_is_worked_on() -> None:
    """The second read comes back without anybody having asked for its batch."""
    reader = Reader()
    async with open_stream(reader) as stream, contextlib.aclosing(stream.batches()) as batches:
        await anext(batches)
        await until(lambda: reader.calls.count("read") == 2)


@pytest.mark.parametrize("call", ["open", "read"])
async def test_cancelled_coroutine_leaves_its_call_behind(call: str) -> None:
    """A cancelled coroutine ends while the call is still in the driver, which closes the reader when it comes back."""
    reader = Reader(block_in=call)
    task = asyncio.create_task(read_all(reader))
    await until(reader.entered.is_set)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert "close" not in reader.calls
    reader.go_on.set()
    await until(lambda: "close" in reader.calls)
    assert 1 == len(reader.threads)


@pytest.mark.parametrize("call", ["open", "read"])
async def test_call_that_takes_too_long_is_given_up(call: str) -> None:
    """After the time limit the call is left behind, as after a cancellation."""
    reader = Reader(block_in=call)

    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        async with open_stream(reader, timeout_seconds=0.1) as stream:
            await anext(stream.batches())

    assert "close" not in reader.calls
    reader.go_on.set()
    await until(lambda: "close" in reader.calls)


@pytest.mark.parametrize("call", ["open", "read"])
async def test_error_of_the_reader_reaches_who_asks(call: str) -> None:
    """An error in the thread is raised where the batch is awaited, and the reader is closed."""
    reader = Reader(error_in=call)

    with pytest.raises(ConnectionError, match=call):
        await read_all(reader)

    await until(lambda: "close" in reader.calls)


async def test_who_stops_early_reads_no_more() -> None:
    """When only the first batch is taken, the reader is closed after the one that was read ahead."""
    reader = Reader(batches=1000)
    async with open_stream(reader) as stream, contextlib.aclosing(stream.batches()) as batches:
        await anext(batches)

    assert ["open", "read", "read", "close"] == reader.calls[:4]
