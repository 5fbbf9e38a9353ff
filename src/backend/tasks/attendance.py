"""Tasks that keep the attendance data current."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

from backend.celery_app import app
from backend.domain.attendance.locking import LockedPeriod
from backend.domain.executions import RunReport
from backend.errors import TransientError
from backend.ports import Run
from backend.resources import (
    attendance_rules,
    day_store,
    mark_store,
    parts,
    punch_definitions,
    punch_source,
    punch_store,
    punch_users,
)
from backend.services import compute_attendance
from backend.services.find_touched_days import find_touched_days
from backend.services.match_users import match_users
from backend.services.run_parts import run_in_parts

_OPTIONS: dict[str, Any] = {
    "queue": "attendance",
    "max_retries": 3,
    "retry_backoff": 30,
    "retry_backoff_max": 600,
    "autoretry_for": (TransientError,),
    "soft_time_limit": 3600,
    "time_limit": 3700,
    "idempotent": True,
}
_now = functools.partial(dt.datetime.now, dt.UTC)


@app.task(name="tasks.attendance.attendance_ingest_task", **_OPTIONS)
async def attendance_ingest_task(run: Run, *, full: bool = False) -> RunReport:
    """Take new punches over from the time clocks, each once, and give them to their employees.

    `full` reads every event table again from its beginning; needed only after a change of the rules.
    """
    from backend.services.ingest_punches import ingest_punches  # it loads Arrow

    return await ingest_punches(
        run,
        [punch_source(definition) for definition in punch_definitions().values()],
        store=punch_store(),
        users=punch_users(),
        now=_now(),
        full=full,
    )


async def _look(run: Run) -> None:
    """Give new people their punches, and mark what has changed: everything that computes days begins with it."""
    await match_users(punch_users(), {name: item.rules.employee for name, item in punch_definitions().items()})
    await find_touched_days(run, store=mark_store(), rules=attendance_rules(), now=_now())


@app.task(name="tasks.attendance.attendance_yesterday_task", **_OPTIONS)
async def attendance_yesterday_task(run: Run) -> RunReport:
    """Compute yesterday for everybody, and earlier days that were not over when they were computed.

    Yesterday is that of each person's place of work.
    """
    await _look(run)
    return await compute_attendance.compute_day(
        run, store=day_store(), rules=attendance_rules(), clock=_now, days_back=1
    )


@app.task(name="tasks.attendance.attendance_today_task", **_OPTIONS)
async def attendance_today_task(run: Run) -> RunReport:
    """Compute today for everybody, as far as it has come: who is there, who is late, who is expected."""
    await _look(run)
    return await compute_attendance.compute_day(
        run, store=day_store(), rules=attendance_rules(), clock=_now, days_back=0
    )


@app.task(name="tasks.attendance.attendance_recompute_dirty_task", **_OPTIONS)
async def attendance_recompute_dirty_task(run: Run) -> RunReport:
    """Compute the days that something has touched: a punch, a correction, a shift, a holiday, a leave."""
    await _look(run)
    return await compute_attendance.recompute_dirty(run, store=day_store(), rules=attendance_rules(), clock=_now)


@app.task(name="tasks.attendance.attendance_range_task", **_OPTIONS | {"soft_time_limit": 600, "time_limit": 700})
async def attendance_range_task(
    run: Run, *, date_from: dt.date, date_to: dt.date, employees: list[str] | None = None, department: str = ""
) -> RunReport:
    """Compute the days from `date_from` to `date_to`, in parts that run side by side.

    Of everybody, or of `employees` (their numbers), or of those in or below `department` (its code).
    """

    async def plan() -> list[dict[str, object]]:
        await _look(run)
        people = await compute_attendance.find_people(
            day_store(), first=date_from, last=date_to, employees=employees or (), department=department
        )
        return [
            {"date_from": date_from.isoformat(), "date_to": date_to.isoformat(), "employees": list(some)}
            for some in compute_attendance.split_people(people, first=date_from, last=date_to)
        ]

    report = await run_in_parts(run, parts(), task=attendance_range_part_task, plan=plan)
    is_complete = not (employees or department or report.failed)
    await compute_attendance.finish_range(
        run, store=day_store(), now=_now(), first=date_from, last=date_to, is_complete=is_complete
    )
    return report.conclude(compute_attendance.summarise(f"{date_from} to {date_to}", report.counts))


@app.task(name="tasks.attendance.attendance_range_part_task", **_OPTIONS)
async def attendance_range_part_task(
    run: Run, *, date_from: dt.date, date_to: dt.date, employees: list[str]
) -> RunReport:
    """Compute the days of some people: a part of attendance_range."""
    return await compute_attendance.compute_range(
        run,
        store=day_store(),
        rules=attendance_rules(),
        clock=_now,
        first=date_from,
        last=date_to,
        employees=employees,
    )


@app.task(name="tasks.attendance.attendance_lock_period_task", **_OPTIONS)
async def attendance_lock_period_task(
    run: Run, *, date_from: dt.date, date_to: dt.date, reason: str = "payroll is closed", made_by: str = "attendance"
) -> RunReport:
    """Lock the days from `date_from` to `date_to`: from then on, what would be different becomes an adjustment."""
    await _look(run)
    return await compute_attendance.lock_period(
        run,
        store=day_store(),
        rules=attendance_rules(),
        clock=_now,
        period=LockedPeriod(date_from, date_to),
        made_by=made_by,
        reason=reason,
    )
