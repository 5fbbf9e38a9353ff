"""The SQL of the HR history: who a key belongs to, what changed in a row, how rows were at an instant. Only reads."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.models.hr import Department, Employee, Holiday, HrChange, Leave, Position
from backend.domain.employees import ENTITY_SPECS, Entity

TABLES: Mapping[Entity, Table] = {
    entity: model.__table__  # type: ignore[misc]
    for entity, model in (
        (Entity.DEPARTMENTS, Department),
        (Entity.POSITIONS, Position),
        (Entity.EMPLOYEES, Employee),
        (Entity.LEAVES, Leave),
        (Entity.HOLIDAYS, Holiday),
    )
}
IS_ACTIVE = "is_active"
EXTRA = "extra"
# Rows whose changes are looked up at once.
_CHUNK = 2000
# What `domain.replication.make_mask` leaves of a sensitive value.
_MASKED = re.compile(r"•••|#[0-9a-f]{16}")
_CHANGE: Any = HrChange.__table__


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRow:
    """A row that has a key, or had it once.

    Attributes:
        key: the key that it has now.
        first_execution_id: the run that inserted it; None where that was before history was kept.
    """

    id: int
    key: str
    is_active: bool
    first_seen_at: dt.datetime
    first_execution_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field of one row that a run changed; the values are canonical texts."""

    field: str
    old: str | None
    new: str | None
    changed_at: dt.datetime
    execution_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAt:
    """A row as it was at an instant.

    Attributes:
        values: canonical texts by field, the key first; `extra` is an object, or a text where history has it masked.
        masked: the fields whose value of then is known to history only hashed or masked.
    """

    row_id: int
    key: str | None
    is_active: bool
    values: Mapping[str, Any]
    masked: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Where the knowledge of an entity begins.

    Attributes:
        first_seen_at: when its first row came; None: there is none.
        complete_since: from when on every change is known; None: always.
    """

    first_seen_at: dt.datetime | None
    complete_since: dt.datetime | None


def field_names(entity: Entity) -> tuple[str, ...]:
    """The fields that history replays: the key, the parent, the others, `extra`."""
    spec = ENTITY_SPECS[entity]
    parent = (spec.parent.name,) if spec.parent is not None else ()
    return (spec.key.name, *parent, *(item.name for item in spec.fields), EXTRA)


class HrHistoryRepository:
    """What the replicated rows were."""

    async def find_rows(self, session: AsyncSession, entity: Entity, key: str) -> Sequence[KnownRow]:
        """The row that has this key, then those that had it once, in the order in which they lost it."""
        table, key_name = TABLES[entity], ENTITY_SPECS[entity].key.name
        columns = [
            table.c.id,
            table.c[key_name].label("key"),
            table.c.is_active,
            table.c.first_seen_at,
            table.c.first_execution_id,
        ]
        has = await session.execute(select(*columns).where(table.c[key_name] == key))
        # By the key before the change: `old_value` is compared loosely on MariaDB, and may be masked.
        lost = (
            select(_CHANGE.c.row_id, func.max(_CHANGE.c.id).label("last_id"))
            .where(_CHANGE.c.entity == entity, _CHANGE.c.field == key_name, _CHANGE.c.entity_key == key)
            .group_by(_CHANGE.c.row_id)
            .subquery()
        )
        had = await session.execute(select(*columns).join(lost, lost.c.row_id == table.c.id).order_by(lost.c.last_id))
        found = {row.id: KnownRow(**row._mapping) for rows in (has, had) for row in rows}
        return list(found.values())

    async def list_changes(
        self, session: AsyncSession, entity: Entity, row_id: int, *, limit: int = 10_000
    ) -> Sequence[FieldChange]:
        """The latest changes of a row, the newest last."""
        rows = await session.execute(
            select(
                _CHANGE.c.field,
                _CHANGE.c.old_value.label("old"),
                _CHANGE.c.new_value.label("new"),
                _CHANGE.c.changed_at,
                _CHANGE.c.execution_id,
            )
            .where(_CHANGE.c.entity == entity, _CHANGE.c.row_id == row_id)
            .order_by(_CHANGE.c.id.desc())
            .limit(limit)
        )
        return [FieldChange(**row._mapping) for row in rows][::-1]

    async def read_beginning(self, session: AsyncSession, entity: Entity) -> Beginning:
        """Where the knowledge of an entity begins."""
        table = TABLES[entity]
        first = (await session.execute(select(func.min(table.c.first_seen_at)))).scalar_one()
        older = select(table.c.id).where(table.c.first_execution_id.is_(None)).limit(1)
        if (await session.execute(older)).first() is None:
            return Beginning(first_seen_at=first, complete_since=None)
        inserted = select(func.min(table.c.first_seen_at)).where(table.c.first_execution_id.is_not(None))
        changed = select(func.min(_CHANGE.c.changed_at)).where(_CHANGE.c.entity == entity)
        known = [(await session.execute(item)).scalar_one() for item in (inserted, changed)]
        now = dt.datetime.max.replace(tzinfo=dt.UTC)
        return Beginning(first_seen_at=first, complete_since=min((at for at in known if at is not None), default=now))

    async def stream_as_of(
        self,
        session: AsyncSession,
        entity: Entity,
        at: dt.datetime,
        *,
        where: Mapping[str, str] | None = None,
        row_ids: Collection[int] | None = None,
    ) -> AsyncIterator[RowAt]:
        """The rows as they were at an instant, by the key that they have now: later changes are taken back.

        To be the first that the session does: all pages are then of one consistent view.

        Args:
            at: changes at this instant had been made.
            where: only rows whose fields had these values then.
            row_ids: only of these rows.
        """
        await _keep_one_view(session)
        table, names = TABLES[entity], field_names(entity)
        page = _candidates(entity, at, where or {}, row_ids)
        last: str | None = None
        while True:
            key = table.c[names[0]]
            rows = (await session.execute(page if last is None else page.where(key > last))).all()
            earlier = await _values_before(session, entity, [row.id for row in rows], at)
            for row in rows:
                found = _replay(row._mapping, names, earlier.get(row.id, {}))
                if all(found.values[name] == value for name, value in (where or {}).items()):
                    yield found
            if len(rows) < _CHUNK:
                return
            last = rows[-1]._mapping[names[0]]


async def _keep_one_view(session: AsyncSession) -> None:
    # Page by page, a run that ends meanwhile must not show in some pages only. SQLite's transactions are like that.
    if session.get_bind().dialect.name != "sqlite" and not session.in_transaction():
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def _candidates(
    entity: Entity, at: dt.datetime, where: Mapping[str, str], row_ids: Collection[int] | None
) -> Select[Any]:
    """A page of the rows that were there; `where` may still be wrong about them."""
    table, names = TABLES[entity], field_names(entity)
    columns = (table.c.id, table.c.is_active, *(table.c[name] for name in names))
    statement = select(*columns).where(table.c.first_seen_at <= at).order_by(table.c[names[0]]).limit(_CHUNK)
    if row_ids is not None:
        statement = statement.where(table.c.id.in_(row_ids))
    for name, value in where.items():
        lost_later = select(_CHANGE.c.row_id).where(
            _later(entity, at), _CHANGE.c.field == name, _CHANGE.c.old_value == value
        )
        statement = statement.where(or_(table.c[name] == value, table.c.id.in_(lost_later)))
    return statement


def _later(entity: Entity, at: dt.datetime) -> ColumnElement[bool]:
    return and_(_CHANGE.c.entity == entity, _CHANGE.c.changed_at > at)


async def _values_before(
    session: AsyncSession, entity: Entity, row_ids: Sequence[int], at: dt.datetime
) -> Mapping[int, Mapping[str, str | None]]:
    """What the fields that changed after `at` were before the first of these changes, by row and field."""
    if not row_ids:
        return {}
    first = (
        select(func.min(_CHANGE.c.id).label("id"))
        .where(_later(entity, at), _CHANGE.c.row_id.in_(row_ids))
        .group_by(_CHANGE.c.row_id, _CHANGE.c.field)
        .subquery()
    )
    found: dict[int, dict[str, str | None]] = {}
    for row_id, name, value in await session.execute(
        select(_CHANGE.c.row_id, _CHANGE.c.field, _CHANGE.c.old_value).join(first, first.c.id == _CHANGE.c.id)
    ):
        found.setdefault(row_id, {})[name] = value
    return found


def _replay(row: Mapping[Any, Any], names: Sequence[str], earlier: Mapping[str, str | None]) -> RowAt:
    values: dict[str, Any] = {name: _text(row[name]) for name in names[:-1]}
    values[EXTRA] = row[EXTRA]
    values |= {name: earlier[name] for name in names[:-1] if name in earlier}
    if EXTRA in earlier:
        values[EXTRA] = _object(earlier[EXTRA])
    return RowAt(
        row_id=row["id"],
        key=values[names[0]],
        is_active=earlier[IS_ACTIVE] == "1" if IS_ACTIVE in earlier else bool(row[IS_ACTIVE]),
        values=values,
        masked=frozenset(name for name, value in earlier.items() if value is not None and _MASKED.fullmatch(value)),
    )


def _text(value: object) -> str | None:
    """A column's value as the canonical text that history has."""
    match value:
        case None | str():
            return value
        case dt.date():
            return value.isoformat()
        case decimal.Decimal():
            return format(value.normalize(), "f")
        case _:
            return str(value)


def _object(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text  # hashed or masked
