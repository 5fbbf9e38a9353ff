"""What a measured piece of work costs its own process: seconds and resident memory (Linux).

Knows the standard library only, because peers run it in environments of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_TICK_SECONDS = 0.005


@dataclass(kw_only=True)
class Cost:
    """What one piece of work took.

    Attributes:
        cpu_seconds: what the process itself computed, in all its threads.
        idle_bytes: resident memory before it began.
        peak_bytes: the most that was resident while it ran.
        loop_gap_ms: the longest time for which an event loop answered nobody; None where there is none.
        note: what else is worth saying.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    idle_bytes: int = 0
    peak_bytes: int = 0
    loop_gap_ms: float | None = None
    note: str = ""

    @property
    def growth_bytes(self) -> int:
        """What the work added to the idle process at its peak."""
        return self.peak_bytes - self.idle_bytes

    def print(self) -> None:
        """Hand the figures to the parent process, as the last line of the output."""
        sys.stdout.write(json.dumps(asdict(self)) + "\n")
        sys.stdout.flush()


@contextlib.contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block; the figures are there when it has ended."""
    cost = Cost()
    with contextlib.suppress(OSError):  # without it the peak is that of the whole process
        Path("/proc/self/clear_refs").write_text("5")
    cost.idle_bytes = _read_status("VmRSS")
    begun, cpu_begun = time.perf_counter(), time.process_time()
    yield cost
    cost.seconds, cost.cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
    cost.peak_bytes = _read_status("VmHWM")


@contextlib.asynccontextmanager
async def watch_loop(cost: Cost) -> AsyncIterator[None]:
    """Note the largest gap of the running loop during the block."""
    gaps: list[float] = []
    ticker = asyncio.create_task(_tick(gaps))
    try:
        yield
    finally:
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker
        cost.loop_gap_ms = max(gaps, default=0.0) * 1000


async def _tick(gaps: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        now = time.perf_counter()
        gaps.append(now - last - _TICK_SECONDS)
        last = now


def _read_status(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {name}")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A MariaDB database."""

    host: str
    port: int
    user: str
    password: str
    database: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a child process is to work on.

    Attributes:
        url, odbc: the source, as hrsync and as ODBC programs are given it.
        query: its employees by number.
        rows: how many there are.
        target: where they go.
        table: the table there, where a measure has several.
    """

    url: str
    odbc: str
    query: str
    rows: int
    target: Target
    table: str = ""

    def environment(self) -> dict[str, str]:
        """The order as a child is given it: not as arguments, which everybody on the host may read."""
        return {**os.environ, _ORDER: json.dumps(asdict(self))}


_ORDER = "BENCH_ORDER"


def read_order() -> Order:
    """The order that this process was given."""
    values = json.loads(os.environ[_ORDER])
    return Order(**{**values, "target": Target(**values["target"])})
