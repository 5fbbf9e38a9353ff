"""Which shift a punch belongs to: the windows of the shifts in time, and which punches are one. Pure."""

from __future__ import annotations

import bisect
import datetime as dt
import functools
import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backend.domain.attendance.day import ShiftSpan, WorkPunch
from backend.domain.attendance.policies import Pairing, Policy
from backend.domain.attendance.shifts import DayPlan, Roster, ShiftTimes
from backend.domain.attendance.wall_clock import ONE_DAY, second_at, to_instant
from backend.domain.punches import Direction

Event = tuple[int, WorkPunch]
"""The second of a punch, and the punch."""

_second_of = operator.itemgetter(0)
INS = frozenset({Direction.IN, Direction.BREAK_END, Direction.OVERTIME_IN})


class Slot(NamedTuple):
    """A shift on a date, or a group of punches without one; in Unix seconds.

    Attributes:
        span: None: without a shift; `starts` and `ends` are then the first and the last punch.
        opens: punches from here on belong to it, unless they belong to the one before.
        closes: inclusive.
        net_seconds: the scheduled working time.
        before_seconds: that of the shifts of the date that start earlier, and `day_seconds` that of all of them.
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
    before_seconds: int = 0
    day_seconds: int = 0
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
        placed = [_place(zone, day, code, times) for code, times in plan.shifts]
        found.extend(placed if len(placed) < 2 else _share_day(placed))
        day += ONE_DAY
    found.sort(key=lambda slot: (slot.starts, slot.ends))
    return Timetable(plans=plans, slots=tuple(_part(found)))


def _share_day(slots: Sequence[Slot]) -> Iterator[Slot]:
    """Several shifts of one date, each with its place in the working time of the date."""
    before, whole = 0, sum(slot.net_seconds for slot in slots)
    for slot in sorted(slots, key=lambda slot: slot.starts):
        yield slot._replace(before_seconds=before, day_seconds=whole)
        before += slot.net_seconds


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
        net_seconds=(net := max(ends - starts - times.unpaid_break_seconds, 0)),
        day_seconds=net,
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


def drop_duplicates(
    events: Sequence[Event], seconds: int, *, by_direction: bool = False
) -> tuple[list[Event], list[tuple[Event, WorkPunch]]]:
    """The punches that count, and those that repeat one, each with the one that it repeats.

    Args:
        events: ascending.
        seconds: how long after a punch another one is the same, inclusive. The first one counts.
        by_direction: of punches that are one and contradict each other, the last word counts: somebody has pressed the
            wrong key, and then the right one.
    """
    kept: list[Event] = []
    followers: dict[int, list[Event]] = {}
    latest = None
    for event in events:
        if latest is not None and event[0] - latest <= seconds:
            followers.setdefault(len(kept) - 1, []).append(event)
        else:
            kept.append(event)
            latest = event[0]
    repeated: list[tuple[Event, WorkPunch]] = []
    for number, others in followers.items():
        same = [kept[number], *others]
        said = [event[1].direction for event in same if event[1].direction is not None] if by_direction else []
        counts = next(event for event in same if not said or event[1].direction is said[-1])
        kept[number] = counts
        repeated.extend((event, counts[1]) for event in same if event is not counts)
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


class Assigned(NamedTuple):
    """Where punches are.

    Attributes:
        inside: those of each slot.
        outside: those in no window, each with the number of slots that are before it.
        repeated: those that repeat another one, with that one.
    """

    inside: list[list[Event]]
    outside: list[tuple[int, Event]]
    repeated: list[tuple[Event, WorkPunch]]


def assign(slots: Sequence[Slot], events: Sequence[Event], policy: Policy) -> Assigned:
    """Sort the punches into windows and drop those that repeat another.

    One outside of all windows never takes the place of one inside, so that a shift is a matter of its own punches.
    """
    seconds, by_direction = policy.duplicate_seconds, policy.pairing is Pairing.BY_DIRECTION
    inside, outside = sort_into(slots, events)
    within = list(itertools.chain.from_iterable(inside)) if outside else events
    kept, repeated = drop_duplicates(within, seconds, by_direction=by_direction)
    if repeated:
        inside, _ = sort_into(slots, kept)
    if outside:
        far = []
        for _, event in outside:
            near = _find_near(kept, event[0], seconds)
            if near is None:
                far.append(event)
            else:
                repeated.append((event, near))
        alone, again = drop_duplicates(far, seconds, by_direction=by_direction)
        repeated.extend(again)
        if len(alone) < len(outside):
            _, outside = sort_into(slots, alone)
    return Assigned(inside, outside, repeated)


def _find_near(kept: Sequence[Event], second: int, seconds: int) -> WorkPunch | None:
    """The punch that counts within some seconds of an instant; the one before goes first."""
    place = bisect.bisect_right(kept, second, key=_second_of)
    if place and second - kept[place - 1][0] <= seconds:
        return kept[place - 1][1]
    if place < len(kept) and kept[place][0] - second <= seconds:
        return kept[place][1]
    return None
