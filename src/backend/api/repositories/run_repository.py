"""The SQL of runs that workers own: claim, heartbeat, progress, log, finish.

Every write of a claimed run carries its claim token, so that a run which was taken away writes nothing. All methods
take many runs at once: workers join what happens at the same time into one transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Insert, Table, bindparam, insert, select, update
from sqlalchemy.dialects.mysql import insert as mysql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

from backend.api.repositories.parts_repository import find_abandoned
from backend.db.models.scheduler import ExecutionAttempt, ExecutionLog, JobExecution, Worker
from backend.db.types import db_now
from backend.domain.executions import Status, Transition

_EXECUTION = cast(Table, JobExecution.__table__)
_ATTEMPT = cast(Table, ExecutionAttempt.__table__)
_RESULT_COLUMNS = (
    "status", "reason", "summary", "result", "error_type", "error_message",
    "progress_current", "progress_total", "progress_message",
    "rows_read", "rows_inserted", "rows_updated", "rows_unchanged", "rows_deactivated", "rows_rejected",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """Who claims: an id that no other process ever had, and where it is."""

    id: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectCall:
    """A Celery call that has no row yet; the claim makes one."""

    task_code: str
    task_name: str
    queue: str
    params: Mapping[str, Any]
    max_attempts: int
    idempotent: bool
    requested_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A delivered message: the execution's id, and what it calls when it has no row."""

    execution_id: str
    direct: DirectCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """An execution that this worker owns until it finishes it or falls silent.

    `abandoned`: why it is not to run after all: it is a part of an execution that has ended meanwhile.
    """

    execution_id: str
    claim_token: str
    attempt: int
    interruptions: int
    max_attempts: int
    task_code: str
    job_code: str | None
    params: dict[str, Any]
    triggered_by: str
    correlation_id: str
    scheduled_for: dt.datetime | None
    started_at: dt.datetime
    abandoned: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """What a run has said since the last flush; `values` are columns of the execution."""

    execution_id: str
    claim_token: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of an attempt's log."""

    execution_id: str
    attempt: int
    logged_at: dt.datetime
    level: str
    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How an attempt ended and what follows; `values` are columns of the execution (counts, result, errors).

    `log`: the last lines of the attempt's log.
    """

    execution_id: str
    claim_token: str
    attempt: int
    started_at: dt.datetime
    transition: Transition
    duration_ms: int
    values: Mapping[str, Any]
    log: Sequence[LogLine] = ()


class RunRepository:
    """Claim, heartbeat, progress and finish of runs."""

    async def claim(
        self,
        session: AsyncSession,
        requests: Sequence[ClaimRequest],
        worker: WorkerIdentity,
        claim_token: str,
        doubtful: Mapping[str, Collection[str]] | None = None,
    ) -> dict[str, ClaimedRun]:
        """Take what is pending and due; whoever comes second gets nothing.

        Args:
            doubtful: id -> tokens of earlier claims whose answer was lost; one of them may have succeeded.

        Returns:
            The claimed runs by execution id; an id that is missing was not to be had.
        """
        direct = [request for request in requests if request.direct is not None]
        if direct:
            await self._insert_direct(session, direct)
        connection = await session.connection()
        values = {
            "b_ids": [request.execution_id for request in requests],
            "b_token": claim_token,
            "b_worker": worker.id,
            "b_host": worker.host,
        }
        await connection.execute(_CLAIM, values)
        rows = list(await connection.execute(_CLAIMED, values))
        if rows:
            await connection.execute(_BEGIN_ATTEMPTS, values)
        if doubtful:
            found = await connection.execute(_CLAIMED_BEFORE, {"b_ids": list(doubtful)})
            rows += [row for row in found if row.claim_token in doubtful[row.id]]
        maybe_parts = [row.id for row in rows if row.triggered_by == "workflow"]
        abandoned = await find_abandoned(session, maybe_parts) if maybe_parts else {}
        return {
            row.id: ClaimedRun(
                execution_id=row.id,
                claim_token=row.claim_token,
                attempt=row.attempt,
                interruptions=row.interruptions,
                max_attempts=row.max_attempts,
                task_code=row.task_code,
                job_code=row.job_code,
                params=row.params,
                triggered_by=row.triggered_by,
                correlation_id=row.correlation_id,
                scheduled_for=row.scheduled_for,
                started_at=row.started_at,
                abandoned=abandoned.get(row.id),
            )
            for row in rows
        }

    async def hand_back(self, session: AsyncSession, request: ClaimRequest) -> None:
        """Have what was delivered here, but not taken, sent again; a direct call gets its row now."""
        if request.direct is not None:
            await self._insert_direct(session, [request])
        await session.execute(
            update(JobExecution)
            .where(JobExecution.id == request.execution_id, JobExecution.status == Status.PENDING)
            .values(dispatched_at=None, updated_at=db_now())
            .execution_options(synchronize_session=False)
        )

    async def write_progress(self, session: AsyncSession, progress: Sequence[RunProgress]) -> set[str]:
        """Write progress and counts of running executions.

        Returns:
            The ids of those that are no longer owned under their claim token.
        """
        owned = await self._owned(session, [(item.execution_id, item.claim_token) for item in progress])
        for item in progress:
            if item.execution_id in owned and item.values:
                await session.execute(
                    update(JobExecution)
                    .where(JobExecution.id == item.execution_id, JobExecution.claim_token == item.claim_token)
                    .values(**item.values, updated_at=db_now())
                    .execution_options(synchronize_session=False)
                )
        return {item.execution_id for item in progress} - owned

    async def write_log(self, session: AsyncSession, lines: Sequence[LogLine]) -> None:
        """Add lines to the logs of attempts."""
        if lines:
            await session.execute(
                insert(ExecutionLog),
                [
                    {
                        "execution_id": line.execution_id, "attempt": line.attempt, "logged_at": line.logged_at,
                        "level": line.level, "event": line.event[:500], "fields": dict(line.fields),
                    }
                    for line in lines
                ],
            )  # fmt: skip

    async def finish(self, session: AsyncSession, ends: Sequence[RunEnd], worker: WorkerIdentity) -> set[str]:
        """End attempts and move their executions on.

        Returns:
            The ids that were written; the others had lost their claim.
        """
        owned = await self._owned(session, [(end.execution_id, end.claim_token) for end in ends])
        mine = [end for end in ends if end.execution_id in owned]
        # An end may come twice: when the answer to its first commit was lost.
        written = owned | await self._ended(session, [end for end in ends if end.execution_id not in owned])
        if not mine:
            return written
        final = [end for end in mine if end.transition.status.is_final]
        again = [end for end in mine if not end.transition.status.is_final]
        connection = await session.connection()
        dialect = connection.dialect.name
        if final:
            await connection.execute(_FINISH[dialect], [_execution_end(end) for end in final])
        for end in again:
            await session.execute(
                update(JobExecution)
                .where(JobExecution.id == end.execution_id, JobExecution.claim_token == end.claim_token)
                .values(
                    **{name: end.values.get(name) for name in _RESULT_COLUMNS if name != "status"},
                    status=end.transition.status,
                    claim_token=None,
                    worker_id=None,
                    dispatched_at=None,
                    # A run that is handed back starts its count of deliveries anew.
                    dispatch_count=0,
                    run_after=db_now(end.transition.delay_seconds or 0),
                    interruptions=JobExecution.interruptions + (0 if end.transition.burns_attempt else 1),
                    duration_ms=end.duration_ms,
                    updated_at=db_now(),
                )
                .execution_options(synchronize_session=False)
            )
        await connection.execute(_FINISH_ATTEMPT[dialect], [_attempt_end(end, worker) for end in mine])
        await self.write_log(session, [line for end in mine for line in end.log])
        return written

    async def heartbeat(
        self,
        session: AsyncSession,
        worker: WorkerIdentity,
        runs: Mapping[str, str],
        *,
        pool: str,
        loop_gap_ms: int,
    ) -> None:
        """Say that the worker lives, and with it the runs (id -> claim token) that it really holds.

        A run that only the table gives to this worker falls silent, so that it is rescued. A row that somebody has
        locked is passed over: it must not keep the heartbeat from the others.
        """
        if runs:
            rows = await session.execute(_ALIVE, {"b_ids": sorted(runs)})
            ids = [row.id for row in rows if row.claim_token == runs[row.id]]
            await session.execute(
                update(JobExecution)
                .where(JobExecution.id.in_(ids))
                .values(heartbeat_at=db_now())
                .execution_options(synchronize_session=False)
            )
        values = {"heartbeat_at": db_now(), "running": len(runs), "loop_gap_ms": loop_gap_ms, "stopped_at": None}
        known = await session.execute(
            update(Worker).where(Worker.id == worker.id).values(**values).execution_options(synchronize_session=False)
        )
        if not known.rowcount:  # type: ignore[attr-defined]
            await session.execute(
                insert(Worker).values(
                    id=worker.id, host=worker.host, pid=worker.pid, pool=pool, started_at=db_now(), **values
                )
            )

    async def stop_worker(self, session: AsyncSession, worker: WorkerIdentity) -> None:
        """Say that the worker has ended."""
        await session.execute(
            update(Worker)
            .where(Worker.id == worker.id)
            .values(stopped_at=db_now(), running=0)
            .execution_options(synchronize_session=False)
        )

    async def find_cancel_requests(self, session: AsyncSession, worker: WorkerIdentity) -> dict[str, str]:
        """The running executions of this worker that somebody wants cancelled, with the reason."""
        rows = await session.execute(
            select(_EXECUTION.c.id, _EXECUTION.c.cancel_reason).where(
                _EXECUTION.c.worker_id == worker.id,
                _EXECUTION.c.status == Status.RUNNING,
                _EXECUTION.c.cancel_requested_at.is_not(None),
            )
        )
        return {row.id: row.cancel_reason or "cancelled" for row in rows}

    async def _owned(self, session: AsyncSession, claims: Sequence[tuple[str, str]]) -> set[str]:
        """Which of the (id, claim token) pairs still hold; the rows stay locked until the transaction ends."""
        connection = await session.connection()
        tokens = dict(claims)
        rows = await connection.execute(_OWNED, {"b_ids": list(tokens)})
        return {row.id for row in rows if row.claim_token == tokens[row.id]}

    async def _ended(self, session: AsyncSession, ends: Sequence[RunEnd]) -> set[str]:
        """Which of the ends are in the table already."""
        if not ends:
            return set()
        wanted = {end.execution_id: (end.claim_token, end.transition.status) for end in ends}
        connection = await session.connection()
        rows = await connection.execute(_ENDS, {"b_ids": list(wanted)})
        return {row.id for row in rows if (row.claim_token, row.status) == wanted[row.id]}

    async def _insert_direct(self, session: AsyncSession, requests: Sequence[ClaimRequest]) -> None:
        rows = [
            {
                "id": request.execution_id,
                "task_code": direct.task_code,
                "task_name": direct.task_name,
                "queue": direct.queue,
                "params": dict(direct.params),
                "max_attempts": direct.max_attempts,
                "idempotent": direct.idempotent,
                "requested_by": direct.requested_by,
                "correlation_id": request.execution_id,
            }
            for request in requests
            if (direct := request.direct) is not None
        ]
        statement = _insert_new(session).values(
            triggered_by="direct",
            status=Status.PENDING,
            run_after=db_now(),
            dispatched_at=db_now(),
            dispatch_count=1,
            attempt=0,
            interruptions=0,
            created_at=db_now(),
            updated_at=db_now(),
        )
        for row in rows:
            await session.execute(statement.values(**row))


def _insert_new(session: AsyncSession) -> Insert:
    """An INSERT that does nothing where the row is already there."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite_insert(JobExecution).on_conflict_do_nothing()
    # Not INSERT IGNORE, which would also cut an id that is too long, and the call would be lost.
    return mysql_insert(JobExecution).on_duplicate_key_update(id=JobExecution.id)


# --- statements that every run needs, built once ----------------------------------------------------------------------

_IDS: Any = bindparam("b_ids", expanding=True)

_CLAIM = (
    update(_EXECUTION)
    .where(_EXECUTION.c.id.in_(_IDS), _EXECUTION.c.status == Status.PENDING, _EXECUTION.c.run_after <= db_now(1))
    .values(
        {
            **dict.fromkeys(_RESULT_COLUMNS),
            "status": Status.RUNNING,
            "attempt": _EXECUTION.c.attempt + 1,
            "claim_token": bindparam("b_token"),
            "worker_id": bindparam("b_worker"),
            "worker_host": bindparam("b_host"),
            "started_at": db_now(),
            "heartbeat_at": db_now(),
            "updated_at": db_now(),
            "finished_at": None,
            "duration_ms": None,
        }
    )
)
_IS_CLAIMED = (_EXECUTION.c.id.in_(_IDS), _EXECUTION.c.claim_token == bindparam("b_token"))
_RUN = select(
    _EXECUTION.c.id, _EXECUTION.c.claim_token, _EXECUTION.c.attempt, _EXECUTION.c.interruptions,
    _EXECUTION.c.max_attempts, _EXECUTION.c.task_code, _EXECUTION.c.job_code, _EXECUTION.c.params,
    _EXECUTION.c.triggered_by, _EXECUTION.c.correlation_id, _EXECUTION.c.scheduled_for, _EXECUTION.c.started_at,
)  # fmt: skip
_CLAIMED = _RUN.where(*_IS_CLAIMED)
_CLAIMED_BEFORE = _RUN.where(_EXECUTION.c.id.in_(_IDS), _EXECUTION.c.status == Status.RUNNING).with_for_update()
_BEGIN_ATTEMPTS = insert(_ATTEMPT).from_select(
    ["execution_id", "attempt", "claim_token", "worker_id", "worker_host", "started_at"],
    select(
        _EXECUTION.c.id, _EXECUTION.c.attempt, _EXECUTION.c.claim_token, _EXECUTION.c.worker_id,
        _EXECUTION.c.worker_host, _EXECUTION.c.started_at,
    ).where(*_IS_CLAIMED),
)  # fmt: skip
_OWNED = (
    select(_EXECUTION.c.id, _EXECUTION.c.claim_token)
    .where(_EXECUTION.c.id.in_(_IDS), _EXECUTION.c.status == Status.RUNNING)
    .with_for_update()
)

_ALIVE = (
    select(_EXECUTION.c.id, _EXECUTION.c.claim_token)
    .where(_EXECUTION.c.id.in_(_IDS), _EXECUTION.c.status == Status.RUNNING)
    .with_for_update(skip_locked=True)
)
_ENDS = select(_EXECUTION.c.id, _EXECUTION.c.claim_token, _EXECUTION.c.status).where(_EXECUTION.c.id.in_(_IDS))

# --- ends of many runs in one statement -------------------------------------------------------------------------------
#
# Drivers join the rows of an INSERT into one statement, but send an UPDATE once for each row, and the round trips are
# what a run costs. So ends are written as upserts of rows that exist and are locked (`_owned`): the insert never takes
# place, and the values that only it would need are dummies.


def _upsert(table: Table, updated: Sequence[str]) -> Mapping[str, Insert]:
    mysql = mysql_insert(table)
    sqlite = sqlite_insert(table)
    return {
        "mysql": mysql.on_duplicate_key_update({name: mysql.inserted[name] for name in updated}),
        "mariadb": mysql.on_duplicate_key_update({name: mysql.inserted[name] for name in updated}),
        "sqlite": sqlite.on_conflict_do_update(
            index_elements=list(table.primary_key), set_={name: sqlite.excluded[name] for name in updated}
        ),
    }


_FINISH = _upsert(_EXECUTION, [*_RESULT_COLUMNS, "duration_ms", "finished_at", "updated_at"])
_FINISH_ATTEMPT = _upsert(
    _ATTEMPT, ["outcome", "duration_ms", "finished_at", "error_type", "error_message", "traceback"]
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NEVER_INSERTED = {
    "task_code": "", "task_name": "", "queue": "", "params": {}, "triggered_by": "", "correlation_id": "",
    "run_after": _EPOCH, "dispatch_count": 0, "attempt": 0, "interruptions": 0, "max_attempts": 0,
    "idempotent": False, "created_at": _EPOCH,
}  # fmt: skip


def _execution_end(end: RunEnd) -> dict[str, Any]:
    finished_at = end.started_at + dt.timedelta(milliseconds=end.duration_ms)
    return {
        **_NEVER_INSERTED,
        **{name: end.values.get(name) for name in _RESULT_COLUMNS},
        "id": end.execution_id,
        "status": end.transition.status,
        "duration_ms": end.duration_ms,
        "finished_at": finished_at,
        "updated_at": finished_at,
    }


def _attempt_end(end: RunEnd, worker: WorkerIdentity) -> dict[str, Any]:
    problem = end.transition.problem
    return {
        "execution_id": end.execution_id,
        "attempt": end.attempt,
        "claim_token": end.claim_token,
        "worker_id": worker.id,
        "worker_host": worker.host,
        "started_at": end.started_at,
        "outcome": end.transition.outcome,
        "duration_ms": end.duration_ms,
        "finished_at": end.started_at + dt.timedelta(milliseconds=end.duration_ms),
        "error_type": problem and problem.type,
        "error_message": problem and problem.message,
        "traceback": problem and problem.traceback,
    }
