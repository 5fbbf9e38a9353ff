"""Tasks that keep hrsync itself in order."""

from __future__ import annotations

from backend.celery_app import app
from backend.domain.executions import RunReport
from backend.errors import TransientError
from backend.ports import Run
from backend.resources import history, retention_days
from backend.services.clean_history import clean_history


@app.task(
    name="tasks.scheduler.cleanup_history_task",
    queue="default",
    max_retries=3,
    retry_backoff=60,
    retry_backoff_max=600,
    autoretry_for=(TransientError,),
    soft_time_limit=3600,
    time_limit=3700,
    idempotent=True,
)
async def cleanup_history_task(
    run: Run, *, executions_days: int | None = None, logs_days: int | None = None
) -> RunReport:
    """Delete finished executions and log lines that are older than they must be kept.

    Without parameters by KEEP_EXECUTIONS_DAYS and KEEP_LOGS_DAYS.
    """
    keep_executions, keep_logs = retention_days()
    return await clean_history(
        run,
        history=history(),
        executions_days=keep_executions if executions_days is None else executions_days,
        logs_days=keep_logs if logs_days is None else logs_days,
    )
