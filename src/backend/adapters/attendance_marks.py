"""What has changed since attendance was looked at last: HR data, rules, punches. One transaction for a look."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Table, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.database import Database
from backend.db.models import (
    AdjustmentRow,
    AssignmentRow,
    AttendancePerson,
    AttendanceSetup,
    ClockChange,
    Correction,
    Day,
    Department,
    DirtyDays,
    Employee,
    Holiday,
    Leave,
    Override,
    Punch,
    PunchUser,
    Stream,
)
from backend.db.types import db_now
from backend.domain.attendance import calendars
from backend.domain.attendance.assignments import Assignment, Scope
from backend.domain.attendance.people import HrPerson
from backend.domain.employees import DayPart

DAYS_STREAM = "attendance.days"
_DIRTY = cast(Table, DirtyDays.__table__)
_PERSON = cast(Table, AttendancePerson.__table__)
_STREAM = cast(Table, Stream.__table__)
_USER = cast(Table, PunchUser.__table__)
_ASSIGNMENT = cast(Table, AssignmentRow.__table__)
_OF_EMPLOYEES = [cast(Table, model.__table__) for model in (Day, DirtyDays, Correction, Override, AdjustmentRow)]
_ROWS_PER_READ = 5000
_ROWS_PER_WRITE = 1000
_HR_STREAMS = ("hris.departments", "hris.employees", "hris.leaves")


class DatabaseMarkStore:
    """The marks of a migrated database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def marking(self, execution_id: str) -> AsyncIterator[Marking]:
        """One transaction in which somebody looks at what has changed; others wait for their turn."""
        is_sqlite = self._database.dialect == "sqlite"
        conflict = f"{'ON CONFLICT (code) DO UPDATE SET' if is_sqlite else 'ON DUPLICATE KEY UPDATE'} code = :code"
        last_ids = await self._find_last_ids()
        async with self._database.session() as session:
            # Takes the row's lock, also where it was not there: two who begin at the same time do not share one.
            await session.execute(
                text(f"INSERT INTO {_STREAM.name} (code, watermark) VALUES (:code, '{{}}') {conflict}"),  # noqa: S608
                {"code": DAYS_STREAM},
            )
            stream = await session.get_one(Stream, DAYS_STREAM)
            yield Marking(session, dict(stream.watermark), execution_id, last_ids=last_ids)

    async def _find_last_ids(self) -> tuple[int, int]:
        """The highest ids of punches and of clock changes up to which there will be no new ones.

        Ids are given before they are committed. Whoever records punches holds the lock of their stream meanwhile: with
        the locks of all of them in hand, nothing is on its way. A transaction of its own, so that nobody who records
        waits for as long as a look takes.
        """
        async with self._database.session() as session:
            found = await session.scalars(select(Stream.code).where(Stream.code.like("%.punches")))
            # By their keys: a search would wait for the locks of all streams, those of a long replication as well.
            locked = select(Stream.code).where(Stream.code.in_(sorted(found))).order_by(Stream.code).with_for_update()
            await session.execute(locked)
            punch = (await session.execute(select(func.max(Punch.id)))).scalar_one()
            clock = (await session.execute(select(func.max(ClockChange.id)))).scalar_one()
        return punch or 0, clock or 0


class Marking:
    """The transaction of one look.

    Attributes:
        seen: what the last look has seen, for the caller to read and change: `hr` (the replications), `punch` and
            `clock` (the highest ids). Written by `finish`.
        last_ids: the highest ids of punches and of clock changes; none up to them can still appear.
    """

    def __init__(
        self, session: AsyncSession, seen: dict[str, Any], execution_id: str, *, last_ids: tuple[int, int] = (0, 0)
    ) -> None:
        self.seen = seen
        self.last_ids = last_ids
        self._session = session
        self._execution_id = execution_id

    async def find_setup(self) -> Mapping[str, Any] | None:
        """The setup that days were computed by so far."""
        query = select(AttendanceSetup.content).order_by(AttendanceSetup.id.desc()).limit(1)
        content = (await self._session.execute(query)).scalar_one_or_none()
        return None if content is None else json.loads(content)

    async def save_setup(self, content: Mapping[str, Any]) -> None:
        """Let days be computed by this setup from now on."""
        saved = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        self._session.add(
            AttendanceSetup(
                digest=hashlib.blake2b(saved.encode(), digest_size=16).digest(),
                content=saved,
                used_from=await self._now(),
                execution_id=self._execution_id,
            )
        )
        await self._session.flush()

    async def list_assignments(self) -> list[Assignment]:
        """The assignments of the table that nobody has withdrawn."""
        query = select(AssignmentRow).where(AssignmentRow.withdrawn_at.is_(None))
        return [to_assignment(row) for row in await self._session.scalars(query)]

    async def list_holidays(self) -> list[calendars.Holiday]:
        """The holidays that the HR data has."""
        query = select(Holiday).where(Holiday.is_active)
        return [
            calendars.Holiday(
                holiday_on=row.holiday_on, name=row.name, day_part=DayPart(row.day_part), calendar=row.calendar
            )
            for row in await self._session.scalars(query)
        ]

    async def hr_revision(self) -> Mapping[str, str | None]:
        """Which replications have written the HR data last."""
        query = select(Stream.code, Stream.execution_id).where(Stream.code.in_(_HR_STREAMS))
        return {str(code): execution for code, execution in (await self._session.execute(query)).all()}

    async def list_parents(self) -> dict[str, str | None]:
        """The department above each department."""
        query = select(Department.code, Department.parent_code)
        return {str(code): parent for code, parent in (await self._session.execute(query)).all()}

    async def stream_people(self, site_field: str) -> AsyncIterator[Sequence[HrPerson]]:
        """Every employee, also who has left, some thousand at a time.

        Args:
            site_field: `extra.NAME`, `department_code` or `position_code`: tells the place of work.
        """
        last = 0
        field = site_field.removeprefix("extra.")
        while True:
            query = (
                select(
                    Employee.id,
                    Employee.employee_no,
                    Employee.department_code,
                    Employee.position_code,
                    Employee.extra,
                    Employee.hired_on,
                    Employee.left_on,
                    Employee.is_active,
                    Employee.deactivated_at,
                )
                .where(Employee.id > last)
                .order_by(Employee.id)
                .limit(_ROWS_PER_READ)
            )
            rows = (await self._session.execute(query)).all()
            if not rows:
                return
            last = rows[-1][0]
            yield [
                HrPerson(
                    row_id=row_id,
                    employee_no=number,
                    department=department,
                    site=_text({**(extra or {}), "department_code": department, "position_code": position}.get(field)),
                    hired_on=hired_on,
                    left_on=left_on,
                    gone_on=None if is_active or gone_at is None else gone_at.date(),
                )
                for row_id, number, department, position, extra, hired_on, left_on, is_active, gone_at in rows
            ]

    async def read_leaves(self) -> dict[str, list[calendars.Leave]]:
        """The leaves of each employee."""
        found: defaultdict[str, list[calendars.Leave]] = defaultdict(list)
        last = 0
        while True:
            query = (
                select(
                    Leave.id, Leave.employee_no, Leave.kind, Leave.starts_on, Leave.ends_on, Leave.day_part, Leave.hours
                )
                .where(Leave.is_active, Leave.id > last)
                .order_by(Leave.id)
                .limit(_ROWS_PER_READ)
            )
            rows = (await self._session.execute(query)).all()
            if not rows:
                return found
            last = rows[-1][0]
            for _, number, kind, starts_on, ends_on, part, hours in rows:
                found[number].append(
                    calendars.Leave(
                        kind=kind,
                        starts_on=starts_on,
                        ends_on=ends_on,
                        day_part=DayPart(part),
                        hours=None if hours is None else float(hours),
                    )
                )

    async def find_facts(self, numbers: Collection[str]) -> dict[str, str]:
        """What the last look has seen of these people, of those that it knows."""
        found: dict[str, str] = {}
        for some in _slices(sorted(numbers)):
            query = select(AttendancePerson.employee_no, AttendancePerson.facts)
            rows = (await self._session.execute(query.where(AttendancePerson.employee_no.in_(some)))).all()
            found.update((str(number), facts) for number, facts in rows)
        return found

    async def read_facts(self) -> dict[str, str]:
        """What the last look has seen of each person, as it was written."""
        query = select(AttendancePerson.employee_no, AttendancePerson.facts).order_by(AttendancePerson.employee_no)
        found: dict[str, str] = {}
        last = ""
        while True:
            page = query.where(AttendancePerson.employee_no > last).limit(_ROWS_PER_READ)
            rows = (await self._session.execute(page)).all()
            if not rows:
                return found
            found.update((str(number), facts) for number, facts in rows)
            last = rows[-1][0]

    async def save_facts(self, new: Mapping[str, str], changed: Mapping[str, str]) -> None:
        """Write what this look has seen."""
        for rows in _slices([{"employee_no": number, "facts": facts} for number, facts in new.items()]):
            await self._session.execute(insert(_PERSON), rows)
        for number, facts in changed.items():
            await self._session.execute(update(_PERSON).where(_PERSON.c.employee_no == number).values(facts=facts))

    async def renumber(self, numbers: Mapping[str, str]) -> None:
        """Give what is stored of people to their new numbers (`numbers` by the old ones), and mark their days.

        Whoever computes goes by the old numbers until now, and finds the punches of users that are matched already to
        the new ones with others, or with nobody.
        """
        columns = [
            (_PERSON, _PERSON.c.employee_no),
            *((table, table.c.employee_no) for table in _OF_EMPLOYEES),
            (_ASSIGNMENT, _ASSIGNMENT.c.target),
        ]
        # By way of names that nobody has: two people may have swapped theirs.
        names = {old: f"\x1a{place}" for place, old in enumerate(numbers)}
        for before, after in [*names.items(), *((names[old], new) for old, new in numbers.items())]:
            for table, column in columns:
                change = update(table).where(column == before).values({column: after})
                if table is _ASSIGNMENT:
                    change = change.where(_ASSIGNMENT.c.scope.in_(("employee", "exception")))
                await self._session.execute(change)
            assigned = update(_USER).where(_USER.c.assigned_no == before)
            owned = assigned.where(_USER.c.employee_no == before)
            await self._session.execute(owned.values(employee_no=after))
            await self._session.execute(assigned.values(assigned_no=after))
        for some in _slices([*numbers.values()]):
            query = (
                select(Day.employee_no, func.min(Day.work_on), func.max(Day.work_on))
                .where(Day.employee_no.in_(some))
                .group_by(Day.employee_no)
            )
            await self.mark((*row, "user") for row in (await self._session.execute(query)).all())

    async def stream_new_punches(self, after: int, until: int) -> AsyncIterator[Sequence[tuple[str, dt.datetime]]]:
        """Employees and instants of the punches with these ids (exclusive, inclusive); nobody's are left out."""
        while after < until:
            upto = min(until, after + _ROWS_PER_READ)
            query = select(Punch.source, Punch.user_id, Punch.punched_at).where(Punch.id > after, Punch.id <= upto)
            rows = (await self._session.execute(query)).all()
            owners = await self._find_owners({(source, user) for source, user, _ in rows})
            yield [(owners[source, user], at) for source, user, at in rows if (source, user) in owners]
            after = upto

    async def span_new_punches(self, after: int, until: int) -> Sequence[tuple[str, dt.datetime, dt.datetime]]:
        """The same by user: employee, the first and the last instant."""
        query = (
            select(Punch.source, Punch.user_id, func.min(Punch.punched_at), func.max(Punch.punched_at))
            .with_hint(Punch, "FORCE INDEX (PRIMARY)", "mysql")
            .where(Punch.id > after, Punch.id <= until)
            .group_by(Punch.source, Punch.user_id)
        )
        rows = (await self._session.execute(query)).all()
        owners = await self._find_owners({(source, user) for source, user, _, _ in rows})
        return [(owners[source, user], first, last) for source, user, first, last in rows if (source, user) in owners]

    async def punches_around_changes(self, after: int, until: int) -> Sequence[tuple[str, dt.datetime]]:
        """Employees and instants of the punches that the clock changes with these ids make doubtful."""
        query = select(ClockChange).where(ClockChange.id > after, ClockChange.id <= until)
        rows: list[tuple[str, str, dt.datetime]] = []
        for change in (await self._session.scalars(query)).all():
            doubt = dt.timedelta(seconds=change.doubt_seconds)
            around = (
                select(Punch.source, Punch.user_id, Punch.punched_at)
                .with_hint(Punch, "FORCE INDEX (ix_attendance_punch_punched_at)", "mysql")
                .where(
                    Punch.punched_at.between(change.changed_at - doubt, change.changed_at + doubt),
                    Punch.source == change.source,
                    Punch.device_id == change.device_id,
                )
            )
            rows += [(source, user, at) for source, user, at in (await self._session.execute(around)).all()]
        owners = await self._find_owners({(source, user) for source, user, _ in rows})
        return [(owners[source, user], at) for source, user, at in rows if (source, user) in owners]

    async def _find_owners(self, users: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Whose users these are; by their keys, as for a join a server with old statistics may take hours."""
        by_source: defaultdict[str, list[str]] = defaultdict(list)
        for source, user in users:
            by_source[source].append(user)
        owners: dict[tuple[str, str], str] = {}
        for source, its_users in by_source.items():
            for some in _slices(its_users):
                query = select(PunchUser.user_id, PunchUser.employee_no).where(
                    PunchUser.source == source, PunchUser.user_id.in_(some), PunchUser.employee_no.is_not(None)
                )
                owners |= {(source, user): str(owner) for user, owner in (await self._session.execute(query)).all()}
        return owners

    async def mark(self, marks: Iterable[tuple[str, dt.date, dt.date, str]]) -> int:
        """Mark days to be computed again: employee number, first and last date, reason. How many marks were new."""
        now = await self._now()
        rows = [
            {"employee_no": number, "first_on": first, "last_on": last, "reason": reason, "marked_at": now}
            for number, first, last, reason in dict.fromkeys(marks)
        ]
        for some in _slices(rows):
            await self._session.execute(insert(_DIRTY), some)
        return len(rows)

    async def finish(self) -> None:
        """Write what was seen."""
        await self._session.execute(update(_STREAM).where(_STREAM.c.code == DAYS_STREAM).values(watermark=self.seen))

    async def _now(self) -> dt.datetime:
        return (await self._session.execute(select(db_now()))).scalar_one()


def to_assignment(row: AssignmentRow) -> Assignment:
    """The assignment as the engine takes it."""
    return Assignment(
        scope=Scope(row.scope),
        target=row.target,
        pattern=row.pattern,
        policy=row.policy,
        first_on=row.first_on or dt.date.min,
        last_on=row.last_on or dt.date.max,
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _slices(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _ROWS_PER_WRITE] for start in range(0, len(items), _ROWS_PER_WRITE))
