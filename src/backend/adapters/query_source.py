"""Reads punches by a SELECT of `biostar.toml`: time clocks of any maker, as long as a database holds the punches."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import re
import zoneinfo
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.adapters.hris_source import DatabaseHrisSource
from backend.db.database import Database
from backend.domain.column_rules import Column, RawBatch
from backend.domain.mapping import SourceQuery
from backend.domain.punch_events import TEXT_LENGTH, EventBatch, times_of_seconds
from backend.domain.punches import IngestState, Portion, PunchRules, ReadPlan, find_beginning, plan_first_instant
from backend.domain.result_columns import find_column, suggest
from backend.domain.values import to_text
from backend.errors import PermanentError

TABLE = "query"
_AFTER_ID = re.compile(r"(?<![:\w\\]):after_id\b")
_AFTER = re.compile(r"(?<![:\w\\]):after\b")
_BATCH_EVENTS = 10_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_Page: TypeAlias = Mapping[str, Column]


class QuerySource:
    """Punches as a query gives them, in columns named `person`, `time` and perhaps `direction`, `device` and `id`.

    Args:
        query: asks for what is later than `:after`, or for ids above `:after_id` in their order.
        place: file and table of the query, for messages.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        rules: PunchRules,
        query: str,
        *,
        place: str,
        batch_events: int | None = None,
    ) -> None:
        self.name = name
        self.rules = rules
        self._database = database
        self._query = query
        self._place = place
        self._batch_events = batch_events or _BATCH_EVENTS
        self._is_by_id = bool(_AFTER_ID.search(query))

    async def plan(self, state: IngestState, now: dt.datetime, *, full: bool = False) -> ReadPlan:
        """The one query, with where it begins."""
        beginning = find_beginning(state, self.rules, now)
        if self._is_by_id:
            is_cut_short = state.first_month is not None and beginning < state.first_month
            cursor = 0 if full or is_cut_short else state.cursors.get(TABLE, 0)
            after, since = max(0, cursor - self.rules.reread_events), beginning.begin
        else:
            after, since = 0, plan_first_instant(state, self.rules, now, full=full)
        portion = Portion(table=TABLE, after=after, since=since)
        return ReadPlan(first_month=beginning, portions=(portion,))

    async def read(self, portion: Portion) -> AsyncGenerator[EventBatch, None]:
        """The punches, in the order of the query.

        Raises:
            TransientError: the database is away.
            PermanentError: the query is refused, or lacks a column.
        """
        parameters: dict[str, object] = {}
        if self._is_by_id:
            parameters["after_id"] = portion.after
        if _AFTER.search(self._query):
            parameters["after"] = self._wall_time(portion.since or _EPOCH)
        query = SourceQuery(place=self._place, subject="punches", text=self._query, parameters=parameters)
        last = portion.after
        async with contextlib.aclosing(stream_pages(self._database, query, self._batch_events)) as pages:
            async for page in pages:
                events = await asyncio.to_thread(self._to_events, page, last)
                last = events.cursor or last
                yield events

    async def find_recent(self, plan: ReadPlan, now: dt.datetime, limit: int) -> Portion | None:
        """The last week."""
        return Portion(table=TABLE, since=now - dt.timedelta(days=7))

    async def measure_clocks(self, portion: Portion) -> Mapping[str, int]:
        """Nothing: no column tells when a punch arrived."""
        return {}

    def _wall_time(self, instant: dt.datetime) -> object:
        zone = zoneinfo.ZoneInfo(self.rules.timezone) if self.rules.timezone else dt.UTC
        wall = instant.astimezone(zone).replace(tzinfo=None)
        return wall.isoformat(" ") if self._database.dialect == "sqlite" else wall

    def _to_events(self, page: _Page, last: int) -> EventBatch:
        found = {name: find_column(name, list(page)) for name in ("person", "time", "direction", "device", "id")}
        columns = list(page.values())
        missing = [name for name in ("person", "time", *(["id"] if self._is_by_id else [])) if found[name] is None]
        if missing:
            close = [f"{near} AS {name}" for name in missing if (near := suggest(name, list(page)))]
            raise PermanentError(
                f"{self._place}: the query's result has no column {', '.join(missing)}. It has: {', '.join(page)}. "
                f"Name its columns in the query, such as: SELECT {(close or [f'... AS {missing[0]}'])[0]}"
            )
        place = found["person"], found["time"]
        assert place[0] is not None
        assert place[1] is not None
        size = len(columns[place[0]])
        nothing = pa.nulls(size, pa.string())

        def texts(name: str) -> pa.Array:
            index = found[name]
            return nothing if index is None else texts_of(columns[index])

        users, devices = texts("person"), texts("device")
        times, is_utc = times_of(columns[place[1]])
        cursor = None
        if self._is_by_id:
            assert found["id"] is not None
            cursor = self._check_order(columns[found["id"]], last)
        return EventBatch(
            keys=_keys(texts("id"), users, times, devices),
            times=times,
            devices=devices,
            users=users,
            codes=pa.nulls(size, pa.int64()),
            directions=texts("direction"),
            cursor=cursor,
            is_utc=is_utc,
        )

    def _check_order(self, ids: Column, last: int) -> int:
        """The last of the ids, which ascend."""
        try:
            numbers = (ids if isinstance(ids, pa.Array) else pa.array(ids)).cast(pa.int64()).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            raise PermanentError(
                f"{self._place}: the query asks for `:after_id`, but its column `id` has values that are no whole "
                "numbers. Ask for what is later than `:after` (a time) instead."
            ) from None
        if len(numbers) and (numbers[0] <= last or bool((np.diff(numbers) <= 0).any())):
            raise PermanentError(
                f"{self._place}: the query must give ids above `:after_id` in their order. End it with ORDER BY, and "
                "give each id once."
            )
        return int(numbers[-1])


async def stream_pages(database: Database, query: SourceQuery, batch_events: int) -> AsyncGenerator[_Page, None]:
    """The rows of a query by column, in pages of about `batch_events` rows."""
    async with (
        DatabaseHrisSource(database).open(query) as rows,
        contextlib.aclosing(rows.batches()) as batches,
    ):
        held: list[RawBatch] = []
        async for batch in batches:
            start = 0
            while start < batch.row_count:
                room = batch_events - sum(item.row_count for item in held)
                part = (
                    batch
                    if not start and batch.row_count <= room
                    else batch.take(range(start, min(batch.row_count, start + room)))
                )
                held.append(part)
                start += part.row_count
                if part.row_count == room:
                    yield _join(rows.columns, held)
                    held = []
        if held:
            yield _join(rows.columns, held)


def _join(names: Sequence[str], batches: Sequence[RawBatch]) -> _Page:
    return {
        name: pa.concat_arrays(parts) if isinstance(parts[0], pa.Array) else [item for part in parts for item in part]
        for name, parts in zip(names, zip(*(batch.columns for batch in batches), strict=True), strict=True)
    }


def texts_of(column: Column) -> pa.Array:
    """The values as texts; whole numbers without a fraction."""
    if isinstance(column, pa.Array) and (pa.types.is_integer(column.type) or pa.types.is_string(column.type)):
        return column.cast(pa.string())
    values = column.to_pylist() if isinstance(column, pa.Array) else column
    return pa.array([value if value is None or type(value) is str else to_text(value) for value in values], pa.string())


def times_of(column: Column) -> tuple[pa.Array, bool]:
    """The values as the times of an `EventBatch`, and whether they are UTC whatever the zone of the source."""
    try:
        array = column if isinstance(column, pa.Array) else pa.array(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        array = None
    if array is not None and pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64()), array.type.tz is not None
    if array is not None and pa.types.is_integer(array.type):
        return times_of_seconds(array.cast(pa.int64())), False
    values = column.to_pylist() if isinstance(column, pa.Array) else column
    instants = [_parse(value) for value in values]
    is_utc = any(instant is not None and instant.tzinfo is not None for instant in instants)
    return pa.array([None if instant is None else _since_epoch(instant) for instant in instants], pa.int64()), is_utc


def _parse(value: Any) -> dt.datetime | None:
    if isinstance(value, dt.datetime):
        return value
    try:
        return dt.datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None


def _since_epoch(instant: dt.datetime) -> int:
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=dt.UTC)
    return (aware - _EPOCH) // dt.timedelta(microseconds=1)


def _keys(ids: pa.Array, users: pa.Array, times: pa.Array, devices: pa.Array) -> pa.Array:
    """The ids; where there is none that can be kept, a digest of person, time and device."""
    fits = pc.and_kleene(pc.string_is_ascii(ids), pc.less_equal(pc.utf8_length(ids), TEXT_LENGTH))
    if len(ids) and pc.all(fits, skip_nulls=False).as_py():
        return ids
    columns = (column.to_pylist() for column in (ids, users, times, devices))
    return pa.array([_key(*values) for values in zip(*columns, strict=True)], pa.string())


def _key(event_id: str | None, user: str | None, time: int | None, device: str | None) -> str:
    if event_id is not None and event_id.isascii() and len(event_id) <= TEXT_LENGTH:
        return event_id
    identity = event_id or f"{user}\x1f{time}\x1f{device}"
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
