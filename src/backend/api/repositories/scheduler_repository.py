"""The SQL of jobs and executions as people and programs use them: look up, list, change, run, cancel, retry.

Firing is in `fire_ledger`, sending and rescuing in `dispatch_repository`, the life of a run in `run_repository`.
Nothing here commits: the caller's session does.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CursorResult, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.api.repositories.fire_ledger import EXECUTION, FireLedger, JobFires, cancel_executions, execution_values
from backend.api.repositories.job_rows import columns_of, obstacle_of, plan_job, spec_of
from backend.api.repositories.lease_repository import LEASE_NAME
from backend.db.models.scheduler import (
    AuditEntry,
    ExecutionAttempt,
    ExecutionLog,
    ExecutionStatus,
    Job,
    JobExecution,
    Lease,
    Stream,
    Worker,
)
from backend.db.types import db_now
from backend.domain.executions import Status
from backend.domain.jobs import SCHEDULE_FIELDS, JobSpec, TaskTraits, validate_job
from backend.errors import ConfigurationError, ConflictError, NotFoundError
from backend.utils.identifiers import new_id

_ID_PART = re.compile(r"[0-9a-f-]{4,36}")
_COLUMNS = frozenset(column.name for column in JobExecution.__table__.columns) - {"id", "updated_at"}


class Saved(enum.StrEnum):
    """What saving a job did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedJob:
    """The job as it is now.

    Attributes:
        changes: field -> (old, new), as JSON holds them.
    """

    job: Job
    outcome: Saved
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


class SchedulerRepository:
    """Jobs, executions and what surrounds them. Every method takes the session first and never commits."""

    def __init__(self) -> None:
        self._ledger = FireLedger()

    # --- status ---------------------------------------------------------------------------------------------------

    async def get_execution_status_by_code(self, session: AsyncSession, code: str) -> ExecutionStatus:
        """The row of the status look-up.

        Raises:
            NotFoundError: there is no such code; the message lists them.
        """
        status = await session.get(ExecutionStatus, str(code))
        if status is None:
            codes = (await session.scalars(select(ExecutionStatus.code).order_by(ExecutionStatus.id))).all()
            raise NotFoundError(
                f"There is no execution status {code!r}. There are: "
                f"{', '.join(codes) or 'none (run hrsync db upgrade)'}."
            )
        return status

    # --- executions -----------------------------------------------------------------------------------------------

    async def update_execution(self, session: AsyncSession, execution_id: str, values: Mapping[str, Any]) -> bool:
        """Set columns of an execution; `status` may be given as code, or as `status_id`.

        Raises:
            NotFoundError: there is no such execution, or no such status.
            ConfigurationError: a name is not a column that can be set.
        """
        changes = dict(values)
        if "status_id" in changes:
            changes["status"] = await self._status_code(session, changes.pop("status_id"))
        elif "status" in changes:
            changes["status"] = (await self.get_execution_status_by_code(session, changes["status"])).code
        if unknown := sorted(set(changes) - _COLUMNS):
            raise ConfigurationError(
                f"An execution has no column {', '.join(unknown)} that can be set. There are: status_id, "
                f"{', '.join(sorted(_COLUMNS))}."
            )
        result = await session.execute(
            update(JobExecution)
            .where(JobExecution.id == execution_id)
            .values(**changes, updated_at=db_now())
            .execution_options(synchronize_session=False)
        )
        assert isinstance(result, CursorResult)
        if not result.rowcount:
            raise NotFoundError(f"There is no execution {execution_id!r}.")
        return True

    async def create_execution(
        self,
        session: AsyncSession,
        *,
        task: TaskTraits,
        params: Mapping[str, Any],
        triggered_by: str,
        requested_by: str | None = None,
        job: Job | None = None,
        run_after: dt.datetime | None = None,
        correlation_id: str | None = None,
        retry_of: str | None = None,
    ) -> JobExecution:
        """A new pending execution. Dispatch it once its transaction has committed.

        Raises:
            ConfigurationError: the task does not take these parameters.
        """
        values = execution_values(
            execution_id=new_id(),
            task_code=task.code,
            task=task,
            params=task.validate_params(dict(params)),
            triggered_by=triggered_by,
            now=await _now(session),
            job=job,
            run_after=run_after,
            requested_by=requested_by,
            correlation_id=correlation_id,
            retry_of=retry_of,
        )
        await session.execute(insert(EXECUTION), [values])
        return await self.get_execution(session, values["id"])

    async def get_execution(self, session: AsyncSession, text: str) -> JobExecution:
        """The execution with this id, or the only one whose id ends so (at least 4 characters).

        Raises:
            NotFoundError: there is none.
            ConflictError: several ids end so.
        """
        found = await self.find_execution(session, text)
        if found is None:
            raise NotFoundError(f"There is no execution {text!r}. `hrsync executions list` shows the latest.")
        return found

    async def find_execution(self, session: AsyncSession, text: str) -> JobExecution | None:
        """Like `get_execution`, but None when there is none.

        Raises:
            ConflictError: several ids end so.
        """
        part = text.strip().lower()
        if not _ID_PART.fullmatch(part):
            return None
        condition = JobExecution.id == part if len(part) == 36 else JobExecution.id.like(f"%{part}")
        ids = (await session.scalars(select(JobExecution.id).where(condition).limit(3))).all()
        if len(ids) > 1:
            raise ConflictError(f"Several executions end in {text!r} ({', '.join(ids)}): write more of the id.")
        if not ids:
            return None
        return await session.get(JobExecution, ids[0], populate_existing=True)

    async def list_executions(
        self,
        session: AsyncSession,
        *,
        job_code: str | None = None,
        task_code: str | None = None,
        status: Sequence[str] = (),
        since: dt.datetime | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[JobExecution]:
        """Executions, the newest first.

        Args:
            status: any of these codes; empty: all.
            since: created at this instant or later.
            before: only those older than the execution with this id (the last of the page before).

        Raises:
            NotFoundError: there is no job with that code, or no execution `before`.
        """
        # Not by id: that of a bare Celery call is Celery's own and says nothing about its time.
        statement = select(JobExecution).order_by(JobExecution.created_at.desc(), JobExecution.id.desc()).limit(limit)
        if job_code is not None:
            job = await self.get_job(session, job_code, include_deleted=True)
            statement = statement.where(JobExecution.job_id == job.id)
        if task_code is not None:
            statement = statement.where(JobExecution.task_code == task_code)
        if status:
            statement = statement.where(JobExecution.status.in_([str(code) for code in status]))
        if since is not None:
            statement = statement.where(JobExecution.created_at >= since)
        if before is not None:
            last_at = (await self.get_execution(session, before)).created_at
            statement = statement.where(
                JobExecution.created_at <= last_at,
                or_(JobExecution.created_at < last_at, JobExecution.id < before),
            )
        return list((await session.scalars(statement)).all())

    async def list_attempts(self, session: AsyncSession, execution_id: str) -> list[ExecutionAttempt]:
        """The attempts of an execution, the first one first."""
        statement = select(ExecutionAttempt).where(ExecutionAttempt.execution_id == execution_id)
        return list((await session.scalars(statement.order_by(ExecutionAttempt.attempt))).all())

    async def list_logs(
        self, session: AsyncSession, execution_id: str, *, attempt: int | None = None, after: int = 0, limit: int = 1000
    ) -> list[ExecutionLog]:
        """Log lines of an execution in their order.

        Args:
            after: only lines with a larger id (to follow a run: the id of the last line seen).
        """
        statement = select(ExecutionLog).where(ExecutionLog.execution_id == execution_id, ExecutionLog.id > after)
        if attempt is not None:
            statement = statement.where(ExecutionLog.attempt == attempt)
        return list((await session.scalars(statement.order_by(ExecutionLog.id).limit(limit))).all())

    async def request_cancel(
        self, session: AsyncSession, text: str, *, actor: str, reason: str | None = None
    ) -> JobExecution:
        """Cancel: a pending execution is cancelled at once, a running one is asked to end.

        Raises:
            NotFoundError, ConflictError: no such execution, or it has already ended.
        """
        execution = await self.get_execution(session, text)
        await cancel_executions(session, [execution.id], (reason or f"cancelled by {actor}")[:500])
        execution = await self.get_execution(session, execution.id)
        if execution.status != Status.CANCELLED and execution.cancel_requested_at is None:
            raise ConflictError(f"Execution {execution.id} has already ended ({execution.status}).")
        await self.record_audit(session, actor, "execution_cancelled", ("execution", execution.id), {"reason": reason})
        return execution

    async def retry_execution(
        self, session: AsyncSession, text: str, *, tasks: Mapping[str, TaskTraits], actor: str
    ) -> JobExecution:
        """A new execution with the task and parameters of one that has ended.

        Raises:
            NotFoundError: no such execution, or the program no longer has its task.
            ConflictError: it has not ended.
        """
        old = await self.get_execution(session, text)
        if not Status(old.status).is_final:
            raise ConflictError(f"Execution {old.id} is {old.status}: cancel it or wait for its end before a retry.")
        job = await session.get(Job, old.job_id) if old.job_id is not None else None
        new = await self.create_execution(
            session,
            task=_task(tasks, old.task_code),
            params=old.params,
            triggered_by="retry",
            requested_by=actor,
            job=job,
            correlation_id=old.correlation_id,
            retry_of=old.id,
        )
        await self.record_audit(session, actor, "execution_retried", ("execution", old.id), {"new": new.id})
        return new

    async def request_run(
        self,
        session: AsyncSession,
        job_code: str,
        *,
        tasks: Mapping[str, TaskTraits],
        actor: str,
        params: Mapping[str, Any] | None = None,
        triggered_by: str = "manual",
    ) -> JobExecution:
        """Run a job now, paused or not; `params` replace the job's parameters of the same names.

        Raises:
            NotFoundError: no such job, or the program no longer has its task.
            ConfigurationError: the task does not take these parameters.
        """
        job = await self.get_job(session, job_code)
        execution = await self.create_execution(
            session,
            task=_task(tasks, job.task_code),
            params={**(job.params or {}), **(params or {})},
            triggered_by=triggered_by,
            requested_by=actor,
            job=job,
        )
        await self.record_audit(session, actor, "job_run_requested", ("job", job.code), {"execution": execution.id})
        return execution

    async def count_executions(self, session: AsyncSession, *, since_seconds: float = 86_400) -> dict[Status, int]:
        """How many executions of the last `since_seconds` have each status; every status is there."""
        counts = dict.fromkeys(Status, 0)
        statement = select(JobExecution.status, func.count()).where(JobExecution.created_at >= db_now(-since_seconds))
        for code, count in await session.execute(statement.group_by(JobExecution.status)):
            counts[Status(code)] = count
        return counts

    # --- jobs -----------------------------------------------------------------------------------------------------

    async def list_jobs(self, session: AsyncSession, *, include_deleted: bool = False) -> list[Job]:
        """The jobs by code."""
        statement = select(Job).order_by(Job.code)
        if not include_deleted:
            statement = statement.where(Job.deleted_at.is_(None))
        return list((await session.scalars(statement)).all())

    async def get_job(self, session: AsyncSession, code: str, *, include_deleted: bool = False) -> Job:
        """The job with this code.

        Raises:
            NotFoundError: there is none.
        """
        job = await self.find_job(session, code)
        if job is None or (job.deleted_at is not None and not include_deleted):
            raise NotFoundError(f"There is no job {code!r}. `hrsync jobs list` shows them.")
        return job

    async def find_job(self, session: AsyncSession, code: str) -> Job | None:
        """The job with this code, deleted or not."""
        statement = select(Job).where(Job.code == code).execution_options(populate_existing=True)
        return (await session.scalars(statement)).one_or_none()

    async def save_job(
        self, session: AsyncSession, spec: JobSpec, *, tasks: Mapping[str, TaskTraits], actor: str
    ) -> SavedJob:
        """Create the job, or make it what the spec says.

        A new job, and one whose schedule is edited, fires from now on; what its old schedule still had due is decided
        by its old policies first. A new schedule or limit starts the count of its runs anew.

        Raises:
            ConfigurationError: the spec is wrong; the message names field, value and mend.
        """
        validate_job(spec, tasks)
        job = await self._lock_job(session, spec.code)
        now = await _now(session)
        if job is None or job.deleted_at is not None:
            return await self._create_job(session, spec, job, now=now, actor=actor)
        changes = _changes(job, spec)
        if not changes:
            return SavedJob(job=job, outcome=Saved.UNCHANGED)
        if SCHEDULE_FIELDS & changes.keys():
            await self._settle(
                session,
                job,
                tasks,
                now=now,
                obstacle=None if spec.enabled else "the job was disabled before it could run",
            )
            job.last_fire_at = now
        if changes.keys() & (SCHEDULE_FIELDS - {"enabled"} | {"max_runs"}):
            job.runs_count = 0
        for name, value in columns_of(spec).items():
            setattr(job, name, value)
        await self._touch(session, job, now)
        await self.record_audit(session, actor, "job_updated", ("job", job.code), {"changes": changes})
        return SavedJob(job=job, outcome=Saved.UPDATED, changes=changes)

    async def pause_job(self, session: AsyncSession, code: str, *, actor: str) -> Job:
        """Let the job's fires be recorded as missed until it is resumed; a paused job stays as it is."""
        job = await self._get_locked(session, code)
        if job.paused_at is None:
            job.paused_at = now = await _now(session)
            await self._touch(session, job, now)
            await self.record_audit(session, actor, "job_paused", ("job", job.code))
        return job

    async def resume_job(self, session: AsyncSession, code: str, *, tasks: Mapping[str, TaskTraits], actor: str) -> Job:
        """Let the job fire again; fires during the pause stay missed. A job that is not paused stays as it is."""
        job = await self._get_locked(session, code)
        if job.paused_at is not None:
            now = await _now(session)
            await self._settle(session, job, tasks, now=now, obstacle=obstacle_of(job))
            job.paused_at = None
            await self._touch(session, job, now)
            await self.record_audit(session, actor, "job_resumed", ("job", job.code))
        return job

    async def delete_job(self, session: AsyncSession, code: str, *, tasks: Mapping[str, TaskTraits], actor: str) -> Job:
        """Take the job away: it fires no more, and what of it is pending is cancelled. Its history stays."""
        job = await self._get_locked(session, code)
        now = await _now(session)
        await self._settle(session, job, tasks, now=now, obstacle="the job was deleted before it could run")
        pending = await session.scalars(
            select(JobExecution.id).where(JobExecution.job_id == job.id, JobExecution.status == Status.PENDING)
        )
        await cancel_executions(session, pending.all(), "the job was deleted")
        job.deleted_at = now
        await self._touch(session, job, now)
        await self.record_audit(session, actor, "job_deleted", ("job", job.code))
        return job

    # --- read-outs ------------------------------------------------------------------------------------------------

    async def record_audit(
        self,
        session: AsyncSession,
        actor: str,
        action: str,
        subject: tuple[str, str],
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down who did what to what (`subject` is its type and its code or id)."""
        object_type, object_id = subject
        values = {"actor": actor[:200], "action": action, "object_type": object_type, "object_id": object_id[:120]}
        await session.execute(insert(AuditEntry).values(at=db_now(), detail=dict(detail or {}), **values))

    async def list_audit(
        self, session: AsyncSession, *, object_type: str | None = None, object_id: str | None = None, limit: int = 50
    ) -> list[AuditEntry]:
        """Audit entries, the newest first."""
        statement = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
        if object_type is not None:
            statement = statement.where(AuditEntry.object_type == object_type)
        if object_id is not None:
            statement = statement.where(AuditEntry.object_id == object_id)
        return list((await session.scalars(statement)).all())

    async def list_streams(self, session: AsyncSession) -> list[Stream]:
        """The data streams by code."""
        return list((await session.scalars(select(Stream).order_by(Stream.code))).all())

    async def list_workers(self, session: AsyncSession, *, seen_within_seconds: float = 86_400) -> list[Worker]:
        """The workers that sent a heartbeat lately, the latest started first."""
        statement = select(Worker).where(Worker.heartbeat_at >= db_now(-seen_within_seconds))
        return list((await session.scalars(statement.order_by(Worker.started_at.desc()))).all())

    async def get_lease(self, session: AsyncSession) -> Lease:
        """The scheduler's lease.

        Raises:
            NotFoundError: its row is missing.
        """
        lease = await session.get(Lease, LEASE_NAME, populate_existing=True)
        if lease is None:
            raise NotFoundError("The scheduler's lease has no row: run `hrsync db upgrade`, which puts it there.")
        return lease

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _status_code(self, session: AsyncSession, status_id: int) -> str:
        code = await session.scalar(select(ExecutionStatus.code).where(ExecutionStatus.id == status_id))
        if code is None:
            raise NotFoundError(f"There is no execution status with the id {status_id!r}.")
        return code

    async def _lock_job(self, session: AsyncSession, code: str) -> Job | None:
        statement = select(Job).where(Job.code == code).with_for_update().execution_options(populate_existing=True)
        return (await session.scalars(statement)).one_or_none()

    async def _get_locked(self, session: AsyncSession, code: str) -> Job:
        job = await self._lock_job(session, code)
        if job is None or job.deleted_at is not None:
            raise NotFoundError(f"There is no job {code!r}. `hrsync jobs list` shows them.")
        return job

    async def _create_job(
        self, session: AsyncSession, spec: JobSpec, deleted: Job | None, *, now: dt.datetime, actor: str
    ) -> SavedJob:
        job = deleted or Job(code=spec.code, created_at=now, revision=0)
        for name, value in columns_of(spec).items():
            setattr(job, name, value)
        job.deleted_at = job.paused_at = None
        job.last_fire_at = now
        job.runs_count = 0
        session.add(job)
        await self._touch(session, job, now)
        await self.record_audit(session, actor, "job_created", ("job", job.code))
        return SavedJob(job=job, outcome=Saved.CREATED)

    async def _touch(self, session: AsyncSession, job: Job, now: dt.datetime) -> None:
        job.revision += 1
        job.updated_at = now
        await session.flush()

    async def _settle(
        self,
        session: AsyncSession,
        job: Job,
        tasks: Mapping[str, TaskTraits],
        *,
        now: dt.datetime,
        obstacle: str | None,
    ) -> None:
        """Bring what the job's present schedule has due into the ledger, before it is changed."""
        try:
            if not job.enabled:
                return
            active = (await self._ledger.find_active(session, [job.id])).get(job.id, ())
            obstacle = obstacle or obstacle_of(job)
            plan = plan_job(job, until=now, now=now, active=active, obstacle=obstacle)
        except ConfigurationError:
            return  # a row that cannot be evaluated has nothing due; the edit mends it
        await self._ledger.record(session, [JobFires(job=job, plan=plan, active=active)], tasks, now=now)
        await session.refresh(job)


def _task(tasks: Mapping[str, TaskTraits], code: str) -> TaskTraits:
    task = tasks.get(code)
    if task is None:
        raise NotFoundError(f"There is no task {code!r}. There are: {', '.join(sorted(tasks)) or 'none'}.")
    return task


def _changes(job: Job, spec: JobSpec) -> dict[str, tuple[Any, Any]]:
    new = columns_of(spec)
    try:
        old = columns_of(spec_of(job))
    except ConfigurationError:  # edited by hand into something that cannot be read
        old = {name: getattr(job, name) for name in new}
    return {name: (_json(old[name]), _json(value)) for name, value in new.items() if _json(old[name]) != _json(value)}


def _json(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    return value


async def _now(session: AsyncSession) -> dt.datetime:
    return (await session.execute(select(db_now()))).scalar_one()
