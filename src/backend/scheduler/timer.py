"""APScheduler as the alarm clock: it says when a job is due, never what has been fired.

It keeps its jobs in memory only, mirrored from our tables. What is due is derived from each job's watermark by the
ledger, so that a wake-up too many, too late or too few changes nothing that is recorded.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from backend.domain.schedules import Schedule, find_next_fire
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)

OnDue = Callable[[int, Sequence[dt.datetime]], None]
_UNLIMITED = 1_000_000_000


class ScheduleTrigger(BaseTrigger):  # type: ignore[misc]
    """Our schedules as APScheduler's triggers."""

    def __init__(self, job_id: int, schedule: Schedule) -> None:
        self._job_id = job_id
        self._schedule = schedule

    def get_next_fire_time(self, previous_fire_time: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
        """The next fire after both; one wake-up stands for all fires up to it."""
        try:
            return find_next_fire(self._schedule, max(previous_fire_time or now, now))
        except Exception as error:
            # An exception here would end APScheduler's loop for every job, and it would still call itself running.
            _logger.exception("trigger_evaluation_failed", job_id=self._job_id, error=str(error))
            return None


class LedgerExecutor(BaseExecutor):  # type: ignore[misc]
    """Hands each due (job, fire times) on instead of running anything."""

    def __init__(self, on_due: OnDue) -> None:
        super().__init__()
        self._on_due = on_due

    def _do_submit_job(self, job: Any, run_times: Sequence[dt.datetime]) -> None:
        self._on_due(int(job.id), run_times)
        # The caller counts this as running once we return; say right after that it has ended.
        asyncio.get_running_loop().call_soon(self._run_job_success, job.id, [])


class Timer:
    """Wakes us when a job is due. All methods belong to the event loop's thread.

    Args:
        on_due: called with the job's id and its fire times (the last of them is the one that is due now).
    """

    def __init__(self, on_due: OnDue) -> None:
        self._scheduler = AsyncIOScheduler(
            timezone=dt.UTC, jobstores={"default": MemoryJobStore()}, executors={"default": LedgerExecutor(on_due)}
        )

    def start(self) -> None:
        """Begin to wake."""
        self._scheduler.start()

    def stop(self) -> None:
        """Wake no more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def set(self, job_id: int, schedule: Schedule, watermark: dt.datetime) -> dt.datetime | None:
        """Wake at the fires after the watermark, at once if there was one already; the next fire."""
        next_fire = find_next_fire(schedule, watermark)
        if next_fire is None:
            self.remove(job_id)
            return None
        self._scheduler.add_job(
            _fire,
            trigger=ScheduleTrigger(job_id, schedule),
            id=str(job_id),
            next_run_time=next_fire,
            replace_existing=True,
            misfire_grace_time=None,
            coalesce=False,
            max_instances=_UNLIMITED,
        )
        return next_fire

    def remove(self, job_id: int) -> None:
        """Forget the job; nothing happens when it is not known."""
        try:
            self._scheduler.remove_job(str(job_id))
        except JobLookupError:
            return

    def clear(self) -> None:
        """Forget all jobs."""
        self._scheduler.remove_all_jobs()

    def nudge(self) -> None:
        """Look at the wall clock anew: it may have been set, or the machine may have slept."""
        self._scheduler.wakeup()

    def __len__(self) -> int:
        return len(self._scheduler.get_jobs())


def _fire() -> None:
    """What APScheduler believes to run; the executor never calls it."""
