"""Reads the event table of a BioStar 1 database: TB_EVENT_LOG, day by day.

Nothing there grows with the arrival of an event (`nEventLogIdn` may be -1), so a day is read again when it has more, or
fewer, events than it had.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncGenerator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import text

from backend.adapters.query_source import stream_pages
from backend.db.database import Database
from backend.domain.column_rules import Column
from backend.domain.mapping import SourceQuery
from backend.domain.punch_events import EventBatch, times_of_seconds
from backend.domain.punches import IngestState, Portion, PunchRules, ReadPlan, find_beginning, plan_first_instant
from backend.errors import PermanentError

TABLE = "TB_EVENT_LOG"
_DAY = 86_400
_BATCH_EVENTS = 10_000
_COLUMNS = ("nEventLogIdn", "nDateTime", "nReaderIdn", "nEventIdn", "nUserID", "nTNAEvent")
_COUNT_BY_DAY = text(
    f"SELECT nDateTime - nDateTime % {_DAY}, COUNT(*) FROM {TABLE} WHERE nDateTime >= :since "  # noqa: S608
    f"GROUP BY nDateTime - nDateTime % {_DAY} ORDER BY 1"
)


class Biostar1Source:
    """A BioStar 1 database on SQL Server (or wherever its table has been copied to).

    Args:
        name: what the source is called in the tables.
        database: opened read-only.
        place: file and table of its rules, for messages.
    """

    def __init__(
        self, name: str, database: Database, rules: PunchRules, *, place: str, batch_events: int | None = None
    ) -> None:
        self.name = name
        self.rules = rules
        self._database = database
        self._place = place
        self._batch_events = batch_events or _BATCH_EVENTS

    async def plan(self, state: IngestState, now: dt.datetime, *, full: bool = False) -> ReadPlan:
        """The days that have other events than they had.

        Raises:
            PermanentError: this is not a BioStar 1 database.
            TransientError: it is away.
        """
        since = int(plan_first_instant(state, self.rules, now, full=full).timestamp())
        since -= since % _DAY + (_DAY if self.rules.timezone else 0)  # what is of that day there may be earlier here
        try:
            async with self._database.session() as session:
                counts = {int(day): count for day, count in await session.execute(_COUNT_BY_DAY, {"since": since})}
        except PermanentError as error:
            raise PermanentError(
                f"{error} -- a BioStar 1 database has the table {TABLE}; it is usually called BioStar, and its login "
                "must be allowed to read it"
            ) from error
        return ReadPlan(
            first_month=find_beginning(state, self.rules, now),
            portions=tuple(
                Portion(table=TABLE, after=day - 1, before=day + _DAY, mark=str(day))
                for day, count in counts.items()
                if full or state.marks.get(str(day)) != count
            ),
            kept_marks=frozenset(map(str, counts)),
        )

    async def read(self, portion: Portion) -> AsyncGenerator[EventBatch, None]:
        """The events of a day.

        Raises:
            TransientError: the database is away.
            PermanentError: the table, or one of its columns, is missing or may not be read.
        """
        # Wall times come in the order of the events, by which the hour that comes twice is told apart.
        order = "nEventLogIdn, nDateTime" if self.rules.timezone else "nDateTime"
        query = SourceQuery(
            place=self._place,
            subject=f"events of {TABLE}",
            text=f"SELECT {', '.join(_COLUMNS)} FROM {TABLE} "  # noqa: S608 - names and numbers of ours
            f"WHERE nDateTime > {portion.after} AND nDateTime < {portion.before} "
            f"ORDER BY {order}, nReaderIdn, nEventIdn, nUserID",
        )
        count = 0
        ahead: EventBatch | None = None
        async with contextlib.aclosing(stream_pages(self._database, query, self._batch_events)) as pages:
            async for page in pages:
                if ahead is not None:
                    yield ahead
                ahead = _to_events(*page.values())
                count += len(ahead)
        if ahead is not None:
            yield dataclasses.replace(ahead, marks={portion.mark: count})

    async def find_recent(self, plan: ReadPlan, now: dt.datetime, limit: int) -> Portion | None:
        """The last day before tomorrow that has events."""
        tomorrow = int(now.timestamp()) + _DAY
        return next((item for item in reversed(plan.portions) if item.after < tomorrow), None)

    async def measure_clocks(self, portion: Portion) -> Mapping[str, int]:
        """Nothing: the table does not tell when an event arrived."""
        return {}


def _to_events(
    _numbers: Column, seconds: Column, readers: Column, codes: Column, users: Column, keys: Column
) -> EventBatch:
    times, devices, events, people, directions = (_integers(item) for item in (seconds, readers, codes, users, keys))
    number = people.fill_null(0).to_numpy(zero_copy_only=False)
    # A signed column holds the numbers from 2^31 on as negative ones; 0 is nobody.
    number = np.where(number < 0, number + 2**32, number)
    user_ids = pa.array(number, mask=number == 0).cast(pa.string())
    parts = [item.cast(pa.string()).fill_null("") for item in (times, devices, events)]
    return EventBatch(
        keys=pc.binary_join_element_wise(*parts, user_ids.fill_null("0"), "-"),
        times=times_of_seconds(times),
        devices=devices.cast(pa.string()),
        users=user_ids,
        codes=events,
        directions=directions.cast(pa.string()),
    )


def _integers(column: Column) -> pa.Array:
    return (column if isinstance(column, pa.Array) else pa.array(column, pa.int64())).cast(pa.int64())
