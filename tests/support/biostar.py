"""A BioStar 2 database for tests: month tables that a test makes and fills on any source database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Unicode, insert

from backend.adapters.biostar2_source import Biostar2Source
from backend.db.database import Database
from backend.domain.punches import PunchRules

CARD, FINGER, DENIED = 4102, 4865, 6400


class Biostar:
    """The source at the URL, with an empty user table."""

    def __init__(self, url: str) -> None:
        self.writer = Database("BioStar", "BIOSTAR_URL", url)
        self.reader = Database("BioStar", "BIOSTAR_URL", url, read_only=True)
        self._metadata = MetaData()
        self._tables: dict[str, Table] = {}
        self._upper = self.writer.dialect == "mssql"
        self._users = Table(self._name("t_usr"), self._metadata, Column("USRUID", Integer, primary_key=True))

    def source(self, rules: PunchRules | None = None, *, batch_events: int | None = 10) -> Biostar2Source:
        """What hrsync reads it with."""
        return Biostar2Source("biostar", self.reader, rules, batch_events=batch_events)

    async def install(self) -> None:
        """Make the tables that every BioStar has."""
        async with self.writer.engine.begin() as connection:
            await connection.run_sync(self._users.create)

    def table_name(self, month: str) -> str:
        """The event table of a month (yyyymm)."""
        return self._name(f"t_lg{month}")

    async def add(self, month: str, *events: dict[str, object]) -> None:
        """Append events (see `event`) to the table of the month (yyyymm), which is made with its first event."""
        async with self.writer.engine.begin() as connection:
            if month not in self._tables:
                self._tables[month] = self._table(month)
                await connection.run_sync(self._tables[month].create)
            if events:
                await connection.execute(insert(self._tables[month]), list(events))

    async def dispose(self) -> None:
        """Close the connections."""
        await self.reader.dispose()
        await self.writer.dispose()

    def _table(self, month: str) -> Table:
        numbers = ("USRGRUID", "EVT", "TNAKEY", "DRUID", "ZNUID", "CRDSL", "IS_DST", "TMZN_HOUR", "TMZN_HALF", "TEMPER")
        return Table(
            self.table_name(month),
            self._metadata,
            Column("EVTLGUID", Integer, primary_key=True, autoincrement=True),
            Column("SRVDT", DateTime),
            Column("DEVDT", Integer),
            Column("DEVUID", BigInteger),
            Column("DEVLGIDX", Integer),
            Column("USRID", Unicode(32)),
            *(Column(name, Integer) for name in numbers),
            *(Column(name, Unicode(1)) for name in ("TMZN_NEGTV", "USRUDTBYDEV")),
            Column("HINT", Unicode(64)),
            mysql_charset="utf8mb4",
        )

    def _name(self, name: str) -> str:
        return name.upper() if self._upper else name


def event(
    at: str, user: str | None = "10001", *, code: int = CARD, key: int = 1, number: int | None = None
) -> dict[str, object]:
    """An event at an instant (ISO 8601, UTC)."""
    seconds = int(dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC).timestamp())
    values: dict[str, object] = {
        "DEVDT": seconds,
        "DEVUID": 541000101,
        "USRID": user,
        "EVT": code,
        "TNAKEY": key,
        "DEVLGIDX": 1,
    }
    return values if number is None else {"EVTLGUID": number, **values}


def series(start: str, count: int) -> Sequence[dict[str, object]]:
    """So many punches, a minute apart."""
    first = dt.datetime.fromisoformat(start)
    return [
        event((first + dt.timedelta(minutes=minute)).isoformat(), user=str(10_000 + minute % 50), key=1 + minute % 2)
        for minute in range(count)
    ]
