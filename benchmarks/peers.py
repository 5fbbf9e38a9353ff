"""What hrsync is measured against: bare Celery, and the pattern that is commonly published for asyncio in Celery.

Run as Celery applications: `celery -A benchmarks.peers worker -P gevent`.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from celery import Celery
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

app = Celery("peers", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=2,
    task_default_queue="peers",
    broker_transport_options={"max_connections": 300},
)

_ends: list[float] = []


def note_end(total: int) -> None:
    """Note that one task has ended; the last one writes how long all took."""
    _ends.append(time.monotonic())
    if len(_ends) == total:
        Path(os.environ["BENCH_OUT"]).write_text(f"{_ends[-1] - _ends[0]} {_failures[0]}")


_failures = [0]


@app.task(name="peers.noop")
def noop(total: int) -> None:
    """A bare Celery task."""
    note_end(total)


@app.task(name="peers.naive_sleep")
def naive_sleep(total: int, seconds: float) -> None:
    """The published pattern: a loop, an engine and its disposal in every task."""
    try:
        asyncio.run(_sleep(seconds))
    except BaseException:
        _failures[0] += 1
        raise
    finally:
        note_end(total)


async def _sleep(seconds: float) -> None:
    engine = create_async_engine(os.environ["MARIA_URL"])
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT SLEEP(:seconds)"), {"seconds": seconds})
    finally:
        await engine.dispose()
