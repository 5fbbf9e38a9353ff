"""Rules and holidays as they were at one time, what they mean for a person, and which days a change of them touches.

Pure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.calendars import Calendar, Employment, Holiday, group_holidays
from backend.domain.attendance.day import WorkPunch
from backend.domain.attendance.engine import EmployeeInput
from backend.domain.attendance.people import PersonFacts
from backend.domain.attendance.policies import Policy
from backend.domain.attendance.rules import AttendanceRules
from backend.domain.attendance.shifts import Roster
from backend.domain.attendance.touching import Change, EmploymentChange, RosterChange, days_touched_by
from backend.domain.attendance.wall_clock import ONE_DAY
from backend.domain.employees import DayPart

# What a day is touched by: the codes of `attendance_dirty.reason` that come of this module.
SITE, ROSTER, POLICY, HOLIDAY, LEAVE, EMPLOYMENT = "site", "roster", "policy", "holiday", "leave", "employment"

# Nothing that a punch touches is further away: free work up to the end of the next week but one, and with a weekly
# limit the rest of that week.
NEAR = dt.timedelta(days=22)

Holidays = Mapping[dt.date, tuple[Holiday, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that days are computed by and that is not a person's own.

    Attributes:
        holidays: public ones, and those that the HR data has.
    """

    rules: AttendanceRules
    holidays: Sequence[Holiday] = ()
    _holidays: dict[str, Holidays] = field(default_factory=dict)

    def zone_of(self, facts: PersonFacts) -> dt.tzinfo:
        """The time zone of a person's place of work."""
        return ZoneInfo(self.rules.site_of(facts.site).timezone)

    def input_of(self, employee_no: str, facts: PersonFacts) -> EmployeeInput:
        """What `compute_days` takes, without punches and what people have said about them."""
        site = self.rules.site_of(facts.site)
        roster, policies = self.rules.for_person(employee_no, facts.departments, site.code)
        return EmployeeInput(
            employee_no=employee_no,
            punches=(),
            shifts=roster,
            policies=policies,
            calendar=Calendar(holidays=self._holidays_at(site.code), leaves=facts.leaves),
            employment=facts.employment,
            timezone=ZoneInfo(site.timezone),
        )

    def _holidays_at(self, code: str) -> Holidays:
        if code not in self._holidays:
            site = self.rules.site_of(code)
            self._holidays[code] = group_holidays((*self.holidays, *self.rules.company_days), site.calendar)
        return self._holidays[code]


def setup_content(
    rules: Mapping[str, Any], assignments: Iterable[Assignment], holidays: Iterable[Holiday], holidays_from: int
) -> dict[str, Any]:
    """A setup as JSON, the same for the same setup.

    Args:
        rules: what the file of the rules says.
        holidays_from: the first year whose public holidays are among `holidays`.
    """
    return {
        "rules": rules,
        "assignments": sorted((_assignment_to_json(item) for item in assignments), key=repr),
        "holidays": sorted((_holiday_to_json(item) for item in holidays), key=repr),
        "holidays_from": holidays_from,
    }


def assignments_in(content: Mapping[str, Any]) -> list[Assignment]:
    """The assignments of a setup's content, without those of the file."""
    return [
        Assignment(
            scope=Scope(scope),
            target=target,
            pattern=pattern,
            policy=policy,
            first_on=dt.date.fromisoformat(first),
            last_on=dt.date.fromisoformat(last),
        )
        for scope, target, pattern, policy, first, last in content["assignments"]
    ]


def make_setup(content: Mapping[str, Any], rules: AttendanceRules) -> Setup:
    """The setup of a content, of which the rules were parsed already."""
    return Setup(rules=rules, holidays=[_holiday(item) for item in content["holidays"]])


def _assignment_to_json(item: Assignment) -> list[Any]:
    return [
        item.scope.value,
        item.target,
        item.pattern,
        item.policy,
        item.first_on.isoformat(),
        item.last_on.isoformat(),
    ]


def _holiday_to_json(item: Holiday) -> list[Any]:
    return [item.holiday_on.isoformat(), item.name, item.day_part.value, item.calendar]


def _holiday(item: Sequence[Any]) -> Holiday:
    day, name, part, calendar = item
    return Holiday(holiday_on=dt.date.fromisoformat(day), name=name, day_part=DayPart(part), calendar=calendar)


# --- what a change touches ------------------------------------------------------------------------------------------


class Comparer:
    """Finds the days that are touched by what has changed between two setups.

    What two rosters differ in is worked out once for everybody who has the two.

    Args:
        first, last: the dates that a change of rules, site or employment is looked for in, both inclusive; leaves and
            holidays count from any date.
    """

    def __init__(self, *, first: dt.date, last: dt.date) -> None:
        self._first = first
        self._last = last
        self._rosters: dict[tuple[int, int, int], tuple[tuple[Roster, Roster, Policy], list[dt.date]]] = {}
        self._holidays: dict[tuple[int, int], tuple[tuple[Holidays, Holidays], list[Holiday]]] = {}

    def compare(self, before: EmployeeInput, after: EmployeeInput) -> Iterator[tuple[str, list[dt.date]]]:
        """Reasons with their dates, ascending."""
        if before.timezone != after.timezone:
            yield SITE, _dates(self._first, self._last)
        policies = _policies_by_date(after, self._first, self._last)
        earlier = _policies_by_date(before, self._first, self._last)
        if policies != earlier:
            yield POLICY, [day for day in _dates(self._first, self._last) if policies.get(day) != earlier.get(day)]
        leaves = set(before.calendar.leaves) ^ set(after.calendar.leaves)
        for begins_on, ends_on, policy in after.policies:
            found = [
                (ROSTER, self._by_roster(before.shifts, after, policy)),
                (HOLIDAY, self._by_changes(self._changed_holidays(before, after), after, policy)),
                (LEAVE, self._by_changes(leaves, after, policy)),
                (EMPLOYMENT, self._by_employment(before.employment, after, policy)),
            ]
            for reason, days in found:
                yield reason, [day for day in days if begins_on <= day <= ends_on]

    def _by_employment(self, before: Employment, after: EmployeeInput, policy: Policy) -> list[dt.date]:
        if before == after.employment:
            return []
        return self._by_changes([EmploymentChange(before=before, after=after.employment)], after, policy)

    def _by_roster(self, before: Roster, after: EmployeeInput, policy: Policy) -> list[dt.date]:
        if before is after.shifts:
            return []
        key = (id(before), id(after.shifts), id(policy))
        if key not in self._rosters:
            # What is kept keeps the ids from being given away.
            change = RosterChange(before=before, after=after.shifts)
            self._rosters[key] = (before, after.shifts, policy), self._by_changes([change], after, policy)
        return self._rosters[key][1]

    def _by_changes(self, changes: Iterable[Change], after: EmployeeInput, policy: Policy) -> list[dt.date]:
        found: set[dt.date] = set()
        for change in changes:
            is_rule = isinstance(change, RosterChange | EmploymentChange)
            found.update(
                days_touched_by(
                    change,
                    after.shifts,
                    policy,
                    after.calendar,
                    timezone=after.timezone,
                    first=self._first if is_rule else dt.date(1970, 1, 1),
                    last=self._last,
                )
            )
        return sorted(found)

    def _changed_holidays(self, before: EmployeeInput, after: EmployeeInput) -> list[Holiday]:
        old, new = before.calendar.holidays, after.calendar.holidays
        if old is new:
            return []
        key = (id(old), id(new))
        if key not in self._holidays:
            changed = [
                holiday
                for day in sorted({*old, *new})
                for holiday in {*old.get(day, ())} ^ {*new.get(day, ())}
                if day <= self._last
            ]
            self._holidays[key] = (old, new), changed
        return self._holidays[key][1]


def days_touched_at(person: EmployeeInput, instant: dt.datetime) -> set[dt.date]:
    """The days of a person that a punch at an instant has a say in, whichever policies are valid around it."""
    near = instant.date()
    found: set[dt.date] = set()
    for begins_on, ends_on, policy in person.policies:
        first, last = max(begins_on, near - NEAR), min(ends_on, near + NEAR)
        if first <= last:
            found.update(
                days_touched_by(
                    WorkPunch("", instant),
                    person.shifts,
                    policy,
                    person.calendar,
                    timezone=person.timezone,
                    first=first,
                    last=last,
                )
            )
    return found


def ranges_of(days: Iterable[dt.date]) -> Iterator[tuple[dt.date, dt.date]]:
    """Ascending dates as ranges, both ends inclusive."""
    first = last = None
    for day in days:
        if first is None or last is None:
            first = last = day
        elif day <= last + ONE_DAY:
            last = day
        else:
            yield first, last
            first = last = day
    if first is not None and last is not None:
        yield first, last


def subtract(
    dates: tuple[dt.date, dt.date], others: Iterable[tuple[dt.date, dt.date]]
) -> Iterator[tuple[dt.date, dt.date]]:
    """What is left of a range of dates without others, all ends inclusive."""
    first, last = dates
    for begins_on, ends_on in sorted(others):
        if ends_on < first or begins_on > last:
            continue
        if begins_on > first:
            yield first, begins_on - ONE_DAY
        first = ends_on + ONE_DAY
    if first <= last:
        yield first, last


def _policies_by_date(person: EmployeeInput, first: dt.date, last: dt.date) -> dict[dt.date, Policy]:
    return {
        day: policy
        for begins_on, ends_on, policy in person.policies
        for day in _dates(max(first, begins_on), min(last, ends_on))
    }


def _dates(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + number * ONE_DAY for number in range((last - first).days + 1)]
