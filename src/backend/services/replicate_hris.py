"""Replicates the HRIS: has the run planned, asks the guard, and applies everything in one transaction.

The source has been read to its end before the target is locked, so that a slow HRIS blocks nobody and a run that is
killed has written nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from backend.domain.employees import Entity
from backend.domain.entity_planner import EntityPlanner, State, with_offsets
from backend.domain.executions import RowCounts, RunReport
from backend.domain.mapping import HrisMapping
from backend.domain.replication_plan import (
    ChangeAction,
    HeldRun,
    HoldStatus,
    ReplicationPlan,
    RowChange,
)
from backend.domain.row_batches import PARENT_REF
from backend.errors import ConflictError, GuardError, NotFoundError
from backend.ports import HrisSource, HrStore, HrWriter, OpenSpool, Run
from backend.services.plan_hris import PlannedEntity, count_fields, plan_entities, whole_plan


class HeldError(GuardError):
    """The guard held the run.

    Attributes:
        held: the hold; new, or one of an earlier run that would have done the same.
    """

    def __init__(self, message: str, held: HeldRun) -> None:
        super().__init__(message)
        self.held = held


async def replicate_hris(
    run: Run,
    mapping: HrisMapping,
    *,
    source: HrisSource,
    store: HrStore,
    open_spool: OpenSpool,
    full: bool = False,
    force: bool = False,
    approved: str = "",
) -> RunReport:
    """Make the target equal to the source.

    Args:
        full: read everything, and compare what the rows of the target hold now (repairs what was altered by hand).
        force: apply also what the guard would hold.
        approved: the id of a held run that was approved: it is applied if the source still says the same.

    Returns:
        a report whose counts are totals over the entities; `details["entities"]` has them one by one. `read` is
        `inserted + updated + unchanged + rejected` and those of `deactivated` that the source still has, with a status
        that says that they are gone; the others of `deactivated` are those that the source has no more.

    Raises:
        TransientError: a database is away or busy, or another run was applied meanwhile. Nothing was written.
        PermanentError: the source refuses a query, or its result lacks a mapped column. Nothing was written.
        HeldError: the guard holds the run. Nothing was written but the hold itself.
        NotFoundError, ConflictError: `approved` is no run that was held and approved.
    """
    held = await _find_approved(store, approved) if approved else None
    async with plan_entities(
        run, mapping, source, store, open_spool, full=full or held is not None, log=run.log
    ) as plans:
        plan = whole_plan(mapping, plans)
        waits = bool(plan.concerns) and not force
        if held is not None and held.fingerprint != plan.waiting.fingerprint:
            if waits:
                raise _held_error(plan, await _hold(run, store, plan), mapping.file, approved=True)
            run.log.info("hold_became_needless", held=held.execution_id)
            held = None
        if waits and held is None:
            held = await _hold(run, store, plan)
            if held.status is not HoldStatus.APPROVED and not plan.skips_deactivations:
                raise _held_error(plan, held, mapping.file)
        # Somebody may have approved exactly this while the run was reading.
        skipped = held if waits and held is not None and held.status is not HoldStatus.APPROVED else None
        await _apply(run, store, plans, held=held, skips_deactivations=skipped is not None)
        return _report(plan, skipped)


async def _find_approved(store: HrStore, execution_id: str) -> HeldRun | None:
    """The approved run; None: it has been applied, so that there is nothing to be approved any more."""
    held = await store.find_hold(execution_id)
    if held is None:
        raise NotFoundError(f"No run {execution_id!r} was held. `hrsync hris holds --all` shows those that were.")
    if held.status is HoldStatus.APPLIED:
        return None
    if held.status is not HoldStatus.APPROVED:
        raise ConflictError(f"The held run {execution_id} is {held.status}, not approved. Nothing was written.")
    return held


async def _hold(run: Run, store: HrStore, plan: ReplicationPlan) -> HeldRun:
    held = await asyncio.shield(store.hold(plan.waiting, run.execution_id))
    if held.is_new:
        run.log.error("hris_run_held", held=held.execution_id, concerns=len(plan.concerns))
    return held


def _held_error(plan: ReplicationPlan, held: HeldRun, file: str, *, approved: bool = False) -> HeldError:
    changed = "The source no longer says what was approved. " if approved else ""
    return HeldError(
        f"{changed}Nothing was applied: {'; '.join(plan.concerns)}. {_advice(held)}. If it is wrong, mend the HRIS or "
        f"the query; the limits are in {file} [guard].",
        held,
    )


def _advice(held: HeldRun) -> str:
    short = held.execution_id[-8:]
    if held.status is HoldStatus.REJECTED:
        return f"The same was rejected by {held.decided_by or 'somebody'} before (hrsync hris hold {short})"
    return f"Look at it: hrsync hris hold {short}; if it is right: hrsync hris approve {short}"


async def _apply(
    run: Run, store: HrStore, planned: Sequence[PlannedEntity], *, held: HeldRun | None, skips_deactivations: bool
) -> None:
    facts = {item.plan.entity: item.earlier for item in planned}
    progress = _Progress(run, sum(item.plan.changes for item in planned))
    renumbered: list[RowChange] = []
    async with store.apply(facts, run.execution_id) as writer:
        for item in planned:
            await _apply_entity(item, writer, progress, renumbered, skips_deactivations=skips_deactivations)
        await writer.follow_renumbered(renumbered)
        await writer.close_holds(held, keep=skips_deactivations)
        # The last moment to notice that this run was cancelled, or that somebody else has taken it over.
        await run.checkpoint()


async def _apply_entity(
    item: PlannedEntity,
    writer: HrWriter,
    progress: _Progress,
    renumbered: list[RowChange],
    *,
    skips_deactivations: bool,
) -> None:
    entity, planner = item.plan.entity, item.planner
    progress.entity = entity
    for changes in item.changes.batches():
        kept = [change for change in changes if not (skips_deactivations and change.action is ChangeAction.DEACTIVATE)]
        moved = [change for change in kept if change.action is ChangeAction.RENUMBER]
        await writer.renumber(moved)
        renumbered += moved
        await writer.record(kept)
        await progress.step()
    rewritten = [State.COMPARE, State.RENUMBER, *([] if skips_deactivations else [State.GONE])]
    for offset, batch in with_offsets(item.batches()):
        states = planner.states[offset : offset + batch.num_rows]
        for wanted, write in (
            ([State.INSERT], writer.insert),
            (rewritten, writer.update),
            ([State.RENEW], writer.renew),
        ):
            mask = np.isin(states, wanted)
            if mask.any():
                rows = await asyncio.to_thread(_select, planner, batch, offset, mask)
                await write(entity, rows)
                await progress.step(rows.num_rows)
    if not skips_deactivations:
        vanished = list(planner.vanished_keys())
        await writer.deactivate(entity, vanished)
        await progress.step(len(vanished))
    for entries in item.entries.batches():
        await writer.quarantine(entries)
    plan = item.plan
    if skips_deactivations:
        # What was left out must come by again.
        plan = replace(plan, facts=replace(plan.facts, bound=item.earlier.bound))
    await writer.finish(plan, seen=planner.has if plan.is_partial else None)


def _select(planner: EntityPlanner, batch: pa.RecordBatch, offset: int, mask: Any) -> pa.RecordBatch:
    """The rows of the mask, with their parents resolved."""
    place = batch.schema.get_field_index(PARENT_REF)
    resolved = batch.set_column(place, PARENT_REF, planner.parents_of(batch, offset))
    return resolved if mask.all() else resolved.filter(pa.array(mask))


@dataclass(kw_only=False)
class _Progress:
    """How far the writing is."""

    run: Run
    total: int
    written: int = 0
    entity: Entity = Entity.DEPARTMENTS

    async def step(self, rows: int = 0) -> None:
        """So many rows more."""
        self.written += rows
        if self.total:
            message = f"writing the {self.entity}: {self.written:,} of {self.total:,} changes"
            self.run.progress(self.written, max(self.total, self.written), message)
        await self.run.checkpoint()


def _report(plan: ReplicationPlan, held: HeldRun | None) -> RunReport:
    """What was done.

    Args:
        held: the deactivations that wait for a person; None: nothing does.
    """
    counts, skipped = plan.counts, 0
    if held is not None:
        skipped, counts = counts.deactivated or 0, replace(counts, deactivated=0)
    entities = {
        item.entity.value: {
            **count_fields(item),
            "reasons": dict(item.reasons),
            "changed_fields": dict(item.changed_fields),
            "notes": list(item.notes),
            "incremental": item.is_partial,
        }
        for item in plan.entities
    }
    return RunReport(
        counts=counts,
        summary=_summarise(plan, counts, skipped) + (f" {_advice(held)}." if held is not None else ""),
        details={
            "entities": entities,
            "deactivations_skipped": skipped,
            "held": None if held is None else held.execution_id,
            "concerns": list(plan.concerns),
        },
    )


def _summarise(plan: ReplicationPlan, counts: RowCounts, skipped: int) -> str:
    read = ", ".join(
        f"{item.counts.read:,} {item.entity.one if item.counts.read == 1 else item.entity}" for item in plan.entities
    )
    done = [
        f"{number:,} {word}" for word in ("inserted", "updated", "deactivated") if (number := getattr(counts, word))
    ]
    parts = [", ".join(done) if done else "nothing changed"]
    warnings = sum(item.warnings for item in plan.entities)
    if counts.rejected:
        parts.append(f"{counts.rejected:,} rejected")
    if warnings:
        parts.append(f"{warnings:,} kept with a warning")
    if skipped:
        parts.append(f"{skipped:,} {'deactivation' if skipped == 1 else 'deactivations'} skipped by the guard")
    parts += [note for item in plan.entities for note in item.notes]
    return f"Read {read}: {'; '.join(parts)}."
