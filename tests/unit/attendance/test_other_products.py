"""The rules that other products of time and attendance have, each with a case worked out by hand.

Every table names the product whose rule it is; numbers and people are made up.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import pytest

from backend.domain.attendance.calendars import Employment, Holiday, Leave
from backend.domain.attendance.day import Anomaly, AttendanceDay, Overtime, Status
from backend.domain.attendance.policies import (
    AutoBreak,
    BreakRules,
    DayRule,
    Hours,
    OvertimeRules,
    Pairing,
    Policy,
    Rounding,
    RoundingMode,
)
from backend.domain.attendance.shifts import FlexibleShift, Roster, Shift
from backend.domain.employees import DayPart
from tests.support.attendance import (
    FREE,
    LATER,
    MONDAY,
    NIGHTS,
    NINE_TO_FIVE,
    OFFICE_WEEK,
    at,
    calendar,
    clock,
    compute,
    compute_day,
    every_day,
    fates,
    punches,
    roster,
    shift,
    times,
)

MINUTE, HOUR = 60, 3600
STRICT = Pairing.BY_DIRECTION
FLOOR, CEIL, NEAREST = RoundingMode.FLOOR, RoundingMode.CEIL, RoundingMode.NEAREST
SATURDAY = dt.date(2026, 6, 6)
MORNING, AFTERNOON = DayPart.FIRST_HALF, DayPart.SECOND_HALF


def rules(**more: Any) -> Policy:
    return Policy(overtime=OvertimeRules(**more))


def leave(part: DayPart = DayPart.FULL, hours: float | None = None, day: dt.date = MONDAY) -> Leave:
    return Leave(kind="vacation", starts_on=day, ends_on=day, day_part=part, hours=hours)


def worked(days: list[AttendanceDay]) -> list[str]:
    return [clock(day.worked_seconds) for day in days]


def overtime(day: AttendanceDay) -> dict[str, str]:
    return {str(kind): clock(seconds) for kind, seconds in day.overtime.items()}


# --- Frappe HRMS: windows ---------------------------------------------------------------------------------------------

THREE = roster(
    ("early", "late", "night"),
    shifts=[shift("6:00-14:00", "early"), shift("14:00-22:00", "late"), shift("22:00-6:00", "night")],
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Three shifts around the clock: each window opens when the shift before has ended.
        ("14:00", ["early"]),  # the very end of one is the opening of the next: the earlier one's
        ("14:00:01", ["late"]),
        ("13:59:59", ["early"]),
        ("22:00", ["late"]),
        ("22:00:01", ["night"]),
        ("+1 6:00", ["night"]),
    ],
)
def test_frappe_a_punch_on_a_border_is_the_earlier_shifts(given: str, expected: list[str]) -> None:
    """Windows of shifts that follow each other do not overlap, and the border is inclusive for the one before."""
    days = compute(given, THREE, days=2)
    found = [
        span.code
        for day in days
        for use in day.punches
        for span in day.shifts
        if use.fate == "open_in" and span.opens_at <= use.punch.punched_at <= span.closes_at
    ]
    assert expected == found[:1]


@pytest.mark.parametrize(
    ("windows", "given", "hours", "anomalies"),
    [
        # Staying on: with an hour after the end, 19:30 is too late; with eight hours it is the check-out.
        ({}, "9:00 19:30", "0:00", ["missing_out", "outside_windows"]),
        ({"check_out_window_seconds": 8 * HOUR}, "9:00 19:30", "10:30", []),
        ({"check_out_window_seconds": 8 * HOUR}, "9:00 +1 1:00", "16:00", []),
        # Coming early: 7:30 is too early for an hour before the start, and is not too early for two.
        ({}, "7:30 17:00", "0:00", ["missing_out", "outside_windows"]),
        ({"check_in_window_seconds": 2 * HOUR}, "7:30 17:00", "9:30", []),
    ],
)
def test_frappe_windows_are_as_long_as_the_shift_type_says(
    windows: dict[str, int], given: str, hours: str, anomalies: list[str]
) -> None:
    """Begin check-in before shift start, and allow check-out after shift end."""
    day = compute_day(given, every_day("9:00-17:00", **windows))
    assert (hours, anomalies) == (clock(day.worked_seconds), list(day.anomalies))


@pytest.mark.parametrize(
    ("pairing", "hours", "given", "expected"),
    [
        (Pairing.ALTERNATING, Hours.FIRST_TO_LAST, "8:30 10:00 11:00 16:15", "7:45"),  # 16:15 - 8:30
        (Pairing.ALTERNATING, Hours.EVERY_PAIR, "8:30 10:00 11:00 16:15", "6:45"),  # 1:30 + 5:15
        (Pairing.ALTERNATING, Hours.EVERY_PAIR, "8:30 10:00 11:00", "1:30"),  # the odd one counts nothing
        (Pairing.ALTERNATING, Hours.FIRST_TO_LAST, "8:30 10:00 11:00", "2:30"),
        (STRICT, Hours.FIRST_TO_LAST, "8:30i 10:00o 11:00i 16:15o", "7:45"),
        (STRICT, Hours.FIRST_TO_LAST, "8:30i 10:00o 11:00i", "1:30"),  # the last out is that of 10:00
        (STRICT, Hours.EVERY_PAIR, "8:30i 8:45i 10:00o 10:15o 11:00i 16:15o", "6:45"),
    ],
)
def test_frappe_four_ways_to_count(pairing: Pairing, hours: Hours, given: str, expected: str) -> None:
    """Alternating or by log type; first in and last out, or every valid pair."""
    assert expected == clock(compute_day(given, policy=Policy(pairing=pairing, hours=hours)).worked_seconds)


def test_frappe_absent_before_half_day() -> None:
    """Of two thresholds, that of absence is looked at first; half a day of leave halves both."""
    policy = Policy(absent_below_seconds=2 * HOUR, half_day_below_seconds=5 * HOUR)
    statuses = [compute_day(given, policy=policy).status for given in ("9:00 10:59", "9:00 13:59", "9:00 14:00")]
    assert [Status.ABSENT, Status.HALF_DAY, Status.PRESENT] == statuses
    off = calendar(leave(AFTERNOON))
    halved = [compute_day(given, policy=policy, off=off).status for given in ("9:00 9:59", "9:00 11:29", "9:00 11:30")]
    assert [Status.ABSENT, Status.HALF_DAY, Status.PRESENT] == halved


# --- TimeTrex: rounding, breaks, days, new shifts ---------------------------------------------------------------------

STRICT_SCHEDULE = Policy(
    round_in=Rounding(window_seconds=2 * HOUR, mode=CEIL), round_out=Rounding(window_seconds=2 * HOUR, mode=FLOOR)
)


@pytest.mark.parametrize(
    ("given", "hours", "late", "early"),
    [
        ("8:20 17:40", "8:00", "0:00", "0:00"),  # coming early and staying on count nothing
        ("9:10 17:40", "7:50", "0:10", "0:00"),  # but late is late
        ("8:20 16:45", "7:45", "0:00", "0:15"),
    ],
)
def test_timetrex_a_strict_schedule(given: str, hours: str, late: str, early: str) -> None:
    """Punches before the start count as the start, and those after the end as the end."""
    day = compute_day(given, policy=STRICT_SCHEDULE)
    assert (hours, late, early) == tuple(map(clock, (day.worked_seconds, day.late_seconds, day.early_seconds)))


@pytest.mark.parametrize(
    ("rounding", "given", "hours"),
    [
        (Rounding(unit_seconds=15 * MINUTE), "8:52 17:00", "8:15"),  # 8:45 is nearer than 9:00: 7 minutes to 8
        (Rounding(unit_seconds=15 * MINUTE), "8:53 17:00", "8:00"),
        (Rounding(unit_seconds=6 * MINUTE, mode=CEIL), "9:01 17:00", "7:54"),  # tenths of an hour
        (Rounding(unit_seconds=15 * MINUTE, mode=CEIL, grace_seconds=3 * MINUTE), "9:03 17:00", "8:00"),
        (Rounding(unit_seconds=15 * MINUTE, mode=CEIL, grace_seconds=3 * MINUTE), "9:04 17:00", "7:45"),
    ],
)
def test_timetrex_check_ins_are_rounded(rounding: Rounding, given: str, hours: str) -> None:
    """To an interval, with a grace."""
    assert hours == clock(compute_day(given, policy=Policy(round_in=rounding)).worked_seconds)


@pytest.mark.parametrize(("rounded", "late"), [(False, "0:05"), (True, "0:15")])
def test_timetrex_lateness_follows_the_rounded_punch(rounded: bool, late: str) -> None:
    """TimeTrex judges what it has rounded, Frappe HRMS the punch itself: both can be had."""
    policy = Policy(rounded_lateness=rounded, round_in=Rounding(unit_seconds=15 * MINUTE, mode=CEIL))
    assert late == clock(compute_day("9:05 17:00", policy=policy).late_seconds)


MEAL = (AutoBreak(after_seconds=5 * HOUR, deduct_seconds=30 * MINUTE),)


@pytest.mark.parametrize(
    ("breaks", "given", "hours"),
    [
        (BreakRules(deductions=MEAL), "9:00 13:59", "4:59"),
        (BreakRules(deductions=MEAL), "9:00 17:00", "7:30"),
        (BreakRules(deductions=MEAL), "9:00 12:00 12:20 17:00", "7:10"),  # 20 minutes taken, 30 more taken off
        (BreakRules(deductions=MEAL, count_taken=True), "9:00 12:00 12:20 17:00", "7:30"),  # topped up to 30
        (BreakRules(deductions=MEAL, count_taken=True), "9:00 12:00 12:40 17:00", "7:20"),  # no more than was taken
        (BreakRules(paid_seconds=15 * MINUTE), "9:00 12:00 12:10 17:00", "8:00"),  # a paid break, whole
        (BreakRules(paid_seconds=15 * MINUTE), "9:00 12:00 12:40 17:00", "7:35"),  # and the rest of a longer one off
        (BreakRules(paid_seconds=15 * MINUTE), "9:00 10:00 10:10 14:00 14:10 17:00", "7:55"),  # of all breaks of a day
    ],
)
def test_timetrex_meals_and_breaks(breaks: BreakRules, given: str, hours: str) -> None:
    """Deducted on its own, deducted as far as it was not taken, or included up to some minutes."""
    day = compute_day(given, policy=Policy(breaks=breaks))
    assert hours == clock(day.worked_seconds)
    assert day.presence_seconds == day.worked_seconds + day.break_seconds + day.deducted_seconds


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (DayRule.START, ["9:00", "0:00"]),
        (DayRule.END, ["0:00", "9:00"]),
        (DayRule.MOST_WORKED, ["0:00", "9:00"]),  # 4 hours before midnight, 5 after
        (DayRule.SPLIT, ["4:00", "5:00"]),
    ],
)
def test_timetrex_a_shift_is_assigned_to_a_day(rule: DayRule, expected: list[str]) -> None:
    """The day on which it starts, ends, or is worked the most, or both of them."""
    night = roster("night", None, shifts=[shift("20:00-5:00", "night")])
    assert expected == worked(compute("20:00 +1 5:00", night, Policy(day_rule=rule), days=2))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("8:00 12:00 15:59 20:00", ["8:01", "0:00"]),  # 3:59 off: the same shift
        ("20:00 23:00, +1 3:00 +1 6:00", ["3:00", "3:00"]),  # 4:00 off: a new one, of the next day
        ("20:00 23:00, +1 2:59 +1 6:00", ["6:01", "0:00"]),
        ("8:00 +1 0:01", ["0:00", "0:00"]),  # 16:01 is no shift: two check-ins
    ],
)
def test_timetrex_time_off_begins_a_new_shift(given: str, expected: list[str]) -> None:
    """Four hours off, or sixteen in all."""
    assert expected == worked(compute(given, FREE, days=2))


AT_MOST_14_HOURS = Policy(maximum_shift_seconds=14 * HOUR)


# --- a forgotten punch does not turn day into night -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Tuesday's check-in is forgotten: only Tuesday suffers, though 17:00 to 9:00 is no longer than a shift may be.
        (
            "9:00 17:00, +1 17:00, +2 9:00 +2 17:00, +3 9:00 +3 17:00, +4 9:00 +4 17:00",
            ["8:00", "0:00", "8:00", "8:00", "8:00"],
        ),
        # The same for nights, with the check-in of the second one forgotten.
        (
            "22:00 +1 6:00, +2 6:00, +2 22:00 +3 6:00, +3 22:00 +4 6:00, +4 22:00 +5 6:00",
            ["8:00", "0:00", "8:00", "8:00", "8:00"],
        ),
        # Twelve hours on, twelve off, a little more or less: what is complete stays as it is.
        (
            "7:00 19:03, +1 7:00 +1 19:00, +2 6:58 +2 19:01, +3 7:00 +3 18:59, +4 7:00 +4 19:00",
            ["12:03", "12:00", "12:03", "11:59", "12:00"],
        ),
    ],
)
def test_free_work_recovers_from_a_forgotten_punch(given: str, expected: list[str]) -> None:
    """Where nobody works for more than 14 hours, a longer gap is time off, whatever was before."""
    assert expected == worked(compute(given, FREE, policy=AT_MOST_14_HOURS, days=5))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("6:00 21:30, +2 9:00 +2 17:00", ["15:30", "0:00", "8:00"]),
        ("8:00 23:00, +1 9:00 +1 17:00", ["15:00", "8:00", "0:00"]),  # a long day, and a plain one
        ("6:00 21:00, +1 6:00 +1 21:00, +2 6:00 +2 21:00", ["15:00", "15:00", "15:00"]),
        ("20:00 +1 9:30, +1 20:00 +2 9:30", ["13:30", "13:30", "0:00"]),
    ],
)
def test_free_work_may_be_as_long_as_a_shift_may_be(given: str, expected: list[str]) -> None:
    """Up to 16 hours, unless the policy says otherwise, also when the rest after it is shorter."""
    assert expected == worked(compute(given, FREE, days=3))


def test_free_nights_do_not_depend_on_where_one_begins_to_read() -> None:
    """Whether the first punch that is read is the morning's or the evening's."""
    given = punches(" ".join(f"+{day} 22:00 +{day + 1} 6:00" for day in range(10)))
    whole = compute(given, FREE, policy=AT_MOST_14_HOURS, days=9)
    assert ["8:00"] * 9 == worked(whole)
    assert ["0:00", *["8:00"] * 8] == worked(compute(given[1:], FREE, policy=AT_MOST_14_HOURS, days=9))


def test_without_any_long_rest_the_longest_of_a_week_counts() -> None:
    """Four weeks of 12 hours on and 12 off, and one rest of 12:10 in each: a wrong beginning is over after that."""
    given = punches(" ".join(f"+{day} 7:40 +{day} {'19:30' if day % 7 == 3 else '19:40'}" for day in range(28)))
    whole, later = compute(given, FREE, days=28), compute(given[1:], FREE, days=28)
    assert ["12:00", "12:00", "12:00", "11:50", "12:00"] == worked(whole)[:5]
    assert whole[:11] != later[:11]
    assert whole[11:] == later[11:]


# --- BioStar and ZKBioTime: keys, direction, unscheduled work ---------------------------------------------------------

KEYS = Policy(pairing=STRICT, overtime=OvertimeRules(by_keys=True, over_schedule=True))
LONG = every_day("9:00-17:00", check_in_window_seconds=4 * HOUR, check_out_window_seconds=6 * HOUR)


@pytest.mark.parametrize(
    ("more", "given", "hours", "expected"),
    [
        ({}, "9:00i 17:00o 18:00oti 20:00oto", "10:00", {"by_keys": "2:00"}),
        ({}, "9:00i 17:00oti 19:00oto", "10:00", {"by_keys": "2:00"}),  # without a check-out in between
        ({}, "9:00i 17:00oti 19:00o", "10:00", {"by_keys": "2:00"}),
        ({}, "6:00oti 9:00oto 9:02i 17:00o", "10:58", {"by_keys": "3:00"}),
        # Out and in again within a minute are one punch: work goes on, but no longer as overtime.
        ({}, "6:00oti 9:00oto 9:00:30i 17:00o", "11:00", {"by_keys": "3:00:30"}),
        ({}, "9:00i 17:30o 18:00oti 20:00oto", "10:30", {"by_keys": "2:00", "over_schedule": "0:30"}),
        ({}, "9:00i 17:00oti 18:00bs 18:30be 20:00oto", "10:30", {"by_keys": "2:30"}),  # still overtime after a break
        (
            {"hours": Hours.FIRST_TO_LAST},
            "9:00i 17:00o 17:30oti 20:00oto",
            "11:00",
            {"by_keys": "2:30", "over_schedule": "0:30"},
        ),
        (
            {"hours": Hours.FIRST_TO_LAST},
            "6:00oti 8:00oto 17:00o",
            "11:00",
            {"by_keys": "2:00", "over_schedule": "1:00"},
        ),
        ({"pairing": Pairing.ALTERNATING}, "9:00i 17:00o 18:00oti 20:00oto", "10:00", {"by_keys": "2:00"}),
    ],
)
def test_biostar_overtime_keys(more: dict[str, Any], given: str, hours: str, expected: dict[str, str]) -> None:
    """What is punched as overtime is a kind of its own, and is no other kind as well."""
    policy = Policy(**{"pairing": STRICT, "overtime": KEYS.overtime, **more})
    day = compute_day(given, LONG, policy=policy)
    assert (hours, expected) == (clock(day.worked_seconds), overtime(day))


def test_biostar_overtime_keys_say_nothing_unless_the_policy_asks() -> None:
    """They are an in and an out, as before; on a holiday everything is the holiday's."""
    given = "9:00i 17:00o 18:00oti 20:00oto"
    plain = compute_day(given, LONG, policy=Policy(pairing=STRICT))
    assert ("10:00", {}) == (clock(plain.worked_seconds), overtime(plain))
    holiday = calendar(Holiday(holiday_on=MONDAY, name="Whit Monday"))
    policy = Policy(pairing=STRICT, overtime=OvertimeRules(by_keys=True, on_holidays=True))
    assert {"holiday": "10:00"} == overtime(compute_day(given, LONG, policy=policy, off=holiday))


@pytest.mark.parametrize(
    ("pairing", "given", "expected"),
    [
        # The wrong key, and then the right one: the last word counts.
        (STRICT, "9:00o 9:00:20i 17:00o", ["duplicate", "check_in", "check_out"]),
        (STRICT, "9:00i 17:00i 17:00:20o", ["check_in", "duplicate", "check_out"]),
        # The same key twice: the first one.
        (STRICT, "9:00i 9:00:20i 17:00o", ["check_in", "duplicate", "check_out"]),
        (STRICT, "9:00i 9:00:20o 9:00:40i 17:00o", ["check_in", "duplicate", "duplicate", "check_out"]),
        (STRICT, "9:00 9:00:20i 17:00o", ["duplicate", "check_in", "check_out"]),
        # Where directions say nothing, it is the first one.
        (Pairing.ALTERNATING, "9:00o 9:00:20i 17:00o", ["check_in", "duplicate", "check_out"]),
    ],
)
def test_zkbiotime_a_key_pressed_in_error_is_corrected(pairing: Pairing, given: str, expected: list[str]) -> None:
    """Punches within the interval are one, and the direction is that which was said last."""
    day = compute_day(given, policy=Policy(pairing=pairing))
    assert expected == [use.fate for use in day.punches]


def test_two_words_in_one_second_have_an_order_of_their_own() -> None:
    """It is not that in which they are delivered."""
    given = punches("9:00i 9:00o 9:00be 17:00o")
    for policy in (Policy(), Policy(pairing=STRICT), Policy(duplicate_seconds=0)):
        assert compute_day(given, policy=policy) == compute_day(given[::-1], policy=policy)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("7:59:30 8:00:10 17:00", ["duplicate", "check_in", "check_out"]),  # the first one is outside the window
        ("9:00 18:00 18:00:30", ["check_in", "check_out", "duplicate"]),
    ],
)
def test_a_punch_outside_the_window_swallows_none_inside(given: str, expected: list[str]) -> None:
    """A shift is a matter of the punches in its window."""
    assert expected == [use.fate for use in compute_day(given).punches]


@pytest.mark.parametrize(
    ("unscheduled", "given", "hours", "anomalies"),
    [
        (False, "9:00 17:00 21:00 23:00", "8:00", ["outside_windows"]),
        (True, "9:00 17:00 21:00 23:00", "10:00", []),
        (True, "2:00 4:00 9:00 17:00", "10:00", []),
        (True, "9:00 17:00 21:00", "8:00", ["missing_out"]),  # nothing is invented here either
    ],
)
def test_zkbiotime_unscheduled_work_on_a_working_day(
    unscheduled: bool, given: str, hours: str, anomalies: list[str]
) -> None:
    """Somebody who is called in at night has worked, if the policy says so."""
    policy = Policy(unscheduled_work=unscheduled, overtime=OvertimeRules(over_schedule=True))
    day = compute_day(given, policy=policy)
    assert (hours, anomalies) == (clock(day.worked_seconds), list(day.anomalies))
    assert overtime(day) == ({"over_schedule": clock(day.worked_seconds - 8 * HOUR)} if hours == "10:00" else {})


def test_a_missing_check_in_is_no_lateness() -> None:
    """When the person came is not known: it is reported, and nobody is late by it."""
    day = compute_day("11:00o 11:30i 17:00o", policy=Policy(pairing=STRICT))
    assert (0, (Anomaly.MISSING_IN,)) == (day.late_seconds, day.anomalies)


# --- Kimai and Odoo ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "end", "total", "hours"),
    [
        (FLOOR, CEIL, None, "8:15"),  # 9:00 to 17:15
        (CEIL, FLOOR, None, "7:45"),  # 9:15 to 17:00
        (NEAREST, NEAREST, None, "8:00"),  # 9:00 to 17:00
        (None, None, CEIL, "8:15"),  # 8:03 in all
        (None, None, FLOOR, "8:00"),
        (FLOOR, CEIL, FLOOR, "8:15"),
    ],
)
def test_kimai_begin_end_and_duration_are_rounded_apart(
    begin: RoundingMode | None, end: RoundingMode | None, total: RoundingMode | None, hours: str
) -> None:
    """9:04 to 17:07: begin and end first, then what lies between."""
    quarter = {mode: Rounding(unit_seconds=15 * MINUTE, mode=mode) for mode in RoundingMode}
    policy = Policy(
        round_in=quarter[begin] if begin else Rounding(),
        round_out=quarter[end] if end else Rounding(),
        round_total=quarter[total] if total else Rounding(),
    )
    assert hours == clock(compute_day("9:04 17:07", policy=policy).worked_seconds)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("8:45 17:15", {}),  # 15 minutes on either side are tolerated
        ("8:44 17:15", {"over_schedule": "0:16"}),
        ("8:45 17:40", {"over_schedule": "0:40"}),
        ("9:30 17:40", {"over_schedule": "0:10"}),  # what was missed in the morning is made up for first
    ],
)
def test_odoo_overtime_has_a_tolerance(given: str, expected: dict[str, str]) -> None:
    """What is within it is no overtime, what is beyond it is overtime from the schedule on."""
    policy = rules(over_schedule=True, before_tolerance_seconds=15 * MINUTE, after_tolerance_seconds=15 * MINUTE)
    assert expected == overtime(compute_day(given, policy=policy))


def test_odoo_checks_out_when_the_working_day_is_over() -> None:
    """At the end of what is to be worked: with a free afternoon, at noon."""
    policy = Policy(auto_check_out=True)
    assert "8:00" == clock(compute_day("9:00", policy=policy).worked_seconds)
    assert "4:00" == clock(compute_day("9:00", policy=policy, off=calendar(leave(AFTERNOON))).worked_seconds)


# --- OrangeHRM and Frappe HRMS: parts of a day ------------------------------------------------------------------------

WITH_LUNCH = every_day("9:00-18:00", unpaid_break_seconds=HOUR)
TWO = roster(("first", "second"), shifts=[shift("8:00-12:00", "first"), shift("15:00-19:00", "second")])
UNEVEN = roster(("first", "second"), shifts=[shift("6:00-12:00", "first"), shift("15:00-17:00", "second")])


@pytest.mark.parametrize(
    ("shifts", "off", "given", "expected", "late", "early"),
    [
        # An hour of lunch in nine: four hours in the morning, four in the afternoon.
        (WITH_LUNCH, leave(AFTERNOON), "9:00 13:00", "4:00", "0:00", "0:00"),
        (WITH_LUNCH, leave(AFTERNOON), "9:00 12:50", "4:00", "0:00", "0:10"),
        (WITH_LUNCH, leave(MORNING), "14:00 18:00", "4:00", "0:00", "0:00"),
        (WITH_LUNCH, leave(MORNING), "14:10 18:00", "4:00", "0:10", "0:00"),
        # Two shifts of four hours: half a day is one of them.
        (TWO, leave(MORNING), "15:00 19:00", "4:00", "0:00", "0:00"),
        (TWO, leave(MORNING), "15:20 19:00", "4:00", "0:20", "0:00"),
        (TWO, leave(AFTERNOON), "8:00 12:00", "4:00", "0:00", "0:00"),
        # Six hours and two: half a day ends within the first one.
        (UNEVEN, leave(AFTERNOON), "6:00 10:00", "4:00", "0:00", "0:00"),
        (UNEVEN, leave(MORNING), "10:00 12:00, 15:10 17:00", "4:00", "0:10", "0:00"),
        # By hours: once for the whole day, and the grace comes on top.
        (TWO, leave(hours=2), "10:00 12:00, 17:00 19:00", "6:00", "2:00", "0:00"),
        (NINE_TO_FIVE, leave(hours=2), "11:05 17:00", "6:00", "0:00", "0:00"),
        (NINE_TO_FIVE, leave(hours=2), "11:06 17:00", "6:00", "0:06", "0:00"),
        (NINE_TO_FIVE, leave(hours=2), "9:05 15:00", "6:00", "0:00", "0:00"),
        (NINE_TO_FIVE, leave(hours=2), "10:00 16:00", "6:00", "0:00", "0:00"),
    ],
)
def test_orangehrm_half_days_and_hours_of_leave(
    shifts: Roster, off: Leave, given: str, expected: str, late: str, early: str
) -> None:
    """What is left of the day, and who is late or early against it (five minutes are tolerated)."""
    policy = Policy(late_grace_seconds=5 * MINUTE, early_grace_seconds=5 * MINUTE)
    day = compute_day(given, shifts, policy=policy, off=calendar(off))
    assert (expected, late, early) == tuple(map(clock, (day.expected_seconds, day.late_seconds, day.early_seconds)))
    assert Anomaly.MISSED_SHIFT not in day.anomalies


def test_a_shift_that_half_a_day_leaves_is_missed() -> None:
    """Of two shifts, leave takes the morning; who comes in the morning only has missed the other."""
    assert Anomaly.MISSED_SHIFT in compute_day("8:00 12:00", TWO, off=calendar(leave(MORNING))).anomalies


def test_half_a_holiday_and_half_a_leave_are_a_day() -> None:
    """Nobody is expected, and the leave is half a day's."""
    eve = Holiday(holiday_on=MONDAY, name="Eve", day_part=AFTERNOON)
    day = compute_day("", off=calendar(eve, leave(MORNING)))
    assert (Status.ON_LEAVE, 0, "4:00") == (day.status, day.expected_seconds, clock(day.leave_seconds))


@pytest.mark.parametrize(
    ("off_on", "late", "early"),
    [
        (0, ["0:00", "0:20"], ["0:00", "0:00"]),  # Monday is off: from midnight on
        (1, ["0:00", "0:00"], ["0:00", "0:00"]),  # Tuesday is off: until midnight
    ],
)
def test_a_split_night_is_expected_on_the_date_that_is_not_off(off_on: int, late: list[str], early: list[str]) -> None:
    """Leave takes the part of the shift that is on its date, and lateness is against the rest."""
    night = roster("night", None, None, shifts=[shift("22:00-6:00", "night")])
    given = "+1 0:20 +1 6:00" if off_on == 0 else "22:00 +1 0:00"
    off = calendar(leave(day=MONDAY + dt.timedelta(days=off_on)))
    days = compute(given, night, Policy(day_rule=DayRule.SPLIT), days=2, off=off)
    assert (late, early) == ([clock(day.late_seconds) for day in days], [clock(day.early_seconds) for day in days])


# --- holidays, rest days, employment ----------------------------------------------------------------------------------

EVENING = roster("night", None, None, shifts=[shift("22:00-6:00", "night")])


@pytest.mark.parametrize(
    ("rule", "holiday", "expected"),
    [
        # A night into a holiday: the whole shift is of one day, or each hour of its own.
        (DayRule.START, 1, [{}, {}]),
        (DayRule.END, 1, [{}, {"holiday": "8:00"}]),
        (DayRule.MOST_WORKED, 1, [{}, {"holiday": "8:00"}]),
        (DayRule.SPLIT, 1, [{}, {"holiday": "6:00"}]),
        # A night out of one.
        (DayRule.START, 0, [{"holiday": "8:00"}, {}]),
        (DayRule.SPLIT, 0, [{"holiday": "2:00"}, {}]),
    ],
)
def test_timetrex_a_night_before_a_holiday(rule: DayRule, holiday: int, expected: list[dict[str, str]]) -> None:
    """Which hours are the holiday's follows from the rule that dates the shift."""
    off = calendar(Holiday(holiday_on=MONDAY + dt.timedelta(days=holiday), name="day"))
    policy = Policy(day_rule=rule, overtime=OvertimeRules(on_holidays=True))
    assert expected == [overtime(day) for day in compute("22:00 +1 6:00", EVENING, policy, days=2, off=off)]


@pytest.mark.parametrize(
    ("off", "given", "expected"),
    [
        ([], "10:00 15:00", {"rest_day": "5:00"}),
        ([Holiday(holiday_on=SATURDAY, name="day")], "10:00 15:00", {"holiday": "5:00"}),  # a holiday goes first
        ([], "22:00 +1 4:00", {"rest_day": "6:00"}),
    ],
)
def test_rest_days_and_holidays_have_kinds_of_their_own(
    off: list[Holiday], given: str, expected: dict[str, str]
) -> None:
    """Everything that is worked, without any window."""
    policy = rules(on_rest_days=True, on_holidays=True, over_schedule=True, daily_limit_seconds=4 * HOUR)
    assert expected == overtime(compute_day(given, OFFICE_WEEK, policy=policy, first=SATURDAY, off=calendar(*off)))


@pytest.mark.parametrize("rule", DayRule)
def test_the_last_night_before_leaving_has_a_day(rule: DayRule) -> None:
    """It began while the person was employed: its hours are of the last day, where their own date is none any more."""
    employment = Employment(periods=((None, MONDAY),))
    days = compute("22:00 +1 6:00", NIGHTS, Policy(day_rule=rule), days=3, employment=employment)
    assert [(MONDAY, "8:00")] == [(day.work_on, clock(day.worked_seconds)) for day in days[-1:]]
    assert ["22:00 check_in", "06:00 check_out"] == fates(days[0])


def test_a_rehire_has_two_first_days() -> None:
    """Nobody is absent between two employments, and the second begins with its first day."""
    tuesday, friday = MONDAY + dt.timedelta(days=1), MONDAY + dt.timedelta(days=4)
    employment = Employment(periods=((None, tuesday), (friday, None)))
    days = compute("9:00 17:00", NINE_TO_FIVE, days=6, employment=employment)
    assert [1, 2, 5, 6] == [day.work_on.day for day in days]
    assert [Status.PRESENT, *[Status.ABSENT] * 3] == [day.status for day in days]


# --- seasons and clocks -----------------------------------------------------------------------------------------------


def test_a_season_has_times_of_its_own() -> None:
    """Shorter days for four weeks, as in Ramadan, and the old times again after them."""
    begins, ends = dt.date(2026, 2, 18), dt.date(2026, 3, 20)
    office = Shift(
        code="office",
        versions=(times("8:00-17:00"), times("9:00-15:00", valid_from=begins), times("8:00-17:00", valid_from=ends)),
    )
    shifts = roster("office", shifts=[office])
    lengths = [
        clock(compute_day("", shifts, first=day).scheduled_seconds)
        for day in (begins - dt.timedelta(days=1), begins, ends - dt.timedelta(days=1), ends)
    ]
    assert ["9:00", "6:00", "6:00", "9:00"] == lengths


@pytest.mark.parametrize(
    ("zone", "night", "shift_of", "given", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 28), "22:00-6:00", "22:00 +1 6:00", "7:00"),
        ("Europe/Berlin", (2026, 10, 24), "22:00-6:00", "22:00 +1 6:00", "9:00"),
        ("America/New_York", (2026, 3, 7), "22:00-6:00", "22:00 +1 6:00", "7:00"),
        ("America/New_York", (2026, 10, 31), "22:00-6:00", "22:00 +1 6:00", "9:00"),
        ("Asia/Kolkata", (2026, 3, 28), "22:00-6:00", "22:00 +1 6:00", "8:00"),  # no summer time, and half an hour off
        ("Australia/Lord_Howe", (2026, 4, 4), "22:00-6:00", "22:00 +1 6:00", "8:30"),  # by half an hour
        ("America/Santiago", (2026, 9, 5), "20:00-4:00", "20:00 +1 4:00", "7:00"),  # 0:00 to 1:00 is left out
        ("America/Santiago", (2026, 4, 4), "20:00-4:00", "20:00 +1 4:00", "9:00"),  # 23:00 to 24:00 comes twice
        ("Africa/Cairo", (2026, 4, 23), "20:00-4:00", "20:00 +1 4:00", "7:00"),
        ("Asia/Almaty", (2024, 2, 29), "20:00-4:00", "20:00 +1 4:00", "9:00"),  # an hour back, for good
    ],
)
@pytest.mark.parametrize("rule", DayRule)
def test_nights_last_as_long_as_they_do(
    zone: str, night: tuple[int, int, int], shift_of: str, given: str, hours: str, rule: DayRule
) -> None:
    """Nobody is late or early by a change of the clocks, and what was scheduled is what there was to work."""
    shifts = roster("night", None, shifts=[shift(shift_of, "night")], anchor=dt.date(*night))
    days = compute(given, shifts, Policy(day_rule=rule), days=2, first=dt.date(*night), zone=zoneinfo.ZoneInfo(zone))
    whole = [sum(getattr(day, f"{name}_seconds") for day in days) for name in ("worked", "scheduled", "late", "early")]
    assert [hours, hours, "0:00", "0:00"] == [clock(seconds) for seconds in whole]


@pytest.mark.parametrize(
    ("zone", "night", "expected"),
    [
        ("America/Santiago", (2026, 9, 5), ["4:00", "3:00"]),  # the next day begins at 1:00
        ("America/Santiago", (2026, 4, 4), ["5:00", "4:00"]),  # the day has 25 hours
        ("Africa/Cairo", (2026, 4, 23), ["4:00", "3:00"]),
    ],
)
def test_a_day_without_a_midnight_is_split_where_it_begins(
    zone: str, night: tuple[int, int, int], expected: list[str]
) -> None:
    """From 20:00 to 4:00, where the clocks are changed at midnight."""
    shifts = roster("night", None, shifts=[shift("20:00-4:00", "night")], anchor=dt.date(*night))
    policy = Policy(day_rule=DayRule.SPLIT)
    days = compute("20:00 +1 4:00", shifts, policy, days=2, first=dt.date(*night), zone=zoneinfo.ZoneInfo(zone))
    assert expected == worked(days)


def test_nobody_is_absent_from_what_is_not_over() -> None:
    """Frappe HRMS: absences only for shifts whose windows are closed at the last reading of the devices."""
    days = compute("", NIGHTS, days=2, as_of=at("+1 7:00"))
    assert [Status.EXPECTED, Status.EXPECTED] == [day.status for day in days]
    assert Status.ABSENT is compute("", NIGHTS, days=2, as_of=at("+1 7:00:01"))[0].status


def test_a_flexible_day_has_hours_to_make_and_overtime_above_them() -> None:
    """Odoo: no fixed times, so many hours a day."""
    flexible = roster("flex", shifts=[FlexibleShift(code="flex", required_seconds=7 * HOUR)])
    day = compute_day("7:00 11:00 13:00 17:30", flexible, policy=rules(over_schedule=True), as_of=LATER)
    assert ("8:30", {Overtime.OVER_SCHEDULE: 90 * MINUTE}) == (clock(day.worked_seconds), dict(day.overtime))
