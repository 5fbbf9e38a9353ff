"""Keeps the alarm clock in step with `scheduler_job`: edits take effect within a reload, bad rows disturb nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from backend.api.repositories.fire_ledger import FireLedger
from backend.api.repositories.job_rows import schedule_of
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.db.database import Database
from backend.db.models.scheduler import Job
from backend.domain.schedules import Schedule
from backend.errors import ConfigurationError
from backend.scheduler.timer import Timer
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)

# An edit by hand that forgets to raise the revision is still seen after this.
FULL_RELOAD_SECONDS = 30.0
_JOBS_PER_READ = 500
ACTOR = "scheduler"


@dataclass(slots=True, kw_only=True)
class _Entry:
    code: str
    revision: int
    schedule: Schedule | None
    text: str


class JobMirror:
    """The jobs as the timer has them."""

    def __init__(self, database: Database, timer: Timer, *, timeout_seconds: float) -> None:
        self._database = database
        self._timer = timer
        self._timeout_seconds = timeout_seconds
        self._ledger = FireLedger()
        self._entries: dict[int, _Entry] = {}
        self._unreadable: dict[str, str] = {}
        self._fingerprint: tuple[int, int, int] | None = None
        self._full_reload_at = float("-inf")

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Code -> reason of the jobs whose row cannot be evaluated; they do not fire."""
        return dict(self._unreadable)

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything; the next reload reads all jobs."""
        self._entries.clear()
        self._unreadable.clear()
        self._timer.clear()
        self._fingerprint = None
        self._full_reload_at = float("-inf")

    async def reload(self) -> None:
        """Take over what was edited since.

        Raises:
            TransientError: the database is away; the jobs stay as they are.
        """
        is_full = time.monotonic() - self._full_reload_at >= FULL_RELOAD_SECONDS
        async with self._database.reader(timeout_seconds=self._timeout_seconds) as session:
            fingerprint = await self._ledger.fingerprint(session)
            if fingerprint == self._fingerprint and not is_full:
                return
            revisions = await self._ledger.read_revisions(session)
        for job_id in self._entries.keys() - revisions.keys():
            self._remove(job_id)
        stale = [
            job_id
            for job_id, revision in revisions.items()
            if is_full or (entry := self._entries.get(job_id)) is None or entry.revision != revision
        ]
        for start in range(0, len(stale), _JOBS_PER_READ):
            await self._read(stale[start : start + _JOBS_PER_READ])
        self._fingerprint = fingerprint
        if is_full:
            self._full_reload_at = time.monotonic()

    async def report_unreadable(self, job_id: int, error: ConfigurationError) -> None:
        """Let the job rest until it is mended, and say so once: in the log and in the audit."""
        self._timer.remove(job_id)
        entry = self._entries.get(job_id)
        code = entry.code if entry else str(job_id)
        if entry is not None:
            entry.schedule = None
        if self._unreadable.get(code) == str(error):
            return
        self._unreadable[code] = str(error)
        _logger.error("job_rejected", job_code=code, error=str(error))
        async with self._database.session(timeout_seconds=self._timeout_seconds) as session:
            await SchedulerRepository().record_audit(
                session, ACTOR, "job_rejected", ("job", code), {"error": str(error)}
            )

    async def _read(self, job_ids: Collection[int]) -> None:
        async with self._database.reader(timeout_seconds=self._timeout_seconds) as session:
            jobs, unreadable = await self._ledger.read_jobs(session, job_ids)
        for job_id, error in unreadable.items():
            await self.report_unreadable(job_id, error)
        for number, job in enumerate(jobs):
            if number % 50 == 0:
                await asyncio.sleep(0)  # thousands of jobs must not keep the lease from being renewed
            try:
                self._take(job)
            except ConfigurationError as error:
                self._entries[job.id] = _entry(job, None)
                await self.report_unreadable(job.id, error)

    def _take(self, job: Job) -> None:
        known = self._entries.get(job.id)
        unchanged = known is not None and known.schedule is not None and known.text == _text(job)
        schedule = known.schedule if known is not None and unchanged else None
        entry = self._entries[job.id] = _entry(job, schedule or schedule_of(job))
        assert entry.schedule is not None
        self._timer.set(job.id, entry.schedule, job.last_fire_at or job.created_at)
        if self._unreadable.pop(job.code, None) is not None:
            _logger.info("job_accepted", job_code=job.code)

    def _remove(self, job_id: int) -> None:
        entry = self._entries.pop(job_id)
        self._unreadable.pop(entry.code, None)
        self._timer.remove(job_id)


def _entry(job: Job, schedule: Schedule | None) -> _Entry:
    return _Entry(
        code=job.code,
        revision=job.revision,
        schedule=schedule,
        text=_text(job),
    )


def _text(job: Job) -> str:
    """Everything that `schedule_of` looks at."""
    return repr(
        (
            job.trigger_kind,
            job.trigger_expression,
            job.timezone,
            job.dst_rule,
            job.starts_at,
            job.ends_at,
            job.created_at,
            job.blackouts,
            job.catch_up,
            job.overlap,
        )
    )
