"""Which shift a punch belongs to: the windows of the shifts in time, and groups of punches without a shift. Pure."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backend.domain.attendance.day import ShiftSpan, WorkPunch
from backend.domain.attendance.policies import Pairing, Policy
from backend.domain.attendance.shifts import DayPlan, Roster, ShiftTimes
from backend.domain.attendance.wall_clock import ONE_DAY, date_at, second_at, to_instant
from backend.domain.punches import Direction

Event = tuple[int, WorkPunch]
"""The second of a punch, and the punch."""

INS = frozenset({Direction.IN, Direction.BREAK_END, Direction.OVERTIME_IN})


class Slot(NamedTuple):
    """A shift on a date, or a group of punches without one; in Unix seconds.

    Attributes:
        span: None: without a shift; `starts` and `ends` are then the first and the last punch.
        opens: punches from here on belong to it, unless they belong to the one before.
        closes: inclusive.
        net_seconds: the scheduled working time.
        break_windows: from and to.
    """

    work_on: dt.date
    starts: int
    ends: int
    opens: int
    closes: int
    midnight: int
    span: ShiftSpan | None = None
    net_seconds: int = 0
    break_windows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """Everything that is scheduled from one date to another.

    Attributes:
        slots: ascending by their start; their windows do not overlap.
    """

    plans: dict[dt.date, DayPlan]
    slots: tuple[Slot, ...]


@functools.lru_cache(maxsize=128)
def plan_timetable(roster: Roster, zone: dt.tzinfo, first: dt.date, last: dt.date) -> Timetable:
    """The plans and the windows from `first` to `last`; at both ends two more days meet their neighbours.

    Worked out once for everybody who shares the roster; callers do not change it.
    """
    plans: dict[dt.date, DayPlan] = {}
    found: list[Slot] = []
    day = first - 2 * ONE_DAY
    while day <= last + 2 * ONE_DAY:
        plan = plans[day] = roster.plan_on(day)
        found.extend(_place(zone, day, code, times) for code, times in plan.shifts)
        day += ONE_DAY
    found.sort(key=lambda slot: (slot.starts, slot.ends))
    return Timetable(plans=plans, slots=tuple(_part(found)))


# Rosters differ, shifts on a date seldom do.
@functools.lru_cache(maxsize=8192)
def _place(zone: dt.tzinfo, day: dt.date, code: str, times: ShiftTimes) -> Slot:
    starts = second_at(zone, day, times.dial_start)
    ends = max(starts, second_at(zone, day, times.dial_end))  # a clock change can leave nothing of a short shift
    opens, closes = starts - times.check_in_window_seconds, ends + times.check_out_window_seconds
    return Slot(
        work_on=day,
        starts=starts,
        ends=ends,
        opens=opens,
        closes=closes,
        midnight=second_at(zone, day, 0),
        span=ShiftSpan(code, to_instant(starts), to_instant(ends), to_instant(opens), to_instant(closes)),
        net_seconds=max(ends - starts - times.unpaid_break_seconds, 0),
        break_windows=tuple(
            (second_at(zone, day, opens), second_at(zone, day, closes)) for opens, closes in times.dial_break_windows()
        ),
    )


def _part(slots: Sequence[Slot]) -> list[Slot]:
    """The windows without overlaps: the next one opens when the shift before has ended, or later."""
    parted: list[Slot] = []
    latest_end: int | None = None
    for slot in slots:
        opens = slot.opens if latest_end is None else max(slot.opens, latest_end)
        if parted and parted[-1].closes >= opens:
            parted[-1] = _with_window(parted[-1], parted[-1].opens, opens)
        parted.append(_with_window(slot, opens, slot.closes))
        latest_end = slot.ends if latest_end is None else max(latest_end, slot.ends)
    return parted


def _with_window(slot: Slot, opens: int, closes: int) -> Slot:
    if (opens, closes) == (slot.opens, slot.closes) or slot.span is None:
        return slot
    span = slot.span._replace(opens_at=to_instant(opens), closes_at=to_instant(closes))
    return slot._replace(opens=opens, closes=closes, span=span)


def drop_duplicates(events: Sequence[Event], seconds: int) -> tuple[list[Event], list[tuple[Event, WorkPunch]]]:
    """The punches that count, and those that repeat one, each with the one that it repeats.

    Args:
        events: ascending.
        seconds: how long after a punch that counts another one is the same, inclusive.
    """
    kept: list[Event] = []
    repeated: list[tuple[Event, WorkPunch]] = []
    latest = None
    for event in events:
        if latest is not None and event[0] - latest <= seconds:
            repeated.append((event, kept[-1][1]))
        else:
            kept.append(event)
            latest = event[0]
    return kept, repeated


def sort_into(slots: Sequence[Slot], events: Sequence[Event]) -> tuple[list[list[Event]], list[tuple[int, Event]]]:
    """The punches of each slot, and those outside, each with the number of slots that are before it.

    Where one window ends as the next begins, the earlier shift wins.
    """
    inside: list[list[Event]] = [[] for _ in slots]
    outside: list[tuple[int, Event]] = []
    place, count = 0, len(slots)
    for event in events:
        second = event[0]
        while place < count and slots[place].closes < second:
            place += 1
        if place < count and slots[place].opens <= second:
            inside[place].append(event)
        else:
            outside.append((place, event))
    return inside, outside


def group_freely(
    outside: Sequence[tuple[int, Event]], slots: Sequence[Slot], policy: Policy, zone: dt.tzinfo
) -> list[tuple[Slot, list[Event]]]:
    """The punches outside of all windows as shifts of their own.

    A new one begins after the minimum time off, when the maximum length is over, and where a scheduled shift lies
    between.
    """
    groups: list[_Group] = []
    by_direction = policy.pairing is Pairing.BY_DIRECTION
    for place, event in outside:
        second, punch = event
        group = groups[-1] if groups else None
        comes_in = punch.direction in INS if by_direction else group is None or not group.is_in
        if (
            group is None
            or group.place != place
            or second - group.events[0][0] > policy.maximum_shift_seconds
            or (comes_in and second - group.events[-1][0] >= policy.minimum_time_off_seconds)
        ):
            groups.append(_Group(place, event, is_in=comes_in if by_direction else True))
        else:
            group.events.append(event)
            group.is_in = comes_in
    return [(_frame(groups, number, slots, policy, zone), group.events) for number, group in enumerate(groups)]


class _Group:
    """Punches without a shift.

    Attributes:
        place: how many slots are before it.
        is_in: whether the person is in after the last punch.
    """

    __slots__ = ("events", "is_in", "place")

    def __init__(self, place: int, event: Event, *, is_in: bool) -> None:
        self.place = place
        self.events = [event]
        self.is_in = is_in


def _frame(groups: Sequence[_Group], number: int, slots: Sequence[Slot], policy: Policy, zone: dt.tzinfo) -> Slot:
    """A group as a slot. Its window reaches half-way to the groups and windows beside it, and as far as it may grow."""
    group = groups[number]
    place, starts, ends = group.place, group.events[0][0], group.events[-1][0]
    opens = starts - policy.minimum_time_off_seconds
    closes = starts + policy.maximum_shift_seconds if group.is_in else ends + policy.minimum_time_off_seconds
    if number:
        opens = max(opens, (groups[number - 1].events[-1][0] + starts + 1) // 2)
    if number + 1 < len(groups):
        closes = min(closes, (ends + groups[number + 1].events[0][0]) // 2)
    if place:
        opens = max(opens, slots[place - 1].closes)
    if place < len(slots):
        closes = min(closes, max(slots[place].opens, ends))
    day = date_at(zone, starts)
    return Slot(work_on=day, starts=starts, ends=ends, opens=opens, closes=closes, midnight=second_at(zone, day, 0))
