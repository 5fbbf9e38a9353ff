"""The replicated HR data in hrsync's own database: its state before a run, and the one transaction that applies a run.

The statements are written out, because a driver's `executemany` on plain tuples is several times as fast as anything
that handles rows as objects; the two dialects differ in `_DIALECTS` only.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Table, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from backend.db.database import Database
from backend.db.models import Base, Department, Employee, Position, QuarantinedRow, Stream
from backend.db.types import db_now
from backend.domain.employees import ENTITY_SPECS, Entity, SourceRow
from backend.domain.quarantine import QuarantineEntry
from backend.domain.replication import TargetRow, TargetState
from backend.errors import TransientError

_MODELS: Mapping[Entity, type[Base]] = {
    Entity.DEPARTMENTS: Department,
    Entity.POSITIONS: Position,
    Entity.EMPLOYEES: Employee,
}
_KEYS_PER_STATEMENT = 500
_ROWS_PER_READ = 5000

_T = TypeVar("_T")


class DatabaseHrStore:
    """The HR tables of a migrated database.

    Args:
        stale_after_seconds: how old the data may become before it is called stale; None: however old.
    """

    def __init__(self, database: Database, *, stale_after_seconds: float | None = None) -> None:
        self._database = database
        self._stale_after_seconds = stale_after_seconds

    async def read_state(self, entities: Collection[Entity]) -> TargetState:
        """What the target has."""
        async with self._database.reader() as session:
            # First the revisions, then the rows: what is applied in between is noticed by `apply`.
            streams = await _read_streams(session, entities)
            rows = {entity: await _read_rows(session, entity) for entity in entities}
        counts = [stream.row_count for stream in streams.values() if stream.row_count is not None]
        return TargetState(
            revisions={entity: _revision(streams.get(entity)) for entity in entities},
            rows=rows,
            last_read=sum(counts) if counts else None,
        )

    @contextlib.asynccontextmanager
    async def apply(self, state: TargetState, execution_id: str) -> AsyncIterator[DatabaseHrWriter]:
        """One transaction in which the run is applied: all of it, or nothing.

        Raises:
            TransientError: another run was applied since `state` was read.
        """
        async with self._database.session() as session:
            statements = _Statements(_DIALECTS[self._database.dialect])
            connection = await session.connection()
            # Takes the rows' locks, also of rows that were not there: a second run waits here until this one ends.
            codes = [(_stream_code(entity), "{}") for entity in sorted(state.revisions)]
            await connection.exec_driver_sql(statements.lock_streams, codes)
            streams = await _read_streams(session, state.revisions)
            if any(_revision(streams.get(entity)) != revision for entity, revision in state.revisions.items()):
                raise TransientError(
                    "Another HRIS replication was applied while this one was reading, so that its comparison is out of "
                    "date. Nothing was written; try again."
                )
            now = (await session.execute(select(db_now()))).scalar_one()
            yield DatabaseHrWriter(connection, statements, streams, execution_id, now)
            await connection.execute(
                update(Stream)
                .where(Stream.code.in_([code for code, _ in codes]))
                .values(stale_after_seconds=self._stale_after_seconds)
            )


class DatabaseHrWriter:
    """Writes one run's changes in the transaction of `DatabaseHrStore.apply`."""

    def __init__(
        self,
        connection: AsyncConnection,
        statements: _Statements,
        streams: Mapping[Entity, Stream],
        execution_id: str,
        now: dt.datetime,
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._streams = streams
        self._execution_id = execution_id
        # As SQLAlchemy writes an instant, so that both compare as text on SQLite.
        self._now = now.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    async def upsert(self, entity: Entity, rows: Sequence[SourceRow], parents: Mapping[str, str]) -> None:
        """Insert or replace rows; `parents` holds their parents by key."""
        now, execution_id = self._now, self._execution_id
        has_parent = ENTITY_SPECS[entity].parent is not None
        params = [
            (
                key,
                *values,
                *((parents.get(key),) if has_parent else ()),
                digest,
                int(is_active),
                None if is_active else now,
                now,
                now,
                execution_id,
            )
            for key, values, digest, is_active in rows
        ]
        await self._connection.exec_driver_sql(self._statements.upsert(entity), params)

    async def set_parents(self, entity: Entity, parents: Mapping[str, str | None]) -> None:
        """Change nothing but the parent of existing rows."""
        for chunk in _chunks(parents.items()):
            await self._connection.exec_driver_sql(
                self._statements.set_parents(entity, len(chunk)),
                (
                    *itertools.chain.from_iterable(chunk),
                    self._now,
                    self._execution_id,
                    *(key for key, _ in chunk),
                ),
            )

    async def deactivate(self, entity: Entity, keys: Sequence[str]) -> None:
        """Mark rows as gone."""
        for chunk in _chunks(keys):
            await self._connection.exec_driver_sql(
                self._statements.deactivate(entity, len(chunk)), (self._now, self._now, self._execution_id, *chunk)
            )

    async def quarantine(self, entries: Sequence[QuarantineEntry]) -> None:
        """Note defects; one that is there already keeps its first sight."""
        params = [
            (
                entry.entity,
                entry.source_key,
                entry.fingerprint,
                entry.defect.severity,
                entry.defect.reason,
                entry.defect.field,
                entry.defect.message[:1000],
                json.dumps(entry.payload, ensure_ascii=False),
                self._now,
                self._now,
                self._execution_id,
            )
            for entry in entries
        ]
        if params:
            await self._connection.exec_driver_sql(self._statements.quarantine, params)

    async def finish(self, entity: Entity, row_count: int) -> None:
        """Drop the entity's quarantine entries that this run did not see again, and move its stream."""
        await self._connection.exec_driver_sql(
            self._statements.drop_mended, (entity.value, self._now, self._execution_id)
        )
        stream = self._streams[entity]
        await self._connection.execute(
            update(Stream)
            .where(Stream.code == stream.code)
            .values(
                watermark={**stream.watermark, "revision": _revision(stream) + 1},
                succeeded_at=db_now(),
                execution_id=self._execution_id,
                row_count=row_count,
            )
        )


# --- reading --------------------------------------------------------------------------------------------------------


def _stream_code(entity: Entity) -> str:
    return f"hris.{entity}"


def _revision(stream: Stream | None) -> int:
    return 0 if stream is None else int(stream.watermark.get("revision", 0))


async def _read_streams(session: AsyncSession, entities: Collection[Entity]) -> dict[Entity, Stream]:
    by_code = {_stream_code(entity): entity for entity in entities}
    streams = await session.scalars(select(Stream).where(Stream.code.in_(by_code)))
    return {by_code[stream.code]: stream for stream in streams}


async def _read_rows(session: AsyncSession, entity: Entity) -> dict[str, TargetRow]:
    table, spec = _table(entity), ENTITY_SPECS[entity]
    parent = table.c[spec.parent.name] if spec.parent else literal_column("NULL")
    query = select(table.c[spec.key.name], table.c.row_hash, table.c.is_active, parent)
    result = await session.stream(query, execution_options={"yield_per": _ROWS_PER_READ})
    rows: dict[str, TargetRow] = {}
    async for batch in result.partitions():
        for key, digest, is_active, above in batch:
            rows[key] = TargetRow(digest, is_active, above)
    return rows


def _table(entity: Entity) -> Table:
    table = _MODELS[entity].__table__
    assert isinstance(table, Table)
    return table


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, _KEYS_PER_STATEMENT)):
        yield chunk


# --- statements -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    """What MariaDB and SQLite write differently."""

    mark: str
    conflict: str
    new: str


_DIALECTS = {
    "mysql": _Dialect(mark="%s", conflict="ON DUPLICATE KEY UPDATE", new="VALUES({})"),
    "sqlite": _Dialect(mark="?", conflict="ON CONFLICT ({}) DO UPDATE SET", new="excluded.{}"),
}


class _Statements:
    """The statements in one dialect; names come from the models, values are always parameters."""

    def __init__(self, dialect: _Dialect) -> None:
        self._dialect = dialect
        self.lock_streams = self._insert_or_update(Stream.__tablename__, ("code", "watermark"), ("code",), ("code",))
        self.quarantine = self._insert_or_update(
            QuarantinedRow.__tablename__,
            (
                *("entity", "source_key", "fingerprint", "severity", "reason", "field", "message", "payload"),
                *("first_seen_at", "last_seen_at", "execution_id"),
            ),
            ("entity", "fingerprint"),
            ("message", "payload", "last_seen_at", "execution_id"),
        )
        self.drop_mended = self._marked(
            f"DELETE FROM {QuarantinedRow.__tablename__} "  # noqa: S608
            "WHERE entity = ? AND NOT (last_seen_at = ? AND execution_id = ?)"
        )

    def upsert(self, entity: Entity) -> str:
        """Parameters: key, values, parent (where there is one), digest, is_active, deactivated_at, first_seen_at,
        changed_at, execution_id."""
        spec = ENTITY_SPECS[entity]
        columns = (
            spec.key.name,
            *spec.value_names,
            *((spec.parent.name,) if spec.parent else ()),
            *("row_hash", "is_active", "deactivated_at", "first_seen_at", "changed_at", "execution_id"),
        )
        kept = (spec.key.name, "first_seen_at", "deactivated_at")
        statement = self._insert_or_update(
            _table(entity).name, columns, (spec.key.name,), [column for column in columns if column not in kept]
        )
        # Who is gone already has been gone since then.
        is_active, gone_at = self._dialect.new.format("is_active"), self._dialect.new.format("deactivated_at")
        since = f"CASE WHEN {is_active} = 1 THEN NULL ELSE COALESCE(deactivated_at, {gone_at}) END"
        return f"{statement}, deactivated_at = {since}"

    def set_parents(self, entity: Entity, count: int) -> str:
        """Parameters: key and parent of each, changed_at, execution_id, all keys."""
        spec = ENTITY_SPECS[entity]
        assert spec.parent is not None
        key = spec.key.name
        cases = "WHEN ? THEN ? " * count
        return self._marked(
            f"UPDATE {_table(entity).name} SET {spec.parent.name} = CASE {key} {cases}END, "  # noqa: S608
            f"changed_at = ?, execution_id = ? WHERE {key} IN ({', '.join('?' * count)})"
        )

    def deactivate(self, entity: Entity, count: int) -> str:
        """Parameters: deactivated_at, changed_at, execution_id, the keys."""
        return self._marked(
            f"UPDATE {_table(entity).name} SET is_active = 0, deactivated_at = ?, changed_at = ?, "  # noqa: S608
            f"execution_id = ? WHERE {ENTITY_SPECS[entity].key.name} IN ({', '.join('?' * count)})"
        )

    def _insert_or_update(self, table: str, columns: Sequence[str], key: Sequence[str], changed: Iterable[str]) -> str:
        # The words and blanks are those by which aiomysql's executemany makes one statement of many rows.
        changes = ", ".join(f"{column} = {self._dialect.new.format(column)}" for column in changed)
        return self._marked(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "  # noqa: S608
            f"{self._dialect.conflict.format(', '.join(key))} {changes}"
        )

    def _marked(self, statement: str) -> str:
        return statement.replace("?", self._dialect.mark)
