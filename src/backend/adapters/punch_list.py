"""Finds punches for people to look at, with what is odd about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, literal_column, select

from backend.db.database import Database
from backend.db.models import Employee
from backend.db.models.attendance import Punch, PunchUser

PRE_EMPLOYMENT = "pre_employment"
# Wall clocks on Earth are at most so far ahead of UTC: what is before the first day there is so everywhere.
_HOURS_AHEAD = 14
_ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchFilter:
    """Which punches are wanted; None: all.

    Attributes:
        flag: a code of `PunchFlag`, or `PRE_EMPLOYMENT`.
        first_on, last_on: dates in UTC, both included.
    """

    employee_no: str | None = None
    user_id: str | None = None
    flag: str | None = None
    first_on: dt.date | None = None
    last_on: dt.date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPunch:
    """A punch, with its employee.

    Attributes:
        flags: codes of `PunchFlag`, and `PRE_EMPLOYMENT` where it was before the employee's first day.
    """

    id: int
    source: str
    source_table: str
    event_key: str
    user_id: str
    employee_no: str | None
    punched_at: dt.datetime
    direction: str | None
    device_id: str | None
    event_code: int | None
    flags: Sequence[str]
    ingested_at: dt.datetime


async def fetch_punches(database: Database, wanted: PunchFilter, *, limit: int) -> Sequence[ListedPunch]:
    """The newest punches like that."""
    async with database.reader() as session:
        rows = await session.execute(_query(wanted, database.dialect).limit(limit))
        return [_listed(punch, employee_no, hired_on) for punch, employee_no, hired_on in rows]


def _query(wanted: PunchFilter, dialect: str) -> Select[Any, Any, Any]:
    query = (
        select(Punch, PunchUser.employee_no, Employee.hired_on)
        .outerjoin(PunchUser, (PunchUser.source == Punch.source) & (PunchUser.user_id == Punch.user_id))
        .outerjoin(Employee, Employee.employee_no == PunchUser.employee_no)
        .order_by(Punch.punched_at.desc(), Punch.id.desc())
    )
    if wanted.employee_no is not None:
        query = query.where(PunchUser.employee_no == wanted.employee_no)
    if wanted.user_id is not None:
        query = query.where(Punch.user_id == wanted.user_id)
    if wanted.flag == PRE_EMPLOYMENT:
        first_day = (
            func.datetime(Employee.hired_on, f"-{_HOURS_AHEAD} hours")
            if dialect == "sqlite"
            else func.timestampadd(literal_column("HOUR"), -_HOURS_AHEAD, Employee.hired_on)
        )
        query = query.where(Punch.punched_at < first_day)
    elif wanted.flag is not None:
        query = query.where(Punch.flags == wanted.flag)
    if wanted.first_on is not None:
        query = query.where(Punch.punched_at >= _midnight(wanted.first_on))
    if wanted.last_on is not None:
        query = query.where(Punch.punched_at < _midnight(wanted.last_on + _ONE_DAY))
    return query


def _listed(punch: Punch, employee_no: str | None, hired_on: dt.date | None) -> ListedPunch:
    flags = punch.flags.split(",") if punch.flags else []
    if hired_on is not None and punch.punched_at < _midnight(hired_on) - dt.timedelta(hours=_HOURS_AHEAD):
        flags.append(PRE_EMPLOYMENT)
    return ListedPunch(
        id=punch.id,
        source=punch.source,
        source_table=punch.source_table,
        event_key=punch.event_key,
        user_id=punch.user_id,
        employee_no=employee_no,
        punched_at=punch.punched_at,
        direction=punch.direction,
        device_id=punch.device_id,
        event_code=punch.event_code,
        flags=flags,
        ingested_at=punch.ingested_at,
    )


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
