"""Which days a change can make different, so that just these are computed again. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from backend.domain.attendance.calendars import Calendar, Employment, Holiday, Leave
from backend.domain.attendance.corrections import PunchCorrection
from backend.domain.attendance.day import DayOverride, WorkPunch
from backend.domain.attendance.grouping import dates_it_matters_for
from backend.domain.attendance.policies import DayRule, Policy
from backend.domain.attendance.shifts import DayPlan, Roster
from backend.domain.attendance.wall_clock import ONE_DAY, cut_at_midnights, date_at, second_at, to_second
from backend.domain.attendance.windows import Slot, plan_timetable

# What happened before the first date can still count towards the weekly limit of its week.
_WEEK = dt.timedelta(days=7)
# So far away a fixed shift that comes or goes can change how free work is grouped.
_REACH = dt.timedelta(days=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterChange:
    """Somebody's schedule was another one before: a shift's times, a pattern or an assignment has changed."""

    before: Roster
    after: Roster


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedPunch:
    """A correction that was made or withdrawn, and the punch it is about as the device gave it (None: it adds one)."""

    correction: PunchCorrection
    punch: WorkPunch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmploymentChange:
    """Somebody belonged to the company at other times before."""

    before: Employment
    after: Employment


Change = WorkPunch | CorrectedPunch | DayOverride | RosterChange | EmploymentChange | Holiday | Leave


def days_touched_by(
    change: Change,
    roster: Roster,
    policy: Policy,
    calendar: Calendar,
    *,
    timezone: dt.tzinfo,
    first: dt.date,
    last: dt.date,
) -> list[dt.date]:
    """The dates from `first` to `last` that can be different after a change, ascending.

    Of what was one thing before and is another now (a leave that was moved), ask for both.
    """
    person = _Person(roster, policy, calendar, timezone)
    match change:
        case WorkPunch():
            found = person.by_instant(change.punched_at)
        case CorrectedPunch(correction=correction, punch=punch):
            found = set()
            for instant in (correction.punched_at, punch.punched_at if punch else None):
                if instant is not None:
                    found |= person.by_instant(instant)
        case DayOverride():
            found = {change.work_on}
        case RosterChange():
            found = person.by_roster(change, first - _REACH, last + _REACH)
        case EmploymentChange(before=before, after=after):
            days = _dates(first - _WEEK, last + ONE_DAY)
            # Work that reaches over midnight is dated by whether its other date is one of the employment.
            found = _around({day for day in days if before.covers(day) != after.covers(day)})
        case Holiday():
            # Punches outside the windows are work on a holiday, and may reach into the next day.
            found = _beside({change.holiday_on}, policy) | {change.holiday_on + ONE_DAY}
        case Leave():
            days = _dates(max(change.starts_on, first - _WEEK), min(change.ends_on, last + ONE_DAY))
            found = _beside(set(days), policy)
    if policy.overtime.weekly_limit_seconds is not None:
        found = {day for start in found for day in _rest_of_week(start, policy)}
    return sorted(day for day in found if first <= day <= last)


def _beside(days: set[dt.date], policy: Policy) -> set[dt.date]:
    """With the days that share a shift with these: what takes a part of one has its say in when it begins and ends."""
    if policy.day_rule is DayRule.SPLIT or (policy.day_rule is DayRule.MOST_WORKED and policy.auto_check_out):
        return _around(days)
    return days


def _around(days: set[dt.date]) -> set[dt.date]:
    """With the days before and after."""
    return {day + number * ONE_DAY for day in days for number in (-1, 0, 1)}


class _Person(NamedTuple):
    """By what somebody's days are computed."""

    roster: Roster
    policy: Policy
    calendar: Calendar
    zone: dt.tzinfo

    def by_instant(self, instant: dt.datetime) -> set[dt.date]:
        """The dates of the shifts and groups that a punch has a say in."""
        zone, repeats = self.zone, self.policy.duplicate_seconds
        second = to_second(instant)
        day = date_at(zone, second)
        slots = plan_timetable(self.roster, zone, day - ONE_DAY, day + ONE_DAY).slots
        # A punch can make those near it duplicates, or make them count, across the border of two windows.
        since, until = second - repeats, second + 2 * repeats
        found: set[dt.date] = set()
        for slot in slots:
            if slot.opens <= until and since <= slot.closes:
                found |= _dates_of(slot, self.policy, zone)
        if not any(slot.opens <= since and until <= slot.closes for slot in slots):
            found |= {date_at(zone, since), day, date_at(zone, until)}
            found |= self.free_dates(second)
        return found

    def free_dates(self, second: int) -> set[dt.date]:
        """The dates of the groups that a punch outside of all windows has a say in, up to the next fixed shifts."""
        zone, near = self.zone, 2 * self.policy.duplicate_seconds
        first, last = dates_it_matters_for(date_at(zone, second))
        table = plan_timetable(self.roster, zone, first, last)
        before = [slot.closes for slot in table.slots if slot.closes < second - near]
        after = [slot.opens for slot in table.slots if slot.opens > second + near]
        first = max([first, *(date_at(zone, closes) for closes in before[-1:])])
        last = min([last, *(date_at(zone, opens) for opens in after[:1])])
        days = [day for day in _dates(first, last) if self._may_be_free(table.plans[day], day)]
        return {*days, *(day + ONE_DAY for day in days)}

    def _may_be_free(self, plan: DayPlan, day: dt.date) -> bool:
        return self.policy.unscheduled_work or not plan.shifts or self.calendar.cover_on(day).is_holiday

    def by_roster(self, change: RosterChange, first: dt.date, last: dt.date) -> set[dt.date]:
        """The dates that can be different by another schedule."""
        zone = self.zone
        before = plan_timetable(change.before, zone, first - ONE_DAY, last + ONE_DAY)
        after = plan_timetable(change.after, zone, first - ONE_DAY, last + ONE_DAY)
        different = {day for day, plan in before.plans.items() if plan != after.plans[day]}
        found = _around(different)
        for slot in {*before.slots} ^ {*after.slots}:
            days = {day for day, _, _ in cut_at_midnights(zone, slot.opens, max(slot.opens, slot.closes))}
            found |= {slot.work_on, *days}
            different |= days
        for roster in (change.before, change.after):
            person = self._replace(roster=roster)
            for day in {*different, *(day + ONE_DAY for day in different)}:
                found |= person.free_dates(second_at(zone, day, 0))
        return found


def _dates_of(slot: Slot, policy: Policy, zone: dt.tzinfo) -> set[dt.date]:
    """The dates on which the work of a shift can be; after somebody has left, it is the one on which it starts."""
    if policy.day_rule is DayRule.START:
        return {slot.work_on}
    if policy.day_rule is DayRule.END:
        return {slot.work_on, date_at(zone, max(slot.ends - 1, slot.starts))}
    return {slot.work_on, *(day for day, _, _ in cut_at_midnights(zone, slot.opens, max(slot.opens, slot.closes)))}


def _rest_of_week(day: dt.date, policy: Policy) -> Iterable[dt.date]:
    left = 6 - (day.weekday() - policy.overtime.week_starts_on) % 7
    return _dates(day, day + left * ONE_DAY)


def _dates(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    day = first
    while day <= last:
        yield day
        day += ONE_DAY
