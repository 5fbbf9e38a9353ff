"""Rows of `scheduler_job` as the domain's values, and back. No queries."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from backend.db.models.scheduler import Job
from backend.domain.fires import ActiveExecution, FirePlan, FirePolicy, plan_fires
from backend.domain.jobs import Blackout, CatchUp, JobSpec, Overlap
from backend.domain.schedules import Schedule, choose, collect_due
from backend.errors import ConfigurationError

SPEC_FIELDS = tuple(field.name for field in fields(JobSpec))


def spec_of(job: Job) -> JobSpec:
    """What people decided about the job.

    Raises:
        ConfigurationError: the row holds something that no job can have (it was edited by hand).
    """
    values = {name: getattr(job, name) for name in SPEC_FIELDS}
    return JobSpec(**{**values, "blackouts": _blackouts(job), "params": dict(job.params or {})})


def columns_of(spec: JobSpec) -> dict[str, Any]:
    """The columns that hold the spec."""
    values = {name: getattr(spec, name) for name in SPEC_FIELDS}
    blackouts = [
        {"start": _iso(window.start), "end": _iso(window.end), "reason": window.reason} for window in spec.blackouts
    ]
    return {**values, "params": dict(spec.params), "blackouts": blackouts}


def schedule_of(job: Job) -> Schedule:
    """The job's schedule, after everything that firing needs of the row was found readable.

    Raises:
        ConfigurationError: something is not; the message names job, field and value.
    """
    try:
        policy_of(job)
        return spec_of(job).schedule(job.created_at)
    except ConfigurationError as error:
        raise ConfigurationError(f"Job {job.code!r}: {error}") from None
    except Exception as error:  # whatever was written into the row by hand must not stop other jobs
        raise ConfigurationError(f"Job {job.code!r} cannot be read: {error!r}. Apply it again.") from error


def policy_of(job: Job) -> FirePolicy:
    """The job's policies.

    Raises:
        ConfigurationError: one of them is not known.
    """
    return FirePolicy(
        catch_up=choose(CatchUp, "catch_up", job.catch_up),
        max_lateness_seconds=job.max_lateness_seconds,
        overlap=choose(Overlap, "overlap", job.overlap),
        jitter_seconds=job.jitter_seconds,
        blackouts=_blackouts(job),
        max_runs=job.max_runs,
        runs_count=job.runs_count,
    )


def plan_job(
    job: Job,
    *,
    until: dt.datetime,
    now: dt.datetime,
    active: Sequence[ActiveExecution],
    obstacle: str | None,
) -> FirePlan:
    """What becomes of the fires between the job's watermark and `until`.

    Raises:
        ConfigurationError: the row cannot be evaluated (see `schedule_of`).
    """
    due = collect_due(schedule_of(job), job.last_fire_at or job.created_at, until)
    return plan_fires(policy_of(job), due, now=now, active=active, dice=random.random, obstacle=obstacle)


def obstacle_of(job: Job) -> str | None:
    """Why the job may not run at all now; None: it may."""
    if job.paused_at is not None:
        return f"paused since {_iso(job.paused_at)}"
    return None


def _blackouts(job: Job) -> tuple[Blackout, ...]:
    try:
        return tuple(
            Blackout(
                start=_instant(window["start"]), end=_instant(window["end"]), reason=str(window.get("reason") or "")
            )
            for window in job.blackouts or ()
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigurationError(
            f"blackouts = {job.blackouts!r} cannot be read: write a list of windows with start and end (ISO 8601 with "
            "an offset) and reason."
        ) from None


def _instant(text: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(text)
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _iso(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).isoformat()
