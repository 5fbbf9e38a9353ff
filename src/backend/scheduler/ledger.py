"""Turns due jobs into rows of the ledger: read, plan, record; the same for a punctual fire and for a catch-up."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from backend.api.repositories.fire_ledger import FireLedger, JobFires
from backend.api.repositories.job_rows import obstacle_of, plan_job
from backend.api.repositories.lease_repository import LeaseGrant, LeaseRepository
from backend.db.database import Database
from backend.db.models.scheduler import Job
from backend.domain.executions import Status
from backend.domain.fires import ActiveExecution
from backend.domain.jobs import TaskTraits
from backend.errors import ConfigurationError
from backend.utils.structured_logger import get_structured_logger

_logger = get_structured_logger(__name__)

_JOBS_PER_READ = 1000
# A transaction holds the lease's row: it must be short enough for the lease to be renewed meanwhile.
_ROWS_PER_TRANSACTION = 5000
# Planning such a stretch can take long enough to be felt by the other loops.
_LONG_STRETCH = dt.timedelta(hours=6)
# Nothing is fired that is further ahead of the database's clock: a machine that boots with a clock of next year would
# else bring all fires until then into the ledger, and the jobs would rest for that year.
_CLOCK_TRUST = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerResult:
    """What became of the jobs, by id; those that are in neither set are recorded, or had nothing due.

    Attributes:
        unreadable: jobs whose row cannot be evaluated, with the reason.
        changed: jobs that were changed or locked meanwhile: to be looked at again.
        pending: how many rows are to be dispatched.
        clock_skew_seconds: how far this machine's clock is ahead of the database's.
    """

    unreadable: Mapping[int, ConfigurationError]
    changed: frozenset[int]
    pending: int
    clock_skew_seconds: float


async def record_due(
    database: Database,
    job_ids: Collection[int],
    tasks: Mapping[str, TaskTraits],
    grant: LeaseGrant,
    *,
    until: Callable[[], dt.datetime],
    timeout_seconds: float,
    on_progress: Callable[[], None] = lambda: None,
) -> LedgerResult:
    """Bring everything that these jobs have due into the ledger.

    Args:
        until: the end of the stretch that is looked at: this machine's clock, or a fire time slightly ahead of it.
        on_progress: called after every transaction.

    Raises:
        FencedError: the lease is no longer held; nothing more was written.
        TransientError: the database is away; what is not recorded is still due.
    """
    unreadable: dict[int, ConfigurationError] = {}
    changed: set[int] = set()
    pending = 0
    skew = dt.timedelta()
    for ids in _chunks(sorted(job_ids)):
        ledger = FireLedger()
        async with database.reader(timeout_seconds=timeout_seconds) as session:
            latest = await ledger.read_clock(session) + _CLOCK_TRUST
            jobs, problems = await ledger.read_jobs(session, ids)
            unreadable |= problems
            active = await ledger.find_active(session, [job.id for job in jobs])
        on_progress()
        planned = await _plan(jobs, active, tasks, min(until(), latest), unreadable)
        for batch in _batches([item for item in planned if item.plan.last_fire_at is not None]):
            async with database.session(timeout_seconds=timeout_seconds) as session:
                now = await LeaseRepository().hold(session, grant)
                skew = dt.datetime.now(dt.UTC) - now
                recorded = await ledger.record(session, batch, tasks, now=now)
            on_progress()
            _log(batch, recorded)
            pending += sum(item.plan.runs for item in batch if item.job.id in recorded)
            changed |= {item.job.id for item in batch} - recorded
    return LedgerResult(
        unreadable=unreadable,
        changed=frozenset(changed),
        pending=pending,
        clock_skew_seconds=skew.total_seconds(),
    )


async def _plan(
    jobs: Sequence[Job],
    active: Mapping[int, Sequence[ActiveExecution]],
    tasks: Mapping[str, TaskTraits],
    until: dt.datetime,
    unreadable: dict[int, ConfigurationError],
) -> list[JobFires]:
    planned: list[JobFires] = []
    for job in jobs:
        arguments = (job, active.get(job.id, ()), tasks, until)
        try:
            if until - (job.last_fire_at or job.created_at) > _LONG_STRETCH:
                planned.append(await asyncio.to_thread(_plan_one, *arguments))
            else:
                planned.append(_plan_one(*arguments))
        except ConfigurationError as error:
            unreadable[job.id] = error
    return planned


def _plan_one(
    job: Job, active: Sequence[ActiveExecution], tasks: Mapping[str, TaskTraits], until: dt.datetime
) -> JobFires:
    obstacle = obstacle_of(job)
    if obstacle is None and job.task_code not in tasks:
        obstacle = f"the program has no task {job.task_code!r}: install the version that has it, or change the job"
    plan = plan_job(job, until=until, now=until, active=active, obstacle=obstacle)
    return JobFires(job=job, plan=plan, active=active)


def _batches(planned: list[JobFires]) -> Iterator[list[JobFires]]:
    # The smallest first: who has one fire due must not wait for somebody's catch-up of thousands.
    batch: list[JobFires] = []
    rows = 0
    for item in sorted(planned, key=lambda item: len(item.plan.fires)):
        if batch and rows + len(item.plan.fires) > _ROWS_PER_TRANSACTION:
            yield batch
            batch, rows = [], 0
        batch.append(item)
        rows += len(item.plan.fires)
    if batch:
        yield batch


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _JOBS_PER_READ):
        yield ids[start : start + _JOBS_PER_READ]


def _log(batch: Sequence[JobFires], recorded: Collection[int]) -> None:
    for item in batch:
        if item.job.id not in recorded:
            continue
        counts = {
            str(status): count
            for status in (Status.PENDING, Status.MISSED, Status.SKIPPED)
            if (count := sum(fire.status is status for fire in item.plan.fires))
        }
        _logger.info("fires_recorded", job_code=item.job.code, last_fire_at=item.plan.last_fire_at, **counts)
