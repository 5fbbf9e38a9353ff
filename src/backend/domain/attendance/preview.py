"""What the days of some people would be by some rules: for looking at, nothing is stored. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from backend.domain.attendance.day import AttendanceDay, WorkPunch
from backend.domain.attendance.engine import EmployeeInput, compute_people
from backend.domain.attendance.people import PersonFacts
from backend.domain.attendance.policies import Policy
from backend.domain.attendance.records import Record, add_up, describe_day
from backend.domain.attendance.rules import AttendanceRules
from backend.domain.attendance.setup import Setup
from backend.domain.attendance.wall_clock import ONE_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedPerson:
    """Somebody's days.

    Attributes:
        site: the code of the place of work.
        days: each with the code of its policy.
        punches: how many there were.
        unused: how many of them are in none of the days: of other dates, or of a time without employment.
    """

    employee_no: str
    site: str
    timezone: dt.tzinfo
    days: Sequence[tuple[AttendanceDay, str]]
    punches: int
    unused: int


def in_one_zone(rules: AttendanceRules, timezone: str) -> AttendanceRules:
    """The rules with all places of work in one time zone."""
    return replace(rules, sites={code: replace(site, timezone=timezone) for code, site in rules.sites.items()})


def zone_of(rules: AttendanceRules, site: str | None) -> ZoneInfo:
    """The time zone of what an employee's field names."""
    return ZoneInfo(rules.site_of(site).timezone)


def find_dates(punches: Iterable[tuple[Sequence[WorkPunch], dt.tzinfo]]) -> tuple[dt.date, dt.date] | None:
    """The first and the last date of punches, by the clocks of their places; None without any."""
    dates = {punch.punched_at.astimezone(zone).date() for some, zone in punches for punch in some}
    return (min(dates), max(dates)) if dates else None


def end_of_next_day(last: dt.date, zones: Iterable[dt.tzinfo]) -> dt.datetime:
    """When the day after a date is over everywhere: then every shift of the date is over as well."""
    midnight = dt.datetime.combine(last + 2 * ONE_DAY, dt.time())
    return max(midnight.replace(tzinfo=zone).astimezone(dt.UTC) for zone in zones)


def preview_people(
    setup: Setup,
    people: Mapping[str, PersonFacts],
    punches: Mapping[str, Sequence[WorkPunch]],
    *,
    first: dt.date,
    last: dt.date,
    as_of: dt.datetime,
) -> Iterator[PreviewedPerson]:
    """The days of each person from `first` to `last`, inclusive, one person at a time."""
    for employee_no, facts in people.items():
        person = replace(setup.input_of(employee_no, facts), punches=punches.get(employee_no, ()))
        ((_, days),) = compute_people([person], first=first, last=last, as_of=as_of)
        used = {use.punch.key for day in days for use in day.punches}
        yield PreviewedPerson(
            employee_no=employee_no,
            site=setup.rules.site_of(facts.site).code,
            timezone=person.timezone,
            days=[(day, _policy_on(person, day.work_on).code) for day in days],
            punches=len(person.punches),
            unused=sum(punch.key not in used for punch in person.punches),
        )


def describe_person(person: PreviewedPerson) -> Record:
    """Somebody's days as JSON that explains itself; see `describe_day`."""
    return {
        "employee_no": person.employee_no,
        "site": person.site,
        "timezone": str(person.timezone),
        "punches": person.punches,
        "unused_punches": person.unused,
        "totals": add_up([day for day, _ in person.days]),
        "days": [{"policy": policy} | describe_day(day, person.timezone) for day, policy in person.days],
    }


def _policy_on(person: EmployeeInput, day: dt.date) -> Policy:
    return next(policy for begins_on, ends_on, policy in person.policies if begins_on <= day <= ends_on)
