"""SchedulerRepository on both engines."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.api.repositories.fire_ledger import EXECUTION
from backend.api.repositories.scheduler_repository import Saved, SchedulerRepository
from backend.db.database import Database
from backend.db.models import Job, JobExecution
from backend.domain.executions import Status
from backend.domain.jobs import Blackout, JobSpec
from backend.errors import ConfigurationError, ConflictError, NotFoundError
from tests.support.tasks import TASKS

pytestmark = pytest.mark.anyio

REPOSITORY = SchedulerRepository()
NIGHTLY = JobSpec(code="nightly", task_code="noop", trigger_kind="cron", trigger_expression="30 2 * * *")
MINUTELY = dataclasses.replace(NIGHTLY, code="minutely", trigger_kind="interval", trigger_expression="1m")


async def save(database: Database, spec: JobSpec) -> Saved:
    async with database.session() as session:
        return (await REPOSITORY.save_job(session, spec, tasks=TASKS, actor="ann")).outcome


async def age_job(database: Database, code: str, seconds: float) -> None:
    """As if the job had been created so long ago, and no scheduler had run since."""
    async with database.session() as session:
        job = await REPOSITORY.get_job(session, code)
        job.created_at -= dt.timedelta(seconds=seconds)
        job.last_fire_at = job.created_at


async def run(database: Database, code: str = "nightly", **options: Any) -> JobExecution:
    async with database.session() as session:
        return await REPOSITORY.request_run(session, code, tasks=TASKS, actor="ann", **options)


async def rows(database: Database) -> list[Any]:
    async with database.session() as session:
        return list(await session.execute(select(EXECUTION).order_by(EXECUTION.c.scheduled_for, EXECUTION.c.id)))


async def test_a_status_is_found_by_its_code(database: Database) -> None:
    """`get_execution_status_by_code` returns the row of the look-up table."""
    async with database.session() as session:
        status = await REPOSITORY.get_execution_status_by_code(session, "missed")
    assert (status.code, status.is_final) == ("missed", True)


async def test_an_unknown_status_code_is_answered_with_the_known_ones(database: Database) -> None:
    """The error for a wrong code lists the right ones."""
    async with database.session() as session:
        with pytest.raises(
            NotFoundError, match=r"'done'.*pending, running, success, failed, cancelled, missed, skipped"
        ):
            await REPOSITORY.get_execution_status_by_code(session, "done")


@pytest.mark.parametrize("key", ["status", "status_id"])
async def test_update_execution_sets_columns_and_status(database: Database, key: str) -> None:
    """A status may be given as code or as id, and `updated_at` moves."""
    await save(database, NIGHTLY)
    execution = await run(database)
    async with database.session() as session:
        status = await REPOSITORY.get_execution_status_by_code(session, "failed")
        value = status.code if key == "status" else status.id
        done = await REPOSITORY.update_execution(session, execution.id, {key: value, "error_message": "boom"})
        changed = await REPOSITORY.get_execution(session, execution.id)
    assert done is True
    assert (changed.status, changed.error_message) == ("failed", "boom")
    assert changed.updated_at >= execution.updated_at


async def test_update_execution_refuses_names_that_are_no_columns(database: Database) -> None:
    """A wrong column name is named in the error, and nothing is written."""
    await save(database, NIGHTLY)
    execution = await run(database)
    async with database.session() as session:
        with pytest.raises(ConfigurationError, match="no column colour"):
            await REPOSITORY.update_execution(session, execution.id, {"colour": "red"})


async def test_update_execution_of_an_unknown_id_is_not_found(database: Database) -> None:
    """An id without a row is an error."""
    async with database.session() as session:
        with pytest.raises(NotFoundError, match="no-such-id"):
            await REPOSITORY.update_execution(session, "no-such-id", {"summary": "x"})


async def test_a_job_is_created_then_unchanged_then_updated(database: Database) -> None:
    """Applying the same job twice changes nothing; a difference is reported field by field and raises the revision."""
    spec = dataclasses.replace(
        NIGHTLY,
        params={"full": True},
        starts_at=dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        blackouts=(
            Blackout(
                start=dt.datetime(2026, 12, 24, tzinfo=dt.UTC), end=dt.datetime(2026, 12, 27, tzinfo=dt.UTC), reason="x"
            ),
        ),
    )
    assert await save(database, spec) is Saved.CREATED
    assert await save(database, spec) is Saved.UNCHANGED
    async with database.session() as session:
        edited = dataclasses.replace(spec, overlap="queue")
        saved = await REPOSITORY.save_job(session, edited, tasks=TASKS, actor="ann")
    assert (saved.outcome, saved.changes) == (Saved.UPDATED, {"overlap": ("skip", "queue")})
    assert saved.job.revision == 2


async def test_a_wrong_job_is_refused(database: Database) -> None:
    """A job that could not run is not stored; the error names the field."""
    wrong = [
        (dataclasses.replace(NIGHTLY, trigger_expression="61 * * * *"), "minute"),
        (dataclasses.replace(NIGHTLY, task_code="nope"), "task_code"),
        (dataclasses.replace(NIGHTLY, params={"colour": 1}), "colour"),
    ]
    for spec, word in wrong:
        async with database.session() as session:
            with pytest.raises(ConfigurationError, match=word):
                await REPOSITORY.save_job(session, spec, tasks=TASKS, actor="ann")


async def test_every_change_of_a_job_is_in_the_audit(database: Database) -> None:
    """Who created, edited, paused, resumed, ran and deleted a job can be read afterwards."""
    await save(database, NIGHTLY)
    await save(database, dataclasses.replace(NIGHTLY, jitter_seconds=5))
    await run(database)
    async with database.session() as session:
        await REPOSITORY.pause_job(session, "nightly", actor="ben")
        await REPOSITORY.resume_job(session, "nightly", tasks=TASKS, actor="ben")
        await REPOSITORY.delete_job(session, "nightly", tasks=TASKS, actor="ben")
        entries = await REPOSITORY.list_audit(session, object_type="job", object_id="nightly")
    assert [(entry.actor, entry.action) for entry in entries] == [
        ("ben", "job_deleted"),
        ("ben", "job_resumed"),
        ("ben", "job_paused"),
        ("ann", "job_run_requested"),
        ("ann", "job_updated"),
        ("ann", "job_created"),
    ]


async def test_editing_the_schedule_first_settles_the_old_one(database: Database) -> None:
    """What the old schedule had due is decided by its own policy; the new one starts at the edit."""
    await save(database, MINUTELY)
    await age_job(database, "minutely", 600)
    await save(database, dataclasses.replace(MINUTELY, trigger_expression="1h"))
    found = await rows(database)
    assert [row.status for row in found] == ["missed"] * (len(found) - 1) + ["pending"]
    assert len(found) in (9, 10, 11)
    async with database.session() as session:
        job = await REPOSITORY.get_job(session, "minutely")
    assert job.last_fire_at is not None
    assert job.last_fire_at >= found[-1].scheduled_for


async def test_disabling_a_job_records_what_it_still_had_due_as_missed(database: Database) -> None:
    """Disabling never starts a run."""
    await save(database, MINUTELY)
    await age_job(database, "minutely", 180)
    await save(database, dataclasses.replace(MINUTELY, enabled=False))
    assert {(row.status, row.reason) for row in await rows(database)} == {
        ("missed", "the job was disabled before it could run")
    }


async def test_fires_during_a_pause_are_missed_even_if_no_scheduler_saw_them(database: Database) -> None:
    """Resuming a job records the fires of the pause, so that they are not caught up."""
    await save(database, MINUTELY)
    async with database.session() as session:
        await REPOSITORY.pause_job(session, "minutely", actor="ann")
    await age_job(database, "minutely", 180)
    async with database.session() as session:
        job = await REPOSITORY.resume_job(session, "minutely", tasks=TASKS, actor="ann")
    found = await rows(database)
    assert len(found) in (2, 3, 4)
    assert {row.status for row in found} == {"missed"}
    assert all("paused since" in row.reason for row in found)
    assert (job.paused_at, job.last_fire_at) == (None, found[-1].scheduled_for)


async def test_a_deleted_job_is_gone_and_may_come_back(database: Database) -> None:
    """Deleting cancels what waits, hides the job, keeps its executions; the same code can be created again."""
    await save(database, NIGHTLY)
    execution = await run(database)
    async with database.session() as session:
        await REPOSITORY.delete_job(session, "nightly", tasks=TASKS, actor="ann")
    async with database.session() as session:
        with pytest.raises(NotFoundError):
            await REPOSITORY.get_job(session, "nightly")
        assert (await REPOSITORY.get_execution(session, execution.id)).status == "cancelled"
        assert [row.id for row in await REPOSITORY.list_executions(session, job_code="nightly")] == [execution.id]
    assert await save(database, NIGHTLY) is Saved.CREATED


async def test_a_requested_run_takes_the_jobs_parameters_and_the_overrides(database: Database) -> None:
    """Overrides replace the job's parameters of the same name; wrong ones are refused."""
    await save(database, dataclasses.replace(NIGHTLY, params={"full": False, "day": "mon"}))
    execution = await run(database, params={"full": True})
    assert execution.params == {"full": True, "day": "mon"}
    assert (execution.status, execution.triggered_by, execution.requested_by) == ("pending", "manual", "ann")
    assert (execution.task_name, execution.max_attempts, execution.job_code) == ("tasks.test.noop_task", 3, "nightly")
    with pytest.raises(ConfigurationError, match="colour"):
        await run(database, params={"colour": 1})


async def test_an_execution_is_found_by_the_end_of_its_id(database: Database) -> None:
    """The last characters are enough if they are unique, an error says so if they are not."""
    await save(database, NIGHTLY)
    execution = await run(database)
    async with database.session() as session:
        await session.execute(
            EXECUTION.insert(),
            [
                {column.name: getattr(execution, column.name) for column in EXECUTION.columns}
                | {"id": execution.id[:-8][::-1].replace("-", "a").rjust(28, "b") + execution.id[-8:]}
            ],
        )
    async with database.session() as session:
        with pytest.raises(ConflictError, match="Several executions"):
            await REPOSITORY.get_execution(session, execution.id[-8:])
        assert (await REPOSITORY.get_execution(session, execution.id[-12:].upper())).id == execution.id
        assert await REPOSITORY.find_execution(session, "%") is None
        with pytest.raises(NotFoundError):
            await REPOSITORY.get_execution(session, "ffffffff")


async def test_executions_are_listed_newest_first_page_by_page(database: Database) -> None:
    """`before` continues where the last page ended; filters narrow the list."""
    await save(database, NIGHTLY)
    made = [(await run(database)).id for _ in range(5)]
    newest_first = sorted(made, reverse=True)
    async with database.session() as session:
        first = await REPOSITORY.list_executions(session, limit=2)
        second = await REPOSITORY.list_executions(session, limit=2, before=first[-1].id)
        assert [row.id for row in [*first, *second]] == newest_first[:4]
        assert await REPOSITORY.list_executions(session, status=["failed"]) == []
        assert len(await REPOSITORY.list_executions(session, task_code="noop", status=["pending", "failed"])) == 5
        with pytest.raises(NotFoundError):
            await REPOSITORY.list_executions(session, job_code="nope")


async def test_cancel_ends_what_waits_and_asks_what_runs(database: Database) -> None:
    """A pending execution is cancelled at once, a running one is marked, an ended one is a conflict."""
    await save(database, NIGHTLY)
    waiting, running = await run(database), await run(database)
    async with database.session() as session:
        await session.execute(update(JobExecution).where(JobExecution.id == running.id).values(status="running"))
    async with database.session() as session:
        first = await REPOSITORY.request_cancel(session, waiting.id, actor="ann")
        second = await REPOSITORY.request_cancel(session, running.id[-12:], actor="ann", reason="wrong day")
    assert (first.status, first.reason) == ("cancelled", "cancelled by ann")
    assert first.finished_at is not None
    assert (second.status, second.cancel_reason) == ("running", "wrong day")
    async with database.session() as session:
        with pytest.raises(ConflictError, match="already ended"):
            await REPOSITORY.request_cancel(session, await _failed(session, running.id), actor="ann")


async def _failed(session: Any, execution_id: str) -> str:
    await session.execute(
        update(JobExecution).where(JobExecution.id == execution_id).values(status="failed", cancel_requested_at=None)
    )
    return execution_id


async def test_a_retry_is_a_new_execution(database: Database) -> None:
    """It has the old one's parameters and points to it; what has not ended cannot be retried."""
    await save(database, NIGHTLY)
    old = await run(database, params={"day": "mon"})
    async with database.session() as session:
        with pytest.raises(ConflictError, match="pending"):
            await REPOSITORY.retry_execution(session, old.id, tasks=TASKS, actor="ann")
        await REPOSITORY.update_execution(session, old.id, {"status": "failed"})
        new = await REPOSITORY.retry_execution(session, old.id, tasks=TASKS, actor="ann")
    assert (new.retry_of, new.params, new.triggered_by, new.status) == (old.id, {"day": "mon"}, "retry", "pending")
    assert new.correlation_id == old.correlation_id


async def test_executions_are_counted_by_status(database: Database) -> None:
    """Every status has a number, also 0."""
    await save(database, NIGHTLY)
    await run(database)
    await run(database)
    async with database.session() as session:
        counts = await REPOSITORY.count_executions(session)
    assert counts == dict.fromkeys(Status, 0) | {Status.PENDING: 2}


async def test_the_lease_streams_and_workers_can_be_read(database: Database) -> None:
    """An empty installation has a lease that nobody holds, and neither streams nor workers."""
    async with database.session() as session:
        lease = await REPOSITORY.get_lease(session)
        assert (lease.holder, lease.fencing_token) == (None, 0)
        assert await REPOSITORY.list_streams(session) == []
        assert await REPOSITORY.list_workers(session) == []
        assert await REPOSITORY.list_jobs(session) == []
        assert (await session.scalars(select(Job))).all() == []
