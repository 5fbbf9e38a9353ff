"""Held runs in hrsync's own database: how the replication keeps and closes them (people decide elsewhere)."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from backend.db.models import HrHold, HrHoldChange
from backend.db.types import db_now
from backend.domain.replication_plan import EntityPlan, HeldRun, HoldStatus, ReplicationPlan

KEPT_CHANGES = 10_000
_OPEN = (HoldStatus.HELD, HoldStatus.APPROVED)


async def hold(session: AsyncSession, plan: ReplicationPlan, execution_id: str) -> HeldRun:
    """Keep what a run would have done. One that would do the same as one that was held, approved or rejected is that
    one again.
    """
    known = await session.scalar(
        select(HrHold)
        .where(HrHold.fingerprint == plan.fingerprint, HrHold.status.in_((*_OPEN, HoldStatus.REJECTED)))
        .order_by(HrHold.id.desc())
        .limit(1)
    )
    # What was held before can no longer be approved: the source says something else now.
    others = update(HrHold).where(HrHold.status.in_(_OPEN)).values(status=HoldStatus.EXPIRED)
    if known is not None:
        await session.execute(others.where(HrHold.id != known.id))
        await session.execute(update(HrHold).where(HrHold.id == known.id).values(last_seen_at=db_now()))
        return _held_run(known)
    await session.execute(others)
    # An execution that is run once more holds what it finds now.
    await session.execute(delete(HrHold).where(HrHold.execution_id == execution_id))
    row = HrHold(
        execution_id=execution_id,
        fingerprint=plan.fingerprint,
        status=HoldStatus.HELD,
        reasons=list(plan.concerns),
        counts={entity.entity.value: _counts(entity) for entity in plan.entities},
        change_count=sum(entity.changes for entity in plan.entities),
        held_at=db_now(),
        last_seen_at=db_now(),
    )
    session.add(row)
    await session.flush()
    hold_id = row.id
    changes = itertools.islice(plan.changes(), KEPT_CHANGES)
    while chunk := list(itertools.islice(changes, 500)):
        await session.execute(
            insert(HrHoldChange),
            [
                {
                    "hold_id": hold_id,
                    "entity": change.entity.value,
                    "entity_key": change.key,
                    "action": change.action.value,
                    "fields": {name: list(values) for name, values in change.fields.items()},
                }
                for change in chunk
            ],
        )
    return HeldRun(execution_id=execution_id, status=HoldStatus.HELD, fingerprint=plan.fingerprint, is_new=True)


async def find_hold(session: AsyncSession, execution_id: str) -> HeldRun | None:
    """The hold of the run with this id."""
    row = await session.scalar(select(HrHold).where(HrHold.execution_id == execution_id))
    return None if row is None else _held_run(row)


async def close_holds(connection: AsyncConnection, held: HeldRun | None, execution_id: str, *, keep: bool) -> None:
    """Mark the held run as applied, or with `keep` leave it as it is; all other open ones expire."""
    others = update(HrHold).where(HrHold.status.in_(_OPEN)).values(status=HoldStatus.EXPIRED)
    if held is not None:
        this = HrHold.execution_id == held.execution_id
        others = others.where(~this)
        if not keep:
            values = {"status": HoldStatus.APPLIED, "applied_execution_id": execution_id}
            await connection.execute(update(HrHold).where(this).values(values))
    await connection.execute(others)


def _held_run(row: HrHold) -> HeldRun:
    return HeldRun(
        execution_id=row.execution_id,
        status=HoldStatus(row.status),
        fingerprint=row.fingerprint,
        decided_by=row.decided_by,
    )


def _counts(plan: EntityPlan) -> dict[str, Any]:
    return {**asdict(plan.counts), "reactivated": plan.reactivated, "renumbered": plan.renumbered}
