"""Held runs: found by the end of their id, and decided about once, by whoever comes first."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select

from backend.api.repositories.hold_repository import HoldRepository
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.db.database import Database
from backend.db.models import JobExecution
from backend.domain.replication_plan import HoldStatus
from backend.errors import ConfigurationError, ConflictError, NotFoundError
from backend.utils.identifiers import new_id
from tests.support.api import add_execution, add_job
from tests.support.holds import CHANGES, add_hold
from tests.support.tasks import StandInTask

pytestmark = pytest.mark.anyio

HOLDS = HoldRepository()
TASK = StandInTask(code="hris_replication", name="tasks.hris.hris_replication_task", parameters=("approved",))


async def test_a_hold_is_found_by_its_run_or_the_end_of_it(database: Database) -> None:
    """The run's id, or an end that is the only one of its kind, names the hold; others are told how to go on."""
    first, second = "01930000-0000-7000-8000-00000000aaaa", "01930000-0000-7000-8000-10000000aaaa"
    async with database.session() as session:
        await add_hold(session, execution_id=first)
        await add_hold(session, execution_id=second)
    async with database.reader() as session:
        assert (await HOLDS.get_hold(session, first)).execution_id == first
        assert (await HOLDS.get_hold(session, " 10000000AAAA ")).execution_id == second
        with pytest.raises(ConflictError, match="write more of the id"):
            await HOLDS.get_hold(session, "aaaa")
        for unknown in ("bbbb", "aaa", "%", new_id()):
            with pytest.raises(NotFoundError, match="hris holds --all"):
                await HOLDS.get_hold(session, unknown)


async def test_open_holds_are_listed_by_themselves(database: Database) -> None:
    """What waits for a decision can be told from what is over; the newest comes first."""
    async with database.session() as session:
        ids = [(await add_hold(session, status=status)).execution_id for status in ("held", "applied", "held")]
        open_holds = await HOLDS.list_holds(session, statuses=[HoldStatus.HELD])
        assert [hold.execution_id for hold in open_holds] == [ids[2], ids[0]]
        assert [hold.execution_id for hold in await HOLDS.list_holds(session)] == ids[::-1]
        assert len(await HOLDS.list_holds(session, limit=1)) == 1


async def test_what_a_hold_would_change_is_read_in_pages_and_counted(database: Database) -> None:
    """Changes come in the order of the run; fields are counted over rows that are there already."""
    async with database.session() as session:
        await add_hold(session)
        hold = await add_hold(session)
        rows = await HOLDS.list_changes(session, hold)
        assert [(row.entity, row.entity_key, row.action, row.fields) for row in rows] == list(CHANGES)
        page = await HOLDS.list_changes(session, hold, after=rows[1].id, limit=2)
        assert [row.entity_key for row in page] == ["1002", "1003"]
        assert await HOLDS.count_changed_fields(session, hold) == {
            "departments": {"name": 1},
            "employees": {"department_code": 2, "is_active": 2, "phone": 1, "employee_no": 1},
        }


async def test_an_approval_makes_the_run_that_applies_it(database: Database) -> None:
    """Decision, execution of the same job and audit entry are there together."""
    job_id = await add_job(database, "nightly")
    held = await add_execution(database, "failed", job_id=job_id, job_code="nightly")
    async with database.session() as session:
        await add_hold(session, execution_id=held)
    async with database.session() as session:
        hold, execution = await HOLDS.approve(session, held[-12:], task=TASK, actor="alice@host", note="they left")
    assert (hold.status, hold.decided_by, hold.note) == ("approved", "alice@host", "they left")
    assert hold.decided_at is not None
    assert hold.applied_execution_id == execution.id
    assert (execution.params, execution.status, execution.job_id) == ({"approved": held}, "pending", job_id)
    assert (execution.triggered_by, execution.requested_by) == ("manual", "alice@host")
    async with database.reader() as session:
        (entry,) = await SchedulerRepository().list_audit(session)
        assert (entry.actor, entry.action, entry.object_id) == ("alice@host", "hold_approved", held)
        assert entry.detail == {"execution": execution.id, "note": "they left"}


async def test_an_approval_needs_neither_job_nor_execution(database: Database) -> None:
    """A run that was started by hand, and is long cleaned up, can still be approved."""
    async with database.session() as session:
        hold = await add_hold(session)
    async with database.session() as session:
        _, execution = await HOLDS.approve(session, hold.execution_id, task=TASK, actor="alice@host")
    assert (execution.job_id, execution.params) == (None, {"approved": hold.execution_id})


async def test_a_rejection_is_kept_with_its_reason(database: Database) -> None:
    """Nothing runs; who rejected it, when and why is kept."""
    async with database.session() as session:
        held = (await add_hold(session)).execution_id
    async with database.session() as session:
        hold = await HOLDS.reject(session, held, actor="bob@host", note="the filter is broken")
    assert (hold.status, hold.decided_by, hold.note) == ("rejected", "bob@host", "the filter is broken")
    async with database.reader() as session:
        assert (await session.scalars(select(JobExecution))).all() == []
        (entry,) = await SchedulerRepository().list_audit(session)
        assert (entry.action, entry.detail) == ("hold_rejected", {"note": "the filter is broken"})


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("approved", "approved by alice@host at 2031-05-04 12:00:00 UTC"),
        ("rejected", "rejected by alice@host at 2031-05-04 12:00:00 UTC"),
        ("applied", "approved by alice@host at 2031-05-04 12:00:00 UTC, and applied by run 00000007"),
        ("expired", "approved by alice@host at 2031-05-04 12:00:00 UTC, but expired, as the HRIS says"),
    ],
)
async def test_a_second_decision_is_told_the_first(database: Database, status: str, said: str) -> None:
    """Whoever decides second changes nothing, and learns who decided what and when."""
    decided: dict[str, Any] = {"decided_by": "alice@host", "decided_at": dt.datetime(2031, 5, 4, 12, tzinfo=dt.UTC)}
    if status == "applied":
        decided["applied_execution_id"] = "01930000-0000-7000-8000-000000000007"
    async with database.session() as session:
        held = (await add_hold(session, status=status, **decided)).execution_id
    for decide in ("approve", "reject"):
        with pytest.raises(ConflictError) as caught:
            async with database.session() as session:
                options = {"task": TASK} if decide == "approve" else {}
                await getattr(HOLDS, decide)(session, held, actor="bob@host", **options)
        assert said in str(caught.value)
    async with database.reader() as session:
        hold = await HOLDS.get_hold(session, held)
        assert (hold.status, hold.decided_by) == (status, "alice@host")
        assert (await session.scalars(select(JobExecution))).all() == []


async def test_of_many_decisions_at_once_one_counts(database: Database) -> None:
    """Approvals and rejections that meet: one is carried out, with at most one run; the others are told."""
    async with database.session() as session:
        held = (await add_hold(session)).execution_id

    async def decide(number: int) -> str:
        try:
            async with database.session() as session:
                if number % 2:
                    await HOLDS.reject(session, held, actor=f"{number}@host")
                else:
                    await HOLDS.approve(session, held, task=TASK, actor=f"{number}@host")
        except ConflictError as error:
            return str(error)
        return ""

    answers = await asyncio.gather(*map(decide, range(8)))
    assert answers.count("") == 1
    winner = f"{answers.index('')}@host"
    assert [winner in answer for answer in answers if answer] == [True] * 7
    async with database.reader() as session:
        hold = await HOLDS.get_hold(session, held)
        runs = (await session.scalars(select(JobExecution))).all()
        assert hold.decided_by == winner
        assert len(runs) == (hold.status == "approved")


async def test_a_decision_that_cannot_be_carried_out_is_none(database: Database) -> None:
    """When no run can be made, the hold stays open."""
    async with database.session() as session:
        held = (await add_hold(session)).execution_id
    with pytest.raises(ConfigurationError):
        async with database.session() as session:
            await HOLDS.approve(session, held, task=StandInTask(parameters=()), actor="alice@host")
    async with database.reader() as session:
        assert (await HOLDS.get_hold(session, held)).status == "held"
