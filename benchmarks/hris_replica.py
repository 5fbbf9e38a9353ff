"""hrsync's own replication, as a gevent worker runs it: on the loop's thread, with the adapters of the settings.

A process of its own: `python -m benchmarks.hris_replica`, to which `benchmarks.hris` gives the settings.
"""

# ruff: noqa: E402
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import asyncio
import contextlib
import time

from backend import resources
from backend.celery_app import app
from backend.db.hris_database import dispose_hris_engine
from backend.db.maria_database import maria
from backend.execution.loop import close_loop_thread, get_loop_thread
from backend.services.replicate_hris import replicate_hris
from backend.utils.identifiers import new_id
from benchmarks.meter import Cost, measured
from tests.support.hris import RecordedRun

_TICK_SECONDS = 0.005


async def replicate() -> Cost:
    """One replication, and the largest gap of the loop meanwhile."""
    gaps: list[float] = []
    ticker = asyncio.create_task(_tick(gaps))
    try:
        mapping = resources.hris_mapping()
        run = RecordedRun(new_id())
        with measured() as cost:
            report = await replicate_hris(
                run,
                mapping,
                source=resources.hris_source(mapping),
                store=resources.hr_store(),
                open_spool=resources.open_row_spool,
            )
    finally:
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker
        await dispose_hris_engine()
        await maria().dispose()
    cost.loop_gap_ms = max(gaps, default=0.0) * 1000
    cost.note = report.summary
    return cost


async def _tick(gaps: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        now = time.perf_counter()
        gaps.append(now - last - _TICK_SECONDS)
        last = now


def main() -> None:
    """Replicate once and print the cost."""
    app.loader.import_default_modules()
    resources.preload()
    cost = get_loop_thread().run(replicate())
    close_loop_thread()
    cost.print()


if __name__ == "__main__":
    main()
