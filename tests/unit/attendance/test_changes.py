"""Corrections, overrides, locked periods, and which days a change touches."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from backend.domain.attendance.calendars import Calendar, Holiday, Leave
from backend.domain.attendance.corrections import Action, PunchCorrection, find_orphans
from backend.domain.attendance.day import Anomaly, DayOverride, Overtime, Status, WorkPunch
from backend.domain.attendance.engine import EmployeeInput, compute_people
from backend.domain.attendance.locking import DayTotals, LockedPeriod, settle, total
from backend.domain.attendance.policies import DayRule, OvertimeRules, Policy
from backend.domain.attendance.shifts import Roster, RosterPart
from backend.domain.attendance.touching import Change, CorrectedPunch, RosterChange, days_touched_by
from backend.domain.punches import Direction
from backend.errors import ConfigurationError
from tests.support.attendance import (
    BERLIN,
    FREE,
    LATER,
    MONDAY,
    NIGHTS,
    NINE_TO_FIVE,
    OFFICE_WEEK,
    at,
    clock,
    compute,
    compute_day,
    every_day,
    fates,
    punches,
    roster,
    shift,
)


def correct(action: Action, key: str = "c1", **more: Any) -> PunchCorrection:
    return PunchCorrection(key=key, action=action, made_by="Ada", reason="forgot", **more)


# --- corrections ------------------------------------------------------------------------------------------------------


def test_a_punch_is_added() -> None:
    """It counts as any other, and says who added it and why."""
    day = compute_day("9:00", corrections=[correct(Action.ADD, punched_at=at("17:00"), direction=Direction.OUT)])
    assert ("8:00", (Anomaly.CORRECTED,)) == (clock(day.worked_seconds), day.anomalies)
    assert ("added", "Ada: forgot") == (day.punches[1].punch.origin, day.punches[1].punch.note)


def test_a_punch_is_ignored() -> None:
    """It stays visible."""
    given = punches("9:00 12:00 17:00")
    day = compute_day(given, corrections=[correct(Action.IGNORE, punch_key=given[1].key)])
    assert ["09:00 check_in", "12:00 taken_out", "17:00 check_out"] == fates(day)


def test_a_punch_is_edited() -> None:
    """Its time, its direction, or both; of two corrections the later one counts."""
    given = punches("10:00 17:00")
    day = compute_day(
        given,
        corrections=[
            correct(Action.EDIT, "c2", punch_key=given[0].key, punched_at=at("9:00")),
            correct(Action.EDIT, "c1", punch_key=given[0].key, punched_at=at("8:00")),
        ],
    )
    assert "8:00" == clock(day.worked_seconds)


def test_corrections_of_punches_that_are_gone_are_found() -> None:
    """They change nothing."""
    lost = correct(Action.IGNORE, punch_key="gone")
    assert [lost] == find_orphans(punches("9:00"), [lost, correct(Action.ADD, punched_at=at("9:00"))])
    assert Status.PRESENT is compute_day("9:00 17:00", corrections=[lost]).status


@pytest.mark.parametrize(("action", "message"), [(Action.ADD, "without a time"), (Action.EDIT, "which punch")])
def test_incomplete_corrections_are_refused(action: Action, message: str) -> None:
    """An added punch has a time; the others name a punch."""
    with pytest.raises(ConfigurationError, match=message):
        correct(action)


def test_a_day_is_overridden() -> None:
    """What a person sets counts, overtime follows from it, and the punches stay as they are."""
    override = DayOverride(
        key="o1",
        work_on=MONDAY,
        status=Status.PRESENT,
        worked_seconds=32_400,
        late_seconds=0,
        made_by="Ada",
        reason="?",
    )
    day = compute_day("9:30", policy=Policy(overtime=OvertimeRules(over_schedule=True)), overrides=[override])
    assert (Status.PRESENT, "9:00", 0) == (day.status, clock(day.worked_seconds), day.late_seconds)
    assert {Overtime.OVER_SCHEDULE: 3600} == day.overtime
    assert (Anomaly.MISSING_OUT, Anomaly.OVERRIDDEN) == day.anomalies
    assert override is day.override


def test_doubtful_clocks_are_reported() -> None:
    """The punch counts."""
    given = [punch._replace(is_doubtful=True) for punch in punches("9:00 17:00")]
    assert (Anomaly.DOUBTFUL_CLOCK,) == compute_day(given).anomalies


# --- locked periods ---------------------------------------------------------------------------------------------------

LOCK = [LockedPeriod(MONDAY, MONDAY)]


def test_a_locked_day_is_never_written() -> None:
    """The difference is an adjustment, the same one each time."""
    locked = total(compute_day("9:00 17:00"))
    computed = [compute_day("9:00 18:00", policy=Policy(overtime=OvertimeRules(over_schedule=True)))]
    settlement = settle(computed, {MONDAY: locked}, LOCK, asked=[MONDAY])
    assert ((), ()) == (settlement.written, settlement.removed)
    [adjustment] = settlement.adjustments
    assert ("1:00", {Overtime.OVER_SCHEDULE: 3600}) == (clock(adjustment.worked_seconds), adjustment.overtime)
    assert ("worked_seconds", "overtime") == adjustment.changed_fields
    assert settlement == settle(computed, {MONDAY: locked}, LOCK, asked=[MONDAY])


def test_a_locked_day_that_is_the_same_is_settled() -> None:
    """No adjustment, and one from before no longer holds."""
    day = compute_day("9:00 17:00")
    assert (MONDAY,) == settle([day], {MONDAY: total(day)}, LOCK, asked=[MONDAY]).settled


def test_an_open_day_is_written_or_removed() -> None:
    """A date that was computed and has no day is no longer stored."""
    day, tuesday = compute_day("9:00 17:00"), MONDAY + dt.timedelta(days=1)
    stored = {tuesday: DayTotals(Status.ABSENT)}
    settlement = settle([day], stored, [], asked=[MONDAY, tuesday, MONDAY + dt.timedelta(days=2)])
    assert ((day,), (tuesday,)) == (settlement.written, settlement.removed)


def test_a_day_that_comes_or_goes_in_a_locked_period_is_an_adjustment() -> None:
    """Against nothing."""
    day = compute_day("9:00 17:00")
    [new] = settle([day], {}, LOCK, asked=[MONDAY]).adjustments
    [gone] = settle([], {MONDAY: total(day)}, LOCK, asked=[MONDAY]).adjustments
    assert [28_800, -28_800] == [new.worked_seconds, gone.worked_seconds]
    assert "status" in new.changed_fields


# --- what a change touches --------------------------------------------------------------------------------------------

WEEKLY = Policy(overtime=OvertimeRules(weekly_limit_seconds=1))
BACK_TO_BACK = roster(("early", "night"), shifts=[shift("6:00-14:00", "early"), shift("22:00-6:00", "night")])
LATER_SHIFT = every_day("10:00-18:00")


def leave(first: int, last: int) -> Leave:
    return Leave(kind="vacation", starts_on=dt.date(2026, 6, first), ends_on=dt.date(2026, 6, last))


def punch(text: str) -> WorkPunch:
    return punches(text)[0]


@pytest.mark.parametrize(
    ("change", "shifts", "policy", "expected"),
    [
        (punch("9:00"), NINE_TO_FIVE, Policy(), [1]),
        (punch("22:00"), NIGHTS, Policy(), [1]),
        (punch("+1 6:00"), NIGHTS, Policy(), [1]),
        (punch("+1 6:00"), NIGHTS, Policy(day_rule=DayRule.END), [1, 2]),  # the first one, if it is the last of all
        (punch("+1 6:00"), NIGHTS, Policy(day_rule=DayRule.SPLIT), [1, 2]),
        (punch("3:00"), NINE_TO_FIVE, Policy(), [1]),
        (punch("+1 7:00"), NIGHTS, Policy(), [1, 2]),  # one that follows after the window becomes its duplicate
        (punch("+6 22:00"), OFFICE_WEEK, Policy(), [6, 7, 8]),  # work on rest days, which may go on on the next one
        (punch("+6 22:00"), OFFICE_WEEK, Policy(day_rule=DayRule.END), [6, 7, 8]),
        (punch("+3 9:00"), NINE_TO_FIVE, WEEKLY, [4, 5, 6, 7]),
        (Holiday(holiday_on=dt.date(2026, 6, 3), name="day"), NINE_TO_FIVE, Policy(), [3, 4]),
        (leave(3, 5), NINE_TO_FIVE, Policy(), [3, 4, 5]),
        (CorrectedPunch(correction=correct(Action.ADD, punched_at=at("+2 9:00"))), NINE_TO_FIVE, Policy(), [3]),
        (
            CorrectedPunch(
                correction=correct(Action.EDIT, punch_key="p", punched_at=at("+2 9:00")), punch=punch("+4 9:00")
            ),
            NINE_TO_FIVE,
            Policy(),
            [3, 5],
        ),
        (CorrectedPunch(correction=correct(Action.IGNORE, punch_key="p")), NINE_TO_FIVE, Policy(), []),
        (leave(3, 5), NINE_TO_FIVE, Policy(day_rule=DayRule.SPLIT), [2, 3, 4, 5, 6]),
        (leave(3, 5), NINE_TO_FIVE, Policy(day_rule=DayRule.MOST_WORKED, auto_check_out=True), [2, 3, 4, 5, 6]),
        (punch("+1 6:00:30"), BACK_TO_BACK, Policy(), [1, 2]),  # it may be the last word on a punch of the night
        (leave(3, 30), NINE_TO_FIVE, Policy(), [3, 4, 5, 6, 7, 8, 9]),
        (DayOverride(key="o", work_on=MONDAY, made_by="Ada", reason="?"), NINE_TO_FIVE, Policy(), [1]),
        (RosterChange(before=NINE_TO_FIVE, after=NINE_TO_FIVE), NINE_TO_FIVE, Policy(), []),
        (RosterChange(before=NINE_TO_FIVE, after=LATER_SHIFT), LATER_SHIFT, Policy(), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_just_these_days_are_touched(change: Change, shifts: Roster, policy: Policy, expected: list[int]) -> None:
    """Those whose windows a punch is in, those of a holiday or leave; with a weekly limit, the rest of the week."""
    touched = days_touched_by(
        change, shifts, policy, Calendar(), timezone=BERLIN, first=MONDAY, last=MONDAY + dt.timedelta(days=8)
    )
    assert expected == [day.day for day in touched]


def test_free_work_touches_its_week_and_the_next_one() -> None:
    """Each punch depends on those before it, up to one that begins a shift for certain."""
    first, last = MONDAY - dt.timedelta(days=60), MONDAY + dt.timedelta(days=60)
    thursday = punch("+3 9:00")
    touched = days_touched_by(thursday, FREE, Policy(), Calendar(), timezone=BERLIN, first=first, last=last)
    assert (dt.date(2026, 5, 31), dt.date(2026, 6, 15)) == (touched[0], touched[-1])


def test_a_fixed_shift_parts_free_work_from_afar() -> None:
    """Twelve hours on and twelve off, seen from the wrong side: one fixed day sets the days after it right."""
    weeks = punches(" ".join(f"+{day} 7:40 +{day} 19:40" for day in range(21)))[1:]
    fixed = MONDAY + dt.timedelta(days=9)
    parts = (
        RosterPart(last_on=fixed - dt.timedelta(days=1)),
        RosterPart(first_on=fixed, last_on=fixed, pattern=NINE_TO_FIVE.parts[0].pattern),
    )
    part_fixed = Roster(parts=parts, shifts=NINE_TO_FIVE.shifts)
    before, after = compute(weeks, FREE, days=21), compute(weeks, part_fixed, days=21)
    touched = days_touched_by(
        RosterChange(before=FREE, after=part_fixed),
        part_fixed,
        Policy(),
        Calendar(),
        timezone=BERLIN,
        first=MONDAY,
        last=MONDAY + dt.timedelta(days=20),
    )
    different = [old.work_on for old, new in zip(before, after, strict=True) if old != new]
    assert fixed + dt.timedelta(days=2) in different
    assert set(different) <= set(touched)


def test_between_fixed_shifts_little_is_touched() -> None:
    """The day of a punch outside of all windows, and what may reach into the next one where it counts."""
    for rules, expected in ((Policy(), [2]), (Policy(unscheduled_work=True), [2, 3, 4])):
        touched = days_touched_by(
            punch("+1 20:00"),
            NINE_TO_FIVE,
            rules,
            Calendar(),
            timezone=BERLIN,
            first=MONDAY,
            last=MONDAY + dt.timedelta(days=8),
        )
        assert expected == [day.day for day in touched]


# --- many people ------------------------------------------------------------------------------------------------------


def test_people_are_computed_each_by_the_policy_of_the_date() -> None:
    """A new policy begins on its date; dates without one have no day."""
    tuesday, wednesday = MONDAY + dt.timedelta(days=1), MONDAY + dt.timedelta(days=2)
    person = EmployeeInput(
        employee_no="7",
        punches=punches("9:10 17:00, +1 9:10 +1 17:00"),
        shifts=OFFICE_WEEK,
        policies=[
            (tuesday, tuesday, Policy(code="kind", late_grace_seconds=600)),
            (dt.date.min, MONDAY, Policy(code="strict")),
            (dt.date(2027, 1, 1), dt.date.max, Policy(code="next year")),
        ],
        timezone=BERLIN,
    )
    [(number, days)] = compute_people([person], first=MONDAY, last=wednesday, as_of=LATER)
    assert ("7", [600, 0]) == (number, [day.late_seconds for day in days])
