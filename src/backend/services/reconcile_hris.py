"""Holds what the target has now against what the source says now, row by row; nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from backend.domain.employees import Entity
from backend.domain.mapping import HrisMapping
from backend.domain.replication_plan import EntityPlan, ReplicationPlan, RowChange
from backend.ports import HrisSource, HrStore, OpenSpool
from backend.services.plan_hris import preview_hris

EXAMPLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """How source and target of one entity agree.

    Attributes:
        matched: rows that say the same.
        different: rows that both have and that say something else.
        missing: rows that only the source has.
        extra: rows that are active in the target and that the source has not.
        rejected: rows of the source that cannot be taken, and are not compared.
        examples: some of the rows that do not agree.
    """

    entity: Entity
    matched: int
    different: int
    missing: int
    extra: int
    rejected: int
    examples: Sequence[RowChange]

    @property
    def agrees(self) -> bool:
        """Whether there is nothing to mend."""
        return not (self.different or self.missing or self.extra)


async def reconcile_hris(
    mapping: HrisMapping,
    *,
    source: HrisSource,
    store: HrStore,
    open_spool: OpenSpool,
    examples: int = EXAMPLES,
) -> list[Reconciliation]:
    """Compare everything, with what the rows of the target hold now.

    Args:
        examples: how many rows that do not agree are wanted of each entity.

    Raises:
        TransientError, PermanentError: a database does not give its rows.
    """
    async with preview_hris(mapping, source=source, store=store, open_spool=open_spool, verify=True) as plan:
        found = await asyncio.to_thread(_collect_examples, plan, examples)
        return [_reconcile(item, found[item.entity]) for item in plan.entities]


def _collect_examples(plan: ReplicationPlan, limit: int) -> dict[Entity, list[RowChange]]:
    found: dict[Entity, list[RowChange]] = {item.entity: [] for item in plan.entities}
    for change in plan.changes():
        if len(found[change.entity]) < limit:
            found[change.entity].append(change)
    return found


def _reconcile(plan: EntityPlan, examples: Sequence[RowChange]) -> Reconciliation:
    counts = plan.counts
    return Reconciliation(
        entity=plan.entity,
        matched=counts.unchanged or 0,
        different=(counts.updated or 0) + (counts.deactivated or 0) - plan.vanished,
        missing=counts.inserted or 0,
        extra=plan.vanished,
        rejected=counts.rejected or 0,
        examples=examples,
    )
