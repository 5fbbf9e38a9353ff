"""The tables of scheduling and running: jobs, executions, attempts, logs, lease, workers, audit, streams."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db.models.base import TABLE_OPTIONS, Base
from backend.db.types import BigKey, Json, LongText, UTCDateTime, ascii_key, exact_text


class ExecutionStatus(Base):
    """Status look-up: what the codes of `scheduler_job_execution.status` mean."""

    __tablename__ = "scheduler_execution_status"

    code: Mapped[str] = mapped_column(ascii_key(16), primary_key=True)
    id: Mapped[int] = mapped_column(Integer, unique=True)
    name: Mapped[str] = mapped_column(String(64))
    is_final: Mapped[bool]


class Job(Base):
    """A schedule: which task, when, with which parameters and policies. The truth that APScheduler mirrors."""

    __tablename__ = "scheduler_job"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    code: Mapped[str] = mapped_column(ascii_key(100), unique=True)
    task_code: Mapped[str] = mapped_column(ascii_key(100))
    name: Mapped[str] = mapped_column(String(200), default="")
    description: Mapped[str] = mapped_column(String(1000), default="")
    params: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)

    # cron: crontab(5) text; interval: seconds; date: an ISO 8601 instant, or local time in `timezone`.
    trigger_kind: Mapped[str] = mapped_column(ascii_key(16))
    trigger_expression: Mapped[str] = mapped_column(String(200))
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    dst_rule: Mapped[str] = mapped_column(ascii_key(8), default="once")
    jitter_seconds: Mapped[float] = mapped_column(default=0)
    starts_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    ends_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    max_runs: Mapped[int | None]
    # Windows in which fires are recorded as missed: [{"start": iso, "end": iso, "reason": text}].
    blackouts: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)

    catch_up: Mapped[str] = mapped_column(ascii_key(8), default="last")
    max_lateness_seconds: Mapped[float] = mapped_column(default=86400)
    overlap: Mapped[str] = mapped_column(ascii_key(16), default="skip")

    enabled: Mapped[bool] = mapped_column(default=True)
    paused_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    deleted_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)

    # The scheduler's own marks: everything up to `last_fire_at` is in the ledger.
    last_fire_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    runs_count: Mapped[int] = mapped_column(default=0)
    # Raised by every edit, so that the scheduler sees it; not by the marks above.
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)


class JobExecution(Base):
    """One fire or one call: the row that is never lost and never doubled. Its id is the Celery task id."""

    __tablename__ = "scheduler_job_execution"
    __table_args__ = (
        UniqueConstraint("job_id", "scheduled_for"),
        Index("ix_scheduler_job_execution_status_run_after", "status", "run_after"),
        Index("ix_scheduler_job_execution_job_id_id", "job_id", "id"),
        # "Is anything of this job running, or older and waiting?", asked for every execution that is due.
        Index("ix_scheduler_job_execution_job_id_status_id", "job_id", "status", "id"),
        Index("ix_scheduler_job_execution_worker_id_status", "worker_id", "status"),
        # Lists go by time: the id of a bare Celery call is Celery's own and does not ascend.
        Index("ix_scheduler_job_execution_created_at", "created_at"),
        TABLE_OPTIONS,
    )

    id: Mapped[str] = mapped_column(ascii_key(36), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("scheduler_job.id", ondelete="SET NULL"))
    job_code: Mapped[str | None] = mapped_column(ascii_key(100))
    task_code: Mapped[str] = mapped_column(ascii_key(100))
    task_name: Mapped[str] = mapped_column(ascii_key(200))
    queue: Mapped[str] = mapped_column(ascii_key(64))
    params: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    scheduled_for: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    # schedule, catch_up, manual, api, retry, workflow or direct (a bare Celery call).
    triggered_by: Mapped[str] = mapped_column(ascii_key(16))
    requested_by: Mapped[str | None] = mapped_column(String(200))
    correlation_id: Mapped[str] = mapped_column(ascii_key(64))
    retry_of: Mapped[str | None] = mapped_column(ascii_key(36))

    status: Mapped[str] = mapped_column(ascii_key(16), ForeignKey("scheduler_execution_status.code"))
    reason: Mapped[str | None] = mapped_column(String(500))
    run_after: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    dispatched_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    dispatch_count: Mapped[int] = mapped_column(default=0)

    attempt: Mapped[int] = mapped_column(default=0)
    interruptions: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=1)
    idempotent: Mapped[bool] = mapped_column(default=True)
    claim_token: Mapped[str | None] = mapped_column(ascii_key(36))
    worker_id: Mapped[str | None] = mapped_column(ascii_key(120))
    worker_host: Mapped[str | None] = mapped_column(String(200))
    heartbeat_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    cancel_requested_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    cancel_reason: Mapped[str | None] = mapped_column(String(500))

    started_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    finished_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    duration_ms: Mapped[int | None]
    progress_current: Mapped[int | None] = mapped_column(BigKey)
    progress_total: Mapped[int | None] = mapped_column(BigKey)
    progress_message: Mapped[str | None] = mapped_column(String(500))
    rows_read: Mapped[int | None] = mapped_column(BigKey)
    rows_inserted: Mapped[int | None] = mapped_column(BigKey)
    rows_updated: Mapped[int | None] = mapped_column(BigKey)
    rows_unchanged: Mapped[int | None] = mapped_column(BigKey)
    rows_deactivated: Mapped[int | None] = mapped_column(BigKey)
    rows_rejected: Mapped[int | None] = mapped_column(BigKey)
    summary: Mapped[str | None] = mapped_column(String(1000))
    result: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    error_type: Mapped[str | None] = mapped_column(String(200))
    error_message: Mapped[str | None] = mapped_column(LongText)

    created_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)


class ExecutionAttempt(Base):
    """One try of an execution by one worker, with how it ended."""

    __tablename__ = "scheduler_execution_attempt"

    execution_id: Mapped[str] = mapped_column(
        ascii_key(36), ForeignKey("scheduler_job_execution.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    claim_token: Mapped[str] = mapped_column(ascii_key(36))
    worker_id: Mapped[str] = mapped_column(ascii_key(120))
    worker_host: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    finished_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    duration_ms: Mapped[int | None]
    # succeeded, retry, failed, timed_out, cancelled, interrupted, waiting or lost; NULL while it runs.
    outcome: Mapped[str | None] = mapped_column(ascii_key(16))
    error_type: Mapped[str | None] = mapped_column(String(200))
    error_message: Mapped[str | None] = mapped_column(LongText)
    traceback: Mapped[str | None] = mapped_column(LongText)


class ExecutionPart(Base):
    """One of the executions that an execution has split its work into. How it is, and what it reported, is its own row.

    A part that ended well also belongs to the retry of its execution.
    """

    __tablename__ = "scheduler_execution_part"

    # The execution that waits for its parts.
    execution_id: Mapped[str] = mapped_column(
        ascii_key(36), ForeignKey("scheduler_job_execution.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    part_execution_id: Mapped[str] = mapped_column(ascii_key(36), index=True)


class ExecutionLog(Base):
    """One line that a task logged during an attempt (capped per attempt)."""

    __tablename__ = "scheduler_execution_log"
    __table_args__ = (
        Index("ix_scheduler_execution_log_execution_id_id", "execution_id", "id"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    execution_id: Mapped[str] = mapped_column(ascii_key(36))
    attempt: Mapped[int]
    logged_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    level: Mapped[str] = mapped_column(ascii_key(10))
    event: Mapped[str] = mapped_column(String(500))
    fields: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)


class Lease(Base):
    """Who may fire: one row, taken over when it has expired, with a fencing token that only grows."""

    __tablename__ = "scheduler_lease"

    name: Mapped[str] = mapped_column(ascii_key(32), primary_key=True)
    holder: Mapped[str | None] = mapped_column(ascii_key(120))
    fencing_token: Mapped[int] = mapped_column(BigKey, default=0)
    acquired_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    expires_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    last_loop_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)


class Worker(Base):
    """A process that runs tasks, as its heartbeat last described it."""

    __tablename__ = "scheduler_worker"

    id: Mapped[str] = mapped_column(ascii_key(120), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    pool: Mapped[str] = mapped_column(String(32), default="")
    started_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    heartbeat_at: Mapped[dt.datetime] = mapped_column(UTCDateTime)
    stopped_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    running: Mapped[int] = mapped_column(default=0)
    # The longest time since the last heartbeat that the event loop did not answer.
    loop_gap_ms: Mapped[int] = mapped_column(default=0)


class AuditEntry(Base):
    """Who did what to a job or an execution."""

    __tablename__ = "scheduler_audit"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=True)
    at: Mapped[dt.datetime] = mapped_column(UTCDateTime, index=True)
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(ascii_key(40))
    object_type: Mapped[str] = mapped_column(ascii_key(40))
    object_id: Mapped[str] = mapped_column(String(120))
    detail: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)


class Stream(Base):
    """One kind of data that is kept current (such as `hris.employees`): when it last was, and its watermark.

    The watermark moves in the transaction that writes the data it describes.
    """

    __tablename__ = "sync_stream"

    code: Mapped[str] = mapped_column(exact_text(150), primary_key=True)
    watermark: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    succeeded_at: Mapped[dt.datetime | None] = mapped_column(UTCDateTime)
    execution_id: Mapped[str | None] = mapped_column(ascii_key(36))
    row_count: Mapped[int | None] = mapped_column(BigKey)
    # How old the data may be before the dashboard calls it stale; NULL: nobody has said.
    stale_after_seconds: Mapped[float | None]
