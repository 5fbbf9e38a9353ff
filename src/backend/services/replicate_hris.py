"""Replicates the HRIS: reads all of it, plans, asks the guard, and applies everything in one transaction.

The source is read to its end before the target is locked, so that a slow HRIS blocks nobody and a run that is killed
has written nothing. In memory are only the keys, digests and parents; the rows to be written wait in a spool.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backend.domain.employees import Entity, SourceRow
from backend.domain.executions import RowCounts, RunReport
from backend.domain.mapping import HrisMapping, RowReader
from backend.domain.quarantine import QuarantineEntry
from backend.domain.replication import EntityDiff, EntityPlan, KnownKeys, TargetState, check_deactivations
from backend.errors import GuardError
from backend.ports import HrisSource, HrStore, HrWriter, OpenSpool, RowSpool, Run

_Batch = tuple[Sequence[SourceRow], Sequence[QuarantineEntry]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """One entity's plan and the spooled batches that belong to it."""

    plan: EntityPlan
    spool: RowSpool


async def replicate_hris(
    run: Run,
    mapping: HrisMapping,
    *,
    source: HrisSource,
    store: HrStore,
    open_spool: OpenSpool,
    full: bool = False,
    force: bool = False,
) -> RunReport:
    """Make the target equal to the source.

    Args:
        full: write every row, also the unchanged ones (repairs what was altered in the target by hand).
        force: apply also what the guard would refuse.

    Returns:
        a report whose counts are totals over the entities; `details["entities"]` has them one by one. `read` is
        `inserted + updated + unchanged + rejected` and those of `deactivated` that the source still has, with a status
        that says that they are gone; the others of `deactivated` are those that the source has no more.

    Raises:
        TransientError: a database is away or busy, or another run was applied meanwhile. Nothing was written.
        PermanentError: the source refuses a query, or its result lacks a mapped column. Nothing was written.
        GuardError: the source is empty, or too many rows would be deactivated. Nothing was written.
    """
    state = await store.read_state(mapping.entities)
    with contextlib.ExitStack() as spools:
        planned = await _read_source(run, mapping, source, state, open_spool, spools=spools, full=full)
        plans = [item.plan for item in planned]
        if not force:
            _guard(mapping, plans)
        await _apply(run, store, state, planned)
    return _report(plans)


async def _read_source(
    run: Run,
    mapping: HrisMapping,
    source: HrisSource,
    state: TargetState,
    open_spool: OpenSpool,
    *,
    spools: contextlib.ExitStack,
    full: bool,
) -> list[_Planned]:
    planned: list[_Planned] = []
    known: dict[Entity, KnownKeys] = {}
    total = RowCounts(read=0)
    for entity in (entity for entity in Entity if entity in mapping.entities):  # what is referred to comes first
        spool = spools.enter_context(open_spool())
        async with source.open(mapping.entities[entity]) as rows:
            reader = RowReader(mapping.entities[entity], rows.columns, known)
            diff = EntityDiff(entity, reader, state.rows[entity], rewrite=full)
            async for batch in rows.batches():
                spool.put([diff.add(batch)])
                so_far = total + diff.counts
                # Only what has happened: the rest is a plan, which the guard may refuse.
                run.count(RowCounts(read=so_far.read, rejected=so_far.rejected))
                read = so_far.read or 0
                expected = None if state.last_read is None else max(state.last_read, read)
                run.progress(read, expected, f"reading the {entity}: {diff.counts.read or 0:,} rows")
                await run.checkpoint()
        known[entity] = diff.known_keys()
        # A second of pure computing for half a million rows: not on the loop, which others share.
        plan = await asyncio.to_thread(diff.finish)
        total = total + plan.counts
        planned.append(_Planned(plan=plan, spool=spool))
        run.log.info("entity_read", entity=entity.value, **_count_fields(plan))
    run.count(RowCounts(read=total.read, rejected=total.rejected))
    return planned


def _guard(mapping: HrisMapping, plans: Sequence[EntityPlan]) -> None:
    reasons = [reason for plan in plans if (reason := check_deactivations(plan, mapping.limit))]
    if reasons:
        raise GuardError(
            f"Nothing was applied: {'; '.join(reasons)}. If that is right, apply it by: hrsync hris sync --force. "
            f"If not, mend the HRIS or the query. The limits are in {mapping.file} [guard]."
        )


async def _apply(run: Run, store: HrStore, state: TargetState, planned: Sequence[_Planned]) -> None:
    changes = sum(_changes(item.plan) for item in planned)
    written = 0
    async with store.apply(state, run.execution_id) as writer:
        for item in planned:
            plan, entity = item.plan, item.plan.entity
            for batch in item.spool.batches():
                written += await _write(writer, plan, batch)
                if changes:
                    message = f"writing the {entity}: {written:,} of {changes:,} changes"
                    run.progress(written, max(changes, written), message)
                await run.checkpoint()
            await writer.set_parents(entity, plan.parent_changes)
            await writer.deactivate(entity, plan.vanished)
            await writer.quarantine(plan.entries)
            await writer.finish(entity, plan.rows_after)
            written += len(plan.parent_changes) + len(plan.vanished)
        # The last moment to notice that this run was cancelled, or that somebody else has taken it over.
        await run.checkpoint()


async def _write(writer: HrWriter, plan: EntityPlan, batch: Sequence[_Batch]) -> int:
    written = 0
    for rows, entries in batch:
        if rows:
            await writer.upsert(plan.entity, rows, plan.parents)
        await writer.quarantine(entries)
        written += len(rows)
    return written


def _changes(plan: EntityPlan) -> int:
    return sum(getattr(plan.counts, name) or 0 for name in ("inserted", "updated", "deactivated"))


def _count_fields(plan: EntityPlan) -> dict[str, Any]:
    return {**asdict(plan.counts), "reactivated": plan.reactivated, "warnings": plan.warnings}


def _report(plans: Sequence[EntityPlan]) -> RunReport:
    counts = sum((plan.counts for plan in plans), RowCounts())
    warnings = sum(plan.warnings for plan in plans)
    return RunReport(
        counts=counts,
        summary=_summarise(plans, counts, warnings),
        details={"entities": {plan.entity.value: {**_count_fields(plan), "reasons": plan.reasons} for plan in plans}},
    )


def _summarise(plans: Sequence[EntityPlan], counts: RowCounts, warnings: int) -> str:
    read = ", ".join(
        f"{plan.counts.read:,} {plan.entity.one if plan.counts.read == 1 else plan.entity}" for plan in plans
    )
    done = [
        f"{number:,} {word}" for word in ("inserted", "updated", "deactivated") if (number := getattr(counts, word))
    ]
    parts = [", ".join(done) if done else "nothing changed"]
    if counts.rejected:
        parts.append(f"{counts.rejected:,} rejected")
    if warnings:
        parts.append(f"{warnings:,} kept with a warning")
    return f"Read {read}: {'; '.join(parts)}."
