"""Reads attendance for people: computed days, adjustments, what people have said, locked periods."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.models import (
    AdjustmentRow,
    AssignmentRow,
    AttendancePerson,
    Correction,
    Day,
    DirtyDays,
    Employee,
    Override,
    PeriodLock,
)
from backend.domain.attendance.people import PersonFacts

Amendment = Correction | Override | AssignmentRow


class AttendanceRepository:
    """Queries on the attendance tables; the caller brings the session."""

    async def find_employee(self, session: AsyncSession, employee_no: str) -> Employee | None:
        """The employee of the HR data."""
        return (await session.scalars(select(Employee).where(Employee.employee_no == employee_no))).one_or_none()

    async def find_facts(self, session: AsyncSession, employee_no: str) -> PersonFacts | None:
        """What attendance knows of an employee."""
        row = await session.get(AttendancePerson, employee_no)
        return None if row is None else PersonFacts.from_text(row.facts)

    async def find_day(self, session: AsyncSession, employee_no: str, work_on: dt.date) -> Day | None:
        """A computed day."""
        query = select(Day).where(Day.employee_no == employee_no, Day.work_on == work_on)
        return (await session.scalars(query)).one_or_none()

    async def find_adjustment(self, session: AsyncSession, employee_no: str, work_on: dt.date) -> AdjustmentRow | None:
        """The adjustment of a day that stands."""
        query = select(AdjustmentRow).where(
            AdjustmentRow.employee_no == employee_no,
            AdjustmentRow.work_on == work_on,
            AdjustmentRow.settled_at.is_(None),
        )
        return (await session.scalars(query)).one_or_none()

    async def is_marked(self, session: AsyncSession, employee_no: str, work_on: dt.date) -> bool:
        """Whether the day is to be computed again."""
        query = select(DirtyDays.id).where(
            DirtyDays.employee_no == employee_no, DirtyDays.first_on <= work_on, DirtyDays.last_on >= work_on
        )
        return (await session.scalars(query.limit(1))).first() is not None

    async def list_days(
        self,
        session: AsyncSession,
        *,
        first: dt.date,
        last: dt.date,
        employees: Collection[str] = (),
        department: str | None = None,
        status: str | None = None,
        anomaly: str | None = None,
        limit: int,
    ) -> Sequence[Day]:
        """Days from `first` to `last` by date and employee.

        Args:
            department: of the employees as the HR data has them now; without those below it.
            anomaly: a code of `domain.attendance.day.Anomaly`.
        """
        query = select(Day).where(Day.work_on.between(first, last))
        if employees:
            query = query.where(Day.employee_no.in_(sorted(employees)))
        if department is not None:
            its_people = select(Employee.employee_no).where(Employee.department_code == department)
            query = query.where(Day.employee_no.in_(its_people))
        if status is not None:
            query = query.where(Day.status == status)
        if anomaly is not None:
            query = query.where(("," + Day.anomalies + ",").contains(f",{anomaly},", autoescape=True))
        return (await session.scalars(query.order_by(Day.work_on, Day.employee_no).limit(limit))).all()

    async def list_adjustments(
        self, session: AsyncSession, *, employee_no: str | None = None, settled: bool = False, limit: int
    ) -> Sequence[AdjustmentRow]:
        """Adjustments that stand (or also those that went away again), by date and employee."""
        query = select(AdjustmentRow)
        if employee_no is not None:
            query = query.where(AdjustmentRow.employee_no == employee_no)
        if not settled:
            query = query.where(AdjustmentRow.settled_at.is_(None))
        return (
            await session.scalars(query.order_by(AdjustmentRow.work_on, AdjustmentRow.employee_no).limit(limit))
        ).all()

    async def list_amendments(
        self, session: AsyncSession, *, employee_no: str | None = None, withdrawn: bool = False, limit: int
    ) -> Sequence[tuple[str, Amendment]]:
        """Corrections, overrides and assignments with their kind, the newest first."""
        found: list[tuple[str, Amendment]] = []
        models: Sequence[tuple[str, Any, Any]] = (
            ("correction", Correction, Correction.employee_no),
            ("override", Override, Override.employee_no),
            ("assignment", AssignmentRow, AssignmentRow.target),
        )
        for kind, model, whose in models:
            query = select(model)
            if employee_no is not None:
                query = query.where(whose == employee_no)
            if not withdrawn:
                query = query.where(model.withdrawn_at.is_(None))
            found += [(kind, row) for row in await session.scalars(query.order_by(model.id.desc()).limit(limit))]
        return sorted(found, key=lambda item: item[1].made_at, reverse=True)[:limit]

    async def list_locks(self, session: AsyncSession) -> Sequence[PeriodLock]:
        """The locked periods, by date."""
        query = select(PeriodLock).where(PeriodLock.withdrawn_at.is_(None)).order_by(PeriodLock.first_on)
        return (await session.scalars(query)).all()


def overtime_of(day: Day) -> dict[str, int]:
    """The overtime of a stored day by kind, in seconds."""
    return dict(json.loads(day.detail).get("overtime", {}))
