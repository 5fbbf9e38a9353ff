"""Ledger, dispatcher, claim and rescue against every order of events that Hypothesis can think of."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Table, select, update

from backend.api.repositories.dispatch_repository import DispatchRepository
from backend.api.repositories.fire_ledger import EXECUTION, FireLedger
from backend.api.repositories.job_rows import schedule_of
from backend.api.repositories.lease_repository import LeaseGrant, LeaseRepository
from backend.db.models import Base, Job, JobExecution, Lease
from backend.db.types import UTCDateTime
from backend.domain.schedules import fires_between
from backend.errors import FencedError
from backend.execution.dispatch import dispatch_due
from backend.scheduler.ledger import record_due
from backend.scheduler.rescue import rescue_orphans
from tests.support.databases import make_database, migrate_database
from tests.support.scheduling import (
    REPOSITORY,
    RememberingBroker,
    claim,
    every,
    executions,
    finish,
    request_run,
    save,
    set_silent,
)
from tests.support.tasks import TASKS

T = TypeVar("T")

ACTIVE = ("pending", "running")
TABLES = (Job, JobExecution, Lease)
SECOND = dt.timedelta(seconds=1)


class SchedulerMachine(RuleBasedStateMachine):
    """Two jobs; schedulers that die, a broker that forgets and repeats, workers that fall silent and speak again."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory(prefix="hrsync-model-")
        path = Path(self._folder.name) / "hrsync.db"
        shutil.copyfile(self.template, path)
        self.database = make_database(f"sqlite+aiosqlite:///{path}")
        self.broker = RememberingBroker()
        self.grants: list[LeaseGrant] = []
        self.workers: dict[str, str] = {}  # execution id -> claim token, of workers that believe to run it
        self.zombies: list[tuple[str, str]] = []  # claims of workers that hang or were cut off
        self.finished: Counter[str] = Counter()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""
        return self._runner.run(work)

    @initialize(
        overlap=st.sampled_from(["skip", "queue", "cancel_running"]), catch_up=st.sampled_from(["skip", "last", "all"])
    )
    def set_up(self, overlap: str, catch_up: str) -> None:
        """Two jobs, and a scheduler that leads."""
        self.do(save(self.database, every(60, "a", overlap=overlap, catch_up=catch_up)))
        self.do(save(self.database, every(45, "b", task_code="pay", jitter_seconds=20)))
        self.take_over()

    # --- the scheduler ------------------------------------------------------------------------------------------------

    @rule()
    def take_over(self) -> None:
        """The leader is gone, another one takes the lease; the old grant lives on in some process."""

        async def acquire() -> LeaseGrant | None:
            async with self.database.session() as session:
                await session.execute(update(Lease).values(holder=None))
                return await LeaseRepository().acquire(session, "model", 1e6)

        grant = self.do(acquire())
        assert grant is not None
        self.grants.append(grant)

    @rule(seconds=st.sampled_from([1, 20, 50, 70, 200, 700]))
    def time_passes(self, seconds: int) -> None:
        """Everything becomes older."""

        async def shift() -> None:
            async with self.database.session() as session:
                for model in TABLES:
                    table = cast(Table, model.__table__)
                    instants = [c for c in table.columns if isinstance(c.type, UTCDateTime)]
                    key = next(iter(table.primary_key.columns))
                    rows = (await session.execute(select(key, *instants))).all()
                    # Newer fires first would collide with the older ones; the older make room.
                    for row in sorted(rows, key=lambda row: str(row._mapping.get("scheduled_for"))):
                        changes = {
                            c.name: row._mapping[c.name] - seconds * SECOND
                            for c in instants
                            if row._mapping[c.name] is not None and c.name != "expires_at"
                        }
                        await session.execute(table.update().where(key == row[0]).values(**changes))

        self.do(shift())

    @rule(is_current=st.booleans())
    def record(self, is_current: bool) -> None:
        """A scheduler records what is due; one that lost the lease is refused."""
        grant = self.grants[-1 if is_current else 0]
        count = len(self.do(executions(self.database)))
        try:
            self.do(self._record(grant))
        except FencedError:
            assert grant != self.grants[-1]
        if grant != self.grants[-1]:
            assert len(self.do(executions(self.database))) == count

    async def _record(self, grant: LeaseGrant) -> None:
        async with self.database.session() as session:
            ids = (await FireLedger().read_revisions(session)).keys()
        now = dt.datetime.now(dt.UTC)
        await record_due(self.database, ids, TASKS, grant, until=lambda: now, timeout_seconds=30)

    @rule(limit=st.integers(1, 5), is_away=st.sampled_from([False, False, True]))
    def dispatch(self, limit: int, is_away: bool) -> None:
        """The dispatcher sends what is due; the broker may be away."""
        self.broker.is_away = is_away
        self.do(dispatch_due(self.database, self.broker.send, limit=limit))

    @rule()
    def dispatcher_dies(self) -> None:
        """Killed between the stamp and the message."""

        async def stamp() -> None:
            async with self.database.session() as session:
                await DispatchRepository().take_due(session, limit=3)

        self.do(stamp())

    @rule()
    def sweep(self) -> None:
        """Redelivery and rescue, as the leader does every second."""

        async def work() -> None:
            async with self.database.session() as session:
                await DispatchRepository().release_unclaimed(session, 60)
                await DispatchRepository().finish_cancelled(session)
            await rescue_orphans(self.database, 28, timeout_seconds=30)

        self.do(work())

    # --- the broker ---------------------------------------------------------------------------------------------------

    @rule()
    def broker_is_emptied(self) -> None:
        """All messages are lost, and the scheduler notices."""
        self.broker.sent.clear()

        async def work() -> None:
            async with self.database.session() as session:
                await DispatchRepository().release_all(session)

        self.do(work())

    @precondition(lambda self: self.broker.sent)
    @rule(data=st.data(), is_repeated=st.booleans())
    def deliver(self, data: st.DataObject, is_repeated: bool) -> None:
        """A worker gets a message, perhaps not for the last time."""
        execution_id = data.draw(st.sampled_from(sorted(set(self.broker.sent))))
        if not is_repeated:
            self.broker.sent.remove(execution_id)
        self._deliver(execution_id)

    @rule()
    def deliver_all(self) -> None:
        """Idle workers take whatever there is."""
        self.dispatch(5, False)
        while self.broker.sent:
            self._deliver(self.broker.sent.pop())

    def _deliver(self, execution_id: str) -> None:
        token = self.do(claim(self.database, execution_id))
        if token is not None:
            if (old := self.workers.pop(execution_id, None)) is not None:
                self.zombies.append((execution_id, old))
            self.workers[execution_id] = token

    # --- workers ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_finishes(self, data: st.DataObject) -> None:
        """A run ends, if it is still its worker's."""
        execution_id = data.draw(st.sampled_from(sorted(self.workers)))
        self._finish(execution_id, self.workers.pop(execution_id))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_hangs(self, data: st.DataObject) -> None:
        """It sends no heartbeat any more, and may come back much later."""
        execution_id = data.draw(st.sampled_from(sorted(self.workers)))
        self.zombies.append((execution_id, self.workers.pop(execution_id)))

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def zombie_finishes(self, data: st.DataObject) -> None:
        """What comes back writes only if nobody has taken its run."""
        zombie = data.draw(st.sampled_from(self.zombies))
        self.zombies.remove(zombie)
        self._finish(*zombie)

    @rule()
    def workers_beat(self) -> None:
        """Every living worker sends its heartbeat."""
        for execution_id in self.workers:
            self.do(set_silent(self.database, execution_id, 0))

    def _finish(self, execution_id: str, token: str) -> None:
        if self.do(finish(self.database, execution_id, token)):
            self.finished[execution_id] += 1

    # --- people -------------------------------------------------------------------------------------------------------

    @rule(code=st.sampled_from(["a", "b"]))
    def somebody_runs_a_job(self, code: str) -> None:
        """By hand."""
        self.do(request_run(self.database, code))

    @rule(code=st.sampled_from(["a", "b"]))
    def somebody_pauses_or_resumes(self, code: str) -> None:
        """Whichever it is the job's turn for."""

        async def toggle() -> None:
            async with self.database.session() as session:
                job = await REPOSITORY.get_job(session, code)
                if job.paused_at is None:
                    await REPOSITORY.pause_job(session, code, actor="ann")
                else:
                    await REPOSITORY.resume_job(session, code, tasks=TASKS, actor="ann")

        self.do(toggle())

    # --- what must always hold ----------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        """The ledger holds a job's fires up to its watermark, no more and no less; one claim and one end for each."""

        async def read() -> tuple[list[Job], list[Any]]:
            async with self.database.session() as session:
                jobs = await REPOSITORY.list_jobs(session)
                return jobs, list(await session.execute(select(EXECUTION).order_by(EXECUTION.c.scheduled_for)))

        jobs, rows = self.do(read())
        for job in jobs:
            assert job.last_fire_at is not None
            expected = list(fires_between(schedule_of(job), job.created_at, job.last_fire_at))
            recorded = [row.scheduled_for for row in rows if row.job_id == job.id and row.scheduled_for is not None]
            assert recorded == expected, job.code
        running = [row for row in rows if row.status == "running"]
        assert len({row.job_id for row in running}) == len(running), "two executions of a job run at the same time"
        assert {(row.id, row.claim_token) for row in running} <= self.workers.items() | set(self.zombies)
        assert all(count == 1 for count in self.finished.values())

    def teardown(self) -> None:
        """In quiet times everything comes to its end: nothing pending was forgotten."""
        try:
            if self.grants:
                self._drain()
        finally:
            self.do(self.database.dispose())
            self._runner.close()
            self._folder.cleanup()

    def _drain(self) -> None:
        left: list[Any] = []
        for _ in range(400):
            left = [row for row in self.do(executions(self.database)) if row.status in ACTIVE]
            if not left:
                return
            self.time_passes(700)
            self.sweep()
            self.dispatch(100, False)
            for execution_id in list(self.broker.sent):
                self.broker.sent.remove(execution_id)
                token = self.do(claim(self.database, execution_id))
                if token is not None:
                    self._finish(execution_id, token)
            self.workers.clear()
        raise AssertionError(f"never ended: {left}")


def test_no_order_of_events_loses_or_doubles_a_fire(tmp_path: Path) -> None:
    """Through crashes, redeliveries, takeovers and pauses: one row per fire, one run at a time, nothing forgotten."""
    SchedulerMachine.template = tmp_path / "template.db"
    migrate_database(f"sqlite+aiosqlite:///{SchedulerMachine.template}")
    assert set(Base.metadata.tables) >= {model.__tablename__ for model in TABLES}
    machine = SchedulerMachine.TestCase
    machine.settings = settings(
        max_examples=30,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    machine("runTest").runTest()
