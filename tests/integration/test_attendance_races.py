"""Attendance where several do things at the same time: nothing waits for ever, nothing is lost or left over."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.adapters.attendance_amendments import DatabaseAmendmentStore
from backend.adapters.attendance_marks import Marking
from backend.adapters.attendance_store import DatabaseAttendanceStore
from backend.api.repositories.attendance_repository import AttendanceRepository
from backend.db.database import Database
from backend.db.models import Employee, PunchUser
from backend.domain.attendance.chunks import Ask, compute_chunk, punches_window
from backend.domain.attendance.setup import assignments_in, make_setup
from backend.errors import ConfigurationError, GuardError
from backend.services.compute_attendance import Computation
from tests.support.attendance_world import Line, World, work_by
from tests.support.hris import RecordedRun

# So long one waits for what would not have to wait, or is allowed to go ahead of another.
_A_WHILE = 1.0


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


async def _begin(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Begin something, and let it come as far as it can without us."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=_A_WHILE)
    return task


async def test_a_lock_is_withdrawn_before_or_after_a_computation(world: World) -> None:
    """What is computed while the lock still stands is an adjustment, which the withdrawal then lets become the day."""
    await world.hire("A")
    await world.compute("2026-11-02", "2026-11-08")
    await world.lock("2026-11-01", "2026-11-08")
    await world.work("A", "2026-11-03")
    await world.look()
    async with world.database.reader() as session:
        (lock,) = await AttendanceRepository().list_locks(session)
    _, content = await world.store.read_setup()
    setup = make_setup(content, world.rules.parse(content["rules"], assignments_in(content)))
    asks = [Ask(employee_no="A", first_on=dt.date(2026, 11, 3), last_on=dt.date(2026, 11, 3))]

    async with world.store.computing(asks, "x") as work:
        inputs = await work.read(*punches_window(setup, work.facts, asks))
        withdrawing = await _begin(world.amender.withdraw("lock", lock.id))
        await work.write(compute_chunk(setup, asks, inputs, as_of=world.now))
    await withdrawing
    await world.recompute()

    assert Line("A", "2026-11-03", "present", 8.0) in await world.lines()
    assert [True] == [item.settled_at is not None for item in await world.adjustments()]


async def test_assignments_made_at_the_same_time_do_not_overlap(world: World) -> None:
    """The second one waits for the first, and is refused, so that the rules stay readable."""
    await world.hire("A")
    await world.look()

    async with DatabaseAmendmentStore(world.database).amending(alone=True) as amending:
        assert [] == await amending.list_assignments()
        second = await _begin(world.amender.assign(work_by("A", "night")))
        await amending.add_assignment(scope="employee", target="A", pattern="office", made_by="hr", reason="first")

    with pytest.raises(ConfigurationError, match="overlap"):
        await second


async def test_periods_locked_at_the_same_time_do_not_overlap(world: World) -> None:
    """Of two that would, one is refused."""
    await world.hire("A")
    await world.compute("2026-11-02", "2026-11-15")

    ends = await asyncio.gather(
        world.lock("2026-11-01", "2026-11-08"), world.lock("2026-11-08", "2026-11-15"), return_exceptions=True
    )

    assert 1 == len(await world.store.list_locks())
    assert [GuardError] == [type(end) for end in ends if isinstance(end, BaseException)]


async def test_punches_are_recorded_while_somebody_looks(mariadb_database: Database, tmp_path: Path) -> None:
    """A look that takes its time lets the time clocks go on."""
    world = World(mariadb_database, tmp_path)
    clocks = DatabaseAttendanceStore(mariadb_database)
    await clocks.take_over("biostar", "run")
    await world.punch("A", "2026-11-03 09:00")

    async with world.marks.marking("x") as marking:
        found = [punch async for some in marking.stream_new_punches(0, marking.last_ids[0]) for punch in some]
        recording = await _begin(clocks.take_over("biostar", "another run"))
        has_ended = recording.done()
    await recording

    assert ([], True) == (found, has_ended)


async def test_punches_that_come_while_marks_are_computed_count(world: World) -> None:
    """A punch that is later than the beginning of a run is in the days that the run computes of its mark."""
    await world.hire("A")
    world.now = dt.datetime(2026, 11, 20, 11, 0, tzinfo=dt.UTC)
    await world.compute("2026-11-02", "2026-11-20")
    await world.punch("A", "2026-11-19 09:00")

    async def come_and_go(number: int) -> None:
        if number == 1:
            world.now = dt.datetime(2026, 11, 20, 18, 0, tzinfo=dt.UTC)
            await world.work("A", "2026-11-20")
            await world.look()

    await world.recompute(RecordedRun(on_checkpoint=come_and_go))

    assert [] == await world.dirty()
    assert Line("A", "2026-11-20", "present", 8.0) in await world.lines()


# --- new numbers ------------------------------------------------------------------------------------------------------


async def test_marks_that_are_computed_before_a_new_number_is_seen_lose_nothing(world: World) -> None:
    """Users are matched by the new number already while a computation still goes by the old one: punches stay."""
    await world.hire("A")
    await world.work("A", "2026-11-03", "2026-11-04")
    await world.recompute()
    before = await world.contents()
    async with world.database.session() as session:
        await session.execute(update(Employee).values(employee_no="X"))
        await session.execute(update(PunchUser).values(employee_no="X"))
        marks = [(number, dt.date(2026, 11, 2), dt.date(2026, 11, 5), "user") for number in "AX"]
        await Marking(session, {}, "match").mark(marks)
    await world.replicated()
    computation = Computation(RecordedRun(), store=world.store, rules=world.rules, clock=lambda: world.now)

    await computation.compute(await world.store.list_dirty(limit=10))
    await world.recompute()

    assert {("X", day): content for (_, day), content in before.items()} == await world.contents()
    assert [] == await world.dirty()


async def test_users_that_somebody_has_assigned_go_with_the_new_number(world: World) -> None:
    """Their punches count for it at once, and not only after the next matching."""
    await world.hire("A")
    await world.work("A", "2026-11-03", "2026-11-04")
    await world.compute("2026-11-02", "2026-11-08")
    before = await world.contents()
    async with world.database.session() as session:
        await session.execute(update(Employee).values(employee_no="X"))
        await session.execute(update(PunchUser).values(assigned_no="A"))
    await world.replicated()

    await world.compute("2026-11-02", "2026-11-08")

    assert {("X", day): content for (_, day), content in before.items()} == await world.contents()
    async with world.database.reader() as session:
        assert ["X"] == list(await session.scalars(select(PunchUser.assigned_no)))
