"""Who works when and where, and who is on leave, of CSV files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.adapters.csv_table import CsvColumns, CsvReading, read_csv_rows
from backend.adapters.punch_csv import EMPLOYEE_ALIASES
from backend.adapters.toml_problems import did_you_mean
from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.calendars import Leave
from backend.domain.attendance.people import Period
from backend.domain.employees import DayPart

EMPLOYMENT_COLUMNS = CsvColumns(
    what="a file of employment",
    names={
        "employee_no": EMPLOYEE_ALIASES,
        "department": ("department_code", "dept"),
        "site": ("location", "work_site"),
        "hired_on": ("hire_date", "joined_on", "first_on"),
        "left_on": ("leaving_date", "term_date", "last_on"),
        "policy": (),
        "pattern": (),
    },
    required=(("employee_no",),),
)
LEAVE_COLUMNS = CsvColumns(
    what="a file of leaves",
    names={
        "employee_no": EMPLOYEE_ALIASES,
        "starts_on": ("from", "from_date", "first_on", "start_date"),
        "ends_on": ("to", "to_date", "last_on", "end_date"),
        "kind": ("type", "leave_type"),
        "day_part": (),
        "hours": (),
    },
    required=(("employee_no",), ("starts_on",)),
)


@dataclass(slots=True, kw_only=True)
class EmployedPerson:
    """What a file of employment says about somebody.

    Attributes:
        departments: the person's own, then those above it.
        periods: of employment.
        assignments: of pattern and policy, which go before those of the rules.
    """

    departments: tuple[str, ...] = ()
    site: str | None = None
    periods: list[Period] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)


def read_employment_csv(path: Path, reading: CsvReading) -> dict[str, EmployedPerson]:
    """The people of a file by employee number. Who has several lines has several periods; the last department and
    site count.

    Raises:
        PermanentError: the file cannot be read at all, or its header does not fit.
    """
    people: dict[str, EmployedPerson] = {}

    def take(line: int, values: Mapping[str, str]) -> None:
        employee_no = _employee_no(values)
        first, last = _date(values, "hired_on"), _date(values, "left_on")
        if first is not None and last is not None and first > last:
            raise ValueError(f"left_on ({last}) is before hired_on ({first})")
        person = people.setdefault(employee_no, EmployedPerson())
        person.periods.append((first, last))
        person.periods.sort(key=lambda period: period[0] or dt.date.min)
        if departments := values.get("department"):
            person.departments = tuple(filter(None, (part.strip() for part in departments.split(">"))))
        person.site = values.get("site") or person.site
        pattern, policy = values.get("pattern") or None, values.get("policy") or None
        if pattern or policy:
            person.assignments.append(
                Assignment(
                    scope=Scope.EXCEPTION,
                    target=employee_no,
                    pattern=pattern,
                    policy=policy,
                    first_on=first or dt.date.min,
                    last_on=last or dt.date.max,
                )
            )

    for _ in read_csv_rows(path, EMPLOYMENT_COLUMNS, take, reading):
        pass
    return people


def read_leave_csv(path: Path, reading: CsvReading) -> Iterator[tuple[str, Leave]]:
    """The leaves of a file, each with its employee number.

    Raises:
        PermanentError: the file cannot be read at all, or its header does not fit.
    """
    return read_csv_rows(path, LEAVE_COLUMNS, _make_leave, reading)


def _make_leave(line: int, values: Mapping[str, str]) -> tuple[str, Leave]:
    first = _date(values, "starts_on")
    if first is None:
        raise ValueError("has no starts_on")
    last = _date(values, "ends_on") or first
    if last < first:
        raise ValueError(f"ends_on ({last}) is before starts_on ({first})")
    part = values.get("day_part") or DayPart.FULL.value
    if part not in {*DayPart}:
        raise ValueError(f"{part!r} is no day_part{did_you_mean(part, DayPart)}; write one of {', '.join(DayPart)}")
    return _employee_no(values), Leave(
        kind=values.get("kind") or "leave",
        starts_on=first,
        ends_on=last,
        day_part=DayPart(part),
        hours=_hours(values.get("hours", "")),
    )


def _employee_no(values: Mapping[str, str]) -> str:
    if not values["employee_no"]:
        raise ValueError("has no employee_no")
    return values["employee_no"]


def _date(values: Mapping[str, str], name: str) -> dt.date | None:
    text = values.get(name, "")
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise ValueError(f"{name}: {text!r} is no date; write it as 2026-03-31") from None


def _hours(text: str) -> float | None:
    if not text:
        return None
    try:
        hours = float(text)
    except ValueError:
        hours = -1
    if not 0 < hours <= 24:
        raise ValueError(f"hours: {text!r} is no number above 0 and up to 24")
    return hours
