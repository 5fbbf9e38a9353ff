"""Schedulers inside a test: a service on a database, a broker that only remembers, a worker that only claims."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import insert, select, update

from backend.api.repositories.fire_ledger import EXECUTION
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.db.database import Database
from backend.db.models import ExecutionAttempt, Job, JobExecution
from backend.db.types import db_now
from backend.domain.executions import Status
from backend.domain.jobs import JobSpec
from backend.execution.dispatch import OutgoingExecution
from backend.scheduler.service import SchedulerService
from backend.settings import Settings
from tests.support.tasks import TASKS
from tests.support.waiting import eventually_async

REPOSITORY = SchedulerRepository()


class RememberingBroker:
    """Takes executions as the real broker does; can be away."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_away = False

    def send(self, rows: Sequence[OutgoingExecution]) -> list[str]:
        """The ids that were not taken."""
        if self.is_away:
            return [row.id for row in rows]
        self.sent += [row.id for row in rows]
        return []


@contextlib.asynccontextmanager
async def running_scheduler(
    database: Database, broker: RememberingBroker, **settings: Any
) -> AsyncIterator[SchedulerService]:
    """A scheduler service that works until the block ends."""
    values = {"lease_seconds": 3, "reload_seconds": 0.2, "sweep_seconds": 0.1, "db_timeout_seconds": 3} | settings
    service = SchedulerService(database, broker.send, Settings(**values), tasks=TASKS)
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    try:
        yield service
    finally:
        stop.set()
        await running


async def becomes_leader(service: SchedulerService, timeout: float = 10) -> None:
    """Wait until the service leads."""

    async def leads() -> bool:
        return service.health().is_leader

    await eventually_async(leads, timeout, message="the lead of the scheduler")


def every(seconds: int, code: str = "tick", **values: Any) -> JobSpec:
    """A job that fires so often."""
    return JobSpec(
        **{
            "code": code,
            "task_code": "noop",
            "trigger_kind": "interval",
            "trigger_expression": f"{seconds}s",
            "overlap": "queue",
        }
        | values
    )


async def save(database: Database, spec: JobSpec) -> Job:
    """Apply the job."""
    async with database.session() as session:
        return (await REPOSITORY.save_job(session, spec, tasks=TASKS, actor="ann")).job


async def request_run(database: Database, code: str = "tick") -> JobExecution:
    """A manual run of the job."""
    async with database.session() as session:
        return await REPOSITORY.request_run(session, code, tasks=TASKS, actor="ann")


async def age_job(database: Database, code: str, seconds: float) -> None:
    """As if the job had been created so long ago, and no scheduler had run since."""
    async with database.session() as session:
        job = await REPOSITORY.get_job(session, code)
        job.created_at -= dt.timedelta(seconds=seconds)
        job.last_fire_at = job.created_at


async def executions(database: Database, **equal: Any) -> list[Any]:
    """The rows with these values, by scheduled time and id."""
    async with database.session() as session:
        return list(
            await session.execute(
                select(EXECUTION).filter_by(**equal).order_by(EXECUTION.c.scheduled_for, EXECUTION.c.id)
            )
        )


async def claim(database: Database, execution_id: str, worker_id: str = "worker-1") -> str | None:
    """Claim as a worker does; the claim token, None when it was not to be had."""
    token = str(uuid.uuid4())
    async with database.session() as session:
        await session.execute(
            update(JobExecution)
            .where(JobExecution.id == execution_id, JobExecution.status == Status.PENDING)
            .values(
                status=Status.RUNNING,
                attempt=JobExecution.attempt + 1,
                claim_token=token,
                worker_id=worker_id,
                started_at=db_now(),
                heartbeat_at=db_now(),
            )
            .execution_options(synchronize_session=False)
        )
        attempt = await session.scalar(
            select(EXECUTION.c.attempt).where(EXECUTION.c.id == execution_id, EXECUTION.c.claim_token == token)
        )
        if attempt is None:
            return None
        await session.execute(
            insert(ExecutionAttempt).values(
                execution_id=execution_id,
                attempt=attempt,
                claim_token=token,
                worker_id=worker_id,
                worker_host="test",
                started_at=db_now(),
            )
        )
    return token


async def finish(database: Database, execution_id: str, token: str, status: Status = Status.SUCCESS) -> bool:
    """Finish as a worker does; False: the claim was lost."""
    async with database.session() as session:
        result = await session.execute(
            update(JobExecution)
            .where(
                JobExecution.id == execution_id,
                JobExecution.claim_token == token,
                JobExecution.status == Status.RUNNING,
            )
            .values(status=status, finished_at=db_now())
            .execution_options(synchronize_session=False)
        )
    return bool(result.rowcount)  # type: ignore[attr-defined]


async def set_silent(database: Database, execution_id: str, seconds: float) -> None:
    """As if the worker had sent its last heartbeat so long ago."""
    async with database.session() as session:
        await session.execute(
            update(JobExecution).where(JobExecution.id == execution_id).values(heartbeat_at=db_now(-seconds))
        )
