"""Rows as the JSON of commands: the same keys as the HTTP API."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from backend.api.repositories.job_rows import schedule_of
from backend.api.routes import models
from backend.db.models.hr import HrHold
from backend.db.models.scheduler import ExecutionAttempt, ExecutionLog, Job, JobExecution
from backend.domain.parts import PartState
from backend.domain.schedules import fires_after
from backend.errors import ConfigurationError


def execution_record(row: JobExecution) -> models.Execution:
    """An execution as in a list."""
    return models.Execution.model_validate(_values(row, models.Execution))


def execution_detail(
    row: JobExecution, attempts: Sequence[ExecutionAttempt], *, parts: Sequence[PartState], part_of: str | None
) -> models.ExecutionDetail:
    """An execution with everything about it."""
    values = _values(row, models.ExecutionDetail)
    return models.ExecutionDetail.model_validate(
        values
        | {
            "attempts": [models.Attempt.model_validate(attempt) for attempt in attempts],
            "part_of": part_of,
            "parts": [models.Part.model_validate(part) for part in parts],
        }
    )


def log_record(line: ExecutionLog) -> models.LogLine:
    """A line of an execution's log."""
    return models.LogLine.model_validate(line)


def job_record(job: Job, now: dt.datetime, *, fires: int, last: JobExecution | None = None) -> models.Job:
    """A job with its next fires and its last run."""
    computed = {"last_run", "next_fires"}
    return models.Job.model_validate(
        {name: getattr(job, name) for name in models.Job.model_fields if name not in computed}
        | {
            "last_run": models.LastRun.model_validate(last) if last is not None else None,
            "next_fires": next_fires(job, now, fires),
        }
    )


def hold_record(hold: HrHold) -> models.Hold:
    """A held run."""
    return models.Hold.model_validate(hold)


def next_fires(job: Job, now: dt.datetime, limit: int) -> list[dt.datetime]:
    """When the job fires next; empty when it rests, has ended, or its row holds no schedule."""
    if job.deleted_at is not None or job.paused_at is not None or not job.enabled:
        return []
    if job.max_runs is not None:
        limit = min(limit, job.max_runs - job.runs_count)
    try:
        return list(fires_after(schedule_of(job), now, limit)) if limit > 0 else []
    except ConfigurationError:
        return []


def _values(row: JobExecution, model: type[models.Execution]) -> dict[str, object]:
    names = set(model.model_fields) - {"counts", "attempts", "parts", "part_of"}
    counts = {name: getattr(row, f"rows_{name}") for name in models.Counts.model_fields}
    return {name: getattr(row, name) for name in names} | {"counts": counts}
