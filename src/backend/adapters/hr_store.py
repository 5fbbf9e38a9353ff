"""The replicated HR data in hrsync's own database: its state before a run, and the one transaction that applies a run.

The statements are written out, because a driver's `executemany` on plain tuples is several times as fast as anything
that handles rows as objects; the two dialects differ in `_DIALECTS` only.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Row, Table, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from backend.adapters import hold_store
from backend.db.bulk_load import BulkLoader, find_file_loading
from backend.db.database import Database
from backend.db.models import Base, Department, Employee, Holiday, HrChange, Leave, Position, QuarantinedRow, Stream
from backend.db.types import db_now
from backend.domain.employees import ENTITY_SPECS, Entity
from backend.domain.entity_planner import TargetBatch, TargetRow
from backend.domain.quarantine import QuarantineEntry
from backend.domain.replication import RowsWanted, target_batch
from backend.domain.replication_plan import ChangeAction, EntityPlan, HeldRun, ReplicationPlan, RowChange, StreamFacts
from backend.domain.row_batches import DIGEST, IS_ACTIVE, PARENT_REF
from backend.domain.values import to_text
from backend.errors import PermanentError, TransientError

_MODELS: Mapping[Entity, type[Base]] = {
    Entity.DEPARTMENTS: Department,
    Entity.POSITIONS: Position,
    Entity.EMPLOYEES: Employee,
    Entity.LEAVES: Leave,
    Entity.HOLIDAYS: Holiday,
}
_KEYS_PER_STATEMENT = 500
_ROWS_PER_READ = 5000
_RENUMBERABLE = "stable_key"
# Between the values and between the rows of an index that comes as one text; no key holds them.
_UNIT, _RECORD = "\x1f", "\x1e"

_T = TypeVar("_T")


class DatabaseHrStore:
    """The HR tables of a migrated database.

    Args:
        stale_after_seconds: how old the data may become before it is called stale; None: however old.
    """

    def __init__(self, database: Database, *, stale_after_seconds: float | None = None) -> None:
        self._database = database
        self._stale_after_seconds = stale_after_seconds

    async def read_facts(self, entities: Collection[Entity]) -> Mapping[Entity, StreamFacts]:
        """What earlier runs left."""
        async with self._database.reader() as session:
            streams = await _read_streams(session, entities)
        return {entity: _facts(streams.get(entity)) for entity in entities}

    async def stream_index(self, entity: Entity, *, verify: bool = False) -> AsyncGenerator[TargetBatch, None]:
        """All rows of the target, as little as tells whether they differ.

        Args:
            verify: make the digests of what the rows hold now, whatever was stored with them.
        """
        batches = self._stream_rows(entity) if verify else self._stream_packed(entity)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                yield batch

    async def _stream_packed(self, entity: Entity) -> AsyncGenerator[TargetBatch, None]:
        """Some thousand rows come as one text: a driver takes longest over many small values."""
        statement = _Statements(_DIALECTS[self._database.dialect]).packed_index(entity)
        async with self._database.reader() as session:
            connection = await session.connection()

            async def read(after: int) -> Sequence[Any]:
                result = await connection.exec_driver_sql(statement, (after, _ROWS_PER_READ))
                return result.one()

            ahead = asyncio.ensure_future(read(0))
            try:
                while True:
                    count, last, text = await ahead
                    if not count:
                        return
                    # While these are looked at, the server puts the next ones together.
                    ahead = asyncio.ensure_future(read(last))
                    yield _unpack(entity, count, text)
            finally:
                # The connection is not given back while it is in use; whoever is cancelled does not wait, it is closed.
                await asyncio.wait({ahead})
                if not ahead.cancelled():
                    ahead.exception()

    async def _stream_rows(self, entity: Entity) -> AsyncGenerator[TargetBatch, None]:
        statement = _Statements(_DIALECTS[self._database.dialect]).next_rows(entity)
        last = 0
        async with self._database.reader() as session:
            connection = await session.connection()
            while True:
                found = (await connection.exec_driver_sql(statement, (last, _ROWS_PER_READ))).all()
                if not found:
                    return
                rows = [_target_row(row) for row in found]
                last = rows[-1].row_id
                yield target_batch(rows)

    async def fetch_rows(self, wanted: RowsWanted) -> Sequence[TargetRow]:
        """Whole rows of the target, those of the keys that there are."""
        name = ENTITY_SPECS[wanted.entity].key.name if wanted.by == "key" else _RENUMBERABLE
        statements = _Statements(_DIALECTS[self._database.dialect])
        statement = statements.rows_by(wanted.entity, name, len(wanted.keys))
        async with self._database.reader() as session:
            connection = await session.connection()
            result = await connection.exec_driver_sql(statement, tuple(wanted.keys))
            return [_target_row(row) for row in result]

    @contextlib.asynccontextmanager
    async def apply(self, facts: Mapping[Entity, StreamFacts], execution_id: str) -> AsyncIterator[DatabaseHrWriter]:
        """One transaction in which the run is applied: all of it, or nothing.

        Raises:
            TransientError: another run was applied since `facts` were read.
        """
        async with self._database.session() as session:
            statements = _Statements(_DIALECTS[self._database.dialect])
            connection = await session.connection()
            # Takes the rows' locks, also of rows that were not there: a second run waits here until this one ends.
            codes = [(_stream_code(entity), "{}") for entity in sorted(facts)]
            await connection.exec_driver_sql(statements.lock_streams, codes)
            streams = await _read_streams(session, facts)
            if any(_facts(streams.get(entity)).revision != known.revision for entity, known in facts.items()):
                raise TransientError(
                    "Another HRIS replication was applied while this one was reading, so that its comparison is out of "
                    "date. Nothing was written; try again."
                )
            now = (await session.execute(select(db_now()))).scalar_one()
            may_load_files = await find_file_loading(connection)
            yield DatabaseHrWriter(
                connection, BulkLoader(connection, may_load_files=may_load_files), statements, execution_id, now
            )
            await connection.execute(
                update(Stream)
                .where(Stream.code.in_([code for code, _ in codes]))
                .values(stale_after_seconds=self._stale_after_seconds)
            )

    async def hold(self, plan: ReplicationPlan, execution_id: str) -> HeldRun:
        """Keep what a run would have done, for somebody to decide; a run that would do the same is the same hold."""
        async with self._database.session() as session:
            return await hold_store.hold(session, plan, execution_id)

    async def find_hold(self, execution_id: str) -> HeldRun | None:
        """The hold of the run with this id."""
        async with self._database.reader() as session:
            return await hold_store.find_hold(session, execution_id)


class DatabaseHrWriter:
    """Writes one run's changes in the transaction of `DatabaseHrStore.apply`."""

    def __init__(
        self,
        connection: AsyncConnection,
        loader: BulkLoader,
        statements: _Statements,
        execution_id: str,
        now: dt.datetime,
    ) -> None:
        self._connection = connection
        self._loader = loader
        self._statements = statements
        self._execution_id = execution_id
        # As SQLAlchemy writes an instant, so that both compare as text on SQLite.
        self._now = now.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    async def insert(self, entity: Entity, rows: pa.RecordBatch) -> None:
        """Insert rows whose keys are not there."""
        await self._loader.insert(_table(entity).name, self._stored(entity, rows), self._marks())

    async def update(self, entity: Entity, rows: pa.RecordBatch) -> None:
        """Replace rows whose keys are there."""
        stored = self._stored(entity, rows)
        changed = [
            name for name in stored.schema.names if name not in (ENTITY_SPECS[entity].key.name, "deactivated_at")
        ]
        on_conflict = self._statements.replace_row(entity, [*changed, "changed_at", "execution_id"])
        await self._loader.upsert(_table(entity).name, stored, self._marks(), on_conflict=on_conflict)

    async def renew(self, entity: Entity, rows: pa.RecordBatch) -> None:
        """Store the digests of rows that are there, which say the same."""
        on_conflict = self._statements.replace_digest(entity)
        await self._loader.upsert(
            _table(entity).name, self._stored(entity, rows), self._marks(), on_conflict=on_conflict
        )

    async def renumber(self, changes: Sequence[RowChange]) -> None:
        """Give rows their new keys; to be followed by an update of them."""
        for change in changes:
            table = _table(change.entity)
            key = table.c[ENTITY_SPECS[change.entity].key.name]
            await self._connection.execute(
                update(table).where(table.c.id == change.row_id).values({key: change.new_key})
            )

    async def deactivate(self, entity: Entity, keys: Sequence[str]) -> None:
        """Mark rows as gone."""
        for chunk in _chunks(keys):
            await self._connection.exec_driver_sql(
                self._statements.deactivate(entity, len(chunk)), (self._now, self._now, self._execution_id, *chunk)
            )

    async def record(self, changes: Sequence[RowChange]) -> None:
        """Keep what was changed in the history."""
        lines = [
            (change.entity.value, change.row_id, change.key, name, old, new)
            for change in changes
            if change.action is not ChangeAction.INSERT
            for name, (old, new) in change.fields.items()
        ]
        if not lines:
            return
        columns = list(zip(*lines, strict=True))
        batch = pa.RecordBatch.from_arrays(
            [pa.array(column, pa.int64() if index == 1 else pa.string()) for index, column in enumerate(columns)],
            names=["entity", "row_id", "entity_key", "field", "old_value", "new_value"],
        )
        marks = {"changed_at": self._now, "execution_id": self._execution_id}
        await self._loader.insert(HrChange.__tablename__, batch, marks)

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

    async def finish(self, plan: EntityPlan, *, seen: Callable[[str], bool] | None = None) -> None:
        """Drop the entity's quarantine entries that this run did not see again, and move its stream.

        Args:
            seen: of a partial run, whether it read the row of a key; entries of other rows stay.
        """
        entity = plan.entity
        arguments = (entity.value, self._now, self._execution_id)
        if seen is None:
            await self._connection.exec_driver_sql(self._statements.drop_mended, arguments)
        else:
            old = await self._connection.exec_driver_sql(self._statements.list_old, arguments)
            entries: Sequence[Sequence[Any]] = old.all()
            mended = [(row_id,) for row_id, key in entries if key is not None and seen(key)]
            if mended:
                await self._connection.exec_driver_sql(self._statements.drop_entry, mended)
        values: dict[str, Any] = {
            "watermark": {**asdict(plan.facts), "revision": plan.facts.revision + 1},
            "succeeded_at": db_now(),
            "execution_id": self._execution_id,
        }
        if not plan.is_partial:
            values["row_count"] = plan.facts.sizes[-1] if plan.facts.sizes else 0
        await self._connection.execute(update(Stream).where(Stream.code == _stream_code(entity)).values(values))

    async def follow_renumbered(self, changes: Sequence[RowChange]) -> None:
        """Let the rows that still name a renumbered row by its old key name it by its new one."""
        for change in changes:
            for entity, field in _references_to(change.entity):
                arguments = (change.new_key, self._now, self._execution_id, change.key)
                await self._connection.exec_driver_sql(self._statements.record_followed(entity, field), arguments)
                await self._connection.exec_driver_sql(self._statements.follow(entity, field), arguments)

    async def close_holds(self, held: HeldRun | None, *, keep: bool = False) -> None:
        """Mark the held run as applied, or with `keep` leave it as it is; all other open ones expire."""
        await hold_store.close_holds(self._connection, held, self._execution_id, keep=keep)

    def _marks(self) -> dict[str, object]:
        return {
            "first_seen_at": self._now,
            "changed_at": self._now,
            "execution_id": self._execution_id,
            "first_execution_id": self._execution_id,
        }

    def _stored(self, entity: Entity, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The columns of the table."""
        spec = ENTITY_SPECS[entity]
        columns = {name: rows.column(name) for name in (spec.key.name, *spec.value_names)}
        if spec.parent is not None:
            columns[spec.parent.name] = rows.column(PARENT_REF)
        active = rows.column(IS_ACTIVE)
        gone_at = pc.if_else(active, pa.scalar(None, pa.string()), pa.scalar(self._now))
        columns |= {"row_hash": rows.column(DIGEST), "is_active": active, "deactivated_at": gone_at}
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


# --- reading --------------------------------------------------------------------------------------------------------


def _stream_code(entity: Entity) -> str:
    return f"hris.{entity}"


def _facts(stream: Stream | None) -> StreamFacts:
    known = StreamFacts.__dataclass_fields__
    return StreamFacts(**{name: value for name, value in (stream.watermark if stream else {}).items() if name in known})


async def _read_streams(session: AsyncSession, entities: Collection[Entity]) -> dict[Entity, Stream]:
    by_code = {_stream_code(entity): entity for entity in entities}
    streams = await session.scalars(select(Stream).where(Stream.code.in_(by_code)))
    return {by_code[stream.code]: stream for stream in streams}


def _target_row(row: Row[Any]) -> TargetRow:
    content: Sequence[Any] = row
    row_id, key, *values, parent, is_active = content
    texts = tuple(value if value is None or type(value) is str else to_text(value) for value in values)
    return TargetRow(row_id, key, texts, parent, bool(is_active))


def _unpack(entity: Entity, count: int, text: str) -> TargetBatch:
    values = text.replace(_RECORD, _UNIT).split(_UNIT)
    if len(values) != 4 * count:
        raise PermanentError(
            f"The index of the {entity} came back cut off or with control characters in a key; raise the server's "
            "max_allowed_packet, or look for such keys."
        )
    digests = np.frombuffer(bytes.fromhex("".join(values[1::4])), dtype=">u8").astype(np.uint64)
    parents = pa.array(values[3::4], pa.string())
    return TargetBatch(
        pa.array(values[0::4], pa.string()),
        digests,
        np.array(values[2::4]) == "1",
        pc.if_else(pc.equal(parents, ""), pa.scalar(None, pa.string()), parents),
    )


def _references_to(entity: Entity) -> Iterator[tuple[Entity, str]]:
    for other, spec in ENTITY_SPECS.items():
        for field in spec.all_fields():
            if field.refers_to is entity:
                yield other, field.name


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
    pack: str
    before_packing: str


_DIALECTS = {
    "mysql": _Dialect(
        mark="%s",
        conflict="ON DUPLICATE KEY UPDATE",
        new="VALUES({})",
        pack="GROUP_CONCAT(CONCAT_WS('\x1f', k, HEX(LEFT(row_hash, 8)), is_active, COALESCE(parent, '')) "
        "SEPARATOR '\x1e')",
        before_packing="SET STATEMENT group_concat_max_len = 16000000 FOR ",
    ),
    "sqlite": _Dialect(
        mark="?",
        conflict="ON CONFLICT ({}) DO UPDATE SET",
        new="excluded.{}",
        pack="group_concat(k || char(31) || hex(substr(row_hash, 1, 8)) || char(31) || is_active || char(31) || "
        "coalesce(parent, ''), char(30))",
        before_packing="",
    ),
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
        old = "entity = ? AND NOT (last_seen_at = ? AND execution_id = ?)"
        self.drop_mended = self._marked(f"DELETE FROM {QuarantinedRow.__tablename__} WHERE {old}")  # noqa: S608
        self.list_old = self._marked(f"SELECT id, source_key FROM {QuarantinedRow.__tablename__} WHERE {old}")  # noqa: S608
        self.drop_entry = self._marked(f"DELETE FROM {QuarantinedRow.__tablename__} WHERE id = ?")  # noqa: S608

    def packed_index(self, entity: Entity) -> str:
        """Parameters: the last id that was read, the number of rows. Gives the count, the last id and one text."""
        spec = ENTITY_SPECS[entity]
        parent = spec.parent.name if spec.parent else "NULL"
        rows = (
            f"SELECT id, {spec.key.name} AS k, row_hash, is_active, {parent} AS parent FROM {_table(entity).name} "  # noqa: S608
            "WHERE id > ? ORDER BY id LIMIT ?"
        )
        dialect = self._dialect
        return self._marked(f"{dialect.before_packing}SELECT COUNT(*), MAX(id), {dialect.pack} FROM ({rows}) AS t")  # noqa: S608

    def next_rows(self, entity: Entity) -> str:
        """Parameters: the last id that was read, the number of rows. Gives whole rows in the order of their ids."""
        return self._marked(f"{self._whole_rows(entity)} WHERE id > ? ORDER BY id LIMIT ?")

    def rows_by(self, entity: Entity, column: str, count: int) -> str:
        """Parameters: values of the column. Gives whole rows."""
        return self._marked(f"{self._whole_rows(entity)} WHERE {column} IN ({', '.join('?' * count)})")

    def _whole_rows(self, entity: Entity) -> str:
        """Id, key, values, parent, is_active: as the driver gives them, so that JSON stays the text that it is."""
        spec = ENTITY_SPECS[entity]
        parent = spec.parent.name if spec.parent else "NULL"
        names = ", ".join((spec.key.name, *spec.value_names))
        return f"SELECT id, {names}, {parent}, is_active FROM {_table(entity).name}"  # noqa: S608

    def replace_row(self, entity: Entity, changed: Iterable[str]) -> str:
        """The end of an insert that replaces these columns of a row that is there."""
        # Who is gone already has been gone since then.
        is_active, gone_at = self._dialect.new.format("is_active"), self._dialect.new.format("deactivated_at")
        since = (
            f"CASE WHEN {is_active} = 1 THEN NULL ELSE COALESCE({_table(entity).name}.deactivated_at, {gone_at}) END"
        )
        # Assignments run in their order on MariaDB: this one looks at nothing that another one sets.
        return f"{self._replace((ENTITY_SPECS[entity].key.name,), changed)}, deactivated_at = {since}"

    def replace_digest(self, entity: Entity) -> str:
        """The end of an insert that replaces the digest of a row that is there."""
        return self._replace((ENTITY_SPECS[entity].key.name,), ("row_hash",))

    def deactivate(self, entity: Entity, count: int) -> str:
        """Parameters: deactivated_at, changed_at, execution_id, the keys."""
        return self._marked(
            f"UPDATE {_table(entity).name} SET is_active = 0, deactivated_at = ?, changed_at = ?, "  # noqa: S608
            f"execution_id = ? WHERE {ENTITY_SPECS[entity].key.name} IN ({', '.join('?' * count)})"
        )

    def follow(self, entity: Entity, field: str) -> str:
        """Parameters: the new key, changed_at, execution_id, the old key."""
        return self._marked(
            f"UPDATE {_table(entity).name} SET {field} = ?, changed_at = ?, execution_id = ? WHERE {field} = ?"  # noqa: S608
        )

    def record_followed(self, entity: Entity, field: str) -> str:
        """Parameters as of `follow`: what that is going to change, for the history."""
        key = ENTITY_SPECS[entity].key.name
        return self._marked(
            f"INSERT INTO {HrChange.__tablename__} "  # noqa: S608
            "(entity, row_id, entity_key, field, old_value, new_value, changed_at, execution_id) "
            f"SELECT '{entity}', id, {key}, '{field}', {field}, ?, ?, ? FROM {_table(entity).name} WHERE {field} = ?"
        )

    def _insert_or_update(self, table: str, columns: Sequence[str], key: Sequence[str], changed: Iterable[str]) -> str:
        # The words and blanks are those by which aiomysql's executemany makes one statement of many rows.
        return self._marked(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "  # noqa: S608
            f"{self._replace(key, changed)}"
        )

    def _replace(self, key: Sequence[str], changed: Iterable[str]) -> str:
        changes = ", ".join(f"{column} = {self._dialect.new.format(column)}" for column in changed)
        return f"{self._dialect.conflict.format(', '.join(key))} {changes}"

    def _marked(self, statement: str) -> str:
        return statement.replace("?", self._dialect.mark)
