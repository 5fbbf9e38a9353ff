"""The scheduler process at work: firing, catching up, edits, leadership, outages."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis
from sqlalchemy import insert, text, update

from backend.api.repositories.fire_ledger import FireLedger
from backend.api.repositories.lease_repository import LeaseGrant, LeaseRepository
from backend.db.database import Database
from backend.db.migrate import upgrade
from backend.db.models import Job, Lease
from backend.db.types import db_now
from backend.domain.jobs import JobSpec
from backend.errors import FencedError
from backend.scheduler.broker_watch import MARKER_KEY
from backend.scheduler.leadership import Leadership
from backend.scheduler.ledger import record_due
from tests.support.databases import make_database
from tests.support.scheduling import (
    REPOSITORY,
    RememberingBroker,
    age_job,
    becomes_leader,
    claim,
    every,
    executions,
    request_run,
    running_scheduler,
    save,
    set_silent,
)
from tests.support.servers import MariaDBServer, RedisServer
from tests.support.tasks import TASKS
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


def soon(seconds: float = 1) -> str:
    """An instant shortly from now, as a date trigger."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).isoformat()


async def until_rows(database: Database, count: int, timeout: float = 10, **equal: object) -> list[Any]:
    """The executions with these values, once there are so many."""

    async def enough() -> list[Any]:
        rows = await executions(database, **equal)
        return rows if len(rows) >= count else []

    return await eventually_async(enough, timeout, message=f"{count} executions")


# --- firing -----------------------------------------------------------------------------------------------------------


async def test_a_due_job_is_recorded_and_sent(database: Database) -> None:
    """A job that is applied while the scheduler runs fires at its time and reaches the broker."""
    broker = RememberingBroker()
    async with running_scheduler(database, broker) as service:
        await becomes_leader(service)
        await save(database, every(1, params={"day": "mon"}))
        await until_rows(database, 2)

        async def sent() -> bool:
            return bool(broker.sent)

        await eventually_async(sent)
    first, second = (await executions(database))[:2]
    assert second.scheduled_for - first.scheduled_for == dt.timedelta(seconds=1)
    assert (first.status, first.triggered_by, first.params) == ("pending", "schedule", {"day": "mon"})
    assert (first.task_name, first.queue, first.max_attempts) == ("tasks.test.noop_task", "default", 3)
    assert broker.sent == [first.id]


async def test_a_date_fires_once_and_leaves_the_others_alone(database: Database) -> None:
    """A job whose last fire has passed stays in the table and fires no more."""
    broker = RememberingBroker()
    async with running_scheduler(database, broker) as service:
        await becomes_leader(service)
        await save(database, every(1))
        await save(database, dataclasses.replace(every(1, "once"), trigger_kind="date", trigger_expression=soon()))
        await until_rows(database, 1, job_code="once")
        await until_rows(database, 4, job_code="tick")
    assert len(await executions(database, job_code="once")) == 1


async def test_a_job_ends_after_its_maximum_of_runs(database: Database) -> None:
    """The runs are counted over restarts of the scheduler."""
    broker = RememberingBroker()
    await save(database, every(1, max_runs=2))
    async with running_scheduler(database, broker):
        await until_rows(database, 1)
    await save(database, every(1, "other"))
    async with running_scheduler(database, broker):
        await until_rows(database, 3, job_code="other")
    assert len(await executions(database, job_code="tick")) == 2


async def test_a_paused_job_records_what_it_misses(database: Database) -> None:
    """Its fires become rows with the reason, and nothing is sent."""
    broker = RememberingBroker()
    await save(database, every(1))
    async with database.session() as session:
        await REPOSITORY.pause_job(session, "tick", actor="ann")
    async with running_scheduler(database, broker):
        await until_rows(database, 2)
    assert {row.status for row in await executions(database)} == {"missed"}
    assert all("paused since" in row.reason for row in await executions(database))
    assert broker.sent == []


async def test_an_overlapping_fire_is_skipped_with_its_reason(database: Database) -> None:
    """The row names the execution that was in the way."""
    await save(database, every(1, overlap="skip"))
    busy = await request_run(database)
    async with running_scheduler(database, RememberingBroker()):
        await until_rows(database, 2, status="skipped")
    (row, *_) = await executions(database, status="skipped")
    assert row.reason == f"execution {busy.id} was still waiting (overlap = skip)"


async def test_an_overlapping_fire_may_cancel_what_runs(database: Database) -> None:
    """The running execution is asked to end, and the new one waits for that."""
    broker = RememberingBroker()
    await save(database, every(1, overlap="cancel_running", max_runs=1))
    busy = await request_run(database)
    await claim(database, busy.id)
    async with running_scheduler(database, broker):
        await until_rows(database, 1, status="pending")
    (old,) = await executions(database, id=busy.id)
    assert old.cancel_requested_at is not None
    assert old.cancel_reason == "replaced by a newer fire (overlap = cancel_running)"
    assert broker.sent == []


async def test_a_job_of_an_unknown_task_says_so(database: Database) -> None:
    """Its fires are missed, with what to do about it."""
    await save(database, every(1))
    async with database.session() as session:
        await session.execute(update(Job).values(task_code="removed", revision=Job.revision + 1))
    async with running_scheduler(database, RememberingBroker()):
        await until_rows(database, 1)
    (row, *_) = await executions(database)
    assert (row.status, row.reason) == (
        "missed",
        "the program has no task 'removed': install the version that has it, or change the job",
    )


# --- downtime ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "expected"), [("skip", {"missed": 5}), ("last", {"missed": 4, "pending": 1}), ("all", {"pending": 5})]
)
async def test_downtime_is_caught_up_by_the_jobs_policy(
    database: Database, catch_up: str, expected: dict[str, int]
) -> None:
    """Every fire of the downtime becomes a row: missed with its reason, or run late."""
    await save(database, every(600, catch_up=catch_up))
    await age_job(database, "tick", 5 * 600 + 300)
    async with running_scheduler(database, RememberingBroker()):
        await until_rows(database, 5)
    rows = await executions(database)
    assert Counter(row.status for row in rows) == expected
    assert {row.triggered_by for row in rows if row.status == "pending"} <= {"catch_up"}
    assert [row.id for row in rows] == sorted(row.id for row in rows)


async def test_a_new_schedule_does_not_make_up_for_the_time_before_it(database: Database) -> None:
    """A job that is applied to an idle installation has nothing to catch up."""
    await save(database, every(3600, catch_up="all"))
    await save(database, every(1, "other"))
    async with running_scheduler(database, RememberingBroker()):
        await until_rows(database, 1, job_code="other")
    assert await executions(database, job_code="tick") == []


async def test_a_scheduler_killed_between_ledger_and_dispatch_loses_nothing(database: Database) -> None:
    """What is recorded and not yet sent is sent by the next one, once."""
    await save(database, every(600))
    await age_job(database, "tick", 601)
    grant = await take_lease(database, "killed")
    recorded = await record_now(database, grant)
    assert recorded == 1
    await release(database, grant)
    broker = RememberingBroker()
    async with running_scheduler(database, broker):

        async def sent() -> bool:
            return bool(broker.sent)

        await eventually_async(sent)
    (row,) = await executions(database)
    assert broker.sent == [row.id]


async def take_lease(database: Database, holder: str, seconds: float = 60) -> LeaseGrant:
    async with database.session() as session:
        grant = await LeaseRepository().acquire(session, holder, seconds)
    assert grant is not None
    return grant


async def release(database: Database, grant: LeaseGrant) -> None:
    async with database.session() as session:
        await LeaseRepository().release(session, grant)


async def record_now(database: Database, grant: LeaseGrant) -> int:
    """Bring what is due into the ledger; how many rows are to be sent."""
    async with database.session() as session:
        ids = (await FireLedger().read_revisions(session)).keys()
    result = await record_due(database, ids, TASKS, grant, until=lambda: dt.datetime.now(dt.UTC), timeout_seconds=10)
    return result.pending


async def test_a_fire_is_recorded_once_however_often_it_is_tried(database: Database) -> None:
    """Two recorders at the same time, and a watermark that was set back, make no second row."""
    await save(database, every(60, catch_up="all"))
    await age_job(database, "tick", 10 * 60 + 30)
    grant = await take_lease(database, "one")
    await asyncio.gather(*(record_now(database, grant) for _ in range(3)))
    before = [row.id for row in await executions(database)]
    async with database.session() as session:
        await session.execute(update(Job).values(last_fire_at=Job.created_at))
    await record_now(database, grant)
    assert len(before) == 10
    assert [row.id for row in await executions(database)] == before


async def test_thousands_of_missed_fires_are_collapsed(sqlite_database: Database) -> None:
    """The newest 5,000 are listed, the older ones are one row."""
    await save(sqlite_database, every(1, catch_up="last"))
    await age_job(sqlite_database, "tick", 20_000)
    await record_now(sqlite_database, await take_lease(sqlite_database, "one"))
    rows = await executions(sqlite_database)
    assert len(rows) in (5001, 5002)
    assert "fires from" in rows[0].reason
    assert Counter(row.status for row in rows)["pending"] >= 1


# --- edits ------------------------------------------------------------------------------------------------------------


async def test_edits_take_effect_within_two_seconds(database: Database) -> None:
    """A new trigger, and a deletion, are followed while the scheduler runs."""
    async with running_scheduler(database, RememberingBroker()) as service:
        await becomes_leader(service)
        await save(database, every(86400))
        await save(database, every(1))
        edited_at = dt.datetime.now(dt.UTC)
        rows = await until_rows(database, 1, 4)
        assert rows[0].scheduled_for - edited_at < dt.timedelta(seconds=2)
        async with database.session() as session:
            await REPOSITORY.delete_job(session, "tick", tasks=TASKS, actor="ann")
        count = len(await executions(database))
        await save(database, every(1, "other"))
        await until_rows(database, 3, job_code="other")
    assert len(await executions(database, job_code="tick")) == count


async def test_a_row_that_cannot_be_evaluated_disturbs_no_other(database: Database) -> None:
    """It is reported in the audit and in the health, the others fire, and it fires again once mended."""
    await save(database, every(1, "good"))
    await save(database, every(1, "bad"))
    await break_job(database, trigger_kind="cron", trigger_expression="not cron")
    async with running_scheduler(database, RememberingBroker()) as service:
        await until_rows(database, 2, job_code="good")
        assert "'not cron'" in service.health().unreadable_jobs["bad"]
        async with database.session() as session:
            entries = await REPOSITORY.list_audit(session, object_id="bad")
        assert [entry.action for entry in entries] == ["job_rejected", "job_created"]
        assert await executions(database, job_code="bad") == []
        await save(database, every(1, "bad"))
        await until_rows(database, 1, job_code="bad")
        assert service.health().unreadable_jobs == {}


async def break_job(database: Database, **values: object) -> None:
    """Edit the job `bad` by hand."""
    async with database.session() as session:
        await session.execute(update(Job).where(Job.code == "bad").values(**values, revision=Job.revision + 1))


@pytest.mark.parametrize(
    "values",
    [{"catch_up": "maybe"}, {"blackouts": [{"from": "x"}]}, {"blackouts": 3}, {"params": [1]}, {"timezone": "Moon"}],
)
async def test_nonsense_in_any_column_disturbs_no_other(sqlite_database: Database, values: dict[str, object]) -> None:
    """Whatever a hand-edited row holds, the other jobs fire."""
    await save(sqlite_database, every(1, "good"))
    await save(sqlite_database, every(1, "bad"))
    await break_job(sqlite_database, **values)
    async with running_scheduler(sqlite_database, RememberingBroker()) as service:
        await until_rows(sqlite_database, 2, job_code="good")
        assert list(service.health().unreadable_jobs) == ["bad"]


# --- leadership -------------------------------------------------------------------------------------------------------


async def test_two_schedulers_and_200_fires_make_200_rows(database: Database) -> None:
    """One leads; when it leaves, the other goes on; no fire is lost or doubled."""
    url = database.url.render_as_string(hide_password=False)
    other = make_database(url)
    begin = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=3)
    end = begin + dt.timedelta(seconds=4)
    for number in range(40):
        await save(database, every(1, f"tick-{number}", starts_at=begin, ends_at=end))
    broker = RememberingBroker()
    async with running_scheduler(other, broker) as standby_or_leader:
        async with running_scheduler(database, broker) as service:
            await until_rows(database, 80)
            assert standby_or_leader.health().is_leader is not service.health().is_leader
        await until_rows(database, 200, 20)
    await other.dispose()
    rows = await executions(database)
    assert len(rows) == 200
    assert len({(row.job_id, row.scheduled_for) for row in rows}) == 200
    assert {row.status for row in rows} == {"pending"}


async def test_an_expired_lease_is_taken_over_and_the_old_holder_is_refused(database: Database) -> None:
    """The fencing token grows, and a late transaction of the old leader writes nothing."""
    await save(database, every(600))
    await age_job(database, "tick", 601)
    old = await take_lease(database, "old")
    async with database.session() as session:
        assert await LeaseRepository().acquire(session, "new", 60) is None
        await session.execute(update(Lease).values(expires_at=db_now(-1)))
    new = await take_lease(database, "new")
    assert new.fencing_token == old.fencing_token + 1
    with pytest.raises(FencedError):
        await record_now(database, old)
    assert await executions(database) == []
    async with database.session() as session:
        assert await LeaseRepository().renew(session, old, 60) is False
        assert await LeaseRepository().renew(session, new, 60) is True
    assert await record_now(database, new) == 1


async def test_only_one_of_many_gets_the_lease(database: Database) -> None:
    """However many ask at the same time."""

    async def ask(number: int) -> LeaseGrant | None:
        async with database.session() as session:
            return await LeaseRepository().acquire(session, f"holder-{number}", 60)

    grants = [grant for grant in await asyncio.gather(*(ask(number) for number in range(8))) if grant]
    assert len(grants) == 1


async def test_a_leader_that_cannot_renew_stops_by_itself(sqlite_database: Database) -> None:
    """Its own clock ends the grant, without a word from the database."""
    leadership = Leadership(sqlite_database, lease_seconds=1.2, timeout_seconds=5)
    await leadership.renew_or_acquire()
    assert leadership.grant is not None

    async def has_none() -> bool:
        return leadership.grant is None

    await eventually_async(has_none, 3)
    await leadership.renew_or_acquire()
    assert leadership.grant is not None


async def test_a_standby_takes_over_when_the_leader_falls_silent(database: Database) -> None:
    """After the lease has run out, and what the dead leader left is caught up."""
    async with database.session() as session:
        await session.execute(
            update(Lease).values(holder="dead", fencing_token=7, expires_at=db_now(2), acquired_at=db_now())
        )
    await save(database, every(1))
    async with running_scheduler(database, RememberingBroker()) as service:
        await becomes_leader(service)
        assert service.health().fencing_token == 8
        await until_rows(database, 2)

        async def has_looped() -> bool:
            async with database.session() as session:
                return (await REPOSITORY.get_lease(session)).last_loop_at is not None

        await eventually_async(has_looped)
    async with database.session() as session:
        assert (await REPOSITORY.get_lease(session)).holder is None


# --- outages ----------------------------------------------------------------------------------------------------------


async def database_on(server: MariaDBServer) -> Database:
    """hrsync's own database on a server of this test alone."""
    empty = make_database(server.database_url("mysql"))
    async with empty.session() as session:
        await session.execute(text("CREATE DATABASE hrsync CHARACTER SET utf8mb4"))
    await empty.dispose()
    database = make_database(server.database_url("hrsync"))
    await upgrade(database)
    return database


async def test_mariadb_away_and_back(private_mariadb: MariaDBServer) -> None:
    """Fires of the outage are recorded after it, and a run that lives is not rescued because of it."""
    database = await database_on(private_mariadb)
    await save(database, every(1))
    alive = await request_run(database)
    broker = RememberingBroker()
    async with running_scheduler(database, broker, heartbeat_seconds=2, orphan_after_seconds=4) as service:
        await until_rows(database, 2)
        await claim(database, alive.id)
        private_mariadb.stop()

        async def says_so() -> bool:
            return "ledger" in service.health().errors and not service.health().is_leader

        await eventually_async(says_so, 15, message="the outage in the health")
        assert service.health().is_alive
        await asyncio.to_thread(private_mariadb.start)
        await set_silent(database, alive.id, 5)
        back_at = dt.datetime.now(dt.UTC)
        await becomes_leader(service)
        # The worker needs a moment to speak again; meanwhile nobody may take its run.
        await set_silent(database, alive.id, 0)

        async def fires_again() -> bool:
            return any(row.scheduled_for and row.scheduled_for > back_at for row in await executions(database))

        await eventually_async(fires_again, 10, message="fires after the outage")
        (row,) = await executions(database, id=alive.id)
        assert row.status == "running"
        await set_silent(database, alive.id, 60)

        async def rescued() -> bool:
            return [row.status for row in await executions(database, id=alive.id)] == ["pending"]

        await eventually_async(rescued, 10, message="the rescue of a run that is really silent")
        assert service.health().errors == {}
    times = [row.scheduled_for for row in await executions(database, job_code="tick") if row.scheduled_for]
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {dt.timedelta(seconds=1)}
    await database.dispose()


async def test_a_frozen_database_freezes_no_loop(private_mariadb: MariaDBServer) -> None:
    """A server that accepts and does not answer costs time-outs only."""
    database = await database_on(private_mariadb)
    await save(database, every(1))
    async with running_scheduler(database, RememberingBroker(), db_timeout_seconds=1) as service:
        await until_rows(database, 1)
        private_mariadb.suspend()
        try:

            async def says_so() -> bool:
                return {"lead", "sweep", "ledger"} <= service.health().errors.keys()

            await eventually_async(says_so, 20, message="the freeze in the health")
            assert max(service.health().loop_ages_seconds.values()) < 10
        finally:
            private_mariadb.resume()
        count = len(await executions(database))
        await until_rows(database, count + 3, 15)
        assert service.health().is_leader
    await database.dispose()


async def test_a_broker_that_is_away_delays_and_loses_nothing(database: Database) -> None:
    """Rows wait in the database, and go out when it is back."""
    broker = RememberingBroker()
    broker.is_away = True
    await save(database, every(3600))
    waiting = await request_run(database)
    async with running_scheduler(database, broker) as service:

        async def says_so() -> bool:
            return "dispatch" in service.health().errors

        await eventually_async(says_so)
        assert service.health().is_alive
        broker.is_away = False

        async def sent() -> bool:
            return broker.sent == [waiting.id]

        await eventually_async(sent)


async def test_a_redis_that_comes_back_empty_gets_its_messages_again(
    database: Database, private_redis: RedisServer
) -> None:
    """The missing marker tells that what was sent is lost, long before the patience is over."""
    broker = RememberingBroker()
    await save(database, every(3600))
    lost = await request_run(database)
    async with running_scheduler(database, broker, celery_broker_url=private_redis.url) as service:

        async def sent(times: int = 1) -> bool:
            return len(broker.sent) >= times and is_marked(private_redis)

        await eventually_async(sent)
        private_redis.stop()

        async def says_so() -> bool:
            return "CELERY_BROKER_URL" in service.health().errors.get("broker", "")

        await eventually_async(says_so)
        already = len(broker.sent)
        await asyncio.to_thread(private_redis.start)
        await eventually_async(lambda: sent(already + 1))
        assert service.health().is_leader
    assert set(broker.sent) == {lost.id}


def is_marked(server: RedisServer) -> bool:
    """Whether the marker is there."""
    client = redis.Redis.from_url(server.url)
    try:
        return bool(client.exists(MARKER_KEY))
    except redis.RedisError:
        return False
    finally:
        client.close()


# --- many -------------------------------------------------------------------------------------------------------------


async def test_1000_jobs_due_in_the_same_second_all_get_their_row(
    database: Database, record_property: Callable[[str, object], None]
) -> None:
    """1,000 jobs due at once become 1,000 rows, each sent once; how long it took is printed."""
    due_at = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)).replace(microsecond=0)
    job = await save(database, spec_at(due_at))
    async with database.session() as session:
        columns = {column.name: getattr(job, column.name) for column in Job.__table__.columns if column.name != "id"}
        await session.execute(insert(Job.__table__), [columns | {"code": f"job-{n}"} for n in range(999)])  # type: ignore[arg-type]
    broker = RememberingBroker()
    async with running_scheduler(database, broker) as service:
        await becomes_leader(service)
        await until_rows(database, 1000, 20)

        async def all_sent() -> bool:
            return len(broker.sent) == 1000

        await eventually_async(all_sent, 10)
    rows = await executions(database)
    ledger_seconds = max((row.created_at - due_at).total_seconds() for row in rows)
    sent_seconds = max((row.dispatched_at - due_at).total_seconds() for row in rows)
    print(
        f"{database.dialect}: 1,000 fires recorded {ledger_seconds:.2f} s, sent {sent_seconds:.2f} s after their time"
    )
    record_property("ledger_seconds", ledger_seconds)
    assert 1000 == len(rows)
    assert 1000 == len({row.job_id for row in rows})


def spec_at(instant: dt.datetime) -> JobSpec:
    """A job that fires then."""
    return dataclasses.replace(every(1), trigger_kind="date", trigger_expression=instant.isoformat())
