"""The JSON of the API, as it is documented in OpenAPI. No personal data."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.domain.executions import Status


class _FromRow(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Counts(_FromRow):
    """Rows that a run touched; null: the task does not count that."""

    read: int | None
    inserted: int | None
    updated: int | None
    unchanged: int | None
    deactivated: int | None
    rejected: int | None


class Execution(_FromRow):
    """One fire or one call."""

    id: str = Field(description="UUID; also the Celery task id.")
    job_code: str | None = Field(description="The job that fired; null for a call without a job.")
    task_code: str
    triggered_by: str = Field(description="schedule, catch_up, manual, api, retry, workflow or direct.")
    requested_by: str | None
    scheduled_for: dt.datetime | None = Field(description="The fire time that this execution stands for.")
    status: Status
    reason: str | None = Field(description="Why it is in this status, where the status alone does not say it.")
    run_after: dt.datetime = Field(description="When it is due, or due again.")
    attempt: int = Field(description="Attempts begun so far.")
    max_attempts: int = Field(description="Attempts that it may take; 0: any number.")
    worker_host: str | None
    cancel_requested_at: dt.datetime | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    duration_ms: int | None
    progress_current: int | None
    progress_total: int | None
    progress_message: str | None
    counts: Counts
    summary: str | None
    error_type: str | None
    error_message: str | None = Field(description="In lists: its first 500 characters.")


class Attempt(_FromRow):
    """One try of an execution by one worker."""

    attempt: int
    worker_host: str
    started_at: dt.datetime
    finished_at: dt.datetime | None
    duration_ms: int | None
    outcome: str | None = Field(
        description="succeeded, retry, failed, timed_out, cancelled, interrupted, waiting or lost; null while it runs."
    )
    error_type: str | None
    error_message: str | None
    traceback: str | None


class Part(_FromRow):
    """One of the executions that an execution has split its work into."""

    number: int
    execution_id: str
    status: Status
    reason: str | None = Field(description="The class of its error, or why it is in this status.")


class ExecutionDetail(Execution):
    """One execution with its parameters, its result, its attempts and its parts."""

    task_name: str
    queue: str
    params: dict[str, Any]
    correlation_id: str
    retry_of: str | None = Field(description="The execution that this one repeats.")
    dispatched_at: dt.datetime | None
    heartbeat_at: dt.datetime | None
    result: Any | None
    attempts: list[Attempt]
    part_of: str | None = Field(description="The execution that this one is a part of.")
    parts: list[Part] = Field(description="In their order; empty: it has not been split.")


class ExecutionPage(BaseModel):
    """Executions, the newest first."""

    items: list[Execution]
    next: str | None = Field(description="Give it as `before` for the next page; null: this is the last.")


class LogLine(_FromRow):
    """One line that a task logged."""

    id: int
    attempt: int
    logged_at: dt.datetime
    level: str
    event: str
    fields: dict[str, Any]


class LogPage(BaseModel):
    """Lines of a log in their order."""

    items: list[LogLine]
    next: int | None = Field(description="Give it as `after` for the next page; null: no more lines so far.")


class LastRun(_FromRow):
    """The end of a job's last run that tells how the job is."""

    id: str
    status: Status
    reason: str | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    duration_ms: int | None


class Job(_FromRow):
    """A schedule."""

    code: str
    name: str
    description: str
    task_code: str
    params: dict[str, Any]
    trigger_kind: str = Field(description="cron, interval or date.")
    trigger_expression: str
    timezone: str
    dst_rule: str
    jitter_seconds: float
    starts_at: dt.datetime | None
    ends_at: dt.datetime | None
    max_runs: int | None
    catch_up: str
    max_lateness_seconds: float
    overlap: str
    enabled: bool
    paused_at: dt.datetime | None
    deleted_at: dt.datetime | None
    last_fire_at: dt.datetime | None
    runs_count: int
    revision: int
    last_run: LastRun | None = Field(None, description="The last execution that succeeded, failed or was missed.")
    next_fires: list[dt.datetime] = Field(default_factory=list, description="Empty: it rests or has ended.")


class JobList(BaseModel):
    """Every job that is not deleted, by code."""

    items: list[Job]


class Stream(_FromRow):
    """One kind of data that is kept current."""

    code: str
    state: Literal["current", "stale", "never", "no limit"]
    succeeded_at: dt.datetime | None
    age_seconds: float | None
    stale_after_seconds: float | None = Field(description="Null: nobody has said how old it may be.")
    row_count: int | None
    execution_id: str | None


class StreamList(BaseModel):
    """Every stream, by code."""

    items: list[Stream]


class Worker(_FromRow):
    """A process that runs tasks."""

    id: str
    host: str
    pid: int
    pool: str
    started_at: dt.datetime
    heartbeat_at: dt.datetime
    stopped_at: dt.datetime | None
    alive: bool
    running: int
    loop_gap_ms: int = Field(description="Longest time that its event loop did not answer, in the last heartbeat.")


class WorkerList(BaseModel):
    """Workers of the last week, the latest started first."""

    items: list[Worker]


class Task(BaseModel):
    """What can be scheduled."""

    code: str
    name: str
    queue: str
    description: str
    idempotent: bool = Field(description="Whether it is run again by itself when its worker is lost.")
    max_attempts: int = Field(description="0: any number.")
    parameters: dict[str, Any] = Field(description="JSON Schema of the parameters.")


class TaskList(BaseModel):
    """Every task, by code."""

    items: list[Task]


class Hold(_FromRow):
    """A replication run that the guard held."""

    execution_id: str = Field(description="The run that was held; it names the hold.")
    status: Literal["held", "approved", "rejected", "applied", "expired"]
    reasons: list[str] = Field(description="Why, in sentences.")
    counts: dict[str, dict[str, Any]] = Field(description="What it would have done, by entity.")
    change_count: int = Field(description="Rows that it would have changed.")
    held_at: dt.datetime
    last_seen_at: dt.datetime = Field(description="When a run last would have done the same.")
    decided_at: dt.datetime | None
    decided_by: str | None
    note: str | None
    applied_execution_id: str | None = Field(description="The run that applies it, or has applied it.")


class HoldList(BaseModel):
    """Held runs, the newest first."""

    items: list[Hold]


class HoldChange(BaseModel):
    """A row that a held run would have changed. The values stay in the database."""

    id: int
    entity: str
    key: str
    action: str = Field(description="insert, update, reactivate, deactivate or renumber.")
    fields: list[str]


class HoldDetail(Hold):
    """A held run with the rows that it would have changed."""

    changed_fields: dict[str, dict[str, int]] = Field(
        description="By entity, in how many of the rows that are kept (at most 10,000) each field would have changed."
    )
    changes: list[HoldChange]
    next: int | None = Field(description="Give it as `after` for the next page; null: this is the last.")


class StatusReason(_FromRow):
    """One sentence of the judgement."""

    text: str
    advice: str


class SystemStatus(_FromRow):
    """Whether the HR data is current, as the dashboard says it."""

    level: Literal["ok", "idle", "warn", "bad"]
    headline: str
    detail: str
    reasons: list[StatusReason]


class CheckReport(_FromRow):
    """One check of the readiness."""

    state: Literal["ok", "warning", "failed"]
    detail: str
    age_seconds: float | None = Field(description="Age of the last sign of life, where there is one.")


class ReadinessReport(BaseModel):
    """Whether the system can do its work."""

    status: Literal["ready", "degraded", "not ready"]
    reason: str = Field(description="Why it is not ready or degraded; empty when it is ready.")
    checks: dict[str, CheckReport]


class Life(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"
