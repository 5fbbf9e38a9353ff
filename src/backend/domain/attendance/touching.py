"""Which days a change can make different, so that just these are computed again. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backend.domain.attendance.calendars import Calendar, Holiday, Leave
from backend.domain.attendance.corrections import PunchCorrection
from backend.domain.attendance.day import DayOverride, WorkPunch
from backend.domain.attendance.policies import DayRule, Policy
from backend.domain.attendance.shifts import Roster
from backend.domain.attendance.wall_clock import ONE_DAY, cut_at_midnights, date_at, to_second
from backend.domain.attendance.windows import Slot, plan_timetable

# What happened before the first date can still count towards the weekly limit of its week.
_WEEK = dt.timedelta(days=7)


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


Change = WorkPunch | CorrectedPunch | DayOverride | RosterChange | Holiday | Leave


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
    match change:
        case WorkPunch():
            found = _by_instant(change.punched_at, roster, policy, calendar, timezone)
        case CorrectedPunch(correction=correction, punch=punch):
            found = set()
            for instant in (correction.punched_at, punch.punched_at if punch else None):
                if instant is not None:
                    found |= _by_instant(instant, roster, policy, calendar, timezone)
        case DayOverride():
            found = {change.work_on}
        case RosterChange():
            found = _by_roster(change, timezone, first - _WEEK, last)
        case Holiday():
            # Punches outside the windows are work on a holiday, and may reach into the next day.
            found = {change.holiday_on, change.holiday_on + ONE_DAY}
        case Leave():
            found = set(_dates(max(change.starts_on, first - _WEEK), min(change.ends_on, last)))
            if policy.day_rule is DayRule.SPLIT:
                found |= {day + ONE_DAY for day in found}
    if policy.overtime.weekly_limit_seconds is not None:
        found = {day for start in found for day in _rest_of_week(start, policy)}
    return sorted(day for day in found if first <= day <= last)


def _by_instant(
    instant: dt.datetime, roster: Roster, policy: Policy, calendar: Calendar, zone: dt.tzinfo
) -> set[dt.date]:
    second = to_second(instant)
    day = date_at(zone, second)
    slots = plan_timetable(roster, zone, day - ONE_DAY, day + ONE_DAY).slots
    # A punch can make those that follow it duplicates, or make them count, across the border of two windows.
    until = second + 2 * policy.duplicate_seconds
    found: set[dt.date] = set()
    for slot in slots:
        if slot.opens <= until and second <= slot.closes:
            found |= _dates_of(slot, policy, zone)
    if not any(slot.opens <= second and until <= slot.closes for slot in slots):
        found |= {date_at(zone, second), date_at(zone, until)}
        for near in (day - ONE_DAY, day, day + ONE_DAY):
            if not roster.plan_on(near).shifts or calendar.cover_on(near).is_holiday:
                found |= {near, day} if policy.day_rule is DayRule.START else {near, near + ONE_DAY, day}
    return found


def _dates_of(slot: Slot, policy: Policy, zone: dt.tzinfo) -> set[dt.date]:
    """The dates on which the work of a shift can be."""
    if policy.day_rule is DayRule.START:
        return {slot.work_on}
    if policy.day_rule is DayRule.END:
        return {date_at(zone, slot.ends - 1)}
    return {slot.work_on, *(day for day, _, _ in cut_at_midnights(zone, slot.opens, max(slot.opens, slot.closes)))}


def _by_roster(change: RosterChange, zone: dt.tzinfo, first: dt.date, last: dt.date) -> set[dt.date]:
    before = plan_timetable(change.before, zone, first - ONE_DAY, last + ONE_DAY)
    after = plan_timetable(change.after, zone, first - ONE_DAY, last + ONE_DAY)
    found = {
        day + days * ONE_DAY for day, plan in before.plans.items() if plan != after.plans[day] for days in (-1, 0, 1)
    }
    for slot in {*before.slots} ^ {*after.slots}:
        found.add(slot.work_on)
        found |= {day for day, _, _ in cut_at_midnights(zone, slot.opens, max(slot.opens, slot.closes))}
    return found


def _rest_of_week(day: dt.date, policy: Policy) -> Iterable[dt.date]:
    left = 6 - (day.weekday() - policy.overtime.week_starts_on) % 7
    return _dates(day, day + left * ONE_DAY)


def _dates(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    day = first
    while day <= last:
        yield day
        day += ONE_DAY
