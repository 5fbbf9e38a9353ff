"""What is read beside an entity's own rows: look-ups, supplements, and how far an incremental read goes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.domain.column_rules import RawBatch
from backend.domain.employees import TREE_PATH
from backend.domain.mapping import EntityMapping, HrisMapping, Incremental, Lookup, SourceQuery
from backend.domain.replication_plan import StreamFacts
from backend.domain.result_columns import find_column
from backend.domain.row_batches import FoundDefect, SupplementTable, read_supplement
from backend.domain.values import to_text
from backend.errors import PermanentError
from backend.ports import HrisSource

# The result column by which Change Tracking says what happened to a row; `D`: it was deleted.
CHANGE_OPERATION = "SYS_CHANGE_OPERATION"


async def read_lookups(source: HrisSource, mapping: HrisMapping) -> dict[str, dict[str, str]]:
    """The content of every look-up of the mapping.

    Raises:
        TransientError, PermanentError: the source does not give it.
    """
    return {name: await _read_lookup(source, lookup) for name, lookup in mapping.lookups.items()}


async def _read_lookup(source: HrisSource, lookup: Lookup) -> dict[str, str]:
    """All of a look-up; of two rows for one text the first counts, rows in which either side is empty say nothing."""
    query = SourceQuery(place=lookup.place, subject=f"look-up {lookup.name}", text=lookup.query, source=lookup.source)
    values: dict[str, str] = {}
    async with source.open(query) as rows:
        if len(rows.columns) < 2:
            raise PermanentError(
                f"{lookup.place}: the result has one column, {rows.columns[0]!r} -- a look-up needs two: what is "
                "looked up, and what it becomes"
            )
        async for raw in rows.batches():
            for index in range(raw.row_count):
                known, becomes = ("" if value is None else to_text(value).strip() for value in raw.row(index)[:2])
                if known and becomes:
                    values.setdefault(known, becomes)
    return values


async def read_supplements(
    source: HrisSource, mapping: EntityMapping, lookups: Mapping[str, Mapping[str, str]]
) -> tuple[list[SupplementTable], list[FoundDefect]]:
    """What the supplements of an entity know, and what is wrong with their rows.

    Raises:
        TransientError, PermanentError, ConfigurationError: a source does not give it.
    """
    tables: list[SupplementTable] = []
    defects: list[FoundDefect] = []
    for supplement in mapping.supplements:
        query = SourceQuery(
            place=supplement.place,
            subject=f"supplement of the {mapping.entity}",
            text=supplement.query or "",
            source=supplement.source,
        )
        async with source.open(query) as rows:
            batches = [raw async for raw in rows.batches()]
        table, found = await asyncio.to_thread(
            read_supplement, mapping.entity, supplement, tuple(rows.columns), batches, lookups
        )
        tables.append(table)
        defects += found
    return tables, defects


@dataclass(kw_only=True)
class Bound:
    """What a run reads of an entity, and where the next one may go on.

    Attributes:
        query: the query to run.
        is_partial: it gives only what changed.
        notes: what people should know.
    """

    query: SourceQuery
    is_partial: bool = False
    notes: list[str] = field(default_factory=list)
    column: str | None = None
    newest: str | None = None

    def look_at(self, columns: Sequence[str], raw: RawBatch) -> None:
        """Note the newest time of change that comes by."""
        if self.column is None:
            return
        place = find_column(self.column, columns)
        if place is None:
            raise PermanentError(
                f"{self.query.place}: the result has no column {self.column!r}, by which changes are found. It has: "
                f"{', '.join(columns)}."
            )
        values = raw.columns[place]
        listed = values if isinstance(values, list | tuple) else values.to_pylist()  # type: ignore[union-attr]
        try:
            times = [_sortable(value) for value in listed]
        except ValueError:
            raise PermanentError(
                f"{self.query.place}: the column {self.column!r}, by which changes are found, holds something that is "
                "no time; name another one, or read everything (without `incremental`)."
            ) from None
        self.newest = max((time for time in (*times, self.newest) if time), default=None)

    def next(self) -> str | None:
        """Where the next run goes on."""
        return self.newest


async def choose_bound(
    source: HrisSource, mapping: EntityMapping, facts: StreamFacts, fingerprint: str, *, full: bool
) -> Bound:
    """What is to be read: what changed where that is enough, else everything.

    Args:
        facts: what the last run left.
        fingerprint: of the mapping; after a change of it everything is read.
        full: read everything in any case.

    Raises:
        TransientError, PermanentError: the source does not say how far it is.
    """
    way = mapping.incremental
    everything = mapping.source_query()
    if way is None:
        return Bound(query=everything)
    # By position or tree path the manager may be somebody who did not change.
    full = full or mapping.manager_by_position or TREE_PATH in mapping.fields
    since = None if full or facts.mapping != fingerprint or _is_old(facts.full_read_at, way) else facts.bound
    if way.by == "updated_at":
        return _bound_by_time(mapping, way, since)
    if way.by == "rowversion":
        return await _bound_by_rowversion(source, mapping, way, since)
    return await _bound_by_tracking(source, mapping, way, since)


async def _bound_by_rowversion(
    source: HrisSource, mapping: EntityMapping, way: Incremental, since: str | None
) -> Bound:
    # Not the greatest rowversion: a transaction that has not ended yet may have taken a lower one.
    (value,) = await _ask(source, mapping, "SELECT MIN_ACTIVE_ROWVERSION()")
    until = _hexadecimal(value)
    if since is None:
        return _bound(mapping, way, {}, until)
    if since > until:
        return _everything_again(mapping, until, "the rowversions of the source went back")
    return _bound(mapping, way, {"since": bytes.fromhex(since), "until": bytes.fromhex(until)}, until)


async def _bound_by_tracking(source: HrisSource, mapping: EntityMapping, way: Incremental, since: str | None) -> Bound:
    now, oldest = await _ask(
        source,
        mapping,
        f"SELECT CHANGE_TRACKING_CURRENT_VERSION(), CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID(N'{way.table}'))",
    )
    if now is None or oldest is None:
        raise PermanentError(
            f"{mapping.place}: Change Tracking is not enabled for {way.table}, or the login may not see it. Enable it, "
            "or read the whole entity (without `incremental`)."
        )
    newest = str(now)
    if since is None:
        return _bound(mapping, way, {}, newest)
    if int(since) < int(str(oldest)):
        return _everything_again(
            mapping, newest, f"Change Tracking of {way.table} no longer reaches back to the last run"
        )
    if int(since) > int(newest):
        return _everything_again(mapping, newest, f"Change Tracking of {way.table} went back")
    return _bound(mapping, way, {"since": int(since)}, newest)


def split_gone(columns: Sequence[str], raw: RawBatch) -> tuple[RawBatch, RawBatch | None]:
    """The rows that are there, and those of which Change Tracking says that they were deleted."""
    place = find_column(CHANGE_OPERATION, columns)
    if place is None:
        return raw, None
    gone = [index for index in range(raw.row_count) if raw.row(index)[place] == "D"]
    if not gone:
        return raw, None
    kept = sorted(set(range(raw.row_count)) - set(gone))
    return raw.take(kept), raw.take(gone)


def _everything_again(mapping: EntityMapping, newest: str, why: str) -> Bound:
    return Bound(query=mapping.source_query(), newest=newest, notes=[f"{why}; all {mapping.entity} were read"])


def _bound(mapping: EntityMapping, way: Incremental, parameters: Mapping[str, object], newest: str) -> Bound:
    if not parameters:
        return Bound(query=mapping.source_query(), newest=newest)
    return Bound(query=_changed_rows(mapping, way, parameters), is_partial=True, newest=newest)


def _bound_by_time(mapping: EntityMapping, way: Incremental, since: str | None) -> Bound:
    if since is None:
        return Bound(query=mapping.source_query(), column=way.column)
    start = dt.datetime.fromisoformat(since) - dt.timedelta(seconds=way.overlap_seconds)
    query = _changed_rows(mapping, way, {"since": start})
    return Bound(query=query, is_partial=True, column=way.column, newest=since)


def _changed_rows(mapping: EntityMapping, way: Incremental, parameters: Mapping[str, object]) -> SourceQuery:
    return SourceQuery(
        place=mapping.place,
        subject=mapping.entity.value,
        text=way.query,
        source=mapping.source,
        parameters=parameters,
    )


async def _ask(source: HrisSource, mapping: EntityMapping, text: str) -> tuple[object, ...]:
    query = SourceQuery(place=mapping.place, subject=mapping.entity.value, text=text, source=mapping.source)
    async with source.open(query) as rows, contextlib.aclosing(rows.batches()) as batches:
        async for raw in batches:
            return raw.row(0)
    raise PermanentError(f"{mapping.place}: the source gave no answer to {text}.")


def _is_old(full_read_at: str | None, way: Incremental) -> bool:
    if full_read_at is None:
        return True
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(full_read_at)
    return age > dt.timedelta(hours=way.full_every_hours)


def _hexadecimal(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value).lower().removeprefix("0x")


def _sortable(value: object) -> str | None:
    """An ISO 8601 time of one form, so that texts compare as times do.

    Raises:
        ValueError: it is no time.
    """
    if value is None:
        return None
    if not isinstance(value, dt.datetime):
        text = to_text(value).strip()
        if not text or text.startswith("0000-00-00"):  # "never", of MariaDB
            return None
        # A text is compared as a text by the source, so that its offset stays out of it.
        value = dt.datetime.fromisoformat(text[:26]).replace(tzinfo=None)
    elif value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return value.isoformat(sep=" ", timespec="microseconds")
