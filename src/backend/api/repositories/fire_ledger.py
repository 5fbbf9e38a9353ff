"""The SQL of the fire ledger: one row per fire, and the watermark of each job, in one transaction.

A fire is a duplicate when (job, scheduled_for) is there already; it is then left alone. The watermark of a job moves
only together with the rows that it stands for, so that a crash at any line loses and doubles nothing.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Insert, Table, func, or_, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.models.scheduler import ExecutionPart, Job, JobExecution
from backend.db.types import db_now
from backend.domain.executions import Status
from backend.domain.fires import ActiveExecution, FirePlan, PlannedFire
from backend.domain.jobs import TaskTraits
from backend.errors import ConfigurationError
from backend.utils.identifiers import new_id

EXECUTION = cast(Table, JobExecution.__table__)
_ROWS_PER_INSERT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFires:
    """A job as it was read, what is planned for it, and what was active then."""

    job: Job
    plan: FirePlan
    active: Sequence[ActiveExecution] = ()


class FireLedger:
    """Read what planning needs, and record plans."""

    async def read_clock(self, session: AsyncSession) -> dt.datetime:
        """The database's clock."""
        now: dt.datetime = (await session.execute(select(db_now()))).scalar_one()
        return now

    async def fingerprint(self, session: AsyncSession) -> tuple[int, int, int]:
        """A value that differs after every edit of a job, for a price that can be paid every second."""
        row = (await session.execute(select(func.count(), func.sum(Job.revision), func.max(Job.id)))).one()
        return int(row[0]), int(row[1] or 0), int(row[2] or 0)

    async def read_revisions(self, session: AsyncSession) -> dict[int, int]:
        """The revision of every job that may fire, by id."""
        statement = select(Job.id, Job.revision).where(Job.enabled.is_(True), Job.deleted_at.is_(None))
        return {row.id: row.revision for row in await session.execute(statement)}

    async def read_jobs(
        self, session: AsyncSession, job_ids: Collection[int]
    ) -> tuple[list[Job], dict[int, ConfigurationError]]:
        """The jobs that may fire, of these ids; and why a row cannot be read (it was edited by hand)."""
        if not job_ids:
            return [], {}
        statement = select(Job).where(Job.id.in_(job_ids), Job.enabled.is_(True), Job.deleted_at.is_(None))
        try:
            return list((await session.scalars(statement)).all()), {}
        except (ValueError, TypeError) as error:  # a column holds what it cannot hold: broken JSON, no instant
            if len(job_ids) == 1:
                problem = f"The job with id {next(iter(job_ids))} cannot be read: {error}. Apply it again."
                return [], {job_id: ConfigurationError(problem) for job_id in job_ids}
        jobs: list[Job] = []
        unreadable: dict[int, ConfigurationError] = {}
        for job_id in job_ids:
            found, problems = await self.read_jobs(session, [job_id])
            jobs += found
            unreadable |= problems
        return jobs, unreadable

    async def find_active(
        self, session: AsyncSession, job_ids: Collection[int]
    ) -> Mapping[int, Sequence[ActiveExecution]]:
        """The pending and running executions by job id, oldest first."""
        found: dict[int, list[ActiveExecution]] = defaultdict(list)
        statement = (
            select(EXECUTION.c.id, EXECUTION.c.job_id, EXECUTION.c.status)
            .where(
                EXECUTION.c.status.in_((Status.PENDING, Status.RUNNING)),
                EXECUTION.c.job_id.in_(job_ids),
            )
            .order_by(EXECUTION.c.id)
        )
        for row in await session.execute(statement):
            found[row.job_id].append(ActiveExecution(id=row.id, status=Status(row.status)))
        return found

    async def record(
        self,
        session: AsyncSession,
        planned: Sequence[JobFires],
        tasks: Mapping[str, TaskTraits],
        *,
        now: dt.datetime,
    ) -> set[int]:
        """Insert the rows of the plans and move the watermarks of their jobs.

        A job that has been changed since it was read, or that somebody has locked, is left out: plan it again.

        Args:
            now: the database's clock.

        Returns:
            The ids of the jobs that are recorded.
        """
        unchanged = await self._lock_unchanged(session, [item.job for item in planned])
        planned = [item for item in planned if item.job.id in unchanged and item.plan.last_fire_at is not None]
        rows = [row for item in planned for row in _rows(item, tasks, now)]
        insert = insert_new(session)
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            await session.execute(insert, rows[start : start + _ROWS_PER_INSERT])
        await self._move_watermarks(session, planned)
        superseded = [active.id for item in planned if item.plan.cancel_active for active in item.active]
        if superseded:
            await cancel_executions(session, superseded, "replaced by a newer fire (overlap = cancel_running)")
        return unchanged

    async def _lock_unchanged(self, session: AsyncSession, jobs: Sequence[Job]) -> set[int]:
        statement = select(Job.id, Job.revision, Job.last_fire_at).where(Job.id.in_([job.id for job in jobs]))
        current = {
            row.id: (row.revision, row.last_fire_at)
            for row in await session.execute(statement.order_by(Job.id).with_for_update(skip_locked=True))
        }
        return {job.id for job in jobs if current.get(job.id) == (job.revision, job.last_fire_at)}

    async def _move_watermarks(self, session: AsyncSession, planned: Sequence[JobFires]) -> None:
        # Jobs that fire together usually come to the same values: one statement for each pair of values.
        groups: dict[tuple[dt.datetime, int], list[int]] = defaultdict(list)
        for item in planned:
            assert item.plan.last_fire_at is not None
            groups[item.plan.last_fire_at, item.plan.runs].append(item.job.id)
        for (last_fire_at, runs), job_ids in groups.items():
            await session.execute(
                update(Job)
                .where(Job.id.in_(job_ids), or_(Job.last_fire_at.is_(None), Job.last_fire_at < last_fire_at))
                .values(last_fire_at=last_fire_at, runs_count=Job.runs_count + runs)
                .execution_options(synchronize_session=False)
            )


def insert_new(session: AsyncSession) -> Insert:
    """An INSERT of executions that leaves alone a fire which is there already, and reports every other error."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite_insert(EXECUTION).on_conflict_do_nothing(index_elements=["job_id", "scheduled_for"])
    # Not INSERT IGNORE, which would also cut texts that are too long and drop broken foreign keys.
    return mysql_insert(EXECUTION).on_duplicate_key_update(id=EXECUTION.c.id)


async def cancel_executions(session: AsyncSession, execution_ids: Collection[str], reason: str) -> None:
    """Cancel: what is pending is cancelled at once, what is running is asked to end; so it is with their parts."""
    while execution_ids:
        await _cancel(session, execution_ids, reason)
        parts = select(ExecutionPart.part_execution_id).where(ExecutionPart.execution_id.in_(execution_ids))
        execution_ids = (await session.scalars(parts)).all()


async def _cancel(session: AsyncSession, execution_ids: Collection[str], reason: str) -> None:
    # Locked first: between the two statements a run could go back to pending and be met by neither.
    await session.execute(
        select(EXECUTION.c.id).where(EXECUTION.c.id.in_(execution_ids)).order_by(EXECUTION.c.id).with_for_update()
    )
    await session.execute(
        update(JobExecution)
        .where(JobExecution.id.in_(execution_ids), JobExecution.status == Status.PENDING)
        .values(status=Status.CANCELLED, reason=reason, finished_at=db_now(), updated_at=db_now())
        .execution_options(synchronize_session=False)
    )
    await session.execute(
        update(JobExecution)
        .where(
            JobExecution.id.in_(execution_ids),
            JobExecution.status == Status.RUNNING,
            JobExecution.cancel_requested_at.is_(None),
        )
        .values(cancel_requested_at=db_now(), cancel_reason=reason, updated_at=db_now())
        .execution_options(synchronize_session=False)
    )


def execution_values(
    *,
    execution_id: str,
    task_code: str,
    task: TaskTraits | None,
    params: Mapping[str, Any],
    triggered_by: str,
    now: dt.datetime,
    job: Job | None = None,
    status: Status = Status.PENDING,
    reason: str | None = None,
    run_after: dt.datetime | None = None,
    scheduled_for: dt.datetime | None = None,
    requested_by: str | None = None,
    correlation_id: str | None = None,
    retry_of: str | None = None,
) -> dict[str, Any]:
    """The columns of a new execution; `task` None: the program has no such task (the row can only be final)."""
    return {
        "id": execution_id,
        "job_id": job.id if job else None,
        "job_code": job.code if job else None,
        "task_code": task_code,
        "task_name": task.name if task else task_code,
        "queue": task.queue if task else "default",
        "params": dict(params),
        "scheduled_for": scheduled_for,
        "triggered_by": triggered_by,
        "requested_by": requested_by,
        "correlation_id": correlation_id or execution_id,
        "retry_of": retry_of,
        "status": status,
        "reason": reason[:500] if reason else None,
        "run_after": run_after or now,
        "dispatch_count": 0,
        "attempt": 0,
        "interruptions": 0,
        "max_attempts": task.max_attempts if task else 1,
        "idempotent": task.idempotent if task else False,
        "finished_at": now if status.is_final else None,
        "created_at": now,
        "updated_at": now,
    }


def _rows(item: JobFires, tasks: Mapping[str, TaskTraits], now: dt.datetime) -> Iterable[dict[str, Any]]:
    # Sorted, because ids of the same millisecond are not ascending, and the oldest of a job runs first.
    ids = sorted(itertools.islice(iter(new_id, None), len(item.plan.fires)))
    for execution_id, fire in zip(ids, item.plan.fires, strict=True):
        yield execution_values(
            execution_id=execution_id,
            task_code=item.job.task_code,
            task=tasks.get(item.job.task_code),
            params=item.job.params,
            triggered_by=fire.triggered_by,
            now=now,
            job=item.job,
            status=fire.status,
            reason=fire.reason,
            run_after=_run_after(fire, now),
            scheduled_for=fire.scheduled_for,
        )


def _run_after(fire: PlannedFire, now: dt.datetime) -> dt.datetime:
    # By the database's clock, which may be behind the scheduler's: a fire that is due is due now.
    return now + dt.timedelta(seconds=fire.delay_seconds)
