"""What holds of attendance days whatever the punches, the shifts and the policy are."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import itertools
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.domain.attendance.calendars import Calendar, Employment, Holiday, Leave, group_holidays
from backend.domain.attendance.corrections import Action, PunchCorrection
from backend.domain.attendance.day import AttendanceDay, DayOverride, Fate, WorkPunch
from backend.domain.attendance.engine import compute_days, punches_needed
from backend.domain.attendance.grouping import group_freely
from backend.domain.attendance.pairing import measure
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
from backend.domain.attendance.shifts import FlexibleShift, Roster, RosterPart, Shift
from backend.domain.attendance.touching import Change, CorrectedPunch, RosterChange, days_touched_by
from backend.domain.attendance.wall_clock import second_at, to_second
from backend.domain.attendance.windows import assign, plan_timetable
from backend.domain.employees import DayPart
from backend.domain.punches import Direction
from tests.support.attendance import BERLIN, FREE, LATER, NIGHTS, NINE_TO_FIVE, OFFICE_WEEK, roster, shift

FIRST = dt.date(2026, 3, 26)  # around the night of a clock change
LAST = FIRST + dt.timedelta(days=5)
START = dt.datetime(2026, 3, 25, tzinfo=dt.UTC)
MODES = list(RoundingMode)
DAYS = [FIRST + dt.timedelta(days=number) for number in range(6)]

ONE_WEEK = dt.timedelta(days=7)
ALWAYS = Employment()

SHIFTS: list[Shift | FlexibleShift] = [
    shift("6:00-14:00", "early"),
    shift("14:00-22:00", "late"),
    shift("22:00-6:00", "night", unpaid_break_seconds=1800, break_windows=((dt.time(2), dt.time(3)),)),
    shift("0:15-8:00", "midnight"),
    shift("2:00-3:00", "gap"),  # on the clock only, in the night of the change
    FlexibleShift(code="flex", required_seconds=8 * 3600),
]
ROSTERS: list[Roster] = [
    FREE,
    NINE_TO_FIVE,
    NIGHTS,
    OFFICE_WEEK,
    roster("early", "late", "night", None, shifts=SHIFTS),
    roster("gap", shifts=SHIFTS),
    roster("night", "midnight", "flex", None, "early", shifts=SHIFTS),
    roster(("early", "late"), None, "midnight", "night", shifts=SHIFTS),
]
# Drawn as a whole: Hypothesis prefers simple values, and a policy whose rules are nearly all off finds nothing.
seeds = st.integers(0, 2**32)


def make_policy(seed: int) -> Policy:
    """Any rules that do not contradict each other."""
    pick = random.Random(seed).choice

    def rounding(*windows: int | None) -> Rounding:
        return Rounding(unit_seconds=pick([0, 900, 3600, 21_600]), mode=pick(MODES), window_seconds=pick(windows))

    return Policy(
        day_rule=pick(list(DayRule)),
        pairing=pick(list(Pairing)),
        hours=pick(list(Hours)),
        duplicate_seconds=pick([0, 60, 600]),
        late_grace_seconds=pick([0, 600]),
        absent_below_seconds=pick([0, 3600]),
        half_day_below_seconds=pick([0, 4 * 3600]),
        minimum_time_off_seconds=pick([4 * 3600, 3600, 14 * 3600]),
        maximum_shift_seconds=pick([16 * 3600, 24 * 3600]),
        auto_check_out=pick([True, False]),
        auto_check_out_after_seconds=pick([0, 4 * 3600]),
        unscheduled_work=pick([True, False]),
        rounded_lateness=pick([True, False]),
        round_in=rounding(None, None, 0, 900),
        round_out=rounding(None, None, 0, 900),
        round_total=rounding(None),
        breaks=BreakRules(
            min_gap_seconds=pick([None, None, 600]),
            in_windows=pick([True, False]),
            deductions=pick([(), (AutoBreak(after_seconds=14_400, deduct_seconds=1800),)]),
            count_taken=pick([True, False]),
            paid_seconds=pick([0, 900]),
        ),
        overtime=OvertimeRules(
            over_schedule=pick([True, False]),
            before_tolerance_seconds=pick([0, 900]),
            daily_limit_seconds=pick([None, 7 * 3600]),
            weekly_limit_seconds=pick([None, 20 * 3600]),
            on_rest_days=pick([True, False]),
            on_holidays=pick([True, False]),
            by_keys=pick([True, False]),
        ),
    )


def make_days(seed: int) -> list[WorkPunch]:
    """Some days of punches at the edges of shifts and of windows, where things go wrong, and close to one another."""
    draw = random.Random(seed)
    says = draw.choice([[None], [Direction.IN, Direction.OUT], list(Direction), [None, *Direction]])
    found = {}
    for day in range(draw.choice([1, 3, 8])):
        for _ in range(draw.choice([0, 2, 4, 6])):
            hour = draw.choice([0, 1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 14, 15, 17, 18, 20, 21, 22, 23])
            minute = 1440 * day + 60 * hour + draw.choice([0, 0, 0, 0, 1, -1, 5, 9, 15, 16, 30, 50])
            found[minute] = says[len(found) % len(says)] if len(says) == 2 else draw.choice(says)
    return [
        WorkPunch(f"p{number}", START + dt.timedelta(minutes=minute), found[minute])
        for number, minute in enumerate(sorted(found))
    ]


def make_chain(seed: int) -> list[WorkPunch]:
    """Weeks on end without a long rest, so that each punch depends on those before it; one or two are forgotten."""
    draw = random.Random(seed)
    gaps = draw.choice([[720, 720], [700, 740], [480, 960], [540, 900], [300, 300, 300, 540], [150, 200], [1000, 1000]])
    minute = draw.randrange(-30 * 1440, 0)
    found = []
    for number in range(draw.randrange(10, 100)):
        direction = draw.choice([Direction.IN, Direction.OUT, None])
        if draw.random() > 0.02:
            found.append(WorkPunch(f"c{number}", START + dt.timedelta(minutes=minute), direction))
        minute += gaps[number % len(gaps)] + draw.randrange(-9, 10)
    return found


policies = seeds.map(make_policy)
chains = seeds.map(make_chain)
minutes = st.one_of(
    st.integers(0, 8 * 24 * 60),
    st.builds(
        lambda hour, off: 60 * hour + off,
        st.integers(24, 24 * 5),
        st.sampled_from([0, 0, 0, 1, -1, 15, 16, 5, 50]),
    ),
)
punch_lists = st.one_of(
    st.lists(st.tuples(minutes, st.sampled_from([None, *Direction])), max_size=30, unique_by=lambda item: item[0]).map(
        lambda items: [
            WorkPunch(f"p{number}", START + dt.timedelta(minutes=minute), direction)
            for number, (minute, direction) in enumerate(items)
        ]
    ),
    seeds.map(make_days),
    seeds.map(make_days),
)
parts = st.sampled_from(DayPart)
holidays = st.builds(Holiday, holiday_on=st.sampled_from(DAYS), name=st.just("day"), day_part=parts)
leaves = st.builds(
    lambda day, days, part, hours: Leave(
        kind="leave", starts_on=day, ends_on=day + dt.timedelta(days=days), day_part=part, hours=hours
    ),
    st.sampled_from(DAYS),
    st.integers(0, 3),
    parts,
    st.sampled_from([None, None, 2.5]),
)
calendars = st.builds(
    lambda days, leave: Calendar(holidays=group_holidays(days), leaves=tuple(leave)),
    st.lists(holidays, max_size=2),
    st.lists(leaves, max_size=2),
)
rosters = st.sampled_from(ROSTERS)
employments = st.one_of(st.just(ALWAYS), st.sampled_from(DAYS).map(lambda day: Employment(periods=((None, day),))))
thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def compute(
    punches: list[WorkPunch],
    shifts: Roster,
    policy: Policy,
    calendar: Calendar | None = None,
    *,
    first: dt.date = FIRST,
    last: dt.date = LAST,
    as_of: dt.datetime = LATER,
    corrections: tuple[PunchCorrection, ...] = (),
    overrides: tuple[DayOverride, ...] = (),
    employment: Employment = ALWAYS,
) -> list[AttendanceDay]:
    return compute_days(
        punches,
        shifts,
        policy,
        calendar or Calendar(),
        employment,
        timezone=BERLIN,
        first=first,
        last=last,
        as_of=as_of,
        corrections=corrections,
        overrides=overrides,
    )


def results(days: list[AttendanceDay]) -> list[AttendanceDay]:
    """The days without their lists of punches."""
    return [dataclasses.replace(day, punches=()) for day in days]


@thorough
@given(punch_lists, rosters, policies, calendars, st.randoms(use_true_random=False))
def test_the_order_of_punches_does_not_matter(
    punches: list[WorkPunch], shifts: Roster, policy: Policy, calendar: Calendar, order: random.Random
) -> None:
    """The days are the same, to the last value; so they are when computed again."""
    shuffled = order.sample(punches, len(punches))
    expected = compute(punches, shifts, policy, calendar)
    assert expected == compute(shuffled, shifts, policy, calendar)
    assert expected == compute(punches, shifts, policy, calendar)


@thorough
@given(punch_lists, rosters, policies, calendars)
def test_duplicates_do_not_matter(punches: list[WorkPunch], shifts: Roster, policy: Policy, calendar: Calendar) -> None:
    """Every punch delivered twice changes nothing but the list of punches."""
    twice = [*punches, *(punch._replace(key=f"{punch.key}'") for punch in punches)]
    assert results(compute(punches, shifts, policy, calendar)) == results(compute(twice, shifts, policy, calendar))


@thorough
@given(punch_lists, rosters, policies, calendars)
def test_the_parts_are_the_whole(punches: list[WorkPunch], shifts: Roster, policy: Policy, calendar: Calendar) -> None:
    """Presence is work, breaks, absence and rounding; overtime is a part of the work; nothing is negative."""
    for day in compute(punches, shifts, policy, calendar):
        whole = day.worked_seconds + day.break_seconds + day.away_seconds + day.deducted_seconds - day.rounding_seconds
        assert day.presence_seconds == whole
        assert 0 <= day.overtime_seconds <= day.worked_seconds
        assert all(seconds > 0 for seconds in day.overtime.values())
        assert 0 <= day.expected_seconds <= day.scheduled_seconds
        assert day.scheduled_seconds >= day.leave_seconds >= 0
        named = ("worked", "break", "away", "deducted", "late", "early")
        assert all(getattr(day, f"{name}_seconds") >= 0 for name in named)


@thorough
@given(punch_lists, rosters, policies)
def test_no_time_is_counted_twice(punches: list[WorkPunch], shifts: Roster, policy: Policy) -> None:
    """The stretches of time of all shifts and groups lie one after another, rounding and automatic check-outs too."""
    slots = plan_timetable(shifts, BERLIN, FIRST, LAST).slots
    events = sorted((to_second(punch.punched_at), punch) for punch in punches)
    inside, outside, _ = assign(slots, events, policy)
    found = [*zip(slots, inside, strict=True), *group_freely(outside, slots, policy, BERLIN)]
    works = [measure(slot, its_events, policy, is_over=True) for slot, its_events in found]
    for work in works:
        assert all(end == start for (_, end, _), (start, _, _) in itertools.pairwise(work.tiles))
    tiles = sorted((start, end) for work in works for start, end, _ in work.tiles if end > start)
    assert all(start < end for start, end in tiles)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(tiles))


@thorough
@given(punch_lists, rosters, policies)
def test_a_split_date_holds_no_more_than_it_has(punches: list[WorkPunch], shifts: Roster, policy: Policy) -> None:
    """Nobody is there for longer than the date lasts: 23 hours on the day of the change to summer time."""
    for day in compute(punches, shifts, dataclasses.replace(policy, day_rule=DayRule.SPLIT)):
        lasts = second_at(BERLIN, day.work_on + dt.timedelta(days=1), 0) - second_at(BERLIN, day.work_on, 0)
        assert day.presence_seconds <= lasts


@thorough
@given(punch_lists, rosters, policies)
def test_every_punch_is_listed_once(punches: list[WorkPunch], shifts: Roster, policy: Policy) -> None:
    """Each has one fate, on one day, in the order of time."""
    days = compute(punches, shifts, policy, first=FIRST - dt.timedelta(days=3), last=LAST + dt.timedelta(days=5))
    assert sorted(punch.key for punch in punches) == sorted(use.punch.key for day in days for use in day.punches)
    for day in days:
        assert all(a.punch.punched_at <= b.punch.punched_at for a, b in itertools.pairwise(day.punches))


@thorough
@given(punch_lists, rosters, policies, calendars, st.sampled_from(DAYS))
def test_a_day_computed_alone_is_the_same(
    punches: list[WorkPunch], shifts: Roster, policy: Policy, calendar: Calendar, day: dt.date
) -> None:
    """Computing again what is touched gives what computing everything gives."""
    everything = {item.work_on: item for item in compute(punches, shifts, policy, calendar)}
    assert [everything[day]] == compute(punches, shifts, policy, calendar, first=day, last=day)


@thorough
@given(st.one_of(chains, punch_lists), rosters, policies, calendars, st.sampled_from(DAYS), st.booleans())
def test_a_day_needs_only_the_punches_asked_for(
    punches: list[WorkPunch], shifts: Roster, policy: Policy, calendar: Calendar, day: dt.date, by_roster: bool
) -> None:
    """Punches before and after `punches_needed` have no say, however long one follows on the other."""
    begin, end = punches_needed(policy, BERLIN, day, day, shifts if by_roster else None)
    some = [punch for punch in punches if begin <= punch.punched_at < end]
    expected = compute(punches, shifts, policy, calendar)[DAYS.index(day)]
    assert [expected] == compute(some, shifts, policy, calendar, first=day, last=day)


free_policies = seeds.map(
    lambda seed: Policy(
        day_rule=random.Random(seed).choice(list(DayRule)),
        pairing=random.Random(seed + 1).choice([Pairing.ALTERNATING, Pairing.ALTERNATING, Pairing.BY_DIRECTION]),
        maximum_shift_seconds=random.Random(seed + 2).choice([16, 16, 24]) * 3600,
    )
)
NIGHT_THEN_FREE = Roster(
    parts=(RosterPart(last_on=FIRST - dt.timedelta(days=9), pattern=NIGHTS.parts[0].pattern),), shifts=NIGHTS.shifts
)


@thorough
@given(chains, free_policies, st.sampled_from([FREE, FREE, NIGHT_THEN_FREE]), st.sampled_from(DAYS), st.booleans())
def test_free_work_needs_only_the_punches_asked_for(
    punches: list[WorkPunch], policy: Policy, shifts: Roster, day: dt.date, by_roster: bool
) -> None:
    """A chain of punches has a beginning that is certain, and it is near."""
    begin, end = punches_needed(policy, BERLIN, day, day, shifts if by_roster else None)
    some = [punch for punch in punches if begin <= punch.punched_at < end]
    whole = compute(punches, shifts, policy, first=FIRST - 5 * ONE_WEEK, last=LAST + 5 * ONE_WEEK)
    [expected] = [item for item in whole if item.work_on == day]
    assert [expected] == compute(some, shifts, policy, first=day, last=day)


@thorough
@given(chains, free_policies, st.sampled_from([FREE, FREE, NIGHT_THEN_FREE]), minutes)
def test_what_one_punch_of_free_work_touches_is_known(
    punches: list[WorkPunch], policy: Policy, shifts: Roster, minute: int
) -> None:
    """One more punch, or one fewer, changes no days but those that are named."""
    new = WorkPunch("new", START + dt.timedelta(minutes=minute), Direction.IN)
    first, last = FIRST - 5 * ONE_WEEK, LAST + 5 * ONE_WEEK
    before = compute(punches, shifts, policy, first=first, last=last)
    after = compute([*punches, new], shifts, policy, first=first, last=last)
    touched = days_touched_by(new, shifts, policy, Calendar(), timezone=BERLIN, first=first, last=last)
    assert {old.work_on for old, new in zip(before, after, strict=True) if old != new} <= set(touched)
    assert len(touched) <= 24


@thorough
@given(punch_lists, policies, st.sampled_from(DAYS))
def test_a_day_depends_on_the_punches_in_its_windows_only(
    punches: list[WorkPunch], policy: Policy, day: dt.date
) -> None:
    """Without those of other windows, a scheduled day has the same hours."""
    policy = dataclasses.replace(
        policy,
        day_rule=DayRule.START,
        overtime=dataclasses.replace(policy.overtime, weekly_limit_seconds=None),
        unscheduled_work=False,
    )
    [whole] = compute(punches, NIGHTS, policy, first=day, last=day)
    [span] = whole.shifts
    inside = [punch for punch in punches if span.opens_at <= punch.punched_at <= span.closes_at]
    [alone] = compute(inside, NIGHTS, policy, first=day, last=day)
    assert list(alone.punches) == [use for use in whole.punches if use.punch in inside]
    assert {use.fate for use in whole.punches if use.punch not in inside} <= {Fate.OUTSIDE_WINDOWS, Fate.DUPLICATE}
    assert dataclasses.replace(alone, punches=(), anomalies=()) == dataclasses.replace(whole, punches=(), anomalies=())


changes = st.one_of(
    st.tuples(minutes, st.sampled_from([None, *Direction])).map(
        lambda item: WorkPunch("new", START + dt.timedelta(minutes=item[0]), item[1])
    ),
    minutes.map(
        lambda minute: PunchCorrection(
            key="c",
            action=Action.EDIT,
            punch_key="p0",
            punched_at=START + dt.timedelta(minutes=minute),
            made_by="hr",
            reason="test",
        )
    ),
    rosters,
    holidays,
    leaves,
    st.sampled_from(DAYS).map(
        lambda day: DayOverride(key="o", work_on=day, worked_seconds=3600, made_by="hr", reason="test")
    ),
)


@thorough
@given(st.one_of(chains, punch_lists), rosters, policies, calendars, changes, employments)
def test_what_a_change_touches_is_known(
    punches: list[WorkPunch],
    shifts: Roster,
    policy: Policy,
    calendar: Calendar,
    item: WorkPunch | PunchCorrection | Roster | Holiday | Leave | DayOverride,
    employment: Employment,
) -> None:
    """No other day is different after it."""
    some_weeks = functools.partial(compute, first=FIRST - 4 * ONE_WEEK, last=LAST + 4 * ONE_WEEK, employment=employment)
    before = some_weeks(punches, shifts, policy, calendar)
    change: Change
    match item:
        case WorkPunch():
            change, after = item, some_weeks([*punches, item], shifts, policy, calendar)
        case PunchCorrection():
            change = CorrectedPunch(correction=item, punch=punches[0] if punches else None)
            item = dataclasses.replace(item, punch_key=punches[0].key if punches else "none")
            after = some_weeks(punches, shifts, policy, calendar, corrections=(item,))
        case Roster():
            change, after = RosterChange(before=shifts, after=item), some_weeks(punches, item, policy, calendar)
        case Holiday():
            both = group_holidays([*(one for days in calendar.holidays.values() for one in days), item])
            change, after = item, some_weeks(punches, shifts, policy, dataclasses.replace(calendar, holidays=both))
        case Leave():
            more = dataclasses.replace(calendar, leaves=(*calendar.leaves, item))
            change, after = item, some_weeks(punches, shifts, policy, more)
        case DayOverride():
            change, after = item, some_weeks(punches, shifts, policy, calendar, overrides=(item,))
    touched = days_touched_by(
        change,
        shifts,
        policy,
        calendar,
        timezone=BERLIN,
        first=FIRST - 4 * ONE_WEEK,
        last=LAST + 4 * ONE_WEEK,
    )
    different = [old.work_on for old, new in zip(before, after, strict=True) if old != new]
    assert set(different) <= set(touched)


@thorough
@given(punch_lists, rosters, policies)
def test_a_night_of_a_clock_change_counts_elapsed_time(
    punches: list[WorkPunch], shifts: Roster, policy: Policy
) -> None:
    """What is worked is never more than what really went by between the punches, in whatever zone one looks."""
    plain = dataclasses.replace(
        policy,
        round_in=Rounding(),
        round_out=Rounding(),
        round_total=Rounding(),
        auto_check_out=False,
        auto_check_out_after_seconds=0,
        day_rule=DayRule.START,
    )
    for day in compute(punches, shifts, plain):
        if day.worked_seconds:
            assert day.first_in_at is not None
            assert day.last_out_at is not None
            assert day.presence_seconds <= (day.last_out_at - day.first_in_at).total_seconds()
