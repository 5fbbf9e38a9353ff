"""Tasks that keep the attendance data current."""

from __future__ import annotations

import datetime as dt

from backend.celery_app import app
from backend.domain.executions import RunReport
from backend.errors import TransientError
from backend.ports import Run
from backend.resources import punch_rules, punch_source, punch_store
from backend.services.ingest_punches import ingest_punches


@app.task(
    name="tasks.attendance.attendance_ingest_task",
    queue="attendance",
    max_retries=3,
    retry_backoff=30,
    retry_backoff_max=600,
    autoretry_for=(TransientError,),
    soft_time_limit=3600,
    time_limit=3700,
    idempotent=True,
)
async def attendance_ingest_task(run: Run, *, full: bool = False) -> RunReport:
    """Take new punches over from BioStar, each once.

    `full` reads every event table again from its beginning; needed only after a change of the rules.
    """
    name, rules = punch_rules()
    return await ingest_punches(
        run, rules, source=punch_source(name), store=punch_store(), now=dt.datetime.now(dt.UTC), full=full
    )
