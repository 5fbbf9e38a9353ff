"""The run wrapper on MariaDB and SQLite: claim, fencing, progress, log, hand-back, outages."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select, text, update

from backend.api.repositories.run_repository import ClaimRequest, RunRepository, WorkerIdentity
from backend.db.database import Database
from backend.db.models import ExecutionAttempt, ExecutionLog, JobExecution, Worker
from backend.domain.executions import Retry, RetryPolicy, RowCounts, RunReport, Status
from backend.errors import TransientError
from backend.execution.executor import Executor, RunRequest, RunResult
from backend.execution.task_spec import TaskSpec, parameters_of
from backend.ports import Run
from backend.settings import Settings
from backend.utils.identifiers import new_id
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

Body = Callable[..., Awaitable[Any]]


@pytest.fixture
async def executor(database: Database) -> AsyncIterator[Executor]:
    """An executor on the database; closed as a worker would close it."""
    made = Executor(database, Settings(heartbeat_seconds=0.2, attempt_log_lines=5), pool="test")
    yield made
    await made.close()


def spec(body: Body, **changes: Any) -> TaskSpec:
    """A task with this body."""
    values: dict[str, Any] = {
        "code": body.__name__, "name": f"tests.{body.__name__}", "queue": "default", "function": body,
        "parameters": parameters_of(body),
        "retry": RetryPolicy(max_retries=2, autoretry_for=(TransientError,), backoff_seconds=0, jitter=False),
    }  # fmt: skip
    return TaskSpec(**(values | changes))


async def call(executor: Executor, body: Body, params: dict[str, Any] | None = None, **changes: Any) -> RunResult:
    """A direct call of the body, to its end."""
    return await executor.execute(spec(body, **changes), RunRequest(execution_id=new_id(), direct_params=params or {}))


async def row(database: Database, execution_id: str) -> JobExecution:
    """The execution row."""
    async with database.session() as session:
        return (await session.execute(select(JobExecution).where(JobExecution.id == execution_id))).scalar_one()


async def attempts(database: Database, execution_id: str) -> list[str | None]:
    """The outcomes of the attempts."""
    async with database.session() as session:
        found = await session.execute(
            select(ExecutionAttempt.outcome)
            .where(ExecutionAttempt.execution_id == execution_id)
            .order_by(ExecutionAttempt.attempt)
        )
        return list(found.scalars())


async def good(run: Run, *, value: int = 1) -> RunReport:
    """Reports what it was given."""
    run.progress(value, 10, "on the way")
    for number in range(10):
        run.log.info("step_done", number=number)
    return RunReport(counts=RowCounts(read=value), summary="done", details={"value": value})


async def waits(run: Run) -> None:
    """Waits for ever."""
    await asyncio.sleep(3600)


async def test_run_is_recorded_whole(executor: Executor, database: Database) -> None:
    """A run leaves its status, counts, summary, result, progress, times, attempt and capped log."""
    result = await call(executor, good, {"value": 7})
    done = await row(database, result.execution_id)
    assert (Status.SUCCESS, {"value": 7}) == (result.status, result.result)
    assert ("success", 7, "done", {"value": 7}, 7, 10, 1, "direct") == (
        done.status, done.rows_read, done.summary, done.result, done.progress_current, done.progress_total,
        done.attempt, done.triggered_by,
    )  # fmt: skip
    assert done.started_at is not None
    assert done.finished_at is not None
    assert abs(done.finished_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    assert ["succeeded"] == await attempts(database, result.execution_id)
    async with database.session() as session:
        events = list((await session.execute(select(ExecutionLog.event).order_by(ExecutionLog.id))).scalars())
    assert ["step_done"] * 4 + ["log_capped"] == events


async def test_second_delivery_of_one_execution_is_dropped(executor: Executor, database: Database) -> None:
    """Of five deliveries at once exactly one runs, and a later one is dropped too."""
    execution_id = new_id()
    request = RunRequest(execution_id=execution_id, direct_params={})
    results = await asyncio.gather(*(executor.execute(spec(good), request) for _ in range(5)))
    results.append(await executor.execute(spec(good), request))
    assert 1 == sum(result.status is Status.SUCCESS for result in results)
    assert 5 == sum(result.status is None for result in results)
    assert ["succeeded"] == await attempts(database, execution_id)


async def test_two_workers_never_claim_the_same_run(database: Database) -> None:
    """200 executions claimed by four workers at once: each belongs to exactly one."""
    repository = RunRepository()
    workers = [WorkerIdentity(id=f"w{number}", host="h", pid=number) for number in range(4)]
    executor = Executor(database, Settings())
    ids = [(await call(executor, fails_once_more)).execution_id for _ in range(20)]

    async def claim(worker: WorkerIdentity) -> list[str]:
        requests = [ClaimRequest(execution_id=execution_id) for execution_id in ids]
        async with database.session() as session:
            return list(await repository.claim(session, requests, worker, f"token-{worker.id}"))

    claimed = [execution_id for part in await asyncio.gather(*map(claim, workers)) for execution_id in part]
    assert sorted(ids) == sorted(claimed)
    await executor.close()


async def fails_once_more(run: Run) -> None:
    """Asks to be tried again at once."""
    raise Retry("again", delay_seconds=0)


async def test_retry_waits_in_the_row(executor: Executor, database: Database) -> None:
    """A run that is to be repeated is pending, due later, unsent, with its error; a delivery before that is dropped."""

    async def later(run: Run) -> None:
        raise Retry("not now", delay_seconds=60)

    result = await call(executor, later)
    waiting = await row(database, result.execution_id)
    assert ("pending", "waiting for a retry", "not now", None, None) == (
        waiting.status, waiting.reason, waiting.error_message, waiting.dispatched_at, waiting.claim_token,
    )  # fmt: skip
    assert dt.timedelta(seconds=50) < waiting.run_after - dt.datetime.now(dt.UTC) < dt.timedelta(seconds=70)
    early = await executor.execute(spec(later), RunRequest(execution_id=result.execution_id))
    assert early.status is None


async def test_attempts_run_out(executor: Executor, database: Database) -> None:
    """After the last attempt the execution has failed with the last error."""

    async def transient(run: Run) -> None:
        raise TransientError(f"try {run.attempt}")

    result = await call(executor, transient)
    for _ in range(2):
        result = await executor.execute(spec(transient), RunRequest(execution_id=result.execution_id))
    done = await row(database, result.execution_id)
    assert ("failed", 3, "try 3") == (done.status, done.attempt, done.error_message)
    assert ["retry", "retry", "failed"] == await attempts(database, result.execution_id)


async def test_run_that_lost_its_claim_writes_nothing(executor: Executor, database: Database) -> None:
    """A run that was rescued meanwhile is stopped, and its late end changes nothing."""
    execution_id = new_id()
    running = asyncio.create_task(
        executor.execute(spec(waits), RunRequest(execution_id=execution_id, direct_params={}))
    )

    async def is_running() -> bool:
        async with database.session() as session:
            status = await session.scalar(select(JobExecution.status).where(JobExecution.id == execution_id))
        return status == "running"

    await eventually_async(is_running)
    async with database.session() as session:
        await session.execute(
            update(JobExecution).where(JobExecution.id == execution_id).values(claim_token="another", worker_id="other")
        )
    executor._runs[execution_id].context.progress(5)
    result = await asyncio.wait_for(running, 10)
    left = await row(database, execution_id)
    assert (None, "running", "another", None) == (
        result.status, left.status, left.claim_token, left.progress_current,
    )  # fmt: skip


async def test_cancel_request_ends_the_run(executor: Executor, database: Database) -> None:
    """A cancel request in the row ends a running run with its reason."""
    running = asyncio.create_task(call(executor, waits))

    async def request_cancel() -> bool:
        async with database.session() as session:
            changed = await session.execute(
                update(JobExecution)
                .where(JobExecution.status == Status.RUNNING)
                .values(cancel_requested_at=dt.datetime.now(dt.UTC), cancel_reason="wrong day")
            )
        return bool(changed.rowcount)  # type: ignore[attr-defined]

    await eventually_async(request_cancel)
    result = await asyncio.wait_for(running, 10)
    assert (Status.CANCELLED, "wrong day") == (result.status, (await row(database, result.execution_id)).reason)


async def test_shutdown_hands_back_without_burning_an_attempt(executor: Executor, database: Database) -> None:
    """At the end of the grace time a running run is pending again, and its interruption is counted as such."""
    running = asyncio.create_task(call(executor, waits))
    await eventually_async(lambda: _has_runs(executor))
    executor.begin_shutdown(0.1)
    result = await asyncio.wait_for(running, 10)
    left = await row(database, result.execution_id)
    assert ("pending", 1, 1, None) == (left.status, left.attempt, left.interruptions, left.dispatched_at)
    refused = await call(executor, good)
    assert refused.status is None


async def _has_runs(executor: Executor) -> bool:
    return bool(executor._runs)


async def test_heartbeat_names_the_worker(executor: Executor, database: Database) -> None:
    """The heartbeat of a worker and of its running runs goes on, and its end is recorded."""
    running = asyncio.create_task(call(executor, waits))

    async def worker_row() -> Worker | None:
        async with database.session() as session:
            return (await session.execute(select(Worker).where(Worker.running == 1))).scalar_one_or_none()

    worker = await eventually_async(worker_row)
    assert worker is not None
    assert ("test", None) == (worker.pool, worker.stopped_at)

    async def beats_on() -> bool:
        async with database.session() as session:
            beat = await session.scalar(select(JobExecution.heartbeat_at).where(JobExecution.status == "running"))
        return beat is not None and beat > worker.heartbeat_at

    await eventually_async(beats_on)
    await executor.close()
    await asyncio.wait_for(running, 10)
    async with database.session() as session:
        assert await session.scalar(select(Worker.stopped_at)) is not None


async def test_end_survives_an_outage_of_the_database(
    executor: Executor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away the end of a run is kept, and written when it is back."""
    finish = executor._repository.finish
    failures = iter(range(3))

    async def flaky(*arguments: Any) -> set[str]:
        if next(failures, None) is not None:
            raise TransientError("away")
        return await finish(*arguments)

    monkeypatch.setattr(executor._repository, "finish", flaky)
    result = await call(executor, good)
    assert (Status.SUCCESS, "success") == (result.status, (await row(database, result.execution_id)).status)


async def test_wrong_parameters_of_a_direct_call_are_a_failed_row(executor: Executor, database: Database) -> None:
    """A direct call with a wrong parameter fails visibly, naming the parameter and the right ones."""
    result = await call(executor, good, {"valeu": 3})
    done = await row(database, result.execution_id)
    assert ("failed", "ConfigurationError") == (done.status, done.error_type)
    assert "valeu" in str(done.error_message)
    assert "It takes: value" in str(done.error_message)


async def test_secret_in_an_error_is_masked(executor: Executor, database: Database) -> None:
    """The password of a URL in an exception reaches neither the execution nor the attempt."""

    async def leaks(run: Run) -> None:
        raise ValueError("cannot open mysql://root:hunter2@db/x")

    result = await call(executor, leaks)
    async with database.session() as session:
        found = await session.execute(
            text("SELECT error_message, traceback FROM scheduler_execution_attempt WHERE execution_id = :id"),
            {"id": result.execution_id},
        )
        everything = str(found.one())
    everything += str((await row(database, result.execution_id)).error_message)
    assert "hunter2" not in everything
    assert "mysql://root:" in everything
