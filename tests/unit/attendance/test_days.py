"""The date of a shift, its status, and what holidays, leave, employment and the present do to it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from backend.domain.attendance.calendars import Employment, Holiday, Leave, group_holidays
from backend.domain.attendance.day import Anomaly, AttendanceDay, Overtime, Status
from backend.domain.attendance.policies import DayRule, OvertimeRules, Policy
from backend.domain.attendance.shifts import Roster
from backend.domain.employees import DayPart
from tests.support.attendance import (
    FREE,
    MONDAY,
    NIGHTS,
    OFFICE_WEEK,
    at,
    calendar,
    clock,
    compute,
    compute_day,
    every_day,
    fates,
    roster,
    shift,
)

HOUR = 3600
TUESDAY = MONDAY + dt.timedelta(days=1)


# --- the date of a shift ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "given", "expected"),
    [
        (DayRule.START, "22:00 +1 6:00", ["8:00", "0:00"]),
        (DayRule.END, "22:00 +1 6:00", ["0:00", "8:00"]),
        (DayRule.MOST_WORKED, "22:00 +1 6:00", ["0:00", "8:00"]),
        (DayRule.MOST_WORKED, "22:00 +1 1:00", ["3:00", "0:00"]),
        (DayRule.MOST_WORKED, "22:00 +1 2:00", ["4:00", "0:00"]),  # a tie: the first of the two
        (DayRule.MOST_WORKED, "22:00 +1 0:00 +1 3:00 +1 5:00", ["4:00", "0:00"]),  # breaks are not worked
        (DayRule.SPLIT, "22:00 +1 6:00", ["2:00", "6:00"]),
        (DayRule.SPLIT, "22:00 +1 1:00 +1 2:00 +1 6:00", ["2:00", "5:00"]),
    ],
)
@pytest.mark.parametrize("shifts", [roster("night", None, shifts=[shift("22:00-6:00", "night")]), FREE])
def test_four_ways_to_date_a_shift(shifts: Roster, rule: DayRule, given: str, expected: list[str]) -> None:
    """With a schedule and without one."""
    days = compute(given, shifts, Policy(day_rule=rule), days=2)
    assert expected == [clock(day.worked_seconds) for day in days]


def test_a_shift_that_ends_at_midnight_ends_on_its_day() -> None:
    """24:00 is not yet the next day."""
    days = compute("16:00 +1 0:00", every_day("16:00-0:00"), Policy(day_rule=DayRule.END), days=2)
    assert ["8:00", "0:00"] == [clock(day.worked_seconds) for day in days]


def test_a_split_shift_shares_its_schedule() -> None:
    """The parts are the whole, breaks as well."""
    days = compute("", every_day("22:00-6:00", unpaid_break_seconds=HOUR), Policy(day_rule=DayRule.SPLIT), days=2)
    assert ["7:00", "7:00"] == [clock(day.scheduled_seconds) for day in days]  # 5:15 from the night before, and 1:45


def test_the_days_before_the_first_one_have_their_say() -> None:
    """A shift of the evening before ends on the first day that is asked for."""
    day = compute_day("-1 22:00 6:00", NIGHTS, policy=Policy(day_rule=DayRule.END))
    assert "8:00" == clock(day.worked_seconds)


def test_the_evening_before_a_shift_just_after_midnight_has_its_say() -> None:
    """From 23:30 on, the shift of 0:15 is worked on the day before, also when that day alone is asked for."""
    shifts = roster(None, "late", shifts=[shift("0:15-8:15", "late")])
    both = compute("23:30 +1 8:15", shifts, Policy(day_rule=DayRule.SPLIT), days=2)
    assert ["0:30", "8:15"] == [clock(day.worked_seconds) for day in both]
    assert both[0] == compute_day("23:30 +1 8:15", shifts, policy=Policy(day_rule=DayRule.SPLIT))


# --- late, early, thresholds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grace", "given", "late", "early"),
    [
        (0, "9:00 17:00", "0:00", "0:00"),
        (0, "9:00:01 16:59:59", "0:00:01", "0:00:01"),
        (300, "9:05 16:55", "0:00", "0:00"),
        (300, "9:05:01 16:54:59", "0:05:01", "0:05:01"),
        (0, "8:30 17:30", "0:00", "0:00"),
        (0, "9:00 12:00 13:00", "0:00", "0:00"),  # back from a break, and no check-out: nobody left early
    ],
)
def test_late_and_early_are_strict(grace: int, given: str, late: str, early: str) -> None:
    """The grace itself is in time; beyond it, all of the time counts."""
    day = compute_day(given, policy=Policy(late_grace_seconds=grace, early_grace_seconds=grace))
    assert (late, early) == (clock(day.late_seconds), clock(day.early_seconds))


@pytest.mark.parametrize(
    ("absent", "half", "given", "status"),
    [
        (0, 0, "9:00 9:10", Status.PRESENT),
        (2 * HOUR, 4 * HOUR, "9:00 10:59", Status.ABSENT),
        (2 * HOUR, 4 * HOUR, "9:00 11:00", Status.HALF_DAY),
        (2 * HOUR, 4 * HOUR, "9:00 13:00", Status.PRESENT),
        (0, 4 * HOUR, "9:00 9:10", Status.HALF_DAY),
        (2 * HOUR, 0, "9:00 11:00", Status.PRESENT),
        (2 * HOUR, 0, "9:00", Status.ABSENT),
        (0, 0, "", Status.ABSENT),
    ],
)
def test_thresholds(absent: int, half: int, given: str, status: Status) -> None:
    """Zero switches one off."""
    assert status is compute_day(given, policy=Policy(absent_below_seconds=absent, half_day_below_seconds=half)).status


@pytest.mark.parametrize(("given", "status"), [("13:00 15:59", Status.HALF_DAY), ("13:00 16:00", Status.PRESENT)])
def test_half_a_holiday_halves_the_thresholds(given: str, status: Status) -> None:
    """Six hours for a day are three for half of one."""
    off = calendar(Holiday(holiday_on=MONDAY, name="Eve", day_part=DayPart.FIRST_HALF))
    assert status is compute_day(given, policy=Policy(half_day_below_seconds=6 * HOUR), off=off).status


# --- holidays and leave -----------------------------------------------------------------------------------------------


def leave(part: DayPart = DayPart.FULL, hours: float | None = None) -> Leave:
    return Leave(kind="vacation", starts_on=MONDAY, ends_on=MONDAY, day_part=part, hours=hours)


WHIT_MONDAY = Holiday(holiday_on=MONDAY, name="Whit Monday")
MORNING, AFTERNOON = DayPart.FIRST_HALF, DayPart.SECOND_HALF


@pytest.mark.parametrize(
    ("off", "given", "status", "expected", "late", "early"),
    [
        ([WHIT_MONDAY], "", Status.HOLIDAY, "0:00", "0:00", "0:00"),
        ([WHIT_MONDAY], "10:00 12:00", Status.PRESENT, "0:00", "0:00", "0:00"),
        ([WHIT_MONDAY, leave()], "", Status.HOLIDAY, "0:00", "0:00", "0:00"),
        ([leave()], "", Status.ON_LEAVE, "0:00", "0:00", "0:00"),
        ([leave(MORNING), leave(AFTERNOON)], "", Status.ON_LEAVE, "0:00", "0:00", "0:00"),
        ([leave(MORNING)], "13:00 17:00", Status.PRESENT, "4:00", "0:00", "0:00"),
        ([leave(MORNING)], "13:10 17:00", Status.PRESENT, "4:00", "0:10", "0:00"),
        ([leave(AFTERNOON)], "9:00 12:50", Status.PRESENT, "4:00", "0:00", "0:10"),
        ([leave(AFTERNOON)], "", Status.ABSENT, "4:00", "0:00", "0:00"),
        ([leave(hours=2)], "11:00 17:00", Status.PRESENT, "6:00", "0:00", "0:00"),
        ([leave(hours=2)], "11:30 17:00", Status.PRESENT, "6:00", "0:30", "0:00"),
        ([leave(hours=2)], "10:00 16:00", Status.PRESENT, "6:00", "0:00", "0:00"),
        ([leave(hours=8)], "", Status.ON_LEAVE, "0:00", "0:00", "0:00"),
    ],
)
def test_holidays_and_leave(
    off: list[Holiday | Leave], given: str, status: Status, expected: str, late: str, early: str
) -> None:
    """What is expected of a day, and when, follows from what takes a part of it."""
    day = compute_day(given, off=calendar(*off))
    assert (status, expected, late, early) == (
        day.status,
        clock(day.expected_seconds),
        clock(day.late_seconds),
        clock(day.early_seconds),
    )


def test_leave_is_counted_where_no_holiday_is() -> None:
    """Half a holiday and a whole leave: half a day of leave."""
    half = Holiday(holiday_on=MONDAY, name="Eve", day_part=AFTERNOON)
    assert ["4:00", "8:00", "0:00", "2:00"] == [
        clock(compute_day("", off=calendar(*off)).leave_seconds)
        for off in ([half, leave()], [leave()], [WHIT_MONDAY, leave()], [leave(hours=2)])
    ]


def test_work_on_a_holiday_needs_no_window() -> None:
    """Somebody who is called in at night is there."""
    day = compute_day("3:00 5:00", off=calendar(WHIT_MONDAY))
    assert ("2:00", (Anomaly.WORKED_ON_HOLIDAY,)) == (clock(day.worked_seconds), day.anomalies)


def test_work_on_leave_is_reported() -> None:
    """Somebody should look at it."""
    assert (Anomaly.WORKED_ON_LEAVE,) == compute_day("9:00 17:00", off=calendar(leave())).anomalies


def test_holidays_are_those_of_a_calendar_and_of_everybody() -> None:
    """Another region's do not count."""
    bavaria = Holiday(holiday_on=MONDAY, name="Region", calendar="DE-BY")
    company = Holiday(holiday_on=TUESDAY, name="Company")
    assert [MONDAY, TUESDAY] == list(group_holidays([company, bavaria], "DE-BY"))
    assert [TUESDAY] == list(group_holidays([company, bavaria], "DE-HE"))


def test_a_missed_part_of_a_split_shift_is_reported() -> None:
    """There was a punch on the day, but none of its second shift."""
    shifts = roster(("early", "late"), shifts=[shift("8:00-12:00", "early"), shift("15:00-19:00", "late")])
    assert (Anomaly.MISSED_SHIFT,) == compute_day("8:00 12:00", shifts).anomalies


# --- employment and the present ---------------------------------------------------------------------------------------


def test_there_is_no_day_outside_the_employment() -> None:
    """Neither before joining nor after leaving, whatever is punched; a rehire has two periods."""
    employment = Employment(periods=((None, MONDAY), (MONDAY + dt.timedelta(days=3), MONDAY + dt.timedelta(days=4))))
    days = compute("9:00 17:00, +1 9:00 +1 17:00, +5 9:00", days=7, employment=employment)
    assert [1, 4, 5] == [day.work_on.day for day in days]


@pytest.mark.parametrize("rule", [DayRule.END, DayRule.MOST_WORKED, DayRule.SPLIT])
def test_nobody_misses_a_shift_that_started_before_joining(rule: DayRule) -> None:
    """The night before the first day is nobody's, whatever date it would have."""
    employment = Employment(periods=((MONDAY, None),))
    [day] = compute(
        "", roster(None, "night", shifts=[shift("22:00-6:00", "night")]), Policy(day_rule=rule), employment=employment
    )
    assert (0, Status.REST_DAY) == (day.scheduled_seconds, day.status)


def test_somebody_inactive_has_no_days() -> None:
    """No period, no day."""
    assert [] == compute("9:00 17:00", days=7, employment=Employment(periods=()))


@pytest.mark.parametrize(
    ("as_of", "given", "status"),
    [
        ("8:30", "", Status.EXPECTED),
        ("17:30", "", Status.EXPECTED),
        ("18:00", "", Status.EXPECTED),  # a punch of this very second would still count
        ("18:00:01", "", Status.ABSENT),
        ("12:00", "9:00", Status.WORKING),
        ("18:00:01", "9:00 17:00", Status.PRESENT),
    ],
)
def test_nobody_is_absent_before_the_last_window_is_closed(as_of: str, given: str, status: Status) -> None:
    """Absence, missing check-outs and early leaving are known when nothing more can come."""
    day = compute_day(given, as_of=at(as_of))
    assert status is day.status
    assert day.is_final == (status in (Status.ABSENT, Status.PRESENT))
    if not day.is_final:
        assert ((), 0) == (day.anomalies, day.early_seconds)


def test_punches_of_the_future_wait() -> None:
    """A clock that is fast does not make hours."""
    assert ["09:00 open_in", "17:00 in_future"] == fates(compute_day("9:00 17:00", as_of=at("12:00")))


# --- overtime ---------------------------------------------------------------------------------------------------------

SATURDAY = dt.date(2026, 6, 6)


def overtime(day: AttendanceDay) -> dict[str, str]:
    return {str(kind): clock(seconds) for kind, seconds in day.overtime.items()}


@pytest.mark.parametrize(
    ("rules", "given", "expected"),
    [
        ({}, "8:00 18:00", {}),
        ({"over_schedule": True}, "9:00 17:30", {"over_schedule": "0:30"}),
        ({"over_schedule": True}, "10:00 18:00", {}),  # late, and made up for it
        ({"over_schedule": True, "after_tolerance_seconds": 1800}, "9:00 17:30", {}),
        ({"over_schedule": True, "after_tolerance_seconds": 1800}, "9:00 17:31", {"over_schedule": "0:31"}),
        ({"over_schedule": True, "before_tolerance_seconds": 1800}, "8:30 17:10", {"over_schedule": "0:10"}),
        ({"over_schedule": True, "before_tolerance_seconds": 1800}, "8:29 17:00", {"over_schedule": "0:31"}),
        ({"daily_limit_seconds": 9 * HOUR}, "8:00 17:30", {"daily_limit": "0:30"}),
        (
            {"over_schedule": True, "daily_limit_seconds": 9 * HOUR},
            "8:00 17:30",
            {"over_schedule": "1:00", "daily_limit": "0:30"},
        ),
    ],
)
def test_overtime_of_a_working_day(rules: dict[str, Any], given: str, expected: dict[str, str]) -> None:
    """What is over the schedule or the limit, with tolerances; each second is of one kind."""
    assert expected == overtime(compute_day(given, policy=Policy(overtime=OvertimeRules(**rules))))


def test_overtime_on_rest_days_and_holidays() -> None:
    """Everything that is worked there is of that kind."""
    policy = Policy(overtime=OvertimeRules(on_rest_days=True, on_holidays=True, over_schedule=True))
    saturday = compute_day("10:00 14:00", OFFICE_WEEK, policy=policy, first=SATURDAY)
    assert {"rest_day": "4:00"} == overtime(saturday)
    assert {"holiday": "4:00"} == overtime(compute_day("10:00 14:00", policy=policy, off=calendar(WHIT_MONDAY)))
    eve = Holiday(holiday_on=MONDAY, name="Eve", day_part=AFTERNOON)
    assert {"holiday": "1:00"} == overtime(compute_day("9:00 14:00", policy=policy, off=calendar(eve)))


def test_a_weekly_limit_takes_what_no_other_kind_has() -> None:
    """Five days of nine hours, one of which is over the schedule: 40 hours, and a sixth day beyond them."""
    given = " ".join(f"+{day} 9:00 +{day} 18:00" for day in range(6))
    policy = Policy(overtime=OvertimeRules(over_schedule=True, weekly_limit_seconds=38 * HOUR))
    days = compute(given, every_day("9:00-17:00"), policy, days=8)
    assert {"over_schedule": "1:00", "weekly_limit": "2:00"} == overtime(days[4])
    assert {"over_schedule": "1:00", "weekly_limit": "8:00"} == overtime(days[5])
    assert sum(day.worked_seconds for day in days) == 38 * HOUR + sum(day.overtime_seconds for day in days)


def test_a_week_is_counted_from_its_start_wherever_one_begins_to_ask() -> None:
    """Asking for Friday alone gives the same Friday."""
    given = " ".join(f"+{day} 9:00 +{day} 18:00" for day in range(9))
    policy = Policy(overtime=OvertimeRules(weekly_limit_seconds=40 * HOUR))
    whole = compute(given, FREE, policy, days=9)
    punched = [use.punch for day in whole for use in day.punches]
    for number, day in enumerate(whole):
        assert [day] == compute(punched, FREE, policy, first=MONDAY + dt.timedelta(days=number))
    assert {} == whole[7].overtime


def test_overtime_kinds_are_complete() -> None:
    """The tests name every kind."""
    assert {"holiday", "rest_day", "by_keys", "over_schedule", "daily_limit", "weekly_limit"} == set(Overtime)
