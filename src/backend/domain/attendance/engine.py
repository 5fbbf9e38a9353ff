"""Attendance days from punches, a roster, a policy, calendars and employment. Pure: the same in, the same out.

The steps: correct the punches, sort them into the windows of the shifts and drop duplicates (`windows`), group what is
outside (`grouping`), pair them (`pairing`), put the work on its date (`dating`), and conclude each date (`conclusion`).
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backend.domain.attendance.calendars import Calendar, Employment
from backend.domain.attendance.conclusion import conclude
from backend.domain.attendance.corrections import PunchCorrection, apply_corrections
from backend.domain.attendance.dating import Draft, Ledger
from backend.domain.attendance.day import (
    Anomaly,
    AttendanceDay,
    DayOverride,
    Fate,
    Origin,
    PunchUse,
    WorkPunch,
)
from backend.domain.attendance.grouping import dates_that_matter, group_freely
from backend.domain.attendance.pairing import measure
from backend.domain.attendance.policies import DayRule, Policy
from backend.domain.attendance.shifts import Roster
from backend.domain.attendance.wall_clock import ONE_DAY, date_at, second_at, to_instant, to_second
from backend.domain.attendance.windows import (
    Event,
    Timetable,
    assign,
    plan_timetable,
)
from backend.domain.punches import Direction

_RANKS: Mapping[Direction | None, int] = {direction: rank for rank, direction in enumerate((*Direction, None))}
_by_second_and_rank = operator.itemgetter(0, 1, 2)
# How far from its date the shifts of a day may start: one just after midnight can be worked on the evening before.
_SLOT_DAYS_BACK = {DayRule.START: 0, DayRule.END: 1, DayRule.MOST_WORKED: 1, DayRule.SPLIT: 1}
_SLOT_DAYS_AHEAD = {DayRule.START: 0, DayRule.END: 0, DayRule.MOST_WORKED: 1, DayRule.SPLIT: 1}


def compute_days(
    punches: Sequence[WorkPunch],
    shifts: Roster,
    policy: Policy,
    calendar: Calendar,
    employment: Employment,
    *,
    timezone: dt.tzinfo,
    first: dt.date,
    last: dt.date,
    as_of: dt.datetime,
    corrections: Sequence[PunchCorrection] = (),
    overrides: Sequence[DayOverride] = (),
) -> list[AttendanceDay]:
    """The days of one employee from `first` to `last`, inclusive; none outside the employment.

    Args:
        punches: in any order, at least those of `punches_needed`; keys are unique.
        shifts: the employee's schedule.
        timezone: of the place of work; dates and times of day are those of its clock.
        as_of: the instant up to which punches are known. Later ones wait, and nobody is absent from a shift whose
            windows are still open then.
        corrections: what people have changed about punches.
        overrides: what people have set days to be; of two for one date the larger key counts.
    """
    begin = _week_start(first, policy)
    drafts = {day: Draft(day) for day in _dates(begin, last) if employment.covers(day)}
    if not drafts:
        return []
    table = _plan(shifts, timezone, begin, last)
    until = to_second(as_of)
    events, set_aside = _order(punches, corrections, until)
    inside, outside, repeated = assign(table.slots, events, policy)

    earliest = begin - _SLOT_DAYS_BACK[policy.day_rule] * ONE_DAY
    latest = last + _SLOT_DAYS_AHEAD[policy.day_rule] * ONE_DAY
    work = [
        (slot, its_events)
        for slot, its_events in zip(table.slots, inside, strict=True)
        if earliest <= slot.work_on <= latest and (its_events or employment.covers(slot.work_on))
    ]
    for slot, its_events in group_freely(outside, table.slots, policy, timezone) if outside else ():
        if policy.unscheduled_work or _may_be_free(slot.work_on, table, calendar):
            if earliest <= slot.work_on <= last:
                work.append((slot, its_events))
        else:
            set_aside.extend((event, Fate.OUTSIDE_WINDOWS) for event in its_events)
    ledger = Ledger(drafts, policy, timezone, calendar, employment)
    for slot, its_events in work:
        is_over = slot.closes < until
        expected = ledger.expected_of(slot) if policy.auto_check_out and slot.span is not None else None
        ends = None if expected is None else expected[1]
        ledger.file(measure(slot, its_events, policy, is_over=is_over, expected_end=ends), is_over=is_over)
    if set_aside or repeated:
        _list_unused(drafts, set_aside, repeated, timezone)
    days = _conclude(drafts.values(), table, policy, calendar, overrides, zone=timezone, until=until)
    return [day for day in days if day.work_on >= first]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmployeeInput:
    """Everything about one person that `compute_days` takes.

    Attributes:
        policies: the first and the last date of each, and the policy; a date without one is not computed.
    """

    employee_no: str
    punches: Sequence[WorkPunch]
    shifts: Roster
    policies: Sequence[tuple[dt.date, dt.date, Policy]]
    calendar: Calendar = field(default_factory=Calendar)
    employment: Employment = field(default_factory=Employment)
    timezone: dt.tzinfo = dt.UTC
    corrections: Sequence[PunchCorrection] = ()
    overrides: Sequence[DayOverride] = ()


def compute_people(
    people: Iterable[EmployeeInput], *, first: dt.date, last: dt.date, as_of: dt.datetime
) -> Iterator[tuple[str, list[AttendanceDay]]]:
    """The days of each person, one person at a time, each date by the policy that is valid then."""
    for person in people:
        days: list[AttendanceDay] = []
        for begins_on, ends_on, policy in sorted(person.policies, key=lambda item: item[0]):
            if begins_on > last or ends_on < first:
                continue
            days += compute_days(
                person.punches,
                person.shifts,
                policy,
                person.calendar,
                person.employment,
                timezone=person.timezone,
                first=max(first, begins_on),
                last=min(last, ends_on),
                as_of=as_of,
                corrections=person.corrections,
                overrides=person.overrides,
            )
        yield person.employee_no, days


def punches_needed(
    policy: Policy, timezone: dt.tzinfo, first: dt.date, last: dt.date, shifts: Roster | None = None
) -> tuple[dt.datetime, dt.datetime]:
    """From when to when (exclusive) punches can have a say in the days from `first` to `last`; others change nothing.

    Shifts need the day before and two days after. Work without a schedule is grouped from a punch that begins a shift
    for certain, which can be a week further away (`grouping`).

    Args:
        shifts: the schedule, if it is known: fixed shifts make the time shorter.
    """
    begin = _week_start(first, policy)
    earliest, latest = dates_that_matter(begin - ONE_DAY, last)
    if shifts is not None:
        near = 2 * policy.duplicate_seconds
        before, after = _find_borders(_plan(shifts, timezone, begin, last), timezone, begin, last)
        earliest = earliest if before is None else max(earliest, date_at(timezone, before - near))
        latest = latest if after is None else min(latest, date_at(timezone, after + near))
    return to_instant(second_at(timezone, earliest, 0)), to_instant(second_at(timezone, latest + ONE_DAY, 0))


def _plan(shifts: Roster, zone: dt.tzinfo, first: dt.date, last: dt.date) -> Timetable:
    """What is scheduled, as far around the dates as free work beside them can reach."""
    table = plan_timetable(shifts, zone, first - 2 * ONE_DAY, last + 2 * ONE_DAY)  # over a weekend
    if None in _find_borders(table, zone, first, last):
        return plan_timetable(shifts, zone, *dates_that_matter(first - ONE_DAY, last))
    return table


def _find_borders(table: Timetable, zone: dt.tzinfo, first: dt.date, last: dt.date) -> tuple[int | None, int | None]:
    """Where a fixed shift before some dates, and one after them, part their free work from all other.

    What begins on the day before can reach into the first date.
    """
    opens, closes = second_at(zone, first - ONE_DAY, 0), second_at(zone, last + ONE_DAY, 0)
    before = after = None
    for slot in table.slots:
        if slot.closes < opens:
            before = slot.closes
        elif slot.opens > closes and slot.work_on > last:
            after = slot.opens
            break
    return before, after


def _week_start(day: dt.date, policy: Policy) -> dt.date:
    """Where computing begins: a weekly limit needs the days of the week before the first one asked for."""
    if policy.overtime.weekly_limit_seconds is None:
        return day
    return day - ((day.weekday() - policy.overtime.week_starts_on) % 7) * ONE_DAY


def _dates(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]


def _may_be_free(day: dt.date, table: Timetable, calendar: Calendar) -> bool:
    """Whether punches outside of windows are work on a date: where there is no fixed shift, or a holiday."""
    plan = table.plans.get(day)
    return plan is not None and (not plan.shifts or calendar.cover_on(day).is_holiday)


def _conclude(
    drafts: Iterable[Draft],
    table: Timetable,
    policy: Policy,
    calendar: Calendar,
    overrides: Iterable[DayOverride],
    *,
    zone: dt.tzinfo,
    until: int,
) -> Iterator[AttendanceDay]:
    """The days in their order, as each counts towards the week of the next."""
    by_date = {item.work_on: item for item in sorted(overrides, key=lambda item: item.key)}
    week, regular = None, 0
    for draft in drafts:
        day = draft.work_on
        if (start := _week_start(day, policy)) != week:
            week, regular = start, 0
        concluded = conclude(
            draft,
            table.plans[day],
            calendar.cover_on(day),
            by_date.get(day),
            policy,
            zone=zone,
            until=until,
            regular_before=regular,
        )
        regular += concluded.worked_seconds - concluded.overtime_seconds
        yield concluded


def _order(
    punches: Sequence[WorkPunch], corrections: Sequence[PunchCorrection], until: int
) -> tuple[list[Event], list[tuple[Event, Fate]]]:
    """The punches that count, ascending, and those that cannot, with the reason."""
    if corrections:
        punches = apply_corrections(punches, corrections)
    ranked = [(to_second(punch[1]), _RANKS[punch[2]], punch[0], punch) for punch in punches]
    ranked.sort(key=_by_second_and_rank)
    events: list[Event] = []
    set_aside: list[tuple[Event, Fate]] = []
    for second, _, _, punch in ranked:
        if punch.origin is Origin.IGNORED:
            set_aside.append(((second, punch), Fate.TAKEN_OUT))
        elif second > until:
            set_aside.append(((second, punch), Fate.IN_FUTURE))
        else:
            events.append((second, punch))
    return events, set_aside


def _list_unused(
    drafts: Mapping[dt.date, Draft],
    set_aside: Iterable[tuple[Event, Fate]],
    repeated: Iterable[tuple[Event, WorkPunch]],
    zone: dt.tzinfo,
) -> None:
    """Put the punches that do not count among those of their date; a duplicate is where the first one is."""
    for (second, punch), fate in set_aside:
        draft = drafts.get(date_at(zone, second))
        if draft is not None:
            draft.uses.append(PunchUse(punch, fate))
            draft.is_mixed = True
            if fate is Fate.OUTSIDE_WINDOWS:
                draft.anomalies.append(Anomaly.OUTSIDE_WINDOWS)
    if repeated:
        holders = {use.punch.key: draft for draft in drafts.values() for use in draft.uses}
        for (_, punch), first_one in repeated:
            if first_one.key in holders:
                draft = holders[first_one.key]
                draft.uses.append(PunchUse(punch, Fate.DUPLICATE, None, first_one.key))
                draft.is_mixed = True
