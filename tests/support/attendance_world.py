"""A small company in hrsync's own database, whose days of attendance a test computes as the tasks do."""

from __future__ import annotations

import datetime as dt
import itertools
import zoneinfo
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select, update

from backend.adapters.attendance_amendments import DatabaseAmendmentStore
from backend.adapters.attendance_days import DatabaseDayStore
from backend.adapters.attendance_marks import DatabaseMarkStore
from backend.adapters.attendance_rules import FileRuleSource
from backend.db.database import Database
from backend.db.models import (
    AdjustmentRow,
    Base,
    Day,
    Department,
    DirtyDays,
    Employee,
    Holiday,
    Leave,
    Punch,
    PunchUser,
    Stream,
)
from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.locking import LockedPeriod
from backend.domain.executions import RunReport
from backend.services import compute_attendance
from backend.services.amend_attendance import Amender
from backend.services.find_touched_days import find_touched_days
from tests.support.hris import RecordedRun

# Office hours in Berlin for everybody.
RULES = """
default_site = "BER"

[sites.BER]
timezone = "Europe/Berlin"

[sites.NYC]
timezone = "America/New_York"

[policies.default]
late_grace = "5m"

[shifts.office]
start = "09:00"
end = "17:00"

[shifts.night]
start = "22:00"
end = "06:00"

[patterns.office]
week = ["office", "office", "office", "office", "office", "", ""]

[patterns.night]
week = ["night", "night", "night", "night", "night", "", ""]

[[assignments]]
default = true
pattern = "office"
"""

# A Friday, so that the week before is over.
NOW = dt.datetime(2026, 11, 20, 20, 0, tzinfo=dt.UTC)
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
_numbers = itertools.count(1)


class Line(NamedTuple):
    """What of a stored day most tests look at."""

    employee_no: str
    work_on: str
    status: str
    worked_hours: float


def work_by(number: str, pattern: str, **dates: dt.date) -> Assignment:
    """The assignment of a pattern to an employee."""
    return Assignment(scope=Scope.EMPLOYEE, target=number, pattern=pattern, **dates)


class World:
    """The company.

    Args:
        folder: where its attendance.toml is.
    """

    def __init__(self, database: Database, folder: Path, *, now: dt.datetime = NOW) -> None:
        self.database = database
        self.now = now
        self.file = folder / "attendance.toml"
        self.file.write_text(RULES, encoding="utf-8")
        self.rules = FileRuleSource(self.file)
        self.marks = DatabaseMarkStore(database)
        self.store = DatabaseDayStore(database, stale_after_seconds=3600)

    # --- what happens ---------------------------------------------------------------------------------------------

    async def hire(self, *numbers: str, hired_on: str = "2020-01-01", **fields: Any) -> None:
        """Let the HR data have these employees; each has a user of the same name at the clocks."""
        rows = [
            {
                "employee_no": number,
                "full_name": f"Person {number}",
                "status": "active",
                "hired_on": dt.date.fromisoformat(hired_on),
                "row_hash": bytes(16),
                "is_active": True,
                "first_seen_at": self.now,
                "changed_at": self.now,
                "execution_id": "hris",
                **fields,
            }
            for number in numbers
        ]
        users = [
            {"source": "biostar", "user_id": number, "employee_no": number, "first_seen_at": self.now}
            for number in numbers
        ]
        async with self.database.session() as session:
            await session.execute(insert(Employee), rows)
            await session.execute(insert(PunchUser), users)
        await self.replicated()

    async def found_department(self, code: str) -> None:
        """Let the HR data have a department."""
        values = {
            "code": code,
            "name": f"Department {code}",
            "row_hash": bytes(16),
            "is_active": True,
            "first_seen_at": self.now,
            "changed_at": self.now,
            "execution_id": "hris",
        }
        async with self.database.session() as session:
            await session.execute(insert(Department), values)

    async def change_person(self, number: str, **fields: Any) -> None:
        """Let the HRIS say something else."""
        async with self.database.session() as session:
            await session.execute(update(Employee).where(Employee.employee_no == number).values(**fields))
        await self.replicated()

    async def grant(self, number: str, starts_on: str, ends_on: str, *, day_part: str = "full") -> str:
        """A leave; its code."""
        code = f"L{next(_numbers)}"
        values = {
            "code": code,
            "employee_no": number,
            "kind": "vacation",
            "starts_on": dt.date.fromisoformat(starts_on),
            "ends_on": dt.date.fromisoformat(ends_on),
            "day_part": day_part,
            "row_hash": bytes(16),
            "is_active": True,
            "first_seen_at": self.now,
            "changed_at": self.now,
            "execution_id": "hris",
        }
        async with self.database.session() as session:
            await session.execute(insert(Leave), values)
        await self.replicated()
        return code

    async def revoke(self, code: str) -> None:
        """Take a leave back."""
        async with self.database.session() as session:
            await session.execute(update(Leave).where(Leave.code == code).values(is_active=False))
        await self.replicated()

    async def declare_holiday(self, day: str, name: str = "Founders' day") -> None:
        """A holiday of the HR data."""
        values = {
            "code": f"H{next(_numbers)}",
            "holiday_on": dt.date.fromisoformat(day),
            "name": name,
            "day_part": "full",
            "row_hash": bytes(16),
            "is_active": True,
            "first_seen_at": self.now,
            "changed_at": self.now,
            "execution_id": "hris",
        }
        async with self.database.session() as session:
            await session.execute(insert(Holiday), values)

    async def replicated(self) -> None:
        """Move the stream of the employees, as each replication does."""
        async with self.database.session() as session:
            await session.execute(delete(Stream).where(Stream.code == "hris.employees"))
            session.add(Stream(code="hris.employees", watermark={}, execution_id=f"run-{next(_numbers)}"))

    async def punch(self, number: str, *times: str, device: str = "1", flags: str | None = None) -> list[int]:
        """Punches at these times, such as `2026-11-16 09:00` by the clock of Berlin; their ids."""
        rows = [
            {
                "source": "biostar",
                "source_table": "t_lg",
                "event_key": str(next(_numbers)),
                "user_id": number,
                "punched_at": dt.datetime.fromisoformat(time).replace(tzinfo=BERLIN),
                "device_id": device,
                "flags": flags,
                "ingested_at": self.now,
                "execution_id": "ingest",
            }
            for time in times
        ]
        async with self.database.session() as session:
            await session.execute(insert(Punch), rows)
            keys = [row["event_key"] for row in rows]
            found = await session.scalars(select(Punch.id).where(Punch.event_key.in_(keys)).order_by(Punch.id))
            return list(found)

    async def work(self, number: str, *days: str) -> None:
        """Punches from 09:00 to 17:00 on these dates."""
        for day in days:
            await self.punch(number, f"{day} 09:00", f"{day} 17:00")

    @property
    def amender(self) -> Amender:
        """Takes what people say."""
        return Amender(DatabaseAmendmentStore(self.database), self.rules, made_by="hr", reason="because")

    async def empty(self) -> None:
        """Begin anew, for tests that tell several stories on one database."""
        async with self.database.session() as session:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name.startswith(("attendance_", "hr_", "sync_")):
                    await session.execute(delete(table))

    def _clock(self) -> dt.datetime:
        return self.now

    # --- what the tasks do ----------------------------------------------------------------------------------------

    async def look(self, **options: Any) -> int:
        """Mark what has changed."""
        return await find_touched_days(RecordedRun(), store=self.marks, rules=self.rules, now=self.now, **options)

    async def compute(self, first: str, last: str, *numbers: str) -> RunReport:
        """Compute a range of days."""
        await self.look()
        begin, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
        people = await compute_attendance.find_people(self.store, first=begin, last=end, employees=numbers)
        return await compute_attendance.compute_range(
            RecordedRun(),
            store=self.store,
            rules=self.rules,
            clock=self._clock,
            first=begin,
            last=end,
            employees=people,
        )

    async def recompute(self, run: RecordedRun | None = None) -> RunReport:
        """Look, and compute what is marked."""
        await self.look()
        return await compute_attendance.recompute_dirty(
            run or RecordedRun(), store=self.store, rules=self.rules, clock=self._clock
        )

    async def compute_day(self, days_back: int) -> RunReport:
        """Compute today (0) or yesterday (1)."""
        await self.look()
        return await compute_attendance.compute_day(
            RecordedRun(), store=self.store, rules=self.rules, clock=self._clock, days_back=days_back
        )

    async def lock(self, first: str, last: str) -> RunReport:
        """Lock a period."""
        await self.look()
        return await compute_attendance.lock_period(
            RecordedRun(),
            store=self.store,
            rules=self.rules,
            clock=self._clock,
            period=LockedPeriod(dt.date.fromisoformat(first), dt.date.fromisoformat(last)),
            made_by="payroll",
            reason="closed",
        )

    # --- what there is --------------------------------------------------------------------------------------------

    async def days(self) -> list[Day]:
        """The stored days, by employee and date."""
        async with self.database.reader() as session:
            return list(await session.scalars(select(Day).order_by(Day.employee_no, Day.work_on)))

    async def lines(self) -> list[Line]:
        """The stored days in short."""
        return [
            Line(day.employee_no, day.work_on.isoformat(), day.status, day.worked_seconds / 3600)
            for day in await self.days()
        ]

    async def contents(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        """Everything about the stored days but who computed them and when."""
        return {
            (day.employee_no, day.work_on.isoformat()): (day.status, day.is_final, day.worked_seconds, day.detail)
            for day in await self.days()
        }

    async def dirty(self) -> list[tuple[str, str, str, str]]:
        """The marks: employee, first and last date, reason."""
        query = select(DirtyDays.employee_no, DirtyDays.first_on, DirtyDays.last_on, DirtyDays.reason)
        async with self.database.reader() as session:
            rows = (await session.execute(query.order_by(DirtyDays.employee_no, DirtyDays.first_on))).all()
        return [(number, first.isoformat(), last.isoformat(), reason) for number, first, last, reason in rows]

    async def adjustments(self) -> Sequence[AdjustmentRow]:
        """The adjustments, by employee and date."""
        query = select(AdjustmentRow).order_by(AdjustmentRow.employee_no, AdjustmentRow.work_on)
        async with self.database.reader() as session:
            return (await session.scalars(query)).all()

    async def written_by(self, execution_id: str) -> Iterable[str]:
        """The dates of the days that an execution wrote."""
        return [day.work_on.isoformat() for day in await self.days() if day.execution_id == execution_id]
