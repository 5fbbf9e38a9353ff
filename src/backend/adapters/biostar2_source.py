"""Reads the event tables of a BioStar 2 access-control database: T_LGyyyymm, one for each month with events."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import ColumnClause, TableClause, column, func, literal, select, table, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import quoted_name

from backend.db.database import Database
from backend.domain.punch_events import EventBatch, times_of_seconds
from backend.domain.punches import IngestState, Month, Portion, PunchRules, ReadPlan, plan_first_month
from backend.errors import PermanentError

# Upper case on SQL Server, lower case on MariaDB.
_EVENT_TABLE = re.compile(r"t_lg(\d{6})", re.IGNORECASE)
_USER_TABLE = "t_usr"
# Only what is needed is ever read; cards and fingerprints never.
_COLUMNS = ("EVTLGUID", "DEVDT", "DEVUID", "USRID", "EVT", "TNAKEY")
# What a driver hands over row by row keeps the loop busy; packed by the server it does not.
_PACKED_EVENTS = 20_000
_PLAIN_EVENTS = {"mysql": 2_000, "mssql": 10_000, "sqlite": 10_000}
# Between the values of a packed column; no user id holds it, or the page is read again row by row.
_RECORD = "\x1e"
_QUARTER = 900

_LIST_TABLES: Mapping[str, str] = {
    "mysql": "SELECT NULL, table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    "mssql": "SELECT TABLE_SCHEMA, TABLE_NAME FROM INFORMATION_SCHEMA.TABLES",
    "sqlite": "SELECT NULL, name FROM sqlite_master WHERE type IN ('table', 'view')",
}


class _Page(NamedTuple):
    """Events as Arrow columns: int64 and texts."""

    numbers: pa.Array
    seconds: pa.Array
    devices: pa.Array
    users: pa.Array
    codes: pa.Array
    keys: pa.Array


class Biostar2Source:
    """A BioStar 2 (or BioStar X) database on SQL Server, MariaDB or, for trials, SQLite.

    Args:
        name: what the source is called in the tables.
        database: opened read-only.
        batch_events: the events of one batch at most; None: as many as suits the driver.
    """

    def __init__(
        self, name: str, database: Database, rules: PunchRules | None = None, *, batch_events: int | None = None
    ) -> None:
        self.name = name
        self.rules = rules or PunchRules()
        self._database = database
        self._batch_events = batch_events
        self._schemas: dict[str, str | None] = {}

    async def find_tables(self) -> Mapping[Month, str]:
        """The event tables that exist; a month without events has none.

        Raises:
            PermanentError: this is not a BioStar 2 database.
            TransientError: it is away.
        """
        async with self._database.session() as session:
            rows = (await session.execute(text(_LIST_TABLES[self._database.dialect]))).all()
        found: dict[Month, str] = {}
        for schema, name in rows:
            match = _EVENT_TABLE.fullmatch(name)
            if match and _is_month(match[1]):
                found[Month.parse(match[1])] = name
                self._schemas[name] = schema
        if not found and not any(name.lower() == _USER_TABLE for _, name in rows):
            raise PermanentError(
                f"{self._database.name} ({self._database.setting} = {self._database.safe_url}) holds neither T_USR nor "
                "an event table T_LGyyyymm, so it is no BioStar 2 database, or this login may not see its tables. The "
                "right one is usually called biostar2_ac (MariaDB) or BioStar2_AC (SQL Server)."
            )
        return dict(sorted(found.items()))

    async def plan(self, state: IngestState, now: dt.datetime, *, full: bool = False) -> ReadPlan:
        """The tables of the months that are looked at, without those in which nothing has happened."""
        tables = await self.find_tables()
        first = plan_first_month(state, self.rules, now, full=full)
        if state.complete_month is None:  # a first run that was cut off began where it has left cursors
            first = min([first, *(month for month, name in tables.items() if name in state.cursors)])
        wanted = [name for month, name in tables.items() if month >= first]
        idle = set() if full else await self._find_idle([name for name in wanted if name in state.marks], state)
        return ReadPlan(
            first_month=first,
            portions=tuple(
                Portion(table=name, after=0 if full else self._reread_from(state.cursors.get(name, 0)), mark=name)
                for name in wanted
                if name not in idle
            ),
            kept_marks=frozenset(wanted),
        )

    async def read(self, portion: Portion) -> AsyncGenerator[EventBatch, None]:
        """The events of a table by EVTLGUID.

        Raises:
            TransientError: the database is away.
            PermanentError: the table, or one of its columns, is missing or may not be read.
        """
        after = portion.after
        tail = np.empty(0, np.int64)
        while True:
            page, is_last = await self._fetch(portion.table, after)
            if not len(page.numbers):
                return
            numbers = page.numbers.to_numpy()
            after = int(numbers.max())
            tail = np.concatenate([tail, numbers])
            tail = tail[tail > self._reread_from(after)]
            yield EventBatch(
                keys=page.numbers.cast(pa.string()),
                times=times_of_seconds(page.seconds),
                devices=page.devices,
                users=page.users,
                codes=page.codes,
                directions=page.keys,
                cursor=after,
                marks={portion.mark: len(tail)},
            )
            if is_last:
                return

    async def find_recent(self, plan: ReadPlan, now: dt.datetime, limit: int) -> Portion | None:
        """About the last so many events of the newest table that has any."""
        for portion in reversed(plan.portions):
            number = self._table(portion.table).c.EVTLGUID
            async with self._database.session() as session:
                last = await session.scalar(select(func.max(number)))
            if last is not None:
                return Portion(table=portion.table, after=max(0, last - limit), mark=portion.mark)
        return None

    async def measure_clocks(self, portion: Portion) -> Mapping[str, int]:
        """By device, how far the time of the server, at the soonest, was behind that of the device.

        The server's time has no zone: that is taken for its zone in which most events came at once.
        """
        names: list[ColumnClause[Any]] = [
            column(quoted_name(name, quote=False)) for name in ("DEVUID", "DEVDT", "SRVDT", "EVTLGUID")
        ]
        events = table(quoted_name(portion.table, quote=False), *names, schema=self._schemas.get(portion.table))
        query = select(*names[:3]).select_from(events).where(names[3] > portion.after)
        async with self._database.session() as session:
            rows = (await session.execute(query)).all()
        return await asyncio.to_thread(_measure_clocks, rows)

    def _reread_from(self, cursor: int) -> int:
        return max(0, cursor - self.rules.reread_events)

    async def _find_idle(self, names: Sequence[str], state: IngestState) -> set[str]:
        """The tables in which there is nothing new since they were read, also not below the cursor."""
        parts = []
        for name in names:
            number = self._table(name).c.EVTLGUID
            zone = number > self._reread_from(state.cursors.get(name, 0))
            parts.append(select(literal(name).label("name"), func.max(number), func.count()).where(zone))
        if not parts:
            return set()
        async with self._database.session() as session:
            rows = await session.execute(union_all(*parts))
            return {
                name for name, last, count in rows if last == state.cursors.get(name) and count == state.marks[name]
            }

    # --- pages ------------------------------------------------------------------------------------------------------

    async def _fetch(self, name: str, after: int) -> tuple[_Page, bool]:
        """The next events after a number, and whether they are the last."""
        async with self._database.session() as session:
            connection = await session.connection()
            if getattr(connection.dialect, "is_mariadb", False):
                limit = self._batch_events or _PACKED_EVENTS
                count, page = await self._fetch_packed(connection, name, after, limit)
                if len(page.users) == count:
                    return page, count < limit
            limit = self._batch_events or _PLAIN_EVENTS[self._database.dialect]
            events = self._table(name)
            number = events.c.EVTLGUID
            rows = (
                await connection.execute(select(*events.c).where(number > after).order_by(number).limit(limit))
            ).all()
        return await asyncio.to_thread(_page_of_rows, rows), len(rows) < limit

    async def _fetch_packed(self, connection: AsyncConnection, name: str, after: int, limit: int) -> tuple[int, _Page]:
        # The server puts each column into one text: a driver takes longest over many small values.
        columns = ", ".join(
            f"GROUP_CONCAT(COALESCE({item}, '') SEPARATOR '{_RECORD if item == 'USRID' else ','}')" for item in _COLUMNS
        )
        result = await connection.exec_driver_sql(
            f"SET STATEMENT group_concat_max_len = 16000000 FOR SELECT COUNT(*), {columns} "  # noqa: S608 - found names
            f"FROM (SELECT {', '.join(_COLUMNS)} FROM {name} WHERE EVTLGUID > %s ORDER BY EVTLGUID LIMIT %s) AS page",
            (after, limit),
        )
        count, *texts = result.one()
        if not count:
            texts = [None] * len(_COLUMNS)
        return count, await asyncio.to_thread(_page_of_texts, texts)

    def _table(self, name: str) -> TableClause:
        # Unquoted: SQLite takes an unknown quoted name for a text.
        columns: list[ColumnClause[Any]] = [column(quoted_name(item, quote=False)) for item in _COLUMNS]
        return table(quoted_name(name, quote=False), *columns, schema=self._schemas.get(name))


def _page_of_rows(rows: Sequence[Sequence[Any]]) -> _Page:
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    numbers, seconds, devices, users, codes, keys = columns
    return _Page(
        numbers=pa.array(numbers, pa.int64()),
        seconds=pa.array(seconds, pa.int64()),
        devices=pa.array(devices, pa.int64()).cast(pa.string()),
        users=pa.array(users, pa.string()),
        codes=pa.array(codes, pa.int64()),
        keys=pa.array(keys, pa.int64()).cast(pa.string()),
    )


def _page_of_texts(texts: Sequence[str | None]) -> _Page:
    numbers, seconds, devices, users, codes, keys = (
        _split(text, _RECORD if name == "USRID" else ",") for name, text in zip(_COLUMNS, texts, strict=True)
    )
    return _Page(
        numbers=numbers.cast(pa.int64()),
        seconds=_without_empty(seconds).cast(pa.int64()),
        devices=_without_empty(devices),
        users=users,
        codes=_without_empty(codes).cast(pa.int64()),
        keys=_without_empty(keys),
    )


def _split(text: str | None, separator: str) -> pa.Array:
    if text is None:
        return pa.array([], pa.string())
    return pc.split_pattern(pa.array([text]), separator).flatten()


def _without_empty(texts: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _measure_clocks(rows: Sequence[Sequence[Any]]) -> Mapping[str, int]:
    delays: defaultdict[str, list[int]] = defaultdict(list)
    for device, seconds, stored in rows:
        at = dt.datetime.fromisoformat(stored) if isinstance(stored, str) else stored
        if device is not None and seconds and at is not None:
            delays[str(device)].append(round(at.replace(tzinfo=dt.UTC).timestamp()) - seconds)
    if not delays:
        return {}
    usual = float(np.median(np.concatenate([np.array(each) for each in delays.values()])))
    offset = round(usual / _QUARTER) * _QUARTER
    return {device: min(each) - offset for device, each in delays.items()}


def _is_month(text: str) -> bool:
    return 1 <= int(text[4:]) <= 12
