"""Punches outside of all windows, grouped into shifts of their own. Pure.

Where nothing says whether a punch is an in or an out, each one depends on those before it, so that a forgotten punch,
or where one begins to look, could turn days into nights for ever. So some punches begin a shift for certain, whatever
was before, and those are found by what is near them: after every gap that is longer than a shift may be, and, in a
calendar week without one, after its longest gap.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence

from backend.domain.attendance.policies import Pairing, Policy
from backend.domain.attendance.wall_clock import ONE_DAY, date_at, second_at
from backend.domain.attendance.windows import INS, Event, Slot

ONE_WEEK = 7 * ONE_DAY


def group_freely(
    outside: Sequence[tuple[int, Event]], slots: Sequence[Slot], policy: Policy, zone: dt.tzinfo
) -> list[tuple[Slot, list[Event]]]:
    """The punches outside of all windows as shifts of their own.

    A new one begins after the minimum time off, when the maximum length is over, where a scheduled shift lies between,
    and where one begins for certain.

    Args:
        outside: ascending, each with the number of slots that are before it.
    """
    groups: list[_Group] = []
    if not outside:
        return []
    by_direction = policy.pairing is Pairing.BY_DIRECTION
    certain = _find_certain(outside, policy, zone)
    for index, (place, event) in enumerate(outside):
        second, punch = event
        group = groups[-1] if groups else None
        comes_in = punch.direction in INS if by_direction else group is None or not group.is_in
        if (
            group is None
            or index in certain
            or second - group.events[0][0] > policy.maximum_shift_seconds
            or (comes_in and second - group.events[-1][0] >= policy.minimum_time_off_seconds)
        ):
            groups.append(_Group(place, event, is_in=comes_in if by_direction else True))
        else:
            group.events.append(event)
            group.is_in = comes_in
    return [(_frame(groups, number, slots, policy, zone), group.events) for number, group in enumerate(groups)]


def dates_that_matter(first: dt.date, last: dt.date) -> tuple[dt.date, dt.date]:
    """The first and the last date whose punches have a say in the groups that begin from `first` to `last`.

    The week before `first` has a punch that begins a shift for certain; a group of `last` may reach into the next day,
    whose week has its say. A day and two more tell how long the gaps at the borders of these weeks are.
    """
    return _monday(first) - ONE_WEEK - ONE_DAY, _monday(last + ONE_DAY) + ONE_WEEK + ONE_DAY


def dates_it_matters_for(day: dt.date) -> tuple[dt.date, dt.date]:
    """The first and the last date on which groups begin that a punch of a date has a say in."""
    return _monday(day - 2 * ONE_DAY) - ONE_DAY, _monday(day + ONE_WEEK + ONE_DAY) + 6 * ONE_DAY


def _monday(day: dt.date) -> dt.date:
    return day - day.weekday() * ONE_DAY


def _find_certain(outside: Sequence[tuple[int, Event]], policy: Policy, zone: dt.tzinfo) -> set[int]:
    """The numbers of the punches that begin a shift for certain."""
    seconds = [event[0] for _, event in outside]
    by_direction = policy.pairing is Pairing.BY_DIRECTION
    time_off, longest = policy.minimum_time_off_seconds, policy.maximum_shift_seconds
    certain, count = {0}, len(outside)
    for index in range(1, count):
        gap = seconds[index] - seconds[index - 1]
        place, (_, punch) = outside[index]
        if (
            outside[index - 1][0] != place
            or gap > longest
            or (by_direction and gap >= time_off and punch.direction in INS)
        ):
            certain.add(index)
    edges = [*sorted(certain), count]
    for begin, end in itertools.pairwise(edges):
        if seconds[end - 1] - seconds[begin] >= ONE_WEEK.total_seconds():
            certain.update(_longest_of_weeks(seconds, begin, end, zone))
    return certain


def _longest_of_weeks(seconds: Sequence[int], begin: int, end: int, zone: dt.tzinfo) -> Iterator[int]:
    """For each calendar week between two punches, the number of the punch after the longest gap that ends in it."""
    monday = _monday(date_at(zone, seconds[begin]))
    index = begin + 1
    while (closes := second_at(zone, monday + ONE_WEEK, 0)) <= seconds[end - 1]:
        opens = second_at(zone, monday, 0)
        found: list[int] = []
        while index < end and seconds[index] < closes:
            found.append(index)
            index += 1
        if found and opens >= seconds[begin]:
            yield max(found, key=lambda number: seconds[number] - seconds[number - 1])
        monday += ONE_WEEK


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
