"""A small writer of replicated rows and their history, for tests of those who read them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.api.repositories.hr_history_repository import TABLES, RowAt, field_names
from backend.db.models.hr import HrChange
from backend.domain.employees import ENTITY_SPECS, Entity

START = dt.datetime(2031, 3, 1, 6, 30, tzinfo=dt.UTC)
_DATES = {"hired_on", "left_on", "starts_on", "ends_on", "holiday_on"}


def at(hours: float) -> dt.datetime:
    """The instant so many hours after the first run."""
    return START + dt.timedelta(hours=hours)


def run_id(number: int) -> str:
    """The id of a run."""
    return f"00000000-0000-7000-8000-{number:012d}"


class HistoryWriter:
    """Writes rows as a run of the replication leaves them, one run after the other; `rows` is what they are now."""

    def __init__(self, session: AsyncSession, entity: Entity = Entity.EMPLOYEES) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self._session = session
        self._entity = entity
        self._table = TABLES[entity]
        self._key = ENTITY_SPECS[entity].key.name
        self._at = START
        self._run = run_id(0)

    async def clear(self) -> None:
        """Forget all rows and their history."""
        await self._session.execute(delete(HrChange))
        await self._session.execute(delete(self._table))

    def begin_run(self, instant: dt.datetime, number: int) -> None:
        """What follows was done by this run."""
        self._at, self._run = instant, run_id(number)

    def id_of(self, key: str) -> int | None:
        """The row that has this key now."""
        return next((row_id for row_id, row in self.rows.items() if row[self._key] == key), None)

    async def insert(self, key: str, *, run: str | None = "", **values: Any) -> int:
        """Add a row; its id. `run`: the run that is noted in place of the present one."""
        row = dict.fromkeys(field_names(self._entity)) | {self._key: key, "is_active": True} | values
        done = await self._session.execute(
            insert(self._table).values(
                **{name: _column(name, value) for name, value in row.items()},
                row_hash=bytes(16),
                first_seen_at=self._at,
                changed_at=self._at,
                execution_id=self._run,
                first_execution_id=self._run if run == "" else run,
            )
        )
        (row_id,) = done.inserted_primary_key  # type: ignore[attr-defined]
        self.rows[row_id] = row
        return int(row_id)

    async def change(
        self, row_id: int, *, masked: Mapping[str, tuple[str | None, str | None]] | None = None, **values: Any
    ) -> None:
        """Change fields of a row. `masked`: how (old, new) of a field stand in history."""
        row = self.rows[row_id]
        for name, value in values.items():
            old, new = (masked or {}).get(name, (_text(row[name]), _text(value)))
            await self._session.execute(
                insert(HrChange).values(
                    entity=self._entity,
                    row_id=row_id,
                    entity_key=row[self._key],
                    field=name,
                    old_value=old,
                    new_value=new,
                    changed_at=self._at,
                    execution_id=self._run,
                )
            )
            row[name] = value
            changed = {name: _column(name, value), "changed_at": self._at, "execution_id": self._run}
            await self._session.execute(update(self._table).where(self._table.c.id == row_id).values(**changed))

    def state(self) -> dict[int, dict[str, Any]]:
        """A copy of the rows as they are now."""
        return {row_id: dict(row) for row_id, row in self.rows.items()}


def as_state(rows: list[RowAt]) -> dict[int, dict[str, Any]]:
    """Replayed rows in the form of `HistoryWriter.state`."""
    return {row.row_id: {**row.values, "is_active": row.is_active} for row in rows}


def _column(name: str, value: Any) -> Any:
    return dt.date.fromisoformat(value) if name in _DATES and value is not None else value


def _text(value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return "1" if value else "0"
        case _:
            return json.dumps(value, ensure_ascii=False)
