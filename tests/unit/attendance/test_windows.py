"""Which shift a punch belongs to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from backend.domain.attendance.day import Anomaly, Fate, Status
from backend.domain.attendance.policies import Hours, Policy
from backend.domain.attendance.shifts import FlexibleShift, Roster, Shift
from backend.errors import ConfigurationError
from tests.support.attendance import (
    FREE,
    NIGHTS,
    NINE_TO_FIVE,
    OFFICE_WEEK,
    clock,
    compute,
    compute_day,
    every_day,
    fates,
    roster,
    shift,
    times,
)

SATURDAY = dt.date(2026, 6, 6)


@pytest.mark.parametrize(
    ("punch", "belongs"),
    [
        ("7:59:59", False),
        ("8:00", True),
        ("12:00", True),
        ("18:00", True),
        ("18:00:01", False),
    ],
)
def test_a_window_reaches_an_hour_before_and_after_inclusive(punch: str, belongs: bool) -> None:
    """A punch belongs to a shift from 60 minutes before its start to 60 minutes after its end."""
    [use] = compute_day(punch).punches
    assert belongs == (use.fate is not Fate.OUTSIDE_WINDOWS)


def test_windows_are_a_matter_of_the_shift() -> None:
    """Check-in and check-out windows are set one by one."""
    day = compute_day(
        "6:30 19:30", every_day("9:00-17:00", check_in_window_seconds=9000, check_out_window_seconds=9000)
    )
    assert "13:00" == clock(day.worked_seconds)


def test_a_punch_outside_is_kept_and_reported() -> None:
    """It is listed with its reason, and counts no hours."""
    day = compute_day("3:00 9:00 17:00")
    assert ["03:00 outside_windows", "09:00 check_in", "17:00 check_out"] == fates(day)
    assert (Anomaly.OUTSIDE_WINDOWS,) == day.anomalies
    assert "8:00" == clock(day.worked_seconds)


# Two shifts on one day, whose windows overlap around 13:00-13:30.
SPLIT_SHIFT = roster(("early", "late"), shifts=[shift("9:00-13:00", "early"), shift("13:30-17:30", "late")])
ADJACENT = roster(("early", "late"), shifts=[shift("9:00-13:00", "early"), shift("13:00-17:00", "late")])


@pytest.mark.parametrize(
    ("shifts", "given", "expected"),
    [
        # The second window would open at 12:30, but the first shift lasts until 13:00: the tie is the earlier one's.
        (SPLIT_SHIFT, "9:00 13:00 13:20 17:30", ["check_in", "check_out", "check_in", "check_out"]),
        (SPLIT_SHIFT, "9:00 13:01", ["open_in", "open_in"]),
        (ADJACENT, "9:00 13:00", ["check_in", "check_out"]),
        (ADJACENT, "9:00 13:00:01", ["open_in", "open_in"]),
        (
            ADJACENT,
            "9:00 12:30 12:45 13:00 13:02 17:00",
            ["check_in", "break_start", "break_end", "check_out", "check_in", "check_out"],
        ),
    ],
)
def test_the_next_window_opens_when_the_shift_before_has_ended(shifts: Roster, given: str, expected: list[str]) -> None:
    """It opens at the later one of that shift's end and its own opening."""
    day = compute_day(given, shifts)
    assert expected == [use.fate for use in day.punches]


def test_a_night_shift_is_one_day() -> None:
    """A shift that starts later than it ends goes on to the next day, and is of the day on which it starts."""
    days = compute("21:50 +1 6:10, +1 22:00 +2 6:00", NIGHTS, days=2)
    assert ["8:20", "8:00"] == [clock(day.worked_seconds) for day in days]


def test_a_shift_just_after_midnight_takes_punches_of_the_day_before() -> None:
    """Its window opens on the evening before; the punches are its own all the same."""
    days = compute("+1 23:40 +2 8:00", every_day("0:15-8:15"), days=3)
    assert [Status.ABSENT, Status.ABSENT, Status.PRESENT] == [day.status for day in days]
    assert ["23:40 check_in", "08:00 check_out"] == fates(days[2])
    assert 0 == days[2].late_seconds


def test_versions_change_the_times_by_date() -> None:
    """From its first date on, a version replaces the one before."""
    shifts = roster(
        "day",
        shifts=[Shift(code="day", versions=(times("9:00-17:00"), times("7:00-15:00", valid_from=dt.date(2026, 6, 2))))],
    )
    days = compute("9:00 17:00, +1 7:00 +1 15:00", shifts, days=2)
    assert ["8:00", "8:00"] == [clock(day.worked_seconds) for day in days]


def test_before_its_first_version_a_shift_is_not_worked() -> None:
    """The day is a rest day until then."""
    shifts = roster("day", shifts=[shift("9:00-17:00", valid_from=dt.date(2026, 6, 2))])
    assert [Status.REST_DAY, Status.ABSENT] == [day.status for day in compute("", shifts, days=2)]


def test_four_on_two_off() -> None:
    """A pattern repeats from its anchor, and before it."""
    cycle = roster("day", "day", "day", "day", None, None, shifts=[shift("9:00-17:00")])
    days = compute("", cycle, days=8, first=dt.date(2026, 5, 30))
    assert "RRAAAARR" == "".join(day.status[0].upper() for day in days)


def test_weeks_rotate() -> None:
    """A cycle of two weeks has an early one and a late one."""
    early, late = shift("6:00-14:00", "early"), shift("14:00-22:00", "late")
    cycle = roster(*["early"] * 5, None, None, *["late"] * 5, None, None, shifts=[early, late])
    days = compute("", cycle, days=15)
    assert [*["early"] * 5, "", "", *["late"] * 5, "", "", "early"] == [day.shift_code for day in days]


# --- without a schedule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("9:00 17:00", ["8:00", "0:00"]),
        ("22:00 +1 6:00", ["8:00", "0:00"]),  # of the day on which it begins
        ("9:00 12:00 13:00 17:00", ["7:00", "0:00"]),
        ("6:00 10:00 14:00 18:00", ["8:00", "0:00"]),  # four hours off: another shift, of the same day
        ("20:00 +1 0:00, +1 4:00 +1 8:00", ["4:00", "4:00"]),
        ("20:00 +1 0:00, +1 3:59 +1 8:00", ["8:01", "0:00"]),
        ("20:00 +1 12:00", ["16:00", "0:00"]),
        ("20:00 +1 12:01", ["0:00", "0:00"]),  # longer than a shift may be: two check-ins
    ],
)
def test_free_work_groups_into_shifts(given: str, expected: list[str]) -> None:
    """Four hours off, or 16 hours in all, begin a new shift."""
    assert expected == [clock(day.worked_seconds) for day in compute(given, FREE, days=2)]


def test_the_group_limits_are_a_matter_of_policy() -> None:
    """Minimum time off and maximum length can be set."""
    policy = Policy(minimum_time_off_seconds=3600, maximum_shift_seconds=7200, hours=Hours.FIRST_TO_LAST)
    assert "2:00" == clock(compute_day("9:00 10:00 11:00 12:00", FREE, policy=policy).worked_seconds)


def test_work_on_a_rest_day_needs_no_window() -> None:
    """On a day without a shift punches group freely."""
    day = compute_day("4:00 10:00", OFFICE_WEEK, first=SATURDAY)
    assert ("6:00", Status.PRESENT, (Anomaly.WORKED_ON_REST_DAY,)) == (
        clock(day.worked_seconds),
        day.status,
        day.anomalies,
    )


def test_a_flexible_shift_requires_hours_and_no_times() -> None:
    """Somebody who does not come is absent; somebody who comes at any time is not late."""
    shifts = roster("flex", "flex", "flex", None, shifts=[FlexibleShift(code="flex", required_seconds=8 * 3600)])
    days = compute("11:00 20:00", shifts, days=4)
    assert [Status.PRESENT, Status.ABSENT, Status.ABSENT, Status.REST_DAY] == [day.status for day in days]
    assert ["8:00", "8:00", "8:00", "0:00"] == [clock(day.expected_seconds) for day in days]
    assert 0 == days[0].late_seconds


def test_no_schedule_knows_no_absence() -> None:
    """Without a schedule, a day without a punch is just that."""
    assert Status.NOT_SCHEDULED is compute_day("", FREE).status


# --- shifts that cannot be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: shift("9:00-9:00"), "no time at all"),
        (lambda: shift("8:00-7:00"), "longer than 24 hours with its windows"),
        (lambda: shift("9:00-17:00", check_in_window_seconds=-1), "negative"),
        (lambda: shift("9:00-10:00", unpaid_break_seconds=3600), "as long as the shift"),
        (lambda: shift("9:00-17:00", break_windows=((dt.time(18), dt.time(19)),)), "not within the shift"),
        (lambda: Shift(code="s", versions=()), "at least one version"),
        (lambda: FlexibleShift(code="s", required_seconds=90_000), "a day has 0 to 86400 s"),
        (lambda: Shift(code="s", versions=(times("9:00-17:00"), times("8:00-16:00"))), "earliest first"),
    ],
)
def test_impossible_shifts_are_refused(make: Callable[[], object], message: str) -> None:
    """The message says which shift, what is wrong and what to do."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_neighbours_do_not_take_each_others_punches() -> None:
    """A day is the same with and without punches of the days around it."""
    alone = compute_day("+1 9:00 +1 17:00", NINE_TO_FIVE, days=2)
    assert Status.ABSENT is alone.status
