"""The SQL of sending executions to the broker, of sending them again, and of rescuing those whose worker is lost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Update, and_, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from backend.db.models.scheduler import ExecutionAttempt, JobExecution
from backend.db.types import db_now
from backend.domain.executions import Status, Transition

LONGEST_REDISPATCH_SECONDS = 3600.0
_LOCKED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class StampedExecution:
    """An execution that this caller alone is to send now."""

    id: str
    task_name: str
    queue: str
    dispatched_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A running execution whose worker has fallen silent, as it was read."""

    id: str
    claim_token: str
    attempt: int
    interruptions: int
    max_attempts: int
    idempotent: bool
    cancel_requested: bool
    worker_id: str | None
    heartbeat_at: dt.datetime | None
    started_at: dt.datetime | None
    now: dt.datetime


class DispatchRepository:
    """Stamp, unstamp, resend, rescue."""

    async def take_due(
        self, session: AsyncSession, *, limit: int, only: Collection[str] | None = None
    ) -> list[StampedExecution]:
        """Stamp executions that are due as dispatched; each goes to one caller, however many ask.

        Of the active executions of a job only the oldest goes; the others wait for its end.
        """
        execution = JobExecution
        conditions = [
            execution.status == Status.PENDING,
            execution.dispatched_at.is_(None),
            execution.run_after <= db_now(),
            _nothing_ahead(),
        ]
        if only is not None:
            conditions.append(execution.id.in_(only))
        statement = (
            select(execution.id, execution.task_name, execution.queue, db_now().label("now"))
            .where(*conditions)
            .order_by(execution.run_after, execution.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = (await session.execute(statement)).all()
        if not rows:
            return []
        now = rows[0].now
        await session.execute(
            update(execution)
            .where(execution.id.in_([row.id for row in rows]))
            .values(dispatched_at=now, dispatch_count=execution.dispatch_count + 1, updated_at=now)
            .execution_options(synchronize_session=False)
        )
        return [
            StampedExecution(id=row.id, task_name=row.task_name, queue=row.queue, dispatched_at=now) for row in rows
        ]

    async def give_back(self, session: AsyncSession, unsent: Sequence[StampedExecution]) -> None:
        """Take the stamps of what could not be sent away again; such a delivery does not count."""
        for stamp in {item.dispatched_at for item in unsent}:
            ids = [item.id for item in unsent if item.dispatched_at == stamp]
            await _write(
                session,
                update(JobExecution)
                .where(
                    JobExecution.id.in_(ids),
                    JobExecution.status == Status.PENDING,
                    JobExecution.dispatched_at == stamp,
                )
                .values(dispatched_at=None, dispatch_count=JobExecution.dispatch_count - 1, updated_at=db_now()),
            )

    async def release_unclaimed(self, session: AsyncSession, redispatch_after_seconds: float) -> int:
        """Have executions sent again that were sent long ago and never claimed; how many (the rest at the next call).

        The patience doubles with every delivery, up to an hour: a long queue must not be flooded with copies.
        """
        overdue: list[ColumnElement[bool]] = []
        patience, deliveries = redispatch_after_seconds, 1
        while patience < LONGEST_REDISPATCH_SECONDS:
            overdue.append(
                and_(JobExecution.dispatch_count == deliveries, JobExecution.dispatched_at <= db_now(-patience))
            )
            patience, deliveries = patience * 2, deliveries + 1
        longest = max(redispatch_after_seconds, LONGEST_REDISPATCH_SECONDS)
        overdue.append(and_(JobExecution.dispatch_count >= deliveries, JobExecution.dispatched_at <= db_now(-longest)))
        ids = await lock_free(session, JobExecution.status == Status.PENDING, or_(*overdue))
        return await _write(session, _released().where(JobExecution.id.in_(ids))) if ids else 0

    async def release_all(self, session: AsyncSession) -> int:
        """Have everything sent again that was sent and not claimed (the broker has lost its messages); how many."""
        return await _write(session, _released())

    async def finish_cancelled(self, session: AsyncSession) -> int:
        """Cancel pending executions whose cancellation was asked for while they ran; how many."""
        ids = await lock_free(
            session, JobExecution.status == Status.PENDING, JobExecution.cancel_requested_at.is_not(None)
        )
        if not ids:
            return 0
        return await _write(
            session,
            update(JobExecution)
            .where(JobExecution.id.in_(ids))
            .values(
                status=Status.CANCELLED,
                reason=func.coalesce(JobExecution.cancel_reason, "cancelled"),
                finished_at=db_now(),
                updated_at=db_now(),
            ),
        )

    async def fail_unknown_tasks(
        self, session: AsyncSession, known: Collection[str], unclaimed_seconds: float
    ) -> Sequence[str]:
        """Fail executions whose task the program no longer has; their ids.

        Only what no worker has claimed for so long, since a worker may be of a newer version than this process. Such
        a row would be sent for ever, and everything else of its job, or the execution that it is a part of, would wait
        for it.
        """
        ids = await lock_free(
            session,
            JobExecution.status == Status.PENDING,
            JobExecution.dispatched_at <= db_now(-unclaimed_seconds),
            JobExecution.task_code.not_in(sorted(known)),
            # The tasks of direct calls are the workers' business.
            or_(JobExecution.job_id.is_not(None), JobExecution.triggered_by == "workflow"),
        )
        if ids:
            await _write(
                session,
                update(JobExecution)
                .where(JobExecution.id.in_(ids))
                .values(
                    status=Status.FAILED,
                    reason="the program has no such task",
                    error_type="UnknownTask",
                    error_message=literal("No worker took it, and this version of the program has no task '")
                    + JobExecution.task_code
                    + "': install the version that has it, or change the job.",
                    finished_at=db_now(),
                    updated_at=db_now(),
                ),
            )
        return ids

    async def find_orphans(self, session: AsyncSession, silent_seconds: float, *, limit: int = 500) -> list[Orphan]:
        """Running executions without a heartbeat for so long, by the database's clock."""
        last_sign = func.coalesce(JobExecution.heartbeat_at, JobExecution.started_at, JobExecution.updated_at)
        rows = await session.execute(
            select(
                JobExecution.id,
                JobExecution.claim_token,
                JobExecution.attempt,
                JobExecution.interruptions,
                JobExecution.max_attempts,
                JobExecution.idempotent,
                JobExecution.cancel_requested_at,
                JobExecution.worker_id,
                JobExecution.heartbeat_at,
                JobExecution.started_at,
                db_now().label("now"),
            )
            .where(JobExecution.status == Status.RUNNING, last_sign <= db_now(-silent_seconds))
            .order_by(JobExecution.id)
            .limit(limit)
        )
        return [
            Orphan(
                id=row.id,
                claim_token=row.claim_token or "",
                attempt=row.attempt,
                interruptions=row.interruptions,
                max_attempts=row.max_attempts,
                idempotent=row.idempotent,
                cancel_requested=row.cancel_requested_at is not None,
                worker_id=row.worker_id,
                heartbeat_at=row.heartbeat_at,
                started_at=row.started_at,
                now=row.now,
            )
            for row in rows
        ]

    async def rescue(self, session: AsyncSession, orphan: Orphan, change: Transition) -> bool:
        """Take the execution away from its worker; False: the worker has spoken, or the run has ended, since.

        Late writers are refused from then on, because the claim token is gone.
        """
        final = change.status.is_final
        duration_ms = None
        if orphan.started_at is not None:
            duration_ms = round((orphan.now - orphan.started_at).total_seconds() * 1000)
        problem = change.problem
        values: dict[str, Any] = {
            "status": change.status,
            "reason": change.reason,
            "claim_token": None,
            "worker_id": None,
            "heartbeat_at": None,
            "error_type": problem.type if problem else None,
            "error_message": problem.message if problem else None,
            "duration_ms": duration_ms,
            "finished_at": db_now() if final else None,
            "updated_at": db_now(),
        }
        if not final:
            values |= {"dispatched_at": None, "dispatch_count": 0, "run_after": db_now(change.delay_seconds or 0)}
        taken = await _write(
            session,
            update(JobExecution)
            .where(
                JobExecution.id == orphan.id,
                JobExecution.status == Status.RUNNING,
                func.coalesce(JobExecution.claim_token, "") == orphan.claim_token,
                _same(JobExecution.heartbeat_at, orphan.heartbeat_at),
            )
            .values(**values),
        )
        if taken:
            await _write(
                session,
                update(ExecutionAttempt)
                .where(
                    ExecutionAttempt.execution_id == orphan.id,
                    ExecutionAttempt.attempt == orphan.attempt,
                    ExecutionAttempt.outcome.is_(None),
                )
                .values(
                    outcome=change.outcome,
                    finished_at=db_now(),
                    duration_ms=duration_ms,
                    error_type="WorkerLost",
                    error_message=problem.message if problem else change.reason,
                ),
            )
        return bool(taken)


def _nothing_ahead() -> ColumnElement[bool]:
    """No other execution of the same job runs, is on its way to a worker, or is older and waiting."""
    running, older = aliased(JobExecution), aliased(JobExecution)
    return and_(
        ~select(running.id)
        .where(running.job_id == JobExecution.job_id, running.status == Status.RUNNING)
        .correlate(JobExecution)
        .exists(),
        ~select(older.id)
        .where(
            older.job_id == JobExecution.job_id,
            older.status == Status.PENDING,
            older.id != JobExecution.id,
            or_(older.id < JobExecution.id, older.dispatched_at.is_not(None)),
        )
        .correlate(JobExecution)
        .exists(),
    )


async def lock_free(session: AsyncSession, *conditions: ColumnElement[bool]) -> Sequence[str]:
    """Lock the executions of which this is true and that nobody else has locked; their ids.

    Looked for without locks first: usually there are none, and an UPDATE that looks for itself would lock, and wait
    for, every pending row that it passes.
    """
    found = select(JobExecution.id).where(*conditions).order_by(JobExecution.id).limit(_LOCKED_AT_ONCE)
    ids = (await session.scalars(found)).all()
    if not ids:
        return ids
    mine = select(JobExecution.id).where(JobExecution.id.in_(ids), *conditions).order_by(JobExecution.id)
    return (await session.scalars(mine.with_for_update(skip_locked=True))).all()


def _released() -> Update:
    return (
        update(JobExecution)
        .where(JobExecution.status == Status.PENDING, JobExecution.dispatched_at.is_not(None))
        .values(dispatched_at=None, updated_at=db_now())
    )


def _same(column: Any, value: dt.datetime | None) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = column.is_(None) if value is None else column == value
    return condition


async def _write(session: AsyncSession, statement: Update) -> int:
    result = await session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount
