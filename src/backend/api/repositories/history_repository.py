"""Deletes old history from the scheduler's tables, a small batch in each transaction."""

from __future__ import annotations

from sqlalchemy import delete, func, select

from backend.db.database import Database
from backend.db.models.scheduler import ExecutionAttempt, ExecutionLog, JobExecution
from backend.db.types import db_now
from backend.domain.executions import Status

_FINAL = tuple(status.value for status in Status if status.is_final)


class HistoryRepository:
    """The history in hrsync's own database.

    Deleting an execution does not bring its fire back: what is to be fired is counted from the job's own mark
    (`last_fire_at`), not from the rows of the past.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_executions(self, *, older_than_seconds: float, limit: int) -> int:
        """Delete at most `limit` executions that ended so long ago, with their attempts and logs.

        What waits or runs is never deleted. Returns how many were deleted; 0: none is left.
        """
        for status in _FINAL:
            if deleted := await self._delete_executions(status, older_than_seconds, limit):
                return deleted
        return 0

    async def delete_logs(self, *, older_than_seconds: float, limit: int) -> int:
        """Delete at most `limit` log lines that are so old. Returns how many were deleted; 0: none is left."""
        is_old = ExecutionLog.logged_at < db_now(-older_than_seconds)
        # Lines are numbered in the order of time but for a second or so: the lowest numbers are the oldest lines.
        lowest = select(ExecutionLog.id, is_old).order_by(ExecutionLog.id).limit(limit)
        async with self._database.session() as session:
            ids = [line_id for line_id, old in await session.execute(lowest) if old]
            if ids:
                await session.execute(
                    delete(ExecutionLog).where(ExecutionLog.id.in_(ids)).execution_options(synchronize_session=False)
                )
        return len(ids)

    async def _delete_executions(self, status: str, older_than_seconds: float, limit: int) -> int:
        cutoff = db_now(-older_than_seconds)
        # An execution is due before it ends, so that the index of (status, run_after) finds all candidates; their ids
        # do not tell their age, as those of bare Celery calls are random.
        old = (
            select(JobExecution.id)
            .where(
                JobExecution.status == status,
                JobExecution.run_after < cutoff,
                func.coalesce(JobExecution.finished_at, JobExecution.updated_at) < cutoff,
            )
            .order_by(JobExecution.run_after)
            .limit(limit)
        )
        async with self._database.session() as session:
            ids = (await session.scalars(old)).all()
            if ids:
                for column in (ExecutionLog.execution_id, ExecutionAttempt.execution_id, JobExecution.id):
                    statement = delete(column.class_).where(column.in_(ids))
                    await session.execute(statement.execution_options(synchronize_session=False))
        return len(ids)
