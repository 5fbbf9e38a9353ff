"""Computed days in the database: what is stored, and that just what has changed is computed again."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from backend.api.repositories.attendance_repository import AttendanceRepository
from backend.db.database import Database
from backend.db.models import AttendanceSetup, ClockChange, Employee, PunchUser
from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.day import Status
from backend.errors import ConfigurationError, GuardError, NotFoundError
from backend.services import compute_attendance
from backend.services.amend_attendance import Amender
from tests.support.attendance_world import Line, World, work_by
from tests.support.hris import RecordedRun

WEEK = [f"2026-11-{day:02}" for day in range(9, 14)]


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


async def test_a_range_is_computed_and_stored(world: World) -> None:
    """Each day of each person is one row with its status and hours."""
    await world.hire("A", "B")
    await world.work("A", "2026-11-09", "2026-11-10")

    report = await world.compute("2026-11-09", "2026-11-14", "A", "B")

    assert [
        Line("A", "2026-11-09", "present", 8.0),
        Line("A", "2026-11-10", "present", 8.0),
        *(Line("A", f"2026-11-{day}", "absent", 0.0) for day in (11, 12, 13)),
        Line("A", "2026-11-14", "rest_day", 0.0),
        *(Line("B", day, "absent", 0.0) for day in WEEK),
        Line("B", "2026-11-14", "rest_day", 0.0),
    ] == await world.lines()
    assert (12, 12, 0) == (report.counts.read, report.counts.inserted, report.counts.unchanged)


async def test_computing_again_writes_nothing(world: World) -> None:
    """A second run over the same days finds every one as it was."""
    await world.hire("A")
    await world.work("A", *WEEK)
    await world.compute("2026-11-09", "2026-11-15")
    before = [(day.id, day.computed_at) for day in await world.days()]

    report = await world.compute("2026-11-09", "2026-11-15")

    assert before == [(day.id, day.computed_at) for day in await world.days()]
    assert (7, 0, 0, 7) == (
        report.counts.read,
        report.counts.inserted,
        report.counts.updated,
        report.counts.unchanged,
    )


async def test_today_is_as_far_as_it_has_come(world: World) -> None:
    """At noon somebody is working, somebody is expected; the evening's run makes it final."""
    world.now = dt.datetime(2026, 11, 20, 11, 0, tzinfo=dt.UTC)
    await world.hire("A", "B")
    await world.punch("A", "2026-11-20 09:00")
    await world.compute_day(0)
    assert [("A", "working"), ("B", "expected")] == [line[::2] for line in await world.lines()]

    await world.punch("A", "2026-11-20 17:00")
    world.now = dt.datetime(2026, 11, 21, 4, 0, tzinfo=dt.UTC)
    await world.compute_day(1)

    assert [("A", "present"), ("B", "absent")] == [line[::2] for line in await world.lines()]


async def test_today_and_yesterday_are_those_of_the_place_of_work(world: World) -> None:
    """When it is Saturday in Berlin already, it is still Friday in New York."""
    world.now = dt.datetime(2026, 11, 21, 2, 0, tzinfo=dt.UTC)
    await world.hire("A")
    await world.hire("N", extra={"site": "NYC"})

    await world.compute_day(0)

    assert [("A", "2026-11-21"), ("N", "2026-11-20")] == [line[:2] for line in await world.lines()]


async def test_a_night_shift_is_finished_by_the_next_run_for_yesterday(world: World) -> None:
    """A day that was not over when it was computed is computed by the next run, though it is not yesterday any more."""
    await world.hire("A")
    await world.look()
    await world.amender.assign(work_by("A", "night"))
    await world.punch("A", "2026-11-19 22:00")
    world.now = dt.datetime(2026, 11, 20, 3, 0, tzinfo=dt.UTC)
    await world.compute_day(1)
    assert ("working", 0.0) == (await world.lines())[0][2:]

    await world.punch("A", "2026-11-20 06:00")
    world.now = dt.datetime(2026, 11, 21, 3, 0, tzinfo=dt.UTC)
    await world.compute_day(1)

    assert Line("A", "2026-11-19", "present", 8.0) == (await world.lines())[0]


async def test_days_on_which_nothing_ran_are_computed_by_the_next_run_for_yesterday(world: World) -> None:
    """After a weekend without a server, Monday's run computes all that nobody has, at every place of work."""
    world.now = dt.datetime(2026, 11, 17, 3, 0, tzinfo=dt.UTC)
    await world.hire("A")
    await world.hire("N", extra={"site": "NYC"})
    await world.compute_day(1)
    world.now = dt.datetime(2026, 11, 20, 3, 0, tzinfo=dt.UTC)

    await world.compute_day(1)
    await world.compute_day(1)

    assert [
        *(("A", f"2026-11-{day}") for day in (16, 17, 18, 19)),
        *(("N", f"2026-11-{day}") for day in (15, 16, 17, 18)),
    ] == [line[:2] for line in await world.lines()]


@pytest.mark.parametrize(
    ("first", "is_complete", "is_current"), [(16, True, True), (16, False, False), (18, True, False)]
)
async def test_a_range_makes_attendance_current_where_nothing_is_left_out(
    world: World, first: int, is_complete: bool, is_current: bool
) -> None:
    """It is over everybody, and goes on where the last run over everybody has ended."""
    world.now = dt.datetime(2026, 11, 17, 3, 0, tzinfo=dt.UTC)
    await world.compute_day(1)
    now = dt.datetime(2026, 11, 20, 3, 0, tzinfo=dt.UTC)
    dates = {"first": dt.date(2026, 11, first), "last": dt.date(2026, 11, 19)}

    await compute_attendance.finish_range(RecordedRun(), store=world.store, now=now, **dates, is_complete=is_complete)

    assert (now if is_current else world.now) == await world.store.find_current_at()


async def test_open_days_are_found_by_their_index(mariadb_database: Database, tmp_path: Path) -> None:
    """However many days there are."""
    world = World(mariadb_database, tmp_path)
    await world.hire(*(f"P{number}" for number in range(20)))
    await world.compute("2026-08-01", "2026-11-20")
    statements: list[tuple[str, Any]] = []
    event.listen(
        mariadb_database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, parameters, *_: statements.append((statement, parameters)),
    )

    await world.store.list_open(first=dt.date(2026, 8, 1), last=dt.date(2026, 11, 20))

    async with mariadb_database.reader() as session:
        connection = await session.connection()
        (plan,) = await connection.exec_driver_sql(f"EXPLAIN {statements[0][0]}", statements[0][1])
    assert "ix_attendance_day_is_final_work_on" == plan.key


# --- what is computed again -------------------------------------------------------------------------------------------


@pytest.fixture
async def settled(world: World) -> World:
    """Two people whose week is computed, with nothing left to do."""
    await world.hire("A", "B")
    for number in "AB":
        await world.work(number, *WEEK)
    await world.compute("2026-11-02", "2026-11-15")
    await world.recompute()
    assert [] == await world.dirty()
    return world


async def test_nothing_is_marked_when_nothing_has_changed(settled: World) -> None:
    """Another look finds nothing."""
    assert 0 == await settled.look()


async def test_rules_are_kept_once(settled: World) -> None:
    """As long as they are the same, looks keep no further copy; one that nobody can read any more is passed over."""
    setups = select(AttendanceSetup.content)
    await settled.look()
    async with settled.database.session() as session:
        (content,) = await session.scalars(setups)
        await session.execute(update(AttendanceSetup).values(content=content.replace('"shifts":', '"shiffts":')))

    await settled.recompute()

    async with settled.database.reader() as session:
        assert [content] == list(await session.scalars(setups))[1:]


async def test_a_late_punch_marks_its_day(settled: World) -> None:
    """A punch that arrives after its day was computed marks that day of that person, and only that."""
    await settled.punch("A", "2026-11-11 18:00", "2026-11-11 19:00")

    await settled.look()

    assert [("A", "2026-11-11", "2026-11-11", "punch")] == await settled.dirty()


async def test_a_late_punch_changes_its_day_only(settled: World) -> None:
    """The run writes the one day that differs."""
    before = await settled.contents()
    await settled.punch("A", "2026-11-02 09:00", "2026-11-02 17:00")

    report = await settled.recompute()

    after = await settled.contents()
    assert {("A", "2026-11-02")} == {key for key in after if after[key] != before.get(key)}
    assert (1, 0, 1, 0) == (
        report.counts.read, report.counts.inserted, report.counts.updated, report.counts.unchanged,
    )  # fmt: skip


async def test_the_punches_of_nobody_mark_nothing(settled: World) -> None:
    """A punch of an unknown user is nobody's day."""
    async with settled.database.session() as session:
        session.add(PunchUser(source="biostar", user_id="X", first_seen_at=settled.now))
    await settled.punch("X", "2026-11-11 18:00")

    assert 0 == await settled.look()


async def test_many_new_punches_mark_from_the_first_to_the_last(settled: World) -> None:
    """A backlog marks all days between a person's first and last punch, and three weeks around them."""
    await settled.punch("A", "2026-11-03 09:00", "2026-11-05 17:00")

    await settled.look(exact_punches=1)

    assert [("A", "2026-10-12", "2026-11-27", "punch")] == await settled.dirty()


async def test_a_leave_marks_its_days(settled: World) -> None:
    """A leave that is granted afterwards takes its days; taken back, they are as before."""
    before = await settled.contents()
    leave = await settled.grant("B", "2026-11-05", "2026-11-06")
    await settled.look()
    assert [("B", "2026-11-05", "2026-11-06", "leave")] == await settled.dirty()
    await settled.recompute()
    assert ["on_leave"] * 2 == [line.status for line in await settled.lines() if line[:2] in LEAVE_DAYS]

    await settled.revoke(leave)
    await settled.recompute()

    assert before == await settled.contents()


LEAVE_DAYS = [("B", "2026-11-05"), ("B", "2026-11-06")]


async def test_a_holiday_marks_its_day_for_everybody(settled: World) -> None:
    """A holiday that is declared afterwards makes the day one, and marks the day after as well."""
    await settled.declare_holiday("2026-11-06")

    await settled.look()

    assert [(number, "2026-11-06", "2026-11-07", "holiday") for number in "AB"] == await settled.dirty()
    await settled.recompute()
    assert {"holiday"} == {line.status for line in await settled.lines() if line.work_on == "2026-11-06"}


async def test_a_shift_that_changes_marks_the_days_of_those_who_work_it(settled: World) -> None:
    """New times of a shift are computed for those dates on which it is worked."""
    text = settled.file.read_text().replace('start = "09:00"', 'start = "08:00"')
    settled.file.write_text(text)

    await settled.recompute()

    late = {day.late_seconds for day in await settled.days() if day.work_on.isoformat() in WEEK}
    assert {3600} == late


async def test_a_change_of_the_rules_reaches_back_as_far_as_they_say(settled: World) -> None:
    """Days before that stay as they were computed."""
    text = settled.file.read_text().replace('start = "09:00"', 'start = "08:00"')
    settled.file.write_text(f"reach_back_days = 9\n{text}")

    await settled.recompute()

    changed = [day.work_on.isoformat() for day in await settled.days() if day.late_seconds == 3600]
    assert ["2026-11-12", "2026-11-13"] * 2 == changed


async def test_an_assignment_marks_the_days_that_it_changes(settled: World) -> None:
    """Somebody who works nights from a date on is computed again from that date on."""
    await settled.amender.assign(work_by("A", "night", first_on=dt.date(2026, 11, 12)))

    await settled.look()

    ((number, begins, _, reason),) = await settled.dirty()
    assert ("A", "roster") == (number, reason)
    assert "2026-11-11" <= begins <= "2026-11-12"


async def test_a_new_employee_has_days_from_joining(settled: World) -> None:
    """Somebody who appears in the HR data is computed from the first day on."""
    await settled.hire("C", hired_on="2026-11-18")

    await settled.recompute()

    assert [("C", f"2026-11-{day}", "absent", 0.0) for day in (18, 19, 20)] == [
        line for line in await settled.lines() if line.employee_no == "C"
    ]


async def test_who_gets_a_new_number_keeps_days_and_corrections(settled: World) -> None:
    """Everything goes with the person, also where two people swap their numbers."""
    await settled.amender.override_day("A", dt.date(2026, 11, 3), worked_seconds=7200)
    await settled.recompute()
    before = await settled.contents()
    async with settled.database.session() as session:
        for old, new in (("A", "X"), ("B", "A"), ("X", "B")):
            await session.execute(update(Employee).where(Employee.employee_no == old).values(employee_no=new))
            await session.execute(update(PunchUser).where(PunchUser.employee_no == old).values(employee_no=new))
    await settled.replicated()

    await settled.recompute()

    swapped = {"A": "B", "B": "A"}
    assert {(swapped[number], day): content for (number, day), content in before.items()} == await settled.contents()
    report = await settled.compute("2026-11-02", "2026-11-15")
    assert (0, 0) == (report.counts.inserted, report.counts.updated)


async def test_leaving_ends_the_days(settled: World) -> None:
    """There are no days after the last one."""
    await settled.change_person("A", left_on=dt.date(2026, 11, 11))

    await settled.recompute()

    assert "2026-11-11" == max(line.work_on for line in await settled.lines() if line.employee_no == "A")


async def test_who_is_hired_again_keeps_the_days_from_before(settled: World) -> None:
    """The HRIS then tells the new date of joining only."""
    await settled.change_person("A", left_on=dt.date(2026, 11, 10))
    await settled.recompute()

    await settled.change_person("A", hired_on=dt.date(2026, 11, 18), left_on=None)
    await settled.recompute()

    days = [line.work_on for line in await settled.lines() if line.employee_no == "A"]
    assert ["2026-11-09", "2026-11-10", "2026-11-18", "2026-11-19", "2026-11-20"] == days[-5:]


async def test_clock_changes_make_the_punches_around_them_doubtful(settled: World) -> None:
    """The days of punches near a change of the device's clock are computed again, with a word about it."""
    async with settled.database.session() as session:
        session.add(
            ClockChange(
                source="biostar",
                source_table="t_lg",
                event_key="c1",
                device_id="1",
                changed_at=dt.datetime(2026, 11, 11, 8, 2, tzinfo=dt.UTC),
                doubt_seconds=300,
                ingested_at=settled.now,
                execution_id="ingest",
            )
        )

    await settled.recompute()

    doubtful = [(day.employee_no, day.work_on.isoformat()) for day in await settled.days() if day.anomalies]
    assert [("A", "2026-11-11"), ("B", "2026-11-11")] == doubtful


# --- what people say --------------------------------------------------------------------------------------------------


async def test_corrections_survive_a_recomputation(settled: World) -> None:
    """A punch that somebody has added, edited or taken out counts in each computation; the punches stay as they are."""
    first, last = await settled.punch("A", "2026-11-02 09:00", "2026-11-02 17:00")
    ten = dt.datetime(2026, 11, 2, 9, 0, tzinfo=dt.UTC)
    four = dt.datetime(2026, 11, 2, 15, 0, tzinfo=dt.UTC)
    await settled.amender.edit_punch("A", first, ten, None)
    await settled.amender.ignore_punch("A", last)
    await settled.amender.add_punch("A", four, None)

    await settled.recompute()
    await settled.compute("2026-11-02", "2026-11-02")

    assert Line("A", "2026-11-02", "present", 6.0) in await settled.lines()
    corrected = [day.work_on.isoformat() for day in await settled.days() if "corrected" in (day.anomalies or "")]
    assert ["2026-11-02"] == corrected


async def test_an_override_survives_a_recomputation(settled: World) -> None:
    """What somebody has set a day to be stays, whatever else is computed."""
    await settled.amender.override_day("A", dt.date(2026, 11, 3), status=Status.PRESENT, worked_seconds=7200)

    await settled.compute("2026-11-03", "2026-11-03")
    await settled.compute("2026-11-02", "2026-11-04")

    assert Line("A", "2026-11-03", "present", 2.0) in await settled.lines()


async def test_what_is_withdrawn_no_longer_counts(settled: World) -> None:
    """An override and a correction that are taken back leave the days as they were."""
    before = await settled.contents()
    override = await settled.amender.override_day("A", dt.date(2026, 11, 3), worked_seconds=7200)
    noon = dt.datetime(2026, 11, 9, 11, 0, tzinfo=dt.UTC)
    correction = await settled.amender.add_punch("A", noon, None)
    await settled.recompute()
    assert before != await settled.contents()

    await settled.amender.withdraw("override", override)
    await settled.amender.withdraw("correction", correction)
    await settled.recompute()

    assert before == await settled.contents()
    with pytest.raises(NotFoundError, match="withdrawn already"):
        await settled.amender.withdraw("override", override)


async def test_what_cannot_be_said_is_refused(settled: World) -> None:
    """Of an unknown person, of somebody else's punch, without a reason, or against the rules."""
    (punch,) = await settled.punch("B", "2026-11-02 09:00")
    noon = dt.datetime(2026, 11, 9, 11, 0, tzinfo=dt.UTC)
    with pytest.raises(NotFoundError, match="no employee Z"):
        await settled.amender.add_punch("Z", noon, None)
    with pytest.raises(NotFoundError, match="has no punch"):
        await settled.amender.ignore_punch("A", punch)
    with pytest.raises(ConfigurationError, match="another time"):
        await settled.amender.edit_punch("B", punch, None, None)
    with pytest.raises(ConfigurationError, match="swing"):
        await settled.amender.assign(work_by("A", "swing"))
    with pytest.raises(ConfigurationError, match="Say why"):
        Amender(settled.amender._store, settled.rules, made_by="hr", reason=" ")


async def test_an_assignment_to_an_unknown_department_is_refused(settled: World) -> None:
    """Nobody would ever work by it; what is wrong is said of the assignment, not of the file."""
    with pytest.raises(NotFoundError, match="no department D9"):
        await settled.amender.assign(Assignment(scope=Scope.DEPARTMENT, target="D9", pattern="night"))
    with pytest.raises(ConfigurationError, match=r"^The assignment is wrong: .*swing"):
        await settled.amender.assign(work_by("A", "swing"))


async def test_a_range_of_more_than_ten_years_is_refused(settled: World) -> None:
    """It would run for days."""
    with pytest.raises(ConfigurationError, match="ask for fewer at a time"):
        await settled.compute("1970-01-01", "2026-11-15")


async def test_assignments_that_overlap_are_refused(settled: World) -> None:
    """The second one of a person for the same dates says so, and is not kept."""
    await settled.amender.assign(work_by("A", "night", first_on=dt.date(2026, 11, 12)))
    with pytest.raises(ConfigurationError, match="overlap"):
        await settled.amender.assign(work_by("A", "office", first_on=dt.date(2026, 11, 18)))


# --- locked periods ---------------------------------------------------------------------------------------------------


async def test_a_locked_day_stays_and_the_difference_is_an_adjustment(settled: World) -> None:
    """A late punch of a closed month changes nothing but what HR is told."""
    await settled.lock("2026-11-01", "2026-11-15")
    before = await settled.contents()

    await settled.punch("A", "2026-11-02 09:00", "2026-11-02 17:00")
    report = await settled.recompute()

    assert before == await settled.contents()
    (adjustment,) = await settled.adjustments()
    assert ("A", dt.date(2026, 11, 2), 8 * 3600) == (
        adjustment.employee_no, adjustment.work_on, adjustment.worked_seconds,
    )  # fmt: skip
    assert ["absent", "present"] == adjustment.changes["status"]
    assert 1 == report.counts.rejected


async def test_an_adjustment_that_no_longer_holds_is_settled(settled: World) -> None:
    """When the day is computed to what was locked again, there is nothing to adjust."""
    await settled.lock("2026-11-01", "2026-11-15")
    leave = await settled.grant("A", "2026-11-02", "2026-11-02")
    await settled.recompute()
    assert [None] == [item.settled_at for item in await settled.adjustments()]

    await settled.revoke(leave)
    await settled.recompute()

    assert [True] == [item.settled_at is not None for item in await settled.adjustments()]


async def test_a_lock_that_is_withdrawn_lets_the_days_be_what_they_would_be(settled: World) -> None:
    """The adjustments of the period become its days."""
    await settled.lock("2026-11-01", "2026-11-15")
    await settled.work("A", "2026-11-02")
    await settled.recompute()

    async with settled.database.reader() as session:
        (lock,) = await AttendanceRepository().list_locks(session)
    await settled.amender.withdraw("lock", lock.id)
    await settled.recompute()

    assert Line("A", "2026-11-02", "present", 8.0) in await settled.lines()
    assert [True] == [item.settled_at is not None for item in await settled.adjustments()]


async def test_a_day_of_a_locked_period_that_was_not_there_is_an_adjustment(settled: World) -> None:
    """Somebody who turns out to have worked then gets no day, but an adjustment."""
    await settled.lock("2026-11-01", "2026-11-15")
    await settled.hire("C", hired_on="2026-11-13")
    await settled.work("C", "2026-11-13")

    await settled.recompute()

    assert "2026-11-16" == min(line.work_on for line in await settled.lines() if line.employee_no == "C")
    assert [("C", 8 * 3600), ("C", 0), ("C", 0)] == [
        (item.employee_no, item.worked_seconds) for item in await settled.adjustments()
    ]


async def test_locking_computes_first_what_is_marked(settled: World) -> None:
    """What came before the lock is in it."""
    await settled.punch("A", "2026-11-02 09:00", "2026-11-02 17:00")

    await settled.lock("2026-11-01", "2026-11-15")

    assert Line("A", "2026-11-02", "present", 8.0) in await settled.lines()
    assert [] == list(await settled.adjustments())


async def test_a_period_that_is_not_over_cannot_be_locked(settled: World) -> None:
    """Nor one that touches another, nor one the wrong way round; each says why."""
    with pytest.raises(GuardError, match="is not over"):
        await settled.lock("2026-11-16", "2026-11-20")
    await settled.lock("2026-11-01", "2026-11-08")
    with pytest.raises(GuardError, match="from 2026-11-01 to 2026-11-08 are locked already"):
        await settled.lock("2026-11-08", "2026-11-15")
    with pytest.raises(ConfigurationError, match="swap the two dates"):
        await settled.lock("2026-11-15", "2026-11-14")


# --- bad input --------------------------------------------------------------------------------------------------------


async def test_wrong_rules_stop_the_look_and_lose_nothing(settled: World) -> None:
    """With an unknown shift in the file nothing is marked or forgotten; mended, everything is found."""
    text = settled.file.read_text()
    settled.file.write_text(text.replace('week = ["office"', 'week = ["offfice"'))
    await settled.punch("A", "2026-11-02 09:00", "2026-11-02 17:00")
    with pytest.raises(ConfigurationError, match="offfice"):
        await settled.recompute()

    settled.file.write_text(text)
    await settled.recompute()

    assert Line("A", "2026-11-02", "present", 8.0) in await settled.lines()


async def test_unknown_people_are_named(settled: World) -> None:
    """A range for somebody whom attendance does not know names the number."""
    with pytest.raises(NotFoundError, match="no employee Z9"):
        await settled.compute("2026-11-02", "2026-11-03", "A", "Z9")


async def test_rules_that_nobody_can_read_any_more_hide_nothing_else(settled: World) -> None:
    """A leave and a new employee that come with another program are found, though its rules cannot be compared."""
    async with settled.database.session() as session:
        (content,) = await session.scalars(select(AttendanceSetup.content))
        await session.execute(update(AttendanceSetup).values(content=content.replace('"shifts":', '"shiffts":')))
    await settled.grant("B", "2026-11-05", "2026-11-06")
    await settled.hire("C", hired_on="2026-11-20")

    await settled.look()

    assert [
        ("B", "2026-11-05", "2026-11-06", "leave"),
        ("C", "2026-11-20", "2026-11-21", "employment"),
    ] == await settled.dirty()
