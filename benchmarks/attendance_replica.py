"""hrsync's own computation of days, as a gevent worker runs it: on the loop's thread, by the adapters of the settings.

A process of its own, to which `benchmarks.attendance` gives the settings: `look`, `range NUMBER OF` (one of several
parts of the people), or `late` (punches that are delivered late, from the time clock's database to the stored day).
"""

# ruff: noqa: E402
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import contextlib
import datetime as dt
import functools
import sys
import time

from sqlalchemy import text

from backend import resources
from backend.celery_app import app
from backend.db.biostar_database import dispose_biostar_engine
from backend.db.database import Database
from backend.db.maria_database import maria
from backend.execution.loop import close_loop_thread, get_loop_thread
from backend.services import compute_attendance
from backend.services.find_touched_days import find_touched_days
from backend.utils.identifiers import new_id
from benchmarks.meter import Cost, measured, watch_loop
from benchmarks.punches_replica import ingest_once
from tests.support.hris import RecordedRun

FIRST, LAST = dt.date(2026, 10, 1), dt.date(2026, 10, 31)
_LATE_TIMES = 5
_now = functools.partial(dt.datetime.now, dt.UTC)


async def look() -> None:
    """Mark what has changed, as every task does first."""
    await find_touched_days(
        RecordedRun(new_id()), store=resources.mark_store(), rules=resources.attendance_rules(), now=_now()
    )


async def compute_part(number: int, of: int) -> str:
    """Compute the month of some of the people."""
    store = resources.day_store()
    people = await compute_attendance.find_people(store, first=FIRST, last=LAST)
    report = await compute_attendance.compute_range(
        RecordedRun(new_id()),
        store=store,
        rules=resources.attendance_rules(),
        clock=_now,
        first=FIRST,
        last=LAST,
        employees=people[number::of],
    )
    return str(report.counts.read)


async def deliver_late() -> str:
    """Some punches, one after the other: the seconds from the time clock's table to the stored day of each."""
    source = Database("BioStar", "BIOSTAR_URL", sys.argv[2])
    seconds: list[float] = []
    try:
        for number in range(_LATE_TIMES + 1):
            async with source.session() as session:
                await session.execute(
                    text(
                        "INSERT INTO t_lg202610 (SRVDT, DEVDT, DEVUID, DEVLGIDX, USRID, EVT, TNAKEY) "
                        "SELECT SRVDT, DEVDT + 1800, DEVUID, 0, USRID, EVT, TNAKEY FROM t_lg202610 WHERE EVTLGUID = :id"
                    ),
                    {"id": 4 * (number + 1)},
                )
            begun = time.perf_counter()
            await ingest_once()
            await look()
            report = await compute_attendance.recompute_dirty(
                RecordedRun(new_id()),
                store=resources.day_store(),
                rules=resources.attendance_rules(),
                clock=_now,
            )
            seconds.append(time.perf_counter() - begun)
            if report.counts.updated != 1:
                raise SystemExit(f"one late punch should change one day: {report.counts}")
    finally:
        await source.dispose()
    return " ".join(f"{each:.4f}" for each in seconds[1:])


async def run(step: str) -> Cost:
    """One step, and the largest gap of the loop meanwhile."""
    try:
        with measured() as cost:
            async with watch_loop(cost):
                match step:
                    case "look":
                        await look()
                    case "range":
                        cost.note = await compute_part(int(sys.argv[2]), int(sys.argv[3]))
                    case "late":
                        cost.note = await deliver_late()
    finally:
        await dispose_biostar_engine()
        await maria().dispose()
    return cost


def main() -> None:
    """Do the step and print the cost."""
    app.loader.import_default_modules()
    resources.preload()
    cost = get_loop_thread().run(run(sys.argv[1]))
    close_loop_thread()
    cost.print()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
