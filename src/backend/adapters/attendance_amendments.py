"""What people say about attendance, in hrsync's own database: corrections, overrides, assignments, locks."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.adapters.attendance_marks import DAYS_STREAM, Marking
from backend.api.repositories.scheduler_repository import SchedulerRepository
from backend.db.database import Database
from backend.db.models import (
    AdjustmentRow,
    AssignmentRow,
    AttendancePerson,
    Correction,
    Department,
    Override,
    PeriodLock,
    Punch,
    PunchUser,
    Stream,
)
from backend.db.types import db_now
from backend.domain.attendance.assignments import Assignment
from backend.domain.attendance.people import PersonFacts

_KINDS: Mapping[str, type[Correction] | type[Override] | type[AssignmentRow] | type[PeriodLock]] = {
    "correction": Correction,
    "override": Override,
    "assignment": AssignmentRow,
    "lock": PeriodLock,
}
KINDS = tuple(_KINDS)


class DatabaseAmendmentStore:
    """The amendments of a migrated database; each is in the audit log as well."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def amending(self, *, alone: bool = False) -> AsyncIterator[Amending]:
        """One transaction; a period is not locked meanwhile, and with `alone` nobody else amends or computes."""
        async with self._database.session() as session:
            stream = select(Stream.code).where(Stream.code == DAYS_STREAM)
            await session.execute(stream.with_for_update(read=not alone))
            yield Amending(session)


class Amending:
    """The transaction of one amendment."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._marking = Marking(session, {}, "")
        self._audit = SchedulerRepository()

    async def find_setup(self) -> Mapping[str, Any] | None:
        """The setup that days are computed by; None: none was ever computed."""
        return await self._marking.find_setup()

    async def find_facts(self, employee_no: str) -> PersonFacts | None:
        """What attendance knows of an employee; None: nothing."""
        row = await self._session.get(AttendancePerson, employee_no)
        return None if row is None else PersonFacts.from_text(row.facts)

    async def has_department(self, code: str) -> bool:
        """Whether the HR data has the department."""
        return (await self._session.scalars(select(Department.id).where(Department.code == code))).first() is not None

    async def find_punch(self, employee_no: str, punch_id: int) -> dt.datetime | None:
        """When the punch was; None: the employee has no such punch."""
        query = (
            select(Punch.punched_at)
            .join(PunchUser, (PunchUser.source == Punch.source) & (PunchUser.user_id == Punch.user_id))
            .where(Punch.id == punch_id, PunchUser.employee_no == employee_no)
        )
        return (await self._session.execute(query)).scalar_one_or_none()

    async def list_assignments(self) -> list[Assignment]:
        """The assignments that nobody has withdrawn."""
        return await self._marking.list_assignments()

    async def add_correction(self, **values: Any) -> int:
        """Keep a correction; its number."""
        return await self._add("correction", Correction, values)

    async def add_override(self, **values: Any) -> int:
        """Keep an override; its number."""
        return await self._add("override", Override, values)

    async def add_assignment(self, **values: Any) -> int:
        """Keep an assignment; its number."""
        return await self._add("assignment", AssignmentRow, values)

    async def withdraw(self, kind: str, number: int, *, made_by: str, reason: str) -> Mapping[str, Any] | None:
        """Take one back; its columns, or None: there is none that stands."""
        model = _KINDS[kind]
        row: Any = await self._session.get(model, number, with_for_update=True)
        if row is None or row.withdrawn_at is not None:
            return None
        row.withdrawn_at = (await self._session.execute(select(db_now()))).scalar_one()
        row.withdrawn_by = made_by
        if isinstance(row, PeriodLock):
            await self._reopen(row)
        await self._audit.record_audit(
            self._session, made_by, f"attendance_{kind}_withdrawn", (kind, str(number)), {"reason": reason}
        )
        return {name: getattr(row, name) for name in model.__mapper__.columns.keys()}  # noqa: SIM118

    async def _reopen(self, lock: PeriodLock) -> None:
        """Let the days of a period that is locked no more be what they would be, instead of adjustments."""
        query = select(AdjustmentRow).where(
            AdjustmentRow.work_on.between(lock.first_on, lock.last_on), AdjustmentRow.settled_at.is_(None)
        )
        rows = (await self._session.scalars(query)).all()
        await self._marking.mark((row.employee_no, row.work_on, row.work_on, "lock") for row in rows)
        for row in rows:
            row.settled_at = row.changed_at = lock.withdrawn_at or row.changed_at

    async def mark(self, marks: Iterable[tuple[str, dt.date, dt.date, str]]) -> int:
        """Mark days to be computed again."""
        return await self._marking.mark(marks)

    async def _add(self, kind: str, model: Any, values: Mapping[str, Any]) -> int:
        made_at = (await self._session.execute(select(db_now()))).scalar_one()
        row = model(**values, made_at=made_at)
        self._session.add(row)
        await self._session.flush()
        number = int(row.id)
        told = {name: value for name, value in values.items() if value is not None and name != "made_by"}
        details = json.loads(json.dumps(told, default=str))
        await self._audit.record_audit(
            self._session, values["made_by"], f"attendance_{kind}_made", (kind, str(number)), details
        )
        return number
