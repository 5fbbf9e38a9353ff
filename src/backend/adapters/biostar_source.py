"""Reads the event tables of a BioStar 2 access-control database: T_LGyyyymm, one for each month with events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnClause, TableClause, column, select, table, text
from sqlalchemy.sql import quoted_name

from backend.db.database import Database
from backend.domain.punches import ClockEvent, Month
from backend.errors import PermanentError

# Upper case on SQL Server, lower case on MariaDB.
_EVENT_TABLE = re.compile(r"t_lg(\d{6})", re.IGNORECASE)
_USER_TABLE = "t_usr"
# Only what is needed is ever read; cards and fingerprints never.
_COLUMNS = ("EVTLGUID", "DEVDT", "DEVUID", "USRID", "EVT", "TNAKEY")

_LIST_TABLES: Mapping[str, str] = {
    "mysql": "SELECT NULL, table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    "mssql": "SELECT TABLE_SCHEMA, TABLE_NAME FROM INFORMATION_SCHEMA.TABLES",
    "sqlite": "SELECT NULL, name FROM sqlite_master WHERE type IN ('table', 'view')",
}


class Biostar2Source:
    """A BioStar 2 (or BioStar X) database on SQL Server, MariaDB or, for trials, SQLite.

    Args:
        name: what the source is called in the tables.
        database: opened read-only.
    """

    def __init__(self, name: str, database: Database) -> None:
        self.name = name
        self._database = database
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
        return found

    async def fetch_events(self, table: str, after: int, limit: int) -> Sequence[ClockEvent]:
        """The next events by EVTLGUID.

        Raises:
            TransientError: the database is away.
            PermanentError: the table, or one of its columns, is missing or may not be read.
        """
        events = self._table(table)
        number = events.c.EVTLGUID
        query = select(*events.c).where(number > after).order_by(number).limit(limit)
        async with self._database.session() as session:
            return [ClockEvent(*row) for row in await session.execute(query)]

    def _table(self, name: str) -> TableClause:
        # Unquoted: SQLite takes an unknown quoted name for a text.
        columns: list[ColumnClause[Any]] = [column(quoted_name(item, quote=False)) for item in _COLUMNS]
        return table(quoted_name(name, quote=False), *columns, schema=self._schemas.get(name))


def _is_month(text: str) -> bool:
    return 1 <= int(text[4:]) <= 12
