"""The SQL of executions that wait for their parts. The status of a part is that of its own execution, and no copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, func, insert, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from backend.api.repositories.dispatch_repository import lock_free
from backend.api.repositories.fire_ledger import EXECUTION, cancel_executions, execution_values
from backend.db.models.scheduler import ExecutionPart, JobExecution
from backend.db.types import db_now
from backend.domain.executions import COUNT_NAMES, RowCounts, RunReport, Status
from backend.domain.jobs import TaskTraits
from backend.domain.parts import WAITING_FOR_PARTS, PartState, describe_progress
from backend.errors import ConflictError
from backend.utils.identifiers import new_id

_ACTIVE = (Status.PENDING, Status.RUNNING)
_PART = aliased(JobExecution, name="part")
_PARENT = aliased(JobExecution, name="parent")
_ROWS_PER_INSERT = 500
_CANCELLED_AT_ONCE = 1000


class PartsRepository:
    """Parts of executions: make, take over, read, cancel, and wake who waits for them. Nothing here commits."""

    async def find(self, session: AsyncSession, execution_id: str, *, details: bool = True) -> list[PartState]:
        """The parts of an execution as they are now, in the order of the plan.

        Args:
            details: read their parameters and the details of their reports too, which may be much.
        """
        much = (_PART.params, _PART.result) if details else (null().label("params"), null().label("result"))
        columns = [getattr(_PART, f"rows_{name}") for name in COUNT_NAMES]
        rows = await session.execute(
            select(
                ExecutionPart.number, ExecutionPart.part_execution_id,
                _PART.task_code, _PART.status, _PART.reason, _PART.error_type, _PART.summary, *much, *columns,
            )
            .outerjoin(_PART, _PART.id == ExecutionPart.part_execution_id)
            .where(ExecutionPart.execution_id == execution_id)
            .order_by(ExecutionPart.number)
        )  # fmt: skip
        return [_state(row) for row in rows]

    async def find_parent(self, session: AsyncSession, execution_id: str) -> str | None:
        """The execution that this one is a part of, the latest where a retry has taken the part over."""
        statement = select(func.max(ExecutionPart.execution_id)).where(ExecutionPart.part_execution_id == execution_id)
        parent: str | None = await session.scalar(statement)
        return parent

    async def create(
        self,
        session: AsyncSession,
        execution_id: str,
        attempt: int,
        task: TaskTraits,
        params: Sequence[Mapping[str, Any]],
    ) -> None:
        """Make the parts of a running execution, once: where it has parts already, nothing is done.

        Raises:
            ConflictError: the execution is no longer in this attempt.
            ConfigurationError: the task does not take these parameters.
        """
        if parent := await self._lock_without_parts(session, execution_id, attempt):
            ids = await self._create_executions(session, parent, task, params)
            await self._add(session, execution_id, ids)

    async def take_over(self, session: AsyncSession, execution_id: str, attempt: int, task: TaskTraits) -> bool:
        """Of the execution that this one retries: take the parts that ended well over, and make the others again.

        Returns:
            False: there is nothing to take over. It ended well itself, or none of its parts did, or records are
            deleted.

        Raises:
            ConflictError: the execution is no longer in this attempt.
        """
        old = await self._find_of_retried(session, execution_id)
        good = {part.number: part.execution_id for part in old if part.status is Status.SUCCESS}
        again = [part for part in old if part.number not in good]
        if not good or any(part.params is None for part in old):
            return False
        if parent := await self._lock_without_parts(session, execution_id, attempt):
            made = await self._create_executions(session, parent, task, [part.params or {} for part in again])
            new = dict(zip((part.number for part in again), made, strict=True))
            await self._add(session, execution_id, [(good | new)[part.number] for part in old])
        return True

    async def wake_waiting(self, session: AsyncSession) -> int:
        """Tell the progress of executions that wait for parts; make those due whose parts have all ended; how many."""
        unfinished = func.sum(case((_PART.status.in_(_ACTIVE), 1), else_=0))
        good = func.sum(case((_PART.status == Status.SUCCESS, 1), else_=0))
        rows = await session.execute(
            select(
                _PARENT.id,
                _PARENT.progress_message,
                func.count().label("total"),
                unfinished.label("unfinished"),
                good.label("good"),
            )
            .join(ExecutionPart, ExecutionPart.execution_id == _PARENT.id)
            .outerjoin(_PART, _PART.id == ExecutionPart.part_execution_id)
            .where(*_waits(_PARENT))
            .group_by(_PARENT.id, _PARENT.progress_message)
        )
        changes: dict[str, dict[str, Any]] = {}
        for row in rows:
            done = row.total - int(row.unfinished)
            message = describe_progress(done=done, total=row.total, failed=done - int(row.good))
            if done == row.total or message != row.progress_message:
                changes[row.id] = {
                    "progress_current": done,
                    "progress_total": row.total,
                    "progress_message": message,
                    **({"run_after": db_now()} if done == row.total else {}),
                }
        if not changes:
            return 0
        locked = await lock_free(session, JobExecution.id.in_(changes), *_waits(JobExecution))
        for execution_id in locked:
            await session.execute(
                update(JobExecution)
                .where(JobExecution.id == execution_id)
                .values(**changes[execution_id], updated_at=db_now())
                .execution_options(synchronize_session=False)
            )
        return sum("run_after" in changes[execution_id] for execution_id in locked)

    async def cancel_abandoned(self, session: AsyncSession) -> int:
        """Cancel parts whose execution has ended without them; how many (more at the next call)."""
        final = [status for status in Status if status.is_final]
        rows = await session.execute(
            select(_PART.id, _PARENT.id.label("parent"), _PARENT.status)
            .join(ExecutionPart, ExecutionPart.part_execution_id == _PART.id)
            .join(_PARENT, _PARENT.id == ExecutionPart.execution_id)
            .where(
                _PART.status.in_(_ACTIVE),
                _PART.triggered_by == "workflow",
                _PART.cancel_requested_at.is_(None),
                _PARENT.status.in_(final),
            )
            .order_by(_PART.id)
            .limit(_CANCELLED_AT_ONCE)
        )
        reasons = {row.id: _reason(row.parent, row.status) for row in rows}
        if not reasons:
            return 0
        locked = await lock_free(session, JobExecution.id.in_(reasons))
        for reason in sorted({reasons[part_id] for part_id in locked}):
            await cancel_executions(session, [part_id for part_id in locked if reasons[part_id] == reason], reason)
        return len(locked)

    async def _find_of_retried(self, session: AsyncSession, execution_id: str) -> list[PartState]:
        """The parts of what the execution retries; where that was a retry that made none, of what that one retries."""
        retry_of: str | None = execution_id
        while retry_of is not None:
            before = select(JobExecution.retry_of).where(JobExecution.id == retry_of).scalar_subquery()
            unfinished = select(JobExecution.id).where(JobExecution.id == before, JobExecution.status != Status.SUCCESS)
            retry_of = await session.scalar(unfinished)
            if retry_of is not None and (found := await self.find(session, retry_of)):
                return found
        return []

    async def _lock_without_parts(self, session: AsyncSession, execution_id: str, attempt: int) -> JobExecution | None:
        """The execution, locked; None: it has parts, which an attempt before this one has made."""
        statement = select(JobExecution).where(JobExecution.id == execution_id).with_for_update()
        parent = (await session.scalars(statement.execution_options(populate_existing=True))).one_or_none()
        if parent is None or parent.status != Status.RUNNING or parent.attempt != attempt:
            raise ConflictError(f"Attempt {attempt} of execution {execution_id} has ended; it can make no parts.")
        statement_of_parts = select(ExecutionPart.number).where(ExecutionPart.execution_id == execution_id).limit(1)
        return parent if await session.scalar(statement_of_parts) is None else None

    async def _create_executions(
        self, session: AsyncSession, parent: JobExecution, task: TaskTraits, params: Sequence[Mapping[str, Any]]
    ) -> list[str]:
        now = (await session.execute(select(db_now()))).scalar_one()
        # Sorted, because ids of the same millisecond are not ascending, and the first part is to run first.
        ids = sorted(new_id() for _ in params)
        rows = [
            execution_values(
                execution_id=part_id,
                task_code=task.code,
                task=task,
                params=task.validate_params(dict(values)),
                triggered_by="workflow",
                now=now,
                correlation_id=parent.correlation_id,
            )
            for part_id, values in zip(ids, params, strict=True)
        ]
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            await session.execute(insert(EXECUTION), rows[start : start + _ROWS_PER_INSERT])
        return ids

    async def _add(self, session: AsyncSession, execution_id: str, ids: Sequence[str]) -> None:
        rows = [
            {"execution_id": execution_id, "number": number, "part_execution_id": part_id}
            for number, part_id in enumerate(ids, start=1)
        ]
        if rows:
            await session.execute(insert(ExecutionPart), rows)


async def find_abandoned(session: AsyncSession, execution_ids: Collection[str]) -> dict[str, str]:
    """Those of the executions that are parts of an execution which has ended, with the words that say so."""
    rows = await session.execute(
        select(ExecutionPart.part_execution_id, _PARENT.id, _PARENT.status)
        .join(_PARENT, _PARENT.id == ExecutionPart.execution_id)
        .where(ExecutionPart.part_execution_id.in_(execution_ids))
    )
    return {part_id: _reason(parent_id, status) for part_id, parent_id, status in rows if Status(status).is_final}


def _waits(execution: Any) -> tuple[ColumnElement[bool], ...]:
    # Those that are due again by themselves need not be woken.
    return (
        execution.status == Status.PENDING,
        execution.run_after > db_now(),
        execution.reason == WAITING_FOR_PARTS,
    )


def _reason(parent_id: str, status: str) -> str:
    return f"part of execution {parent_id}, which has ended ({status})"


def _state(row: Any) -> PartState:
    if row.status is None:
        return PartState(
            number=row.number,
            execution_id=row.part_execution_id,
            task_code=None,
            params=None,
            status=Status.CANCELLED,
            reason="its record was deleted",
        )
    status = Status(row.status)
    report = RunReport()
    if status is Status.SUCCESS:
        counts = RowCounts(**{name: getattr(row, f"rows_{name}") for name in COUNT_NAMES})
        details = row.result if isinstance(row.result, dict) else {}
        report = RunReport(counts=counts, summary=row.summary or "", details=details)
    return PartState(
        number=row.number,
        execution_id=row.part_execution_id,
        task_code=row.task_code,
        params=row.params,
        status=status,
        reason=row.error_type or row.reason,
        report=report,
    )
