"""Which of the people, departments and sites that the rules of attendance speak of the database knows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from backend.adapters.attendance_marks import to_assignment
from backend.db.database import Database
from backend.db.models import AssignmentRow, Department, Employee, Holiday
from backend.domain.attendance import calendars
from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.rules import AttendanceRules
from backend.domain.employees import DayPart

_KEYS_PER_READ = 1000
_PEOPLE = (Scope.EMPLOYEE, Scope.EXCEPTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTargets:
    """What the database has, as far as the rules speak of it.

    Attributes:
        employees, departments: those of the targets that there are.
        sites: what active employees have as their site, and how many of them; None: no site.
    """

    employees: frozenset[str]
    departments: frozenset[str]
    sites: dict[str | None, int]


class TargetStore:
    """Reads a migrated database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_assignments(self) -> list[Assignment]:
        """The assignments of the table that nobody has withdrawn."""
        async with self._database.session() as session:
            query = select(AssignmentRow).where(AssignmentRow.withdrawn_at.is_(None))
            return [to_assignment(row) for row in await session.scalars(query)]

    async def list_holidays(self) -> list[calendars.Holiday]:
        """The holidays that the HR data has."""
        async with self._database.session() as session:
            query = select(Holiday).where(Holiday.is_active)
            return [
                calendars.Holiday(
                    holiday_on=row.holiday_on, name=row.name, day_part=DayPart(row.day_part), calendar=row.calendar
                )
                for row in await session.scalars(query)
            ]

    async def find_targets(self, rules: AttendanceRules) -> KnownTargets:
        """What there is of the targets of the assignments, and where people work."""
        targets = rules.assignments.targets()
        people = {target for scope, target in targets if scope in _PEOPLE}
        departments = {target for scope, target in targets if scope is Scope.DEPARTMENT}
        async with self._database.session() as session:
            return KnownTargets(
                employees=await _find(session, Employee.employee_no, people),
                departments=await _find(session, Department.code, departments),
                sites=await _count_sites(session, rules.site_field),
            )


async def _find(session: AsyncSession, column: InstrumentedAttribute[str], wanted: Iterable[str]) -> frozenset[str]:
    keys: Sequence[str] = sorted(wanted)
    found: set[str] = set()
    for start in range(0, len(keys), _KEYS_PER_READ):
        found.update(await session.scalars(select(column).where(column.in_(keys[start : start + _KEYS_PER_READ]))))
    return frozenset(found)


async def _count_sites(session: AsyncSession, field: str) -> dict[str | None, int]:
    source, _, name = field.rpartition(".")
    column: ColumnElement[str | None]
    column = func.json_extract(Employee.extra, f'$."{name}"') if source else getattr(Employee, name)
    query = select(column, func.count()).where(Employee.is_active).group_by(column)
    counts: dict[str | None, int] = {}
    for value, count in (await session.execute(query)).all():
        site = _plain(value) if source else value
        counts[site] = counts.get(site, 0) + count
    return counts


def _plain(value: object) -> str | None:
    """The text of a value in JSON, which one database returns with its quotation marks and another one without."""
    if isinstance(value, str) and value.startswith('"'):
        value = json.loads(value)
    return None if value in (None, "null") else str(value).strip() or None
