"""What the dashboard, the JSON API and the readiness check read beside `SchedulerRepository`. It only reads.

Every query is bounded: by a limit on an index, or by the number of jobs, workers and active runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.models.scheduler import ExecutionLog, JobExecution, Lease, Worker
from backend.db.types import db_now
from backend.domain.executions import COUNT_NAMES, RowCounts, Status
from backend.errors import NotFoundError

# SQLite allows 500 selects in a compound.
_JOBS_PER_QUERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionLine:
    """One execution as a line of a list: everything but its result, its parameters and its traceback."""

    id: str
    job_code: str | None
    task_code: str
    triggered_by: str
    requested_by: str | None
    scheduled_for: dt.datetime | None
    status: Status
    reason: str | None
    run_after: dt.datetime
    attempt: int
    max_attempts: int
    worker_host: str | None
    cancel_requested_at: dt.datetime | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    duration_ms: int | None
    progress_current: int | None
    progress_total: int | None
    progress_message: str | None
    counts: RowCounts
    summary: str | None
    error_type: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One of a job's last executions, for the strip of its history."""

    id: str
    status: Status
    reason: str | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    duration_ms: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """Whether the machinery lives, all instants by the database's clock.

    Attributes:
        now: the database's clock.
        lease: the scheduler's lease; None when its row is missing.
        workers: processes that have neither stopped nor fallen silent.
        waiting: executions that are due and not yet running.
        waiting_since: when the first of them was due.
        running: executions that run.
    """

    now: dt.datetime
    lease: Lease | None
    workers: Sequence[Worker]
    waiting: int
    waiting_since: dt.datetime | None
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """Which executions a list shows; what is None or empty does not restrict."""

    job_id: int | None = None
    task_code: str | None = None
    statuses: Collection[Status] = ()
    created_since: dt.datetime | None = None
    before_id: str | None = None


class OverviewRepository:
    """What people look at."""

    async def read_clock(self, session: AsyncSession) -> dt.datetime:
        """The database's clock."""
        now: dt.datetime = (await session.execute(select(db_now().label("now")))).scalar_one()
        return now

    async def find_lease(self, session: AsyncSession) -> tuple[dt.datetime, Lease | None]:
        """The database's clock and the lease of the scheduler that fires; None when its row is missing."""
        row = (await session.execute(select(db_now().label("now"), Lease).order_by(Lease.name).limit(1))).one_or_none()
        return (row[0], row[1]) if row is not None else (await self.read_clock(session), None)

    async def list_live_workers(
        self, session: AsyncSession, *, silent_after_seconds: float
    ) -> tuple[dt.datetime, Sequence[Worker]]:
        """The database's clock and the workers that have neither stopped nor fallen silent."""
        rows = await session.execute(
            select(Worker)
            .where(Worker.stopped_at.is_(None), Worker.heartbeat_at >= db_now(-silent_after_seconds))
            .order_by(Worker.host, Worker.id)
            .limit(500)
        )
        return await self.read_clock(session), rows.scalars().all()

    async def read_vitals(self, session: AsyncSession, *, silent_after_seconds: float) -> Vitals:
        """Whether scheduler and workers live, and what waits for them."""
        now, lease = await self.find_lease(session)
        _, workers = await self.list_live_workers(session, silent_after_seconds=silent_after_seconds)
        waiting = (
            await session.execute(
                select(func.count(), func.min(JobExecution.run_after)).where(
                    JobExecution.status == Status.PENDING, JobExecution.run_after <= db_now()
                )
            )
        ).one()
        running = (
            await session.execute(select(func.count()).where(JobExecution.status == Status.RUNNING))
        ).scalar_one()
        return Vitals(
            now=now, lease=lease, workers=workers, waiting=waiting[0], waiting_since=waiting[1], running=running
        )

    async def list_last_runs(
        self, session: AsyncSession, job_ids: Sequence[int], *, per_job: int = 12
    ) -> Mapping[int, Sequence[PastRun]]:
        """The last executions of each job, the newest first."""
        found: dict[int, list[PastRun]] = {job_id: [] for job_id in job_ids}
        for start in range(0, len(job_ids), _JOBS_PER_QUERY):
            chunk = job_ids[start : start + _JOBS_PER_QUERY]
            rows = await session.execute(union_all(*(_last_runs(job_id, per_job) for job_id in chunk)))
            for row in rows:
                found[row.job_id].append(
                    PastRun(
                        id=row.id,
                        status=Status(row.status),
                        reason=row.reason,
                        created_at=row.created_at,
                        started_at=row.started_at,
                        finished_at=row.finished_at,
                        duration_ms=row.duration_ms,
                        error=row.error,
                    )
                )
        return {job_id: sorted(runs, key=lambda run: run.id, reverse=True) for job_id, runs in found.items()}

    async def list_executions(
        self, session: AsyncSession, wanted: ExecutionFilter, *, limit: int
    ) -> Sequence[ExecutionLine]:
        """Executions, the newest first. For the next page give the last id as `before_id`.

        Raises:
            NotFoundError: there is no execution `before_id`.
        """
        statement = select(*_LINE).limit(limit)
        if wanted.job_id is not None:
            # Ids of a job's executions ascend in time, and (job_id, id) is an index.
            statement = statement.where(JobExecution.job_id == wanted.job_id).order_by(JobExecution.id.desc())
            if not wanted.statuses:
                statement = statement.with_hint(*_BY_JOB)
            if wanted.before_id is not None:
                statement = statement.where(JobExecution.id < wanted.before_id)
        else:
            # The id of a bare Celery call is Celery's own and says nothing about its time.
            statement = statement.order_by(JobExecution.created_at.desc(), JobExecution.id.desc())
            if wanted.before_id is not None:
                last_at = await self._created_at(session, wanted.before_id)
                statement = statement.where(
                    JobExecution.created_at <= last_at,
                    or_(JobExecution.created_at < last_at, JobExecution.id < wanted.before_id),
                )
        if wanted.task_code is not None:
            statement = statement.where(JobExecution.task_code == wanted.task_code)
        if wanted.statuses:
            # SQLite keeps no statistics: it would gather every successful run and sort them. Without the index on the
            # status it walks back in time instead.
            walks = session.get_bind().dialect.name == "sqlite" and wanted.job_id is None
            status = JobExecution.status.concat("") if walks else JobExecution.status
            statement = statement.where(status.in_(sorted(wanted.statuses)))
        if wanted.created_since is not None:
            statement = statement.where(JobExecution.created_at >= wanted.created_since)
        return [_line(row._mapping) for row in await session.execute(statement)]

    async def list_log_end(self, session: AsyncSession, execution_id: str, *, limit: int) -> Sequence[ExecutionLog]:
        """The last lines of an execution's log, in their order."""
        rows = await session.execute(
            select(ExecutionLog)
            .where(ExecutionLog.execution_id == execution_id)
            .order_by(ExecutionLog.id.desc())
            .limit(limit)
        )
        return rows.scalars().all()[::-1]

    async def _created_at(self, session: AsyncSession, execution_id: str) -> dt.datetime:
        found = (
            await session.execute(select(JobExecution.created_at).where(JobExecution.id == execution_id))
        ).scalar_one_or_none()
        if found is None:
            raise NotFoundError(f"There is no execution {execution_id!r} to go on from; begin again at the first page.")
        return found


# Where one job has most of the rows, MariaDB would rather walk the primary key, past all newer rows of other jobs.
_BY_JOB = (JobExecution, "FORCE INDEX (ix_scheduler_job_execution_job_id_id)", "mysql")
_COUNT_COLUMNS = {name: JobExecution.__table__.c[f"rows_{name}"] for name in COUNT_NAMES}
# A message may be long (a driver's whole answer); a list shows its beginning.
_ERROR = func.substr(JobExecution.error_message, 1, 500).label("error_message")
_LINE_NAMES = tuple(name for name in ExecutionLine.__dataclass_fields__ if name not in ("counts", "error_message"))
_LINE = (*(JobExecution.__table__.c[name] for name in _LINE_NAMES), *_COUNT_COLUMNS.values(), _ERROR)


def _line(row: Mapping[Any, Any]) -> ExecutionLine:
    values = {name: row[name] for name in _LINE_NAMES}
    return ExecutionLine(
        **values | {"status": Status(values["status"])},
        counts=RowCounts(**{name: row[f"rows_{name}"] for name in COUNT_NAMES}),
        error_message=row["error_message"],
    )


def _last_runs(job_id: int, limit: int) -> Select[Any]:
    # A select of its own around each limit: SQLite allows ORDER BY and LIMIT only there.
    inner = (
        select(
            JobExecution.id,
            JobExecution.job_id,
            JobExecution.status,
            JobExecution.reason,
            JobExecution.created_at,
            JobExecution.started_at,
            JobExecution.finished_at,
            JobExecution.duration_ms,
            func.substr(JobExecution.error_message, 1, 300).label("error"),
        )
        .where(JobExecution.job_id == job_id)
        .with_hint(*_BY_JOB)
        .order_by(JobExecution.id.desc())
        .limit(limit)
        .subquery()
    )
    return select(*inner.c)
