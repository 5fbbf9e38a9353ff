"""The punches in hrsync's own database, and how far each source has been read (its `sync_stream` row)."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Insert, Table, insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.database import Database
from backend.db.models import Punch, Stream
from backend.db.types import db_now
from backend.domain.punches import IngestState, Month, PunchBatch
from backend.errors import ConflictError

# As tables: an insert of many rows into a class does not tell how many it made.
_PUNCH = cast(Table, Punch.__table__)
_STREAM = cast(Table, Stream.__table__)


class DatabaseAttendanceStore:
    """The punch table of a migrated database.

    The stream's watermark holds the cursors, the first and the last complete month, and the token of the run that owns
    the source. Every transaction locks that row first, so that two runs never interleave.

    Args:
        stale_after_seconds: how long no run may have ended well before the punches are called stale; None: however
            long.
    """

    def __init__(self, database: Database, *, stale_after_seconds: float | None = None) -> None:
        self._database = database
        self._stale_after_seconds = stale_after_seconds

    async def take_over(self, source: str, token: str) -> IngestState:
        """Make the run with this token the owner of the source."""
        async with self._database.session() as session:
            await session.execute(self._ignoring(insert(_STREAM)), {"code": _code(source), "watermark": {}})
            stream = await _lock(session, source)
            await _move(session, source, {**stream.watermark, "run": token})
        return _state(stream.watermark)

    async def record(self, source: str, token: str, execution_id: str, batch: PunchBatch) -> int:
        """Keep new punches and move the cursor in one transaction; returns how many were new.

        Raises:
            ConflictError: another run has taken the source over.
        """
        async with self._database.session() as session:
            stream = await _lock(session, source, token)
            now = (await session.execute(select(db_now()))).scalar_one()
            inserted = 0
            if batch.punches:
                result = await session.execute(
                    self._ignoring(insert(_PUNCH)),
                    [
                        {
                            **punch._asdict(),
                            "source": source,
                            "source_table": batch.table,
                            "ingested_at": now,
                            "execution_id": execution_id,
                        }
                        for punch in batch.punches
                    ],
                )
                assert isinstance(result, CursorResult)
                inserted = result.rowcount
            cursors = dict(stream.watermark.get("tables", {}))
            if inserted or batch.cursor > cursors.get(batch.table, 0):
                cursors[batch.table] = max(batch.cursor, cursors.get(batch.table, 0))
                row_count = (stream.row_count or 0) + inserted
                await _move(session, source, {**stream.watermark, "tables": cursors}, row_count=row_count)
        return inserted

    async def finish(self, source: str, token: str, execution_id: str, *, first: Month, complete: Month) -> None:
        """Note that everything up to now has been read.

        Raises:
            ConflictError: another run has taken the source over.
        """
        async with self._database.session() as session:
            stream = await _lock(session, source, token)
            watermark = {**stream.watermark, "first_month": str(first), "complete_month": str(complete)}
            await _move(
                session,
                source,
                watermark,
                succeeded_at=db_now(),
                execution_id=execution_id,
                stale_after_seconds=self._stale_after_seconds,
            )

    def _ignoring(self, statement: Insert) -> Insert:
        """The insert, leaving out rows whose key is there already."""
        # On MariaDB IGNORE would also cut what is too long; `PunchRules` lets nothing through that does not fit.
        word = "OR IGNORE" if self._database.dialect == "sqlite" else "IGNORE"
        return statement.prefix_with(word).inline()


def _code(source: str) -> str:
    return f"{source}.punches"


async def _lock(session: AsyncSession, source: str, token: str | None = None) -> Stream:
    stream = (await session.scalars(select(Stream).where(Stream.code == _code(source)).with_for_update())).one()
    if token is not None and stream.watermark.get("run") != token:
        raise ConflictError(f"Another run has taken over the punches of {source}.")
    return stream


async def _move(session: AsyncSession, source: str, watermark: dict[str, Any], **values: Any) -> None:
    await session.execute(
        update(Stream)
        .where(Stream.code == _code(source))
        .values(watermark=watermark, **values)
        .execution_options(synchronize_session=False)
    )


def _state(watermark: dict[str, Any]) -> IngestState:
    first, complete = watermark.get("first_month"), watermark.get("complete_month")
    return IngestState(
        first_month=Month.parse(first) if first else None,
        complete_month=Month.parse(complete) if complete else None,
        cursors=watermark.get("tables", {}),
    )
