"""The user ids of the time clocks in hrsync's own database: whose they are, and who has said so."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from sqlalchemy import Table, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from backend.adapters.attendance_store import instant_text, lock_stream, move_stream
from backend.db.database import Database
from backend.db.models import Employee, Stream
from backend.db.models.attendance import DirtyDays, Punch, PunchUser
from backend.db.types import db_now
from backend.domain.punches import EmployeeRule, UserChange
from backend.errors import NotFoundError

_ONE_DAY = dt.timedelta(days=1)
_PER_STATEMENT = 500
DIRTY_REASON = "user"
_EMPLOYEES = "hris.employees"  # the stream of their replication
_MATCHED = "matched"

# As a table: the ORM takes several times as long over many rows.
_DIRTY = cast(Table, DirtyDays.__table__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFacts:
    """A user id, and what is known about it.

    Attributes:
        reason: why it is nobody's, or whose word it is that it is somebody's.
        punch_count, first_punch_at, last_punch_at: of the source.
    """

    source: str
    user_id: str
    employee_no: str | None
    reason: str
    punch_count: int
    first_punch_at: dt.datetime | None
    last_punch_at: dt.datetime | None
    first_seen_at: dt.datetime


class DatabasePunchUsers:
    """The user table of a migrated database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def matching(self, sources: Collection[str]) -> AsyncIterator[DatabaseMatching]:
        """One transaction in which users of these sources are matched; no punches are recorded meanwhile."""
        async with self._database.session() as session:
            streams = {source: await lock_stream(session, source) for source in sorted(sources)}
            yield DatabaseMatching(session, {name: stream for name, stream in streams.items() if stream is not None})

    async def assign(self, source: str, user_id: str, employee_no: str | None, *, actor: str) -> None:
        """Say whose a user id is, whatever the source's rule says; `match_users` gives it to the employee.

        Args:
            employee_no: None: nobody says anything any more.

        Raises:
            NotFoundError: there is no such employee, or nothing was said that could be taken back.
        """
        async with self._database.session() as session:
            await lock_stream(session, source)
            if employee_no is not None:
                found = await session.scalar(select(Employee.id).where(Employee.employee_no == employee_no))
                if found is None:
                    raise NotFoundError(
                        f"There is no employee {employee_no!r}; numbers are those of the HRIS (`hrsync hris history "
                        f"{employee_no}`)."
                    )
            user = await session.get(PunchUser, (source, user_id))
            if user is None and employee_no is not None:
                now = (await session.execute(select(db_now()))).scalar_one()
                user = PunchUser(source=source, user_id=user_id, first_seen_at=now)
                session.add(user)
                await session.flush()
            if user is None or (employee_no is None and user.assigned_no is None):
                raise NotFoundError(f"Nobody has assigned the user id {user_id!r} of {source} to an employee.")
            await session.execute(
                update(PunchUser)
                .where(PunchUser.source == source, PunchUser.user_id == user_id)
                .values(
                    assigned_no=employee_no,
                    assigned_by=None if employee_no is None else actor[:200],
                    assigned_at=None if employee_no is None else db_now(),
                )
            )

    async def find_unknown(self, source: str, rule: EmployeeRule, user_ids: Sequence[str]) -> Sequence[str]:
        """Those of the user ids that would be nobody's."""
        unknown: list[str] = []
        async with self._database.reader() as session:
            for some in _chunks(user_ids):
                assigned = await session.scalars(
                    select(PunchUser.user_id).where(
                        PunchUser.source == source, PunchUser.user_id.in_(some), PunchUser.assigned_no.is_not(None)
                    )
                )
                known = {*assigned, *await _find_candidates(session, rule, some)}
                unknown += [user_id for user_id in some if user_id not in known]
        return unknown

    async def list_users(
        self, rules: Mapping[str, EmployeeRule], *, unknown_only: bool = False, limit: int = 1000
    ) -> Sequence[UserFacts]:
        """The users by source and user id.

        Args:
            rules: of the sources, to say why somebody is unknown.
            unknown_only: those that are nobody's.
        """
        query = select(PunchUser).order_by(PunchUser.source, PunchUser.user_id).limit(limit)
        if unknown_only:
            query = query.where(PunchUser.employee_no.is_(None))
        async with self._database.reader() as session:
            users = (await session.scalars(query)).all()
            by_source: defaultdict[str, list[PunchUser]] = defaultdict(list)
            for user in users:
                by_source[user.source].append(user)
            found: list[UserFacts] = []
            for source, some in by_source.items():
                found += await _describe(session, source, some, rules.get(source))
        return found


class DatabaseMatching:
    """The matching inside of one transaction."""

    def __init__(self, session: AsyncSession, streams: Mapping[str, Stream]) -> None:
        self._session = session
        self._streams = streams

    async def is_current(self, source: str, rule: EmployeeRule) -> bool:
        """Whether the users of a source were matched by this rule after the last replication of the employees."""
        stream = self._streams.get(source)
        return stream is not None and stream.watermark.get(_MATCHED) == await self._find_version(rule)

    async def note_matched(self, source: str, rule: EmployeeRule) -> None:
        """Remember it."""
        stream, version = self._streams.get(source), await self._find_version(rule)
        if stream is not None and stream.watermark.get(_MATCHED) != version:
            await move_stream(self._session, source, {**stream.watermark, _MATCHED: version})

    async def _find_version(self, rule: EmployeeRule) -> str:
        """What tells one state of the employees, and a rule, from another."""
        employees = await self._session.get(Stream, _EMPLOYEES)
        revision = employees.watermark.get("revision") if employees is not None else None
        return f"{revision} {rule.column} {rule.ignore_leading_zeros}"

    async def find_changes(self, source: str, rule: EmployeeRule, *, after: str, limit: int) -> Sequence[UserChange]:
        """The users of a source whose employee is another one than it was, by their ids, behind the id `after`."""
        statement = text(_Sql(self._session, rule).find_changes)
        parameters = {"source": source, "after": after, "limit": limit}
        return [UserChange(*row) for row in await self._session.execute(statement, parameters)]

    async def apply(self, source: str, changes: Sequence[UserChange]) -> None:
        """Give the users to their employees, and mark the days of their punches to be computed again.

        Those are the days from the first to the last punch, and one before and after, as a day may begin before the
        punch that belongs to it, and in another zone.
        """
        if not changes:
            return
        now = (await self._session.execute(select(db_now()))).scalar_one()
        statement = text(_upsert(self._session))
        for some in _chunks(changes):
            await self._session.execute(
                statement,
                [
                    {
                        "source": source,
                        "user_id": item.user_id,
                        "employee_no": item.after,
                        "now": instant_text(now),
                    }
                    for item in some
                ],
            )
            ranges = await _find_ranges(self._session, [item.user_id for item in some])
            dirty = [
                {
                    "employee_no": employee_no,
                    "first_on": ranges[item.user_id][0].date() - _ONE_DAY,
                    "last_on": ranges[item.user_id][1].date() + _ONE_DAY,
                    "reason": DIRTY_REASON,
                    "marked_at": now,
                }
                for item in some
                if item.user_id in ranges
                for employee_no in (item.before, item.after)
                if employee_no is not None
            ]
            if dirty:
                await self._session.execute(insert(_DIRTY), dirty)

    async def count(self, source: str) -> tuple[int, int]:
        """How many users belong to an employee, and how many to nobody."""
        query = select(func.count(PunchUser.employee_no), func.count()).where(PunchUser.source == source)
        matched, total = (await self._session.execute(query)).one()
        return matched, total - matched


async def _find_ranges(session: AsyncSession, user_ids: Sequence[str]) -> Mapping[str, tuple[dt.datetime, dt.datetime]]:
    # Of all sources: by the index alone, and a day that is computed once more stays what it is. The index is named, as
    # a server that has no statistics yet of what was just loaded reads the table.
    punches = aliased(Punch)
    at = select(punches.punched_at).where(punches.user_id == PunchUser.user_id).limit(1)
    index = "FORCE INDEX (ix_attendance_punch_user_id_punched_at)"
    first, last = (
        at.order_by(order).with_hint(punches, index, "mysql").with_hint(punches, index, "mariadb").scalar_subquery()
        for order in (punches.punched_at.asc(), punches.punched_at.desc())
    )
    query = select(PunchUser.user_id, first, last).where(PunchUser.user_id.in_(user_ids)).distinct()
    return {user: (begin, end) for user, begin, end in await session.execute(query) if begin is not None}


async def _describe(
    session: AsyncSession, source: str, users: Sequence[PunchUser], rule: EmployeeRule | None
) -> Sequence[UserFacts]:
    found: list[UserFacts] = []
    for some in _chunks(users):
        ids = [user.user_id for user in some]
        query = (
            select(Punch.user_id, func.count(), func.min(Punch.punched_at), func.max(Punch.punched_at))
            .where(Punch.source == source, Punch.user_id.in_(ids))
            .group_by(Punch.user_id)
        )
        punches = {user: (count, first, last) for user, count, first, last in await session.execute(query)}
        candidates = await _find_candidates(session, rule, ids) if rule else {}
        for user in some:
            count, first, last = punches.get(user.user_id, (0, None, None))
            found.append(
                UserFacts(
                    source=source,
                    user_id=user.user_id,
                    employee_no=user.employee_no,
                    reason=_reason(user, rule, candidates.get(user.user_id, [])),
                    punch_count=count,
                    first_punch_at=first,
                    last_punch_at=last,
                    first_seen_at=user.first_seen_at,
                )
            )
    return found


def _reason(user: PunchUser, rule: EmployeeRule | None, candidates: Sequence[str]) -> str:
    if user.assigned_no is not None:
        return f"assigned by {user.assigned_by}"
    if rule is None:
        return "its source is not in biostar.toml any more"
    if user.employee_no is not None:
        return f"{rule.column} of the employee"
    if len(candidates) > 1:
        return f"{len(candidates)} employees have this {rule.column}: {', '.join(candidates[:5])}"
    return f"no employee has this {rule.column}"


async def _find_candidates(
    session: AsyncSession, rule: EmployeeRule, user_ids: Sequence[str]
) -> Mapping[str, Sequence[str]]:
    sql = _Sql(session, rule)
    names = {f"u{number}": user_id for number, user_id in enumerate(user_ids)}
    rows = await session.execute(text(sql.find_candidates(list(names))), names)
    found: defaultdict[str, list[str]] = defaultdict(list)
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    for user_id in user_ids:
        by_key[user_id.lstrip("0") if rule.ignore_leading_zeros else user_id].append(user_id)
    for key, employee_no in rows:
        for user_id in by_key[key]:
            found[user_id].append(employee_no)
    return found


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _PER_STATEMENT):
        yield items[start : start + _PER_STATEMENT]


# --- statements -----------------------------------------------------------------------------------------------------


class _Sql:
    """How a rule's employees are found, in the dialect of the session. Names are ours or have been checked."""

    def __init__(self, session: AsyncSession, rule: EmployeeRule) -> None:
        self._is_sqlite = session.get_bind().dialect.name == "sqlite"
        self._ignores_zeros = rule.ignore_leading_zeros
        self._key = self._trimmed(self._column(rule.column))

    @property
    def find_changes(self) -> str:
        """Parameters `source`, `after`, `limit`. Gives user id, employee as it is, employee as it should be."""
        wanted = "COALESCE(u.assigned_no, k.employee_no)"
        differs = f"u.employee_no IS NOT {wanted}" if self._is_sqlite else f"NOT (u.employee_no <=> {wanted})"
        # An id of several employees is that of the one who is active, if just one is.
        return (
            f"SELECT u.user_id, u.employee_no, {wanted} FROM attendance_user u "  # noqa: S608
            "LEFT JOIN (SELECT i.k, CASE WHEN SUM(i.is_active) = 1 THEN MAX(CASE WHEN i.is_active = 1 THEN "
            "i.employee_no END) WHEN COUNT(*) = 1 THEN MAX(i.employee_no) END AS employee_no "
            f"FROM (SELECT {self._key} AS k, e.employee_no, e.is_active FROM hr_employee e) i "
            f"WHERE i.k <> '' GROUP BY i.k) k ON k.k = {self._trimmed('u.user_id')} "
            f"WHERE u.source = :source AND u.user_id > :after AND {differs} ORDER BY u.user_id LIMIT :limit"
        )

    def find_candidates(self, names: Sequence[str]) -> str:
        """Parameters: user ids by these names. Gives the key and number of each employee that they may be."""
        users = ", ".join(self._trimmed(f":{name}") for name in names)
        return (
            f"SELECT {self._key}, e.employee_no FROM hr_employee e "  # noqa: S608
            f"WHERE {self._key} IN ({users}) AND {self._key} <> '' ORDER BY e.employee_no"
        )

    def _column(self, name: str) -> str:
        if not name.startswith("extra."):
            return f"e.{name}"
        path = f"'$.{name.removeprefix('extra.')}'"
        if self._is_sqlite:
            return f"CAST(json_extract(e.extra, {path}) AS TEXT)"
        return f"CONVERT(JSON_VALUE(e.extra, {path}) USING utf8mb4) COLLATE utf8mb4_nopad_bin"

    def _trimmed(self, value: str) -> str:
        if not self._ignores_zeros:
            return value
        return f"LTRIM({value}, '0')" if self._is_sqlite else f"TRIM(LEADING '0' FROM {value})"


def _upsert(session: AsyncSession) -> str:
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    on_conflict = (
        "ON CONFLICT (source, user_id) DO UPDATE SET employee_no = excluded.employee_no"
        if is_sqlite
        else "ON DUPLICATE KEY UPDATE employee_no = VALUES(employee_no)"
    )
    return (
        "INSERT INTO attendance_user (source, user_id, employee_no, first_seen_at) "  # noqa: S608
        f"VALUES (:source, :user_id, :employee_no, :now) {on_conflict}"
    )
