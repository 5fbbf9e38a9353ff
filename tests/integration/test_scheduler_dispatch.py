"""Dispatching what is due, sending it again, and rescuing what is lost."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from sqlalchemy import select, update

from backend.api.repositories.dispatch_repository import DispatchRepository
from backend.api.repositories.fire_ledger import EXECUTION
from backend.db.database import Database
from backend.db.models import ExecutionAttempt, JobExecution
from backend.db.types import db_now
from backend.domain.executions import Status, plan_rescue
from backend.execution.dispatch import DispatchResult, dispatch_due
from backend.scheduler.rescue import rescue_orphans
from tests.support.scheduling import (
    REPOSITORY,
    RememberingBroker,
    claim,
    every,
    executions,
    finish,
    request_run,
    save,
    set_silent,
)
from tests.support.tasks import TASKS

pytestmark = pytest.mark.anyio

DISPATCH = DispatchRepository()


async def make_runs(database: Database, count: int, code: str = "noop") -> list[str]:
    """So many pending executions without a job."""
    made = []
    async with database.session() as session:
        for _ in range(count):
            execution = await REPOSITORY.create_execution(session, task=TASKS[code], params={}, triggered_by="manual")
            made.append(execution.id)
    return made


async def status_of(database: Database, execution_id: str) -> str:
    (row,) = await executions(database, id=execution_id)
    return str(row.status)


async def test_what_is_due_is_sent_once(database: Database) -> None:
    """A sent execution is stamped and not sent again."""
    ids = await make_runs(database, 3)
    broker = RememberingBroker()
    first = await dispatch_due(database, broker.send)
    assert sorted(first.sent) == sorted(ids)
    assert await dispatch_due(database, broker.send) == DispatchResult()
    assert sorted(broker.sent) == sorted(ids)
    assert {row.dispatch_count for row in await executions(database)} == {1}


async def test_what_is_not_due_waits(database: Database) -> None:
    """`run_after` in the future keeps an execution back."""
    (later,) = await make_runs(database, 1)
    async with database.session() as session:
        await session.execute(update(JobExecution).values(run_after=db_now(60)))
    assert await dispatch_due(database, RememberingBroker().send, only=[later]) == DispatchResult(waiting=(later,))


async def test_several_dispatchers_send_each_execution_once(database: Database) -> None:
    """Whoever stamps an execution is the only one to send it."""
    ids = await make_runs(database, 120)
    broker = RememberingBroker()

    async def dispatch() -> None:
        while (await dispatch_due(database, broker.send, limit=7)).sent:
            pass

    await asyncio.gather(*(dispatch() for _ in range(4)))
    await dispatch()
    assert sorted(broker.sent) == sorted(ids)


async def test_a_broker_that_is_away_costs_nothing(database: Database) -> None:
    """What could not be sent is due as before, and the try does not count."""
    ids = await make_runs(database, 2)
    broker = RememberingBroker()
    broker.is_away = True
    result = await dispatch_due(database, broker.send)
    assert (result.sent, sorted(result.failed)) == ((), sorted(ids))
    assert {(row.dispatched_at, row.dispatch_count) for row in await executions(database)} == {(None, 0)}
    broker.is_away = False
    assert sorted((await dispatch_due(database, broker.send)).sent) == sorted(ids)


async def test_a_sender_that_raises_costs_nothing(database: Database) -> None:
    """Any error of the broker's client leaves the rows to be sent."""

    def raising(_rows: object) -> list[str]:
        raise ConnectionResetError("reset")

    await make_runs(database, 1)
    assert len((await dispatch_due(database, raising)).failed) == 1
    assert len((await dispatch_due(database, RememberingBroker().send)).sent) == 1


async def test_executions_of_a_job_go_one_after_another(database: Database) -> None:
    """Only the oldest active execution of a job is sent; the next follows its end."""
    await save(database, every(3600))
    first, second = [(await request_run(database)).id for _ in range(2)]
    broker = RememberingBroker()
    assert (await dispatch_due(database, broker.send, only=[second])).waiting == (second,)
    assert (await dispatch_due(database, broker.send)).sent == (first,)
    assert (await dispatch_due(database, broker.send)).sent == ()
    token = await claim(database, first)
    assert token is not None
    assert (await dispatch_due(database, broker.send)).sent == ()
    await finish(database, first, token)
    assert (await dispatch_due(database, broker.send)).sent == (second,)


async def test_a_message_that_nobody_claims_is_sent_again(database: Database) -> None:
    """After the patience has passed, which doubles with every delivery."""
    (lost,) = await make_runs(database, 1)
    broker = RememberingBroker()

    async def released_after(seconds: float) -> int:
        async with database.session() as session:
            await session.execute(update(JobExecution).values(dispatched_at=db_now(-seconds)))
        async with database.session() as session:
            return await DISPATCH.release_unclaimed(session, 60)

    for patience in (60, 120, 240):
        await dispatch_due(database, broker.send)
        assert await released_after(patience - 1) == 0
        assert await released_after(patience + 1) == 1
    assert broker.sent == [lost] * 3
    async with database.session() as session:
        await session.execute(update(JobExecution).values(dispatch_count=30))
    await dispatch_due(database, broker.send)
    assert await released_after(3599) == 0
    assert await released_after(3601) == 1


async def test_a_claimed_execution_is_not_sent_again(database: Database) -> None:
    """Neither a passed patience nor an emptied broker concerns what runs."""
    (running,) = await make_runs(database, 1)
    await dispatch_due(database, RememberingBroker().send)
    await claim(database, running)
    async with database.session() as session:
        assert await DISPATCH.release_unclaimed(session, 0.0001) == 0
        assert await DISPATCH.release_all(session) == 0


async def test_a_silent_worker_loses_its_execution(database: Database) -> None:
    """It is pending again, its attempt ended as lost, and the old claim is refused from then on."""
    (lost,) = await make_runs(database, 1)
    await dispatch_due(database, RememberingBroker().send)
    token = await claim(database, lost)
    assert token is not None
    await set_silent(database, lost, 27)
    assert await rescue_orphans(database, 28, timeout_seconds=5) == 0
    await set_silent(database, lost, 29)
    assert await rescue_orphans(database, 28, timeout_seconds=5) == 1
    (row,) = await executions(database)
    assert (row.status, row.reason, row.dispatched_at, row.dispatch_count) == (
        "pending",
        "worker lost; runs again",
        None,
        0,
    )
    assert await finish(database, lost, token) is False
    async with database.session() as session:
        (attempt,) = (await session.scalars(select(ExecutionAttempt))).all()
    assert (attempt.outcome, attempt.error_type) == ("lost", "WorkerLost")
    assert attempt.finished_at is not None
    assert (await dispatch_due(database, RememberingBroker().send)).sent == (lost,)


async def test_rescue_ends_what_must_not_run_again(database: Database) -> None:
    """Not idempotent: failed; out of attempts: failed; cancel asked for: cancelled."""
    (pay,) = await make_runs(database, 1, "pay")
    spent, cancelled = await make_runs(database, 2)
    for execution_id in (pay, spent, cancelled):
        await claim(database, execution_id)
        await set_silent(database, execution_id, 60)
    async with database.session() as session:
        await session.execute(update(JobExecution).where(JobExecution.id == spent).values(attempt=3))
        await session.execute(
            update(JobExecution).where(JobExecution.id == cancelled).values(cancel_requested_at=db_now())
        )
    assert await rescue_orphans(database, 28, timeout_seconds=5) == 3
    assert [await status_of(database, one) for one in (pay, spent, cancelled)] == ["failed", "failed", "cancelled"]
    assert all(row.finished_at for row in await executions(database))


async def test_a_worker_that_speaks_in_time_keeps_its_execution(database: Database) -> None:
    """A heartbeat between the look and the rescue wins."""
    (alive,) = await make_runs(database, 1)
    await claim(database, alive)
    await set_silent(database, alive, 60)
    async with database.session() as session:
        (orphan,) = await DISPATCH.find_orphans(session, 28)
    await set_silent(database, alive, 0)
    change = plan_rescue(attempt=1, interruptions=0, max_attempts=3, idempotent=True, cancel_requested=False)
    async with database.session() as session:
        assert await DISPATCH.rescue(session, orphan, change) is False
    assert await status_of(database, alive) == Status.RUNNING


async def test_a_run_that_came_back_after_its_cancellation_is_cancelled(database: Database) -> None:
    """A cancel request outlives the hand-back of an interrupted run."""
    (back,) = await make_runs(database, 1)
    async with database.session() as session:
        await session.execute(
            update(JobExecution).values(cancel_requested_at=dt.datetime.now(dt.UTC), cancel_reason="wrong day")
        )
        assert await DISPATCH.finish_cancelled(session) == 1
        row = (await session.execute(select(EXECUTION).where(EXECUTION.c.id == back))).one()
    assert (row.status, row.reason) == ("cancelled", "wrong day")
