"""A day as a text."""

from __future__ import annotations

import datetime as dt

import pytest

from backend.domain.attendance.calendars import Holiday, Leave
from backend.domain.attendance.corrections import Action, PunchCorrection
from backend.domain.attendance.day import DayOverride, Status
from backend.domain.attendance.explain import duration, explain
from backend.domain.attendance.policies import (
    AutoBreak,
    BreakRules,
    DayRule,
    Hours,
    OvertimeRules,
    Policy,
    Rounding,
    RoundingMode,
)
from tests.support.attendance import BERLIN, MONDAY, NIGHTS, at, calendar, compute, compute_day

RULES = Policy(
    round_in=Rounding(unit_seconds=900, mode=RoundingMode.CEIL),
    breaks=BreakRules(deductions=(AutoBreak(after_seconds=21_600, deduct_seconds=1800),), count_taken=True),
    overtime=OvertimeRules(daily_limit_seconds=7 * 3600),
)


def test_a_day_reads_like_a_report() -> None:
    """Shift, hours and where they went, then every punch and what became of it."""
    expected = """\
Monday, 2026-06-01: present (times of Europe/Berlin)
  Shift day from 09:00 to 17:00 (punches from 08:00 to 18:00 belong to it)
  In 09:10, out 17:30
  Worked 7 h 45 min of 8 h
    = 8 h 15 min there - 20 min of breaks - 10 min of break taken off by the policy
  Late by 10 min
  Overtime over the daily limit: 45 min
  Punches:
    03:00 Lies outside the check-in and check-out windows of every shift; it is ignored.
    09:10 The first check-in; hours count from here. It counts as 09:15.
    12:00 A break begins here.
    12:20 A break ends here.
    17:30 The last check-out; hours count up to here.
    17:30:30 The same punch once more; another one close to it counts.
  ! A punch lies outside the windows of every shift."""
    assert expected == explain(compute_day("3:00 9:10 12:00 12:20 17:30 17:30:30", policy=RULES), BERLIN)


def test_a_night_shows_dates_and_the_change_of_the_clocks() -> None:
    """A time of the next day says so."""
    text = explain(compute_day("22:00 +1 6:00", NIGHTS, first=dt.date(2026, 3, 28)), BERLIN)
    assert "In 22:00+01:00, out 06:00+02:00 (03-29)" in text
    assert "Worked 7 h of 7 h" in text
    assert "The clocks were changed meanwhile" in text


def test_a_night_that_is_cut_at_midnight_does_not_miss_punches() -> None:
    """The rest of it is the other date's."""
    days = compute("22:00 +1 6:00", NIGHTS, policy=Policy(day_rule=DayRule.SPLIT), days=2)
    first, second = (explain(day, BERLIN) for day in days)
    assert "In 22:00, out the day after" in first
    assert "In the day before, out 06:00" in second


def test_an_odd_punch_between_is_told_as_such() -> None:
    """Where hours count from the first to the last punch, the last one is the check-out, and something is missing."""
    text = explain(compute_day("9:00 12:00 17:00", policy=Policy(hours=Hours.FIRST_TO_LAST)), BERLIN)
    assert "! A punch is missing: their number is odd. The last one counts as the check-out." in text
    assert "! A check-out is missing." in explain(compute_day("9:00 12:00 17:00"), BERLIN)


def test_what_people_have_done_is_told() -> None:
    """Corrections and overrides with who and why."""
    added = PunchCorrection(key="c", action=Action.ADD, punched_at=at("17:00"), made_by="Ada", reason="forgot")
    override = DayOverride(key="o", work_on=MONDAY, status=Status.HALF_DAY, made_by="Bob", reason="agreed")
    text = explain(compute_day("9:00i", corrections=[added], overrides=[override]), BERLIN)
    assert "half a day" in text
    assert "09:00 [in] The first" in text
    assert "(added by hand - Ada: forgot)" in text
    assert "Set by Bob: agreed" in text


def test_holidays_leave_and_the_present_are_told() -> None:
    """Why nobody was expected, and that more may come."""
    off = calendar(
        Holiday(holiday_on=MONDAY, name="Whit Monday"),
        Leave(kind="care", starts_on=MONDAY, ends_on=MONDAY, hours=1.5),
    )
    text = explain(compute_day("", off=off, as_of=at("8:00")), BERLIN)
    assert "Holiday: Whit Monday" in text
    assert "Leave: care (1 h 30 min)" in text
    assert "more may come" in text
    half = calendar(Leave(kind="vacation", starts_on=MONDAY, ends_on=MONDAY))
    assert "Left 1 h early" in explain(compute_day("9:00 16:00"), BERLIN)
    assert "Leave took 8 h of 8 h" in explain(compute_day("", off=half), BERLIN)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 min"), (59, "59 s"), (3600, "1 h"), (27_030, "7 h 30 min 30 s"), (-90, "-1 min 30 s")]
)
def test_durations_are_written_for_people(seconds: int, text: str) -> None:
    """Only units that are there."""
    assert text == duration(seconds)
