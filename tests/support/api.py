"""The HTTP API as a real server, and rows for it to show."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
from sqlalchemy import update

from backend.api.serve import run_api
from backend.db.database import Database
from backend.db.models import ExecutionAttempt, ExecutionLog, Job, JobExecution, Lease, Stream, Worker
from backend.db.types import db_now
from backend.settings import Settings
from backend.utils.identifiers import new_id

TOKEN = "a-token-of-some-length"


def api_settings(database: Database | str, **values: Any) -> Settings:
    """Settings of an API on a free port with this database."""
    url = database if isinstance(database, str) else database.url.render_as_string(hide_password=False)
    return Settings(maria_url=url, api_port=0, **values)


@contextlib.asynccontextmanager
async def serving(settings: Settings, **client: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A running API and a client of it."""
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(run_api(settings, stop, on_started=address.set_result))
    await asyncio.wait({server, address}, return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        server.result()
    try:
        async with httpx.AsyncClient(base_url=address.result(), timeout=20, **client) as session:
            yield session
    finally:
        stop.set()
        await server


async def beat(
    database: Database, *, lease: float | None = 60, loop_age: float = 0, worker_age: float | None = 0
) -> None:
    """Write the signs of life of a scheduler and a worker.

    Args:
        lease: seconds until the lease expires; None: nobody holds it.
        loop_age: seconds since the scheduler's last loop.
        worker_age: seconds since the worker's heartbeat; None: there is no worker.
    """
    async with database.session() as session:
        held = {"holder": "host:1:a", "expires_at": db_now(lease)} if lease is not None else {"holder": None}
        await session.execute(update(Lease).values(**held, last_loop_at=db_now(-loop_age)))
        if worker_age is not None:
            values = {"heartbeat_at": db_now(-worker_age), "started_at": db_now(-3600)}
            session.add(Worker(id="host:2:b", host="host", pid=2, pool="gevent", running=1, **values))


async def add_job(database: Database, code: str, **values: Any) -> int:
    """Add a job that fires daily, unless `values` say otherwise; its id."""
    defaults = {
        "task_code": "hris_replication",
        "trigger_kind": "cron",
        "trigger_expression": "30 2 * * *",
        "created_at": db_now(-86400),
        "updated_at": db_now(-86400),
    }
    async with database.session() as session:
        job = Job(code=code, **defaults | values)
        session.add(job)
        await session.flush()
        return job.id


_ids = itertools.count(int(new_id().replace("-", "")[:12], 16))


def next_id() -> str:
    """An id after the last one: real ones do not ascend within a millisecond."""
    time = f"{next(_ids):012x}"
    return f"{time[:8]}-{time[8:]}{new_id()[13:]}"


async def add_execution(database: Database, status: str = "success", **values: Any) -> str:
    """Add an execution; its id."""
    now = dt.datetime.now(dt.UTC)
    at: dt.datetime = values.pop("at", now)
    defaults: dict[str, Any] = {
        "id": next_id(),
        "task_code": "hris_replication",
        "task_name": "tasks.hris.hris_replication_task",
        "queue": "hris",
        "triggered_by": "schedule",
        "correlation_id": "c-1",
        "run_after": at,
        "created_at": at,
        "updated_at": at,
    }
    if status in ("running", "success", "failed"):
        defaults |= {"started_at": at, "attempt": 1, "worker_host": "host"}
    if status in ("success", "failed"):
        defaults |= {"finished_at": at, "duration_ms": 1500}
    row = JobExecution(status=status, **defaults | values)
    async with database.session() as session:
        session.add(row)
    return row.id


async def add_attempt(database: Database, execution_id: str, attempt: int, **values: Any) -> None:
    """Add an attempt of an execution."""
    defaults = {"claim_token": "t", "worker_id": "w", "worker_host": "host", "started_at": db_now()}
    async with database.session() as session:
        session.add(ExecutionAttempt(execution_id=execution_id, attempt=attempt, **defaults | values))


async def add_log(database: Database, execution_id: str, *events: str, level: str = "info", **fields: Any) -> None:
    """Add lines to the log of an execution."""
    async with database.session() as session:
        for event in events:
            session.add(
                ExecutionLog(
                    execution_id=execution_id, attempt=1, logged_at=db_now(), level=level, event=event, fields=fields
                )
            )
            await session.flush()


async def add_stream(database: Database, code: str, *, age: float | None = 0, **values: Any) -> None:
    """Add a stream that was filled `age` seconds ago; None: never."""
    async with database.session() as session:
        session.add(Stream(code=code, succeeded_at=None if age is None else db_now(-age), **values))
