"""Time clocks of every kind for tests: databases that take punches as those of the makers do."""

from __future__ import annotations

import abc
import datetime as dt
import zoneinfo
from typing import Any, NamedTuple

from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Unicode, insert

from backend.adapters.biostar1_source import Biostar1Source
from backend.adapters.biostar_config import load_punch_sources
from backend.adapters.query_source import QuerySource
from backend.db.database import Database
from backend.domain.punches import PunchRules, PunchSourceDefinition
from backend.ports import PunchSource
from tests.support.biostar import CARD, Biostar
from tests.support.project import PROJECT_ROOT

KINDS = ("biostar2", "biostar1", "zkteco", "biotime")


class Pressed(NamedTuple):
    """What somebody does at a time clock; `at` in UTC, as ISO 8601."""

    at: str
    user: int = 10001
    device: int = 7
    is_in: bool = True

    @property
    def instant(self) -> dt.datetime:
        """The same as an instant."""
        return dt.datetime.fromisoformat(self.at).replace(tzinfo=dt.UTC)


class Clock(abc.ABC):
    """A source of one kind at a URL, without events."""

    def __init__(self, url: str) -> None:
        self.writer = Database("BioStar", "BIOSTAR_URL", url)
        self.reader = Database("BioStar", "BIOSTAR_URL", url, read_only=True)
        self._metadata = MetaData()

    async def install(self) -> None:
        """Make the tables."""
        async with self.writer.engine.begin() as connection:
            await connection.run_sync(self._metadata.create_all)

    @abc.abstractmethod
    async def press(self, *presses: Pressed) -> None:
        """Let these arrive at the source, in this order."""

    @abc.abstractmethod
    def source(self, rules: PunchRules | None = None, *, batch_events: int | None = 10) -> PunchSource:
        """What hrsync reads it with; `rules` instead of the usual ones."""

    async def insert(self, table: Table, rows: list[dict[str, Any]]) -> None:
        """Add rows."""
        async with self.writer.engine.begin() as connection:
            await connection.execute(insert(table), rows)

    async def dispose(self) -> None:
        """Close the connections."""
        await self.reader.dispose()
        await self.writer.dispose()


class Biostar2Clock(Clock):
    """BioStar 2."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._biostar = Biostar(url)

    async def install(self) -> None:
        await self._biostar.install()

    async def press(self, *presses: Pressed) -> None:
        for item in presses:
            await self._biostar.add(
                f"{item.instant:%Y%m}",
                {
                    "DEVDT": int(item.instant.timestamp()), "DEVUID": item.device, "USRID": str(item.user),
                    "EVT": CARD, "TNAKEY": 1 if item.is_in else 2,
                },
            )  # fmt: skip

    def source(self, rules: PunchRules | None = None, *, batch_events: int | None = 10) -> PunchSource:
        return self._biostar.source(rules, batch_events=batch_events)

    async def dispose(self) -> None:
        await self._biostar.dispose()
        await super().dispose()


class Biostar1Clock(Clock):
    """BioStar 1, in the wall time of the example."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._definition = example("biostar1")
        self._zone = zoneinfo.ZoneInfo(str(self._definition.rules.timezone))
        numbers = ("nDateTime", "nReaderIdn", "nEventIdn", "nUserID")
        self.events = Table(
            "TB_EVENT_LOG",
            self._metadata,
            Column("nEventLogIdn", Integer),
            *(Column(name, Integer, primary_key=True, autoincrement=False) for name in numbers),
            *(Column(name, Integer) for name in ("nIsLog", "nTNAEvent", "nIsUseTA", "nType")),
        )

    async def press(self, *presses: Pressed) -> None:
        await self.insert(
            self.events,
            [
                {
                    "nEventLogIdn": -1, "nDateTime": seconds_of(item.instant.astimezone(self._zone)),
                    "nReaderIdn": item.device, "nEventIdn": 55, "nUserID": item.user,
                    "nTNAEvent": 1 if item.is_in else 2,
                }
                for item in presses
            ],
        )  # fmt: skip

    def source(self, rules: PunchRules | None = None, *, batch_events: int | None = 10) -> PunchSource:
        rules = rules or self._definition.rules
        return Biostar1Source("biostar1", self.reader, rules, place="test [b1]", batch_events=batch_events)


class QueryClock(Clock):
    """A source that is read by the query of an example."""

    name = ""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.definition = example(self.name)
        self.zone = zoneinfo.ZoneInfo(str(self.definition.rules.timezone))

    def source(
        self, rules: PunchRules | None = None, *, batch_events: int | None = 10, query: str | None = None
    ) -> PunchSource:
        rules = rules or self.definition.rules
        query = query or self.definition.query
        return QuerySource(self.name, self.reader, rules, query, place="test [q]", batch_events=batch_events)

    def wall_time(self, item: Pressed) -> dt.datetime:
        """What the clock on the wall shows."""
        return item.instant.astimezone(self.zone).replace(tzinfo=None)


class ZktecoClock(QueryClock):
    """ZKTeco att2000."""

    name = "zkteco"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.users = Table(
            "USERINFO",
            self._metadata,
            Column("USERID", Integer, primary_key=True, autoincrement=False),
            Column("Badgenumber", Unicode(24)),
        )
        self.punches = Table(
            "CHECKINOUT",
            self._metadata,
            Column("USERID", Integer, primary_key=True, autoincrement=False),
            Column("CHECKTIME", DateTime, primary_key=True),
            Column("CHECKTYPE", Unicode(1)),
            Column("SENSORID", Unicode(5)),
        )
        self._known: set[int] = set()

    async def press(self, *presses: Pressed) -> None:
        fresh = {item.user for item in presses} - self._known
        if fresh:
            await self.insert(self.users, [{"USERID": user - 10_000, "Badgenumber": str(user)} for user in fresh])
            self._known |= fresh
        await self.insert(
            self.punches,
            [
                {
                    "USERID": item.user - 10_000, "CHECKTIME": self.wall_time(item),
                    "CHECKTYPE": "I" if item.is_in else "O", "SENSORID": str(item.device),
                }
                for item in presses
            ],
        )  # fmt: skip


class BiotimeClock(QueryClock):
    """ZKBioTime."""

    name = "biotime"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.punches = Table(
            "iclock_transaction",
            self._metadata,
            Column("id", Integer, primary_key=True, autoincrement=True),
            Column("emp_code", Unicode(20)),
            Column("punch_time", DateTime),
            Column("punch_state", Unicode(5)),
            Column("terminal_sn", Unicode(50)),
        )

    async def press(self, *presses: Pressed) -> None:
        await self.insert(
            self.punches,
            [
                {
                    "emp_code": str(item.user), "punch_time": self.wall_time(item),
                    "punch_state": "0" if item.is_in else "1", "terminal_sn": str(item.device),
                }
                for item in presses
            ],
        )  # fmt: skip


_CLOCKS: dict[str, type[Clock]] = {
    "biostar2": Biostar2Clock, "biostar1": Biostar1Clock, "zkteco": ZktecoClock, "biotime": BiotimeClock,
}  # fmt: skip


def open_clock(kind: str, url: str) -> Clock:
    """A clock of one of the `KINDS`."""
    return _CLOCKS[kind](url)


def example(name: str) -> PunchSourceDefinition:
    """The source that the example of a clock defines."""
    return load_punch_sources(PROJECT_ROOT / "config" / "examples" / "clocks" / f"{name}.toml")[name]


def seconds_of(wall: dt.datetime) -> int:
    """A wall time as seconds since 1970, as if it were UTC."""
    return int(wall.replace(tzinfo=dt.UTC).timestamp())
