"""What may happen to a run at the worst moment: an answer that is lost, a locked row, a shutdown, a bad value."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update

from backend.api.repositories.run_repository import ClaimRequest, RunRepository, WorkerIdentity
from backend.db.database import Database
from backend.db.maria_database import maria
from backend.db.models import ExecutionAttempt, ExecutionLog, JobExecution, Worker
from backend.db.types import db_now
from backend.domain.executions import RetryPolicy, RowCounts, RunReport, Status
from backend.errors import TransientError
from backend.execution.executor import Executor, RunRequest, RunResult
from backend.execution.process import get_executor, loop_thread, shut_down
from backend.execution.task_spec import TaskSpec, parameters_of
from backend.ports import Run
from backend.settings import Settings
from backend.utils.identifiers import new_id
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

ME = WorkerIdentity(id="me", host="here", pid=1)


@pytest.fixture
async def executor(database: Database) -> AsyncIterator[Executor]:
    """An executor with fast heartbeats and short patience with the database."""
    made = Executor(database, Settings(heartbeat_seconds=0.2, db_timeout_seconds=1), pool="test")
    yield made
    await made.close()


def spec(body: Any, **changes: Any) -> TaskSpec:
    """A task with this body."""
    values: dict[str, Any] = {
        "code": body.__name__, "name": f"tests.{body.__name__}", "queue": "default", "function": body,
        "parameters": parameters_of(body), "retry": RetryPolicy(max_retries=2),
    }  # fmt: skip
    return TaskSpec(**(values | changes))


async def call(executor: Executor, body: Any, **changes: Any) -> RunResult:
    """A direct call of the body, to its end."""
    return await executor.execute(spec(body, **changes), RunRequest(execution_id=new_id(), direct_params={}))


async def row(database: Database, execution_id: str) -> JobExecution:
    """The execution row."""
    async with database.session() as session:
        return (await session.execute(select(JobExecution).where(JobExecution.id == execution_id))).scalar_one()


async def good(run: Run) -> RunReport:
    """Reports one row."""
    run.log.info("row_read")
    return RunReport(counts=RowCounts(read=1), summary="done")


async def waits(run: Run) -> None:
    """Waits for ever."""
    run.progress(1, 2)
    await asyncio.sleep(3600)


async def start(executor: Executor, **changes: Any) -> tuple[str, asyncio.Task[RunResult]]:
    """A run that waits for ever, once it runs."""
    execution_id = new_id()
    request = RunRequest(execution_id=execution_id, direct_params={})
    task = asyncio.create_task(executor.execute(spec(waits, **changes), request))

    async def runs() -> bool:
        return execution_id in executor._runs

    await eventually_async(runs)
    return execution_id, task


async def set_silent(database: Database, execution_id: str) -> None:
    """As if the last heartbeat were a minute old."""
    async with database.session() as session:
        await session.execute(
            update(JobExecution).where(JobExecution.id == execution_id).values(heartbeat_at=db_now(-60))
        )


async def is_silent(database: Database, execution_id: str) -> bool:
    """Whether nobody has beaten for the run since `set_silent`."""
    async with database.session() as session:
        found = await session.scalar(
            select(func.count()).where(JobExecution.id == execution_id, JobExecution.heartbeat_at < db_now(-30))
        )
    return bool(found)


def lose_answers(executor: Executor, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Have the next transactions commit, and their answers get lost."""
    session, left = executor._session, iter(range(count))

    @contextlib.asynccontextmanager
    async def losing() -> AsyncIterator[Any]:
        async with session() as opened:
            yield opened
        if next(left, None) is not None:
            raise TransientError("the connection broke")

    monkeypatch.setattr(executor, "_session", losing)


# --- heartbeats -------------------------------------------------------------------------------------------------------


async def test_a_run_that_only_the_table_gives_to_a_worker_falls_silent(executor: Executor, database: Database) -> None:
    """A worker beats for the runs that it holds: one whose claim it never learned of must be rescued."""
    held, _ = await start(executor)
    forgotten, _ = await start(executor)
    executor._runs.pop(forgotten)
    for execution_id in (held, forgotten):
        await set_silent(database, execution_id)

    async def beaten() -> bool:
        return not await is_silent(database, held)

    await eventually_async(beaten)
    assert await is_silent(database, forgotten)


async def test_a_locked_row_does_not_silence_the_other_runs(mariadb_database: Database) -> None:
    """Somebody's open transaction on one row keeps no heartbeat from the other runs."""
    executor = Executor(mariadb_database, Settings(heartbeat_seconds=0.2, db_timeout_seconds=1))
    locked, _ = await start(executor)
    free, _ = await start(executor)
    async with mariadb_database.session() as session:
        await session.execute(select(JobExecution.id).where(JobExecution.id == locked).with_for_update())
        executor._runs[locked].context.progress(7)
        await set_silent(mariadb_database, free)

        async def beaten() -> bool:
            return not await is_silent(mariadb_database, free)

        await eventually_async(beaten)
    await executor.close()


async def test_progress_that_cannot_be_written_does_not_silence_the_worker(
    executor: Executor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats do not depend on any other write, and the progress is kept for later."""
    failing = True
    write = executor._repository.write_progress

    async def fails(*arguments: Any) -> set[str]:
        if failing:
            raise TransientError("away")
        return await write(*arguments)

    monkeypatch.setattr(executor._repository, "write_progress", fails)
    execution_id, _ = await start(executor)
    await set_silent(database, execution_id)

    async def beaten() -> bool:
        return not await is_silent(database, execution_id)

    await eventually_async(beaten)
    failing = False

    async def written() -> bool:
        return (await row(database, execution_id)).progress_current == 1

    await eventually_async(written)


def test_tasks_that_hold_all_connections_do_not_silence_their_worker(
    mariadb_url: str, settings_env: Callable[..., Settings]
) -> None:
    """The bookkeeping of a worker has connections of its own."""
    settings_env(maria_url=mariadb_url, db_pool_size=1, heartbeat_seconds=0.1, db_timeout_seconds=1)
    executor = get_executor()

    async def hold_all() -> None:
        async with maria().session() as one, maria().session() as two:
            for session in (one, two):
                await session.execute(select(1))
            with pytest.raises(TransientError):
                async with maria().session() as three:
                    await three.execute(select(1))
            executor.start()

            async def beaten() -> bool:
                async with executor._database.reader() as session:
                    found = (await session.execute(select(Worker.started_at, Worker.heartbeat_at))).one_or_none()
                return found is not None and found.heartbeat_at > found.started_at

            await eventually_async(beaten)

    try:
        loop_thread().run(hold_all(), 20)
    finally:
        assert shut_down()


# --- answers that are lost --------------------------------------------------------------------------------------------


async def test_a_claim_whose_answer_was_lost_is_taken_up(
    executor: Executor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that was claimed when the connection broke runs in its first attempt."""
    lose_answers(executor, monkeypatch, 2)
    result = await call(executor, good, idempotent=False)
    done = await row(database, result.execution_id)
    assert ("success", 1, 1) == (done.status, done.attempt, done.rows_read)
    assert {} == executor._doubtful


async def test_a_claim_in_doubt_is_not_taken_from_another(database: Database) -> None:
    """Only the very token in doubt is taken up, not a claim that somebody else made meanwhile."""
    executor = Executor(database, Settings())
    execution_id = (await call(executor, good)).execution_id
    async with database.session() as session:
        await session.execute(update(JobExecution).values(status=Status.RUNNING, claim_token="theirs"))
    async with database.session() as session:
        claimed = await RunRepository().claim(
            session, [ClaimRequest(execution_id=execution_id)], ME, "new", {execution_id: {"old"}}
        )
    assert {} == claimed
    await executor.close()


async def test_an_end_whose_answer_was_lost_is_written_once(
    executor: Executor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second try finds the end in the table, and the run counts as ended, not as fenced."""

    async def loses(run: Run) -> RunReport:
        run.log.info("row_read")
        lose_answers(executor, monkeypatch, 1)
        return RunReport(summary="done")

    result = await call(executor, loses)
    assert Status.SUCCESS is result.status
    async with database.session() as session:
        assert 1 == await session.scalar(select(func.count()).select_from(ExecutionLog))
        assert ["succeeded"] == list(await session.scalars(select(ExecutionAttempt.outcome)))


# --- what cannot be stored --------------------------------------------------------------------------------------------


async def test_an_end_that_cannot_be_stored_is_a_failure(executor: Executor, database: Database) -> None:
    """A number that no column holds costs the run its success, but it does end, and its neighbours end well."""

    async def boasts(run: Run) -> RunReport:
        return RunReport(counts=RowCounts(read=2**80))

    results = await asyncio.gather(*(call(executor, body) for body in (boasts, good, good)))
    bad = await row(database, results[0].execution_id)
    assert "failed" == bad.status
    assert "could not be stored" in str(bad.error_message)
    assert [Status.SUCCESS] * 2 == [result.status for result in results[1:]]


async def test_wild_progress_and_half_characters_are_stored(executor: Executor, database: Database) -> None:
    """Numbers are cut to what the columns hold, and undecodable file names to what can be written."""

    async def wild(run: Run) -> None:
        run.progress(2**80, 2**90, "file \udcff")
        run.log.info("file_read", file="\udcff")
        raise ValueError(os.fsdecode(b"bad \xff name"))

    result = await call(executor, wild)
    done = await row(database, result.execution_id)
    assert (2**63 - 1, "file ?", "bad ? name") == (done.progress_current, done.progress_message, done.error_message)


async def test_a_result_that_is_too_long_fails_the_run(executor: Executor, database: Database) -> None:
    """A result of megabytes would break the connection on every try to store it."""

    async def talkative(run: Run) -> str:
        return "x" * 2_000_000

    result = await call(executor, talkative)
    done = await row(database, result.execution_id)
    assert ("failed", None) == (done.status, done.result)
    assert "2,000,002 characters" in str(done.error_message)


async def test_secrets_do_not_reach_the_attempt_log(executor: Executor, database: Database) -> None:
    """The log that people see in the dashboard hides by key what the program's own log hides."""

    async def tells(run: Run) -> None:
        run.log.info("login_tried", password="hunter2", full_name="Ann Example", rows=3)

    await call(executor, tells)
    async with database.session() as session:
        assert {"password": "***", "full_name": "***", "rows": 3} == await session.scalar(select(ExecutionLog.fields))


async def test_a_task_that_exits_ends_only_itself(executor: Executor, database: Database) -> None:
    """`sys.exit` in a body is a failed run; the loop and the other runs of the process go on."""

    async def exits(run: Run) -> None:
        sys.exit(3)

    result = await call(executor, exits)
    done = await row(database, result.execution_id)
    assert "failed" == done.status
    assert "SystemExit: 3" in str(done.error_message)
    assert Status.SUCCESS is (await call(executor, good)).status


# --- shutdown ---------------------------------------------------------------------------------------------------------


async def test_a_call_without_a_row_survives_the_shutdown(executor: Executor, database: Database) -> None:
    """A direct call that reaches a worker which is shutting down waits in the table for another one."""
    executor.begin_shutdown(10)
    result = await call(executor, good)
    waiting = await row(database, result.execution_id)
    assert (None, False) == (result.status, result.must_come_back)
    assert ("pending", None, 0) == (waiting.status, waiting.dispatched_at, waiting.attempt)


async def test_a_call_that_cannot_be_noted_goes_back_to_the_broker(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a call without a row: what has one is sent again by the dispatcher."""

    async def away(*_: Any) -> None:
        raise TransientError("away")

    monkeypatch.setattr(executor._repository, "hand_back", away)
    executor.begin_shutdown(10)
    assert (await call(executor, good)).must_come_back
    known = await executor.execute(spec(good), RunRequest(execution_id=new_id()))
    assert not known.must_come_back


async def test_a_run_that_is_claimed_at_the_end_of_the_grace_time_is_handed_back(
    executor: Executor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would end it later, and the worker would wait for it for ever."""
    claim = executor._repository.claim

    async def late(*arguments: Any) -> Any:
        claimed = await claim(*arguments)
        executor.interrupt_all()
        return claimed

    monkeypatch.setattr(executor._repository, "claim", late)
    result = await asyncio.wait_for(call(executor, waits), 10)
    left = await row(database, result.execution_id)
    assert ("pending", 1, 1) == (left.status, left.attempt, left.interruptions)


async def test_a_run_that_must_not_be_repeated_fails_at_a_shutdown(executor: Executor, database: Database) -> None:
    """What is not idempotent is not run again by itself, neither after a lost worker nor after a shutdown."""
    execution_id, running = await start(executor, idempotent=False)
    executor.interrupt_all()
    assert Status.FAILED is (await asyncio.wait_for(running, 10)).status
    done = await row(database, execution_id)
    assert "not idempotent" in str(done.error_message)
