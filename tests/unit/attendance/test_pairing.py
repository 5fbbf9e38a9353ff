"""From punches to hours: duplicates, pairs, missing punches, breaks and rounding."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from backend.domain.attendance.day import Anomaly, Fate, Status
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
from backend.errors import ConfigurationError
from tests.support.attendance import FREE, NIGHTS, NINE_TO_FIVE, at, clock, compute_day, every_day, fates

ALTERNATING, STRICT = Pairing.ALTERNATING, Pairing.BY_DIRECTION
SPAN, PAIRS = Hours.FIRST_TO_LAST, Hours.EVERY_PAIR
MINUTE = 60


@pytest.mark.parametrize(
    ("pairing", "hours", "given", "worked", "anomalies"),
    [
        (ALTERNATING, PAIRS, "9:00 17:00", "8:00", ""),
        (ALTERNATING, PAIRS, "9:00 12:00 13:00 17:00", "7:00", ""),
        (ALTERNATING, PAIRS, "9:00i 12:00i 13:00i 17:00i", "7:00", ""),  # directions say nothing here
        (ALTERNATING, PAIRS, "9:00", "0:00", "missing_out"),
        (ALTERNATING, PAIRS, "9:00 12:00 13:00", "3:00", "missing_out"),
        (ALTERNATING, SPAN, "9:00 17:00", "8:00", ""),
        (ALTERNATING, SPAN, "9:00 12:00 13:00 17:00", "8:00", ""),
        (ALTERNATING, SPAN, "9:00 12:00 17:00", "8:00", "missing_out"),
        (ALTERNATING, SPAN, "9:00", "0:00", "missing_out"),
        (STRICT, PAIRS, "9:00i 12:00o 13:00i 17:00o", "7:00", ""),
        (STRICT, PAIRS, "9:00i 9:30i 17:00o", "8:00", "repeated_in"),
        (STRICT, PAIRS, "9:00i 16:00o 17:00o", "7:00", "out_without_in"),
        (STRICT, PAIRS, "9:00o 10:00i 17:00o", "7:00", "missing_in"),
        (STRICT, PAIRS, "17:00o", "0:00", "missing_in"),
        (STRICT, PAIRS, "9:00i", "0:00", "missing_out"),
        (STRICT, PAIRS, "9:00i 12:00 17:00o", "8:00", "no_direction"),
        (STRICT, PAIRS, "9:00i 12:00bs 13:00be 17:00o", "7:00", ""),
        (STRICT, SPAN, "9:00i 12:00o 13:00i 17:00o", "8:00", ""),
        (STRICT, SPAN, "9:00i 16:00o 17:00o", "8:00", ""),  # the last out counts
        (STRICT, SPAN, "9:00i 12:00bs 13:00be 17:00o", "7:00", ""),
    ],
)
def test_pairs_and_hours(pairing: Pairing, hours: Hours, given: str, worked: str, anomalies: str) -> None:
    """What is paired with what, what it counts, and what is reported."""
    day = compute_day(given, policy=Policy(pairing=pairing, hours=hours))
    assert (worked, anomalies.split()) == (clock(day.worked_seconds), list(day.anomalies))


def test_each_punch_says_what_became_of_it() -> None:
    """A code and a sentence."""
    day = compute_day("9:00i 9:00:20i 10:00i 12:00o 12:30o 13:00i", policy=Policy(pairing=STRICT))
    assert [
        "09:00 check_in",
        "09:00 duplicate",
        "10:00 repeated_in",
        "12:00 check_out",
        "12:30 out_without_in",
        "13:00 open_in",
    ] == fates(day)
    assert "A check-in without a check-out; it counts no hours." == day.punches[-1].sentence
    assert day.punches[0].punch.key == day.punches[1].same_as


def test_every_fate_and_anomaly_has_a_sentence() -> None:
    """None is left to a code."""
    assert all(item.sentence for item in (*Fate, *Anomaly))


@pytest.mark.parametrize(
    ("seconds", "given", "worked"),
    [
        (60, "9:00 9:01 17:00", "8:00"),  # inclusive
        (60, "9:00 9:01:01 17:00", "0:01:01"),
        (300, "9:00 9:04 17:00 17:03", "8:00"),
        (0, "9:00 9:00:01 17:00 17:00:01", "0:00:02"),
    ],
)
def test_punches_within_some_seconds_are_one(seconds: int, given: str, worked: str) -> None:
    """The first one counts."""
    day = compute_day(given, policy=Policy(duplicate_seconds=seconds, breaks=BreakRules(min_gap_seconds=0)))
    assert worked == clock(day.worked_seconds)


def test_duplicates_do_not_chain() -> None:
    """Seconds count from the punch that counts, not from the one before."""
    assert ["09:00 check_in", "09:00 duplicate", "09:01 check_out"] == fates(compute_day("9:00 9:00:50 9:01:40"))


# --- missing punches --------------------------------------------------------------------------------------------------


def test_a_missing_check_out_is_not_invented() -> None:
    """It is reported, and counts no hours."""
    day = compute_day("9:00")
    assert (0, None, (Anomaly.MISSING_OUT,)) == (day.worked_seconds, day.last_out_at, day.anomalies)
    assert Status.PRESENT is day.status


@pytest.mark.parametrize(
    ("given", "worked"), [("9:00", "8:00"), ("9:00 12:00 13:00", "7:00"), ("17:30", "0:00"), ("9:00 17:00", "8:00")]
)
def test_a_policy_can_check_out_at_the_end_of_the_shift(given: str, worked: str) -> None:
    """Who came after the end is not checked out before the check-in."""
    assert worked == clock(compute_day(given, policy=Policy(auto_check_out=True)).worked_seconds)


def test_an_automatic_check_out_is_reported() -> None:
    """The day says that it is the policy's."""
    day = compute_day("9:00", policy=Policy(auto_check_out=True))
    assert (Anomaly.AUTO_CHECKED_OUT, Anomaly.MISSING_OUT) == day.anomalies
    assert at("17:00") == day.last_out_at


def test_without_a_schedule_it_is_some_time_after_the_check_in() -> None:
    """There is no end of a shift."""
    day = compute_day("9:00", FREE, policy=Policy(auto_check_out_after_seconds=8 * 3600))
    assert "8:00" == clock(day.worked_seconds)


# --- breaks -----------------------------------------------------------------------------------------------------------

GERMAN = (
    AutoBreak(after_seconds=6 * 3600, deduct_seconds=1800),
    AutoBreak(after_seconds=9 * 3600, deduct_seconds=2700),
)


@pytest.mark.parametrize(
    ("rules", "given", "worked", "taken", "deducted"),
    [
        (BreakRules(), "9:00 12:00 13:00 17:00", "7:00", "1:00", "0:00"),
        (BreakRules(deductions=GERMAN), "9:00 14:59", "5:59", "0:00", "0:00"),
        (BreakRules(deductions=GERMAN), "9:00 15:00", "5:30", "0:00", "0:30"),
        (BreakRules(deductions=GERMAN), "8:30 17:30", "8:15", "0:00", "0:45"),
        (BreakRules(deductions=GERMAN), "9:00 12:00 12:20 17:00", "7:10", "0:20", "0:30"),
        (BreakRules(deductions=GERMAN, count_taken=True), "9:00 12:00 12:20 17:00", "7:30", "0:20", "0:10"),
        (BreakRules(deductions=GERMAN, count_taken=True), "9:00 12:00 13:00 17:00", "7:00", "1:00", "0:00"),
        (BreakRules(min_gap_seconds=900), "9:00 12:00 12:10 17:00", "7:50", "0:00", "0:00"),
        (BreakRules(min_gap_seconds=900), "9:00 12:00 12:15 17:00", "7:45", "0:15", "0:00"),
        (BreakRules(max_gap_seconds=3600), "9:00 12:00 13:01 17:00", "6:59", "0:00", "0:00"),
        (BreakRules(in_windows=True), "9:00 12:10 13:05 17:00", "7:05", "0:55", "0:00"),
        (BreakRules(in_windows=True), "9:00 14:00 14:30 17:00", "7:30", "0:00", "0:00"),
        (BreakRules(in_windows=True, max_gap_seconds=600), "9:00 14:00 14:10 17:00", "7:50", "0:10", "0:00"),
    ],
)
def test_breaks(rules: BreakRules, given: str, worked: str, taken: str, deducted: str) -> None:
    """A gap is a break by its length, by a window, or in any case; the policy may take off more."""
    shifts = every_day("9:00-17:00", break_windows=((dt.time(12), dt.time(13)),))
    day = compute_day(given, shifts, policy=Policy(breaks=rules))
    assert (worked, taken, deducted) == tuple(map(clock, (day.worked_seconds, day.break_seconds, day.deducted_seconds)))


@pytest.mark.parametrize(
    ("given", "rules", "worked"),
    [
        ("9:00 12:00 13:00 17:00", BreakRules(), "8:00"),
        ("9:00 12:00bs 13:00be 17:00", BreakRules(), "7:00"),
        ("9:00 12:00 13:00 17:00", BreakRules(min_gap_seconds=1800), "7:00"),
        ("9:00 12:00 12:05 17:00", BreakRules(min_gap_seconds=1800), "8:00"),
    ],
)
def test_from_first_to_last_only_breaks_are_off(given: str, rules: BreakRules, worked: str) -> None:
    """A gap that is no break is worked."""
    assert worked == clock(compute_day(given, policy=Policy(hours=SPAN, breaks=rules)).worked_seconds)


def test_a_break_window_of_a_night_shift_is_after_midnight() -> None:
    """02:00 is on the next day."""
    shifts = every_day("22:00-6:00", break_windows=((dt.time(2), dt.time(3)),))
    day = compute_day("22:00 +1 2:10 +1 2:40 +1 6:00", shifts, policy=Policy(breaks=BreakRules(in_windows=True)))
    assert 1800 == day.break_seconds


# --- rounding ---------------------------------------------------------------------------------------------------------

FLOOR, CEIL, NEAREST = RoundingMode.FLOOR, RoundingMode.CEIL, RoundingMode.NEAREST
QUARTER = 15 * MINUTE


@pytest.mark.parametrize(
    ("rounding", "given", "worked"),
    [
        (Rounding(unit_seconds=QUARTER, mode=FLOOR), "9:14 17:00", "8:00"),
        (Rounding(unit_seconds=QUARTER, mode=CEIL), "9:01 17:00", "7:45"),
        (Rounding(unit_seconds=QUARTER, mode=NEAREST), "9:07 17:00", "8:00"),
        (Rounding(unit_seconds=QUARTER, mode=NEAREST), "9:07:30 17:00", "7:45"),
        (Rounding(unit_seconds=QUARTER, mode=CEIL, grace_seconds=300), "9:05 17:00", "8:00"),
        (Rounding(unit_seconds=QUARTER, mode=CEIL, grace_seconds=300), "9:06 17:00", "7:45"),
        (Rounding(unit_seconds=QUARTER, mode=FLOOR, grace_seconds=300), "9:10 17:00", "7:45"),
        (Rounding(unit_seconds=QUARTER, mode=FLOOR, grace_seconds=300), "9:09 17:00", "8:00"),
        (Rounding(window_seconds=600), "8:50 17:00", "8:00"),
        (Rounding(window_seconds=600), "9:10 17:00", "8:00"),
        (Rounding(window_seconds=600), "9:11 17:00", "7:49"),
        (Rounding(unit_seconds=300, mode=FLOOR, window_seconds=600), "9:09 17:00", "7:55"),
        (Rounding(unit_seconds=300, mode=FLOOR, window_seconds=600), "9:11 17:00", "7:49"),
        (Rounding(unit_seconds=5 * 3600, mode=FLOOR), "9:30 17:00", "9:00"),  # the window of the shift is the limit
        (Rounding(unit_seconds=QUARTER, mode=CEIL), "9:01 9:05 10:00 17:00", "7:00"),  # never beyond its check-out
    ],
)
def test_the_check_in_is_rounded(rounding: Rounding, given: str, worked: str) -> None:
    """Down, up, to the nearest unit, with a grace, or only near the start of the shift."""
    assert worked == clock(compute_day(given, policy=Policy(round_in=rounding)).worked_seconds)


@pytest.mark.parametrize(
    ("rounding", "given", "worked"),
    [
        (Rounding(unit_seconds=QUARTER, mode=FLOOR), "9:00 17:14", "8:00"),
        (Rounding(unit_seconds=QUARTER, mode=CEIL), "9:00 17:01", "8:15"),
        (Rounding(unit_seconds=QUARTER, mode=FLOOR, grace_seconds=300), "9:00 17:10", "8:15"),
        (Rounding(window_seconds=900), "9:00 17:12", "8:00"),
        (Rounding(window_seconds=900), "9:00 17:16", "8:16"),
        (Rounding(unit_seconds=5 * 3600, mode=CEIL), "9:00 17:50", "9:00"),  # the window of the shift is the limit
    ],
)
def test_the_check_out_is_rounded(rounding: Rounding, given: str, worked: str) -> None:
    """By rules of its own."""
    assert worked == clock(compute_day(given, policy=Policy(round_out=rounding)).worked_seconds)


@pytest.mark.parametrize(("mode", "worked"), [(FLOOR, "7:45"), (CEIL, "8:00"), (NEAREST, "7:45")])
def test_the_total_is_rounded(mode: RoundingMode, worked: str) -> None:
    """The day says by how much."""
    day = compute_day("9:00 16:50", policy=Policy(round_total=Rounding(unit_seconds=QUARTER, mode=mode)))
    assert (worked, day.worked_seconds - 28_200) == (clock(day.worked_seconds), day.rounding_seconds)


def test_a_punch_shows_the_time_that_counts() -> None:
    """Its own time stays."""
    day = compute_day("9:07 17:00", policy=Policy(round_in=Rounding(unit_seconds=QUARTER, mode=CEIL)))
    assert (at("9:07"), at("9:15")) == (day.first_in_at, day.punches[0].counted_at)
    assert day.punches[1].counted_at is None


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("night", "scheduled"),
    [(dt.date(2026, 3, 28), "7:00"), (dt.date(2026, 10, 24), "9:00"), (dt.date(2026, 6, 1), "8:00")],
)
def test_a_night_of_a_clock_change_is_as_long_as_it_is(night: dt.date, scheduled: str) -> None:
    """From 22:00 to 6:00 on the clock, one hour less or more went by."""
    day = compute_day("22:00 +1 6:00", NIGHTS, first=night)
    assert (scheduled, scheduled) == (clock(day.scheduled_seconds), clock(day.worked_seconds))
    assert (0, 0) == (day.late_seconds, day.early_seconds)


@pytest.mark.parametrize("rule", DayRule)
@pytest.mark.parametrize("hours", ["2:00-3:00", "2:30-3:00"])
def test_a_shift_that_the_clocks_leave_out_lasts_no_time(rule: DayRule, hours: str) -> None:
    """From 2:00 to 3:00 there was nothing to work in that night, and nothing to miss."""
    night = dt.date(2026, 3, 29)
    day = compute_day("3:05", every_day(hours), first=night, policy=Policy(day_rule=rule))
    assert (0, 0) == (day.scheduled_seconds, day.early_seconds)


def test_a_day_is_that_of_the_place_of_work() -> None:
    """The same instants are another date elsewhere."""
    tokyo, los_angeles = dt.timezone(dt.timedelta(hours=9)), dt.timezone(dt.timedelta(hours=-8))
    for zone in (tokyo, los_angeles):
        assert "8:00" == clock(compute_day("9:00 17:00", NINE_TO_FIVE, zone=zone).worked_seconds)


# --- policies that contradict themselves ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"absent_below_seconds": 4, "half_day_below_seconds": 3}, "nobody could have a half day"),
        ({"duplicate_seconds": -1}, "duplicate_seconds is -1"),
        ({"minimum_time_off_seconds": 7200, "maximum_shift_seconds": 3600}, "above minimum_time_off_seconds"),
        ({"auto_check_out_after_seconds": 80_000}, "above maximum_shift_seconds"),
        ({"breaks": BreakRules(min_gap_seconds=9, max_gap_seconds=3)}, "no gap would be a break"),
        ({"breaks": BreakRules(deductions=(AutoBreak(after_seconds=60, deduct_seconds=90),))}, "longer than the work"),
        ({"round_in": Rounding(unit_seconds=60, grace_seconds=60, mode=FLOOR)}, "round_in: grace_seconds"),
        ({"round_out": Rounding(unit_seconds=60, grace_seconds=6)}, "no meaning when rounding to the nearest"),
        ({"round_in": Rounding(unit_seconds=90_000)}, "it goes from 0 to 21600"),
        ({"overtime": OvertimeRules(week_starts_on=7)}, "week_starts_on is 7"),
        ({"overtime": OvertimeRules(weekly_limit_seconds=700_000)}, "longer than a week"),
        ({"round_total": Rounding(window_seconds=6)}, "round_total: window_seconds"),
    ],
)
def test_contradictions_are_refused(rules: dict[str, Any], message: str) -> None:
    """The message names the policy and the rule."""
    with pytest.raises(ConfigurationError, match=message):
        Policy(**rules)
