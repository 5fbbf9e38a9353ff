"""The SQL of the quarantine as people look at it; filling and emptying it is the replication's matter."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.db.models.hr import QuarantinedRow


class QuarantineRepository:
    """What is wrong with rows of the HRIS. Only reads."""

    async def list_entries(
        self,
        session: AsyncSession,
        *,
        entity: str | None = None,
        reason: str | None = None,
        severity: str | None = None,
        limit: int = 100,
    ) -> Sequence[QuarantinedRow]:
        """Entries by entity, reason and key."""
        statement = select(QuarantinedRow).order_by(
            QuarantinedRow.entity, QuarantinedRow.reason, QuarantinedRow.source_key, QuarantinedRow.id
        )
        for column, value in (
            (QuarantinedRow.entity, entity),
            (QuarantinedRow.reason, reason),
            (QuarantinedRow.severity, severity),
        ):
            if value is not None:
                statement = statement.where(column == value)
        return (await session.scalars(statement.limit(limit))).all()

    async def count_entries(self, session: AsyncSession) -> Sequence[tuple[str, str, str, int]]:
        """How many entries there are: (entity, severity, reason, count), errors before warnings."""
        columns = (QuarantinedRow.entity, QuarantinedRow.severity, QuarantinedRow.reason)
        rows = await session.execute(select(*columns, func.count()).group_by(*columns).order_by(*columns))
        return [(row[0], row[1], row[2], row[3]) for row in rows]
