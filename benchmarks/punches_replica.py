"""hrsync's own ingestion, as a gevent worker runs it: on the loop's thread, with the adapters of the settings.

A process of its own: `python -m benchmarks.punches_replica [POLLS]`, to which `benchmarks.punches` gives the settings.
With POLLS it ingests so often, and prints the time of each run after the first.
"""

# ruff: noqa: E402
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import contextlib
import datetime as dt
import sys
import time

from backend import resources
from backend.celery_app import app
from backend.db.biostar_database import dispose_biostar_engine
from backend.db.maria_database import maria
from backend.domain.executions import RunReport
from backend.execution.loop import close_loop_thread, get_loop_thread
from backend.services.ingest_punches import ingest_punches
from backend.utils.identifiers import new_id
from benchmarks.meter import Cost, measured, watch_loop
from tests.support.hris import RecordedRun


async def ingest_once() -> RunReport:
    """One run, as the task makes it."""
    return await ingest_punches(
        RecordedRun(new_id()),
        [resources.punch_source(definition) for definition in resources.punch_definitions().values()],
        store=resources.punch_store(),
        users=resources.punch_users(),
        now=dt.datetime.now(dt.UTC),
    )


async def ingest(polls: int) -> Cost:
    """The runs, and the largest gap of the loop meanwhile."""
    seconds: list[float] = []
    try:
        if polls:
            await ingest_once()
        with measured() as cost:
            async with watch_loop(cost):
                for _ in range(polls or 1):
                    begun = time.perf_counter()
                    report = await ingest_once()
                    seconds.append(time.perf_counter() - begun)
    finally:
        await dispose_biostar_engine()
        await maria().dispose()
    cost.note = " ".join(f"{each:.4f}" for each in seconds) if polls else report.summary
    return cost


def main() -> None:
    """Ingest and print the cost."""
    app.loader.import_default_modules()
    resources.preload()
    polls = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    cost = get_loop_thread().run(ingest(polls))
    close_loop_thread()
    cost.print()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
