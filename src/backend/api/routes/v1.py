"""The read-only JSON API under /api/v1."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPBearer

from backend.api.dashboard.verdict import last_ended, stream_state
from backend.api.repositories.overview_repository import ExecutionFilter, PastRun
from backend.api.routes import models
from backend.api.routes.context import Context, next_fires
from backend.api.routes.overview import read_overview
from backend.api.routes.problems import responses
from backend.db import models as tables
from backend.domain.executions import Status
from backend.domain.replication_plan import HoldStatus

# The token itself is checked for every path before any route; this tells OpenAPI of it.
_bearer = HTTPBearer(auto_error=False, description="API_TOKEN, where one is set.")
router = APIRouter(
    prefix="/api/v1",
    dependencies=[Depends(_bearer)],
    responses=responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE),
)

_WORKERS_SEEN_WITHIN_SECONDS = 7 * 86400.0
_NOT_FOUND = responses(HTTPStatus.NOT_FOUND)
_REFERENCE = responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)


@router.get("/status", tags=["status"])
async def get_status(context: Context) -> models.SystemStatus:
    """Whether the HR data is current, and if not, why: the headline of the dashboard."""
    verdict = (await read_overview(context)).verdict
    return models.SystemStatus.model_validate(verdict)


@router.get("/jobs", tags=["jobs"])
async def list_jobs(context: Context) -> models.JobList:
    """Every job with its last result and its next fire."""
    async with context.session() as session:
        now = await context.overview.read_clock(session)
        jobs = await context.scheduler.list_jobs(session)
        runs = await context.overview.list_last_runs(session, [job.id for job in jobs])
    return models.JobList(items=[_job(job, runs[job.id], next_fires(job, now, 1)) for job in jobs])


@router.get("/jobs/{code}", tags=["jobs"], responses=_NOT_FOUND)
async def get_job(
    context: Context,
    code: str,
    fires: Annotated[int, Query(ge=0, le=100, description="How many of the next fires to tell.")] = 5,
) -> models.Job:
    """One job, deleted or not, with its next fires."""
    async with context.session() as session:
        job = await context.scheduler.get_job(session, code, include_deleted=True)
        now = await context.overview.read_clock(session)
        runs = await context.overview.list_last_runs(session, [job.id])
    return _job(job, runs[job.id], next_fires(job, now, fires))


@router.get("/executions", tags=["executions"], responses=_NOT_FOUND)
async def list_executions(
    context: Context,
    *,
    job: Annotated[str | None, Query(description="Code of a job.")] = None,
    task: Annotated[str | None, Query(description="Code of a task.")] = None,
    status: Annotated[list[Status] | None, Query(description="May be given several times.")] = None,
    since: Annotated[dt.datetime | None, Query(description="Created at or after this instant (UTC if unsaid).")] = None,
    before: Annotated[str | None, Query(description="`next` of the page before.", max_length=36)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> models.ExecutionPage:
    """Executions, the newest first, page by page."""
    async with context.session() as session:
        wanted = ExecutionFilter(
            job_id=(await context.scheduler.get_job(session, job, include_deleted=True)).id
            if job is not None
            else None,
            task_code=task,
            statuses=status or (),
            created_since=since.replace(tzinfo=since.tzinfo or dt.UTC) if since is not None else None,
            before_id=before,
        )
        # One more than asked for tells whether there is a next page.
        lines = await context.overview.list_executions(session, wanted, limit=limit + 1)
    items = [models.Execution.model_validate(line) for line in lines[:limit]]
    return models.ExecutionPage(items=items, next=items[-1].id if len(lines) > limit else None)


@router.get("/executions/{reference}", tags=["executions"], responses=_REFERENCE)
async def get_execution(context: Context, reference: str) -> models.ExecutionDetail:
    """One execution with its attempts, by its id or by the end of its id (at least 6 characters)."""
    async with context.session() as session:
        row = await context.scheduler.get_execution(session, reference)
        attempts = await context.scheduler.list_attempts(session, row.id)
        parts = await context.parts.find(session, row.id, details=False)
        part_of = await context.parts.find_parent(session, row.id)
    counts = {name: getattr(row, f"rows_{name}") for name in models.Counts.model_fields}
    columns = set(models.ExecutionDetail.model_fields) - {"counts", "attempts", "parts", "part_of"}
    return models.ExecutionDetail(
        **{name: getattr(row, name) for name in columns},
        counts=models.Counts(**counts),
        attempts=[models.Attempt.model_validate(attempt) for attempt in attempts],
        part_of=part_of,
        parts=[models.Part.model_validate(part) for part in parts],
    )


@router.get("/executions/{reference}/logs", tags=["executions"], responses=_REFERENCE)
async def list_log(
    context: Context,
    reference: str,
    after: Annotated[int, Query(ge=0, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> models.LogPage:
    """The lines that an execution logged, in their order, page by page."""
    async with context.session() as session:
        row = await context.scheduler.get_execution(session, reference)
        lines = await context.scheduler.list_logs(session, row.id, after=after, limit=limit + 1)
    items = [models.LogLine.model_validate(line) for line in lines[:limit]]
    return models.LogPage(items=items, next=items[-1].id if len(lines) > limit else None)


@router.get("/hris/holds", tags=["hris"])
async def list_holds(
    context: Context,
    status: Annotated[list[HoldStatus] | None, Query(description="May be given several times.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> models.HoldList:
    """Replication runs that the guard held, the newest first."""
    async with context.session() as session:
        holds = await context.holds.list_holds(session, statuses=status or (), limit=limit)
    return models.HoldList(items=[models.Hold.model_validate(hold) for hold in holds])


@router.get("/hris/holds/{reference}", tags=["hris"], responses=_REFERENCE)
async def get_hold(
    context: Context,
    reference: str,
    after: Annotated[int, Query(ge=0, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=0, le=1000)] = 200,
) -> models.HoldDetail:
    """One held run with the rows that it would have changed: keys and field names, no values."""
    async with context.session() as session:
        hold = await context.holds.get_hold(session, reference)
        fields = await context.holds.count_changed_fields(session, hold)
        rows = await context.holds.list_changes(session, hold, after=after, limit=limit + 1)
    changes = [
        models.HoldChange(id=row.id, entity=row.entity, key=row.entity_key, action=row.action, fields=[*row.fields])
        for row in rows[:limit]
    ]
    return models.HoldDetail(
        **models.Hold.model_validate(hold).model_dump(),
        changed_fields={entity: dict(counts) for entity, counts in fields.items()},
        changes=changes,
        next=changes[-1].id if changes and len(rows) > limit else None,
    )


@router.get("/streams", tags=["status"])
async def list_streams(context: Context) -> models.StreamList:
    """Every kind of data that is kept current, and how old it is."""
    async with context.session() as session:
        now = await context.overview.read_clock(session)
        streams = await context.scheduler.list_streams(session)
    return models.StreamList(items=[_stream(stream, now) for stream in streams])


@router.get("/workers", tags=["status"])
async def list_workers(context: Context) -> models.WorkerList:
    """Processes that run tasks, or did within the last week, the latest started first."""
    async with context.session() as session:
        now = await context.overview.read_clock(session)
        workers = await context.scheduler.list_workers(session, seen_within_seconds=_WORKERS_SEEN_WITHIN_SECONDS)
    silent = dt.timedelta(seconds=context.worker_silent_after_seconds)
    return models.WorkerList(
        items=[
            models.Worker(
                **{name: getattr(worker, name) for name in models.Worker.model_fields if name != "alive"},
                alive=worker.stopped_at is None and now - worker.heartbeat_at <= silent,
            )
            for worker in workers
        ]
    )


@router.get("/tasks", tags=["jobs"])
async def list_tasks(context: Context) -> models.TaskList:
    """What can be scheduled, with the JSON Schema of its parameters."""
    # The first look imports the modules of the tasks, which takes a while.
    tasks = await asyncio.to_thread(lambda: list(context.tasks.items()))
    return models.TaskList(
        items=[
            models.Task(
                code=task.code,
                name=task.name,
                queue=task.queue,
                description=task.description,
                idempotent=task.idempotent,
                max_attempts=task.max_attempts,
                parameters=task.parameter_schema(),
            )
            for _, task in sorted(tasks)
        ]
    )


def _job(job: tables.Job, runs: Sequence[PastRun], fires: list[dt.datetime]) -> models.Job:
    last = last_ended(runs)
    computed = {"last_run", "next_fires"}
    return models.Job(
        **{name: getattr(job, name) for name in models.Job.model_fields if name not in computed},
        last_run=models.LastRun.model_validate(last) if last is not None else None,
        next_fires=fires,
    )


def _stream(stream: tables.Stream, now: dt.datetime) -> models.Stream:
    age = (now - stream.succeeded_at).total_seconds() if stream.succeeded_at is not None else None
    return models.Stream(
        code=stream.code,
        state=stream_state(stream, now).value,
        succeeded_at=stream.succeeded_at,
        age_seconds=round(max(age, 0.0), 3) if age is not None else None,
        stale_after_seconds=stream.stale_after_seconds,
        row_count=stream.row_count,
        execution_id=stream.execution_id,
    )
