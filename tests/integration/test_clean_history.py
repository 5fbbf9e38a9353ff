"""Retention deletes what is old and over, and nothing else."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from backend.api.repositories.history_repository import HistoryRepository
from backend.celery_bridge import TASK_REGISTRY
from backend.db.database import Database
from backend.db.maria_database import maria
from backend.db.models import ExecutionAttempt, ExecutionLog, JobExecution
from backend.domain.executions import Status
from backend.errors import ConfigurationError
from backend.services.clean_history import clean_history
from backend.settings import Settings
from backend.utils.identifiers import new_id
from tests.support.hris import RecordedRun

NOW = dt.datetime.now(dt.UTC)


def execution(status: Status = Status.SUCCESS, *, days: float = 50, **values: Any) -> JobExecution:
    """An execution that was due, and ended where it has, so many days ago."""
    at = NOW - dt.timedelta(days=days)
    return JobExecution(
        **{
            "id": new_id(),
            "task_code": "noop",
            "task_name": "tests.noop_task",
            "queue": "default",
            "triggered_by": "manual",
            "correlation_id": "c",
            "status": status.value,
            "run_after": at,
            "finished_at": at if status.is_final else None,
            "created_at": at,
            "updated_at": at,
            **values,
        }
    )


def log_line(execution_id: str, *, days: float) -> ExecutionLog:
    at = NOW - dt.timedelta(days=days)
    return ExecutionLog(execution_id=execution_id, attempt=1, logged_at=at, level="info", event="thing_done", fields={})


def attempt(execution_id: str) -> ExecutionAttempt:
    return ExecutionAttempt(
        execution_id=execution_id, attempt=1, claim_token="t", worker_id="w", worker_host="h", started_at=NOW
    )


async def store(database: Database, *rows: Any) -> None:
    async with database.session() as session:
        session.add_all(rows)


async def ids(database: Database) -> set[str]:
    async with database.session() as session:
        return set((await session.scalars(select(JobExecution.id))).all())


async def count(database: Database, table: type[Any]) -> int:
    async with database.session() as session:
        return (await session.execute(select(func.count()).select_from(table))).scalar_one()


async def clean(database: Database, executions_days: int = 30, logs_days: int = 10) -> dict[str, Any]:
    history = HistoryRepository(database)
    report = await clean_history(RecordedRun(), history=history, executions_days=executions_days, logs_days=logs_days)
    return dict(report.details)


@pytest.mark.parametrize("status", [status for status in Status if status.is_final])
async def test_old_finished_executions_go(database: Database, status: Status) -> None:
    """An execution that ended long ago goes with its attempts and logs, however it ended; a younger one stays."""
    old, young = execution(status), execution(status, days=29)
    await store(database, old, young)
    await store(database, attempt(old.id), attempt(young.id))
    await store(database, log_line(old.id, days=5), log_line(young.id, days=5))

    assert await clean(database) == {"executions_deleted": 1, "log_lines_deleted": 0}
    assert await ids(database) == {young.id}
    assert (await count(database, ExecutionAttempt), await count(database, ExecutionLog)) == (1, 1)


async def test_what_is_not_over_stays(database: Database) -> None:
    """What waits or runs stays, however old it is, and so does what was due long ago and ended lately."""
    kept = [
        execution(Status.PENDING, days=500),
        execution(Status.RUNNING, days=500),
        execution(days=500, finished_at=NOW - dt.timedelta(days=1)),
    ]
    await store(database, *kept)
    assert await clean(database) == {"executions_deleted": 0, "log_lines_deleted": 0}
    assert await ids(database) == {row.id for row in kept}


async def test_executions_of_bare_calls_go_too(database: Database) -> None:
    """An execution whose id does not tell its age, as Celery makes them, goes by its dates."""
    rows = [execution(id=str(uuid.uuid4()), days=days) for days in (31, 32, 33, 1)]
    await store(database, *rows)
    assert (await clean(database))["executions_deleted"] == 3
    assert await ids(database) == {rows[-1].id}


async def test_fires_that_never_ended_go_by_their_last_change(database: Database) -> None:
    """A missed fire has no end; its last change counts."""
    await store(database, execution(Status.MISSED, finished_at=None))
    assert (await clean(database))["executions_deleted"] == 1


async def test_old_log_lines_go_before_their_execution(database: Database) -> None:
    """Log lines have a shorter life than the execution that they belong to."""
    row = execution(days=20)
    await store(database, row)
    await store(database, *(log_line(row.id, days=days) for days in (20, 15, 9, 1)))
    assert await clean(database) == {"executions_deleted": 0, "log_lines_deleted": 2}
    assert await count(database, ExecutionLog) == 2


async def test_a_line_from_the_future_holds_nothing_up(database: Database) -> None:
    """A line that a wrong clock wrote does not keep the old lines after it."""
    await store(database, log_line("x", days=-900))
    await store(database, *(log_line("x", days=20) for _ in range(1500)))
    assert (await clean(database))["log_lines_deleted"] == 1500


async def test_many_rows_go_in_batches(database: Database) -> None:
    """More rows than fit into a batch go in one run, and progress is told."""
    await store(
        database, *(execution(status, days=40) for status in (Status.SUCCESS, Status.FAILED) for _ in range(250))
    )
    run = RecordedRun()
    history = HistoryRepository(database)
    report = await clean_history(run, history=history, executions_days=30, logs_days=10)
    assert report.details["executions_deleted"] == 500
    assert [current for current, *_ in run.progresses] == [200, 250, 450, 500]
    assert await ids(database) == set()


@pytest.mark.parametrize("days", [{"executions_days": 0}, {"logs_days": -1}])
async def test_nothing_of_today_can_be_deleted(database: Database, days: dict[str, int]) -> None:
    """Less than a day is refused, naming the parameter."""
    with pytest.raises(ConfigurationError, match=next(iter(days))):
        await clean(database, **days)


async def test_the_task_follows_settings_and_parameters(
    database: Database, settings_env: Callable[..., Settings]
) -> None:
    """Without parameters the settings count; a parameter replaces its setting. The run's own row stays."""
    settings_env(maria_url=database.url.render_as_string(hide_password=False), keep_executions_days=60)
    own, old = execution(Status.RUNNING, days=100), execution(days=50)
    await store(database, own, old)
    body = TASK_REGISTRY["cleanup_history"].body
    try:
        assert (await body(RecordedRun(own.id))).details["executions_deleted"] == 0
        report = await body(RecordedRun(own.id), executions_days=40)
    finally:
        await maria().dispose()
    assert report.summary == "Deleted 1 executions older than 40 days and 0 log lines older than 90 days."
    assert await ids(database) == {own.id}
