"""Executions in parts, driven step by step as workers and the scheduler's sweep would, without their processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from backend.adapters.execution_parts import DatabaseParts
from backend.api.repositories.dispatch_repository import DispatchRepository
from backend.api.repositories.parts_repository import PartsRepository
from backend.api.repositories.run_repository import ClaimedRun, ClaimRequest, RunEnd, RunRepository, WorkerIdentity
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.db.database import Database
from backend.db.models import ExecutionAttempt, JobExecution
from backend.domain.executions import (
    Cancelled,
    Failed,
    Interrupted,
    Outcome,
    Problem,
    ReportedError,
    RetryIn,
    RowCounts,
    RunReport,
    Status,
    Succeeded,
    Wait,
    Waiting,
    transition,
)
from backend.domain.parts import PartState
from backend.execution.run_context import RunContext, count_columns
from backend.scheduler.rescue import rescue_orphans
from backend.services.run_parts import run_in_parts
from backend.utils.identifiers import new_id
from tests.support.scheduling import set_silent
from tests.support.tasks import StandInTask

WHOLE = StandInTask(code="whole", name="tasks.test.whole_task", parameters=())
PART = StandInTask(code="part", name="tasks.test.part_task", parameters=("number",))
TASKS = {"whole": WHOLE, "part": PART}
BROKEN = Failed(problem=Problem(type="PermanentError", message="it broke"))
_WORKER = WorkerIdentity(id="worker-1", host="test", pid=1)


class Wholes:
    """Steps of executions that split into parts.

    Attributes:
        plans: how often a plan was asked for.
        summaries: ids of the executions whose summary ran, in their order.
    """

    def __init__(self, database: Database, count: int = 3) -> None:
        self.database = database
        self.count = count
        self.plans = 0
        self.summaries: list[str] = []
        self.parts = DatabaseParts(database)
        self._runs = RunRepository()
        self._scheduler = SchedulerRepository()

    # --- what people do ---------------------------------------------------------------------------------------------

    async def add(self) -> str:
        """A new execution that will split; its id."""
        async with self.database.session() as session:
            row = await self._scheduler.create_execution(session, task=WHOLE, params={}, triggered_by="manual")
        return row.id

    async def cancel(self, execution_id: str) -> None:
        """As `hrsync executions cancel`."""
        async with self.database.session() as session:
            await self._scheduler.request_cancel(session, execution_id, actor="ann", reason="not now")

    async def retry(self, execution_id: str) -> str:
        """As `hrsync executions retry`; the new id."""
        async with self.database.session() as session:
            row = await self._scheduler.retry_execution(session, execution_id, tasks=TASKS, actor="ann")
        return row.id

    # --- what workers do --------------------------------------------------------------------------------------------

    async def claim(self, execution_id: str) -> ClaimedRun | None:
        """Claim as a worker does; None: it is not due, or somebody else has it."""
        async with self.database.session() as session:
            request = ClaimRequest(execution_id=execution_id)
            return (await self._runs.claim(session, [request], _WORKER, new_id())).get(execution_id)

    async def end(self, run: ClaimedRun, outcome: Outcome, values: Mapping[str, Any] | None = None) -> bool:
        """End the attempt as a worker does; False: the claim was lost."""
        assert isinstance(outcome, Succeeded | RetryIn | Failed | Cancelled | Interrupted | Waiting)
        change = transition(outcome)
        report = change.report or RunReport()
        columns = dict(values or {}) | count_columns(report.counts)
        columns |= {"status": change.status, "reason": change.reason, "summary": report.summary or None}
        columns |= {"result": dict(report.details) or None, "error_type": change.problem and change.problem.type}
        columns["error_message"] = change.problem and change.problem.message
        end = RunEnd(
            execution_id=run.execution_id,
            claim_token=run.claim_token,
            attempt=run.attempt,
            started_at=run.started_at,
            transition=change,
            duration_ms=1,
            values=columns,
        )
        async with self.database.session() as session:
            return run.execution_id in await self._runs.finish(session, [end], _WORKER)

    async def body(self, run: ClaimedRun, count: int | None = None) -> tuple[Outcome, Mapping[str, Any]]:
        """What the body of the whole does in this attempt, and the progress that it told."""

        async def plan() -> Sequence[Mapping[str, Any]]:
            self.plans += 1
            return [{"number": number} for number in range(1, (self.count if count is None else count) + 1)]

        context = RunContext(run, 5)
        try:
            done = await run_in_parts(context, self.parts, task=PART, plan=plan)
            self.summaries.append(run.execution_id)
            report = done.conclude("all done", {"numbers": [part.report.details for part in done.parts]})
        except Wait as wait:
            return Waiting(delay_seconds=wait.delay_seconds, reason=wait.reason), context.values
        except ReportedError as error:
            return Failed(problem=Problem(type=type(error).__name__, message=str(error)), report=error.report), {}
        return Succeeded(report=report), context.values

    async def run_whole(self, execution_id: str, count: int | None = None) -> Status | None:
        """One run of the whole, to its end; None: it was not to be had."""
        run = await self.claim(execution_id)
        if run is None:
            return None
        outcome, values = await self.body(run, count)
        await self.end(run, outcome, values)
        return await self.status(execution_id)

    async def run_part(self, execution_id: str, outcome: Outcome | None = None) -> ClaimedRun | None:
        """One run of a part, with this outcome (default: it succeeds and reports its number)."""
        run = await self.claim(execution_id)
        if run is not None:
            await self.end(run, outcome or good(run))
        return run

    async def lose(self, execution_id: str) -> None:
        """The worker that runs it is killed, and the rescue finds that out."""
        await set_silent(self.database, execution_id, 60)
        await rescue_orphans(self.database, 30, timeout_seconds=10)

    # --- what the scheduler does ------------------------------------------------------------------------------------

    async def sweep(self) -> int:
        """Once what the leader does each second; how many executions were woken."""
        async with self.database.session() as session:
            await DispatchRepository().finish_cancelled(session)
            await PartsRepository().cancel_abandoned(session)
            return await PartsRepository().wake_waiting(session)

    # --- what there is ----------------------------------------------------------------------------------------------

    async def row(self, execution_id: str) -> JobExecution:
        """The execution."""
        async with self.database.reader() as session:
            return await self._scheduler.get_execution(session, execution_id)

    async def status(self, execution_id: str) -> Status:
        """Its status."""
        return Status((await self.row(execution_id)).status)

    async def statuses(self, execution_ids: Sequence[str]) -> dict[str, Status]:
        """The status of each."""
        statement = select(JobExecution.id, JobExecution.status).where(JobExecution.id.in_(execution_ids))
        async with self.database.reader() as session:
            return {row.id: Status(row.status) for row in await session.execute(statement)}

    async def states(self, execution_id: str) -> list[PartState]:
        """Its parts."""
        return list(await self.parts.find(execution_id))

    async def outcomes(self, execution_id: str) -> list[str | None]:
        """How its attempts ended."""
        statement = select(ExecutionAttempt.outcome).where(ExecutionAttempt.execution_id == execution_id)
        async with self.database.session() as session:
            return list(await session.scalars(statement.order_by(ExecutionAttempt.attempt)))

    async def all_parts(self, wanted: Callable[[JobExecution], bool] = lambda row: True) -> list[JobExecution]:
        """Every execution of a part that there ever was, in the order of their ids."""
        statement = select(JobExecution).where(JobExecution.task_code == "part").order_by(JobExecution.id)
        async with self.database.session() as session:
            return [row for row in await session.scalars(statement) if wanted(row)]


def good(run: ClaimedRun) -> Succeeded:
    """A part that ended well: it read as many rows as its number."""
    number = run.params["number"]
    return Succeeded(report=RunReport(counts=RowCounts(read=number), summary="done", details={"number": number}))
