"""What every route works with: the database, the settings, the read-outs, the tasks, the checks."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from backend.api.repositories.hold_repository import HoldRepository
from backend.api.repositories.job_rows import schedule_of
from backend.api.repositories.overview_repository import OverviewRepository
from backend.api.repositories.parts_repository import PartsRepository
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.api.routes.readiness import Readiness
from backend.api.routes.reading import reading
from backend.db.database import Database
from backend.db.models import Job
from backend.domain.schedules import fires_after
from backend.errors import ConfigurationError
from backend.settings import Settings

# People wait for no page longer than this; the page says instead what is wrong.
REQUEST_TIMEOUT_SECONDS = 5.0


class TaskDescription(Protocol):
    """A task as the registry describes it."""

    @property
    def code(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def idempotent(self) -> bool: ...
    @property
    def description(self) -> str: ...
    @property
    def max_attempts(self) -> int: ...

    def parameter_schema(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """What every route works with.

    Attributes:
        tasks: task code -> task.
        worker_silent_after_seconds: age of a heartbeat from which a worker counts as gone.
        scheduler_silent_after_seconds: age of the scheduler's last loop from which it counts as down.
    """

    database: Database
    settings: Settings
    readiness: Readiness
    tasks: Mapping[str, TaskDescription]
    worker_silent_after_seconds: float
    scheduler_silent_after_seconds: float
    overview: OverviewRepository = field(default_factory=OverviewRepository)
    scheduler: SchedulerRepository = field(default_factory=SchedulerRepository)
    parts: PartsRepository = field(default_factory=PartsRepository)
    holds: HoldRepository = field(default_factory=HoldRepository)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session that gives up when people would.

        Raises:
            TransientError: the database is away or too slow.
        """
        async with reading(self.database, timeout_seconds=REQUEST_TIMEOUT_SECONDS) as session:
            yield session


def get_context(request: Request) -> ApiContext:
    """The context of the application that serves the request."""
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(get_context)]


async def job_id_of(context: ApiContext, session: AsyncSession, code: str | None) -> int | None:
    """The id of the job with this code, deleted or not; None for no code.

    Raises:
        NotFoundError: there is no such job.
    """
    return (await context.scheduler.get_job(session, code, include_deleted=True)).id if code else None


def next_fires(job: Job, now: dt.datetime, limit: int) -> list[dt.datetime]:
    """When the job fires next; empty when it rests, has ended, or holds a schedule that this version cannot read."""
    if job.deleted_at is not None or job.paused_at is not None or not job.enabled:
        return []
    if job.max_runs is not None:
        limit = min(limit, job.max_runs - job.runs_count)
    try:
        schedule = schedule_of(job)
    except ConfigurationError:
        return []
    return list(fires_after(schedule, now, limit)) if limit > 0 else []
