"""The computed days in hrsync's own database, and what they are computed from: one transaction for each chunk.

What is read in large numbers comes packed, some text for each person, because a driver takes longest over many small
values.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
from sqlalchemy import Table, and_, delete, false, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from backend.adapters.attendance_marks import DAYS_STREAM
from backend.db.bulk_load import BulkLoader, find_file_loading
from backend.db.database import Database
from backend.db.models import (
    AdjustmentRow,
    AttendancePerson,
    AttendanceSetup,
    ClockChange,
    Correction,
    Day,
    DirtyDays,
    Override,
    PeriodLock,
    Punch,
    PunchUser,
    Stream,
)
from backend.db.types import db_now
from backend.domain.attendance.chunks import Ask, ChunkInputs, ChunkResult, ComputedDay
from backend.domain.attendance.corrections import Action, PunchCorrection
from backend.domain.attendance.day import DayOverride, Overtime, Status, WorkPunch
from backend.domain.attendance.locking import Adjustment, DayTotals, LockedPeriod
from backend.domain.attendance.people import PersonFacts
from backend.domain.attendance.records import TOTALS
from backend.domain.attendance.setup import subtract
from backend.domain.punches import Direction, PunchFlag
from backend.errors import PermanentError

_DAY = cast(Table, Day.__table__)
_STREAM = cast(Table, Stream.__table__)
_ADJUSTMENT = cast(Table, AdjustmentRow.__table__)
_TOTALS = (*TOTALS, "overtime_seconds")
_KEY = ("employee_no", "work_on")
_CURRENT_AT = "current_at"
# Between the values and between the rows of a packed text.
_UNIT, _RECORD = "\x1f", "\x1e"
_DIRECTIONS: Mapping[str, Direction | None] = {"": None, **{item.value: item for item in Direction}}
_KEYS_PER_STATEMENT = 500
# `IS FALSE` would use no index.
_IS_OPEN = Day.is_final == false()


class DatabaseDayStore:
    """The attendance tables of a migrated database.

    Args:
        stale_after_seconds: how long no computation may have ended well before the days are called stale; None:
            however long.
    """

    def __init__(self, database: Database, *, stale_after_seconds: float | None = None) -> None:
        self._database = database
        self._stale_after_seconds = stale_after_seconds

    async def read_setup(self) -> tuple[int, Mapping[str, Any]]:
        """The newest setup and its number; 0 and nothing: there is none."""
        async with self._database.reader() as session:
            row = (await session.scalars(select(AttendanceSetup).order_by(AttendanceSetup.id.desc()).limit(1))).first()
        return (0, {}) if row is None else (row.id, json.loads(row.content))

    async def stream_people(
        self, *, employees: Collection[str] = (), departments: Collection[str] = ()
    ) -> AsyncIterator[Mapping[str, PersonFacts]]:
        """The people that attendance knows, some thousand at a time, in the order of their numbers.

        Args:
            employees, departments: only those of these numbers, and those in or below these departments.
        """
        numbers, codes = frozenset(employees), frozenset(departments)
        async for rows in self._people([] if codes else sorted(numbers)):
            facts = await asyncio.to_thread(lambda some: {no: PersonFacts.from_text(text) for no, text in some}, rows)
            if numbers or codes:
                facts = {no: one for no, one in facts.items() if no in numbers or codes.intersection(one.departments)}
            yield facts

    async def _people(self, numbers: Sequence[str]) -> AsyncIterator[Sequence[Any]]:
        """Numbers and facts of these, or of all."""
        query = select(AttendancePerson.employee_no, AttendancePerson.facts).order_by(AttendancePerson.employee_no)
        for some in _slices(numbers):
            async with self._database.reader() as session:
                rows = (await session.execute(query.where(AttendancePerson.employee_no.in_(some)))).all()
            yield rows
        last = ""
        while not numbers:
            async with self._database.reader() as session:
                rows = (await session.execute(query.where(AttendancePerson.employee_no > last).limit(2000))).all()
            if not rows:
                return
            yield rows
            last = rows[-1][0]

    async def list_dirty(self, *, limit: int) -> list[Ask]:
        """The oldest days that are to be computed again."""
        async with self._database.reader() as session:
            query = (
                select(DirtyDays.employee_no, DirtyDays.first_on, DirtyDays.last_on).order_by(DirtyDays.id).limit(limit)
            )
            rows = (await session.execute(query)).all()
        return [Ask(employee_no=number, first_on=first, last_on=last) for number, first, last in rows]

    async def list_open(self, *, first: dt.date, last: dt.date) -> list[Ask]:
        """The days of these dates that were not over when they were computed."""
        async with self._database.reader() as session:
            query = select(Day.employee_no, Day.work_on).where(_IS_OPEN, Day.work_on.between(first, last))
            rows = (await session.execute(query)).all()
        return [Ask(employee_no=number, first_on=day, last_on=day) for number, day in rows]

    @contextlib.asynccontextmanager
    async def computing(self, asks: Sequence[Ask], execution_id: str) -> AsyncIterator[DayWork]:
        """One transaction in which these people's days are read, computed and written; others wait for their turn."""
        numbers = sorted({ask.employee_no for ask in asks})
        async with self._database.session() as session:
            # Whoever looks at what has changed, or locks a period, waits for those who compute, and they for him.
            shared = select(Stream.code).where(Stream.code == DAYS_STREAM).with_for_update(read=True)
            await session.execute(shared)
            # Locked in one order, so that two computations never wait for each other.
            query = (
                select(AttendancePerson.employee_no, AttendancePerson.facts)
                .where(AttendancePerson.employee_no.in_(numbers))
                .order_by(AttendancePerson.employee_no)
                .with_for_update()
            )
            facts = {number: PersonFacts.from_text(text) for number, text in (await session.execute(query)).all()}
            setup_id = (await session.execute(select(func.max(AttendanceSetup.id)))).scalar_one() or 0
            yield DayWork(
                session,
                _DIALECTS[self._database.dialect],
                asks,
                facts=facts,
                setup_id=setup_id,
                execution_id=execution_id,
            )

    async def find_current_at(self) -> dt.datetime | None:
        """As of when the days of everybody were current last; None: they never were."""
        async with self._database.reader() as session:
            stream = await session.get(Stream, DAYS_STREAM)
        current_at = None if stream is None else stream.watermark.get(_CURRENT_AT)
        return None if current_at is None else dt.datetime.fromisoformat(current_at)

    async def finish(self, execution_id: str, *, current_at: dt.datetime | None, recount: bool = False) -> None:
        """Note that a run over many days has ended.

        Args:
            current_at: as of when the days of everybody are current; None: they may not be.
            recount: count the days, which takes a while for millions.
        """
        values: dict[str, Any] = {}
        if recount:
            async with self._database.reader() as session:
                values["row_count"] = (await session.execute(select(func.count()).select_from(Day))).scalar_one()
        async with self._database.session() as session:
            stream = (await session.scalars(select(Stream).where(Stream.code == DAYS_STREAM).with_for_update())).one()
            if current_at is not None:
                values |= {
                    "watermark": stream.watermark | {_CURRENT_AT: current_at.isoformat()},
                    "succeeded_at": db_now(),
                    "execution_id": execution_id,
                    "stale_after_seconds": self._stale_after_seconds,
                }
            if values:
                await session.execute(update(_STREAM).where(_STREAM.c.code == DAYS_STREAM).values(values))

    async def lock_period(self, period: LockedPeriod, *, made_by: str, reason: str) -> int | None:
        """Lock a period; the number of its days. From here on no computation writes a day of it.

        None: days of it are marked to be computed again, not over yet, or locked already.
        """
        within = Day.work_on.between(period.first_on, period.last_on)
        async with self._database.session() as session:
            await session.execute(select(Stream.code).where(Stream.code == DAYS_STREAM).with_for_update())
            touches = and_(DirtyDays.first_on <= period.last_on, DirtyDays.last_on >= period.first_on)
            dirty = (await session.execute(select(func.count()).where(touches))).scalar_one()
            unfinished = (await session.execute(select(func.count()).where(within, _IS_OPEN))).scalar_one()
            if dirty or unfinished or await _locks(session, period.first_on, period.last_on):
                return None
            session.add(
                PeriodLock(
                    first_on=period.first_on,
                    last_on=period.last_on,
                    made_by=made_by,
                    reason=reason,
                    made_at=(await session.execute(select(db_now()))).scalar_one(),
                )
            )
            return int((await session.execute(select(func.count()).select_from(Day).where(within))).scalar_one())

    async def list_locks(self) -> list[LockedPeriod]:
        """The periods that are locked."""
        async with self._database.reader() as session:
            return await _locks(session, dt.date.min, dt.date.max)


class DayWork:
    """The transaction of one chunk.

    Attributes:
        facts: of the people whose days are asked for, those that attendance knows.
        setup_id: the number of the setup that counts.
    """

    def __init__(
        self,
        session: AsyncSession,
        dialect: _Dialect,
        asks: Sequence[Ask],
        *,
        facts: Mapping[str, PersonFacts],
        setup_id: int,
        execution_id: str,
    ) -> None:
        self.facts = facts
        self.setup_id = setup_id
        self._session = session
        self._dialect = dialect
        self._asks = asks
        self._execution_id = execution_id
        self._first = min(ask.first_on for ask in asks)
        self._last = max(ask.last_on for ask in asks)
        self._dirty: list[DirtyDays] = []

    async def read(self, begin: dt.datetime, end: dt.datetime) -> ChunkInputs:
        """Everything that the days depend on, with the punches from `begin` to `end` (exclusive)."""
        # First of all: what is marked now was there before what is read from here on.
        self._dirty = await self._read_dirty()
        if not self.facts:
            return ChunkInputs(facts=self.facts)
        connection = await self._session.connection()
        numbers = sorted(self.facts)
        packed = await self._pack(connection, self._dialect.punches, numbers, (_sql_instant(begin), _sql_instant(end)))
        doubts = await self._read_doubts(begin, end)
        punches = await asyncio.to_thread(_unpack_punches, packed, doubts)
        days = await self._pack(
            connection, self._dialect.digests, numbers, (self._first.isoformat(), self._last.isoformat())
        )
        digests = await asyncio.to_thread(_unpack_digests, days)
        locks = await _locks(self._session, self._first, self._last)
        return ChunkInputs(
            facts=self.facts,
            punches=punches,
            corrections=await self._read_corrections(numbers),
            overrides=await self._read_overrides(numbers),
            locks=locks,
            digests=digests,
            totals=await self._read_locked_totals(numbers, locks),
        )

    async def write(self, result: ChunkResult) -> None:
        """Store what a chunk has come to, and take the marks of what was asked for away."""
        connection = await self._session.connection()
        loader = BulkLoader(connection, may_load_files=await find_file_loading(connection))
        now = (await self._session.execute(select(db_now()))).scalar_one()
        marks = {"computed_at": _sql_instant(now), "execution_id": self._execution_id}
        if result.new:
            await loader.insert(_DAY.name, await asyncio.to_thread(_to_batch, result.new), marks)
        if result.changed:
            rows = await asyncio.to_thread(_to_batch, result.changed)
            changed = [name for name in (*rows.schema.names, *marks) if name not in _KEY]
            await loader.upsert(_DAY.name, rows, marks, on_conflict=self._dialect.replace(changed))
        for keys in _slices(result.removed):
            await self._session.execute(delete(Day).where(tuple_(Day.employee_no, Day.work_on).in_(keys)))
        await self._adjust(connection, result, now)
        await self._unmark()

    async def _adjust(self, connection: AsyncConnection, result: ChunkResult, now: dt.datetime) -> None:
        if result.adjustments:
            statement = (
                f"INSERT INTO {_ADJUSTMENT.name} (employee_no, work_on, worked_seconds, overtime, changes, detail, "  # noqa: S608
                f"found_at, changed_at, execution_id) VALUES ({', '.join([self._dialect.mark] * 9)}) "
                + self._dialect.replace(
                    ["worked_seconds", "overtime", "changes", "detail", "changed_at", "execution_id"], settled_at="NULL"
                )
            )
            at = _sql_instant(now)
            await connection.exec_driver_sql(
                statement,
                [
                    (
                        number,
                        item.work_on.isoformat(),
                        item.worked_seconds,
                        json.dumps({kind.value: seconds for kind, seconds in item.overtime.items()}),
                        json.dumps(_changes(item)),
                        None if computed is None else computed.detail,
                        at,
                        at,
                        self._execution_id,
                    )
                    for number, item, computed in result.adjustments
                ],
            )
        for keys in _slices(result.settled):
            await self._session.execute(
                update(AdjustmentRow)
                .where(tuple_(AdjustmentRow.employee_no, AdjustmentRow.work_on).in_(keys))
                .where(AdjustmentRow.settled_at.is_(None))
                .values(settled_at=db_now(), changed_at=db_now(), execution_id=self._execution_id)
                .execution_options(synchronize_session=False)
            )

    async def _read_dirty(self) -> list[DirtyDays]:
        query = select(DirtyDays).where(
            DirtyDays.employee_no.in_(sorted({ask.employee_no for ask in self._asks})),
            DirtyDays.first_on <= self._last,
            DirtyDays.last_on >= self._first,
        )
        return list(await self._session.scalars(query))

    async def _unmark(self) -> None:
        """Take away what was computed; of a longer mark the rest stays."""
        asked: defaultdict[str, list[tuple[dt.date, dt.date]]] = defaultdict(list)
        for ask in self._asks:
            asked[ask.employee_no].append((ask.first_on, ask.last_on))
        done: list[int] = []
        for mark in self._dirty:
            left = list(subtract((mark.first_on, mark.last_on), asked[mark.employee_no]))
            if left == [(mark.first_on, mark.last_on)]:
                continue
            done.append(mark.id)
            for first, last in left:
                rest = DirtyDays(employee_no=mark.employee_no, first_on=first, last_on=last, reason=mark.reason)
                rest.marked_at = mark.marked_at
                self._session.add(rest)
        for ids in _slices(done):
            await self._session.execute(delete(DirtyDays).where(DirtyDays.id.in_(ids)))

    async def _pack(
        self, connection: AsyncConnection, statement: str, numbers: Sequence[str], bounds: tuple[str, str]
    ) -> dict[str, list[list[str]]]:
        """By employee number the lines of a packed text, each as its values."""
        marks = ", ".join([self._dialect.mark] * len(numbers))
        result = await connection.exec_driver_sql(
            statement.replace("?", self._dialect.mark).replace("{numbers}", marks), (*numbers, *bounds)
        )
        found = result.all()
        return await asyncio.to_thread(_split_lines, found)

    async def _read_doubts(self, begin: dt.datetime, end: dt.datetime) -> _Doubts:
        day = dt.timedelta(days=1)
        query = select(
            ClockChange.source, ClockChange.device_id, ClockChange.changed_at, ClockChange.doubt_seconds
        ).where(ClockChange.changed_at.between(begin - day, end + day))
        doubts: _Doubts = defaultdict(list)
        for source, device, at, seconds in (await self._session.execute(query)).all():
            doubts[source, device].append((at - dt.timedelta(seconds=seconds), at + dt.timedelta(seconds=seconds)))
        return doubts

    async def _read_corrections(self, numbers: Sequence[str]) -> dict[str, list[PunchCorrection]]:
        query = (
            select(Correction)
            .where(Correction.employee_no.in_(numbers), Correction.withdrawn_at.is_(None))
            .order_by(Correction.id)
        )
        found: defaultdict[str, list[PunchCorrection]] = defaultdict(list)
        for row in await self._session.scalars(query):
            found[row.employee_no].append(to_punch_correction(row))
        return found

    async def _read_overrides(self, numbers: Sequence[str]) -> dict[str, list[DayOverride]]:
        query = select(Override).where(
            Override.employee_no.in_(numbers),
            Override.withdrawn_at.is_(None),
            Override.work_on.between(self._first, self._last),
        )
        found: defaultdict[str, list[DayOverride]] = defaultdict(list)
        for row in await self._session.scalars(query):
            found[row.employee_no].append(to_day_override(row))
        return found

    async def _read_locked_totals(
        self, numbers: Sequence[str], locks: Sequence[LockedPeriod]
    ) -> dict[tuple[str, dt.date], DayTotals]:
        if not locks:
            return {}
        query = select(Day).where(
            Day.employee_no.in_(numbers),
            Day.work_on.between(self._first, self._last),
            or_(*(Day.work_on.between(lock.first_on, lock.last_on) for lock in locks)),
        )
        return {(row.employee_no, row.work_on): to_totals(row) for row in await self._session.scalars(query)}


async def _locks(session: AsyncSession, first: dt.date, last: dt.date) -> list[LockedPeriod]:
    query = (
        select(PeriodLock.first_on, PeriodLock.last_on)
        .where(PeriodLock.withdrawn_at.is_(None), PeriodLock.first_on <= last, PeriodLock.last_on >= first)
        .order_by(PeriodLock.first_on)
    )
    return [LockedPeriod(*row) for row in (await session.execute(query)).all()]


# --- rows as values -------------------------------------------------------------------------------------------------


def to_punch_correction(row: Correction) -> PunchCorrection:
    """The correction as the engine takes it."""
    return PunchCorrection(
        key=f"c{row.id:012}",
        action=Action(row.action),
        punch_key=None if row.punch_id is None else str(row.punch_id),
        punched_at=row.punched_at,
        direction=None if row.direction is None else Direction(row.direction),
        made_by=row.made_by,
        reason=row.reason,
    )


def to_day_override(row: Override) -> DayOverride:
    """The override as the engine takes it."""
    return DayOverride(
        key=f"o{row.id:012}",
        work_on=row.work_on,
        status=None if row.status is None else Status(row.status),
        worked_seconds=row.worked_seconds,
        late_seconds=row.late_seconds,
        early_seconds=row.early_seconds,
        made_by=row.made_by,
        reason=row.reason,
    )


def to_totals(row: Day) -> DayTotals:
    """What payroll has taken from a stored day."""
    overtime = json.loads(row.detail).get("overtime", {})
    return DayTotals(
        status=Status(row.status),
        scheduled_seconds=row.scheduled_seconds,
        worked_seconds=row.worked_seconds,
        late_seconds=row.late_seconds,
        early_seconds=row.early_seconds,
        break_seconds=row.break_seconds,
        deducted_seconds=row.deducted_seconds,
        leave_seconds=row.leave_seconds,
        overtime=tuple((kind, overtime[kind]) for kind in Overtime if kind in overtime),
    )


def _changes(item: Adjustment) -> dict[str, list[Any]]:
    """What differs, as [locked, computed]."""
    return {
        name: [None if totals is None else _plain(getattr(totals, name)) for totals in (item.locked, item.computed)]
        for name in item.changed_fields
    }


def _plain(value: Any) -> Any:
    return {kind.value: seconds for kind, seconds in value} if isinstance(value, tuple) else value


def _to_batch(days: Sequence[ComputedDay]) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {
        "employee_no": pa.array([item.employee_no for item in days], pa.string()),
        "work_on": pa.array([item.day.work_on.isoformat() for item in days], pa.string()),
        "status": pa.array([item.day.status.value for item in days], pa.string()),
        "is_final": pa.array([item.day.is_final for item in days], pa.bool_()),
        "policy": pa.array([item.policy for item in days], pa.string()),
        "shift_code": pa.array([item.day.shift_code or None for item in days], pa.string()),
        "timezone": pa.array([item.timezone for item in days], pa.string()),
        "first_in_at": pa.array([_sql_instant(item.day.first_in_at) for item in days], pa.string()),
        "last_out_at": pa.array([_sql_instant(item.day.last_out_at) for item in days], pa.string()),
        "anomalies": pa.array([",".join(item.day.anomalies) or None for item in days], pa.string()),
        "detail": pa.array([item.detail for item in days], pa.string()),
        "digest": pa.array([item.digest for item in days], pa.binary(16)),
    }
    columns |= {name: pa.array([getattr(item.day, name) for item in days], pa.int64()) for name in _TOTALS}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _sql_instant(instant: dt.datetime | None) -> Any:
    # As SQLAlchemy writes an instant, so that both compare as text on SQLite.
    return None if instant is None else instant.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


_Doubts = defaultdict[tuple[str, str], list[tuple[dt.datetime, dt.datetime]]]


def _split_lines(found: Iterable[Any]) -> dict[str, list[list[str]]]:
    lines: dict[str, list[list[str]]] = {}
    for number, count, text in found:
        values = [line.split(_UNIT) for line in text.split(_RECORD)]
        if len(values) != count:
            raise PermanentError(
                f"The attendance of employee {number} came back cut off or with control characters; raise the server's "
                "max_allowed_packet, or look for such user and device ids."
            )
        lines[number] = values
    return lines


def _unpack_punches(packed: Mapping[str, list[list[str]]], doubts: _Doubts) -> dict[str, list[WorkPunch]]:
    read = dt.datetime.fromisoformat
    found: dict[str, list[WorkPunch]] = {}
    for number, lines in packed.items():
        punches: list[WorkPunch] = []
        for key, at, direction, device, flags, source in lines:
            instant = read(f"{at}+00:00")
            is_doubtful = PunchFlag.FUTURE in flags or (
                bool(doubts) and any(begin <= instant <= end for begin, end in doubts.get((source, device), ()))
            )
            punches.append(WorkPunch(key, instant, _DIRECTIONS[direction], device or None, is_doubtful))
        found[number] = punches
    return found


def _unpack_digests(packed: Mapping[str, list[list[str]]]) -> dict[tuple[str, dt.date], bytes]:
    return {
        (number, dt.date.fromisoformat(work_on)): bytes.fromhex(digest)
        for number, lines in packed.items()
        for work_on, digest in lines
    }


def _slices(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + _KEYS_PER_STATEMENT] for start in range(0, len(items), _KEYS_PER_STATEMENT))


# --- statements -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    """What MariaDB and SQLite write differently. Parameters: the employee numbers, and from when to when."""

    mark: str
    conflict: str
    new: str
    punches: str
    digests: str

    def replace(self, columns: Iterable[str], **constants: str) -> str:
        """The end of an insert that replaces these columns of a row that is there."""
        changes = [f"{name} = {self.new.format(name)}" for name in columns]
        changes += [f"{name} = {value}" for name, value in constants.items()]
        return f"{self.conflict} {', '.join(changes)}"


_PACKED_PUNCHES = """
{before}SELECT u.employee_no, COUNT(*), {pack}
FROM {user} AS u {join} {punch} AS p {index}
WHERE p.source = u.source AND p.user_id = u.user_id AND u.employee_no IN ({{numbers}})
  AND p.punched_at >= ? AND p.punched_at < ?
GROUP BY u.employee_no
"""
_PACKED_DIGESTS = """
{before}SELECT employee_no, COUNT(*), {pack}
FROM {day}
WHERE employee_no IN ({{numbers}}) AND work_on BETWEEN ? AND ?
GROUP BY employee_no
"""
_NAMES = {"user": PunchUser.__tablename__, "punch": Punch.__tablename__, "day": Day.__tablename__}
_LONG = "SET STATEMENT group_concat_max_len = 64000000 FOR "
_BY_USER = "ix_attendance_punch_user_id_punched_at"

_DIALECTS = {
    "mysql": _Dialect(
        mark="%s",
        conflict="ON DUPLICATE KEY UPDATE",
        new="VALUES({})",
        punches=_PACKED_PUNCHES.format(
            before=_LONG,
            pack="GROUP_CONCAT(CONCAT_WS('\x1f', p.id, p.punched_at, COALESCE(p.direction, ''), "
            "COALESCE(p.device_id, ''), COALESCE(p.flags, ''), p.source) SEPARATOR '\x1e')",
            join="STRAIGHT_JOIN",
            index=f"FORCE INDEX ({_BY_USER})",
            **_NAMES,
        ),
        digests=_PACKED_DIGESTS.format(
            before=_LONG, pack="GROUP_CONCAT(CONCAT_WS('\x1f', work_on, HEX(digest)) SEPARATOR '\x1e')", **_NAMES
        ),
    ),
    "sqlite": _Dialect(
        mark="?",
        conflict=f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET",
        new="excluded.{}",
        punches=_PACKED_PUNCHES.format(
            before="",
            pack="group_concat(p.id || char(31) || p.punched_at || char(31) || coalesce(p.direction, '') || char(31) "
            "|| coalesce(p.device_id, '') || char(31) || coalesce(p.flags, '') || char(31) || p.source, char(30))",
            join="CROSS JOIN",
            index=f"INDEXED BY {_BY_USER}",
            **_NAMES,
        ),
        digests=_PACKED_DIGESTS.format(
            before="", pack="group_concat(work_on || char(31) || hex(digest), char(30))", **_NAMES
        ),
    ),
}
