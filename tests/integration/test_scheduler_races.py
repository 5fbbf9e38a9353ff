"""What may happen to the scheduler's rows at the worst moment: locks of others, lost clocks, vanished tasks."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from backend.api.repositories.dispatch_repository import DispatchRepository
from backend.api.repositories.fire_ledger import cancel_executions
from backend.api.repositories.lease_repository import LeaseRepository
from backend.db.database import Database
from backend.db.models import Job, JobExecution
from backend.db.types import db_now
from backend.domain.executions import Status
from backend.execution.dispatch import dispatch_due
from backend.scheduler.ledger import LedgerResult, record_due
from tests.support.scheduling import (
    REPOSITORY,
    RememberingBroker,
    age_job,
    becomes_leader,
    claim,
    every,
    executions,
    request_run,
    running_scheduler,
    save,
)
from tests.support.servers import RedisServer
from tests.support.tasks import TASKS
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

DISPATCH = DispatchRepository()


async def set_row(database: Database, execution_id: str, **values: Any) -> None:
    """Columns of an execution, as an operator would set them."""
    async with database.session() as session:
        await session.execute(update(JobExecution).where(JobExecution.id == execution_id).values(**values))


async def make_run(database: Database) -> str:
    """A pending execution without a job."""
    async with database.session() as session:
        made = await REPOSITORY.create_execution(session, task=TASKS["noop"], params={}, triggered_by="manual")
    return made.id


async def record(database: Database, *jobs: Job, until: dt.datetime | None = None) -> LedgerResult:
    """One pass of the ledger over these jobs, by whoever has the lease then."""
    async with database.session() as session:
        grant = await LeaseRepository().acquire(session, "me", 60)
    assert grant is not None
    try:
        return await record_due(
            database,
            [job.id for job in jobs],
            TASKS,
            grant,
            until=lambda: until or dt.datetime.now(dt.UTC),
            timeout_seconds=2,
        )
    finally:
        async with database.session() as session:
            await LeaseRepository().release(session, grant)


# --- rows that somebody has locked ------------------------------------------------------------------------------------


async def test_a_locked_execution_does_not_hold_up_the_sweep(mariadb_database: Database) -> None:
    """Somebody's open transaction on one row costs that row a sweep, and the others nothing."""
    locked, lost, cancelled = [await make_run(mariadb_database) for _ in range(3)]
    for execution_id in (locked, lost):
        await set_row(mariadb_database, execution_id, dispatched_at=db_now(-100), dispatch_count=1)
    await set_row(mariadb_database, cancelled, cancel_requested_at=db_now())
    async with mariadb_database.session() as holder:
        await holder.execute(select(JobExecution.id).where(JobExecution.id == locked).with_for_update())
        async with mariadb_database.session(timeout_seconds=3) as session:
            assert await DISPATCH.release_unclaimed(session, 60) == 1
            assert await DISPATCH.finish_cancelled(session) == 1
    async with mariadb_database.session() as session:
        assert await DISPATCH.release_unclaimed(session, 60) == 1


async def test_a_locked_job_does_not_keep_the_others_from_firing(mariadb_database: Database) -> None:
    """Its own fires are recorded once it is free."""
    jobs = []
    for code in ("locked", "free"):
        await save(mariadb_database, every(3600, code))
        await age_job(mariadb_database, code, 3600)
        async with mariadb_database.session() as session:
            jobs.append(await REPOSITORY.get_job(session, code))
    async with mariadb_database.session() as holder:
        await holder.execute(select(Job.id).where(Job.code == "locked").with_for_update())
        result = await record(mariadb_database, *jobs)
    assert result.changed == {jobs[0].id}
    assert [row.job_code for row in await executions(mariadb_database)] == ["free"]
    assert (await record(mariadb_database, *jobs)).changed == frozenset()
    assert sorted(row.job_code for row in await executions(mariadb_database)) == ["free", "locked"]


async def test_a_run_that_goes_back_while_it_is_cancelled_is_cancelled(mariadb_database: Database) -> None:
    """Between looking for what is pending and for what is running, a run must not change from one to the other."""
    execution_id = await make_run(mariadb_database)
    await claim(mariadb_database, execution_id)
    going_back: list[asyncio.Task[None]] = []
    async with mariadb_database.session() as session:
        execute = session.execute

        async def interposed(statement: Any, *arguments: Any, **options: Any) -> Any:
            result = await execute(statement, *arguments, **options)
            if not going_back:
                going_back.append(
                    asyncio.create_task(set_row(mariadb_database, execution_id, status=Status.PENDING, worker_id=None))
                )
                await asyncio.wait(going_back, timeout=0.3)
            return result

        session.execute = interposed  # type: ignore[method-assign]
        await cancel_executions(session, [execution_id], "wrong day")
    await asyncio.gather(*going_back)
    async with mariadb_database.session() as session:
        await DISPATCH.finish_cancelled(session)
    (row,) = await executions(mariadb_database)
    assert (row.status, row.reason) == ("cancelled", "wrong day")


# --- rows that nobody can run -----------------------------------------------------------------------------------------


async def test_an_execution_of_a_vanished_task_fails_and_frees_its_job(database: Database) -> None:
    """After its patience; until then a worker of a newer version may take it."""
    await save(database, every(3600))
    gone, waiting = [(await request_run(database)).id for _ in range(2)]
    await set_row(database, gone, task_code="gone")
    broker = RememberingBroker()
    assert (await dispatch_due(database, broker.send)).sent == (gone,)
    async with database.session() as session:
        assert await DISPATCH.fail_unknown_tasks(session, TASKS.keys(), 60) == []
    await set_row(database, gone, dispatched_at=db_now(-61))
    async with database.session() as session:
        assert await DISPATCH.fail_unknown_tasks(session, TASKS.keys(), 60) == [gone]
    (row,) = await executions(database, id=gone)
    assert (row.status, row.error_type) == ("failed", "UnknownTask")
    assert "no task 'gone'" in row.error_message
    assert (await dispatch_due(database, broker.send)).sent == (waiting,)


# --- clocks -----------------------------------------------------------------------------------------------------------


async def test_a_clock_of_next_year_fires_nothing_of_next_year(database: Database) -> None:
    """A machine that boots with a wrong clock neither floods the ledger nor puts the jobs to rest until then."""
    await save(database, every(3600))
    await age_job(database, "tick", 3600)
    async with database.session() as session:
        job = await REPOSITORY.get_job(session, "tick")
    now = dt.datetime.now(dt.UTC)
    await record(database, job, until=now + dt.timedelta(days=365))
    async with database.session() as session:
        job = await REPOSITORY.get_job(session, "tick")
    assert job.last_fire_at is not None
    assert job.last_fire_at < now + dt.timedelta(minutes=10)
    assert len(await executions(database)) == 1


# --- brokers that have lost everything --------------------------------------------------------------------------------


async def test_an_unmarked_broker_gets_what_is_due_once(database: Database, private_redis: RedisServer) -> None:
    """A new scheduler looks at the broker before it sends, not right after."""
    broker = RememberingBroker()
    await save(database, every(3600))
    await save(database, every(3600, "second"))
    first = await request_run(database)
    async with running_scheduler(database, broker, celery_broker_url=private_redis.url, sweep_seconds=0.05) as service:
        await becomes_leader(service)

        async def sent(count: int) -> bool:
            return len(broker.sent) >= count

        await eventually_async(lambda: sent(1))
        second = await request_run(database, "second")
        await eventually_async(lambda: sent(2))
    assert broker.sent == [first.id, second.id]


async def test_what_an_in_memory_broker_held_is_sent_again_after_a_restart(database: Database) -> None:
    """Its messages ended with the process, so nobody need wait for a time-out."""
    lost = await make_run(database)
    await set_row(database, lost, dispatched_at=db_now(), dispatch_count=5)
    broker = RememberingBroker()
    async with running_scheduler(database, broker, celery_broker_url="memory://"):

        async def sent() -> bool:
            return broker.sent == [lost]

        await eventually_async(sent)


# --- lists ------------------------------------------------------------------------------------------------------------


async def test_lists_go_by_time_also_with_ids_of_celery(database: Database) -> None:
    """The random id of a bare Celery call puts it neither first nor last, and pages meet at the seam."""
    ids = ["ffffffff-0000-4000-8000-000000000001", str(uuid.UUID(int=7)), "88888888-0000-4000-8000-000000000003"]
    for age, execution_id in zip((30, 20, 10), ids, strict=True):
        async with database.session() as session:
            made = await REPOSITORY.create_execution(session, task=TASKS["noop"], params={}, triggered_by="direct")
            values = {column.name: getattr(made, column.name) for column in JobExecution.__table__.columns}
            await session.delete(made)
            await session.flush()
            await session.execute(
                insert(JobExecution).values(**values | {"id": execution_id, "created_at": db_now(-age)})
            )
    async with database.session() as session:
        newest_first = [row.id for row in await REPOSITORY.list_executions(session)]
        page = [row.id for row in await REPOSITORY.list_executions(session, before=ids[1])]
        counts = await REPOSITORY.count_executions(session, since_seconds=15)
    assert newest_first == ids[::-1]
    assert page == [ids[0]]
    assert counts[Status.PENDING] == 1
