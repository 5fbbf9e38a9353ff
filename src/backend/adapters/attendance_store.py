"""The punches in hrsync's own database, and how far each source has been read (its `sync_stream` row)."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa
from sqlalchemy import Insert, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.bulk_load import BulkLoader, find_file_loading
from backend.db.database import Database
from backend.db.models import Stream
from backend.db.models.attendance import ClockChange, Punch, PunchUser
from backend.db.types import db_now
from backend.domain.punch_events import PunchBatch
from backend.domain.punches import IngestState, Month, ReadPlan
from backend.errors import ConflictError

_STREAM = cast(Table, Stream.__table__)


class DatabaseAttendanceStore:
    """The punch table of a migrated database.

    The stream's watermark holds the cursors and marks, the first and the last complete month, and the token of the run
    that owns the source. Every transaction locks that row first, so that two runs never interleave, and whoever holds
    the rows of all sources knows that no punch with a lower id is still to come.

    Args:
        stale_after_seconds: how long no run may have ended well before the punches are called stale; None: however
            long.
    """

    def __init__(self, database: Database, *, stale_after_seconds: float | None = None) -> None:
        self._database = database
        self._stale_after_seconds = stale_after_seconds
        self._may_load_files: bool | None = None

    async def take_over(self, source: str, token: str) -> IngestState:
        """Make the run with this token the owner of the source."""
        async with self._database.session() as session:
            stream = await lock_stream(session, source)
            if stream is None:
                await session.execute(_ignoring(session, insert(_STREAM)), {"code": _code(source), "watermark": {}})
                stream = await _lock_own(session, source)
            await move_stream(session, source, {**stream.watermark, "run": token})
        return _state(stream.watermark)

    async def record(
        self,
        source: str,
        token: str,
        execution_id: str,
        batch: PunchBatch,
        *,
        new_users: Sequence[str],
        doubt_seconds: int,
    ) -> int:
        """Keep new punches and move the cursor in one transaction; returns how many were new.

        Args:
            new_users: user ids of the batch that may not be known yet.
            doubt_seconds: kept with the batch's changes of clocks.

        Raises:
            ConflictError: another run has taken the source over.
        """
        async with self._database.session() as session:
            stream = await _lock_own(session, source, token)
            connection = await session.connection()
            if self._may_load_files is None:
                self._may_load_files = await find_file_loading(connection)
            loader = BulkLoader(connection, may_load_files=self._may_load_files)
            now = instant_text((await session.execute(select(db_now()))).scalar_one())
            seen = {"source": source, "source_table": batch.table, "ingested_at": now, "execution_id": execution_id}
            punches = await asyncio.to_thread(_sort, batch.punches)
            inserted = await loader.insert_new(Punch.__tablename__, punches, seen)
            changes = {**seen, "doubt_seconds": doubt_seconds}
            await loader.insert_new(ClockChange.__tablename__, batch.clock_changes, changes)
            users = pa.RecordBatch.from_arrays([pa.array(new_users, pa.string())], names=["user_id"])
            await loader.insert_new(PunchUser.__tablename__, users, {"source": source, "first_seen_at": now})
            await self._move_on(session, source, stream, batch, inserted)
        return inserted

    async def _move_on(
        self, session: AsyncSession, source: str, stream: Stream, batch: PunchBatch, inserted: int
    ) -> None:
        cursors = dict(stream.watermark.get("tables", {}))
        if batch.cursor is not None:
            cursors[batch.table] = max(batch.cursor, cursors.get(batch.table, 0))
        marks = {**stream.watermark.get("marks", {}), **batch.marks}
        watermark = {**stream.watermark, "tables": cursors, "marks": marks}
        if inserted or watermark != stream.watermark:
            await move_stream(session, source, watermark, row_count=(stream.row_count or 0) + inserted)

    async def finish(
        self, source: str, token: str, execution_id: str, *, plan: ReadPlan, first: Month, now: dt.datetime
    ) -> None:
        """Note that everything up to now has been read.

        Args:
            first: nothing before it has been looked at.
            now: when the run began.

        Raises:
            ConflictError: another run has taken the source over.
        """
        async with self._database.session() as session:
            stream = await _lock_own(session, source, token)
            marks = stream.watermark.get("marks", {})
            kept = marks if plan.kept_marks is None else {key: marks[key] for key in marks if key in plan.kept_marks}
            watermark = {
                **stream.watermark,
                "first_month": str(first),
                "complete_month": str(Month.of(now)),
                "completed_at": now.isoformat(),
                "marks": kept,
            }
            await move_stream(
                session,
                source,
                watermark,
                succeeded_at=db_now(),
                execution_id=execution_id,
                stale_after_seconds=self._stale_after_seconds,
            )


def _sort(punches: pa.RecordBatch) -> pa.RecordBatch:
    # In the order of the largest index, so that each of its pages is touched once for a batch.
    return punches.sort_by([("user_id", "ascending"), ("punched_at", "ascending")])


def _code(source: str) -> str:
    return f"{source}.punches"


async def lock_stream(session: AsyncSession, source: str) -> Stream | None:
    """The source's stream, locked until the transaction ends; None: no run has ever begun."""
    return (await session.scalars(select(Stream).where(Stream.code == _code(source)).with_for_update())).one_or_none()


async def _lock_own(session: AsyncSession, source: str, token: str | None = None) -> Stream:
    stream = await lock_stream(session, source)
    assert stream is not None
    if token is not None and stream.watermark.get("run") != token:
        raise ConflictError(f"Another run has taken over the punches of {source}.")
    return stream


async def move_stream(session: AsyncSession, source: str, watermark: dict[str, Any], **values: Any) -> None:
    """Store the watermark of a stream that is locked."""
    await session.execute(
        update(Stream)
        .where(Stream.code == _code(source))
        .values(watermark=watermark, **values)
        .execution_options(synchronize_session=False)
    )


def _ignoring(session: AsyncSession, statement: Insert) -> Insert:
    """The insert, leaving out rows whose key is there already."""
    return statement.prefix_with("OR IGNORE" if session.get_bind().dialect.name == "sqlite" else "IGNORE").inline()


def instant_text(instant: dt.datetime) -> str:
    """An instant as SQLAlchemy writes it, so that both compare as text on SQLite."""
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _state(watermark: dict[str, Any]) -> IngestState:
    first, complete, completed = (watermark.get(name) for name in ("first_month", "complete_month", "completed_at"))
    return IngestState(
        first_month=Month.parse(first) if first else None,
        complete_month=Month.parse(complete) if complete else None,
        completed_at=dt.datetime.fromisoformat(completed) if completed else None,
        cursors=watermark.get("tables", {}),
        marks=watermark.get("marks", {}),
    )
